//! Minting: one flight at a time for each ledger, reserved before it is sent, its result held in memory for all who
//! share the inputs.
//!
//! A pass starts a flight and ends; when the flight lands, everybody who waited for it is woken and finds the token, or
//! why there is none. So a slow token service holds no pass.

mod book;
mod flight;
pub(crate) mod gate;
mod held_up;
pub(crate) mod ledger;
mod places;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use zoho_api::names::{AttemptId, InputsDigest, LedgerName, ObjectName, ObjectVersion};
use zoho_api::{Reason, Time, ZohoMintLedgerSpec};
use zoho_client::calls::ApiError;
use zoho_client::clock::Clock;
use zoho_client::transport::Transport;
use zoho_core::issuer::{Failure, TokenRequest};
use zoho_core::plan::budget::Need;
use zoho_core::plan::guard::{self, Guard};
use zoho_core::plan::intake::{Intake, Newcomer};
use zoho_core::rehearsal::Rehearsals;
use zoho_core::secret::MintedToken;
use zoho_core::text::causes;

use self::gate::Gate;
use self::held_up::{HeldUp, IS_NEW_FOR};
use self::ledger::Ledgers;
use crate::lead::Leadership;
use crate::serve::metrics::Metrics;
use crate::wake::Wake;
use crate::watch::index::Index;

/// How long nothing is minted where the ledger could not be written.
const GROUNDED_FOR: std::time::Duration = std::time::Duration::from_secs(5);

/// One request for a token.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Name of the ledger.
    pub ledger: LedgerName,
    /// Keyed hash of everything that is sent.
    pub inputs: InputsDigest,
    /// How much the token is missed.
    pub need: Need,
    /// A person asked for it.
    pub asked: bool,
    /// Attempt of the token that was at hand when this was decided.
    pub at_hand: Option<AttemptId>,
    /// A target says that this ledger was minted from.
    pub ledger_expected: bool,
    /// How far apart requests must be.
    pub spacing: std::time::Duration,
    /// uid of the credential that it is asked for.
    pub uid: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Where a Secret has to be created: how often one was refused in the namespace before this was decided.
    pub refusals: Option<u64>,
    /// The source Secret.
    pub source: ObjectName,
    /// The version of it that the request was made from.
    pub source_version: Option<ObjectVersion>,
    /// The installation that serves the credential.
    pub installation: String,
    /// What is sent, and where.
    pub request: TokenRequest,
}

/// What is held back of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guarded {
    /// Why, and until when.
    pub until: Option<(Time, Guard)>,
    /// It may have a token that is there already.
    pub may_share: bool,
}

#[derive(Default)]
struct State {
    /// Waiting objects of each flight, by ledger.
    flights: HashMap<LedgerName, HashSet<ObjectName>>,
    hands: HashMap<InputsDigest, Arc<MintedToken>>,
    failures: HashMap<InputsDigest, Failure>,
    /// Objects that a hold or a refusal of their inputs keeps from minting.
    held_up: HeldUp,
    intake: Intake,
    live_tokens: HashMap<LedgerName, usize>,
    /// Objects that a flight has landed for with news, and that no pass has looked at since.
    landed: HashSet<ObjectName>,
    /// Ledgers whose refreshes brought another refresh token; said once.
    rotating: HashSet<LedgerName>,
}

/// Mints tokens and holds them.
#[derive(Clone)]
pub(crate) struct Mints {
    ledgers: Ledgers,
    index: Arc<Index>,
    transport: Arc<Transport>,
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    leadership: Leadership,
    metrics: Metrics,
    wake: Wake,
    in_the_air: tokio_util::task::TaskTracker,
    /// Nothing new is started: the process ends.
    closing: CancellationToken,
    state: Arc<Mutex<State>>,
    rehearsals: Arc<Mutex<Rehearsals>>,
}

impl Mints {
    /// `wake` is told of every object that waited for a flight that landed.
    #[expect(clippy::too_many_arguments, reason = "one of each of what a flight meets")]
    pub(crate) fn new(
        ledgers: Ledgers,
        index: Arc<Index>,
        transport: Arc<Transport>,
        gate: Gate,
        clock: Arc<dyn Clock>,
        leadership: Leadership,
        metrics: Metrics,
        wake: Wake,
    ) -> Self {
        Self {
            ledgers,
            index,
            transport,
            gate: Arc::new(gate),
            clock,
            leadership,
            metrics,
            wake,
            in_the_air: tokio_util::task::TaskTracker::new(),
            closing: CancellationToken::new(),
            state: Arc::default(),
            rehearsals: Arc::default(),
        }
    }

    /// The ledgers that flights are reserved in.
    pub(crate) fn ledgers(&self) -> &Ledgers {
        &self.ledgers
    }

    /// What creates of Secrets came to lately.
    pub(crate) fn rehearsals(&self) -> MutexGuard<'_, Rehearsals> {
        self.rehearsals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest token minted from these inputs by this process, while it lives.
    pub(crate) fn at_hand(&self, inputs: &InputsDigest) -> Option<Arc<MintedToken>> {
        let now = self.clock.now();
        self.lock().hands.get(inputs).filter(|token| token.life.is_alive(now)).cloned()
    }

    /// How the last flight with these inputs failed, if it did.
    pub(crate) fn failure(&self, inputs: &InputsDigest) -> Option<Failure> {
        self.lock().failures.get(inputs).cloned()
    }

    /// Tokens of the ledger that may have been alive right after its last mint by this process.
    pub(crate) fn live_tokens(&self, ledger: &LedgerName) -> Option<usize> {
        self.lock().live_tokens.get(ledger).copied()
    }

    /// Is a flight under way?
    pub(crate) fn is_minting(&self, ledger: &LedgerName) -> bool {
        self.lock().flights.contains_key(ledger)
    }

    /// What holds back a request that never minted, and until when. Notes the passwords that a namespace brings for accounts that
    /// are others', and an object for any: where these are too many, it gets no token, also not one that is there.
    pub(crate) fn guarded(&self, who: &Newcomer<'_>, now: Time) -> Guarded {
        let mut state = self.lock();
        if let Some(until) = state.intake.held_as_stranger(who, now) {
            return Guarded { until: Some((until, Guard::OtherNamespace)), may_share: false };
        }
        let guesses = state.intake.held_as_guesser(who, now);
        Guarded { until: guesses.or_else(|| state.intake.held(who, now)), may_share: guesses.is_none() }
    }

    /// An object and its inputs, as [`Intake`] counts them. `record`: their ledger.
    pub(crate) fn newcomer<'a>(
        &self,
        object: &'a ObjectName,
        (inputs, ledger): (&'a InputsDigest, &'a LedgerName),
        server: Option<&'a str>,
        record: &ZohoMintLedgerSpec,
        now: Time,
    ) -> Newcomer<'a> {
        let ledgers = self.ledgers.count_of(&object.namespace);
        Newcomer {
            object,
            ledger,
            inputs,
            has_ledger: self.ledgers.is_stored(ledger) && guard::is_known(record, inputs),
            is_proven: guard::is_proven(record, inputs),
            server,
            account: guard::whose(record, &object.namespace, now),
            ledgers: ledgers.never_minted,
            minted: ledgers.minted,
            credentials: self.index.count_of(&object.namespace),
        }
    }

    /// May a ledger be made for the object without a request, to say that it was lost?
    pub(crate) fn may_bring(
        &self,
        key: &ObjectName,
        (inputs, ledger): (&InputsDigest, &LedgerName),
        now: Time,
    ) -> bool {
        if self.ledgers.is_stored(ledger) {
            return true;
        }
        let newcomer = self.newcomer(key, (inputs, ledger), None, &ZohoMintLedgerSpec::default(), now);
        let may = self.lock().intake.brings(&newcomer, now);
        if may {
            self.ledgers.is_for(ledger, &key.namespace);
        }
        may
    }

    /// Wakes `key` when the flight under way lands. False where it has landed already.
    pub(crate) fn join(&self, ledger: &LedgerName, key: &ObjectName) -> bool {
        let mut state = self.lock();
        state.flights.get_mut(ledger).map(|waiting| waiting.insert(key.clone())).is_some()
    }

    /// Wakes `key`, which is held up, when these inputs mint for another object. False where they have, since `at_hand` was.
    pub(crate) fn is_held_up(&self, inputs: &InputsDigest, key: &ObjectName, at_hand: Option<&AttemptId>) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        let hand = state.hands.get(inputs).filter(|token| token.life.is_alive(now));
        let is_held_up = hand.is_none_or(|token| Some(&token.attempt) == at_hand);
        if is_held_up {
            state.held_up.add(inputs, key, now);
        }
        is_held_up
    }

    /// Starts a flight, or waits for the one under way. Returns at once; `key` is woken when it lands: at once, too, where
    /// one has landed since the order was decided.
    pub(crate) fn start(&self, order: Order, key: ObjectName) {
        let now = self.clock.now();
        let record = self.ledgers.look(&order.ledger, order.ledger_expected, now);
        let newcomer = self.newcomer(&key, (&order.inputs, &order.ledger), order.request.server(), &record, now);
        let mut state = self.lock();
        if let Some(waiting) = state.flights.get_mut(&order.ledger) {
            waiting.insert(key);
            self.metrics.coalesced();
            return;
        }
        let at_hand = state.hands.get(&order.inputs).filter(|token| token.life.is_alive(now));
        if at_hand.is_some_and(|token| order.at_hand.as_ref() != Some(&token.attempt)) {
            self.metrics.coalesced();
            state.landed.insert(key.clone());
            self.wake.one(key);
            return;
        }
        if self.closing.is_cancelled() {
            return;
        }
        if state.intake.held(&newcomer, now).is_some() {
            // Others began meanwhile: the next pass finds out what to wait for.
            self.wake.one(key);
            return;
        }
        state.intake.begins(&newcomer, now);
        state.flights.insert(order.ledger.clone(), HashSet::from([key.clone()]));
        drop(state);
        let mints = self.clone();
        self.in_the_air.spawn(async move { mints.take_off(order, key).await });
    }

    /// From now on no flight starts, and none that waits at the gate is sent.
    pub(crate) fn close(&self) {
        self.closing.cancel();
        self.in_the_air.close();
    }

    /// Is nothing in the air?
    pub(crate) fn is_idle(&self) -> bool {
        self.in_the_air.is_empty()
    }

    /// Waits, once it is closed, until nothing is in the air.
    pub(crate) async fn idle(&self) {
        self.in_the_air.wait().await;
    }

    /// Objects that a flight has landed for with news, and that no pass has looked at since.
    pub(crate) fn landed(&self) -> Vec<ObjectName> {
        self.lock().landed.iter().cloned().collect()
    }

    /// A pass looks at the object now. Had a flight landed for it?
    pub(crate) fn is_looked_at(&self, key: &ObjectName) -> bool {
        self.lock().landed.remove(key)
    }

    /// The pass did not come to its end.
    pub(crate) fn is_not_looked_at(&self, key: &ObjectName) {
        self.lock().landed.insert(key.clone());
    }

    /// Nothing is minted with these inputs for a while: their ledger cannot be written.
    pub(crate) fn ground(&self, ledger: &LedgerName, inputs: &InputsDigest, error: &ApiError) {
        let failure = self.ledger_unavailable(ledger, error);
        self.lock().failures.insert(inputs.clone(), failure);
    }

    fn failure_now(&self, reason: Reason, code: Option<String>) -> Failure {
        Failure { reason, code, at: self.clock.now(), again_at: None, cause: None }
    }

    fn ledger_unavailable(&self, ledger: &LedgerName, error: &ApiError) -> Failure {
        tracing::warn!(
            %ledger,
            error = causes(error),
            "ledger cannot be written: nothing is minted without it"
        );
        let again_at = Some(self.clock.now() + GROUNDED_FOR);
        Failure { again_at, ..self.failure_now(Reason::WriteRefused, None) }
    }

    fn take_in(&self, order: &Order, key: &ObjectName, result: Result<MintedToken, Option<Failure>>) {
        let (now, has_ledger) = (self.clock.now(), self.ledgers.is_stored(&order.ledger));
        let mut state = self.lock();
        let was_refused = matches!(&result, Err(Some(failure)) if failure.reason.is_final());
        if !has_ledger {
            state.intake.left_nothing(&order.ledger);
        }
        state.intake.ends(&order.ledger, !was_refused);
        match result {
            Ok(token) => {
                state.hands.retain(|_, token| token.life.is_alive(now));
                state.hands.insert(order.inputs.clone(), Arc::new(token));
                state.failures.remove(&order.inputs);
                self.wake.all(state.held_up.take(&order.inputs).into_iter().collect());
            }
            Err(Some(failure)) => {
                tracing::warn!(
                    credential = %key, uid = order.uid, generation = order.generation, ledger = %order.ledger,
                    reason = %failure.reason, code = failure.code, "no token minted"
                );
                state.failures.insert(order.inputs.clone(), failure);
            }
            Err(None) => {}
        }
    }

    /// Forgets dead tokens, and what is known of ledgers and inputs that nobody uses any more. Deletes nothing.
    pub(crate) fn forget_unused(&self, ledgers: &HashSet<LedgerName>, inputs: &HashSet<InputsDigest>) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.hands.retain(|_, token| token.life.is_alive(now));
        state.failures.retain(|of, failure| inputs.contains(of) || failure.at + IS_NEW_FOR > now);
        state.held_up.forget_unused(inputs, |object| self.index.credential(object).is_some(), now);
        state.live_tokens.retain(|of, _| ledgers.contains(of));
        state.rotating.retain(|of| ledgers.contains(of));
        state.intake.forget_old(now);
        drop(state);
        self.ledgers.forget_unused(ledgers);
    }
}
