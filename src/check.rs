//! `zoho-operator check`: whether what the operator needs is there, one line a finding, with what to do where it is not.
//!
//! Asks the Kubernetes API for its own rights, and each host that tokens come from for its root page. Sends no secret
//! and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::Client;
use kube::api::ListParams;
use url::Url;

use crate::flags::{Flags, SecretAccess};
use crate::serve::clients::LARGEST_OFFSET;
use crate::watch::source::{OfCluster, Source as _};
use zoho_api::{DataCenter, GROUP, ZohoCredential};
use zoho_client::calls::call;
use zoho_client::clock::Clock;
use zoho_client::server;
use zoho_client::told::Told;
use zoho_client::transport::Transport;
use zoho_core::issuer::Issuer;
use zoho_core::issuer::zoho::TokenService;
use zoho_core::policy::Policy;

/// Questions asked at once.
const AT_ONCE: usize = 8;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What it is about, in a word.
    pub topic: &'static str,
    /// What was looked at, and how it is.
    pub seen: String,
    /// What comes of it.
    pub verdict: Verdict,
}

/// What comes of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as it should be.
    Good,
    /// Something is wrong, and this is what to do.
    Bad(String),
    /// It was not tried, and this is what would have it tried.
    Skipped(String),
}

impl Finding {
    fn good(topic: &'static str, seen: String) -> Self {
        Self { topic, seen, verdict: Verdict::Good }
    }

    fn bad(topic: &'static str, seen: String, remedy: impl Into<String>) -> Self {
        Self { topic, seen, verdict: Verdict::Bad(remedy.into()) }
    }

    fn skipped(what: &str, hint: &str) -> Self {
        Self { topic: "issuer", seen: format!("not tried: {what}"), verdict: Verdict::Skipped(hint.into()) }
    }

    /// Is something wrong?
    pub(crate) fn is_bad(&self) -> bool {
        matches!(self.verdict, Verdict::Bad(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, advice) = match &self.verdict {
            Verdict::Good => ("ok", None),
            Verdict::Bad(remedy) => ("FAIL", Some(remedy)),
            Verdict::Skipped(hint) => ("skip", Some(hint)),
        };
        write!(f, "{word:<5} {:<8} {}", self.topic, self.seen)?;
        advice.map_or(Ok(()), |advice| write!(f, ": {advice}"))
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
    if flags.makes_hash_key() {
        need(own, "", "secrets", None, &["create"]);
    }
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
    let date = server::date(client).await.context("ask the API server for its version")?;
    let ahead = date.map(|date| clock.now().unix() - date.unix());
    let seen = |ahead| format!("{ahead} s ahead of the API server's");
    Ok(match ahead {
        Some(ahead) if ahead.abs() <= LARGEST_OFFSET => Finding::good("clock", seen(ahead)),
        Some(ahead) => {
            Finding::bad("clock", seen(ahead), "correct the clock of this node or of the control plane (NTP)")
        }
        None => Finding::good("clock", "the API server's answer has no date to compare with".into()),
    })
}

async fn may(client: &Client, right: Right) -> anyhow::Result<Finding> {
    let text = |text: &str| Some(text.to_owned());
    let asked = ResourceAttributes {
        group: text(right.group),
        resource: text(right.resource),
        subresource: text(right.subresource),
        verb: text(right.verb),
        namespace: right.namespace.clone(),
        name: right.name.clone(),
        ..ResourceAttributes::default()
    };
    let is_granted = server::may(client, asked).await.context("ask for the own rights")?;
    let remedy = "grant it: the chart does so with rbac.create=true, and its README lists all rights";
    Ok(if is_granted {
        Finding::good("rights", right.to_string())
    } else {
        Finding::bad("rights", right.to_string(), remedy)
    })
}

/// Each host that a credential of this cluster gets its tokens from, and those that the flags name: before there is a credential,
/// these are all.
async fn issuers(flags: &Flags, client: &Client, transport: &Transport) -> Vec<Finding> {
    let policy = flags.policy();
    let (mut hosts, mut findings) = hosts(flags, &policy, client).await;
    hosts.extend(named(&policy));
    for host in &hosts {
        findings.push(match transport.reach(host).await {
            Ok(status @ (407 | 500..)) => Finding::bad(
                "issuer",
                format!("{host} answers ({status})"),
                "a proxy or a gateway answers in its place, or it is out of order: look at HTTPS_PROXY (chart: proxy), and let this pod through",
            ),
            Ok(status) => Finding::good("issuer", format!("{host} answers ({status})")),
            Err((failed, innermost)) => {
                let remedy = failed.cause.as_ref().map_or_else(
                    || {
                        "it does not answer in time; allow this pod to connect to it, or set HTTPS_PROXY (chart: proxy)"
                            .into()
                    },
                    |cause| cause.sentence("it"),
                );
                Finding::bad("issuer", format!("{host} ({innermost})"), remedy)
            }
        });
    }
    findings.extend(not_tried(&policy, &hosts));
    findings
}

/// The hosts that flags name: token services of `--data-centers` and `--accounts-url`, accounts hosts, and listed servers.
fn named(policy: &Policy) -> BTreeSet<Url> {
    let elsewhere = policy.accounts_urls.iter().map(|(data_center, _)| *data_center);
    let elsewhere = elsewhere.filter(|data_center| policy.allows_data_center(*data_center));
    let services = policy.data_centers.iter().copied().chain(elsewhere);
    let services = services.filter_map(|data_center| usual_host(data_center, policy));
    let hosts = policy.accounts_hosts.iter().filter_map(|host| Url::parse(&format!("https://{host}/")).ok());
    services.chain(hosts).chain(policy.servers.iter().map(|server| root(&server.url))).collect()
}

fn usual_host(data_center: DataCenter, policy: &Policy) -> Option<Url> {
    TokenService::usual_url(data_center, policy).map(|url| root(&url))
}

fn root(url: &Url) -> Url {
    let mut root = url.clone();
    root.set_path("/");
    root.set_query(None);
    root
}

/// What this report says nothing about, though credentials could come to need it.
fn not_tried(policy: &Policy, tried: &BTreeSet<Url>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let allowed = DataCenter::ALL.into_iter().filter(|data_center| policy.allows_data_center(*data_center));
    let left =
        allowed.filter(|data_center| usual_host(*data_center, policy).is_some_and(|host| !tried.contains(&host)));
    let left: Vec<String> = left.map(|data_center| data_center.to_string()).collect();
    if !left.is_empty() {
        let hint = "name those that you use in --data-centers (chart: config.dataCenters) to have them tried";
        findings.push(Finding::skipped(&format!("data centers {}", left.join(", ")), hint));
    }
    let hint = "docs/products.md lists them; only spec.verify connects to them";
    findings.push(Finding::skipped("hosts of products", hint));
    findings
}

async fn hosts(flags: &Flags, policy: &Policy, client: &Client) -> (BTreeSet<Url>, Vec<Finding>) {
    let (mut hosts, mut findings) = (BTreeSet::new(), Vec::new());
    let sources: Vec<OfCluster<Told<ZohoCredential>>> = match flags.watch_namespaces.as_slice() {
        [] => vec![OfCluster::new(client, None)],
        some => some.iter().map(|namespace| OfCluster::new(client, Some(namespace))).collect(),
    };
    for source in sources {
        match call(source.list(&ListParams::default())).await {
            Ok(list) => {
                let readable: Vec<_> =
                    list.items.into_iter().filter_map(|credential| credential.object.0.ok()).collect();
                findings.extend(served_elsewhere(&readable, &flags.installation()));
                let issuers = readable.iter().filter_map(|credential| {
                    let namespace = credential.metadata.namespace.as_deref().unwrap_or_default();
                    Issuer::of(&credential.spec, namespace, policy).ok()
                });
                hosts.extend(issuers.filter_map(|issuer| issuer.root()));
            }
            Err(error) => findings.push(Finding::bad(
                "issuer",
                format!("ZohoCredentials cannot be listed ({error})"),
                "install the CustomResourceDefinitions and grant the rights above",
            )),
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
    others.into_iter().map(|other| Finding::good("installation", seen(other))).collect()
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
    #[test]
    fn right_to_create_secrets_beside_the_ledgers_is_asked_for_only_where_the_hash_key_is_made() {
        let asked = |arguments: &[&str]| {
            let flags = Flags::parse_from(["zoho-operator", "--watch-namespaces=team"].iter().chain(arguments));
            rights(&flags)
                .iter()
                .map(Right::to_string)
                .any(|right| right == "create secrets in namespace zoho-operator-system")
        };
        assert!(asked(&[]));
        assert!(!asked(&["--hash-key-secret=ours"]));
    }
}
