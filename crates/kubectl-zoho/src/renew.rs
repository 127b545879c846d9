//! `kubectl zoho renew`: asks the operator for a new token, and waits for what comes of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::args::{Global, RenewArgs};
use super::connect::{Cluster, FIELD_MANAGER};
use super::login::wait::is_passing;
use super::output::Output;
use super::table::when;
use super::{Ended, get, render, secret_io};
use zoho_api::{ConditionStatus, ConditionType, Time, ZohoCredential, keys};
use zoho_client::calls::{ApiError, call};
use zoho_client::clock;

/// Reasons of the Events by which the operator answers a request.
const ANSWERS: [&str; 2] = [RENEWED, "RenewalRefused"];
const RENEWED: &str = "Renewed";
/// Looks for such an Event, after the status has said that the request is handled.
const ANSWER_WITHIN: usize = 6;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// Sets the annotation and waits until the operator calls it handled.
///
/// # Errors
///
/// The credential is not there, or may not be changed.
///
/// # Permissions
///
/// get and patch on `zohocredentials`; list on Events, where the operator's own words are to be shown.
pub(crate) async fn run(global: &Global, args: &RenewArgs, output: &Output) -> anyhow::Result<Ended> {
    let cluster = Cluster::connect(global)?;
    let before = cluster.credential(&args.name).await?;
    let answers = answers(&cluster, &args.name).await;
    let request = request(&cluster, &args.name).await.map_err(|error| cluster.explain(error, &args.name))?;
    if args.timeout.is_zero() {
        output.note("Requested; the operator handles it.");
        return Ok(Ended::Well);
    }
    let started = Instant::now();
    let mut seen = before.clone();
    loop {
        match call(cluster.credentials().get(&args.name)).await {
            Ok(now) => seen = now,
            // One look of many.
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(cluster.explain(error, &args.name)),
        }
        if is_handled(&before, &seen, &request) {
            let answer = new_answer(&cluster, &args.name, answers).await;
            output.progress_ends();
            let (ended, text) = outcome(&before, &seen, answer, clock::system().now());
            match args.output {
                Some(form) => output.document(&get::print(form, &document(&seen, ended, &text))?)?,
                None => output.say(&text)?,
            }
            return Ok(ended);
        }
        if started.elapsed() >= args.timeout {
            output.progress_ends();
            output.error(&unhandled(&seen, args));
            return Ok(Ended::Badly);
        }
        output.progress(&format!("waiting for the operator … {}s", started.elapsed().as_secs()));
        tokio::time::sleep(EVERY).await;
    }
}

/// Has the operator handled the request, or another one that has taken its place since?
fn is_handled(before: &ZohoCredential, seen: &ZohoCredential, request: &String) -> bool {
    let handled = |of: &ZohoCredential| of.status.as_ref().and_then(|status| status.last_handled_renew_request.clone());
    let asked = seen.metadata.annotations.as_ref().and_then(|all| all.get(keys::RENEW_REQUESTED));
    let (was, is) = (handled(before), handled(seen));
    is.as_ref() == Some(request) || (asked != Some(request) && is != was && is.as_ref() == asked)
}

/// The operator's answers to requests, by the Event's version; `None` where the caller may not list Events.
async fn answers(cluster: &Cluster, name: &str) -> Option<BTreeMap<String, Event>> {
    let events = Api::<Event>::namespaced(cluster.client.clone(), &cluster.namespace);
    let selector = format!("regarding.kind=ZohoCredential,regarding.name={name}");
    let listed = call(events.list(&ListParams::default().fields(&selector))).await.ok()?;
    let is_answer = |event: &Event| event.reason.as_deref().is_some_and(|reason| ANSWERS.contains(&reason));
    let answers = listed.items.into_iter().filter(is_answer);
    Some(answers.filter_map(|event| Some((event.metadata.resource_version.clone()?, event))).collect())
}

/// What the operator has answered since, as reason and note. The Event comes a moment after the status.
async fn new_answer(
    cluster: &Cluster,
    name: &str,
    before: Option<BTreeMap<String, Event>>,
) -> Option<(String, String)> {
    let before = before?;
    for _ in 0..ANSWER_WITHIN {
        let now = answers(cluster, name).await?;
        if let Some((_, event)) = now.into_iter().find(|(version, _)| !before.contains_key(version)) {
            return Some((event.reason?, event.note?));
        }
        tokio::time::sleep(EVERY).await;
    }
    None
}

fn document(seen: &ZohoCredential, ended: Ended, text: &str) -> Value {
    let status = seen.status.as_ref();
    json!({
        "name": seen.metadata.name, "namespace": seen.metadata.namespace, "renewed": ended == Ended::Well, "message": text,
        "secret": seen.target_name(),
        "lastMintTime": status.and_then(|status| status.last_mint_time),
        "expirationTime": status.and_then(|status| status.expiration_time),
        "nextAttemptTime": status.and_then(|status| status.next_attempt_time),
    })
}

/// Asks the operator to look and to renew, and returns the request's text, which the status repeats once it is handled.
///
/// # Errors
///
/// The API server's.
///
/// # Permissions
///
/// patch on `zohocredentials`.
pub(crate) async fn request(cluster: &Cluster, name: &str) -> Result<String, ApiError> {
    let request = format!("{}-{}", clock::system().now(), &secret_io::random()[..8]);
    let patch = json!({ "metadata": { "annotations": { (keys::RENEW_REQUESTED): request } } });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    call(cluster.credentials().patch(name, &params, &Patch::Merge(patch))).await?;
    Ok(request)
}

/// What came of a request that was handled: the operator's own answer where it can be seen, else what the status tells.
fn outcome(
    before: &ZohoCredential,
    after: &ZohoCredential,
    answer: Option<(String, String)>,
    now: Time,
) -> (Ended, String) {
    let minted_at = |credential: &ZohoCredential| credential.status.as_ref().and_then(|status| status.last_mint_time);
    let expires_at = |credential: &ZohoCredential| credential.status.as_ref().and_then(|status| status.expiration_time);
    let is_renewed = match &answer {
        Some((reason, _)) => reason == RENEWED,
        None => minted_at(after) > minted_at(before) || expires_at(after) > expires_at(before),
    };
    if is_renewed {
        let until = expires_at(after).map(|at| format!(": it works until {}", when(at, now))).unwrap_or_default();
        return (Ended::Well, format!("Renewed. Secret {} holds a new token{until}.", after.target_name()));
    }
    if let Some((_, note)) = answer {
        return (Ended::Badly, note);
    }
    let renewable = after.status.as_ref().and_then(|status| status.condition(ConditionType::Renewable));
    let text = match renewable.filter(|condition| condition.status == ConditionStatus::False) {
        Some(condition) => format!("Not renewed. {}: {}", condition.reason, condition.message),
        None => "Not renewed: so many tokens may be valid, or were requested in ten minutes, that another one could invalidate one in use. The current token stays valid and is renewed in time.".into(),
    };
    (Ended::Badly, text)
}

fn unhandled(seen: &ZohoCredential, args: &RenewArgs) -> String {
    let renewable = seen.status.as_ref().and_then(|status| status.condition(ConditionType::Renewable));
    let why = match renewable.filter(|condition| condition.status == ConditionStatus::False) {
        Some(condition) => format!(" {}: {}", condition.reason, condition.message),
        None => format!(" Is an operator running? See kubectl zoho doctor {}.", args.name),
    };
    let waited = super::table::span(args.timeout.as_secs());
    render::wrap(&format!("not handled within {waited}; the request stands.{why}"), usize::MAX).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(status: &Value) -> ZohoCredential {
        serde_json::from_value(json!({
            "metadata": { "name": "c" }, "spec": { "dataCenter": "EU", "secretRef": { "name": "s" } }, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn request_is_handled_also_where_another_one_took_its_place() {
        let with = |asked: &str, handled: &str| {
            let mut credential = credential(&json!({ "lastHandledRenewRequest": handled }));
            credential.metadata.annotations = Some([(keys::RENEW_REQUESTED.to_owned(), asked.to_owned())].into());
            credential
        };
        let (before, ours) = (with("a", "a"), "b".to_owned());
        for (asked, handled, expected) in
            [("b", "a", false), ("b", "b", true), ("c", "a", false), ("c", "b", true), ("c", "c", true)]
        {
            assert_eq!(is_handled(&before, &with(asked, handled), &ours), expected, "{asked} {handled}");
        }
    }

    #[test]
    fn outcome_is_told_by_what_changed() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let before =
            credential(&json!({ "lastMintTime": "2026-11-21T09:30:00Z", "expirationTime": "2026-11-21T10:30:00Z" }));
        let minted =
            credential(&json!({ "lastMintTime": "2026-11-21T10:00:00Z", "expirationTime": "2026-11-21T11:00:00Z" }));
        let (ended, text) = outcome(&before, &minted, None, now);
        assert_eq!(ended, Ended::Well);
        assert_eq!(text, "Renewed. Secret c-token holds a new token: it works until 11:00Z (in 60m).");
        let (ended, text) = outcome(&before, &before, None, now);
        assert_eq!(ended, Ended::Badly);
        assert!(text.starts_with("Not renewed: so many tokens"), "{text}");
        let refused = Some(("RenewalRefused".to_owned(), "It is possible from 10:35Z on.".to_owned()));
        assert_eq!(outcome(&before, &before, refused, now), (Ended::Badly, "It is possible from 10:35Z on.".into()));
        // Times have whole seconds; the operator knows better.
        let renewed = Some(("Renewed".to_owned(), String::new()));
        assert_eq!(outcome(&before, &before, renewed, now).0, Ended::Well);
        let suspended = credential(
            &json!({ "conditions": [{ "type": "Renewable", "status": "False", "reason": "Suspended",
            "message": "spec.suspend is true.", "observedGeneration": 1, "lastTransitionTime": "2026-11-21T09:00:00Z" }] }),
        );
        assert_eq!(outcome(&before, &suspended, None, now).1, "Not renewed. Suspended: spec.suspend is true.");
    }
}
