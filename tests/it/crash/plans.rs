//! A run of each flow lists what it writes, in order. Each write in each of three modes is a plan: the operator is killed
//! there and started again, and nothing but times and tokens may differ in the end.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, Semaphore};
use tokio::task::{JoinSet, LocalSet};

use super::blow;
use super::boundary::{Boundary, Mode, Write};
use super::end::{End, last};
use super::flow::Flow;
use super::stage::Stage;
use crate::support::{DEADLINE, tell, variable};

/// Runs at once: they mostly wait.
const AT_ONCE: usize = 4;
/// A flow that has come to its end comes to the last write in this time, or not at all.
const LATE: Duration = Duration::from_secs(5);
/// One flow, crash and all.
const WITHIN: Duration = DEADLINE;
/// After a crash an attempt of unknown outcome is waited for: so long, by the clock, and not much longer.
const LONGEST_WAIT: i64 = 75;
/// The throttle that is met once more, since the reply that told of it was lost.
const LONGEST_THROTTLE: i64 = 700;

/// A kind of write, and how many more of it a crash may cost.
struct Cost {
    kind: &'static str,
    is: fn(&Boundary) -> bool,
    most: usize,
}

/// A write that was struck is made again, and with it the target. A ledger gets one more entry where a token was lost, or is
/// written down as lost, and what becomes of that, such as a throttle. The status tells of the wait for what may be on its way,
/// of the pause after it, and of its end. No plan was seen to need more, and most need less.
const COSTS: [Cost; 3] = [
    Cost { kind: "writes of targets", is: Boundary::is_of_target, most: 1 },
    Cost { kind: "writes of ledgers", is: Boundary::is_ledger, most: 2 },
    Cost { kind: "statuses", is: Boundary::is_status, most: 3 },
];

static LEARNT: [OnceCell<Result<End, String>>; Flow::ALL.len()] = [const { OnceCell::const_new() }; Flow::ALL.len()];

/// One place and manner to die.
#[derive(Clone, Debug)]
struct Plan {
    flow: Flow,
    /// Place in the order of the flow's writes.
    place: usize,
    boundary: Boundary,
    mode: Mode,
}

impl Plan {
    /// Names the plan, here and in `CRASH_PLAN`.
    fn id(&self) -> String {
        format!("{}/{}/{}", self.flow, self.boundary, self.mode)
    }

    fn of(flow: Flow, learnt: &End) -> Vec<Self> {
        let boundaries = learnt.boundaries.iter().enumerate();
        let plans = boundaries
            .flat_map(|(place, boundary)| Mode::ALL.map(|mode| Self { flow, place, boundary: boundary.clone(), mode }));
        plans.collect()
    }

    /// How many mints the crash may cost: one where a token was lost on its way from Zoho to the target. While a request
    /// is on its way other things are written, so what they find is either.
    fn needless_mints(&self, learnt: &End) -> u64 {
        let stores = learnt.boundaries[self.place..].iter().find(|boundary| boundary.is_target());
        if self.is_by_the_way(learnt) {
            return 1;
        }
        let before = &learnt.boundaries[..self.place];
        let last = |is: &dyn Fn(&Boundary) -> bool| before.iter().rposition(is);
        let is_minted = match self.boundary.write {
            Write::Post => self.mode != Mode::Before,
            Write::Call { .. } if self.boundary.is_ledger() => false,
            Write::Call { .. } => {
                self.flow.is_only_in_memory() || last(&Boundary::is_ledger) > last(&Boundary::is_target)
            }
        };
        let is_unstored = stores != Some(&self.boundary) || self.mode == Mode::Before;
        u64::from(is_minted && stores.is_some() && is_unstored)
    }

    /// Is it a status of a flow that writes some while a request is on its way? What such a crash finds is either.
    fn is_by_the_way(&self, learnt: &End) -> bool {
        let follows = |place: usize| place > 0 && learnt.boundaries[place - 1].is_target();
        let mut statuses = (0..learnt.boundaries.len()).filter(|place| learnt.boundaries[*place].is_status());
        let is_sent = learnt.boundaries.iter().any(|boundary| boundary.write == Write::Post);
        self.boundary.is_status() && is_sent && statuses.any(|place| !follows(place))
    }

    /// Does an attempt stay in the ledger of which nobody knows what became of it? It counts as a failure.
    fn leaves_unknown(&self, learnt: &End) -> bool {
        let is_reserved = self.boundary.is_ledger() && self.mode != Mode::Before;
        is_reserved || self.boundary.write == Write::Post || self.needless_mints(learnt) > 0
    }

    /// How often Zoho's throttle may be met again: once until it is written down, which is done at once.
    fn needless_throttles(&self, learnt: &End) -> u64 {
        let post = learnt.boundaries.iter().position(|boundary| boundary.write == Write::Post);
        let Some(post) = post.filter(|_| learnt.throttled > 0) else { return 0 };
        u64::from(self.place <= post || (self.place == post + 1 && self.mode == Mode::Before))
    }

    /// What differs from the run without a crash and must not.
    fn compare(&self, learnt: &End, end: &End) -> Vec<String> {
        let mut wrong = Vec::new();
        let (mints, throttles) = (self.needless_mints(learnt), self.needless_throttles(learnt));
        let difference = difference(&learnt.stored, &end.stored, self.leaves_unknown(learnt));
        if !difference.is_empty() {
            wrong.push(format!("the end differs (- without a crash, + with it):\n{difference}"));
        }
        if end.mints < learnt.mints || end.mints > learnt.mints + mints {
            wrong.push(format!("{} mints instead of {}, and {mints} more may be", end.mints, learnt.mints));
        }
        if end.throttled > learnt.throttled + throttles {
            wrong.push(format!("{} throttles met, {} without a crash", end.throttled, learnt.throttled));
        }
        if end.evictions > 0 {
            wrong.push(format!("{} living tokens evicted", end.evictions));
        }
        if !self.flow.has_dead_token() && end.expired > learnt.expired {
            wrong.push(format!("the target held a dead token for {:?}", end.expired));
        }
        let longest = LONGEST_WAIT + i64::try_from(throttles).unwrap_or_default() * LONGEST_THROTTLE;
        if end.waited > longest {
            wrong.push(format!("made good only after {} s by the clock", end.waited));
        }
        for (Cost { kind, most, .. }, more) in COSTS.iter().zip(further(learnt, end)) {
            if more > *most {
                wrong.push(format!("{more} more {kind} than without a crash, and {most} may be"));
            }
        }
        wrong
    }
}

/// How many more writes of each kind there were than in the run without a crash.
fn further(learnt: &End, end: &End) -> [usize; COSTS.len()] {
    COSTS.map(|Cost { is, .. }| {
        let count = |end: &End| end.boundaries.iter().filter(|boundary| is(boundary)).count();
        count(end).saturating_sub(count(learnt))
    })
}

/// The lines that differ. A failure that there was may be remembered, and only such a one.
fn difference(left: &str, right: &str, has_failed: bool) -> String {
    let must_not = |line: &&str| !(has_failed && line.contains("\"lastFailureTime\""));
    let (left, right): (BTreeSet<&str>, BTreeSet<&str>) =
        (left.lines().filter(must_not).collect(), right.lines().filter(must_not).collect());
    let gone = left.difference(&right).map(|line| format!("- {line}"));
    let come = right.difference(&left).map(|line| format!("+ {line}"));
    gone.chain(come).collect::<Vec<_>>().join("\n")
}

/// Plays a flow, with a blow or without one.
async fn play(flow: Flow, blow: Option<(Boundary, Mode)>) -> Result<End, String> {
    let stage = Stage::new(&format!("crash-{flow}")).await;
    let foreign = flow.prepare(&stage).await;
    stage.set_mark(foreign);
    let driven = match &blow {
        None => drive(flow, &stage).await.map(|()| false),
        Some((boundary, mode)) => under_attack(flow, &stage, boundary, *mode).await,
    };
    let rested = match driven {
        Ok(was_struck) => rest(flow, &stage).await.map(|()| was_struck),
        Err(error) => Err(error),
    };
    let end = match rested {
        Ok(was_struck) => End::of(flow, &stage).await.map(|end| End { was_struck, ..end }),
        Err(error) => Err(error),
    };
    end.map_err(|error| format!("{error}\n{}", scene(&stage)))
}

/// Plays a flow while a blow waits for its moment. Says whether that came.
async fn under_attack(flow: Flow, stage: &Stage, boundary: &Boundary, mode: Mode) -> Result<bool, String> {
    let strike = blow::arm(stage, boundary, mode).strike(flow, stage);
    let driven = drive(flow, stage);
    tokio::pin!(strike, driven);
    let driven = tokio::select! {
        struck = &mut strike => return struck.and(driven.await).map(|()| true),
        driven = &mut driven => driven,
    };
    match tokio::time::timeout(LATE, strike).await {
        Ok(struck) => driven.and(struck).map(|()| true),
        // Two statuses may have been one this time.
        Err(_) if boundary.is_status() && boundary.nth > 1 => driven.map(|()| false),
        Err(_) => driven.and(Err("the flow does not come to that write".to_owned())),
    }
}

async fn drive(flow: Flow, stage: &Stage) -> Result<(), String> {
    for step in flow.steps() {
        step.begin(stage).await;
        let started = Instant::now();
        while !step.is_done(stage).await {
            if started.elapsed() > WITHIN {
                return Err(format!("not made good within {WITHIN:?} after {step:?}"));
            }
            stage.push().await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }
    Ok(())
}

/// Waits until nothing is left to be done.
async fn rest(flow: Flow, stage: &Stage) -> Result<(), String> {
    let started = Instant::now();
    while !(stage.is_synced() && stage.is_quiet() && last(flow).is_done(stage).await) {
        if started.elapsed() > WITHIN {
            return Err(format!("no rest within {WITHIN:?}"));
        }
        if !last(flow).is_done(stage).await {
            stage.push().await;
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    Ok(())
}

fn scene(stage: &Stage) -> String {
    format!("everything in order:\n{}\nthe operator's last words:\n{}", stage.transcript(), stage.last_words())
}

/// The run of a flow without a crash; made once.
async fn learnt(flow: Flow) -> &'static Result<End, String> {
    let place = Flow::ALL.iter().position(|known| *known == flow).expect("all are known");
    LEARNT[place].get_or_init(|| play(flow, None)).await
}

/// The runs of flows without a crash.
async fn learn(flows: impl IntoIterator<Item = Flow>) -> Vec<(Flow, &'static End)> {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = JoinSet::new();
    for flow in flows {
        let gate = gate.clone();
        runs.spawn_local(async move {
            let _permit = gate.acquire().await;
            (flow, learnt(flow).await)
        });
    }
    let mut all = Vec::new();
    while let Some(run) = runs.join_next().await {
        let (flow, learnt) = run.expect("a run without a crash");
        all.push((flow, learnt.as_ref().unwrap_or_else(|error| panic!("{flow} without a crash: {error}"))));
    }
    all.sort_by_key(|(flow, _)| Flow::ALL.iter().position(|known| known == flow));
    all
}

/// Carries plans out and fails with all that went wrong. Says of which choice they are.
async fn carry_out(plans: Vec<Plan>, choice: &str) {
    let started = Instant::now();
    let (count, gate) = (plans.len(), Arc::new(Semaphore::new(AT_ONCE)));
    let mut runs = JoinSet::new();
    for plan in plans {
        let gate = gate.clone();
        runs.spawn_local(async move {
            let _permit = gate.acquire().await;
            let id = plan.id();
            // Its own task: a panic in it must not hide which plan it was.
            let run = tokio::task::spawn_local(async move {
                let learnt = learnt(plan.flow).await.as_ref().map_err(Clone::clone)?;
                let end = play(plan.flow, Some((plan.boundary.clone(), plan.mode))).await?;
                let wrong = plan.compare(learnt, &end);
                let needless = end.mints.saturating_sub(learnt.mints);
                if wrong.is_empty() {
                    Ok((needless, further(learnt, &end), end))
                } else {
                    Err(format!("{}\neverything in order:\n{}", wrong.join("\n"), end.transcript))
                }
            });
            let outcome = match run.await {
                Ok(outcome) => outcome,
                Err(panic) => Err(format!("{panic}; what it said is above")),
            };
            (id, outcome)
        });
    }
    let (mut failed, mut needless, mut evictions, mut throttled, mut waited) = (String::new(), 0, 0, 0, 0);
    let (mut missed, mut more) = (Vec::new(), [0; COSTS.len()]);
    while let Some(run) = runs.join_next().await {
        match run.expect("a plan's outcome") {
            (id, Ok((mints, further, end))) => {
                for (most, further) in more.iter_mut().zip(further) {
                    *most = further.max(*most);
                }
                missed.extend(Some(id).filter(|_| !end.was_struck));
                needless += mints;
                evictions += end.evictions;
                throttled += end.throttled;
                waited = waited.max(end.waited);
            }
            (id, Err(error)) => {
                let _ = writeln!(failed, "{id} (again: CRASH_PLAN={id} make crash-plan)\n{error}\n");
            }
        }
    }
    let took = started.elapsed().as_secs_f32();
    let struck = count - missed.len();
    let [targets, ledgers, statuses] = more;
    tell(&format!(
        "{struck} of {count} crash plans struck ({choice}), in {took:.0} s: {needless} needless mints, {evictions} evictions, {throttled} throttles met, made good after {waited} s at most; {targets} more writes of targets, {ledgers} of ledgers and {statuses} statuses at most"
    ));
    assert!(failed.is_empty(), "{choice}:\n{failed}");
    // Three plans of seven statuses in the list may be missed, where two are written as one.
    assert!(missed.len() <= 2.max(count / 5), "these writes were not made, so nothing was tried: {missed:?}");
}

/// In the order of a number that follows from seed and id (FNV-1a), so that every seed takes another tenth.
fn tenth(mut plans: Vec<Plan>, seed: &str) -> Vec<Plan> {
    let number = |plan: &Plan| {
        let bytes = format!("{seed} {}", plan.id()).into_bytes();
        bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    };
    plans.sort_by_key(number);
    plans.truncate(plans.len().div_ceil(10));
    plans
}

async fn plans_of(flows: impl IntoIterator<Item = Flow>) -> Vec<Plan> {
    learn(flows).await.into_iter().flat_map(|(flow, learnt)| Plan::of(flow, learnt)).collect()
}

/// The commit, so that each one tries another tenth, or what is asked for.
fn seed() -> String {
    let commit = || {
        let git = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        let output = git.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    variable("CRASH_SEED").or_else(commit).unwrap_or_else(|| "1".to_owned())
}

/// What a list says of a flow.
fn about(list: &str, flow: Flow) -> Vec<String> {
    let heading = format!("{flow}:");
    let lines = list.lines().skip_while(|line| *line != heading).skip(1);
    lines.take_while(|line| line.starts_with(' ')).map(str::to_owned).collect()
}

/// Does a flow write what the list says? Statuses that are written while a request is on its way, all but those that follow
/// a target, may come a little earlier or later, or be two in one, and for each request there may be one more: the name of
/// the ledger is said as soon as that is known to be stored, if that is not after the answer.
fn is_as_listed(seen: &[String], listed: &[String]) -> bool {
    let count = |lines: &[String], what: &str| lines.iter().filter(|line| line.contains(what)).count();
    let most = count(listed, "patch-status") + count(listed, "post");
    in_order(seen) == in_order(listed) && count(seen, "patch-status") <= most
}

fn in_order(lines: &[String]) -> Vec<&str> {
    let mut kept: Vec<&str> = Vec::new();
    for line in lines {
        let follows = kept.last().is_some_and(|last| last.contains("-secrets"));
        if !line.contains("patch-status") {
            kept.push(line);
        } else if follows {
            kept.push("  patch-status");
        }
    }
    kept
}

#[test]
fn list_holds_the_order_and_bounds_the_statuses() {
    let lines = |names: &str| names.split(' ').map(|name| format!("  {name}")).collect::<Vec<_>>();
    let listed = lines("post patch-status patch-status.2 patch-secrets patch-status.3");
    let table = [
        ("post patch-status patch-status.2 patch-secrets patch-status.3", true),
        ("patch-status post patch-secrets patch-status.2", true),
        ("post patch-secrets", false),
        ("post patch-status patch-status.2 patch-status.3 patch-secrets patch-status.4", true),
        ("post patch-status patch-status.2 patch-status.3 patch-secrets patch-status.4 patch-status.5", false),
        ("patch-secrets patch-status post", false),
    ];
    for (seen, expected) in table {
        assert_eq!(is_as_listed(&lines(seen), &listed), expected, "{seen}");
    }
}

#[tokio::test]
async fn every_write_of_every_flow_stands_in_the_list() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/crash/boundaries.txt");
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let mut text = String::from(
        "# What each flow writes, in order; each is a place to be killed at. Written by make crash-list: read the difference.\n",
    );
    for (flow, learnt) in LocalSet::new().run_until(learn(Flow::ALL)).await {
        let seen: Vec<String> = learnt.boundaries.iter().map(|boundary| format!("  {boundary}")).collect();
        let listed = about(&known, flow);
        let lines = if is_as_listed(&seen, &listed) { listed } else { seen };
        let _ = writeln!(text, "{flow}:\n{}", lines.join("\n"));
    }
    if variable("WRITE_CRASH_LIST").is_some() {
        return std::fs::write(&path, &text).expect("the list is written");
    }
    assert_eq!(text, known, "the operator writes something else than it did: if that is meant, make crash-list");
}

/// A tenth of the plans, another one for each `CRASH_SEED` and, without it, for each commit; or those whose ids begin with `CRASH_PLAN`.
#[tokio::test]
async fn killed_at_a_tenth_of_the_writes_it_ends_where_it_would_have_ended() {
    let tasks = LocalSet::new();
    let (plans, choice) = if let Some(wanted) = variable("CRASH_PLAN") {
        let (name, _) = wanted.split_once('/').unwrap_or((&wanted, ""));
        let flows = Flow::ALL.into_iter().filter(|flow| flow.to_string().starts_with(name));
        let plans = tasks.run_until(plans_of(flows)).await;
        (plans.into_iter().filter(|plan| plan.id().starts_with(&wanted)).collect(), format!("CRASH_PLAN={wanted}"))
    } else {
        let seed = seed();
        (tenth(tasks.run_until(plans_of(Flow::ALL)).await, &seed), format!("CRASH_SEED={seed}"))
    };
    assert!(!plans.is_empty(), "no such plan: tests/it/crash/boundaries.txt has the names");
    tasks.run_until(carry_out(plans, &choice)).await;
}

#[tokio::test]
#[ignore = "takes minutes: run by make test-long"]
async fn killed_at_any_write_it_ends_where_it_would_have_ended() {
    LocalSet::new().run_until(async { carry_out(plans_of(Flow::ALL).await, "all").await }).await;
}
