//! Whose a Secret is, by its metadata alone. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use zoho_api::names::{ObjectName, is_older, version};
use zoho_api::{Reason, ZohoCredential, keys};

use crate::plan::Defect;
use crate::secret::Stamp;

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

    /// Is this an older state of the same object?
    pub fn is_older_than(&self, known: &Self) -> bool {
        match (self.version.split_once('/'), known.version.split_once('/')) {
            (Some((uid, this)), Some((known_uid, known))) => uid == known_uid && is_older(this, known),
            _ => false,
        }
    }
}

pub enum Ownership {
    Ours(Option<Stamp>),
    /// Nobody controls it, and its owner or its seal may say that it is ours.
    Adoptable,
    Foreign(Option<String>),
}

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

pub fn is_adopted(credential: &ZohoCredential, seen: &SecretSeen) -> bool {
    seen.ours.as_ref().is_some_and(|ours| ours.adopt.is_some() && ours.adopt == credential.metadata.name)
}

pub fn not_owned(credential: &ZohoCredential, name: &ObjectName, owner: Option<&str>) -> Defect {
    let credential = credential.metadata.name.as_deref().unwrap_or_default();
    let message = match owner {
        Some(owner) => {
            format!("Secret {name} belongs to {owner} and is left as it is. Set spec.target.name to another name.")
        }
        None => format!(
            "Secret {name} exists, was not made for this ZohoCredential and is left as it is. Set spec.target.name to another name, or let it be taken over: kubectl annotate secret -n {} {} {}={credential}",
            name.namespace,
            name.name,
            keys::ADOPT,
        ),
    };
    Defect { reason: Reason::TargetNotOwned, message, again_at: None }
}
