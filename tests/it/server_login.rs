//! Logins on an Endpoint Central server: local, Active Directory and two-factor, and what becomes of each mistake.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use zoho_api::{ConditionStatus, ConditionType, ZohoCredential};
use zoho_simulator::script::{Reply, Target};
use zoho_simulator::server::LoginCounts;
use zoho_simulator::{Simulator, SimulatorConfig};

use crate::secrecy::secrets_stand_nowhere;
use crate::support::look::{condition, is, is_ready, message, text};
use crate::support::operator::Operator;
use crate::support::world::World;
use crate::support::{eventually, was_at_once};

const PASSWORD: &str = "canary0password0bead5";
const SEED: &str = "CANARYSEEDGEZDGNBVGY3TQOJQ";

/// A world whose server knows one account, and an operator that may log in there.
async fn server(test: &str, domain: Option<&str>, seed: Option<&str>) -> (World, Operator) {
    let world = World::new(test).await;
    for secret in [PASSWORD, SEED] {
        world.confide(secret);
    }
    world.zoho.with(|zoho, _| zoho.server_mut().register(domain, "api", PASSWORD, seed));
    let operator = world.operator_with(&["--endpoint-central-url", &world.zoho.url()]);
    (world, operator)
}

async fn source(world: &World, password: &str, seed: Option<&str>) {
    let mut pairs = vec![("username", "api"), ("password", password)];
    pairs.extend(seed.map(|seed| ("totp_secret", seed)));
    world.source("login", &pairs).await;
}

/// A credential for the world's server; `edit` is merged into `endpointCentralServer`.
async fn credential(world: &World, name: &str, edit: Value) -> ZohoCredential {
    let mut server = json!({ "url": world.zoho.url() });
    for (field, value) in edit.as_object().into_iter().flatten() {
        server[field] = value.clone();
    }
    world.credential(name, "login", json!({ "dataCenter": null, "endpointCentralServer": server })).await
}

fn counts(world: &World) -> LoginCounts {
    world.zoho.with(|zoho, _| zoho.server().counts().clone())
}

fn is_alive(world: &World, token: &str) -> bool {
    world.zoho.with(|zoho, _| zoho.server().is_alive(token))
}

async fn healed(world: &World, name: &str, since: Instant) {
    world.wait_ready(name).await;
    was_at_once(since);
}

#[tokio::test]
async fn local_login_gives_a_bare_token_and_is_renewed_by_renew_every() {
    let (world, operator) = server("local_login", None, None).await;
    source(&world, PASSWORD, None).await;
    credential(&world, "one", json!({})).await;
    let seen = world.wait_ready("one").await;
    let status = seen.status.expect("a status");
    assert_eq!(status.expiration_time, None, "the server states no expiry");
    let renewal = status.renewal_time.expect("a time").since(status.last_mint_time.expect("a time"));
    let hours = Duration::from_secs(3600);
    assert!((hours * 6..=hours * 8).contains(&renewal), "{renewal:?}");

    let target = world.secret("one-token").await.expect("the target");
    let token = text(&target, "access_token");
    assert!(is_alive(&world, &token));
    assert_eq!(text(&target, "authorization"), token, "no scheme word");
    assert_eq!(text(&target, "api_url"), world.zoho.url());
    assert!(!target.data.as_ref().is_some_and(|data| data.contains_key("expires_at")));

    operator.kill();
    let _operator = world.operator_with(&["--endpoint-central-url", &world.zoho.url()]);
    world.advance(5 * 3600);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(counts(&world).logins, 1, "neither a restart nor five hours log in again");
    world.advance(3 * 3600);
    eventually("the next login", async || (counts(&world).logins == 2).then_some(())).await;
    eventually("its token", async || (world.token("one-token").await? != token).then_some(())).await;
    assert_eq!(world.zoho.stats().token.posts, 0);
}

#[tokio::test]
async fn active_directory_login_names_its_domain_also_to_older_servers() {
    let (world, _operator) = server("ad_login", Some("CORP"), None).await;
    source(&world, PASSWORD, None).await;
    let edit = json!({ "authentication": "ActiveDirectory", "domain": "CORP", "apiVersion": "1.3" });
    credential(&world, "one", edit).await;
    world.wait_ready("one").await;
    let token = world.token("one-token").await.expect("a token");
    assert!(is_alive(&world, &token));
}

#[tokio::test]
async fn equal_logins_share_one_session() {
    let (world, _operator) = server("shared_login", None, None).await;
    source(&world, PASSWORD, None).await;
    for name in ["one", "two", "three"] {
        credential(&world, name, json!({})).await;
    }
    for name in ["one", "two", "three"] {
        world.wait_ready(name).await;
    }
    assert_eq!(counts(&world).logins, 1);
}

#[tokio::test]
async fn one_time_password_is_answered_from_the_seed_and_never_used_twice() {
    let (world, _operator) = server("totp_login", None, Some(SEED)).await;
    source(&world, PASSWORD, Some("canary seed gezd gnbv gy3t qojq")).await;
    credential(&world, "one", json!({})).await;
    world.wait_ready("one").await;
    let token = world.token("one-token").await.expect("a token");
    assert!(is_alive(&world, &token));

    let ask = |word: &str| json!({ "metadata": { "annotations": { "zoho-operator.dev/renew-requested": word } } });
    world.patch("one", ask("at once")).await;
    let handled = |word: &'static str| {
        move |seen: &ZohoCredential| {
            seen.status.as_ref().and_then(|status| status.last_handled_renew_request.as_deref()) == Some(word)
        }
    };
    world.wait("one", "the request is answered", handled("at once")).await;
    assert_eq!(counts(&world).logins, 1, "the same code would have to be sent again");
    world.advance(121);
    world.patch("one", ask("later")).await;
    world.wait("one", "the request is answered", handled("later")).await;
    let seen = counts(&world);
    assert_eq!((seen.logins, seen.tokens, seen.reused), (2, 2, 0));
}

#[tokio::test]
async fn wrong_password_is_sent_once_and_never_again_until_it_changes() {
    let (world, operator) = server("wrong_password", None, None).await;
    source(&world, "canary0wrong0password", None).await;
    credential(&world, "one", json!({})).await;
    let seen = world
        .wait("one", "Stalled", |seen| condition(seen, ConditionType::Stalled) == Some(ConditionStatus::True))
        .await;
    assert!(is(&seen, ConditionType::Renewable, "LoginRejected"));
    let says = message(&seen, ConditionType::Renewable);
    assert!(says.contains("wrong passwords lock accounts") && says.contains("/login"), "{says}");
    assert_eq!(seen.status.expect("a status").next_attempt_time, None);

    let touch = Patch::Merge(json!({ "metadata": { "annotations": { "touched": "yes" } } }));
    world.secrets().patch("login", &PatchParams::default(), &touch).await.expect("touched");
    world.advance(7 * 3600);
    operator.kill();
    let _operator = world.operator_with(&["--endpoint-central-url", &world.zoho.url()]);
    world
        .secrets()
        .patch(
            "login",
            &PatchParams::default(),
            &Patch::Merge(json!({ "metadata": { "labels": { "touched": "again" } } })),
        )
        .await
        .expect("touched");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(counts(&world).logins, 1, "a touched but unchanged Secret is no change");

    let started = Instant::now();
    source(&world, PASSWORD, None).await;
    healed(&world, "one", started).await;
    assert_eq!(counts(&world).logins, 2);
}

#[tokio::test]
async fn two_factor_without_a_seed_is_named_and_healed_by_one() {
    let (world, _operator) = server("no_seed", None, Some(SEED)).await;
    source(&world, PASSWORD, None).await;
    credential(&world, "one", json!({})).await;
    let seen = world.wait_for_reason("one", "OtpRequired").await;
    assert!(message(&seen, ConditionType::Renewable).contains("totp_secret"));
    world.advance(7 * 3600);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(counts(&world).logins, 1);
    let started = Instant::now();
    source(&world, PASSWORD, Some(SEED)).await;
    healed(&world, "one", started).await;
}

#[tokio::test]
async fn wrong_seed_is_told_from_a_wrong_password() {
    let (world, _operator) = server("wrong_seed", None, Some(SEED)).await;
    source(&world, PASSWORD, Some("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")).await;
    credential(&world, "one", json!({})).await;
    let seen = world.wait_for_reason("one", "LoginRejected").await;
    let says = message(&seen, ConditionType::Renewable);
    assert!(says.contains("one-time password") && says.contains("clocks"), "{says}");
    let tried = counts(&world).one_time_passwords;
    assert!((1..=2).contains(&tried), "at most the neighbouring step is tried too: {tried}");
    let started = Instant::now();
    source(&world, PASSWORD, Some(SEED)).await;
    healed(&world, "one", started).await;
}

#[tokio::test]
async fn server_that_is_not_listed_is_not_even_connected_to() {
    let (world, _operator) = server("unlisted_server", None, None).await;
    let unlisted = TcpListener::bind("127.0.0.1:0").expect("a port");
    unlisted.set_nonblocking(true).expect("set");
    source(&world, PASSWORD, None).await;
    let url = format!("http://{}", unlisted.local_addr().expect("an address"));
    credential(&world, "one", json!({ "url": url })).await;
    let seen = world.wait_for_reason("one", "ServerNotAllowed").await;
    assert!(message(&seen, ConditionType::Renewable).contains("--endpoint-central-url"));
    assert_eq!(condition(&seen, ConditionType::Stalled), Some(ConditionStatus::True));
    assert!(unlisted.accept().is_err(), "nobody has connected");
    let started = Instant::now();
    world.patch("one", json!({ "spec": { "endpointCentralServer": { "url": world.zoho.url() } } })).await;
    healed(&world, "one", started).await;
    assert!(unlisted.accept().is_err(), "nobody has connected");
}

#[tokio::test]
async fn self_signed_server_is_named_and_trusted_once_the_ca_file_has_it() {
    let world = World::new("server_tls").await;
    world.confide(PASSWORD);
    let tls = || SimulatorConfig { tls_names: vec!["127.0.0.1".into()], ..SimulatorConfig::default() };
    let (ec, stranger) = (Simulator::start(tls()), Simulator::start(tls()));
    ec.with(|zoho, _| zoho.server_mut().register(None, "api", PASSWORD, None));
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, stranger.ca_pem().expect("PEM")).expect("written");
    let args = ["--endpoint-central-url", &ec.url(), "--ca-file", ca_file.to_str().expect("UTF-8")];
    let _operator = world.operator_with(&args);
    source(&world, PASSWORD, None).await;
    credential(&world, "one", json!({ "url": ec.url() })).await;
    world.wait_for_reason("one", "UpstreamTLS").await;
    assert_eq!(ec.with(|zoho, _| zoho.server().counts().logins), 0);
    std::fs::write(&ca_file, ec.ca_pem().expect("PEM")).expect("written");
    world.wait_ready("one").await;
    assert_eq!(ec.with(|zoho, _| zoho.server().counts().logins), 1);
    // Its token too is a secret of this world.
    ec.with(|zoho, _| zoho.server().given().to_vec()).iter().for_each(|token| world.confide(token));
}

#[tokio::test]
async fn changed_password_is_used_at_once_and_the_token_stands_until_then() {
    let (world, _operator) = server("changed_password", None, None).await;
    source(&world, PASSWORD, None).await;
    credential(&world, "one", json!({})).await;
    world.wait_ready("one").await;
    let token = world.token("one-token").await;
    world.zoho.script(Target::Login, Reply::html(503, "down"));
    let started = Instant::now();
    source(&world, "canary0second0password", None).await;
    let seen = world.wait_for_reason("one", "UpstreamUnavailable").await;
    was_at_once(started);
    assert!(is_ready(&seen), "the session of the old password goes on");
    assert_eq!(world.token("one-token").await, token);
    world.zoho.with(|zoho, _| zoho.server_mut().register(None, "api", "canary0second0password", None));
    world.advance(121);
    world.wait_ready("one").await;
    eventually("another token", async || (world.token("one-token").await != token).then_some(())).await;
}

#[tokio::test]
async fn session_that_the_server_ended_is_replaced_by_one_login() {
    let (world, _operator) = server("ended_session", None, None).await;
    source(&world, PASSWORD, None).await;
    let spec = json!({ "dataCenter": null, "verify": { "interval": "5m" }, "endpointCentralServer": { "url": world.zoho.url() } });
    world.credential("one", "login", spec).await;
    let is_verified = |seen: &ZohoCredential| condition(seen, ConditionType::Verified) == Some(ConditionStatus::True);
    world.wait("one", "Verified", is_verified).await;
    let token = world.token("one-token").await.expect("a token");
    world.zoho.with(|zoho, _| zoho.server_mut().end_sessions());
    world.advance(301);
    eventually("another token", async || (world.token("one-token").await? != token).then_some(())).await;
    assert_eq!(counts(&world).logins, 2);
    world.wait("one", "Verified", is_verified).await;
}

#[tokio::test]
async fn password_seed_and_session_stand_nowhere() {
    let (world, operator) = server("login_secrecy", None, Some(SEED)).await;
    source(&world, "canary0wrong0password", Some(SEED)).await;
    world.confide("canary0wrong0password");
    credential(&world, "one", json!({})).await;
    world.wait_for_reason("one", "LoginRejected").await;
    source(&world, PASSWORD, Some(SEED)).await;
    world.wait_ready("one").await;
    secrets_stand_nowhere(&world, &operator, "one-token").await;
}
