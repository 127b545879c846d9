//! Waits until the operator has made a token of what was stored.

use std::time::{Duration, Instant};

use super::super::Ended;
use super::super::connect::Cluster;
use super::super::output::Output;
use super::super::table::when;
use zoho_api::names::ObjectVersion;
use zoho_api::{ConditionStatus, ConditionType, Reason, Time, ZohoCredential};
use zoho_client::calls::{ApiError, call};
use zoho_client::clock;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// How a credential is doing, as far as the new source goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A token stands in the target, minted from the new source.
    Ready,
    /// It will not become better by waiting.
    Failed(String),
    /// Not there yet, and what was last said.
    Waiting(String),
}

/// A next try that is later than this waits for a person.
const PARKED: Duration = Duration::from_secs(600);

/// What a new source does not change.
const IN_THE_SPEC: [Reason; 8] = [
    Reason::Suspended,
    Reason::InvalidSpec,
    Reason::AccountsHostNotAllowed,
    Reason::ServerNotAllowed,
    Reason::TargetNotOwned,
    Reason::TargetImmutable,
    Reason::TemplateFailed,
    Reason::TargetTooLarge,
];

/// Reads the state off a credential. Pure. `source`: version of the source as written, `since`: when that was.
///
/// The status names the version of the source only once a token was minted from it; what was refused shows by its time.
pub(crate) fn state(credential: &ZohoCredential, source: &ObjectVersion, since: Time) -> State {
    let waiting = |text: &str| State::Waiting(text.to_owned());
    let Some(status) = &credential.status else { return waiting("no operator has looked at it yet") };
    if status.observed_generation.is_none_or(|seen| seen < credential.metadata.generation.unwrap_or_default()) {
        return waiting("no operator has looked at it yet");
    }
    let is_true = |type_| status.condition(type_).is_some_and(|condition| condition.status == ConditionStatus::True);
    // What others have since done to its labels, or to other keys, is in a later version.
    let is_it = |seen: &ObjectVersion| seen.uid == source.uid && (seen == source || source.is_older_than(seen));
    let is_minted_from_it = status.observed.as_ref().and_then(|observed| observed.source.as_ref()).is_some_and(is_it);
    if is_minted_from_it && is_true(ConditionType::Ready) && is_true(ConditionType::Renewable) {
        return State::Ready;
    }
    match status.condition(ConditionType::Renewable) {
        Some(said) if said.status == ConditionStatus::False => {
            // Whatever is in the source.
            if IN_THE_SPEC.iter().any(|reason| reason.as_str() == said.reason) {
                return State::Failed(format!("{}: {}", said.reason, said.message));
            }
            if status.last_failure_time.max(Some(said.last_transition_time)) < Some(since) {
                return waiting("the operator has not looked at the new Secret yet");
            }
            let text = format!("{}: {}", said.reason, said.message);
            let is_parked = status.next_attempt_time.is_none_or(|next| next > since + PARKED);
            if is_true(ConditionType::Stalled) || is_parked { State::Failed(text) } else { State::Waiting(text) }
        }
        Some(said) if said.status == ConditionStatus::True && !is_minted_from_it => {
            waiting("the operator has not looked at the new Secret yet")
        }
        Some(_) | None => waiting("a token is being minted"),
    }
}

/// Waits for it, with a line that tells.
///
/// # Errors
///
/// The credential cannot be read any more.
pub(crate) async fn until_ready(
    cluster: &Cluster,
    name: &str,
    (source, since): (&ObjectVersion, Time),
    within: Duration,
    output: &Output,
) -> anyhow::Result<Ended> {
    let started = Instant::now();
    loop {
        let seen = match call(cluster.credentials().get(name)).await {
            Ok(credential) => Some(credential),
            // One look without an answer says nothing of the next.
            Err(error) if is_passing(&error) => None,
            Err(error) => return Err(cluster.explain(error, name)),
        };
        let said = match seen.as_ref().map(|credential| (state(credential, source, since), credential)) {
            Some((State::Ready, credential)) => {
                output.progress_ends();
                output.say(&ready(credential, clock::system().now()))?;
                return Ok(Ended::Well);
            }
            Some((State::Failed(text), _)) => {
                output.progress_ends();
                output.error(&format!("stored, but there is no token. {text}"));
                return Ok(Ended::Badly);
            }
            Some((State::Waiting(text), _)) => text,
            None => "the API server does not answer".into(),
        };
        if started.elapsed() >= within {
            output.progress_ends();
            let waited = super::super::table::span(within.as_secs());
            output.error(&format!(
                "stored, but there was no token within {waited}: {said}. See kubectl zoho doctor {name}"
            ));
            return Ok(Ended::Badly);
        }
        output.progress(&format!("waiting for the token, {}s: {said}", started.elapsed().as_secs()));
        tokio::time::sleep(EVERY).await;
    }
}

/// May the next call be answered?
pub(crate) fn is_passing(error: &ApiError) -> bool {
    let ApiError::Unavailable(cause) = error else { return false };
    let is_final = |cause: &kube::Error| {
        matches!(cause, kube::Error::SerdeError(_) | kube::Error::Auth(_))
            || matches!(cause, kube::Error::Api(status) if status.code == 401)
    };
    !cause.as_deref().is_some_and(is_final)
}

fn ready(credential: &ZohoCredential, now: Time) -> String {
    let status = credential.status.as_ref();
    let until = status.and_then(|status| status.expiration_time).map(|at| format!(" until {}", when(at, now)));
    let name = credential.metadata.name.as_deref().unwrap_or_default();
    format!(
        "Ready. Secret {} holds a token that works{}, and is kept valid.\nTry it: kubectl zoho token {name}",
        credential.target_name(),
        until.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn credential(status: &Value) -> ZohoCredential {
        serde_json::from_value(json!({
            "metadata": { "name": "c", "generation": 2 },
            "spec": { "dataCenter": "EU", "secretRef": { "name": "s" } },
            "status": status,
        }))
        .unwrap()
    }

    fn conditions(rows: &[(&str, &str, &str)]) -> Value {
        let condition = |(type_, status, reason): &(&str, &str, &str)| {
            json!({ "type": type_, "status": status, "reason": reason, "message": "m.", "observedGeneration": 2,
                "lastTransitionTime": "2026-11-21T10:00:00Z" })
        };
        rows.iter().map(condition).collect()
    }

    #[test]
    fn only_a_token_from_the_new_source_is_ready() {
        let good = conditions(&[("Ready", "True", "TokenValid"), ("Renewable", "True", "TokenValid")]);
        let status = |generation: i64, source: &str, conditions: &Value| json!({ "observedGeneration": generation, "observed": { "source": source }, "conditions": conditions });
        let refused = |failed: &str, next: &str| {
            json!({ "observedGeneration": 2, "lastFailureTime": failed, "nextAttemptTime": next,
                "conditions": conditions(&[("Ready", "True", "TokenValid"), ("Renewable", "False", "ClientRejected")]) })
        };
        let not_looked = || State::Waiting("the operator has not looked at the new Secret yet".into());
        let table = [
            (status(2, "u/7", &good), State::Ready),
            (status(1, "u/7", &good), State::Waiting("no operator has looked at it yet".into())),
            (status(2, "u/10", &good), State::Ready),
            (status(2, "u/6", &good), not_looked()),
            (status(2, "v/8", &good), not_looked()),
            (status(2, "u/7", &json!([])), State::Waiting("a token is being minted".into())),
            (refused("2026-11-21T10:00:59Z", "2026-11-21T16:00:00Z"), not_looked()),
            (refused("2026-11-21T10:01:01Z", "2026-11-21T10:02:00Z"), State::Waiting("ClientRejected: m.".into())),
            (refused("2026-11-21T10:01:01Z", "2026-11-21T16:01:00Z"), State::Failed("ClientRejected: m.".into())),
        ];
        let since = "2026-11-21T10:01:00Z".parse().unwrap();
        for (status, expected) in table {
            assert_eq!(state(&credential(&status), &"u/7".into(), since), expected, "{status}");
        }
    }
}
