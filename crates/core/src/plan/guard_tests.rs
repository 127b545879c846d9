//! Accounts are not locked, and what is proven is not crowded out, whoever sends what in which order.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use zoho_api::names::{AttemptId, Holder, InputsDigest, ObjectVersion};
use zoho_api::{Outcome, Proven, Reason, Time, Verdict, ZohoMintLedgerSpec};

use super::budget::{Hold, Limits, PARKED, Request, Ruling, account};
use super::guard::{self, Account, DAY, Guard, MOST_PROVEN, MOST_REFUSED};
use super::mirror::LedgerMirror;
use super::record::Lesson;
use crate::fixtures::request;

const HOUR: u64 = 3600;

/// A ledger, as a process that never dies keeps it.
struct Play {
    mirror: LedgerMirror,
    holder: Holder,
    login: bool,
    now: Time,
    writes: u64,
}

impl Play {
    fn of(login: bool) -> Self {
        Self { mirror: LedgerMirror::default(), holder: "me".into(), login, now: Time::from_unix(1_000_000), writes: 0 }
    }

    fn ask(&mut self, inputs: &str, namespace: &str, asked: bool) -> Result<AttemptId, Ruling> {
        let inputs = InputsDigest::from(inputs);
        let request = Request { asked, login: self.login, namespace, ..request(&inputs, &self.holder) };
        let random = u32::try_from(self.writes).unwrap();
        let (id, draft) = self.mirror.reserve(&request, Limits::default(), (false, random), self.now)?;
        self.store(draft);
        Ok(id)
    }

    fn store(&mut self, draft: super::mirror::Draft) {
        self.writes += 1;
        self.mirror.confirm(draft, ObjectVersion { uid: "u".into(), resource_version: self.writes.to_string() });
    }

    fn ends(&mut self, id: AttemptId, outcome: Outcome) {
        let life = (outcome == Outcome::Minted).then_some(3600);
        self.mirror.learn(Lesson::Outcome { id, outcome, life });
    }

    fn refuses(&mut self, id: AttemptId, inputs: &str) {
        self.refuses_for(if self.login { Reason::LoginRejected } else { Reason::ClientRejected }, id, inputs);
    }

    fn refuses_for(&mut self, reason: Reason, id: AttemptId, inputs: &str) {
        self.ends(id, Outcome::NotMinted);
        self.mirror.learn(Lesson::Refusal { inputs: inputs.into(), reason, code: None, at: self.now });
        if let Some(draft) = self.mirror.keep(false, Limits::default(), self.now) {
            self.store(draft);
        }
    }

    /// Asks, and is refused where it is let through.
    fn fails(&mut self, inputs: &str, namespace: &str, asked: bool) -> bool {
        self.ask(inputs, namespace, asked).map(|id| self.refuses(id, inputs)).is_ok()
    }

    fn works(&mut self, inputs: &str, namespace: &str) {
        let id = self.ask(inputs, namespace, false).expect("nothing stands in the way");
        self.ends(id, Outcome::Minted);
    }

    fn after(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn record(&mut self) -> ZohoMintLedgerSpec {
        self.mirror.look(false, self.now)
    }
}

fn held(answer: &Result<AttemptId, Ruling>) -> Option<Guard> {
    match answer {
        Err(Ruling::Wait { why: Hold::Guarded(guard), .. }) => Some(*guard),
        Ok(_) | Err(_) => None,
    }
}

#[test]
fn place_for_one_more_verdict_is_there_for_what_worked_or_has_one_and_is_taken_by_what_stands() {
    let now = Time::from_unix(1_000_000);
    let verdict = |number: usize| Verdict {
        inputs: format!("wrong-{number}").into(),
        reason: "ClientRejected".into(),
        at: now - Duration::from_secs(700),
        ..Verdict::default()
    };
    let full: Vec<Verdict> = (0..MOST_REFUSED).map(verdict).collect();
    let is_held = |verdicts: &[Verdict], proven_of: &[&str], inputs: &str| {
        let proven = |inputs: &&str| Proven { inputs: (*inputs).into(), at: now, ..Proven::default() };
        let proven = proven_of.iter().map(proven).collect();
        let ledger = ZohoMintLedgerSpec { verdicts: verdicts.to_vec(), proven, ..Default::default() };
        let (inputs, holder) = (InputsDigest::from(inputs), Holder::from("me"));
        match account(&ledger, &request(&inputs, &holder), Limits::default(), now) {
            Ruling::Wait { why: Hold::Guarded(guard), .. } => guard == Guard::Refusals,
            Ruling::Go | Ruling::Wait { .. } | Ruling::Refuse { .. } => false,
        }
    };
    assert!(is_held(&full, &[], "new"));
    assert!(!is_held(&full, &["new"], "new"), "it worked");
    assert!(!is_held(&full, &[], "wrong-3"), "it has a place");
    assert!(!is_held(&full, &["wrong-0"], "new"), "what worked has a place beside them");
    let mut old = full;
    old[0].at = now - PARKED;
    assert!(!is_held(&old, &[], "new"), "one may be forgotten");
}

#[test]
fn where_so_many_refusals_stand_that_one_would_be_forgotten_no_new_inputs_are_tried() {
    let mut play = Play::of(false);
    for number in 0..MOST_REFUSED {
        assert!(play.fails(&format!("wrong-{number}"), "ns", false), "{number}");
        // Within the hours for which the first one stands, and out of the ten minutes of the budget.
        play.after(601);
    }
    assert_eq!(held(&play.ask("one-more", "ns", false)), Some(Guard::Refusals));
    play.after(PARKED.as_secs() - 601 * MOST_REFUSED as u64 + 1);
    assert_eq!(held(&play.ask("one-more", "ns", false)), None, "the first does not stand any more");
}

#[test]
fn owner_changes_his_inputs_whatever_others_have_tried() {
    let mut play = Play::of(false);
    play.works("right", "owner");
    for number in 0..MOST_REFUSED {
        assert!(play.fails(&format!("guess-{number}"), "other", false), "{number}");
        play.after(601);
    }
    assert_eq!(held(&play.ask("one-more", "other", false)), Some(Guard::Refusals));
    assert!(play.fails("mistyped", "owner", false));
    play.after(1);
    play.works("rotated", "owner");
}

#[test]
fn owners_changed_inputs_do_not_queue_behind_guesses() {
    let mut play = Play::of(false);
    play.works("right", "owner");
    assert!(play.fails("guess", "other", false) && play.fails("another guess", "third", false));
    let why = |answer| match answer {
        Err(Ruling::Wait { why, .. }) => Some(why),
        Ok(_) | Err(_) => None,
    };
    assert_eq!(why(play.ask("one more", "other", false)), Some(Hold::WindowFull));
    play.works("rotated", "owner");
}

#[test]
fn guesses_that_are_not_answered_leave_the_owner_room_for_his_tokens() {
    let mut play = Play::of(false);
    play.works("right", "owner");
    let mut sent = 0;
    for number in 0..30 {
        play.after(60);
        if let Ok(id) = play.ask(&format!("guess-{number}"), "other", false) {
            play.ends(id, Outcome::Unknown);
            sent += 1;
        }
    }
    assert_eq!(sent, 2);
    play.works("right", "owner");
    play.after(1801);
    play.works("rotated", "owner");
}

#[test]
fn account_is_its_owners_for_as_long_as_it_is_kept() {
    let mut play = Play::of(true);
    play.works("right", "owner");
    let record = play.record();
    let others = |seconds| {
        guard::is_others(&record, &"wrong".into(), "other", record.proven[0].at + Duration::from_secs(seconds))
    };
    let kept = others(0).expect("it is another's").unix() - record.proven[0].at.unix();
    let kept = u64::try_from(kept).unwrap();
    assert!(others(kept - 1).is_some() && others(kept).is_none());
}

#[test]
fn third_login_of_a_day_is_not_tried_whoever_asks_and_however() {
    let mut play = Play::of(true);
    assert!(play.fails("wrong", "a", false));
    play.after(60);
    assert!(play.fails("wrong too", "b", false));
    for (inputs, namespace, asked) in [("right", "a", false), ("right", "c", true), ("wrong", "a", true)] {
        assert_eq!(held(&play.ask(inputs, namespace, asked)), Some(Guard::FailedLogins), "{inputs}");
    }
    play.after(24 * HOUR - 61);
    assert_eq!(held(&play.ask("right", "a", false)), Some(Guard::FailedLogins));
    play.after(1);
    play.works("right", "a");
}

#[test]
fn login_that_only_lacks_a_one_time_password_is_no_failed_one() {
    let mut play = Play::of(true);
    assert!(play.fails("wrong", "a", false));
    play.after(60);
    let id = play.ask("right", "a", false).expect("the second of the day");
    play.refuses_for(Reason::OtpRequired, id, "right");
    play.after(60);
    // One that was refused before it was asked for a one-time password did fail.
    assert!(play.fails("right with a wrong seed", "a", false));
    play.after(60);
    let otp = play.ask("right with a wrong seed", "a", true);
    assert_eq!(held(&otp), Some(Guard::FailedLogins));
    play.after(24 * HOUR - 180);
    play.works("right with its seed", "a");
}

#[test]
fn login_that_nobody_knows_the_end_of_counts_as_failed_where_it_never_worked() {
    for (outcome, counts) in [(None, true), (Some(Outcome::Unknown), true), (Some(Outcome::NotSent), false)] {
        let mut play = Play::of(true);
        for inputs in ["one", "two"] {
            let id = play.ask(inputs, "a", false).unwrap();
            if let Some(outcome) = outcome {
                play.ends(id, outcome);
            }
            play.after(600);
        }
        assert_eq!(held(&play.ask("three", "a", false)), counts.then_some(Guard::FailedLogins), "{outcome:?}");
    }
}

#[test]
fn server_that_hangs_holds_up_no_login_that_worked_before() {
    let mut play = Play::of(true);
    play.works("right", "a");
    for _ in 0..6 {
        play.after(HOUR);
        let id = play.ask("right", "a", false).expect("it goes on");
        play.ends(id, Outcome::Unknown);
    }
    play.after(HOUR);
    play.works("right", "a");
}

#[test]
fn account_that_was_logged_in_to_is_closed_to_other_namespaces_with_other_passwords() {
    let mut play = Play::of(true);
    play.works("right", "owner");
    // Attempts are forgotten after a day; what is proven is not.
    for days in 0..6 {
        assert_eq!(held(&play.ask("guess", "other", true)), Some(Guard::OtherNamespace), "after {days} days");
        play.after(24 * HOUR);
    }
    assert!(play.ask("right", "other", false).is_ok(), "who knows the password is let in");
    play.after(60);
    assert!(play.ask("changed", "owner", false).is_ok(), "its owner may change it");
}

#[test]
fn refresh_token_may_be_held_by_several_namespaces() {
    let mut play = Play::of(false);
    play.works("right", "owner");
    play.after(60);
    assert!(play.ask("other secret", "other", false).is_ok());
}

#[test]
fn refused_login_that_worked_before_is_asked_after_an_hour_and_then_daily() {
    let mut play = Play::of(true);
    play.works("right", "a");
    play.after(8 * HOUR);
    assert!(play.fails("right", "a", false), "the server's directory is down, say");
    let mut asked = Vec::new();
    for minute in 1..=(4 * 24 * 60u64) {
        play.after(60);
        if play.fails("right", "a", false) {
            asked.push(minute * 60);
        }
    }
    assert_eq!(asked, [HOUR, 25 * HOUR, 49 * HOUR, 73 * HOUR]);
}

#[test]
fn refused_login_that_never_worked_is_not_asked_again() {
    let mut play = Play::of(true);
    assert!(play.fails("wrong", "a", false));
    for _ in 0..100 {
        play.after(24 * HOUR);
        assert!(!play.fails("wrong", "a", false));
    }
}

#[test]
fn nine_stale_copies_do_not_push_each_other_out_and_the_right_one_goes_on() {
    let mut play = Play::of(false);
    play.works("right", "a");
    let mut posts: HashMap<String, u32> = HashMap::new();
    for minute in 0..(6 * 60 - 1) {
        for copy in 0..9 {
            let inputs = format!("stale {copy}");
            if play.fails(&inputs, "a", false) {
                *posts.entry(inputs).or_default() += 1;
            }
        }
        if minute % 30 == 29 {
            play.works("right", "a");
        }
        play.after(60);
    }
    assert_eq!(posts.len(), 9);
    assert!(posts.values().all(|posts| *posts <= 2), "{posts:?}");
}

#[test]
fn something_is_proven_once_a_token_was_minted() {
    for (outcome, is_proof) in [
        (Some(Outcome::Minted), true),
        (Some(Outcome::NotMinted), false),
        (Some(Outcome::NotSent), false),
        (Some(Outcome::Unknown), false),
        (None, false),
    ] {
        let attempts = vec![zoho_api::Attempt { inputs: "a".into(), outcome, ..zoho_api::Attempt::default() }];
        let ledger = ZohoMintLedgerSpec { attempts, ..ZohoMintLedgerSpec::default() };
        assert_eq!(guard::is_anything_proven(&ledger), is_proof, "{outcome:?}");
        assert_eq!(guard::is_proven(&ledger, &"a".into()), is_proof, "{outcome:?}");
    }
}

#[test]
fn inputs_are_known_by_whatever_is_remembered_of_them() {
    let mut play = Play::of(false);
    assert!(!guard::is_known(&play.record(), &"a".into()));
    let id = play.ask("a", "ns", false).unwrap();
    assert!(guard::is_known(&play.record(), &"a".into()), "they were sent");
    play.refuses(id, "a");
    play.after(4 * HOUR);
    let record = play.record();
    assert_eq!(record.attempts, []);
    assert!(guard::is_known(&record, &"a".into()) && !guard::is_known(&record, &"b".into()), "they were refused");
}

#[test]
fn nobody_is_a_stranger_to_an_account_that_is_nobodys() {
    let mut play = Play::of(true);
    assert_eq!(guard::whose(&play.record(), "ns", play.now), Account::Nobodys);
    play.works("right", "ns");
    let record = play.record();
    assert_eq!(guard::whose(&record, "other", play.now), Account::Others);
    assert_eq!(guard::whose(&record, "ns", play.now), Account::Own);
}

#[test]
fn login_that_works_is_written_at_once_as_there_may_be_no_other_write_for_days() {
    for (login, is_written) in [(true, true), (false, false)] {
        let mut play = Play::of(login);
        play.works("right", "a");
        let draft = play.mirror.keep(false, Limits::default(), play.now);
        assert_eq!(draft.is_some(), is_written, "login: {login}");
        if let Some(draft) = draft {
            play.store(draft);
        }
        play.after(60);
        play.works("right", "a");
        assert_eq!(play.mirror.keep(false, Limits::default(), play.now), None, "login: {login}, known already");
    }
}

#[test]
fn eight_proven_inputs_are_remembered_the_latest_ones() {
    let mut play = Play::of(false);
    for number in 0..12 {
        play.works(&number.to_string(), "a");
        play.after(HOUR);
    }
    let record = play.record();
    let remembered: Vec<&str> = record.proven.iter().map(|proven| proven.inputs.as_str()).collect();
    assert_eq!(remembered, ["4", "5", "6", "7", "8", "9", "10", "11"]);
    assert_eq!(record.proven.len(), MOST_PROVEN);
}

#[test]
fn ledger_that_nothing_refers_to_goes_by_what_it_holds() {
    type Make = fn(&mut Play);
    let minted: Make = |play| play.works("a", "ns");
    let refused: Make = |play| assert!(play.fails("a", "ns", false));
    let parked: Make = |play| {
        assert!(play.fails("a", "ns", false));
        play.after(60);
        assert!(play.fails("a", "ns", false));
    };
    let not_sent: Make = |play| {
        let id = play.ask("a", "ns", false).unwrap();
        play.ends(id, Outcome::NotSent);
    };
    let died: Make = |play| drop(play.ask("a", "ns", false).unwrap());
    let table: [(&str, bool, Make, u64); 8] = [
        ("nothing was sent", false, not_sent, 600),
        ("no login was sent", true, not_sent, 600),
        ("refused once", false, refused, 600),
        ("parked", false, parked, 6 * HOUR),
        ("minted", false, minted, 3 * HOUR),
        ("nobody knows", false, died, 3 * HOUR),
        ("a login failed", true, refused, 7 * 24 * HOUR),
        ("a login worked", true, minted, 7 * 24 * HOUR),
    ];
    for (name, login, make, goes_after) in table {
        let mut play = Play::of(login);
        make(&mut play);
        let record = play.record();
        let is_forgettable = |play: &mut Play| {
            let now = play.now;
            guard::is_forgettable(&play.mirror.look(false, now), now)
        };
        play.after(goes_after - 1);
        assert!(!is_forgettable(&mut play), "{name}: {record:?}");
        play.after(1);
        assert!(is_forgettable(&mut play), "{name}: {:?}", play.record());
    }
}

#[derive(Clone, Debug)]
struct Step {
    pause: u64,
    inputs: u8,
    namespace: u8,
}

fn any_step(inputs: u8) -> impl Strategy<Value = Step> {
    (0..1200u64, 0..inputs, 0..3u8).prop_map(|(pause, inputs, namespace)| Step { pause, inputs, namespace })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_wrong_inputs_are_sent_more_often_than_they_may_be_however_many_there_are(
        login in any::<bool>(),
        steps in (1..60u8).prop_flat_map(|count| proptest::collection::vec(any_step(count), 1..400)),
    ) {
        let mut play = Play::of(login);
        let mut sent: HashMap<u8, Vec<Time>> = HashMap::new();
        let mut all: Vec<Time> = Vec::new();
        for Step { pause, inputs, namespace } in steps {
            play.after(pause);
            if play.fails(&inputs.to_string(), &namespace.to_string(), false) {
                sent.entry(inputs).or_default().push(play.now);
                all.push(play.now);
            }
        }
        let most = if login { 1 } else { 2 };
        for (inputs, times) in &sent {
            let crowded = times.windows(most + 1).any(|some| some[most] < some[0] + PARKED);
            prop_assert!(!crowded, "{inputs} was sent {times:?}");
        }
        if login {
            prop_assert!(!all.windows(3).any(|some| some[2] < some[0] + DAY), "three failed logins in a day: {all:?}");
        }
    }
}
