//! Login of a self client that asks in its own name, and what the other commands say of it.

use serde_json::json;
use zoho_simulator::script::{Reply, Target};
use zoho_simulator::self_clients::Owner;

use super::Person;
use crate::support::look::text;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, World};

const SCOPES: &str = "ZohoCRM.users.READ,ZohoCRM.modules.READ";
const LOGIN: [&str; 7] = [
    "login",
    "crm",
    "--data-center",
    "US",
    "--client-credentials",
    "--scope",
    "ZohoCRM.users.READ,ZohoCRM.modules.READ",
];

fn knows_the_client(world: &World) {
    let scopes: Vec<&str> = SCOPES.split(',').collect();
    let owner = Owner::of_scopes(&scopes).in_organisations(&["ZohoCRM.1", "ZohoCRM.2"]);
    world.zoho.register_self_client(CLIENT_ID, CLIENT_SECRET, owner);
}

#[tokio::test]
async fn client_is_proven_stored_and_kept_valid() {
    let world = World::new("login-client").await;
    let operator = world.operator();
    operator.synced().await;
    knows_the_client(&world);
    let person = Person::of(&world);
    let args = [&LOGIN[..], &["--soid", "ZohoCRM.2"]].concat();
    let ran = person.zoho_with(&args, &[CLIENT_ID, CLIENT_SECRET]).await.ok();
    assert_eq!(
        person.masked(&ran.stderr),
        "Client: the Self Client at https://api-console.zoho.com: id and secret are under Client Secret
Scope: ZohoCRM.modules.READ,ZohoCRM.users.READ
Stored in Secret NS/crm-oauth.
ZohoCredential NS/crm is made."
    );
    let source = world.secret("crm-oauth").await.expect("the source");
    assert_eq!(source.data.as_ref().map(std::collections::BTreeMap::len), Some(2), "client id and secret only");
    assert_eq!((text(&source, "client_id"), text(&source, "client_secret")), (CLIENT_ID.into(), CLIENT_SECRET.into()));
    assert_eq!(world.zoho.stats().token.posts, 2, "the first token proves the client, the second is the operator's");
    let token = person.zoho_aloud(&["token", "crm"], &[]).await.ok().stdout;
    assert!(world.zoho.is_alive(token.trim()));

    let described = person.zoho(&["describe", "crm"]).await.ok().stdout;
    for expected in [
        "by client credentials: no refresh token in use, for ZohoCRM.2",
        "Granted: ZohoCRM.modules.READ,ZohoCRM.users.READ",
    ] {
        assert!(described.contains(expected), "{described}");
    }
    let doctor = person.zoho(&["doctor", "crm"]).await;
    assert!(doctor.stdout.contains("its source Secret crm-oauth has what it needs"), "{}", doctor.stdout);
    let revoked = person.zoho(&["revoke", "crm", "--yes"]).await.misused();
    assert!(revoked.stderr.contains("there is no refresh token to revoke"), "{}", revoked.stderr);
    // Another secret of the client goes to the same place, whatever is said again; another organisation does not.
    for args in [&args[..], &["login", "crm"]] {
        let again = person.zoho_with(args, &[CLIENT_ID, CLIENT_SECRET]).await.ok();
        assert!(again.stderr.contains("is unchanged"), "{}", again.stderr);
    }
    let other = [&LOGIN[..], &["--soid", "ZohoCRM.1"]].concat();
    let other = person.zoho_with(&other, &[CLIENT_ID, CLIENT_SECRET]).await.failed();
    let says = "is for something else: --scope ZohoCRM.users.READ,ZohoCRM.modules.READ --soid ZohoCRM.2";
    assert!(other.stderr.contains(says), "{}", other.stderr);
    assert_eq!(world.zoho.stats().violations, 0);
}

#[tokio::test]
async fn same_client_again_is_done_soon_though_its_secret_gets_another_version() {
    let world = World::new("login-same-client").await;
    let _operator = world.operator();
    knows_the_client(&world);
    world.source("crm", &[("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)]).await;
    let scopes: Vec<&str> = SCOPES.split(',').collect();
    let spec = json!({ "grant": "ClientCredentials", "scopes": scopes, "soid": "ZohoCRM.2" });
    world.credential("crm", "crm", spec).await;
    let version = world.wait_ready("crm").await.status.and_then(|status| status.observed).and_then(|seen| seen.source);
    // As the login advises: only then it writes, and adds an annotation.
    let person = Person::of(&world);
    let advice = person.zoho_with(&["login", "crm"], &[CLIENT_ID, CLIENT_SECRET]).await.failed();
    assert!(advice.stderr.contains("kubectl label secret"), "{}", advice.stderr);
    let patch = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": "kubectl-zoho" } } });
    let patch = kube::api::Patch::Merge(patch);
    world.secrets().patch("crm", &kube::api::PatchParams::default(), &patch).await.expect("labelled");
    let again = person.zoho_with(&["login", "crm"], &[CLIENT_ID, CLIENT_SECRET]).await.ok();
    assert!(again.stderr.contains("is unchanged"), "{}", again.stderr);
    let now = world.get("crm").await.status.and_then(|status| status.observed).and_then(|seen| seen.source);
    assert_ne!(now, version, "the operator has looked at it");
    // A token that proves the client, and one on request.
    assert_eq!(world.zoho.stats().token.posts, 3);
}

#[tokio::test]
async fn client_that_gets_no_token_is_not_stored() {
    let world = World::new("login-client-refused").await;
    knows_the_client(&world);
    let person = Person::of(&world);
    for (more, secret, expected) in [
        (&[][..], CLIENT_SECRET, "Organisation: the account has several. Name one with --soid"),
        (&["--soid", "ZohoCRM.9"], CLIENT_SECRET, "Organisation: Zoho does not know ZohoCRM.9"),
        (&["--soid", "ZohoCRM.1"], "wrong-secret", "(invalid_client_secret)"),
    ] {
        let ran = person.zoho_with(&[&LOGIN[..], more].concat(), &[CLIENT_ID, secret]).await.failed();
        assert!(ran.stderr.contains(expected) && ran.stderr.contains("Nothing was stored"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    let unknown = ["login", "crm", "--data-center", "US", "--client-credentials", "--scope", "ZohoCRM.org.READ"];
    let ran = person.zoho_with(&unknown, &[CLIENT_ID, CLIENT_SECRET]).await.failed();
    assert!(ran.stderr.contains("Scope: Zoho does not know one of ZohoCRM.org.READ"), "{}", ran.stderr);
    assert!(world.secret("crm-oauth").await.is_none());
    assert!(world.credentials().get_opt("crm").await.expect("an answer").is_none());
}

#[tokio::test]
async fn dry_run_and_printed_secret_have_no_refresh_token() {
    let world = World::new("login-client-printed").await;
    knows_the_client(&world);
    let person = Person::of(&world);
    let args = [&LOGIN[..], &["--soid", "ZohoCRM.1"]].concat();
    let dry = person.zoho(&[&args[..], &["--dry-run"]].concat()).await.ok().stdout;
    for expected in
        ["grant: ClientCredentials", "- ZohoCRM.modules.READ", "soid: ZohoCRM.1", "client_secret: <client secret>"]
    {
        assert!(dry.contains(expected), "{dry}");
    }
    assert!(!dry.contains("refresh_token"), "{dry}");
    assert_eq!(world.zoho.stats().token.posts, 0);
    let print = [&args[..], &["--print-secret=json"]].concat();
    let printed = person.zoho_aloud(&print, &[CLIENT_ID, CLIENT_SECRET]).await.ok().stdout;
    let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(printed, json!({ "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET }));
}

#[tokio::test]
async fn scopes_that_were_not_granted_are_named_until_they_are() {
    let world = World::new("describe-scopes").await;
    let _operator = world.operator();
    world.good_source("source").await;
    let reply = json!({ "access_token": "$ACCESS_TOKEN", "expires_in": 3600, "scope": "ZohoCRM.users.READ" });
    world.zoho.script(Target::Token, Reply::mint_then_body(reply.to_string()));
    world.credential("one", "source", json!({ "scopes": ["ZohoCRM.users.READ", "ZohoCRM.modules.READ"] })).await;
    world.wait_ready("one").await;
    let person = Person::of(&world);
    let described = person.zoho(&["describe", "one"]).await.ok().stdout;
    assert!(described.contains("Not granted: ZohoCRM.modules.READ"), "{described}");
    let doctor = person.zoho(&["doctor", "one"]).await;
    let finding = "the token lacks scopes of spec.scopes: ZohoCRM.modules.READ";
    assert!(doctor.stdout.contains(finding), "{}", doctor.stdout);
    world.patch("one", json!({ "spec": { "scopes": ["ZohoCRM.users.READ"] } })).await;
    let described = person.zoho(&["describe", "one"]).await.ok().stdout;
    assert!(described.contains("Granted: ZohoCRM.users.READ") && !described.contains("Not granted"), "{described}");
    assert_eq!(world.zoho.stats().token.posts, 1);
}
