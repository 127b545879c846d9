//! A semaphore whose places namespaces share: each has a waiting list of its own, and the lists take turns. Who gets the
//! next place is decided in [`zoho_core::shares`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use zoho_core::shares::Shares;

/// See the module.
#[derive(Clone)]
pub(super) struct Places(Arc<Mutex<State>>);

struct State {
    shares: Shares,
    waiting: BTreeMap<Arc<str>, VecDeque<oneshot::Sender<Place>>>,
}

/// One place; given back when dropped.
pub(super) struct Place {
    of: Places,
    namespace: Arc<str>,
}

impl Places {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(State { shares: Shares::new(places), waiting: BTreeMap::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place. Who stops waiting leaves the list.
    pub(super) async fn enter(&self, namespace: &Arc<str>) -> Place {
        let (sender, place) = oneshot::channel();
        self.lock().waiting.entry(namespace.clone()).or_default().push_back(sender);
        self.call_next();
        place.await.expect("a waiting list is kept as long as its places, which `self` holds")
    }

    /// Lets in whoever there is a place for.
    fn call_next(&self) {
        while let Some((waiting, place)) = self.next() {
            // Who has gone meanwhile gives the place back by dropping it: nothing is locked here.
            let _ = waiting.send(place);
        }
    }

    fn next(&self) -> Option<(oneshot::Sender<Place>, Place)> {
        let mut state = self.lock();
        let State { shares, waiting } = &mut *state;
        loop {
            let namespace = shares.next(waiting, |_| true)?;
            let line = waiting.get_mut(&namespace)?;
            let sender = line.pop_front().filter(|sender| !sender.is_closed());
            if line.is_empty() {
                waiting.remove(&namespace);
            }
            if let Some(sender) = sender {
                shares.take(&namespace);
                return Some((sender, Place { of: self.clone(), namespace }));
            }
        }
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.lock().shares.free()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.lock().shares.give_back(&self.namespace);
        self.of.call_next();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn is_let_in(places: &Places, namespace: &str) -> Option<Place> {
        timeout(Duration::from_secs(1), places.enter(&namespace.into())).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn newcomer_is_let_in_beside_a_namespace_that_wants_everything() {
        let places = Places::new(4);
        let mut held = Vec::new();
        while let Some(place) = is_let_in(&places, "hog").await {
            held.push(place);
        }
        assert_eq!(held.len(), 3);
        assert!(is_let_in(&places, "new").await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_lists_take_turns_and_each_is_served_in_order() {
        let places = Places::new(1);
        let first = places.enter(&"hog".into()).await;
        let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
        for name in ["hog-1", "hog-2", "hog-3", "new-1", "new-2"] {
            let (places, served) = (places.clone(), served.clone());
            let namespace: Arc<str> = name.split_once('-').unwrap().0.into();
            tokio::spawn(async move {
                let _place = places.enter(&namespace).await;
                served.send(name).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop((first, served));
        let mut names = Vec::new();
        while let Some(name) = order.recv().await {
            names.push(name);
        }
        assert_eq!(names, ["new-1", "hog-1", "new-2", "hog-2", "hog-3"]);
        assert_eq!(places.free(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn place_of_who_stopped_waiting_goes_to_the_next() {
        let places = Places::new(1);
        let first = places.enter(&"a".into()).await;
        for _ in 0..1000 {
            assert!(is_let_in(&places, "a").await.is_none());
        }
        // One is given the place and goes before it has taken it.
        let b = "b".into();
        let mut given = Box::pin(places.enter(&b));
        assert!(futures::poll!(given.as_mut()).is_pending());
        drop(first);
        assert_eq!(places.free(), 0);
        drop(given);
        assert_eq!(places.free(), 1);
        assert!(is_let_in(&places, "c").await.is_some());
        assert!(places.lock().waiting.is_empty(), "nobody is remembered");
    }
}
