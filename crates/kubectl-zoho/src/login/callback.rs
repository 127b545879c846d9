//! Waits on this machine for the browser to come back with the answer.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
    /// Listens on loopback only, on IPv4 and, where this machine has it, IPv6: browsers take `localhost` for either, and
    /// who else listened on one of them would get the code.
    ///
    /// # Errors
    ///
    /// The port is taken on one of them.
    pub(crate) async fn start(port: u16, path: &str, state: &str) -> anyhow::Result<Self> {
        let (sender, answers) = mpsc::channel(1);
        let expected = Arc::new(Expected { path: path.to_owned(), state: state.to_owned(), answers: sender });
        let router = Router::new().fallback(answer).with_state(expected);
        let stop = CancellationToken::new();
        let mut servers = JoinSet::new();
        for listener in listeners(port).await? {
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

async fn listeners(port: u16) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let address = SocketAddr::from((address, port));
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6: nobody can listen there.
            Err(error) if address.is_ipv6() && is_without_that_family(&error) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => anyhow::bail!(
                "port {port} is taken ({address}): another program would get the browser's answer. End that program; or add http://localhost:PORT/callback with a free port as a redirect URI of the client at Zoho, and name it with --redirect-uri"
            ),
            Err(error) => return Err(error).with_context(|| format!("listen on {address} for the browser")),
        }
    }
    Ok(listeners)
}

fn is_without_that_family(error: &std::io::Error) -> bool {
    const EAFNOSUPPORT: [i32; 2] = [97, 47]; // Linux, macOS
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error().is_some_and(|code| EAFNOSUPPORT.contains(&code))
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
        "<!doctype html><meta charset=utf-8><script>history.replaceState(null,'','/')</script><title>{title}</title><body style=\"font-family:sans-serif;margin:4em\"><h1>{title}</h1><p>{text}</p>"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONNECTION, "close"),
    ];
    (status, headers, html).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(address: &str) -> Option<std::net::TcpListener> {
        std::net::TcpListener::bind(address).ok()
    }

    async fn refusal(port: u16) -> String {
        let refused = Listener::start(port, "/callback", "s").await;
        refused.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn port_that_somebody_has_on_either_family_is_not_shared() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            // A machine without IPv6 has nobody there.
            let Some(other) = taken(address) else { continue };
            let port = other.local_addr().unwrap().port();
            let said = refusal(port).await;
            assert!(said.starts_with(&format!("port {port} is taken (")), "{address}: {said:?}");
            assert!(said.contains("--redirect-uri"), "{said}");
        }
    }

    #[tokio::test]
    async fn while_it_listens_nobody_else_can_on_loopback_of_either_family_and_it_does_on_no_other() {
        let port = taken("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listeners = listeners(port).await.unwrap();
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap().ip().is_loopback()));
        let families = if taken("[::1]:0").is_some() { 2 } else { 1 };
        assert_eq!(listeners.len(), families);
        for address in ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"] {
            assert!(taken(&format!("{address}:{port}")).is_none(), "{address}");
        }
    }
}
