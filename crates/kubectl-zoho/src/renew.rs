//! `kubectl zoho renew`: asks the operator for a new token, and waits for what comes of it.

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::args::{Global, RenewArgs};
use super::connect::{Cluster, FIELD_MANAGER};
use super::output::Output;
use super::table::when;
use super::{Ended, render, secret_io};
use zoho_api::{ConditionStatus, ConditionType, Time, ZohoCredential, keys};
use zoho_client::calls::{ApiError, call};
use zoho_client::clock;

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
/// get and patch on `zohocredentials`.
pub(crate) async fn run(global: &Global, args: &RenewArgs, output: &Output) -> anyhow::Result<Ended> {
    let cluster = Cluster::connect(global)?;
    let before = cluster.credential(&args.name).await?;
    let request = request(&cluster, &args.name).await.map_err(|error| cluster.explain(error, &args.name))?;
    if args.timeout.is_zero() {
        output.note("Asked for; the operator handles it.");
        return Ok(Ended::Well);
    }
    let started = Instant::now();
    loop {
        let seen = cluster.credential(&args.name).await?;
        let handled = seen.status.as_ref().and_then(|status| status.last_handled_renew_request.as_ref());
        if handled == Some(&request) {
            output.progress_ends();
            let (ended, text) = outcome(&before, &seen, clock::system().now());
            output.say(&text);
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

/// What came of a request that was handled.
fn outcome(before: &ZohoCredential, after: &ZohoCredential, now: Time) -> (Ended, String) {
    let minted_at = |credential: &ZohoCredential| credential.status.as_ref().and_then(|status| status.last_mint_time);
    let expires_at = |credential: &ZohoCredential| credential.status.as_ref().and_then(|status| status.expiration_time);
    if minted_at(after) > minted_at(before) || expires_at(after) > expires_at(before) {
        let until = expires_at(after).map(|at| format!(": it works until {}", when(at, now))).unwrap_or_default();
        return (Ended::Well, format!("Renewed. Secret {} holds a new token{until}.", after.target_name()));
    }
    let renewable = after.status.as_ref().and_then(|status| status.condition(ConditionType::Renewable));
    let text = match renewable.filter(|condition| condition.status == ConditionStatus::False) {
        Some(condition) => format!("Not renewed. {}: {}", condition.reason, condition.message),
        None => "Not renewed: so many tokens may be alive, or were asked for in ten minutes, that one more could kill one in use. The present token stays good and is renewed in time.".into(),
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

    fn credential(status: &serde_json::Value) -> ZohoCredential {
        serde_json::from_value(json!({
            "metadata": { "name": "c" }, "spec": { "dataCenter": "EU", "secretRef": { "name": "s" } }, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn outcome_is_told_by_what_changed() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let before =
            credential(&json!({ "lastMintTime": "2026-11-21T09:30:00Z", "expirationTime": "2026-11-21T10:30:00Z" }));
        let minted =
            credential(&json!({ "lastMintTime": "2026-11-21T10:00:00Z", "expirationTime": "2026-11-21T11:00:00Z" }));
        let (ended, text) = outcome(&before, &minted, now);
        assert_eq!(ended, Ended::Well);
        assert_eq!(text, "Renewed. Secret c-token holds a new token: it works until 11:00Z (in 60m).");
        let (ended, text) = outcome(&before, &before, now);
        assert_eq!(ended, Ended::Badly);
        assert!(text.starts_with("Not renewed: so many tokens"), "{text}");
        let suspended = credential(
            &json!({ "conditions": [{ "type": "Renewable", "status": "False", "reason": "Suspended",
            "message": "spec.suspend is true.", "observedGeneration": 1, "lastTransitionTime": "2026-11-21T09:00:00Z" }] }),
        );
        assert_eq!(outcome(&before, &suspended, now).1, "Not renewed. Suspended: spec.suspend is true.");
    }
}
