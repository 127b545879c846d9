//! What the watches told: the credentials, and of every Secret its version and, where it is ours, its stamp.
//!
//! Answers without a call which objects a Secret concerns and whether it changed. A few hundred bytes a Secret.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta};

use crate::api::{ZohoCredential, keys};
use crate::secret::Stamp;

/// Namespace and name of an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of an object in a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of the object with this metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Is resource version `a` older than `b`? Versions of one resource are comparable numbers (KEP-5504); what is no number
/// is not called older.
pub fn is_older(a: &str, b: &str) -> bool {
    match (a.parse::<u128>(), b.parse::<u128>()) {
        (Ok(a), Ok(b)) => a < b,
        _ => false,
    }
}

/// `uid/resourceVersion`: one state of one object.
pub fn version(meta: &ObjectMeta) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&meta.uid), part(&meta.resource_version))
}

/// What is kept of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSeen {
    /// `uid/resourceVersion`.
    pub version: String,
    /// Only where the Secret could be a target of ours.
    pub ours: Option<Box<OursSeen>>,
}

/// What is kept of a Secret that carries our marks or somebody's controller reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OursSeen {
    /// uid of the controlling owner.
    pub controller_uid: Option<String>,
    /// Kind and name of the controlling owner, for messages.
    pub controller: Option<String>,
    /// The record of the token.
    pub stamp: Option<Stamp>,
    /// The credential that its owner lets take it over.
    pub adopt: Option<String>,
}

impl SecretSeen {
    /// The digest of a Secret's metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        let controller = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        let none = BTreeMap::default();
        let annotations = meta.annotations.as_ref().unwrap_or(&none);
        let ours = OursSeen {
            controller_uid: controller.map(|owner| owner.uid.clone()),
            controller: controller.map(|owner| format!("{} {}", owner.kind, owner.name)),
            stamp: Stamp::read(annotations),
            adopt: annotations.get(keys::ADOPT).cloned(),
        };
        let marked = ours.controller_uid.is_some() || ours.stamp.is_some() || ours.adopt.is_some();
        Self { version: version(meta), ours: marked.then(|| Box::new(ours)) }
    }

    fn is_older_than(&self, known: &Self) -> bool {
        match (self.version.split_once('/'), known.version.split_once('/')) {
            (Some((uid, this)), Some((known_uid, known))) => uid == known_uid && is_older(this, known),
            _ => false,
        }
    }
}

/// A credential as the watch told of it.
#[derive(Clone, Debug)]
pub enum CredentialSeen {
    /// It could be read.
    Readable(Arc<ZohoCredential>),
    /// It does not fit the types of this version: a newer CRD, or one without its rules.
    Unreadable(Arc<ObjectMeta>, String),
}

impl CredentialSeen {
    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Readable(credential) => &credential.metadata,
            Self::Unreadable(meta, _) => meta,
        }
    }
}

#[derive(Default)]
struct Inner {
    credentials: HashMap<Key, CredentialSeen>,
    /// Credentials by the Secrets that they name, as source or as target.
    by_secret: HashMap<Key, BTreeSet<Key>>,
    secrets: HashMap<Key, SecretSeen>,
    /// Secrets by the uid of their controller.
    by_controller: HashMap<String, BTreeSet<Key>>,
}

/// See the module.
#[derive(Default)]
pub struct Index {
    inner: Mutex<Inner>,
}

/// Objects that a pass is due for.
pub type Concerned = Vec<Key>;

impl Index {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The credential, if there is one.
    pub fn credential(&self, key: &Key) -> Option<CredentialSeen> {
        self.lock().credentials.get(key).cloned()
    }

    /// What is known of a Secret.
    pub fn secret(&self, key: &Key) -> Option<SecretSeen> {
        self.lock().secrets.get(key).cloned()
    }

    /// Other credentials that name the Secret as source or target.
    pub fn named_by(&self, secret: &Key) -> Vec<Key> {
        self.lock().by_secret.get(secret).into_iter().flatten().cloned().collect()
    }

    /// Every Secret that a credential names.
    pub fn named_secrets(&self) -> HashSet<Key> {
        self.lock().by_secret.keys().cloned().collect()
    }

    /// The Secrets that an object controls.
    pub fn controlled_by(&self, uid: &str) -> Vec<(Key, SecretSeen)> {
        let inner = self.lock();
        let keys = inner.by_controller.get(uid).into_iter().flatten();
        keys.filter_map(|key| Some((key.clone(), inner.secrets.get(key)?.clone()))).collect()
    }

    /// All credentials that could be read.
    pub fn credentials(&self) -> Vec<Arc<ZohoCredential>> {
        let readable = |seen: &CredentialSeen| match seen {
            CredentialSeen::Readable(credential) => Some(credential.clone()),
            CredentialSeen::Unreadable(..) => None,
        };
        self.lock().credentials.values().filter_map(readable).collect()
    }

    /// All credentials that could not be read.
    pub fn unreadable(&self) -> Vec<Key> {
        let inner = self.lock();
        let unreadable = inner.credentials.iter().filter(|(_, seen)| matches!(seen, CredentialSeen::Unreadable(..)));
        unreadable.map(|(key, _)| key.clone()).collect()
    }

    /// A credential was added or changed, told by the watch or by the answer to an own write.
    pub fn apply_credential(&self, credential: DeserializeGuard<ZohoCredential>) -> Concerned {
        let seen = match credential.0 {
            Ok(mut credential) => {
                credential.metadata.managed_fields = None;
                if let Some(annotations) = &mut credential.metadata.annotations {
                    annotations.retain(|key, _| key == keys::RENEW_REQUESTED);
                }
                CredentialSeen::Readable(Arc::new(credential))
            }
            Err(unreadable) => CredentialSeen::Unreadable(Arc::new(unreadable.metadata), unreadable.error),
        };
        let key = Key::of(seen.meta());
        let mut inner = self.lock();
        if let Some(known) = inner.credentials.get(&key) {
            let (new, old) = (seen.meta(), known.meta());
            let versions = new.resource_version.as_deref().zip(old.resource_version.as_deref());
            if new.uid == old.uid && versions.is_some_and(|(new, old)| new == old || is_older(new, old)) {
                return Vec::new();
            }
        }
        inner.unlink(&key);
        if let CredentialSeen::Readable(credential) = &seen {
            for secret in secrets_of(&key, credential) {
                inner.by_secret.entry(secret).or_default().insert(key.clone());
            }
        }
        inner.credentials.insert(key.clone(), seen);
        vec![key]
    }

    /// A credential is gone.
    pub fn delete_credential(&self, meta: &ObjectMeta) -> Concerned {
        let key = Key::of(meta);
        let mut inner = self.lock();
        inner.unlink(&key);
        inner.credentials.remove(&key);
        vec![key]
    }

    /// A Secret was added or changed, told by the watch or by the answer to an own write.
    pub fn apply_secret(&self, meta: &ObjectMeta) -> Concerned {
        let key = Key::of(meta);
        let seen = SecretSeen::of(meta);
        let mut inner = self.lock();
        if inner.secrets.get(&key).is_some_and(|known| *known == seen || seen.is_older_than(known)) {
            return Vec::new();
        }
        inner.put_secret(&key, Some(seen));
        inner.by_secret.get(&key).into_iter().flatten().cloned().collect()
    }

    /// A Secret is gone.
    pub fn delete_secret(&self, meta: &ObjectMeta) -> Concerned {
        let key = Key::of(meta);
        let mut inner = self.lock();
        inner.put_secret(&key, None);
        inner.by_secret.get(&key).into_iter().flatten().cloned().collect()
    }

    /// The watch of a namespace (`None`: of all) has listed all credentials there are: others are gone.
    pub fn retain_credentials(&self, namespace: Option<&str>, present: &HashSet<Key>) -> Concerned {
        let mut inner = self.lock();
        let gone = absent(inner.credentials.keys(), namespace, present);
        for key in &gone {
            inner.unlink(key);
            inner.credentials.remove(key);
        }
        gone
    }

    /// The watch of a namespace (`None`: of all) has listed all Secrets there are: others are gone.
    pub fn retain_secrets(&self, namespace: Option<&str>, present: &HashSet<Key>) -> Concerned {
        let mut inner = self.lock();
        let mut concerned = Vec::new();
        for key in absent(inner.secrets.keys(), namespace, present) {
            inner.put_secret(&key, None);
            concerned.extend(inner.by_secret.get(&key).into_iter().flatten().cloned());
        }
        concerned
    }
}

fn absent<'a>(known: impl Iterator<Item = &'a Key>, namespace: Option<&str>, present: &HashSet<Key>) -> Vec<Key> {
    let in_scope = |key: &&Key| namespace.is_none_or(|namespace| *key.namespace == *namespace);
    known.filter(in_scope).filter(|key| !present.contains(*key)).cloned().collect()
}

impl Inner {
    fn put_secret(&mut self, key: &Key, seen: Option<SecretSeen>) {
        let controller = |seen: &SecretSeen| seen.ours.as_ref()?.controller_uid.clone();
        if let Some(uid) = self.secrets.get(key).and_then(controller)
            && let Some(keys) = self.by_controller.get_mut(&uid)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.by_controller.remove(&uid);
            }
        }
        if let Some(uid) = seen.as_ref().and_then(controller) {
            self.by_controller.entry(uid).or_default().insert(key.clone());
        }
        match seen {
            Some(seen) => self.secrets.insert(key.clone(), seen),
            None => self.secrets.remove(key),
        };
    }

    fn unlink(&mut self, key: &Key) {
        if let Some(CredentialSeen::Readable(credential)) = self.credentials.get(key) {
            for secret in secrets_of(key, &credential.clone()) {
                if let Some(names) = self.by_secret.get_mut(&secret) {
                    names.remove(key);
                    if names.is_empty() {
                        self.by_secret.remove(&secret);
                    }
                }
            }
        }
    }
}

/// The Secrets that a credential is about: source, target, and the former target until it is deleted.
fn secrets_of(key: &Key, credential: &ZohoCredential) -> Vec<Key> {
    let former = credential.status.as_ref().and_then(|status| status.target.clone());
    let names = [Some(credential.spec.secret_ref.name.clone()), Some(credential.target_name()), former];
    names.into_iter().flatten().map(|name| Key::new(&key.namespace, &name)).collect()
}

/// The metadata of a Secret as a metadata-only watch tells it.
pub type SecretMeta = PartialObjectMeta<Secret>;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, version: &str) -> ObjectMeta {
        ObjectMeta {
            namespace: Some("ns".into()),
            name: Some(name.into()),
            uid: Some("u".into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        }
    }

    fn credential(version: &str, source: &str) -> DeserializeGuard<ZohoCredential> {
        let mut credential: ZohoCredential = serde_json::from_value(serde_json::json!({
            "metadata": {}, "spec": { "dataCenter": "EU", "secretRef": { "name": source } }
        }))
        .unwrap();
        credential.metadata = secret("cred", version);
        DeserializeGuard(Ok(credential))
    }

    #[test]
    fn secret_concerns_those_who_name_it() {
        let index = Index::default();
        let cred = Key::new("ns", "cred");
        assert_eq!(index.apply_credential(credential("1", "source")), std::slice::from_ref(&cred));
        assert_eq!(index.apply_secret(&secret("source", "2")), std::slice::from_ref(&cred));
        assert_eq!(index.apply_secret(&secret("cred-token", "3")), std::slice::from_ref(&cred));
        assert_eq!(index.apply_secret(&secret("other", "4")), []);
        index.apply_credential(credential("5", "other"));
        assert_eq!(index.apply_secret(&secret("source", "6")), []);
        assert_eq!(index.delete_secret(&secret("other", "4")), [cred]);
    }

    #[test]
    fn older_news_than_what_is_known_are_ignored() {
        let index = Index::default();
        index.apply_credential(credential("9", "source"));
        assert_eq!(index.apply_credential(credential("8", "source")), []);
        assert_eq!(index.apply_credential(credential("9", "source")), []);
        index.apply_secret(&secret("source", "10"));
        assert_eq!(index.apply_secret(&secret("source", "9")), []);
        assert_eq!(index.secret(&Key::new("ns", "source")).unwrap().version, "u/10");
    }

    #[test]
    fn what_a_relist_does_not_name_is_gone() {
        let index = Index::default();
        let cred = Key::new("ns", "cred");
        index.apply_credential(credential("1", "source"));
        index.apply_secret(&secret("source", "2"));
        let nothing = HashSet::new();
        assert_eq!(index.retain_secrets(Some("another"), &nothing), []);
        assert_eq!(index.retain_secrets(Some("ns"), &nothing), std::slice::from_ref(&cred));
        assert!(index.secret(&Key::new("ns", "source")).is_none());
        assert_eq!(index.retain_credentials(None, &nothing), std::slice::from_ref(&cred));
        assert!(index.credential(&cred).is_none());
    }
}
