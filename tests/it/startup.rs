//! The first words to whoever starts the program: one clear line, and the exit code that says whose turn it is.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::json;
use zoho_testkit::control_plane::{ControlPlane, Options};

fn start(kubeconfig: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zoho-operator"))
        .args(["--health-probe-bind-address", "127.0.0.1:0", "--metrics-bind-address", "0"])
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("ZOHO_OPERATOR_LOG_LEVEL", "error")
        .output()
        .expect("the operator starts")
}

fn last_words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn bad_flag_says_what_is_wanted() {
    for (arguments, expected) in [
        (["--accounts-url", "EU=http://gateway.example"], "only https, or http on loopback"),
        (["--accounts-url", "XX=https://gateway.example"], "is not a data center; known are US EU"),
        (["--max-live-tokens", "11"], "11 is not in 1..=10"),
        (["--labels", "team"], "want KEY=VALUE"),
        (["--log-level", "loud"], "invalid value 'loud'"),
    ] {
        let output = start("/nowhere", &arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(last_words(&output).contains(expected), "{arguments:?}: {}", last_words(&output));
    }
}

#[test]
fn missing_cluster_and_bad_files_are_one_line() {
    for (arguments, expected) in [
        (vec![], "zoho-operator: find a cluster: set KUBECONFIG, or run in a pod"),
        (vec!["--ca-file", "/nowhere/ca.pem"], "zoho-operator: read --ca-file /nowhere/ca.pem"),
        (vec!["--log-filter", "a=b=c"], "zoho-operator: parse log filter a=b=c"),
    ] {
        let output = start("/nowhere", &arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(last_words(&output).starts_with(expected), "{arguments:?}: {}", last_words(&output));
        assert_eq!(last_words(&output).trim_end().lines().count(), 1, "{}", last_words(&output));
    }
}

#[test]
fn cluster_that_does_not_answer_is_one_line_within_seconds() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "gone",
        "contexts": [{ "name": "gone", "context": { "cluster": "gone", "user": "me" } }],
        "clusters": [{ "name": "gone", "cluster": { "server": "http://127.0.0.1:1" } }],
        "users": [{ "name": "me", "user": {} }],
    });
    std::fs::write(file.path(), kubeconfig.to_string()).expect("written");
    let began = Instant::now();
    let output = start(&file.path().display().to_string(), &[]);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let said = last_words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("zoho-operator: no cluster answers (kubectl config current-context"), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}

#[tokio::test]
async fn missing_parts_of_the_cluster_are_named_with_the_command_that_brings_them() {
    let options = Options { controller_manager: false, ..Options::default() };
    let cluster = ControlPlane::start(options).await.expect("a control plane");
    let kubeconfig = cluster.kubeconfig_path().display().to_string();
    let run = |arguments: &'static [&'static str]| {
        let kubeconfig = kubeconfig.clone();
        async move { tokio::task::spawn_blocking(move || start(&kubeconfig, arguments)).await.expect("it ran") }
    };
    let output = run(&[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(last_words(&output).contains("kubectl apply --server-side -f crds/"), "{}", last_words(&output));

    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let applied = cluster.kubectl(&["apply", "--server-side", "-f", crds]).await.expect("kubectl runs");
    assert!(applied.status.success());
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).await.expect("kubectl runs");
    let output = run(&["--operator-namespace", "default", "--hash-key-secret", "restored"]).await;
    assert!(last_words(&output).contains("Secret default/restored, which --hash-key-secret names, does not exist"));
    let output = run(&["--operator-namespace", "nowhere"]).await;
    assert!(last_words(&output).contains("namespace nowhere does not exist"), "{}", last_words(&output));
}
