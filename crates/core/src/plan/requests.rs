//! A renewal that a person asked for: what stands in its way, and when it is answered.

use super::budget::{self, Hold, Limits, Ruling};
use super::{Facts, MintReason, Plan, held_here, request};
use zoho_api::Time;
use zoho_api::names::{Holder, InputsDigest};

/// What stands in the way of a renewal that is merely asked for, and until when: what the plan passes over in silence where
/// the token is good.
pub fn held_back(facts: &Facts, holder: &Holder, limits: Limits, now: Time) -> Option<(Time, Hold)> {
    let (inputs, _) = facts.source.usable()?;
    let answer = || budget::account(&facts.ledger, &request(facts, MintReason::Requested, inputs, holder), limits, now);
    held_here(facts, now).or_else(|| match answer() {
        Ruling::Wait { until, why } => Some((until, why)),
        Ruling::Go | Ruling::Refuse { .. } => None,
    })
}

/// Is a person's request for a renewal answered by this plan: done, refused, or of no effect, since what he asks for waits
/// and goes by itself?
pub fn answers_request(plan: &Plan, facts: &Facts) -> bool {
    match plan {
        Plan::Mint { .. } | Plan::Store | Plan::Release | Plan::Wait { why: Hold::InFlight, .. } => false,
        // The request alone gets a refusal tried again.
        Plan::Wait { .. } => !(facts.renew_requested && is_parked(facts)),
        // One that was asked for waits for its turn.
        Plan::Park { .. } => !facts.minting && !facts.renew_requested,
        Plan::Keep { .. } | Plan::Refuse(_) | Plan::Suspend => !facts.minting,
    }
}

fn is_parked(facts: &Facts) -> bool {
    let refused = |inputs: &InputsDigest| {
        facts.ledger.verdicts.iter().any(|verdict| verdict.confirmed && verdict.inputs == *inputs)
    };
    facts.source.usable().is_some_and(|(inputs, _)| refused(inputs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{after, attempt, now, steady};
    use crate::plan::plan;
    use zoho_api::{Outcome, Verdict, ZohoMintLedgerSpec};

    fn asked(ledger: ZohoMintLedgerSpec) -> Facts {
        Facts { renew_requested: true, ..steady() }.with_ledger(ledger)
    }

    fn is_answered(facts: &Facts) -> bool {
        answers_request(&plan(facts, &"me".into(), Limits::default(), now()), facts)
    }

    #[test]
    fn what_stands_in_the_way_of_a_wanted_renewal_is_known() {
        let limits = Limits::default();
        let held = |facts: &Facts| held_back(facts, &"me".into(), limits, now());
        assert_eq!(held(&asked(ZohoMintLedgerSpec::default())), None);
        let throttled = ZohoMintLedgerSpec { throttled_until: Some(after(600)), ..Default::default() };
        assert_eq!(held(&asked(throttled)), Some((after(600), Hold::Throttled)));
        let many = (1..=5).map(|minutes| attempt(minutes * 60, Some(Outcome::Minted))).collect();
        let many = ZohoMintLedgerSpec { attempts: many, ..Default::default() };
        // Of five tokens the oldest is gone an hour after its mint, and a little more.
        assert_eq!(held(&asked(many)), Some((after(3600 - 300 + 30), Hold::LiveFull)));
    }

    #[test]
    fn request_is_answered_when_it_changes_nothing_any_more() {
        let confirmed = |confirmed| Verdict { inputs: "inputs".into(), at: now(), confirmed, ..Verdict::default() };
        let refused = |is| ZohoMintLedgerSpec { verdicts: vec![confirmed(is)], ..Default::default() };
        let throttled = || ZohoMintLedgerSpec { throttled_until: Some(after(600)), ..Default::default() };
        assert!(!is_answered(&asked(ZohoMintLedgerSpec::default())), "a token is minted first");
        assert!(is_answered(&asked(throttled())), "the token is good");
        let without_token = |ledger| Facts { target: crate::plan::Target::Absent, ..asked(ledger) };
        assert!(is_answered(&without_token(throttled())), "the mint waits and goes by itself");
        assert!(is_answered(&asked(refused(false))), "the refusal is confirmed by itself");
        assert!(!is_answered(&asked(refused(true))), "a parked one is tried for it");
        let spaced = ZohoMintLedgerSpec { attempts: vec![attempt(5, Some(Outcome::NotMinted))], ..refused(true) };
        assert!(!is_answered(&without_token(spaced.clone())), "and waits for its turn");
        assert!(is_answered(&Facts { renew_requested: false, ..without_token(spaced) }), "a flight was made for it");
        let ended = |verdict| Verdict { reason: "RefreshTokenRejected".into(), ..verdict };
        let ended = ZohoMintLedgerSpec { verdicts: vec![ended(confirmed(true))], ..throttled() };
        assert!(!is_answered(&asked(ended.clone())), "a revoked one waits for its turn too");
        assert!(is_answered(&Facts { renew_requested: false, ..asked(ended) }));
    }
}
