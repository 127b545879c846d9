//! What `doctor` finds, and what it says to do about it.

use kube::api::PostParams;
use serde_json::{Value, json};
use zoho_api::ConditionType;
use zoho_simulator::script::Reply;

use super::Person;
use crate::leader::QUICK;
use crate::support::look::message;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, World};

/// Findings of one credential, as `level: text`.
async fn findings(person: &Person<'_>, name: &str) -> Vec<String> {
    let ran = person.zoho(&["doctor", name, "-o", "json"]).await;
    let findings: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let of_it = findings.as_array().expect("a list").iter().filter(|finding| finding["subject"] == name);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    of_it.map(|finding| person.masked(&format!("{}: {}", text(&finding["level"]), text(&finding["text"])))).collect()
}

#[tokio::test]
async fn healthy_credential_gets_a_clean_bill() {
    let world = World::new("doctor-well").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    world.serve_one().await;
    assert_eq!(
        findings(&person, "one").await,
        [
            "ok: the operator has looked at the current spec",
            "ok: its source Secret source has what it needs",
            "ok: it can be renewed. The token is renewed at HH:MMZ.",
            "ok: 127.0.0.1 answers from here",
        ]
    );
    let ran = person.zoho(&["doctor", "one"]).await;
    let said = person.masked(&ran.stdout);
    for expected in [
        "cluster\n  ok the API server answers, Kubernetes VERSION; its clock agrees with this machine's",
        "  ok the kinds of zoho-operator are installed, and as new as this plugin",
        "  ok you may do in namespace NS what the commands of this plugin need",
        "\none\n  ok the operator has looked at the current spec",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let seen = world.zoho.stats();
    assert_eq!((seen.token.posts, seen.revocations), (1, 0), "it sent no secret anywhere");
}

#[tokio::test]
async fn mistakes_in_the_source_are_named_by_key() {
    let world = World::new("doctor-source").await;
    let person = Person::of(&world);
    let quoted = format!("\"{CLIENT_SECRET}\"");
    let newline = format!("{CLIENT_ID}\n");
    world.source("odd", &[("client_id", &newline), ("client_secret", &quoted)]).await;
    world.credential("one", "odd", json!({})).await;
    let found = findings(&person, "one").await.join("\n");
    for expected in [
        "warn: key client_id of source Secret odd has white space around it",
        "fail: key client_secret of source Secret odd is in quotes",
        "fail: key refresh_token of source Secret odd is missing",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
    world.credential("two", "nowhere", json!({})).await;
    let found = findings(&person, "two").await.join("\n");
    assert!(found.contains("fail: its source Secret nowhere does not exist"), "{found}");
    assert_eq!(person.zoho(&["doctor"]).await.failed().stderr, "");
}

#[tokio::test]
async fn source_that_is_not_meant_for_this_is_named_in_the_operators_words() {
    let world = World::new("doctor-unmeant").await;
    let _operator = world.operator_with(&["--require-source-consent"]);
    let person = Person::of(&world);
    world.good_source("silent").await;
    let key = json!({ "metadata": { "name": "key" }, "type": "kubernetes.io/ssh-auth", "stringData": { "ssh-privatekey": "k" } });
    let key = serde_json::from_value(key).expect("a Secret");
    world.secrets().create(&PostParams::default(), &key).await.expect("created");
    for (name, source) in [("one", "silent"), ("two", "key")] {
        world.credential(name, source, json!({})).await;
        let seen = world.wait_for_reason(name, "SourceSecretInvalid").await;
        let words = message(&seen, ConditionType::Renewable);
        let found = findings(&person, name).await;
        assert!(found.contains(&format!("fail: {}", person.masked(&words))), "{words}: {found:?}");
        assert!(!found.join("\n").contains("is missing"), "{found:?}");
    }
}

#[tokio::test]
async fn wrong_client_and_pods_that_never_see_a_renewal_are_found() {
    let world = World::new("doctor-ill").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    world
        .source("wrong", &[("client_id", "1000.WRONG"), ("client_secret", "x"), ("refresh_token", REFRESH_TOKEN)])
        .await;
    world.credential("one", "wrong", json!({})).await;
    world.wait_for_reason("one", "ClientRejected").await;
    let ran = person.zoho(&["doctor", "one"]).await.failed();
    let said = person.masked(&ran.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "FAIL ClientRejected: Zoho refused the client (invalid_client)",
        "FAIL Zoho does not know the client in US: the client id or the client secret is mistyped, or the client belongs to another data center",
        "→ is the client listed at https://api-console.zoho.com? If not, look for it in the others (EU https://api-console.zoho.eu,",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }

    let pod = format!(
        r"
apiVersion: v1
kind: Pod
metadata: {{ name: report, namespace: {ns} }}
spec:
  serviceAccountName: default
  automountServiceAccountToken: false
  containers:
    - name: main
      image: none
      volumeMounts: [{{ name: zoho, mountPath: /token, subPath: access_token }}]
    - name: side
      image: none
      env: [{{ name: TOKEN, valueFrom: {{ secretKeyRef: {{ name: one-token, key: access_token }} }} }}]
  volumes: [{{ name: zoho, secret: {{ secretName: one-token }} }}]
",
        ns = world.namespace
    );
    crate::support::eventually("the namespace has its account", async || world.cluster.apply_yaml(&pod).await.ok())
        .await;
    let found = findings(&person, "one").await.join("\n");
    for expected in [
        "fail: container main of pod report mounts Secret one-token by subPath, which never changes in a running pod",
        "warn: container side of pod report has Secret one-token in its environment",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[tokio::test]
async fn limits_are_those_of_the_operator_that_runs() {
    let world = World::new("doctor-limits").await;
    let operator = world.operator_with(&["--max-attempts-per-10m", "4", "--max-live-tokens", "3"]);
    operator.synced().await;
    let person = Person::of(&world);
    world.serve_one().await;
    let ran = person.zoho(&["describe", "one"]).await.ok();
    assert!(ran.stdout.contains("1 of 4 requests in ten minutes, 1 of 3 tokens may be valid"), "{}", ran.stdout);
}

#[tokio::test]
async fn cluster_on_this_machine_is_reached_whatever_the_proxies_say() {
    let world = World::new("doctor-proxy").await;
    let person = Person::of(&world);
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    for exceptions in ["", ",", "corp.example,", ",127.0.0.1,,", "not a list; at all"] {
        let mut command = person.command(&["get"]);
        command.env("HTTPS_PROXY", "http://127.0.0.1:1").env("NO_PROXY", exceptions);
        let ran = person.end_of(command.spawn().expect("kubectl starts")).await.ok();
        assert!(ran.stdout.contains("one"), "{exceptions}: {}", ran.stdout);
    }
}

#[tokio::test]
async fn absent_operator_is_noticed() {
    let world = World::new("doctor-absent").await;
    let person = Person::of(&world);
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let ran = person.zoho(&["doctor", "one"]).await.failed();
    let said = person.masked(&ran.stdout);
    assert!(said.contains("operator\n  FAIL there is neither a Lease zoho-operator nor a Deployment"), "{said}");
    assert!(said.contains("no operator has looked at it yet"), "{said}");
    let ran = person.zoho(&["describe", "one"]).await.ok();
    assert!(ran.stdout.contains("No operator has looked at it yet. See kubectl zoho doctor."), "{}", ran.stdout);
}

#[tokio::test]
async fn throttled_credential_is_named_with_the_end_of_its_silence() {
    let world = World::new("doctor-throttled").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    world.good_source("source").await;
    world.zoho.script_for(REFRESH_TOKEN, Reply::Throttle);
    world.credential("one", "source", json!({})).await;
    world.wait_for_reason("one", "Throttled").await;
    let found = findings(&person, "one").await.join("\n");
    assert!(found.contains("Throttled: Zoho reports too many requests"), "{found}");
    assert_eq!(world.zoho.stats().token.posts, 1, "looking at it breaks no silence");
}

#[tokio::test]
async fn who_leads_is_named_and_that_nobody_does_any_more() {
    let world = World::new("doctor-leader").await;
    let person = Person::of(&world);
    let operator = world.operator_with(&QUICK);
    operator.synced().await;
    world.serve_one().await;
    let said = person.zoho(&["doctor", "one"]).await.stdout;
    assert!(said.lines().any(|line| line.contains("operator-") && line.contains(" leads")), "{said}");
    operator.kill();
    let said = crate::support::eventually("the lease runs out", async || {
        let said = person.zoho(&["doctor", "one"]).await.stdout;
        said.contains("no replica leads").then_some(said)
    })
    .await;
    assert!(said.contains("FAIL    no replica leads: operator-"), "{said}");
}
