//! What a soak came to. Pure.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use zoho_api::keys;
use zoho_simulator::journal::Counts;
use zoho_testkit::observer::Version;

/// In this time a process that has begun to lead still takes what it needs: all credentials are renewed once.
const WARM_AFTER: Duration = Duration::from_secs(180);
/// Of less than this, over all processes, no slope is told: it would be noise.
const LEAST: Duration = Duration::from_secs(600);

/// Memory of the process that leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) pid: u32,
    pub(super) mebibytes: f64,
}

#[derive(Debug, Default)]
pub(super) struct Outcome {
    mints: u64,
    /// Minted, and never stored in a target.
    needless: u64,
    throttled: u64,
    evictions: u64,
    expired: Duration,
    pub(super) expired_in_faults: Duration,
    pub(super) restarts: usize,
    pub(super) faults: BTreeMap<&'static str, usize>,
    /// Why the soak fails.
    pub(super) wrong: Vec<String>,
}

impl Outcome {
    /// Takes in what was counted, and what of it is wrong.
    pub(super) fn count(&mut self, counts: &Counts, stored: u64, expired: Duration) {
        self.mints = counts.mints;
        self.needless = counts.mints.saturating_sub(stored);
        (self.throttled, self.evictions, self.expired) = (counts.throttled, counts.evictions, expired);
        if self.evictions > 0 {
            self.wrong.push(format!("{} living tokens were evicted", self.evictions));
        }
        // No fault answers with a throttle, so whoever met one asked too often.
        if self.throttled > 0 {
            self.wrong.push(format!("the token service's limit was met {} times", self.throttled));
        }
        // Each fault is shorter than what a renewal is early by.
        if !expired.is_zero() {
            let in_faults = self.expired_in_faults;
            self.wrong.push(format!("targets held expired tokens for {expired:?}, {in_faults:?} of it during faults"));
        }
    }
}

/// How many tokens came into targets.
pub(super) fn stored_tokens(versions: &[Version]) -> u64 {
    let of = |version: &Version| version.meta.annotations.as_ref()?.get(keys::ATTEMPT).cloned();
    let attempts: HashSet<String> = versions.iter().filter_map(of).collect();
    attempts.len() as u64
}

pub(super) fn table(outcome: &Outcome, samples: &[Sample], span: Duration) -> String {
    let Outcome { mints, needless, throttled, evictions, restarts, .. } = outcome;
    let mut text = format!("\n| what | in {:.1} min |\n|---|---|\n", span.as_secs_f64() / 60.0);
    let mut row = |what: &str, seen: String| {
        let _ = writeln!(text, "| {what} | {seen} |");
    };
    row("mints", mints.to_string());
    row("needless mints (stored in no target)", needless.to_string());
    row("throttles met", throttled.to_string());
    row("living tokens evicted", evictions.to_string());
    row("expired-token-seconds", format!("{:.1}", outcome.expired.as_secs_f64()));
    row("… of these while a fault was on", format!("{:.1}", outcome.expired_in_faults.as_secs_f64()));
    row("restarts of a process", restarts.to_string());
    row("memory of the leader at 25 %, 50 %, 75 %, end", quarters(samples, span));
    row("… slope", slope(samples).map_or_else(|| "too short to say".to_owned(), |slope| format!("{slope:.1} MiB/h")));
    row("faults", outcome.faults.values().sum::<usize>().to_string());
    for (what, count) in &outcome.faults {
        row(&format!("… {what}"), count.to_string());
    }
    text
}

fn quarters(samples: &[Sample], span: Duration) -> String {
    let at = |quarter: u32| samples.iter().rfind(|sample| sample.at <= span / 4 * quarter);
    let shown =
        (1..=4).map(|quarter| at(quarter).map_or("–".to_owned(), |sample| format!("{:.1}", sample.mebibytes)));
    format!("{} MiB", shown.collect::<Vec<_>>().join(", "))
}

/// MiB an hour, by least squares over all processes that led, each compared with itself and once it is warm.
fn slope(samples: &[Sample]) -> Option<f64> {
    let (mut covariance, mut variance, mut watched) = (0.0, 0.0, Duration::ZERO);
    for of_process in samples.chunk_by(|one, next| one.pid == next.pid) {
        let first = of_process.first()?.at;
        let warm: Vec<&Sample> = of_process.iter().filter(|sample| sample.at >= first + WARM_AFTER).collect();
        watched += warm.last().map_or(Duration::ZERO, |last| last.at.saturating_sub(first + WARM_AFTER));
        #[expect(clippy::cast_precision_loss, reason = "there are thousands of samples at most")]
        let mean = |value: &dyn Fn(&Sample) -> f64| warm.iter().map(|one| value(one)).sum::<f64>() / warm.len() as f64;
        let hours = |sample: &Sample| sample.at.as_secs_f64() / 3600.0;
        let (mean_hours, mean_mebibytes) = (mean(&hours), mean(&|sample| sample.mebibytes));
        for sample in &warm {
            covariance += (hours(sample) - mean_hours) * (sample.mebibytes - mean_mebibytes);
            variance += (hours(sample) - mean_hours).powi(2);
        }
    }
    (variance > 0.0 && watched >= LEAST).then(|| covariance / variance)
}

#[test]
fn slope_compares_each_process_with_itself_once_it_is_warm_and_needs_ten_minutes() {
    let sample = |seconds: u64, pid, mebibytes| Sample { at: Duration::from_secs(seconds), pid, mebibytes };
    // 1 MiB a minute in one, and as much in another that began with less.
    let first = [sample(0, 1, 5.0), sample(180, 1, 30.0), sample(360, 1, 33.0), sample(540, 1, 36.0)];
    let second = [sample(600, 2, 1.0), sample(780, 2, 20.0), sample(1020, 2, 24.0)];
    assert_eq!(slope(&first), None, "six minutes are too short");
    let slope = slope(&[&first[..], &second[..]].concat()).expect("it was long enough");
    assert!((slope - 60.0).abs() < 0.001, "{slope}");
}

#[test]
fn evictions_throttles_and_expired_tokens_are_wrong_also_during_faults() {
    let second = Duration::from_secs(1);
    let table = [(0, 0, 0, 0, 0), (1, 0, 0, 0, 1), (0, 1, 0, 0, 1), (0, 0, 5, 5, 1), (0, 0, 6, 5, 1), (1, 2, 6, 5, 3)];
    for (evictions, throttled, expired, in_faults, wrong) in table {
        let mut outcome = Outcome { expired_in_faults: second * in_faults, ..Outcome::default() };
        outcome.count(&Counts { mints: 3, evictions, throttled, ..Counts::default() }, 2, second * expired);
        assert_eq!((outcome.wrong.len(), outcome.needless), (wrong, 1), "{outcome:?}");
    }
}
