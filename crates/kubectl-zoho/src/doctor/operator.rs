//! Is there an operator, does it lead, and may it do its work?

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::PostParams;

use super::super::connect::Cluster;
use super::super::installation::Installation;
use super::super::table::span;
use super::finding::{Finding, Level};
use zoho_api::{GROUP, Time};
use zoho_client::calls::{ApiError, call};

const SUBJECT: &str = "operator";
/// A lease without its own word on it lasts this long.
const LEASE_LASTS: i64 = 15;
/// A renewal further in the future means that clocks differ.
const AHEAD: i64 = 30;

/// What is found of one installation.
pub(crate) struct Examined {
    findings: Vec<Finding>,
    /// What its account may do in the caller's namespace, where it could be asked for.
    rights: Option<Finding>,
}

/// The findings of all installations. `true`: it serves a credential of the namespace. Of the others, the one that is meant for
/// the namespace is not known: that one of them has the rights there is enough.
pub(crate) fn together(all: Vec<(bool, Examined)>) -> Vec<Finding> {
    let has_rights = |one: &Examined| one.rights.as_ref().is_some_and(|rights| rights.level == Level::Ok);
    let is_served = all.iter().any(|(_, one)| has_rights(one));
    let of_one = |(serves, Examined { mut findings, rights }): (bool, Examined)| {
        let is_of_another = |rights: &Finding| rights.level == Level::Fail && !serves && is_served;
        findings.extend(rights.map(|rights| {
            if is_of_another(&rights) {
                Finding::ok(SUBJECT, format!("{}; another installation has these rights", rights.text))
            } else {
                rights
            }
        }));
        findings
    };
    all.into_iter().flat_map(of_one).collect()
}

/// Looks for Deployment and Lease, and asks what the operator's account may do.
///
/// # Errors
///
/// The cluster does not answer.
pub(crate) async fn examine(cluster: &Cluster, installation: &Installation, now: Time) -> anyhow::Result<Examined> {
    let Installation { namespace, instance } = installation;
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let lease = Found::of(call(leases.get(instance)).await);
    let deployment = match Found::of(installation.deployment(cluster).await) {
        Found::There(deployment) => deployment.map_or(Found::Absent, Found::There),
        Found::Absent => Found::Absent,
        Found::Hidden(why) => Found::Hidden(why),
    };
    let mut findings = vec![presence(&lease, &deployment, namespace, instance, now)];
    let mut rights = None;
    if let Found::There(deployment) = &deployment {
        findings.extend(availability(deployment));
        rights = Some(rights_of(cluster, namespace, deployment).await?);
    }
    Ok(Examined { findings, rights })
}

enum Found<T> {
    There(T),
    Absent,
    Hidden(String),
}

impl<T> Found<T> {
    fn of(answer: Result<T, ApiError>) -> Self {
        match answer {
            Ok(object) => Self::There(object),
            Err(ApiError::NotFound) => Self::Absent,
            Err(ApiError::Refused { message }) => Self::Hidden(message),
            Err(error) => Self::Hidden(error.to_string()),
        }
    }
}

fn presence(
    lease: &Found<Lease>,
    deployment: &Found<Deployment>,
    namespace: &str,
    instance: &str,
    now: Time,
) -> Finding {
    match (lease, deployment) {
        (Found::There(lease), deployment) => {
            let name = match deployment {
                Found::There(deployment) => deployment.metadata.name.as_deref(),
                Found::Absent | Found::Hidden(_) => None,
            };
            leading(lease, (namespace, name.unwrap_or("zoho-operator")), now)
        }
        (Found::Absent, Found::There(_)) => Finding::ok(
            SUBJECT,
            format!(
                "is installed in {namespace}; it keeps no Lease {instance}, so leader election is off or it has another name (--instance)"
            ),
        ),
        (Found::Absent, Found::Absent) => Finding::fail(
            SUBJECT,
            format!("there is neither a Lease {instance} nor a Deployment of zoho-operator in namespace {namespace}"),
            "install it with its chart; if it runs in another namespace or under another name, say so with --operator-namespace and --instance",
        ),
        (Found::Absent | Found::Hidden(_), Found::Hidden(why)) | (Found::Hidden(why), Found::Absent) => {
            Finding::unseen(SUBJECT, format!("its Lease and Deployment in {namespace}: {why}"))
        }
        (Found::Hidden(why), Found::There(_)) => {
            Finding::unseen(SUBJECT, format!("is installed in {namespace}; who leads is in its Lease: {why}"))
        }
    }
}

fn leading(lease: &Lease, (namespace, deployment): (&str, &str), now: Time) -> Finding {
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let renewed = spec.renew_time.as_ref().map(|time| Time::from(time.0));
    let lasts = spec.lease_duration_seconds.map_or(LEASE_LASTS, i64::from);
    let restart = format!("look at its log: kubectl logs -n {namespace} deployment/{deployment}");
    match (holder, renewed) {
        (None, _) | (_, None) => Finding::fail(
            SUBJECT,
            "no replica leads: the last leader has stepped down and no other replica has taken over",
            restart,
        ),
        (Some(holder), Some(renewed)) => match now.unix() - renewed.unix() {
            age if age < -AHEAD => Finding::warn(
                SUBJECT,
                format!("{holder} leads, but its clock is ahead of the API server's by {}", span(age.unsigned_abs())),
                "set the clocks of the nodes by NTP: expiry times depend on them",
            ),
            age if age > lasts + AHEAD => Finding::fail(
                SUBJECT,
                format!("no replica leads: {holder} last renewed its Lease {} ago", span(age.unsigned_abs())),
                restart,
            ),
            _ => Finding::ok(SUBJECT, format!("{holder} leads")),
        },
    }
}

fn availability(deployment: &Deployment) -> Option<Finding> {
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let available = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    if wanted == 0 {
        let text = format!("Deployment {name} is scaled to 0");
        return Some(Finding::fail(
            SUBJECT,
            text,
            format!("kubectl scale deployment -n {namespace} {name} --replicas=1"),
        ));
    }
    (available == 0).then(|| {
        let selected = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
        let selected: Vec<String> =
            selected.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
        let text = format!("Deployment {name} has no available pod");
        Finding::fail(SUBJECT, text, format!("see why: kubectl describe pods -n {namespace} -l {}", selected.join(",")))
    })
}

/// Asks what the operator's account may do in the caller's namespace.
async fn rights_of(cluster: &Cluster, namespace: &str, deployment: &Deployment) -> anyhow::Result<Finding> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let account = pod.and_then(|pod| pod.service_account_name.clone()).unwrap_or_else(|| "default".into());
    let user = format!("system:serviceaccount:{namespace}:{account}");
    let needed = [
        ("get", "", "secrets", ""),
        ("create", "", "secrets", ""),
        ("patch", "", "secrets", ""),
        ("delete", "", "secrets", ""),
        ("watch", GROUP, "zohocredentials", ""),
        ("patch", GROUP, "zohocredentials", "status"),
    ];
    let mut lacking = Vec::new();
    for (verb, group, resource, subresource) in needed {
        match may(cluster, &user, verb, group, (resource, subresource)).await {
            Ok(true) => {}
            Ok(false) => {
                let slash = if subresource.is_empty() { "" } else { "/" };
                lacking.push(format!("{verb} {resource}{slash}{subresource}"));
            }
            Err(ApiError::Refused { .. }) => {
                return Ok(Finding::unseen(SUBJECT, "its rights: you may not create subjectaccessreviews"));
            }
            Err(error) => return Err(cluster.explain(error, "access review")),
        }
    }
    let place = &cluster.namespace;
    Ok(if lacking.is_empty() {
        Finding::ok(SUBJECT, format!("{account} has the rights that it needs in namespace {place}"))
    } else {
        Finding::fail(
            SUBJECT,
            format!("{account} may not in namespace {place}: {}", lacking.join(", ")),
            "where the chart's watchNamespaces is set, add the namespace there; else restore the chart's roles",
        )
    })
}

async fn may(
    cluster: &Cluster,
    user: &str,
    verb: &str,
    group: &str,
    (resource, subresource): (&str, &str),
) -> Result<bool, ApiError> {
    let text = |text: &str| Some(text.to_owned());
    let attributes = ResourceAttributes {
        verb: text(verb),
        group: text(group),
        resource: text(resource),
        subresource: text(subresource),
        namespace: text(&cluster.namespace),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: text(user),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = call(api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leader_is_known_by_its_lease() {
        let now: Time = "2026-11-21T10:00:00Z".parse().unwrap();
        let table = [
            (
                json!({ "holderIdentity": "a", "renewTime": "2026-11-21T09:59:55.000000Z", "leaseDurationSeconds": 15 }),
                Level::Ok,
                "a leads",
            ),
            (
                json!({ "holderIdentity": "a", "renewTime": "2026-11-21T09:50:00.000000Z" }),
                Level::Fail,
                "no replica leads: a last renewed its Lease 10m ago",
            ),
            (
                json!({ "holderIdentity": "a", "renewTime": "2026-11-21T10:05:00.000000Z" }),
                Level::Warn,
                "a leads, but its clock is ahead",
            ),
            (
                json!({ "holderIdentity": "", "renewTime": "2026-11-21T09:59:55.000000Z" }),
                Level::Fail,
                "no replica leads: the last leader",
            ),
            (json!({}), Level::Fail, "no replica leads"),
        ];
        for (spec, level, text) in table {
            let lease: Lease = serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap();
            let finding = leading(&lease, ("ns", "zoho-operator"), now);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.text.starts_with(text), "{finding:?}");
        }
    }

    #[test]
    fn absence_and_blindness_are_told_apart() {
        let now = Time::UNIX_EPOCH;
        let hidden = || Found::<Deployment>::Hidden("forbidden".into());
        let level = |lease: Found<Lease>, deployment| presence(&lease, &deployment, "ns", "zoho-operator", now).level;
        assert_eq!(level(Found::Absent, Found::Absent), Level::Fail);
        assert_eq!(level(Found::Absent, hidden()), Level::Unseen);
        assert_eq!(level(Found::Hidden("forbidden".into()), Found::There(Deployment::default())), Level::Unseen);
        assert_eq!(level(Found::Absent, Found::There(Deployment::default())), Level::Ok);
    }

    #[test]
    fn one_installation_with_the_rights_is_enough_where_nothing_says_which_one_is_meant() {
        let level = |installations: &[(bool, Option<bool>)]| {
            let examined = |&(serves, may): &(bool, Option<bool>)| {
                let rights = may.map(|may| if may { Finding::ok("", "") } else { Finding::fail("", "a may not", "") });
                (serves, Examined { findings: Vec::new(), rights })
            };
            together(installations.iter().map(examined).collect()).iter().map(|one| one.level).max()
        };
        let (has, lacks) = ((false, Some(true)), (false, Some(false)));
        assert_eq!(level(&[has, lacks]), Some(Level::Ok));
        assert_eq!(level(&[lacks, lacks]), Some(Level::Fail));
        assert_eq!(level(&[lacks]), Some(Level::Fail));
        assert_eq!(level(&[lacks, (false, None)]), Some(Level::Fail));
        assert_eq!(level(&[has, (true, Some(false))]), Some(Level::Fail), "it serves one here");
    }

    #[test]
    fn deployment_without_pods_is_a_failure() {
        let deployment = |replicas: i32, available: i32| -> Deployment {
            serde_json::from_value(json!({
                "metadata": { "name": "d", "namespace": "ns" },
                "spec": { "replicas": replicas, "selector": {}, "template": {} },
                "status": { "availableReplicas": available },
            }))
            .unwrap()
        };
        assert_eq!(availability(&deployment(1, 1)), None);
        assert!(availability(&deployment(1, 0)).unwrap().text.contains("no available pod"));
        assert!(availability(&deployment(0, 0)).unwrap().text.contains("scaled to 0"));
    }
}
