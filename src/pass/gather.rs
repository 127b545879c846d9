//! All reads of one pass: what the watches told, and a call only where something changed since it was last looked at.
//!
//! Absence and malformation are values. After `observe` nobody asks the cluster again, but for the quorum read of the
//! source directly before a mint.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};

use crate::flags::SecretAccess;
use crate::mint::Mints;
use crate::pass::probes::Probes;
use crate::watch::index::Index;
use zoho_api::names::{ObjectName, version};
use zoho_api::{
    ConditionStatus, ConditionType, Reason, Time, ZohoCredential, ZohoCredentialStatus, ZohoMintLedgerSpec,
};
use zoho_client::calls::{ApiError, call};
use zoho_core::facts::{foreign, is_target, not_found, record, remembered, renew_request, source_is_target, unread};
use zoho_core::issuer::TokenRequest;
use zoho_core::ownership::{Ownership, SecretSeen, is_adopted, not_owned, ownership};
use zoho_core::plan::verify::Verification;
use zoho_core::plan::{Defect, Observed, Source, Target, Token};
use zoho_core::policy::Policy;
use zoho_core::secret::{self, Form, HashKey, MintedToken, Stamp};
use zoho_core::spec::{self, Served};

/// What passes of one object remember between them. Lost at a restart, without loss.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// uid of the object it is about: a recreated one starts over.
    pub uid: Option<String>,
    /// The source as last read.
    pub source: Option<SourceRead>,
    /// Version and generation at which the target was last seen to be as we would write it.
    pub intact: Option<(String, i64)>,
    /// Version and generation at which a dry run of the target's write last passed.
    pub rehearsed: Option<(Option<String>, i64)>,
    /// The renewal request that a flight was started with.
    pub asked: Option<String>,
    /// Repairs of what somebody else changed in the target.
    pub repairs: Vec<Time>,
    /// The last refusal of a write, until one succeeds.
    pub refused: Option<Defect>,
    /// When the first token was first waited for.
    pub minting_since: Option<Time>,
    /// Generation of which it was reported that it cannot be read.
    pub unreadable: Option<i64>,
}

/// A source as it was read.
#[derive(Clone, Debug)]
pub(crate) struct SourceRead {
    /// `uid/resourceVersion` of the Secret.
    version: String,
    /// Generation of the spec that it was read for.
    generation: i64,
    /// What it came to.
    pub source: Source,
    /// How far apart requests with it must be.
    spacing: Duration,
}

/// What a pass sees: the facts for `plan`, and the values that effects need.
pub(super) struct View {
    /// The facts.
    pub observed: Observed,
    /// The spec, if it can be served.
    pub served: Option<Served>,
    /// What a token would be asked for with, where this pass has read the source.
    pub request: Option<TokenRequest>,
    /// The token that is worth writing: from memory, from the target itself, or from a former target.
    pub token: Option<Arc<MintedToken>>,
    /// Something says that the source's ledger must exist.
    pub ledger_expected: bool,
    /// The target as read in this pass.
    pub target: Option<Secret>,
    /// `uid/resourceVersion` of the source.
    pub source_version: Option<String>,
    /// `uid/resourceVersion` of the target.
    pub target_version: Option<String>,
}

/// Reads for passes.
pub(super) struct Observer<'a> {
    /// Client of the reads.
    pub client: &'a Client,
    /// What the watches told.
    pub index: &'a Index,
    /// Tokens and ledgers.
    pub mints: &'a Mints,
    /// Answers of products.
    pub probes: &'a Probes,
    /// How changes of Secrets are noticed.
    pub secret_access: SecretAccess,
    /// What the administrator allows.
    pub policy: &'a Policy,
    /// Key of the hashes.
    pub hash_key: &'a HashKey,
}

/// A read failed, so nothing can be decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The source Secret.
    #[error("read source Secret {name}")]
    Source {
        /// Namespace and name.
        name: ObjectName,
        /// Why.
        source: ApiError,
    },
    /// A target Secret.
    #[error("read target Secret {name}")]
    Target {
        /// Namespace and name.
        name: ObjectName,
        /// Why.
        source: ApiError,
    },
}

impl Observer<'_> {
    /// Looks at one object. Makes no call when nothing changed since the last pass or, after a restart, since the status
    /// was written.
    ///
    /// # Errors
    ///
    /// A read that failed for another reason than absence.
    ///
    /// # Permissions
    ///
    /// get on the source and the target Secret.
    pub(super) async fn observe(
        &self,
        credential: &ZohoCredential,
        key: &ObjectName,
        memory: &mut Memory,
        now: Time,
    ) -> Result<View, ReadError> {
        let served = spec::check(credential, self.policy);
        let mut view = View {
            observed: Observed {
                deleting: credential.metadata.deletion_timestamp.is_some(),
                defect: None,
                suspended: credential.spec.suspend,
                renew_before: served.as_ref().map(|served| served.renew_before).unwrap_or_default(),
                spacing: served.as_ref().map(|served| served.terms.spacing).unwrap_or_default(),
                renew_requested: renew_request(credential)
                    .is_some_and(|request| memory.asked.as_ref() != Some(request)),
                source: Source::Unusable(unread()),
                target: Target::Absent,
                at_hand: None,
                verification: None,
                ledger: ZohoMintLedgerSpec::default(),
                minting: false,
                grounded_until: None,
            },
            served: None,
            request: None,
            token: None,
            ledger_expected: false,
            target: None,
            source_version: None,
            target_version: None,
        };
        match served {
            Ok(served) => view.served = Some(served),
            Err(defect) => view.observed.defect = Some(defect),
        }
        if view.observed.deleting {
            return Ok(view);
        }
        self.look_at_target(credential, key, memory, &mut view).await?;
        if view.served.is_some() {
            self.look_at_source(credential, key, memory, &mut view).await?;
        }
        view.observed.verification = self.verification(credential, key, &view);
        if let Source::Usable { inputs, ledger } = &view.observed.source {
            let newest = match self.mints.at_hand(inputs) {
                Some(token) => Some(token),
                None => self.former_token(credential, key, inputs, now).await?,
            };
            view.observed.at_hand = newest.as_ref().map(|token| record(token));
            let held = view.observed.target.token();
            let is_better = |newest: &Token| held.is_none_or(|held| held.inputs != *inputs || newest.supersedes(held));
            if view.token.is_none() || view.observed.at_hand.as_ref().is_some_and(is_better) {
                view.token = newest.or(view.token.take());
            }
            if let Some(held) = held.filter(|held| held.inputs == *inputs) {
                self.mints.ledgers().witness(ledger, held);
            }
            let expected = self.ledger_expected(credential, key, &view.observed.target, inputs);
            view.ledger_expected = expected;
            view.observed.ledger = self.mints.ledgers().view(ledger, expected, now);
            view.observed.minting = self.mints.joins(ledger, key);
            view.observed.grounded_until = self.mints.failure(inputs).and_then(|failure| failure.again_at);
        }
        Ok(view)
    }

    /// What the product said, to this process or, as far as the status tells, to the one before.
    fn verification(&self, credential: &ZohoCredential, key: &ObjectName, view: &View) -> Option<Verification> {
        let (interval, question) = view.served.as_ref()?.verify.as_ref()?;
        let uid = credential.metadata.uid.as_deref()?;
        let before = credential.status.as_ref().and_then(|status| status.condition(ConditionType::Verified));
        let not_asked = [Reason::InvalidSpec.as_str(), Reason::Minting.as_str()];
        let was_asked = before.is_some_and(|before| !not_asked.contains(&before.reason.as_str()));
        let mut known = self.probes.known(key, uid, *interval, was_asked);
        known.blocked = question.as_ref().err().cloned();
        if known.last.is_none() && before.is_some_and(|before| before.status == ConditionStatus::True) {
            let minted_at = credential.status.as_ref().and_then(|status| status.last_mint_time);
            let was_shown = |token: &&Token| Some(token.life.issued_at) == minted_at;
            known.taken = view.observed.target.token().filter(was_shown).map(|token| token.attempt.clone());
        }
        Some(known)
    }

    /// The token that stands in the target, for showing it to the product: from memory, or read.
    ///
    /// # Errors
    ///
    /// A read that failed for another reason than absence.
    pub(super) async fn token_in_target(
        &self,
        credential: &ZohoCredential,
        key: &ObjectName,
        view: &View,
        token: &Token,
    ) -> Result<Option<Arc<MintedToken>>, ReadError> {
        let is_it = |held: &Arc<MintedToken>| held.attempt == token.attempt;
        if let Some(held) = view.token.clone().or_else(|| self.mints.at_hand(&token.inputs)).filter(is_it) {
            return Ok(Some(held));
        }
        let name = ObjectName::new(&key.namespace, &credential.target_name());
        let target = self.get(&name).await.map_err(|source| ReadError::Target { name, source })?;
        let held = target.and_then(|target| secret::recover(&target, credential, self.hash_key)).map(Arc::new);
        Ok(held.filter(is_it))
    }

    /// Must the ledger of these inputs exist? Yes where the token in the target was minted from them. And where what we
    /// stamped there is of another hash key: then there was a ledger that is not to be found by this key, and tokens that
    /// it counted may be alive.
    fn ledger_expected(&self, credential: &ZohoCredential, key: &ObjectName, target: &Target, inputs: &str) -> bool {
        if target.token().is_some_and(|token| token.inputs == inputs) {
            return true;
        }
        let name = ObjectName::new(&key.namespace, &credential.target_name());
        let ours = self.index.secret(&name).and_then(|seen| seen.ours);
        let stamped = ours.filter(|ours| ours.controller_uid == credential.metadata.uid).and_then(|ours| ours.stamp);
        stamped.is_some_and(|stamp| stamp.inputs.split('.').next() != Some(self.hash_key.id()))
    }

    /// What is known of a Secret. Where Secrets are not watched and nothing is known, it is read now.
    async fn seen(&self, name: &ObjectName) -> Result<Option<SecretSeen>, ReadError> {
        if self.secret_access == SecretAccess::Get && self.index.secret(name).is_none() {
            self.refresh(name).await?;
        }
        Ok(self.index.secret(name))
    }

    async fn look_at_target(
        &self,
        credential: &ZohoCredential,
        key: &ObjectName,
        memory: &mut Memory,
        view: &mut View,
    ) -> Result<(), ReadError> {
        let name = ObjectName::new(&key.namespace, &credential.target_name());
        let Some(seen) = self.seen(&name).await? else { return Ok(()) };
        let generation = credential.metadata.generation.unwrap_or_default();
        view.target_version = Some(seen.version.clone());
        view.observed.target = match ownership(credential, &seen) {
            Ownership::Foreign(owner) => foreign(not_owned(credential, &name, owner.as_deref())),
            Ownership::Ours(stamp) if is_verified(credential, memory, &seen.version, generation) => {
                let token = stamp.map(|Stamp { life, inputs, attempt }| Token { life, inputs, attempt });
                Target::Ours { token, intact: true }
            }
            Ownership::Ours(_) | Ownership::Adoptable => {
                return self.read_target(credential, &name, memory, view).await;
            }
        };
        Ok(())
    }

    async fn read_target(
        &self,
        credential: &ZohoCredential,
        name: &ObjectName,
        memory: &mut Memory,
        view: &mut View,
    ) -> Result<(), ReadError> {
        let Some(target) = self.get(name).await.map_err(|source| ReadError::Target { name: name.clone(), source })?
        else {
            view.target_version = None;
            view.observed.target = Target::Absent;
            return Ok(());
        };
        self.index.apply_secret(&target.metadata);
        view.target_version = Some(version(&target.metadata));
        let seen = SecretSeen::of(&target.metadata);
        let ownership = ownership(credential, &seen);
        let token = secret::recover(&target, credential, self.hash_key).map(Arc::new);
        view.observed.target = match ownership {
            Ownership::Foreign(owner) => foreign(not_owned(credential, name, owner.as_deref())),
            Ownership::Adoptable if token.is_none() && !is_adopted(credential, &seen) => {
                foreign(not_owned(credential, name, None))
            }
            _ if target.immutable == Some(true) => Target::Blocked {
                token: token.as_deref().map(record),
                defect: Defect {
                    reason: Reason::TargetImmutable,
                    message: format!(
                        "Secret {name} is immutable, so its token cannot be renewed. Delete it (kubectl delete secret -n {} {}); the operator makes it anew.",
                        name.namespace, name.name
                    ),
                    again_at: None,
                },
            },
            Ownership::Ours(_) | Ownership::Adoptable => {
                let render = |token: &Arc<MintedToken>| self.render(credential, token, view.served.as_ref()).ok();
                let wanted = token.as_ref().and_then(render);
                let intact = wanted.is_some_and(|wanted| secret::is_intact(&target, &wanted));
                if intact {
                    let generation = credential.metadata.generation.unwrap_or_default();
                    memory.intact = view.target_version.clone().map(|version| (version, generation));
                }
                Target::Ours { token: token.as_deref().map(record), intact }
            }
        };
        view.token = token;
        view.target = Some(target);
        Ok(())
    }

    /// The target as it should be with this token.
    ///
    /// # Errors
    ///
    /// See [`secret::render_target`]; not for a spec that can be served.
    pub(super) fn render(
        &self,
        credential: &ZohoCredential,
        token: &MintedToken,
        served: Option<&Served>,
    ) -> Result<Secret, Defect> {
        let nothing = Form { scheme: "", has_expiry: true, api_url: None };
        let form = served.map_or(nothing, Served::form);
        secret::render_target(credential, token, form, &self.policy.labels, self.hash_key)
    }

    async fn look_at_source(
        &self,
        credential: &ZohoCredential,
        key: &ObjectName,
        memory: &mut Memory,
        view: &mut View,
    ) -> Result<(), ReadError> {
        let name = ObjectName::new(&key.namespace, &credential.spec.secret_ref.name);
        let generation = credential.metadata.generation.unwrap_or_default();
        let Some(seen) = self.seen(&name).await? else {
            view.observed.source = Source::Unusable(not_found(credential, &name, view.served.as_ref()));
            return Ok(());
        };
        view.source_version = Some(seen.version.clone());
        if let Some(read) =
            memory.source.as_ref().filter(|read| (&read.version, read.generation) == (&seen.version, generation))
        {
            view.observed.source = read.source.clone();
            view.observed.spacing = read.spacing;
            return Ok(());
        }
        if let Some(source) = remembered(credential, &seen.version, &view.observed.target) {
            view.observed.source = source;
            return Ok(());
        }
        self.read_source(credential, key, memory, view).await
    }

    /// A quorum read of the source: what a mint rests on.
    ///
    /// # Errors
    ///
    /// A read that failed for another reason than absence.
    pub(super) async fn read_source(
        &self,
        credential: &ZohoCredential,
        key: &ObjectName,
        memory: &mut Memory,
        view: &mut View,
    ) -> Result<(), ReadError> {
        let name = ObjectName::new(&key.namespace, &credential.spec.secret_ref.name);
        let secret = self.get(&name).await.map_err(|source| ReadError::Source { name: name.clone(), source })?;
        memory.source = None;
        view.request = None;
        let (Some(secret), Some(served)) = (secret, &view.served) else {
            view.observed.source = Source::Unusable(not_found(credential, &name, view.served.as_ref()));
            return Ok(());
        };
        self.index.apply_secret(&secret.metadata);
        let read_at = version(&secret.metadata);
        view.source_version = Some(read_at.clone());
        view.observed.source = if is_target(&secret) {
            Source::Unusable(source_is_target(&name))
        } else {
            match served.issuer.request(&secret, &credential.spec.secret_ref, &key.namespace) {
                Ok(request) => {
                    let (inputs, ledger) = (request.inputs(self.hash_key), request.ledger_name(self.hash_key));
                    view.observed.spacing = request.spacing();
                    view.request = Some(request);
                    Source::Usable { inputs, ledger }
                }
                Err(defect) => Source::Unusable(defect),
            }
        };
        let generation = credential.metadata.generation.unwrap_or_default();
        let (source, spacing) = (view.observed.source.clone(), view.observed.spacing);
        memory.source = Some(SourceRead { version: read_at, generation, source, spacing });
        Ok(())
    }

    /// The living token of a former target of the same object, so that a rename costs no mint.
    async fn former_token(
        &self,
        credential: &ZohoCredential,
        key: &ObjectName,
        inputs: &str,
        now: Time,
    ) -> Result<Option<Arc<MintedToken>>, ReadError> {
        let target = credential.target_name();
        if self.index.secret(&ObjectName::new(&key.namespace, &target)).is_some() {
            return Ok(None);
        }
        let Some(uid) = credential.metadata.uid.as_deref() else { return Ok(None) };
        for (name, seen) in self.index.controlled_by(uid) {
            let stamp = seen.ours.and_then(|ours| ours.stamp);
            if name.namespace != key.namespace
                || !stamp.is_some_and(|stamp| stamp.inputs == inputs && stamp.life.is_alive(now))
            {
                continue;
            }
            let former = self.get(&name).await.map_err(|source| ReadError::Target { name: name.clone(), source })?;
            if let Some(token) = former.and_then(|former| secret::recover(&former, credential, self.hash_key)) {
                return Ok(Some(Arc::new(token)));
            }
        }
        Ok(None)
    }

    /// Reads a Secret that the watch has not told of yet, or of whose version it was wrong.
    ///
    /// # Errors
    ///
    /// A read that failed for another reason than absence.
    pub(super) async fn refresh(&self, name: &ObjectName) -> Result<(), ReadError> {
        let secret = self.get(name).await.map_err(|source| ReadError::Target { name: name.clone(), source })?;
        match secret {
            Some(secret) => self.index.apply_secret(&secret.metadata),
            None => self.index.delete_secret(&ObjectMeta {
                namespace: Some(name.namespace.to_string()),
                name: Some(name.name.to_string()),
                ..ObjectMeta::default()
            }),
        };
        Ok(())
    }

    async fn get(&self, name: &ObjectName) -> Result<Option<Secret>, ApiError> {
        let api = Api::<Secret>::namespaced(self.client.clone(), &name.namespace);
        match call(api.get(&name.name)).await {
            Ok(secret) => Ok(Some(secret)),
            Err(ApiError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Was the target seen to be intact in this version: by this process, or by the one that wrote the status?
fn is_verified(credential: &ZohoCredential, memory: &Memory, version: &str, generation: i64) -> bool {
    if let Some((intact, of)) = &memory.intact
        && (intact.as_str(), *of) == (version, generation)
    {
        return true;
    }
    let observed = |status: &ZohoCredentialStatus| status.observed.as_ref()?.target.clone();
    credential.status.as_ref().is_some_and(|status| {
        status.observed_generation == Some(generation) && observed(status).as_deref() == Some(version)
    })
}
