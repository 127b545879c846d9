//! The mirror of a ledger: whatever order things are heard, learnt and written in, nothing is forgotten and every wait ends.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::budget::{self, IN_FLIGHT, LONGEST_THROTTLE, Limits, Need, Request, Ruling};
use super::mirror::{Draft, LedgerMirror};
use super::record::{self, Lesson};
use crate::fixtures::{after, ago, attempt, issued_ago, now, request};
use zoho_api::names::{AttemptId, InputsDigest, ObjectVersion};
use zoho_api::{Attempt, Outcome, Proven, Reason, Time, Verdict, ZohoMintLedgerSpec};

const LIMITS: Limits = Limits { attempts: 8, live: 7 };
const HOUR: u64 = 3600;

fn version(number: u32) -> ObjectVersion {
    format!("uid/{number}").as_str().into()
}

fn holding(attempts: Vec<Attempt>) -> ZohoMintLedgerSpec {
    ZohoMintLedgerSpec { attempts, ..Default::default() }
}

fn throttled(until: Time) -> ZohoMintLedgerSpec {
    ZohoMintLedgerSpec { throttled_until: Some(until), ..Default::default() }
}

fn refused(at: Time) -> ZohoMintLedgerSpec {
    let reason = Reason::ClientRejected.as_str().into();
    let verdict = Verdict { inputs: "inputs".into(), reason, code: None, at, confirmed: false, ..Verdict::default() };
    ZohoMintLedgerSpec { verdicts: vec![verdict], ..Default::default() }
}

fn proven(at: Time) -> ZohoMintLedgerSpec {
    let proven = Proven { inputs: "inputs".into(), at, ..Proven::default() };
    ZohoMintLedgerSpec { proven: vec![proven], ..Default::default() }
}

/// A mirror that has seen this record as version 1.
fn mirror_of(record: ZohoMintLedgerSpec) -> LedgerMirror {
    let mut mirror = LedgerMirror::default();
    assert!(mirror.absorb(version(1), Some(record), now()));
    mirror
}

fn refusal(at: Time) -> Lesson {
    Lesson::Refusal { inputs: "inputs".into(), reason: Reason::ClientRejected, code: None, at }
}

fn outcome(id: &AttemptId, outcome: Outcome) -> Lesson {
    let life = (outcome == Outcome::Minted).then_some(3600);
    Lesson::Outcome { id: id.clone(), outcome, life }
}

fn reserve(mirror: &mut LedgerMirror, random: u32, at: Time) -> Result<(AttemptId, Draft), Ruling> {
    let (inputs, holder) = (InputsDigest::from("inputs"), "me".into());
    mirror.reserve(&request(&inputs, &holder), LIMITS, (false, random), at)
}

#[test]
fn what_is_older_than_what_is_known_is_no_news_whatever_object_it_is_of() {
    let known = holding(vec![attempt(60, None)]);
    let older = || Some(ZohoMintLedgerSpec::default());
    for (name, heard, is_news) in [
        ("an older state", "uid/8", false),
        ("the same state", "uid/9", false),
        ("a newer state", "uid/10", true),
        ("a former object of that name", "former/8", false),
        ("another object since", "next/10", true),
        ("no number", "uid/x", true),
    ] {
        let mut mirror = LedgerMirror::default();
        mirror.absorb("uid/9".into(), Some(known.clone()), now());
        assert_eq!(mirror.absorb(heard.into(), older(), now()), is_news, "{name}");
        assert_eq!(mirror.look(false, now()).attempts.is_empty(), is_news, "{name}");
    }
}

#[test]
fn after_a_deletion_an_object_of_that_name_starts_over() {
    let mut mirror = mirror_of(holding(vec![attempt(60, None)]));
    mirror.gone();
    assert!(!mirror.is_stored());
    assert_eq!(mirror.look(false, now()).attempts, []);
    assert!(mirror.absorb("next/5".into(), Some(ZohoMintLedgerSpec::default()), now()));
    assert_eq!(mirror.look(true, now()).presumed_full_at, None, "it is there, so nothing is presumed");
}

#[test]
fn lesson_counts_at_once_and_goes_with_the_next_write_whatever_fails_before() {
    for (lesson, is_learnt) in [
        (Lesson::Throttle { until: after(900) }, throttle_stands as fn(&ZohoMintLedgerSpec) -> bool),
        (refusal(now()), verdict_stands),
    ] {
        let mut mirror = mirror_of(ZohoMintLedgerSpec::default());
        mirror.learn(lesson.clone());
        assert!(is_learnt(&mirror.look(false, now())), "{lesson:?} counts at once");
        let lost = mirror.keep(false, LIMITS, now()).expect("must be written");
        assert!(is_learnt(&lost.record));
        drop(lost);
        mirror.absorb(version(2), Some(holding(vec![attempt(5, None)])), now());
        assert!(is_learnt(&mirror.look(false, after(1))), "{lesson:?} is not forgotten over a lost write");
        let next = mirror.keep(false, LIMITS, after(1)).expect("goes with the next write");
        assert_eq!(next.replaces, Some(version(2)));
        assert!(is_learnt(&next.record) && next.record.attempts.len() == 1, "beside what others wrote");
        mirror.confirm(next, version(3));
        assert!(is_learnt(&mirror.look(false, after(1))));
        assert_eq!(mirror.keep(false, LIMITS, after(1)), None, "{lesson:?} is written once");
    }
}

fn throttle_stands(record: &ZohoMintLedgerSpec) -> bool {
    record.throttled_until == Some(after(900))
}

fn verdict_stands(record: &ZohoMintLedgerSpec) -> bool {
    record.verdicts.len() == 1 && record.verdicts[0].at == now()
}

#[test]
fn outcome_waits_for_a_write_that_something_else_needs() {
    let mut mirror = mirror_of(holding(vec![attempt(60, None)]));
    mirror.learn(outcome(&"a60".into(), Outcome::Minted));
    assert_eq!(mirror.look(false, now()).attempts[0].outcome, Some(Outcome::Minted));
    assert_eq!(mirror.keep(false, LIMITS, now()), None);
    let (_, draft) = reserve(&mut mirror, 0, now()).expect("room for one more");
    assert_eq!(draft.record.attempts[0].outcome, Some(Outcome::Minted));
    assert_eq!(draft.record.attempts[1].holder, "me".into(), "it says who asks");
}

#[test]
fn confirming_a_draft_keeps_what_was_learnt_after_it_was_composed() {
    let mut mirror = mirror_of(holding(vec![attempt(60, None), attempt(30, None)]));
    mirror.learn(refusal(now()));
    let draft = mirror.keep(false, LIMITS, now()).expect("must be written");
    let throttle = Lesson::Throttle { until: after(900) };
    mirror.learn(throttle);
    mirror.confirm(draft, version(2));
    let next = mirror.keep(false, LIMITS, now()).expect("the throttle is not written yet");
    assert!(throttle_stands(&next.record) && verdict_stands(&next.record));
    mirror.confirm(next, version(3));
    assert_eq!(mirror.keep(false, LIMITS, now()), None);
}

#[test]
fn confirmation_that_arrives_after_newer_news_does_not_undo_it() {
    let mut mirror = mirror_of(ZohoMintLedgerSpec::default());
    mirror.learn(refusal(now()));
    let draft = mirror.keep(false, LIMITS, now()).expect("must be written");
    let newer = ZohoMintLedgerSpec { attempts: vec![attempt(1, None)], ..draft.record.clone() };
    mirror.absorb(version(3), Some(newer), now());
    mirror.confirm(draft, version(2));
    assert_eq!(mirror.version(), Some(&version(3)));
    assert_eq!(mirror.look(false, now()).attempts.len(), 1);
}

#[test]
fn learning_twice_changes_nothing() {
    for lesson in [outcome(&"a60".into(), Outcome::Minted), refusal(now()), Lesson::Throttle { until: after(900) }] {
        let mut mirror = mirror_of(holding(vec![attempt(60, None)]));
        mirror.learn(lesson.clone());
        let once = mirror.clone();
        mirror.learn(lesson.clone());
        assert_eq!(mirror, once, "{lesson:?}");
        // And once more where the record has it already, since an answer was lost.
        let record = mirror.look(false, now());
        let mut other = mirror_of(record.clone());
        other.learn(lesson);
        assert_eq!(other.look(false, now()), record);
    }
}

#[test]
fn refusal_from_before_a_mint_is_no_news() {
    let minted = Attempt { outcome: Some(Outcome::Minted), life: Some(3600), ..attempt(60, None) };
    let mut mirror = mirror_of(holding(vec![minted]));
    mirror.learn(refusal(ago(120)));
    assert_eq!(mirror.look(false, now()).verdicts, [], "another process has minted with these inputs since");
    mirror.learn(refusal(ago(30)));
    assert_eq!(mirror.look(false, now()).verdicts.len(), 1);
}

#[test]
fn lessons_are_bounded_and_words_outlast_outcomes() {
    let mut mirror = mirror_of(ZohoMintLedgerSpec::default());
    mirror.learn(refusal(now()));
    for number in 0..1000 {
        mirror.learn(outcome(&number.to_string().into(), Outcome::NotSent));
    }
    assert!(verdict_stands(&mirror.look(false, now())));
}

#[test]
fn sealed_token_proves_that_its_attempt_minted() {
    let mut mirror = mirror_of(holding(vec![attempt(60, None)]));
    mirror.witness(&issued_ago(60).living(600));
    let known = &mirror.look(false, now()).attempts[0];
    assert_eq!((known.outcome, known.life), (Some(Outcome::Minted), Some(600)));
    mirror.witness(&issued_ago(90));
    assert_eq!(mirror.look(false, now()).attempts.len(), 1, "an attempt that the ledger does not have is not made up");
}

#[test]
fn ledger_holds_the_attempts_that_are_stored() {
    let mut mirror = mirror_of(holding(vec![attempt(60, None)]));
    assert!(mirror.holds(&"a60".into()) && !mirror.holds(&"a30".into()));
    let (id, draft) = reserve(&mut mirror, 0, now()).expect("room for one more");
    assert!(!mirror.holds(&id), "not stored yet");
    mirror.confirm(draft, version(2));
    assert!(mirror.holds(&id) && mirror.is_stored());
}

#[test]
fn presumption_starts_once_and_does_not_slide() {
    let unreadable = || {
        let mut mirror = LedgerMirror::default();
        mirror.absorb(version(1), None, now());
        mirror
    };
    for (name, mut mirror, expected) in [("gone", LedgerMirror::default(), true), ("unreadable", unreadable(), false)] {
        for later in [0, 10, 300, 599, 4000] {
            assert_eq!(mirror.look(expected, after(later)).presumed_full_at, Some(now()), "{name} after {later} s");
            if expected {
                mirror.gone();
            } else {
                assert!(!mirror.absorb(version(1), None, after(later)), "{name}: heard already");
            }
        }
        let draft = mirror.keep(expected, LIMITS, after(4000)).expect("a presumption is written down");
        assert_eq!(draft.record.presumed_full_at, Some(now()), "{name}");
        mirror.confirm(draft, version(2));
        assert_eq!(mirror.keep(expected, LIMITS, after(4001)), None, "{name}");
        assert_eq!(mirror.look(expected, after(4001)).presumed_full_at, Some(now()), "{name}");
    }
}

#[test]
fn what_lies_in_the_future_is_brought_back_once_also_where_it_is_read_again() {
    let ahead = 8 * HOUR;
    let entry = Attempt { at: after(ahead), holder: "other".into(), ..attempt(0, None) };
    for (name, record) in [
        ("entry", holding(vec![entry])),
        ("verdict", refused(after(ahead))),
        ("proof", proven(after(ahead))),
        ("throttle", throttled(after(ahead))),
        ("presumption", ZohoMintLedgerSpec { presumed_full_at: Some(after(ahead)), ..Default::default() }),
    ] {
        let mut mirror = mirror_of(record.clone());
        let first = mirror.look(false, now());
        for (number, later) in (2..).zip([1, 29, 59, 600, 1800, 3599]) {
            // Others write the ledger; what they found in it is as it was.
            mirror.absorb(version(number), Some(record.clone()), after(later));
            assert_eq!(mirror.look(false, after(later)), first, "{name} after {later} s");
        }
        assert!(mirror.keep(false, LIMITS, after(3599)).is_some(), "{name} is written down as it counts");
        mirror.absorb(version(20), Some(record.clone()), after(4300));
        let over = mirror.look(false, after(4300));
        assert_eq!(over.throttled_until, None, "{name}");
        assert_eq!(budget::live(&over, LIMITS, after(4300)), 0, "{name}");
        let holder = "me".into();
        let request = Request {
            inputs: &"inputs".into(),
            need: Need::Needed,
            asked: false,
            holder: &holder,
            spacing: Duration::ZERO,
            login: false,
            namespace: "ns",
        };
        assert_eq!(budget::account(&over, &request, LIMITS, after(4300)), Ruling::Go, "{name} ends");
    }
}

#[test]
fn proof_from_the_future_is_of_now() {
    let mut mirror = mirror_of(proven(after(8 * HOUR)));
    assert_eq!(mirror.look(false, now()).proven[0].at, now());
    assert_eq!(mirror.look(false, after(60)).proven[0].at, now());
}

#[test]
fn verdict_that_was_confirmed_since_is_another_one_and_of_now() {
    let ahead = after(8 * HOUR);
    let mut mirror = mirror_of(refused(ahead));
    assert_eq!(mirror.look(false, now()).verdicts[0].at, now());
    let mut confirmed = refused(ahead);
    confirmed.verdicts[0].confirmed = true;
    mirror.absorb(version(2), Some(confirmed), after(100));
    assert_eq!(mirror.look(false, after(100)).verdicts[0].at, after(100));
}

#[test]
fn repeats_are_counted_from_the_confirmation_on_and_once_an_instant() {
    let mut ledger = ZohoMintLedgerSpec::default();
    for (at, confirmed, repeats) in [(0, false, 0), (61, true, 0), (61, true, 0), (122, true, 1), (183, true, 2)] {
        record::refuse(&mut ledger, &"inputs".into(), (Reason::ClientRejected, None), after(at));
        let verdict = &ledger.verdicts[0];
        assert_eq!((verdict.confirmed, verdict.repeats), (confirmed, repeats), "after {at} s");
    }
}

#[test]
fn entries_of_one_second_are_numbered_and_their_ids_sort() {
    let mut mirror = LedgerMirror::default();
    let ids: Vec<AttemptId> = [0, 0, 0, 1]
        .into_iter()
        .zip(1..)
        .map(|(at, number)| {
            // Random bits that fall say that the number is what sorts.
            let (id, draft) = reserve(&mut mirror, 99 - number, after(at)).expect("there is room");
            mirror.confirm(draft, version(number));
            mirror.learn(outcome(&id, Outcome::Minted));
            id
        })
        .collect();
    assert!(ids.is_sorted(), "{ids:?}");
    let numbers: Vec<String> = ids.iter().map(|id| id.to_string()[10..13].to_owned()).collect();
    assert_eq!(numbers, ["000", "001", "002", "000"]);
}

#[test]
fn correction_that_is_written_is_not_written_again() {
    let mut mirror = mirror_of(throttled(after(8 * HOUR)));
    let draft = mirror.keep(false, LIMITS, now()).expect("brought back");
    assert_eq!(draft.record.throttled_until, Some(now() + LONGEST_THROTTLE));
    mirror.confirm(draft, version(2));
    assert_eq!(mirror.keep(false, LIMITS, after(1)), None);
    assert_eq!(mirror.keep(false, LIMITS, after(3601)), None);
}

#[test]
fn another_throttle_is_believed_though_one_was_not() {
    let mut mirror = mirror_of(throttled(after(8 * HOUR)));
    assert_eq!(mirror.look(false, now()).throttled_until, Some(after(3600)));
    mirror.absorb(version(2), Some(throttled(after(4500))), after(3000));
    assert_eq!(mirror.look(false, after(3000)).throttled_until, Some(after(4500)));
}

/// What a play of arbitrary steps does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The clock goes on by so many seconds.
    Wait(u32),
    /// The clock is set back by so many seconds.
    SetBack(u32),
    /// An attempt is reserved; its write succeeds, is lost on the way, or lands without an answer.
    Reserve(Fate),
    /// An attempt ends; which one of the open ones, and how.
    End(usize, Outcome),
    /// The issuer asks for silence, for so many seconds.
    Throttle(u32),
    Refuse,
    Keep(Fate),
    /// The API server tells of the ledger as it is.
    Hear,
    /// And as it was so many writes ago.
    HearOld(usize),
    /// Another process writes the record back as it found it, with an entry of its own.
    OtherWrites,
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Done,
    Lost,
    Unanswered,
}

fn any_step() -> impl Strategy<Value = Step> {
    let fate = || prop_oneof![3 => Just(Fate::Done), 1 => Just(Fate::Lost), 1 => Just(Fate::Unanswered)];
    let outcome =
        prop_oneof![Just(Outcome::Minted), Just(Outcome::NotMinted), Just(Outcome::NotSent), Just(Outcome::Unknown)];
    prop_oneof![
        4 => (1u32..900).prop_map(Step::Wait),
        1 => (1u32..9 * 3600).prop_map(Step::SetBack),
        4 => fate().prop_map(Step::Reserve),
        3 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::End(which, outcome)),
        1 => (600u32..3600).prop_map(Step::Throttle),
        1 => Just(Step::Refuse),
        2 => fate().prop_map(Step::Keep),
        2 => Just(Step::Hear),
        1 => (1usize..4).prop_map(Step::HearOld),
        1 => Just(Step::OtherWrites),
        1 => Just(Step::Restart),
    ]
}

/// The API server, one process, and what really happened.
struct Play {
    mirror: LedgerMirror,
    /// By the clock that nobody sets.
    seconds: u64,
    /// How far the process's clock is behind it.
    behind: u64,
    /// Every version that was ever stored.
    stored: Vec<ZohoMintLedgerSpec>,
    drafts: u32,
    /// When each attempt that may have reached the issuer was made, by the true clock.
    attempts: HashMap<AttemptId, (u64, Option<Outcome>)>,
    /// Until when silence was asked for, and when the present process was last new to a record, by the true clock.
    throttled_until: Option<u64>,
}

impl Play {
    fn new() -> Self {
        let mirror = mirror_of(ZohoMintLedgerSpec::default());
        let stored = vec![ZohoMintLedgerSpec::default()];
        Self { mirror, seconds: 0, behind: 0, stored, drafts: 0, attempts: HashMap::new(), throttled_until: None }
    }

    fn wall(&self) -> Time {
        after(self.seconds) - Duration::from_secs(self.behind)
    }

    fn version(&self, back: usize) -> (ObjectVersion, ZohoMintLedgerSpec) {
        let index = self.stored.len().saturating_sub(1 + back);
        (version(u32::try_from(index).expect("few writes") + 1), self.stored[index].clone())
    }

    fn hear(&mut self, back: usize) {
        let (version, record) = self.version(back);
        self.mirror.absorb(version, Some(record), self.wall());
    }

    /// Writes, where nobody else has written since; returns whether the record is stored.
    fn write(&mut self, draft: Draft, fate: Fate) -> bool {
        let (current, _) = self.version(0);
        if draft.replaces != Some(current) {
            self.hear(0);
            return false;
        }
        match fate {
            Fate::Lost => false,
            Fate::Unanswered => {
                self.stored.push(draft.record);
                true
            }
            Fate::Done => {
                self.stored.push(draft.record.clone());
                let (version, _) = self.version(0);
                self.mirror.confirm(draft, version);
                true
            }
        }
    }

    fn take(&mut self, step: Step) {
        let now = self.wall();
        match step {
            Step::Wait(seconds) => self.seconds += u64::from(seconds),
            Step::SetBack(seconds) => self.behind += u64::from(seconds),
            Step::Reserve(fate) => {
                self.drafts += 1;
                let Ok((id, draft)) = reserve(&mut self.mirror, self.drafts, now) else { return };
                if self.write(draft, fate) {
                    self.attempts.insert(id, (self.seconds, None));
                } else {
                    self.mirror.learn(outcome(&id, Outcome::NotSent));
                }
            }
            Step::End(which, said) => {
                let mut open: Vec<_> = self.attempts.iter().filter(|(_, (_, known))| known.is_none()).collect();
                open.sort_by_key(|(id, _)| (*id).clone());
                let Some((id, (at, _))) = which.checked_rem(open.len()).map(|index| open[index]) else { return };
                let (id, at) = (id.clone(), *at);
                self.mirror.learn(outcome(&id, said));
                self.attempts.insert(id, (at, Some(said)));
            }
            Step::Throttle(seconds) => {
                self.mirror.learn(Lesson::Throttle { until: now + Duration::from_secs(seconds.into()) });
                self.throttled_until = self.throttled_until.max(Some(self.seconds + u64::from(seconds)));
            }
            Step::Refuse => self.mirror.learn(refusal(now)),
            Step::Keep(fate) => {
                if let Some(draft) = self.mirror.keep(false, LIMITS, now) {
                    self.write(draft, fate);
                }
            }
            Step::Hear => self.hear(0),
            Step::HearOld(back) => self.hear(back),
            Step::OtherWrites => {
                let (_, mut record) = self.version(0);
                record.attempts.push(Attempt {
                    id: format!("other{}", self.stored.len()).into(),
                    holder: "other".into(),
                    outcome: Some(Outcome::NotSent),
                    ..Attempt { at: now, ..attempt(0, None) }
                });
                self.stored.push(record);
            }
            Step::Restart => {
                // Words that were not written are lost with the process; outcomes count as unknown then.
                self.mirror = LedgerMirror::default();
                self.throttled_until = None;
                self.hear(0);
            }
        }
    }

    /// Attempts that may have reached the issuer in the last `span` seconds.
    fn reached_within(&self, span: u64, counts: impl Fn(Option<Outcome>) -> bool) -> usize {
        self.attempts.values().filter(|(at, said)| counts(*said) && at + span > self.seconds).count()
    }
}

proptest! {
    #[test]
    fn nothing_is_forgotten_in_any_order(steps in proptest::collection::vec(any_step(), 1..60)) {
        let mut play = Play::new();
        for step in steps {
            play.take(step);
            // A process knows of its own writes once it has heard of the last one.
            play.hear(0);
            let now = play.wall();
            let ledger = play.mirror.look(false, now);
            let attempts = play.reached_within(600, |said| said != Some(Outcome::NotSent));
            prop_assert!(budget::attempts_in_window(&ledger, LIMITS, now) >= attempts, "{step:?}: {ledger:?}");
            let live = play.reached_within(3600, |said| !matches!(said, Some(Outcome::NotSent | Outcome::NotMinted)));
            prop_assert!(budget::live(&ledger, LIMITS, now) >= live, "{step:?}: {ledger:?}");
            let is_silent = play.throttled_until.is_some_and(|until| until > play.seconds);
            prop_assert!(!is_silent || ledger.throttled_until.is_some_and(|until| until > now), "{step:?}: {ledger:?}");
        }
    }

    #[test]
    fn every_throttle_ends_within_an_hour_of_when_it_was_first_seen(
        written in 0u64..100_000,
        steps in proptest::collection::vec(any_step(), 0..20),
    ) {
        let mut play = Play::new();
        play.stored.push(throttled(after(written)));
        play.hear(0);
        for step in steps {
            // Neither another throttle nor another step of the clock, which starts another hour.
            if !matches!(step, Step::Throttle(_) | Step::SetBack(_) | Step::Restart) {
                play.take(step);
                play.mirror.look(false, play.wall());
                play.hear(0);
            }
            if play.seconds >= LONGEST_THROTTLE.as_secs() {
                prop_assert_eq!(play.mirror.look(false, play.wall()).throttled_until, None);
            }
        }
        play.seconds = play.seconds.max(LONGEST_THROTTLE.as_secs());
        prop_assert_eq!(play.mirror.look(false, play.wall()).throttled_until, None);
    }

    #[test]
    fn every_wait_ends_also_where_the_stored_record_stays_as_it_is(
        ahead in 0u64..100_000,
        back in 0u64..40_000,
        open in any::<bool>(),
    ) {
        // All of it was written by a clock that was ahead, and nobody can write.
        let at = after(ahead);
        let entry = Attempt { at, holder: "other".into(), outcome: (!open).then_some(Outcome::Unknown), ..attempt(0, None) };
        let record = ZohoMintLedgerSpec { attempts: vec![entry], throttled_until: Some(at), presumed_full_at: Some(at), ..refused(at) };
        let mut mirror = mirror_of(record.clone());
        let mut now = now();
        let mut steps = 0;
        for number in 2u32.. {
            now = match reserve(&mut mirror, number, now) {
                Ok(_) | Err(Ruling::Go | Ruling::Refuse { .. }) => break,
                Err(Ruling::Wait { until, .. }) => { prop_assert!(until > now); until }
            };
            if number == 3 {
                now = now - Duration::from_secs(back);
            }
            mirror.absorb(version(number), Some(record.clone()), now);
            steps += 1;
            prop_assert!(steps < 40, "still waiting at {now}");
        }
        prop_assert!(now <= after(3 * HOUR) + IN_FLIGHT, "{now}");
    }
}
