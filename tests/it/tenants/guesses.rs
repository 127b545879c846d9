//! Guessed passwords: no account is locked, no password is found out, and who has the right one is not held up.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use zoho_testkit::control_plane::{AuditEntry, Identity};

use super::{Tenant, operator_for};
use crate::support::operator::Operator;
use crate::support::world::World;
use crate::support::{eventually, tell};

const PASSWORD: &str = "canary0right0password7a";

/// A world whose server knows account `api`, and somebody beside its owner.
async fn world_with_server(test: &str) -> World {
    let world = World::new(test).await;
    world.confide(PASSWORD);
    world.zoho.with(|zoho, _| zoho.server_mut().register(None, "api", PASSWORD, None));
    world
}

fn operator(world: &World, tenants: &[&Tenant<'_>]) -> Operator {
    operator_for(world, tenants, &["--endpoint-central-url", &world.zoho.url()])
}

fn logins(world: &World) -> u64 {
    world.zoho.with(|zoho, _| zoho.server().counts().logins)
}

async fn logs_in(tenant: &Tenant<'_>, name: &str, user: &str, password: &str) {
    tenant.source(name, &[("username", user), ("password", password)]).await;
    let server = json!({ "url": tenant.world.zoho.url() });
    tenant.credential(name, json!({ "endpointCentralServer": server, "secretRef": { "name": name } })).await;
}

async fn owner_is_served(world: &World) -> Tenant<'_> {
    let owner = Tenant { world, namespace: world.namespace.clone() };
    logs_in(&owner, "one", "api", PASSWORD).await;
    world.wait_ready("one").await;
    owner
}

#[tokio::test]
async fn guesses_from_another_namespace_are_never_sent_once_the_account_has_an_owner() {
    let world = world_with_server("guessed_password").await;
    let guesser = Tenant::new(&world, "guesser").await;
    let running = operator(&world, &[&guesser]);
    let _owner = owner_is_served(&world).await;
    assert_eq!(logins(&world), 1);

    logs_in(&guesser, "guess", "api", "canary0guess0number0").await;
    guesser.wait_for("guess", &["MintBudgetExhausted"]).await;
    for number in 1..5 {
        guesser.source("guess", &[("username", "api"), ("password", &format!("canary0guess0number{number}"))]).await;
    }
    // Neither time nor a restart opens it: what is proven outlives the attempts.
    world.advance(25 * 3600);
    eventually("the owner's next login", async || (logins(&world) == 2).then_some(())).await;
    running.kill();
    let restarted = operator(&world, &[&guesser]);
    restarted.synced().await;
    guesser.source("guess", &[("username", "api"), ("password", "canary0guess0after0a0day")]).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    guesser.wait_for("guess", &["MintBudgetExhausted"]).await;
    assert!(guesser.says("guess").await.contains("used from another namespace"), "{}", guesser.says("guess").await);
    assert_eq!(logins(&world), 2, "no guess was sent");
    let locked = world.zoho.with(|zoho, _| zoho.server().counts().refused);
    assert_eq!(locked, 0);
}

#[tokio::test]
async fn guesser_who_hits_the_password_after_five_others_gets_no_token() {
    let world = world_with_server("password_oracle").await;
    let guesser = Tenant::new(&world, "oracle").await;
    let _operator = operator(&world, &[&guesser]);
    let _owner = owner_is_served(&world).await;
    logs_in(&guesser, "guess", "api", "canary0guess0number0").await;
    guesser.wait_for("guess", &["MintBudgetExhausted"]).await;
    let reads = || {
        let by_operator = |entry: &AuditEntry| {
            entry.user == Identity::Operator.user()
                && (&*entry.namespace, &*entry.verb, &*entry.resource) == (&*guesser.namespace, "get", "secrets")
        };
        world.audited(by_operator).len()
    };
    for number in 1..7 {
        let before = guesser.secrets().get("guess").await.expect("the source").metadata.resource_version;
        let read = reads();
        guesser.source("guess", &[("username", "api"), ("password", &format!("canary0guess0number{number}"))]).await;
        let after = guesser.secrets().get("guess").await.expect("the source").metadata.resource_version;
        assert_ne!(before, after);
        // Each is seen: the operator reads the Secret after every change.
        eventually("the password is read", async || (reads() > read).then_some(())).await;
    }
    guesser.source("guess", &[("username", "api"), ("password", PASSWORD)]).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    guesser.wait_for("guess", &["MintBudgetExhausted"]).await;
    assert!(guesser.secrets().get_opt("guess-token").await.expect("an answer").is_none(), "a token was given");
    assert_eq!(logins(&world), 1);
}

#[tokio::test]
async fn object_that_has_had_six_passwords_waits_also_with_the_right_one_and_asks_for_nothing_meanwhile() {
    let world = world_with_server("sixth_password").await;
    let _operator = operator(&world, &[]);
    let owner = owner_is_served(&world).await;
    let reads = || {
        let is_read = |entry: &AuditEntry| {
            entry.user == Identity::Operator.user()
                && (&*entry.verb, &*entry.resource, &*entry.name) == ("get", "secrets", "two")
        };
        world.audited(is_read).len()
    };
    owner.source("two", &[("username", "api"), ("password", "canary0guess0number0")]).await;
    let server = json!({ "url": world.zoho.url() });
    let spec = json!({ "endpointCentralServer": server, "secretRef": { "name": "two" }, "suspend": true });
    owner.credential("two", spec).await;
    for number in 1..6 {
        eventually("the password is read", async || (reads() >= number).then_some(())).await;
        owner.source("two", &[("username", "api"), ("password", &format!("canary0guess0number{number}"))]).await;
    }
    eventually("the last one is read", async || (reads() >= 6).then_some(())).await;
    owner.source("two", &[("username", "api"), ("password", PASSWORD)]).await;
    world.patch("two", json!({ "spec": { "suspend": false } })).await;
    let seen = owner.wait_for("two", &["MintBudgetExhausted"]).await;
    assert!(owner.says("two").await.contains("more than five passwords"), "{}", owner.says("two").await);
    assert_eq!(seen.status.and_then(|status| status.ledger), None, "that it is known would say that it is right");
    let before = reads();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(reads(), before, "it rests");
    assert_eq!(logins(&world), 1);
    world.advance(24 * 3600 + 1);
    world.wait_ready("two").await;
}

#[tokio::test]
async fn two_logins_of_an_account_fail_in_a_day_and_no_third_whoever_sends_it() {
    let world = world_with_server("third_login").await;
    let guesser = Tenant::new(&world, "third").await;
    let running = operator(&world, &[&guesser]);
    logs_in(&guesser, "guess", "api", "canary0wrong0one").await;
    guesser.wait_for("guess", &["LoginRejected"]).await;
    guesser.source("guess", &[("username", "api"), ("password", "canary0wrong0two")]).await;
    eventually("the second one", async || (logins(&world) == 2).then_some(())).await;
    guesser.source("guess", &[("username", "api"), ("password", "canary0wrong0three")]).await;
    guesser.wait_for("guess", &["MintBudgetExhausted"]).await;

    let owner = Tenant { world: &world, namespace: world.namespace.clone() };
    logs_in(&owner, "one", "api", PASSWORD).await;
    let seen = owner.wait_for("one", &["MintBudgetExhausted"]).await;
    assert!(seen.status.expect("a status").next_attempt_time.is_some(), "it says when");
    running.kill();
    let restarted = operator(&world, &[&guesser]);
    restarted.synced().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(logins(&world), 2, "a restart does not forget them");
    let ask = json!({ "metadata": { "annotations": { "zoho-operator.dev/renew-requested": "now" } } });
    world.patch("one", ask).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(logins(&world), 2, "nor does a person's wish count for more than the account");
    world.advance(24 * 3600 + 1);
    world.wait_ready("one").await;
}

#[tokio::test]
async fn ledger_that_is_deleted_lets_who_waits_for_it_log_in_at_once() {
    let world = world_with_server("deleted_ledger").await;
    let _operator = operator(&world, &[]);
    let owner = Tenant { world: &world, namespace: world.namespace.clone() };
    logs_in(&owner, "one", "api", "canary0wrong0one").await;
    owner.wait_for("one", &["LoginRejected"]).await;
    owner.source("one", &[("username", "api"), ("password", "canary0wrong0two")]).await;
    eventually("the second one", async || (logins(&world) == 2).then_some(())).await;
    owner.source("one", &[("username", "api"), ("password", PASSWORD)]).await;
    let seen = owner.wait_for("one", &["MintBudgetExhausted"]).await;
    assert_eq!(seen.status.and_then(|status| status.ledger), None, "it has not tried this one");
    for ledger in world.ledgers().list(&ListParams::default()).await.expect("listed") {
        let name = ledger.metadata.name.expect("it has one");
        world.ledgers().delete(&name, &DeleteParams::default()).await.expect("deleted");
    }
    world.wait_ready("one").await;
    assert_eq!(logins(&world), 3);
}

#[tokio::test]
async fn sixty_user_names_are_tried_by_five_logins() {
    let world = world_with_server("sprayed_names").await;
    let sprayer = Tenant::new(&world, "sprayer").await;
    let _operator = operator(&world, &[&sprayer]);
    let started = Instant::now();
    for number in 0..60 {
        logs_in(&sprayer, &format!("n{number}"), &format!("user{number}"), "canary0spring2026").await;
    }
    for number in 0..60 {
        sprayer.wait_for(&format!("n{number}"), &["MintBudgetExhausted", "LoginRejected"]).await;
    }
    // What is held up for moments by those under way is looked at again.
    eventually("five are tried", async || (logins(&world) >= 5).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    tell(&format!("60 names: {} logins in {:?}", logins(&world), started.elapsed()));
    assert_eq!(logins(&world), 5);

    // Who has the right password elsewhere is served meanwhile.
    owner_is_served(&world).await;
}
