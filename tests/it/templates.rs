//! Templates of `spec.target.data` on a real API server: what stands in the Secret, and what is refused before a mint.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use zoho_api::{ConditionStatus, ConditionType};

use crate::support::look::{condition, is_ready, message, text};
use crate::support::operator::Operator;
use crate::support::world::World;
use crate::support::{eventually, was_at_once};

/// A credential with the name `one` and this target, Ready.
async fn served(test: &str, target: Value) -> (World, Operator) {
    let world = World::new(test).await;
    let operator = world.operator();
    world.good_source("source").await;
    world.credential("one", "source", json!({ "product": "PatchManagerPlus", "target": target })).await;
    world.wait_ready("one").await;
    (world, operator)
}

fn data(secret: &Secret) -> BTreeMap<String, String> {
    secret.data.iter().flatten().map(|(key, _)| (key.clone(), text(secret, key))).collect()
}

/// The one token that lives.
fn living(world: &World) -> String {
    let mut minted: Vec<String> =
        world.zoho.log().into_iter().filter_map(|record| record.access_token.map(|token| token.to_string())).collect();
    minted.retain(|token| world.zoho.is_alive(token));
    assert_eq!(minted.len(), 1, "{} tokens live", minted.len());
    minted.remove(0)
}

async fn wait_for_data(world: &World, target: &str, expected: &[(&str, String)]) {
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    eventually(&format!("{target} is as its templates say"), async || {
        let secret = world.secret(target).await?;
        (data(&secret) == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn templates_stand_in_the_secret_byte_for_byte_beside_the_default_keys() {
    let (world, _operator) = served(
        "templates",
        json!({ "data": {
            "ZOHO_ACCESS_TOKEN": "{{ access_token }}",
            "headers.conf": "Authorization: {{ authorization }}\nAccept: */*\n",
            "config.json": "{\n  \"token\": \"{{ access_token }}\",\n  \"url\": \"{{ api_url }}/api\", \"\u{fc}\": '<&>'\n}\n",
            "authorization": "Bearer {{ access_token }}",
        } }),
    )
    .await;
    let token = living(&world);
    let secret = world.secret("one-token").await.expect("the target");
    let mut data = data(&secret);
    assert!(data.remove("expires_at").is_some_and(|text| text.ends_with('Z')));
    assert!(data.remove("api_domain").is_none_or(|text| text.starts_with("https://")));
    let url = "https://patch.manageengine.com";
    let expected = [
        ("ZOHO_ACCESS_TOKEN", token.clone()),
        ("access_token", token.clone()),
        ("api_url", url.into()),
        ("authorization", format!("Bearer {token}")),
        ("config.json", format!("{{\n  \"token\": \"{token}\",\n  \"url\": \"{url}/api\", \"\u{fc}\": '<&>'\n}}\n")),
        ("headers.conf", format!("Authorization: Zoho-oauthtoken {token}\nAccept: */*\n")),
    ];
    assert_eq!(data, expected.map(|(key, value)| (key.to_owned(), value)).into());
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn changed_templates_are_rendered_with_the_same_token_also_by_another_operator() {
    let (world, operator) = served("changed_templates", json!({ "data": { "a": "{{ access_token }}" } })).await;
    let token = living(&world);
    let target = |target: Value| json!({ "spec": { "target": target } });
    world
        .patch(
            "one",
            target(json!({ "includeDefaultKeys": false, "data": { "a": null, "b": "<{{ access_token }}>\n" } })),
        )
        .await;
    wait_for_data(&world, "one-token", &[("b", format!("<{token}>\n"))]).await;

    operator.kill();
    world.patch("one", target(json!({ "data": { "b": "{{ authorization }}" } }))).await;
    let operator = world.operator();
    wait_for_data(&world, "one-token", &[("b", format!("Zoho-oauthtoken {token}"))]).await;

    operator.kill();
    world.patch("one", target(json!({ "name": "renamed", "data": { "b": null, "c": "{{ access_token }}" } }))).await;
    let _operator = world.operator();
    wait_for_data(&world, "renamed", &[("c", token.clone())]).await;
    world.wait_ready("one").await;
    assert_eq!(world.zoho.stats().token.posts, 1);
}

#[tokio::test]
async fn templates_alone_are_renewed_repaired_and_trusted_by_another_operator() {
    let (world, operator) = served(
        "templates_alone",
        json!({ "includeDefaultKeys": false, "data": { "t": "token={{ access_token }}\n", "u": "{{ authorization }}" } }),
    )
    .await;
    let first = living(&world);
    let whole = |token: &str| [("t", format!("token={token}\n")), ("u", format!("Zoho-oauthtoken {token}"))];
    wait_for_data(&world, "one-token", &whole(&first)).await;

    let edit = |edit: Value| {
        let secrets = world.secrets();
        async move { secrets.patch("one-token", &PatchParams::default(), &Patch::Merge(edit)).await.expect("edited") }
    };
    edit(json!({ "stringData": { "t": "token=1000.planted.token\n", "extra": "x" } })).await;
    wait_for_data(&world, "one-token", &whole(&first)).await;
    world.wait_ready("one").await;

    operator.kill();
    let before = world.secret("one-token").await;
    let operator = world.operator();
    operator.synced().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.secret("one-token").await, before, "a restart changes nothing");

    operator.kill();
    edit(json!({ "data": { "u": null }, "stringData": { "extra": "x" } })).await;
    let operator = world.operator();
    wait_for_data(&world, "one-token", &whole(&first)).await;
    assert_eq!(world.zoho.stats().token.posts, 1);

    // Where the token itself was edited and nobody remembers it, there is nothing to put back.
    operator.kill();
    edit(json!({ "stringData": { "t": "token=1000.planted.token\n" } })).await;
    world.advance(120);
    let _operator = world.operator();
    eventually("a token that lives, in both keys", async || {
        let data = data(&world.secret("one-token").await?);
        let token = data.get("u")?.strip_prefix("Zoho-oauthtoken ")?.to_owned();
        (world.zoho.is_alive(&token) && data["t"] == format!("token={token}\n") && token != first).then_some(())
    })
    .await;
    assert_eq!(world.zoho.stats().token.posts, 2);
}

/// A target that is refused: name, target, reason, and what the message says.
fn refused() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let template = |key: &str, source: &str| json!({ "data": { key: source } });
    let large: BTreeMap<String, String> =
        (0..32).map(|number| (format!("k{number}"), "{{authorization}}".repeat(100))).collect();
    let failed = "TemplateFailed";
    vec![
        (
            "dot",
            template("env", "{{ .access_token }}"),
            failed,
            "Template env of spec.target.data, line 1: names have no dot",
        ),
        (
            "undefined",
            template("env", "\n\n{{ acces_token }}"),
            failed,
            "Template env of spec.target.data, line 3: there is no name acces_token",
        ),
        (
            "syntax",
            template("a.conf", "{{ access_token"),
            failed,
            "Template a.conf of spec.target.data, line 1: syntax error",
        ),
        (
            "unclosed",
            template("a.conf", "{% if api_url %}"),
            failed,
            "Template a.conf of spec.target.data, line 1: syntax error",
        ),
        (
            "loop",
            template("x", "{% for i in range(100000000) %}x{% endfor %}"),
            failed,
            "Template x of spec.target.data, line 1: there is no tag for",
        ),
        ("repeat", template("x", "{{ access_token * 100000000 }}"), failed, "`*` is not available"),
        ("filter", template("x", "{{ api_url | default('a') }}"), failed, "filters are not available"),
        ("branch", template("x", "{% if not api_domain %}{{ token }}{% endif %}"), failed, "there is no name token"),
        (
            "bytes",
            template("x", &"\u{e4}".repeat(2049)),
            failed,
            "Template x of spec.target.data: it is longer than 4 KiB",
        ),
        ("dots", template("..", "x"), failed, "not a valid key of a Secret"),
        (
            "no-token",
            json!({ "includeDefaultKeys": false, "data": { "x": "{{ api_url }}" } }),
            failed,
            "No key of the target holds the token",
        ),
        ("nothing", json!({ "includeDefaultKeys": false }), failed, "No key of the target holds the token"),
        ("large", json!({ "data": large }), "TargetTooLarge", "a Secret can hold only 1048576"),
    ]
}

#[tokio::test]
async fn bad_templates_are_named_mint_nothing_and_heal_with_the_spec() {
    let world = World::new("bad_templates").await;
    let _operator = world.operator();
    world.good_source("source").await;
    let rows = refused();
    for (name, target, ..) in &rows {
        world.credential(name, "source", json!({ "target": target })).await;
    }
    for (name, _, reason, says) in &rows {
        let seen = world.wait_for_reason(name, reason).await;
        let message = message(&seen, ConditionType::Renewable);
        assert!(message.contains(says), "{name}: {message}");
        assert_eq!(condition(&seen, ConditionType::Stalled), Some(ConditionStatus::True), "{name}");
        assert!(!is_ready(&seen));
        assert!(world.secret(&format!("{name}-token")).await.is_none(), "{name}");
    }
    assert_eq!(world.zoho.stats().token.posts, 0);
    assert_eq!(world.ledgers().list(&kube::api::ListParams::default()).await.expect("ledgers").items.len(), 0);

    for (name, ..) in &rows {
        world.patch(name, json!({ "spec": { "target": { "includeDefaultKeys": null, "data": null } } })).await;
        world.patch(name, json!({ "spec": { "target": { "data": { "fixed": "{{ access_token }}" } } } })).await;
    }
    let started = Instant::now();
    for (name, ..) in &rows {
        world.wait_ready(name).await;
    }
    was_at_once(started);
    assert_eq!(world.zoho.stats().token.posts, 1, "all of them are the same credential");
    let token = living(&world);
    for (name, ..) in &rows {
        assert_eq!(text(&world.secret(&format!("{name}-token")).await.expect("the target"), "fixed"), token);
    }
}

#[tokio::test]
async fn template_that_breaks_leaves_the_target_as_it_is() {
    let (world, _operator) = served("broken_template", json!({ "data": { "k": "{{ access_token }}" } })).await;
    let before = world.secret("one-token").await.expect("the target");
    world.patch("one", json!({ "spec": { "target": { "data": { "k": "{{ access_tokn }}" } } } })).await;
    let seen = world.wait_for_reason("one", "TemplateFailed").await;
    assert!(is_ready(&seen), "the token lives");
    assert_eq!(world.secret("one-token").await.as_ref(), Some(&before));
    world.patch("one", json!({ "spec": { "target": { "data": { "k": "{{ access_token }}" } } } })).await;
    world.wait_ready("one").await;
    assert_eq!(data(&world.secret("one-token").await.expect("the target")), data(&before));
    assert_eq!(world.zoho.stats().token.posts, 1);
}
