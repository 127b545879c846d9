//! Reads of Secrets that passes share. A hundred credentials that name one source are woken by one change of it; each wants
//! to know what the Secret is now, and one answer is enough for all.
//!
//! An answer counts only for who asked before the read began: a mint rests on it. So a read is under way, and all who ask
//! meanwhile share the one after it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use zoho_api::names::ObjectName;

type Reading<T> = Shared<BoxFuture<'static, T>>;

struct Line<T: Clone> {
    under_way: Option<Reading<T>>,
    /// Has not begun.
    next: Option<Reading<T>>,
}

/// Reads that are under way, or next. See the module.
pub(crate) struct SharedReads<T: Clone>(Arc<Mutex<HashMap<ObjectName, Line<T>>>>);

impl<T: Clone> Default for SharedReads<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + Send + Sync + 'static> SharedReads<T> {
    /// What `read` comes to, or the one of somebody else that begins after this call. It is called when the read begins.
    ///
    /// May be dropped at any time: whoever shares the read drives it, and what nobody drives the next one finishes.
    pub(crate) async fn read<F>(&self, name: &ObjectName, read: impl FnOnce() -> F + Send + 'static) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let reading = {
            let mut lines = lock(&self.0);
            let line = lines.entry(name.clone()).or_insert_with(|| Line { under_way: None, next: None });
            let before = line.under_way.clone();
            line.next.get_or_insert_with(|| after(before, self.0.clone(), name.clone(), read)).clone()
        };
        reading.await
    }
}

fn lock<T: Clone>(lines: &Mutex<HashMap<ObjectName, Line<T>>>) -> MutexGuard<'_, HashMap<ObjectName, Line<T>>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The read that begins when the one before is over.
fn after<T, F>(
    before: Option<Reading<T>>,
    lines: Arc<Mutex<HashMap<ObjectName, Line<T>>>>,
    name: ObjectName,
    read: impl FnOnce() -> F + Send + 'static,
) -> Reading<T>
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let reading = async move {
        if let Some(before) = before {
            // One that panicked ends the passes that shared it, and no later one.
            let _ = AssertUnwindSafe(before).catch_unwind().await;
        }
        if let Some(line) = lock(&lines).get_mut(&name) {
            line.under_way = line.next.take();
        }
        let answer = read().await;
        let mut lines = lock(&lines);
        if let Some(line) = lines.get_mut(&name) {
            line.under_way = None;
            if line.next.is_none() {
                lines.remove(&name);
            }
        }
        answer
    };
    reading.boxed().shared()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::task::{JoinSet, yield_now};
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Reads take a second; the answer is the number of the read.
    #[derive(Clone, Default)]
    struct Server {
        begun: Arc<AtomicUsize>,
        at_once: Arc<AtomicUsize>,
        reads: Arc<SharedReads<usize>>,
    }

    impl Server {
        async fn ask(self, name: &'static str) -> usize {
            let (begun, at_once) = (self.begun.clone(), self.at_once.clone());
            let read = move || async move {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                sleep(Duration::from_secs(1)).await;
                at_once.fetch_sub(1, Ordering::SeqCst);
                number
            };
            self.reads.read(&ObjectName::new("ns", name), read).await
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_during_a_read_gets_the_next_one_and_all_of_them_the_same() {
        let server = Server::default();
        let first = tokio::spawn(server.clone().ask("a"));
        yield_now().await;
        assert_eq!(server.begun(), 1);
        let mut later: JoinSet<usize> = (0..300).map(|_| server.clone().ask("a")).collect();
        assert_eq!(first.await.unwrap(), 1);
        while let Some(answer) = later.join_next().await {
            assert_eq!(answer.unwrap(), 2, "an answer from before it was asked for is none");
        }
        assert_eq!(server.begun(), 2);
        assert!(lock(&server.reads.0).is_empty(), "nothing is kept");
        assert_eq!(server.ask("a").await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn read_that_nobody_waits_for_any_more_holds_up_nobody() {
        let server = Server::default();
        for _ in 0..3 {
            // Given up while it is under way, and before it began.
            assert!(timeout(Duration::from_millis(10), server.clone().ask("a")).await.is_err());
        }
        let answer = timeout(Duration::from_secs(3), server.clone().ask("a")).await.unwrap();
        assert_eq!(answer, server.begun(), "the last that began");
        assert!(lock(&server.reads.0).is_empty());
    }
    #[tokio::test(start_paused = true)]
    async fn read_that_panics_ends_those_who_share_it_and_nobody_after_them() {
        let server = Server::default();
        let (first, second) = (server.reads.clone(), server.reads.clone());
        let broken = || async {
            sleep(Duration::from_secs(1)).await;
            panic!("on purpose")
        };
        let name = ObjectName::new("ns", "a");
        let of = name.clone();
        let first = tokio::spawn(async move { first.read(&of, broken).await });
        yield_now().await;
        let second = tokio::spawn(async move { second.read(&name, broken).await });
        assert!(first.await.is_err() && second.await.is_err());
        assert_eq!(server.clone().ask("a").await, 1);
        assert!(lock(&server.reads.0).is_empty());
    }
}
