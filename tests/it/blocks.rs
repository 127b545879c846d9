//! The blocks of YAML in README and `docs/`: the API server and the chart accept each of them.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::chart::CHART;
use crate::pages;
use crate::support::{cluster, eventually, manifest};

/// Kinds that the control plane of the tests does not serve. Their blocks are YAML, and no more is known of them here.
const OF_OTHERS: &[&str] = &["CiliumNetworkPolicy", "ExternalSecret", "Kustomization", "PushSecret"];

/// What a block is, by what it holds.
#[derive(Debug, PartialEq)]
enum Block {
    /// An object that the API server can be asked about.
    Object(Value),
    /// Values of the chart.
    Values,
    /// For a program that is not here.
    OfOthers,
}

/// The documents of a page that are YAML: in blocks of that language, and what a shell is given as a file.
fn documents(page: &str) -> Vec<String> {
    let text = pages::read(page);
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).map(without_indent);
    let here = ["<<'END'\n", "<<'YAML'\n"].into_iter().flat_map(|begin| {
        let end = format!("\n{}\n", begin.trim_matches(['<', '\'', '\n']));
        text.split(begin).skip(1).filter_map(|rest| rest.split(&end).next()).map(str::to_owned).collect::<Vec<_>>()
    });
    blocks.chain(here).collect()
}

/// A block in a list is indented with it.
fn without_indent(block: &str) -> String {
    let indent = block.len() - block.trim_start_matches(' ').len();
    block.lines().map(|line| line.get(indent..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// What it is; `None` where nobody knows. A part of an object becomes a whole one.
fn classify(block: &str) -> Option<Block> {
    let value: Value = serde_saphyr::from_str(block).ok()?;
    if let Some(kind) = value["kind"].as_str() {
        return Some(if OF_OTHERS.contains(&kind) { Block::OfOthers } else { Block::Object(value) });
    }
    let spec = value["spec"].as_object();
    if let Some(containers) = value.pointer("/spec/containers") {
        let (mut pod, volumes) = (part("v1", "Pod"), &value["spec"]["volumes"]);
        pod["spec"] = json!({ "containers": containers, "volumes": volumes });
        return Some(Block::Object(pod));
    }
    if let Some(spec) = spec {
        let mut credential = part("zoho-operator.dev/v1alpha1", "ZohoCredential");
        credential["spec"] = json!({ "dataCenter": "US", "secretRef": { "name": "zoho-oauth" } });
        spec.iter().for_each(|(field, value)| credential["spec"][field] = value.clone());
        return Some(Block::Object(credential));
    }
    if value["data"].as_object().is_some_and(|data| data.keys().all(|key| key.starts_with("resource.customizations.")))
    {
        return Some(Block::OfOthers); // Argo CD's script, which gitops.rs runs.
    }
    if value["dependencies"].is_array() {
        return Some(Block::OfOthers); // A part of somebody's Chart.yaml.
    }
    let chart = fs::read_to_string(Path::new(CHART).join("values.yaml")).expect("readable");
    let chart: Value = serde_saphyr::from_str(&chart).expect("YAML");
    value.as_object()?.keys().all(|key| chart.get(key).is_some()).then_some(Block::Values)
}

fn part(api: &str, kind: &str) -> Value {
    json!({ "apiVersion": api, "kind": kind, "metadata": { "name": "part" } })
}

#[test]
fn blocks_are_what_they_hold() {
    let values = "config:\n  dataCenters: [EU]\n";
    assert_eq!(classify(values), Some(Block::Values));
    assert_eq!(classify("configuration:\n  dataCenters: [EU]\n"), None);
    assert_eq!(classify("kind: PushSecret\n"), Some(Block::OfOthers));
    assert_eq!(classify("a: b: c\n"), None);
    let Some(Block::Object(credential)) = classify("spec:\n  target:\n    name: x\n") else { panic!("an object") };
    assert_eq!(credential["spec"]["dataCenter"], "US");
}

/// What a program says where it does not succeed, or warns.
fn complaint(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if error.is_empty() && !output.status.success() { output.status.to_string() } else { error }
}

#[tokio::test]
async fn yaml_of_every_page_is_accepted_by_the_api_server_or_the_chart() {
    let cluster = cluster().await;
    cluster.install_crds().await;
    let namespace = cluster.namespace("yaml_of_pages").await;
    let account = async || {
        let output = cluster.kubectl(&["get", "serviceaccount", "default", "-n", &namespace]).await.expect("runs");
        output.status.success().then_some(())
    };
    eventually("the default ServiceAccount exists", account).await;
    let file = cluster.folder().join("values-of-a-page.yaml");
    let (mut seen, mut objects) = (0, Vec::new());
    for page in pages::pages() {
        for block in documents(&page) {
            seen += 1;
            match classify(&block) {
                Some(Block::Object(mut object)) => {
                    object["metadata"]["namespace"] = json!(namespace);
                    objects.push((page.clone(), object));
                }
                Some(Block::Values) => {
                    fs::write(&file, &block).expect("written");
                    let template = ["template", "zoho-operator", CHART, "--values", &file.to_string_lossy()];
                    let error = complaint(&cluster.helm(&template).await.expect("runs"));
                    assert!(error.is_empty(), "{page}: {error}\n{block}");
                }
                Some(Block::OfOthers) => {}
                None => panic!("{page}: what is this?\n{block}"),
            }
        }
    }
    assert!(seen > 20 && objects.len() > 5, "only {seen} blocks were found, {} of them objects", objects.len());
    let dry_run = async |manifest: &str| {
        let apply = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
        complaint(&cluster.kubectl_stdin(&apply, manifest).await.expect("runs"))
    };
    // All at once, since each call of kubectl takes its time; one by one only to say which it is.
    let error = dry_run(&manifest(objects.iter().map(|(_, object)| object))).await;
    if !error.is_empty() {
        for (page, object) in objects {
            let error = dry_run(&object.to_string()).await;
            assert!(error.is_empty(), "{page}: {error}\n{object:#}");
        }
        panic!("{error}");
    }
}
