//! Pods that would never see a renewed token: by `subPath`, or by environment variable.

use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use kube::Api;

use super::super::connect::Cluster;
use super::super::pages;
use super::finding::Finding;
use zoho_client::calls::ApiError;

/// Looks at the pods of the namespace.
pub(crate) async fn examine(cluster: &Cluster, name: &str, target: &str) -> Vec<Finding> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    match pages::all(&pods).await {
        Ok(pods) => of_pods(name, target, &pods.items),
        Err(ApiError::Refused { message }) => {
            vec![Finding::unseen(name, format!("the pods that use its token: {message}"))]
        }
        Err(error) => vec![Finding::unseen(name, format!("the pods that use its token: {error}"))],
    }
}

/// How a container takes the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Folder,
    SubPath,
    Environment,
}

fn of_pods(name: &str, target: &str, pods: &[Pod]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut good = 0;
    // What has ended reads nothing any more.
    let has_ended = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    for pod in pods.iter().filter(|pod| !has_ended(pod)) {
        let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
        let uses = uses(pod, target);
        good += usize::from(!uses.is_empty() && uses.iter().all(|(_, how)| *how == Use::Folder));
        let restarts = pod.metadata.annotations.iter().flatten().any(|(key, _)| key.contains("reloader.stakater.com"));
        for (container, how) in uses {
            let finding = match how {
                Use::Folder => continue,
                Use::SubPath => Finding::fail(
                    name,
                    format!(
                        "container {container} of pod {pod_name} mounts Secret {target} by subPath, which never changes in a running pod"
                    ),
                    "mount the whole Secret as a directory",
                ),
                Use::Environment if restarts => continue,
                Use::Environment => Finding::warn(
                    name,
                    format!(
                        "container {container} of pod {pod_name} has Secret {target} in its environment, which never changes in a running pod"
                    ),
                    "read it from a mounted directory, or have the pod restarted at every renewal (examples/env-style.yaml)",
                ),
            };
            findings.push(finding);
        }
    }
    if findings.is_empty() && good > 0 {
        let pods = if good == 1 { "1 pod reads".into() } else { format!("{good} pods read") };
        findings.push(Finding::ok(name, format!("{pods} Secret {target} from a mounted directory")));
    }
    findings
}

fn uses(pod: &Pod, target: &str) -> Vec<(String, Use)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let volumes: Vec<&str> = spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| holds(volume, target))
        .map(|volume| volume.name.as_str())
        .collect();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    containers.flat_map(|container| uses_of(container, &volumes, target)).collect()
}

fn holds(volume: &Volume, target: &str) -> bool {
    let direct = volume.secret.as_ref().is_some_and(|secret| secret.secret_name.as_deref() == Some(target));
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    direct || sources.filter_map(|source| source.secret.as_ref()).any(|secret| secret.name == target)
}

fn uses_of(container: &Container, volumes: &[&str], target: &str) -> Vec<(String, Use)> {
    let mounts = container.volume_mounts.iter().flatten().filter(|mount| volumes.contains(&mount.name.as_str()));
    let mounts = mounts.map(|mount| {
        let whole = mount.sub_path.as_deref().unwrap_or_default().is_empty()
            && mount.sub_path_expr.as_deref().unwrap_or_default().is_empty();
        if whole { Use::Folder } else { Use::SubPath }
    });
    let names = |name: &str| name == target;
    let by_key = container.env.iter().flatten().any(|variable| {
        let reference = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
        reference.is_some_and(|reference| names(&reference.name))
    });
    let all = container.env_from.iter().flatten();
    let whole = all.filter_map(|from| from.secret_ref.as_ref()).any(|reference| names(&reference.name));
    let environment = (by_key || whole).then_some(Use::Environment);
    mounts.chain(environment).map(|how| (container.name.clone(), how)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::finding::Level;
    use super::*;

    fn pod(mut container: Value, annotations: &Value) -> Pod {
        container["name"] = json!("c");
        serde_json::from_value(json!({
            "metadata": { "name": "p", "annotations": annotations },
            "spec": {
                "containers": [container],
                "volumes": [
                    { "name": "direct", "secret": { "secretName": "t" } },
                    { "name": "projected", "projected": { "sources": [{ "secret": { "name": "t" } }] } },
                    { "name": "other", "secret": { "secretName": "else" } },
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn mounts_that_never_change_are_found() {
        let mount = |volume: &str, sub_path: &str| json!({ "volumeMounts": [{ "name": volume, "mountPath": "/x", "subPath": sub_path }] });
        let key = json!({ "env": [{ "name": "T", "valueFrom": { "secretKeyRef": { "name": "t", "key": "access_token" } } }] });
        let table = [
            (mount("direct", ""), Some((Level::Ok, "1 pod reads Secret t"))),
            (mount("projected", ""), Some((Level::Ok, "1 pod reads Secret t"))),
            (mount("direct", "access_token"), Some((Level::Fail, "container c of pod p mounts Secret t by subPath"))),
            (mount("projected", "access_token"), Some((Level::Fail, "container c of pod p mounts"))),
            (mount("other", "x"), None),
            (key.clone(), Some((Level::Warn, "container c of pod p has Secret t in its environment"))),
            (json!({ "envFrom": [{ "secretRef": { "name": "t" } }] }), Some((Level::Warn, "container c of pod p has"))),
            (json!({ "envFrom": [{ "secretRef": { "name": "else" } }] }), None),
        ];
        for (container, expected) in table {
            let found = of_pods("n", "t", &[pod(container.clone(), &json!({}))]);
            assert_eq!(found.first().map(|finding| finding.level), expected.map(|(level, _)| level), "{container}");
            if let Some((_, text)) = expected {
                assert!(found[0].text.starts_with(text), "{found:?}");
            }
        }
        for annotation in ["reloader.stakater.com/auto", "secret.reloader.stakater.com/reload"] {
            let restarted = pod(key.clone(), &json!({ (annotation): "t" }));
            assert_eq!(of_pods("n", "t", &[restarted]), []);
        }
        let mut ended = pod(mount("direct", "access_token"), &json!({}));
        ended.status = Some(serde_json::from_value(json!({ "phase": "Succeeded" })).unwrap());
        assert_eq!(of_pods("n", "t", &[ended]), []);
    }
}
