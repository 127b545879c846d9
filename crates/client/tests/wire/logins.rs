//! Answers to a login: after a password was sent, what is not understood is a refusal.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use url::Url;
use zoho_api::SecretRef;
use zoho_client::transport::Transport;
use zoho_core::issuer::TokenRequest;
use zoho_core::issuer::server_login::LoginServer;
use zoho_core::policy::{ListedServer, Policy};
use zoho_core::secret::LoginGrant;

use crate::support::{Script, Server, Standing, answer, cut_answer, transport, word};

pub(crate) const TOKEN: &[u8] =
    br#"{"message_response":{"authentication":{"auth_data":{"auth_token":"A1-B2"}}},"status":"success"}"#;

/// A login on a listed server.
pub(crate) fn login(base: &Url) -> TokenRequest {
    let policy =
        Policy { servers: vec![ListedServer { url: base.clone(), namespaces: Vec::new() }], ..Policy::default() };
    let spec: Value = json!({ "url": base.as_str() });
    let server =
        LoginServer::of(&serde_json::from_value(spec).expect("a server"), None, ("ns", &policy)).expect("it is listed");
    let pairs = [("username", "api"), ("password", "the-password"), ("totp_secret", "JBSWY3DPEHPK3PXP")];
    let data = pairs.map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())));
    let source = Secret { data: Some(data.into()), ..Secret::default() };
    let reference = SecretRef { name: "login".into(), ..SecretRef::default() };
    TokenRequest::Login(server, LoginGrant::from_secret(&source, &reference, "ns").expect("a login"))
}

async fn logged_in(transport: &Transport, status: &str, headers: &str, body: &[u8]) -> String {
    let server = Server::start(Script::Answer(answer(status, headers, body)));
    let reply = transport.send(&login(&server.url("http")), &Standing).await;
    assert_eq!(server.requests().len(), 1, "the password is sent once");
    word(&reply)
}

#[tokio::test]
async fn refusal_whose_end_is_missing_is_a_refusal() {
    let table: [(&str, &[u8], &str); 4] = [
        ("401 Unauthorized", b"<html>", "LoginRejected - NotMinted"),
        ("403 Forbidden", b"<html>", "LoginRejected not_understood NotMinted"),
        ("200 OK", TOKEN, "token A1-B2"),
        ("200 OK", &TOKEN[..TOKEN.len() - 1], "UpstreamUnavailable - Unknown"),
    ];
    for (status, body, expected) in table {
        let server = Server::start(Script::AnswerAndEnd(cut_answer(status, body)));
        let reply = transport(&[], &[]).send(&login(&server.url("http")), &Standing).await;
        assert_eq!(word(&reply), expected, "{status}");
        assert_eq!(server.requests().len(), 1, "the password is sent once");
    }
}

#[tokio::test]
async fn answer_that_is_not_understood_is_final_at_the_first_time() {
    const REJECTED: &str = "LoginRejected - NotMinted";
    const UNCLEAR: &str = "LoginRejected not_understood NotMinted";
    const PASSING: &str = "UpstreamUnavailable - Unknown";
    let transport = transport(&[], &[]);
    let iam: &[u8] = br#"{"errorCode":"IAM0027","errorMsg":"Invalid credentials"}"#;
    let table: [(&str, &str, &[u8], &str); 12] = [
        ("200 OK", "", TOKEN, "token A1-B2"),
        ("200 OK", "", &[b"\xef\xbb\xbf", TOKEN].concat(), "token A1-B2"),
        ("200 OK", "", iam, REJECTED),
        ("400 Bad Request", "", iam, REJECTED),
        ("401 Unauthorized", "", b"<html>Sign in</html>", REJECTED),
        ("403 Forbidden", "", b"<html>Account locked</html>", UNCLEAR),
        ("200 OK", "", b"<html>Sign in</html>", UNCLEAR),
        ("302 Found", "Location: /login?failed=true\r\n", b"", UNCLEAR),
        ("500 Internal Server Error", "", b"<html>NullPointerException</html>", UNCLEAR),
        ("404 Not Found", "", b"", UNCLEAR),
        ("503 Service Unavailable", "", b"starting", PASSING),
        ("502 Bad Gateway", "", b"<html>", PASSING),
    ];
    for (status, headers, body, expected) in table {
        let said = logged_in(&transport, status, headers, body).await;
        assert_eq!(said, expected, "{status} {}", String::from_utf8_lossy(body));
    }
}

#[tokio::test]
async fn no_second_one_time_password_follows_an_answer_that_is_not_understood() {
    struct NearAnEdge;
    impl zoho_client::clock::Clock for NearAnEdge {
        fn now(&self) -> zoho_api::Time {
            zoho_api::Time::UNIX_EPOCH + Duration::from_secs(30 * 1000 + 1)
        }
    }
    let two_factor =
        br#"{"message_response":{"authentication":{"two_factor_data":{"unique_userID":"7"}}},"status":"success"}"#;
    let refused = br#"{"status":"error","error_code":"10003"}"#;
    for (name, second, requests) in [
        ("refused: the neighbouring step is tried", answer("200 OK", "", refused), 3),
        ("not understood", answer("403 Forbidden", "", b"<html>"), 2),
    ] {
        let server = Server::start(Script::Sequence(vec![answer("200 OK", "", two_factor), second]));
        let reply = transport(&[], &[]).send(&login(&server.url("http")), &NearAnEdge).await;
        assert!(word(&reply).starts_with("LoginRejected"), "{name}: {}", word(&reply));
        assert_eq!(server.requests().len(), requests, "{name}");
    }
}
