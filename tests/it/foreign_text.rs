//! Who may create a Secret chooses the kind and name of its owner: nobody's terminal obeys them.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use zoho_api::ConditionType;
use zoho_core::text::is_plain;

use crate::plugin::Person;
use crate::support::eventually;
use crate::support::look::message;
use crate::support::world::World;

const ESCAPES: &str = "\u{1b}[2J\u{9b}31m\u{202e}\nReady:      True";

#[tokio::test]
async fn owner_of_a_secret_cannot_write_to_anybodys_terminal() {
    let world = World::new("foreign_text").await;
    let operator = world.operator();
    let owner = json!({
        "apiVersion": "v1", "kind": ESCAPES, "name": ESCAPES, "controller": true,
        "uid": "00000000-0000-4000-8000-000000000000",
    });
    let secret = json!({ "metadata": { "name": "one-token", "ownerReferences": [owner] } });
    let secret: Secret = serde_json::from_value(secret).expect("a Secret");
    world.secrets().create(&PostParams::default(), &secret).await.expect("the API server takes it");
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let seen = world.wait_for_reason("one", "TargetNotOwned").await;
    let said = message(&seen, ConditionType::Renewable);
    assert!(said.contains("belongs to \\u001b[2J\\u009b31m\\u202e Ready:"), "{said}");
    assert!(said.contains("Set spec.target.name to another name"), "the remedy is there still: {said}");
    for condition in &seen.status.as_ref().expect("a status").conditions {
        assert!(condition.message.chars().all(is_plain), "{condition:?}");
    }
    let events = eventually("the Event is there", async || {
        let events = world.events_of("one").await;
        (!events.is_empty()).then_some(events)
    })
    .await;
    assert!(events.iter().all(|event| event.chars().all(is_plain)), "{events:?}");

    let person = Person::of(&world);
    for args in [&["get"][..], &["get", "-A"], &["describe", "one"], &["doctor", "--offline"], &["token", "one"]] {
        let ran = person.zoho(args).await;
        for line in ran.stdout.lines().chain(ran.stderr.lines()) {
            assert!(line.chars().all(is_plain), "{args:?}: {line:?}");
        }
    }
    for line in operator.log().lines().filter(|line| line.contains("zoho_operator")) {
        assert!(line.chars().all(is_plain), "{line:?}");
    }
}

/// So a conflict can name who keeps changing the target; where that changes, the conditions hold all the same.
#[tokio::test]
async fn api_server_takes_no_field_manager_with_escapes() {
    let world = World::new("field_manager").await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" } });
    let by = PatchParams { field_manager: Some("a\u{1b}[2J".into()), force: true, ..PatchParams::default() };
    let refused = world.secrets().patch("s", &by, &Patch::Apply(&secret)).await;
    assert!(refused.is_err(), "{refused:?}");
    let managed = json!([{
        "manager": "a\u{1b}[2J", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": { "f:type": {} },
    }]);
    let secret = json!({ "metadata": { "name": "s", "managedFields": managed } });
    let secret: Secret = serde_json::from_value(secret).expect("a Secret");
    let stored = world.secrets().create(&PostParams::default(), &secret).await;
    let managers = stored.map(|secret| secret.metadata.managed_fields.unwrap_or_default()).unwrap_or_default();
    let hostile = |manager: Option<&str>| manager.is_some_and(|manager| !manager.chars().all(is_plain));
    assert!(!managers.iter().any(|entry| hostile(entry.manager.as_deref())), "{managers:?}");
}
