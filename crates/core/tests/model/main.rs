//! A model of the mint ledger's protocol that runs the product's own decisions: all that can happen to a few writers
//! within a few faults is played, and the promises are looked at in every state.
//!
//! **What is played.** Two or three writers that each believe to lead; one ledger and one target with optimistic
//! locking; a token service that refuses too many requests and kills the oldest of too many tokens. A pass is
//! `plan::plan` over what was seen, and each writer knows the ledger through the product's own `LedgerMirror`, with the
//! real constants and, but for one setting, the real limits. Reading, composing, writing the ledger, looking at the deadline, sending, writing
//! the target are steps of their own, so a writer can stand still or die between any two of them. The clock jumps to the
//! next instant at which a decision can change, so a pause is as long as it likes. Pasts that take too long to reach
//! (a full window, an outage that swallowed every answer) are where some plays begin.
//!
//! **Faults**, each kind with a number and all together with one: see [`Fault`].
//!
//! **Clocks.** The clock of all writers may be set back, and the record may be one that a clock far ahead has written.
//! Time goes on, and lives end, by a clock that nobody sets. After a step a token of before it seems to be of the future,
//! so a second leader that holds one may put it back once, when the clock gets there: it lives, and nothing is minted.
//!
//! **What is not played.** Clocks that differ between writers; a target that others delete or edit; a ledger lost while
//! no target points to it; a request that travels on for long after its process has died; a second permanent refusal
//! (that parks for hours, as it should). Two writers interleave within an instant only where one of them is paused.

mod coverage;
mod setting;
mod source;
mod steps;
mod world;

use std::fmt::Write as _;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};
use zoho_api::Outcome;
use zoho_core::plan::budget::Limits;

use self::coverage::{Coverage, Met};
use self::setting::{EVICTION, HEALS, MINTS, MONOTONE, NO_GAP, Protocol, RATE, RESERVE, SOURCE, STORED, Setting, WORD};
use self::world::Fault::{
    Change, Crash, Failure, Login, Loss, LostReply, LostWord, LostWrite, Pause, Refusal, Request, Stale, Step,
};
use self::world::{Fault, Faults, Past, start};

/// What Zoho allows.
const ZOHO: Limits = Limits { attempts: 10, live: 10 };

/// Every kind of fault that may hit a credential in a quiet hour.
const ALL: [(Fault, u8); 10] = [
    (Crash, 2),
    (LostReply, 2),
    (Failure, 1),
    (Refusal, 1),
    (LostWrite, 1),
    (Stale, 1),
    (Pause, 1),
    (Request, 1),
    (Loss, 1),
    (LostWord, 1),
];

/// Tokens of an hour, two writers, from nothing until the first token would die.
fn first_hour() -> Setting {
    Setting {
        protocol: Protocol::Ledger,
        writers: 2,
        own: Limits::default(),
        server: ZOHO,
        life: 3600,
        horizon: 3600,
        faults: Faults::new(0, &[]),
        past: Vec::new(),
        is_ahead: false,
        most_mints: None,
        heals_within: None,
        has_no_gap: true,
        met: Arc::new(Coverage::default()),
    }
}

/// From right before a renewal until the old token would die.
fn quiet_hour() -> Setting {
    Setting { past: vec![past(1790, 3600, Some(Outcome::Minted))], horizon: 1900, ..first_hour() }
}

/// Twenty minutes in which every request minted and every answer was lost, on top of a living token; and one writer has
/// stood still for more than an hour, right before it sends a request.
fn crowded_hour() -> Setting {
    let swallowed = [1200, 1140, 960, 660, 300].map(|ago| past(ago, 3600, Some(Outcome::Unknown)));
    let before = [past(3700, 3600, None), past(3000, 3600, Some(Outcome::Minted))];
    let past = before.into_iter().chain(swallowed).collect();
    Setting { past, has_no_gap: false, horizon: 700, ..first_hour() }
}

/// Tokens of a minute, minted as often as the window allows; and one writer has stood still for ten minutes, right before
/// it sends a request. With that one there are so many entries in the ledger.
fn full_window(entries: u64) -> Setting {
    let sent = (1..entries).map(|number| past(595 - 60 * number, 60, Some(Outcome::Minted)));
    let past = [past(595, 60, None)].into_iter().chain(sent).collect();
    Setting { past, has_no_gap: false, life: 60, horizon: 70, ..first_hour() }
}

/// An hour of lost answers under smaller limits with the same headroom, so that they are reached from nothing.
fn small_limits() -> Setting {
    Setting {
        own: Limits { attempts: 3, live: 3 },
        server: Limits { attempts: 5, live: 6 },
        faults: Faults::new(6, &[(LostReply, 6)]),
        has_no_gap: false,
        ..first_hour()
    }
}

/// The token service gives shorter lives than before: the next token expires sooner than the one that it replaces.
fn shorter_lives() -> Setting {
    Setting { past: vec![past(1790, 3600, Some(Outcome::Minted))], life: 600, horizon: 700, ..first_hour() }
}

/// A young token, and a source that may change.
fn changing_source() -> Setting {
    Setting { past: vec![past(60, 3600, Some(Outcome::Minted))], horizon: 700, has_no_gap: false, ..first_hour() }
}

/// A record that a clock eight hours ahead has written, in which there is a throttle, and an entry without an outcome.
fn record_from_the_future() -> Setting {
    Setting {
        past: vec![past(100, 3600, Some(Outcome::Minted))],
        is_ahead: true,
        has_no_gap: false,
        heals_within: Some(3700),
        horizon: 7500,
        ..first_hour()
    }
}

const fn past(ago: u64, life: u64, outcome: Option<Outcome>) -> Past {
    Past { ago, life, outcome }
}

#[expect(clippy::print_stderr, reason = "the figures of a check are worth reading")]
fn report(name: &str, checker: &impl Checker<Setting>, since: Instant) {
    let (states, depth, took) = (checker.unique_state_count(), checker.max_depth(), since.elapsed());
    eprintln!("model: {name}: {states} states, depth {depth}, {:.1} s", took.as_secs_f32());
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Plays everything that can happen in this setting, and wants every promise kept. A change that leaves fewer than
/// `least_states`, or does not come upon all of `met`, checks less than it seems to.
fn holds(name: &str, setting: Setting, least_states: usize, met: &[Met]) {
    let since = Instant::now();
    let coverage = Arc::clone(&setting.met);
    let checker = setting.checker().threads(threads()).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    report(name, &checker, since);
    let broken = broken_promises(&checker);
    assert!(broken.is_empty(), "{name}:{broken}");
    assert!(checker.unique_state_count() >= least_states, "{name}: only {} states", checker.unique_state_count());
    for met in met {
        assert!(coverage.has(*met), "{name} never came upon {met:?}");
    }
}

/// Plays until this promise is broken.
fn breaks(promise: &'static str, name: &str, setting: Setting) {
    let since = Instant::now();
    let wanted = HasDiscoveries::AnyOf([promise].into());
    let checker = setting.checker().threads(threads()).finish_when(wanted).spawn_bfs().join();
    report(name, &checker, since);
    assert!(checker.discovery(promise).is_some(), "{name} keeps \"{promise}\"");
}

/// What broke, and the steps that led there.
fn broken_promises(checker: &impl Checker<Setting>) -> String {
    let mut story = String::new();
    for (property, path) in checker.discoveries() {
        write!(story, "\n{property}").expect("writing to a string works");
        for (world, action) in path.into_vec() {
            let seconds = world.now.since(start()).as_secs();
            write!(story, "\n  {seconds:>6} s {action:?}").expect("writing to a string works");
        }
    }
    story
}

#[test]
fn ledger_protocol_keeps_every_limit_under_crashes_stale_reads_and_two_leaders() {
    let met = [
        Met::LedgerConflict,
        Met::TargetConflict,
        Met::DeadlinePassed,
        Met::SentAfterPause,
        Met::CrashBetweenRequestAndTarget,
        Met::CrashWithReservation,
        Met::PresumptionKept,
        Met::LateWriteArrived,
        Met::HeldInFlight,
        Met::HeldByWindow,
        Met::HeldByThrottle,
        Met::HeldForConfirmation,
        Met::Wanted,
        Met::ValidAfterAllFaults,
    ];
    holds("quiet hour", Setting { faults: Faults::new(2, &ALL), horizon: 2600, ..quiet_hour() }, 200_000, &met);
}

#[test]
fn first_token_comes_and_is_renewed_whatever_goes_wrong_twice() {
    holds("first hour", Setting { faults: Faults::new(2, &ALL), ..first_hour() }, 200_000, &[Met::ValidAfterAllFaults]);
}

#[test]
fn three_leaders_keep_every_limit() {
    holds(
        "three leaders",
        Setting { writers: 3, faults: Faults::new(1, &ALL), horizon: 3700, ..quiet_hour() },
        50_000,
        &[Met::ValidAfterAllFaults],
    );
}

#[test]
fn crowded_hour_has_room_for_a_late_writer_and_a_login() {
    let faults = Faults::new(2, &[(Crash, 2), (LostReply, 2), (Pause, 2), (Login, 1), (Request, 1)]);
    holds(
        "crowded hour",
        Setting { faults, ..crowded_hour() },
        50_000,
        &[Met::SentAfterPause, Met::HeldByLiveTokens, Met::ValidAfterAllFaults],
    );
}

#[test]
fn full_window_has_room_for_a_late_writer_and_a_login() {
    let faults = Faults::new(2, &[(LostReply, 1), (Pause, 1), (Login, 1)]);
    holds(
        "full window",
        Setting { faults, ..full_window(8) },
        20_000,
        &[Met::SentAfterPause, Met::HeldByWindow, Met::ValidAfterAllFaults],
    );
}

#[test]
fn target_heals_within_an_hour_of_the_last_fault_also_where_the_record_is_lost() {
    let faults = Faults::new(2, &[(Crash, 1), (LostReply, 1), (Loss, 1), (Login, 1)]);
    let setting = Setting { faults, heals_within: Some(3700), horizon: 4500, ..crowded_hour() };
    holds(
        "lost record",
        setting,
        150_000,
        &[Met::PresumptionKept, Met::HeldByWindow, Met::HeldByLiveTokens, Met::ValidAfterAllFaults],
    );
}

#[test]
fn small_limits_keep_their_headroom_through_an_hour_of_lost_answers() {
    let faults = Faults::new(6, &[(LostReply, 6), (Crash, 1)]);
    holds("small limits", Setting { faults, ..small_limits() }, 4_000, &[Met::HeldByLiveTokens]);
}

#[test]
#[ignore = "large: run by make test-long"]
fn ledger_protocol_keeps_every_limit_and_no_token_expires_under_three_faults() {
    let kinds: Vec<_> = ALL.into_iter().filter(|(fault, _)| *fault != Loss).collect();
    holds(
        "quiet hour, three faults",
        Setting { faults: Faults::new(3, &kinds), horizon: 2600, ..quiet_hour() },
        5_000_000,
        &[Met::ValidAfterAllFaults],
    );
}

/// Where the record is lost, five tokens are presumed to live: with one in the hand of a leader that stands still and one
/// more answer without a token the limit is reached, and a token may expire. The limits hold.
#[test]
#[ignore = "large: run by make test-long"]
fn ledger_protocol_keeps_every_limit_under_three_faults_one_of_which_is_a_lost_record() {
    holds(
        "quiet hour, three faults, lost record",
        Setting { faults: Faults::new(3, &ALL), has_no_gap: false, horizon: 2600, ..quiet_hour() },
        5_000_000,
        &[Met::ValidAfterAllFaults],
    );
}

#[test]
fn minting_before_reserving_breaks_every_limit() {
    let broken = |setting| Setting { protocol: Protocol::MintFirst, ..setting };
    let faults = Faults::new(2, &ALL);
    breaks(RESERVE, "mint first, quiet hour", broken(Setting { faults, ..quiet_hour() }));
    breaks(MONOTONE, "mint first, quiet hour", broken(Setting { faults, ..quiet_hour() }));
    let faults = Faults::new(2, &[(LostReply, 1), (Login, 1)]);
    breaks(RATE, "mint first, full window", broken(Setting { faults, ..full_window(8) }));
    let faults = Faults::new(4, &[(LostReply, 3), (Crash, 2)]);
    breaks(EVICTION, "mint first, crowded hour", broken(Setting { faults, ..crowded_hour() }));
}

#[test]
fn compare_and_swap_on_the_target_alone_breaks_the_limits() {
    let broken = |setting| Setting { protocol: Protocol::SecretOnly, ..setting };
    let faults = Faults::new(2, &[(LostReply, 1), (Login, 1)]);
    breaks(RATE, "target only, full window", broken(Setting { faults, ..full_window(8) }));
    let faults = Faults::new(4, &[(LostReply, 3), (Crash, 2)]);
    breaks(EVICTION, "target only, crowded hour", broken(Setting { faults, ..crowded_hour() }));
}

#[test]
fn reserving_without_deadline_headroom_and_live_count_breaks_the_limits() {
    let broken = |setting| Setting { protocol: Protocol::ReserveOnly, ..setting };
    let faults = Faults::new(1, &[(LostReply, 1)]);
    breaks(RATE, "reserve only, full window", broken(Setting { faults, ..full_window(10) }));
    breaks(EVICTION, "reserve only, small limits", broken(small_limits()));
}

#[test]
fn backing_off_without_a_budget_breaks_the_limits() {
    let broken = |setting| Setting { protocol: Protocol::BackOffOnly, ..setting };
    let faults = Faults::new(2, &[(LostReply, 1), (Login, 1)]);
    breaks(RATE, "back-off only, full window", broken(Setting { faults, ..full_window(8) }));
    breaks(EVICTION, "back-off only, small limits", broken(small_limits()));
}

#[test]
fn limits_of_our_own_as_high_as_the_servers_break_them() {
    let faults = Faults::new(1, &[(Pause, 1)]);
    breaks(RATE, "no headroom", Setting { server: Limits::default(), faults, ..full_window(8) });
}

#[test]
fn presumption_that_is_not_written_down_never_ends() {
    let faults = Faults::new(1, &[(Loss, 1)]);
    let forgets = |protocol| Setting { protocol, faults, heals_within: Some(3700), horizon: 7500, ..quiet_hour() };
    breaks(HEALS, "forgetful", forgets(Protocol::ForgetfulPresumption));
    holds("not forgetful", forgets(Protocol::Ledger), 1_000, &[Met::PresumptionKept, Met::ValidAfterAllFaults]);
}

#[test]
fn shorter_life_than_before_costs_one_mint_a_renewal() {
    // Renewed at 10 s, and then at half of each ten minutes: at 310 s and at 610 s.
    let quiet = Setting { most_mints: Some(3), ..shorter_lives() };
    holds("shorter lives, nothing else", quiet, 100, &[Met::ValidAfterAllFaults]);
    let faults = Faults::new(1, &ALL);
    holds(
        "shorter lives",
        Setting { faults, has_no_gap: false, ..shorter_lives() },
        1_000,
        &[Met::ValidAfterAllFaults],
    );
}

#[test]
fn ordering_tokens_by_expiry_mints_one_after_another() {
    let broken = |setting| Setting { protocol: Protocol::ByExpiry, ..setting };
    breaks(STORED, "by expiry, shorter lives", broken(shorter_lives()));
    breaks(MINTS, "by expiry, shorter lives", broken(Setting { most_mints: Some(3), ..shorter_lives() }));
    let faults = Faults::new(1, &[(Step, 1)]);
    breaks(STORED, "by expiry, clock set back", broken(Setting { faults, ..first_hour() }));
}

#[test]
fn believing_a_gateway_that_nothing_was_minted_breaks_the_limits() {
    let setting = Setting { protocol: Protocol::TrustsEveryError, writers: 1, ..small_limits() };
    breaks(EVICTION, "believes a gateway", setting);
}

#[test]
fn changed_source_is_acted_on_whenever_the_process_is_replaced() {
    let faults = Faults::new(4, &[(Change, 1), (Crash, 2), (LostReply, 1)]);
    holds("changed source", Setting { faults, ..changing_source() }, 4_000, &[Met::CrashWithReservation]);
}

#[test]
fn status_that_says_what_was_seen_keeps_the_token_of_a_former_source() {
    let faults = Faults::new(2, &[(Change, 1), (Crash, 1)]);
    let protocol = Protocol::StatusSaysSeen;
    breaks(SOURCE, "status says what was seen", Setting { protocol, faults, ..changing_source() });
}

#[test]
fn clock_that_is_set_back_costs_one_mint_at_most_and_no_token_expires() {
    let faults = Faults::new(1, &[(Step, 1)]);
    let setting = Setting { faults, most_mints: Some(2), ..quiet_hour() };
    holds("clock set back", Setting { horizon: 1700, ..setting }, 250, &[Met::ValidAfterAllFaults]);
    let first = Setting { faults, most_mints: Some(2), horizon: 1700, ..first_hour() };
    holds("clock set back, first hour", first, 200, &[Met::ValidAfterAllFaults]);
}

#[test]
fn clock_that_is_set_back_among_other_faults_breaks_no_limit() {
    let kinds = [(Step, 1), (Crash, 1), (LostReply, 1), (Failure, 1)];
    let setting = Setting {
        faults: Faults::new(2, &kinds),
        has_no_gap: false,
        heals_within: Some(4300),
        horizon: 4900,
        ..quiet_hour()
    };
    holds("clock set back, and another fault", setting, 150_000, &[Met::HeldByThrottle, Met::ValidAfterAllFaults]);
}

#[test]
fn not_noticing_that_the_clock_was_set_back_lets_a_token_expire() {
    let faults = Faults::new(1, &[(Step, 1)]);
    let protocol = Protocol::BlindToSteps;
    breaks(NO_GAP, "blind to steps", Setting { protocol, faults, horizon: 7200, ..first_hour() });
}

#[test]
fn record_from_the_future_is_brought_back_once() {
    let met = [Met::HeldByThrottle, Met::ValidAfterAllFaults];
    holds("record from the future", record_from_the_future(), 100, &met);
    let faults = Faults::new(2, &[(Crash, 2), (LostWrite, 1)]);
    holds("record from the future, crashes", Setting { faults, ..record_from_the_future() }, 35_000, &met);
    let protocol = Protocol::ForgetfulCorrection;
    breaks(HEALS, "brought back anew", Setting { protocol, ..record_from_the_future() });
}

#[test]
fn word_that_cannot_be_written_is_heeded_and_goes_with_the_next_write() {
    let faults = Faults::new(4, &[(Failure, 1), (Refusal, 1), (LostWord, 2)]);
    let setting = |protocol| Setting { protocol, faults, has_no_gap: false, ..quiet_hour() };
    holds(
        "lost word",
        setting(Protocol::Ledger),
        6_000,
        &[Met::WordLost, Met::HeldByThrottle, Met::HeldForConfirmation],
    );
    breaks(WORD, "forgets words", setting(Protocol::ForgetfulWord));
}
