//! Many credentials under random faults, one fault at a time, for as long as is asked: `make soak MINUTES=10 SEED=1`. With
//! `CALM=1` there are no faults: then one process leads all the time, and the table says how its memory grows.
//!
//! Two replicas of the operator run behind the fault proxy. After each fault everything must be well again before the
//! next one begins. What a single fault may not do is end a token that a workload uses, and that is what is counted.

mod faults;
mod replicas;
mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::api::ListParams;
use zoho_api::{ConditionType, ZohoCredential};
use zoho_testkit::fault_proxy::FaultProxy;
use zoho_testkit::observer::Observer;

use self::faults::Fault;
use self::replicas::Replicas;
use self::report::{Outcome, Sample};
use crate::secrecy::secrets_stand_nowhere;
use crate::support::look::{is, is_ready};
use crate::support::world::World;
use crate::support::{tell, variable};

/// Credentials, each with a refresh token of its own.
const CREDENTIALS: usize = 500;
/// Shortest and longest life of their access tokens, in seconds. A token is renewed after 40 to 50 % of its life, so at
/// the shortest life about six times in ten minutes: within our own limit of eight, with room for what a fault costs.
const LIVES: (u64, u64) = (240, 300);
/// Pause between two faults, in seconds: shortest and longest.
const PAUSES: (u64, u64) = (3, 12);
/// After a fault everything must be well in this time: a lost answer is waited for half a minute, and then comes the
/// pause after an attempt of unknown outcome.
const HEALED_WITHIN: Duration = Duration::from_secs(125);
/// A renewal that is this late is missed.
const LATE: i64 = 10;
/// From one look at the processes to the next.
const TICK: Duration = Duration::from_millis(500);

/// Numbers that follow from a seed (`SplitMix64`), so that a seed names the order of the faults.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn within(&mut self, (shortest, longest): (u64, u64)) -> u64 {
        shortest + self.next() % (longest - shortest + 1)
    }
}

struct Soak {
    // In this order: first the operators end, at last the world, which reads their logs.
    replicas: Replicas,
    proxy: FaultProxy,
    observer: Observer,
    began: Instant,
    random: Random,
    to_come: Vec<Fault>,
    /// The process that a fault has signalled.
    signalled: Option<u32>,
    samples: Vec<Sample>,
    outcome: Outcome,
    world: World,
}

/// [`LIVES`] for a soak of so many minutes. A token that a fault hid counts as living for an hour, as Zoho's do: so where faults go
/// on for long tokens have to live longer, too, or chance alone brings one credential all seven that may be alive.
fn lives(minutes: u64) -> (u64, u64) {
    let longest = (minutes * 60).min(3600);
    if minutes <= 10 { LIVES } else { (longest * 4 / 5, longest) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as long as it is told to: make soak"]
async fn credentials_stay_valid_under_random_faults() {
    let minutes = number("MINUTES").unwrap_or(10);
    let now = zoho_client::clock::system().now().unix();
    let seed = number("SEED").unwrap_or(now.unsigned_abs());
    let is_calm = variable("CALM").is_some();
    let calm = if is_calm { " CALM=1" } else { "" };
    tell(&format!("{CREDENTIALS} credentials, {minutes} min; again: make soak MINUTES={minutes} SEED={seed}{calm}"));
    let mut soak = Soak::start(seed, if is_calm { LIVES } else { lives(minutes) }).await;
    let span = Duration::from_secs(minutes * 60);
    while soak.began.elapsed() < span && soak.outcome.wrong.is_empty() {
        let pause = soak.random.within(PAUSES);
        soak.watch_for(Duration::from_secs(pause)).await;
        if !is_calm {
            soak.play().await;
        }
    }
    soak.finish().await;
}

fn number(name: &str) -> Option<u64> {
    variable(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

impl Soak {
    /// Everything is served, and nothing has gone wrong yet.
    async fn start(seed: u64, lives: (u64, u64)) -> Self {
        let mut random = Random(seed);
        let world = World::new("soak").await;
        let registered = world.zoho.register_many("soak", CREDENTIALS);
        for credential in &registered {
            let life = Duration::from_secs(random.within(lives));
            assert!(world.zoho.set_token_life_of(&credential.refresh_token, life));
            world.confide(&credential.client_secret);
            world.confide(&credential.refresh_token);
        }
        world.create_many(&registered).await;
        let (proxy, observer) = (world.proxy(), world.observer());
        let replicas = Replicas::start(&world, &proxy);
        let (began, outcome) = (Instant::now(), Outcome::default());
        let mut soak = Self {
            replicas,
            proxy,
            observer,
            began,
            random,
            to_come: Vec::new(),
            signalled: None,
            samples: Vec::new(),
            outcome,
            world,
        };
        let unwell = soak.wait_until_well().await;
        assert!(unwell.is_empty(), "not served at the start: {unwell:?}");
        soak.say(&format!("all are served, {} mints", soak.world.zoho.stats().token.mints));
        soak.began = Instant::now();
        soak
    }

    fn say(&self, what: &str) {
        tell(&format!("[{:>5.0} s] {what}", self.began.elapsed().as_secs_f64()));
    }

    /// Each once in random order, and then again in another one.
    fn next_fault(&mut self) -> Fault {
        if self.to_come.is_empty() {
            self.to_come = faults::all();
        }
        let last = self.to_come.len() as u64 - 1;
        let place = usize::try_from(self.random.within((0, last))).expect("few");
        self.to_come.swap_remove(place)
    }

    /// One fault, and then the wait until all is well.
    async fn play(&mut self) {
        let fault = self.next_fault();
        let Fault { what, lasts, .. } = fault;
        let number = self.outcome.faults.values().sum::<usize>() + 1;
        self.say(&format!("fault {number}: {what}, for {} s", lasts.as_secs()));
        let expired = self.observer.expired_token_time();
        self.begin(&fault);
        self.watch_for(lasts).await;
        let met = self.unwell().await.len();
        self.end(&fault);
        self.outcome.expired_in_faults += self.observer.expired_token_time().saturating_sub(expired);
        let ended = Instant::now();
        let unwell = self.wait_until_well().await;
        let took = ended.elapsed().as_secs_f64();
        if unwell.is_empty() {
            self.say(&format!("  {met} credentials had a failure at its end; all well {took:.0} s later"));
        } else {
            let first: Vec<&String> = unwell.keys().take(3).collect();
            self.outcome.wrong.push(format!(
                "{} credentials are not well {took:.0} s after \"{what}\", such as {first:?}: {:?}",
                unwell.len(),
                unwell.values().next()
            ));
        }
        *self.outcome.faults.entry(what).or_default() += 1;
    }

    /// Looks at the processes for a while.
    async fn watch_for(&mut self, span: Duration) {
        let until = Instant::now() + span;
        while Instant::now() < until {
            self.look_at_processes();
            tokio::time::sleep(TICK.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    fn look_at_processes(&mut self) {
        for ended in self.replicas.restart_ended(&self.world, &self.proxy) {
            self.say(&format!("  {ended}; started again"));
        }
        if let Some((pid, mebibytes)) = self.replicas.memory_of_leader() {
            self.samples.push(Sample { at: self.began.elapsed(), pid, mebibytes });
        }
    }

    /// Waits until all is well; returns who is not in the end, and why.
    async fn wait_until_well(&mut self) -> BTreeMap<String, String> {
        let until = Instant::now() + HEALED_WITHIN;
        loop {
            self.look_at_processes();
            let mut unwell = self.unwell().await;
            if !self.replicas.is_led() {
                unwell.insert("the operator".to_owned(), "no process leads".to_owned());
            }
            if unwell.is_empty() || Instant::now() > until {
                return unwell;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Who has no valid token, or cannot renew it, or has missed a renewal.
    async fn unwell(&self) -> BTreeMap<String, String> {
        let now = self.world.zoho.now().as_second();
        let all = self.world.credentials().list(&ListParams::default()).await.expect("they can be listed").items;
        assert_eq!(all.len(), CREDENTIALS);
        let why = |credential: &ZohoCredential| {
            let status = credential.status.as_ref();
            let renewal = status.and_then(|status| status.renewal_time).map(zoho_api::Time::unix);
            let is_well = is_ready(credential) && is(credential, ConditionType::Renewable, "TokenValid");
            let is_late = renewal.is_none_or(|renewal| renewal + LATE < now);
            (!is_well || is_late)
                .then(|| format!("now {now}, renewal {renewal:?}, {:?}", status.map(|s| &s.conditions)))
        };
        let named = |one: ZohoCredential| why(&one).map(|why| (one.metadata.name.unwrap_or_default(), why));
        all.into_iter().filter_map(named).collect()
    }

    /// The table, and what is wrong.
    async fn finish(mut self) {
        let unwell = self.wait_until_well().await;
        for (name, why) in unwell.iter().take(3) {
            self.outcome.wrong.push(format!("{name} is not valid in the end: {why}"));
        }
        for number in 0..CREDENTIALS {
            let name = format!("c{number}-token");
            let is_alive = self.world.token(&name).await.is_some_and(|token| self.world.zoho.is_alive(&token));
            if !is_alive {
                self.outcome.wrong.push(format!("{name} holds no living token in the end"));
            }
        }
        self.outcome.restarts = self.replicas.restarts();
        // What is in flight is stored before it is counted.
        self.replicas.end().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stored = report::stored_tokens(&self.observer.versions());
        self.outcome.count(&self.world.zoho.stats().token, stored, self.observer.expired_token_time());
        self.replicas.restart_ended(&self.world, &self.proxy);
        tell(&report::table(&self.outcome, &self.samples, self.began.elapsed()));
        // Whatever is found from here on is a panic with the table above it. Logs are read when the world ends.
        secrets_stand_nowhere(&self.world, self.replicas.any(), "c0-token").await;
        // The proxy would print everything that went through it, which is too much here.
        drop((self.replicas, self.proxy));
        let wrong = self.outcome.wrong;
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
