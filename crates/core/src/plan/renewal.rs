//! When a token is due for renewal: the one place with the rule.

use std::time::Duration;

use zoho_api::Time;
use zoho_api::names::LedgerName;

/// A stored instant may lie this far in the future before it means that the clock was stepped.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// When a token is due for renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// So long before it expires, and never more than half of its life before.
    BeforeExpiry(Duration),
    /// So long after it was issued, where the issuer names no expiry.
    AfterIssue(Duration),
}

/// When a token was asked for and when it expires. Whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    /// When the request that minted it was sent.
    pub issued_at: Time,
    /// When the token expires, counted from `issued_at`.
    pub expires_at: Time,
}

impl Life {
    /// Does the token still work at `now`? The margin keeps a report from being wrong by the time it is read.
    ///
    /// A token that was issued in the future, by a clock that has been set back since, lives for its whole life at most.
    pub fn is_alive(self, now: Time) -> bool {
        let margin = (self.span() / 6).min(Duration::from_secs(60));
        now + margin < self.expires_at && !self.span().is_zero()
    }

    /// Was the clock set back since the token was issued? Then `expires_at` says little, and it is renewed.
    pub fn is_from_the_future(self, now: Time) -> bool {
        self.issued_at > now + CLOCK_TOLERANCE
    }

    /// From issue to expiry.
    pub fn span(self) -> Duration {
        self.expires_at.since(self.issued_at)
    }

    /// When renewal is due, earlier by a jitter of 0–10 % of the life.
    ///
    /// The jitter is a function of the ledger's name: all who share a credential renew together, and credentials that
    /// were made together do not.
    pub fn renewal_time(self, rule: Renewal, ledger: &LedgerName) -> Time {
        match rule {
            Renewal::BeforeExpiry(span) => {
                let life = self.span();
                self.expires_at - span.min(life / 2) - jitter(life, ledger)
            }
            Renewal::AfterIssue(span) => self.issued_at + span - jitter(span * 2, ledger),
        }
    }
}

/// 0–10 % of `life`. The name is a keyed hash in hex, so its first digits are spread evenly.
fn jitter(life: Duration, ledger: &LedgerName) -> Duration {
    let digits = ledger.as_str().get(..4).unwrap_or_default();
    let fraction = u16::from_str_radix(digits, 16).unwrap_or(0);
    life / 10 * u32::from(fraction) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED: Time = Time::UNIX_EPOCH;

    fn hour() -> Life {
        Life { issued_at: ISSUED, expires_at: ISSUED + Duration::from_secs(3600) }
    }

    fn before(seconds: u64) -> Renewal {
        Renewal::BeforeExpiry(Duration::from_secs(seconds))
    }

    #[test]
    fn renewal_is_due_renew_before_earlier_than_expiry() {
        assert_eq!(hour().renewal_time(before(1800), &"0000".into()), ISSUED + Duration::from_secs(1800));
        assert_eq!(hour().renewal_time(before(300), &"0000".into()), ISSUED + Duration::from_secs(3300));
    }

    #[test]
    fn renewal_is_never_due_in_the_first_forty_percent_of_a_life() {
        for life in [60, 360, 600, 3600] {
            let token = Life { issued_at: ISSUED, expires_at: ISSUED + Duration::from_secs(life) };
            let due = token.renewal_time(before(1800), &"ffff".into());
            assert!(due >= ISSUED + Duration::from_secs(life * 4 / 10 - 1), "{life}: {due}");
        }
    }

    #[test]
    fn token_without_a_named_expiry_is_renewed_by_its_age_whatever_life_was_recorded() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let recorded = Life { issued_at: ISSUED, expires_at: ISSUED + hours(16) };
        for (every, due) in [(8, 8), (1, 1), (24, 24)] {
            let rule = Renewal::AfterIssue(hours(every));
            assert_eq!(recorded.renewal_time(rule, &"0000".into()), ISSUED + hours(due), "every {every} h");
        }
        let tenth_of_two_intervals = recorded.renewal_time(Renewal::AfterIssue(hours(10)), &"ffff".into());
        assert_eq!(tenth_of_two_intervals, ISSUED + hours(8), "jitter never makes it later");
    }

    #[test]
    fn jitter_is_earlier_by_at_most_a_tenth_and_the_same_for_one_ledger() {
        assert_eq!(jitter(Duration::from_secs(3600), &"ffff00".into()), Duration::from_secs(360));
        assert_eq!(jitter(Duration::from_secs(3600), &"0000ff".into()), Duration::ZERO);
        assert_eq!(jitter(Duration::from_secs(3600), &"".into()), Duration::ZERO);
    }

    #[test]
    fn token_is_alive_until_a_margin_before_expiry() {
        assert!(hour().is_alive(ISSUED + Duration::from_secs(3539)));
        assert!(!hour().is_alive(ISSUED + Duration::from_secs(3540)));
    }

    #[test]
    fn token_issued_by_a_clock_that_was_set_back_lives_and_is_due() {
        for back in [60, 61, 600, 3600, 100_000] {
            let now = ISSUED - Duration::from_secs(back);
            assert!(hour().is_alive(now), "{back} s");
            assert_eq!(hour().is_from_the_future(now), back > 60, "{back} s");
        }
    }
}
