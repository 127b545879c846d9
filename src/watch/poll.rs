//! `--secret-access get`: where no right to list and watch Secrets is wanted, the ones that credentials name are read
//! one by one, every minute, and told to the index as a watch would.
//!
//! Between two rounds a change goes unnoticed. What a pass needs and the index does not have, the pass reads itself; and
//! before a mint the source is read in any case.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use kube::Api;

use zoho_api::names::ObjectName;
use zoho_client::calls::{ApiError, call};
use zoho_client::told::SecretMeta;
use zoho_core::mirror::Scope;
use zoho_core::text::causes;

use crate::pass::Context;
use crate::serve::Health;

/// From the end of one round to the beginning of the next.
pub(crate) const EVERY: Duration = Duration::from_secs(60);
/// Reads at once: a round over thousands must not crowd out what passes ask.
const AT_ONCE: usize = 8;

/// What a round came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Secrets that were to be read.
    pub wanted: usize,
    /// Those of them that could not be read.
    pub failed: usize,
    /// Those of these that the operator may not read.
    pub refused: usize,
}

/// Reads Secrets' metadata into the index.
#[derive(Clone)]
pub(crate) struct Poll {
    /// Whose index is told.
    pub context: Arc<Context>,
    /// The namespace whose Secrets are read; `None`: all.
    pub scope: Scope,
    /// Is told of every step.
    pub health: Health,
    /// As what.
    pub name: String,
}

impl Poll {
    /// Reads every Secret that a credential names or owns, and forgets the others.
    ///
    /// # Permissions
    ///
    /// get on Secrets in the namespaces that are served.
    pub(crate) async fn round(&self) -> Round {
        let wanted = self.context.index.wanted_secrets(&self.scope);
        let (failed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        futures::stream::iter(&wanted)
            .for_each_concurrent(AT_ONCE, async |name| {
                let Err(error) = self.read(name).await else { return };
                if matches!(error, ApiError::Refused { .. }) {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                if failed.fetch_add(1, Ordering::Relaxed) == 0 {
                    // One stands for all: they mostly fail together.
                    tracing::warn!(secret = %name, error = causes(&error), "Secret not read; it is tried again");
                }
            })
            .await;
        self.context.index.forget_secrets(&self.scope);
        Round { wanted: wanted.len(), failed: failed.into_inner(), refused: refused.into_inner() }
    }

    async fn read(&self, name: &ObjectName) -> Result<(), ApiError> {
        let secrets = Api::<SecretMeta>::namespaced(self.context.client.clone(), &name.namespace);
        self.health.turns(&self.name);
        let asked = self.context.index.secret(name);
        let concerned = match call(secrets.get(&name.name)).await {
            Ok(secret) => self.context.index.apply_secret(&secret.metadata),
            Err(ApiError::NotFound) => self.context.index.secret_not_found(name, asked.as_ref()),
            Err(error) => return Err(error),
        };
        self.context.wake.all(concerned);
        Ok(())
    }
}
