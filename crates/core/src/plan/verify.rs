//! Does the product take the token? When it is asked, and what follows from its answer.

use std::time::Duration;

use super::{Defect, Token};
use zoho_api::names::AttemptId;
use zoho_api::{Reason, Time};

/// What is known of a product's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Why the product is not asked.
    pub blocked: Option<Defect>,
    /// What the product is asked now.
    pub question: String,
    /// How often it is asked.
    pub interval: Duration,
    /// Its last answer to this process.
    pub last: Option<Probe>,
    /// What it took last.
    pub taken: Option<Shown>,
    /// When it is asked for the first time by this process.
    pub first_at: Time,
}

/// A token and the question that it was shown with: an answer says nothing of another token, and nothing to another
/// question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Attempt of the token.
    pub attempt: AttemptId,
    /// The question.
    pub question: String,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// When it came.
    pub at: Time,
    /// To what.
    pub shown: Shown,
    /// What it was.
    pub answer: Answer,
}

/// What a product said of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It takes it.
    Taken,
    /// It takes it, but the token's owner may not do what was asked.
    MayNot,
    /// It does not.
    Refused,
    /// It lives, but a scope is missing.
    ScopeMissing,
    /// No token came with the request: something on the way took it.
    NoToken,
    /// Nothing about the token, for this reason.
    Nothing(Reason),
}

impl Answer {
    /// Is the token one that the product takes?
    pub fn is_taken(self) -> bool {
        matches!(self, Self::Taken | Self::MayNot)
    }
}

impl Verification {
    /// The answer to this token and the present question, if they were put together.
    pub fn answer_to(&self, token: &Token) -> Option<Answer> {
        self.last.as_ref().filter(|probe| self.is(&probe.shown, token)).map(|probe| probe.answer)
    }

    /// Does the product refuse a token that it took before, asked the same? Then something ended it early, and another
    /// one may help.
    ///
    /// The other one is another token: it has to be taken before its refusal says so again. Thus an episode costs one
    /// mint, and a token that is refused for its scopes, or lost on its way, costs none.
    pub fn is_contradicted(&self, token: &Token) -> bool {
        self.answer_to(token) == Some(Answer::Refused) && self.taken.as_ref().is_some_and(|taken| self.is(taken, token))
    }

    /// When the product is asked about this token: about a new one, and with a new question, at once.
    pub fn due_at(&self, token: &Token, now: Time) -> Time {
        match &self.last {
            Some(probe) if self.is(&probe.shown, token) => probe.at.min(now) + self.interval,
            Some(_) => now,
            None => self.first_at.min(now + self.interval),
        }
    }

    /// Has the product answered something else than it is asked now?
    pub fn is_about_another_question(&self) -> bool {
        self.last.as_ref().is_some_and(|probe| probe.shown.question != self.question)
    }

    fn is(&self, shown: &Shown, token: &Token) -> bool {
        shown.attempt == token.attempt && shown.question == self.question
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::renewal::Life;

    const NOW: Time = Time::UNIX_EPOCH;

    fn token(attempt: &str) -> Token {
        let life = Life { issued_at: NOW, expires_at: NOW + Duration::from_secs(3600) };
        Token { life, inputs: "inputs".into(), attempt: attempt.into() }
    }

    fn shown(attempt: &str) -> Shown {
        Shown { attempt: attempt.into(), question: "GET /a".into() }
    }

    fn known(last: Option<(&str, Answer)>, taken: Option<&str>) -> Verification {
        let probe = |(attempt, answer): (&str, Answer)| Probe { at: NOW, shown: shown(attempt), answer };
        Verification {
            blocked: None,
            question: "GET /a".into(),
            interval: Duration::from_secs(300),
            last: last.map(probe),
            taken: taken.map(shown),
            first_at: NOW + Duration::from_secs(7),
        }
    }

    #[test]
    fn only_a_token_that_was_taken_before_is_contradicted() {
        let table = [
            ("never asked", known(None, None), false),
            ("taken", known(Some(("a", Answer::Taken)), Some("a")), false),
            ("refused after it was taken", known(Some(("a", Answer::Refused)), Some("a")), true),
            ("refused from the start", known(Some(("a", Answer::Refused)), None), false),
            ("refused, another was taken", known(Some(("a", Answer::Refused)), Some("b")), false),
            ("no word about it", known(Some(("a", Answer::Nothing(Reason::UpstreamTimeout))), Some("a")), false),
            ("its owner may not, after it was taken", known(Some(("a", Answer::MayNot)), Some("a")), false),
            ("scope missing, after it was taken", known(Some(("a", Answer::ScopeMissing)), Some("a")), false),
            ("lost on its way, after it was taken", known(Some(("a", Answer::NoToken)), Some("a")), false),
            ("another was refused", known(Some(("b", Answer::Refused)), Some("a")), false),
        ];
        for (name, known, expected) in table {
            assert_eq!(known.is_contradicted(&token("a")), expected, "{name}");
        }
    }

    #[test]
    fn token_is_taken_also_where_its_owner_may_not_do_what_was_asked() {
        let taken = [Answer::Taken, Answer::MayNot];
        let not_taken =
            [Answer::Refused, Answer::ScopeMissing, Answer::NoToken, Answer::Nothing(Reason::UpstreamTimeout)];
        assert!(taken.into_iter().all(Answer::is_taken) && !not_taken.into_iter().any(Answer::is_taken));
    }

    #[test]
    fn answer_to_another_question_says_nothing() {
        let mut changed = known(Some(("a", Answer::Refused)), Some("a"));
        assert!(!changed.is_about_another_question());
        changed.question = "GET /corrected".into();
        assert!(changed.is_about_another_question());
        assert_eq!(changed.answer_to(&token("a")), None);
        let now = NOW + Duration::from_secs(100);
        assert_eq!(changed.due_at(&token("a"), now), now, "asked at once");
        changed.last.as_mut().unwrap().shown.question = "GET /corrected".into();
        assert!(!changed.is_contradicted(&token("a")), "it was taken on another path, where its scopes allow it");
    }

    #[test]
    fn new_token_is_shown_at_once_and_then_at_intervals() {
        let now = NOW + Duration::from_secs(100);
        let interval = Duration::from_secs(300);
        assert_eq!(known(Some(("a", Answer::Taken)), None).due_at(&token("a"), now), NOW + interval);
        assert_eq!(known(Some(("b", Answer::Taken)), None).due_at(&token("a"), now), now);
        assert_eq!(known(None, None).due_at(&token("a"), now), NOW + Duration::from_secs(7));
    }

    #[test]
    fn clock_set_back_puts_off_no_question() {
        let now = NOW - Duration::from_secs(3600);
        let interval = Duration::from_secs(300);
        assert_eq!(known(Some(("a", Answer::Taken)), None).due_at(&token("a"), now), now + interval);
        assert_eq!(known(None, None).due_at(&token("a"), now), now + interval);
    }
}
