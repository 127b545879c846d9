//! What any pod can do to the operator's ports, and who gets to see the metrics.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::chart::render;
use crate::metrics::address;
use crate::support::world::World;
use crate::support::{eventually, tell};
use zoho_testkit::control_plane::OPERATOR_NAMESPACE;

/// Status and body of a GET of `/metrics`.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, authorization: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A server may end TLS without a farewell.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("text");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status.unwrap_or_else(|| panic!("no status in {answer:?}")), body)
}

/// Other systems have neither a second loopback address nor `/proc`.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn half_open_requests_hold_little_and_keep_nobody_out() {
    const HELD: usize = 600;
    let (_world, operator) = World::served("half_open").await;
    let ports = [(address(&operator, "health").await, "/readyz"), (address(&operator, "metrics").await, "/metrics")];
    let probe = async |(address, path): &(String, &str)| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).expect("bound");
        let stream = socket.connect(address.parse().expect("an address")).await.expect("connected");
        ask(stream, path, "").await.0
    };
    for port in &ports {
        assert_eq!(probe(port).await, 200);
    }
    let memory = || ["VmRSS:", "VmHWM:"].map(|field| operator.kibibytes(field).expect("it runs"));
    let before = memory();
    let mut held = Vec::new();
    for number in 0..HELD {
        for port in &ports {
            let mut stream = TcpStream::connect(&port.0).await.expect("connected");
            let request = format!("GET {} HTTP/1.1\r\nX: {}", port.1, "x".repeat(15 * 1024));
            stream.write_all(request.as_bytes()).await.expect("sent");
            held.push(stream);
            if number % 100 == 99 {
                assert_eq!(probe(port).await, 200, "{} with {number} half-open requests", port.1);
            }
        }
    }
    for port in &ports {
        assert_eq!(probe(port).await, 200);
    }
    let after = memory();
    let grown = [after[0].saturating_sub(before[0]), after[1].saturating_sub(before[1])];
    tell(&format!(
        "{HELD} half-open requests on each port: VmRSS {} + {} KiB, VmHWM + {} KiB",
        before[0], grown[0], grown[1]
    ));
    assert!(grown[0].max(grown[1]) < 16 * 1024, "grown by {grown:?} KiB");
}

/// A token of an account that is made for it.
async fn token_of(world: &World, account: &str) -> String {
    let make = ["create", "serviceaccount", account, "-n", &world.namespace];
    assert!(world.cluster.kubectl(&make).await.expect("runs").status.success());
    let output = world.cluster.kubectl(&["create", "token", account, "-n", &world.namespace]).await.expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = String::from_utf8(output.stdout).expect("text").trim().to_owned();
    world.confide(&token);
    token
}

#[tokio::test]
async fn metrics_are_shown_to_whom_the_api_server_lets_read_them() {
    let world = World::new("metrics_auth").await;
    let operator = world.operator_with(&["--metrics-authentication"]);
    let address = address(&operator, "metrics").await;
    let ask = async |authorization: &str| {
        ask(TcpStream::connect(&address).await.expect("connected"), "/metrics", authorization).await
    };
    let (reads, other) = (token_of(&world, "reads").await, token_of(&world, "other").await);
    let (reads, other) = (format!("Authorization: Bearer {reads}\r\n"), format!("Authorization: Bearer {other}\r\n"));

    // Nobody has granted the operator to ask.
    let (status, text) = ask(&reads).await;
    assert_eq!((status, text.contains("cannot be asked")), (503, true), "{text}");
    assert!(operator.log().contains("the API server cannot be asked who may read the metrics"));

    let set = ["--set", "metrics.authentication=true", "--show-only", "templates/clusterroles-metrics.yaml"];
    let roles = render(&world.cluster, OPERATOR_NAMESPACE, None, &set).await;
    world.cluster.apply_yaml(&roles).await.expect("applied");
    let account = format!("{}:reads", world.namespace);
    let role = "--clusterrole=zoho-operator-metrics-reader";
    let bind = ["create", "clusterrolebinding", &world.namespace, role, "--serviceaccount", &account];
    assert!(world.cluster.kubectl(&bind).await.expect("runs").status.success());
    let user = format!("--as=system:serviceaccount:{account}");
    eventually("the reader may read", async || {
        let output = world.cluster.kubectl(&["auth", "can-i", "get", "/metrics", &user]).await.expect("runs");
        output.status.success().then_some(())
    })
    .await;

    let text = eventually("the operator may ask", async || {
        let (status, text) = ask(&reads).await;
        (status != 503).then_some((status, text))
    })
    .await;
    assert!(text.0 == 200 && text.1.contains("zoho_operator_build_info"), "{text:?}");
    let (status, text) = ask(&other).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.starts_with(&format!("system:serviceaccount:{}:other may not read", world.namespace)), "{text}");
    for nobody in ["", "Authorization: Bearer a.b.c\r\n", "Authorization: Basic YTpi\r\n"] {
        let (status, text) = ask(nobody).await;
        assert_eq!(status, 401, "{nobody}: {text}");
        assert!(!text.contains("zoho_operator_"));
    }
    assert_eq!(operator.log().matches("--metrics-authentication without --metrics-certificate").count(), 1);
    let reviews = async || {
        let (_, text) = ask(&reads).await;
        let line = text.lines().find(|line| line.contains("kind=\"tokenreviews\"") && line.contains("code=\"201\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect("counted")
    };
    let before = reviews().await;
    assert_eq!(reviews().await, before, "the API server is asked once a minute for a token");
}

async fn by_tls(address: &str, trusted: &str) -> Result<(u16, String), std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("metrics.example").expect("a name");
    let stream = TcpStream::connect(address).await?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(ask(stream, "/metrics", "").await)
}

fn write_certificate(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["metrics.example".into()]).expect("a certificate");
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).expect("written");
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).expect("written");
    made.cert.pem()
}

#[tokio::test]
async fn metrics_come_by_tls_with_the_certificate_that_is_there_now() {
    let world = World::new("metrics_tls").await;
    let folder = tempfile::tempdir().expect("a folder");
    let first = write_certificate(folder.path());
    let path = folder.path().to_str().expect("text");
    let operator = world.operator_with(&["--metrics-certificate", path]);
    let address = address(&operator, "metrics").await;
    let (status, text) = by_tls(&address, &first).await.expect("TLS");
    assert!(status == 200 && text.contains("zoho_operator_build_info"), "{status} {text}");
    let mut plain = TcpStream::connect(&address).await.expect("connected");
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("zoho_operator"), "{answer:?}");

    let second = write_certificate(folder.path());
    assert_eq!(by_tls(&address, &second).await.expect("the new one").0, 200);
    assert!(by_tls(&address, &first).await.is_err(), "the old one is still shown");
}
