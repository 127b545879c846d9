//! Tests over HTTP.

use serde_json::{Value, json};

use super::journal::{Delivery, Outcome};
use super::script::{Page, Reply};
use super::*;

const SOON: Duration = Duration::from_secs(20);

fn simulator() -> Simulator {
    let simulator = Simulator::start(SimulatorConfig::default());
    simulator.register("client", "secret", "refresh");
    simulator
}

fn client() -> reqwest::Client {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a client without special wishes")
}

fn refresh(simulator: &Simulator, refresh_token: &str) -> reqwest::RequestBuilder {
    client().post(format!("{}/oauth/v2/token", simulator.url())).form(&[
        ("grant_type", "refresh_token"),
        ("client_id", "client"),
        ("client_secret", "secret"),
        ("refresh_token", refresh_token),
    ])
}

async fn body(response: reqwest::Response) -> Value {
    let bytes = response.bytes().await.expect("body");
    serde_json::from_slice(&bytes).expect("JSON")
}

async fn mint(simulator: &Simulator) -> String {
    let response = refresh(simulator, "refresh").send().await.expect("reply");
    let body = body(response).await;
    body["access_token"].as_str().expect("token").to_owned()
}

async fn post(simulator: &Simulator, path: &str, body: Value) -> u16 {
    let response = client()
        .post(format!("{}/_sim/{path}", simulator.url()))
        .header("Content-Type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .expect("reply");
    response.status().as_u16()
}

async fn get(simulator: &Simulator, path: &str) -> Value {
    let url = format!("{}/_sim/{path}", simulator.url());
    body(client().get(url).send().await.expect("reply")).await
}

#[tokio::test]
async fn minted_token_is_taken_by_products_until_it_expires() {
    let simulator = simulator();
    let token = mint(&simulator).await;
    for path in ["/api/1.4/patch/summary", "/api/1.4/som/summary", "/api/v3/requests?input_data=%7B%7D"] {
        for (offset, status) in [(0, 200), (3600, 401)] {
            simulator.set_clock_offset(SignedDuration::from_secs(offset));
            let response = client()
                .get(format!("{}{path}", simulator.url()))
                .header("Authorization", format!("Zoho-oauthtoken {token}"))
                .send()
                .await
                .expect("reply");
            assert_eq!(response.status().as_u16(), status, "{path}");
        }
    }
    assert_eq!(simulator.token_state(&token), TokenState::Expired);
    assert!(simulator.violations().is_empty());
}

#[tokio::test]
async fn wrong_shape_of_request_meets_html_and_is_recorded() {
    let simulator = simulator();
    let url = format!("{}/oauth/v2/token", simulator.url());
    let good = || refresh(&simulator, "refresh");
    let requests = [
        client().get(&url),
        client().post(&url).header("Content-Type", "application/json").body("{}"),
        good().query_pairs("client_id", "client"),
    ];
    for request in requests {
        let response = request.send().await.expect("reply");
        assert_eq!(response.status().as_u16(), 400);
        assert_eq!(response.headers()["content-type"], "text/html;charset=UTF-8");
    }
    assert_eq!(simulator.violations().len(), 3);
    assert_eq!(simulator.stats().token.mints, 0);
}

/// reqwest's own `query` is behind a feature that the product does not need.
trait QueryPairs {
    fn query_pairs(self, name: &str, value: &str) -> Self;
}

impl QueryPairs for reqwest::RequestBuilder {
    fn query_pairs(self, name: &str, value: &str) -> Self {
        let (client, request) = self.build_split();
        let mut request = request.expect("a correct request");
        request.url_mut().query_pairs_mut().append_pair(name, value);
        Self::from_parts(client, request)
    }
}

#[tokio::test]
async fn cut_connections_are_errors_to_the_client_with_or_without_a_mint() {
    let simulator = simulator();
    for (reply, mints) in [(Reply::Reset, 0), (Reply::MintThenReset, 1)] {
        simulator.script(Target::Token, reply);
        refresh(&simulator, "refresh").send().await.expect_err("connection reset");
        assert_eq!(simulator.counts("refresh").mints, mints);
    }
    mint(&simulator).await;
    let deliveries: Vec<Delivery> = simulator.log().into_iter().map(|record| record.delivery).collect();
    assert_eq!(deliveries, [Delivery::Cut, Delivery::Cut, Delivery::Answered(200)]);
}

#[tokio::test]
async fn swallowed_request_ends_when_scripts_are_cleared() {
    let simulator = simulator();
    simulator.script(Target::Token, Script::until_cleared(Reply::MintThenSwallow));
    let request = tokio::spawn(refresh(&simulator, "refresh").send());
    simulator.wait_for_posts(1, SOON).await.expect("arrived");
    assert_eq!(simulator.live_tokens("refresh").len(), 1);
    assert!(!request.is_finished());
    simulator.clear_scripts();
    request.await.expect("joined").expect_err("never answered");
    mint(&simulator).await;
}

#[tokio::test]
async fn client_that_gives_up_is_recorded_as_gone() {
    let simulator = simulator();
    simulator.script(Target::Token, Reply::Swallow);
    let request = tokio::spawn(refresh(&simulator, "refresh").send());
    simulator.wait_for_posts(1, SOON).await.expect("arrived");
    request.abort();
    simulator
        .wait_until("the client to be gone", SOON, |zoho, _| zoho.journal().stats().token.abandoned == 1)
        .await
        .expect("noticed");
    assert_eq!(simulator.log()[0].delivery, Delivery::Abandoned);
    assert_eq!(simulator.stats().token.in_flight, 0);
}

#[tokio::test]
async fn held_request_goes_on_when_released() {
    for (reply, mints_while_held) in [(Reply::HoldThenMint, 0), (Reply::MintThenHold, 1)] {
        let simulator = simulator();
        simulator.script(Target::Token, reply);
        let request = tokio::spawn(refresh(&simulator, "refresh").send());
        simulator.wait_for_posts(1, SOON).await.expect("arrived");
        assert_eq!(simulator.counts("refresh").mints, mints_while_held);
        assert!(!request.is_finished());
        simulator.release();
        let response = request.await.expect("joined").expect("reply");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(simulator.counts("refresh").mints, 1);
    }
}

#[tokio::test]
async fn huge_reply_has_its_size_and_drip_its_bytes() {
    let simulator = simulator();
    simulator.script(Target::Token, Reply::Huge { size: 1_000_000 });
    simulator.script(Target::Token, Reply::Drip { every_ms: 1 });
    let huge = refresh(&simulator, "refresh").send().await.expect("reply");
    assert_eq!(huge.bytes().await.expect("body").len(), 1_000_000);
    let token = mint(&simulator).await;
    assert!(simulator.is_alive(&token));
}

#[tokio::test]
async fn scripted_headers_and_redirects_reach_the_client() {
    let simulator = simulator();
    let page = Page::json(429, "{}").with_header("Retry-After", "7");
    simulator.script(Target::Token, Reply::Status(page));
    simulator.script_for("refresh", Reply::Redirect { code: 307, location: "http://127.0.0.1:9/".to_owned() });
    let redirect = refresh(&simulator, "refresh").send().await.expect("reply");
    assert_eq!(redirect.status().as_u16(), 307);
    assert_eq!(redirect.headers()["location"], "http://127.0.0.1:9/");
    let limited = refresh(&simulator, "refresh").send().await.expect("reply");
    assert_eq!(limited.status().as_u16(), 429);
    assert_eq!(limited.headers()["retry-after"], "7");
}

#[tokio::test]
async fn many_clients_are_served_at_once() {
    let simulator = simulator();
    let credentials = simulator.register_many("load", 1000);
    simulator.script(Target::Token, Script::until_cleared(Reply::MintThenHold));
    let client = client();
    let requests: Vec<_> = credentials
        .iter()
        .take(64)
        .map(|credential| {
            let request = client.post(format!("{}/oauth/v2/token", simulator.url())).form(&[
                ("grant_type", "refresh_token"),
                ("client_id", &credential.client_id),
                ("client_secret", &credential.client_secret),
                ("refresh_token", &credential.refresh_token),
            ]);
            tokio::spawn(request.send())
        })
        .collect();
    simulator.wait_for_posts(64, SOON).await.expect("arrived");
    simulator.release();
    for request in requests {
        let response = request.await.expect("joined").expect("reply");
        assert_eq!(response.status().as_u16(), 200);
    }
    assert_eq!(simulator.stats().token.max_in_flight, 64);
    assert_eq!(simulator.stats().token.mints, 64);
    assert_eq!(simulator.counts(&credentials[0].refresh_token).max_in_flight, 1);
}

#[tokio::test]
async fn simulator_can_be_driven_over_http() {
    let simulator = Simulator::start(SimulatorConfig::default());
    let credential = json!({
        "client_id": "client", "client_secret": "secret", "refresh_token": "refresh",
        "token_life_seconds": 60,
    });
    assert_eq!(post(&simulator, "register", credential).await, 204);
    let script = json!({ "reply": { "kind": "status", "code": 503 }, "times": null });
    assert_eq!(post(&simulator, "script", script).await, 204);
    let down = refresh(&simulator, "refresh").send().await.expect("reply");
    assert_eq!(down.status().as_u16(), 503);
    assert_eq!(post(&simulator, "clear", json!({})).await, 204);

    let token = mint(&simulator).await;
    let state = get(&simulator, &format!("tokens/{token}")).await;
    assert_eq!(state["alive"], true);
    assert_eq!(state["token"]["refresh_token"], "refresh");
    assert_eq!(get(&simulator, "live?refresh_token=refresh").await, json!([token]));
    let log = get(&simulator, "log?after=1").await;
    assert_eq!(log[0]["outcome"], "minted");
    assert_eq!(log[0]["attempt"], 2);

    assert_eq!(post(&simulator, "clock", json!({ "advance_seconds": 60 })).await, 204);
    let state = get(&simulator, &format!("tokens/{token}")).await;
    assert_eq!(state["state"], "expired");
    let counts = get(&simulator, "stats").await;
    assert_eq!(counts["stats"]["token"]["posts"], 2);
    let revoke = json!({ "refresh_token": "refresh" });
    assert_eq!(post(&simulator, "revoke", revoke.clone()).await, 204);
    assert_eq!(post(&simulator, "revoke", revoke).await, 404);
    assert_eq!(post(&simulator, "script", json!({ "reply": {} })).await, 422);
}

#[tokio::test]
async fn stopped_simulator_ends_its_connections_and_others_go_on() {
    let stopped = simulator();
    let other = simulator();
    stopped.script(Target::Token, Reply::Swallow);
    let request = tokio::spawn(refresh(&stopped, "refresh").send());
    stopped.wait_for_posts(1, SOON).await.expect("arrived");
    drop(stopped);
    request.await.expect("joined").expect_err("cut off");
    mint(&other).await;
}

#[tokio::test]
async fn wait_that_is_in_vain_says_what_was_seen() {
    let simulator = simulator();
    mint(&simulator).await;
    let error = simulator.wait_for_posts(2, Duration::from_millis(10)).await.expect_err("only one came");
    assert!(error.to_string().contains("posts: 1"), "{error}");
    assert_eq!(simulator.log()[0].outcome, Outcome::Minted);
}
