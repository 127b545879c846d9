//! Every write rests on what it was decided on: another object or version of the same name is never touched.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use zoho_api::names::{ObjectName, ObjectVersion};
use zoho_api::{ZohoCredentialStatus, keys};
use zoho_client::apply::{self, Mode};
use zoho_client::calls::ApiError;

use crate::support::world::World;

fn secret(world: &World, value: &str) -> Secret {
    let object = json!({
        "metadata": { "name": "target", "namespace": world.namespace },
        "stringData": { "key": value },
    });
    serde_json::from_value(object).expect("a Secret")
}

#[tokio::test]
async fn secret_that_changed_since_it_was_looked_at_is_neither_updated_nor_deleted() {
    let world = World::new("stale_secret").await;
    let created = world.secrets().create(&PostParams::default(), &secret(&world, "one")).await.expect("created");
    let looked_at = ObjectVersion::of(&created.metadata);
    let edit = Patch::Merge(json!({ "metadata": { "labels": { "edited": "meanwhile" } } }));
    let edited = world.secrets().patch("target", &PatchParams::default(), &edit).await.expect("edited");

    let update = apply::update_target(&world.client, &created, &looked_at, None, Mode::Real).await;
    assert!(matches!(update, Err(ApiError::Conflict)), "{update:?}");
    let delete = apply::delete_target(&world.client, &created).await;
    assert!(matches!(delete, Err(ApiError::Conflict)), "{delete:?}");
    assert_eq!(world.secret("target").await, Some(edited));
}

#[tokio::test]
async fn secret_made_anew_under_the_same_name_is_another_one() {
    let world = World::new("recreated_secret").await;
    let first = world.secrets().create(&PostParams::default(), &secret(&world, "one")).await.expect("created");
    world.delete_secret("target").await;
    let second = world.secrets().create(&PostParams::default(), &secret(&world, "two")).await.expect("created");
    let uid = first.metadata.uid.clone().expect("a uid");
    let at = ObjectVersion { uid, resource_version: second.metadata.resource_version.clone().expect("a version") };

    let create = apply::create_target(&world.client, &first_wanted(&first), Mode::Real).await;
    assert!(matches!(create, Err(ApiError::AlreadyExists)), "{create:?}");
    let update = apply::update_target(&world.client, &first, &at, None, Mode::Real).await;
    assert!(matches!(update, Err(ApiError::Conflict)), "{update:?}");
    let mut former = second.clone();
    former.metadata.uid.clone_from(&first.metadata.uid);
    let delete = apply::delete_target(&world.client, &former).await;
    assert!(matches!(delete, Err(ApiError::Conflict)), "{delete:?}");
    assert_eq!(world.secret("target").await, Some(second));
}

fn first_wanted(stored: &Secret) -> Secret {
    let mut wanted = stored.clone();
    wanted.metadata.uid = None;
    wanted.metadata.resource_version = None;
    wanted
}

#[tokio::test]
async fn status_of_a_credential_made_anew_is_not_written() {
    let world = World::new("recreated_credential").await;
    let first = world.credential("one", "source", json!({})).await;
    world.credentials().delete("one", &DeleteParams::default()).await.expect("deleted");
    let second = world.credential("one", "source", json!({})).await;
    let status = ZohoCredentialStatus { target: Some("old".into()), ..ZohoCredentialStatus::default() };
    let key = ObjectName::new(&world.namespace, "one");
    let written = apply::patch_status(&world.client, &first, &key, &status).await;
    assert!(matches!(written, Err(ApiError::Conflict)), "{:?}", written.err());
    assert_eq!(world.get("one").await.status, second.status);
}

#[tokio::test]
async fn dry_run_stores_nothing() {
    let world = World::new("dry_run").await;
    let tried = apply::create_target(&world.client, &secret(&world, "one"), Mode::DryRun).await;
    assert!(tried.is_ok(), "{tried:?}");
    assert_eq!(world.secret("target").await, None);
}

#[tokio::test]
async fn content_is_replaced_beside_other_owners_and_not_where_another_token_is_there_by_now() {
    let world = World::new("newer_token").await;
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &world.namespace);
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some("also".into()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    let map = maps.create(&PostParams::default(), &map).await.expect("created");
    let owner = world.credential("one", "source", json!({})).await;
    let holding = |attempt: &str| -> Secret {
        let object = json!({
            "metadata": { "name": "target", "namespace": world.namespace,
                "annotations": { keys::ATTEMPT: attempt },
                "ownerReferences": [{ "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential", "name": "one",
                    "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": false }] },
            "data": { "key": "b25l" },
        });
        serde_json::from_value(object).expect("a Secret")
    };
    let mut first = holding("1");
    let also = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "also", "uid": map.metadata.uid });
    first.metadata.owner_references.as_mut().expect("ours").push(serde_json::from_value(also).expect("an owner"));
    let seen = world.secrets().create(&PostParams::default(), &first).await.expect("created");
    let edit = Patch::Merge(json!({ "metadata": { "annotations": { "edited": "meanwhile" } } }));
    world.secrets().patch("target", &PatchParams::default(), &edit).await.expect("edited");
    let replaced = apply::replace_content(&world.client, &holding("2"), &seen).await;
    assert!(replaced.is_ok(), "whatever else was edited: {replaced:?}");

    let replaced = apply::replace_content(&world.client, &holding("older"), &seen).await;
    assert!(matches!(replaced, Err(ApiError::Conflict)), "{replaced:?}");
    let now = world.secret("target").await.expect("there").metadata;
    assert_eq!(now.annotations.expect("annotations").get(keys::ATTEMPT).map(String::as_str), Some("2"));
    assert_eq!(now.owner_references.map(|owners| owners.len()), Some(2), "the other owner stays");
}
