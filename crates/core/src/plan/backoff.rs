//! How long to wait after a failed attempt: it follows what the attempt may have done upstream.

use std::time::Duration;

use zoho_api::names::InputsDigest;
use zoho_api::{Attempt, Outcome, Time};

/// Waits where nothing can have been minted: short, since a retry costs nothing but a request.
const CLEAN: [u64; 5] = [10, 30, 60, 90, 120];

/// Waits after an error that the server gave in words and that is not known, again and again: it will hardly go by itself,
/// and whoever is asked all the time may throttle.
const REFUSED: [u64; 7] = [10, 30, 60, 90, 120, 300, 600];

/// Waits where the attempt may have minted. Six attempts in 22 minutes: with the token in hand they are the seven that
/// may be alive, so an outage of 20 minutes that swallows every answer lets no token expire.
const UNKNOWN: [u64; 5] = [60, 180, 300, 360, 420];

/// Failed attempts with these inputs since the last mint with them, newest first.
fn failures<'a>(attempts: &'a [Attempt], inputs: &'a InputsDigest) -> impl Iterator<Item = &'a Attempt> + Clone {
    attempts
        .iter()
        .rev()
        .filter(move |attempt| attempt.inputs == *inputs)
        .take_while(|attempt| attempt.outcome != Some(Outcome::Minted))
}

/// How many attempts with these inputs failed since the last mint with them.
pub fn consecutive_failures(attempts: &[Attempt], inputs: &InputsDigest) -> usize {
    failures(attempts, inputs).count()
}

/// The earliest instant of the next attempt with these inputs; `None` when the last one succeeded or there is none.
///
/// `attempts` is in the order of reservation. Attempts with other inputs do not count: a person who repairs the source
/// must not wait for the mistakes made before.
pub fn not_before(attempts: &[Attempt], inputs: &InputsDigest) -> Option<Time> {
    let failures = failures(attempts, inputs);
    let last = failures.clone().next()?;
    let wait = if is_unknown(last) {
        step(&UNKNOWN, failures.filter(|attempt| is_unknown(attempt)).count())
    } else if is_refused(last) {
        step(&REFUSED, failures.take_while(|attempt| is_refused(attempt)).count())
    } else {
        step(&CLEAN, failures.take_while(|attempt| !is_unknown(attempt)).count())
    };
    Some(last.at + wait)
}

fn is_unknown(attempt: &Attempt) -> bool {
    matches!(attempt.outcome, None | Some(Outcome::Unknown))
}

/// Answered with an error, and not with a token.
fn is_refused(attempt: &Attempt) -> bool {
    attempt.outcome == Some(Outcome::NotMinted)
}

fn step(waits: &[u64], failures: usize) -> Duration {
    Duration::from_secs(waits[failures.clamp(1, waits.len()) - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(outcomes: &[(i64, Option<Outcome>)]) -> Vec<Attempt> {
        let attempt = |&(at, outcome): &(i64, Option<Outcome>)| Attempt {
            id: at.to_string().into(),
            at: Time::from_unix(at),
            holder: "a".into(),
            inputs: "mine".into(),
            life: None,
            outcome,
            ..Attempt::default()
        };
        outcomes.iter().map(attempt).collect()
    }

    #[test]
    fn wait_follows_what_the_attempts_may_have_done() {
        use Outcome::{Minted, NotMinted, NotSent, Unknown};
        type Tried<'a> = &'a [(i64, Option<Outcome>)];
        let table: &[(&str, Tried<'_>, Option<i64>)] = &[
            ("nothing tried", &[], None),
            ("last one minted", &[(0, None), (60, Some(Minted))], None),
            ("refused once", &[(0, Some(NotSent))], Some(10)),
            ("refused three times", &[(0, Some(NotSent)), (10, Some(NotMinted)), (40, Some(NotSent))], Some(100)),
            ("swallowed once", &[(0, Some(Unknown))], Some(60)),
            ("died once", &[(0, None)], Some(60)),
            ("swallowed twice", &[(0, Some(Unknown)), (60, None)], Some(240)),
            ("refused after swallowed", &[(0, Some(Unknown)), (60, Some(NotSent))], Some(70)),
            ("a mint resets the count", &[(0, Some(Unknown)), (60, Some(Minted)), (90, Some(Unknown))], Some(150)),
        ];
        for (name, tried, expected) in table {
            let expected = expected.map(Time::from_unix);
            assert_eq!(not_before(&attempts(tried), &"mine".into()), expected, "{name}");
        }
    }

    #[test]
    fn failures_are_counted_since_the_last_mint_with_the_same_inputs() {
        use Outcome::{Minted, NotMinted, NotSent, Unknown};
        let tried = [(0, Some(NotMinted)), (10, Some(Minted)), (20, Some(NotSent)), (30, Some(Unknown)), (40, None)];
        let mut attempts = attempts(&tried);
        assert_eq!(consecutive_failures(&attempts, &"mine".into()), 3);
        assert_eq!(consecutive_failures(&attempts, &"others".into()), 0);
        attempts[3].inputs = "others".into();
        assert_eq!(consecutive_failures(&attempts, &"mine".into()), 2);
        assert_eq!(consecutive_failures(&attempts[..2], &"mine".into()), 0);
    }

    #[test]
    fn longest_waits_are_two_and_seven_minutes() {
        let refused: Vec<_> = (0..50).map(|at| (at, Some(Outcome::NotSent))).collect();
        let swallowed: Vec<_> = (0..50).map(|at| (at, Some(Outcome::Unknown))).collect();
        assert_eq!(not_before(&attempts(&refused), &"mine".into()), Some(Time::from_unix(49 + 120)));
        assert_eq!(not_before(&attempts(&swallowed), &"mine".into()), Some(Time::from_unix(49 + 420)));
    }

    #[test]
    fn unknown_error_that_comes_back_thins_out_to_ten_minutes() {
        let refused: Vec<_> = (0..50).map(|at| (at, Some(Outcome::NotMinted))).collect();
        let waits: Vec<_> = (1..=8).map(|count| not_before(&attempts(&refused[..count]), &"mine".into())).collect();
        let expected = [10, 30, 60, 90, 120, 300, 600, 600];
        let expected: Vec<_> = (0..).zip(expected).map(|(last, wait)| Some(Time::from_unix(last + wait))).collect();
        assert_eq!(waits, expected);
        let then_unreachable = [refused.as_slice(), &[(50, Some(Outcome::NotSent))]].concat();
        assert_eq!(
            not_before(&attempts(&then_unreachable), &"mine".into()),
            Some(Time::from_unix(50 + 120)),
            "another matter"
        );
    }

    #[test]
    fn mistakes_with_other_inputs_cost_no_wait() {
        assert_eq!(not_before(&attempts(&[(0, None)]), &"repaired".into()), None);
        assert_eq!(consecutive_failures(&attempts(&[(0, None)]), &"repaired".into()), 0);
    }
}
