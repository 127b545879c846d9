//! No secret byte leaves by another way than the target Secret: logs are read when a world ends, the rest here.

use std::fs;

use zoho_simulator::script::{Page, Reply, Script};

use crate::support::operator::Operator;
use crate::support::words::Words;
use crate::support::world::{REFRESH_TOKEN, World};

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

/// Looks for every secret of a world in all places but the logs, which are read when the world ends.
pub(crate) async fn secrets_stand_nowhere(world: &World, operator: &Operator, target: &str) {
    let process = format!("/proc/{}", operator.pid());
    let mut places = vec![("arguments", fs::read_to_string(format!("{process}/cmdline")).expect("readable"))];
    // The process keeps its memory to itself, and the environment is in it: mostly nobody may read it.
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
