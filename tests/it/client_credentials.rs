//! Grant `ClientCredentials`, and the scopes of a token: what is asked for, what was granted, and what is said of it.

use serde_json::{Value, json};
use zoho_api::{ConditionType, Reason, ZohoCredential};
use zoho_simulator::script::{Reply, Target};
use zoho_simulator::self_clients::Owner;

use crate::support::eventually;
use crate::support::look::{is_ready, message};
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, World};

const CRM: &str = "ZohoCRM.modules.READ";
const USERS: &str = "ZohoCRM.users.READ";
const BOOKS: &str = "ZohoBooks.invoices.READ";

/// A world with a self client, and its id and secret in Secret `source`.
async fn world(test: &str, owner: Owner) -> World {
    let world = World::new(test).await;
    world.zoho.register_self_client(CLIENT_ID, CLIENT_SECRET, owner);
    world.source("source", &[("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)]).await;
    world
}

/// The Events about scopes.
async fn warnings(world: &World, name: &str) -> Vec<String> {
    let events = world.events_of(name).await;
    events.into_iter().filter(|event| event.starts_with("VerificationRejected ")).collect()
}

fn spec(scopes: &[&str]) -> Value {
    json!({ "grant": "ClientCredentials", "scopes": scopes })
}

fn owner() -> Owner {
    Owner::of_scopes(&[CRM, USERS, BOOKS])
}

#[tokio::test]
async fn client_lives_without_a_refresh_token() {
    let world = world("client-life", owner()).await;
    let operator = world.operator();
    for (name, scopes) in [("crm", &[USERS, CRM][..]), ("books", &[BOOKS])] {
        world.credential(name, "source", spec(scopes)).await;
        world.wait_ready(name).await;
    }
    let seen = world.get("crm").await;
    assert_eq!(seen.status.expect("reported").granted_scopes, [CRM, USERS]);
    let first = world.token("crm-token").await.expect("a token");
    assert!(world.zoho.is_alive(&first));
    assert_eq!(world.zoho.stats().token.posts, 2);

    operator.kill();
    let restarted = world.operator();
    restarted.synced().await;
    assert_eq!(world.zoho.stats().token.posts, 2, "a restart costs no mint");

    world.advance(1900);
    eventually("both are renewed", async || (world.zoho.stats().token.posts == 4).then_some(())).await;
    let renewed =
        eventually("another token", async || world.token("crm-token").await.filter(|token| *token != first)).await;
    assert!(world.zoho.is_alive(&renewed) && world.zoho.is_alive(&first), "the old one works meanwhile");
    assert_eq!(world.get("crm").await.status.expect("reported").granted_scopes, [CRM, USERS]);
    assert_eq!(world.zoho.stats().violations, 0);
}

#[tokio::test]
async fn same_client_organisation_and_scopes_share_one_mint() {
    let world = world("client-shared", owner().in_organisations(&["ZohoCRM.1", "ZohoCRM.2"])).await;
    let _operator = world.operator();
    let asks = |scopes: &[&str], soid: &str| json!({ "grant": "ClientCredentials", "scopes": scopes, "soid": soid });
    world.credential("one", "source", asks(&[CRM, USERS], "ZohoCRM.1")).await;
    world.credential("two", "source", asks(&[USERS, CRM], "ZohoCRM.1")).await;
    for name in ["one", "two"] {
        world.wait_ready(name).await;
    }
    assert_eq!(world.zoho.stats().token.posts, 1);
    assert_eq!(world.token("one-token").await, world.token("two-token").await);
    world.credential("other", "source", asks(&[CRM, USERS], "ZohoCRM.2")).await;
    world.wait_ready("other").await;
    assert_eq!(world.zoho.stats().token.posts, 2, "another organisation is another token");
    assert_ne!(world.token("one-token").await, world.token("other-token").await);
}

#[tokio::test]
async fn refusal_names_the_field_to_change_and_the_change_cures_it() {
    let world = world("client-refused", owner().in_organisations(&["ZohoCRM.1", "ZohoCRM.2"])).await;
    let _operator = world.operator();
    let says = async |code: &str, field: &str| {
        let refused = |seen: &ZohoCredential| {
            let said = message(seen, ConditionType::Renewable);
            said.contains(code) && said.contains(field)
        };
        let seen = world.wait("one", code, refused).await;
        let condition = seen.status.expect("reported");
        let condition = condition.condition(ConditionType::Renewable).cloned().expect("it has one");
        assert_eq!(condition.reason, Reason::RequestRejected.as_str());
    };
    world.credential("one", "source", spec(&[CRM])).await;
    says("missing_org_info", "spec.soid").await;
    world.patch("one", json!({ "spec": { "soid": "ZohoCRM.9" } })).await;
    says("invalid_soid", "spec.soid").await;
    world.patch("one", json!({ "spec": { "soid": "ZohoCRM.1", "scopes": ["ZohoCRM.nothing.READ"] } })).await;
    says("invalid_scope", "spec.scopes").await;
    assert_eq!(world.zoho.stats().token.posts, 3, "each is asked once, and a change is looked at at once");
    world.patch("one", json!({ "spec": { "scopes": [CRM] } })).await;
    world.wait("one", "Ready", is_ready).await;
    assert_eq!(world.zoho.stats().violations, 0);
}

#[tokio::test]
async fn recorded_scopes_cost_no_mint_and_are_compared_with_the_reply() {
    let world = World::new("scopes-recorded").await;
    let operator = world.operator();
    world.good_source("source").await;
    let reply =
        json!({ "access_token": "$ACCESS_TOKEN", "expires_in": 3600, "scope": format!("{USERS} {CRM},bad\u{7}one") });
    world.zoho.script(Target::Token, Reply::mint_then_body(reply.to_string()));
    world.credential("one", "source", json!({ "scopes": [CRM] })).await;
    world.wait_ready("one").await;
    assert_eq!(world.get("one").await.status.expect("reported").granted_scopes, [CRM, USERS]);

    world.patch("one", json!({ "spec": { "scopes": [CRM, BOOKS] } })).await;
    let events = eventually("a Warning about the scope", async || {
        let events = warnings(&world, "one").await;
        (!events.is_empty()).then_some(events)
    })
    .await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].starts_with("VerificationRejected Zoho granted") && events[0].contains(BOOKS), "{events:?}");
    operator.kill();
    let restarted = world.operator();
    restarted.synced().await;
    let status = world.get("one").await.status.expect("reported");
    assert_eq!(status.granted_scopes, [CRM, USERS], "a restart leaves them");
    assert_eq!(warnings(&world, "one").await.len(), 1, "said once");
    assert_eq!(world.zoho.stats().token.posts, 1);

    // The next reply names none, so none are claimed.
    world.advance(1900);
    world
        .wait("one", "none are known", |seen| {
            seen.status.as_ref().is_some_and(|status| status.granted_scopes.is_empty())
        })
        .await;
    world.zoho.revoke(crate::support::world::REFRESH_TOKEN);
    world.advance(1900);
    let is_refused = |seen: &ZohoCredential| message(seen, ConditionType::Renewable).contains("with the scopes");
    let seen = world.wait("one", "refused", is_refused).await;
    assert!(message(&seen, ConditionType::Renewable).contains(&format!("{CRM},{BOOKS}")));
}
