//! The mint ledgers on the API server: one [`LedgerMirror`] for each, and the calls that keep it true.
//!
//! All rules are in `zoho_core::plan`; this module only moves records between the mirror and the API server.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, Resource as _};
use zoho_api::names::{AttemptId, Holder, InputsDigest, LedgerName, ObjectVersion};
use zoho_api::{FIELD_MANAGER, Outcome, Time, ZohoMintLedger, ZohoMintLedgerSpec, keys};
use zoho_client::calls::{ApiError, call};
use zoho_client::clock::{self, Clock};
use zoho_client::told::Told;
use zoho_core::plan::Token;
use zoho_core::plan::budget::{self, Limits, Request, SPEND_WITHIN};
use zoho_core::plan::guard;
use zoho_core::plan::mirror::{Draft, LedgerMirror};
use zoho_core::plan::record::Lesson;

use super::book::{Book, Counts, Kept};

/// Writes tried in a row where somebody else writes the same ledger.
const MOST_TRIES: usize = 5;

/// All ledgers of this installation.
#[derive(Clone)]
pub(crate) struct Ledgers {
    api: Api<Told<ZohoMintLedger>>,
    /// Writes go without the guard, which cannot be sent.
    writes: Api<ZohoMintLedger>,
    labels: BTreeMap<String, String>,
    instance: String,
    holder: Holder,
    limits: Limits,
    clock: Arc<dyn Clock>,
    mirrors: Arc<Mutex<Book>>,
}

/// The right to send one request, for ten seconds.
#[derive(Debug)]
pub(crate) struct Reservation {
    /// Id of the entry.
    pub id: AttemptId,
    /// When the request counts as sent.
    pub at: Time,
    /// Tokens that may be alive with this one.
    pub live_tokens: usize,
    /// By [`clock::steady`]: from then on it may not be spent. A process that was paused must not spend an old one.
    pub spend_before: Duration,
}

/// Why nothing was reserved.
#[derive(Debug)]
pub(crate) enum NotReserved {
    /// The budget says no, or somebody else wrote the ledger: look again at everything.
    LookAgain,
    /// The ledger cannot be written; without it nothing is minted.
    Unavailable(ApiError),
}

impl Ledgers {
    /// The ledgers in `namespace`, known as far as [`Self::take_in`] is given them.
    pub(crate) fn new(
        client: Client,
        (namespace, instance): (&str, &str),
        labels: BTreeMap<String, String>,
        holder: Holder,
        limits: Limits,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut labels = labels;
        labels.insert(keys::INSTANCE.into(), instance.into());
        Self {
            api: Api::namespaced(client.clone(), namespace),
            writes: Api::namespaced(client, namespace),
            labels,
            instance: instance.to_owned(),
            holder,
            limits,
            clock,
            mirrors: Arc::default(),
        }
    }

    /// This process, as entries name it.
    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The limits that are accounted with.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.mirrors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the mirror of one ledger.
    fn with<T>(&self, name: &LedgerName, act: impl FnOnce(&mut LedgerMirror) -> T) -> T {
        act(&mut self.lock().kept.entry(name.clone()).or_default().mirror)
    }

    /// Takes in what a watch tells of a ledger. Older versions than the known one are ignored.
    ///
    /// Says whether there is news for those who use it: also where a read has brought it before.
    pub(crate) fn take_in(&self, ledger: Told<ZohoMintLedger>) -> bool {
        let name = ledger.meta().name.as_deref().map(LedgerName::from);
        let is_news = self.absorb(ledger);
        let mut book = self.lock();
        let kept = name.and_then(|name| book.kept.get_mut(&name));
        let was_read_ahead = kept.is_some_and(|kept| std::mem::take(&mut kept.is_read_ahead));
        is_news || was_read_ahead
    }

    /// Says whether it was news.
    fn absorb(&self, ledger: Told<ZohoMintLedger>) -> bool {
        let now = self.clock.now();
        let (meta, record) = match ledger.object.0 {
            Ok(ledger) => (ledger.metadata, Some(ledger.spec)),
            Err(unreadable) => (unreadable.metadata, None),
        };
        let Some(name) = meta.name.as_deref().map(LedgerName::from) else { return false };
        let version = ObjectVersion::of(&meta);
        let mut labels = meta.labels.unwrap_or_default();
        let mut book = self.lock();
        let kept = book.kept.entry(name.clone()).or_default();
        kept.instance = labels.remove(keys::INSTANCE);
        kept.namespace = labels.remove(keys::NAMESPACE);
        kept.has_minted |= record.as_ref().is_some_and(guard::is_anything_proven);
        let (namespace, has_minted) = (kept.namespace.clone(), kept.has_minted);
        let is_news = kept.mirror.absorb(version, record, now);
        if let Some(namespace) = namespace {
            book.is_of(&name, &namespace, has_minted);
        }
        is_news
    }

    /// A ledger that nobody has named yet is made for this namespace.
    pub(crate) fn is_for(&self, name: &LedgerName, namespace: &str) {
        self.lock().kept.entry(name.clone()).or_default().namespace.get_or_insert_with(|| namespace.to_owned());
    }

    /// The ledger is gone.
    pub(crate) fn forget(&self, name: &LedgerName) {
        self.lock().gone(name);
    }

    /// Ledgers that credentials of a namespace brought.
    pub(crate) fn count_of(&self, namespace: &str) -> Counts {
        self.lock().count_of(namespace)
    }

    /// Is it known to be stored?
    pub(crate) fn is_stored(&self, name: &LedgerName) -> bool {
        self.lock().kept.get(name).is_some_and(|kept| kept.mirror.is_stored())
    }

    /// The cluster's history went back. See [`LedgerMirror::doubt`].
    pub(crate) fn doubt(&self) {
        self.lock().kept.values_mut().for_each(|kept| kept.mirror.doubt());
    }

    /// Forgets ledgers that are not stored and that nobody uses.
    pub(crate) fn forget_unused(&self, in_use: &HashSet<LedgerName>) {
        self.lock().kept.retain(|name, kept| kept.mirror.is_stored() || in_use.contains(name));
    }

    /// Every ledger that is known to be stored and of which this is so: the namespace that it was made for, if it says so, and
    /// whether it has minted.
    pub(crate) fn names(&self, is_so: impl Fn(Option<&str>, bool) -> bool) -> Vec<LedgerName> {
        let book = self.lock();
        let is_it = |kept: &Kept| kept.mirror.is_stored() && is_so(kept.namespace.as_deref(), kept.has_minted);
        book.kept.iter().filter(|(_, kept)| is_it(kept)).map(|(name, _)| name.clone()).collect()
    }

    /// The ledger as it counts now, what was learnt since included. `expected`: something says that it must exist.
    pub(crate) fn look(&self, name: &LedgerName, expected: bool, now: Time) -> ZohoMintLedgerSpec {
        self.with(name, |mirror| mirror.look(expected, now))
    }

    /// Is the refresh token of these inputs known to be revoked, in whatever ledger?
    pub(crate) fn has_ended(&self, inputs: &InputsDigest, now: Time) -> bool {
        self.lock().kept.values_mut().any(|kept| kept.mirror.has_ended(inputs, now))
    }

    /// What this process learnt of a ledger: it counts at once, and the next write carries it.
    pub(crate) fn learn(&self, name: &LedgerName, lesson: Lesson) {
        if matches!(&lesson, Lesson::Outcome { outcome: Outcome::Minted, .. }) {
            self.lock().has_minted(name);
        }
        self.with(name, |mirror| mirror.learn(lesson));
    }

    /// A token whose seal was checked proves what became of its attempt.
    pub(crate) fn witness(&self, name: &LedgerName, token: &Token) {
        self.lock().has_minted(name);
        self.with(name, |mirror| mirror.witness(token));
    }

    /// Reserves one attempt by compare-and-swap.
    ///
    /// # Errors
    ///
    /// See [`NotReserved`]. Where the answer is lost, or says that somebody else was there, the ledger is read again and
    /// searched for the own entry: the request may have been repeated on its way.
    ///
    /// # Permissions
    ///
    /// get, create and update `zohomintledgers` in the operator's namespace.
    pub(crate) async fn reserve(
        &self,
        name: &LedgerName,
        request: &Request<'_>,
        expected: bool,
    ) -> Result<Reservation, NotReserved> {
        let at = self.clock.now();
        let spend_before = clock::steady() + SPEND_WITHIN;
        let how = (expected, random());
        let reserved = self.with(name, |mirror| mirror.reserve(request, self.limits, how, at));
        let (id, draft) = reserved.map_err(|_held| NotReserved::LookAgain)?;
        let live_tokens = budget::live(&draft.record, self.limits, at);
        let reservation = Reservation { id, at, live_tokens, spend_before };
        match self.write(name, draft).await {
            Ok(()) => Ok(reservation),
            Err(error @ (ApiError::Unavailable(_) | ApiError::Conflict | ApiError::AlreadyExists)) => {
                if self.reload(name).await.is_ok() && self.with(name, |mirror| mirror.holds(&reservation.id)) {
                    return Ok(reservation);
                }
                self.not_sent(name, reservation);
                if matches!(error, ApiError::Unavailable(_)) {
                    Err(NotReserved::Unavailable(error))
                } else {
                    Err(NotReserved::LookAgain)
                }
            }
            Err(error) => {
                // Gone since it was last seen, or it cannot be created at all: the next look tells.
                let was_stored = self.with(name, |mirror| mirror.is_stored());
                if matches!(error, ApiError::NotFound) && was_stored && self.reload(name).await.is_ok() {
                    return Err(NotReserved::LookAgain);
                }
                Err(NotReserved::Unavailable(error))
            }
        }
    }

    /// The entry may be there all the same; nothing was sent under it.
    fn not_sent(&self, name: &LedgerName, reservation: Reservation) {
        self.learn(name, Lesson::Outcome { id: reservation.id, outcome: Outcome::NotSent, life: None });
    }

    /// Writes at once what a restart must not forget: throttles, verdicts, a presumption that would start over at every
    /// look. Makes no call where there is nothing of the kind. What is not written counts all the same, and goes with the
    /// next write.
    ///
    /// # Errors
    ///
    /// The last failure.
    ///
    /// # Permissions
    ///
    /// get, create and update `zohomintledgers` in the operator's namespace.
    pub(crate) async fn keep(&self, name: &LedgerName, expected: bool) -> Result<(), ApiError> {
        let mut last = ApiError::Conflict;
        for _ in 0..MOST_TRIES {
            let now = self.clock.now();
            let Some(draft) = self.with(name, |mirror| mirror.keep(expected, self.limits, now)) else { return Ok(()) };
            match self.write(name, draft).await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
            self.reload(name).await?;
        }
        Err(last)
    }

    /// Deletes a ledger of this installation that holds nothing worth keeping ([`guard::is_forgettable`]), if it is still
    /// the version that was looked at.
    pub(crate) async fn delete_if_empty(&self, name: &LedgerName) {
        let now = self.clock.now();
        let version = {
            let mut book = self.lock();
            let Some(kept) = book.kept.get_mut(name) else { return };
            let is_ours = kept.instance.as_ref().is_none_or(|instance| *instance == self.instance);
            if !is_ours || !guard::is_forgettable(&kept.mirror.look(false, now), now) {
                return;
            }
            kept.mirror.version().cloned()
        };
        let Some(ObjectVersion { uid, resource_version }) = version else { return };
        let preconditions = Preconditions { uid: Some(uid), resource_version: Some(resource_version) };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        if call(self.writes.delete(name.as_str(), &params)).await.is_ok() {
            tracing::info!(ledger = %name, "ledger that nothing refers to is deleted");
        }
    }

    async fn write(&self, name: &LedgerName, draft: Draft) -> Result<(), ApiError> {
        let mut object = ZohoMintLedger::new(name.as_str(), draft.record.clone());
        let known = self.lock().kept.get(name).and_then(|kept| kept.namespace.clone());
        let reserved_for = || draft.record.attempts.last().map(|attempt| attempt.namespace.clone());
        let namespace = known.or_else(reserved_for).filter(|namespace| !namespace.is_empty());
        let mut labels = self.labels.clone();
        labels.extend(namespace.clone().map(|namespace| (keys::NAMESPACE.to_owned(), namespace)));
        object.metadata = ObjectMeta {
            name: Some(name.as_str().to_owned()),
            labels: Some(labels),
            uid: draft.replaces.as_ref().map(|version| version.uid.clone()),
            resource_version: draft.replaces.as_ref().map(|version| version.resource_version.clone()),
            ..ObjectMeta::default()
        };
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        let written = if draft.replaces.is_some() {
            call(self.writes.replace(name.as_str(), &params, &object)).await?
        } else {
            call(self.writes.create(&params, &object)).await?
        };
        let version = ObjectVersion::of(&written.metadata);
        let mut book = self.lock();
        let kept = book.kept.entry(name.clone()).or_default();
        kept.instance = Some(self.instance.clone());
        kept.namespace.clone_from(&namespace);
        let has_minted = kept.has_minted;
        kept.mirror.confirm(draft, version);
        if let Some(namespace) = namespace {
            book.is_of(name, &namespace, has_minted);
        }
        Ok(())
    }

    async fn reload(&self, name: &LedgerName) -> Result<(), ApiError> {
        let before = self.with(name, |mirror| mirror.version().cloned());
        match call(self.api.get(name.as_str())).await {
            Ok(ledger) => {
                // A consistent read is never older than what was known, unless the cluster's history went back.
                if before.is_some_and(|before| ObjectVersion::of(ledger.meta()).is_older_than(&before)) {
                    self.with(name, LedgerMirror::doubt);
                }
                if self.absorb(ledger)
                    && let Some(kept) = self.lock().kept.get_mut(name)
                {
                    kept.is_read_ahead = true;
                }
            }
            Err(ApiError::NotFound) => self.lock().gone(name),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn random() -> u32 {
    let mut bytes = [0u8; 4];
    getrandom::fill(&mut bytes).expect("the system has a random number generator");
    u32::from_be_bytes(bytes)
}
