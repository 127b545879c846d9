//! Reads the object of a pass again, past the watches, before something is done that cannot be undone.
//!
//! What a watch or a list told may be old: a server that is behind after a restart names a source, a target or a renewal
//! request of yesterday. A write of the object itself would notice, since it names a version; a token request would not.

use kube::Api;

use super::{Context, Pass, PassError};
use zoho_api::names::ObjectName;
use zoho_api::{Time, ZohoCredential};
use zoho_client::calls::{ApiError, call};
use zoho_client::told::Told;
use zoho_core::facts;

/// An object that turned out to be another one than was known is looked at again after this many seconds, if nothing
/// wakes it before.
const LOOK_AGAIN_AFTER: u64 = 2;

/// Is an object, for everything that a pass does, still the one that is known? Its version is no measure: others write
/// metadata that is none of our business, as often as they like.
pub(super) fn is_same(known: &ZohoCredential, now: &ZohoCredential) -> bool {
    let deleting = |credential: &ZohoCredential| credential.metadata.deletion_timestamp.is_some();
    (&known.metadata.uid, known.metadata.generation, deleting(known), facts::asked(known), &known.status)
        == (&now.metadata.uid, now.metadata.generation, deleting(now), facts::asked(now), &now.status)
}

impl Context {
    /// A consistent read: is the object what it is taken for? If not, what it is now is known when this returns, and a pass
    /// is due.
    ///
    /// # Errors
    ///
    /// The object could not be read.
    ///
    /// # Permissions
    ///
    /// get on the credential.
    pub(super) async fn is_current(&self, credential: &ZohoCredential, key: &ObjectName) -> Result<bool, PassError> {
        let api = Api::<Told<ZohoCredential>>::namespaced(self.client.clone(), &key.namespace);
        match call(api.get(&key.name)).await {
            Ok(now) => {
                let is_current = now.object.0.as_ref().is_ok_and(|now| is_same(credential, now));
                self.wake.all(self.index.apply_credential(now));
                Ok(is_current)
            }
            Err(ApiError::NotFound) => {
                self.wake.all(self.index.credential_not_found(key, &credential.metadata));
                Ok(false)
            }
            Err(source) => Err(PassError::Recheck(source)),
        }
    }
}

impl Pass<'_> {
    /// See [`Context::is_current`].
    pub(super) async fn is_current(&mut self) -> Result<bool, PassError> {
        let is_current = self.context.is_current(self.credential, self.key).await?;
        if is_current {
            self.memory.confirmed = self.credential.metadata.generation;
        }
        Ok(is_current)
    }

    /// The same, once for each generation of an object that was there when this process began: a list may be old, what
    /// the watch after it brings is late by a moment, or by two minutes where the watch has fallen silent. For what
    /// should not be done on an old view, such as asking for a token with a former source, or writing a target of a
    /// former name.
    ///
    /// # Errors
    ///
    /// The object could not be read.
    pub(super) async fn is_confirmed(&mut self) -> Result<bool, PassError> {
        let is_known = self.memory.confirmed.is_some() && self.memory.confirmed == self.credential.metadata.generation;
        let uid = self.credential.metadata.uid.as_deref().unwrap_or_default();
        if is_known || self.context.index.was_announced(uid) {
            return Ok(true);
        }
        self.is_current().await
    }
}

/// When to look again at an object that is not what it was taken for.
pub(super) fn look_again_at(now: Time) -> Time {
    now + std::time::Duration::from_secs(LOOK_AGAIN_AFTER)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as Instant;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};
    use zoho_api::keys;

    use super::*;

    fn credential(edit: &Value) -> ZohoCredential {
        let mut object = json!({
            "metadata": { "name": "one", "uid": "u", "generation": 3, "resourceVersion": "7",
                "annotations": { keys::RENEW_REQUESTED: "1", "team": "a" } },
            "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } },
            "status": { "ledger": "l" },
        });
        for (path, value) in edit.as_object().unwrap() {
            *object.pointer_mut(path).unwrap() = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_a_pass_rests_on_makes_another_object_and_nothing_else() {
        let renewal = format!("/metadata/annotations/{}", keys::RENEW_REQUESTED.replace('/', "~1"));
        let table = [
            ("nothing", json!({}), true),
            ("version", json!({ "/metadata/resourceVersion": "8" }), true),
            ("foreign annotation", json!({ "/metadata/annotations/team": "b" }), true),
            ("uid", json!({ "/metadata/uid": "v" }), false),
            ("spec", json!({ "/metadata/generation": 4 }), false),
            ("renewal asked for", json!({ renewal: "2" }), false),
            ("status", json!({ "/status/ledger": "m" }), false),
        ];
        for (what, edit, expected) in table {
            assert_eq!(is_same(&credential(&json!({})), &credential(&edit)), expected, "{what}");
        }
        let mut deleting = credential(&json!({}));
        deleting.metadata.deletion_timestamp = Some(Instant(Timestamp::UNIX_EPOCH));
        assert!(!is_same(&credential(&json!({})), &deleting));
    }
}
