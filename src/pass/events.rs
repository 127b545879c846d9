//! Kubernetes Events: published beside the passes, through a bounded channel, so that they never hold one up.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::mpsc;

use zoho_api::ZohoCredential;
use zoho_client::calls::call;
use zoho_core::status::Announcement;

/// Events that may wait; what comes on top is dropped, the status says it all the same.
const WAITING: usize = 1024;

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
        let recorder = Recorder::new(client, reporter);
        tokio::spawn(async move {
            while let Some((object, Announcement { warning, reason, note, .. })) = receiver.recv().await {
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
