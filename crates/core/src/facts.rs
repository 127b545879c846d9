//! The facts of one pass, from what was read. Pure and total: the operator, the plugin and the tests make facts here.
//!
//! [`SourceSeen`] and [`TargetSeen`] say what one Secret means for one credential; [`facts`] joins them with what the
//! process remembers into the [`Facts`] that [`plan`](crate::plan::plan) decides by.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zoho_api::names::{InputsDigest, LedgerName, ObjectName, ObjectVersion};
use zoho_api::{
    ConditionStatus, ConditionType, FIELD_MANAGER, Observed, Reason, Time, ZohoCredential, ZohoCredentialStatus,
    ZohoMintLedgerSpec, keys,
};

use crate::issuer::TokenRequest;
use crate::memory::{KnownSource, Memory, REFUSED_FOR, Seen};
use crate::ownership::{Ownership, SecretSeen, is_adopted, not_owned, ownership};
use crate::plan::renewal::Renewal;
use crate::plan::verify::Verification;
use crate::plan::{Defect, Facts, Source, Target};
use crate::policy::Policy;
use crate::secret::{self, Form, HashKey, MintedToken};
use crate::spec::Served;

/// What an installation brings to every decision.
#[derive(Clone, Debug)]
pub struct Installation {
    /// What the administrator allows.
    pub policy: Policy,
    /// Key of the hashes.
    pub hash_key: HashKey,
    /// It was made in place of one that was lost: what that one sealed is still as it was left.
    pub hash_key_replaces_lost: bool,
}

/// What the source Secret means for one credential.
#[derive(Clone, Debug)]
pub struct SourceSeen {
    /// In which version it was seen; `None` where it does not exist or may not be read.
    pub version: Option<ObjectVersion>,
    /// What it comes to.
    pub source: Source,
    /// How far apart requests with it must be.
    pub spacing: Duration,
    /// What a token would be asked for with, where the Secret itself was read.
    pub request: Option<TokenRequest>,
}

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

/// Everything that one pass has read and that the process remembers, at one instant.
#[derive(Clone, Debug)]
pub struct Readings {
    /// The spec, or why it cannot be served.
    pub served: Result<Served, Defect>,
    /// The source.
    pub source: SourceSeen,
    /// The target.
    pub target: TargetSeen,
    /// The newest token minted from the source's inputs that is known: in memory, or in a former target.
    pub hand: Option<Arc<MintedToken>>,
    /// What the product said of the token.
    pub verification: Option<Verification>,
    /// The ledger of the source's inputs.
    pub ledger: ZohoMintLedgerSpec,
    /// This process is minting from that ledger right now.
    pub minting: bool,
    /// The last flight failed for a reason that the ledger does not know.
    pub grounded_until: Option<Time>,
}

/// The facts that follow from the readings.
pub fn facts(credential: &ZohoCredential, readings: &Readings, memory: &Memory, now: Time) -> Facts {
    let served = readings.served.as_ref().ok();
    let name = target_of(credential);
    let manager = readings.target.present.as_ref().and_then(other_manager);
    Facts {
        deleting: credential.metadata.deletion_timestamp.is_some(),
        defect: readings.served.as_ref().err().cloned(),
        suspended: credential.spec.suspend,
        renewal: served.map_or(Renewal::BeforeExpiry(Duration::ZERO), |served| served.renewal),
        spacing: readings.source.spacing,
        renew_requested: renew_request(credential).is_some_and(|request| memory.asked.as_ref() != Some(request)),
        source: readings.source.source.clone(),
        target: readings.target.target.clone(),
        stored: memory.stored_attempt(&name, generation(credential)).cloned(),
        conflict: memory.conflict(&name, manager.as_deref(), now),
        at_hand: readings.hand.as_ref().map(|token| token.record()),
        verification: readings.verification.clone(),
        ledger: readings.ledger.clone(),
        minting: readings.minting,
        grounded_until: readings.grounded_until.filter(|until| *until <= now + REFUSED_FOR),
    }
}

impl SourceSeen {
    /// Before anything was looked at, where nothing will be.
    pub fn unseen() -> Self {
        Self::unusable(None, Defect { reason: Reason::InvalidSpec, message: String::new(), again_at: None })
    }

    /// There is no such Secret.
    pub fn absent(credential: &ZohoCredential, served: Option<&Served>) -> Self {
        let name = source_of(credential);
        let keys = served.map(|served| served.issuer.required_keys(&credential.spec.secret_ref)).unwrap_or_default();
        let keys = keys.join(", ");
        let message =
            format!("Secret {name} does not exist. Create it with the keys {keys}; the operator goes on by itself.");
        Self::unusable(None, Defect { reason: Reason::SourceSecretNotFound, message, again_at: None })
    }

    /// The API server refuses to show it.
    pub fn refused(credential: &ZohoCredential, words: &str, now: Time) -> Self {
        Self::unusable(None, read_refused(&source_of(credential), words, now))
    }

    /// As it was when it was last read, if it is still the same version, for the same spec.
    pub fn known(credential: &ZohoCredential, version: &ObjectVersion, memory: &Memory) -> Option<Self> {
        let seen = Seen { version: version.clone(), generation: generation(credential) };
        let known = memory.source.as_ref().filter(|known| known.seen == seen)?;
        let (source, spacing) = (known.source.clone(), known.spacing);
        Some(Self { version: Some(version.clone()), source, spacing, request: None })
    }

    /// As the status says of it: its version is the one that the token in the target was minted from, for this very
    /// spec, and nothing was wrong then.
    pub fn by_status(
        credential: &ZohoCredential,
        version: &ObjectVersion,
        target: &Target,
        served: &Served,
        installation: &Installation,
    ) -> Option<Self> {
        let status = credential.status.as_ref().filter(|_| trust(credential, installation) != Trust::None)?;
        let renewable = status.condition(ConditionType::Renewable)?;
        let nothing_wrong = renewable.status == ConditionStatus::True || renewable.reason == Reason::Suspended.as_str();
        let is_same = status.observed.as_ref()?.source.as_ref() == Some(version)
            && status.observed_generation == credential.metadata.generation;
        let token = target.token().filter(|_| nothing_wrong && is_same)?;
        let source = Source::Usable { inputs: token.inputs.clone(), ledger: status.ledger.clone()? };
        Some(Self { version: Some(version.clone()), source, spacing: served.terms.spacing, request: None })
    }

    /// As it was read now.
    pub fn read(credential: &ZohoCredential, served: &Served, secret: &Secret, key: &HashKey) -> Self {
        let version = Some(ObjectVersion::of(&secret.metadata));
        match request(credential, served, secret) {
            Ok(request) => Self {
                version,
                source: Source::Usable { inputs: request.inputs(key), ledger: request.ledger_name(key) },
                spacing: request.spacing(),
                request: Some(request),
            },
            Err(defect) => Self::unusable(version, defect),
        }
    }

    /// What is worth remembering of it.
    pub fn to_remember(&self, credential: &ZohoCredential) -> Option<KnownSource> {
        let seen = Seen { version: self.version.clone()?, generation: generation(credential) };
        Some(KnownSource { seen, source: self.source.clone(), spacing: self.spacing })
    }

    fn unusable(version: Option<ObjectVersion>, defect: Defect) -> Self {
        Self { version, source: Source::Unusable(defect), spacing: Duration::ZERO, request: None }
    }
}

impl TargetSeen {
    /// There is no such Secret.
    pub fn absent() -> Self {
        Self { version: None, target: Target::Absent, token: None, present: None, is_proven: false }
    }

    /// The API server refuses to show it.
    pub fn refused(credential: &ZohoCredential, version: ObjectVersion, words: &str, now: Time) -> Self {
        let defect = read_refused(&target_of(credential), words, now);
        let target = Target::Blocked { defect, token: None };
        Self { version: Some(version), target, token: None, present: None, is_proven: false }
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

    /// Is the target as we would write it?
    pub fn is_intact(&self) -> bool {
        matches!(self.target, Target::Ours { intact: true, .. })
    }
}

impl Readings {
    /// What the status may call observed: the target in a version in which it was intact, and the source in the version
    /// that the token in the target was minted from. A restart trusts in it, so it says no more than was done.
    pub fn observed(&self, memory: &Memory) -> Observed {
        let target = if self.target.is_intact() { self.target.version.clone() } else { None };
        let target = target.or_else(|| memory.intact.as_ref().map(|seen| seen.version.clone()));
        let minted_from = self.target.target.token().map(|token| &token.inputs);
        let is_of_token = self.source.source.usable().is_some_and(|(inputs, _)| Some(inputs) == minted_from);
        Observed { source: self.source.version.clone().filter(|_| is_of_token), target, seal: None }
    }

    /// The token that is worth writing.
    pub fn token_to_store(&self, now: Time) -> Option<&Arc<MintedToken>> {
        let held = self.target.token.as_ref();
        let inputs = self.source.source.usable().map(|(inputs, _)| inputs);
        let is_better = |hand: &&Arc<MintedToken>| {
            held.filter(|held| held.life.is_alive(now)).is_none_or(|held| {
                inputs.is_some_and(|inputs| held.inputs != *inputs) || hand.record().supersedes(&held.record(), now)
            })
        };
        self.hand.as_ref().filter(is_better).or(held)
    }
}

/// Must the ledger of these inputs exist? Yes where the token in the target was minted from them. And where what we
/// stamped there is of another hash key: then there was a ledger that is not to be found by this key, and tokens that it
/// counted may be alive.
pub fn is_ledger_expected(
    credential: &ZohoCredential,
    target: &Target,
    seen: Option<&SecretSeen>,
    inputs: &InputsDigest,
    key: &HashKey,
) -> bool {
    if target.token().is_some_and(|token| token.inputs == *inputs) {
        return true;
    }
    let ours = seen.and_then(|seen| seen.ours.as_ref());
    let ours = ours.filter(|ours| ours.controller_uid == credential.metadata.uid);
    ours.and_then(|ours| ours.stamp.as_ref()).is_some_and(|stamp| !key.made(&stamp.inputs))
}

/// What its metadata says of a target, to somebody without the key to check its seal: `kubectl zoho describe`.
pub fn target_by_metadata(credential: &ZohoCredential, meta: &ObjectMeta) -> Target {
    match ownership(credential, &SecretSeen::of(meta)) {
        Ownership::Foreign(owner) => foreign(credential, owner.as_deref()),
        Ownership::Ours(stamp) => Target::Ours { token: stamp.map(|stamp| stamp.token()), intact: true },
        Ownership::Adoptable => Target::Ours { token: None, intact: true },
    }
}

/// What is wrong with a source, if something is: what a pass would find.
pub fn source_defect(credential: &ZohoCredential, secret: Option<&Secret>, served: Option<&Served>) -> Option<Defect> {
    match (secret, served) {
        (None, _) => match SourceSeen::absent(credential, served).source {
            Source::Unusable(defect) => Some(defect),
            Source::Usable { .. } => None,
        },
        (Some(secret), Some(served)) => request(credential, served, secret).err(),
        (Some(secret), None) => is_target(secret).then(|| source_is_target(credential)),
    }
}

/// A renewal that a person asked for and that the status does not call handled.
pub fn renew_request(credential: &ZohoCredential) -> Option<&String> {
    let asked = credential.metadata.annotations.as_ref()?.get(keys::RENEW_REQUESTED)?;
    let handled = credential.status.as_ref().and_then(|status| status.last_handled_renew_request.as_ref());
    (Some(asked) != handled && asked.len() <= 64 && !asked.is_empty()).then_some(asked)
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

/// `metadata.generation`.
pub fn generation(credential: &ZohoCredential) -> i64 {
    credential.metadata.generation.unwrap_or_default()
}

/// Namespace and name of the source Secret.
pub fn source_of(credential: &ZohoCredential) -> ObjectName {
    ObjectName::new(credential.metadata.namespace.as_deref().unwrap_or_default(), &credential.spec.secret_ref.name)
}

/// Namespace and name of the target Secret.
pub fn target_of(credential: &ZohoCredential) -> ObjectName {
    ObjectName::new(credential.metadata.namespace.as_deref().unwrap_or_default(), &credential.target_name())
}

/// How far what is known of a state of things goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Nobody vouches for it.
    None,
    /// It is as an installation left it whose key is lost: it is left alone, and proves nothing.
    LeftAlone,
    /// This process has seen it, or this installation has sealed it.
    Proven,
}

/// Was the target seen to be intact in this version: by this process, or by the one that wrote the status?
fn is_as_we_left_it(
    credential: &ZohoCredential,
    version: &ObjectVersion,
    memory: &Memory,
    installation: &Installation,
) -> Trust {
    let seen = Seen { version: version.clone(), generation: generation(credential) };
    if memory.intact.as_ref() == Some(&seen) {
        return Trust::Proven;
    }
    let says_so = credential.status.as_ref().is_some_and(|status| {
        status.observed_generation == Some(seen.generation)
            && status.observed.as_ref().and_then(|observed| observed.target.as_ref()) == Some(version)
    });
    if says_so { trust(credential, installation) } else { Trust::None }
}

/// Seals what a status that is about to be written says of versions.
pub fn seal_status(credential: &ZohoCredential, status: &mut ZohoCredentialStatus, key: &HashKey) {
    let sealed = seal(credential, status, key);
    if let Some(observed) = &mut status.observed {
        observed.seal = Some(sealed);
    }
}

/// How far the versions in the status can be believed.
fn trust(credential: &ZohoCredential, installation: &Installation) -> Trust {
    let Some(status) = &credential.status else { return Trust::None };
    let Some(sealed) = status.observed.as_ref().and_then(|observed| observed.seal.as_ref()) else { return Trust::None };
    if *sealed == seal(credential, status, &installation.hash_key) {
        Trust::Proven
    } else if installation.hash_key_replaces_lost && !installation.hash_key.made(&sealed.as_str().into()) {
        Trust::LeftAlone
    } else {
        Trust::None
    }
}

/// Keyed hash of what a status calls observed.
fn seal(credential: &ZohoCredential, status: &ZohoCredentialStatus, key: &HashKey) -> String {
    let text = |version: Option<&ObjectVersion>| version.map(ToString::to_string).unwrap_or_default();
    let observed = status.observed.as_ref();
    let source = text(observed.and_then(|observed| observed.source.as_ref()));
    let target = text(observed.and_then(|observed| observed.target.as_ref()));
    let generation = status.observed_generation.unwrap_or_default().to_string();
    let ledger = status.ledger.as_ref().map(LedgerName::as_str).unwrap_or_default();
    let uid = credential.metadata.uid.as_deref().unwrap_or_default();
    key.seal_of_status(&[uid, &generation, &source, &target, ledger])
}

/// What the issuer is asked with.
fn request(credential: &ZohoCredential, served: &Served, secret: &Secret) -> Result<TokenRequest, Defect> {
    if is_target(secret) {
        return Err(source_is_target(credential));
    }
    let namespace = credential.metadata.namespace.as_deref().unwrap_or_default();
    served.issuer.request(secret, &credential.spec.secret_ref, namespace)
}

fn is_target(secret: &Secret) -> bool {
    secret.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(keys::CREDENTIAL_UID))
}

/// Who wrote it beside us, as far as its managed fields say.
fn other_manager(secret: &Secret) -> Option<String> {
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

fn source_is_target(credential: &ZohoCredential) -> Defect {
    Defect {
        reason: Reason::InvalidSpec,
        message: format!(
            "spec.secretRef names {}, which is itself the target of a ZohoCredential. Name the Secret that the token is to be minted from.",
            source_of(credential)
        ),
        again_at: None,
    }
}

fn read_refused(name: &ObjectName, words: &str, now: Time) -> Defect {
    Defect {
        reason: Reason::ReadRefused,
        message: format!("The API server does not let the operator read Secret {name}: {words}."),
        again_at: Some(now + REFUSED_FOR),
    }
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
