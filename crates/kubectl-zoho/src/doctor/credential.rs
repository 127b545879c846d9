//! One credential: its conditions, its source, its times. Pure.

use super::super::facts::{Facts, manager_of};
use super::super::source_keys::{MISSING, listed_keys, oddities};
use super::super::table::when;
use super::finding::Finding;
use zoho_api::{Condition, ConditionStatus, ConditionType, Reason, Time};
use zoho_core::plan::{Defect, Plan, Source, Target};
use zoho_core::secret::values::Grant;

/// An operator that has not looked after that long is not running.
const LATE: i64 = 60;
/// A renewal that is due for longer is not happening.
const OVERDUE: i64 = 300;

/// Everything that can be told of one credential without another call.
pub(crate) fn examine(name: &str, facts: &Facts, now: Time) -> Vec<Finding> {
    let mut findings = vec![seen(name, facts, now)];
    findings.extend(source(name, facts));
    findings.extend(target(name, facts));
    findings.extend(conditions(name, facts, now));
    findings.extend(scopes(name, facts));
    findings.extend(overdue(name, facts, now));
    findings.extend(facts.unseen.iter().map(|what| Finding::unseen(name, what.clone())));
    findings
}

/// Has an operator looked at it?
fn seen(name: &str, facts: &Facts, now: Time) -> Finding {
    let meta = &facts.credential.metadata;
    let observed = facts.credential.status.as_ref().and_then(|status| status.observed_generation);
    let not_running = "see whether the operator runs and serves this namespace (--watch-namespaces)";
    if observed.is_none_or(|seen| seen < 0) {
        let age = meta.creation_timestamp.as_ref().map_or(0, |made| now.unix() - Time::from(made.0).unix());
        return if age > LATE {
            Finding::fail(name, "no operator has looked at it yet", not_running)
        } else {
            Finding::warn(name, "it is new, and no operator has looked at it yet", "look again in some seconds")
        };
    }
    if observed < meta.generation {
        return Finding::warn(name, "its spec was changed and the operator has not looked at it since", not_running);
    }
    Finding::ok(name, "the operator has looked at the current spec")
}

fn source(name: &str, facts: &Facts) -> Vec<Finding> {
    let reference = &facts.credential.spec.secret_ref;
    let secret = &reference.name;
    let Some(found) = &facts.source else {
        return match &facts.observed.source {
            Source::Unusable(defect) if defect.reason == Reason::SourceSecretNotFound => vec![Finding::fail(
                name,
                format!("its source Secret {secret} does not exist"),
                if facts.service().is_some() {
                    let client = facts.credential.spec.grant() == zoho_api::Grant::ClientCredentials;
                    format!("kubectl zoho login {name}{} makes one", if client { " --client-credentials" } else { "" })
                } else {
                    defect.message.clone()
                },
            )],
            Source::Unusable(_) | Source::Usable { .. } => Vec::new(),
        };
    };
    let place = match manager_of(&found.metadata) {
        Some(manager) => format!("in what {manager} makes the Secret from"),
        None => format!("in Secret {secret}"),
    };
    let required = facts.served.as_ref().map(|served| served.issuer.required_keys(reference)).unwrap_or_default();
    let spec = &facts.credential.spec;
    let grant = match spec.grant() {
        _ if spec.endpoint_central_server.is_some() => Grant::Login,
        zoho_api::Grant::RefreshToken => Grant::Refresh,
        zoho_api::Grant::ClientCredentials => Grant::Client,
    };
    let oddities = oddities(found, reference, &required, grant);
    let is_about_a_key =
        |defect: &Defect| oddities.iter().any(|odd| defect.message.contains(&format!("key {} ", odd.key)));
    if let Source::Unusable(defect) = &facts.observed.source
        && !is_about_a_key(defect)
    {
        return vec![Finding::fail(name, defect.message.clone(), "the operator notices a correction by itself")];
    }
    let mut findings: Vec<Finding> = oddities
        .iter()
        .map(|odd| {
            let has = if odd.what == MISSING { format!("; it has {}", listed_keys(found)) } else { String::new() };
            let text = format!("key {} of source Secret {secret} {}{has}", odd.key, odd.what);
            let advice = format!("correct it {place}");
            if odd.harmless { Finding::warn(name, text, advice) } else { Finding::fail(name, text, advice) }
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(name, format!("its source Secret {secret} has what it needs")));
    }
    findings
}

fn target(name: &str, facts: &Facts) -> Vec<Finding> {
    match &facts.observed.target {
        Target::Blocked { defect, .. } => {
            vec![Finding::fail(name, defect.message.clone(), "the operator notices a correction by itself")]
        }
        Target::Absent | Target::Ours { .. } => Vec::new(),
    }
}

fn conditions(name: &str, facts: &Facts, now: Time) -> Vec<Finding> {
    let Some(status) = &facts.credential.status else { return Vec::new() };
    let mut findings = Vec::new();
    let ready = status.condition(ConditionType::Ready);
    let renewable = status.condition(ConditionType::Renewable);
    let parked = match &facts.plan {
        Plan::Park { until: Some(until), .. } => {
            format!(" It is parked: the next try is at {}.", when(*until, now))
        }
        Plan::Park { until: None, .. } => " It is parked until the source changes.".into(),
        Plan::Mint { .. }
        | Plan::Store
        | Plan::Keep { .. }
        | Plan::Wait { .. }
        | Plan::Refuse(_)
        | Plan::Suspend
        | Plan::Release => String::new(),
    };
    let is_ready = ready.is_some_and(|ready| ready.status == ConditionStatus::True);
    if let Some(said) = renewable {
        let text = format!("{}: {}{parked}", said.reason, said.message);
        findings.push(match (said.status, is_ready) {
            (ConditionStatus::True, _) => Finding::ok(name, format!("it can be renewed. {}", said.message)),
            (ConditionStatus::Unknown, _) => Finding::warn(name, text, "look again in some seconds"),
            (ConditionStatus::False, true) => Finding::warn(name, text, advice(said)),
            (ConditionStatus::False, false) => Finding::fail(name, text, advice(said)),
        });
    }
    let dead = status.expiration_time.is_some_and(|at| at <= now);
    if is_ready && dead {
        let at = status.expiration_time.map(|at| when(at, now)).unwrap_or_default();
        findings.push(Finding::fail(
            name,
            format!("Ready is True, but the token expired at {at}"),
            "the operator is not running",
        ));
    }
    if let Some(said) = status.condition(ConditionType::Verified).filter(|said| said.status == ConditionStatus::False) {
        let text = format!("{}: {}", said.reason, said.message);
        findings.push(Finding::fail(name, text, "compare the scopes of the refresh token with what the product's API wants; other scopes need another login"));
    }
    findings
}

/// What was asked for and not granted.
fn scopes(name: &str, facts: &Facts) -> Option<Finding> {
    let spec = &facts.credential.spec;
    let granted = facts.credential.status.as_ref().map(|status| &*status.granted_scopes).unwrap_or_default();
    let missing = spec.scopes_missing_in(granted);
    let text = format!("the token lacks scopes of spec.scopes: {}", missing.join(","));
    let advice = match spec.grant() {
        zoho_api::Grant::RefreshToken => "log in again and ask for them, or correct spec.scopes",
        zoho_api::Grant::ClientCredentials => "check that the client's owner may use them, or correct spec.scopes",
    };
    (!missing.is_empty()).then(|| Finding::warn(name, text, advice))
}

fn advice(said: &Condition) -> &'static str {
    match said.reason.parse::<Reason>() {
        Ok(Reason::RefreshTokenRejected) => "log in again: kubectl zoho login",
        Ok(Reason::ClientRejected) => {
            "compare client and data center as said below, then log in again or correct the source Secret"
        }
        Ok(Reason::Throttled) => {
            "wait; further requests would prolong it. If the ledger shows few requests, find out what else uses this refresh token"
        }
        Ok(Reason::MintBudgetExhausted) => "wait; to see which refresh token is used so often, run kubectl get zledger",
        Ok(Reason::Suspended) => "set spec.suspend to false to continue",
        Ok(_) | Err(()) => "the operator notices a correction by itself",
    }
}

fn overdue(name: &str, facts: &Facts, now: Time) -> Option<Finding> {
    let status = facts.credential.status.as_ref()?;
    let due = status.renewal_time?;
    let renewable = status.condition(ConditionType::Renewable)?.status == ConditionStatus::True;
    (renewable && !facts.credential.spec.suspend && now.unix() - due.unix() > OVERDUE).then(|| {
        Finding::fail(
            name,
            format!("its renewal was due at {} and did not happen, for no known reason", when(due, now)),
            "the operator is not running, or does not serve this namespace",
        )
    })
}
