//! Certificates of each kind that servers are met with, made on the spot.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tempfile::TempDir;
use url::Url;
use zoho_api::Reason;
use zoho_client::clock;
use zoho_core::issuer::cause::Cause;
use zoho_core::issuer::reply::{Failed, Reply};

use crate::logins::{TOKEN, login};
use crate::support::{Script, Server, Standing, answer, refresh, tell, transport, word};

/// A certificate and its key, in PEM. What comes after the first certificate is sent along.
struct Kind {
    chain: String,
    key: String,
}

impl Kind {
    /// Signed by itself.
    fn own(names: &[&str], edit: impl Fn(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("a key");
        let chain = params(names, edit).self_signed(&key).expect("a certificate").pem();
        Self { chain, key: key.serialize_pem() }
    }

    /// Signed by a private authority, whose certificate is the second result.
    fn of_authority(names: &[&str], edit: impl Fn(&mut CertificateParams)) -> (Self, String) {
        let authority = params(&[], |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params.distinguished_name.push(DnType::CommonName, "A private authority");
        });
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let chain = params(names, edit).signed_by(&key, &authority).expect("a certificate").pem();
        (Self { chain, key: key.serialize_pem() }, authority.pem())
    }

    fn serve(&self, script: Script) -> Server {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM");
        let provider = rustls::crypto::ring::default_provider();
        let key = provider.key_provider.load_private_key(key).expect("a key");
        // Not compared with each other: a server may show what is not its own.
        let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let builder = ServerConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
        let config = builder.expect("versions").with_no_client_auth().with_cert_resolver(Arc::new(shown));
        Server::start_tls(script, config)
    }
}

fn params(names: &[&str], edit: impl Fn(&mut CertificateParams)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, "ec");
    edit(&mut params);
    params
}

fn as_it_comes(_: &mut CertificateParams) {}

fn authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(2020, 1, 1);
}

/// A folder with a CA file.
fn ca_file(pem: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.crt");
    std::fs::write(&path, pem).expect("written");
    (folder, path)
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What `keytool -genkeypair` makes when it is asked for nothing else: RSA, no authority, no alternative name.
fn of_keytool() -> Option<Kind> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = ["-genkeypair", "-alias", "ec", "-keyalg", "RSA", "-dname", "CN=ec, OU=Unknown", "-validity", "90"];
    let store = [&store[..], &["-storetype", "PKCS12", "-keystore", "ec.p12", "-storepass", "changeit"]].concat();
    let export = ["pkcs12", "-in", "ec.p12", "-passin", "pass:changeit", "-nodes", "-out", "ec.pem"];
    if !run("keytool", &store, folder.path()) || !run("openssl", &export, folder.path()) {
        return None;
    }
    let pem = std::fs::read_to_string(folder.path().join("ec.pem")).expect("readable");
    Some(Kind { chain: pem.clone(), key: pem })
}

/// Logs in on a server with this certificate, which is listed, with this CA file.
async fn logged_in(kind: &Kind, given: &str) -> String {
    let server = kind.serve(Script::Answer(answer("200 OK", "", TOKEN)));
    let (_folder, ca_file) = ca_file(given);
    let url = server.url("https");
    match transport(&[ca_file], std::slice::from_ref(&url)).send(&login(&url), &Standing).await {
        Reply::Failed(Failed { reason, cause: Some(cause), .. }) => {
            assert_eq!(server.requests().len(), 0, "no password leaves before the server is known");
            format!("{reason} {cause:?}")
        }
        reply @ (Reply::Minted(_) | Reply::Throttled { .. } | Reply::Failed(_)) => word(&reply),
    }
}

#[tokio::test]
async fn listed_server_is_trusted_by_exactly_its_own_certificate_of_whatever_kind() {
    let (leaf, _) = Kind::of_authority(&["elsewhere.example"], as_it_comes);
    let mut kinds = vec![
        ("CA:TRUE", Kind::own(&["127.0.0.1"], authority)),
        ("CA:TRUE, without names", Kind::own(&[], authority)),
        ("without names", Kind::own(&[], as_it_comes)),
        ("with another name", Kind::own(&["ec.corp.example"], as_it_comes)),
        ("with its name", Kind::own(&["127.0.0.1"], as_it_comes)),
        ("leaf of an authority that is not given", leaf),
    ];
    match of_keytool() {
        Some(kind) => kinds.push(("keytool's default", kind)),
        None => tell("not tested: there is no keytool, or no openssl"),
    }
    for (name, kind) in &kinds {
        assert_eq!(logged_in(kind, &kind.chain).await, "token A1-B2", "{name}");
        let more = format!("{}{}", Kind::own(&[], authority).chain, kind.chain);
        assert_eq!(logged_in(kind, &more).await, "token A1-B2", "{name}, beside others");
    }
}

#[tokio::test]
async fn another_certificate_is_not_its_own_whatever_it_says() {
    let own = Kind::own(&[], authority);
    let twin = Kind::own(&[], authority);
    assert_eq!(logged_in(&twin, &own.chain).await, "UpstreamTLS AuthorityAsServer");
    let (leaf, ca) = Kind::of_authority(&["127.0.0.1"], as_it_comes);
    assert_eq!(logged_in(&leaf, &ca).await, "token A1-B2", "the usual way: the authority is given");
    let (stranger, _) = Kind::of_authority(&["127.0.0.1"], as_it_comes);
    assert_eq!(logged_in(&stranger, &ca).await, "UpstreamTLS UnknownAuthority");
    let thief = Kind { chain: own.chain.clone(), key: twin.key };
    assert!(logged_in(&thief, &own.chain).await.starts_with("UpstreamTLS"), "who shows it must have its key");
}

#[tokio::test]
async fn key_of_a_server_signs_for_nobody_else() {
    let server = params(&["ec.corp.example"], as_it_comes);
    let server = CertifiedIssuer::self_signed(server, KeyPair::generate().expect("a key")).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let forged = params(&["127.0.0.1"], as_it_comes).signed_by(&key, &server).expect("a certificate").pem();
    let forged = Kind { chain: forged, key: key.serialize_pem() };
    assert_eq!(logged_in(&forged, &server.pem()).await, "UpstreamTLS UnknownAuthority");
    let with_its_issuer = Kind { chain: format!("{}{}", forged.chain, server.pem()), key: forged.key.clone() };
    assert_eq!(logged_in(&with_its_issuer, &server.pem()).await, "UpstreamTLS BadCertificate");
    let (_folder, given) = ca_file(&server.pem());
    let said = sentence(&forged.serve(Script::Answer(answer("200 OK", "", b"{}"))), &[given]).await;
    assert!(
        said.starts_with("UpstreamTLS: The token service presents a certificate of an unknown authority."),
        "{said}"
    );
}

#[tokio::test]
async fn unlisted_server_is_known_by_its_own_certificate_where_that_has_its_name() {
    let kind = Kind::own(&["127.0.0.1"], as_it_comes);
    let server = kind.serve(Script::Answer(answer("404 Not Found", "", b"")));
    let (_folder, given) = ca_file(&kind.chain);
    assert_eq!(transport(&[given], &[]).reach(&server.url("https")).await.ok(), Some(404));
}

#[tokio::test]
async fn certificate_of_an_authority_is_trusted_by_name_also_where_it_stands_in_the_file_itself() {
    let (leaf, authority) = Kind::of_authority(&["127.0.0.1"], as_it_comes);
    let server = leaf.serve(Script::Answer(answer("404 Not Found", "", b"")));
    let (_folder, given) = ca_file(&format!("{}{authority}", leaf.chain));
    assert_eq!(transport(&[given], &[]).reach(&server.url("https")).await.ok(), Some(404));
}

#[tokio::test]
async fn expired_certificate_is_expired_also_where_it_is_given() {
    for kind in [
        Kind::own(&["127.0.0.1"], expired),
        Kind::own(&[], |params| {
            authority(params);
            expired(params);
        }),
    ] {
        let said = logged_in(&kind, &kind.chain).await;
        assert_eq!(said, "UpstreamTLS Expired { since: Some(2020-01-01T00:00:00Z) }");
    }
}

#[tokio::test]
async fn token_service_is_not_trusted_by_its_own_certificate() {
    for (kind, expected) in [
        (Kind::own(&["127.0.0.1"], authority), Cause::AuthorityAsServer),
        (Kind::own(&[], as_it_comes), Cause::WrongName { called: "127.0.0.1".into(), names: Vec::new() }),
    ] {
        let server = kind.serve(Script::Answer(answer("200 OK", "", b"{}")));
        let (_folder, ca_file) = ca_file(&kind.chain);
        let listed: Url = "https://ec.corp.example:8383".parse().expect("a URL");
        let reply = transport(&[ca_file], &[listed]).send(&refresh(&server.url("https")), &Standing).await;
        let Reply::Failed(failed) = reply else { panic!("{}", word(&reply)) };
        assert_eq!(failed.cause, Some(expected));
        assert_eq!(server.requests().len(), 0, "no secret leaves before the server is known");
    }
}

/// The sentence for what stood in the way of a refresh, and that it costs nothing.
async fn sentence(server: &Server, given: &[PathBuf]) -> String {
    let reply = transport(given, &[]).send(&refresh(&server.url("https")), &Standing).await;
    let Reply::Failed(failed) = reply else { panic!("{}", word(&reply)) };
    assert_eq!(failed.outcome, zoho_api::Outcome::NotSent);
    assert_eq!(server.requests().len(), 0, "no secret leaves before the server is known");
    let sentence = failed.cause.map(|cause| cause.sentence("The token service")).unwrap_or_default();
    format!("{}: {sentence}", failed.reason)
}

#[tokio::test]
async fn each_cause_has_its_own_sentence() {
    let script = || Script::Answer(answer("200 OK", "", b"{}"));
    let (named, ca) = Kind::of_authority(&["ec.corp.example", "*.zoho.example"], as_it_comes);
    let (_folder, given) = ca_file(&ca);
    let later = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
    };
    let own = |kind: Kind| {
        let (folder, path) = ca_file(&kind.chain);
        (kind.serve(script()), vec![path], Some(folder))
    };
    let table = [
        (
            (Kind::own(&["127.0.0.1"], as_it_comes).serve(script()), vec![], None),
            "UpstreamTLS: The token service presents a certificate of an unknown authority.",
        ),
        (
            own(Kind::own(&["127.0.0.1"], expired)),
            "UpstreamTLS: The token service presents a certificate that has expired (2020-01-01T00:00:00Z).",
        ),
        (
            own(Kind::own(&["127.0.0.1"], later)),
            "UpstreamTLS: The token service presents a certificate that is not valid yet (valid from 2090-01-01T00:00:00Z).",
        ),
        (
            (named.serve(script()), vec![given], None),
            "UpstreamTLS: The token service presents a certificate for ec.corp.example, *.zoho.example, not for 127.0.0.1.",
        ),
        (
            own(Kind::own(&[], as_it_comes)),
            "UpstreamTLS: The token service presents a certificate that names no host, so it is not valid for 127.0.0.1.",
        ),
        (
            own(Kind::own(&["127.0.0.1"], authority)),
            "UpstreamTLS: The token service presents the certificate of an authority (CA:TRUE) as its own",
        ),
        (
            (Server::start(Script::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())), vec![], None),
            "UpstreamTLS: The token service does not use https at this port",
        ),
        // A fatal alert: protocol_version.
        (
            (Server::start(Script::Say(vec![0x15, 3, 3, 0, 2, 2, 70])), vec![], None),
            "UpstreamTLS: The token service offers no secure version of TLS, or no secure cipher",
        ),
        (
            (Server::start(Script::Close), vec![], None),
            "UpstreamUnavailable: The token service closed the connection during the TLS handshake.",
        ),
    ];
    for ((server, given, _folder), expected) in table {
        let said = sentence(&server, &given).await;
        assert!(said.starts_with(expected), "{said}\nwant {expected}");
    }
}

/// The documentation says how to save a server's certificate; what is saved is what then works.
#[tokio::test]
async fn documented_command_saves_a_certificate_that_works() {
    let page = include_str!("../../../../docs/endpoint-central-server.md");
    let line = page.lines().find(|line| line.starts_with("openssl s_client")).expect("the command");
    let (leaf, _) = Kind::of_authority(&["ec.corp.example"], as_it_comes);
    for kind in [Kind::own(&[], authority), Kind::own(&[], as_it_comes), leaf] {
        let server = kind.serve(Script::Answer(answer("200 OK", "", TOKEN)));
        let folder = tempfile::tempdir().expect("a folder");
        let command = line.replace("ec.corp.example:8383", &server.address.to_string());
        if !run("openssl", &["version"], folder.path()) {
            tell("not tested: there is no openssl");
            return;
        }
        assert!(run("sh", &["-ec", &command], folder.path()), "{command}");
        let saved = std::fs::read_to_string(folder.path().join("ca.crt")).expect("it is saved");
        assert_eq!(logged_in(&kind, &saved).await, "token A1-B2");
    }
}

#[tokio::test]
async fn check_reaches_a_listed_server_by_its_own_certificate() {
    let kind = Kind::own(&[], authority);
    let server = kind.serve(Script::Answer(answer("404 Not Found", "", b"")));
    let (_folder, ca_file) = ca_file(&kind.chain);
    let url = server.url("https");
    let listed = transport(std::slice::from_ref(&ca_file), std::slice::from_ref(&url));
    assert_eq!(listed.reach(&url).await.ok(), Some(404));
    let (failed, innermost) = transport(&[ca_file], &[]).reach(&url).await.expect_err("it is not listed");
    assert_eq!(failed.reason, Reason::UpstreamTLS);
    assert!(innermost.contains("CaUsedAsEndEntity"), "{innermost}");
}

#[tokio::test]
async fn request_whose_time_is_over_when_the_connection_stands_is_not_sent() {
    const HANDSHAKE: Duration = Duration::from_millis(300);
    let kind = Kind::own(&["127.0.0.1"], as_it_comes);
    let server = kind.serve(Script::AnswerAfter(
        HANDSHAKE,
        answer("200 OK", "", br#"{"access_token":"1000.a.b","expires_in":3600}"#),
    ));
    let (_folder, ca_file) = ca_file(&kind.chain);
    let transport = transport(&[ca_file], &[server.url("https")]);
    for request in [refresh(&server.url("https")), login(&server.url("https"))] {
        let end = clock::steady() + HANDSHAKE / 3;
        let reply = transport.send_before(end, &request, &Standing).await;
        assert!(reply.is_none(), "{reply:?}");
        assert!(clock::steady() > end + HANDSHAKE / 3, "a connection was waited for");
    }
    assert_eq!(server.requests().len(), 0, "no secret leaves too late");
    // In time, the same way leads there.
    let end = clock::steady() + Duration::from_secs(60);
    let reply = transport.send_before(end, &refresh(&server.url("https")), &Standing).await.expect("it was sent");
    assert_eq!(word(&reply), "token 1000.a.b");
    assert_eq!(server.requests().len(), 1);
}
