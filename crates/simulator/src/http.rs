//! Zoho's endpoints over HTTP: reads requests, waits where a script says so, writes replies. Decides nothing.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use tokio::time::sleep;

use super::consent;
use super::control;
use super::form::{RawRequest, TokenForm, read_device_begin, read_device_poll, read_newer_revocation, read_revocation};
use super::journal::Delivery;
use super::products::{self, Call};
use super::script::{Page, Reply};
use super::server::LoginVisit;
use super::shared::Shared;
use super::state::{Acted, Visit};
use super::wire::Line;

/// All routes: Zoho's, the products', and the simulator's own below `/_sim`.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let apis = products::PRODUCTS.iter().fold(Router::new(), |router, api| router.route(api.path, get(product)));
    apis.route("/oauth/v2/token", any(token))
        .route("/oauth/v2/token/revoke", any(revoke))
        .route("/oauth/v2/revoke/token", any(revoke_in_the_newer_form))
        .route("/oauth/v3/device/code", any(begin_device))
        .route("/oauth/v3/device/token", any(poll_device))
        .route("/api/1.4/desktop/authentication", any(log_in))
        .route("/api/1.3/desktop/authentication", any(log_in))
        .route("/api/1.4/desktop/authentication/otpValidate", any(one_time_password))
        .route("/api/1.3/desktop/authentication/otpValidate", any(one_time_password))
        .merge(consent::router())
        .nest("/_sim", control::router())
        .fallback(stray)
        .with_state(shared)
}

async fn token(State(shared): State<Arc<Shared>>, ConnectInfo(line): ConnectInfo<Line>, sent: Sent) -> Response {
    let form = TokenForm::read(&sent.raw());
    play(&shared, &line, Visit::Token(form)).await
}

async fn revoke(State(shared): State<Arc<Shared>>, ConnectInfo(line): ConnectInfo<Line>, sent: Sent) -> Response {
    let revocation = read_revocation(&sent.raw());
    play(&shared, &line, Visit::Revocation(revocation)).await
}

async fn revoke_in_the_newer_form(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    sent: Sent,
) -> Response {
    let revocation = read_newer_revocation(&sent.raw(), text(&sent.headers, &header::AUTHORIZATION));
    play(&shared, &line, Visit::Revocation(revocation)).await
}

async fn begin_device(State(shared): State<Arc<Shared>>, ConnectInfo(line): ConnectInfo<Line>, sent: Sent) -> Response {
    let form = read_device_begin(&sent.raw());
    play(&shared, &line, Visit::Device(form)).await
}

async fn poll_device(State(shared): State<Arc<Shared>>, ConnectInfo(line): ConnectInfo<Line>, sent: Sent) -> Response {
    let form = read_device_poll(&sent.raw());
    play(&shared, &line, Visit::Device(form)).await
}

async fn log_in(State(shared): State<Arc<Shared>>, ConnectInfo(line): ConnectInfo<Line>, sent: Sent) -> Response {
    let login = LoginVisit::read_password(&sent.raw());
    play(&shared, &line, Visit::Login(login)).await
}

async fn one_time_password(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    sent: Sent,
) -> Response {
    let login = LoginVisit::read_one_time_password(&sent.raw());
    play(&shared, &line, Visit::Login(login)).await
}

async fn product(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let authorization = text(&headers, &header::AUTHORIZATION).map(str::to_owned);
    play(&shared, &line, Visit::Product(Call { path: uri.path().to_owned(), authorization })).await
}

async fn stray(State(shared): State<Arc<Shared>>) -> Response {
    shared.with(|zoho, _| zoho.stray());
    respond(Page::html(404, "<html><body><h1>Not Found</h1></body></html>"))
}

/// A request as it came.
struct Sent {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = BytesRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, BytesRejection> {
        let (method, uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());
        Ok(Self { method, uri, headers, body: Bytes::from_request(request, state).await? })
    }
}

impl Sent {
    fn raw(&self) -> RawRequest<'_> {
        RawRequest {
            method: self.method.as_str(),
            content_type: text(&self.headers, &header::CONTENT_TYPE),
            query: self.uri.query(),
            body: &self.body,
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Notes the end of a visit, also when the client goes away and the server drops the handler.
struct Ending<'a> {
    shared: &'a Shared,
    number: Option<u64>,
    visit: Visit,
    delivery: Delivery,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.shared.with(|zoho, _| zoho.delivered(self.number, &self.visit, self.delivery));
    }
}

async fn play(shared: &Shared, line: &Line, visit: Visit) -> Response {
    // Before the arrival is noted: a test may release as soon as it sees the request.
    let mut released = shared.released.subscribe();
    let mut cleared = shared.cleared.subscribe();
    let general_latency = shared.latency();
    // Arrival and ordinary effect are one step, so that whoever sees the request sees its mint as well.
    let (begun, mut acted) = shared.with(|zoho, now| {
        let begun = zoho.begin(&visit, now);
        let acted = begun.reply.acts_on_arrival().then(|| zoho.act(begun.number, &visit, now));
        (begun, acted)
    });
    let mut ending = Ending { shared, number: begun.number, visit, delivery: Delivery::Abandoned };
    // Even without latency the timer would round up to a millisecond.
    let latency = begun.latency.unwrap_or(general_latency);
    if !latency.is_zero() {
        sleep(latency).await;
    }

    match &begun.reply {
        Reply::Swallow | Reply::MintThenSwallow => {
            // The sender outlives the server, so an error cannot come; if it did, the end is right too.
            let _ = cleared.changed().await;
            return cut(line, &mut ending);
        }
        Reply::Reset | Reply::MintThenReset => return cut(line, &mut ending),
        Reply::HoldThenMint | Reply::MintThenHold => {
            tokio::select! {
                _ = released.changed() => {}
                _ = cleared.changed() => {}
            }
        }
        Reply::Huge { size } => {
            ending.delivery = Delivery::Answered(200);
            return huge(*size);
        }
        Reply::Normal
        | Reply::Status(_)
        | Reply::MintThenStatus(_)
        | Reply::Body { .. }
        | Reply::MintThenBody { .. }
        | Reply::Throttle
        | Reply::LocalisedThrottle
        | Reply::Redirect { .. }
        | Reply::Drip { .. } => {}
    }
    if begun.reply == Reply::HoldThenMint {
        let late: Acted = shared.with(|zoho, now| zoho.act(begun.number, &ending.visit, now));
        acted = Some(late);
    }
    let page = shared.read(|zoho, _| zoho.page(&begun.reply, &ending.visit, acted));
    let Some(page) = page else {
        return cut(line, &mut ending);
    };
    ending.delivery = Delivery::Answered(page.code);
    if let Reply::Drip { every_ms } = begun.reply {
        return drip(page, Duration::from_millis(every_ms));
    }
    respond(page)
}

fn cut(line: &Line, ending: &mut Ending<'_>) -> Response {
    ending.delivery = Delivery::Cut;
    line.cut();
    // The server cannot write this any more; it only has to be something.
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

fn respond(page: Page) -> Response {
    let (mut response, body) = empty_response(page);
    *response.body_mut() = Body::from(body);
    response
}

/// Status and headers of a page. What HTTP does not allow in them is left out.
fn empty_response(page: Page) -> (Response, Vec<u8>) {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(page.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = ("content-type".to_owned(), page.content_type);
    for (name, value) in std::iter::once(content_type).chain(page.headers) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(value.as_bytes()))
        {
            response.headers_mut().append(name, value);
        }
    }
    if !page.gzip {
        return (response, page.body);
    }
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Into memory: it cannot fail, and if it did, nothing would be sent.
    let packed = encoder.write_all(&page.body).and_then(|()| encoder.finish()).unwrap_or_default();
    (response, packed)
}

fn drip(page: Page, every: Duration) -> Response {
    let (mut response, body) = empty_response(page);
    let bytes = stream::unfold(body.into_iter(), move |mut rest| async move {
        let byte = rest.next()?;
        sleep(every).await;
        Some((Ok::<_, Infallible>(Bytes::from(vec![byte])), rest))
    });
    *response.body_mut() = Body::from_stream(bytes);
    response
}

fn huge(size: u64) -> Response {
    const START: &[u8] = br#"{"access_token":""#;
    const CHUNK: usize = 64 * 1024;
    let filler = Bytes::from(vec![b'a'; CHUNK]);
    let chunks = stream::unfold((Bytes::from_static(START), size), move |(next, left)| {
        let filler = filler.clone();
        async move {
            if left == 0 {
                return None;
            }
            let length = usize::try_from(left).map_or(next.len(), |left| left.min(next.len()));
            let chunk = next.slice(..length);
            Some((Ok::<_, Infallible>(chunk), (filler, left - length as u64)))
        }
    });
    let (mut response, _) = empty_response(Page::json(200, ""));
    *response.body_mut() = Body::from_stream(chunks);
    response
}
