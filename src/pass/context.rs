//! What passes share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use zoho_api::names::{InputsDigest, LedgerName, ObjectName};
use zoho_client::clock::Clock;
use zoho_core::facts::Installation;
use zoho_core::memory::Memory;

use super::events::Events;
use super::gather::{Gatherer, ReadOutcome};
use super::later::News;
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
    /// What passes remember. Boxed: half of a map's places are empty.
    pub memories: Mutex<HashMap<ObjectName, Box<Memory>>>,
    /// Whose good news waits.
    pub news: News,
}

impl Context {
    /// Keyed hashes of all inputs that a pass has seen and may ask about again, and their ledgers.
    pub(crate) fn inputs_in_use(&self) -> (HashSet<InputsDigest>, HashSet<LedgerName>) {
        let memories = self.memories();
        let usable = |memory: &Memory| memory.source.as_ref()?.source.usable().map(|(a, b)| (a.clone(), b.clone()));
        memories.values().filter_map(|memory| usable(memory)).unzip()
    }

    fn memories(&self) -> MutexGuard<'_, HashMap<ObjectName, Box<Memory>>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the passes before have remembered of an object.
    pub(super) fn recall(&self, key: &ObjectName) -> Memory {
        self.memories().get(key).map(|memory| Memory::clone(memory)).unwrap_or_default()
    }

    /// Remembers it for the next pass.
    pub(super) fn remember(&self, key: &ObjectName, memory: Memory) {
        self.memories().insert(key.clone(), Box::new(memory));
    }

    /// Nothing that passes have seen counts any more.
    pub(crate) fn forget_all(&self) {
        self.memories().clear();
    }

    /// There is no such object any more.
    pub(super) fn forget(&self, key: &ObjectName) {
        self.memories().remove(key);
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
