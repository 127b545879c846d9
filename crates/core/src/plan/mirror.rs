//! One ledger as this process knows it: the stored record, and what was learnt since. Pure; the runtime and the model of
//! the protocol run the same type.
//!
//! Everything learnt counts at once and goes with the next write; a write that fails loses nothing.

use zoho_api::names::{AttemptId, Holder, InputsDigest, ObjectVersion};
use zoho_api::{Attempt, Outcome, Time, ZohoMintLedgerSpec};

use super::Token;
use super::budget::{self, Found, Limits, Request, Ruling};
use super::guard;
use super::record::{self, Lesson};

/// Lessons kept for a ledger that cannot be written. Outcomes go first: one that is dropped counts as unknown.
const MOST_LESSONS: usize = 64;

/// The ledger object, as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stored {
    version: ObjectVersion,
    /// `None` when the record cannot be decoded.
    record: Option<ZohoMintLedgerSpec>,
    /// Something in it lies in the future as it is written, and was brought back here.
    is_corrected: bool,
    /// The throttle as it is written, where it was too long to be believed.
    disbelieved: Option<Time>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LedgerMirror {
    stored: Option<Stored>,
    /// Since when a record that should be there is presumed full.
    presumed_full_at: Option<Time>,
    lessons: Vec<Lesson>,
}

/// The next record, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Draft {
    /// The version that it replaces; `None` creates the object.
    pub replaces: Option<ObjectVersion>,
    /// What to write.
    pub record: ZohoMintLedgerSpec,
    carried: Vec<Lesson>,
}

impl LedgerMirror {
    /// Takes in what the API server says of the ledger; `record` is `None` where it cannot be decoded. Says whether it was
    /// news: what is older than what is known is not.
    pub fn absorb(&mut self, version: ObjectVersion, record: Option<ZohoMintLedgerSpec>, now: Time) -> bool {
        if self.stored.as_ref().is_some_and(|known| known.version == version || version.is_older_than(&known.version)) {
            return false;
        }
        self.presumed_full_at = None;
        let known = self.stored.take();
        let mut stored = Stored { version, record, is_corrected: false, disbelieved: None };
        if let (Some(before), Some(record)) = (known, &mut stored.record) {
            stored.disbelieved = before.disbelieved;
            stored.is_corrected = keep_what_was_brought_back(&before, record, now);
        }
        self.stored = Some(stored);
        self.settle(now);
        true
    }

    /// The API server says that there is no such ledger.
    pub fn gone(&mut self) {
        self.stored = None;
    }

    /// The cluster's history went back, as after etcd was restored from a backup: the next record counts, whatever its
    /// version. What it does not have was done all the same, and the issuer remembers it.
    pub fn doubt(&mut self) {
        let Some(record) = self.stored.take().and_then(|stored| stored.record) else { return };
        // First, so that what was learnt of them since finds them.
        let made = record.attempts.into_iter().map(Lesson::Made);
        let throttle = record.throttled_until.map(|until| Lesson::Throttle { until });
        let proven = record.proven.into_iter().map(Lesson::Proven);
        self.lessons.splice(..0, made.chain(throttle).chain(proven));
    }

    /// Is it known to be stored?
    pub fn is_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// The version that is stored.
    pub fn version(&self) -> Option<&ObjectVersion> {
        self.stored.as_ref().map(|stored| &stored.version)
    }

    /// Does the stored record have this attempt?
    pub fn holds(&self, id: &AttemptId) -> bool {
        self.record().is_some_and(|record| record.attempts.iter().any(|attempt| attempt.id == *id))
    }

    /// What this process learnt.
    pub fn learn(&mut self, lesson: Lesson) {
        if self.lessons.contains(&lesson) {
            return;
        }
        if let Lesson::Outcome { id, outcome: Outcome::Minted, .. } = &lesson
            && let Some(proven) = self.attempt(id).map(guard::proof)
        {
            self.learn(Lesson::Proven(proven));
        }
        if self.lessons.len() >= MOST_LESSONS {
            let outcome = self.lessons.iter().position(|lesson| !lesson.is_urgent());
            self.lessons.remove(outcome.unwrap_or(0));
        }
        // Most ledgers have one or two for as long as they are used.
        self.lessons.reserve_exact(1);
        self.lessons.push(lesson);
    }

    /// A token whose seal was checked proves what became of its attempt, also where the process that made it is gone.
    pub fn witness(&mut self, token: &Token) {
        let is_known = |lesson: &Lesson| matches!(lesson, Lesson::Outcome { id, .. } if *id == token.attempt);
        let proof = self.record().and_then(|record| record::proof(record, token));
        if let Some(proof) = proof.filter(|_| !self.lessons.iter().any(is_known)) {
            self.learn(proof);
        }
    }

    /// The ledger as it counts now. `expected`: something says that it must exist.
    pub fn look(&mut self, expected: bool, now: Time) -> ZohoMintLedgerSpec {
        self.settle(now);
        let found = match &self.stored {
            Some(Stored { record: Some(record), .. }) => Found::Present(record.clone()),
            Some(Stored { record: None, .. }) => self.lost(now),
            None if expected => self.lost(now),
            None => Found::Absent,
        };
        let mut ledger = budget::settle(found, now);
        for lesson in &self.lessons {
            record::learn(&mut ledger, lesson);
        }
        ledger
    }

    /// Is the refresh token of these inputs known to be revoked?
    pub fn has_ended(&mut self, inputs: &InputsDigest, now: Time) -> bool {
        let is_of_it = |lesson: &Lesson| matches!(lesson, Lesson::Refusal { inputs: of, .. } if of == inputs);
        let is_refused = self.record().is_some_and(|record| budget::is_refused(record, inputs));
        (is_refused || self.lessons.iter().any(is_of_it)) && budget::ended(&self.look(false, now), inputs).is_some()
    }

    /// The write that reserves one attempt, under an id that `random` makes unique.
    ///
    /// # Errors
    ///
    /// What the budget says instead: [`Ruling::Wait`] or [`Ruling::Refuse`].
    pub fn reserve(
        &mut self,
        request: &Request<'_>,
        limits: Limits,
        (expected, random): (bool, u32),
        now: Time,
    ) -> Result<(AttemptId, Draft), Ruling> {
        let mut record = self.look(expected, now);
        match budget::account(&record, request, limits, now) {
            Ruling::Go => {}
            held @ (Ruling::Wait { .. } | Ruling::Refuse { .. }) => return Err(held),
        }
        let id = attempt_id(&record, random, now);
        let (holder, inputs): (Holder, _) = (request.holder.clone(), request.inputs.clone());
        let (namespace, login) = (request.namespace.to_owned(), request.login);
        let attempt = Attempt { id: id.clone(), at: now, holder, inputs, namespace, login, ..Attempt::default() };
        record::reserve(&mut record, attempt);
        Ok((id, self.draft(record, limits, now)))
    }

    /// The write that keeps what must not be forgotten: a throttle, a verdict, a presumption, and what was brought back
    /// from the future. `None` where there is nothing of the kind.
    pub fn keep(&mut self, expected: bool, limits: Limits, now: Time) -> Option<Draft> {
        let record = self.look(expected, now);
        let is_presumed = record.presumed_full_at.is_some()
            && self.record().and_then(|stored| stored.presumed_full_at) != record.presumed_full_at;
        let is_corrected = self.stored.as_ref().is_some_and(|stored| stored.is_corrected);
        let is_unwritten = |lesson: &Lesson| match (lesson, self.record()) {
            (Lesson::Proven(proven), Some(stored)) => guard::is_unwritten(stored, proven),
            (_, _) => false,
        };
        let has_urgent = self.lessons.iter().any(|lesson| lesson.is_urgent() || is_unwritten(lesson));
        (is_presumed || is_corrected || has_urgent).then(|| self.draft(record, limits, now))
    }

    /// The draft is stored, in this version.
    pub fn confirm(&mut self, draft: Draft, version: ObjectVersion) {
        self.lessons.retain(|lesson| !draft.carried.contains(lesson));
        self.presumed_full_at = None;
        let is_news = self.stored.as_ref().is_none_or(|known| !version.is_older_than(&known.version));
        if is_news {
            let record = Some(draft.record);
            self.stored = Some(Stored { version, record, is_corrected: false, disbelieved: None });
        }
    }

    fn draft(&self, mut record: ZohoMintLedgerSpec, limits: Limits, now: Time) -> Draft {
        record::summarise(&mut record, limits, now);
        Draft { replaces: self.version().cloned(), record, carried: self.lessons.clone() }
    }

    /// An attempt that is stored, or was before the cluster's history went back.
    fn attempt(&self, id: &AttemptId) -> Option<&Attempt> {
        let made = self.lessons.iter().filter_map(|lesson| match lesson {
            Lesson::Made(attempt) => Some(attempt),
            Lesson::Outcome { .. } | Lesson::Proven(_) | Lesson::Throttle { .. } | Lesson::Refusal { .. } => None,
        });
        let stored = self.record().into_iter().flat_map(|record| &record.attempts);
        stored.chain(made).find(|attempt| attempt.id == *id)
    }

    fn record(&self) -> Option<&ZohoMintLedgerSpec> {
        self.stored.as_ref().and_then(|stored| stored.record.as_ref())
    }

    fn lost(&mut self, now: Time) -> Found {
        let since = *self.presumed_full_at.get_or_insert(now);
        Found::Present(ZohoMintLedgerSpec { presumed_full_at: Some(since), ..Default::default() })
    }

    /// What lies in the future is brought back once, to the time at which that was noticed, and stays there.
    fn settle(&mut self, now: Time) {
        self.presumed_full_at = self.presumed_full_at.map(|at| at.min(now));
        if let Some(stored) = &mut self.stored
            && let Some(record) = stored.record.take()
        {
            stored.is_corrected |= budget::is_from_the_future(&record, now);
            let written = record.throttled_until;
            let settled = budget::settle(Found::Present(record), now);
            if settled.throttled_until.is_some_and(|believed| Some(believed) < written) {
                stored.disbelieved = stored.disbelieved.max(written);
            }
            stored.record = Some(settled);
        }
    }
}

/// A record that was read again still has what this process has brought back from the future: it is not brought back
/// to a later time. Says whether there was something of the kind.
fn keep_what_was_brought_back(before: &Stored, record: &mut ZohoMintLedgerSpec, now: Time) -> bool {
    let Some(known) = &before.record else { return false };
    let as_written = record.clone();
    for attempt in record.attempts.iter_mut().filter(|attempt| attempt.at > now) {
        if let Some(same) = known.attempts.iter().find(|same| same.id == attempt.id) {
            attempt.at = attempt.at.min(same.at);
        }
    }
    for verdict in record.verdicts.iter_mut().filter(|verdict| verdict.at > now) {
        let is_same = |same: &&zoho_api::Verdict| same.inputs == verdict.inputs && same.confirmed == verdict.confirmed;
        if let Some(same) = known.verdicts.iter().find(is_same) {
            verdict.at = verdict.at.min(same.at);
        }
    }
    for proven in record.proven.iter_mut().filter(|proven| proven.at > now) {
        if let Some(same) = known.proven.iter().find(|same| same.inputs == proven.inputs) {
            proven.at = proven.at.min(same.at);
        }
    }
    if record.presumed_full_at > Some(now) {
        record.presumed_full_at = record.presumed_full_at.min(known.presumed_full_at.or(record.presumed_full_at));
    }
    if before.disbelieved.is_some() && before.disbelieved == record.throttled_until {
        record.throttled_until = known.throttled_until;
    }
    *record != as_written
}

/// A unique id. Those of one ledger sort in the order of reservation, also within a second.
fn attempt_id(ledger: &ZohoMintLedgerSpec, random: u32, now: Time) -> AttemptId {
    let before = ledger.attempts.iter().filter(|attempt| attempt.at == now).count();
    format!("{:010x}{before:03x}{random:08x}", now.unix()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::budget::Need;

    #[test]
    fn attempts_that_a_restored_record_does_not_have_still_count_and_go_with_the_next_write() {
        let (now, limits) = (Time::from_unix(10_000), Limits { attempts: 8, live: 7 });
        let version = |version: &str| ObjectVersion { uid: "u".into(), resource_version: version.into() };
        let inputs = "inputs".into();
        let holder: Holder = "holder".into();
        let request = Request {
            inputs: &inputs,
            need: Need::Needed,
            asked: false,
            holder: &holder,
            spacing: std::time::Duration::ZERO,
            login: false,
            namespace: "ns",
        };
        let mut mirror = LedgerMirror::default();
        for number in 1..=3 {
            let (id, draft) = mirror.reserve(&request, limits, (false, number), now).unwrap();
            mirror.confirm(draft, version(&format!("{number}0")));
            mirror.learn(Lesson::Outcome { id, outcome: Outcome::Minted, life: Some(3600) });
        }
        let known = mirror.look(false, now);
        // The backup is from after the first attempt.
        let backup = ZohoMintLedgerSpec { attempts: known.attempts[..1].to_vec(), ..ZohoMintLedgerSpec::default() };
        assert!(!mirror.absorb(version("15"), Some(backup.clone()), now), "older than what is known");
        mirror.doubt();
        assert!(mirror.absorb(version("15"), Some(backup), now));
        assert_eq!(mirror.look(false, now).attempts, known.attempts);
        let (_, draft) = mirror.reserve(&request, limits, (false, 4), now).unwrap();
        assert_eq!(draft.replaces, Some(version("15")));
        assert_eq!(draft.record.attempts[..3], known.attempts);
        mirror.confirm(draft, version("16"));
        assert_eq!(mirror.lessons, []);
    }
}
