//! Bad input: its reason in seconds, nothing minted, nothing overwritten, and healed as fast when it is put right.

use std::time::Instant;

use kube::api::PostParams;
use serde_json::{Value, json};
use zoho_api::{ConditionStatus, ConditionType};

use crate::support::look::{condition, is_ready, message};
use crate::support::was_at_once;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, World};

/// A source that cannot be used.
struct Row {
    name: &'static str,
    /// `None`: there is no Secret.
    pairs: Option<Vec<(&'static str, &'static str)>>,
    reason: &'static str,
    says: &'static str,
}

fn rows() -> Vec<Row> {
    let row = |name, pairs, reason, says| Row { name, pairs, reason, says };
    let id = ("client_id", CLIENT_ID);
    let secret = ("client_secret", CLIENT_SECRET);
    let refresh = ("refresh_token", REFRESH_TOKEN);
    vec![
        row("no-secret", None, "SourceSecretNotFound", "does not exist"),
        row(
            "no-key",
            Some(vec![id, secret]),
            "SourceSecretInvalid",
            "has no key refresh_token (spec.secretRef.refreshTokenKey may name another one). Correct it",
        ),
        row(
            "no-keys",
            Some(vec![]),
            "SourceSecretInvalid",
            "has no key client_id (spec.secretRef.clientIdKey may name another one). Correct it",
        ),
        row(
            "empty",
            Some(vec![id, secret, ("refresh_token", "")]),
            "SourceSecretInvalid",
            "refresh_token that is empty",
        ),
        row(
            "blank",
            Some(vec![id, ("client_secret", " \n"), refresh]),
            "SourceSecretInvalid",
            "client_secret that is empty",
        ),
        row(
            "not-ascii",
            Some(vec![id, ("client_secret", "gehe\u{ef}m"), refresh]),
            "SourceSecretInvalid",
            "not printable ASCII",
        ),
        row(
            "two-lines",
            Some(vec![("client_id", "1000.A\n1000.B"), secret, refresh]),
            "SourceSecretInvalid",
            "client_id that contains white space",
        ),
    ]
}

#[tokio::test]
async fn unusable_source_is_named_mints_nothing_and_heals_when_it_is_put_right() {
    let world = World::new("bad_sources").await;
    let _operator = world.operator();
    let rows = rows();
    for row in &rows {
        if let Some(pairs) = &row.pairs {
            world.source(&format!("source-{}", row.name), pairs).await;
        }
        world.credential(row.name, &format!("source-{}", row.name), json!({})).await;
    }
    for row in &rows {
        let seen = world.wait_for_reason(row.name, row.reason).await;
        assert!(
            message(&seen, ConditionType::Renewable).contains(row.says),
            "{}",
            message(&seen, ConditionType::Renewable)
        );
        assert!(!is_ready(&seen));
        assert_eq!(
            condition(&seen, ConditionType::Reconciling),
            Some(ConditionStatus::True),
            "GitOps may bring it in a minute"
        );
        assert!(world.secret(&format!("{}-token", row.name)).await.is_none());
    }
    assert_eq!(world.zoho.stats().token.posts, 0);
    world.advance(301);
    for row in &rows {
        let stalled = |seen: &_| condition(seen, ConditionType::Stalled) == Some(ConditionStatus::True);
        world.wait(row.name, "Stalled after five minutes", stalled).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 0);
    for row in &rows {
        world.good_source(&format!("source-{}", row.name)).await;
    }
    let started = Instant::now();
    for row in &rows {
        world.wait_ready(row.name).await;
    }
    was_at_once(started);
    assert_eq!(world.zoho.stats().token.posts, 1, "all of them are the same credential");
}

#[tokio::test]
async fn unusable_spec_is_refused_by_the_api_server_or_named_in_the_status() {
    let world = World::new("bad_specs").await;
    let _operator = world.operator();
    world.good_source("source").await;
    let itself = json!({
        "metadata": { "name": "same" },
        "spec": { "dataCenter": "US", "secretRef": { "name": "source" }, "target": { "name": "source" } },
    });
    let refused =
        world.credentials().create(&PostParams::default(), &serde_json::from_value(itself).expect("typed")).await;
    let refused = refused.expect_err("the API server refuses it").to_string();
    assert!(refused.contains("the target must not be the source"), "{refused}");

    let table: [(&str, Value, &str, &str); 3] = [
        ("host", json!({ "accountsHost": "accounts.evil.example" }), "AccountsHostNotAllowed", "--accounts-host"),
        (
            "server",
            json!({ "dataCenter": null, "endpointCentralServer": { "url": "https://ec.evil.example" } }),
            "ServerNotAllowed",
            "--endpoint-central-url",
        ),
        ("product", json!({ "dataCenter": "SG", "product": "PatchManagerPlus" }), "InvalidSpec", "spec.apiUrl"),
    ];
    for (name, edit, _, _) in &table {
        world.credential(name, "source", edit.clone()).await;
    }
    for (name, _, reason, says) in &table {
        let seen = world.wait_for_reason(name, reason).await;
        assert!(
            message(&seen, ConditionType::Renewable).contains(says),
            "{}",
            message(&seen, ConditionType::Renewable)
        );
        assert_eq!(condition(&seen, ConditionType::Stalled), Some(ConditionStatus::True));
        assert!(world.secret(&format!("{name}-token")).await.is_none());
    }
    assert_eq!(world.zoho.stats().token.posts, 0);
    world.patch("host", json!({ "spec": { "accountsHost": null } })).await;
    world.wait_ready("host").await;
}

#[tokio::test]
async fn source_that_is_itself_a_target_is_refused() {
    let world = World::new("target_as_source").await;
    let _operator = world.operator();
    world.serve_one().await;
    world.credential("two", "one-token", json!({})).await;
    let seen = world.wait_for_reason("two", "InvalidSpec").await;
    assert!(message(&seen, ConditionType::Renewable).contains("itself the target"));
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn target_of_another_credential_is_left_alone() {
    let world = World::new("one_target").await;
    let _operator = world.operator();
    world.good_source("source").await;
    let shared = json!({ "target": { "name": "shared" } });
    world.credential("one", "source", shared.clone()).await;
    world.wait_ready("one").await;
    let before = world.secret("shared").await;
    for loser in ["two", "three"] {
        world.credential(loser, "source", shared.clone()).await;
    }
    for loser in ["two", "three"] {
        let seen = world.wait_for_reason(loser, "TargetNotOwned").await;
        assert!(message(&seen, ConditionType::Renewable).contains("belongs to ZohoCredential one"));
        assert!(!is_ready(&seen));
    }
    assert_eq!(world.secret("shared").await, before);
    for loser in ["two", "three"] {
        world.patch(loser, json!({ "spec": { "target": { "name": format!("own-{loser}") } } })).await;
        world.wait_ready(loser).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn refused_write_mints_nothing_and_heals_within_a_minute_after_it_is_lifted() {
    let world = World::new("quota").await;
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" }, "spec": { "hard": { "count/secrets": "1" } } });
    world.good_source("source").await;
    let quota_yaml = quota.to_string();
    let output =
        world.cluster.kubectl_stdin(&["apply", "-n", &world.namespace, "-f", "-"], &quota_yaml).await.expect("kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    crate::support::eventually("the quota is counted", async || {
        let used = world
            .cluster
            .kubectl(&["get", "quota", "none", "-n", &world.namespace, "-o", "jsonpath={.status.used}"])
            .await
            .ok()?;
        String::from_utf8_lossy(&used.stdout).contains(r#""count/secrets":"1""#).then_some(())
    })
    .await;
    let _operator = world.operator();
    world.credential("one", "source", json!({})).await;
    let seen = world.wait_for_reason("one", "WriteRefused").await;
    assert!(
        message(&seen, ConditionType::Renewable).contains("exceeded quota"),
        "{}",
        message(&seen, ConditionType::Renewable)
    );
    assert_eq!(world.zoho.stats().token.posts, 0);
    world.cluster.kubectl(&["delete", "quota", "none", "-n", &world.namespace]).await.expect("kubectl");
    world.advance(31);
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 1);
}
