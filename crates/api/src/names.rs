//! Names of objects and of their states, in types of their own, so that none is taken for another.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Namespace and name of an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// The name of an object in a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The name of the object with this metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One state of one object; written as `uid/resourceVersion`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectVersion {
    /// The object: another one of the same name has another uid.
    pub uid: String,
    /// Its state.
    pub resource_version: String,
}

impl ObjectVersion {
    /// The state of the object with this metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        Self { uid: part(&meta.uid), resource_version: part(&meta.resource_version) }
    }

    /// Is this an older state than `known`, of the same object or of another one of its name? Versions of one resource
    /// are numbers that can be compared (KEP-5504); what is not a number is not called older.
    pub fn is_older_than(&self, known: &Self) -> bool {
        version_number(&self.resource_version)
            .zip(version_number(&known.resource_version))
            .is_some_and(|(this, known)| this < known)
    }
}

/// A resource version as the number that it is compared by; `None` where it is none.
pub fn version_number(resource_version: &str) -> Option<u128> {
    resource_version.parse().ok()
}

impl fmt::Display for ObjectVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.uid, self.resource_version)
    }
}

impl From<&str> for ObjectVersion {
    /// Total: a stored text that is nothing of the kind is a version that no object has.
    fn from(text: &str) -> Self {
        let (uid, resource_version) = text.split_once('/').unwrap_or((text, ""));
        Self { uid: uid.into(), resource_version: resource_version.into() }
    }
}

impl Serialize for ObjectVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(deserializer)?.as_str().into())
    }
}

impl JsonSchema for ObjectVersion {
    fn schema_name() -> Cow<'static, str> {
        "ObjectVersion".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident,)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// As it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string" })
            }
        }
    )+ };
}

names! {
    /// Keyed hash of everything that a token is asked for with, and where: `<key id>.<hash>`.
    InputsDigest,
    /// Name of a `ZohoMintLedger`: keyed hash of what the issuer counts by.
    LedgerName,
    /// Id of one reserved request. Those of one ledger sort in the order of reservation.
    AttemptId,
    /// A process, as it calls itself in leases and ledgers.
    Holder,
}

impl InputsDigest {
    /// Names the key that it was made with.
    pub fn key_id(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers_whatever_object_they_are_of() {
        let older = |this: &str, known: &str| ObjectVersion::from(this).is_older_than(&known.into());
        assert!(older("u/9", "u/10"));
        assert!(older("deleted/9", "recreated/10"), "resource versions belong to the resource, not to the object");
        assert!(!older("u/10", "u/9") && !older("u/9", "u/9"));
        assert!(!older("u/x", "u/9"), "what is not a number is not called older");
    }

    #[test]
    fn stored_text_of_any_form_is_read() {
        for text in ["", "/", "u", "u/1", "u/1/2"] {
            let version: ObjectVersion = text.into();
            assert_eq!(ObjectVersion::from(version.to_string().as_str()), version, "{text}");
        }
    }
}
