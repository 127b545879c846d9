//! Shows tokens to products, beside the passes: one question an object at a time, its answer held in memory.
//!
//! A pass asks and ends; when the answer comes, the object is woken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::mint::gate::{End, Gate};
use crate::wake::Wake;
use zoho_api::names::ObjectName;
use zoho_api::{Reason, Time};
use zoho_client::clock::Clock;
use zoho_client::transport::Transport;
use zoho_core::issuer::probe::Question;
use zoho_core::plan::verify::{Answer, Probe, Shown, Verification};

use zoho_core::secret::MintedToken;

/// What was answered about the tokens of one object.
#[derive(Clone, Debug, Default)]
struct Answers {
    uid: Option<String>,
    is_asking: bool,
    last: Option<Probe>,
    taken: Option<Shown>,
}

/// Asks products.
#[derive(Clone)]
pub(crate) struct Probes {
    transport: Arc<Transport>,
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    wake: Wake,
    /// When it was first asked: a standby asks nothing, however long it has run.
    started: Arc<Mutex<Option<Time>>>,
    answers: Arc<Mutex<HashMap<ObjectName, Answers>>>,
}

impl Probes {
    /// `wake` is told of every object about whose token an answer came.
    pub(crate) fn new(transport: Arc<Transport>, clock: Arc<dyn Clock>, wake: Wake) -> Self {
        let (started, answers) = (Arc::default(), Arc::default());
        Self { transport, gate: Arc::new(Gate::new(0)), clock, wake, started, answers }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectName, Answers>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known for an object. `was_asked`: by the process before this one, so the first question can wait; the
    /// questions after a restart are spread over one interval.
    pub(crate) fn known(
        &self,
        key: &ObjectName,
        uid: &str,
        (question, interval): (String, Duration),
        was_asked: bool,
    ) -> Verification {
        let now = self.clock.now();
        // What lies in the future is of a clock that has been set back since.
        let started = {
            let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
            let first = started.map_or(now, |started| started.min(now));
            *started = Some(first);
            first
        };
        let mut all = self.lock();
        let answers = all.get_mut(key).filter(|answers| answers.uid.as_deref() == Some(uid));
        let answers = answers.map(|answers| {
            if let Some(last) = &mut answers.last {
                last.at = last.at.min(now);
            }
            answers.clone()
        });
        drop(all);
        let Answers { last, taken, .. } = answers.unwrap_or_default();
        let first_at = if was_asked { started + share_of(interval, uid) } else { started };
        Verification { blocked: None, question, interval, last, taken, first_at }
    }

    /// Asks, unless an answer is on its way already. Returns at once; `key` is woken when the answer is there.
    pub(crate) fn ask(&self, key: &ObjectName, uid: &str, question: Question, token: Arc<MintedToken>) {
        {
            let mut all = self.lock();
            let answers = all.entry(key.clone()).or_default();
            if answers.uid.as_deref() != Some(uid) {
                *answers = Answers { uid: Some(uid.to_owned()), ..Answers::default() };
            }
            if answers.is_asking {
                return;
            }
            answers.is_asking = true;
        }
        let (probes, key, uid) = (self.clone(), key.clone(), uid.to_owned());
        tokio::spawn(async move {
            let mut asking = Asking { probes: &probes, key: &key, uid: &uid, is_over: false };
            let host = question.url.host_str().unwrap_or_default();
            let mut pass = probes.gate.enter(host, &key.namespace, &uid).await;
            let answer = pass.carry(probes.transport.show(&question, &token.access_token)).await;
            let is_silence = answer == Answer::Nothing(Reason::UpstreamTimeout);
            pass.ended(if is_silence { End::TimedOut } else { End::Answered });
            let shown = Shown { attempt: token.attempt.clone(), question: question.asked() };
            probes.take_in(&key, &uid, &shown, answer);
            asking.is_over = true;
        });
    }

    fn take_in(&self, key: &ObjectName, uid: &str, shown: &Shown, answer: Answer) {
        let at = self.clock.now();
        if let Some(answers) = self.lock().get_mut(key).filter(|answers| answers.uid.as_deref() == Some(uid)) {
            answers.is_asking = false;
            answers.last = Some(Probe { at, shown: shown.clone(), answer });
            if answer.is_taken() {
                answers.taken = Some(shown.clone());
            }
        }
        tracing::debug!(credential = %key, uid, attempt = %shown.attempt, ?answer, "product asked about the token");
        self.wake.one(key.clone());
    }

    /// Forgets an object that is gone.
    pub(crate) fn forget(&self, key: &ObjectName) {
        self.lock().remove(key);
    }
}

/// A question that is under way. Also one that panics is over: the next token is asked about again.
struct Asking<'a> {
    probes: &'a Probes,
    key: &'a ObjectName,
    uid: &'a str,
    is_over: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut all = self.probes.lock();
        if let Some(answers) = all.get_mut(self.key).filter(|answers| answers.uid.as_deref() == Some(self.uid)) {
            answers.is_asking = false;
        }
    }
}

/// A part of `interval` that follows from the uid, which starts with random hex digits.
fn share_of(interval: Duration, uid: &str) -> Duration {
    let digits = uid.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or_default();
    interval * u32::from(digits) / u32::from(u16::MAX)
}
