//! What is served over HTTP: `/livez` says whether queue and watches move, `/readyz` by name what is waited for or tells
//! nothing any more.

mod authenticate;
mod certificate;
pub(crate) mod clients;
mod listen;
pub(crate) mod metrics;
mod scrapes;
pub(crate) mod series;
pub(crate) mod telemetry;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use kube::Client;
use tokio::net::TcpListener;
use tokio::time::Instant;
use zoho_core::mirror::Scope;

use crate::flags::Flags;
use crate::lead::{Leadership, Standing};
use crate::serve::authenticate::Guard;
use crate::serve::certificate::Certificate;
use crate::serve::metrics::Metrics;
use crate::serve::scrapes::{Form, Scrapes};

/// The queue looks up at least every few seconds; silent for this long, it is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// What is waited for until the watches are known by name.
const START: &str = "the start of the watches";

/// A watch makes a step, also one in vain or one of the pages of a list, at least every two minutes; without one for this
/// long its task is stuck.
const WATCH_STUCK_AFTER: Duration = Duration::from_secs(180);
/// A watch that fails may have been well so recently before `/readyz` says so: most are open again in a second.
const MAY_FAIL_FOR: Duration = Duration::from_secs(30);

/// How one of the watches does.
#[derive(Clone, Debug)]
struct Watched {
    /// It has listed everything once.
    has_listed: bool,
    /// Its last step.
    turned_at: Instant,
    /// When it last told something.
    well_at: Instant,
    state: State,
    /// What is served with it; `None`: nothing goes on without it. One namespace that is served is enough.
    serves: Option<Scope>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    Fails,
    /// The API server says that this is not for us.
    Refused,
    /// It says so of each Secret that was asked for by name. The credentials that name them say which.
    EachRefused,
}

/// What the endpoints tell.
#[derive(Clone)]
pub(crate) struct Health {
    started: Instant,
    last_turn: Arc<AtomicU64>,
    /// The watches, by name.
    watches: Arc<Mutex<BTreeMap<String, Watched>>>,
    /// Not known before it has stood for election.
    leadership: Arc<OnceLock<Leadership>>,
}

impl Health {
    /// Not ready until something was waited for and has come.
    pub(crate) fn new() -> Self {
        let (last_turn, watches, leadership) = (Arc::default(), Arc::default(), Arc::default());
        Self { started: Instant::now(), last_turn, watches, leadership }
    }

    /// This says who leads.
    pub(crate) fn leads_by(&self, leadership: Leadership) {
        let _ = self.leadership.set(leadership);
    }

    fn watches(&self) -> MutexGuard<'_, BTreeMap<String, Watched>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not ready before [`Self::has`] is told of it. Where it is for some scope only (`serves`), it may be refused as long as
    /// another scope is served.
    pub(crate) fn wait_for(&self, name: String, serves: Option<Scope>) {
        let now = Instant::now();
        let new = Watched { has_listed: false, turned_at: now, well_at: now, state: State::Well, serves };
        self.watches().insert(name, new);
    }

    fn of(&self, name: &str, say: impl FnOnce(&mut Watched, Instant)) {
        if let Some(watched) = self.watches().get_mut(name) {
            say(watched, Instant::now());
        }
    }

    /// It has come.
    pub(crate) fn has(&self, name: &str) {
        self.of(name, |watched, now| {
            watched.has_listed = true;
            (watched.state, watched.well_at) = (State::Well, now);
        });
    }

    /// The watch told something.
    pub(crate) fn is_well(&self, name: &str) {
        self.of(name, |watched, now| (watched.state, watched.well_at) = (State::Well, now));
    }

    /// The watch failed; it is tried again.
    pub(crate) fn fails(&self, name: &str) {
        self.of(name, |watched, _| watched.state = State::Fails);
    }

    /// The API server says that the watch is not for us; it is tried again.
    pub(crate) fn is_refused(&self, name: &str) {
        self.of(name, |watched, _| watched.state = State::Refused);
    }

    /// The API server says of each that was read by name that it is not for us.
    pub(crate) fn each_is_refused(&self, name: &str) {
        self.of(name, |watched, now| (watched.state, watched.well_at) = (State::EachRefused, now));
    }

    /// What waits for another one is refused with it.
    pub(crate) fn waits_with(&self, name: &str, other: &str) {
        let is_refused = self.watches().get(other).is_some_and(|watched| watched.state == State::Refused);
        if is_refused { self.is_refused(name) } else { self.is_well(name) }
    }

    /// The watch's task makes a step.
    pub(crate) fn turns(&self, name: &str) {
        self.of(name, |watched, now| watched.turned_at = now);
    }

    /// The queue has looked up.
    pub(crate) fn turn(&self) {
        self.last_turn.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    pub(crate) fn livez(&self) -> (StatusCode, String) {
        let silent = self.started.elapsed().as_secs().saturating_sub(self.last_turn.load(Ordering::Relaxed));
        if silent >= STUCK_AFTER.as_secs() {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("the queue has not moved for {silent} s\n"));
        }
        let watches = self.watches();
        let stuck = watches.iter().find(|(_, watched)| watched.turned_at.elapsed() >= WATCH_STUCK_AFTER);
        stuck.map_or_else(
            || (StatusCode::OK, "ok\n".into()),
            |(name, watched)| {
                let silent = watched.turned_at.elapsed().as_secs();
                (StatusCode::SERVICE_UNAVAILABLE, format!("{name} has not moved for {silent} s\n"))
            },
        )
    }

    /// What keeps this process from being ready; `Ok`: nothing does, and what is refused, by name.
    fn readiness(&self) -> Result<Vec<String>, String> {
        let watches = self.watches();
        let named = |is: &dyn Fn(&Watched) -> bool| {
            watches.iter().filter(|(_, watched)| is(watched)).map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        if watches.is_empty() {
            return Err(format!("waiting for {START}\n"));
        }
        let fails = |watched: &Watched| watched.state != State::Well && watched.well_at.elapsed() > MAY_FAIL_FOR;
        // One refusal says no more than one failure: most are over in a second.
        let is_read = |watched: &Watched| watched.has_listed && !(watched.state == State::Refused && fails(watched));
        let scopes: BTreeSet<&Scope> = watches.values().filter_map(|watched| watched.serves.as_ref()).collect();
        let is_served = |scope: &&Scope| watches.values().filter(|of| of.serves.as_ref() == Some(*scope)).all(is_read);
        let is_any_served = scopes.iter().any(is_served);
        let is_excused = |watched: &Watched| match watched.state {
            State::Refused => watched.serves.is_some() && is_any_served,
            State::EachRefused => true,
            State::Well | State::Fails => false,
        };
        let waits_for = named(&|watched| !watched.has_listed && !is_excused(watched));
        if !waits_for.is_empty() {
            return Err(format!("waiting for {}\n", waits_for.join(", ")));
        }
        let failing = named(&|watched| fails(watched) && !is_excused(watched));
        if !failing.is_empty() {
            return Err(format!("no news: {}\n", failing.join(", ")));
        }
        Ok(named(&is_excused))
    }

    /// What `/readyz` says.
    #[cfg(test)]
    pub(crate) fn ready_text(&self) -> String {
        self.readyz().1
    }

    /// A standby is ready too: it could lead at once, and an upgrade must not wait for it to lead. So is one that may not
    /// read some of its namespaces: it serves the others.
    fn readyz(&self) -> (StatusCode, String) {
        let refused = match self.readiness() {
            Ok(refused) => refused,
            Err(why) => return (StatusCode::SERVICE_UNAVAILABLE, why),
        };
        let Some(leadership) = self.leadership.get() else {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {START}\n"));
        };
        let standing = match leadership.standing() {
            Standing::Leading => "ok: leading",
            Standing::Standby if leadership.in_vain_for() > MAY_FAIL_FOR => {
                let why = "standby, and the lease cannot be read or written: this replica cannot lead\n";
                return (StatusCode::SERVICE_UNAVAILABLE, why.into());
            }
            Standing::Standby => "ok: standby, another replica leads",
            Standing::Lost { .. } => "ok: the lease is lost, ending",
        };
        let refused = if refused.is_empty() { String::new() } else { format!("; refused: {}", refused.join(", ")) };
        (StatusCode::OK, format!("{standing}{refused}\n"))
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
    serve("health", "--health-probe-bind-address", address, router, None).await
}

/// Serves `/metrics` until the process ends; not at all where its address is `0`.
///
/// # Errors
///
/// The address cannot be parsed or is taken; the certificate cannot be used.
///
/// # Permissions
///
/// With `--metrics-authentication`, those of [`Guard`].
pub(crate) async fn serve_metrics(flags: &Flags, metrics: Metrics, client: Client) -> anyhow::Result<()> {
    let address = flags.metrics_bind_address.as_str();
    if address == "0" {
        return Ok(());
    }
    let certificate = flags.metrics_certificate.as_deref().map(Certificate::load).transpose()?;
    let guard = flags.metrics_authentication.then(|| Guard::new(client)).transpose()?.map(Arc::new);
    if guard.is_some() && certificate.is_none() {
        tracing::warn!(
            "--metrics-authentication without --metrics-certificate: bearer tokens come over plain HTTP, and who can listen in on the cluster's network can use them"
        );
    }
    let scrapes = Scrapes::new(metrics);
    let scrape = async move |headers: HeaderMap| {
        if let Some(guard) = &guard
            && let Some(refusal) = guard.refusal(&headers).await
        {
            return refusal;
        }
        let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let (text, form) = if accepts.contains("application/openmetrics-text") {
            (scrapes.text(Form::OpenMetrics), "application/openmetrics-text; version=1.0.0; charset=utf-8")
        } else {
            (scrapes.text(Form::Prometheus), "text/plain; version=0.0.4; charset=utf-8")
        };
        let status = if text.is_ok() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        (status, [(header::CONTENT_TYPE, form)], text.unwrap_or_default()).into_response()
    };
    let router = Router::new().route("/metrics", get(scrape));
    serve("metrics", "--metrics-bind-address", address, router, certificate).await
}

async fn serve(
    what: &'static str,
    flag: &str,
    address: &str,
    router: Router,
    certificate: Option<Certificate>,
) -> anyhow::Result<()> {
    let listener = bind(address).await.with_context(|| format!("listen on {flag} {address}"))?;
    let address = listener.local_addr().context("ask for the own address")?;
    tracing::debug!(what, %address, "serving");
    tokio::spawn(listen::serve(listener, router, certificate));
    Ok(())
}

async fn bind(address: &str) -> anyhow::Result<TcpListener> {
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

    const SECRETS: &str = "the list of secrets";
    const CREDENTIALS: &str = "the list of zohocredentials";
    const LEDGERS: &str = "the list of zohomintledgers in namespace own";

    fn waiting() -> Health {
        let health = Health::new();
        health.leads_by(Leadership::alone());
        assert_eq!(health.readyz().1, "waiting for the start of the watches\n");
        health.wait_for(LEDGERS.to_owned(), None);
        for name in [SECRETS, CREDENTIALS] {
            health.wait_for(name.to_owned(), Some(None));
        }
        health
    }

    fn ready() -> Health {
        let health = waiting();
        for name in [SECRETS, CREDENTIALS, LEDGERS] {
            health.has(name);
        }
        assert_eq!(health.readyz(), (StatusCode::OK, "ok: leading\n".to_owned()));
        health
    }

    #[tokio::test]
    async fn readyz_names_what_is_waited_for() {
        let health = waiting();
        health.has(SECRETS);
        let expected = format!("waiting for {CREDENTIALS}, {LEDGERS}\n");
        assert_eq!(health.readyz(), (StatusCode::SERVICE_UNAVAILABLE, expected));
    }

    #[tokio::test(start_paused = true)]
    async fn readyz_names_the_watch_that_tells_nothing_any_more_and_forgives_a_moment() {
        let health = ready();
        health.fails(SECRETS);
        assert_eq!(health.readyz().0, StatusCode::OK, "it told something just now");
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(health.readyz(), (StatusCode::SERVICE_UNAVAILABLE, format!("no news: {SECRETS}\n")));
        health.is_well(SECRETS);
        assert_eq!(health.readyz().0, StatusCode::OK);
        // Silence was found after minutes: it has lasted for long enough already.
        tokio::time::advance(Duration::from_secs(120)).await;
        assert_eq!(health.readyz().0, StatusCode::OK, "a quiet watch is no failing one");
        health.fails(SECRETS);
        assert_eq!(health.readyz().0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn namespace_that_is_refused_does_not_keep_the_others_from_being_served() {
        let health = waiting();
        health.wait_for("the list of secrets in namespace b".to_owned(), Some(Some("b".into())));
        health.is_refused("the list of secrets in namespace b");
        for name in [SECRETS, CREDENTIALS] {
            health.has(name);
        }
        assert_eq!(health.readyz().1, format!("waiting for {LEDGERS}\n"), "nothing goes without the ledgers");
        health.has(LEDGERS);
        let expected = "ok: leading; refused: the list of secrets in namespace b\n".to_owned();
        assert_eq!(health.readyz(), (StatusCode::OK, expected));

        let health = waiting();
        health.has(LEDGERS);
        for name in [SECRETS, CREDENTIALS] {
            health.is_refused(name);
        }
        assert_eq!(health.readyz().0, StatusCode::SERVICE_UNAVAILABLE, "where all are refused, nothing is served");
    }

    #[tokio::test(start_paused = true)]
    async fn one_refusal_of_what_is_served_is_forgiven_for_a_moment_where_another_namespace_is_refused_for_good() {
        let health = ready();
        let other = "the list of secrets in namespace b";
        health.wait_for(other.to_owned(), Some(Some("b".into())));
        health.is_refused(other);
        health.is_refused(SECRETS);
        assert_eq!(health.readyz().0, StatusCode::OK);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(health.readyz().1, format!("waiting for {other}\n"), "nothing is served any more");
    }

    #[tokio::test(start_paused = true)]
    async fn scope_that_is_refused_in_part_is_not_served_and_excuses_nothing() {
        let health = waiting();
        for name in [LEDGERS, CREDENTIALS] {
            health.has(name);
        }
        health.is_refused(SECRETS);
        let expected = (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {SECRETS}\n"));
        assert_eq!(health.readyz(), expected, "credentials without Secrets are of no use");

        let health = ready();
        tokio::time::advance(Duration::from_secs(31)).await;
        for name in [SECRETS, CREDENTIALS] {
            health.is_refused(name);
        }
        let expected = (StatusCode::SERVICE_UNAVAILABLE, format!("no news: {SECRETS}, {CREDENTIALS}\n"));
        assert_eq!(health.readyz(), expected, "what was read once is not read any more");
    }

    #[tokio::test(start_paused = true)]
    async fn secrets_that_may_not_be_read_by_name_are_the_matter_of_their_credentials() {
        let health = ready();
        health.each_is_refused(SECRETS);
        tokio::time::advance(Duration::from_secs(3600)).await;
        let expected = (StatusCode::OK, format!("ok: leading; refused: {SECRETS}\n"));
        assert_eq!(health.readyz(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn livez_fails_when_the_queue_or_a_watch_is_stuck() {
        let health = ready();
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(health.livez().0, StatusCode::OK);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.livez(), (StatusCode::SERVICE_UNAVAILABLE, "the queue has not moved for 60 s\n".to_owned()));
        health.turn();
        assert_eq!(health.livez().0, StatusCode::OK);
        tokio::time::advance(Duration::from_secs(120)).await;
        health.turn();
        for name in [CREDENTIALS, LEDGERS] {
            health.turns(name);
        }
        assert_eq!(health.livez().1, format!("{SECRETS} has not moved for 180 s\n"));
        health.turns(SECRETS);
        assert_eq!(health.livez().0, StatusCode::OK);
    }
}
