//! What people read when something is wrong, for every way in which it can be: `golden/messages.md`, written by this test.
//!
//! The way is the operator's own, without what is in between: bytes to verdict, verdict to ledger, ledger to plan, plan to
//! status. The test fails when the file is stale; `make golden` writes it anew, and the difference is to be reviewed.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use zoho_api::names::{AttemptId, ObjectName};
use zoho_api::{
    Attempt, ConditionType, DataCenter, Grant, Observed as Versions, Outcome, Reason, SecretRef, Time, ZohoCredential,
    ZohoCredentialStatus, ZohoMintLedgerSpec,
};
use zoho_core::facts::ownership::{not_opaque, not_owned};
use zoho_core::facts::source::source_defect;
use zoho_core::issuer::cause::{Cause, ProxyKind, ProxyProblem};
use zoho_core::issuer::client_credentials;
use zoho_core::issuer::reply::{self, Failed, Head, Reply};
use zoho_core::issuer::server_login::{self, LoginAnswer, LoginServer};
use zoho_core::issuer::{Failure, answer};
use zoho_core::message::{self, Names};
use zoho_core::plan::budget::Limits;
use zoho_core::plan::guard::Guard;
use zoho_core::plan::record::{self, Lesson};
use zoho_core::plan::renewal::Renewal;
use zoho_core::plan::{Defect, Facts, Source, Target, plan, verify};
use zoho_core::policy::{ListedServer, Policy};
use zoho_core::secret::{LoginGrant, RefreshGrant};
use zoho_core::spec;
use zoho_core::status::Report;

const INPUTS: &str = "inputs";

fn now() -> Time {
    "2026-11-21T10:00:00Z".parse().expect("a time")
}

/// What a person is told, and when the next try is.
struct Told(ZohoCredentialStatus);

impl Told {
    fn of(source: Source, ledger: ZohoMintLedgerSpec, failure: Option<&Failure>, names: &Names, at: Time) -> Self {
        let facts = Facts {
            deleting: false,
            defect: None,
            suspended: false,
            renewal: Renewal::BeforeExpiry(Duration::from_secs(1800)),
            spacing: Duration::ZERO,
            is_login: false,
            namespace: "ns".into(),
            renew_requested: false,
            source,
            target: Target::Absent,
            presented_otherwise: false,
            token_ended: false,
            stored: None,
            conflict: None,
            at_hand: None,
            verification: None,
            ledger,
            minting: false,
            grounded_until: None,
            guarded_until: None,
        };
        let plan = plan(&facts, &"holder".into(), Limits::default(), at);
        let report = Report {
            previous: &ZohoCredentialStatus::default(),
            generation: 1,
            facts: &facts,
            plan: &plan,
            failure,
            names,
            versions: Versions::default(),
            live_tokens: None,
            granted_scopes: None,
            handled: None,
        };
        Self(zoho_core::status::report(&report, at))
    }

    fn write(&self, page: &mut String, input: &str, at: Time) {
        let Self(status) = self;
        let renewable = status.condition(ConditionType::Renewable).expect("a report has it");
        let next = match status.next_attempt_time {
            Some(next) => format!("next try in {} s", next.since(at).as_secs()),
            None => "no next try by itself".into(),
        };
        let stalled = if status.condition(ConditionType::Stalled).is_some() { ", a person must act" } else { "" };
        let (word, reason, message) = (renewable.status, &renewable.reason, &renewable.message);
        let _ = writeln!(page, "{input}\n: Renewable {word:?}, `{reason}`; {next}{stalled}\n\n> {message}\n");
    }
}

fn names_of_zoho() -> Names {
    Names {
        credential: "patch-manager".into(),
        source: ObjectName::new("patching", "zoho-oauth"),
        target: ObjectName::new("patching", "patch-manager-token"),
        source_manager: None,
        refresh_token_key: "refresh_token".into(),
        refresh_token_is_unmarked: false,
        scopes: Vec::new(),
        grant: Grant::RefreshToken,
        data_center: Some(DataCenter::EU),
        service: "The token service of data center EU".into(),
        console: "https://api-console.zoho.eu".into(),
        expiry_is_named: true,
        question: None,
    }
}

fn names_of_client() -> Names {
    Names {
        grant: Grant::ClientCredentials,
        scopes: vec!["ZohoCRM.modules.READ".into(), "ZohoCRM.users.READ".into()],
        ..names_of_zoho()
    }
}

fn names_of_server() -> Names {
    let server = "https://ec.corp.example:8383";
    Names {
        source: ObjectName::new("patching", "ec-login"),
        data_center: None,
        service: format!("The server {server}"),
        console: server.into(),
        expiry_is_named: false,
        ..names_of_zoho()
    }
}

/// The ledger after answers, a minute apart, and what is told then. As a flight settles it.
fn told(answers: &[Reply], names: &Names) -> (Told, Time) {
    let mut ledger = ZohoMintLedgerSpec::default();
    let mut last = None;
    let mut at = now();
    for (number, answer) in answers.iter().enumerate() {
        at = now() + Duration::from_secs(60 * number as u64);
        let id = AttemptId::from(number.to_string());
        let attempt = Attempt {
            id: id.clone(),
            at,
            holder: "holder".into(),
            inputs: INPUTS.into(),
            life: None,
            outcome: None,
            ..Attempt::default()
        };
        record::reserve(&mut ledger, attempt);
        let mut learn = |outcome| record::learn(&mut ledger, &Lesson::Outcome { id: id.clone(), outcome, life: None });
        let (reason, code, cause) = match answer {
            Reply::Minted(_) => panic!("this page is about failures"),
            Reply::Throttled { silence } => {
                learn(Outcome::NotMinted);
                record::throttle(&mut ledger, at + *silence);
                (Reason::Throttled, None, None)
            }
            Reply::Failed(Failed { reason, code, permanent, outcome, cause }) => {
                learn(*outcome);
                if *permanent {
                    record::refuse(&mut ledger, &INPUTS.into(), (*reason, code.clone()), at);
                }
                (*reason, code.clone(), cause.clone())
            }
        };
        last = Some(Failure { reason, code, at, again_at: None, cause });
    }
    let source = Source::Usable { inputs: INPUTS.into(), ledger: "3f9c".into() };
    (Told::of(source, ledger, last.as_ref(), names, at), at)
}

fn held_back(page: &mut String) {
    let _ = writeln!(page, "## What never worked is held back (`MintBudgetExhausted`)\n");
    for guard in [
        Guard::OtherNamespace,
        Guard::FailedLogins,
        Guard::Refusals,
        Guard::NewLedgers,
        Guard::FailedGuesses,
        Guard::Passwords,
    ] {
        let _ = writeln!(page, "{guard:?}\n: {}\n", message::guarded(guard));
    }
}

fn replies(page: &mut String) {
    let throttle = r#"{"error":"Access Denied","error_description":"You have made too many requests continuously. Please try again after some time.","status":"failure"}"#;
    let address =
        r#"{"error":"Access Denied","error_description":"Your IP address is not allowed.","status":"failure"}"#;
    let redirect = Head { location: Some("https://accounts.zoho.com/oauth/v2/token"), ..Head::of(307) };
    let same = Head { location: Some("https://accounts.zoho.eu/signin"), ..Head::of(302) };
    let date = Head {
        retry_after: Some("Sat, 21 Nov 2026 10:30:00 GMT"),
        date: Some("Sat, 21 Nov 2026 10:00:00 GMT"),
        ..Head::of(429)
    };
    let table: Vec<(Head<'_>, &[u8])> = vec![
        (Head::of(200), br#"{"error":"invalid_code"}"#),
        (Head::of(200), br#"{"error":"INVALID_CODE"}"#),
        (Head::of(200), br#"{"error":{"code":"invalid_code"}}"#),
        (Head::of(200), b"\xef\xbb\xbf{\"error\":\"invalid_code\"}"),
        (Head::of(400), b"{\"error\":\"invalid_code\",\"error_description\":\"ung\xfcltig\"}"),
        (Head::of(200), br#"{"error":"invalid_token"}"#),
        (Head::of(200), br#"{"error":"invalid_client"}"#),
        (Head::of(200), br#"{"error":"invalid_client_secret"}"#),
        (Head::of(200), br#"{"error":"invalid_scope"}"#),
        (Head::of(400), br#"{"error":"inactive_user","error_description":"...","status":"failure"}"#),
        (Head::of(200), br#"{"error":"general_error"}"#),
        (Head::of(200), br#"{"error":"Something odd"}"#),
        (Head::of(500), br#"{"error":"general_error"}"#),
        (Head::of(400), throttle.as_bytes()),
        (Head::of(200), br#"{"error":"Access Denied"}"#),
        (Head::of(400), address.as_bytes()),
        (date, b""),
        (redirect, b""),
        (same, b""),
        (Head::of(502), b"<html>Bad Gateway</html>"),
        (Head::of(200), b"<html>Sign in to the corporate network</html>"),
        (Head::of(200), br#"{"access_token":"1000.a"#),
        (Head::of(200), b""),
    ];
    let _ = writeln!(page, "## Replies of the token service to a refresh, data center EU\n");
    for (head, body) in &table {
        let reply = reply::classify(*head, body, now());
        let (told, at) = told(&[reply], &names_of_zoho());
        told.write(page, &input(*head, body), at);
    }
    let _ = writeln!(page, "## The same, said again a minute later\n");
    for (head, body) in &table[..11] {
        let reply = reply::classify(*head, body, now());
        let (told, at) = told(&[reply.clone(), reply], &names_of_zoho());
        told.write(page, &input(*head, body), at);
    }
    let often = reply::classify(Head::of(200), br#"{"error":"general_error"}"#, now());
    let (told, at) = told(&vec![often; 8], &names_of_zoho());
    told.write(page, "`HTTP 200` `{\"error\":\"general_error\"}`, eight times", at);
}

fn clients(page: &mut String) {
    let throttle = r#"{"error":"Access Denied","error_description":"You have made too many requests continuously. Please try again after some time.","status":"failure"}"#;
    let table = [
        r#"{"error":"missing_org_info"}"#,
        r#"{"error":"invalid_soid"}"#,
        r#"{"error":"invalid_scope"}"#,
        r#"{"error":"unauthorized_client"}"#,
        r#"{"error":"invalid_client"}"#,
        r#"{"error":"invalid_code"}"#,
        throttle,
    ];
    let _ = writeln!(page, "## Replies to a request by client credentials, twice a minute apart\n");
    for body in table {
        let reply = client_credentials::classify(Head::of(200), body.as_bytes(), now());
        let (told, at) = told(&[reply.clone(), reply], &names_of_client());
        told.write(page, &input(Head::of(200), body.as_bytes()), at);
    }
    let scopes_known = Names { grant: Grant::RefreshToken, ..names_of_client() };
    let source_manager = Some("ExternalSecret zoho-oauth".into());
    let odd = Names { refresh_token_is_unmarked: true, source_manager, ..names_of_zoho() };
    let table = [
        ("A refresh token whose scopes are recorded", scopes_known),
        ("A refresh token that does not look like one, in a Secret that another controller makes", odd),
    ];
    for (heading, names) in table {
        let _ = writeln!(page, "## {heading}\n");
        let reply = reply::classify(Head::of(200), br#"{"error":"invalid_code"}"#, now());
        let (told, at) = told(&[reply.clone(), reply], &names);
        told.write(page, "`HTTP 200` `{\"error\":\"invalid_code\"}`, twice", at);
    }
    let _ = writeln!(page, "## Scopes that were not granted (Event `VerificationRejected`)\n");
    for grant in [Grant::RefreshToken, Grant::ClientCredentials] {
        let _ = writeln!(page, "{grant:?}\n: {}\n", message::not_granted(grant, &["ZohoCRM.users.READ"]));
    }
}

fn input(head: Head<'_>, body: &[u8]) -> String {
    let mut input = format!("`HTTP {}`", head.status);
    for (name, value) in [("Location", head.location), ("Retry-After", head.retry_after)] {
        let _ = value.map(|value| write!(input, " `{name}: {value}`"));
    }
    if !body.is_empty() {
        let _ = write!(input, " {}", quoted(body));
    }
    input
}

fn quoted(bytes: &[u8]) -> String {
    format!("`{}`", bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}

fn logins(page: &mut String) {
    let table: [(u16, &[u8]); 8] = [
        (200, br#"{"status":"error","error_code":"10001","error_description":"..."}"#),
        (401, b"<html>Unauthorized</html>"),
        (400, br#"{"errorCode":"IAM0027","errorMsg":"..."}"#),
        (403, b"<html>Forbidden</html>"),
        (200, b"<html>Sign in</html>"),
        (302, b""),
        (500, b"<html>Internal Server Error</html>"),
        (503, b"starting"),
    ];
    let _ = writeln!(page, "## Answers of a server to a login\n");
    for (status, body) in table {
        let LoginAnswer::Failed(failed) = server_login::classify(Head::of(status), body) else { panic!("a failure") };
        let (told, at) = told(&[Reply::Failed(failed)], &names_of_server());
        told.write(page, &input(Head::of(status), body), at);
    }
    for (what, failed) in [
        ("the server requires a one-time password, and the source has no seed", server_login::otp_required()),
        ("the one-time password is refused", server_login::otp_refused()),
    ] {
        let (told, at) = told(&[Reply::Failed(failed)], &names_of_server());
        told.write(page, what, at);
    }
}

fn connections(page: &mut String) {
    let time = |text: &str| Some(text.parse().expect("a time"));
    let proxy = |kind| Cause::Proxy(ProxyProblem { proxy: "proxy.corp.example:3128".into(), kind });
    let called = || "ec.corp.example".to_owned();
    let table = [
        ("an authority that is not known", Reason::UpstreamTLS, Some(Cause::UnknownAuthority)),
        ("an expired certificate", Reason::UpstreamTLS, Some(Cause::Expired { since: time("2026-11-01T00:00:00Z") })),
        (
            "a certificate of tomorrow",
            Reason::UpstreamTLS,
            Some(Cause::NotYetValid { from: time("2026-11-22T00:00:00Z") }),
        ),
        (
            "a certificate for other names",
            Reason::UpstreamTLS,
            Some(Cause::WrongName { called: called(), names: vec!["ec".into(), "localhost".into()] }),
        ),
        (
            "a certificate without names",
            Reason::UpstreamTLS,
            Some(Cause::WrongName { called: called(), names: Vec::new() }),
        ),
        ("a certificate with CA:TRUE", Reason::UpstreamTLS, Some(Cause::AuthorityAsServer)),
        ("a certificate that is broken otherwise", Reason::UpstreamTLS, Some(Cause::BadCertificate)),
        ("plain http on the https port", Reason::UpstreamTLS, Some(Cause::PlainHttp)),
        ("TLS 1.1 only", Reason::UpstreamTLS, Some(Cause::ProtocolVersion)),
        ("a handshake that is broken off", Reason::UpstreamUnavailable, Some(Cause::BrokenHandshake)),
        ("a proxy that answers 407", Reason::UpstreamUnavailable, Some(proxy(ProxyKind::WantsLogin))),
        ("a proxy that answers 403 to CONNECT", Reason::UpstreamUnavailable, Some(proxy(ProxyKind::Refuses))),
        ("a proxy that does not answer", Reason::UpstreamUnavailable, Some(proxy(ProxyKind::Unreachable))),
        ("a proxy with a certificate that is not trusted", Reason::UpstreamTLS, Some(proxy(ProxyKind::Untrusted))),
        ("a name that DNS does not know", Reason::UpstreamUnavailable, Some(Cause::UnknownHost)),
        ("nobody listens", Reason::UpstreamUnavailable, Some(Cause::Unreachable)),
    ];
    let _ = writeln!(page, "## Connections that do not come about\n");
    for (what, reason, cause) in table {
        let failed = Failed { cause, ..Failed::passing(reason, Outcome::NotSent) };
        let (told, at) = told(&[Reply::Failed(failed)], &names_of_server());
        told.write(page, what, at);
    }
    let (told, at) =
        told(&[Reply::Failed(Failed::passing(Reason::UpstreamTimeout, Outcome::Unknown))], &names_of_zoho());
    told.write(page, "no answer in time", at);
}

fn sources(page: &mut String) {
    let table: [&[u8]; 12] = [
        b"",
        b"\"1000.abc.def\"",
        b"1000.abc def",
        b"Zoho-oauthtoken 1000.abc.def",
        b"\xef\xbb\xbf1000.abc.def",
        b"\xff\xfe1\x000\x00",
        b"MTAwMC5hYmMuZGVm",
        b"TVRBd01DNWhZbU11WkdWbQ==",
        b"replace-with-your-refresh-token",
        b"<refresh token>",
        b"{\"refresh_token\":\"1000.abc.def\"}",
        b"1000.abc\x7f",
    ];
    let reference = SecretRef { name: "zoho-oauth".into(), ..SecretRef::default() };
    let _ = writeln!(page, "## Values of key refresh_token\n");
    for value in table {
        let pairs: [(&str, &[u8]); 3] =
            [("client_id", b"1000.ID"), ("client_secret", b"secret"), ("refresh_token", value)];
        let defect =
            RefreshGrant::from_secret(&secret(&pairs), &reference, "patching").expect_err("it cannot be right");
        let value = if value.is_empty() { "nothing".into() } else { quoted(value) };
        refused(page, &value, defect, &names_of_zoho());
    }
    let reference = SecretRef { name: "ec-login".into(), ..SecretRef::default() };
    let _ = writeln!(page, "## Values of a login\n");
    for (key, value) in [("username", "'api'"), ("password", "replace-with-the-password"), ("totp_secret", "0189")] {
        let mut pairs = vec![("username", "api"), ("password", "secret")];
        pairs.retain(|(name, _)| *name != key);
        pairs.push((key, value));
        let pairs: Vec<(&str, &[u8])> = pairs.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        let defect = LoginGrant::from_secret(&secret(&pairs), &reference, "patching").expect_err("it cannot be right");
        refused(page, &format!("`{key}: {value}`"), defect, &names_of_server());
    }
}

fn unmeant(page: &mut String) {
    let credential = |spec: serde_json::Value| -> ZohoCredential {
        let metadata = json!({ "name": "patch-manager", "namespace": "patching" });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).expect("a credential")
    };
    let spec = json!({ "dataCenter": "EU", "secretRef": { "name": "zoho-oauth" } });
    let policy = Policy { require_source_consent: true, data_centers: vec![DataCenter::EU], ..Policy::default() };
    let good = credential(spec.clone());
    let served = spec::check(&good, &policy).expect("it can be served");
    let _ = writeln!(
        page,
        "## What the administrator does not allow, and Secrets that are not meant as source or target\n"
    );
    let values: [(&str, &[u8]); 3] = [("client_id", b"1000.ID"), ("client_secret", b"s"), ("refresh_token", b"1000.r")];
    let key = Secret { type_: Some("kubernetes.io/ssh-auth".into()), ..secret(&values) };
    for (input, source) in
        [("a source of type `kubernetes.io/ssh-auth`", key), ("a source without consent", secret(&values))]
    {
        let defect = source_defect(&good, Some(&source), Some(&served), &policy).expect("it is not taken");
        refused(page, input, defect, &names_of_zoho());
    }
    let defect =
        source_defect(&good, Some(&secret(&values[..2])), Some(&served), &Policy::default()).expect("a defect");
    refused(page, "a source without `refresh_token`", defect, &names_of_zoho());
    for (field, value) in [
        ("dataCenter", json!("US")),
        ("target", json!({ "annotations": { "replicator.v1.mittwald.de/replicate-to": "*" } })),
        ("apiUrl", json!("https://patch.manageengine.eu/%2e%2e/x")),
    ] {
        let mut edited = spec.clone();
        edited[field] = value.clone();
        let defect = spec::check(&credential(edited), &policy).expect_err("it is not served");
        refused(page, &format!("`{field}: {value}`"), defect, &names_of_zoho());
    }
    let target = ObjectName::new("patching", "patch-manager-token");
    refused(
        page,
        "another user's Secret with the name of the target",
        not_owned(&good, &target, None),
        &names_of_zoho(),
    );
    refused(
        page,
        "consent to take over one of type `kubernetes.io/tls`",
        not_opaque(&target, "kubernetes.io/tls"),
        &names_of_zoho(),
    );
}

fn secret(pairs: &[(&str, &[u8])]) -> Secret {
    let data = pairs.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())));
    Secret { data: Some(data.collect()), ..Secret::default() }
}

fn servers(page: &mut String) {
    let listed = |url: &str, namespaces: &[&str]| ListedServer {
        url: url.parse().expect("a URL"),
        namespaces: namespaces.iter().map(|namespace| (*namespace).to_owned()).collect(),
    };
    let servers = vec![listed("https://ec.corp.example:8383", &[]), listed("https://hr.corp.example:8383", &["hr"])];
    let policy = Policy { servers, ..Policy::default() };
    let _ = writeln!(
        page,
        "## URLs of servers; https://ec.corp.example:8383 is listed, and https://hr.corp.example:8383 for namespace hr\n"
    );
    for url in [
        "http://ec.corp.example:8020",
        "https://ec.corp.example",
        "https://ec.corp.example:8383/other",
        "https://hr.corp.example:8383",
    ] {
        let spec = serde_json::from_value(json!({ "url": url })).expect("a spec");
        let defect = LoginServer::of(&spec, None, ("patching", &policy)).expect_err("it is not served");
        refused(page, &format!("`{url}`"), defect, &names_of_server());
    }
}

/// What condition Verified says of a product's answer to a token that it took before.
fn products(page: &mut String) {
    let credential = |product: &str| {
        let spec = json!({
            "dataCenter": "EU", "product": product, "secretRef": { "name": "s" }, "verify": { "interval": "5m" },
        });
        ZohoCredential::new("c", serde_json::from_value(spec).expect("a spec"))
    };
    let table: [(&str, u16, &str); 8] = [
        ("ZohoCRM", 200, r#"{"org":[]}"#),
        ("ZohoCRM", 403, r#"{"code":"NO_PERMISSION"}"#),
        ("ZohoCRM", 401, r#"{"code":"INVALID_TOKEN"}"#),
        ("ZohoCRM", 401, r#"{"code":"OAUTH_SCOPE_MISMATCH"}"#),
        ("Site24x7", 401, r#"{"error_code":1121}"#),
        ("ZohoWorkDrive", 500, r#"{"errors":[{"id":"INVALID_TICKET"}]}"#),
        ("ZohoCreator", 200, r#"{"code":4000}"#),
        ("ZohoBooks", 200, "<html>"),
    ];
    let _ = writeln!(page, "## Answers of products to a token, in condition Verified\n");
    for (product, status, body) in table {
        let served = spec::check(&credential(product), &Policy::default()).expect("it is served");
        let (_, question) = served.verify.expect("it is verified");
        let question = question.expect("it is asked");
        let answer = answer::classify(&question, status, body.as_bytes());
        let says = message::verified(&question, answer, answer == verify::Answer::Refused);
        let _ = writeln!(page, "{product}: `HTTP {status}` `{body}`\n: {answer:?}\n\n> {says}\n");
    }
    for (product, data_center) in [("ZohoCatalyst", DataCenter::EU), ("ZohoBilling", DataCenter::JP)] {
        let mut credential = credential(product);
        credential.spec.data_center = Some(data_center);
        let told = match spec::check(&credential, &Policy::default()) {
            Ok(served) => served.verify.expect("it is verified").1.expect_err("no path is known").message,
            Err(defect) => defect.message,
        };
        let _ = writeln!(page, "{product} in {data_center}\n\n> {told}\n");
    }
}

fn refused(page: &mut String, input: &str, defect: Defect, names: &Names) {
    Told::of(Source::Unusable(defect), ZohoMintLedgerSpec::default(), None, names, now()).write(page, input, now());
}

#[test]
fn messages_are_those_that_were_reviewed() {
    let mut page = String::from(
        "# What people read when something is wrong\n\nWritten by `make golden` (`crates/core/tests/golden.rs`), not by hand: input, condition and next try, and the message in\ncondition `Renewable`. No token is valid in these cases, and the credential is new.\n\n",
    );
    for section in [replies, clients, logins, connections, sources, servers, unmeant, held_back, products] {
        section(&mut page);
    }
    let page = page.trim_end().to_owned() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages.md");
    #[expect(clippy::disallowed_methods, reason = "make golden says so by it")]
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("written");
        return;
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(reviewed.lines()).find(|(made, reviewed)| made != reviewed);
    assert!(
        page == reviewed,
        "tests/golden/messages.md is stale: make golden, and review the difference\n{differs:#?}"
    );
}
