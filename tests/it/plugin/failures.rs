//! What a person reads when something does not work, word for word: the cause once, and what to do.

use serde_json::json;

use super::Person;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, World};

const NOBODY: &str = r#"{
  "apiVersion": "v1", "kind": "Config", "current-context": "x",
  "clusters": [{ "name": "c", "cluster": { "server": "https://127.0.0.1:1" } }],
  "users": [{ "name": "u", "user": { "token": "t" } }],
  "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }]
}"#;

#[tokio::test]
async fn each_failure_is_told_once_and_in_one_line() {
    let world = World::new("failures").await;
    let person = Person::of(&world);
    world.credential("one", "nowhere", json!({})).await;
    let host = json!({ "dataCenter": "CA", "accountsHost": "accounts.corp.example" });
    world.credential("other", "nowhere", host).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let (nobody, bad) = (file("nobody", NOBODY), file("bad", "no certificate"));
    let print = ["login", "one", "--data-center", "US", "--print-secret=json"];
    let with =
        |more: &[&'static str]| -> Vec<String> { print.iter().chain(more).map(|&word| word.to_owned()).collect() };
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let closed = "Connection refused (os error 111)";
    let table: [(Vec<String>, String); 14] = [
        (
            words("get --kubeconfig /nowhere"),
            "find a cluster: read --kubeconfig /nowhere: failed to read kubeconfig from '\"/nowhere\"': No such file or directory (os error 2)".into(),
        ),
        (words("get --context none"), "find a cluster: use the kubeconfig: it has no context none".into()),
        (
            words(&format!("get --kubeconfig {nobody}")),
            format!("reach the cluster: ServiceError: client error (Connect): tcp connect error: {closed}"),
        ),
        (
            words(&format!("login one --kubeconfig {nobody}")),
            format!("reach the cluster: ServiceError: client error (Connect): tcp connect error: {closed}"),
        ),
        (
            words("renew nobody"),
            "ZohoCredential nobody is not in namespace NS (or this cluster does not know that kind). See kubectl zoho get -A, and kubectl zoho doctor".into(),
        ),
        (
            words("login new"),
            "there is no ZohoCredential new to take it from, so name the account's data center with --data-center".into(),
        ),
        (words("revoke one --yes"), "Secret nowhere does not exist: there is nothing to revoke".into()),
        (
            words("revoke other --yes"),
            "accounts.corp.example is not a known accounts host: allow it with --accounts-host-allowed accounts.corp.example".into(),
        ),
        (
            words("login other"),
            "accounts.corp.example is not a known accounts host: allow it with --accounts-host-allowed accounts.corp.example".into(),
        ),
        (words("get --as-group readers"), "--as-group goes with --as".into()),
        (
            words("renew one --as nobody"),
            "ZohoCredential one: refused: zohocredentials.zoho-operator.dev \"one\" is forbidden: User \"nobody\" cannot get resource \"zohocredentials\" in API group \"zoho-operator.dev\" in the namespace \"NS\"".into(),
        ),
        (with(&["--ca-file", "/nowhere"]), "read --ca-file /nowhere: No such file or directory (os error 2)".into()),
        (
            [with(&["--ca-file"]), vec![bad.clone()]].concat(),
            format!("--ca-file {bad} holds no certificate"),
        ),
        (
            with(&["--client-id", CLIENT_ID, "--client-secret-file", "/nowhere"]),
            "read the client secret from /nowhere: No such file or directory (os error 2)".into(),
        ),
    ];
    for (args, expected) in table {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ran = person.zoho(&args).await;
        assert_ne!(ran.code, Some(0), "{args:?}");
        let said = person.masked(&ran.stderr);
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(last, format!("kubectl zoho: {expected}"), "{args:?}");
    }
    let args = [&print[..], &["--accounts-url", "US=http://127.0.0.1:1"]].concat();
    let ran = person.zoho_with(&args, &[CLIENT_ID, CLIENT_SECRET, &person.code()]).await.failed();
    assert!(ran.stderr.contains("kubectl zoho: 127.0.0.1 cannot be reached. "), "{}", ran.stderr);
    assert!(
        ran.stderr.ends_with("The code was not sent: while it is valid, it can be used again.\n"),
        "{}",
        ran.stderr
    );
}
