//! One pass over one object: observe, plan, act, report. One match on the plan.
//!
//! Order of effects: reserve in the ledger, POST, Secret, status, Event. Every prefix of it is repaired by the next pass
//! without a needless mint.

pub(crate) mod events;
mod gather;
pub(crate) mod probes;
mod target;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use serde_json::json;
use tracing::Instrument as _;

use crate::flags::Flags;
use crate::mint::{Mints, Order};
use crate::pass::events::Events;
use crate::pass::gather::{Memory, Observer, ReadError, SourceRead, View};
use crate::pass::probes::Probes;
use crate::serve::metrics::Metrics;
use crate::serve::telemetry::SPANS;
use crate::watch::index::{CredentialSeen, Index};
use zoho_api::names::ObjectName;
use zoho_api::{ConditionType, Observed as Versions, Reason, Time, ZohoCredential, ZohoCredentialStatus};
use zoho_client::apply;
use zoho_client::calls::ApiError;
use zoho_client::clock::Clock;
use zoho_core::facts::renew_request;
use zoho_core::issuer::probe::Question;
use zoho_core::message::Names;
use zoho_core::plan::budget::Hold;
use zoho_core::plan::{self, Defect, MintReason, Observed, Plan, Source, Target};
use zoho_core::policy::Policy;
use zoho_core::secret::HashKey;
use zoho_core::status::{self, Report};

/// A pass that has to look again this often leaves the rest to the next one.
const MOST_TURNS: usize = 5;
/// A first mint that takes longer than this is reported; a faster one saves the write.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// What passes share.
pub(crate) struct Context {
    /// Client of all calls.
    pub client: Client,
    /// What the watches told.
    pub index: Arc<Index>,
    /// Tokens and ledgers.
    pub mints: Mints,
    /// Answers of products.
    pub probes: Probes,
    /// What is counted.
    pub metrics: Metrics,
    /// Flags.
    pub flags: Flags,
    /// What the administrator allows.
    pub policy: Policy,
    /// Key of the hashes.
    pub hash_key: HashKey,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where Events go.
    pub events: Events,
    /// Wakes other objects.
    pub wake: tokio::sync::mpsc::UnboundedSender<ObjectName>,
    /// What passes remember.
    pub memories: Mutex<HashMap<ObjectName, Memory>>,
}

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
    /// The deletion of a former target.
    #[error("delete former target Secret {name}")]
    Delete {
        /// Namespace and name.
        name: ObjectName,
        /// Why.
        source: ApiError,
    },
    /// The ledger.
    #[error("write ledger {name}")]
    Ledger {
        /// Its name.
        name: String,
        /// Why.
        source: ApiError,
    },
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
}

/// Makes one pass. Returns when the next one is due if nothing happens before; `None` when only a change can make one
/// necessary.
///
/// # Errors
///
/// See [`PassError`]; everything done so far stands and the next pass goes on from it.
pub(crate) async fn reconcile(context: &Context, key: &ObjectName) -> Result<Option<Time>, PassError> {
    let mut memory = context.recall(key);
    let outcome = match context.index.credential(key) {
        None => {
            context.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            context.probes.forget(key);
            return Ok(None);
        }
        Some(CredentialSeen::Unreadable(meta, error)) => {
            let generation = meta.generation.unwrap_or_default();
            if memory.unreadable == Some(generation) {
                return Ok(None);
            }
            let done = context.report_unreadable(key, generation, &error).await;
            memory.unreadable = Some(generation);
            done.map(|()| None)
        }
        Some(CredentialSeen::Readable(credential)) => {
            if memory.uid != credential.metadata.uid {
                memory = Memory { uid: credential.metadata.uid.clone(), ..Memory::default() };
            }
            Pass { context, credential: &credential, key, memory: &mut memory }.run().await
        }
    };
    context.memories.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), memory);
    outcome
}

impl Context {
    /// Keyed hashes of all inputs that a pass has seen and may ask about again.
    pub(crate) fn inputs_in_use(&self) -> HashSet<String> {
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let inputs = |memory: &Memory| match &memory.source {
            Some(SourceRead { source: Source::Usable { inputs, .. }, .. }) => Some(inputs.clone()),
            _ => None,
        };
        memories.values().filter_map(inputs).collect()
    }

    fn recall(&self, key: &ObjectName) -> Memory {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned().unwrap_or_default()
    }

    fn observer(&self) -> Observer<'_> {
        Observer {
            client: &self.client,
            index: &self.index,
            mints: &self.mints,
            probes: &self.probes,
            secret_access: self.flags.secret_access,
            policy: &self.policy,
            hash_key: &self.hash_key,
        }
    }

    fn wake_others(&self, key: &ObjectName, concerned: Vec<ObjectName>) {
        for other in concerned.into_iter().filter(|other| other != key) {
            // Without a receiver the process is shutting down.
            let _ = self.wake.send(other);
        }
    }

    /// Says of an object that does not fit our types what is wrong with it; everything else goes on.
    async fn report_unreadable(&self, key: &ObjectName, generation: i64, error: &str) -> Result<(), PassError> {
        let now = self.clock.now();
        let error: String = error.chars().filter(|c| !c.is_control()).take(256).collect();
        let message = format!(
            "The object does not fit this version of the operator: {error}. Correct it, or bring CRDs and operator to the same version."
        );
        let condition = |type_: ConditionType, status: &str| {
            json!({ "type": type_.as_str(), "status": status, "reason": Reason::InvalidSpec.as_str(), "message": message,
                "observedGeneration": generation, "lastTransitionTime": now })
        };
        let conditions = [
            condition(ConditionType::Ready, "False"),
            condition(ConditionType::Renewable, "False"),
            condition(ConditionType::Stalled, "True"),
        ];
        let status = json!({ "observedGeneration": generation, "conditions": conditions });
        match apply::patch_status_of_unreadable(&self.client, key, &status).await {
            Ok(()) | Err(ApiError::NotFound | ApiError::Conflict) => Ok(()),
            Err(error) => Err(PassError::Status(error)),
        }
    }
}

struct Pass<'a> {
    context: &'a Context,
    credential: &'a ZohoCredential,
    key: &'a ObjectName,
    memory: &'a mut Memory,
}

impl Pass<'_> {
    async fn run(&mut self) -> Result<Option<Time>, PassError> {
        let ledgers = self.context.mints.ledgers();
        for _ in 0..MOST_TURNS {
            let now = self.context.clock.now();
            let observer = self.context.observer();
            let mut view = observer.observe(self.credential, self.key, self.memory, now).await?;
            let mut plan = plan::plan(&view.observed, ledgers.holder(), ledgers.limits(), now);
            let effect = match &plan {
                Plan::Release => return Ok(None),
                Plan::Mint { why } => self.mint(&mut view, *why, now).await?,
                Plan::Store => match self.store(&view, now).await? {
                    Effect::Done => Effect::LookAgain,
                    other @ (Effect::LookAgain | Effect::Blocked(_)) => other,
                },
                Plan::Wait { .. } => self.wait(&view).await?,
                Plan::Keep { .. } | Plan::Refuse(_) | Plan::Park { .. } | Plan::Suspend => Effect::Done,
            };
            match effect {
                Effect::Done => {}
                Effect::LookAgain => continue,
                Effect::Blocked(defect) => plan = Plan::Refuse(defect),
            }
            let others = [self.sweep_former_targets(now).await?, self.verify(&view, now).await?];
            let status = self.report(&view, &plan, now).await?;
            return Ok(self.next(&view, &plan, &status, others, now));
        }
        Err(PassError::Unsettled)
    }

    fn generation(&self) -> i64 {
        self.credential.metadata.generation.unwrap_or_default()
    }

    fn target(&self) -> ObjectName {
        ObjectName::new(&self.key.namespace, &self.credential.target_name())
    }

    /// Everything that must hold before a token is asked for: the source as it is now, and a target that can be written.
    async fn mint(&mut self, view: &mut View, why: MintReason, now: Time) -> Result<Effect, PassError> {
        if view.request.is_none() {
            let assumed = view.observed.source.clone();
            self.context.observer().read_source(self.credential, self.key, self.memory, view).await?;
            if view.observed.source != assumed {
                return Ok(Effect::LookAgain);
            }
        }
        let (Some(request), Source::Usable { inputs, ledger }) = (view.request.clone(), &view.observed.source) else {
            return Ok(Effect::LookAgain);
        };
        match self.rehearse(view, now).await? {
            Effect::Done => {}
            other @ (Effect::LookAgain | Effect::Blocked(_)) => return Ok(other),
        }
        let order = Order {
            ledger: ledger.clone(),
            inputs: inputs.clone(),
            need: why.need(),
            asked: view.observed.renew_requested,
            at_hand: view.observed.at_hand.as_ref().map(|token| token.attempt.clone()),
            ledger_expected: view.ledger_expected,
            spacing: view.observed.spacing,
            uid: self.credential.metadata.uid.clone().unwrap_or_default(),
            generation: self.generation(),
            request,
        };
        tracing::debug!(credential = %self.key, uid = order.uid, generation = order.generation, ?why, ledger = order.ledger, "mint");
        self.memory.asked = renew_request(self.credential).cloned().or(self.memory.asked.take());
        self.memory.minting_since.get_or_insert(now);
        self.context.mints.start(order, self.key.clone());
        Ok(Effect::Done)
    }

    /// Shows the token to the product where that is asked for and due. Returns when it is due next; an answer wakes the
    /// object.
    async fn verify(&self, view: &View, now: Time) -> Result<Option<Time>, PassError> {
        let Observed { suspended, verification, target, .. } = &view.observed;
        let (Some(verification), Some(token)) = (verification, target.token()) else { return Ok(None) };
        let Some((_, Ok(question))) = view.served.as_ref().and_then(|served| served.verify.as_ref()) else {
            return Ok(None);
        };
        if *suspended || !token.life.is_alive(now) {
            return Ok(None);
        }
        let due_at = verification.due_at(token, now);
        if due_at > now {
            return Ok(Some(due_at));
        }
        let uid = self.credential.metadata.uid.as_deref().unwrap_or_default();
        let held = self.context.observer().token_in_target(self.credential, self.key, view, token).await?;
        if let Some(held) = held {
            self.context.probes.ask(self.key, uid, question.clone(), held);
        }
        Ok(None)
    }

    /// Waiting needs no effect, unless the ledger is presumed full and that is not written yet.
    async fn wait(&self, view: &View) -> Result<Effect, PassError> {
        if let Source::Usable { ledger, .. } = &view.observed.source {
            let kept = self.context.mints.ledgers().keep_presumption(ledger, &view.observed.ledger).await;
            kept.map_err(|source| PassError::Ledger { name: ledger.clone(), source })?;
        }
        Ok(Effect::Done)
    }

    /// Writes the status if it says something new, and publishes what changed.
    async fn report(&mut self, view: &View, plan: &Plan, now: Time) -> Result<ZohoCredentialStatus, PassError> {
        let before = self.credential.status.clone().unwrap_or_default();
        let in_flight = matches!(plan, Plan::Mint { .. } | Plan::Wait { why: Hold::InFlight, .. });
        if in_flight && before.conditions.is_empty() && self.silent_until(now) > now {
            return Ok(before);
        }
        let failure = match &view.observed.source {
            Source::Usable { inputs, .. } => self.context.mints.failure(inputs),
            Source::Unusable(_) => None,
        };
        let live_tokens = match &view.observed.source {
            Source::Usable { ledger, .. } => self.context.mints.live_tokens(ledger),
            Source::Unusable(_) => None,
        };
        let intact = self.memory.intact.as_ref().map(|(version, _)| version.clone());
        let verified = matches!(view.observed.target, Target::Ours { intact: true, .. });
        let after = status::report(
            &Report {
                previous: &before,
                generation: self.generation(),
                observed: &view.observed,
                plan,
                failure: failure.as_ref(),
                names: &self.names(view),
                versions: Versions {
                    source: view.source_version.clone(),
                    target: if verified { view.target_version.clone() } else { intact },
                },
                live_tokens,
                handled: self.handled(plan).filter(|_| !view.observed.minting),
            },
            now,
        );
        if status::says_the_same(&before, &after) {
            return Ok(before);
        }
        let span = tracing::info_span!(target: SPANS, "write status");
        let write = apply::patch_status(&self.context.client, self.credential, self.key, &after);
        match write.instrument(span).await {
            Ok(written) => {
                self.context.index.apply_credential(written);
                for announcement in status::announcements(&before, &after) {
                    self.context.events.publish(self.credential, announcement);
                }
                Ok(after)
            }
            // Gone, made anew or edited meanwhile: the watch tells, and the next pass looks again.
            Err(ApiError::NotFound | ApiError::Conflict) => Ok(before),
            Err(error) => Err(PassError::Status(error)),
        }
    }

    fn silent_until(&self, now: Time) -> Time {
        self.memory.minting_since.unwrap_or(now) + SILENT_FOR
    }

    /// A renewal request that is done, or that nothing will come of.
    fn handled(&self, plan: &Plan) -> Option<String> {
        match plan {
            Plan::Mint { .. } | Plan::Store | Plan::Wait { .. } | Plan::Release => None,
            Plan::Keep { .. } | Plan::Refuse(_) | Plan::Park { .. } | Plan::Suspend => {
                renew_request(self.credential).cloned()
            }
        }
    }

    /// What the product is asked, for messages.
    fn question(view: &View) -> Option<Question> {
        view.served.as_ref()?.verify.as_ref()?.1.as_ref().ok().cloned()
    }

    fn names(&self, view: &View) -> Names {
        let source = &self.credential.spec.secret_ref;
        let name = ObjectName::new(&self.key.namespace, &source.name);
        let seen = self.context.index.secret(&name).and_then(|seen| seen.ours);
        let terms = view.served.as_ref().map(|served| &served.terms);
        Names {
            source: name,
            source_manager: seen.and_then(|seen| seen.controller),
            target: self.target(),
            refresh_token_key: source.refresh_token_key().to_owned(),
            data_center: terms.and_then(|terms| terms.data_center),
            service: terms.map(|terms| terms.service.clone()).unwrap_or_default(),
            console: terms.map(|terms| terms.console.clone()).unwrap_or_default(),
            question: Self::question(view),
            expiry_is_named: terms.is_none_or(|terms| terms.names_expiry),
        }
    }

    /// The next instant at which there may be something to do.
    fn next(
        &self,
        view: &View,
        plan: &Plan,
        status: &ZohoCredentialStatus,
        others: [Option<Time>; 2],
        now: Time,
    ) -> Option<Time> {
        let planned = match plan {
            // The flight's landing wakes the object; until then only its report may be due.
            Plan::Mint { .. } => Some(self.silent_until(now)),
            Plan::Wait { until, why: Hold::InFlight } if status.conditions.is_empty() => {
                Some(self.silent_until(now).min(*until))
            }
            Plan::Keep { until } | Plan::Wait { until, .. } => Some(*until),
            Plan::Park { until, .. } => *until,
            Plan::Refuse(defect) => defect.again_at,
            Plan::Store | Plan::Suspend | Plan::Release => None,
        };
        let life = view.observed.target.token().map(|token| token.life);
        let changes = status::changes_at(status, life, now);
        others.into_iter().chain([planned, changes]).flatten().filter(|at| *at > now).min()
    }
}
