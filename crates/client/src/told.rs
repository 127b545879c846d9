//! An object of ours as the API server tells it, without the metadata that nobody asks about.
//!
//! A tenant may give an object a megabyte of labels, owner references and managed fields. In memory these are many times as
//! large, and passes read objects side by side; so what is not used is skipped in the text and never made.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use zoho_api::GROUP;

/// See the module. Of labels and annotations there are those of our own group.
#[derive(Clone, Debug)]
pub struct Told<K> {
    /// The object, or what is wrong with it.
    pub object: DeserializeGuard<K>,
    /// `status.servedBy`, also of an object that does not fit its type.
    pub served_by: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    api_version: Option<Value>,
    kind: Option<Value>,
    #[serde(default)]
    metadata: Metadata,
    spec: Option<Value>,
    status: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Ours,
    annotations: Ours,
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        let Metadata { name, namespace, uid, resource_version, generation, .. } = metadata;
        Self {
            name,
            namespace,
            uid,
            resource_version,
            generation,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            labels: metadata.labels.0,
            annotations: metadata.annotations.0,
            ..Self::default()
        }
    }
}

/// The entries of a map whose keys are of our group.
#[derive(Default)]
struct Ours(Option<BTreeMap<String, String>>);

impl<'de> Deserialize<'de> for Ours {
    fn deserialize<D: Deserializer<'de>>(map: D) -> Result<Self, D::Error> {
        map.deserialize_any(Self::default())
    }
}

impl<'de> Visitor<'de> for Ours {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, or null")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/')) {
                self.0.get_or_insert_default().insert(key, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(self)
    }
}

impl<'de, K: Resource + DeserializeOwned> Deserialize<'de> for Told<K> {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        let Text { api_version, kind, metadata, spec, status } = Text::deserialize(text)?;
        let metadata = ObjectMeta::from(metadata);
        let served_by = status.as_ref().and_then(|status| status.get("servedBy")?.as_str().map(str::to_owned));
        let fields = [("apiVersion", api_version), ("kind", kind), ("spec", spec), ("status", status)];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let fields: Map<String, Value> = fields.chain([("metadata".to_owned(), Value::Object(Map::new()))]).collect();
        let mut fields = Value::Object(fields);
        let object =
            DeserializeGuard(match K::deserialize(&fields).or_else(|_| with_what_fits_of_its_status(&mut fields)) {
                Ok(mut object) => {
                    *object.meta_mut() = metadata;
                    Ok(object)
                }
                Err(error) => Err(InvalidObject { error: error.to_string(), metadata }),
            });
        Ok(Self { object, served_by })
    }
}

/// The object with only those fields of its status that fit: whoever may write statuses must not be able to end what the spec
/// asks for. What does not fit is replaced as soon as there is something to say in its place.
fn with_what_fits_of_its_status<K: DeserializeOwned>(object: &mut Value) -> serde_json::Result<K> {
    if let Some(Value::Object(status)) = object.as_object_mut().and_then(|fields| fields.remove("status")) {
        let mut fits = Map::new();
        for (name, value) in status {
            object["status"] = json!({ (name.as_str()): value });
            if K::deserialize(&*object).is_ok() {
                fits.insert(name, value);
            }
        }
        object["status"] = Value::Object(fits);
    }
    K::deserialize(&*object)
}

/// The metadata of a Secret, as a metadata-only request tells it. Of what a tenant may nest as deep as he likes, and nobody asks
/// about, there is nothing: one object that cannot be read would end the list and the watch of all.
#[derive(Clone, Debug, Default)]
pub struct SecretMeta {
    /// Without managed fields and finalizers.
    pub metadata: ObjectMeta,
}

#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    metadata: OutlineMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OutlineMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl<'de> Deserialize<'de> for SecretMeta {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        let Outline { metadata } = Outline::deserialize(text)?;
        Ok(Self { metadata: metadata.into() })
    }
}

impl From<OutlineMeta> for ObjectMeta {
    fn from(meta: OutlineMeta) -> Self {
        Self {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: meta.resource_version,
            creation_timestamp: meta.creation_timestamp,
            deletion_timestamp: meta.deletion_timestamp,
            annotations: meta.annotations,
            owner_references: meta.owner_references,
            ..Self::default()
        }
    }
}

impl Resource for SecretMeta {
    type DynamicType = ();
    type Scope = <Secret as Resource>::Scope;

    fn kind(of: &()) -> Cow<'_, str> {
        Secret::kind(of)
    }

    fn group(of: &()) -> Cow<'_, str> {
        Secret::group(of)
    }

    fn version(of: &()) -> Cow<'_, str> {
        Secret::version(of)
    }

    fn plural(of: &()) -> Cow<'_, str> {
        Secret::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn metadata_api() -> bool {
        true
    }
}

impl<K: Resource> Resource for Told<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.object.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.object.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use zoho_api::{ZohoCredential, keys};

    use super::*;

    fn told(edit: impl FnOnce(&mut Value)) -> Result<ZohoCredential, Box<InvalidObject>> {
        let long = "x".repeat(100_000);
        let mut object = json!({
            "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential",
            "metadata": { "name": "one", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
                "labels": null, "finalizers": [long], "managedFields": [{ "fieldsV1": { "f:x": long } }],
                "ownerReferences": [{ "apiVersion": "v1", "kind": "K", "name": "n", "uid": long }],
                "annotations": { keys::RENEW_REQUESTED: "now", "zoho-operator.devil/x": "x", "team": long } },
            "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } },
            "status": { "observedGeneration": 3, "servedBy": "ns/one" },
        });
        edit(&mut object);
        let told = serde_json::from_str::<Told<ZohoCredential>>(&object.to_string()).unwrap();
        assert_eq!(told.served_by.as_deref(), object["status"]["servedBy"].as_str());
        told.object.0.map_err(Box::new)
    }

    #[test]
    fn object_is_told_as_it_is_but_for_metadata_that_nobody_asks_about() {
        let credential = told(|_| {}).unwrap();
        assert_eq!(
            (credential.spec.secret_ref.name.as_str(), credential.status.unwrap().observed_generation),
            ("source", Some(3))
        );
        let meta = credential.metadata;
        assert!(meta.creation_timestamp.is_some() && meta.deletion_timestamp.is_some());
        assert_eq!((meta.name.as_deref(), meta.namespace.as_deref()), (Some("one"), Some("ns")));
        assert_eq!((meta.uid.as_deref(), meta.resource_version.as_deref()), (Some("u"), Some("7")));
        assert_eq!(meta.generation, Some(3));
        assert_eq!(meta.annotations, Some([(keys::RENEW_REQUESTED.to_owned(), "now".to_owned())].into()));
        let rest = (meta.labels, meta.finalizers, meta.managed_fields, meta.owner_references);
        assert_eq!(rest, (None, None, None, None));
    }

    #[test]
    fn object_that_does_not_fit_is_told_by_its_metadata_and_what_is_wrong() {
        let unreadable = told(|object| object["spec"]["dataCenter"] = "Mars".into()).unwrap_err();
        assert!(unreadable.error.contains("Mars"), "{}", unreadable.error);
        assert_eq!((unreadable.metadata.name.as_deref(), unreadable.metadata.generation), (Some("one"), Some(3)));
        assert!(told(|object| drop(object.as_object_mut().unwrap().remove("spec"))).is_err());
        assert!(told(|object| drop(object.as_object_mut().unwrap().remove("status"))).unwrap().status.is_none());
    }

    #[test]
    fn of_a_status_that_does_not_fit_the_rest_counts_and_the_spec() {
        for odd in ["2026-01-01T00:00:00ZTx", "2026-01-01T00:00:00+99:99"] {
            let status = told(|object| object["status"]["expirationTime"] = odd.into()).unwrap().status.unwrap();
            assert_eq!((status.expiration_time, status.observed_generation), (None, Some(3)), "{odd}");
        }
    }

    #[test]
    fn secret_is_told_whatever_is_nested_in_its_managed_fields() {
        let mut nested = "{}".to_owned();
        for _ in 0..5000 {
            nested = format!("{{\"f:x\":{nested}}}");
        }
        let text = format!(
            r#"{{"kind":"PartialObjectMetadata","metadata":{{"name":"s","namespace":"ns","uid":"u","resourceVersion":"7",
                "annotations":{{"a":"b"}},"ownerReferences":[{{"apiVersion":"v1","kind":"K","name":"n","uid":"o"}}],
                "managedFields":[{{"manager":"x","fieldsV1":{nested}}}]}}}}"#
        );
        let told: SecretMeta = serde_json::from_str(&text).unwrap();
        let ObjectMeta { name, annotations, owner_references, managed_fields, .. } = told.metadata;
        assert_eq!((name.as_deref(), annotations.map(|all| all.len())), (Some("s"), Some(1)));
        assert_eq!((owner_references.map(|all| all.len()), managed_fields), (Some(1), None));
    }
}
