//! What a ledger remembers: the pure edits that reservation, outcome, throttle and verdict make to it.

use super::Token;
use super::budget::{self, CONFIRM_AFTER, Limits};
use super::guard;
use zoho_api::names::{AttemptId, InputsDigest};
use zoho_api::{Attempt, Outcome, Proven, Reason, Time, Verdict, ZohoMintLedgerSpec};

/// Attempts kept at most. Those that reached the server are limited by the budget; this bounds the ones that did not.
const MOST_ATTEMPTS: usize = 256;

/// What a process learnt and the stored record may not have yet. Applying one twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lesson {
    /// An attempt that was made, though the record may not have it any more.
    Made(Attempt),
    /// What became of an attempt.
    Outcome {
        /// Id of the attempt.
        id: AttemptId,
        /// What became of it.
        outcome: Outcome,
        /// Life of the minted token in seconds.
        life: Option<i32>,
    },
    /// These inputs minted. Beside the outcome, since the attempt may be forgotten before something is written.
    Proven(Proven),
    /// The issuer wants silence.
    Throttle {
        /// Until then.
        until: Time,
    },
    /// The issuer refused these inputs for good.
    Refusal {
        /// Keyed hash of what was refused.
        inputs: InputsDigest,
        /// Why, as it is reported.
        reason: Reason,
        /// The issuer's error code, if it is one of `[a-z_]{1,64}`.
        code: Option<String>,
        /// When.
        at: Time,
    },
}

impl Lesson {
    /// Must it be in the stored record at once, so that a restart does not forget it? Without an outcome an attempt counts
    /// as a mint, so outcomes can wait for the next write.
    pub fn is_urgent(&self) -> bool {
        match self {
            Self::Made(_) | Self::Outcome { .. } | Self::Proven(_) => false,
            Self::Throttle { .. } | Self::Refusal { .. } => true,
        }
    }
}

/// What a proven token says of an attempt whose outcome the record does not have.
pub fn proof(ledger: &ZohoMintLedgerSpec, token: &Token) -> Option<Lesson> {
    let is_open = |attempt: &&Attempt| attempt.id == token.attempt && attempt.outcome.is_none();
    let attempt = ledger.attempts.iter().find(is_open)?;
    let life = i32::try_from(token.life.span().as_secs()).ok();
    Some(Lesson::Outcome { id: attempt.id.clone(), outcome: Outcome::Minted, life })
}

/// Writes down a lesson.
pub fn learn(ledger: &mut ZohoMintLedgerSpec, lesson: &Lesson) {
    match lesson {
        Lesson::Made(attempt) => {
            if ledger.attempts.iter().all(|known| known.id != attempt.id) {
                reserve(ledger, attempt.clone());
            }
        }
        Lesson::Outcome { id, outcome, life } => end(ledger, id, *outcome, *life),
        Lesson::Proven(proven) => guard::prove(ledger, proven.clone()),
        Lesson::Throttle { until } => throttle(ledger, *until),
        Lesson::Refusal { inputs, reason, code, at } => refuse(ledger, inputs, (*reason, code.clone()), *at),
    }
}

/// Writes down what became of an attempt; unknown ids are ignored. A mint ends the verdicts from before it.
fn end(ledger: &mut ZohoMintLedgerSpec, id: &AttemptId, outcome: Outcome, life: Option<i32>) {
    if let Some(attempt) = ledger.attempts.iter_mut().find(|attempt| attempt.id == *id) {
        attempt.outcome = Some(outcome);
        attempt.life = life;
        if outcome == Outcome::Minted {
            let Attempt { inputs, at, .. } = attempt.clone();
            // A lesson may wait long for a write to carry it; what was refused since is another matter.
            ledger.verdicts.retain(|verdict| verdict.inputs != inputs || verdict.at > at);
        }
    }
}

/// Adds the entry that a request is sent under.
pub fn reserve(ledger: &mut ZohoMintLedgerSpec, attempt: Attempt) {
    if ledger.attempts.len() >= MOST_ATTEMPTS {
        let never_sent = ledger.attempts.iter().position(|attempt| attempt.outcome == Some(Outcome::NotSent));
        ledger.attempts.remove(never_sent.unwrap_or(0));
    }
    ledger.attempts.push(attempt);
}

/// Meets a throttle with silence until then.
pub fn throttle(ledger: &mut ZohoMintLedgerSpec, until: Time) {
    ledger.throttled_until = ledger.throttled_until.max(Some(until));
}

/// Writes down a permanent refusal of these inputs. Said again at least a minute later, it is confirmed, unless an
/// attempt in between may have minted; a final one ([`Reason::is_final`]) is at the first time.
///
/// A refusal may wait long for a write to carry it: one from before a mint with these inputs is over.
///
/// A mint ends a verdict only in the memory of its process until the next reservation carries it: another process finds
/// the old verdict, and an entry without an outcome.
pub fn refuse(
    ledger: &mut ZohoMintLedgerSpec,
    inputs: &InputsDigest,
    (reason, code): (Reason, Option<String>),
    now: Time,
) {
    let is_later_mint =
        |attempt: &Attempt| attempt.inputs == *inputs && attempt.outcome == Some(Outcome::Minted) && attempt.at > now;
    if ledger.attempts.iter().any(is_later_mint) {
        return;
    }
    let before = ledger.verdicts.iter().find(|verdict| verdict.inputs == *inputs && verdict.reason == reason.as_str());
    let may_have_minted_since = |before: &Verdict| {
        ledger.attempts.iter().any(|attempt| {
            let minted_nothing = matches!(attempt.outcome, Some(Outcome::NotMinted | Outcome::NotSent));
            attempt.inputs == *inputs && attempt.at >= before.at && !minted_nothing
        })
    };
    let is_confirmed =
        |before: &Verdict| before.confirmed || (now >= before.at + CONFIRM_AFTER && !may_have_minted_since(before));
    let confirmed = reason.is_final() || before.is_some_and(is_confirmed);
    let is_told_again = |before: &Verdict| before.confirmed && before.at < now;
    let repeats = before.map_or(0, |before| before.repeats.saturating_add(is_told_again(before).into()));
    ledger.verdicts.retain(|verdict| verdict.inputs != *inputs);
    guard::make_room(ledger);
    let verdict = Verdict { inputs: inputs.clone(), reason: reason.as_str().into(), code, at: now, confirmed, repeats };
    ledger.verdicts.push(verdict);
}

/// Brings the columns that people read up to date; called before each write.
pub fn summarise(ledger: &mut ZohoMintLedgerSpec, limits: Limits, now: Time) {
    // The one that this write reserves will have minted by the time somebody looks.
    let minted = ledger.attempts.iter().filter(|attempt| matches!(attempt.outcome, None | Some(Outcome::Minted)));
    ledger.last_mint_time = minted.map(|attempt| attempt.at).max().or(ledger.last_mint_time);
    ledger.last_verdict = ledger.verdicts.last().map(|verdict| verdict.reason.clone());
    let attempts = budget::attempts_in_window(ledger, limits, now);
    let live = budget::live(ledger, limits, now);
    ledger.counts = Some(format!("{attempts}/{} {live}/{}", limits.attempts, limits.live));
}

/// The limits of whoever wrote the ledger last, as its column has them: `2/8 3/7`. The plugin does not know the operator's
/// flags.
pub fn limits(ledger: &ZohoMintLedgerSpec) -> Option<Limits> {
    let (attempts, live) = ledger.counts.as_deref()?.split_once(' ')?;
    let limit = |count: &str| count.split_once('/')?.1.parse().ok().filter(|limit| (1..=10).contains(limit));
    Some(Limits { attempts: limit(attempts)?, live: limit(live)? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::Life;

    const START: Time = Time::UNIX_EPOCH;

    fn after(seconds: u64) -> Time {
        START + Duration::from_secs(seconds)
    }

    fn refused_at(ledger: &mut ZohoMintLedgerSpec, inputs: &str, reason: Reason, seconds: u64) {
        refuse(ledger, &inputs.into(), (reason, None), after(seconds));
    }

    #[test]
    fn token_proves_its_own_attempt_where_that_is_open() {
        let attempt = |id: &str, outcome| Attempt { id: id.into(), at: START, outcome, ..Attempt::default() };
        let life = Life { issued_at: START, expires_at: after(3600) };
        let token = Token { life, inputs: "i".into(), attempt: "a".into() };
        let proves = |attempts: Vec<Attempt>| {
            let proof = proof(&ZohoMintLedgerSpec { attempts, ..ZohoMintLedgerSpec::default() }, &token);
            proof.map(|lesson| matches!(lesson, Lesson::Outcome { id, outcome: Outcome::Minted, life: Some(3600) } if id == "a".into()))
        };
        assert_eq!(proves(vec![attempt("b", None), attempt("a", None)]), Some(true));
        assert_eq!(proves(vec![attempt("b", None), attempt("a", Some(Outcome::Minted))]), None);
        assert_eq!(proves(vec![attempt("b", None)]), None);
    }

    #[test]
    fn verdict_is_confirmed_by_the_same_word_a_minute_later() {
        let mut ledger = ZohoMintLedgerSpec::default();
        refused_at(&mut ledger, "a", Reason::RefreshTokenRejected, 0);
        assert!(!ledger.verdicts[0].confirmed);
        refused_at(&mut ledger, "a", Reason::RefreshTokenRejected, 60);
        assert!(ledger.verdicts[0].confirmed);
        assert_eq!(ledger.verdicts.len(), 1);
    }

    #[test]
    fn another_word_starts_over_and_other_inputs_do_not_confirm() {
        let mut ledger = ZohoMintLedgerSpec::default();
        refused_at(&mut ledger, "a", Reason::RefreshTokenRejected, 0);
        refused_at(&mut ledger, "b", Reason::RefreshTokenRejected, 60);
        refused_at(&mut ledger, "a", Reason::ClientRejected, 60);
        assert!(ledger.verdicts.iter().all(|verdict| !verdict.confirmed), "{:?}", ledger.verdicts);
    }

    #[test]
    fn a_mint_ends_the_verdict_on_its_inputs() {
        let mut ledger = ZohoMintLedgerSpec::default();
        refused_at(&mut ledger, "a", Reason::ClientRejected, 0);
        let attempt = Attempt {
            id: "1".into(),
            at: after(60),
            holder: "h".into(),
            inputs: "a".into(),
            life: None,
            outcome: None,
            ..Attempt::default()
        };
        reserve(&mut ledger, attempt);
        learn(&mut ledger, &Lesson::Outcome { id: "1".into(), outcome: Outcome::Minted, life: Some(3600) });
        assert_eq!(ledger.verdicts, []);
        summarise(&mut ledger, Limits::default(), after(61));
        assert_eq!(ledger.counts.as_deref(), Some("1/8 1/7"));
        assert_eq!(ledger.last_mint_time, Some(after(60)));
    }

    #[test]
    fn a_mint_from_before_a_refusal_does_not_end_the_verdict() {
        let mut ledger = ZohoMintLedgerSpec::default();
        let attempt = Attempt {
            id: "1".into(),
            at: after(0),
            holder: "h".into(),
            inputs: "a".into(),
            life: None,
            outcome: None,
            ..Attempt::default()
        };
        reserve(&mut ledger, attempt);
        refused_at(&mut ledger, "a", Reason::ClientRejected, 1800);
        learn(&mut ledger, &Lesson::Outcome { id: "1".into(), outcome: Outcome::Minted, life: Some(3600) });
        assert_eq!(ledger.verdicts.len(), 1, "learnt late, or told again by a process that did not write since");
    }

    #[test]
    fn refusal_after_an_attempt_that_may_have_minted_starts_over() {
        let attempt = |seconds: u64, outcome| Attempt {
            id: seconds.to_string().into(),
            at: after(seconds),
            holder: "h".into(),
            inputs: "a".into(),
            life: None,
            outcome,
            ..Attempt::default()
        };
        let table = [
            ("minted and forgotten by a crash", None, false),
            ("minted", Some(Outcome::Minted), false),
            ("swallowed", Some(Outcome::Unknown), false),
            ("refused for another reason", Some(Outcome::NotMinted), true),
            ("never sent", Some(Outcome::NotSent), true),
        ];
        for (name, outcome, confirmed) in table {
            let mut ledger = ZohoMintLedgerSpec::default();
            refused_at(&mut ledger, "a", Reason::RefreshTokenRejected, 0);
            reserve(&mut ledger, attempt(60, outcome));
            reserve(&mut ledger, attempt(1860, Some(Outcome::NotMinted)));
            refused_at(&mut ledger, "a", Reason::RefreshTokenRejected, 1860);
            assert_eq!(ledger.verdicts[0].confirmed, confirmed, "{name}");
        }
    }

    #[test]
    fn limits_are_read_back_from_the_column_that_they_were_written_to() {
        let mut ledger = ZohoMintLedgerSpec::default();
        assert_eq!(limits(&ledger), None);
        let strict = Limits { attempts: 4, live: 3 };
        summarise(&mut ledger, strict, after(0));
        assert_eq!(limits(&ledger), Some(strict));
        for odd in ["", "2/8", "2/8 3", "2/0 3/7", "2/8 3/11", "2/-1 3/7", "a/b c/d"] {
            ledger.counts = Some(odd.into());
            assert_eq!(limits(&ledger), None, "{odd}");
        }
    }

    #[test]
    fn verdicts_and_attempts_are_bounded() {
        let mut ledger = ZohoMintLedgerSpec::default();
        for n in 0..1000 {
            refused_at(&mut ledger, &n.to_string(), Reason::ClientRejected, n);
            let outcome = (n > 0).then_some(Outcome::NotSent);
            let id = n.to_string().into();
            reserve(
                &mut ledger,
                Attempt {
                    id,
                    at: after(n),
                    holder: "h".into(),
                    inputs: "a".into(),
                    life: None,
                    outcome,
                    ..Attempt::default()
                },
            );
        }
        assert_eq!(ledger.verdicts.len(), guard::MOST_REFUSED + guard::MOST_PROVEN);
        assert_eq!(ledger.attempts.len(), MOST_ATTEMPTS);
        assert_eq!(ledger.attempts[0].id, "0".into(), "what may have reached the server is kept");
    }
}
