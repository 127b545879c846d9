//! What is served over HTTP: `/livez` says whether the queue moves, `/readyz` what is waited for by name.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::leader::{Leadership, Standing};

/// The queue looks up at least every few seconds; silent for this long, it is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// What is waited for until the watches are known by name.
const START: &str = "the start of the watches";

/// What the endpoints tell.
#[derive(Clone)]
pub struct Health {
    started: Instant,
    last_turn: Arc<AtomicU64>,
    /// What has not listed yet, by name.
    waits_for: Arc<Mutex<BTreeSet<String>>>,
    leadership: Leadership,
}

impl Health {
    /// Not ready until something was waited for and has come.
    pub fn new(leadership: Leadership) -> Self {
        let waits_for = Arc::new(Mutex::new(BTreeSet::from([START.to_owned()])));
        Self { started: Instant::now(), last_turn: Arc::default(), waits_for, leadership }
    }

    fn waits_for(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not ready before [`Self::has`] is told of all of these.
    pub fn wait_for(&self, names: impl IntoIterator<Item = String>) {
        let mut waits_for = self.waits_for();
        waits_for.remove(START);
        waits_for.extend(names);
    }

    /// It has come.
    pub fn has(&self, name: &str) {
        self.waits_for().remove(name);
    }

    /// The queue has looked up.
    pub fn turn(&self) {
        self.last_turn.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn livez(&self) -> (StatusCode, String) {
        let silent = self.started.elapsed().as_secs().saturating_sub(self.last_turn.load(Ordering::Relaxed));
        if silent < STUCK_AFTER.as_secs() {
            (StatusCode::OK, "ok\n".into())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the queue has not moved for {silent} s\n"))
        }
    }

    /// A standby is ready too: it could lead at once, and an upgrade must not wait for it to lead.
    fn readyz(&self) -> (StatusCode, String) {
        let waits_for = self.waits_for();
        if !waits_for.is_empty() {
            let names: Vec<&str> = waits_for.iter().map(String::as_str).collect();
            return (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", names.join(", ")));
        }
        let standing = match self.leadership.standing() {
            Standing::Leading => "ok: leading\n",
            Standing::Standby => "ok: standby, another replica leads\n",
            Standing::Lost { .. } => "ok: the lease is lost, ending\n",
        };
        (StatusCode::OK, standing.into())
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
