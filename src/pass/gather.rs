//! All reads of one pass: what is known without asking, and a call only where something changed since it was last looked
//! at. Interprets nothing; see `zoho_core::facts`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use zoho_api::names::{InputsDigest, LedgerName, ObjectName, ObjectVersion};
use zoho_api::{ConditionStatus, ConditionType, Reason, Time, ZohoCredential};
use zoho_client::calls::{ApiError, call};
use zoho_core::facts::ownership::SecretSeen;
use zoho_core::facts::source::SourceSeen;
use zoho_core::facts::target::{self, TargetSeen};
use zoho_core::facts::{self, Installation, Readings};
use zoho_core::memory::Memory;
use zoho_core::plan::verify::{Shown, Verification};
use zoho_core::plan::{Target, Token};
use zoho_core::secret::{self, MintedToken};
use zoho_core::spec::{self, Served};

use crate::mint::Mints;
use crate::pass::probes::Probes;
use crate::pass::reads::SharedReads;
use crate::wake::Wake;
use crate::watch::index::Index;

/// Former targets that are read in one pass for a token that is still valid: anybody may create Secrets that look like one.
const MOST_FORMER: usize = 4;

/// Reads for passes.
pub(super) struct Gatherer<'a> {
    /// Client of the reads.
    pub client: &'a Client,
    /// Reads that are under way.
    pub reads: &'a SharedReads<ReadOutcome>,
    /// What the watches brought.
    pub index: &'a Arc<Index>,
    /// Makes passes due.
    pub wake: &'a Wake,
    /// Tokens and ledgers.
    pub mints: &'a Mints,
    /// Answers of products.
    pub probes: &'a Probes,
    /// Does the index have every Secret? Not where they are not watched.
    pub index_is_complete: bool,
    /// Policy and hash key.
    pub installation: &'a Installation,
}

/// A read failed, so nothing can be decided.
#[derive(Debug, thiserror::Error)]
#[error("read Secret {name}")]
pub(crate) struct ReadError {
    name: ObjectName,
    source: Arc<ApiError>,
}

/// What a read of one Secret came to.
#[derive(Clone)]
pub(crate) enum Read {
    There(Arc<Secret>),
    Absent,
    /// The API server's words.
    Refused(String),
}

/// The same, for all who share the read.
pub(crate) type ReadOutcome = Result<Read, Arc<ApiError>>;

/// A target of a former name.
pub(super) enum Former {
    /// There is no such Secret any more.
    Absent,
    /// It is another one than was known.
    Changed,
    /// It does not bear our seal.
    NotOurs,
    /// It was written by this installation for this credential.
    Sealed(Arc<Secret>),
}

/// What became of a token that was seen in the target.
pub(super) enum InTarget {
    /// This is it.
    Held(Arc<MintedToken>),
    /// There is none any more, or another one: a watch has told of it, or will.
    Gone,
    /// It may not be read.
    Refused,
}

impl Gatherer<'_> {
    /// Everything that one pass needs, at the instant `now`. Makes no call when nothing changed since the last pass or,
    /// after a restart, since the status was written.
    ///
    /// # Errors
    ///
    /// A read without an answer. Absence and refusal are answers.
    ///
    /// # Permissions
    ///
    /// get on the source and the target Secret.
    pub(super) async fn gather(
        &self,
        credential: &ZohoCredential,
        memory: &Memory,
        now: Time,
    ) -> Result<Readings, ReadError> {
        let served = spec::check(credential, &self.installation.policy);
        let (mut target, mut source) = (TargetSeen::absent(), SourceSeen::unseen());
        if credential.metadata.deletion_timestamp.is_none() {
            target = self.target(credential, served.as_ref().ok(), memory, now).await?;
            if let Ok(served) = &served {
                source = self.source(credential, served, &target, memory, now).await?;
            }
        }
        let mut readings = Readings {
            verification: self.verification(credential, served.as_ref().ok(), &target.target),
            served,
            source,
            target,
            hand: None,
            ledger: zoho_api::ZohoMintLedgerSpec::default(),
            minting: false,
            grounded_until: None,
            guarded_until: None,
            may_share: true,
            former_ended: false,
        };
        if let Some((inputs, ledger)) = readings.source.source.usable() {
            let (inputs, ledger) = (inputs.clone(), ledger.clone());
            readings.hand = match self.mints.at_hand(&inputs) {
                Some(token) => Some(token),
                None => self.former_token(credential, &inputs, now).await?,
            };
            self.witness(&ledger, &readings);
            let expected = self.is_ledger_expected(credential, &readings.target.target, &inputs, memory.took_over, now);
            readings.ledger = self.mints.ledgers().look(&ledger, expected, now);
            readings.minting = self.mints.is_minting(&ledger);
            readings.grounded_until = self.mints.failure(&inputs).and_then(|failure| failure.again_at);
            let key = ObjectName::of(&credential.metadata);
            let login_at = readings.served.as_ref().ok().and_then(|served| served.issuer.server());
            let newcomer = self.mints.newcomer(&key, (&inputs, &ledger), login_at, &readings.ledger, now);
            let guarded = self.mints.guarded(&newcomer, now);
            readings.guarded_until = guarded.until;
            readings.may_share = guarded.may_share;
            readings.hand = readings.hand.filter(|_| guarded.may_share);
        }
        let inputs = readings.source.source.usable().map(|(inputs, _)| inputs);
        let former = readings.target.target.token().filter(|token| inputs != Some(&token.inputs));
        readings.former_ended = former.is_some_and(|token| self.mints.ledgers().has_ended(&token.inputs, now));
        Ok(readings)
    }

    /// A token whose seal was checked says what became of its attempt, which the ledger may not know: success is not
    /// written down at once. Before the ledger is looked at, or a process that has just started would take it for a
    /// failure.
    fn witness(&self, ledger: &LedgerName, readings: &Readings) {
        let in_hand = readings.hand.as_ref().map(|token| token.record());
        for token in readings.proven_token().into_iter().chain(&in_hand) {
            self.mints.ledgers().witness(ledger, token);
        }
    }

    /// See [`target::is_ledger_expected`].
    pub(super) fn is_ledger_expected(
        &self,
        credential: &ZohoCredential,
        target: &Target,
        inputs: &InputsDigest,
        took_over: bool,
        now: Time,
    ) -> bool {
        let seen = self.index.secret(&facts::target_of(credential));
        let key = &self.installation.hash_key;
        target::is_ledger_expected(credential, target, seen.as_ref(), inputs, (key, took_over), now)
    }

    async fn target(
        &self,
        credential: &ZohoCredential,
        served: Option<&Served>,
        memory: &Memory,
        now: Time,
    ) -> Result<TargetSeen, ReadError> {
        let name = facts::target_of(credential);
        let seen = self.index.secret(&name);
        let is_present = |seen: &&SecretSeen| !is_behind(credential, seen);
        if let Some(known) = seen
            .as_ref()
            .filter(is_present)
            .and_then(|seen| TargetSeen::by_metadata(credential, seen, memory, self.installation))
        {
            return Ok(known);
        }
        if seen.is_none() && self.index_is_complete && !expects_target(credential, memory) {
            return Ok(TargetSeen::absent());
        }
        Ok(match self.read(&name).await? {
            Read::There(secret) => {
                TargetSeen::read(credential, Arc::unwrap_or_clone(secret), served, self.installation)
            }
            Read::Absent => TargetSeen::absent(),
            Read::Refused(words) => match seen {
                Some(SecretSeen { version, .. }) => TargetSeen::refused(credential, Some(version), &words, now),
                // Nothing has told of it, as after a restart without a watch: it may be there all the same.
                None if expects_target(credential, memory) => TargetSeen::refused(credential, None, &words, now),
                None => TargetSeen::absent(),
            },
        })
    }

    async fn source(
        &self,
        credential: &ZohoCredential,
        served: &Served,
        target: &TargetSeen,
        memory: &Memory,
        now: Time,
    ) -> Result<SourceSeen, ReadError> {
        let known = self.index.secret(&facts::source_of(credential)).and_then(|SecretSeen { version, .. }| {
            SourceSeen::known(credential, &version, memory)
                .or_else(|| SourceSeen::by_status(credential, &version, target, served, self.installation))
        });
        match known {
            Some(known) => Ok(known),
            None => self.read_source(credential, served, now).await,
        }
    }

    /// A quorum read of the source: what a mint rests on, and what is believed when it seems to be missing.
    ///
    /// # Errors
    ///
    /// A read without an answer.
    pub(super) async fn read_source(
        &self,
        credential: &ZohoCredential,
        served: &Served,
        now: Time,
    ) -> Result<SourceSeen, ReadError> {
        Ok(match self.read(&facts::source_of(credential)).await? {
            Read::There(secret) => SourceSeen::read(credential, served, &secret, self.installation),
            Read::Absent => SourceSeen::absent(credential, Some(served)),
            Read::Refused(words) => SourceSeen::refused(credential, &words, now),
        })
    }

    /// The living token of a former target of the same object, so that a rename costs no mint.
    async fn former_token(
        &self,
        credential: &ZohoCredential,
        inputs: &InputsDigest,
        now: Time,
    ) -> Result<Option<Arc<MintedToken>>, ReadError> {
        let target = facts::target_of(credential);
        let uid = credential.metadata.uid.as_deref().filter(|_| self.index.secret(&target).is_none());
        let is_of_use = |(name, seen): &(ObjectName, SecretSeen)| {
            let stamp = seen.ours.as_ref().and_then(|ours| ours.stamp.as_ref());
            name.namespace == target.namespace
                && stamp.is_some_and(|stamp| stamp.inputs == *inputs && stamp.life.is_alive(now))
        };
        let controlled = uid.map(|uid| self.index.controlled_by(uid)).unwrap_or_default();
        let mut candidates: Vec<ObjectName> = controlled.into_iter().filter(is_of_use).map(|(name, _)| name).collect();
        let last = credential.status.as_ref().and_then(|status| status.target.as_deref());
        candidates.sort_by_key(|name| last != Some(&*name.name));
        for name in candidates.into_iter().take(MOST_FORMER) {
            if let Read::There(former) = self.read(&name).await?
                && let Some(token) = secret::recover(&former, credential, &self.installation.hash_key)
            {
                return Ok(Some(Arc::new(token)));
            }
        }
        Ok(None)
    }

    /// A former target, which is known in this version.
    ///
    /// # Errors
    ///
    /// A read without an answer, or a refused one.
    pub(super) async fn former(
        &self,
        credential: &ZohoCredential,
        name: &ObjectName,
        known: &ObjectVersion,
    ) -> Result<Former, Arc<ApiError>> {
        let former = match self.read(name).await {
            Ok(Read::There(former)) => former,
            Ok(Read::Absent) => return Ok(Former::Absent),
            Ok(Read::Refused(message)) => return Err(Arc::new(ApiError::Refused { message })),
            Err(ReadError { source, .. }) => return Err(source),
        };
        if ObjectVersion::of(&former.metadata) != *known {
            return Ok(Former::Changed);
        }
        let is_sealed = secret::recover(&former, credential, &self.installation.hash_key).is_some();
        Ok(if is_sealed { Former::Sealed(former) } else { Former::NotOurs })
    }

    /// The token in the target, for showing it to the product: from memory, or read.
    ///
    /// # Errors
    ///
    /// A read without an answer.
    pub(super) async fn token_in_target(
        &self,
        credential: &ZohoCredential,
        readings: &Readings,
        token: &Token,
    ) -> Result<InTarget, ReadError> {
        let is_it = |held: &Arc<MintedToken>| held.attempt == token.attempt;
        let known = [readings.target.token.clone(), readings.hand.clone(), self.mints.at_hand(&token.inputs)];
        if let Some(held) = known.into_iter().flatten().find(is_it) {
            return Ok(InTarget::Held(held));
        }
        let held = match self.read(&facts::target_of(credential)).await? {
            Read::There(target) => secret::recover(&target, credential, &self.installation.hash_key).map(Arc::new),
            Read::Absent => None,
            Read::Refused(_) => return Ok(InTarget::Refused),
        };
        Ok(held.filter(is_it).map_or(InTarget::Gone, InTarget::Held))
    }

    /// What the product said, to this process or, as far as the status says, to the one before.
    fn verification(
        &self,
        credential: &ZohoCredential,
        served: Option<&Served>,
        target: &Target,
    ) -> Option<Verification> {
        let (interval, question) = served?.verify.as_ref()?;
        let (key, uid) = (ObjectName::of(&credential.metadata), credential.metadata.uid.as_deref()?);
        let status = credential.status.as_ref();
        let before = status.and_then(|status| status.condition(ConditionType::Verified));
        let not_asked = [Reason::InvalidSpec.as_str(), Reason::Minting.as_str()];
        let was_asked = before.is_some_and(|before| !not_asked.contains(&before.reason.as_str()));
        let asked = question.as_ref().map(zoho_core::issuer::probe::Question::asked).unwrap_or_default();
        let mut known = self.probes.known(&key, uid, (asked.clone(), *interval), was_asked);
        known.blocked = question.as_ref().err().cloned();
        let is_same_spec = status.is_some_and(|status| status.observed_generation == credential.metadata.generation);
        if known.last.is_none() && is_same_spec && before.is_some_and(|it| it.status == ConditionStatus::True) {
            let minted_at = status.and_then(|status| status.last_mint_time);
            let was_shown = |token: &&Token| Some(token.life.issued_at) == minted_at;
            let shown = |token: &Token| Shown { attempt: token.attempt.clone(), question: asked };
            known.taken = target.token().filter(was_shown).map(shown);
        }
        Some(known)
    }

    /// One Secret as it is now: by a read that began after this was called, which other passes may share. What comes back
    /// goes into the index, too.
    ///
    /// # Errors
    ///
    /// A read without an answer.
    pub(super) async fn read(&self, name: &ObjectName) -> Result<Read, ReadError> {
        let (client, index, wake, of) = (self.client.clone(), self.index.clone(), self.wake.clone(), name.clone());
        let answer = self.reads.read(name, move || read_now(client, index, wake, of)).await;
        answer.map_err(|source| ReadError { name: name.clone(), source })
    }
}

async fn read_now(client: Client, index: Arc<Index>, wake: Wake, name: ObjectName) -> ReadOutcome {
    let asked = index.secret(&name);
    let api = Api::<Secret>::namespaced(client, &name.namespace);
    match call(api.get(&name.name)).await {
        Ok(secret) => {
            wake.all(index.apply_secret(&secret.metadata));
            Ok(Read::There(Arc::new(secret)))
        }
        Err(ApiError::NotFound) => {
            wake.all(index.secret_not_found(&name, asked.as_ref()));
            Ok(Read::Absent)
        }
        Err(ApiError::Refused { message }) => Ok(Read::Refused(message)),
        Err(source) => Err(Arc::new(source)),
    }
}

/// Is what the index has of the target older than what the status has seen of it? Then nothing is concluded from it.
fn is_behind(credential: &ZohoCredential, seen: &SecretSeen) -> bool {
    let target = facts::target_of(credential);
    let status = credential.status.as_ref().filter(|status| status.target.as_deref() == Some(&*target.name));
    let observed = status.and_then(|status| status.observed.as_ref()?.target.as_ref());
    observed.is_some_and(|observed| seen.version.is_older_than(observed))
}

/// Does something say that there was a target? Then its absence is believed only when the API server says so.
fn expects_target(credential: &ZohoCredential, memory: &Memory) -> bool {
    let status = credential.status.as_ref();
    let observed = status.and_then(|status| status.observed.as_ref()?.target.as_ref());
    observed.is_some() || memory.intact.is_some()
}

/// The ledger's name where the source is usable.
pub(super) fn ledger_of(readings: &Readings) -> Option<&LedgerName> {
    readings.source.source.usable().map(|(_, ledger)| ledger)
}
