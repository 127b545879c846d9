//! The wire as it is, through the whole operator: replies that are not quite as documented, servers with certificates of
//! their own, proxies, and values that somebody copied badly.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use kube::api::DeleteParams;
use serde_json::{Value, json};
use zoho_api::{ConditionStatus, ConditionType};
use zoho_simulator::script::{Page, Reply, Script, Target};
use zoho_simulator::{Certificate, Simulator, SimulatorConfig};

use crate::support::look::{condition, is_ready, message};
use crate::support::was_at_once;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, World};

const PASSWORD: &str = "canary0password0bead5";

/// Mints, and answers with this body around the token.
fn around(body: &[u8]) -> Page {
    Page::json(200, body)
}

#[tokio::test]
async fn token_is_stored_whatever_stands_around_it_for_one_request() {
    let world = World::new("wire_tokens").await;
    let _operator = world.operator();
    let plain = br#"{"access_token":"$ACCESS_TOKEN","expires_in":3600}"#;
    let rows: [(&str, Page); 7] = [
        ("mark", around(&[b"\xef\xbb\xbf", &plain[..]].concat())),
        ("twice", around(br#"{"access_token":"$ACCESS_TOKEN","access_token":"$ACCESS_TOKEN"}"#)),
        ("empty-error", around(br#"{"error":"","access_token":"$ACCESS_TOKEN"}"#)),
        ("null-error", around(br#"{"error":null,"access_token":"$ACCESS_TOKEN"}"#)),
        ("latin-1", around(b"{\"owner\":\"J\xf6rg\",\"access_token\":\"$ACCESS_TOKEN\"}")),
        ("gzip", around(plain).gzipped()),
        ("refresh-token", around(br#"{"access_token":"$ACCESS_TOKEN","refresh_token":"1000.another0refresh0token"}"#)),
    ];
    let credentials = world.zoho.register_many("wire", rows.len());
    for ((name, page), registered) in rows.iter().zip(&credentials) {
        world.zoho.script_for(&registered.refresh_token, Reply::MintThenStatus(page.clone()));
        world.source_of(&format!("source-{name}"), registered).await;
        world.credential(name, &format!("source-{name}"), json!({})).await;
    }
    for ((name, _), registered) in rows.iter().zip(&credentials) {
        world.wait_ready(name).await;
        let token = world.token(&format!("{name}-token")).await.expect("a token");
        assert!(world.zoho.is_alive(&token), "{name}");
        assert_eq!(world.zoho.counts(&registered.refresh_token).posts, 1, "{name}");
    }
}

#[tokio::test]
async fn refresh_token_that_comes_with_a_refresh_is_warned_of_once_and_not_used() {
    let world = World::new("wire_rotation").await;
    world.confide("1000.another0refresh0token");
    let operator = world.operator();
    let source = world.good_source("source").await;
    let body = br#"{"access_token":"$ACCESS_TOKEN","refresh_token":"1000.another0refresh0token"}"#;
    world.zoho.script_for(REFRESH_TOKEN, Script::until_cleared(Reply::MintThenStatus(around(body))));
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    world.advance(2200);
    world.zoho.wait_for_posts_of(REFRESH_TOKEN, 2, Duration::from_secs(60)).await.expect("the renewal");
    world.wait_ready("one").await;
    let warnings = operator.log().lines().filter(|line| line.contains("brought another refresh token")).count();
    assert_eq!(warnings, 1);
    let after = world.secret("source").await.expect("the source");
    assert_eq!(after.metadata.resource_version, source.metadata.resource_version, "the source is left as it is");
}

#[tokio::test]
async fn code_is_read_whatever_stands_around_it_and_what_is_permanent_is_parked() {
    let world = World::new("wire_codes").await;
    let _operator = world.operator();
    let rows: [(&str, Page, &str, &str); 8] = [
        (
            "mark",
            Page::json(200, &b"\xef\xbb\xbf{\"error\":\"invalid_code\"}"[..]),
            "RefreshTokenRejected",
            "(invalid_code)",
        ),
        ("capitals", Page::json(200, r#"{"error":"INVALID_CODE"}"#), "RefreshTokenRejected", "(invalid_code)"),
        ("nested", Page::json(400, r#"{"error":{"code":"Invalid_Code"}}"#), "RefreshTokenRejected", "(invalid_code)"),
        ("token", Page::json(200, r#"{"error":"invalid_token"}"#), "RefreshTokenRejected", "(invalid_token)"),
        ("gzip", Page::json(200, r#"{"error":"invalid_client"}"#).gzipped(), "ClientRejected", "(invalid_client)"),
        (
            "inactive",
            Page::json(400, r#"{"error":"inactive_user","error_description":"x","status":"failure"}"#),
            "UpstreamError",
            "(inactive_user)",
        ),
        (
            "address",
            Page::json(400, r#"{"error":"Access Denied","error_description":"IP address","status":"failure"}"#),
            "Throttled",
            "Allowed IP Addresses",
        ),
        (
            "moved",
            Page::html(307, "").with_header("Location", "https://accounts.zoho.in/oauth/v2/token"),
            "UpstreamRedirect",
            "set spec.dataCenter to IN",
        ),
    ];
    let credentials = world.zoho.register_many("wire", rows.len());
    for ((name, page, ..), registered) in rows.iter().zip(&credentials) {
        world.zoho.script_for(&registered.refresh_token, Script::until_cleared(Reply::Status(page.clone())));
        world.source_of(&format!("source-{name}"), registered).await;
        world.credential(name, &format!("source-{name}"), json!({})).await;
    }
    for (name, _, reason, says) in &rows {
        let seen = world.wait_for_reason(name, reason).await;
        let said = message(&seen, ConditionType::Renewable);
        assert!(said.contains(says), "{name}: {said}");
    }
    world.advance(61);
    for (name, _, _, _) in &rows[..5] {
        let parked = |seen: &_| condition(seen, ConditionType::Stalled) == Some(ConditionStatus::True);
        world.wait(name, "parked after it was said twice", parked).await;
    }
    let second: Vec<u64> = credentials[..5].iter().map(|one| world.zoho.counts(&one.refresh_token).posts).collect();
    assert_eq!(second, [2; 5]);
}

fn server(certificate: Certificate) -> Simulator {
    let tls_names = vec!["127.0.0.1".into()];
    Simulator::start(SimulatorConfig { tls_names, certificate, ..SimulatorConfig::default() })
}

#[tokio::test]
async fn listed_server_is_trusted_by_its_own_certificate_and_nobody_else_is() {
    let world = World::new("wire_own").await;
    world.confide(PASSWORD);
    let (ec, zoho) = (server(Certificate::Own), server(Certificate::Own));
    ec.with(|zoho, _| zoho.server_mut().register(None, "api", PASSWORD, None));
    zoho.register(CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN);
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.pem");
    let both = format!("{}{}", ec.ca_pem().expect("PEM"), zoho.ca_pem().expect("PEM"));
    std::fs::write(&ca_file, both).expect("written");
    let accounts_url = format!("EU={}", zoho.url());
    let ca_file = ca_file.to_str().expect("UTF-8");
    // The token service stands on the same address as the server, which is all that a certificate could tell.
    let args = ["--endpoint-central-url", &ec.url(), "--accounts-url", &accounts_url, "--ca-file", ca_file];
    let operator = world.operator_with(&args);
    world.source("login", &[("username", "api"), ("password", PASSWORD)]).await;
    let spec =
        json!({ "dataCenter": null, "endpointCentralServer": { "url": ec.url() }, "verify": { "interval": "5m" } });
    world.credential("server", "login", spec).await;
    world.wait_ready("server").await;
    let is_verified = |seen: &_| condition(seen, ConditionType::Verified) == Some(ConditionStatus::True);
    world.wait("server", "its token is shown to it, too", is_verified).await;
    ec.with(|zoho, _| zoho.server().given().to_vec()).iter().for_each(|token| world.confide(token));
    drop(operator);
    let elsewhere = ["--accounts-url", &accounts_url, "--ca-file", ca_file];
    let operator = world.operator_with(&elsewhere);
    world.good_source("source").await;
    world.credential("cloud", "source", json!({ "dataCenter": "EU" })).await;
    let seen = world.wait_for_reason("cloud", "UpstreamTLS").await;
    assert!(message(&seen, ConditionType::Renewable).contains("CA:TRUE"));
    assert_eq!(zoho.stats().token.posts, 0, "no secret leaves");
    let log = operator.log();
    let line = log.lines().find(|line| line.contains("\"WARN\"") && line.contains("CaUsedAsEndEntity"));
    assert!(line.is_some(), "the innermost error stands in the log");
}

#[tokio::test]
async fn refusal_that_is_not_understood_is_final_and_the_password_is_never_sent_again() {
    let world = World::new("wire_login").await;
    world.confide(PASSWORD);
    world.zoho.with(|zoho, _| zoho.server_mut().register(None, "api", PASSWORD, None));
    let iam = Page::json(400, r#"{"errorCode":"IAM0027","errorMsg":"Invalid credentials"}"#);
    for (number, (page, says)) in
        [(iam, "refused the login"), (Page::html(403, "<h1>Forbidden</h1>"), "does not understand")]
            .into_iter()
            .enumerate()
    {
        world.zoho.script(Target::Login, Script::until_cleared(Reply::MintThenStatus(page)));
        let args = ["--endpoint-central-url", &world.zoho.url()];
        let operator = world.operator_with(&args);
        let password = format!("{PASSWORD}{number}");
        world.source("login", &[("username", "api"), ("password", &password)]).await;
        let name = format!("server-{number}");
        let spec = json!({ "dataCenter": null, "endpointCentralServer": { "url": world.zoho.url() } });
        world.credential(&name, "login", spec).await;
        let stalled = |seen: &_| condition(seen, ConditionType::Stalled) == Some(ConditionStatus::True);
        let seen = world.wait(&name, "Stalled at the first answer", stalled).await;
        let said = message(&seen, ConditionType::Renewable);
        assert!(said.contains(says) && said.contains("wrong passwords lock accounts"), "{said}");
        assert_eq!(seen.status.and_then(|status| status.next_attempt_time), None);
        let visits = || world.zoho.with(|zoho, _| zoho.server().counts().logins);
        let before = visits();
        world.advance(7 * 3600);
        operator.kill();
        let operator = world.operator_with(&args);
        operator.synced().await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(visits(), before, "not again");
        world.credentials().delete(&name, &DeleteParams::default()).await.expect("deleted");
        world.zoho.clear_scripts();
    }
}

#[tokio::test]
async fn plain_http_to_a_server_elsewhere_is_invalid() {
    let world = World::new("wire_plain").await;
    let _operator = world.operator();
    world.source("login", &[("username", "api"), ("password", PASSWORD)]).await;
    let url = "http://ec.corp.example:8020";
    world.credential("one", "login", json!({ "dataCenter": null, "endpointCentralServer": { "url": url } })).await;
    let seen = world.wait_for_reason("one", "InvalidSpec").await;
    let said = message(&seen, ConditionType::Renewable);
    assert!(said.contains("https") && !said.contains("--endpoint-central-url"), "{said}");
}

#[tokio::test]
async fn proxy_is_for_zoho_and_not_for_a_cluster_on_this_machine_and_is_named_when_it_fails() {
    let world = World::new("wire_proxy").await;
    world.confide("canary0proxy0password");
    let zoho = server(Certificate::OfAuthority);
    zoho.register(CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN);
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, zoho.ca_pem().expect("PEM")).expect("written");
    let dead = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let proxy = format!("http://user:canary0proxy0password@{dead}");
    let accounts_url = format!("EU={}", zoho.url());
    let args = ["--accounts-url", &accounts_url, "--ca-file", ca_file.to_str().expect("UTF-8")];
    // An item that is empty, and one that is none of the cluster's.
    let operator =
        world.operator_in(&args, &[("HTTPS_PROXY", &proxy), ("NO_PROXY", "corp.example,"), ("no_proxy", "")]);
    world.good_source("source").await;
    world.credential("one", "source", json!({ "dataCenter": "EU" })).await;
    let seen = world.wait_for_reason("one", "UpstreamUnavailable").await;
    let said = message(&seen, ConditionType::Renewable);
    assert!(said.contains(&format!("because of the proxy: {dead} does not answer")), "{said}");
    operator.kill();
    // Past any wait: the operator may have been killed in the middle of an attempt.
    world.advance(121);
    let _operator =
        world.operator_in(&args, &[("HTTPS_PROXY", &proxy), ("NO_PROXY", ",127.0.0.1, "), ("no_proxy", "")]);
    world.wait_ready("one").await;
    assert_eq!(zoho.stats().token.posts, 1);
    // Its tokens too are secrets of this world.
    zoho.log().iter().filter_map(|record| record.access_token.clone()).for_each(|token| world.confide(&token));
}

/// A value that somebody copied badly, and what both programs say of it.
const BAD_VALUES: [(&str, &str, &str); 9] = [
    ("quoted", "\"1000.canary0quoted\"", "is in quotes: store it without them"),
    ("broken", "1000.canary0 broken0value", "contains white space: it was damaged when it was copied"),
    ("header", "Zoho-oauthtoken 1000.canary0header", "begins with a word of a header"),
    ("mark", "\u{feff}1000.canary0marked0value", "begins with a byte order mark"),
    ("encoded", "MTAwMC5jYW5hcnkwZW5jb2RlZA==", "is base64 of the real value"),
    ("twice", "TVRBd01DNWpZVzVoY25rd1pXNWpiMlJsWkE9PQ==", "is base64 of the real value"),
    ("example", "replace-with-your-refresh-token", "is the placeholder of an example"),
    ("json", "{\"refresh_token\":\"1000.canary0json\"}", "is JSON"),
    ("empty", " ", "is empty"),
];

#[tokio::test]
async fn value_that_cannot_be_right_is_refused_in_doctors_words_before_anything_is_sent() {
    let world = World::new("wire_values").await;
    let person = crate::plugin::Person::of(&world);
    let operator = world.operator();
    operator.synced().await;
    for (name, value, _) in BAD_VALUES {
        world
            .source(name, &[("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("refresh_token", value)])
            .await;
        world.credential(name, name, json!({})).await;
    }
    for (name, _, says) in BAD_VALUES {
        let seen = world.wait_for_reason(name, "SourceSecretInvalid").await;
        let said = message(&seen, ConditionType::Renewable).clone();
        assert!(said.contains(&format!("has a key refresh_token that {says}")), "{name}: {said}");
        let words = said.split_once(" that ").and_then(|(_, rest)| rest.split_once(". Correct")).expect("the words").0;
        let ran = person.zoho(&["doctor", name, "-o", "json"]).await;
        let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let expected = format!("key refresh_token of source Secret {name} {words}");
        let texts: Vec<&Value> = found.as_array().expect("a list").iter().map(|finding| &finding["text"]).collect();
        assert!(texts.contains(&&json!(expected)), "{expected}: {texts:?}");
    }
    assert_eq!(world.zoho.stats().token.posts, 0);
    for (name, _, _) in BAD_VALUES {
        world.good_source(name).await;
    }
    let started = Instant::now();
    for (name, _, _) in BAD_VALUES {
        assert!(is_ready(&world.wait_ready(name).await));
    }
    was_at_once(started);
}
