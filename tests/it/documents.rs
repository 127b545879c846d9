//! What `docs/multi-tenancy.md` and `docs/security.md` tell an administrator to type, typed.

use std::fs;

use serde_json::json;
use zoho_testkit::control_plane::ControlPlane;

use crate::chart::{CHART, root};
use crate::install::{NAMESPACE, control_plane, helm, kubectl};
use crate::support::eventually;

/// The blocks of this language in a document, in order.
pub(crate) fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(document)).expect("readable");
    let begins = format!("```{language}\n");
    let found = text.split(&begins).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned());
    found.collect()
}

/// Commands with their arguments; lines that end in a backslash go on in the next one.
fn commands(document: &str) -> Vec<Vec<String>> {
    let text = blocks(document, "sh").concat().replace("\\\n", " ");
    let words = |line: &str| line.split_whitespace().map(|word| word.replace('\'', "")).collect();
    text.lines().filter(|line| !line.trim().is_empty()).map(words).collect()
}

/// Runs a command of a document, unless it is about a pod: nothing runs here.
async fn run(cluster: &ControlPlane, command: &[String]) {
    let (program, arguments) = command.split_first().expect("a program");
    let arguments: Vec<&str> = arguments
        .iter()
        .map(|argument| if argument == "charts/zoho-operator" { CHART } else { argument.as_str() })
        .collect();
    match (program.as_str(), arguments[0]) {
        ("kubectl", "exec") => {}
        ("kubectl", _) => drop(kubectl(cluster, &arguments).await),
        ("helm", _) => helm(cluster, &arguments).await,
        _ => panic!("{command:?}"),
    }
}

fn credential(namespace: &str, name: &str) -> String {
    json!({
        "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "dataCenter": "US", "secretRef": { "name": "zoho-oauth" } },
    })
    .to_string()
}

#[tokio::test]
async fn commands_for_several_tenants_work_and_the_quota_counts() {
    let cluster = control_plane().await;
    helm(&cluster, &["install", "zoho-operator", CHART, "-n", NAMESPACE, "--create-namespace"]).await;
    for namespace in ["patching", "reports", "lab"] {
        kubectl(&cluster, &["create", "namespace", namespace]).await;
    }
    kubectl(&cluster, &["create", "secret", "generic", "zoho-oauth", "-n", "patching"]).await;
    cluster.apply_yaml(&credential("lab", "patch-manager")).await.expect("applied");
    let quota = blocks("docs/multi-tenancy.md", "yaml").into_iter().find(|block| block.contains("kind: ResourceQuota"));
    let file = cluster.folder().join("quota.yaml");
    fs::write(&file, quota.expect("a quota")).expect("written");

    let typed = commands("docs/multi-tenancy.md").into_iter().chain(commands("docs/security.md"));
    for mut command in typed {
        for word in command.iter_mut().filter(|word| *word == "quota.yaml") {
            *word = file.display().to_string();
        }
        run(&cluster, &command).await;
    }
    let second = ["get", "role", "second-zoho-operator", "-n", "lab", "-o", "name"];
    assert_eq!(kubectl(&cluster, &second).await, "role.rbac.authorization.k8s.io/second-zoho-operator");

    eventually("the quota is counted", async || {
        let used = ["get", "quota", "zoho", "-n", "patching", "-o", "jsonpath={.status.used}"];
        kubectl(&cluster, &used).await.contains("zohocredentials").then_some(())
    })
    .await;
    for number in 0..20 {
        let yaml = credential("patching", &format!("c{number}"));
        cluster.apply_yaml(&yaml).await.expect("within the quota");
    }
    let error = cluster.apply_yaml(&credential("patching", "one-more")).await.expect_err("beyond the quota");
    assert!(error.to_string().contains("exceeded quota: zoho"), "{error}");
}
