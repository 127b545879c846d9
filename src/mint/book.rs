//! What is known of all ledgers, and which namespace each was made for.

use std::collections::{HashMap, HashSet};

use zoho_api::names::LedgerName;
use zoho_core::plan::mirror::LedgerMirror;

/// What is kept of all of them.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// By name. Boxed: half of a map's places are empty.
    pub kept: HashMap<LedgerName, Box<Kept>>,
    /// Those that credentials of each namespace brought.
    of_namespace: HashMap<String, Brought>,
}

/// The ledgers of one namespace.
#[derive(Debug, Default)]
struct Brought {
    never_minted: HashSet<LedgerName>,
    minted: HashSet<LedgerName>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// That never minted, as far as is known.
    pub never_minted: usize,
    /// That did.
    pub minted: usize,
}

impl Book {
    /// A ledger was brought by a credential of this namespace.
    pub(super) fn is_of(&mut self, name: &LedgerName, namespace: &str, has_minted: bool) {
        let brought = self.of_namespace.entry(namespace.to_owned()).or_default();
        if has_minted {
            brought.never_minted.remove(name);
            brought.minted.insert(name.clone());
        } else {
            brought.never_minted.insert(name.clone());
        }
    }

    /// Ledgers that credentials of this namespace brought.
    pub(super) fn count_of(&self, namespace: &str) -> Counts {
        let count = |of: &Brought| Counts { never_minted: of.never_minted.len(), minted: of.minted.len() };
        self.of_namespace.get(namespace).map(count).unwrap_or_default()
    }

    /// A token was minted, which the stored record says only with its next write.
    pub(super) fn has_minted(&mut self, name: &LedgerName) {
        let kept = self.kept.entry(name.clone()).or_default();
        if !std::mem::replace(&mut kept.has_minted, true)
            && let Some(namespace) = kept.namespace.clone()
        {
            self.is_of(name, &namespace, true);
        }
    }

    /// The ledger is not stored any more.
    pub(super) fn gone(&mut self, name: &LedgerName) {
        if let Some(kept) = self.kept.get_mut(name) {
            kept.mirror.gone();
            if let Some(of) = kept.namespace.as_ref().and_then(|namespace| self.of_namespace.get_mut(namespace)) {
                of.never_minted.remove(name);
                of.minted.remove(name);
            }
        }
        self.of_namespace.retain(|_, of| !of.never_minted.is_empty() || !of.minted.is_empty());
    }
}

/// What is kept of one ledger.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub mirror: LedgerMirror,
    /// The installation that made it, as its label says.
    pub instance: Option<String>,
    /// Namespace of the credential that it was made for, as its label says.
    pub namespace: Option<String>,
    /// It is known to have minted.
    pub has_minted: bool,
    /// A read of ours brought news that no watch has told of yet: to those who use the ledger it is news still.
    pub is_read_ahead: bool,
}
