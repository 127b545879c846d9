//! Lists a kind and then watches it, for ever. Every step has a deadline, so that no request that is accepted and never
//! answered goes unnoticed for longer than [`STREAM_WITHIN`].
//!
//! kube's own watcher is not used: it sets no deadline on requests, keeps to itself which version a list has – without
//! which nobody can say whether a list is older than what is known – and re-lists on 410 only where that comes as an
//! event.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{ListParams, ObjectList, WatchEvent, WatchParams};
use kube::core::{Resource, Status};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use zoho_api::names::{ObjectName, ObjectVersion};
use zoho_client::calls::ApiError;
use zoho_client::clock::Clock;
use zoho_core::mirror::{Disagreement, News, OldList, Version, judge, number};
use zoho_core::text::causes;

use crate::serve::Health;
use crate::serve::metrics::Metrics;
use crate::watch::source::Source;

/// A page of a list that is not there by then is given up. The API server itself ends a request after a minute.
pub(crate) const LIST_WITHIN: Duration = Duration::from_secs(60);
/// A watch that is not accepted by then is given up.
pub(crate) const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// The API server is asked to end a watch after this many seconds.
const WATCH_FOR: u32 = 110;
/// A watch that has not ended by then is half-open.
pub(crate) const STREAM_WITHIN: Duration = Duration::from_secs(120);
/// A stream that told something so recently is not half-open.
const RECENT: Duration = Duration::from_secs(15);
/// So many watches in a row may be silent: an API server sends a bookmark a minute.
const MOST_SILENCES: u32 = 2;
/// A watch that was open for this long was healthy.
const HEALTHY_AFTER: Duration = Duration::from_secs(2);
/// Shortest and longest pause before another try.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Objects of a page.
const PAGE: u32 = 500;

/// Who is told of them.
pub(crate) trait Sink<K>: Send + 'static {
    /// Is a list of this version older than what was told?
    fn is_past(&self, version: Version) -> bool;
    /// Takes in.
    fn take_in(&mut self, news: News<K>);
    /// Where such a list and what is known do not agree.
    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement>;
    /// Does a list of this version, which is not past, show by this object that the cluster's history went back?
    fn went_back(&self, object: &K, at: Version) -> bool;
    /// The cluster's history went back: the next list counts whatever its version.
    fn doubt(&mut self);
}

/// Tells every watch when one finds that the cluster's history went back: it did so for all kinds, also where a list came too
/// late to show it.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(watch::Sender<()>);

/// Who is told how a watch does.
pub(crate) struct Witness {
    /// `/livez` and `/readyz`.
    pub health: Health,
    /// Metrics.
    pub metrics: Metrics,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Resource in the plural.
    pub kind: &'static str,
    /// The namespace; `None` where it covers all.
    pub namespace: Option<String>,
    /// As `/readyz` says it.
    pub name: String,
}

impl Witness {
    fn told(&self) {
        self.metrics.watch_told(self.namespace.as_deref(), self.kind, self.clock.now());
        self.health.is_well(&self.name);
    }

    fn failed(&self, failure: &Failure) {
        self.metrics.watch_failed(self.namespace.as_deref(), self.kind);
        if failure.is_refusal() {
            self.health.is_refused(&self.name);
        } else {
            self.health.fails(&self.name);
        }
        let (kind, namespace) = (self.kind, self.namespace.as_deref());
        let error = causes(failure);
        if let Failure::WentBack = failure {
            tracing::error!(kind, namespace, error, "all objects are checked again");
        } else {
            tracing::warn!(kind, namespace, error, "watch failed; it is opened again");
        }
    }
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("list the objects")]
    List(#[source] kube::Error),
    #[error("the list was not answered within {} s", LIST_WITHIN.as_secs())]
    ListTimedOut,
    #[error("the list has no version")]
    NoVersion,
    #[error("the list is older than what is known: the API server is behind")]
    Behind,
    #[error("the cluster's history went back, as after etcd was restored from a backup")]
    WentBack,
    #[error("compare an old list with the objects")]
    Compare(#[source] ApiError),
    #[error("open the watch")]
    Open(#[source] kube::Error),
    #[error("the watch was not answered within {} s", OPEN_WITHIN.as_secs())]
    OpenTimedOut,
    #[error("the watch broke off")]
    Broken(#[source] kube::Error),
    #[error("the API server ended the watch: {} {}", .0.code, .0.reason)]
    Ended(Box<Status>),
    #[error("the watch ended as soon as it was opened")]
    EndedAtOnce,
    #[error("the watch fell silent")]
    Silent,
}

impl Failure {
    /// Must everything be listed anew? Yes where the version to go on from is of no use any more, and after the API server
    /// was not there: what it comes back with may be another history.
    fn needs_list(&self) -> bool {
        match self {
            Self::Open(kube::Error::Api(status)) | Self::Ended(status) => matches!(status.code, 410 | 504),
            Self::Open(_) | Self::OpenTimedOut | Self::WentBack => true,
            Self::List(_)
            | Self::ListTimedOut
            | Self::NoVersion
            | Self::Behind
            | Self::Compare(_)
            | Self::Broken(_)
            | Self::EndedAtOnce
            | Self::Silent => false,
        }
    }

    /// Did the API server say that this is not for us?
    fn is_refusal(&self) -> bool {
        matches!(self, Self::List(kube::Error::Api(status)) | Self::Open(kube::Error::Api(status)) if status.code == 403)
    }
}

/// The pause before the next try: 1, 2, 4 … 30 s, and from the start again after a time of health.
#[derive(Debug)]
struct Pause {
    next: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: PAUSES.0 }
    }
}

impl Pause {
    fn after_failure(&mut self, was_healthy: bool) -> Duration {
        let pause = if was_healthy { PAUSES.0 } else { self.next };
        self.next = (pause * 2).min(PAUSES.1);
        pause
    }
}

/// Lists and watches until the process ends.
pub(crate) struct Watch<K, S, I> {
    source: S,
    sink: I,
    witness: Witness,
    history: History,
    listed: watch::Sender<bool>,
    pause: Pause,
    /// Since the last failure.
    was_healthy: bool,
    /// Watches in a row that told nothing at all, since the last list.
    silences: u32,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K, S, I> Watch<K, S, I>
where
    K: Resource<DynamicType = ()> + Clone + Send + 'static,
    S: Source<K>,
    I: Sink<K>,
{
    /// Starts it; the receiver says whether everything has been listed once.
    pub(crate) fn spawn(source: S, sink: I, witness: Witness, history: &History) -> watch::Receiver<bool> {
        let (listed, receiver) = watch::channel(false);
        witness.metrics.watches(witness.namespace.as_deref(), witness.kind);
        let (pause, history) = (Pause::default(), history.clone());
        let mut watch = Self {
            source,
            sink,
            witness,
            history,
            listed,
            pause,
            was_healthy: false,
            silences: 0,
            kind: std::marker::PhantomData,
        };
        tokio::spawn(async move { watch.run().await });
        receiver
    }

    async fn run(&mut self) {
        let mut from: Option<String> = None;
        let mut history = self.history.0.subscribe();
        loop {
            self.witness.health.turns(&self.witness.name);
            let step = async {
                match &mut from {
                    None => from = Some(self.list().await?),
                    Some(version) => self.follow(version).await?,
                }
                Ok(())
            };
            let done = tokio::select! {
                biased;
                done = step => done,
                _ = history.changed() => {
                    self.sink.doubt();
                    Err(Failure::WentBack)
                }
            };
            let Err(failure) = done else { continue };
            self.witness.failed(&failure);
            self.silences += u32::from(matches!(failure, Failure::Silent));
            if failure.needs_list() || self.silences >= MOST_SILENCES {
                from = None;
            }
            if matches!(failure, Failure::WentBack) {
                history.mark_unchanged();
            } else {
                let pause = self.pause.after_failure(std::mem::take(&mut self.was_healthy));
                // Others may find out meanwhile; what they said is heard at the next step.
                let _ = timeout(pause, history.clone().changed()).await;
            }
        }
    }

    /// Lists everything; returns the version to watch from.
    async fn list(&mut self) -> Result<String, Failure> {
        let mut params = ListParams::default().limit(PAGE);
        let mut present = HashSet::new();
        // Where the list is older than what is known: what it has.
        let mut old: Option<HashMap<ObjectName, String>> = None;
        let mut at = None;
        loop {
            let page = self.page(&params).await?;
            let version_of_page = page.metadata.resource_version.filter(|version| !version.is_empty());
            let at: &String = if let Some(at) = &at {
                at
            } else {
                let first = version_of_page.ok_or(Failure::NoVersion)?;
                old = self.sink.is_past(number(&first)).then(HashMap::new);
                at.insert(first)
            };
            for object in page.items {
                let key = ObjectName::of(object.meta());
                if let Some(old) = &mut old {
                    old.insert(key, ObjectVersion::of(object.meta()).to_string());
                } else if self.sink.went_back(&object, number(at)) {
                    return Err(self.went_back());
                } else {
                    present.insert(key);
                    self.sink.take_in(News::Listed(object, number(at)));
                }
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                break;
            }
        }
        if let Some(old) = old {
            return Err(self.judge(&old).await);
        }
        let at = at.ok_or(Failure::NoVersion)?;
        self.sink.take_in(News::Only(present, number(&at)));
        self.witness.told();
        self.witness.health.has(&self.witness.name);
        self.listed.send_replace(true);
        self.silences = 0;
        Ok(at)
    }

    /// Objects that are listed. Each page is a step: a list of many takes as long as it takes.
    async fn page(&mut self, params: &ListParams) -> Result<ObjectList<K>, Failure> {
        self.witness.health.turns(&self.witness.name);
        match timeout(LIST_WITHIN, self.source.list(params)).await {
            Ok(page) => page.map_err(Failure::List),
            Err(_elapsed) => Err(Failure::ListTimedOut),
        }
    }

    /// A list that is older than what is known is from a server that is behind, unless the objects themselves say that
    /// history went back.
    async fn judge(&mut self, listed: &HashMap<ObjectName, String>) -> Failure {
        let mut answers = Vec::new();
        for disagreement in self.sink.disagreements(listed) {
            match self.source.seen(&disagreement.key).await {
                Ok(now) => answers.push((disagreement, now)),
                Err(error) => return Failure::Compare(error),
            }
        }
        match judge(answers.iter().map(|(disagreement, now)| (disagreement, now.clone()))) {
            OldList::Behind => Failure::Behind,
            OldList::WentBack => self.went_back(),
        }
    }

    fn went_back(&mut self) -> Failure {
        self.sink.doubt();
        self.history.0.send_replace(());
        Failure::WentBack
    }

    /// One watch from a version on, which moves with what is told, until the API server ends it.
    async fn follow(&mut self, from: &mut String) -> Result<(), Failure> {
        let params = WatchParams::default().timeout(WATCH_FOR);
        let opened = timeout(OPEN_WITHIN, self.source.watch(&params, from)).await;
        let mut events = opened.map_err(|_elapsed| Failure::OpenTimedOut)?.map_err(Failure::Open)?;
        let opened_at = Instant::now();
        let mut last: Option<Instant> = None;
        // One that breaks off as soon as it is opened brings no news, however often.
        let mut is_open = false;
        let end = loop {
            let until = opened_at + if is_open { STREAM_WITHIN } else { HEALTHY_AFTER };
            match timeout_at(until, events.next()).await {
                Err(_elapsed) if !is_open => {
                    self.witness.told();
                    is_open = true;
                }
                Ok(Some(Ok(event))) => {
                    self.take_in(event, from)?;
                    (self.was_healthy, self.silences) = (true, 0);
                    last = Some(Instant::now());
                }
                Ok(Some(Err(error))) => break Err(Failure::Broken(error)),
                Ok(None) => break Ok(()),
                Err(_elapsed) if last.is_some_and(|last| last.elapsed() < RECENT) => break Ok(()),
                Err(_elapsed) => break Err(Failure::Silent),
            }
        };
        drop(events);
        self.was_healthy |= opened_at.elapsed() >= HEALTHY_AFTER && !matches!(end, Err(Failure::Silent));
        end?;
        match last {
            Some(_) => Ok(()),
            None if opened_at.elapsed() < HEALTHY_AFTER => Err(Failure::EndedAtOnce),
            None => self.look_after_silence(from).await,
        }
    }

    fn take_in(&mut self, event: WatchEvent<K>, from: &mut String) -> Result<(), Failure> {
        let mut goes_on_from = |version: Option<&String>| {
            if let Some(version) = version.filter(|version| !version.is_empty()) {
                from.clone_from(version);
            }
        };
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                goes_on_from(object.meta().resource_version.as_ref());
                self.sink.take_in(News::Changed(object));
            }
            WatchEvent::Deleted(object) => {
                goes_on_from(object.meta().resource_version.as_ref());
                self.sink.take_in(News::Gone(object));
            }
            WatchEvent::Bookmark(bookmark) => {
                let at = bookmark.metadata.resource_version;
                goes_on_from(Some(&at));
                self.sink.take_in(News::Progress(number(&at)));
            }
            WatchEvent::Error(status) => return Err(Failure::Ended(Box::new(*status))),
        }
        self.witness.told();
        self.witness.health.turns(&self.witness.name);
        Ok(())
    }

    /// Not even a bookmark came for the whole time. A watch from a version that the cluster has not reached would be
    /// silent like that: one object of a list says which version it has reached. So would one that something on the way keeps
    /// from telling: what it does not tell is listed.
    async fn look_after_silence(&mut self, from: &mut String) -> Result<(), Failure> {
        self.silences += 1;
        let page = self.page(&ListParams::default().limit(1)).await?;
        let at = page.metadata.resource_version.as_deref().and_then(number);
        if self.sink.is_past(at) || self.silences >= MOST_SILENCES {
            *from = self.list().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
