//! What the source Secret means for one credential.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use zoho_api::names::ObjectVersion;
use zoho_api::{ConditionStatus, ConditionType, Reason, Time, ZohoCredential, keys};

use super::trust::{Trust, trust};
use super::{Installation, generation, read_refused, source_of};
use crate::issuer::TokenRequest;
use crate::memory::{KnownSource, Memory, Seen};
use crate::plan::{Defect, Source, Target};
use crate::secret::HashKey;
use crate::spec::Served;

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
