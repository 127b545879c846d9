//! The control plane that the other tests stand on is itself as real as they take it for.

use std::env;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, Error};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use zoho_testkit::control_plane::{AuditEntry, ControlPlane, Identity, Options};

use crate::support::{cluster, eventually};

#[tokio::test]
async fn controllers_run() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("controllers_run").await;
    let client = cluster.client().await.expect("a client");

    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    eventually("the default ServiceAccount exists", async || accounts.get_opt("default").await.expect("readable"))
        .await;

    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let owner = ConfigMap { metadata: named("owner"), ..ConfigMap::default() };
    let owner = config_maps.create(&PostParams::default(), &owner).await.expect("created");
    let reference = OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: "owner".into(),
        uid: owner.metadata.uid.expect("stored objects have one"),
        ..OwnerReference::default()
    };
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let dependent = Secret {
        metadata: ObjectMeta { owner_references: Some(vec![reference]), ..named("owned") },
        ..Secret::default()
    };
    secrets.create(&PostParams::default(), &dependent).await.expect("created");
    config_maps.delete("owner", &DeleteParams::default()).await.expect("deleted");
    eventually("the owned Secret is collected", async || {
        secrets.get_opt("owned").await.expect("readable").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_are_counted_by_user() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("requests_are_counted_by_user").await;
    list_config_maps(cluster.observer_client().await.expect("a client"), &namespace).await.expect("may do anything");
    let refused = list_config_maps(cluster.operator_client().await.expect("a client"), &namespace).await;
    assert!(matches!(refused, Err(Error::Api(status)) if status.code == 403), "no rule grants the operator this");

    let entries = eventually("both requests are in the audit log", async || {
        let is_ours = |entry: &AuditEntry| entry.namespace == namespace && entry.resource == "configmaps";
        let entries = cluster.audit_entries(is_ours).expect("readable").expect("a control plane of our own");
        (entries.len() >= 2).then_some(entries)
    })
    .await;
    let mut found: Vec<_> =
        entries.iter().map(|entry| (entry.user.as_str(), entry.verb.as_str(), entry.code)).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [("observer", "list", 200), ("system:serviceaccount:zoho-operator-system:zoho-operator", "list", 403)]
    );
    assert!(entries[0].uri.starts_with(&format!("/api/v1/namespaces/{namespace}/configmaps")), "{}", entries[0].uri);
}

#[tokio::test]
async fn kubectl_and_helm_run() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("kubectl_and_helm_run").await;
    let manifest = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: {namespace}\n");
    cluster.apply_yaml(&manifest).await.expect("applied");

    let output = cluster.kubectl(&["get", "configmap", "a", "-n", &namespace, "-o", "name"]).await.expect("runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "configmap/a\n");
    let error =
        cluster.apply_yaml("apiVersion: v1\nkind: Nonsense\nmetadata:\n  name: a\n").await.expect_err("unknown");
    assert!(error.to_string().contains("Nonsense"), "{error}");

    let output = cluster.helm(&["version", "--short"]).await.expect("runs");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"v"), "{output:?}");
}

#[tokio::test]
async fn a_token_of_a_service_account_is_accepted() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("a_token_of_a_service_account").await;
    let token = eventually("the default ServiceAccount has a token", async || {
        let output = cluster.kubectl(&["create", "token", "default", "-n", &namespace]).await.expect("runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    })
    .await;
    let output = cluster.kubectl(&["auth", "whoami", "--token", &token, "-o", "name"]).await.expect("runs");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn the_api_server_can_go_and_come_back() {
    let options = Options { controller_manager: false, ..Options::default() };
    let control_plane = ControlPlane::start(options).await.expect("a control plane");
    let client = control_plane.client().await.expect("a client");
    let config_maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let object = ConfigMap { metadata: named("kept"), ..ConfigMap::default() };
    config_maps.create(&PostParams::default(), &object).await.expect("created");

    control_plane.stop_apiserver().expect("ours");
    let error = config_maps.get("kept").await.expect_err("nobody answers");
    assert!(!matches!(error, Error::Api(_)), "{error}");

    control_plane.start_apiserver().await.expect("ready again");
    config_maps.get("kept").await.expect("still stored");

    let (folder, address) = (control_plane.folder().to_owned(), control_plane.address().expect("ours"));
    drop(control_plane);
    assert!(!folder.exists());
    TcpStream::connect(address).expect_err("the API server is gone");
}

#[tokio::test]
async fn a_killed_parent_takes_its_control_plane_along() {
    let mut parent = Command::new(env::current_exe().expect("known"))
        .args(["--exact", "control_plane::be_a_parent_until_killed", "--ignored", "--nocapture"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("runs");
    let mut lines = BufReader::new(parent.stdout.take().expect("piped")).lines();
    let (address, folder) = loop {
        let line = lines.next_line().await.expect("readable").expect("the parent says where its control plane is");
        if let Some((_, found)) = line.split_once("control plane: ") {
            let (address, folder) = found.split_once(' ').expect("both");
            break (address.parse::<SocketAddr>().expect("an address"), folder.to_owned());
        }
    };
    TcpStream::connect(address).expect("the API server listens");
    assert!(Path::new(&folder).exists());

    parent.kill().await.expect("it was alive"); // SIGKILL: the parent cleans up nothing
    eventually("the API server is gone", async || TcpStream::connect(address).err()).await;
    eventually("no process names the folder", async || (!is_named_by_a_process(&folder)).then_some(())).await;
    eventually("the folder is gone", async || (!Path::new(&folder).exists()).then_some(())).await;
}

#[tokio::test]
#[ignore = "run by a_killed_parent_takes_its_control_plane_along in a process of its own; never returns"]
async fn be_a_parent_until_killed() {
    let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane");
    let address = control_plane.address().expect("ours");
    let line = format!("control plane: {address} {}\n", control_plane.folder().display());
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).expect("somebody reads");
    std::future::pending::<()>().await;
}

#[test]
fn the_operator_is_who_its_chart_says() {
    assert_eq!(Identity::Operator.user(), "system:serviceaccount:zoho-operator-system:zoho-operator");
}

/// Whether a process has the folder in its command line, which etcd and the controller manager do. Linux only: without
/// `/proc` the answer is no.
fn is_named_by_a_process(folder: &str) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    let folder = Path::new(folder).file_name().expect("it has a name").as_encoded_bytes();
    processes
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|command_line| command_line.windows(folder.len()).any(|window| window == folder))
}

async fn list_config_maps(client: Client, namespace: &str) -> Result<usize, Error> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    Ok(config_maps.list(&ListParams::default()).await?.items.len())
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }
}
