//! Traces reach a collector, name what was done, and hold no secret.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::world::World;
use crate::support::{eventually, tell};

type Received = Arc<Mutex<Vec<u8>>>;

async fn take_in(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    received.lock().expect("not poisoned").extend_from_slice(&body);
}

fn holds(received: &Received, text: &str) -> bool {
    let bytes = received.lock().expect("not poisoned");
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_name_what_was_done_and_hold_no_secret() {
    let world = World::new("traces").await;
    let received = Received::default();
    let collector = Router::new().route("/v1/traces", post(take_in)).with_state(received.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async { axum::serve(listener, collector).await });
    let operator = world.operator_with(&["--otlp-endpoint", &endpoint]);
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let ledger = world.wait_ready("one").await.status.and_then(|status| status.ledger).expect("a ledger");
    let (code, _) = operator.terminate().await;
    assert_eq!(code, Some(0), "what is left is sent, and that holds nothing up");
    let key = format!("{}/one", world.namespace);
    for text in ["zoho-operator", "pass", "mint", "reserve", "token request", "write target", "write status"] {
        eventually(&format!("a span called {text}"), async || holds(&received, text).then_some(())).await;
    }
    for text in [key.as_str(), ledger.as_str(), "minted", "127.0.0.1"] {
        assert!(holds(&received, text), "{text} makes a mint attributable");
    }
    for canary in world.canaries() {
        assert!(!holds(&received, &canary), "a secret stands in a trace");
    }
    tell(&format!("traces of one credential: {} bytes", received.lock().expect("not poisoned").len()));
}

#[tokio::test]
async fn collector_that_is_not_there_holds_nothing_up() {
    let world = World::new("no_collector").await;
    let operator = world.operator_with(&["--otlp-endpoint", "http://127.0.0.1:1"]);
    world.serve_one().await;
    let (code, took) = operator.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took.as_secs() < 20, "stopped after {took:?}");
}
