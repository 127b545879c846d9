//! `--secret-access get`: where no right to list and watch Secrets is wanted, the ones that credentials name are read
//! one by one, every minute, and told to the index as a watch would.
//!
//! Between two rounds a change goes unnoticed. What a pass needs and the index does not have, the pass reads itself; and
//! before a mint the source is read in any case.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use tokio::sync::mpsc;

use zoho_api::names::ObjectName;
use zoho_client::calls::{ApiError, call};

use crate::watch::index::Index;

/// From the end of one round to the beginning of the next.
pub(crate) const EVERY: Duration = Duration::from_secs(60);
/// Reads at once: a round over thousands must not crowd out what passes ask.
const AT_ONCE: usize = 8;

/// Reads Secrets' metadata into the index.
#[derive(Clone)]
pub(crate) struct Poll {
    /// Client of the reads.
    pub client: Client,
    /// What is told.
    pub index: Arc<Index>,
    /// Wakes the objects that a change concerns.
    pub wake: mpsc::UnboundedSender<ObjectName>,
}

impl Poll {
    /// Reads every Secret that a credential names, and forgets the others. Returns how many could not be read.
    ///
    /// # Permissions
    ///
    /// get on Secrets in the namespaces that are served.
    pub(crate) async fn round(&self) -> usize {
        let named = self.index.named_secrets();
        let failed = AtomicUsize::new(0);
        futures::stream::iter(&named)
            .for_each_concurrent(AT_ONCE, async |name| {
                if let Err(error) = self.read(name).await
                    && failed.fetch_add(1, Ordering::Relaxed) == 0
                {
                    // One stands for all: they mostly fail together.
                    tracing::warn!(secret = %name, error = &error as &dyn std::error::Error, "Secret not read; it is tried again");
                }
            })
            .await;
        self.index.retain_secrets(None, &self.index.named_secrets());
        failed.into_inner()
    }

    async fn read(&self, name: &ObjectName) -> Result<(), ApiError> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &name.namespace);
        let concerned = match call(secrets.get_metadata(&name.name)).await {
            Ok(secret) => self.index.apply_secret(&secret.metadata),
            Err(ApiError::NotFound) if self.index.secret(name).is_none() => Vec::new(),
            Err(ApiError::NotFound) => self.index.delete_secret(&ObjectMeta {
                namespace: Some(name.namespace.to_string()),
                name: Some(name.name.to_string()),
                ..ObjectMeta::default()
            }),
            Err(error) => return Err(error),
        };
        for key in concerned {
            // Without a receiver the process is shutting down.
            let _ = self.wake.send(key);
        }
        Ok(())
    }
}
