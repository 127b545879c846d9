//! Whose a Secret is, by its metadata alone. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use zoho_api::names::{ObjectName, ObjectVersion};
use zoho_api::{Reason, ZohoCredential, keys};

use super::identity;
use crate::mirror::Versioned;
use crate::plan::Defect;
use crate::secret::Stamp;
use crate::text::printable;

/// What is kept of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSeen {
    /// Its state.
    pub version: ObjectVersion,
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
            controller_uid: controller.map(|owner| bounded(&owner.uid)),
            controller: controller.map(|owner| format!("{} {}", shown(&owner.kind), shown(&owner.name))),
            stamp: Stamp::read(annotations),
            adopt: annotations.get(keys::ADOPT).map(|name| bounded(name)),
        };
        let marked = ours.controller_uid.is_some() || ours.stamp.is_some() || ours.adopt.is_some();
        Self { version: ObjectVersion::of(meta), ours: marked.then(|| Box::new(ours)) }
    }

    /// The metadata without what [`Self::of`] does not ask about, each part as long as it is asked for.
    pub fn kept_of(mut meta: ObjectMeta) -> ObjectMeta {
        let owners = meta.owner_references.take().unwrap_or_default();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| OwnerReference {
            controller: owner.controller,
            uid: bounded(&owner.uid),
            kind: bounded(&owner.kind),
            name: bounded(&owner.name),
            ..OwnerReference::default()
        });
        let annotations = meta.annotations.take().unwrap_or_default();
        let annotations = ASKED_FOR.iter().filter_map(|key| Some(((*key).to_owned(), bounded(annotations.get(*key)?))));
        let (owner_references, annotations) = (controller.map(|owner| vec![owner]), Some(annotations.collect()));
        ObjectMeta { owner_references, annotations, ..identity(meta) }
    }
}

/// Annotations that are read of a Secret's metadata.
const ASKED_FOR: [&str; 5] = [keys::ISSUED_AT, keys::EXPIRES_AT, keys::MINTED_FROM, keys::ATTEMPT, keys::ADOPT];

impl Versioned for SecretSeen {
    fn uid(&self) -> &str {
        &self.version.uid
    }

    fn resource_version(&self) -> &str {
        &self.version.resource_version
    }
}

/// What others write is kept up to this many bytes: anybody may create Secrets, and no uid or name is longer.
const LONGEST_KEPT: usize = 253;

pub(super) fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_KEPT)].to_owned()
}

fn shown(text: &str) -> String {
    let mut shown = printable(text, LONGEST_KEPT);
    shown.truncate(shown.floor_char_boundary(LONGEST_KEPT));
    shown
}

/// Whose a Secret of the target's name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The credential controls it; with the record of its token, where that can be read.
    Ours(Option<Stamp>),
    /// Nobody controls it, and its owner or its seal may say that it is ours.
    Adoptable,
    /// Somebody else's: kind and name of who controls it, if one does.
    Foreign(Option<String>),
}

/// Whose is it? Total: what says nothing is foreign.
pub fn ownership(credential: &ZohoCredential, seen: &SecretSeen) -> Ownership {
    let Some(ours) = &seen.ours else { return Ownership::Foreign(None) };
    let OursSeen { controller_uid, controller, stamp, .. } = &**ours;
    match controller_uid {
        Some(uid) if Some(uid) == credential.metadata.uid.as_ref() => Ownership::Ours(stamp.clone()),
        Some(_) => Ownership::Foreign(controller.clone()),
        None if stamp.is_some() || is_adopted(credential, seen) => Ownership::Adoptable,
        None => Ownership::Foreign(None),
    }
}

/// Does its owner let this credential take it over?
pub fn is_adopted(credential: &ZohoCredential, seen: &SecretSeen) -> bool {
    seen.ours.as_ref().is_some_and(|ours| ours.adopt.is_some() && ours.adopt == credential.metadata.name)
}

/// What to report of a Secret that is not ours, and what to do.
pub fn not_owned(credential: &ZohoCredential, name: &ObjectName, owner: Option<&str>) -> Defect {
    let credential = credential.metadata.name.as_deref().unwrap_or_default();
    let message = match owner {
        Some(owner) => {
            format!("Secret {name} belongs to {owner} and is left as it is. Set spec.target.name to another name.")
        }
        None => format!(
            "Secret {name} exists, was not created for this ZohoCredential and is left as it is. Set spec.target.name to another name, or let the operator take it over, which removes every key that spec.target does not define: kubectl annotate secret -n {} {} {}={credential}",
            name.namespace,
            name.name,
            keys::ADOPT,
        ),
    };
    Defect { reason: Reason::TargetNotOwned, message, again_at: None }
}

/// What to report of a Secret that could be taken over, were it not for its type. Only Opaque ones are: the type of a Secret
/// cannot be changed, and others have a meaning to somebody.
pub fn not_opaque(name: &ObjectName, type_: &str) -> Defect {
    let message = format!(
        "Secret {name} has type {}, which cannot be changed, and a target must be Opaque, so the operator does not take it over. Set spec.target.name to another name, or delete it if nobody needs it: kubectl delete secret -n {} {}",
        bounded(type_),
        name.namespace,
        name.name
    );
    Defect { reason: Reason::TargetNotOwned, message, again_at: None }
}

/// Is it of the type that a Secret has by default?
pub fn is_opaque(type_: Option<&str>) -> bool {
    matches!(type_, None | Some("" | "Opaque"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn credential() -> ZohoCredential {
        serde_json::from_value(json!({
            "metadata": { "name": "patch", "namespace": "ns", "uid": "mine" },
            "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } },
        }))
        .unwrap()
    }

    fn controlled_by(uid: &str) -> serde_json::Value {
        json!([{ "apiVersion": "v1", "kind": "Thing", "name": "owner", "uid": uid, "controller": true }])
    }

    fn of(meta: serde_json::Value) -> Ownership {
        let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
        ownership(&credential(), &SecretSeen::of(&meta))
    }

    fn stamped() -> serde_json::Value {
        json!({
            keys::ISSUED_AT: "2026-01-01T00:00:00Z",
            keys::EXPIRES_AT: "2026-01-01T01:00:00Z",
            keys::MINTED_FROM: "k.1",
            keys::ATTEMPT: "a",
        })
    }

    #[test]
    fn secret_without_marks_is_foreign() {
        assert_eq!(of(json!({ "name": "s" })), Ownership::Foreign(None));
    }

    #[test]
    fn secret_that_another_object_controls_is_foreign_whatever_it_says() {
        let meta = json!({ "ownerReferences": controlled_by("other"), "annotations": stamped() });
        assert_eq!(of(meta), Ownership::Foreign(Some("Thing owner".into())));
        let meta = json!({ "ownerReferences": controlled_by("other"), "annotations": { keys::ADOPT: "patch" } });
        assert_eq!(of(meta), Ownership::Foreign(Some("Thing owner".into())));
    }

    #[test]
    fn secret_of_a_former_object_of_this_name_is_foreign() {
        let mut owner = controlled_by("recreated");
        owner[0]["kind"] = "ZohoCredential".into();
        owner[0]["name"] = "patch".into();
        assert!(matches!(of(json!({ "ownerReferences": owner })), Ownership::Foreign(Some(_))));
    }

    #[test]
    fn secret_that_the_credential_controls_is_ours() {
        assert!(matches!(of(json!({ "ownerReferences": controlled_by("mine") })), Ownership::Ours(None)));
        let meta = json!({ "ownerReferences": controlled_by("mine"), "annotations": stamped() });
        assert!(matches!(of(meta), Ownership::Ours(Some(_))));
    }

    #[test]
    fn owner_that_is_not_the_controller_owns_nothing() {
        let mut owner = controlled_by("mine");
        owner[0]["controller"] = false.into();
        assert_eq!(of(json!({ "ownerReferences": owner })), Ownership::Foreign(None));
    }

    #[test]
    fn nothing_that_others_write_is_kept_at_any_length() {
        let long = "ü".repeat(600_000);
        let mut owner = controlled_by(&long);
        owner[0]["kind"] = long.clone().into();
        owner[0]["name"] = long.clone().into();
        let mut annotations = stamped();
        for annotation in [keys::MINTED_FROM, keys::ATTEMPT, keys::ADOPT] {
            annotations[annotation] = long.clone().into();
        }
        annotations["foreign"] = long.clone().into();
        let others = json!({ long.clone(): long.clone() });
        let meta =
            json!({ "ownerReferences": owner, "annotations": annotations, "labels": others, "finalizers": [long] });
        let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
        let kept = format!("{:?}", SecretSeen::of(&meta)).len();
        assert!(kept < 2000, "{kept} bytes of 3.6 MB");
        let kept = format!("{:?}", SecretSeen::kept_of(meta)).len();
        assert!(kept < 3000, "{kept} bytes of 6 MB");
    }

    #[test]
    fn what_is_kept_of_metadata_says_the_same() {
        let mut owners = controlled_by("mine");
        let other = json!({ "apiVersion": "v1", "kind": "Other", "name": "other", "uid": "other" });
        owners.as_array_mut().unwrap().insert(0, other);
        let mut adopt = stamped();
        adopt[keys::ADOPT] = "patch".into();
        for meta in [
            json!({}),
            json!({ "ownerReferences": owners, "annotations": stamped() }),
            json!({ "annotations": adopt }),
            json!({ "annotations": { keys::ATTEMPT: "ü".repeat(65) } }),
            json!({ "annotations": { keys::ADOPT: "x".repeat(300) } }),
        ] {
            let mut meta: ObjectMeta = serde_json::from_value(meta).unwrap();
            (meta.uid, meta.resource_version) = (Some("u".into()), Some("7".into()));
            assert_eq!(SecretSeen::of(&SecretSeen::kept_of(meta.clone())), SecretSeen::of(&meta));
        }
    }

    #[test]
    fn consent_and_stamp_let_a_secret_without_controller_be_looked_at() {
        assert_eq!(of(json!({ "annotations": { keys::ADOPT: "patch" } })), Ownership::Adoptable);
        assert_eq!(of(json!({ "annotations": stamped() })), Ownership::Adoptable);
        assert_eq!(of(json!({ "annotations": { keys::ADOPT: "another" } })), Ownership::Foreign(None));
        assert_eq!(
            of(json!({ "labels": { keys::CREDENTIAL_UID: "mine" } })),
            Ownership::Foreign(None),
            "a label is no consent"
        );
    }
}
