//! `install.yaml` and the chart's package, applied to a real control plane.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::image::Layout;
use super::{CHART, VERSION, dist, read};
use crate::install::{CREDENTIAL, NAMESPACE, control_plane, helm, kubectl};
use crate::support::eventually;

const KINDS: &str = "deployment,serviceaccount,role,rolebinding,networkpolicy,poddisruptionbudget,service,clusterrole,\
                     clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,customresourcedefinition";

/// The release's objects, by kind and name, without what tells who made them.
async fn installed(cluster: &zoho_testkit::control_plane::ControlPlane) -> BTreeMap<String, Value> {
    let list =
        kubectl(cluster, &["get", KINDS, "-A", "-l", "app.kubernetes.io/name=zoho-operator", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let items = list["items"].as_array().expect("a list").iter().map(|item| {
        let mut item = item.clone();
        let name = format!(
            "{}/{}",
            item["kind"].as_str().expect("a kind"),
            item["metadata"]["name"].as_str().expect("a name")
        );
        let object = item.as_object_mut().expect("an object");
        object.remove("metadata");
        object.remove("status");
        if let Some(labels) = item.pointer_mut("/spec/template/metadata/labels").and_then(Value::as_object_mut) {
            labels.retain(|key, _| key != "helm.sh/chart" && key != "app.kubernetes.io/managed-by");
        }
        (name, item)
    });
    items.collect()
}

#[tokio::test]
#[ignore = "checks dist/: run by make verify-release"]
async fn one_file_installs_the_same_as_the_packaged_chart() {
    let (plain, by_helm) = (control_plane().await, control_plane().await);
    let file = dist("install.yaml").display().to_string();
    // A namespace, then what is in it: in one go, as people type it.
    kubectl(&plain, &["apply", "-f", &file]).await;
    let chart = dist(CHART).display().to_string();
    helm(&by_helm, &["install", "zoho-operator", &chart, "-n", NAMESPACE, "--create-namespace"]).await;
    for cluster in [&plain, &by_helm] {
        kubectl(cluster, &["wait", "--for=condition=Established", "crd", "--all"]).await;
        kubectl(cluster, &["create", "namespace", "patching"]).await;
        eventually("a credential is taken", async || cluster.apply_yaml(CREDENTIAL).await.ok()).await;
    }
    let (found, expected) = (installed(&plain).await, installed(&by_helm).await);
    assert!(found.contains_key("Deployment/zoho-operator") && found.len() > 10, "{:?}", found.keys());
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, object) in &found {
        assert_eq!(object, &expected[name], "{name}");
    }
    kubectl(&plain, &["apply", "-f", &file]).await;
    assert_eq!(found, installed(&plain).await, "applied once more, it changes nothing");
    let image = &found["Deployment/zoho-operator"]["spec"]["template"]["spec"]["containers"][0]["image"];
    let loaded = Layout::of_the_release().entry()["annotations"]["io.containerd.image.name"].clone();
    let (image, loaded) = (image.as_str().expect("a name"), loaded.as_str().expect("a name").to_owned());
    assert!(loaded == image || loaded == format!("docker.io/library/{image}"), "{image} is not {loaded}");
    let text = read("install.yaml");
    for word in ["managed-by: Helm\n", "helm.sh/chart", "helm.sh/resource-policy", "helm.sh/hook"] {
        assert!(!text.contains(word), "install.yaml says {word:?}, and no Helm knows of it");
    }
}

/// What `helm push` to a registry takes: one folder of the chart's name, with the version that the file's name has.
#[test]
#[ignore = "checks dist/: run by make verify-release"]
fn chart_is_packed_as_helm_and_registries_want_it() {
    let folder = super::unpacked(&dist(CHART));
    let top: Vec<_> = fs::read_dir(folder.path()).expect("readable").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(top, ["zoho-operator"]);
    let text = fs::read_to_string(folder.path().join("zoho-operator/Chart.yaml")).expect("a chart");
    let chart: Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(
        (&chart["name"], &chart["version"], &chart["appVersion"]),
        (&"zoho-operator".into(), &VERSION.into(), &VERSION.into())
    );
    assert!(!folder.path().join("zoho-operator/ci").exists(), "values for tests are not for users");
}
