//! What the source Secret means for one credential.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use zoho_api::names::ObjectVersion;
use zoho_api::{ConditionStatus, ConditionType, Grant, Reason, Time, ZohoCredential, keys};

use super::ownership::bounded;
use super::target::TargetSeen;
use super::trust::{Trust, trust};
use super::{Installation, generation, read_refused, source_of};
use crate::issuer::TokenRequest;
use crate::memory::{KnownSource, Memory, Seen};
use crate::plan::{Defect, Source};
use crate::policy::Policy;
use crate::secret::values;
use crate::spec::Served;

/// What a source may say in place of names: every credential of the namespace.
const EVERY: &str = "*";

/// What the source Secret means for one credential.
#[derive(Clone, Debug)]
pub struct SourceSeen {
    /// In which version it was seen; `None` where it does not exist or may not be read.
    pub version: Option<ObjectVersion>,
    /// What it comes to.
    pub source: Source,
    /// How far apart requests with it must be.
    pub spacing: Duration,
    /// Does its refresh token not begin as Zoho's do, as far as is known? It may be right all the same.
    pub is_unmarked: bool,
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
        let message = format!(
            "Secret {name} does not exist. Create it with the keys {keys}; the operator then continues by itself."
        );
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
        let KnownSource { source, spacing, is_unmarked, .. } = known.clone();
        Some(Self { version: Some(version.clone()), source, spacing, is_unmarked, request: None })
    }

    /// As the status says of it: its version is the one that the token in the target was minted from, for this very
    /// spec, and nothing was wrong then. That is about the target in the version that the status names: in another one, such
    /// as an older copy that was put back, may be a token of other inputs. It does not say whether there was consent, so
    /// where that is asked for the Secret is read.
    pub fn by_status(
        credential: &ZohoCredential,
        version: &ObjectVersion,
        target: &TargetSeen,
        served: &Served,
        installation: &Installation,
    ) -> Option<Self> {
        if installation.policy.require_source_consent {
            return None;
        }
        let status = credential.status.as_ref().filter(|_| trust(credential, installation) != Trust::None)?;
        let renewable = status.condition(ConditionType::Renewable)?;
        let nothing_wrong = renewable.status == ConditionStatus::True || renewable.reason == Reason::Suspended.as_str();
        let observed = status.observed.as_ref()?;
        let is_same = observed.source.as_ref() == Some(version)
            && observed.target == target.version
            && status.observed_generation == credential.metadata.generation;
        let token = target.target.token().filter(|_| nothing_wrong && is_same)?;
        let source = Source::Usable { inputs: token.inputs.clone(), ledger: status.ledger.clone()? };
        let (version, spacing) = (Some(version.clone()), served.terms.spacing);
        Some(Self { version, source, spacing, is_unmarked: false, request: None })
    }

    /// As it was read now.
    pub fn read(credential: &ZohoCredential, served: &Served, secret: &Secret, installation: &Installation) -> Self {
        let (version, key) = (Some(ObjectVersion::of(&secret.metadata)), &installation.hash_key);
        match request(credential, served, secret, &installation.policy) {
            Ok(request) => Self {
                version,
                source: Source::Usable { inputs: request.inputs(key), ledger: request.ledger_name(key) },
                spacing: request.spacing(),
                is_unmarked: is_unmarked(credential, secret),
                request: Some(request),
            },
            Err(defect) => Self::unusable(version, defect),
        }
    }

    /// What is worth remembering of it.
    pub fn to_remember(&self, credential: &ZohoCredential) -> Option<KnownSource> {
        let seen = Seen { version: self.version.clone()?, generation: generation(credential) };
        Some(KnownSource { seen, source: self.source.clone(), spacing: self.spacing, is_unmarked: self.is_unmarked })
    }

    fn unusable(version: Option<ObjectVersion>, defect: Defect) -> Self {
        Self { version, source: Source::Unusable(defect), spacing: Duration::ZERO, is_unmarked: false, request: None }
    }
}

/// What is wrong with a source, if something is: what a pass would find.
pub fn source_defect(
    credential: &ZohoCredential,
    secret: Option<&Secret>,
    served: Option<&Served>,
    policy: &Policy,
) -> Option<Defect> {
    match (secret, served) {
        (None, _) => match SourceSeen::absent(credential, served).source {
            Source::Unusable(defect) => Some(defect),
            Source::Usable { .. } => None,
        },
        (Some(secret), Some(served)) => request(credential, served, secret, policy).err(),
        (Some(secret), None) => is_target(secret).then(|| source_is_target(credential)),
    }
}

/// Does a source with this annotation say that a credential may be minted from it?
pub fn consents(annotation: Option<&str>, credential: &str) -> bool {
    annotation.unwrap_or_default().split(',').map(str::trim).any(|name| name == credential || name == EVERY)
}

/// Does it name others than this credential?
pub fn consents_to_others(annotation: Option<&str>, credential: &str) -> bool {
    annotation.unwrap_or_default().split(',').map(str::trim).any(|name| !name.is_empty() && name != credential)
}

/// The annotation with one more credential.
pub fn with_consent(annotation: Option<&str>, credential: &str) -> String {
    match annotation.map(str::trim).filter(|names| !names.is_empty()) {
        Some(names) if consents(Some(names), credential) => names.to_owned(),
        Some(names) => format!("{names},{credential}"),
        None => credential.to_owned(),
    }
}

/// What the issuer is asked with. What is in the source is looked at last: who names a Secret that is not meant for this
/// learns nothing of it.
fn request(
    credential: &ZohoCredential,
    served: &Served,
    secret: &Secret,
    policy: &Policy,
) -> Result<TokenRequest, Defect> {
    if is_target(secret) {
        return Err(source_is_target(credential));
    }
    if let Some(type_) = secret.type_.as_deref().filter(|type_| is_for_something_else(type_)) {
        return Err(invalid(format!(
            "Secret {} has type {}: it is meant for something else, so nothing in it is sent. Put the values into a separate Opaque Secret, and name that one in spec.secretRef.",
            source_of(credential),
            bounded(type_)
        )));
    }
    let annotation = secret.metadata.annotations.as_ref().and_then(|annotations| annotations.get(keys::SOURCE_FOR));
    let name = credential.metadata.name.as_deref().unwrap_or_default();
    if policy.require_source_consent && !consents(annotation.map(String::as_str), name) {
        return Err(no_consent(credential, name));
    }
    let namespace = credential.metadata.namespace.as_deref().unwrap_or_default();
    served.issuer.request(secret, &credential.spec.secret_ref, namespace)
}

/// Is there a refresh token that does not begin as Zoho's do?
fn is_unmarked(credential: &ZohoCredential, secret: &Secret) -> bool {
    let key = credential.spec.secret_ref.refresh_token_key();
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    credential.spec.grant() == Grant::RefreshToken
        && value.is_some_and(|ByteString(bytes)| values::lacks_mark(bytes, values::Kind::RefreshToken))
}

fn is_target(secret: &Secret) -> bool {
    secret.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(keys::CREDENTIAL_UID))
}

/// Types of Secrets that Kubernetes and Helm make and read themselves. User name and password stand in a Secret of type
/// `kubernetes.io/basic-auth` with good reason.
fn is_for_something_else(type_: &str) -> bool {
    ["kubernetes.io/", "bootstrap.kubernetes.io/", "helm.sh/"].iter().any(|prefix| type_.starts_with(prefix))
        && type_ != "kubernetes.io/basic-auth"
}

fn no_consent(credential: &ZohoCredential, name: &str) -> Defect {
    let source = source_of(credential);
    invalid(format!(
        "Secret {source} does not name ZohoCredential {name} as one that may use it, which this operator requires (--require-source-consent). To allow it, the owner of the Secret runs: kubectl annotate secret -n {} {} {}={name}; if the annotation already names others, it must list all names, separated by commas.",
        source.namespace,
        source.name,
        keys::SOURCE_FOR
    ))
}

fn invalid(message: String) -> Defect {
    Defect { reason: Reason::SourceSecretInvalid, message, again_at: None }
}

fn source_is_target(credential: &ZohoCredential) -> Defect {
    Defect {
        reason: Reason::InvalidSpec,
        message: format!(
            "spec.secretRef names {}, which is itself the target of a ZohoCredential. Name the Secret that tokens are minted from.",
            source_of(credential)
        ),
        again_at: None,
    }
}
