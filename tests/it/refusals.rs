//! What the token service can answer: the right condition, the right next try, never over a good token.

use std::time::Duration;

use serde_json::json;
use zoho_api::{ConditionStatus, ConditionType, Time};
use zoho_simulator::script::{Page, Reply, Script};
use zoho_simulator::{Simulator, SimulatorConfig};

use crate::support::look::{condition, is, is_ready, message};
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, World};
use crate::support::{eventually, was_at_once};

#[tokio::test]
async fn revoked_refresh_token_is_confirmed_once_then_left_alone_until_the_source_changes() {
    let world = World::new("revoked").await;
    let operator = world.operator();
    world.serve_one().await;
    let before = world.secret("one-token").await.expect("the target").data;

    assert!(world.zoho.revoke(REFRESH_TOKEN));
    world.advance(2200);
    let seen = world.wait_for_reason("one", "RefreshTokenRejected").await;
    assert_eq!(condition(&seen, ConditionType::Stalled), None, "asked once more before it is believed");
    world.advance(61);
    let seen = world
        .wait("one", "Stalled", |seen| condition(seen, ConditionType::Stalled) == Some(ConditionStatus::True))
        .await;
    assert!(!is_ready(&seen), "Zoho has ended the access tokens too");
    assert!(is(&seen, ConditionType::Renewable, "RefreshTokenRejected"));
    let text = message(&seen, ConditionType::Renewable);
    for part in ["(invalid_code)", "https://api-console.zoho.com", "key refresh_token of Secret", "Next try"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(world.secret("one-token").await.expect("the target").data, before, "byte for byte");
    assert_eq!(world.zoho.stats().token.posts, 3);

    operator.kill();
    let _operator = world.operator();
    world.advance(5 * 3600);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.zoho.stats().token.posts, 3, "parked, also over a restart");

    world.zoho.register(CLIENT_ID, CLIENT_SECRET, "1000.repaired0refresh.beef");
    let started = std::time::Instant::now();
    world
        .source(
            "source",
            &[
                ("client_id", CLIENT_ID),
                ("client_secret", CLIENT_SECRET),
                ("refresh_token", "1000.repaired0refresh.beef"),
            ],
        )
        .await;
    world.wait_ready("one").await;
    was_at_once(started);
}

/// How one reply must be reported.
struct Row {
    name: &'static str,
    reply: Reply,
    reason: &'static str,
    /// Seconds from the attempt to the next one.
    next_in: std::ops::RangeInclusive<i64>,
}

fn rows() -> Vec<Row> {
    let row = |name, reply, reason, next_in| Row { name, reply, reason, next_in };
    let throttled = r#"{"error":"Access Denied","error_description":"You have made too many requests continuously. Please try again after some time.","status":"failure"}"#;
    vec![
        // First, since it is asked again after ten seconds already; the one that takes longest comes last.
        row("unknown-error", Reply::error("general_error"), "UpstreamError", 10..=10),
        row("server-error", Reply::html(500, "<h1>sorry</h1>"), "UpstreamUnavailable", 60..=60),
        row(
            "server-error-that-mints",
            Reply::MintThenStatus(Page::html(502, "Bad Gateway")),
            "UpstreamUnavailable",
            60..=60,
        ),
        row("reset", Reply::Reset, "UpstreamUnavailable", 60..=60),
        row("html", Reply::html(200, "<html>login</html>"), "UpstreamReplyInvalid", 60..=60),
        row("cut-json", Reply::json(200, r#"{"access_token":"1000"#), "UpstreamReplyInvalid", 60..=60),
        row("huge", Reply::Huge { size: 10_000_000 }, "UpstreamReplyInvalid", 60..=60),
        row(
            "redirect",
            Reply::Redirect { code: 302, location: "http://127.0.0.1:1/".into() },
            "UpstreamRedirect",
            60..=60,
        ),
        row("client", Reply::error("invalid_client"), "ClientRejected", 60..=60),
        row("client-secret", Reply::error("invalid_client_secret"), "ClientRejected", 60..=60),
        row("scope", Reply::error("invalid_scope"), "RequestRejected", 60..=60),
        row("throttle", Reply::Throttle, "Throttled", 600..=600),
        row("throttle-with-200", Reply::json(200, throttled), "Throttled", 600..=600),
        row("throttle-localised", Reply::LocalisedThrottle, "Throttled", 600..=600),
        row("throttle-429", Reply::too_many_requests(1200), "Throttled", 1200..=1200),
        row("swallowed", Reply::MintThenSwallow, "UpstreamTimeout", 60..=60),
    ]
}

#[tokio::test]
async fn every_reply_is_reported_by_its_reason_and_leaves_the_good_token_alone() {
    let world = World::new("replies").await;
    let _operator = world.operator();
    let rows = rows();
    let credentials = world.zoho.register_many("row", rows.len());
    for (row, credential) in rows.iter().zip(&credentials) {
        world.source_of(&format!("source-{}", row.name), credential).await;
        world.credential(row.name, &format!("source-{}", row.name), json!({})).await;
    }
    let mut tokens = Vec::new();
    for (row, credential) in rows.iter().zip(&credentials) {
        world.wait_ready(row.name).await;
        tokens.push(world.token(&format!("{}-token", row.name)).await);
        world.zoho.script_for(&credential.refresh_token, Script::until_cleared(row.reply.clone()));
    }
    world.advance(2200);
    for ((row, credential), token) in rows.iter().zip(&credentials).zip(&tokens) {
        let seen = world.wait_for_reason(row.name, row.reason).await;
        assert!(is_ready(&seen), "{}: the token goes on working", row.name);
        assert_eq!(condition(&seen, ConditionType::Stalled), None, "{}", row.name);
        assert_eq!(&world.token(&format!("{}-token", row.name)).await, token, "{}", row.name);
        assert_eq!(world.zoho.counts(&credential.refresh_token).posts, 2, "{}", row.name);
        let status = seen.status.expect("a status");
        let ledger = world.ledgers().get(status.ledger.expect("a ledger").as_str()).await.expect("the ledger");
        let attempt = ledger.spec.attempts.last().expect("an attempt").at;
        let next_in = status.next_attempt_time.expect("a next attempt").unix() - attempt.unix();
        // A throttle and a final refusal count from the answer, which is later than the attempt. No two steps are as near
        // to each other.
        let slack = if row.reason == "Throttled" || row.reason.ends_with("Rejected") { 20 } else { 0 };
        assert!((*row.next_in.start()..=row.next_in.end() + slack).contains(&next_in), "{}: {next_in} s", row.name);
    }
    world.zoho.clear_scripts();
    world.advance(1201);
    for row in &rows {
        world.wait_ready(row.name).await;
    }
    let stats = world.zoho.stats().token;
    assert_eq!(stats.evictions, 0);
}

#[tokio::test]
async fn outage_of_the_connection_is_retried_soon_and_lets_no_token_expire() {
    let world = World::new("outage").await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let operator = world.operator();
    world.wait_ready("one").await;
    operator.kill();
    let operator = world.operator_with(&["--accounts-url", &format!("US=http://{closed}")]);
    world.advance(2200);
    let seen = world.wait_for_reason("one", "UpstreamUnavailable").await;
    assert!(is_ready(&seen));
    let status = seen.status.expect("a status");
    let wait = status.next_attempt_time.expect("a time").unix() - status.last_failure_time.expect("a time").unix();
    assert_eq!(wait, 10, "nothing was sent");
    operator.kill();
    let _operator = world.operator();
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

#[tokio::test]
async fn token_that_dies_in_an_outage_is_reported_as_expired() {
    let world = World::new("expired").await;
    let _operator = world.operator();
    world.serve_one().await;
    world.zoho.script_for(REFRESH_TOKEN, Script::until_cleared(Reply::html(503, "")));
    world.advance(3700);
    let seen = world.wait("one", "expired", |seen| is(seen, ConditionType::Ready, "TokenExpired")).await;
    assert_eq!(condition(&seen, ConditionType::Reconciling), Some(ConditionStatus::True));
    assert!(is(&seen, ConditionType::Renewable, "UpstreamUnavailable"));
    world.zoho.clear_scripts();
    world.advance(61);
    world.wait_ready("one").await;
}

#[tokio::test]
async fn lying_expiry_is_bounded() {
    let world = World::new("lying").await;
    let _operator = world.operator();
    let lies = ["0", "-1", "\"3600\"", "3600000", "9223372036854775808", "null", "\"soon\""];
    let credentials = world.zoho.register_many("lie", lies.len());
    for (number, (lie, credential)) in lies.iter().zip(&credentials).enumerate() {
        let body = format!(r#"{{"access_token":"$ACCESS_TOKEN","expires_in":{lie}}}"#);
        world.zoho.script_for(&credential.refresh_token, Reply::mint_then_body(body));
        world.source_of(&format!("source-{number}"), credential).await;
        world.credential(&format!("lie{number}"), &format!("source-{number}"), json!({})).await;
    }
    for (number, lie) in lies.iter().enumerate() {
        let status = world.wait_ready(&format!("lie{number}")).await.status.expect("a status");
        let (minted, expires) = (status.last_mint_time.expect("a time"), status.expiration_time.expect("a time"));
        assert_eq!(expires.since(minted), Duration::from_secs(3600), "{lie}");
        assert!(expires > Time::from(world.zoho.now()));
    }
    eventually("every POST is answered", async || (world.zoho.stats().token.posts == lies.len() as u64).then_some(()))
        .await;
}

#[tokio::test]
async fn revocation_met_by_a_persons_request_is_reported_at_once() {
    let world = World::new("asked_and_refused").await;
    let _operator = world.operator();
    world.serve_one().await;
    assert!(world.zoho.revoke(REFRESH_TOKEN));
    // Not in the second of the mint: times have whole seconds, and a mint after the refusal would contradict it.
    world.advance(5);
    world.patch("one", json!({ "metadata": { "annotations": { "zoho-operator.dev/renew-requested": "now" } } })).await;
    world.wait_for_reason("one", "RefreshTokenRejected").await;
    world.advance(61);
    world.wait("one", "Stalled", |seen| condition(seen, ConditionType::Stalled) == Some(ConditionStatus::True)).await;
    assert_eq!(world.zoho.stats().token.posts, 3, "the first mint, the request, its confirmation");
}

#[tokio::test]
async fn unknown_authority_is_named_and_trusted_once_the_ca_file_has_it() {
    let world = World::new("tls").await;
    let tls = |names: &[&str]| {
        let tls_names = names.iter().map(|&name| name.to_owned()).collect();
        Simulator::start(SimulatorConfig { tls_names, ..SimulatorConfig::default() })
    };
    let (zoho, stranger) = (tls(&["127.0.0.1", "localhost"]), tls(&["localhost"]));
    zoho.register(CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN);
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, stranger.ca_pem().expect("it serves HTTPS")).expect("written");
    let accounts_url = format!("EU={}", zoho.url());
    let args = ["--accounts-url", &accounts_url, "--ca-file", ca_file.to_str().expect("UTF-8")];
    let _operator = world.operator_with(&args);
    world.good_source("source").await;
    world.credential("one", "source", json!({ "dataCenter": "EU" })).await;
    let seen = world.wait_for_reason("one", "UpstreamTLS").await;
    assert!(message(&seen, ConditionType::Renewable).contains("--ca-file"), "the cure is named");
    let status = seen.status.expect("a status");
    let wait = status.next_attempt_time.expect("a time").unix() - status.last_failure_time.expect("a time").unix();
    assert_eq!(wait, 10, "nothing was sent");
    assert_eq!(zoho.stats().token.posts, 0, "no secret leaves before the certificate is trusted");

    let both = format!("{}{}", stranger.ca_pem().expect("PEM"), zoho.ca_pem().expect("PEM"));
    std::fs::write(&ca_file, both).expect("written");
    world.wait_ready("one").await;
    assert_eq!(zoho.stats().token.posts, 1);
}
