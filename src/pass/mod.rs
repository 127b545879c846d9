//! One pass over one object: gather, facts, plan, act, report. One match on the plan.
//!
//! Order of effects: reserve in the ledger, POST, Secret, status, Event. Every prefix of it is repaired by the next pass
//! without a needless mint.

mod context;
mod custody;
pub(crate) mod events;
mod gather;
pub(crate) mod later;
pub(crate) mod memories;
pub(crate) mod probes;
pub(crate) mod reads;
mod recheck;
mod report;
mod sweep;
mod target;

use zoho_api::names::{InputsDigest, LedgerName, ObjectName};
use zoho_api::{Time, ZohoCredential};
use zoho_client::calls::ApiError;
use zoho_core::facts::{self, Readings};
use zoho_core::memory::{Asked, Memory, REFUSED_FOR, Seen};
use zoho_core::plan::budget::Hold;
use zoho_core::plan::{self, Defect, Facts, MintReason, Plan};
use zoho_core::status::{self};
use zoho_core::text::causes;

pub(crate) use self::context::Context;
use self::custody::Charge;
use self::gather::{InTarget, ReadError};
use self::recheck::look_again_at;
use crate::mint::Order;
use crate::watch::index::CredentialSeen;

/// A pass that has to look again this often leaves the rest to the next one.
const MOST_TURNS: usize = 5;

/// Why a pass could not be finished. It is tried again after a pause.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    /// A read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The dry run of a target's write.
    #[error("rehearse the write of target Secret {name}")]
    Rehearse {
        /// Namespace and name.
        name: ObjectName,
        /// Why.
        source: ApiError,
    },
    /// The write of a target.
    #[error("write target Secret {name}")]
    Write {
        /// Namespace and name.
        name: ObjectName,
        /// Why.
        source: ApiError,
    },
    /// The object itself, again.
    #[error("read the ZohoCredential again")]
    Recheck(#[source] ApiError),
    /// The status.
    #[error("write the status")]
    Status(#[source] ApiError),
    /// The cluster changed faster than the pass could look.
    #[error("settle: the objects change faster than they can be read")]
    Unsettled,
}

/// What came of preparing or carrying out an effect.
enum Effect {
    Done,
    LookAgain,
    Blocked(Defect),
    /// The object is not what this pass took it for.
    Outdated,
}

/// Makes one pass. Returns when the next one is due if nothing happens before; `None` when only a change can make one
/// necessary.
///
/// # Errors
///
/// See [`PassError`]; everything done so far stands and the next pass goes on from it.
pub(crate) async fn reconcile(context: &Context, key: &ObjectName) -> Result<Option<Time>, PassError> {
    let (mut memory, era) = context.memories.recall(key);
    let seen = context.index.credential(key);
    let us = &context.installation.name;
    let is_others = seen.as_ref().and_then(CredentialSeen::served_by).is_some_and(|by| by != us);
    let outcome = match seen {
        None => {
            context.forget(key);
            return Ok(None);
        }
        // To the other installation it may say something.
        Some(CredentialSeen::Unreadable(_)) if is_others => return Ok(None),
        Some(CredentialSeen::Unreadable(unreadable)) => {
            let meta = &unreadable.meta;
            let generation = meta.generation.unwrap_or_default();
            if memory.uid != meta.uid {
                memory = Memory { uid: meta.uid.clone(), ..Memory::default() };
            }
            if memory.unreadable == Some(generation) {
                return Ok(None);
            }
            let done = context.report_unreadable(key, &unreadable).await;
            // Said once; what could not be said is tried again.
            memory.unreadable = done.is_ok().then_some(generation);
            done.map(|()| None)
        }
        Some(CredentialSeen::Readable(credential)) => {
            if memory.uid != credential.metadata.uid {
                memory = Memory { uid: credential.metadata.uid.clone(), ..Memory::default() };
            }
            match context.take_charge(credential, key, &mut memory).await {
                Ok(Charge::Taken(credential)) => {
                    Pass { context, credential: &credential, key, memory: &mut memory, again_at: None }.run().await
                }
                Ok(Charge::Left { until }) => Ok(until),
                Err(error) => Err(error),
            }
        }
    };
    context.memories.remember(key, memory, era);
    outcome
}

struct Pass<'a> {
    context: &'a Context,
    credential: &'a ZohoCredential,
    key: &'a ObjectName,
    memory: &'a mut Memory,
    /// What was reported did not get through: look again then.
    again_at: Option<Time>,
}

impl Pass<'_> {
    async fn run(&mut self) -> Result<Option<Time>, PassError> {
        let ledgers = self.context.mints.ledgers();
        for _ in 0..MOST_TURNS {
            let now = self.context.clock.now();
            let mut readings = self.context.gatherer().gather(self.credential, self.memory, now).await?;
            self.remember(&readings);
            let mut facts = facts::facts(self.credential, &readings, self.memory, now);
            let mut plan = plan::plan(&facts, ledgers.holder(), ledgers.limits(), now);
            let effect = match &plan {
                Plan::Release => return Ok(None),
                Plan::Mint { why } => self.mint(&mut readings, &mut facts, *why, now).await?,
                Plan::Store => match self.store(&readings, &facts, now).await? {
                    Effect::Done => Effect::LookAgain,
                    other @ (Effect::LookAgain | Effect::Blocked(_) | Effect::Outdated) => other,
                },
                Plan::Wait { why: Hold::InFlight, .. } if facts.minting => self.join(&readings),
                Plan::Wait { .. } | Plan::Park { .. } if !self.is_held_up(&readings, &facts) => Effect::LookAgain,
                Plan::Wait { .. } => self.wait(&readings, now).await,
                Plan::Keep { .. } | Plan::Park { .. } => self.keep(&readings, now).await,
                Plan::Refuse(_) | Plan::Suspend => Effect::Done,
            };
            match effect {
                Effect::Done => {}
                Effect::LookAgain => continue,
                Effect::Blocked(defect) => plan = Plan::Refuse(defect),
                Effect::Outdated => return Ok(Some(look_again_at(now))),
            }
            let swept = self.sweep_former_targets(&facts, now).await;
            let asks_at = self.verify(&readings, &facts, now).await?;
            let status = self.report(&readings, &facts, &plan, now).await?;
            if let Some(obstacle) = swept.obstacle {
                self.context.events.publish(self.credential, status::warning(&obstacle));
            }
            return Ok(self.next(&facts, &plan, &status, [swept.next, asks_at], now));
        }
        Err(PassError::Unsettled)
    }

    fn generation(&self) -> i64 {
        facts::generation(self.credential)
    }

    /// What the next pass need not read again.
    fn remember(&mut self, readings: &Readings) {
        if readings.source.request.is_some() || readings.source.source.usable().is_none() {
            self.memory.source = readings.source.to_remember(self.credential);
        }
        if readings.target.present.is_some() && readings.target.is_intact() {
            let version = readings.target.version.clone();
            self.memory.intact = version.map(|version| Seen { version, generation: self.generation() });
        }
    }

    /// Everything that must hold before a token is asked for: the source as it is now, and a target that can be written.
    async fn mint(
        &mut self,
        readings: &mut Readings,
        facts: &mut Facts,
        why: MintReason,
        now: Time,
    ) -> Result<Effect, PassError> {
        let Ok(served) = &readings.served else { return Ok(Effect::LookAgain) };
        if readings.source.request.is_none() {
            let assumed = readings.source.source.clone();
            readings.source = self.context.gatherer().read_source(self.credential, served, now).await?;
            self.memory.source = readings.source.to_remember(self.credential);
            if readings.source.source != assumed {
                return Ok(Effect::LookAgain);
            }
            *facts = facts::facts(self.credential, readings, self.memory, now);
        }
        let (Some(request), Some((inputs, ledger))) =
            (readings.source.request.clone(), readings.source.source.usable())
        else {
            return Ok(Effect::LookAgain);
        };
        let (inputs, ledger) = (inputs.clone(), ledger.clone());
        if !self.is_confirmed().await? {
            return Ok(Effect::Outdated);
        }
        let refusals = self.context.mints.rehearsals().refusals(&self.key.namespace);
        match self.rehearse(readings, refusals, now).await? {
            Effect::Done => {}
            other @ (Effect::LookAgain | Effect::Blocked(_) | Effect::Outdated) => return Ok(other),
        }
        let target = &readings.target.target;
        let order = Order {
            ledger_expected: self.context.gatherer().is_ledger_expected(
                self.credential,
                target,
                &inputs,
                self.memory.took_over,
                now,
            ),
            ledger,
            inputs,
            need: why.need(),
            asked: facts.renew_requested,
            at_hand: facts.at_hand.as_ref().map(|token| token.attempt.clone()),
            spacing: facts.spacing,
            uid: self.credential.metadata.uid.clone().unwrap_or_default(),
            generation: self.generation(),
            installation: self.context.installation.name.clone(),
            // Who has a Secret already is not held up by those who get none.
            refusals: readings.target.version.is_none().then_some(refusals),
            source: facts::source_of(self.credential),
            source_version: readings.source.version.clone(),
            request,
        };
        tracing::debug!(credential = %self.key, uid = order.uid, generation = order.generation, ?why, ledger = %order.ledger, "mint");
        if let Some(request) = facts::renew_request(self.credential).cloned() {
            let over = facts.target.token().map(|token| token.attempt.clone());
            self.memory.asked = Some(Asked { request, over });
        }
        self.memory.minting_since.get_or_insert(now);
        self.context.mints.start(order, self.key.clone());
        Ok(Effect::Done)
    }

    /// Waits for the flight under way, unless it has landed since it was seen.
    fn join(&self, readings: &Readings) -> Effect {
        let joins = |ledger| self.context.mints.join(ledger, self.key);
        if gather::ledger_of(readings).is_some_and(joins) { Effect::Done } else { Effect::LookAgain }
    }

    /// Is there still no token of the same inputs? Then one that another object gets wakes this one, if it may have it.
    fn is_held_up(&self, readings: &Readings, facts: &Facts) -> bool {
        let Some((inputs, _)) = facts.source.usable() else { return true };
        let at_hand = facts.at_hand.as_ref().map(|token| &token.attempt);
        !readings.may_share || self.context.mints.is_held_up(inputs, self.key, at_hand)
    }

    /// Waiting needs no effect, unless there is something that a restart must not forget. Where that cannot be written,
    /// this is what stands in the way.
    async fn wait(&self, readings: &Readings, now: Time) -> Effect {
        let Some((inputs, ledger)) = readings.source.source.usable() else { return Effect::Done };
        if readings.grounded_until.is_some_and(|until| until > now) {
            return Effect::Done;
        }
        match self.write_down(readings, inputs, ledger, now).await {
            Ok(()) => Effect::Done,
            Err(error) => {
                self.context.mints.ground(ledger, inputs, &error);
                Effect::LookAgain
            }
        }
    }

    /// Where nothing is due, too: what is presumed, or was brought back from the future, counts from when it was first
    /// noticed, whoever looks next, and a refused login is not sent again after a restart. Nothing waits for it.
    async fn keep(&self, readings: &Readings, now: Time) -> Effect {
        if let Some((inputs, ledger)) = readings.source.source.usable()
            && let Err(error) = self.write_down(readings, inputs, ledger, now).await
        {
            let error = causes(&error);
            tracing::debug!(credential = %self.key, %ledger, error, "ledger not written; it goes with the next write");
        }
        Effect::Done
    }

    async fn write_down(
        &self,
        readings: &Readings,
        inputs: &InputsDigest,
        ledger: &LedgerName,
        now: Time,
    ) -> Result<(), ApiError> {
        let target = &readings.target.target;
        let expected =
            self.context.gatherer().is_ledger_expected(self.credential, target, inputs, self.memory.took_over, now);
        // What says so may be a stamp that nobody has sealed: a ledger that is made for it counts like any other.
        if expected && !self.context.mints.may_bring(self.key, (inputs, ledger), now) {
            return Ok(());
        }
        self.context.mints.ledgers().keep(ledger, expected).await
    }

    /// Shows the token to the product where that is asked for and due: not the token of other inputs, which may be of another
    /// host. Returns when it is due next; an answer wakes the object.
    async fn verify(&self, readings: &Readings, facts: &Facts, now: Time) -> Result<Option<Time>, PassError> {
        let Facts { suspended, verification, target, source, .. } = facts;
        let inputs = source.usable().map(|(inputs, _)| inputs);
        let token = target.token().filter(|token| inputs == Some(&token.inputs));
        let (Some(verification), Some(token)) = (verification, token) else { return Ok(None) };
        let Some(question) = Self::question(readings) else { return Ok(None) };
        if *suspended || !token.life.is_alive(now) {
            return Ok(None);
        }
        let due_at = verification.due_at(token, now);
        if due_at > now {
            return Ok(Some(due_at));
        }
        let uid = self.credential.metadata.uid.as_deref().unwrap_or_default();
        Ok(match self.context.gatherer().token_in_target(self.credential, readings, token).await? {
            InTarget::Held(held) => {
                self.context.probes.ask(self.key, uid, question, held);
                None
            }
            InTarget::Gone => None,
            InTarget::Refused => Some(now + REFUSED_FOR),
        })
    }
}
