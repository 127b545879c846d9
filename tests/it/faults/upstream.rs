//! A token service that is hostile or cannot make up its mind.

use std::time::Duration;

use serde_json::json;
use zoho_api::ConditionType;
use zoho_simulator::script::{Page, Reply, Script, Target};

use crate::support::look::{is, is_ready};
use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{tell, untested};

/// What hostile answers may cost together, in MiB.
const MOST: f64 = 64.0;
/// More than any reply that is read.
const BOMB: usize = 64 * 1024 * 1024;

/// Redirects lead back to the same server, to an address that it counts: whoever follows one is seen there.
fn hostile(server: &str) -> Vec<(String, Reply, &'static str)> {
    let page = |body: Vec<u8>| Page::json(200, body);
    let nested = [vec![b'['; 60_000], vec![b']'; 60_000]].concat();
    let cookies = Page::html(200, "<html>login</html>").with_header("Set-Cookie", "session=planted; Path=/");
    let mut rows = vec![
        ("gibibyte".to_owned(), Reply::Huge { size: 1 << 30 }, "UpstreamReplyInvalid"),
        ("bomb".to_owned(), Reply::Status(page(vec![b' '; BOMB]).gzipped()), "UpstreamReplyInvalid"),
        ("nested".to_owned(), Reply::Status(page(nested)), "UpstreamReplyInvalid"),
        ("cookies".to_owned(), Reply::Status(cookies), "UpstreamReplyInvalid"),
        ("drip".to_owned(), Reply::Drip { every_ms: 1000 }, "UpstreamTimeout"),
    ];
    for code in [301, 302, 303, 307, 308] {
        let location = format!("{server}/nowhere");
        rows.push((format!("redirect-{code}"), Reply::Redirect { code, location }, "UpstreamRedirect"));
    }
    rows
}

#[tokio::test]
#[ignore = "minutes: make test-long"]
async fn hostile_answers_have_their_reason_and_fatten_nobody() {
    let (world, operator) = World::served("hostile").await;
    let Some(before) = operator.memory("VmHWM:") else {
        return untested("how much memory hostile answers take", "there is no /proc/PID/status");
    };
    let rows = hostile(&world.zoho.url());
    let credentials = world.zoho.register_many("hostile", rows.len());
    for ((name, reply, _), credential) in rows.iter().zip(&credentials) {
        world.zoho.script_for(&credential.refresh_token, Script::until_cleared(reply.clone()));
        world.source_of(name, credential).await;
        world.credential(name, name, json!({})).await;
    }
    for (name, _, reason) in &rows {
        world.wait_for_reason(name, reason).await;
    }
    let after = operator.memory("VmHWM:").expect("it runs");
    tell(&format!("peak memory: {before:.1} MiB, and {after:.1} after {} hostile answers", rows.len()));
    assert!(after - before <= MOST, "{before:.1} MiB, then {after:.1}");
    assert_eq!(world.zoho.stats().strays, 0, "no redirect is followed");
    world.zoho.clear_scripts();
    world.advance(61);
    for (name, ..) in &rows {
        world.wait_ready(name).await;
    }
}

#[tokio::test]
#[ignore = "minutes: make test-long"]
async fn token_service_that_flaps_every_second_moves_no_condition_of_a_valid_token() {
    let (world, _operator) = World::served("flaps").await;
    let observer = world.observer();
    let since = |seen: &zoho_api::ZohoCredential| {
        let ready = seen.status.as_ref().and_then(|status| status.condition(ConditionType::Ready));
        ready.map(|ready| ready.last_transition_time)
    };
    let first = since(&world.get("one").await);
    assert!(first.is_some());
    let mut failures = 0;
    for second in 0..40 {
        if second % 2 == 0 {
            world.zoho.script(Target::Token, Script::until_cleared(Reply::html(500, "<h1>sorry</h1>")));
        } else {
            world.zoho.clear_scripts();
        }
        world.advance(200);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = world.get("one").await;
        failures += u32::from(is(&seen, ConditionType::Renewable, "UpstreamUnavailable"));
        assert!(is_ready(&seen) && since(&seen) == first, "second {second}: {:#?}", seen.status);
    }
    assert!(failures > 0, "some renewals met the outage");
    assert_eq!(observer.expired_token_time(), Duration::ZERO);
    let counts = world.zoho.stats().token;
    assert_eq!((counts.evictions, counts.throttled), (0, 0));
    assert!(world.zoho.max_alive_seen(REFRESH_TOKEN) <= 7);
    tell(&format!("flapping for 40 s, two hours by the clock: {} requests, {} mints", counts.posts, counts.mints));
}
