//! What passes remember of their objects, from one to the next.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zoho_api::names::{InputsDigest, LedgerName, ObjectName};
use zoho_core::memory::Memory;

/// See the module.
#[derive(Default)]
pub(crate) struct Memories(Mutex<State>);

#[derive(Default)]
struct State {
    /// Boxed: half of a map's places are empty.
    of: HashMap<ObjectName, Box<Memory>>,
    era: Era,
}

/// How often everything was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Era(u64);

impl Memories {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the passes before have remembered of an object.
    pub(super) fn recall(&self, key: &ObjectName) -> (Memory, Era) {
        let state = self.lock();
        (state.of.get(key).map(|memory| Memory::clone(memory)).unwrap_or_default(), state.era)
    }

    /// Remembers it for the next pass, unless everything was forgotten since the pass began in `era`: what it saw may be of
    /// another history.
    pub(super) fn remember(&self, key: &ObjectName, memory: Memory, era: Era) {
        let mut state = self.lock();
        if state.era == era {
            state.of.insert(key.clone(), Box::new(memory));
        }
    }

    /// There is no such object any more.
    pub(super) fn forget(&self, key: &ObjectName) {
        self.lock().of.remove(key);
    }

    /// Nothing that passes have seen counts any more.
    pub(crate) fn forget_all(&self) {
        let mut state = self.lock();
        state.of.clear();
        state.era.0 += 1;
    }

    /// The objects whose inputs, as the last pass saw them, have this ledger.
    pub(crate) fn users_of(&self, ledger: &LedgerName) -> Vec<ObjectName> {
        let state = self.lock();
        let is_its = |memory: &Memory| {
            memory.source.as_ref().and_then(|known| known.source.usable()).is_some_and(|(_, of)| of == ledger)
        };
        state.of.iter().filter(|(_, memory)| is_its(memory)).map(|(key, _)| key.clone()).collect()
    }

    /// Keyed hashes of all inputs that a pass has seen and may ask about again, and their ledgers.
    pub(crate) fn inputs_in_use(&self) -> (HashSet<InputsDigest>, HashSet<LedgerName>) {
        let state = self.lock();
        let usable = |memory: &Memory| memory.source.as_ref()?.source.usable().map(|(a, b)| (a.clone(), b.clone()));
        state.of.values().filter_map(|memory| usable(memory)).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_that_began_before_everything_was_forgotten_brings_nothing_back() {
        let (memories, key) = (Memories::default(), ObjectName::new("ns", "one"));
        let of = |uid: &str| Memory { uid: Some(uid.into()), ..Memory::default() };
        let (_, era) = memories.recall(&key);
        memories.remember(&key, of("first"), era);
        let (first, era) = memories.recall(&key);
        assert_eq!(first.uid.as_deref(), Some("first"));
        memories.forget_all();
        memories.remember(&key, of("late"), era);
        let (now, era) = memories.recall(&key);
        assert_eq!(now.uid, None);
        memories.remember(&key, of("new"), era);
        assert_eq!(memories.recall(&key).0.uid.as_deref(), Some("new"));
    }
}
