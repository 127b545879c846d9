//! What pages of `docs/` have an administrator type, typed: several tenants, backup and restore, another namespace.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use zoho_simulator::grants::Client;
use zoho_simulator::{Simulator, SimulatorConfig};
use zoho_testkit::control_plane::ControlPlane;

use crate::chart::{CHART, root};
use crate::install::{NAMESPACE, Operator, control_plane, helm, kubectl};
use crate::support::{cluster, eventually, manifest, untested};

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

/// With Docker, kind and Helm alone: nothing is pulled or pushed, so the name that is built is the one that runs.
#[tokio::test]
async fn image_that_the_readme_builds_for_kind_is_the_one_that_runs() {
    let script = blocks("README.md", "sh").into_iter().find(|block| block.contains("kind load")).expect("a block");
    let after = |words: &str| {
        let rest = script.split_once(words).unwrap_or_else(|| panic!("no {words} in {script}")).1;
        rest.split_whitespace().next().expect("a word").to_owned()
    };
    let image = after("docker build --tag ");
    assert_eq!(after("kind load docker-image "), image);
    let cluster = control_plane().await;
    let install: Vec<String> = script
        .lines()
        .filter(|line| line.starts_with("helm "))
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    run(&cluster, &install).await;
    let deployment = json_of(&cluster, "deployment", NAMESPACE, &["zoho-operator"]).await;
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["imagePullPolicy"]), (&json!(image), &json!("IfNotPresent")));
}

fn credential(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "dataCenter": "US", "secretRef": { "name": "zoho-oauth" } },
    })
}

#[tokio::test]
async fn commands_for_several_tenants_work_and_the_quota_counts() {
    let cluster = control_plane().await;
    helm(&cluster, &["install", "zoho-operator", CHART, "-n", NAMESPACE, "--create-namespace"]).await;
    for namespace in ["patching", "reports", "lab"] {
        kubectl(&cluster, &["create", "namespace", namespace]).await;
    }
    kubectl(&cluster, &["create", "secret", "generic", "zoho-oauth", "-n", "patching"]).await;
    cluster.apply_yaml(&credential("lab", "patch-manager").to_string()).await.expect("applied");
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

    let file = file.display().to_string();
    eventually("the quota is counted", async || {
        // Kubernetes learns of a new kind every half minute, and counts a quota of before only after minutes.
        kubectl(&cluster, &["replace", "--force", "-n", "patching", "-f", &file]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let used = ["get", "quota", "zoho", "-n", "patching", "-o", "jsonpath={.status.used}"];
        kubectl(&cluster, &used).await.contains("zohocredentials").then_some(())
    })
    .await;
    let twenty: Vec<Value> = (0..20).map(|number| credential("patching", &format!("c{number}"))).collect();
    cluster.apply_yaml(&manifest(&twenty)).await.expect("within the quota");
    let error =
        cluster.apply_yaml(&credential("patching", "one-more").to_string()).await.expect_err("beyond the quota");
    assert!(error.to_string().contains("exceeded quota: zoho"), "{error}");
}

/// A Zoho with one refresh token, and a folder that has what the repository has.
struct Desk {
    zoho: Simulator,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let zoho = Simulator::start(SimulatorConfig::default());
        zoho.register("1000.CLIENT", "secret", "1000.refresh");
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["charts", "crds.yaml"] {
            symlink(root().join(name), folder.path().join(name)).expect("linked");
        }
        Self { zoho, folder }
    }

    fn mints(&self) -> u64 {
        self.zoho.stats().token.mints
    }

    /// Types the block of a page, in bash or sh, that has these words in it.
    async fn types(&self, cluster: &ControlPlane, page: &str, words: &str) {
        let blocks = blocks(page, "bash").into_iter().chain(blocks(page, "sh"));
        let script = blocks.into_iter().find(|block| block.contains(words));
        let script = script.unwrap_or_else(|| panic!("{page} has no block with {words}"));
        let programs = cluster.kubectl_path().parent().expect("a folder").display();
        let with_path = format!("PATH='{programs}':\"$PATH\"\n{script}");
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &with_path]).current_dir(self.folder.path());
        command.env("KUBECONFIG", cluster.kubeconfig_path()).env("KUBERC", "off").env("HOME", cluster.folder());
        let output = command.output().await.expect("bash runs");
        assert!(output.status.success(), "{page}: {script}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The operator of this namespace, once it serves the credential with a valid token.
    async fn serving(&self, cluster: &ControlPlane, namespace: &str) -> Operator {
        let operator = Operator::of(cluster, &self.zoho, (namespace, "zoho-operator")).await;
        operator.until("it is served", async || is_served_from(cluster, namespace).await).await;
        operator
    }
}

async fn source(cluster: &ControlPlane) {
    let pairs = ["client_id=1000.CLIENT", "client_secret=secret", "refresh_token=1000.refresh"];
    let pairs = pairs.map(|pair| format!("--from-literal={pair}"));
    let mut create = vec!["create", "secret", "generic", "zoho-oauth", "-n", "patching"];
    create.extend(pairs.iter().map(String::as_str));
    kubectl(cluster, &create).await;
}

async fn json_of(cluster: &ControlPlane, kind: &str, namespace: &str, name: &[&str]) -> Value {
    let get = [&["get", kind, "-n", namespace, "-o", "json"], name].concat();
    serde_json::from_str(&kubectl(cluster, &get).await).expect("JSON")
}

/// Is the credential served by the installation in this namespace, and its token valid?
async fn is_served_from(cluster: &ControlPlane, namespace: &str) -> Option<()> {
    let object = json_of(cluster, "zcred", "patching", &["patch-manager"]).await;
    let conditions = object["status"]["conditions"].as_array()?;
    let is_ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    (is_ready && object["status"]["servedBy"] == format!("{namespace}/zoho-operator")).then_some(())
}

#[tokio::test]
async fn an_operator_moves_to_another_namespace_and_to_another_cluster_as_the_pages_say() {
    if Command::new("jq").arg("--version").output().await.is_err() {
        return untested("backup and restore as docs/backup.md has them", "there is no jq");
    }
    let desk = Desk::new();
    let cluster = control_plane().await;
    helm(&cluster, &["install", "zoho-operator", CHART, "-n", NAMESPACE, "--create-namespace"]).await;
    kubectl(&cluster, &["create", "namespace", "patching"]).await;
    source(&cluster).await;
    cluster.apply_yaml(&credential("patching", "patch-manager").to_string()).await.expect("applied");
    drop(desk.serving(&cluster, NAMESPACE).await);

    desk.types(&cluster, "docs/upgrading.md", "zoho-operator-system --wait").await;
    desk.types(&cluster, "docs/backup.md", "> ledgers.json").await;
    desk.types(&cluster, "docs/upgrading.md", "served-by=tokens-system").await;
    drop(desk.serving(&cluster, "tokens-system").await);
    assert_eq!(desk.mints(), 1, "the key and the ledgers came along, so the token is known");

    let other = control_plane().await;
    desk.types(&other, "docs/backup.md", "kubectl create -f hash-key.json").await;
    source(&other).await;
    let operator = desk.serving(&other, NAMESPACE).await;
    let ledgers = json_of(&other, "zledger", NAMESPACE, &[]).await;
    let attempts = ledgers["items"][0]["spec"]["attempts"].as_array().map(Vec::len);
    assert_eq!((ledgers["items"].as_array().map(Vec::len), attempts), (Some(1), Some(2)), "it goes on with the ledger");
    assert_eq!(desk.mints(), 2, "no target was restored, so there is one more token");
    keeps_the_name_of_the_secret(&desk, &other, &operator).await;

    // The definitions were applied by hand; Helm takes them over.
    desk.types(&other, "docs/upgrading.md", "kubectl label crd").await;
    let upgrade = ["upgrade", "zoho-operator", CHART, "-n", NAMESPACE, "--reset-then-reuse-values"];
    helm(&other, &[&upgrade[..], &["--set", "crds.enabled=true"]].concat()).await;
    is_served_from(&other, NAMESPACE).await.expect("no credential is affected");
}

/// docs/migration.md: the Secret that a `CronJob` wrote keeps its name.
async fn keeps_the_name_of_the_secret(desk: &Desk, cluster: &ControlPlane, operator: &Operator) {
    let job = ["create", "cronjob", "zoho-token", "-n", "patching", "--image=x", "--schedule=0 0 1 1 *"];
    kubectl(cluster, &job).await;
    kubectl(cluster, &["create", "secret", "generic", "zoho-token", "-n", "patching", "--from-literal=token=old"])
        .await;
    let before = desk.mints();
    desk.types(cluster, "docs/migration.md", "zoho-operator.dev/adopt=patch-manager").await;
    operator
        .until("the CronJob's Secret has the token", async || {
            let adopted = json_of(cluster, "secret", "patching", &["zoho-token"]).await;
            let former = json_of(cluster, "secret", "patching", &["patch-manager-token"]).await;
            (adopted["data"]["token"] == former["data"]["access_token"]).then_some(())
        })
        .await;
    assert_eq!(json_of(cluster, "cronjob", "patching", &["zoho-token"]).await["spec"]["suspend"], true);
    assert_eq!(desk.mints(), before, "another name of the Secret costs no token");
}

#[tokio::test]
async fn the_source_is_made_by_hand_as_the_page_says() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("by_hand").await;
    let zoho = Simulator::start(SimulatorConfig::default());
    zoho.register_client("1000.CLIENT", "canary0hand0secret", Client::SelfClient);
    let code = zoho.grant_code("1000.CLIENT", "PatchManagerPlusCloud.Common.READ", Duration::from_mins(10));
    let script = blocks("docs/by-hand.md", "bash").concat();
    for line in blocks("README.md", "bash").iter().find(|block| block.contains("read -rsp")).expect("a block").lines() {
        assert!(script.contains(line), "README and docs/by-hand.md differ: {line}");
    }
    let script =
        script.replace("https://accounts.zoho.com", &zoho.url()).replace("-n patching", &format!("-n {namespace}"));
    let programs = cluster.kubectl_path().parent().expect("a folder").display();
    let mut command = Command::new("bash");
    command.args(["-euc", &format!("PATH='{programs}':\"$PATH\"\n{script}")]);
    command.env("KUBECONFIG", cluster.kubeconfig_path()).env("NO_PROXY", "127.0.0.1").env("TMPDIR", cluster.folder());
    let mut bash = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash");
    let typed = format!("1000.CLIENT\ncanary0hand0secret\n{code}\n");
    bash.stdin.take().expect("a pipe").write_all(typed.as_bytes()).await.expect("typed");
    let output = bash.wait_with_output().await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("It worked."),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let secret = json_of(cluster, "secret", &namespace, &["zoho-oauth", "--show-managed-fields=false"]).await;
    let lengths = |key: &str| secret["data"][key].as_str().map_or(0, str::len);
    assert!(
        ["client_id", "client_secret", "refresh_token"].into_iter().all(|key| lengths(key) > 10),
        "a key is missing"
    );
    let annotations = secret["metadata"]["annotations"].as_object();
    assert!(annotations.is_none(), "the values stand in an annotation, too");
}
