//! The accounting function through tables, outages and arbitrary ledgers.

use std::time::Duration;

use proptest::prelude::*;

use super::budget::*;
use super::record::{self, Lesson};
use super::renewal::{Life, Renewal};
use crate::fixtures::request;
use zoho_api::names::{AttemptId, Holder, InputsDigest};
use zoho_api::{Attempt, Outcome, Reason, Time, Verdict, ZohoMintLedgerSpec};

const MINE: &str = "mine";
const ME: &str = "me";
const LIMITS: Limits = Limits { attempts: 8, live: 7 };

/// Requests borrow who asks and with what; a test may leak a few bytes for that.
fn inputs(name: &str) -> &'static InputsDigest {
    Box::leak(Box::new(name.into()))
}

fn holder(name: &str) -> &'static Holder {
    Box::leak(Box::new(name.into()))
}

fn at(seconds: i64) -> Time {
    Time::from_unix(1_000_000 + seconds)
}

fn attempt(seconds: i64, outcome: Option<Outcome>) -> Attempt {
    attempt_of(MINE, seconds, outcome)
}

fn attempt_of(inputs: &str, seconds: i64, outcome: Option<Outcome>) -> Attempt {
    let life = (outcome == Some(Outcome::Minted)).then_some(3600);
    Attempt {
        id: format!("{inputs}{seconds}").into(),
        at: at(seconds),
        holder: ME.into(),
        inputs: inputs.into(),
        life,
        outcome,
        namespace: "ns".into(),
        ..Attempt::default()
    }
}

fn ledger(attempts: Vec<Attempt>) -> ZohoMintLedgerSpec {
    ZohoMintLedgerSpec { attempts, ..Default::default() }
}

fn needed() -> Request<'static> {
    request(inputs(MINE), holder(ME))
}

#[test]
fn attempt_leaves_the_window_after_exactly_ten_minutes() {
    let of = |seconds: &[i64]| ledger(seconds.iter().map(|at| attempt(*at, Some(Outcome::Minted))).collect());
    let in_window = |now: i64| attempts_in_window(&of(&[0]), LIMITS, at(now));
    assert_eq!((in_window(599), in_window(600)), (1, 0));
    assert_eq!((attempts_before_last(&of(&[0, 599])), attempts_before_last(&of(&[0, 600]))), (2, 1));
}

fn wanted() -> Request<'static> {
    Request { need: Need::Wanted, asked: true, ..needed() }
}

fn minted(seconds: &[i64]) -> Vec<Attempt> {
    seconds.iter().map(|&at| attempt(at, Some(Outcome::Minted))).collect()
}

fn wait(seconds: i64, why: Hold) -> Ruling {
    Ruling::Wait { until: at(seconds), why }
}

#[test]
fn answers_follow_the_ledger() {
    let others = |seconds, outcome| Attempt { holder: "other".into(), ..attempt(seconds, outcome) };
    let throttled = |until| ZohoMintLedgerSpec { throttled_until: Some(at(until)), ..Default::default() };
    let unproven: Vec<Attempt> = [attempt_of("owner", -1000, Some(Outcome::Minted))]
        .into_iter()
        .chain([
            attempt_of("guess1", -300, Some(Outcome::NotMinted)),
            attempt_of("guess2", -200, Some(Outcome::NotMinted)),
        ])
        .collect();
    let table: Vec<(&str, ZohoMintLedgerSpec, Request<'_>, Ruling)> = vec![
        ("empty", ledger(vec![]), needed(), Ruling::Go),
        ("another holder in flight", ledger(vec![others(-10, None)]), needed(), wait(20, Hold::InFlight)),
        (
            "another holder's old entry is an attempt of unknown outcome",
            ledger(vec![others(-31, None)]),
            needed(),
            wait(29, Hold::BackOff),
        ),
        (
            "another holder's finished entry is not in flight",
            ledger(vec![others(-10, Some(Outcome::Minted))]),
            needed(),
            Ruling::Go,
        ),
        ("throttled", throttled(100), needed(), wait(100, Hold::Throttled)),
        ("throttle over", throttled(-1), needed(), Ruling::Go),
        (
            "eight in ten minutes",
            ledger(minted(&[-599, -500, -400, -300, -200, -100, -50, -20])),
            needed(),
            Ruling::Wait { until: at(3130), why: Hold::LiveFull },
        ),
        (
            "seven short-lived in ten minutes leave room",
            ledger(short(&[-500, -400, -300, -200, -100, -50, -20])),
            needed(),
            Ruling::Go,
        ),
        (
            "eight short-lived in ten minutes",
            ledger(short(&[-590, -500, -400, -300, -200, -100, -50, -20])),
            needed(),
            wait(10, Hold::WindowFull),
        ),
        (
            "not sent counts nowhere",
            ledger((0..40).map(|n| attempt(-300 + n, Some(Outcome::NotSent))).collect()),
            needed(),
            Ruling::Go,
        ),
        (
            "seven alive",
            ledger(minted(&[-3000, -2500, -2400, -2000, -1900, -1800, -1700])),
            needed(),
            wait(630, Hold::LiveFull),
        ),
        (
            "six alive leave one for what is needed",
            ledger(minted(&[-3000, -2500, -2400, -2000, -1900, -1800])),
            needed(),
            Ruling::Go,
        ),
        (
            "four alive leave one for what is wanted",
            ledger(minted(&[-3000, -2500, -2400, -2000])),
            wanted(),
            Ruling::Go,
        ),
        (
            "five alive leave none for what is wanted",
            ledger(minted(&[-3000, -2500, -2400, -2000, -1900])),
            wanted(),
            wait(630, Hold::LiveFull),
        ),
        (
            "unknown counts as a whole life",
            ledger(vec![attempt(-3000, Some(Outcome::Unknown)); 7]),
            needed(),
            wait(630, Hold::LiveFull),
        ),
        (
            "guessers together hold two attempts",
            ledger(unproven.clone()),
            Request { inputs: inputs("guess3"), ..needed() },
            wait(300, Hold::WindowFull),
        ),
        (
            "guessers do not hold up the owner",
            ledger(unproven),
            Request { inputs: inputs("owner"), ..needed() },
            Ruling::Go,
        ),
    ];
    for (name, ledger, request, expected) in table {
        let answer = account(&settle(Found::Present(ledger), at(0)), &request, LIMITS, at(0));
        assert_eq!(answer, expected, "{name}");
    }
}

fn short(seconds: &[i64]) -> Vec<Attempt> {
    let mut attempts = minted(seconds);
    for attempt in &mut attempts {
        attempt.life = Some(60);
    }
    attempts
}

#[test]
fn verdict_is_confirmed_then_parked_until_asked() {
    let verdict = |confirmed| Verdict {
        inputs: MINE.into(),
        reason: Reason::RefreshTokenRejected.as_str().into(),
        code: Some("invalid_code".into()),
        at: at(0),
        confirmed,
        repeats: 0,
    };
    let ledger = |confirmed| ZohoMintLedgerSpec { verdicts: vec![verdict(confirmed)], ..Default::default() };
    let ask = |ledger: ZohoMintLedgerSpec, request, now| account(&ledger, &request, LIMITS, at(now));

    assert_eq!(ask(ledger(false), needed(), 10), wait(60, Hold::Confirming(verdict(false))));
    assert_eq!(ask(ledger(false), needed(), 60), Ruling::Go);
    let parked = Ruling::Refuse { verdict: verdict(true), until: Some(at(6 * 3600)) };
    assert_eq!(ask(ledger(true), needed(), 60), parked);
    assert_eq!(ask(ledger(true), needed(), 6 * 3600), Ruling::Go);
    assert_eq!(ask(ledger(true), wanted(), 60), Ruling::Go, "a person may ask again");
    assert_eq!(ask(ledger(true), Request { inputs: inputs("repaired"), ..needed() }, 60), Ruling::Go);
}

#[test]
fn refused_login_is_never_asked_about_again_by_itself() {
    let verdict = Verdict {
        inputs: MINE.into(),
        reason: Reason::LoginRejected.as_str().into(),
        code: None,
        at: at(0),
        confirmed: true,
        repeats: 0,
    };
    let mut ledger = ZohoMintLedgerSpec::default();
    record::refuse(&mut ledger, inputs(MINE), (Reason::LoginRejected, None), at(0));
    assert_eq!(ledger.verdicts.first(), Some(&verdict), "believed at the first answer");
    for later in [1, 60, 7 * 3600, 300 * 24 * 3600] {
        let settled = settle(Found::Present(ledger.clone()), at(later));
        let answer = account(&settled, &needed(), LIMITS, at(later));
        assert_eq!(answer, Ruling::Refuse { verdict: verdict.clone(), until: None }, "{later}");
    }
    assert_eq!(account(&ledger, &Request { inputs: inputs("corrected"), ..needed() }, LIMITS, at(1)), Ruling::Go);
    assert_eq!(account(&ledger, &wanted(), LIMITS, at(1)), Ruling::Go, "a person may ask again");
}

#[test]
fn one_time_passwords_are_kept_apart() {
    let spaced = Request { spacing: Duration::from_secs(120), ..needed() };
    let other = |outcome| ledger(vec![attempt_of("other", 0, outcome)]);
    let table = [
        ("a login that minted", ledger(minted(&[0])), wait(120, Hold::Spaced)),
        ("with another password too", other(Some(Outcome::Minted)), wait(120, Hold::Spaced)),
        ("with another password, and no answer came", other(Some(Outcome::Unknown)), wait(120, Hold::Spaced)),
        ("another password was refused before its code was sent", other(Some(Outcome::NotMinted)), Ruling::Go),
        ("nothing was sent", ledger(vec![attempt(0, Some(Outcome::NotSent))]), wait(10, Hold::BackOff)),
        ("no answer", ledger(vec![attempt(0, Some(Outcome::Unknown))]), wait(120, Hold::Spaced)),
    ];
    for (name, ledger, expected) in table {
        assert_eq!(account(&ledger, &spaced, LIMITS, at(5)), expected, "{name}");
    }
    assert_eq!(account(&ledger(minted(&[0])), &spaced, LIMITS, at(120)), Ruling::Go);
}

#[test]
fn lost_record_counts_as_a_full_window_once() {
    let settled = settle(Found::Lost, at(0));
    assert_eq!(settled.presumed_full_at, Some(at(0)));
    assert_eq!(account(&settled, &needed(), LIMITS, at(0)), wait(600, Hold::WindowFull));
    assert_eq!(live(&settled, LIMITS, at(0)), 5);
    let later = settle(Found::Present(settled), at(600));
    assert_eq!(later.presumed_full_at, Some(at(0)), "the presumption does not start over");
    assert_eq!(account(&later, &needed(), LIMITS, at(600)), Ruling::Go);
    assert_eq!(account(&later, &wanted(), LIMITS, at(600)), wait(3630, Hold::LiveFull));
}

#[test]
fn lost_record_stops_renewals_for_ten_minutes_whatever_the_limit_is() {
    for most in 2..=10 {
        let limits = Limits { live: most, ..LIMITS };
        let mut ledger = settle(Found::Lost, at(0));
        assert_eq!(account(&ledger, &needed(), limits, at(599)), wait(600, Hold::WindowFull), "{most}");
        assert_eq!(account(&ledger, &needed(), limits, at(600)), Ruling::Go, "{most}");
        ledger.attempts = vec![attempt(600, Some(Outcome::Minted)), attempt(601, Some(Outcome::Minted))];
        assert!(live(&ledger, limits, at(602)) <= most, "two more, and it is spent");
    }
}

#[test]
fn entry_from_the_future_counts_as_made_now() {
    let from_ahead = ledger(vec![attempt(3600, Some(Outcome::Minted)), attempt(8 * 3600, None)]);
    assert!(is_from_the_future(&from_ahead, at(0)));
    let settled = settle(Found::Present(from_ahead), at(0));
    assert_eq!(settled.attempts.iter().map(|attempt| attempt.at).collect::<Vec<_>>(), [at(0), at(0)]);
    assert_eq!(attempts_in_window(&settled, LIMITS, at(0)), 2, "they may have reached the server in these ten minutes");
    assert_eq!(live(&settled, LIMITS, at(0)), 2);
    assert_eq!(settled.presumed_full_at, None, "the record is there, so nothing is presumed");
}

#[test]
fn clocks_may_differ_by_a_minute_and_a_throttle_ends_at_its_instant() {
    for (ahead, is_believed) in [(60, true), (61, false)] {
        let settled = settle(Found::Present(ledger(vec![attempt(ahead, None)])), at(0));
        assert_eq!(settled.attempts[0].at, if is_believed { at(ahead) } else { at(0) }, "{ahead}");
    }
    let throttled = |until| ZohoMintLedgerSpec { throttled_until: Some(at(until)), ..Default::default() };
    assert_eq!(settle(Found::Present(throttled(600)), at(600)).throttled_until, None);
    assert_eq!(settle(Found::Present(throttled(600)), at(599)).throttled_until, Some(at(600)));
    let longest = 60 + 3600;
    assert!(!is_from_the_future(&throttled(longest), at(0)) && is_from_the_future(&throttled(longest + 1), at(0)));
}

#[test]
fn clock_stepped_forward_by_two_hours_forgets_nothing_recent() {
    let settled = settle(Found::Present(ledger(minted(&[-10]))), at(7200));
    assert_eq!(settled.attempts.len(), 1);
    assert_eq!(settle(Found::Present(settled), at(3 * 3600)).attempts, []);
}

/// What the token service does to a request while it is out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outage {
    Refused,
    ServerError,
    ServerErrorThatMints,
    SwallowedReplies,
}

/// What an outage came to.
#[derive(Debug)]
struct Story {
    /// Seconds in which no living token stood in the target, after the first mint.
    expired_for: i64,
    /// Most tokens alive at the server at once.
    most_alive: usize,
    /// Most mints that the server saw in ten minutes.
    most_in_window: usize,
    /// Seconds from the end of the outage to the next token.
    healed_after: i64,
}

/// Plays the renewals of one credential, second by second, through an outage that starts `phase` seconds after the
/// first renewal is due, with the real accounting, back-off and renewal rules.
fn play(life: i64, kind: Outage, outage: i64, phase: i64, manual_at: Option<i64>, jitter: &str) -> Story {
    play_renewing(1800, life, kind, outage, phase, manual_at, jitter)
}

/// The same with another `renewBefore`, in seconds.
fn play_renewing(
    before: u64,
    life: i64,
    kind: Outage,
    outage: i64,
    phase: i64,
    manual_at: Option<i64>,
    jitter: &str,
) -> Story {
    let mut ledger = ZohoMintLedgerSpec::default();
    let mut born: Vec<i64> = Vec::new();
    let mut story = Story { expired_for: 0, most_alive: 0, most_in_window: 0, healed_after: 0 };
    let (mut renew_at, mut expires_at) = (0, None);
    let mut ask_at = 0;
    let mut start = None;
    let mut healed = None;
    for second in 0..(3 * life + outage + 3600) {
        let due = second >= renew_at;
        if due && expires_at.is_some() {
            start.get_or_insert(second + phase);
        }
        story.expired_for += i64::from(expires_at.is_some_and(|expires_at| expires_at <= second));
        let asked = manual_at == Some(second);
        if !(due && second >= ask_at || asked) {
            continue;
        }
        let now = at(second);
        ledger = settle(Found::Present(ledger), now);
        let need = if due { Need::Needed } else { Need::Wanted };
        match account(&ledger, &Request { need, asked, ..needed() }, LIMITS, now) {
            Ruling::Go => {}
            Ruling::Wait { until, .. } | Ruling::Refuse { until: Some(until), .. } => {
                ask_at = until.unix() - at(0).unix();
                continue;
            }
            Ruling::Refuse { until: None, .. } => unreachable!("no login is played"),
        }
        let id = AttemptId::from(second.to_string());
        record::reserve(&mut ledger, Attempt { id: id.clone(), ..attempt(second, None) });
        let out = start.is_some_and(|start| (start..start + outage).contains(&second));
        if !out || matches!(kind, Outage::ServerErrorThatMints | Outage::SwallowedReplies) {
            born.push(second);
            let since = |span: i64| born.iter().filter(|born| **born + span > second).count();
            story.most_alive = story.most_alive.max(since(life));
            story.most_in_window = story.most_in_window.max(since(600));
        }
        let (outcome, known) = match (out, kind) {
            (false, _) => (Outcome::Minted, i32::try_from(life).ok()),
            (true, Outage::Refused) => (Outcome::NotSent, None),
            (true, _) => (Outcome::Unknown, None),
        };
        record::learn(&mut ledger, &Lesson::Outcome { id, outcome, life: known });
        if outcome == Outcome::Minted {
            let token = Life { issued_at: now, expires_at: now + Duration::from_secs(life.unsigned_abs()) };
            expires_at = Some(second + life);
            renew_at = token.renewal_time(Renewal::BeforeExpiry(Duration::from_secs(before)), &jitter.into()).unix()
                - at(0).unix();
            if start.is_some_and(|start| second >= start + outage) {
                healed.get_or_insert(second);
            }
        }
    }
    story.healed_after = healed.unwrap_or(i64::MAX) - start.unwrap_or(0) - outage;
    story
}

const KINDS: [Outage; 4] =
    [Outage::Refused, Outage::ServerError, Outage::ServerErrorThatMints, Outage::SwallowedReplies];

#[test]
fn no_outage_evicts_a_token_or_meets_the_throttle() {
    for life in [60, 360, 600, 3600] {
        for kind in KINDS {
            for minutes in [5, 10, 15, 20] {
                for manual_at in [None, Some(life / 4)] {
                    let story = play(life, kind, minutes * 60, 0, manual_at, "8000");
                    let row = format!("{life} s, {kind:?}, {minutes} min, asked at {manual_at:?}: {story:?}");
                    assert!(story.most_alive <= 7, "{row}");
                    assert!(story.most_in_window <= 8, "{row}");
                }
            }
        }
    }
}

#[test]
fn tokens_of_an_hour_outlive_every_outage_of_twenty_minutes() {
    for kind in KINDS {
        for minutes in [5, 10, 15, 20] {
            for phase in [0, 60, 239, 240, 541, 899, 1199] {
                for jitter in ["0000", "8000", "ffff"] {
                    for manual_at in [None, Some(300), Some(900)] {
                        let story = play(3600, kind, minutes * 60, phase, manual_at, jitter);
                        let row = format!("{kind:?}, {minutes} min from {phase} s, {jitter}, {manual_at:?}: {story:?}");
                        assert_eq!(story.expired_for, 0, "{row}");
                        let longest = match (kind, manual_at) {
                            (Outage::Refused, _) => 120,
                            (_, None) => 420,
                            // One more mint in that hour fills the seven before the sixth attempt; the next one has to
                            // wait until the oldest token has died.
                            (_, Some(_)) => 690,
                        };
                        assert!(phase > 0 || story.healed_after <= longest, "{row}");
                    }
                }
            }
        }
    }
}

#[test]
fn renew_before_at_its_bounds_bridges_what_leaves_time_for_one_more_try() {
    // The next try may come two minutes after an outage in which nothing was sent. Where it is not known whether a request
    // minted, tries come 0, 60, 240, 540, 900 and 1320 s after the renewal was due: what ends by the last of them that the
    // token lives to see is bridged. Of half an hour twenty minutes are promised, also where somebody asks for more tokens.
    let table = [(300, 180, 240), (900, 780, 540), (1800, 1680, 1200)];
    for (before, unsent, unknown) in table {
        for kind in KINDS {
            let bridged = if kind == Outage::Refused { unsent } else { unknown };
            let pause = if kind == Outage::Refused { 120 } else { 420 };
            for outage in (30..=1200.max(bridged)).step_by(30) {
                for (jitter, manual_at) in [("0000", None), ("8000", None), ("ffff", None), ("0000", Some(900))] {
                    let story = play_renewing(before, 3600, kind, outage, 0, manual_at, jitter);
                    let row = format!("{before} s before, {kind:?}, {outage} s, {jitter}, {manual_at:?}: {story:?}");
                    assert!(outage > bridged || story.expired_for == 0, "{row}");
                    let left = i64::try_from(before).expect("small");
                    let most = (outage + pause - left).max(0);
                    assert!(manual_at.is_some() || story.expired_for <= most, "{row}");
                    assert!(story.most_alive <= 7 && story.most_in_window <= 8, "{row}");
                }
            }
        }
    }
}

#[test]
fn short_lives_heal_after_the_outage_and_expire_only_in_it() {
    // Lives of ten and six minutes cannot bridge an outage longer than half of them: what counts is how soon a fresh
    // token stands afterwards. A life of a minute needs more mints than Zoho allows, outage or not.
    let table = [
        (600, Outage::Refused, 120),
        (600, Outage::ServerErrorThatMints, 420),
        (360, Outage::Refused, 120),
        (360, Outage::SwallowedReplies, 420),
    ];
    for (life, kind, healed_within) in table {
        for minutes in [5, 10, 15, 20] {
            let story = play(life, kind, minutes * 60, 0, None, "8000");
            let row = format!("{life} s, {kind:?}, {minutes} min: {story:?}");
            assert!(story.healed_after <= healed_within, "{row}");
            let bridged = life / 2;
            assert!(story.expired_for <= (minutes * 60 - bridged).max(0) + healed_within, "{row}");
        }
    }
    let endless = play(60, Outage::Refused, 0, 0, None, "0000");
    assert!(
        endless.expired_for > 0,
        "a life of a minute cannot be kept within eight mints in ten minutes: {endless:?}"
    );
}

fn any_outcome() -> impl Strategy<Value = Option<Outcome>> {
    prop_oneof![
        Just(None),
        Just(Some(Outcome::Minted)),
        Just(Some(Outcome::NotMinted)),
        Just(Some(Outcome::NotSent)),
        Just(Some(Outcome::Unknown)),
    ]
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    ((-12_000i64..8_000), any_outcome(), "[ab]", "me|other", proptest::option::of(-10i32..100_000)).prop_map(
        |(seconds, outcome, inputs, holder, life)| Attempt {
            holder: holder.into(),
            life,
            ..attempt_of(&inputs, seconds, outcome)
        },
    )
}

fn any_ledger() -> impl Strategy<Value = ZohoMintLedgerSpec> {
    let time = || proptest::option::of((-12_000i64..8_000).prop_map(at));
    let verdict = ("[ab]", -12_000i64..8_000, any::<bool>()).prop_map(|(inputs, seconds, confirmed)| Verdict {
        inputs: inputs.into(),
        reason: "ClientRejected".into(),
        code: None,
        at: at(seconds),
        confirmed,
        repeats: 0,
    });
    (proptest::collection::vec(any_attempt(), 0..20), time(), proptest::collection::vec(verdict, 0..3), time())
        .prop_map(|(mut attempts, throttled_until, verdicts, presumed_full_at)| {
            attempts.sort_by_key(|attempt| attempt.at);
            ZohoMintLedgerSpec { attempts, throttled_until, verdicts, presumed_full_at, ..Default::default() }
        })
}

fn any_request() -> impl Strategy<Value = Request<'static>> {
    (prop_oneof![Just("a"), Just("b")], any::<bool>(), any::<bool>()).prop_map(|(name, is_needed, asked)| Request {
        inputs: inputs(name),
        need: if is_needed { Need::Needed } else { Need::Wanted },
        asked,
        ..needed()
    })
}

proptest! {
    #[test]
    fn settling_twice_is_settling_once(ledger in any_ledger()) {
        let once = settle(Found::Present(ledger), at(0));
        prop_assert_eq!(settle(Found::Present(once.clone()), at(0)), once);
    }

    #[test]
    fn go_never_exceeds_the_limits(ledger in any_ledger(), request in any_request()) {
        let settled = settle(Found::Present(ledger), at(0));
        if account(&settled, &request, LIMITS, at(0)) == Ruling::Go {
            prop_assert!(live(&settled, LIMITS, at(0)) < LIMITS.live);
            prop_assert!(attempts_in_window(&settled, LIMITS, at(0)) < LIMITS.attempts);
            prop_assert!(settled.throttled_until.is_none_or(|until| until <= at(0)));
        }
    }

    #[test]
    fn every_wait_ends_and_lies_ahead(ledger in any_ledger(), request in any_request()) {
        let mut now = at(0);
        let mut settled = settle(Found::Present(ledger), now);
        for _ in 0..60 {
            let until = match account(&settled, &request, LIMITS, now) {
                Ruling::Go | Ruling::Refuse { until: None, .. } => return Ok(()),
                Ruling::Wait { until, .. } | Ruling::Refuse { until: Some(until), .. } => until,
            };
            prop_assert!(until > now, "{until} is not after {now}");
            now = until;
            settled = settle(Found::Present(settled), now);
        }
        prop_assert!(false, "still waiting at {now}");
    }
}
