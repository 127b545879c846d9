//! What never minted is taken in slowly, from each alone; what works is not held up.

use std::time::Duration;

use zoho_api::Time;
use zoho_api::names::{InputsDigest, LedgerName, ObjectName};

use super::guard::{Account, Guard};
use super::intake::{Intake, Newcomer};

fn at(seconds: u64) -> Time {
    Time::from_unix(1_000_000) + Duration::from_secs(seconds)
}

/// Who asks: an object, the ledger and the inputs that it brings.
struct Who {
    object: ObjectName,
    ledger: LedgerName,
    inputs: InputsDigest,
}

impl Who {
    fn of(namespace: &str, name: &str, ledger: &str) -> Self {
        Self { object: ObjectName::new(namespace, name), ledger: ledger.into(), inputs: ledger.into() }
    }

    fn brings(&self) -> Newcomer<'_> {
        Newcomer {
            object: &self.object,
            ledger: &self.ledger,
            inputs: &self.inputs,
            has_ledger: false,
            is_proven: false,
            server: None,
            account: Account::Nobodys,
            ledgers: 0,
            minted: 0,
            credentials: 1,
        }
    }

    fn logs_in(&self) -> Newcomer<'_> {
        Newcomer { has_ledger: true, server: Some("https://ec.example"), ..self.brings() }
    }
}

/// How many of so many are let through.
fn let_through(intake: &mut Intake, who: &[Newcomer<'_>], now: Time, is_harmless: bool) -> usize {
    let may = |intake: &mut Intake, one: &&Newcomer<'_>| {
        let goes = intake.held(one, now).is_none();
        if goes {
            intake.begins(one, now);
            intake.ends(one.ledger, is_harmless);
        }
        goes
    };
    who.iter().filter(|one| may(intake, one)).count()
}

#[test]
fn object_brings_eight_new_ledgers_in_ten_minutes() {
    let mut intake = Intake::default();
    let many: Vec<Who> = (0..100).map(|number| Who::of("ns", "one", &number.to_string())).collect();
    let many: Vec<Newcomer<'_>> = many.iter().map(Who::brings).collect();
    assert_eq!(let_through(&mut intake, &many, at(0), true), 8);
    assert_eq!(let_through(&mut intake, &many, at(599), true), 0);
    assert_eq!(intake.held(&many[0], at(599)), Some((at(600), Guard::NewLedgers)));
    assert_eq!(let_through(&mut intake, &many, at(600), true), 8);
    let other = Who::of("ns", "two", "x");
    assert_eq!(intake.held(&other.brings(), at(600)), None, "another object");
    let known = Newcomer { has_ledger: true, ..many[0] };
    assert_eq!(intake.held(&known, at(600)), None, "a ledger that is there costs nothing");
}

#[test]
fn ledgers_that_are_made_without_a_request_count_too() {
    let mut intake = Intake::default();
    let many: Vec<Who> = (0..20).map(|number| Who::of("ns", "one", &number.to_string())).collect();
    let made = |intake: &mut Intake, now: Time| many.iter().filter(|who| intake.brings(&who.brings(), now)).count();
    assert_eq!((made(&mut intake, at(0)), made(&mut intake, at(1))), (8, 8), "the same ones again");
    assert_eq!(intake.held(&many[19].brings(), at(2)), Some((at(600), Guard::NewLedgers)));
    assert!(intake.brings(&Who::of("ns", "two", "x").brings(), at(2)));
}

#[test]
fn namespace_has_two_hundred_ledgers_or_as_many_as_it_has_credentials_and_some() {
    let intake = Intake::default();
    let who = Who::of("ns", "one", "ledger");
    let held = |ledgers, credentials| intake.held(&Newcomer { ledgers, credentials, ..who.brings() }, at(0)).is_some();
    assert!(!held(199, 1) && held(200, 1));
    let full = Newcomer { ledgers: 200, ..who.brings() };
    assert!(intake.held(&full, at(0)).is_some_and(|(until, _)| until > at(0)));
    assert!(!held(5000, 5000) && !held(5099, 5000) && held(5100, 5000));
}

#[test]
fn all_refresh_tokens_of_a_namespace_may_be_replaced_twice() {
    let intake = Intake::default();
    let who = Who::of("ns", "one", "ledger");
    for credentials in [1, 150, 5000] {
        let held =
            |minted, ledgers| intake.held(&Newcomer { ledgers, minted, credentials, ..who.brings() }, at(0)).is_some();
        // The first and the second ones are kept for some hours; each of the third is minted from soon.
        assert!(!held(2 * credentials, 0) && !held(3 * credentials - 1, 1), "{credentials}");
        assert!(held(3 * credentials + 200, 0), "{credentials}: without end it is not");
    }
}

#[test]
fn ledger_that_could_not_be_created_was_not_brought() {
    let mut intake = Intake::default();
    let who = Who::of("ns", "one", "ledger");
    for _ in 0..100 {
        assert_eq!(intake.held(&who.brings(), at(0)), None);
        intake.begins(&who.brings(), at(0));
        intake.left_nothing(&who.ledger);
        intake.ends(&who.ledger, true);
    }
}

#[test]
fn ledgers_that_are_being_made_count_too() {
    let mut intake = Intake::default();
    let many: Vec<Who> = (0..300).map(|n| Who::of("ns", &n.to_string(), &n.to_string())).collect();
    let mut begun = 0;
    for who in &many {
        let who = who.brings();
        if intake.held(&who, at(0)).is_none() {
            intake.begins(&who, at(0));
            begun += 1;
        }
    }
    assert_eq!(begun, 200);
}

#[test]
fn spraying_names_ends_after_five_failed_logins_and_twenty_from_everywhere() {
    let mut intake = Intake::default();
    let of = |namespace: &'static str| -> Vec<Who> {
        (0..60).map(|n| Who::of(namespace, &n.to_string(), &format!("{namespace}{n}"))).collect()
    };
    let namespaces = ["a", "b", "c", "d", "e", "f"];
    let many: Vec<Vec<Who>> = namespaces.into_iter().map(of).collect();
    let sprayed: Vec<usize> = many
        .iter()
        .map(|who| let_through(&mut intake, &who.iter().map(Who::logs_in).collect::<Vec<_>>(), at(0), false))
        .collect();
    assert_eq!(sprayed, [5, 5, 5, 5, 0, 0]);
    let elsewhere = Newcomer { server: Some("https://other.example"), ..many[0][0].logs_in() };
    assert_eq!(intake.held(&elsewhere, at(1)), None, "another server");
    let proven = Newcomer { is_proven: true, ..many[0][59].logs_in() };
    assert_eq!(intake.held(&proven, at(1)), None, "what worked before goes on");
    let newcomer = Who::of("g", "one", "ledger");
    assert!(intake.held(&newcomer.logs_in(), at(1)).is_some());
    let owner = Newcomer { account: Account::Own, ..newcomer.logs_in() };
    assert_eq!(intake.held(&owner, at(1)), None, "others' guesses do not hold up a changed password");
    let owner = Newcomer { account: Account::Own, ..many[0][59].logs_in() };
    assert!(intake.held(&owner, at(1)).is_some(), "its own do");
    intake.forget_old(at(1));
    assert_eq!(intake.held(&many[0][59].logs_in(), at(1)), Some((at(3600), Guard::FailedGuesses)));
    assert_eq!(intake.held(&many[0][59].logs_in(), at(3600)), None);
}

#[test]
fn five_failed_logins_hold_the_sixth_for_an_hour_in_whatever_order_they_end() {
    let mut intake = Intake::default();
    let many: Vec<Who> = (0..6).map(|n| Who::of("a", &n.to_string(), &n.to_string())).collect();
    let many: Vec<Newcomer<'_>> = many.iter().map(Who::logs_in).collect();
    for one in &many[..5] {
        intake.begins(one, at(0));
    }
    for last in [1, 4, 0, 2, 3] {
        assert_eq!(intake.held(&many[5], at(0)), Some((at(2), Guard::FailedGuesses)), "{last} may still work");
        intake.ends(many[last].ledger, false);
    }
    assert_eq!(intake.held(&many[5], at(1)), Some((at(3600), Guard::FailedGuesses)));
}

#[test]
fn many_logins_that_work_are_held_up_for_moments_only() {
    let mut intake = Intake::default();
    let many: Vec<Who> = (0..60).map(|n| Who::of("a", &n.to_string(), &n.to_string())).collect();
    let many: Vec<Newcomer<'_>> = many.iter().map(Who::logs_in).collect();
    assert_eq!(let_through(&mut intake, &many, at(0), true), 60, "one after another");
    for one in &many[..5] {
        intake.begins(one, at(0));
    }
    assert_eq!(intake.held(&many[5], at(0)), Some((at(2), Guard::FailedGuesses)), "five at once");
}

#[test]
fn who_tries_passwords_for_an_account_of_others_is_cut_off_also_from_the_right_one() {
    let mut intake = Intake::default();
    let mut passwords: Vec<Who> = (0..7).map(|_| Who::of("other", "one", "account")).collect();
    for (number, who) in passwords.iter_mut().enumerate() {
        who.inputs = number.to_string().into();
    }
    let stranger = |who: &Who, intake: &mut Intake, seconds| {
        intake.held_as_stranger(&Newcomer { account: Account::Others, ..who.logs_in() }, at(seconds))
    };
    for who in &passwords[..5] {
        assert_eq!(stranger(who, &mut intake, 0), None);
        assert_eq!(stranger(who, &mut intake, 1), None, "the same again is nothing new");
    }
    assert_eq!(stranger(&passwords[5], &mut intake, 2), Some(at(24 * 3600)));
    assert_eq!(stranger(&passwords[0], &mut intake, 3), Some(at(24 * 3600)), "also what was tried before");
    let owner = passwords[6].logs_in();
    assert_eq!(intake.held_as_stranger(&owner, at(4)), None, "its owner changes it as often as he likes");
    assert_eq!(stranger(&passwords[6], &mut intake, 24 * 3600), None);
}

#[test]
fn object_that_tries_passwords_learns_nothing_from_a_token_that_is_there() {
    let mut intake = Intake::default();
    let mut passwords: Vec<Who> = (0..7).map(|_| Who::of("ns", "one", "account")).collect();
    for (number, who) in passwords.iter_mut().enumerate() {
        who.inputs = number.to_string().into();
    }
    for who in &passwords[..5] {
        assert_eq!(
            (intake.held_as_guesser(&who.logs_in(), at(0)), intake.held_as_guesser(&who.logs_in(), at(1))),
            (None, None)
        );
    }
    let held = Some((at(24 * 3600), Guard::Passwords));
    assert_eq!(intake.held_as_guesser(&passwords[5].logs_in(), at(2)), held);
    let right = Newcomer { is_proven: true, ..passwords[6].logs_in() };
    assert_eq!(intake.held_as_guesser(&right, at(3)), held, "also the right one");
    let other = Who::of("ns", "two", "account");
    assert_eq!(intake.held_as_guesser(&Newcomer { is_proven: true, ..other.logs_in() }, at(3)), None, "another object");
    assert_eq!(intake.held_as_guesser(&right, at(24 * 3600)), None);
}

#[test]
fn password_that_works_leaves_the_wrong_ones_counted() {
    let mut intake = Intake::default();
    let mut passwords: Vec<Who> = (0..7).map(|_| Who::of("ns", "one", "account")).collect();
    for (number, who) in passwords.iter_mut().enumerate() {
        who.inputs = number.to_string().into();
    }
    let (wrong, right) = passwords.split_at(6);
    for who in &wrong[..4] {
        assert_eq!(intake.held_as_guesser(&who.logs_in(), at(0)), None);
    }
    assert_eq!(intake.held_as_guesser(&right[0].logs_in(), at(1)), None);
    let has_worked = Newcomer { is_proven: true, ..right[0].logs_in() };
    assert_eq!(intake.held_as_guesser(&has_worked, at(2)), None);
    assert_eq!(intake.held_as_guesser(&wrong[4].logs_in(), at(3)), None, "the fifth");
    assert_eq!(intake.held_as_guesser(&wrong[5].logs_in(), at(3)), Some((at(24 * 3600), Guard::Passwords)));
}

#[test]
fn passwords_that_work_are_no_guesses() {
    let mut intake = Intake::default();
    for number in 0..48_u64 {
        let mut rotated = Who::of("ns", "one", "account");
        rotated.inputs = number.to_string().into();
        let now = at(number * 1800);
        assert_eq!(intake.held_as_guesser(&rotated.logs_in(), now), None, "the {number}th of a day");
        let has_worked = Newcomer { is_proven: true, ..rotated.logs_in() };
        assert_eq!(intake.held_as_guesser(&has_worked, now), None);
    }
}

#[test]
fn names_of_accounts_without_end_take_no_memory_without_end() {
    let mut intake = Intake::default();
    let many: Vec<Who> = (0..5000).map(|n| Who::of("ns", &(n % 300).to_string(), &n.to_string())).collect();
    let held = |intake: &mut Intake, credentials| {
        let is_held = |who: &&Who| intake.held_as_guesser(&Newcomer { credentials, ..who.logs_in() }, at(0)).is_some();
        many.iter().filter(is_held).count()
    };
    assert_eq!(held(&mut intake, 300), 5000 - 400);
    assert_eq!(held(&mut intake, 300), 5000 - 400, "the same ones again");
    let late = &many[4999];
    assert_eq!(intake.held_as_guesser(&late.logs_in(), at(1)), Some((at(61), Guard::NewLedgers)));
    assert_eq!(
        intake.held_as_guesser(&Newcomer { is_proven: true, ..late.logs_in() }, at(1)),
        None,
        "what works is not noted"
    );
    let elsewhere = Who::of("other", "one", "account");
    assert_eq!(intake.held_as_guesser(&elsewhere.logs_in(), at(1)), None, "another namespace");
    intake.forget_old(at(24 * 3600));
    assert_eq!(intake.held_as_guesser(&late.logs_in(), at(24 * 3600)), None);
}

#[test]
fn what_a_clock_noted_that_was_ahead_does_not_count() {
    let mut intake = Intake::default();
    let many: Vec<Who> = (0..20).map(|number| Who::of("ns", "one", &number.to_string())).collect();
    let many: Vec<Newcomer<'_>> = many.iter().map(Who::brings).collect();
    assert_eq!(let_through(&mut intake, &many, at(7200), true), 8);
    assert_eq!(intake.held(&many[0], at(0)), None);
}
