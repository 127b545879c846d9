//! The mint ledgers on the API server: what the watch told of them, reservations by compare-and-swap, and what this
//! process learnt since.
//!
//! All rules are in `plan::budget` and `plan::record`; this module only keeps and moves the records.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use tokio::time::Instant;

use zoho_api::names::is_older;
use zoho_api::{Attempt, FIELD_MANAGER, Outcome, Time, ZohoMintLedger, ZohoMintLedgerSpec};
use zoho_client::calls::{ApiError, call};
use zoho_client::clock::Clock;
use zoho_core::plan::Token;
use zoho_core::plan::budget::{self, Answer, Found, Limits, Request, SPEND_WITHIN};
use zoho_core::plan::record::{self, Lesson};

/// Outcomes kept for a ledger that cannot be written. One that is dropped counts as unknown.
const MOST_LESSONS: usize = 64;

/// A ledger as the API server has it.
#[derive(Clone, Debug)]
struct Stored {
    uid: String,
    version: String,
    /// `None` when the record cannot be decoded.
    spec: Option<ZohoMintLedgerSpec>,
}

#[derive(Debug, Default)]
struct Entry {
    stored: Option<Stored>,
    /// Outcomes that the stored record does not have yet.
    lessons: Vec<Lesson>,
}

/// All ledgers of this installation.
#[derive(Clone)]
pub(crate) struct Ledgers {
    api: Api<DeserializeGuard<ZohoMintLedger>>,
    /// Writes go without the guard, which cannot be sent.
    writes: Api<ZohoMintLedger>,
    labels: BTreeMap<String, String>,
    holder: String,
    limits: Limits,
    clock: Arc<dyn Clock>,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

/// The right to send one request, for ten seconds.
#[derive(Debug)]
pub(crate) struct Reservation {
    /// Id of the entry.
    pub id: String,
    /// When the request counts as sent.
    pub at: Time,
    /// Tokens that may be alive with this one.
    pub live_tokens: usize,
    spend_before: Instant,
}

impl Reservation {
    /// May it still be spent? Asked directly before the request is sent: a paused process must not spend an old one.
    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.spend_before
    }
}

/// Why nothing was reserved.
#[derive(Debug)]
pub(crate) enum NotReserved {
    /// The budget says no.
    Held(Answer),
    /// Somebody else wrote the ledger: look again at everything.
    Contended,
    /// The ledger cannot be written; without it nothing is minted.
    Unavailable(ApiError),
}

impl Ledgers {
    /// The ledgers in `namespace`, known as far as [`Self::observe`] is told.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        labels: BTreeMap<String, String>,
        holder: String,
        limits: Limits,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            writes: Api::namespaced(client, namespace),
            labels,
            holder,
            limits,
            clock,
            entries: Arc::default(),
        }
    }

    /// This process, as it stands in entries.
    pub(crate) fn holder(&self) -> &str {
        &self.holder
    }

    /// The limits that are accounted with.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a watch or a read told. Older versions than the known one are ignored.
    ///
    /// Says whether it was news.
    pub(crate) fn observe(&self, ledger: DeserializeGuard<ZohoMintLedger>) -> bool {
        let (meta, spec) = match ledger.0 {
            Ok(ledger) => (ledger.metadata, Some(ledger.spec)),
            Err(unreadable) => (unreadable.metadata, None),
        };
        let (Some(name), Some(uid), Some(version)) = (meta.name, meta.uid, meta.resource_version) else {
            return false;
        };
        let mut entries = self.lock();
        let entry = entries.entry(name).or_default();
        let known = entry.stored.as_ref().filter(|known| known.uid == uid);
        let is_news = known.is_none_or(|known| version != known.version && !is_older(&version, &known.version));
        if is_news {
            entry.stored = Some(Stored { uid, version, spec });
        }
        is_news
    }

    /// The ledger is gone.
    pub(crate) fn forget(&self, name: &str) {
        if let Some(entry) = self.lock().get_mut(name) {
            entry.stored = None;
        }
    }

    /// Forgets ledgers that are not stored and that nobody uses.
    pub(crate) fn forget_unused(&self, in_use: &HashSet<String>) {
        self.lock().retain(|name, entry| entry.stored.is_some() || in_use.contains(name));
    }

    /// Every ledger that is known to be stored.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().iter().filter(|(_, entry)| entry.stored.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// The ledger as it counts now, outcomes learnt since included. `expected`: something says that it must exist.
    pub(crate) fn view(&self, name: &str, expected: bool, now: Time) -> ZohoMintLedgerSpec {
        self.lock().get(name).map_or_else(
            || settle(None, &[], expected, now),
            |entry| settle(entry.stored.as_ref(), &entry.lessons, expected, now),
        )
    }

    /// What this process learnt of an attempt; the next write carries it.
    pub(crate) fn learn(&self, name: &str, lesson: Lesson) {
        let mut entries = self.lock();
        let lessons = &mut entries.entry(name.to_owned()).or_default().lessons;
        if lessons.len() >= MOST_LESSONS {
            lessons.remove(0);
        }
        lessons.push(lesson);
    }

    /// A token that stands in a target proves what became of its attempt, also where the process that made it is gone.
    pub(crate) fn witness(&self, name: &str, token: &Token) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(name) else { return };
        let recorded = entry.stored.as_ref().and_then(|stored| stored.spec.as_ref()).map(|spec| &spec.attempts);
        let open = |attempt: &Attempt| attempt.id == token.attempt && attempt.outcome.is_none();
        if recorded.is_some_and(|attempts| attempts.iter().any(open))
            && entry.lessons.iter().all(|lesson| lesson.id != token.attempt)
        {
            let life = i32::try_from(token.life.expires_at.since(token.life.issued_at).as_secs()).ok();
            entry.lessons.push(Lesson { id: token.attempt.clone(), outcome: Outcome::Minted, life });
        }
    }

    /// Reserves one attempt by compare-and-swap.
    ///
    /// # Errors
    ///
    /// See [`NotReserved`]. After a lost reply the ledger is read again and searched for the own entry.
    ///
    /// # Permissions
    ///
    /// get, create and update `zohomintledgers` in the operator's namespace.
    pub(crate) async fn reserve(
        &self,
        name: &str,
        request: &Request<'_>,
        expected: bool,
    ) -> Result<Reservation, NotReserved> {
        let now = self.clock.now();
        let spend_before = Instant::now() + SPEND_WITHIN;
        let stored = self.lock().get(name).and_then(|entry| entry.stored.clone());
        let mut ledger = self.view(name, expected, now);
        match budget::account(&ledger, request, self.limits, now) {
            Answer::Go => {}
            held @ (Answer::Wait { .. } | Answer::Refuse { .. }) => return Err(NotReserved::Held(held)),
        }
        let id = new_id(&ledger, now);
        let attempt = Attempt {
            id: id.clone(),
            at: now,
            holder: self.holder.clone(),
            inputs: request.inputs.to_owned(),
            life: None,
            outcome: None,
        };
        record::reserve(&mut ledger, attempt);
        let live_tokens = budget::live(&ledger, now);
        let reservation = Reservation { id, at: now, live_tokens, spend_before };
        match self.write(name, stored.as_ref(), ledger).await {
            Ok(()) => Ok(reservation),
            Err(ApiError::Unavailable(cause)) => {
                if self.reload(name).await.is_ok() && self.holds(name, &reservation.id) {
                    return Ok(reservation);
                }
                // The entry may be there all the same; nothing was sent under it.
                let outcome = Outcome::NotSent;
                self.learn(name, Lesson { id: reservation.id, outcome, life: None });
                Err(NotReserved::Unavailable(ApiError::Unavailable(cause)))
            }
            Err(ApiError::Conflict | ApiError::AlreadyExists | ApiError::NotFound) => {
                self.reload(name).await.map_err(NotReserved::Unavailable)?;
                Err(NotReserved::Contended)
            }
            Err(error) => Err(NotReserved::Unavailable(error)),
        }
    }

    /// Writes down that a lost record is presumed full, if that is not written yet: unwritten, the presumption would
    /// start over at every look.
    ///
    /// # Errors
    ///
    /// The ledger could not be written; somebody else's write of it is no error.
    pub(crate) async fn keep_presumption(&self, name: &str, ledger: &ZohoMintLedgerSpec) -> Result<(), ApiError> {
        let stored = self.lock().get(name).and_then(|entry| entry.stored.clone());
        let known = stored.as_ref().and_then(|stored| stored.spec.as_ref()).and_then(|spec| spec.presumed_full_at);
        if ledger.presumed_full_at.is_none() || ledger.presumed_full_at == known {
            return Ok(());
        }
        match self.write(name, stored.as_ref(), ledger.clone()).await {
            Err(ApiError::Conflict | ApiError::AlreadyExists | ApiError::NotFound) => self.reload(name).await,
            done => done,
        }
    }

    /// Writes a throttle or a verdict at once, so that a restart does not forget it. Conflicts are tried again.
    ///
    /// # Errors
    ///
    /// The last failure; what was learnt is kept in memory by the caller's lesson.
    pub(crate) async fn amend(&self, name: &str, edit: impl Fn(&mut ZohoMintLedgerSpec, Time)) -> Result<(), ApiError> {
        let mut last = ApiError::Conflict;
        for _ in 0..5 {
            let now = self.clock.now();
            let stored = self.lock().get(name).and_then(|entry| entry.stored.clone());
            let mut ledger = self.view(name, true, now);
            edit(&mut ledger, now);
            match self.write(name, stored.as_ref(), ledger).await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
            self.reload(name).await?;
        }
        Err(last)
    }

    /// Deletes a ledger that holds nothing worth keeping, if it is still the version that was looked at.
    pub(crate) async fn delete_if_empty(&self, name: &str) {
        let now = self.clock.now();
        let stored = self.lock().get(name).and_then(|entry| entry.stored.clone());
        let Some(stored) = stored else { return };
        let ledger = self.view(name, false, now);
        if !ledger.attempts.is_empty() || ledger.presumed_full_at.is_some() || ledger.throttled_until.is_some() {
            return;
        }
        let preconditions = Preconditions { uid: Some(stored.uid), resource_version: Some(stored.version) };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        if call(self.writes.delete(name, &params)).await.is_ok() {
            tracing::info!(ledger = name, "ledger that nothing refers to is deleted");
        }
    }

    fn holds(&self, name: &str, id: &str) -> bool {
        let entries = self.lock();
        let spec = entries.get(name).and_then(|entry| entry.stored.as_ref()?.spec.as_ref());
        spec.is_some_and(|spec| spec.attempts.iter().any(|attempt| attempt.id == id))
    }

    async fn write(&self, name: &str, stored: Option<&Stored>, mut ledger: ZohoMintLedgerSpec) -> Result<(), ApiError> {
        record::summarise(&mut ledger, self.limits, self.clock.now());
        let carried = self.lock().get(name).map_or(0, |entry| entry.lessons.len());
        let mut object = ZohoMintLedger::new(name, ledger);
        object.metadata = ObjectMeta {
            name: Some(name.to_owned()),
            labels: (!self.labels.is_empty()).then(|| self.labels.clone()),
            uid: stored.map(|stored| stored.uid.clone()),
            resource_version: stored.map(|stored| stored.version.clone()),
            ..ObjectMeta::default()
        };
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        let written = if stored.is_some() {
            call(self.writes.replace(name, &params, &object)).await?
        } else {
            call(self.writes.create(&params, &object)).await?
        };
        self.observe(DeserializeGuard(Ok(written)));
        if let Some(entry) = self.lock().get_mut(name) {
            entry.lessons.drain(..carried.min(entry.lessons.len()));
        }
        Ok(())
    }

    async fn reload(&self, name: &str) -> Result<(), ApiError> {
        match call(self.api.get(name)).await {
            Ok(ledger) => drop(self.observe(ledger)),
            Err(ApiError::NotFound) => self.forget(name),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn settle(stored: Option<&Stored>, lessons: &[Lesson], expected: bool, now: Time) -> ZohoMintLedgerSpec {
    let found = match stored {
        Some(Stored { spec: Some(spec), .. }) => Found::Present(spec.clone()),
        Some(Stored { spec: None, .. }) => Found::Lost,
        None if expected => Found::Lost,
        None => Found::Absent,
    };
    let mut ledger = budget::settle(found, now);
    for lesson in lessons {
        record::learn(&mut ledger, lesson);
    }
    ledger
}

/// A unique id. Those of one ledger sort in the order of reservation, also within a second: of two tokens that die at
/// the same time, the one that was reserved later is stored.
fn new_id(ledger: &ZohoMintLedgerSpec, now: Time) -> String {
    let mut random = [0u8; 4];
    getrandom::fill(&mut random).expect("the system has a random number generator");
    let before = ledger.attempts.iter().filter(|attempt| attempt.at == now).count();
    format!("{:010x}{before:03x}{:08x}", now.unix(), u32::from_be_bytes(random))
}
