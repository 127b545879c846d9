//! How a flow ended: what is stored, without what differs from run to run, and what must hold in every run.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::ListParams;
use serde_json::{Value, json};
use zoho_api::{ZohoMintLedger, keys};

use super::boundary::{Boundary, numbered};
use super::flow::{Flow, Step, is_minted_from};
use super::stage::Stage;
use crate::support::look::text;
use crate::support::world::REFRESH_TOKEN;

/// What differs from run to run, by its key.
const MASKED: [&str; 13] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "generation",
    "seal",
    "ledger",
    "liveTokens",
    keys::SEAL,
    keys::ATTEMPT,
    keys::MINTED_FROM,
    keys::CREDENTIAL_UID,
    "observed",
];

/// So old may an entry in a ledger be when the request is sent.
const MOST_AGED: Duration = Duration::from_secs(10);

/// One run.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) boundaries: Vec<Boundary>,
    /// The operator was killed on the way.
    pub(super) was_struck: bool,
    /// Everything that is stored, as text.
    pub(super) stored: String,
    pub(super) mints: u64,
    pub(super) evictions: u64,
    pub(super) throttled: u64,
    /// For how long the target held a dead token.
    pub(super) expired: Duration,
    /// For how long, by the clock, the operator that was started again had to be waited for.
    pub(super) waited: i64,
    /// What happened, in order.
    pub(super) transcript: String,
}

impl End {
    /// Looks at what a flow left.
    ///
    /// # Errors
    ///
    /// What must hold in every run and does not.
    pub(super) async fn of(flow: Flow, stage: &Stage) -> Result<Self, String> {
        let world = &stage.world;
        let before = stage.mark().counts;
        let counts = world.zoho.stats().token;
        let target = world.get("one").await.target_name();
        monotone(flow, stage)?;
        rightful(flow, stage, &target).await?;
        reserved(stage).await?;
        Ok(Self {
            boundaries: numbered(stage.writes()),
            was_struck: false,
            stored: stored(stage).await,
            mints: counts.mints - before.mints,
            evictions: counts.evictions - before.evictions,
            throttled: counts.throttled - before.throttled,
            expired: stage.observer.expired_token_times().remove(&target).unwrap_or_default(),
            waited: stage.waited(),
            transcript: stage.transcript(),
        })
    }
}

/// No write takes the expiry of a target back.
fn monotone(flow: Flow, stage: &Stage) -> Result<(), String> {
    let mut latest: BTreeMap<(Option<String>, Option<String>), String> = BTreeMap::new();
    for version in stage.observer.versions() {
        let Some(expires) = version.expires_at() else { continue };
        // RFC 3339 in UTC sorts like the times it names.
        let known = latest.entry((version.meta.name.clone(), version.meta.uid.clone())).or_default();
        if expires < known.as_str() {
            return Err(format!("{flow}: the expiry of {:?} went back from {known} to {expires}", version.meta.name));
        }
        expires.clone_into(known);
    }
    Ok(())
}

/// The token in the target was minted from what the source holds.
async fn rightful(flow: Flow, stage: &Stage, target: &str) -> Result<(), String> {
    let source = stage.world.secret("source").await.ok_or("the source is gone")?;
    let target = stage.world.secret(target).await.ok_or("the target is gone")?;
    let is_rightful = is_minted_from(stage, &text(&target, "access_token"), &text(&source, "refresh_token"));
    if is_rightful { Ok(()) } else { Err(format!("{flow}: the token in the target was not minted from the source")) }
}

/// No request without an entry of its own, which was written just before it.
async fn reserved(stage: &Stage) -> Result<(), String> {
    if let Some(at) = unreserved(&stage.reservations()) {
        return Err(format!("the request at {:.3} s has no entry of its own in a ledger", at.as_secs_f64()));
    }
    let posts = stage.world.zoho.stats().token.posts - stage.mark().foreign;
    let ledgers = stage.world.ledgers().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    let entries: usize = ledgers.items.iter().map(|ledger| ledger.spec.attempts.len()).sum();
    let is_covered = u64::try_from(entries).is_ok_and(|entries| entries >= posts);
    if is_covered { Ok(()) } else { Err(format!("{posts} requests, and only {entries} entries in the ledgers")) }
}

/// The first request for which no ledger was written since the one before it and at most ten seconds ago. Requests are marked.
fn unreserved(writes: &[(Duration, bool)]) -> Option<Duration> {
    let mut entry = None;
    let mut requests = writes.iter().filter(|(at, is_request)| {
        if !is_request {
            entry = Some(*at);
        }
        *is_request && entry.take().is_none_or(|entry| entry + MOST_AGED < *at)
    });
    requests.next().map(|(at, _)| *at)
}

/// Credential, Secrets and ledgers, without what differs from run to run.
async fn stored(stage: &Stage) -> String {
    let world = &stage.world;
    let mut tokens: Vec<String> =
        world.zoho.log().into_iter().filter_map(|record| record.access_token.map(|token| token.to_string())).collect();
    tokens.sort_by_key(|token| std::cmp::Reverse(token.len()));
    let credential = world.get("one").await;
    let mut secrets = world.secrets().list(&ListParams::default()).await.expect("listed").items;
    secrets.sort_by_key(|secret| secret.metadata.name.clone());
    let own =
        kube::Api::<k8s_openapi::api::core::v1::Secret>::namespaced(world.client.clone(), &world.operator_namespace);
    let own = own.list_metadata(&ListParams::default()).await.expect("listed").items.len();
    let ledgers = world.ledgers().list(&ListParams::default()).await.expect("listed").items;
    let secrets: Vec<Value> = secrets
        .into_iter()
        .map(|secret| {
            let data: BTreeMap<&String, String> =
                secret.data.iter().flatten().map(|(key, _)| (key, text(&secret, key))).collect();
            json!({ "metadata": secret.metadata, "data": data, "type": secret.type_ })
        })
        .collect();
    let all = json!({
        "credential": credential,
        "secrets": secrets,
        "secrets of the operator": own,
        "ledgers": ledgers.iter().map(|ledger| of_ledger(ledger, world.zoho.now().as_second())).collect::<Vec<_>>(),
    });
    let mask = |text: &str| {
        let text = text.replace(&world.operator_namespace, "<operator>").replace(&world.namespace, "<namespace>");
        tokens.iter().fold(text, |text, token| text.replace(token.as_str(), "<token>"))
    };
    serde_json::to_string_pretty(&masked(all, &mask)).expect("plain data")
}

/// What is left of a ledger that does not count crashes.
fn of_ledger(ledger: &ZohoMintLedger, now: i64) -> Value {
    let spec = &ledger.spec;
    json!({
        "labels": ledger.metadata.labels,
        "verdicts": spec.verdicts.len(),
        "is presumed full": spec.presumed_full_at.is_some(),
        "is throttled": spec.throttled_until.is_some_and(|until| until.unix() > now),
    })
}

fn masked(value: Value, mask: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| {
                let value = if MASKED.contains(&key.as_str()) { json!("…") } else { masked(value, mask) };
                (key, value)
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(values) => values.into_iter().map(|value| masked(value, mask)).collect(),
        Value::String(text) => without_digits(&mask(&text)).into(),
        Value::Number(_) => json!("#"),
        Value::Bool(_) | Value::Null => value,
    }
}

/// Times, ports, numbers of versions.
fn without_digits(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '0'..='9' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            _ => masked.push(character),
        }
    }
    masked
}

/// The last step of a flow.
pub(super) fn last(flow: Flow) -> Step {
    flow.steps().last().copied().expect("a flow has steps")
}

#[test]
fn what_differs_from_run_to_run_is_masked_and_nothing_else() {
    let mask = |text: &str| text.replace("abc.def", "<token>");
    let value =
        json!({ "uid": "x", "at": "2026-01-02T03:04:05Z", "n": 7, "list": ["Bearer abc.def", REFRESH_TOKEN, true] });
    let expected = json!({ "uid": "…", "at": "#-#-#T#:#:#Z", "n": "#", "list": ["Bearer <token>", without_digits(REFRESH_TOKEN), true] });
    assert_eq!(masked(value, &mask), expected);
}

#[test]
fn each_request_has_an_entry_of_its_own_that_is_ten_seconds_old_at_most() {
    let (entry, request) = (false, true);
    let table = [
        (vec![(1, entry), (11, request)], None),
        (vec![(1, entry), (12, request)], Some(12)),
        (vec![(1, entry), (2, request), (3, entry), (4, request)], None),
        (vec![(1, entry), (2, entry), (3, request), (4, request)], Some(4)),
        (vec![(1, request), (2, entry)], Some(1)),
    ];
    for (writes, expected) in table {
        let writes: Vec<_> = writes.iter().map(|(at, is_request)| (Duration::from_secs(*at), *is_request)).collect();
        assert_eq!(unreserved(&writes), expected.map(Duration::from_secs), "{writes:?}");
    }
}
