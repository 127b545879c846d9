//! What is known of one credential, from what was read of it. Pure.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zoho_api::names::ObjectName;
use zoho_api::{ConditionStatus, ConditionType, Reason, ZohoCredential, keys};

use crate::ownership::{Ownership, SecretSeen, not_owned, ownership};
use crate::plan::{Defect, Source, Target, Token};
use crate::secret::{MintedToken, Stamp};
use crate::spec::Served;

pub fn foreign(defect: Defect) -> Target {
    Target::Blocked { defect, token: None }
}

/// What its metadata says of a target, to somebody without the key to check its seal: `kubectl zoho describe`.
pub fn target_by_metadata(credential: &ZohoCredential, meta: &ObjectMeta) -> Target {
    let name = ObjectName::of(meta);
    match ownership(credential, &SecretSeen::of(meta)) {
        Ownership::Foreign(owner) => foreign(not_owned(credential, &name, owner.as_deref())),
        Ownership::Ours(stamp) => {
            let token = stamp.map(|Stamp { life, inputs, attempt }| Token { life, inputs, attempt });
            Target::Ours { token, intact: true }
        }
        Ownership::Adoptable => Target::Ours { token: None, intact: true },
    }
}

/// What is wrong with a source, if something is: what a pass would find.
pub fn source_defect(
    credential: &ZohoCredential,
    namespace: &str,
    secret: Option<&Secret>,
    served: Option<&Served>,
) -> Option<Defect> {
    let reference = &credential.spec.secret_ref;
    let name = ObjectName::new(namespace, &reference.name);
    match (secret, served) {
        (None, _) => Some(not_found(credential, &name, served)),
        (Some(secret), _) if is_target(secret) => Some(source_is_target(&name)),
        (Some(secret), Some(served)) => served.issuer.request(secret, reference, namespace).err(),
        (Some(_), None) => None,
    }
}

pub fn record(token: &MintedToken) -> Token {
    Token { life: token.life, inputs: token.inputs.clone(), attempt: token.attempt.clone() }
}

/// A renewal that a person asked for and that the status does not call handled.
pub fn renew_request(credential: &ZohoCredential) -> Option<&String> {
    let asked = credential.metadata.annotations.as_ref()?.get(keys::RENEW_REQUESTED)?;
    let handled = credential.status.as_ref().and_then(|status| status.last_handled_renew_request.as_ref());
    (Some(asked) != handled && asked.len() <= 64 && !asked.is_empty()).then_some(asked)
}

/// The source as the status tells of it: its version is the one that the token in the target was minted from, and
/// nothing was wrong then.
pub fn remembered(credential: &ZohoCredential, seen: &str, target: &Target) -> Option<Source> {
    let status = credential.status.as_ref()?;
    let observed = status.observed.as_ref()?;
    let renewable = status.condition(ConditionType::Renewable)?;
    let nothing_wrong = renewable.status == ConditionStatus::True || renewable.reason == Reason::Suspended.as_str();
    let same = observed.source.as_deref() == Some(seen) && status.observed_generation == credential.metadata.generation;
    let token = target.token().filter(|_| nothing_wrong && same)?;
    Some(Source::Usable { inputs: token.inputs.clone(), ledger: status.ledger.clone()? })
}

pub fn is_target(secret: &Secret) -> bool {
    secret.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(keys::CREDENTIAL_UID))
}

pub fn source_is_target(name: &ObjectName) -> Defect {
    Defect {
        reason: Reason::InvalidSpec,
        message: format!(
            "spec.secretRef names {name}, which is itself the target of a ZohoCredential. Name the Secret that the token is to be made from."
        ),
        again_at: None,
    }
}

pub fn unread() -> Defect {
    Defect { reason: Reason::InvalidSpec, message: String::new(), again_at: None }
}

pub fn not_found(credential: &ZohoCredential, name: &ObjectName, served: Option<&Served>) -> Defect {
    let keys = served.map(|served| served.issuer.required_keys(&credential.spec.secret_ref)).unwrap_or_default();
    let keys = keys.join(", ");
    Defect {
        reason: Reason::SourceSecretNotFound,
        message: format!(
            "Secret {name} does not exist. Create it with the keys {keys}; the operator goes on by itself."
        ),
        again_at: None,
    }
}
