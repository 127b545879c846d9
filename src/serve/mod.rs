//! What is served over HTTP: `/livez` says whether the queue moves, `/readyz` what is waited for by name.

pub(crate) mod clients;
pub(crate) mod metrics;
pub(crate) mod series;
pub(crate) mod telemetry;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::lead::{Leadership, Standing};
use crate::serve::metrics::Metrics;

/// The queue looks up at least every few seconds; silent for this long, it is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// What is waited for until the watches are known by name.
const START: &str = "the start of the watches";

/// What the endpoints tell.
#[derive(Clone)]
pub(crate) struct Health {
    started: Instant,
    last_turn: Arc<AtomicU64>,
    /// What has not listed yet, by name.
    waits_for: Arc<Mutex<BTreeSet<String>>>,
    leadership: Leadership,
}

impl Health {
    /// Not ready until something was waited for and has come.
    pub(crate) fn new(leadership: Leadership) -> Self {
        let waits_for = Arc::new(Mutex::new(BTreeSet::from([START.to_owned()])));
        Self { started: Instant::now(), last_turn: Arc::default(), waits_for, leadership }
    }

    fn waits_for(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not ready before [`Self::has`] is told of all of these.
    pub(crate) fn wait_for(&self, names: impl IntoIterator<Item = String>) {
        let mut waits_for = self.waits_for();
        waits_for.remove(START);
        waits_for.extend(names);
    }

    /// It has come.
    pub(crate) fn has(&self, name: &str) {
        self.waits_for().remove(name);
    }

    /// The queue has looked up.
    pub(crate) fn turn(&self) {
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

/// Serves `/livez`, `/readyz` and `/healthz` until the process ends. `address` is `host:port`, or `:port` for all
/// addresses, IPv6 included where there is IPv6.
///
/// # Errors
///
/// The address cannot be parsed or is taken.
pub(crate) async fn serve_health(address: &str, health: Health) -> anyhow::Result<()> {
    let (livez, healthz, readyz) = (health.clone(), health.clone(), health);
    let router = Router::new()
        .route("/livez", get(async move || livez.livez()))
        .route("/healthz", get(async move || healthz.livez()))
        .route("/readyz", get(async move || readyz.readyz()));
    serve("health", "--health-probe-bind-address", address, router).await
}

/// Serves `/metrics` until the process ends; not at all where `address` is `0`.
///
/// # Errors
///
/// The address cannot be parsed or is taken.
pub(crate) async fn serve_metrics(address: &str, metrics: Metrics) -> anyhow::Result<()> {
    if address == "0" {
        return Ok(());
    }
    let scrape = async move |headers: HeaderMap| {
        let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let (text, form) = if accepts.contains("application/openmetrics-text") {
            (metrics.open_metrics(), "application/openmetrics-text; version=1.0.0; charset=utf-8")
        } else {
            (metrics.prometheus(), "text/plain; version=0.0.4; charset=utf-8")
        };
        let status = if text.is_ok() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        (status, [(header::CONTENT_TYPE, form)], text.unwrap_or_default())
    };
    serve("metrics", "--metrics-bind-address", address, Router::new().route("/metrics", get(scrape))).await
}

async fn serve(what: &'static str, flag: &str, address: &str, router: Router) -> anyhow::Result<()> {
    let listener = listen(address).await.with_context(|| format!("listen on {flag} {address}"))?;
    let address = listener.local_addr().context("ask for the own address")?;
    tracing::debug!(what, %address, "serving");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(what, error = &error as &dyn std::error::Error, "endpoints ended");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readyz_names_what_is_waited_for() {
        let health = Health::new(Leadership::alone());
        assert_eq!(health.readyz().1, "waiting for the start of the watches\n");
        health.wait_for(["the list of secrets", "the list of zohocredentials"].map(str::to_owned));
        health.has("the list of secrets");
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "waiting for the list of zohocredentials\n".to_owned());
        assert_eq!(health.readyz(), expected);
        health.has("the list of zohocredentials");
        assert_eq!(health.readyz(), (StatusCode::OK, "ok: leading\n".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn livez_fails_when_the_queue_is_stuck() {
        let health = Health::new(Leadership::alone());
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(health.livez().0, StatusCode::OK);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.livez(), (StatusCode::SERVICE_UNAVAILABLE, "the queue has not moved for 60 s\n".to_owned()));
        health.turn();
        assert_eq!(health.livez().0, StatusCode::OK);
    }
}
