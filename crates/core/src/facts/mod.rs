//! The facts of one pass, from what was read. Pure and total: the operator, the plugin and the tests make facts here.
//!
//! [`SourceSeen`] and [`TargetSeen`] say what one Secret means for one credential; [`facts`] joins them with what the
//! process remembers into the [`Facts`] that [`plan`](crate::plan::plan) decides by.

pub mod custody;
pub mod ownership;
pub mod source;
pub mod target;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zoho_api::names::ObjectName;
use zoho_api::{Observed, Reason, Time, ZohoCredential, ZohoMintLedgerSpec, keys};

use self::source::SourceSeen;
use self::target::TargetSeen;
pub use self::trust::{seal_status, was_taken_over};
use crate::memory::{Memory, REFUSED_FOR};
use crate::plan::budget;
use crate::plan::guard::Guard;
use crate::plan::renewal::Renewal;
use crate::plan::verify::Verification;
use crate::plan::{Defect, Facts, Token};
use crate::policy::Policy;
use crate::secret::{self, HashKey, MintedToken};
use crate::spec::Served;

/// Length of a time such as 2026-11-30T20:11:46Z.
const RFC3339: usize = 20;

/// What an installation brings to every decision.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Its name: namespace of the operator, and instance.
    pub name: String,
    /// What the administrator allows.
    pub policy: Policy,
    /// Key of the hashes.
    pub hash_key: HashKey,
    /// It was made in place of one that was lost: what that one sealed is still as it was left.
    pub hash_key_replaces_lost: bool,
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
    /// What never minted and is held back, until when.
    pub guarded_until: Option<(Time, Guard)>,
    /// It may have a token that another object with the same inputs has got.
    pub may_share: bool,
    /// The token in the target is of a former source, whose refresh token is revoked.
    pub former_ended: bool,
}

/// The facts that follow from the readings.
pub fn facts(credential: &ZohoCredential, readings: &Readings, memory: &Memory, now: Time) -> Facts {
    let served = readings.served.as_ref().ok();
    let name = target_of(credential);
    let manager = readings.target.present.as_ref().and_then(target::other_manager);
    Facts {
        deleting: credential.metadata.deletion_timestamp.is_some(),
        defect: readings.served.as_ref().err().cloned(),
        suspended: credential.spec.suspend,
        renewal: served.map_or(Renewal::BeforeExpiry(Duration::ZERO), |served| served.renewal),
        spacing: readings.source.spacing,
        is_login: served.is_some_and(|served| served.terms.is_login),
        namespace: name.namespace.as_ref().to_owned(),
        renew_requested: renew_request(credential).is_some_and(|request| {
            !memory.has_asked(request) && !is_answered_by_another(request, credential, readings, memory)
        }),
        source: readings.source.source.clone(),
        target: readings.target.target.clone(),
        presented_otherwise: readings
            .target
            .present
            .as_ref()
            .zip(served)
            .is_some_and(|(present, served)| secret::is_presented_otherwise(present, served.form())),
        token_ended: readings.former_ended
            || readings
                .target
                .target
                .token()
                .is_some_and(|token| budget::ended(&readings.ledger, &token.inputs).is_some()),
        stored: memory.stored_attempt(&name, generation(credential)).cloned(),
        conflict: memory.conflict(&name, manager.as_deref(), now),
        at_hand: readings.hand.as_ref().map(|token| token.record()),
        verification: readings.verification.clone(),
        ledger: readings.ledger.clone(),
        minting: readings.minting,
        grounded_until: readings.grounded_until.filter(|until| *until <= now + REFUSED_FOR),
        guarded_until: readings.guarded_until,
    }
}

impl Readings {
    /// The token in the target, where its record is proven and it is of the source's inputs.
    pub fn proven_token(&self) -> Option<&Token> {
        let (inputs, _) = self.source.source.usable()?;
        self.target.target.token().filter(|token| self.target.is_proven && token.inputs == *inputs)
    }

    /// What the status may call observed: the target in a version in which it was intact, and the source in the version
    /// that the token in the target was minted from. A restart trusts in it, so it says no more than was done, and nothing
    /// that was done for another generation.
    pub fn observed(&self, memory: &Memory, generation: i64) -> Observed {
        let target = if self.target.is_intact() { self.target.version.clone() } else { None };
        let intact = memory.intact.as_ref().filter(|seen| seen.generation == generation);
        let target = target.or_else(|| intact.map(|seen| seen.version.clone()));
        let minted_from = self.target.target.token().map(|token| &token.inputs);
        let is_of_token = self.source.source.usable().is_some_and(|(inputs, _)| Some(inputs) == minted_from);
        let taken_over = memory.took_over && minted_from.is_none();
        Observed { source: self.source.version.clone().filter(|_| is_of_token), target, taken_over, seal: None }
    }

    /// The token that is worth writing: that of [`to_store`](crate::plan::to_store).
    pub fn token_to_store(&self, facts: &Facts, now: Time) -> Option<&Arc<MintedToken>> {
        let is_at_hand = crate::plan::newer_at_hand(facts, now).is_some();
        self.hand.as_ref().filter(|_| is_at_hand).or(self.target.token.as_ref())
    }
}

/// A longer request for a renewal is none, in bytes.
pub const LONGEST_REQUEST: usize = 64;

/// What the annotation says by which a person asks for a renewal.
pub fn asked(credential: &ZohoCredential) -> Option<&String> {
    let asked = credential.metadata.annotations.as_ref()?.get(keys::RENEW_REQUESTED)?;
    (asked.len() <= LONGEST_REQUEST).then_some(asked)
}

/// A renewal that a person asked for and that the status does not call handled.
pub fn renew_request(credential: &ZohoCredential) -> Option<&String> {
    let asked = asked(credential)?;
    let handled = credential.status.as_ref().and_then(|status| status.last_handled_renew_request.as_ref());
    (Some(asked) != handled && !asked.is_empty()).then_some(asked)
}

/// Is the token in the target what was requested? Where a process has ended between Secret and status, nothing else says that
/// it has acted on the request. So it is where it was minted after the request was made, as far as that says when: those of
/// `kubectl zoho renew` do. What this process has stored is another matter: it knows what it did.
fn is_answered_by_another(request: &str, credential: &ZohoCredential, readings: &Readings, memory: &Memory) -> bool {
    let Some(made_at) = request.get(..RFC3339).and_then(|time| time.parse::<Time>().ok()) else { return false };
    let last_told = credential.status.as_ref().and_then(|status| status.last_mint_time);
    let is_own = |token: &Token| memory.stored.as_ref().is_some_and(|stored| stored.attempt == token.attempt);
    let is_news = |token: &&Token| token.life.issued_at >= made_at && Some(token.life.issued_at) > last_told;
    readings.proven_token().filter(is_news).is_some_and(|token| !is_own(token))
}

/// What of an object's metadata says which one it is and in which state, without anything that others write.
pub fn identity(meta: ObjectMeta) -> ObjectMeta {
    let ObjectMeta { name, namespace, uid, resource_version, .. } = meta;
    let ObjectMeta { generation, creation_timestamp, deletion_timestamp, .. } = meta;
    ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
        deletion_timestamp,
        ..ObjectMeta::default()
    }
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

/// The API server does not show a Secret.
pub fn read_refused(name: &ObjectName, words: &str, now: Time) -> Defect {
    Defect {
        reason: Reason::ReadRefused,
        message: format!(
            "The API server does not let the operator read Secret {name}: {words}. Check its Role and RoleBinding in this namespace; zoho-operator check lists the rights that it needs."
        ),
        again_at: Some(now + REFUSED_FOR),
    }
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
