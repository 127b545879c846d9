//! What is where the token belongs, and how it should be.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zoho_api::names::{InputsDigest, ObjectVersion};
use zoho_api::{FIELD_MANAGER, Reason, Time, ZohoCredential};

use super::custody::longest_life;
use super::ownership::{Ownership, SecretSeen, is_adopted, is_opaque, not_opaque, not_owned, ownership};
use super::trust::{Trust, is_as_we_left_it};
use super::{Installation, read_refused, target_of};
use crate::memory::Memory;
use crate::plan::budget::KEPT;
use crate::plan::guard::ACCOUNT_KEPT;
use crate::plan::renewal::Life;
use crate::plan::{Defect, Target};
use crate::secret::{self, Form, HashKey, MintedToken};
use crate::spec::Served;

/// What is where the token belongs.
#[derive(Clone, Debug)]
pub struct TargetSeen {
    /// In which version it was seen; `None` where there is none.
    pub version: Option<ObjectVersion>,
    /// What it comes to.
    pub target: Target,
    /// The token in it, where it was read and its seal is right.
    pub token: Option<Arc<MintedToken>>,
    /// The Secret itself, where it was read.
    pub present: Option<Secret>,
    /// Its record was proven: by its seal, or by the version that this installation left.
    pub is_proven: bool,
}

impl TargetSeen {
    /// There is no such Secret.
    pub fn absent() -> Self {
        Self { version: None, target: Target::Absent, token: None, present: None, is_proven: false }
    }

    /// The API server refuses to show it.
    pub fn refused(credential: &ZohoCredential, version: Option<ObjectVersion>, words: &str, now: Time) -> Self {
        let defect = read_refused(&target_of(credential), words, now);
        let target = Target::Blocked { defect, token: None };
        Self { version, target, token: None, present: None, is_proven: false }
    }

    /// What its metadata says. `None` where it has to be read: it may be ours, and it is not known to be as we left it.
    pub fn by_metadata(
        credential: &ZohoCredential,
        seen: &SecretSeen,
        memory: &Memory,
        installation: &Installation,
    ) -> Option<Self> {
        let trust = is_as_we_left_it(credential, &seen.version, memory, installation);
        let target = match ownership(credential, seen) {
            Ownership::Foreign(owner) => foreign(credential, owner.as_deref()),
            // What an installation stamped whose key is lost is not of our key: else the Secret is read, and its seal counts.
            // The same where it would live longer than any token does.
            Ownership::Ours(Some(stamp))
                if trust == Trust::LeftAlone
                    && (installation.hash_key.made(&stamp.inputs) || stamp.life.span() > longest_life(credential)) =>
            {
                return None;
            }
            Ownership::Ours(stamp) if trust != Trust::None => {
                Target::Ours { token: stamp.map(|stamp| stamp.token()), intact: true }
            }
            Ownership::Ours(_) | Ownership::Adoptable => return None,
        };
        let is_proven = trust == Trust::Proven;
        Some(Self { version: Some(seen.version.clone()), target, token: None, present: None, is_proven })
    }

    /// As it was read now.
    pub fn read(
        credential: &ZohoCredential,
        secret: Secret,
        served: Option<&Served>,
        installation: &Installation,
    ) -> Self {
        let seen = SecretSeen::of(&secret.metadata);
        let token = secret::recover(&secret, credential, &installation.hash_key).map(Arc::new);
        let record = token.as_ref().map(|token| token.record());
        let target = match ownership(credential, &seen) {
            Ownership::Foreign(owner) => foreign(credential, owner.as_deref()),
            Ownership::Adoptable if token.is_none() && !is_adopted(credential, &seen) => foreign(credential, None),
            Ownership::Adoptable if !is_opaque(secret.type_.as_deref()) => {
                let defect = not_opaque(&target_of(credential), secret.type_.as_deref().unwrap_or_default());
                Target::Blocked { defect, token: None }
            }
            _ if secret.immutable == Some(true) => Target::Blocked { token: record, defect: immutable(credential) },
            Ownership::Ours(_) | Ownership::Adoptable => {
                let wanted = token.as_ref().and_then(|token| render(credential, token, served, installation).ok());
                let intact = wanted.is_some_and(|wanted| secret::is_intact(&secret, &wanted));
                Target::Ours { token: record, intact }
            }
        };
        let is_proven = token.is_some();
        Self { version: Some(seen.version), target, token, present: Some(secret), is_proven }
    }

    /// How many keys the Secret loses by a write of `wanted` with which it is taken over; `None` where it is ours already, or
    /// not there.
    pub fn keys_lost_by_adoption(&self, credential: &ZohoCredential, wanted: &Secret) -> Option<usize> {
        let present = self.present.as_ref()?;
        if ownership(credential, &SecretSeen::of(&present.metadata)) != Ownership::Adoptable {
            return None;
        }
        let stays = |key: &String| wanted.data.as_ref().is_some_and(|data| data.contains_key(key));
        Some(present.data.iter().flatten().filter(|(key, _)| !stays(key)).count())
    }

    /// Is the target as we would write it?
    pub fn is_intact(&self) -> bool {
        matches!(self.target, Target::Ours { intact: true, .. })
    }
}

/// Must the ledger of these inputs exist? Yes where the token in the target was minted from them. And where what we
/// stamped there is of another hash key: then there was a ledger that is not to be found by this key, and tokens that it
/// counted may be alive. Not where the object was taken over from another installation, which keeps ledgers of its own. And not
/// for a token that was minted so long ago that its ledger may have been deleted, since nothing referred to it any more.
pub fn is_ledger_expected(
    credential: &ZohoCredential,
    target: &Target,
    seen: Option<&SecretSeen>,
    inputs: &InputsDigest,
    (key, took_over): (&HashKey, bool),
    now: Time,
) -> bool {
    let kept = if credential.spec.endpoint_central_server.is_some() { ACCOUNT_KEPT } else { KEPT };
    let is_kept = |life: Life| life.issued_at + kept > now;
    if target.token().is_some_and(|token| token.inputs == *inputs && is_kept(token.life)) {
        return true;
    }
    if took_over {
        return false;
    }
    let ours = seen.and_then(|seen| seen.ours.as_ref());
    let ours = ours.filter(|ours| ours.controller_uid == credential.metadata.uid);
    ours.and_then(|ours| ours.stamp.as_ref()).is_some_and(|stamp| !key.made(&stamp.inputs) && is_kept(stamp.life))
}

/// What its metadata says of a target, to somebody without the key to check its seal: `kubectl zoho describe`.
pub fn target_by_metadata(credential: &ZohoCredential, meta: &ObjectMeta) -> Target {
    match ownership(credential, &SecretSeen::of(meta)) {
        Ownership::Foreign(owner) => foreign(credential, owner.as_deref()),
        Ownership::Ours(stamp) => Target::Ours { token: stamp.map(|stamp| stamp.token()), intact: true },
        Ownership::Adoptable => Target::Ours { token: None, intact: true },
    }
}

/// The target as it should be with this token.
///
/// # Errors
///
/// See [`secret::render_target`]; not for a spec that can be served.
pub fn render(
    credential: &ZohoCredential,
    token: &MintedToken,
    served: Option<&Served>,
    installation: &Installation,
) -> Result<Secret, Defect> {
    let nothing = Form { scheme: "", has_expiry: true, api_url: None };
    let form = served.map_or(nothing, Served::form);
    secret::render_target(credential, token, form, &installation.policy.labels, &installation.hash_key)
}

/// Who wrote it beside us, as far as its managed fields say.
pub(super) fn other_manager(secret: &Secret) -> Option<String> {
    let managers = secret.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.manager.clone());
    managers.into_iter().find(|manager| manager != FIELD_MANAGER)
}

fn foreign(credential: &ZohoCredential, owner: Option<&str>) -> Target {
    Target::Blocked { defect: not_owned(credential, &target_of(credential), owner), token: None }
}

fn immutable(credential: &ZohoCredential) -> Defect {
    let name = target_of(credential);
    Defect {
        reason: Reason::TargetImmutable,
        message: format!(
            "Secret {name} is immutable, so its token cannot be renewed. Delete it (kubectl delete secret -n {} {}); the operator creates it again.",
            name.namespace, name.name
        ),
        again_at: None,
    }
}
