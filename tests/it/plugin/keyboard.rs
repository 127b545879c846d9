//! What leads on at the keyboard: from a credential to its ledger and back, rows as they change, names by the tab key,
//! documents for programs, and an operator that is found wherever it is.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use zoho_simulator::Credential;
use zoho_testkit::fault_proxy::{Action, FrameAction, Match, Verb, Window};

use super::{Person, Ran};
use crate::support::eventually;
use crate::support::world::World;

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// Credentials `one` and `two` on one refresh token, and `three` on another.
async fn three(world: &World) {
    world.good_source("source").await;
    let others: Vec<Credential> = world.zoho.register_many("other", 1);
    world.source_of("other", &others[0]).await;
    for (name, source) in [("one", "source"), ("two", "source"), ("three", "other")] {
        world.credential(name, source, json!({})).await;
        world.wait_ready(name).await;
    }
}

#[tokio::test]
async fn ledger_leads_to_its_credentials_and_a_credential_to_its_ledger() {
    let world = World::new("ledger-leads").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    three(&world).await;
    let ledger = world.get("one").await.status.and_then(|status| status.ledger).expect("a ledger").to_string();
    let ran = person.zoho(&["ledger", "one"]).await.ok();
    let said = person.masked(&ran.stdout).replace(&ledger, "LEDGER").replace("(now)", "(SPAN ago)");
    assert_eq!(
        said,
        "Ledger: OPERATOR-NS/LEDGER
Budget: 1 of 8 requests in ten minutes, 1 of 7 tokens may be valid
Last mint: HH:MMZ (SPAN ago)
Used by: NS/one
            NS/two"
    );
    let by_name = person.zoho(&["ledger", &ledger, "-o", "json"]).await.ok();
    let document = json_of(&by_name);
    let names = json!([format!("{}/one", world.namespace), format!("{}/two", world.namespace)]);
    assert_eq!(document[0]["credentials"], names);
    assert_eq!((&document[0]["requests"], &document[0]["liveTokensLimit"]), (&json!(1), &json!(7)));
    let all = json_of(&person.zoho(&["ledger", "-o", "json"]).await.ok());
    let of_us = all.as_array().expect("a list").iter().filter(|one| one["namespace"] == world.operator_namespace);
    assert_eq!(of_us.count(), 2);
    let ran = person.zoho(&["ledger", "nobody"]).await.failed();
    assert!(ran.stderr.contains("there is neither a ZohoCredential nobody in namespace"), "{}", ran.stderr);
}

#[tokio::test]
async fn ledger_shows_to_a_caller_with_few_rights_what_he_may_see() {
    let world = World::new("ledger-few").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    world.serve_one().await;
    let caller = person.caller(super::commands::READS).await;
    let caller: Vec<&str> = caller.iter().map(String::as_str).collect();
    let ran = person.zoho(&[&["ledger", "one"], &caller[..]].concat()).await.ok();
    let notes = person.masked(&ran.stderr);
    for hidden in
        ["Not seen: ZohoCredentials of other namespaces than NS: ", "Not seen: the ledgers in namespace OPERATOR-NS: "]
    {
        assert!(notes.contains(hidden), "{hidden}: {notes}");
    }
    assert!(person.masked(&ran.stdout).ends_with("Used by: NS/one"), "{}", ran.stdout);
}

#[tokio::test]
async fn rows_follow_the_changes_until_the_reader_has_seen_enough() {
    let world = World::new("get-watch").await;
    let _operator = world.operator();
    let person = Person::of(&world);
    world.serve_one().await;
    let mut child = person.command(&["get", "--watch"]).spawn().expect("kubectl starts");
    let stdout = child.stdout.take().expect("a pipe");
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        // Until the reader has seen enough: the pipe is closed with the thread.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let is_last = line.starts_with("two");
            if sender.send(line).is_err() || is_last {
                break;
            }
        }
    });
    let mut line = async |begin: &str, what: &str| {
        let seen = async {
            while let Some(line) = lines.recv().await {
                if line.starts_with(begin) && line.contains(what) {
                    return line;
                }
            }
            panic!("it ended before a row {begin} {what}");
        };
        tokio::time::timeout(crate::support::DEADLINE, seen).await.unwrap_or_else(|_| panic!("no row {begin} {what}"))
    };
    line("NAME", "RENEWABLE").await;
    line("one", "TokenValid").await;
    world.patch("one", json!({ "spec": { "suspend": true } })).await;
    line("one", "Suspended").await;
    world.credential("two", "source", json!({})).await;
    line("two", "two-token").await;
    // Nobody reads on: the next row ends it.
    let ended = eventually("it ends", async || {
        world.patch("one", json!({ "metadata": { "labels": { "row": "more" } } })).await;
        world.patch("one", json!({ "metadata": { "labels": { "row": null } } })).await;
        child.try_wait().expect("it can be asked")
    })
    .await;
    assert!(ended.success(), "{ended}");
}

#[tokio::test]
async fn caller_who_may_see_one_credential_follows_it_over_a_watch_that_breaks() {
    let world = World::new("watch-one").await;
    let _operator = world.operator();
    let person = Person::of(&world);
    world.serve_one().await;
    let caller = person.caller("resourceNames: [one], verbs: [get, list, watch]").await;
    let caller: Vec<&str> = caller.iter().map(String::as_str).collect();
    let (proxy, kubeconfig) = person.proxy();
    let args = [&["get", "one", "--watch", "--kubeconfig", &kubeconfig], &caller[..]].concat();
    let watch = Match::new(Verb::Watch, "zohocredentials").namespace(&world.namespace);
    let opened = proxy.rule(watch.clone(), Window::ALWAYS, Action::Pass);
    proxy.frames(watch, Window::ONCE, FrameAction::Gone);
    let mut child = person.command(&args).spawn().expect("kubectl starts");
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let seen = tokio::task::spawn_blocking(move || {
        stdout.lines().map_while(Result::ok).find(|line| line.contains("Suspended"))
    });
    eventually("it watches", async || (proxy.seen(opened) > 0).then_some(())).await;
    // This one is lost with the watch: a list brings it.
    world.patch("one", json!({ "spec": { "suspend": true } })).await;
    let seen = tokio::time::timeout(crate::support::DEADLINE, seen).await.expect("a row").expect("read");
    assert!(seen.is_some(), "it ended before\n{}", proxy.transcript());
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

#[tokio::test]
async fn documents_for_programs_hold_no_token_unless_it_is_asked_for_aloud() {
    let world = World::new("documents-of").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    world.serve_one().await;
    let document = json_of(&person.zoho(&["describe", "one", "-o", "json"]).await.ok());
    assert_eq!(document["name"], "one");
    assert_eq!(document["status"]["target"], "one-token");
    let next = document["next"].as_str().expect("a sentence");
    assert!(next.starts_with("The token is valid. It is renewed at "), "{document}");
    // The plugin's own words are searched for secrets when the test ends; this is among them.
    let ran = person.zoho(&["token", "one", "-o", "yaml"]).await.ok();
    let document: Value = serde_saphyr::from_str(&ran.stdout).expect("YAML");
    assert_eq!((&document["secret"], &document["scheme"]), (&json!("one-token"), &json!("Zoho-oauthtoken")));
    assert_eq!(document["accessToken"], Value::Null);
    let ran = person.zoho_aloud(&["token", "one", "-o", "json", "--show-token"], &[]).await.ok();
    assert_eq!(json_of(&ran)["accessToken"].as_str(), world.token("one-token").await.as_deref());
    person.zoho(&["token", "one", "--show-token"]).await.misused();
    let document = json_of(&person.zoho(&["renew", "one", "-o", "json"]).await.ok());
    assert_eq!(document["renewed"], true, "{document}");
    world.patch("one", json!({ "spec": { "suspend": true } })).await;
    world.wait_for_reason("one", "Suspended").await;
    let document = json_of(&person.zoho(&["renew", "one", "-o", "json"]).await.failed());
    assert_eq!(document["renewed"], false, "{document}");
    let message = document["message"].as_str().expect("a sentence");
    assert!(message.contains("Suspended: spec.suspend is true"), "{message}");
}

#[tokio::test]
async fn tab_key_offers_the_names_of_credentials() {
    let world = World::new("tab-key").await;
    let person = Person::of(&world);
    for name in ["crm", "creator", "desk"] {
        world.credential(name, "nowhere", json!({})).await;
    }
    let offered = |words: &[&str]| {
        let mut command = Command::new(zoho_testkit::program("kubectl-zoho"));
        let kubeconfig = person
            .command(&[])
            .get_envs()
            .find_map(|(name, value)| (name == "KUBECONFIG").then(|| value.expect("it is set").to_owned()));
        command.env("KUBECONFIG", kubeconfig.expect("a kubeconfig")).args(["completion", "words"]).args(words);
        let output = command.stdin(Stdio::null()).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let namespace = world.namespace.as_str();
    // After two seconds without an answer it offers nothing: that may happen on a busy machine.
    for (words, names) in
        [(["describe", "-n", namespace, "cr"], "creator\ncrm\n:4\n"), (["-n", namespace, "token", "d"], "desk\n:4\n")]
    {
        eventually(names, async || (offered(&words) == names).then_some(())).await;
    }
    assert_eq!(offered(&["renew", "-n", namespace, "crm", ""]), ":4\n", "one name is enough");
    assert_eq!(offered(&["get", "--kubeconfig", "/nowhere", ""]), ":4\n", "no cluster, no names, and no error");
}

#[tokio::test]
async fn operator_is_found_by_what_it_says_of_itself_and_by_its_label() {
    let world = World::new("found").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world).without_operator_flags();
    world.serve_one().await;
    let ran = person.zoho(&["describe", "one"]).await.ok();
    assert!(ran.stdout.contains("1 of 8 requests in ten minutes"), "its ledger is seen: {}", ran.stdout);

    // Nobody serves anything here: it is found by the label, under whatever name.
    let other = World::new("found-by-label").await;
    let deployment = format!(
        r"
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: tokens, namespace: {ns}, labels: {{ app.kubernetes.io/name: renamed, app.kubernetes.io/part-of: zoho-operator }} }}
spec:
  replicas: 0
  selector: {{ matchLabels: {{ app: tokens }} }}
  template:
    metadata: {{ labels: {{ app: tokens }} }}
    spec: {{ containers: [{{ name: c, image: none, args: [--operator-namespace={ns}, --instance=mine] }}] }}
",
        ns = other.operator_namespace
    );
    other.cluster.apply_yaml(&deployment).await.expect("applied");
    let person = Person::of(&other).without_operator_flags();
    let ran = person.zoho(&["doctor"]).await.failed();
    let said = person.masked(&ran.stdout);
    assert!(said.contains("is installed in OPERATOR-NS; it keeps no Lease mine"), "{said}");
    assert!(said.contains("Deployment tokens is scaled to 0"), "{said}");
}
