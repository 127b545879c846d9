//! Kubernetes Events: published beside the passes, from lines of bounded length, so that they never hold one up. Each
//! namespace has a line of its own: those of one whose objects have much to tell delay no other's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::Notify;

use zoho_api::ZohoCredential;
use zoho_client::calls::call;
use zoho_core::lines::Lines;
use zoho_core::status::Announcement;
use zoho_core::text::causes;

/// Events that may wait, three quarters of them of one namespace; what comes on top is dropped, the status says it all the
/// same.
const WAITING: usize = 1366;

/// Events that are remembered, so that the same one is counted and not created again; then all of them are forgotten. Each
/// takes 2 KiB, and kube's recorder looks at all that it has for each new one.
const REMEMBERED: usize = 128;

/// kube's recorder counts Events of one reason about one object as one for six minutes, with the note of the first. An
/// answer to a person has a note of its own, with its own time: it is counted only where it says the same again.
struct Recorders {
    client: Client,
    reporter: Reporter,
    shared: Recorder,
    /// Events that were given to `shared`.
    given: usize,
    answers: HashMap<(Option<String>, String), (String, Recorder)>,
}

impl Recorders {
    fn new(client: Client, reporter: Reporter) -> Self {
        let shared = Recorder::new(client.clone(), reporter.clone());
        Self { client, reporter, shared, given: 0, answers: HashMap::new() }
    }

    fn of(&mut self, object: &ObjectReference, announcement: &Announcement) -> Recorder {
        let Announcement { reason, note, is_answer, .. } = announcement;
        if !is_answer {
            self.given += 1;
            if self.given > REMEMBERED {
                (self.shared, self.given) = (Recorder::new(self.client.clone(), self.reporter.clone()), 1);
            }
            return self.shared.clone();
        }
        if self.answers.len() >= REMEMBERED {
            self.answers.clear();
        }
        let key = (object.uid.clone(), reason.clone());
        if let Some((_, recorder)) = self.answers.get(&key).filter(|(said, _)| said == note) {
            return recorder.clone();
        }
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        self.answers.insert(key, (note.clone(), recorder.clone()));
        recorder
    }
}

/// Where Events go.
#[derive(Clone)]
pub(crate) struct Events {
    waiting: Arc<Mutex<Lines<(ObjectReference, Announcement)>>>,
    /// Something waits.
    comes: Arc<Notify>,
    /// What waits, and what is being published.
    left: Arc<AtomicUsize>,
}

impl Events {
    /// Starts publishing.
    ///
    /// # Permissions
    ///
    /// create and patch on `events.k8s.io` in the namespaces of the objects.
    pub(crate) fn start(client: Client, holder: &str) -> Self {
        let events =
            Self { waiting: Arc::new(Mutex::new(Lines::new(WAITING))), comes: Arc::default(), left: Arc::default() };
        let publisher = events.clone();
        let reporter = Reporter { controller: "zoho-operator".into(), instance: Some(holder.to_owned()) };
        let mut recorders = Recorders::new(client, reporter);
        tokio::spawn(async move {
            loop {
                let (object, announcement) = publisher.next().await;
                let recorder = recorders.of(&object, &announcement);
                let Announcement { warning, reason, note, .. } = announcement;
                let event = Event {
                    type_: if warning { EventType::Warning } else { EventType::Normal },
                    reason,
                    note: Some(note),
                    action: "Renew".into(),
                    secondary: None,
                };
                if let Err(error) = call(recorder.publish(&event, &object)).await {
                    tracing::debug!(error = causes(&error), "event not published");
                }
                publisher.left.fetch_sub(1, Ordering::Relaxed);
            }
        });
        events
    }

    fn lock(&self) -> MutexGuard<'_, Lines<(ObjectReference, Announcement)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next(&self) -> (ObjectReference, Announcement) {
        loop {
            let next = self.lock().pop();
            match next {
                Some(next) => return next,
                None => self.comes.notified().await,
            }
        }
    }

    /// Waits until all are published.
    pub(crate) async fn published(&self) {
        while self.left.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// So many more of a namespace may wait.
    pub(crate) fn room_for(&self, namespace: &str) -> usize {
        self.lock().room_for(namespace)
    }

    /// Publishes an Event on the object.
    pub(crate) fn publish(&self, credential: &ZohoCredential, announcement: Announcement) {
        let object = credential.object_ref(&());
        let namespace: Arc<str> = object.namespace.as_deref().unwrap_or_default().into();
        // Before the publisher can count it down again.
        self.left.fetch_add(1, Ordering::Relaxed);
        let has_room = self.lock().push(&namespace, (object, announcement)).is_ok();
        if has_room {
            self.comes.notify_one();
        } else {
            self.left.fetch_sub(1, Ordering::Relaxed);
            tracing::debug!(%namespace, "event dropped: too many of the namespace are waiting");
        }
    }
}
