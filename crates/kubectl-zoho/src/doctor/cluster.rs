//! The API server, the kinds, and what the caller may do.

use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::Value;

use super::super::connect::Cluster;
use super::super::installation::Installation;
use super::super::table::span;
use super::finding::Finding;
use zoho_api::{GROUP, Time, crd};
use zoho_client::calls::{ApiError, call};
use zoho_client::{clock, server};

const SUBJECT: &str = "cluster";
/// Clocks that differ by more make expiry times wrong.
const CLOCK_TOLERANCE: u64 = 60;

/// Asks for the version and compares clocks. Returns the time, too: the server's, or this machine's where it does not say.
///
/// # Errors
///
/// The cluster does not answer.
pub(crate) async fn server(cluster: &Cluster) -> anyhow::Result<(Finding, Time)> {
    let date = server::date(&cluster.client).await;
    let server_time = date.map_err(|error| cluster.explain(error, "/version"))?;
    let version = call(cluster.client.apiserver_version()).await;
    let version = version.map_or_else(|_| "of unknown version".into(), |info| info.git_version);
    let now = clock::system().now();
    let answers = format!("the API server answers, Kubernetes {version}");
    let finding = match server_time.map(|server| skew(server, now)) {
        Some(skew) if skew > CLOCK_TOLERANCE => Finding::warn(
            SUBJECT,
            format!("{answers}, but its clock and that of this machine differ by {}", span(skew)),
            "times shown here are off by that much; set the clocks by NTP, those of the nodes too",
        ),
        Some(_) => Finding::ok(SUBJECT, format!("{answers}; its clock agrees with this machine's")),
        None => Finding::ok(SUBJECT, answers),
    };
    Ok((finding, server_time.unwrap_or(now)))
}

/// How far two clocks are apart, in seconds.
pub(crate) fn skew(one: Time, other: Time) -> u64 {
    (one.unix() - other.unix()).unsigned_abs()
}

/// Are the kinds there, and as new as this plugin knows them?
///
/// # Errors
///
/// The cluster does not answer.
pub(crate) async fn kinds(cluster: &Cluster) -> anyhow::Result<Finding> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for wanted in [crd::zoho_credential(), crd::zoho_mint_ledger()] {
        let name = wanted.metadata.name.clone().unwrap_or_default();
        match call(api.get(&name)).await {
            Ok(there) => {
                let missing = missing_fields(&serde_json::to_value(&wanted)?, &serde_json::to_value(&there)?);
                if !missing.is_empty() {
                    return Ok(Finding::warn(
                        SUBJECT,
                        format!(
                            "CustomResourceDefinition {name} is older than this plugin: it lacks {}",
                            missing.join(", ")
                        ),
                        "helm does not upgrade them by itself where they are not part of the release: kubectl apply --server-side -f crds/ in the repository, or -f crds.yaml of a release",
                    ));
                }
            }
            Err(ApiError::NotFound) => return Ok(not_installed(&name)),
            Err(ApiError::Refused { .. }) => return by_discovery(cluster).await,
            Err(error) => return Err(cluster.explain(error, &name)),
        }
    }
    Ok(Finding::ok(SUBJECT, "the kinds of zoho-operator are installed, and as new as this plugin"))
}

fn not_installed(name: &str) -> Finding {
    Finding::fail(
        SUBJECT,
        format!("CustomResourceDefinition {name} is not installed"),
        "install the operator with its chart, or the kinds alone: kubectl apply --server-side -f crds/ in the repository, or -f crds.yaml of a release",
    )
}

/// For who may not read `CustomResourceDefinition`s: everybody may discover what is served.
async fn by_discovery(cluster: &Cluster) -> anyhow::Result<Finding> {
    match call(cluster.client.list_api_group_resources(&format!("{GROUP}/v1alpha1"))).await {
        Ok(served) if served.resources.iter().any(|resource| resource.kind == "ZohoCredential") => {
            Ok(Finding::ok(SUBJECT, "the kinds of zoho-operator are served"))
        }
        Ok(_) | Err(ApiError::NotFound) => Ok(not_installed("zohocredentials.zoho-operator.dev")),
        Err(error) => Err(cluster.explain(error, GROUP)),
    }
}

/// Fields of `spec` and `status` that the wanted kind has and the installed one has not.
fn missing_fields(wanted: &Value, there: &Value) -> Vec<String> {
    let version = |crd: &Value| {
        let versions = crd["spec"]["versions"].as_array().cloned().unwrap_or_default();
        versions.into_iter().find(|version| version["name"] == "v1alpha1").unwrap_or_default()
    };
    let mut missing = Vec::new();
    let schema = |crd: &Value| version(crd)["schema"]["openAPIV3Schema"].clone();
    compare(&schema(wanted), &schema(there), "", &mut missing);
    missing
}

fn compare(wanted: &Value, there: &Value, path: &str, missing: &mut Vec<String>) {
    for (name, field) in wanted["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match there["properties"].get(name) {
            Some(known) => compare(field, known, &path, missing),
            None => missing.push(path),
        }
    }
}

/// What the caller may not do and would need for the other commands.
///
/// # Errors
///
/// The cluster does not answer.
pub(crate) async fn own_rights(cluster: &Cluster, installation: &Installation) -> anyhow::Result<Vec<Finding>> {
    let own = cluster.namespace.as_str();
    let rights = [
        ("get", GROUP, "zohocredentials", own, "describe, and all that names one credential"),
        ("list", GROUP, "zohocredentials", own, "get, revoke, and doctor without a name"),
        ("patch", GROUP, "zohocredentials", own, "login, renew"),
        ("get", "", "secrets", own, "token, revoke, and all that doctor and describe say of Secrets"),
        ("create", GROUP, "zohocredentials", own, "login with a new name"),
        ("patch", "", "secrets", own, "login"),
        ("create", "", "secrets", own, "login with a new name"),
        (
            "get",
            GROUP,
            "zohomintledgers",
            &installation.namespace,
            "what describe and ledger say of requests and throttles",
        ),
    ];
    let mut lacking = Vec::new();
    for (verb, group, resource, namespace, needed_for) in rights {
        if !may(cluster, verb, group, resource, namespace).await? {
            lacking.push(format!("{verb} {resource} in {namespace} ({needed_for})"));
        }
    }
    Ok(if lacking.is_empty() {
        vec![Finding::ok(SUBJECT, format!("you may do in namespace {own} what the commands of this plugin need"))]
    } else {
        vec![Finding::unseen(SUBJECT, format!("you may not: {}", lacking.join("; ")))]
    })
}

async fn may(cluster: &Cluster, verb: &str, group: &str, resource: &str, namespace: &str) -> anyhow::Result<bool> {
    let text = |text: &str| Some(text.to_owned());
    let attributes = ResourceAttributes {
        verb: text(verb),
        group: text(group),
        resource: text(resource),
        namespace: text(namespace),
        ..ResourceAttributes::default()
    };
    server::may(&cluster.client, attributes).await.map_err(|error| cluster.explain(error, "access review"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_differ_by_seconds_whichever_is_ahead() {
        let date = Time::from_unix(1_000);
        assert_eq!(skew(Time::from_unix(date.unix() + 5), date), 5);
        assert_eq!(skew(date, Time::from_unix(date.unix() + 5)), 5);
    }

    #[test]
    fn older_kind_is_known_by_what_it_lacks() {
        let wanted = serde_json::to_value(crd::zoho_credential()).unwrap();
        assert_eq!(missing_fields(&wanted, &wanted), Vec::<String>::new());
        let mut older = wanted.clone();
        let spec = &mut older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        spec.as_object_mut().unwrap().remove("verify");
        assert_eq!(missing_fields(&wanted, &older), ["spec.verify"]);
    }
}
