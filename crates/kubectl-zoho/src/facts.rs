//! What the caller may read of one credential, and the plan that the operator's own decision code makes of it.
//!
//! The operator knows more: the key of the hashes, what it has in memory. Where the caller sees less, the status stands
//! in, and what could not be seen is told.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::core::PartialObjectMeta;

use super::args::Global;
use super::connect::{Cluster, operator_policy};
use super::installation::Installation;
use zoho_api::names::{AttemptId, InputsDigest, ObjectVersion};
use zoho_api::{
    ConditionStatus, ConditionType, Reason, Time, ZohoCredential, ZohoCredentialStatus, ZohoMintLedger,
    ZohoMintLedgerSpec, keys,
};
use zoho_client::calls::{ApiError, call};
use zoho_core::facts::renew_request;
use zoho_core::facts::source::source_defect;
use zoho_core::facts::target::target_by_metadata;
use zoho_core::issuer::Issuer;
use zoho_core::issuer::zoho::TokenService;
use zoho_core::plan::budget::{self, Found, Limits};
use zoho_core::plan::record;
use zoho_core::plan::renewal::Life;
use zoho_core::plan::renewal::Renewal;
use zoho_core::plan::{self, Defect, Plan, Source, Target, Token, plan};
use zoho_core::policy::Policy;
use zoho_core::spec::{self, Served};

/// Everything that can be told of one credential.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The object.
    pub credential: ZohoCredential,
    /// What the operator's decision code looks at.
    pub observed: plan::Facts,
    /// What follows from it.
    pub plan: Plan,
    /// Where tokens are asked for, if the spec can be served.
    pub served: Option<Served>,
    /// The source Secret, where the caller may read it and it exists.
    pub source: Option<Secret>,
    /// The ledger as stored, where the caller may read it and it exists.
    pub ledger: Option<ZohoMintLedgerSpec>,
    /// The operator's limits, as far as they are known.
    pub limits: Limits,
    /// The source has changed since the status was written.
    pub source_changed: bool,
    /// What could not be seen, each with its reason.
    pub unseen: Vec<String>,
}

/// What a read came to.
enum Seen<T> {
    There(T),
    Absent,
    /// Why not.
    Hidden(String),
}

async fn look<T>(request: impl Future<Output = kube::Result<T>>) -> anyhow::Result<Seen<T>> {
    match call(request).await {
        Ok(object) => Ok(Seen::There(object)),
        Err(ApiError::NotFound) => Ok(Seen::Absent),
        Err(ApiError::Refused { message }) => Ok(Seen::Hidden(message)),
        Err(error) => Err(error.into()),
    }
}

impl Facts {
    /// Reads what may be read.
    ///
    /// # Errors
    ///
    /// The cluster does not answer. A refusal is no error.
    ///
    /// # Permissions
    ///
    /// As far as they go: get on Secrets in the namespace, get on `zohomintledgers` in the operator's.
    pub(crate) async fn gather(
        cluster: &Cluster,
        global: &Global,
        credential: ZohoCredential,
        now: Time,
    ) -> anyhow::Result<Self> {
        let mut policy = operator_policy(global)?;
        policy.operator_namespace = Installation::of(cluster, global, &credential).await.namespace;
        policy.require_source_consent = asks_for_consent(credential.status.as_ref());
        let mut unseen = Vec::new();
        let secrets = Api::<Secret>::namespaced(cluster.client.clone(), &cluster.namespace);
        let target = look(secrets.get_metadata(&credential.target_name())).await?;
        let source = look(secrets.get(&credential.spec.secret_ref.name)).await?;
        let ledgers = Api::<ZohoMintLedger>::namespaced(cluster.client.clone(), &policy.operator_namespace);
        let ledger = match credential.status.as_ref().and_then(|status| status.ledger.as_ref()) {
            Some(name) => look(ledgers.get(name.as_str())).await?,
            None => Seen::Absent,
        };

        let target = target_seen(&credential, target, &mut unseen);
        let (served, defect) = served(&credential, &policy);
        let (source_facts, source, source_changed) =
            source_seen(&credential, (served.as_ref(), &policy), source, &target, &mut unseen);
        let (ledger, ledger_hidden) = match ledger {
            Seen::There(ledger) => (Some(ledger.spec), false),
            Seen::Absent => (None, false),
            Seen::Hidden(why) => {
                unseen.push(format!("its ledger: {why}"));
                (None, true)
            }
        };
        let mut observed = plan::Facts {
            deleting: credential.metadata.deletion_timestamp.is_some(),
            defect,
            suspended: credential.spec.suspend,
            renewal: served.as_ref().map_or(Renewal::BeforeExpiry(std::time::Duration::ZERO), |served| served.renewal),
            renew_requested: renew_request(&credential).is_some(),
            spacing: served.as_ref().map(|served| served.terms.spacing).unwrap_or_default(),
            is_login: served.as_ref().is_some_and(|served| served.terms.is_login),
            namespace: credential.metadata.namespace.clone().unwrap_or_default(),
            source: source_facts,
            target,
            presented_otherwise: false,
            token_ended: false,
            // In the memory of the operator.
            stored: None,
            conflict: None,
            at_hand: None,
            // In the memory of the operator; what came of it stands in condition Verified.
            verification: None,
            ledger: budget::settle(ledger.clone().map_or(Found::Absent, Found::Present), now),
            minting: false,
            grounded_until: None,
            guarded_until: None,
        };
        inputs_from_ledger(&mut observed);
        if ledger_hidden {
            stand_in_for_ledger(&mut observed, credential.status.as_ref());
        }
        // The operator's flags are not known here; what it wrote into its ledger tells its limits.
        let limits = ledger.as_ref().and_then(record::limits).unwrap_or(policy.limits);
        let plan = plan(&observed, &"kubectl-zoho".into(), limits, now);
        Ok(Self { credential, observed, plan, served, source, ledger, limits, source_changed, unseen })
    }

    /// The token service of this credential, where the spec names one.
    pub(crate) fn service(&self) -> Option<&TokenService> {
        match &self.served.as_ref()?.issuer {
            Issuer::Zoho(service) => Some(service),
            Issuer::Server(_) => None,
        }
    }
}

/// What the operator serves. Its lists of hosts are not known here, so of those its own word counts.
fn served(credential: &ZohoCredential, policy: &Policy) -> (Option<Served>, Option<Defect>) {
    match spec::check(credential, policy) {
        Ok(served) => (Some(served), None),
        Err(defect) => {
            let said = credential.status.as_ref().and_then(|status| status.condition(ConditionType::Renewable));
            let operator_agrees = said.is_none_or(|condition| condition.reason == defect.reason.as_str());
            let by_list = matches!(defect.reason, Reason::AccountsHostNotAllowed | Reason::ServerNotAllowed);
            (None, (operator_agrees || !by_list).then_some(defect))
        }
    }
}

fn target_seen(
    credential: &ZohoCredential,
    target: Seen<PartialObjectMeta<Secret>>,
    unseen: &mut Vec<String>,
) -> Target {
    match target {
        Seen::There(target) => target_by_metadata(credential, &target.metadata),
        Seen::Absent => Target::Absent,
        Seen::Hidden(why) => {
            unseen.push(format!("the target Secret: {why}"));
            target_by_status(credential.status.as_ref())
        }
    }
}

fn target_by_status(status: Option<&ZohoCredentialStatus>) -> Target {
    let life =
        status.and_then(|status| Some(Life { issued_at: status.last_mint_time?, expires_at: status.expiration_time? }));
    match life {
        Some(life) => {
            let token = Token { life, inputs: InputsDigest::default(), attempt: AttemptId::default() };
            Target::Ours { token: Some(token), intact: true }
        }
        None => Target::Absent,
    }
}

/// The source as the decision code knows it, the Secret itself, and whether it changed since the status was written.
///
/// Its inputs are known by keyed hashes only, and the key is the operator's: they are taken to be those of the token.
fn source_seen(
    credential: &ZohoCredential,
    (served, policy): (Option<&Served>, &Policy),
    source: Seen<Secret>,
    target: &Target,
    unseen: &mut Vec<String>,
) -> (Source, Option<Secret>, bool) {
    let status = credential.status.as_ref();
    let usable = || Source::Usable {
        inputs: target.token().map(|token| token.inputs.clone()).unwrap_or_default(),
        ledger: status.and_then(|status| status.ledger.clone()).unwrap_or_default(),
    };
    let secret = match source {
        Seen::There(secret) => Some(secret),
        Seen::Absent => None,
        Seen::Hidden(why) => {
            unseen.push(format!("the source Secret: {why}"));
            return (said_of_source(status).map_or_else(usable, Source::Unusable), None, false);
        }
    };
    if let Some(defect) = source_defect(credential, secret.as_ref(), served, policy) {
        return (Source::Unusable(defect), secret, false);
    }
    let known = status.and_then(|status| status.observed.as_ref()?.source.clone());
    let now = secret.as_ref().map(|secret| ObjectVersion::of(&secret.metadata));
    (usable(), secret, known.is_some() && known != now)
}

/// What the operator last said against the source.
fn said_of_source(status: Option<&ZohoCredentialStatus>) -> Option<Defect> {
    let condition = status?.condition(ConditionType::Renewable)?;
    let reason = condition.reason.parse().ok()?;
    let about_source = matches!(reason, Reason::SourceSecretNotFound | Reason::SourceSecretInvalid);
    about_source.then(|| Defect { reason, message: condition.message.clone(), again_at: None })
}

/// Does the operator ask for the consent of sources? Its flags are not known here; that it missed one it has said.
fn asks_for_consent(status: Option<&ZohoCredentialStatus>) -> bool {
    said_of_source(status).is_some_and(|defect| defect.message.contains(keys::SOURCE_FOR))
}

/// Without a token that names its inputs, the last attempt of the ledger does.
fn inputs_from_ledger(observed: &mut plan::Facts) {
    let last = observed.ledger.attempts.last().map(|attempt| attempt.inputs.clone());
    if let (Source::Usable { inputs, .. }, None, Some(last)) = (&mut observed.source, observed.target.token(), last) {
        *inputs = last;
    }
}

/// What the status says of throttles and next tries, where the ledger cannot be read.
fn stand_in_for_ledger(observed: &mut plan::Facts, status: Option<&ZohoCredentialStatus>) {
    let Some(status) = status else { return };
    observed.ledger.throttled_until = status.throttled_until;
    let stuck =
        status.condition(ConditionType::Renewable).is_some_and(|condition| condition.status == ConditionStatus::False);
    if stuck {
        observed.grounded_until = status.next_attempt_time;
    }
}

/// Who makes a Secret, if somebody does: its controller, or what its labels say.
pub(crate) fn manager_of(meta: &ObjectMeta) -> Option<String> {
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let owner = owner.or_else(|| meta.owner_references.iter().flatten().next());
    if let Some(owner) = owner {
        return Some(format!("{} {}", owner.kind, owner.name));
    }
    let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let annotation = |key: &str| meta.annotations.as_ref().and_then(|annotations| annotations.get(key)).cloned();
    label("reconcile.external-secrets.io/managed-by")
        .or_else(|| label(keys::MANAGED_BY))
        .or_else(|| annotation("meta.helm.sh/release-name").map(|release| format!("Helm release {release}")))
        .or_else(|| annotation("argocd.argoproj.io/tracking-id").map(|_| "Argo CD".into()))
        .filter(|manager| manager != super::connect::FIELD_MANAGER)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn manager_is_named_however_it_marks_its_secrets() {
        let table = [
            (json!({}), None),
            (json!({ "labels": { "app.kubernetes.io/managed-by": "kubectl-zoho" } }), None),
            (json!({ "labels": { "app.kubernetes.io/managed-by": "Helm" } }), Some("Helm")),
            (json!({ "annotations": { "argocd.argoproj.io/tracking-id": "a:b" } }), Some("Argo CD")),
            (
                json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "ExternalSecret", "name": "zoho", "uid": "u", "controller": true }] }),
                Some("ExternalSecret zoho"),
            ),
        ];
        for (meta, expected) in table {
            let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
            assert_eq!(manager_of(&meta).as_deref(), expected);
        }
    }

    #[test]
    fn hidden_ledger_leaves_the_next_try_to_the_status() {
        let status: ZohoCredentialStatus = serde_json::from_value(json!({
            "nextAttemptTime": "2026-11-21T10:30:00Z",
            "conditions": [{ "type": "Renewable", "status": "False", "reason": "UpstreamTimeout", "message": "m",
                "observedGeneration": 1, "lastTransitionTime": "2026-11-21T10:00:00Z" }],
        }))
        .unwrap();
        let mut observed = plan::Facts {
            deleting: false,
            defect: None,
            suspended: false,
            renewal: Renewal::BeforeExpiry(std::time::Duration::from_secs(1800)),
            renew_requested: false,
            spacing: std::time::Duration::ZERO,
            is_login: false,
            namespace: "ns".into(),
            source: Source::Usable { inputs: InputsDigest::default(), ledger: "ab".into() },
            target: Target::Absent,
            presented_otherwise: false,
            token_ended: false,
            stored: None,
            conflict: None,
            at_hand: None,
            verification: None,
            ledger: ZohoMintLedgerSpec::default(),
            minting: false,
            grounded_until: None,
            guarded_until: None,
        };
        stand_in_for_ledger(&mut observed, Some(&status));
        let now = "2026-11-21T10:20:00Z".parse().unwrap();
        let plan = plan(&observed, &"h".into(), Limits::default(), now);
        assert!(matches!(plan, Plan::Wait { until, .. } if until.to_string() == "2026-11-21T10:30:00Z"), "{plan:?}");
    }
}
