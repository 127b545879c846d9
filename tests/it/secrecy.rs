//! No secret byte leaves by another way than the target Secret: logs are read when a world ends, the rest here.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use tokio::process::{Child, Command};
use zoho_simulator::script::{Page, Reply, Script};

use crate::support::operator::Operator;
use crate::support::words::Words;
use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{eventually, untested};

#[tokio::test]
async fn secrets_stand_in_no_status_event_ledger_annotation_argument_or_environment() {
    let world = World::new("secrecy").await;
    let operator = world.operator();
    world.serve_one().await;
    // A server that sends back what it was sent, in every place it can.
    let echo = r#"{"error":"$REFRESH_TOKEN","error_description":"client $CLIENT_ID $CLIENT_SECRET","status":"odd"}"#;
    let page = Page::json(400, echo).with_header("x-echo", "$CLIENT_SECRET");
    world.zoho.script_for(REFRESH_TOKEN, Script::once(Reply::Status(page)));
    world.zoho.script_for(REFRESH_TOKEN, Script::once(Reply::html(200, "<html>$REFRESH_TOKEN $CLIENT_SECRET</html>")));
    world.advance(2200);
    world.wait_for_reason("one", "UpstreamError").await;
    world.advance(11);
    world.wait_for_reason("one", "UpstreamReplyInvalid").await;
    world.advance(61);
    world.wait_ready("one").await;
    secrets_stand_nowhere(&world, &operator, "one-token").await;
}

/// The kernel gives what it says of a process to the process's own user and group; of one that keeps its memory to itself it
/// gives it to root. Where the test runs as root the group is what can be told apart.
#[tokio::test]
async fn memory_of_the_operator_is_closed_to_other_processes_of_its_user() {
    const GROUP: u32 = 12_345;
    let Ok(own) = fs::metadata("/proc/self/environ") else {
        return untested("whether the operator's memory is closed", "there is no /proc/PID/environ");
    };
    let start = |command: &mut Command| {
        if own.uid() == 0 {
            command.gid(GROUP);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().expect("it starts")
    };
    let owner = |child: &Child| {
        let process = child.id().expect("it runs");
        let metadata = fs::metadata(format!("/proc/{process}/environ")).expect("the kernel tells whose it is");
        (metadata.uid(), metadata.gid())
    };
    let world = World::new("closed_memory").await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoho-operator"));
    command.args(["--operator-namespace", &world.operator_namespace, "--watch-namespaces", &world.namespace]);
    command.args(["--health-probe-bind-address", "127.0.0.1:0", "--metrics-bind-address", "127.0.0.1:0"]);
    command.env("KUBECONFIG", world.cluster.operator_kubeconfig_path());
    let (operator, other) = (start(&mut command), start(Command::new("sleep").arg("600")));
    eventually("the memory is root's", async || (owner(&operator) == (0, 0)).then_some(())).await;
    assert_ne!(owner(&other), (0, 0), "what closes nothing can be told apart");
}

/// Looks for every secret of a world in all places but the logs, which are read when the world ends.
pub(crate) async fn secrets_stand_nowhere(world: &World, operator: &Operator, target: &str) {
    let process = format!("/proc/{}", operator.pid());
    let mut places = vec![("arguments", fs::read_to_string(format!("{process}/cmdline")).expect("readable"))];
    // The process keeps its memory to itself, and the environment is in it: only root may read it.
    match fs::read_to_string(format!("{process}/environ")) {
        Ok(environment) => places.push(("environment", environment)),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
    for (namespace, kinds) in
        [(&world.namespace, "zohocredentials,events"), (&world.operator_namespace, "zohomintledgers,events")]
    {
        let output = world
            .cluster
            .kubectl(&["get", kinds, "-n", namespace, "-o", "yaml", "--show-managed-fields"])
            .await
            .expect("kubectl");
        places.push((kinds, String::from_utf8(output.stdout).expect("text")));
    }
    let metadata = world.secret(target).await.expect("the target").metadata;
    places.push(("metadata of the target", serde_json::to_string(&metadata).expect("plain data")));
    let canaries = world.canaries();
    assert!(canaries.len() >= 20, "the test knows what to look for");
    let canaries = Words::new(canaries);
    for (place, text) in &places {
        assert!(!text.is_empty(), "{place}");
        assert_eq!(canaries.find(text), None, "a secret stands in {place}");
    }
}
