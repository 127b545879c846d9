//! What is counted, and its text for Prometheus. Names and labels are a contract with dashboards and alerts.
//!
//! Labels come from closed lists; no text that a server sent can get into one. What can be told from the present state
//! (per credential, leadership) is not kept here but computed at each scrape, see `series.rs`.

mod process;

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use zoho_api::Time;

/// Upper bounds in seconds: of calls that take from milliseconds to their limit of 15 s.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

/// Which kind of issuer was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Issuer {
    /// An OAuth token service.
    OAuth,
    /// An on-premises server that is logged in to.
    Login,
}

impl Issuer {
    const ALL: [Self; 2] = [Self::OAuth, Self::Login];

    fn word(self) -> &'static str {
        match self {
            Self::OAuth => "oauth",
            Self::Login => "login",
        }
    }
}

/// What came of a reserved request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MintOutcome {
    /// A token.
    Minted,
    /// An error, and no token.
    NotMinted,
    /// Too many requests, says the server.
    Throttled,
    /// Nothing left this process.
    NotSent,
    /// No usable answer; there may be a token.
    Unknown,
}

impl MintOutcome {
    const ALL: [Self; 5] = [Self::Minted, Self::NotMinted, Self::Throttled, Self::NotSent, Self::Unknown];

    /// As it stands in labels and in the log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Minted => "minted",
            Self::NotMinted => "notMinted",
            Self::Throttled => "throttled",
            Self::NotSent => "notSent",
            Self::Unknown => "unknown",
        }
    }
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassOutcome {
    /// Nothing is left to do for now.
    Done,
    /// It is tried again.
    Failed,
    /// A defect of this program; it is tried again.
    Panicked,
}

impl PassOutcome {
    const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Panicked];

    fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MintLabels {
    issuer: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabel {
    issuer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabels {
    namespace: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    kind: &'static str,
    code: u16,
}

/// All counts of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    mints: Family<MintLabels, Counter>,
    mint_duration: Family<IssuerLabel, Histogram, fn() -> Histogram>,
    coalesced: Counter,
    reconciles: Family<OutcomeLabel, Counter>,
    reconcile_duration: Histogram,
    queue_depth: Gauge,
    watch_up: Family<WatchLabels, Gauge>,
    watch_last_event: Family<KindLabel, Gauge>,
    watch_errors: Family<KindLabel, Counter>,
    api_requests: Family<RequestLabels, Counter>,
    clock_offset: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            registry: Arc::default(),
            mints: Family::default(),
            mint_duration: Family::new_with_constructor(histogram),
            coalesced: Counter::default(),
            reconciles: Family::default(),
            reconcile_duration: histogram(),
            queue_depth: Gauge::default(),
            watch_up: Family::default(),
            watch_last_event: Family::default(),
            watch_errors: Family::default(),
            api_requests: Family::default(),
            clock_offset: Gauge::default(),
        };
        metrics.enter();
        metrics.begin_at_zero();
        metrics
    }
}

impl Metrics {
    fn enter(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(process::Process));
        let ours = registry.sub_registry_with_prefix("zoho_operator");
        ours.register("mints", "Token requests by outcome", self.mints.clone());
        ours.register("mint_duration_seconds", "Duration of a token request", self.mint_duration.clone());
        let help = "Requests for a token that were served by a request already in flight";
        ours.register("coalesced", help, self.coalesced.clone());
        ours.register("reconciles", "Reconciliations by outcome", self.reconciles.clone());
        ours.register("reconcile_duration_seconds", "Duration of a reconciliation", self.reconcile_duration.clone());
        ours.register("queue_depth", "Objects that are due for a reconciliation", self.queue_depth.clone());
        let help = "Whether the watch of a kind is open; namespace is empty if the watch covers all namespaces";
        ours.register("watch_up", help, self.watch_up.clone());
        let help = "When a watch of this kind last delivered an event";
        ours.register("watch_last_event_timestamp_seconds", help, self.watch_last_event.clone());
        ours.register("watch_errors", "Failures of watches of this kind", self.watch_errors.clone());
        let help = "Answers of the Kubernetes API; code 0 means that there was none";
        ours.register("api_requests", help, self.api_requests.clone());
        let help = "How far the operator's clock is ahead of the API server's";
        ours.register("clock_offset_seconds", help, self.clock_offset.clone());
    }

    /// Names this program and the installation that it is part of.
    pub(crate) fn introduce(&self, installation: String) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let version = env!("CARGO_PKG_VERSION").into();
        let labels = [("version".into(), version), ("installation".into(), installation.into())];
        let build = registry.sub_registry_with_prefix("zoho_operator").sub_registry_with_labels(labels.into_iter());
        build.register("build_info", "The version of this program", ConstGauge::new(1i64));
    }

    /// A counter that appears with its first count hides that count from rates.
    fn begin_at_zero(&self) {
        for issuer in Issuer::ALL.map(Issuer::word) {
            for outcome in MintOutcome::ALL.map(MintOutcome::word) {
                drop(self.mints.get_or_create(&MintLabels { issuer, outcome }));
            }
            drop(self.mint_duration.get_or_create(&IssuerLabel { issuer }));
        }
        for outcome in PassOutcome::ALL.map(PassOutcome::word) {
            drop(self.reconciles.get_or_create(&OutcomeLabel { outcome }));
        }
    }

    /// Adds what is computed at each scrape.
    pub(crate) fn add(&self, collector: impl Collector) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(collector));
    }

    /// A reserved request has ended; `took` is `None` where nothing was sent.
    pub(crate) fn minted(&self, issuer: Issuer, outcome: MintOutcome, took: Option<Duration>) {
        let issuer = issuer.word();
        self.mints.get_or_create(&MintLabels { issuer, outcome: outcome.word() }).inc();
        if let Some(took) = took {
            self.mint_duration.get_or_create(&IssuerLabel { issuer }).observe(took.as_secs_f64());
        }
    }

    /// An order was served by the flight of another.
    pub(crate) fn coalesced(&self) {
        self.coalesced.inc();
    }

    /// A pass has ended.
    pub(crate) fn reconciled(&self, outcome: PassOutcome, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabel { outcome: outcome.word() }).inc();
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    /// So many objects are due.
    pub(crate) fn queued(&self, depth: usize) {
        self.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// A watch is to be opened.
    pub(crate) fn watches(&self, namespace: Option<&str>, kind: &'static str) {
        drop(self.watch_up.get_or_create(&watch(namespace, kind)));
        drop(self.watch_last_event.get_or_create(&KindLabel { kind }));
        drop(self.watch_errors.get_or_create(&KindLabel { kind }));
    }

    /// A watch told something.
    pub(crate) fn watch_told(&self, namespace: Option<&str>, kind: &'static str, now: Time) {
        self.watch_up.get_or_create(&watch(namespace, kind)).set(1);
        self.watch_last_event.get_or_create(&KindLabel { kind }).set(now.unix());
    }

    /// A watch failed.
    pub(crate) fn watch_failed(&self, namespace: Option<&str>, kind: &'static str) {
        self.watch_up.get_or_create(&watch(namespace, kind)).set(0);
        self.watch_errors.get_or_create(&KindLabel { kind }).inc();
    }

    /// The Kubernetes API answered, or, with `None`, did not.
    pub(crate) fn api_answered(&self, verb: &'static str, kind: &'static str, code: Option<u16>) {
        self.api_requests.get_or_create(&RequestLabels { verb, kind, code: code.unwrap_or_default() }).inc();
    }

    /// The own clock is so many seconds ahead of the API server's.
    pub(crate) fn clock_is_ahead(&self, seconds: i64) {
        self.clock_offset.set(seconds);
    }

    /// The text for a scrape, in the form of `OpenMetrics`.
    ///
    /// # Errors
    ///
    /// A collector failed.
    pub(crate) fn open_metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }

    /// The text for a scrape, in Prometheus' own form, version 0.0.4: there a counter's name ends in `_total` also in
    /// the lines that describe it, and there are no units and no end mark.
    ///
    /// # Errors
    ///
    /// A collector failed.
    pub(crate) fn prometheus(&self) -> Result<String, fmt::Error> {
        Ok(to_prometheus(&self.open_metrics()?))
    }
}

fn watch(namespace: Option<&str>, kind: &'static str) -> WatchLabels {
    WatchLabels { namespace: namespace.unwrap_or_default().to_owned(), kind }
}

fn to_prometheus(open_metrics: &str) -> String {
    let counter = |line: &str| Some(line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned());
    let counters: std::collections::HashSet<String> = open_metrics.lines().filter_map(counter).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let described = line.strip_prefix("# HELP ").map(|rest| ("HELP", rest));
        let described = described.or_else(|| line.strip_prefix("# TYPE ").map(|rest| ("TYPE", rest)));
        let counter = described.and_then(|(word, rest)| {
            let (name, rest) = rest.split_once(' ')?;
            counters.contains(name).then_some((word, name, rest))
        });
        // Writing to a String cannot fail.
        let _ = match counter {
            Some((word, name, rest)) => writeln!(text, "# {word} {name}_total {rest}"),
            None => writeln!(text, "{line}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_their_whole_name_in_the_older_form() {
        let open = "# HELP a_b Help.\n# TYPE a_b counter\na_b_total{x=\"1\"} 3\n# HELP g G.\n# TYPE g gauge\n# UNIT g seconds\ng 1\n# EOF\n";
        let expected = "# HELP a_b_total Help.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 3\n# HELP g G.\n# TYPE g gauge\ng 1\n";
        assert_eq!(to_prometheus(open), expected);
    }

    #[test]
    fn what_is_counted_stands_in_the_text() {
        let metrics = Metrics::default();
        metrics.minted(Issuer::OAuth, MintOutcome::Minted, Some(Duration::from_millis(300)));
        metrics.minted(Issuer::Login, MintOutcome::NotSent, None);
        metrics.api_answered("get", "secrets", None);
        metrics.watch_told(None, "secrets", Time::from_unix(7));
        metrics.watch_failed(Some("a"), "secrets");
        let text = metrics.prometheus().unwrap();
        for line in [
            "zoho_operator_mints_total{issuer=\"oauth\",outcome=\"minted\"} 1",
            "zoho_operator_mints_total{issuer=\"oauth\",outcome=\"unknown\"} 0",
            "zoho_operator_mint_duration_seconds_bucket{le=\"0.5\",issuer=\"oauth\"} 1",
            "zoho_operator_mint_duration_seconds_count{issuer=\"login\"} 0",
            "zoho_operator_api_requests_total{verb=\"get\",kind=\"secrets\",code=\"0\"} 1",
            "zoho_operator_watch_up{namespace=\"\",kind=\"secrets\"} 1",
            "zoho_operator_watch_up{namespace=\"a\",kind=\"secrets\"} 0",
            "zoho_operator_watch_last_event_timestamp_seconds{kind=\"secrets\"} 7",
            "zoho_operator_watch_errors_total{kind=\"secrets\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(metrics.open_metrics().unwrap().ends_with("# EOF\n"));
    }
}
