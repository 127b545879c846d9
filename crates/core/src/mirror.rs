//! What is known of the objects of one kind, put together of what watches told and of answers to own calls. Pure.
//!
//! All of these are about some moment, and they arrive in any order: the answer to a write after the news of the
//! object's deletion, a list from a server that is behind after a newer answer. So each is taken in only for what it
//! can know. Versions of one resource are numbers that only grow, across objects too (KEP-5504), and a watch tells
//! changes in that order. Hence one number for each watch – up to where it has told – says of every object that is not
//! known whether an answer about it is news or the past; no list of deleted objects is needed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

pub use zoho_api::names::version_number as number;
use zoho_api::names::{ObjectName, ObjectVersion};

/// A version as a number; `None` where it is none.
pub type Version = Option<u128>;

/// What a watch covers: a namespace, or all.
pub type Scope = Option<Arc<str>>;

/// One state of one object.
pub trait Versioned {
    /// uid of the object.
    fn uid(&self) -> &str;
    /// Its resource version.
    fn resource_version(&self) -> &str;
}

impl Versioned for ObjectVersion {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}

/// What a watch tells of the objects that it covers.
#[derive(Debug)]
pub enum News<T> {
    /// A list of this version, which is not past, has this object.
    Listed(T, Version),
    /// A list of this version, which is not past, had these objects and no others.
    Only(HashSet<ObjectName>, Version),
    /// The object is there, like this.
    Changed(T),
    /// The object is gone; its version is that of the deletion.
    Gone(T),
    /// Nothing else has changed up to this version.
    Progress(Version),
}

impl<T> News<T> {
    /// The same of something else.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> News<U> {
        match self {
            Self::Listed(object, at) => News::Listed(change(object), at),
            Self::Only(present, at) => News::Only(present, at),
            Self::Changed(object) => News::Changed(change(object)),
            Self::Gone(object) => News::Gone(change(object)),
            Self::Progress(version) => News::Progress(version),
        }
    }
}

/// What became of a piece of news.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// It says nothing new, or is about the past.
    No,
    /// It was taken in, in place of this.
    InPlaceOf(Option<T>),
}

/// See the module.
#[derive(Debug)]
pub struct Mirror<T> {
    known: HashMap<ObjectName, T>,
    /// Up to where each watch has told.
    told: BTreeMap<Scope, u128>,
    /// Scopes whose history went back: nothing that is known there is newer than the next list.
    doubted: HashSet<Scope>,
}

impl<T> Default for Mirror<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), told: BTreeMap::new(), doubted: HashSet::new() }
    }
}

/// Where a list and what is known do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The object.
    pub key: ObjectName,
    /// `uid/resourceVersion` in the list; `None`: not there.
    pub listed: Option<String>,
    /// The same as it is known.
    pub known: Option<String>,
}

impl<T: Versioned> Mirror<T> {
    /// What is known of an object.
    pub fn get(&self, key: &ObjectName) -> Option<&T> {
        self.known.get(key)
    }

    /// All that is known.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &T)> {
        self.known.iter()
    }

    /// Takes in what a watch told. Returns what became of each object that it was about.
    pub fn told(&mut self, scope: &Scope, news: News<(ObjectName, T)>) -> Vec<(ObjectName, Taken<T>)> {
        let (key, taken) = match news {
            News::Listed((key, object), at) => {
                let taken = self.listed(scope, &key, object, at);
                (key, taken)
            }
            News::Changed((key, object)) => {
                let taken = self.changed(scope, &key, object);
                (key, taken)
            }
            News::Gone((key, object)) => {
                let taken = self.gone(scope, &key, number(object.resource_version()));
                (key, taken)
            }
            News::Only(present, at) => {
                let gone = self.only(scope, &present, at);
                return gone.into_iter().map(|(key, before)| (key, Taken::InPlaceOf(Some(before)))).collect();
            }
            News::Progress(version) => {
                self.has_told(scope, version);
                return Vec::new();
            }
        };
        vec![(key, taken)]
    }

    /// A watch told that an object is there, like this.
    pub fn changed(&mut self, scope: &Scope, key: &ObjectName, object: T) -> Taken<T> {
        let version = number(object.resource_version());
        self.has_told(scope, version);
        let is_past = self.known.get(key).is_some_and(|known| {
            is_same(known, &object)
                || number(known.resource_version()).zip(version).is_some_and(|(known, new)| new <= known)
        });
        if is_past { Taken::No } else { self.put(key, object) }
    }

    /// A watch told that an object is gone since this version.
    pub fn gone(&mut self, scope: &Scope, key: &ObjectName, version: Version) -> Taken<T> {
        self.has_told(scope, version);
        let known = self.known.get(key).map(|known| number(known.resource_version()));
        match known {
            None => Taken::No,
            // There is another one of that name by now.
            Some(known) if known.zip(version).is_some_and(|(known, gone)| known > gone) => Taken::No,
            Some(_) => Taken::InPlaceOf(self.known.remove(key)),
        }
    }

    /// A watch has told everything up to this version.
    pub fn has_told(&mut self, scope: &Scope, version: Version) {
        if let Some(version) = version {
            let told = self.told.entry(scope.clone()).or_default();
            *told = version.max(*told);
        }
    }

    /// Is a list of this version about a moment before the last one that the watch told of?
    pub fn is_past(&self, scope: &Scope, version: Version) -> bool {
        let told = self.told.get(scope).copied().filter(|_| !self.doubted.contains(scope));
        version.zip(told).is_some_and(|(version, told)| version < told)
    }

    /// A list of this version, which is not past, has this object. What is known from later stays; after the history of the
    /// cluster went back all is news.
    pub fn listed(&mut self, scope: &Scope, key: &ObjectName, object: T, at: Version) -> Taken<T> {
        let is_told = self.known.get(key).is_some_and(|known| {
            let is_later = number(known.resource_version()).zip(at).is_some_and(|(known, at)| known > at);
            is_later || is_same(known, &object)
        });
        if is_told && !self.doubted.contains(scope) { Taken::No } else { self.put(key, object) }
    }

    /// Does a list of this version show that the cluster's history went back? It does where it has an object as it was before
    /// something that is known, and that is no newer than the list. So it looks after a restore of etcd that raised its
    /// revision.
    pub fn went_back(&self, scope: &Scope, key: &ObjectName, listed: &ObjectVersion, at: Version) -> bool {
        let Some(known) = self.known.get(key).filter(|known| known.uid() == listed.uid) else { return false };
        let versions = (number(&listed.resource_version), number(known.resource_version()), at);
        let (Some(listed), Some(known), Some(at)) = versions else { return false };
        listed < known && known <= at && !self.doubted.contains(scope)
    }

    /// A list of this version, which is not past, had these objects and no others. Returns what is gone.
    pub fn only(&mut self, scope: &Scope, present: &HashSet<ObjectName>, at: Version) -> Vec<(ObjectName, T)> {
        let is_doubted = self.doubted.remove(scope);
        let is_later =
            |known: &T| !is_doubted && number(known.resource_version()).zip(at).is_some_and(|(known, at)| known > at);
        let gone: Vec<ObjectName> = self
            .known
            .iter()
            .filter(|(key, known)| covers(scope, key) && !present.contains(*key) && !is_later(known))
            .map(|(key, _)| key.clone())
            .collect();
        match at {
            Some(at) => drop(self.told.insert(scope.clone(), at)),
            None => drop(self.told.remove(scope)),
        }
        gone.into_iter().filter_map(|key| self.known.remove(&key).map(|known| (key, known))).collect()
    }

    /// An answer to a call of our own: an object as it was read or written. Taken in only where it is newer than what is
    /// known of that name, also that there is none.
    pub fn answered(&mut self, key: &ObjectName, object: T) -> Taken<T> {
        let version = number(object.resource_version());
        let is_news = match (self.known.get(key), version) {
            (Some(known), version) => match number(known.resource_version()).zip(version) {
                Some((known, new)) => new > known,
                // Without numbers only what is said of the very object that is there can be believed.
                None => known.uid() == object.uid() && !is_same(known, &object),
            },
            (None, Some(version)) => self.told_of(key).is_none_or(|told| version > told),
            (None, None) => self.told_of(key).is_none(),
        };
        if is_news { self.put(key, object) } else { Taken::No }
    }

    /// An answer to a call of our own: there is no such object. `asked` is what was known when the call was made: what
    /// came since is newer than the answer.
    pub fn not_found(&mut self, key: &ObjectName, asked: Option<(&str, &str)>) -> Taken<T> {
        match self.known.get(key) {
            Some(known) if asked == Some((known.uid(), known.resource_version())) => {
                Taken::InPlaceOf(self.known.remove(key))
            }
            Some(_) | None => Taken::No,
        }
    }

    /// Forgets what `is_wanted` does not name. For what is not watched.
    pub fn forget(&mut self, is_wanted: impl Fn(&ObjectName) -> bool) -> Vec<(ObjectName, T)> {
        let unwanted: Vec<ObjectName> = self.known.keys().filter(|key| !is_wanted(key)).cloned().collect();
        unwanted.into_iter().filter_map(|key| self.known.remove(&key).map(|known| (key, known))).collect()
    }

    /// The history of the cluster went back: the next list counts whatever its version.
    pub fn doubt(&mut self, scope: &Scope) {
        self.told.remove(scope);
        self.doubted.insert(scope.clone());
    }

    /// Some objects of which a list (`uid/resourceVersion` by object) says something else than is known.
    pub fn disagreements(&self, scope: &Scope, listed: &HashMap<ObjectName, String>, most: usize) -> Vec<Disagreement> {
        let seen = |known: &T| format!("{}/{}", known.uid(), known.resource_version());
        let missing = self.known.iter().filter(|(key, _)| covers(scope, key) && !listed.contains_key(*key));
        let missing = missing.map(|(key, known)| (key, None, Some(seen(known))));
        let differing = listed.iter().map(|(key, listed)| (key, Some(listed.clone()), self.known.get(key).map(seen)));
        missing
            .chain(differing)
            .filter(|(_, listed, known)| listed != known)
            .map(|(key, listed, known)| Disagreement { key: key.clone(), listed, known })
            .take(most)
            .collect()
    }

    fn put(&mut self, key: &ObjectName, object: T) -> Taken<T> {
        Taken::InPlaceOf(self.known.insert(key.clone(), object))
    }

    /// Up to where the watch has told that covers this object.
    fn told_of(&self, key: &ObjectName) -> Version {
        self.told.get(&Some(key.namespace.clone())).or_else(|| self.told.get(&None)).copied()
    }
}

/// Is this object one of those that the watch covers?
pub fn covers(scope: &Scope, key: &ObjectName) -> bool {
    scope.as_ref().is_none_or(|namespace| *namespace == key.namespace)
}

fn is_same<T: Versioned>(one: &T, other: &T) -> bool {
    (one.uid(), one.resource_version()) == (other.uid(), other.resource_version())
}

/// What a list is that is older than what the watch told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldList {
    /// From a server that is behind. What is known is newer.
    Behind,
    /// The truth: the cluster's history went back, as after etcd was restored.
    WentBack,
}

/// Judges an old list by what the API server says now, by a consistent read, of objects on which list and knowledge
/// disagree. Where they agree on everything, the list can be believed: it says nothing else than is known.
pub fn judge<'a>(answers: impl IntoIterator<Item = (&'a Disagreement, Option<String>)>) -> OldList {
    let mut is_confirmed = None;
    for (disagreement, now) in answers {
        let is_newer = |now: &String, known: &String| match (version_in(now), version_in(known)) {
            (Some(now), Some(known)) => now > known,
            _ => false,
        };
        // A version that the list has, and that the watch has passed without telling it, is of another history: newer than
        // what is known though it may be.
        let is_listed = now == disagreement.listed;
        let is_changed_since = !is_listed
            && now.as_ref().zip(disagreement.known.as_ref()).is_some_and(|(now, known)| is_newer(now, known));
        let knowledge_holds = now == disagreement.known || is_changed_since;
        if knowledge_holds {
            return OldList::Behind;
        }
        is_confirmed = Some(is_confirmed.unwrap_or_default() || is_listed);
    }
    if is_confirmed.unwrap_or(true) { OldList::WentBack } else { OldList::Behind }
}

fn version_in(seen: &str) -> Version {
    seen.split_once('/').and_then(|(_, version)| number(version))
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
