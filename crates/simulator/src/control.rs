//! Control of the simulator over HTTP, below `/_sim`, for shell scripts and the demo. Bodies are JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::grants::Client;
use super::script::{Reply, Script, Target, Times};
use super::self_clients::Owner;
use super::shared::Shared;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/stats", get(stats))
        .route("/log", get(log))
        .route("/tokens/{token}", get(token))
        .route("/live", get(live))
        .route("/register", post(register))
        .route("/client", post(client))
        .route("/code", post(code))
        .route("/revoke", post(revoke))
        .route("/script", post(script))
        .route("/clear", post(clear))
        .route("/release", post(release))
        .route("/clock", post(clock))
        .route("/settings", post(settings))
}

/// All counts, or with `?refresh_token=` those of one.
async fn stats(State(shared): State<Arc<Shared>>, uri: Uri) -> Json<Value> {
    let refresh_token = query_value(&uri, "refresh_token");
    Json(shared.read(|zoho, now| match refresh_token {
        None => json!({
            "stats": zoho.journal().stats(),
            "violations": zoho.journal().violations(),
        }),
        Some(text) => json!({
            "counts": zoho.journal().counts(&text),
            "throttled": zoho.accounts().is_throttled(&text, now),
            "alive": zoho.accounts().live_tokens(&text, now).len(),
            "max_alive": zoho.accounts().max_alive_seen(&text),
        }),
    }))
}

/// The requests to the token endpoint in order, or with `?after=` those with a higher number.
async fn log(State(shared): State<Arc<Shared>>, uri: Uri) -> Json<Value> {
    let after = query_value(&uri, "after").and_then(|text| text.parse().ok());
    let after: u64 = after.unwrap_or_default();
    Json(shared.read(|zoho, _| {
        let records: Vec<_> = zoho.journal().records().filter(|record| record.number > after).collect();
        json!(records)
    }))
}

/// Whether an access token lives, and where it came from.
async fn token(State(shared): State<Arc<Shared>>, Path(token): Path<String>) -> Json<Value> {
    Json(shared.read(|zoho, now| {
        let accounts = zoho.accounts();
        json!({
            "alive": accounts.is_alive(&token, now),
            "state": accounts.token_state(&token, now),
            "token": accounts.access_token(&token),
        })
    }))
}

/// The living access tokens of `?refresh_token=`, oldest first.
async fn live(State(shared): State<Arc<Shared>>, uri: Uri) -> Json<Value> {
    let refresh_token = query_value(&uri, "refresh_token").unwrap_or_default();
    Json(shared.read(|zoho, now| {
        let tokens = zoho.accounts().live_tokens(&refresh_token, now);
        tokens.iter().map(|token| json!(&**token)).collect()
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    client_id: String,
    client_secret: String,
    refresh_token: String,
    token_life_seconds: Option<u64>,
}

async fn register(State(shared): State<Arc<Shared>>, Json(body): Json<Register>) -> StatusCode {
    shared.with(|zoho, _| {
        let accounts = zoho.accounts_mut();
        accounts.register(&body.client_id, &body.client_secret, &body.refresh_token);
        if let Some(seconds) = body.token_life_seconds {
            accounts.set_token_life_of(&body.refresh_token, Duration::from_secs(seconds));
        }
    });
    StatusCode::NO_CONTENT
}

/// A self client, which with `scopes` may ask for tokens in its own name, or with `redirect_uri` a server client.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewClient {
    client_id: String,
    client_secret: String,
    redirect_uri: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    organisations: Vec<String>,
}

async fn client(State(shared): State<Arc<Shared>>, Json(body): Json<NewClient>) -> StatusCode {
    shared.with(|zoho, _| {
        zoho.accounts_mut().register_client(&body.client_id, &body.client_secret);
        let server = body.redirect_uri.map(|uri| Client::Server { redirect_uris: vec![uri] });
        zoho.grants_mut().register(&body.client_id, server.unwrap_or(Client::SelfClient));
        if !body.scopes.is_empty() {
            let owner = Owner { scopes: body.scopes, organisations: body.organisations };
            zoho.self_clients_mut().register(&body.client_id, owner);
        }
    });
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCode {
    client_id: String,
    scope: String,
    #[serde(default = "ten_minutes")]
    life_seconds: u64,
}

/// A grant code of a self client, as the API console makes it.
async fn code(State(shared): State<Arc<Shared>>, Json(body): Json<NewCode>) -> Json<Value> {
    let life = Duration::from_secs(body.life_seconds);
    Json(json!({ "code": shared.with(|zoho, now| zoho.grants_mut().code(&body.client_id, &body.scope, life, now)) }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    refresh_token: String,
}

async fn revoke(State(shared): State<Arc<Shared>>, Json(body): Json<Revoke>) -> StatusCode {
    if shared.with(|zoho, now| zoho.accounts_mut().revoke(&body.refresh_token, now)) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

/// `times` is 1 when absent and "until cleared" when null.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptBody {
    #[serde(default = "every_token_request")]
    target: Target,
    reply: Reply,
    #[serde(default = "once")]
    times: Option<u32>,
    latency_ms: Option<u64>,
}

async fn script(State(shared): State<Arc<Shared>>, Json(body): Json<ScriptBody>) -> StatusCode {
    let script = Script {
        reply: body.reply,
        times: body.times.map_or(Times::UntilCleared, Times::Next),
        latency: body.latency_ms.map(Duration::from_millis),
    };
    shared.with(|zoho, _| zoho.script(body.target, script));
    StatusCode::NO_CONTENT
}

async fn clear(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.clear_scripts();
    StatusCode::NO_CONTENT
}

async fn release(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.release();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockBody {
    advance_seconds: i64,
}

async fn clock(State(shared): State<Arc<Shared>>, Json(body): Json<ClockBody>) -> StatusCode {
    shared.advance(SignedDuration::from_secs(body.advance_seconds));
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsBody {
    token_life_seconds: Option<u64>,
    latency_ms: Option<u64>,
}

async fn settings(State(shared): State<Arc<Shared>>, Json(body): Json<SettingsBody>) -> StatusCode {
    if let Some(seconds) = body.token_life_seconds {
        let life = Duration::from_secs(seconds);
        shared.with(|zoho, _| zoho.accounts_mut().set_token_life(life));
    }
    if let Some(milliseconds) = body.latency_ms {
        shared.set_latency(Duration::from_millis(milliseconds));
    }
    StatusCode::NO_CONTENT
}

fn ten_minutes() -> u64 {
    600
}

fn every_token_request() -> Target {
    Target::Token
}

#[expect(clippy::unnecessary_wraps, reason = "a serde default has the field's type")]
fn once() -> Option<u32> {
    Some(1)
}

fn query_value(uri: &Uri, name: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(uri.query()?).ok()?;
    pairs.into_iter().find_map(|(key, value)| (key == name).then_some(value))
}
