//! What passes share.

use std::sync::Arc;

use kube::Client;
use zoho_api::names::ObjectName;
use zoho_client::clock::Clock;
use zoho_core::facts::Installation;

use super::events::Events;
use super::gather::{Gatherer, ReadOutcome};
use super::later::News;
use super::memories::Memories;
use super::probes::Probes;
use super::reads::SharedReads;
use crate::flags::{Flags, SecretAccess};
use crate::mint::Mints;
use crate::serve::metrics::Metrics;
use crate::wake::Wake;
use crate::watch::index::Index;

/// See the module.
pub(crate) struct Context {
    /// Client of all calls.
    pub client: Client,
    /// Reads that passes share.
    pub reads: SharedReads<ReadOutcome>,
    /// What the watches told.
    pub index: Arc<Index>,
    /// Tokens and ledgers.
    pub mints: Mints,
    /// Answers of products.
    pub probes: Probes,
    /// What is counted.
    pub metrics: Metrics,
    /// Flags.
    pub flags: Flags,
    /// Policy and hash key.
    pub installation: Installation,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where Events go.
    pub events: Events,
    /// Makes passes due.
    pub wake: Wake,
    /// What passes remember.
    pub memories: Memories,
    /// Whose good news waits.
    pub news: News,
}

impl Context {
    /// There is no such object any more.
    pub(super) fn forget(&self, key: &ObjectName) {
        self.memories.forget(key);
        self.probes.forget(key);
        self.news.forget(key);
    }

    pub(super) fn gatherer(&self) -> Gatherer<'_> {
        Gatherer {
            client: &self.client,
            reads: &self.reads,
            index: &self.index,
            wake: &self.wake,
            mints: &self.mints,
            probes: &self.probes,
            index_is_complete: self.flags.secret_access == SecretAccess::Watch,
            installation: &self.installation,
        }
    }
}
