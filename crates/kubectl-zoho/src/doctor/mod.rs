//! `kubectl zoho doctor`: looks at everything that has to work, from the cluster to the pods, and says what to do.
//!
//! Sends no secret anywhere. What the caller may not see is told as such.

pub(crate) mod cluster;
pub(crate) mod credential;
pub(crate) mod finding;
pub(crate) mod issuer;
pub(crate) mod mounts;
pub(crate) mod operator;

use kube::Api;
use kube::core::DeserializeGuard;
use serde_json::json;

use self::finding::{Finding, Level};
use super::args::{DoctorArgs, Global};
use super::connect::Cluster;
use super::facts::Facts;
use super::installation::Installation;
use super::output::{Output, Paint};
use super::{Ended, get, pages, render};
use zoho_api::{Time, ZohoCredential};
use zoho_client::calls::ApiError;
use zoho_client::clock;

/// Columns before the text.
const INDENT: usize = 8;

/// Examines the cluster, the operator, and one or all credentials of the namespace.
///
/// # Errors
///
/// The cluster cannot be reached, or the named credential is not there.
pub(crate) async fn run(global: &Global, args: &DoctorArgs, output: &Output) -> anyhow::Result<Ended> {
    let connected = Cluster::connect(global)?;
    let mut findings = Vec::new();
    let (server, now) = cluster::server(&connected).await?;
    findings.push(server);
    let kinds = cluster::kinds(&connected).await?;
    let has_kinds = kinds.level != Level::Fail;
    findings.push(kinds);
    if has_kinds {
        let mut unreadable = Vec::new();
        let credentials = credentials(&connected, args, &mut unreadable).await?;
        let installations = Installation::serving(&connected, global, &credentials).await;
        findings.extend(cluster::own_rights(&connected, &installations[0]).await?);
        let mut operators = Vec::new();
        for installation in &installations {
            let examined = operator::examine(&connected, installation, now).await?;
            operators.push((installation.serves_one_of(&credentials), examined));
        }
        findings.extend(operator::together(operators));
        findings.append(&mut unreadable);
        for credential in credentials {
            findings.extend(Box::pin(examine(&connected, global, args, (credential, now), output)).await?);
        }
    }
    output.progress_ends();
    match args.output {
        Some(form) => output.document(&get::print(form, &json!(findings))?)?,
        None => output.result(&text(&findings, output))?,
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if failed { Ended::Badly } else { Ended::Well })
}

async fn credentials(
    connected: &Cluster,
    args: &DoctorArgs,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<Vec<ZohoCredential>> {
    if let Some(name) = &args.name {
        return Ok(vec![connected.credential(name).await?]);
    }
    let api = Api::<DeserializeGuard<ZohoCredential>>::namespaced(connected.client.clone(), &connected.namespace);
    let mut readable = Vec::new();
    let listed = match pages::all(&api).await {
        Ok(list) => list.items,
        Err(error @ ApiError::Refused { .. }) => {
            let text = format!(
                "the credentials of namespace {} cannot be listed ({error}), so none was looked at",
                connected.namespace
            );
            findings.push(Finding::unseen("credentials", text));
            Vec::new()
        }
        Err(error) => return Err(connected.explain(error, "list")),
    };
    for DeserializeGuard(item) in listed {
        match item {
            Ok(credential) => readable.push(credential),
            Err(error) => {
                let name = error.metadata.name.unwrap_or_default();
                findings.push(Finding::fail(
                    &name,
                    format!("cannot be read by this version: {}", error.error),
                    "correct it, or use a plugin as new as the operator",
                ));
            }
        }
    }
    Ok(readable)
}

async fn examine(
    connected: &Cluster,
    global: &Global,
    args: &DoctorArgs,
    // What the operator has written is by the cluster's time.
    (credential, now): (ZohoCredential, Time),
    output: &Output,
) -> anyhow::Result<Vec<Finding>> {
    let name = credential.metadata.name.clone().unwrap_or_default();
    output.progress(&format!("looking at {name} …"));
    let target = credential.target_name();
    let facts = Facts::gather(connected, global, credential, now).await?;
    let mut findings = credential::examine(&name, &facts, now);
    if let Some(service) = facts.service().filter(|_| !args.offline) {
        findings.extend(issuer::examine(&name, &facts, service, global, clock::system().now()).await?);
    }
    findings.extend(mounts::examine(connected, &name, &target).await);
    Ok(findings)
}

fn text(findings: &[Finding], output: &Output) -> String {
    let width = output.width().saturating_sub(INDENT + 2);
    let mut lines = Vec::new();
    let mut subject = "";
    for finding in findings {
        if finding.subject != subject {
            if !subject.is_empty() {
                lines.push(String::new());
            }
            lines.push(output.paint(Paint::Strong, &finding.subject));
            subject = &finding.subject;
        }
        let paint = match finding.level {
            Level::Ok => Paint::Good,
            Level::Unseen => Paint::Faint,
            Level::Warn => Paint::Odd,
            Level::Fail => Paint::Bad,
        };
        let word = finding.level.word();
        let label = format!("  {}{}", output.paint(paint, word), " ".repeat(INDENT - word.len()));
        let advice = finding.advice.iter().flat_map(|advice| render::wrap(&format!("→ {advice}"), width));
        for (number, line) in render::wrap(&finding.text, width).into_iter().chain(advice).enumerate() {
            lines.push(if number == 0 {
                format!("{label}{line}")
            } else {
                format!("{:width$}{line}", "", width = INDENT + 2)
            });
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let summary = match (count(Level::Fail), count(Level::Warn)) {
        (0, 0) => output.paint(Paint::Good, "Nothing is wrong, as far as can be seen."),
        (failed, warned) => format!("{failed} failed, {warned} to look at."),
    };
    lines.extend([String::new(), summary]);
    lines.join("\n")
}
