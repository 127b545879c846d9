//! The consent page and the list of data centers, over HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::shared::Shared;
use zoho_core::issuer::data_centers;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/oauth/v2/auth", get(ask))
        .route("/oauth/v2/auth/answer", post(answer))
        .route("/oauth/serverinfo", get(server_info))
}

async fn ask(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let query: HashMap<String, String> =
        serde_urlencoded::from_str(uri.query().unwrap_or_default()).unwrap_or_default();
    let asked = shared.with(|zoho, _| {
        let asked = zoho.grants_mut().ask(&query);
        asked.map(|(id, question)| (id, question, zoho.grants().answers_itself()))
    });
    match asked {
        Ok((id, question, answers_itself)) => {
            let script = match answers_itself {
                Some(accepts) => format!(
                    "<script>document.getElementById('{}').submit()</script>",
                    if accepts { "accept" } else { "reject" }
                ),
                None => String::new(),
            };
            let form = |name: &str| {
                format!(
                    r#"<form id="{name}" method="post" action="/oauth/v2/auth/answer"><input type="hidden" name="question" value="{id}"><input type="hidden" name="answer" value="{name}"><button>{name}</button></form>"#
                )
            };
            let page = format!(
                r"<!doctype html><title>Zoho Accounts</title><h1>{} wants to access your data</h1><p>{}</p>{}{}{script}",
                escape(&question.client_id),
                escape(&question.scope),
                form("accept"),
                form("reject"),
            );
            Html(page).into_response()
        }
        Err(error) => {
            let page = format!("<!doctype html><title>Zoho Accounts</title><h1>Error occurred</h1><p>{error}</p>");
            (StatusCode::BAD_REQUEST, Html(page)).into_response()
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let fields: HashMap<String, String> = serde_urlencoded::from_bytes(&body).unwrap_or_default();
    let value = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let here = format!("http://{host}");
    let accepts = value("answer") == "accept";
    match shared.with(|zoho, now| zoho.grants_mut().answer(value("question"), accepts, &here, now)) {
        Some(address) => (StatusCode::FOUND, [(header::LOCATION, address)]).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// As Zoho lists its data centers.
async fn server_info() -> Json<Value> {
    let locations: serde_json::Map<String, Value> = data_centers::TABLE
        .iter()
        .map(|row| (row.data_center.to_string().to_lowercase(), json!(format!("https://{}", row.accounts[0]))))
        .collect();
    Json(json!({ "result": "success", "locations": locations }))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
