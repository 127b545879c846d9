//! Waits on this machine for the browser to come back with the answer.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::consent::{Callback, read_callback};

/// How long a person may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the browser may take to read the last page.
const FAREWELL: Duration = Duration::from_secs(2);

/// Listens for the one answer to a question.
pub(crate) struct Listener {
    answers: mpsc::Receiver<Callback>,
    stop: CancellationToken,
    servers: JoinSet<()>,
}

struct Expected {
    path: String,
    state: String,
    answers: mpsc::Sender<Callback>,
}

impl Listener {
    /// Listens on loopback, IPv4 and where there is one IPv6: browsers take `localhost` for either.
    ///
    /// # Errors
    ///
    /// The port is taken.
    pub(crate) async fn start(port: u16, path: &str, state: &str) -> anyhow::Result<Self> {
        let (sender, answers) = mpsc::channel(1);
        let expected = Arc::new(Expected { path: path.to_owned(), state: state.to_owned(), answers: sender });
        let router = Router::new().fallback(answer).with_state(expected);
        let stop = CancellationToken::new();
        let mut servers = JoinSet::new();
        let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(four).await;
        let listener = listener.with_context(|| {
            format!("listen on {four} for the browser; if another program uses that port, register another redirect URI and name it with --redirect-uri")
        })?;
        let six = TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await.ok();
        for listener in std::iter::once(listener).chain(six) {
            let (router, stop) = (router.clone(), stop.clone());
            servers.spawn(async move {
                // An accept that fails is tried again by axum itself.
                let _ = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
            });
        }
        Ok(Self { answers, stop, servers })
    }

    /// Waits for the answer, at most five minutes, and lets the browser read the last page.
    pub(crate) async fn answer(mut self) -> Option<Callback> {
        let answer = tokio::time::timeout(PATIENCE, self.answers.recv()).await.ok().flatten();
        self.stop.cancel();
        // A browser that keeps its connection open must not keep anybody waiting.
        let _ = tokio::time::timeout(FAREWELL, async { while self.servers.join_next().await.is_some() {} }).await;
        answer
    }
}

async fn answer(State(expected): State<Arc<Expected>>, uri: Uri) -> Response {
    if uri.path() != expected.path {
        return page(StatusCode::NOT_FOUND, "Nothing here", "This is the login of kubectl zoho.");
    }
    let callback = read_callback(uri.query().unwrap_or_default(), &expected.state);
    let response = match &callback {
        Callback::Code { .. } => {
            page(StatusCode::OK, "Zoho has answered", "You can close this tab and go back to the terminal.")
        }
        Callback::Refused { .. } => page(StatusCode::OK, "No consent", "Zoho gave no code. The terminal says more."),
        Callback::Stray => {
            return page(
                StatusCode::BAD_REQUEST,
                "Not expected",
                "This is not the answer to the login that waits here.",
            );
        }
    };
    // Only the first answer counts; for another one there is no room.
    let _ = expected.answers.try_send(callback);
    response
}

/// A page that leaves the code neither in the address bar nor with anybody else.
fn page(status: StatusCode, title: &str, text: &str) -> Response {
    let html = format!(
        "<!doctype html><meta charset=utf-8><title>{title}</title><script>history.replaceState(null,'','/')</script><body style=\"font-family:sans-serif;margin:4em\"><h1>{title}</h1><p>{text}</p>"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONNECTION, "close"),
    ];
    (status, headers, html).into_response()
}
