//! What the watches told: the credentials, and of every Secret its version and, where it is ours, its stamp.
//!
//! Answers without a call which objects a Secret concerns and whether it changed. A few hundred bytes a Secret.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta};

use zoho_api::names::{ObjectName, is_older};
use zoho_api::{ZohoCredential, keys};
use zoho_core::ownership::SecretSeen;

/// A credential as the watch told of it.
#[derive(Clone, Debug)]
pub(crate) enum CredentialSeen {
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
    credentials: HashMap<ObjectName, CredentialSeen>,
    /// Credentials by the Secrets that they name, as source or as target.
    by_secret: HashMap<ObjectName, BTreeSet<ObjectName>>,
    secrets: HashMap<ObjectName, SecretSeen>,
    /// Secrets by the uid of their controller.
    by_controller: HashMap<String, BTreeSet<ObjectName>>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Index {
    inner: Mutex<Inner>,
}

/// Objects that a pass is due for.
pub(crate) type Concerned = Vec<ObjectName>;

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

    /// Other credentials that name the Secret as source or target.
    pub(crate) fn named_by(&self, secret: &ObjectName) -> Vec<ObjectName> {
        self.lock().by_secret.get(secret).into_iter().flatten().cloned().collect()
    }

    /// Every Secret that a credential names.
    pub(crate) fn named_secrets(&self) -> HashSet<ObjectName> {
        self.lock().by_secret.keys().cloned().collect()
    }

    /// The Secrets that an object controls.
    pub(crate) fn controlled_by(&self, uid: &str) -> Vec<(ObjectName, SecretSeen)> {
        let inner = self.lock();
        let keys = inner.by_controller.get(uid).into_iter().flatten();
        keys.filter_map(|key| Some((key.clone(), inner.secrets.get(key)?.clone()))).collect()
    }

    /// All credentials that could be read.
    pub(crate) fn credentials(&self) -> Vec<Arc<ZohoCredential>> {
        let readable = |seen: &CredentialSeen| match seen {
            CredentialSeen::Readable(credential) => Some(credential.clone()),
            CredentialSeen::Unreadable(..) => None,
        };
        self.lock().credentials.values().filter_map(readable).collect()
    }

    /// All credentials that could not be read.
    pub(crate) fn unreadable(&self) -> Vec<ObjectName> {
        let inner = self.lock();
        let unreadable = inner.credentials.iter().filter(|(_, seen)| matches!(seen, CredentialSeen::Unreadable(..)));
        unreadable.map(|(key, _)| key.clone()).collect()
    }

    /// A credential was added or changed, told by the watch or by the answer to an own write.
    pub(crate) fn apply_credential(&self, credential: DeserializeGuard<ZohoCredential>) -> Concerned {
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
        let key = ObjectName::of(seen.meta());
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
    pub(crate) fn delete_credential(&self, meta: &ObjectMeta) -> Concerned {
        let key = ObjectName::of(meta);
        let mut inner = self.lock();
        inner.unlink(&key);
        inner.credentials.remove(&key);
        vec![key]
    }

    /// A Secret was added or changed, told by the watch or by the answer to an own write.
    pub(crate) fn apply_secret(&self, meta: &ObjectMeta) -> Concerned {
        let key = ObjectName::of(meta);
        let seen = SecretSeen::of(meta);
        let mut inner = self.lock();
        if inner.secrets.get(&key).is_some_and(|known| *known == seen || seen.is_older_than(known)) {
            return Vec::new();
        }
        inner.put_secret(&key, Some(seen));
        inner.by_secret.get(&key).into_iter().flatten().cloned().collect()
    }

    /// A Secret is gone.
    pub(crate) fn delete_secret(&self, meta: &ObjectMeta) -> Concerned {
        let key = ObjectName::of(meta);
        let mut inner = self.lock();
        inner.put_secret(&key, None);
        inner.by_secret.get(&key).into_iter().flatten().cloned().collect()
    }

    /// The watch of a namespace (`None`: of all) has listed all credentials there are: others are gone.
    pub(crate) fn retain_credentials(&self, namespace: Option<&str>, present: &HashSet<ObjectName>) -> Concerned {
        let mut inner = self.lock();
        let gone = absent(inner.credentials.keys(), namespace, present);
        for key in &gone {
            inner.unlink(key);
            inner.credentials.remove(key);
        }
        gone
    }

    /// The watch of a namespace (`None`: of all) has listed all Secrets there are: others are gone.
    pub(crate) fn retain_secrets(&self, namespace: Option<&str>, present: &HashSet<ObjectName>) -> Concerned {
        let mut inner = self.lock();
        let mut concerned = Vec::new();
        for key in absent(inner.secrets.keys(), namespace, present) {
            inner.put_secret(&key, None);
            concerned.extend(inner.by_secret.get(&key).into_iter().flatten().cloned());
        }
        concerned
    }
}

fn absent<'a>(
    known: impl Iterator<Item = &'a ObjectName>,
    namespace: Option<&str>,
    present: &HashSet<ObjectName>,
) -> Vec<ObjectName> {
    let in_scope = |key: &&ObjectName| namespace.is_none_or(|namespace| *key.namespace == *namespace);
    known.filter(in_scope).filter(|key| !present.contains(*key)).cloned().collect()
}

impl Inner {
    fn put_secret(&mut self, key: &ObjectName, seen: Option<SecretSeen>) {
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

    fn unlink(&mut self, key: &ObjectName) {
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
fn secrets_of(key: &ObjectName, credential: &ZohoCredential) -> Vec<ObjectName> {
    let former = credential.status.as_ref().and_then(|status| status.target.clone());
    let names = [Some(credential.spec.secret_ref.name.clone()), Some(credential.target_name()), former];
    names.into_iter().flatten().map(|name| ObjectName::new(&key.namespace, &name)).collect()
}

/// The metadata of a Secret as a metadata-only watch tells it.
pub(crate) type SecretMeta = PartialObjectMeta<Secret>;

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
        let cred = ObjectName::new("ns", "cred");
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
        assert_eq!(index.secret(&ObjectName::new("ns", "source")).unwrap().version, "u/10");
    }

    #[test]
    fn what_a_relist_does_not_name_is_gone() {
        let index = Index::default();
        let cred = ObjectName::new("ns", "cred");
        index.apply_credential(credential("1", "source"));
        index.apply_secret(&secret("source", "2"));
        let nothing = HashSet::new();
        assert_eq!(index.retain_secrets(Some("another"), &nothing), []);
        assert_eq!(index.retain_secrets(Some("ns"), &nothing), std::slice::from_ref(&cred));
        assert!(index.secret(&ObjectName::new("ns", "source")).is_none());
        assert_eq!(index.retain_credentials(None, &nothing), std::slice::from_ref(&cred));
        assert!(index.credential(&cred).is_none());
    }
}
