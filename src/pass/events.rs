//! Kubernetes Events: published beside the passes, through a bounded channel, so that they never hold one up.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::mpsc;

use zoho_api::ZohoCredential;
use zoho_client::calls::call;
use zoho_core::status::Announcement;

/// Events that may wait; what comes on top is dropped, the status says it all the same.
const WAITING: usize = 1024;

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
    sender: mpsc::Sender<(ObjectReference, Announcement)>,
}

impl Events {
    /// Starts publishing.
    ///
    /// # Permissions
    ///
    /// create and patch on `events.k8s.io` in the namespaces of the objects.
    pub(crate) fn start(client: Client, holder: &str) -> Self {
        let (sender, mut receiver) = mpsc::channel::<(ObjectReference, Announcement)>(WAITING);
        let reporter = Reporter { controller: "zoho-operator".into(), instance: Some(holder.to_owned()) };
        let mut recorders = Recorders::new(client, reporter);
        tokio::spawn(async move {
            while let Some((object, announcement)) = receiver.recv().await {
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
                    tracing::debug!(error = &error as &dyn std::error::Error, "event not published");
                }
            }
        });
        Self { sender }
    }

    /// So many more may wait.
    pub(crate) fn room(&self) -> usize {
        self.sender.capacity()
    }

    /// Publishes an Event on the object.
    pub(crate) fn publish(&self, credential: &ZohoCredential, announcement: Announcement) {
        if self.sender.try_send((credential.object_ref(&()), announcement)).is_err() {
            tracing::debug!("event dropped: too many are waiting");
        }
    }
}
