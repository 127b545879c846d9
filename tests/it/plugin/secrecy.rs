//! No secret is said, or stands in arguments or environment, but where it was asked for. What was said is searched when
//! a [`Person`] goes; the rest here.

use std::fs;

use super::Person;
use crate::support::eventually;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, World};

#[tokio::test]
async fn secrets_stand_in_no_argument_and_no_environment() {
    let world = World::new("plugin-secrecy").await;
    let person = Person::of(&world);
    let code = person.code();
    // Without an operator it waits with everything in memory.
    let args = ["login", "patch", "--data-center", "US", "--product", "PatchManagerPlus", "--timeout", "60s"];
    let mut child = person.start(&args, &[CLIENT_ID, CLIENT_SECRET, &code]);
    // The last write; the source is stored before it.
    let stored = async || world.credentials().get_opt("patch").await.expect("an answer");
    eventually("the credential is stored", stored).await;
    let read = |name: &str| fs::read(format!("/proc/{}/{name}", child.id())).expect("readable");
    let places = [("arguments", read("cmdline")), ("environment", read("environ"))];
    child.kill().expect("it can be ended");
    person.end_of(child).await;
    let mut canaries = person.canaries();
    canaries.push(code);
    assert!(canaries.len() >= 12, "the test knows what to look for");
    for (place, bytes) in &places {
        let text = String::from_utf8_lossy(bytes);
        assert!(text.contains("zoho"), "{place}: {text}");
        for canary in &canaries {
            assert!(!text.contains(canary.as_str()), "a secret stands in the {place}: {text}");
        }
    }
    let credential = serde_json::to_string(&world.get("patch").await).expect("plain data");
    assert!(canaries.iter().all(|canary| !credential.contains(canary.as_str())), "{credential}");
}

#[tokio::test]
async fn reply_that_echoes_secrets_is_not_said() {
    use zoho_simulator::script::{Page, Reply, Script, Target};
    let world = World::new("plugin-echo").await;
    let person = Person::of(&world);
    for body in [
        r#"{"error":"$CLIENT_SECRET"}"#,
        r#"{"error":"invalid_code","error_description":"$CLIENT_SECRET"}"#,
        "<html>$CLIENT_SECRET</html>",
        r#"{"access_token":"$CLIENT_SECRET"}"#,
    ] {
        let code = person.code();
        world.zoho.script(Target::Token, Script::once(Reply::Status(Page::json(200, body))));
        let args = ["login", "patch", "--data-center", "US"];
        let ran = person.zoho_with(&args, &[CLIENT_ID, CLIENT_SECRET, &code]).await.failed();
        assert!(!ran.stderr.contains(CLIENT_SECRET) && !ran.stderr.contains(&code), "{}", ran.stderr);
    }
}
