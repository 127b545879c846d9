//! Health endpoints: `/livez` says whether the queue moves, `/readyz` whether the watches have listed, and what is missing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// The queue looks up at least every few seconds; silent for this long, it is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What the endpoints tell.
#[derive(Clone)]
pub struct Health {
    started: Instant,
    last_turn: Arc<AtomicU64>,
    ready: Arc<AtomicBool>,
}

impl Default for Health {
    fn default() -> Self {
        Self { started: Instant::now(), last_turn: Arc::default(), ready: Arc::default() }
    }
}

impl Health {
    /// The queue has looked up.
    pub fn turn(&self) {
        self.last_turn.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// All watches have listed.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    fn livez(&self) -> (StatusCode, String) {
        let silent = self.started.elapsed().as_secs().saturating_sub(self.last_turn.load(Ordering::Relaxed));
        if silent < STUCK_AFTER.as_secs() {
            (StatusCode::OK, "ok\n".into())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the queue has not moved for {silent} s\n"))
        }
    }

    fn readyz(&self) -> (StatusCode, String) {
        if self.ready.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok\n".into())
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "waiting for the watches to list credentials, Secrets and ledgers\n".into(),
            )
        }
    }
}

/// Serves the endpoints until the process ends. `address` is `host:port`, or `:port` for all addresses, IPv6 included
/// where there is IPv6.
///
/// # Errors
///
/// The address cannot be parsed or is taken.
pub async fn serve(address: &str, health: Health) -> anyhow::Result<()> {
    let listener = listen(address).await.with_context(|| format!("listen on --health-probe-bind-address {address}"))?;
    let (livez, healthz, readyz) = (health.clone(), health.clone(), health);
    let router = Router::new()
        .route("/livez", get(move || async move { livez.livez() }))
        .route("/healthz", get(move || async move { healthz.livez() }))
        .route("/readyz", get(move || async move { readyz.readyz() }));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(error = &error as &dyn std::error::Error, "health endpoints ended");
        }
    });
    Ok(())
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let Some(port) = address.strip_prefix(':') else {
        return Ok(TcpListener::bind(address).await?);
    };
    let port: u16 = port.parse().context("want :PORT or HOST:PORT")?;
    match TcpListener::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)).await {
        Ok(listener) => Ok(listener),
        Err(_no_ipv6) => Ok(TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).await?),
    }
}
