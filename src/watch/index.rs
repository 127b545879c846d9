//! What the watches told: the credentials, and of every Secret its version and, where it is ours, its stamp.
//!
//! Answers without a call which objects a Secret concerns and whether it changed. A few hundred bytes a Secret. What
//! counts when news and answers contradict each other is decided in [`zoho_core::mirror`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::error_boundary::InvalidObject;

use zoho_api::ZohoCredential;
use zoho_api::names::{ObjectName, ObjectVersion};
use zoho_client::told::{SecretMeta, Told};
use zoho_core::facts::ownership::SecretSeen;
use zoho_core::mirror::{Disagreement, Mirror, News, Scope, Taken, Version, Versioned, covers};

use super::kept::Kept as _;
use crate::wake::Concerned;

/// A credential as the watch told of it.
#[derive(Clone, Debug)]
pub(crate) enum CredentialSeen {
    /// It could be read.
    Readable(Arc<ZohoCredential>),
    /// It does not fit the types of this version: a newer CRD, or one without its rules.
    Unreadable(Arc<Unreadable>),
}

/// What is known of a credential that does not fit the types.
#[derive(Clone, Debug)]
pub(crate) struct Unreadable {
    /// Its metadata.
    pub meta: ObjectMeta,
    /// What does not fit.
    pub error: String,
    /// The installation that serves it, as its status says.
    pub served_by: Option<String>,
}

impl CredentialSeen {
    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Readable(credential) => &credential.metadata,
            Self::Unreadable(unreadable) => &unreadable.meta,
        }
    }

    fn of(credential: Told<ZohoCredential>) -> Self {
        let Told { object, served_by } = credential.kept();
        match object.0 {
            Ok(credential) => Self::Readable(Arc::new(credential)),
            Err(InvalidObject { error, metadata: meta }) => {
                Self::Unreadable(Arc::new(Unreadable { meta, error, served_by }))
            }
        }
    }
}

impl Versioned for CredentialSeen {
    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    fn resource_version(&self) -> &str {
        self.meta().resource_version.as_deref().unwrap_or_default()
    }
}

/// Names by what leads to them, in one tree: most keys lead to one name, and a set of its own for each would take 400 bytes.
struct Links<K>(BTreeSet<(K, ObjectName)>);

impl<K> Default for Links<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Ord + Clone> Links<K> {
    fn of<'a>(&'a self, key: &'a K) -> impl Iterator<Item = &'a ObjectName> {
        let first = (key.clone(), ObjectName::new("", ""));
        self.0.range(first..).take_while(move |(of, _)| of == key).map(|(_, name)| name)
    }

    fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    fn insert(&mut self, key: K, name: ObjectName) {
        self.0.insert((key, name));
    }

    fn remove(&mut self, key: K, name: &ObjectName) {
        self.0.remove(&(key, name.clone()));
    }
}

#[derive(Default)]
struct Inner {
    credentials: Mirror<CredentialSeen>,
    /// Credentials by the Secrets that they name, as source or as target.
    by_secret: Links<ObjectName>,
    secrets: Mirror<SecretSeen>,
    /// Secrets by the uid of their controller.
    by_controller: Links<String>,
    /// How many credentials each namespace has.
    counts: HashMap<Arc<str>, usize>,
    /// How many credentials each installation serves.
    installations: HashMap<String, usize>,
    /// uids of credentials whose creation a watch brought: what is known of them is from no list.
    announced: HashSet<String>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Index {
    inner: Mutex<Inner>,
}

impl Index {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The credential, if there is one.
    pub(crate) fn credential(&self, key: &ObjectName) -> Option<CredentialSeen> {
        self.lock().credentials.get(key).cloned()
    }

    /// What is known of a Secret.
    pub(crate) fn secret(&self, key: &ObjectName) -> Option<SecretSeen> {
        self.lock().secrets.get(key).cloned()
    }

    /// The Secrets that an object controls.
    pub(crate) fn controlled_by(&self, uid: &str) -> Vec<(ObjectName, SecretSeen)> {
        let inner = self.lock();
        let uid = uid.to_owned();
        let keys = inner.by_controller.of(&uid);
        keys.filter_map(|key| Some((key.clone(), inner.secrets.get(key)?.clone()))).collect()
    }

    /// Did a watch bring the creation of this object? Then what is known of it is not from a list, which may be old.
    pub(crate) fn was_announced(&self, uid: &str) -> bool {
        self.lock().announced.contains(uid)
    }

    /// How many credentials a namespace has.
    pub(crate) fn count_of(&self, namespace: &str) -> usize {
        self.lock().counts.get(namespace).copied().unwrap_or_default()
    }

    /// Is this installation known to serve credentials, and no other one?
    pub(crate) fn is_served_only_by(&self, us: &str) -> bool {
        let inner = self.lock();
        inner.installations.len() == 1 && inner.installations.contains_key(us)
    }

    /// All credentials that could be read.
    pub(crate) fn credentials(&self) -> Vec<Arc<ZohoCredential>> {
        let readable = |seen: &CredentialSeen| match seen {
            CredentialSeen::Readable(credential) => Some(credential.clone()),
            CredentialSeen::Unreadable(..) => None,
        };
        self.lock().credentials.iter().filter_map(|(_, seen)| readable(seen)).collect()
    }

    /// All credentials that could not be read, but for those that another installation serves: to it they may say something.
    pub(crate) fn unreadable(&self, us: &str) -> Vec<ObjectName> {
        let inner = self.lock();
        let is_unreadable = |seen: &CredentialSeen| {
            matches!(seen, CredentialSeen::Unreadable(..)) && seen.served_by().is_none_or(|by| by == us)
        };
        inner.credentials.iter().filter(|(_, seen)| is_unreadable(seen)).map(|(key, _)| key.clone()).collect()
    }

    /// The watch of credentials tells something.
    pub(crate) fn credentials_told(&self, scope: &Scope, news: News<Told<ZohoCredential>>) -> Concerned {
        let mut inner = self.lock();
        let news = news.map(|credential| {
            let seen = CredentialSeen::of(credential);
            (ObjectName::of(seen.meta()), seen)
        });
        if let News::Changed((key, seen)) = &news
            && inner.credentials.get(key).is_none()
        {
            inner.announced.insert(seen.uid().to_owned());
        }
        let told = inner.credentials.told(scope, news);
        told.into_iter().flat_map(|(key, taken)| inner.relink(key, taken)).collect()
    }

    /// The watch of Secrets tells something.
    pub(crate) fn secrets_told(&self, scope: &Scope, news: News<SecretMeta>) -> Concerned {
        let mut inner = self.lock();
        let news = news.map(|secret| (ObjectName::of(&secret.metadata), SecretSeen::of(&secret.metadata)));
        let told = inner.secrets.told(scope, news);
        told.into_iter().flat_map(|(key, taken)| inner.reown(&key, taken)).collect()
    }

    /// An answer to a read or a write of a credential. Taken in only where it is news, see [`Mirror::answered`].
    pub(crate) fn apply_credential(&self, credential: Told<ZohoCredential>) -> Concerned {
        let seen = CredentialSeen::of(credential);
        let key = ObjectName::of(seen.meta());
        let mut inner = self.lock();
        let taken = inner.credentials.answered(&key, seen);
        inner.relink(key, taken)
    }

    /// An answer that a credential does not exist. `asked` is its metadata as it was known when the call was made: where
    /// something newer is known by now, the answer is about the past.
    pub(crate) fn credential_not_found(&self, key: &ObjectName, asked: &ObjectMeta) -> Concerned {
        let mut inner = self.lock();
        let asked = asked.uid.as_deref().zip(asked.resource_version.as_deref());
        let taken = inner.credentials.not_found(key, asked);
        inner.relink(key.clone(), taken)
    }

    /// An answer to a read or a write of a Secret. Taken in only where it is news, see [`Mirror::answered`].
    pub(crate) fn apply_secret(&self, meta: &ObjectMeta) -> Concerned {
        let key = ObjectName::of(meta);
        let mut inner = self.lock();
        let taken = inner.secrets.answered(&key, SecretSeen::of(meta));
        inner.reown(&key, taken)
    }

    /// An answer that a Secret does not exist. `asked` is what was known when the call was made.
    pub(crate) fn secret_not_found(&self, key: &ObjectName, asked: Option<&SecretSeen>) -> Concerned {
        let mut inner = self.lock();
        let taken = inner.secrets.not_found(key, asked.map(|seen| (seen.uid(), seen.resource_version())));
        inner.reown(key, taken)
    }

    /// Forgets the Secrets of a scope that nobody asks about, where Secrets are not watched: those that no credential names
    /// and that no credential owns.
    pub(crate) fn forget_secrets(&self, scope: &Scope) {
        let wanted = self.wanted_secrets(scope);
        self.lock().forget_secrets(|key| !covers(scope, key) || wanted.contains(key));
    }

    /// Forgets all Secrets of a scope, where Secrets are not watched: each is read again before it is needed.
    pub(crate) fn forget_all_secrets(&self, scope: &Scope) {
        self.lock().forget_secrets(|key| !covers(scope, key));
    }

    /// Every Secret of a scope that a credential names, and every one known that a credential owns: a target of a former
    /// name is named by nobody and has to be deleted when its token expires.
    pub(crate) fn wanted_secrets(&self, scope: &Scope) -> HashSet<ObjectName> {
        let inner = self.lock();
        let uids: HashSet<&str> = inner.credentials.iter().map(|(_, seen)| seen.uid()).collect();
        let owned = inner.by_controller.0.iter().filter(|(uid, _)| uids.contains(uid.as_str())).map(|(_, name)| name);
        inner.by_secret.keys().chain(owned).filter(|key| covers(scope, key)).cloned().collect()
    }

    /// Is a list of this version about the past? See [`Mirror::is_past`].
    pub(crate) fn is_past(&self, kind: Kind, scope: &Scope, version: Version) -> bool {
        let inner = self.lock();
        match kind {
            Kind::Credentials => inner.credentials.is_past(scope, version),
            Kind::Secrets => inner.secrets.is_past(scope, version),
        }
    }

    /// Where a list and what is known do not agree. See [`Mirror::disagreements`].
    pub(crate) fn disagreements(
        &self,
        kind: Kind,
        scope: &Scope,
        listed: &HashMap<ObjectName, String>,
    ) -> Vec<Disagreement> {
        let inner = self.lock();
        match kind {
            Kind::Credentials => inner.credentials.disagreements(scope, listed, MOST_DISAGREEMENTS),
            Kind::Secrets => inner.secrets.disagreements(scope, listed, MOST_DISAGREEMENTS),
        }
    }

    /// Does a list show that history went back? See [`Mirror::went_back`].
    pub(crate) fn secret_went_back(&self, scope: &Scope, secret: &ObjectMeta, at: Version) -> bool {
        self.lock().secrets.went_back(scope, &ObjectName::of(secret), &ObjectVersion::of(secret), at)
    }

    /// The same of a credential.
    pub(crate) fn credential_went_back(&self, scope: &Scope, credential: &ObjectMeta, at: Version) -> bool {
        self.lock().credentials.went_back(scope, &ObjectName::of(credential), &ObjectVersion::of(credential), at)
    }

    /// The cluster's history went back: the next list counts whatever its version.
    pub(crate) fn doubt(&self, kind: Kind, scope: &Scope) {
        let mut inner = self.lock();
        match kind {
            Kind::Credentials => inner.credentials.doubt(scope),
            Kind::Secrets => inner.secrets.doubt(scope),
        }
    }
}

/// Which of the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The credentials.
    Credentials,
    /// The Secrets.
    Secrets,
}

/// So many objects are read to judge a list.
const MOST_DISAGREEMENTS: usize = 5;

impl Inner {
    fn forget_secrets(&mut self, is_kept: impl Fn(&ObjectName) -> bool) {
        for (key, before) in self.secrets.forget(is_kept) {
            // Nothing has happened to it.
            let _ = self.reown(&key, Taken::InPlaceOf(Some(before)));
        }
    }

    /// Keeps the Secrets that credentials name in step with a credential that was taken in, or is gone.
    fn relink(&mut self, key: ObjectName, taken: Taken<CredentialSeen>) -> Concerned {
        let Taken::InPlaceOf(before) = taken else { return Concerned::default() };
        match (before.is_some(), self.credentials.get(&key).is_some()) {
            (false, true) => *self.counts.entry(key.namespace.clone()).or_default() += 1,
            (true, false) => count_down(&mut self.counts, &key.namespace),
            (true, true) | (false, false) => {}
        }
        if let Some(by) = before.as_ref().and_then(CredentialSeen::served_by) {
            count_down(&mut self.installations, by);
        }
        if let Some(by) = self.credentials.get(&key).and_then(CredentialSeen::served_by) {
            *self.installations.entry(by.to_owned()).or_default() += 1;
        }
        let is_the_same =
            |before: &CredentialSeen| self.credentials.get(&key).is_some_and(|now| now.uid() == before.uid());
        if let Some(before) = before.as_ref().filter(|before| !is_the_same(before)) {
            self.announced.remove(before.uid());
        }
        for secret in before.iter().flat_map(|before| before.secrets(&key)) {
            self.by_secret.remove(secret, &key);
        }
        for secret in self.credentials.get(&key).map(|now| now.secrets(&key)).unwrap_or_default() {
            self.by_secret.insert(secret, key.clone());
        }
        Concerned::from_iter([key])
    }

    /// Keeps the Secrets of each owner in step with a Secret that was taken in, or is gone. Returns whom it concerns.
    fn reown(&mut self, key: &ObjectName, taken: Taken<SecretSeen>) -> Concerned {
        let Taken::InPlaceOf(before) = taken else { return Concerned::default() };
        let controller = |seen: &SecretSeen| seen.ours.as_ref()?.controller_uid.clone();
        if let Some(uid) = before.as_ref().and_then(controller) {
            self.by_controller.remove(uid, key);
        }
        if let Some(uid) = self.secrets.get(key).and_then(controller) {
            self.by_controller.insert(uid, key.clone());
        }
        self.by_secret.of(key).cloned().collect()
    }
}

/// One less; what is at nothing goes.
fn count_down<K: std::hash::Hash + Eq + std::borrow::Borrow<Q>, Q: std::hash::Hash + Eq + ?Sized>(
    counts: &mut HashMap<K, usize>,
    key: &Q,
) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl CredentialSeen {
    /// The installation that serves it, as its status says.
    pub(crate) fn served_by(&self) -> Option<&str> {
        match self {
            Self::Readable(credential) => credential.served_by(),
            Self::Unreadable(unreadable) => unreadable.served_by.as_deref().filter(|by| !by.is_empty()),
        }
    }

    fn secrets(&self, key: &ObjectName) -> Vec<ObjectName> {
        match self {
            Self::Readable(credential) => secrets_of(key, credential),
            Self::Unreadable(..) => Vec::new(),
        }
    }
}

/// The Secrets that a credential is about: source, target, and the former target until it is deleted.
fn secrets_of(key: &ObjectName, credential: &ZohoCredential) -> Vec<ObjectName> {
    let former = credential.status.as_ref().and_then(|status| status.target.clone());
    let names = [Some(credential.spec.secret_ref.name.clone()), Some(credential.target_name()), former];
    names.into_iter().flatten().map(|name| ObjectName::new(&key.namespace, &name)).collect()
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
