//! Many new credentials at once: how long each waits for its Secret.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use tokio::task::AbortHandle;

use super::stage::{NAMESPACE, Stage, until};
use super::subject::{Subject, target};

/// Objects that a person's tool creates at once.
const AT_ONCE: usize = 16;

/// Notes when each Secret came.
pub(crate) struct Arrivals {
    came: Arc<Mutex<HashMap<String, Instant>>>,
    watch: AbortHandle,
}

impl Arrivals {
    /// Looks from now on. One watch, of metadata: as little work for the API server as can be.
    pub(crate) fn watch(stage: &Stage) -> Self {
        let came = Arc::new(Mutex::new(HashMap::new()));
        let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(stage.client.clone(), NAMESPACE);
        let noted = came.clone();
        let watch = tokio::spawn(async move {
            let seen = watcher(api, watcher::Config::default().page_size(500)).default_backoff();
            seen.applied_objects()
                .for_each(|secret| {
                    if let Ok(secret) = secret {
                        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                        noted.entry(secret.name_any()).or_insert_with(Instant::now);
                    }
                    async {}
                })
                .await;
        });
        Self { came, watch: watch.abort_handle() }
    }

    /// Waits for the targets of `count` credentials, and says when each came.
    pub(crate) async fn all(&self, count: usize) -> Result<Vec<Instant>> {
        self.rest(0..count).await
    }

    /// The same, of some.
    pub(crate) async fn rest(&self, numbers: Range<usize>) -> Result<Vec<Instant>> {
        let names: Vec<String> = numbers.map(target).collect();
        until("every target", async || {
            let came = self.came.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(names.iter().map(|name| came.get(name).copied()).collect())
        })
        .await
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// How a burst went.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    /// Credentials.
    pub(crate) count: usize,
    /// From the first object to the last Secret.
    pub(crate) took: Duration,
    /// How long each waited, shortest first.
    waits: Vec<Duration>,
}

impl Burst {
    pub(crate) fn of(started: Instant, mut waits: Vec<Duration>, ended: Instant) -> Self {
        waits.sort_unstable();
        Self { count: waits.len(), took: ended - started, waits }
    }

    pub(crate) fn a_second(&self) -> f64 {
        as_f64(self.count) / self.took.as_secs_f64()
    }

    /// So many of a hundred waited no longer.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.waits.len().saturating_sub(1);
        self.waits.get(last * percent / 100).copied().unwrap_or_default()
    }
}

/// Creates the objects and waits for their Secrets.
pub(crate) async fn create(subject: &Subject, stage: &Stage, count: usize) -> Result<Burst> {
    let (api, arrivals) = (subject.api(stage).await?, Arrivals::watch(stage));
    let api = &api;
    let started = Instant::now();
    let mut created: Vec<(usize, Instant)> = stream::iter(0..count)
        .map(|number| async move {
            let began = Instant::now();
            subject.create(api, stage, number).await?;
            anyhow::Ok((number, began))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    created.sort_unstable();
    let came = arrivals.all(count).await?;
    let waits = created.iter().zip(&came).map(|((_, began), came)| came.saturating_duration_since(*began)).collect();
    Ok(Burst::of(started, waits, came.into_iter().max().unwrap_or(started)))
}

#[expect(clippy::cast_precision_loss, reason = "counts of some thousands")]
pub(crate) fn as_f64(count: usize) -> f64 {
    count as f64
}
