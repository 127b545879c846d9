//! `kubectl zoho describe`: why a credential is as it is, and what happens next and when.

use super::args::{Global, NameArgs};
use super::connect::Cluster;
use super::facts::{Facts, manager_of};
use super::output::Output;
use super::table::when;
use super::{Ended, get, render};
use serde_json::{Map, Value, json};
use zoho_api::{ConditionType, Grant, Time, ZohoCredentialSpec};
use zoho_client::clock;
use zoho_core::issuer::data_centers;
use zoho_core::plan::Plan;
use zoho_core::text::printable;

/// Longest list of granted scopes, in bytes: a status may be anybody's.
const LONGEST_GRANTED: usize = 4096;

/// Describes one credential.
///
/// # Errors
///
/// It is not there, or the cluster does not answer.
pub(crate) async fn run(global: &Global, args: &NameArgs, output: &Output) -> anyhow::Result<Ended> {
    let cluster = Cluster::connect(global)?;
    let now = clock::system().now();
    let credential = cluster.credential(&args.name).await?;
    let facts = Facts::gather(&cluster, global, credential, now).await?;
    match args.output {
        Some(form) => output.document(&get::print(form, &document(&facts, now))?)?,
        None => output.result(&render::fields(&lines(&facts, now), output.width()))?,
    }
    Ok(Ended::Well)
}

/// The same for programs: the sentences by their labels, and the status, whose conditions they are about.
fn document(facts: &Facts, now: Time) -> Value {
    let conditions = ["Ready", "Renewable", "Verified", "Stalled"];
    let said = lines(facts, now).into_iter().filter(|(label, _)| !conditions.contains(label));
    let camel = |label: &str| {
        let label = label.replace(' ', "");
        label[..1].to_ascii_lowercase() + &label[1..]
    };
    let mut document: Map<String, Value> = said.map(|(label, text)| (camel(label), json!(text))).collect();
    let meta = &facts.credential.metadata;
    document.insert("name".into(), json!(meta.name));
    document.insert("namespace".into(), json!(meta.namespace));
    // What is said of a status that is behind is told by its observedGeneration.
    document.insert("status".into(), json!(facts.credential.status));
    Value::Object(document)
}

/// The description, line by line. Pure.
pub(crate) fn lines(facts: &Facts, now: Time) -> Vec<(&'static str, String)> {
    let credential = &facts.credential;
    let status = credential.status.clone().unwrap_or_default();
    let meta = &credential.metadata;
    let name =
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let mut lines = vec![("Name", name), ("Issuer", issuer(facts)), ("Source", source(facts))];
    if !credential.spec.scopes.is_empty() || !status.granted_scopes.is_empty() {
        lines.push(("Scopes", scopes(&credential.spec, &status.granted_scopes)));
    }
    lines.push(("Target", format!("Secret {}", credential.target_name())));
    lines.push(("Token", token(facts, now)));
    if status.observed_generation.is_none_or(|seen| seen < 0) {
        lines.push(("Status", "No operator has looked at it yet. See kubectl zoho doctor.".into()));
    } else if status.observed_generation < meta.generation {
        lines.push((
            "Status",
            "The operator has not looked at the current spec yet; the following is about the previous one.".into(),
        ));
    }
    for (label, type_) in [
        ("Ready", ConditionType::Ready),
        ("Renewable", ConditionType::Renewable),
        ("Verified", ConditionType::Verified),
        ("Stalled", ConditionType::Stalled),
    ] {
        let Some(condition) = status.condition(type_) else { continue };
        let said = status.condition(ConditionType::Renewable).map(|renewable| renewable.message.as_str());
        if type_ == ConditionType::Stalled && said == Some(condition.message.as_str()) {
            lines.push((label, "A person must act.".into()));
        } else {
            lines.push((label, render::condition(condition, now)));
        }
    }
    lines.push(("Ledger", ledger(facts, now)));
    let mut next = render::next(&facts.plan, now);
    if let Plan::Refuse(defect) = &facts.plan
        && status.condition(ConditionType::Renewable).is_none_or(|said| said.message != defect.message)
    {
        next = format!("{}: {} {next}", defect.reason, defect.message);
    }
    if facts.source_changed {
        next.push_str(" The source Secret has changed since the status was written: if its values are different, the operator mints a token from them at once.");
    }
    lines.push(("Next", next));
    if !facts.unseen.is_empty() {
        let unseen = facts.unseen.join("\n");
        lines.push(("Not seen", format!("{unseen}\nThe text above is based on the status instead.")));
    }
    lines
}

fn issuer(facts: &Facts) -> String {
    let spec = &facts.credential.spec;
    if let Some(server) = &spec.endpoint_central_server {
        return format!("server {}", server.url);
    }
    let host = match (facts.service(), spec.data_center.and_then(data_centers::row)) {
        (Some(service), _) => service.token_url.host_str().unwrap_or_default().to_owned(),
        (None, Some(row)) => row.accounts[0].to_owned(),
        (None, None) => spec.accounts_host.clone().unwrap_or_default(),
    };
    let data_center = spec.data_center.map(|dc| dc.to_string()).unwrap_or_default();
    let product = spec.product.map(|product| format!(", {product}")).unwrap_or_default();
    let grant = match spec.grant() {
        Grant::RefreshToken => "",
        Grant::ClientCredentials => ", by client credentials: no refresh token in use",
    };
    let soid = spec.soid.as_ref().map(|soid| format!(", for {soid}")).unwrap_or_default();
    format!("data center {data_center} ({host}){product}{grant}{soid}")
}

/// What the spec asks for, and how that differs from what Zoho said it granted.
fn scopes(spec: &ZohoCredentialSpec, granted: &[String]) -> String {
    let asked = if spec.scopes.is_empty() { "none recorded".into() } else { spec.scopes.join(",") };
    let missing = spec.scopes_missing_in(granted);
    if !missing.is_empty() {
        return format!("{asked}\nNot granted: {}", missing.join(","));
    }
    if granted.is_empty() {
        asked
    } else {
        format!("{asked}\nGranted: {}", printable(&granted.join(","), LONGEST_GRANTED))
    }
}

fn source(facts: &Facts) -> String {
    let name = &facts.credential.spec.secret_ref.name;
    let manager = facts.source.as_ref().and_then(|source| manager_of(&source.metadata));
    let manager = manager.map(|manager| format!(", managed by {manager}")).unwrap_or_default();
    format!("Secret {name}{manager}")
}

fn token(facts: &Facts, now: Time) -> String {
    match facts.observed.target.token() {
        None => "none".into(),
        Some(token) if facts.served.as_ref().is_some_and(|served| !served.terms.names_expiry) => {
            format!("minted at {}; the server states no expiry", when(token.life.issued_at, now))
        }
        Some(token) if token.life.expires_at <= now => format!("expired at {}", when(token.life.expires_at, now)),
        Some(token) => {
            format!("works until {}; minted at {}", when(token.life.expires_at, now), when(token.life.issued_at, now))
        }
    }
}

fn ledger(facts: &Facts, now: Time) -> String {
    let Some(name) = facts.credential.status.as_ref().and_then(|status| status.ledger.as_ref()) else {
        return "none yet".into();
    };
    match &facts.ledger {
        Some(ledger) => {
            let throttled = facts.observed.ledger.throttled_until;
            let throttled = throttled.map(|until| format!(", throttled until {}", when(until, now)));
            format!("{name}: {}{}", render::budget(ledger, facts.limits, now), throttled.unwrap_or_default())
        }
        None => name.to_string(),
    }
}
