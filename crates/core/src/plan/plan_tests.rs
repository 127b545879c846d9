//! The list of checks, row by row, and what holds for every observation.

use std::time::Duration;

use proptest::prelude::*;

use super::budget::{IN_FLIGHT, Limits, WINDOW};
use super::*;
use crate::fixtures::{after, defect, issued_ago, now, steady};
use zoho_api::{Attempt, Outcome};

const LIMITS: Limits = Limits { attempts: 8, live: 7 };

fn ours(token: Option<Token>) -> Target {
    Target::Ours { token, intact: true }
}

fn edited(token: Option<Token>) -> Target {
    Target::Ours { token, intact: false }
}

fn blocked() -> Target {
    Target::Blocked { defect: defect(Reason::TargetNotOwned), token: None }
}

fn planned(facts: &Facts) -> Plan {
    plan(facts, &"me".into(), LIMITS, now())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_check_wins_over_those_after_it() {
    let other_inputs = Token { inputs: "old".into(), ..issued_ago(60) };
    let keep = |seconds: u64| Plan::Keep { until: issued_ago(seconds).life.expires_at - Duration::from_secs(1800) };
    let mint = |why| Plan::Mint { why };
    let dead = issued_ago(4000);
    let table: Vec<(&str, Facts, Plan)> = vec![
        ("steady", steady(), keep(60)),
        (
            "going away wins over all",
            Facts { deleting: true, defect: Some(defect(Reason::InvalidSpec)), ..steady() },
            Plan::Release,
        ),
        (
            "invalid spec",
            Facts { defect: Some(defect(Reason::InvalidSpec)), target: Target::Absent, ..steady() },
            Plan::Refuse(defect(Reason::InvalidSpec)),
        ),
        (
            "foreign target wins over a bad source",
            Facts { target: blocked(), source: Source::Unusable(defect(Reason::SourceSecretNotFound)), ..steady() },
            Plan::Refuse(defect(Reason::TargetNotOwned)),
        ),
        ("edited target is repaired", Facts { target: edited(Some(issued_ago(60))), ..steady() }, Plan::Store),
        (
            "also while suspended",
            Facts { target: edited(Some(issued_ago(60))), suspended: true, ..steady() },
            Plan::Store,
        ),
        (
            "also while the source is gone",
            Facts {
                target: edited(Some(issued_ago(60))),
                source: Source::Unusable(defect(Reason::SourceSecretNotFound)),
                ..steady()
            },
            Plan::Store,
        ),
        (
            "edited target whose token is not known is minted for",
            Facts { target: edited(None), ..steady() },
            mint(MintReason::Absent),
        ),
        (
            "token at hand is stored",
            Facts { target: Target::Absent, at_hand: Some(issued_ago(5)), ..steady() },
            Plan::Store,
        ),
        ("newer token at hand is stored", Facts { at_hand: Some(issued_ago(5)), ..steady() }, Plan::Store),
        ("token at hand that stands already is not", Facts { at_hand: Some(issued_ago(60)), ..steady() }, keep(60)),
        ("older token at hand is not", Facts { at_hand: Some(issued_ago(90)), ..steady() }, keep(60)),
        (
            "dead token at hand is not",
            Facts { target: Target::Absent, at_hand: Some(dead.clone()), ..steady() },
            mint(MintReason::Absent),
        ),
        ("suspended mints nothing", Facts { suspended: true, target: Target::Absent, ..steady() }, Plan::Suspend),
        (
            "missing source",
            Facts { source: Source::Unusable(defect(Reason::SourceSecretNotFound)), ..steady() },
            Plan::Refuse(defect(Reason::SourceSecretNotFound)),
        ),
        ("no target", Facts { target: Target::Absent, ..steady() }, mint(MintReason::Absent)),
        (
            "other inputs",
            Facts { target: ours(Some(other_inputs.clone())), ..steady() },
            mint(MintReason::InputsChanged),
        ),
        ("a second before renewal", Facts { target: ours(Some(issued_ago(1799))), ..steady() }, keep(1799)),
        ("renewal is due", Facts { target: ours(Some(issued_ago(1800))), ..steady() }, mint(MintReason::Expiring)),
        ("dead", Facts { target: ours(Some(dead)), ..steady() }, mint(MintReason::Expiring)),
        ("asked for", Facts { renew_requested: true, ..steady() }, mint(MintReason::Requested)),
        (
            "asked for without a token",
            Facts { renew_requested: true, target: Target::Absent, ..steady() },
            mint(MintReason::Absent),
        ),
        (
            "in flight",
            Facts { target: Target::Absent, minting: true, ..steady() },
            Plan::Wait { until: now() + IN_FLIGHT, why: Hold::InFlight },
        ),
        (
            "ledger could not be written",
            Facts { target: Target::Absent, grounded_until: Some(now() + Duration::from_secs(5)), ..steady() },
            Plan::Wait { until: now() + Duration::from_secs(5), why: Hold::BackOff },
        ),
        (
            "budget is full",
            Facts { target: Target::Absent, ledger: full(), ..steady() },
            Plan::Wait { until: now() + WINDOW, why: Hold::WindowFull },
        ),
        (
            "a refusal is reported also where the token is good",
            Facts { ledger: refused(false), ..steady() },
            Plan::Wait { until: now() + budget::CONFIRM_AFTER, why: Hold::Confirming(verdict(false)) },
        ),
        (
            "and one that a person's request met",
            Facts { ledger: refused(false), renew_requested: true, ..steady() },
            Plan::Wait { until: now() + budget::CONFIRM_AFTER, why: Hold::Confirming(verdict(false)) },
        ),
        (
            "a confirmed one parks",
            Facts { ledger: refused(true), ..steady() },
            Plan::Park { verdict: verdict(true), until: Some(now() + budget::PARKED) },
        ),
        (
            "a token that the product took and now refuses",
            Facts { verification: Some(contradicted("a60")), ..steady() },
            mint(MintReason::Contradicted),
        ),
        ("another token than that", Facts { verification: Some(contradicted("a61")), ..steady() }, keep(60)),
        (
            "such a mint is wanted only, and looked at again when there is room",
            Facts { verification: Some(contradicted("a60")), ledger: throttled(), ..steady() },
            Plan::Keep { until: now() + WINDOW },
        ),
        (
            "a revoked one is asked about at once when a person wants it",
            Facts { ledger: refused(true), renew_requested: true, ..steady() },
            mint(MintReason::Requested),
        ),
        (
            "and is as dead as before while that has to wait",
            Facts {
                ledger: ZohoMintLedgerSpec { verdicts: vec![verdict(true)], ..throttled() },
                renew_requested: true,
                ..steady()
            },
            Plan::Park { verdict: verdict(true), until: Some(now() + WINDOW) },
        ),
        (
            "also for this process alone",
            Facts { ledger: refused(true), grounded_until: Some(after(5)), ..steady() },
            Plan::Park { verdict: verdict(true), until: Some(after(5)) },
        ),
        (
            "while it is asked about it is on its way",
            Facts { ledger: refused(true), minting: true, renew_requested: true, ..steady() },
            Plan::Wait { until: now() + IN_FLIGHT, why: Hold::InFlight },
        ),
        (
            "a token of a former source is not presented for another host",
            Facts { target: edited(Some(other_inputs.clone())), presented_otherwise: true, ..steady() },
            mint(MintReason::InputsChanged),
        ),
        (
            "nor where the source cannot be used, or is not asked",
            Facts {
                target: edited(Some(issued_ago(60))),
                presented_otherwise: true,
                source: Source::Unusable(defect(Reason::SourceSecretNotFound)),
                ..steady()
            },
            Plan::Refuse(defect(Reason::SourceSecretNotFound)),
        ),
        (
            "one of the same source is: the product changed",
            Facts { target: edited(Some(issued_ago(60))), presented_otherwise: true, ..steady() },
            Plan::Store,
        ),
        (
            "one of a former source is repaired as it was",
            Facts { target: edited(Some(other_inputs.clone())), ..steady() },
            Plan::Store,
        ),
        (
            "suspended gets no newer token, and keeps what it has as it should be",
            Facts { suspended: true, target: edited(Some(issued_ago(60))), at_hand: Some(issued_ago(5)), ..steady() },
            Plan::Store,
        ),
        (
            "what is merely wanted does not stand in the way of a good token",
            Facts { renew_requested: true, ledger: full(), ..steady() },
            keep(60),
        ),
    ];
    for (name, facts, expected) in table {
        assert_eq!(planned(&facts), expected, "{name}");
    }
}

/// The product took the token of this attempt, and refuses it now.
fn contradicted(attempt: &str) -> Verification {
    let answer = verify::Answer::Refused;
    let shown = verify::Shown { attempt: attempt.into(), question: "GET /".into() };
    Verification {
        blocked: None,
        question: "GET /".into(),
        interval: Duration::from_secs(300),
        last: Some(verify::Probe { at: now(), shown: shown.clone(), answer }),
        taken: Some(shown),
        first_at: now(),
    }
}

fn verdict(confirmed: bool) -> Verdict {
    Verdict {
        inputs: "inputs".into(),
        reason: "RefreshTokenRejected".into(),
        code: None,
        at: now(),
        confirmed,
        ..Verdict::default()
    }
}

fn refused(confirmed: bool) -> ZohoMintLedgerSpec {
    ZohoMintLedgerSpec { verdicts: vec![verdict(confirmed)], ..ZohoMintLedgerSpec::default() }
}

fn throttled() -> ZohoMintLedgerSpec {
    ZohoMintLedgerSpec { throttled_until: Some(now() + WINDOW), ..ZohoMintLedgerSpec::default() }
}

fn full() -> ZohoMintLedgerSpec {
    ZohoMintLedgerSpec { presumed_full_at: Some(now()), ..ZohoMintLedgerSpec::default() }
}

#[test]
fn token_of_a_suspended_object_is_repaired_and_not_replaced() {
    let newer = issued_ago(5);
    let suspended =
        Facts { suspended: true, target: edited(Some(issued_ago(60))), at_hand: Some(newer.clone()), ..steady() };
    assert_eq!(newer_at_hand(&suspended, now()), None, "the repair brings the token that it holds");
    let was_stored = Facts { stored: Some(newer.attempt.clone()), ..suspended };
    assert_eq!(newer_at_hand(&was_stored, now()), Some(&newer), "an older copy was put back over it");
}

#[test]
fn clock_stepped_back_mints_once() {
    let future = Token {
        life: Life { issued_at: now() + Duration::from_secs(3600), expires_at: now() + Duration::from_secs(7200) },
        ..issued_ago(0)
    };
    let facts = Facts { target: ours(Some(future.clone())), ..steady() };
    assert_eq!(planned(&facts), Plan::Mint { why: MintReason::Expiring });
    let minted = Facts { at_hand: Some(issued_ago(0)), ..facts };
    assert_eq!(planned(&minted), Plan::Store, "the new token wins although it seems to die earlier");
}

#[test]
fn of_two_tokens_that_die_together_the_later_one_wins_everywhere() {
    let earlier = Token { attempt: "00000003e8000aaaa".into(), ..issued_ago(60) };
    let later = Token { attempt: "00000003e8001aaaa".into(), ..issued_ago(60) };
    let holds = |target: &Token, at_hand: &Token| Facts {
        target: ours(Some(target.clone())),
        at_hand: Some(at_hand.clone()),
        ..steady()
    };
    assert_eq!(planned(&holds(&earlier, &later)), Plan::Store);
    assert_ne!(planned(&holds(&later, &earlier)), Plan::Store, "or two processes would overwrite each other for ever");
}

fn any_token() -> impl Strategy<Value = Option<Token>> {
    proptest::option::of((0u64..8000, "inputs|old", 60u64..3700).prop_map(|(ago, inputs, life)| {
        let issued_at = now() + Duration::from_secs(4000) - Duration::from_secs(ago);
        Token {
            life: Life { issued_at, expires_at: issued_at + Duration::from_secs(life) },
            inputs: inputs.as_str().into(),
            attempt: ago.to_string().into(),
        }
    }))
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Absent),
        Just(blocked()),
        (any_token(), any::<bool>()).prop_map(|(token, intact)| Target::Ours { token, intact }),
    ]
}

fn any_source() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Unusable(defect(Reason::SourceSecretInvalid))),
        Just(Source::Usable { inputs: "inputs".into(), ledger: "8000".into() }),
    ]
}

fn any_ledger() -> impl Strategy<Value = ZohoMintLedgerSpec> {
    let outcome = prop_oneof![
        Just(None),
        Just(Some(Outcome::Minted)),
        Just(Some(Outcome::Unknown)),
        Just(Some(Outcome::NotSent))
    ];
    let attempt = (0u64..5000, outcome).prop_map(|(ago, outcome)| Attempt {
        id: ago.to_string().into(),
        at: now() - Duration::from_secs(ago),
        holder: "me".into(),
        inputs: "inputs".into(),
        life: None,
        outcome,
        ..Attempt::default()
    });
    proptest::collection::vec(attempt, 0..10).prop_map(|mut attempts| {
        attempts.sort_by_key(|attempt| attempt.at);
        ZohoMintLedgerSpec { attempts, ..ZohoMintLedgerSpec::default() }
    })
}

prop_compose! {
    fn any_facts()(
        flags in any::<[bool; 4]>(),
        source in any_source(),
        target in any_target(),
        at_hand in any_token(),
        ledger in any_ledger(),
        renew_before in 300u64..1800,
        conflict in proptest::option::of(1u64..120),
        was_stored in any::<bool>(),
    ) -> Facts {
        let at_hand = at_hand.filter(|token| token.inputs == "inputs".into() && matches!(source, Source::Usable { .. }));
        let stored = at_hand.as_ref().filter(|_| was_stored).map(|token| token.attempt.clone());
        Facts {
            stored,
            deleting: flags[0] && flags[1],
            suspended: flags[1] && flags[2],
            renew_requested: flags[2],
            minting: flags[3],
            renewal: Renewal::BeforeExpiry(Duration::from_secs(renew_before)),
            source, target, at_hand, ledger,
            conflict: conflict.map(|after_so_long| Defect { again_at: Some(after(after_so_long)), ..defect(Reason::TargetConflict) }),
            ..steady()
        }
    }
}

#[test]
fn suspended_object_gets_no_newer_token_and_its_own_is_put_back() {
    let newer = Facts { at_hand: Some(issued_ago(1)), ..steady() };
    assert_eq!(planned(&newer), Plan::Store);
    assert_eq!(planned(&Facts { suspended: true, ..newer }), Plan::Suspend);
    let edited = Facts { suspended: true, target: edited(Some(issued_ago(60))), ..steady() };
    assert_eq!(planned(&edited), Plan::Store);
}

#[test]
fn what_holds_a_mint_back_in_this_process_ends_at_its_instant() {
    let due = Facts { target: Target::Absent, ..steady() };
    let guard = Guard::Refusals;
    for (seconds, is_held) in [(1, true), (0, false)] {
        let grounded = Facts { grounded_until: Some(after(seconds)), ..due.clone() };
        let guarded = Facts { guarded_until: Some((after(seconds), guard)), ..due.clone() };
        for (facts, why) in [(grounded, Hold::BackOff), (guarded, Hold::Guarded(guard))] {
            let held = Plan::Wait { until: after(seconds), why };
            let expected = if is_held { held } else { Plan::Mint { why: MintReason::Absent } };
            assert_eq!(planned(&facts), expected);
        }
    }
    let past = Facts { guarded_until: Some((now() - Duration::from_secs(1), guard)), ..due };
    assert_eq!(planned(&past), Plan::Mint { why: MintReason::Absent });
}

#[test]
fn renewal_that_has_to_wait_neither_hides_a_conflict_nor_ends_its_schedule() {
    let conflict = Defect { again_at: Some(after(600)), ..defect(Reason::TargetConflict) };
    for (throttled_until, again_at) in [(900, 600), (300, 300)] {
        let facts = Facts {
            // Somebody puts this one back again and again.
            target: ours(Some(issued_ago(3700))),
            at_hand: Some(issued_ago(60)),
            stored: Some("a60".into()),
            conflict: Some(conflict.clone()),
            renew_requested: true,
            ledger: ZohoMintLedgerSpec { throttled_until: Some(after(throttled_until)), ..Default::default() },
            ..steady()
        };
        let expected = Defect { again_at: Some(after(again_at)), ..conflict.clone() };
        assert_eq!(planned(&facts), Plan::Refuse(expected));
    }
}

/// The clock goes on, or is set back.
fn any_jump() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0i64..4000, 1 => -7200i64..0]
}

fn jumped(now: Time, jump: i64) -> Time {
    let span = Duration::from_secs(jump.unsigned_abs());
    if jump < 0 { now - span } else { now + span }
}

/// Makes passes at one instant until there is nothing to do: repairs, mints tokens of this life, stores. Returns how many
/// were minted.
fn passes(facts: &mut Facts, number: usize, life: u64, now: Time) -> Result<usize, TestCaseError> {
    let mut mints = 0;
    for turn in 0..5 {
        match plan(facts, &"me".into(), LIMITS, now) {
            Plan::Mint { .. } => {
                let attempt = AttemptId::from(format!("{:010x}{number:03}{turn}", now.unix()));
                let life = Life { issued_at: now, expires_at: now + Duration::from_secs(life) };
                facts.ledger.attempts.push(Attempt {
                    id: attempt.clone(),
                    at: now,
                    holder: "me".into(),
                    inputs: "inputs".into(),
                    life: i32::try_from(life.span().as_secs()).ok(),
                    outcome: Some(Outcome::Minted),
                    ..Attempt::default()
                });
                facts.at_hand = Some(Token { life, inputs: "inputs".into(), attempt });
                facts.renew_requested = false;
                mints += 1;
                // Clocks differ by a minute at most: such a token may not be told from a newer one.
                let held =
                    facts.target.token().filter(|held| held.life.is_alive(now) && held.inputs == "inputs".into());
                let is_unclear =
                    held.is_some_and(|held| held.life.issued_at > now && !held.life.is_from_the_future(now));
                let next = plan(facts, &"me".into(), LIMITS, now);
                prop_assert!(next == Plan::Store || is_unclear, "minted and not stored: {next:?}: {facts:?}");
            }
            Plan::Store => {
                let alive = |token: &Token| token.life.is_alive(now);
                let held = facts.target.token().filter(|token| alive(token)).cloned();
                let hand = facts.at_hand.clone().filter(alive);
                let wins = |hand: &Token| held.as_ref().is_none_or(|held| is_newer(facts, hand, held, now));
                facts.target = ours(hand.filter(wins).or(held));
            }
            Plan::Keep { .. }
            | Plan::Release
            | Plan::Refuse(_)
            | Plan::Suspend
            | Plan::Wait { .. }
            | Plan::Park { .. } => return Ok(mints),
        }
    }
    prop_assert!(false, "still busy: {facts:?}");
    Ok(mints)
}

proptest! {
    #[test]
    fn storing_settles(facts in any_facts()) {
        if planned(&facts) != Plan::Store {
            return Ok(());
        }
        let held = facts.target.token().filter(|token| token.life.is_alive(now())).cloned();
        let stored = match (&facts.at_hand, held) {
            (Some(at_hand), held) if at_hand.life.is_alive(now()) && held.as_ref().is_none_or(|held| held.inputs != at_hand.inputs || at_hand.supersedes(held, now())) => Some(at_hand.clone()),
            (_, held) => held,
        };
        let after = Facts { target: ours(stored), ..facts };
        prop_assert_ne!(planned(&after), Plan::Store);
    }

    #[test]
    fn planning_after_applying_gives_keep_whatever_lives_and_clocks(
        facts in any_facts(),
        days in proptest::collection::vec((any_jump(), 60u64..=3600), 1..12),
    ) {
        let (mut facts, mut now) = (facts, now());
        for (number, (jump, life)) in days.into_iter().enumerate() {
            now = jumped(now, jump);
            facts.ledger = budget::settle(budget::Found::Present(facts.ledger), now);
            let mints = passes(&mut facts, number, life, now)?;
            prop_assert!(mints <= 1, "{mints} mints at one instant: {facts:?}");
            let held = facts.target.token().filter(|token| token.inputs == "inputs".into());
            let is_good = held.is_some_and(|token| !is_due(token.life, facts.renewal, &"8000".into(), now));
            if is_good && !facts.renew_requested {
                prop_assert_eq!(passes(&mut facts, number + 100, life, now)?, 0, "nothing is due: {:?}", facts);
            }
        }
    }

    #[test]
    fn of_any_two_tokens_at_most_one_is_newer_and_clocks_close_to_each_other_agree(
        one in any_token(),
        other in any_token(),
        apart in 0u64..30,
    ) {
        let (Some(one), Some(other)) = (one, other) else { return Ok(()) };
        for now in [now(), now() + Duration::from_secs(apart)] {
            prop_assert!(!(one.supersedes(&other, now) && other.supersedes(&one, now)));
            let is_same = (one.life.issued_at, &one.attempt) == (other.life.issued_at, &other.attempt);
            prop_assert_eq!(one.supersedes(&other, now) || other.supersedes(&one, now), !is_same);
        }
        // Neither is called a token of the future by one of them only: then both know the same one as the newer one.
        let is_sure = |token: &Token| {
            let is_ahead = |now| token.life.is_from_the_future(now);
            is_ahead(now()) == is_ahead(now() + Duration::from_secs(apart))
        };
        if is_sure(&one) && is_sure(&other) {
            prop_assert_eq!(one.supersedes(&other, now()), one.supersedes(&other, now() + Duration::from_secs(apart)));
        }
    }

    #[test]
    fn nothing_is_minted_while_a_good_token_is_known(facts in any_facts()) {
        if let Plan::Mint { why } = planned(&facts) {
            prop_assert!(!facts.minting && !facts.suspended && !facts.deleting);
            if why.need() == Need::Needed {
                let good = |token: &Token| token.inputs == "inputs".into() && now() < token.life.renewal_time(facts.renewal, &"8000".into()) && !token.life.is_from_the_future(now());
                prop_assert!(!facts.target.token().is_some_and(good));
            }
            prop_assert!(budget::live(&facts.ledger, LIMITS, now()) < LIMITS.live);
        }
    }

    #[test]
    fn whatever_waits_waits_for_an_instant_ahead(facts in any_facts()) {
        match planned(&facts) {
            Plan::Keep { until }
            | Plan::Wait { until, .. }
            | Plan::Park { until: Some(until), .. }
            | Plan::Refuse(Defect { again_at: Some(until), .. }) => {
                prop_assert!(until > now());
            }
            Plan::Refuse(defect) => prop_assert_ne!(defect.reason, Reason::TargetConflict, "it ends by itself"),
            Plan::Park { until: None, .. } | Plan::Mint { .. } | Plan::Store | Plan::Suspend | Plan::Release => {}
        }
    }
}
