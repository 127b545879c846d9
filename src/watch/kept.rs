//! What is kept of an object as soon as it is read: no more than is used, however large it is.

use std::mem::take;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use zoho_api::{ZohoCredential, ZohoMintLedger, keys};
use zoho_client::told::{SecretMeta, Told};
use zoho_core::facts::ownership::SecretSeen;
use zoho_core::facts::{LONGEST_REQUEST, identity};
use zoho_core::spec;
use zoho_core::text::printable;

/// Longest text about an object that does not fit the types, in characters. It may quote the object.
const LONGEST_ERROR: usize = 256;

/// Longest name of an installation: a namespace and the name of a Lease.
const LONGEST_INSTALLATION: usize = 63 + 1 + 253;

/// See the module.
pub(crate) trait Kept {
    /// The same without what nobody asks about.
    #[must_use]
    fn kept(self) -> Self;
}

impl Kept for SecretMeta {
    fn kept(mut self) -> Self {
        self.metadata = SecretSeen::kept_of(self.metadata);
        self
    }
}

impl Kept for Told<ZohoCredential> {
    fn kept(mut self) -> Self {
        reduce(&mut self, |mut meta| {
            let mut asked = meta.annotations.take().unwrap_or_default();
            // A longer one is none.
            asked.retain(|key, asked| match key.as_str() {
                keys::RENEW_REQUESTED => asked.len() <= LONGEST_REQUEST,
                keys::SERVED_BY => asked.len() <= LONGEST_INSTALLATION,
                _ => false,
            });
            ObjectMeta { annotations: Some(asked).filter(|asked| !asked.is_empty()), ..identity(meta) }
        });
        if let Ok(credential) = &mut self.object.0
            && spec::is_oversized(&credential.spec)
        {
            let metadata = take(&mut credential.metadata);
            self.object.0 = Err(InvalidObject { error: spec::OVERSIZED.into(), metadata });
        }
        self
    }
}

impl Kept for Told<ZohoMintLedger> {
    fn kept(mut self) -> Self {
        reduce(&mut self, |mut meta| {
            let mut labels = meta.labels.take().unwrap_or_default();
            labels.retain(|key, _| [keys::INSTANCE, keys::NAMESPACE].contains(&key.as_str()));
            ObjectMeta { labels: Some(labels), ..identity(meta) }
        });
        self
    }
}

/// Reduces the metadata of an object, whether it fits the types or not, and what is said of one that does not.
fn reduce<K: kube::Resource>(object: &mut Told<K>, keep: impl FnOnce(ObjectMeta) -> ObjectMeta) {
    object.served_by.take_if(|by| by.len() > LONGEST_INSTALLATION);
    match &mut object.object.0 {
        Ok(object) => *object.meta_mut() = keep(take(object.meta_mut())),
        Err(unreadable) => {
            unreadable.metadata = keep(take(&mut unreadable.metadata));
            unreadable.error = printable(&unreadable.error, LONGEST_ERROR);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kube::core::DeserializeGuard;
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_others_write_into_metadata_is_kept_at_any_length() {
        let long = "ü".repeat(500_000);
        let metadata = json!({
            "name": "one", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 3,
            "deletionTimestamp": "2026-01-01T00:00:00Z", "labels": { "team": long, keys::INSTANCE: "i" },
            "annotations": { keys::RENEW_REQUESTED: "now", "other": long }, "finalizers": [long],
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Thing", "name": "owner", "uid": long }],
            "managedFields": [{ "manager": long }],
        });
        let good = json!({ "metadata": metadata, "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } } });
        let bad = json!({ "metadata": metadata, "spec": { "dataCenter": long } });
        for object in [&good, &bad] {
            let credential: Told<ZohoCredential> = serde_json::from_value(object.clone()).unwrap();
            let DeserializeGuard(kept) = credential.kept().object;
            let size = format!("{kept:?}").len();
            assert!(size < 2500, "{size} bytes of 5 MB");
            let meta = kept.as_ref().map_or_else(|bad| &bad.metadata, |good| &good.metadata);
            assert_eq!(meta.annotations, Some([(keys::RENEW_REQUESTED.to_owned(), "now".to_owned())].into()));
            let names = (meta.name.as_deref(), meta.namespace.as_deref(), meta.uid.as_deref());
            assert_eq!(names, (Some("one"), Some("ns"), Some("u")));
            assert_eq!((meta.resource_version.as_deref(), meta.generation), (Some("7"), Some(3)));
            assert!(meta.deletion_timestamp.is_some());
        }
        let ledger: Told<ZohoMintLedger> = serde_json::from_value(json!({ "metadata": metadata, "spec": {} })).unwrap();
        let kept = ledger.kept().object.0.unwrap();
        assert!(format!("{kept:?}").len() < 1500);
        assert_eq!(kept.metadata.labels, Some([(keys::INSTANCE.to_owned(), "i".to_owned())].into()));
    }

    #[test]
    fn spec_that_is_too_large_is_not_kept() {
        let of = |bytes: usize| {
            let many = |length: usize| -> BTreeMap<String, String> {
                (0..32).map(|number| (format!("k{number}"), "ü".repeat(length / 2))).collect()
            };
            let (data, labels) = (many(bytes / 32), many(60));
            let spec = json!({ "dataCenter": "EU", "secretRef": { "name": "source" }, "target": { "data": data, "labels": labels } });
            let credential = json!({ "metadata": { "name": "one", "uid": "u" }, "spec": spec });
            let credential: Told<ZohoCredential> = serde_json::from_value(credential).unwrap();
            credential.kept().object.0.map_err(Box::new)
        };
        assert!(of(32 * 4096).is_ok(), "as large as the schema allows in ASCII");
        let kept = of(32 * 4096 * 4).unwrap_err();
        assert!(kept.error.contains("288 KiB") && kept.metadata.uid.as_deref() == Some("u"), "{kept:?}");
        assert!(format!("{kept:?}").len() < 2500);
    }

    #[test]
    fn request_that_is_too_long_to_count_is_not_kept() {
        let of = |length: usize| {
            let credential = json!({ "metadata": { "annotations": { keys::RENEW_REQUESTED: "x".repeat(length) } },
                "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } } });
            let credential: Told<ZohoCredential> = serde_json::from_value(credential).unwrap();
            credential.kept().object.0.unwrap().metadata.annotations.is_some()
        };
        assert!(of(64) && !of(65));
    }
}
