//! `zoho-operator check`: what it says of a cluster as it should be, and of each thing that is missing.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use zoho_simulator::{Simulator, SimulatorConfig};

use crate::chart::CHART;
use crate::support::cluster;
use crate::support::world::World;

async fn check(world: &World, operator_namespace: &str, accounts_url: &str) -> Output {
    check_with(world, operator_namespace, accounts_url, &[]).await
}

async fn check_with(world: &World, operator_namespace: &str, accounts_url: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoho-operator"));
    command
        .args(["check", "--watch-namespaces", &world.namespace, "--operator-namespace", operator_namespace])
        .args(["--accounts-url", &format!("US={accounts_url}")])
        .args(more)
        .env("KUBECONFIG", world.cluster.operator_kubeconfig_path());
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ran")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn all_is_well_under_the_rights_of_the_chart_and_no_secret_is_sent() {
    let world = World::new("check_well").await;
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let output = check(&world, &world.operator_namespace, &world.zoho.url()).await;
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.lines().all(|line| line.starts_with("ok    ") || line.starts_with("skip  issuer   ")), "{text}");
    for line in [
        "ok    clock    ",
        &format!("ok    rights   patch zohocredentials/status.zoho-operator.dev in namespace {}", world.namespace),
        &format!(
            "ok    rights   update leases.coordination.k8s.io zoho-operator in namespace {}",
            world.operator_namespace
        ),
        &format!("ok    issuer   {}/ answers (404)", world.zoho.url()),
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line} is not in\n{text}");
    }
    assert_eq!(world.zoho.stats().token.posts, 0);
}

#[tokio::test]
async fn host_of_a_data_center_that_is_not_allowed_is_not_tried() {
    let world = World::new("check_data_center").await;
    world.credential("one", "source", json!({})).await;
    let url = world.zoho.url();
    // Those that are allowed are tried, and nobody is asked who is not on this machine.
    let elsewhere = ["--accounts-url=EU=http://127.0.0.1:1", "--accounts-url=AU=http://127.0.0.1:1"];
    for (allowed, is_tried) in [("US", true), ("EU,AU", false)] {
        let more = [&elsewhere[..], &["--data-centers", allowed]].concat();
        let output = check_with(&world, &world.operator_namespace, &url, &more).await;
        assert_eq!(text(&output).contains(&url), is_tried, "{allowed}: {}", text(&output));
    }
}

#[tokio::test]
async fn each_thing_that_is_missing_is_named_with_what_to_do() {
    let world = World::new("check_missing").await;
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let elsewhere = world.cluster.namespace("no_rights_here").await;
    // Nobody listens there.
    let output = check(&world, &elsewhere, "http://127.0.0.1:1").await;
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for line in [
        &format!("FAIL  rights   create zohomintledgers.zoho-operator.dev in namespace {elsewhere}: grant it"),
        &format!("FAIL  rights   get leases.coordination.k8s.io zoho-operator in namespace {elsewhere}: grant it"),
        "FAIL  issuer   http://127.0.0.1:1/ (Connection refused",
        "ok    clock    ",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line} is not in\n{text}");
    }
    assert!(text.contains("that firewalls and network policies allow this pod to connect to it"), "{text}");
}

#[tokio::test]
async fn clock_that_is_wrong_is_a_finding() {
    let world = World::new("check_clock").await;
    let clock = tempfile::NamedTempFile::new().expect("a file");
    fs::write(clock.path(), "-3600").expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoho-operator"));
    command
        .args(["--watch-namespaces", &world.namespace, "check", "--operator-namespace", &world.operator_namespace])
        .env("ZOHO_OPERATOR_CLOCK_OFFSET_FILE", clock.path())
        .env("KUBECONFIG", world.cluster.operator_kubeconfig_path());
    let output = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ran");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = text.lines().find(|line| line.starts_with("FAIL  clock")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("s ahead of the API server's: correct the clock"), "{line}");
    let skipped = "skip  issuer   not tried: data centers US, EU, IN, AU, CN, JP, CA, SA, UK, AE, SG: name those";
    assert!(text.contains(skipped), "{text}");
    assert!(!text.contains("ok    issuer"), "{text}");
}

/// As after `helm install`: there is no credential yet, and one wants to know whether the way is open.
#[tokio::test]
async fn before_there_is_a_credential_what_the_flags_name_is_tried_and_the_rest_is_named() {
    let world = World::new("check_before").await;
    let url = world.zoho.url();
    let more = [
        "--data-centers=US,EU,Other",
        "--accounts-url=EU=http://127.0.0.1:1",
        "--accounts-host=accounts.corp.example",
        &format!("--endpoint-central-url={url}/some/path"),
        "--endpoint-central-url=http://127.0.0.1:2=patching,reports",
    ];
    let elsewhere = Simulator::start(SimulatorConfig::default());
    let us = elsewhere.url();
    let output = check_with(&world, &world.operator_namespace, &us, &more).await;
    let text = text(&output);
    let issuers: Vec<&str> = text.lines().filter(|line| line[6..].starts_with("issuer")).collect();
    let line = |start: &str| issuers.iter().filter(|line| line.starts_with(start)).count();
    for start in [
        &format!("ok    issuer   {us}/ answers (404)"),
        &format!("ok    issuer   {url}/ answers (404)"),
        "FAIL  issuer   http://127.0.0.1:1/ (Connection refused",
        "FAIL  issuer   http://127.0.0.1:2/ (Connection refused",
        "FAIL  issuer   https://accounts.corp.example/ (",
        "skip  issuer   not tried: hosts of products: docs/products.md lists them",
    ] {
        assert_eq!(line(start), 1, "{start} is not in\n{text}");
    }
    assert_eq!(issuers.len(), 6, "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
}

#[tokio::test]
async fn list_of_rights_is_that_of_the_chart() {
    let cluster = cluster().await;
    let mut granted = BTreeSet::new();
    for (template, namespace) in [
        ("templates/clusterrole.yaml", None),
        ("templates/role.yaml", Some("somewhere")),
        ("templates/clusterroles-metrics.yaml", None),
    ] {
        let set = ["--set", "metrics.authentication=true"];
        let arguments = ["template", "zoho-operator", CHART, "--namespace", "somewhere", "--show-only", template];
        let arguments = [&arguments[..], &set].concat();
        let output = cluster.helm(&arguments).await.expect("runs");
        let manifest = String::from_utf8(output.stdout).expect("text");
        let role = manifest.split("\n---\n").find(|object| object.contains("\nrules:")).expect("a role");
        let role: Value = serde_saphyr::from_str(role).expect("YAML");
        for rule in role["rules"].as_array().expect("rules") {
            let words = |key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap_or_default() };
            let names = words("resourceNames");
            let names: Vec<Option<String>> =
                if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
            for (group, resource) in words("apiGroups").iter().zip(words("resources")) {
                for verb in words("verbs") {
                    for name in &names {
                        granted.insert(shown(group, &resource, &verb, namespace, name.as_deref()));
                    }
                }
            }
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoho-operator"));
    command
        .args(["check", "--operator-namespace=somewhere", "--metrics-authentication"])
        .env("KUBECONFIG", cluster.operator_kubeconfig_path());
    let output = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ran");
    // A right that is missing is listed with what to do.
    let rights = text(&output);
    let rights = rights.lines().filter_map(|line| line.split_once(" rights   ").map(|(_, right)| right));
    let wanted: BTreeSet<String> =
        rights.map(|right| right.split(": ").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(wanted, granted);
}

fn shown(group: &str, resource: &str, verb: &str, namespace: Option<&str>, name: Option<&str>) -> String {
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let name = name.map(|name| format!(" {name}")).unwrap_or_default();
    let place = namespace.map_or("in all namespaces".to_owned(), |namespace| format!("in namespace {namespace}"));
    format!("{verb} {resource}{group}{name} {place}")
}
