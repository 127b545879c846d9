//! `zoho-operator check`: whether what the operator needs is there, one line a finding, with what to do where it is not.
//!
//! Asks the Kubernetes API for its own rights, and each host that tokens come from for its root page. Sends no secret
//! and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Context as _;
use futures::StreamExt as _;
use http::{Request, header};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{ListParams, PostParams};
use kube::client::Body;
use kube::{Api, Client};
use url::Url;

use crate::flags::{Flags, SecretAccess};
use crate::serve::clients::LARGEST_OFFSET;
use crate::watch::source::{OfCluster, Source as _};
use zoho_api::{GROUP, Time, ZohoCredential};
use zoho_client::calls::call;
use zoho_client::clock::Clock;
use zoho_client::told::Told;
use zoho_client::transport::Transport;
use zoho_core::issuer::Issuer;

/// Questions asked at once.
const AT_ONCE: usize = 8;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What it is about, in a word.
    pub topic: &'static str,
    /// What was looked at, and how it is.
    pub seen: String,
    /// What to do, where something is wrong.
    pub remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.remedy.is_some() { "FAIL" } else { "ok" };
        write!(f, "{word:<5} {:<8} {}", self.topic, self.seen)?;
        match &self.remedy {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

/// One right that the operator needs, as RBAC rules name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, in the plural.
    pub resource: &'static str,
    /// Subresource, or nothing.
    pub subresource: &'static str,
    /// Verb.
    pub verb: &'static str,
    /// Namespace; `None` for all.
    pub namespace: Option<String>,
    /// The one object that it is about; `None` for all.
    pub name: Option<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in all namespaces"),
        }
    }
}

/// Every right that the operator needs with these flags.
pub(crate) fn rights(flags: &Flags) -> Vec<Right> {
    let mut rights = Vec::new();
    let mut need =
        |namespace: Option<&str>, group, resource: &'static str, name: Option<&str>, verbs: &[&'static str]| {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            rights.extend(verbs.iter().map(|verb| Right {
                group,
                resource,
                subresource,
                verb,
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
            }));
        };
    let served: Vec<Option<&str>> = match flags.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    for namespace in served {
        need(namespace, GROUP, "zohocredentials", None, &["get", "list", "watch"]);
        need(namespace, GROUP, "zohocredentials/status", None, &["patch"]);
        need(namespace, "", "secrets", None, &["get", "create", "patch", "delete"]);
        if flags.secret_access == SecretAccess::Watch {
            need(namespace, "", "secrets", None, &["list", "watch"]);
        }
        need(namespace, "events.k8s.io", "events", None, &["create", "patch"]);
    }
    if flags.metrics_authentication {
        need(None, "authentication.k8s.io", "tokenreviews", None, &["create"]);
        need(None, "authorization.k8s.io", "subjectaccessreviews", None, &["create"]);
    }
    let own = flags.operator_namespace();
    let own = Some(own.as_str());
    need(own, GROUP, "zohomintledgers", None, &["get", "list", "watch", "create", "update", "delete"]);
    need(own, "", "secrets", Some(&flags.hash_key_secret()), &["get"]);
    need(own, "", "secrets", None, &["create"]);
    if flags.leader_elect {
        need(own, "coordination.k8s.io", "leases", Some(&flags.instance), &["get", "update"]);
        need(own, "coordination.k8s.io", "leases", None, &["create"]);
    }
    rights
}

/// Looks at everything. The order of the findings is that of the report.
///
/// # Errors
///
/// A call to the API server that a finding cannot be made without.
///
/// # Permissions
///
/// create on `selfsubjectaccessreviews`, which everybody has.
pub(crate) async fn check(
    flags: &Flags,
    client: &Client,
    transport: &Transport,
    clock: &dyn Clock,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = vec![clock_offset(client, clock).await?];
    let rights: Vec<_> = futures::stream::iter(rights(flags))
        .map(async |right| may(client, right).await)
        .buffered(AT_ONCE)
        .collect()
        .await;
    for right in rights {
        findings.push(right?);
    }
    findings.extend(issuers(flags, client, transport).await);
    Ok(findings)
}

async fn clock_offset(client: &Client, clock: &dyn Clock) -> anyhow::Result<Finding> {
    let request = Request::get("/version").body(Body::empty()).context("build a request")?;
    let answer = call(client.send(request)).await.context("ask the API server for its version")?;
    let date = answer.headers().get(header::DATE).and_then(|date| Time::from_http_date(date.to_str().ok()?));
    let ahead = date.map(|date| clock.now().unix() - date.unix());
    let topic = "clock";
    Ok(match ahead {
        Some(ahead) if ahead.abs() <= LARGEST_OFFSET => {
            Finding { topic, seen: format!("{ahead} s ahead of the API server's"), remedy: None }
        }
        Some(ahead) => Finding {
            topic,
            seen: format!("{ahead} s ahead of the API server's"),
            remedy: Some("correct the clock of this node or of the control plane (NTP)".into()),
        },
        None => Finding { topic, seen: "the API server's answer has no date to compare with".into(), remedy: None },
    })
}

async fn may(client: &Client, right: Right) -> anyhow::Result<Finding> {
    let text = |text: &str| Some(text.to_owned());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: text(right.group),
                resource: text(right.resource),
                subresource: text(right.subresource),
                verb: text(right.verb),
                namespace: right.namespace.clone(),
                name: right.name.clone(),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    let answer = call(reviews.create(&PostParams::default(), &review)).await.context("ask for the own rights")?;
    let is_granted = answer.status.is_some_and(|status| status.allowed);
    let remedy = "grant it: the chart does so with rbac.create=true, and its README lists all rights";
    Ok(Finding { topic: "rights", seen: right.to_string(), remedy: (!is_granted).then(|| remedy.to_owned()) })
}

/// Each host that a credential of this cluster gets its tokens from.
async fn issuers(flags: &Flags, client: &Client, transport: &Transport) -> Vec<Finding> {
    let topic = "issuer";
    let (hosts, said) = hosts(flags, client).await;
    let mut findings: Vec<Finding> = said;
    if hosts.is_empty() && findings.is_empty() {
        let seen = "no ZohoCredential says yet where tokens come from".into();
        findings.push(Finding { topic, seen, remedy: None });
    }
    for host in hosts {
        findings.push(match transport.reach(&host).await {
            Ok(status) => Finding { topic, seen: format!("{host} answers ({status})"), remedy: None },
            Err((failed, innermost)) => {
                let remedy = failed.cause.as_ref().map_or_else(
                    || "it does not answer in time; let this pod's traffic out to it, or set HTTPS_PROXY (chart: proxy)".into(),
                    |cause| cause.sentence("it"),
                );
                Finding { topic, seen: format!("{host} ({innermost})"), remedy: Some(remedy) }
            }
        });
    }
    findings
}

async fn hosts(flags: &Flags, client: &Client) -> (BTreeSet<Url>, Vec<Finding>) {
    let (policy, mut hosts, mut findings) = (flags.policy(), BTreeSet::new(), Vec::new());
    let sources: Vec<OfCluster<Told<ZohoCredential>>> = match flags.watch_namespaces.as_slice() {
        [] => vec![OfCluster::new(client, None)],
        some => some.iter().map(|namespace| OfCluster::new(client, Some(namespace))).collect(),
    };
    for source in sources {
        match call(source.list(&ListParams::default())).await {
            Ok(list) => {
                let readable: Vec<_> = list.items.into_iter().filter_map(|credential| credential.0.0.ok()).collect();
                findings.extend(served_elsewhere(&readable, &flags.installation()));
                let issuers = readable.iter().filter_map(|credential| {
                    let namespace = credential.metadata.namespace.as_deref().unwrap_or_default();
                    Issuer::of(&credential.spec, namespace, &policy).ok()
                });
                hosts.extend(issuers.filter_map(|issuer| issuer.root()));
            }
            Err(error) => findings.push(Finding {
                topic: "issuer",
                seen: format!("ZohoCredentials cannot be listed ({error})"),
                remedy: Some("install the CustomResourceDefinitions and grant the rights above".into()),
            }),
        }
    }
    (hosts, findings)
}

/// Who else serves objects here, and how many. Nothing is wrong with that; one should know.
fn served_elsewhere(credentials: &[ZohoCredential], us: &str) -> Vec<Finding> {
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for credential in credentials {
        if let Some(by) = credential.served_elsewhere(us) {
            *others.entry(by).or_default() += 1;
        }
    }
    let seen = |(by, count)| format!("{count} ZohoCredentials are served by installation {by} and left alone by {us}");
    others.into_iter().map(|other| Finding { topic: "installation", seen: seen(other), remedy: None }).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn by_get_no_right_to_list_or_watch_secrets_is_asked_for() {
        let flags = Flags::parse_from(["zoho-operator", "--secret-access=get", "--leader-elect=false"]);
        let rights: Vec<String> = rights(&flags).iter().map(Right::to_string).collect();
        let secrets: Vec<&str> = rights.iter().filter(|right| right.contains("secrets")).map(String::as_str).collect();
        let everywhere = ["get", "create", "patch", "delete"].map(|verb| format!("{verb} secrets in all namespaces"));
        assert_eq!(secrets[..4], everywhere);
        assert!(secrets[4..].iter().all(|right| right.ends_with("in namespace zoho-operator-system")), "{secrets:?}");
        assert!(rights.iter().all(|right| !right.contains("leases")));
    }
}
