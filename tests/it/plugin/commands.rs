//! What each command says, word for word, with times and names masked.

use serde_json::{Value, json};
use zoho_simulator::script::{Page, Reply, Target};
use zoho_testkit::control_plane::Identity;
use zoho_testkit::fault_proxy::{Action, Answer, Match, Verb, Window};

use super::Person;
use crate::support::untested;
use crate::support::world::{REFRESH_TOKEN, World};

#[tokio::test]
async fn commands_tell_the_story_of_a_credential() {
    let world = World::new("commands").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    let ran = person.zoho(&["get"]).await.ok();
    assert_eq!(
        person.masked(&ran.stderr),
        "There is no ZohoCredential in namespace NS. Create one with: kubectl zoho login NAME --data-center DC"
    );
    world.good_source("zoho-oauth").await;
    world.credential("patch", "zoho-oauth", json!({ "product": "PatchManagerPlus" })).await;
    world.wait_ready("patch").await;

    let ran = person.zoho(&["get"]).await.ok();
    assert_eq!(
        person.masked(&ran.stdout),
        "NAME READY RENEWABLE EXPIRES RENEWS LIVE SECRET
patch True TokenValid in SPAN in SPAN 1 patch-token"
    );
    let ran = person.zoho(&["get", "patch", "-o", "json"]).await.ok();
    let printed: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((&printed["kind"], &printed["metadata"]["name"]), (&json!("ZohoCredential"), &json!("patch")));
    let ran = person.zoho(&["get", "-o", "yaml"]).await.ok();
    let printed: Value = serde_saphyr::from_str(&ran.stdout).expect("YAML");
    assert_eq!(printed["items"].as_array().map(Vec::len), Some(1));

    let ran = person.zoho(&["describe", "patch"]).await.ok();
    assert_eq!(
        person.masked(&ran.stdout),
        "Name: NS/patch
Issuer: data center US (127.0.0.1), PatchManagerPlus
Source: Secret zoho-oauth
Target: Secret patch-token
Token: works until HH:MMZ (in SPAN); minted at HH:MMZ (SPAN ago)
Ready: True, TokenValid for SPAN. Secret NS/patch-token holds a token that works until HH:MMZ.
Renewable: True, TokenValid for SPAN. The token is renewed at HH:MMZ.
Ledger: HASH: 1 of 8 requests in ten minutes, 1 of 7 tokens may be valid
Next: The token is valid. It is renewed at HH:MMZ (in SPAN)."
            .replace("(SPAN ago)", if ran.stdout.contains("(now)") { "(now)" } else { "(SPAN ago)" })
    );

    let token = person.zoho_aloud(&["token", "patch"], &[]).await.ok().stdout;
    assert!(world.zoho.is_alive(token.trim()));
    let header = person.zoho_aloud(&["token", "patch", "--header"], &[]).await.ok().stdout;
    assert_eq!(header, format!("Authorization: Zoho-oauthtoken {}\n", token.trim()));

    let ran = person.zoho(&["renew", "patch"]).await.ok();
    let said = person.masked(&ran.stdout);
    assert_eq!(said, "Renewed. Secret patch-token holds a new token: it works until HH:MMZ (in SPAN).");
    let renewed = person.zoho_aloud(&["token", "patch"], &[]).await.ok().stdout;
    assert!(renewed != token && world.zoho.is_alive(renewed.trim()));
}

#[tokio::test]
async fn renewal_that_does_not_come_is_explained() {
    let world = World::new("renew").await;
    let person = Person::of(&world);
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let ran = person.zoho(&["renew", "one", "--timeout", "1s"]).await.failed();
    assert_eq!(
        person.masked(&ran.stderr),
        "kubectl zoho: not handled within SPAN; the request stands. Is an operator running? See kubectl zoho doctor one."
    );
    let ran = person.zoho(&["token", "one"]).await.failed();
    assert_eq!(
        ran.stderr,
        "kubectl zoho: there is no token yet: Secret one-token does not exist. See kubectl zoho describe one\n"
    );
    let operator = world.operator();
    operator.synced().await;
    world.wait_ready("one").await;
    world.patch("one", json!({ "spec": { "suspend": true } })).await;
    world.wait_for_reason("one", "Suspended").await;
    let ran = person.zoho(&["renew", "one"]).await.failed();
    assert_eq!(
        ran.stdout,
        "The requested renewal was not done. Suspended: spec.suspend is true: no token is minted. Set it to false to continue.\n"
    );
    let ran = person.zoho(&["renew", "nobody"]).await.failed();
    assert!(ran.stderr.contains("ZohoCredential nobody is not in namespace"), "{}", ran.stderr);
}

#[tokio::test]
async fn revocation_is_asked_for_and_ends_the_refresh_token() {
    let world = World::new("revoke").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    world.good_source("source").await;
    for name in ["one", "two"] {
        world.credential(name, "source", json!({})).await;
        world.wait_ready(name).await;
    }
    // A refusal in the second of a mint proves nothing: times are stored in whole ones.
    world.advance(5);
    let ran = person.zoho(&["revoke", "one"]).await.misused();
    assert_eq!(
        person.masked(&ran.stderr),
        "The refresh token in Secret NS/source will be revoked at 127.0.0.1, for good. Access tokens minted from it stop working at once; this affects ZohoCredential one, ZohoCredential two.
kubectl zoho: standard input is not a terminal, so the command cannot ask: confirm with --yes"
    );
    assert_eq!(world.zoho.live_tokens(REFRESH_TOKEN).len(), 1);
    // A list of all namespaces that does not come does not stand in the way.
    let (proxy, kubeconfig) = person.proxy();
    proxy.rule(Match::new(Verb::List, "zohocredentials"), Window::ONCE, Action::Answer(Answer::internal_error()));
    let ran = person.zoho(&["revoke", "one", "--kubeconfig", &kubeconfig]).await.misused();
    assert!(
        ran.stderr.contains("ZohoCredential two, and any that use it in other namespaces, which"),
        "{}",
        ran.stderr
    );
    let ran = person.zoho(&["revoke", "one", "--yes"]).await.ok();
    assert_eq!(
        ran.stdout,
        "Revoked. Secret source still holds it: log in again (kubectl zoho login one), or delete both.\n"
    );
    assert_eq!(world.zoho.live_tokens(REFRESH_TOKEN), Vec::<String>::new());
    let ran = person.zoho(&["revoke", "one", "--yes"]).await.failed();
    assert!(ran.stderr.contains("127.0.0.1 does not know this refresh token: it was revoked before"), "{}", ran.stderr);

    // The operator has been asked to look, and is sure a minute later: within two minutes, not at the next renewal.
    for name in ["one", "two"] {
        world.wait_for_reason(name, "RefreshTokenRejected").await;
    }
    world.advance(61);
    for name in ["one", "two"] {
        world
            .wait(name, "not ready", |seen| {
                crate::support::look::is(seen, zoho_api::ConditionType::Ready, "RefreshTokenRejected")
            })
            .await;
    }
    world
        .wait("one", "parked", |seen| {
            crate::support::look::is(seen, zoho_api::ConditionType::Stalled, "RefreshTokenRejected")
        })
        .await;
    let ran = person.zoho(&["describe", "one"]).await.ok();
    let said = person.masked(&ran.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("Ready: False, RefreshTokenRejected for SPAN. Zoho refused the refresh token (invalid_code)"),
        "{said}"
    );
    assert!(said.contains("Stalled: A person must act."), "{said}");
    assert!(said.contains("Next: Nothing until the source Secret changes. The operator tries once more at HH:MMZ (in SPAN), or at once after kubectl zoho renew."), "{said}");
    let ran = person.zoho(&["get"]).await.ok();
    assert!(person.masked(&ran.stdout).contains("one False RefreshTokenRejected"), "{}", ran.stdout);
}

#[tokio::test]
async fn revocation_falls_back_to_the_newer_form_where_the_older_is_not_known() {
    let world = World::new("revoke-newer").await;
    let person = Person::of(&world);
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let unknown = || Reply::Status(Page::html(404, "<html><body><h1>Not Found</h1></body></html>"));
    for _ in 0..2 {
        world.zoho.script(Target::Revocation, unknown());
    }
    let ran = person.zoho(&["revoke", "one", "--yes"]).await.failed();
    assert!(ran.stderr.contains("127.0.0.1 knows neither form of Zoho's revocation"), "{}", ran.stderr);
    assert_eq!(world.zoho.stats().revocations, 0);
    world.zoho.script(Target::Revocation, unknown());
    let ran = person.zoho(&["revoke", "one", "--yes"]).await.ok();
    assert!(ran.stdout.starts_with("Revoked. Secret source still holds it"), "{}", ran.stdout);
    assert_eq!((world.zoho.stats().revocations, world.zoho.violations()), (1, Vec::new()));
}

/// What somebody may do who sees the credentials of the namespace, and nothing else.
pub(super) const READS: &str = "verbs: [get, list]";

#[tokio::test]
async fn caller_with_few_rights_is_told_what_could_not_be_seen() {
    let world = World::new("few-rights").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    world.serve_one().await;
    let caller = person.caller(READS).await;
    let caller: Vec<&str> = caller.iter().map(String::as_str).collect();
    let ran = person.zoho(&[&["describe", "one"], &caller[..]].concat()).await.ok();
    let said = person.masked(&ran.stdout);
    assert!(said.contains("\nNext: The token is valid. It is renewed at HH:MMZ (in SPAN)."), "{said}");
    for hidden in ["the target Secret: secrets", "the source Secret: secrets", "its ledger: zohomintledgers"] {
        assert!(said.contains(hidden), "{hidden}: {said}");
    }
    let ran = person.zoho(&[&["token", "one"], &caller[..]].concat()).await.failed();
    assert!(ran.stderr.contains("read Secret one-token: refused: "), "{}", ran.stderr);
    let ran = person.zoho(&[&["renew", "one"], &caller[..]].concat()).await.failed();
    assert!(ran.stderr.contains("cannot patch resource"), "{}", ran.stderr);
    let ran = person.zoho(&["get", "--as-group", "readers"]).await.misused();
    assert!(ran.stderr.contains("--as-group goes with --as"), "{}", ran.stderr);
}

#[tokio::test]
async fn completion_is_a_script_that_bash_takes() {
    let world = World::new("completion").await;
    let person = Person::of(&world);
    let ran = person.zoho(&["completion", "bash"]).await.ok();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), ran.stdout).expect("written");
    let checked = std::process::Command::new("bash").arg("-n").arg(file.path()).output().expect("bash");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let ran = person.command(&["completion", "words", "login", "x", "--data-center", "E"]);
    drop(ran);
    let ran = person.zoho(&["--help"]).await.ok();
    assert!(ran.stdout.contains("Usage: kubectl zoho"), "{}", ran.stdout);
}

#[tokio::test]
async fn contexts_and_exec_credential_plugins_work_as_in_kubectl() {
    let world = World::new("exec-plugin").await;
    let person = Person::of(&world);
    let text = std::fs::read_to_string(world.cluster.kubeconfig_of(Identity::Admin)).expect("readable");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    let Some(token) = config["users"][0]["user"]["token"].as_str().map(str::to_owned) else {
        return untested("exec credential plugins", "the kubeconfig of the cluster in KUBECONFIG holds no token");
    };
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": { "token": token },
    });
    config["users"][0]["user"] = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "Never",
        "args": ["-c", format!("echo '{credential}'")],
    } });
    let mut right = config["contexts"][0].clone();
    right["name"] = json!("right");
    config["contexts"][0]["context"]["user"] = json!("nobody");
    config["contexts"].as_array_mut().expect("a list").push(right);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    std::fs::write(&path, config.to_string()).expect("written");
    let path = path.to_str().expect("UTF-8");
    person.zoho(&["get", "--kubeconfig", path, "--context", "right"]).await.ok();
    person.zoho(&["get", "--kubeconfig", path]).await.failed();
    let ran = person.zoho(&["get", "--kubeconfig", path, "--context", "none"]).await.failed();
    assert!(ran.stderr.contains("none"), "{}", ran.stderr);
}
