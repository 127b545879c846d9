//! When a token is due for renewal: the one place with the rule.

use std::time::Duration;

use zoho_api::Time;

/// A stored instant may lie this far in the future before it means that the clock was stepped.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// When a token was asked for and when it dies. Whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When the request that minted it was sent.
    pub issued_at: Time,
    /// When the token dies, counted from `issued_at`.
    pub expires_at: Time,
}

impl Life {
    /// Does the token still work at `now`? The margin keeps a report from being wrong by the time it is read.
    pub fn is_alive(self, now: Time) -> bool {
        let margin = (self.span() / 6).min(Duration::from_secs(60));
        now + margin < self.expires_at && !self.is_from_the_future(now)
    }

    /// Was the clock stepped back since the token was issued? Then `expires_at` says nothing.
    pub fn is_from_the_future(self, now: Time) -> bool {
        self.issued_at > now + CLOCK_TOLERANCE
    }

    fn span(self) -> Duration {
        self.expires_at.since(self.issued_at)
    }

    /// When renewal is due: `expires_at` − min(`renew_before`, half of the life) − jitter.
    ///
    /// The jitter is 0–10 % of the life and a function of the ledger's name: all who share a credential renew
    /// together, and credentials that were made together do not.
    pub fn renewal_time(self, renew_before: Duration, ledger: &str) -> Time {
        let life = self.span();
        self.expires_at - renew_before.min(life / 2) - jitter(life, ledger)
    }
}

/// 0–10 % of `life`. `ledger` is a keyed hash in hex, so its first digits are spread evenly.
fn jitter(life: Duration, ledger: &str) -> Duration {
    let digits = ledger.get(..4).unwrap_or_default();
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

    #[test]
    fn renewal_is_due_renew_before_earlier_than_expiry() {
        let due = hour().renewal_time(Duration::from_secs(1800), "0000");
        assert_eq!(due, ISSUED + Duration::from_secs(1800));
        let due = hour().renewal_time(Duration::from_secs(300), "0000");
        assert_eq!(due, ISSUED + Duration::from_secs(3300));
    }

    #[test]
    fn renewal_is_never_due_in_the_first_forty_percent_of_a_life() {
        for life in [60, 360, 600, 3600] {
            let token = Life { issued_at: ISSUED, expires_at: ISSUED + Duration::from_secs(life) };
            let due = token.renewal_time(Duration::from_secs(1800), "ffff");
            assert!(due >= ISSUED + Duration::from_secs(life * 4 / 10 - 1), "{life}: {due}");
        }
    }

    #[test]
    fn jitter_is_earlier_by_at_most_a_tenth_and_the_same_for_one_ledger() {
        assert_eq!(jitter(Duration::from_secs(3600), "ffff00"), Duration::from_secs(360));
        assert_eq!(jitter(Duration::from_secs(3600), "0000ff"), Duration::ZERO);
        assert_eq!(jitter(Duration::from_secs(3600), ""), Duration::ZERO);
    }

    #[test]
    fn token_is_alive_until_a_margin_before_expiry() {
        assert!(hour().is_alive(ISSUED + Duration::from_secs(3539)));
        assert!(!hour().is_alive(ISSUED + Duration::from_secs(3540)));
    }

    #[test]
    fn token_issued_in_the_future_is_not_trusted() {
        assert!(!hour().is_alive(ISSUED - Duration::from_secs(61)));
        assert!(hour().is_alive(ISSUED - Duration::from_secs(60)));
    }
}
