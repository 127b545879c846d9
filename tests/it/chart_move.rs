//! A release that moves to another name and to another namespace, by the commands of the chart's README.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;
use tokio::process::Command;
use zoho_simulator::{Simulator, SimulatorConfig};
use zoho_testkit::control_plane::ControlPlane;

use crate::chart::{CHART, root};
use crate::documents::blocks;
use crate::install::{CREDENTIAL, NAMESPACE, Operator, control_plane, helm, is_ready, kubectl, patch};
use crate::support::variable;

/// What the README says, in bash, with these variables.
async fn move_release(cluster: &ControlPlane, blocks: &[&String], variables: &[(&str, &str)]) {
    let folder = tempfile::tempdir().expect("a folder");
    symlink(root().join("charts"), folder.path().join("charts")).expect("linked");
    for (name, program) in
        [("kubectl", cluster.kubectl_path().to_owned()), ("helm", cluster.helm_path().await.expect("helm"))]
    {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\nexec '{}' \"$@\"\n", program.display())).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
    }
    let path = variable("PATH").unwrap_or_default();
    let script: String = blocks.iter().map(|block| block.as_str()).collect();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env("KUBECONFIG", cluster.kubeconfig_path())
        .envs(variables.iter().copied())
        .output()
        .await
        .expect("bash runs");
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

async fn served_by(cluster: &ControlPlane) -> String {
    kubectl(cluster, &["get", "zcred", "patch", "-n", "patching", "-o", "jsonpath={.status.servedBy}"]).await
}

/// The ids of all requests in the ledgers of a namespace.
async fn requests(cluster: &ControlPlane, namespace: &str) -> String {
    let path = "jsonpath={.items[*].spec.attempts[*].id}";
    kubectl(cluster, &["get", "zledger", "-n", namespace, "-o", path]).await
}

#[tokio::test]
async fn release_moves_to_another_name_and_namespace_and_mints_nothing_for_it() {
    let cluster = control_plane().await;
    let zoho = Simulator::start(SimulatorConfig::default());
    zoho.register("1000.CLIENT", "secret", "1000.refresh");
    let install = ["install", "zoho-operator", CHART, "-n", NAMESPACE, "--create-namespace"];
    helm(&cluster, &[&install[..], &["--set", "config.concurrency=64"]].concat()).await;
    kubectl(&cluster, &["create", "namespace", "patching"]).await;
    let create =
        ["create", "secret", "generic", "zoho-oauth", "-n", "patching", "--from-literal=client_id=1000.CLIENT"];
    let rest = ["--from-literal=client_secret=secret", "--from-literal=refresh_token=1000.refresh"];
    kubectl(&cluster, &[&create[..], &rest].concat()).await;
    cluster.apply_yaml(CREDENTIAL).await.expect("applied");
    let first = Operator::of(&cluster, &zoho, (NAMESPACE, "zoho-operator")).await;
    first.until("the token is there", async || is_ready(&cluster, "patch-token").await.then_some(())).await;
    drop(first);
    let made = requests(&cluster, NAMESPACE).await;
    assert!(!made.is_empty(), "nothing is written down");

    let all = blocks("charts/zoho-operator/README.md", "sh");
    let all: Vec<&String> = all.iter().filter(|block| block.contains("$NEW_NAMESPACE")).collect();
    let [before, another_namespace, after] = all[..] else { panic!("{all:?}") };
    let name = vec![before, after];
    let namespace = vec![before, another_namespace, after];
    for (blocks, (old, old_namespace), (new, new_namespace)) in [
        (name, ("zoho-operator", NAMESPACE), ("tokens", NAMESPACE)),
        (namespace, ("tokens", NAMESPACE), ("third", "elsewhere")),
    ] {
        let variables = [
            ("OLD", old),
            ("OLD_NAMESPACE", old_namespace),
            ("NEW", new),
            ("NEW_NAMESPACE", new_namespace),
            ("INSTANCE", "zoho-operator"),
        ];
        move_release(&cluster, &blocks, &variables).await;
        let deployment = format!("{new}-zoho-operator");
        let get = ["get", "deployment", &deployment, "-n", new_namespace, "-o", "jsonpath={..args}"];
        assert!(kubectl(&cluster, &get).await.contains("--concurrency=64"), "its values come along");
        let operator = Operator::of(&cluster, &zoho, (new_namespace, &deployment)).await;
        // Another name of the target costs no mint, as long as the token in the former one is believed.
        patch(&cluster, &json!({ "spec": { "target": { "name": new } } })).await;
        operator.until("it is served", async || is_ready(&cluster, new).await.then_some(())).await;
        assert_eq!(served_by(&cluster).await, format!("{new_namespace}/zoho-operator"));
        assert_eq!(zoho.stats().token.mints, 1, "{new}");
        // And the next release of Helm owns the definitions.
        helm(&cluster, &["upgrade", new, CHART, "-n", new_namespace, "--reset-then-reuse-values"]).await;
    }
    assert_eq!(requests(&cluster, "elsewhere").await, made, "what was asked of Zoho came along");
}
