//! What the API server makes of the `CustomResourceDefinition`s: every rule refuses what it should and says so.

mod cases;

use std::collections::BTreeSet;

use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::response::StatusCause;
use kube::{Api, Client, Error};
use serde_json::{Value, json};
use zoho_api::{ZohoCredential, crd};

use self::cases::{accepted, refused};
use crate::support::cluster;

#[tokio::test]
async fn every_rule_refuses_what_it_should() {
    let credentials = credentials("every_rule_refuses").await;
    let rules = rules_of_the_credential();
    let table = refused();
    let mut failures = Vec::new();
    for (name, edit, field, message) in &table {
        let object = credential(edit);
        match credentials.create(&dry_run(), &object).await {
            Ok(_) => failures.push(format!("{name}: accepted")),
            Err(Error::Api(status)) => {
                let causes = status.details.map(|details| details.causes).unwrap_or_default();
                // The last one is the API server's word that a text too long, or too many of them, kept rules from being tried.
                let is_told = |cause: &&StatusCause| !cause.message.contains("some validation rules were not checked");
                let told = causes.iter().filter(is_told).count();
                if told != 1 {
                    failures.push(format!("{name}: one mistake, {told} messages: {causes:?}"));
                }
                if !causes.iter().any(|cause| cause.field == *field && cause.message.contains(message)) {
                    failures.push(format!("{name}: refused for another reason: {causes:?}"));
                }
            }
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    let shown: BTreeSet<_> =
        table.iter().map(|(_, _, field, message)| (field.to_string(), message.to_string())).collect();
    failures.extend(rules.difference(&shown).map(|rule| format!("no row shows this rule: {rule:?}")));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn what_the_rules_allow_is_accepted() {
    let credentials = credentials("what_the_rules_allow").await;
    let mut failures = Vec::new();
    for (name, edit) in accepted() {
        if let Err(error) = credentials.create(&dry_run(), &credential(&edit)).await {
            failures.push(format!("{name}: {error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn a_new_object_does_not_look_finished() {
    let credentials = credentials("a_new_object").await;
    let created = credentials.create(&PostParams::default(), &credential(&json!({}))).await.expect("accepted");
    let read = credentials.get("c").await.expect("stored");
    for object in [&created, &read] {
        assert_eq!(object.data["status"], json!({ "observedGeneration": -1 }));
        assert_eq!(object.metadata.generation, Some(1));
    }
}

#[tokio::test]
async fn credentials_are_selected_by_their_fields() {
    let credentials = credentials("fields_select").await;
    let edits = [
        ("a", json!({ "dataCenter": "US", "product": "ZohoDesk" })),
        ("b", json!({ "secretRef": { "name": "other" } })),
        ("c", json!({ "target": { "name": "headers" } })),
    ];
    for (name, spec) in edits {
        let object = credential(&json!({ "metadata": { "name": name }, "spec": spec }));
        credentials.create(&PostParams::default(), &object).await.expect("accepted");
    }
    for (selector, expected) in [
        ("spec.dataCenter=US", vec!["a"]),
        ("spec.dataCenter!=US", vec!["b", "c"]),
        ("spec.product=ZohoDesk", vec!["a"]),
        ("spec.secretRef.name=other", vec!["b"]),
        ("spec.target.name=headers", vec!["c"]),
    ] {
        // A fresh kind is served with its selectors a moment later.
        crate::support::eventually(selector, async || {
            let listed = credentials.list(&ListParams::default().fields(selector)).await.ok()?;
            let names: Vec<_> = listed.items.into_iter().filter_map(|object| object.metadata.name).collect();
            (names == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn fields_explain_themselves() {
    let cluster = cluster().await;
    cluster.install_crds().await;
    for (field, expected) in [
        ("zohocredential.spec.renewBefore", "5m to 30m, default 30m"),
        ("zohocredential.spec.dataCenter", "Example: EU."),
        ("zohocredential.spec.endpointCentralServer.authentication", "Local (default) or ActiveDirectory."),
        ("zcred.status.conditions.reason", "closed list"),
        ("zledger.spec.attempts", "last three hours"),
    ] {
        // Freshly installed kinds are in the API server's OpenAPI document a moment later.
        crate::support::eventually(field, async || {
            let output = cluster.kubectl(&["explain", field]).await.expect("runs");
            let text = String::from_utf8_lossy(&output.stdout);
            // kubectl wraps its lines.
            text.split_whitespace().collect::<Vec<_>>().join(" ").contains(expected).then_some(())
        })
        .await;
    }
}

/// A good object, changed.
fn credential(edit: &Value) -> DynamicObject {
    let mut object = json!({
        "apiVersion": "zoho-operator.dev/v1alpha1",
        "kind": "ZohoCredential",
        "metadata": { "name": "c" },
        "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } },
    });
    merge(&mut object, edit);
    serde_json::from_value(object).expect("it has metadata")
}

/// JSON merge patch (RFC 7396).
fn merge(object: &mut Value, edit: &Value) {
    let Value::Object(edit) = edit else {
        *object = edit.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in edit {
        if value.is_null() {
            object.as_object_mut().expect("made one").remove(key);
        } else {
            merge(&mut object[key], value);
        }
    }
}

/// Where each rule stands, as the API server names it, and its message.
fn rules_of_the_credential() -> BTreeSet<(String, String)> {
    fn walk(node: &Value, path: &str, found: &mut BTreeSet<(String, String)>) {
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let field = format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default());
            found.insert((
                field.trim_start_matches('.').into(),
                rule["message"].as_str().expect("every rule has one").into(),
            ));
        }
        if node["items"].is_object() {
            walk(&node["items"], &format!("{path}[0]"), found);
        }
        for (name, child) in node["properties"].as_object().into_iter().flatten() {
            let separator = if path.is_empty() { "" } else { "." };
            walk(child, &format!("{path}{separator}{name}"), found);
        }
    }
    let crd = serde_json::to_value(crd::zoho_credential()).expect("plain data");
    let mut found = BTreeSet::new();
    walk(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut found);
    found
}

async fn credentials(test: &str) -> Api<DynamicObject> {
    let cluster = cluster().await;
    cluster.install_crds().await;
    let namespace = cluster.namespace(test).await;
    let client: Client = cluster.client().await.expect("a client");
    Api::namespaced_with(client, &namespace, &ApiResource::erase::<ZohoCredential>(&()))
}

fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}
