//! What a writer knows of the source: what it has read itself, or what the status says that the token in the target was
//! made from. Both are the product's own functions; only the API server between them is played.

use std::sync::OnceLock;

use zoho_api::names::{InputsDigest, ObjectVersion};
use zoho_api::{
    Condition, ConditionStatus, ConditionType, Observed, Reason, ZohoCredential, ZohoCredentialStatus,
    ZohoMintLedgerSpec,
};
use zoho_core::facts::source::SourceSeen;
use zoho_core::facts::target::TargetSeen;
use zoho_core::facts::{self, Installation, Readings};
use zoho_core::memory::Memory;
use zoho_core::plan::{Source, Target};
use zoho_core::policy::Policy;
use zoho_core::secret::HashKey;
use zoho_core::spec::{self, Served};

use super::world::start;

/// The ledger of all sources: one refresh token, whatever else changes. Its tokens have no jitter.
const LEDGER: &str = "0000";

/// What is sent with this version of the source.
pub(super) fn inputs(source: u8) -> InputsDigest {
    format!("inputs{source}").into()
}

/// This version of the source, as it is when it is read.
pub(super) fn usable(source: u8) -> Source {
    Source::Usable { inputs: inputs(source), ledger: LEDGER.into() }
}

/// What a restarted process takes the source for, where the status spares it the read.
pub(super) fn by_status(status: Option<u8>, source: u8, target: &Target) -> Option<Source> {
    let Credential { served, installation, .. } = credential();
    let credential = with_status(status);
    let observed = credential.status.as_ref().and_then(|status| status.observed.as_ref());
    let unchanged = observed.and_then(|observed| observed.target.clone());
    let target = TargetSeen { version: unchanged, target: target.clone(), ..TargetSeen::absent() };
    let seen = SourceSeen::by_status(&credential, &version(source), &target, served, installation)?;
    Some(seen.source)
}

/// The version of the source that the status may call observed, beside this target.
pub(super) fn observed(source: &Source, seen: u8, target: &Target) -> Option<u8> {
    let source = SourceSeen { version: Some(version(seen)), source: source.clone(), ..SourceSeen::unseen() };
    let readings = Readings {
        served: Ok(credential().served.clone()),
        source,
        target: TargetSeen { target: target.clone(), ..TargetSeen::absent() },
        hand: None,
        verification: None,
        ledger: ZohoMintLedgerSpec::default(),
        minting: false,
        grounded_until: None,
        guarded_until: None,
        may_share: true,
        former_ended: false,
    };
    let observed = readings.observed(&Memory::default(), 1).source;
    observed.is_some().then_some(seen)
}

fn version(source: u8) -> ObjectVersion {
    ObjectVersion { uid: "source".into(), resource_version: source.to_string() }
}

struct Credential {
    object: ZohoCredential,
    served: Served,
    installation: Installation,
}

/// The one object that is served.
fn credential() -> &'static Credential {
    static CREDENTIAL: OnceLock<Credential> = OnceLock::new();
    CREDENTIAL.get_or_init(|| {
        let object = serde_json::json!({
            "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential",
            "metadata": { "namespace": "team", "name": "crm", "uid": "uid", "generation": 1 },
            "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } },
        });
        let object: ZohoCredential = serde_json::from_value(object).expect("a credential");
        let policy = Policy { operator_namespace: "zoho-system".into(), ..Policy::default() };
        let served = spec::check(&object, &policy).expect("a spec that can be served");
        let hash_key = HashKey::new(&[7; HashKey::BYTES]).expect("a key");
        let installation = Installation { name: "ours/one".into(), policy, hash_key, hash_key_replaces_lost: false };
        Credential { object, served, installation }
    })
}

/// The object with the status that a pass without complaint has written.
fn with_status(observed: Option<u8>) -> ZohoCredential {
    let Credential { object, installation, .. } = credential();
    let mut status = ZohoCredentialStatus {
        observed_generation: Some(1),
        ledger: Some(LEDGER.into()),
        observed: Some(Observed { source: observed.map(version), ..Observed::default() }),
        conditions: vec![Condition {
            type_: ConditionType::Renewable.as_str().into(),
            status: ConditionStatus::True,
            reason: Reason::TokenValid.as_str().into(),
            message: String::new(),
            observed_generation: 1,
            last_transition_time: start(),
        }],
        ..ZohoCredentialStatus::default()
    };
    facts::seal_status(object, &mut status, &installation.hash_key);
    ZohoCredential { status: Some(status), ..object.clone() }
}
