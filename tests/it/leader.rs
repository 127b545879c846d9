//! Leader election: who acts, how fast another takes over, and what it costs when a leader dies or sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use zoho_simulator::script::{Reply, Script};
use zoho_testkit::control_plane::AuditEntry;
use zoho_testkit::fault_proxy::{FaultProxy, Match, Point, Verb, Window};

use crate::metrics::{address, get};
use crate::policies::unserved_webhook;
use crate::support::look::{is_ready, text};
use crate::support::operator::Operator;
use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{eventually, tell};

/// How long a lease of [`QUICK`] is valid.
const QUICK_LEASE: Duration = Duration::from_secs(6);
/// Times of a quick election, for tests with many of them. A leader that is held up for three seconds leads on: a busy
/// machine does that.
pub(crate) const QUICK: [&str; 4] = [
    "--leader-elect=true",
    "--leader-elect-lease-duration=6s",
    "--leader-elect-renew-deadline=4s",
    "--leader-elect-retry-period=500ms",
];

fn leases(world: &World) -> Api<Lease> {
    Api::namespaced(world.client.clone(), &world.operator_namespace)
}

async fn holder(world: &World) -> Option<String> {
    let lease = leases(world).get_opt("zoho-operator").await.expect("leases can be read")?;
    lease.spec?.holder_identity
}

/// What the operator itself has logged.
fn said(operator: &Operator) -> String {
    operator.log().lines().filter(|line| line.contains("zoho_operator")).collect::<Vec<_>>().join("\n")
}

/// Waits for the leader and returns how long that took.
async fn led_within(operator: &Operator, since: Instant) -> Duration {
    while !operator.leads() {
        assert!(since.elapsed() < Duration::from_secs(30), "no leader\n{}", said(operator));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    since.elapsed()
}

#[tokio::test]
async fn standby_is_silent_and_takes_over_at_once_after_sigterm() {
    let world = World::new("hand_over").await;
    world.good_source("source").await;
    let first = world.operator_with(&["--leader-elect"]);
    first.leading().await;
    let second = world.operator_with(&["--leader-elect"]);
    second.synced().await;
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    assert!(!second.leads() && !second.log().contains("token request ended"));

    let since = Instant::now();
    let (code, took) = first.terminate().await;
    assert_eq!(code, Some(0));
    let hand_over = led_within(&second, since).await;
    tell(&format!("hand-over after SIGTERM: {hand_over:?}, of which the end of the first process: {took:?}"));
    // A lease that is not given back is free after thirteen seconds at the earliest.
    assert!(hand_over <= Duration::from_secs(10), "{hand_over:?}");

    let expires = world.get("one").await.status.and_then(|status| status.expiration_time);
    assert_eq!(world.zoho.stats().token.posts, 1, "taking over mints nothing");
    world.advance(2200);
    let renewed = |seen: &zoho_api::ZohoCredential| {
        is_ready(seen) && seen.status.as_ref().and_then(|status| status.expiration_time) > expires
    };
    world.wait("one", "renewed by the second", renewed).await;
    assert_eq!(world.zoho.stats().token.posts, 2);
    let (code, _) = second.terminate().await;
    assert_eq!((code, holder(&world).await), (Some(0), None), "the lease is given back");
}

#[tokio::test]
async fn another_leads_one_lease_after_the_last_renewal_of_who_was_killed() {
    let world = World::new("sigkill").await;
    let first = world.operator_with(&["--leader-elect"]);
    first.leading().await;
    let second = world.operator_with(&["--leader-elect"]);
    second.synced().await;
    let (since, killed) = (Instant::now(), zoho_client::clock::system().now().unix());
    first.kill();
    let took = led_within(&second, since).await;
    // By the API server's clock, from write to write: a thread of this test may be late.
    let is_write = |entry: &AuditEntry| {
        entry.namespace == world.operator_namespace
            && entry.resource == "leases"
            && ["create", "update", "patch"].contains(&&*entry.verb)
            && entry.code / 100 == 2
    };
    let writes = eventually("the takeover is in the audit log", async || {
        let writes: Vec<Timestamp> = world.audited(is_write).iter().map(|entry| entry.timestamp).collect();
        writes.iter().any(|at| at.as_second() > killed + 10).then_some(writes)
    })
    .await;
    let gap = writes.windows(2).map(|pair| pair[1].duration_since(pair[0]).unsigned_abs()).max().expect("two writes");
    tell(&format!("hand-over after SIGKILL: {took:?}, {gap:.1?} after the last renewal"));
    // The lease is valid for fifteen seconds from when the other has seen the renewal, which it looks for every second. Two
    // leases would be thirty.
    assert!((15..25).contains(&gap.as_secs()), "{gap:?}");
}

/// Follows the token in the target: must live upstream whenever it stands there, and its expiry never goes back.
struct Watchman {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<usize>,
}

impl Watchman {
    fn start(world: &Arc<World>, target: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, secrets, world) = (stop.clone(), world.secrets(), Arc::clone(world));
        let task = tokio::spawn(async move {
            let (mut looks, mut latest) = (0, String::new());
            while !stopped.load(Ordering::Relaxed) {
                let secret = secrets.get_opt(target).await.expect("Secrets can be read");
                if let Some(secret) = secret {
                    let (token, expires) = (text(&secret, "access_token"), text(&secret, "expires_at"));
                    // RFC 3339 in UTC sorts like the times it names.
                    assert!(expires >= latest, "the expiry went back from {latest} to {expires}");
                    latest = expires;
                    assert!(world.zoho.is_alive(&token), "the target holds a dead token");
                    looks += 1;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            looks
        });
        Self { stop, task }
    }

    async fn report(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("what it saw was in order")
    }
}

/// Waits until the standby leads, and has renewed the token that expires then.
async fn renews(world: &World, standby: &Operator, expires: Option<zoho_api::Time>) {
    standby.leading().await;
    // What may be on its way is waited for, and then the pause after an unknown outcome; both by the wall clock.
    world.advance(95);
    let is_renewed = |seen: &zoho_api::ZohoCredential| {
        is_ready(seen) && seen.status.as_ref().and_then(|status| status.expiration_time) > expires
    };
    world.wait("one", "renewed", is_renewed).await;
}

#[tokio::test]
async fn leader_that_sleeps_past_its_lease_costs_one_mint_at_most_and_ends() {
    let world = Arc::new(World::new("sleeper").await);
    world.good_source("source").await;
    let mut leader = world.operator_with(&QUICK);
    leader.leading().await;
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    let watchman = Watchman::start(&world, "one-token");
    // Stopped while its request is under way, and a moment before and after.
    for (round, pause) in [60, 0, 150].into_iter().enumerate() {
        let standby = world.operator_with(&QUICK);
        standby.synced().await;
        let posts = world.zoho.stats().token.posts;
        let expires = world.get("one").await.status.and_then(|status| status.expiration_time);
        world.zoho.set_latency(Duration::from_millis(300));
        world.advance(2000);
        if pause > 0 {
            world.zoho.wait_for_posts(posts + 1, Duration::from_secs(60)).await.expect("a request");
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        leader.signal("STOP");
        renews(&world, &standby, expires).await;
        leader.signal("CONT");
        let log = leader.log_at_the_end().await;
        let is_lost =
            log.contains("the lease could not be renewed in time") || log.contains("the lease is in other hands");
        assert!(is_lost, "round {round}: {log}");
        let stats = world.zoho.stats().token;
        assert!(stats.posts - posts <= 2, "round {round}: {} requests", stats.posts - posts);
        assert_eq!((stats.evictions, stats.throttled), (0, 0));
        leader = standby;
    }
    assert!(watchman.report().await > 50);
}

/// One that serves behind a proxy of its own.
async fn behind_a_proxy(world: &World) -> (Operator, FaultProxy) {
    let proxy = world.proxy();
    let operator = world.operator_behind(&proxy, &QUICK);
    operator.synced().await;
    (operator, proxy)
}

#[tokio::test]
async fn leader_that_sleeps_at_a_write_spends_no_old_reservation_and_puts_no_old_token_back() {
    let world = Arc::new(World::new("sleeper_at_writes").await);
    world.good_source("source").await;
    let (mut leader, mut proxy) = behind_a_proxy(&world).await;
    leader.leading().await;
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    let watchman = Watchman::start(&world, "one-token");
    let targets = Match::new(Verb::Patch, "secrets").namespace(&world.namespace).dry_run(false);
    // What it sleeps at, the requests of both together, and what the API server has answered to that write in the end.
    let rows = [
        ("its reservation is stored", Match::new(Verb::Update, "zohomintledgers"), Point::Applied, 1, 200),
        ("it has minted, and the target is not written", targets, Point::Arrived, 2, 409),
    ];
    for (when, on, point, requests, answered) in rows {
        let (standby, next_proxy) = behind_a_proxy(&world).await;
        let posts = world.zoho.stats().token.posts;
        let expires = world.get("one").await.status.and_then(|status| status.expiration_time);
        let mut breakpoint = proxy.breakpoint(on, Window::ONCE, point);
        world.advance(2000);
        let stopped = breakpoint.reached().await.expect("it comes to that write");
        leader.signal("STOP");
        renews(&world, &standby, expires).await;
        // Only now the sleeper's write arrives, or its answer, and it wakes up.
        stopped.go_on();
        let status = eventually("the write is answered", async || {
            proxy.trace().iter().find(|record| record.fault.contains("Stop")).and_then(|record| record.status)
        })
        .await;
        leader.signal("CONT");
        let log = leader.log_at_the_end().await;
        assert_eq!((world.zoho.stats().token.posts - posts, status), (requests, answered), "{when}: {log}");
        (leader, proxy) = (standby, next_proxy);
    }
    assert!(watchman.report().await > 50);
    let stats = world.zoho.stats().token;
    assert_eq!((stats.evictions, stats.throttled), (0, 0));
}

#[tokio::test]
async fn lease_that_is_deleted_again_and_again_changes_no_leader() {
    let world = World::new("deleted_lease").await;
    world.good_source("source").await;
    let first = world.operator_with(&QUICK);
    first.leading().await;
    let second = world.operator_with(&QUICK);
    second.synced().await;
    eventually("the second stands by", async || second.log().contains("standing by").then_some(())).await;
    // For longer than a lease.
    for _ in 0..8 {
        // It may be gone from the time before.
        let _ = leases(&world).delete("zoho-operator", &DeleteParams::default()).await;
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    assert!(!second.leads(), "{}", second.log());
    assert!(first.log().contains("token request ended"));
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn leader_whose_renewals_are_answered_500_stops_minting_and_ends() {
    let world = World::new("renewals_500").await;
    world.good_source("source").await;
    let leader = world.operator_with(&QUICK);
    leader.leading().await;
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    let leases = ("coordination.k8s.io", "leases");
    let webhook = unserved_webhook("no.leases.example", &world.operator_namespace, leases);
    world.cluster.apply_yaml(&webhook.to_string()).await.expect("applied");
    eventually("renewals fail", async || leader.log().contains("the lease cannot be written").then_some(())).await;
    let log = leader.log_at_the_end().await;
    assert!(log.contains("the lease could not be renewed in time"), "{log}");
    world.advance(2200);
    let follower = world.operator_with(&QUICK);
    follower.synced().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.zoho.stats().token.posts, 1, "without a lease nothing is minted");
    // Else a rollout would go on, and leave nobody who can lead.
    let health = address(&follower, "health").await;
    eventually("it is not ready", async || {
        let (head, text) = get(&health, "/readyz", "*/*").await;
        (head.contains("503") && text.contains("this replica cannot lead")).then_some(())
    })
    .await;
    let delete = ["delete", "validatingwebhookconfiguration", &world.operator_namespace];
    assert!(world.cluster.kubectl(&delete).await.expect("runs").status.success());
    follower.leading().await;
    world.wait("one", "renewed", |_| world.zoho.stats().token.posts == 2).await;
}

#[tokio::test]
async fn clocks_that_are_hours_apart_do_not_matter() {
    let world = World::new("clocks_apart").await;
    world.good_source("source").await;
    let ahead = world.operator_ahead(&QUICK, 3600);
    ahead.leading().await;
    let behind = world.operator_ahead(&QUICK, -3600);
    behind.synced().await;
    tokio::time::sleep(QUICK_LEASE + Duration::from_secs(2)).await;
    assert!(!behind.leads(), "the leader is alive, whatever the clocks say");
    let since = Instant::now();
    ahead.kill();
    let took = led_within(&behind, since).await;
    tell(&format!("a clock two hours behind the dead leader's: leads after {took:?}"));
    let next = world.operator_ahead(&QUICK, 3600);
    next.synced().await;
    tokio::time::sleep(QUICK_LEASE + Duration::from_secs(2)).await;
    assert!(!next.leads(), "an old renewTime is no sign of death");
}

#[tokio::test]
async fn kills_of_the_leader_cost_one_mint_each_at_most_and_no_token() {
    kill_leaders("kills_of_the_leader", 4).await;
}

#[tokio::test]
#[ignore = "takes two minutes"]
async fn twenty_kills_of_the_leader_cost_one_mint_each_at_most_and_no_token() {
    kill_leaders("twenty_kills", 20).await;
}

async fn kill_leaders(test: &str, kills: u32) {
    let world = Arc::new(World::new(test).await);
    world.good_source("source").await;
    world.zoho.set_token_life(Duration::from_secs(600));
    let mut leader = world.operator_with(&QUICK);
    leader.leading().await;
    let mut standby = world.operator_with(&QUICK);
    standby.synced().await;
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    let watchman = Watchman::start(&world, "one-token");
    let mut random = 0x2545_f491_u64;
    let mut needless = 0;
    for kill in 0..kills {
        let posts = world.zoho.stats().token.posts;
        let expires = world.get("one").await.status.and_then(|status| status.expiration_time);
        world.advance(300);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Every other one between the request and the write of the Secret, or just after it.
        if kill % 2 == 0 {
            world.zoho.wait_for_posts(posts + 1, Duration::from_secs(60)).await.expect("a request");
        }
        tokio::time::sleep(Duration::from_millis((random >> 33) % 120)).await;
        leader.kill();
        leader = standby;
        standby = world.operator_with(&QUICK);
        eventually("one of the two leads", async || (leader.leads() || standby.leads()).then_some(())).await;
        if !leader.leads() {
            // On a busy machine the newcomer may be the first to read the lease.
            std::mem::swap(&mut leader, &mut standby);
        }
        let renewed = |seen: &zoho_api::ZohoCredential| {
            is_ready(seen) && seen.status.as_ref().and_then(|status| status.expiration_time) > expires
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        if !renewed(&world.get("one").await) {
            // An attempt of the dead one may be on its way: waited for, then the pause after an unknown outcome.
            world.advance(31);
            tokio::time::sleep(Duration::from_millis(300)).await;
            world.advance(61);
        }
        world.wait("one", "renewed", renewed).await;
        standby.synced().await;
        let stats = world.zoho.stats().token;
        let spent = stats.posts - posts;
        assert!((1..=2).contains(&spent), "kill {kill}: {spent} requests");
        needless += spent - 1;
        assert_eq!((stats.evictions, stats.throttled), (0, 0), "kill {kill}");
    }
    let looks = watchman.report().await;
    let most = world.zoho.max_alive_seen(REFRESH_TOKEN);
    tell(&format!("{kills} kills: {needless} needless mints, at most {most} tokens alive, looked {looks} times"));
}

#[tokio::test]
async fn leader_stores_what_was_minted_when_it_is_told_to_stop_and_then_gives_the_lease_back() {
    let world = World::new("drain_then_release").await;
    world.good_source("source").await;
    let leader = world.operator_with(&QUICK);
    leader.leading().await;
    let standby = world.operator_with(&QUICK);
    standby.synced().await;
    world.zoho.script_for(REFRESH_TOKEN, Script::once(Reply::HoldThenMint));
    world.credential("one", "source", json!({})).await;
    world.zoho.wait_for_posts(1, Duration::from_secs(60)).await.expect("a request");
    leader.signal("TERM");
    // Longer than the lease: it is renewed while something is in flight.
    tokio::time::sleep(QUICK_LEASE + Duration::from_secs(1)).await;
    assert!(!standby.leads(), "nobody else acts while a request is in flight");
    world.zoho.release();
    let (code, _) = leader.ended().await;
    assert_eq!(code, Some(0));
    let token = world.token("one-token").await.expect("stored before the end");
    assert!(world.zoho.is_alive(&token));
    standby.leading().await;
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn lease_taken_by_hand_ends_the_leader_at_once() {
    let world = World::new("stolen_lease").await;
    let leader = world.operator_with(&["--leader-elect"]);
    leader.leading().await;
    eventually("the lease is taken", async || {
        let mut lease = leases(&world).get("zoho-operator").await.expect("a lease");
        lease.spec.get_or_insert_default().holder_identity = Some("somebody".into());
        leases(&world).replace("zoho-operator", &PostParams::default(), &lease).await.ok()
    })
    .await;
    // Who only notices that the lease cannot be renewed says so, and ends after ten seconds.
    let log = leader.log_at_the_end().await;
    assert!(log.contains("the lease is in other hands"), "{log}");
    assert_eq!(holder(&world).await.as_deref(), Some("somebody"), "it is not taken back");
}
