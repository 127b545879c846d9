//! The scenarios, each with its table.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use zoho_api::{ConditionStatus, ConditionType, ZohoCredential};
use zoho_simulator::Credential;
use zoho_simulator::script::Reply;

use super::burst::{self, Burst, as_f64};
use super::calls::Calls;
use super::program::{Program, Used};
use super::restless::{self, Waits};
use super::stage::{NAMESPACE, Stage, secret, until};
use super::subject::{Subject, target};
use super::table::{Table, machine, mebibytes, progress, seconds, show};
use super::{Args, Scenario, floor};

/// No limit of our own on requests a second: what is measured is everything else.
const UNLIMITED: [&str; 2] = ["--mint-rate", "0"];
/// How long nothing happens.
const QUIET: Duration = Duration::from_mins(1);

/// See the module.
pub(crate) struct Bench<'a> {
    pub(crate) args: &'a Args,
    pub(crate) ours: Subject,
    pub(crate) peer: Option<Subject>,
    pub(crate) latency: Duration,
}

impl Bench<'_> {
    pub(crate) async fn run(&self) -> Result<()> {
        show(&format!("{}, token service {} ms", machine(), self.latency.as_millis()));
        let size = self.args.operator.metadata().context("look at the operator's program")?.len();
        show(&format!("zoho-operator is {} MiB", mebibytes(size)));
        for scenario in Scenario::value_variants() {
            if !self.args.wants(*scenario) {
                continue;
            }
            match scenario {
                Scenario::Burst => self.bursts().await?,
                Scenario::Renewal => figures("One renewal of 500", Box::pin(self.renewal(500))).await?,
                Scenario::Overdue => {
                    figures("500 that expired while the machine slept", Box::pin(self.overdue(500))).await?;
                }
                Scenario::Bystanders => {
                    let title = "10,000 Secrets of others, 10 KiB each, come and change beside 1,000 credentials";
                    figures(title, Box::pin(self.bystanders(1000, 10_000))).await?;
                }
                Scenario::Restless => {
                    let title =
                        "New credentials beside a tenant with 300 on one source of 900 KB that changes all the time";
                    figures(title, Box::pin(self.restless(300, 20))).await?;
                }
                Scenario::Hanging => figures("500 new ones, of which one hangs", Box::pin(self.hanging(500))).await?,
                Scenario::Start => figures("From nothing to the first request", Box::pin(self.start())).await?,
            }
        }
        show(&format!("\nAt the end: {}", machine()));
        Ok(())
    }

    async fn bursts(&self) -> Result<()> {
        let columns = [
            "who",
            "N",
            "Secrets/s",
            "× the floor's time",
            "p50 s",
            "p99 s",
            "all reported s",
            "calls each",
            "CPU ms each",
            "peak MiB",
            "mints",
        ];
        let table = Table::begin("New credentials at once", &columns);
        let mut after = Vec::new();
        for &count in &self.args.sizes {
            progress(&format!("{count} credentials: the floor"));
            let floor = self.floor(count).await?;
            table.row(&burst_row("the floor", &floor, &floor, None));
            if let Some(peer) = &self.peer {
                progress(&format!("{count} credentials: {}", peer.name));
                let (stage, _program, row) = self.burst(peer, count, &floor).await?;
                table.row(&row);
                drop(stage);
            }
            progress(&format!("{count} credentials: {}", self.ours.name));
            let (stage, program, row) = self.burst(&self.ours, count, &floor).await?;
            table.row(&row);
            let written = floor::Written::of(&stage).await?;
            after.push(self.afterwards(&stage, program, count).await?);
            drop(stage);
            progress(&format!("{count} credentials: the same calls by a bare client"));
            let same = self.same_calls(count, &written).await?;
            table.row(&burst_row("the same calls by a bare client", &same, &floor, None));
        }
        let columns = [
            "N",
            "calls each in the burst",
            "restart: ready s",
            "mints",
            "calls",
            "MiB",
            "calls in a quiet minute",
            "CPU ms then",
        ];
        let table =
            Table::begin("After it: a restart with all of them valid, and a minute in which nothing happens", &columns);
        for row in &after {
            table.row(row);
        }
        Ok(())
    }

    /// A stage with so many sources.
    async fn stage(&self, count: usize) -> Result<(Stage, Vec<Credential>)> {
        let stage = Stage::new(self.latency).await?;
        let sources = stage.sources(count).await?;
        Ok((stage, sources))
    }

    async fn floor(&self, count: usize) -> Result<Burst> {
        let (stage, sources) = self.stage(count).await?;
        floor::create(&stage, &sources).await
    }

    async fn same_calls(&self, count: usize, written: &floor::Written) -> Result<Burst> {
        let (stage, sources) = self.stage(count).await?;
        floor::same_calls(&stage, &self.ours, &sources, written).await
    }

    async fn burst(&self, subject: &Subject, count: usize, floor: &Burst) -> Result<(Stage, Program, Vec<String>)> {
        let (stage, _) = self.stage(count).await?;
        let (program, _) = subject.start(&stage, &UNLIMITED).await?;
        let (before, at_start) = (Calls::so_far(&stage).await?, program.used()?);
        let started = Instant::now();
        let burst = burst::create(subject, &stage, count).await?;
        let reported = if subject.name == self.ours.name {
            all_ready(&stage, count).await?;
            // Events go on for a while.
            tokio::time::sleep(Duration::from_secs(3)).await;
            seconds(started.elapsed().saturating_sub(Duration::from_secs(3)))
        } else {
            "–".into()
        };
        let (used, calls) = (program.used()?, Calls::so_far(&stage).await?.since(&before));
        let costs = Costs { reported, calls, cpu: used.cpu.saturating_sub(at_start.cpu), used, mints: mints(&stage) };
        let row = burst_row(&subject.name, &burst, floor, Some(&costs));
        Ok((stage, program, row))
    }

    async fn afterwards(&self, stage: &Stage, program: Program, count: usize) -> Result<Vec<String>> {
        let burst = Calls::so_far(stage).await?;
        drop(program);
        let posts = mints(stage);
        let (program, took) = self.ours.start(stage, &UNLIMITED).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let restarted = Calls::so_far(stage).await?;
        let before = program.used()?;
        tokio::time::sleep(QUIET).await;
        let (quiet, after) = (Calls::so_far(stage).await?, program.used()?);
        Ok(vec![
            count.to_string(),
            burst.each(count),
            seconds(took),
            (mints(stage) - posts).to_string(),
            restarted.since(&burst).to_string(),
            mebibytes(after.peak),
            quiet.since(&restarted).to_string(),
            after.cpu.saturating_sub(before.cpu).as_millis().to_string(),
        ])
    }

    /// Tokens that live so shortly that all of them are renewed while somebody looks on.
    async fn renewal(&self, count: usize) -> Result<Vec<(&'static str, String)>> {
        let (stage, _) = self.stage(count).await?;
        stage.zoho.set_token_life(Duration::from_secs(150));
        let (program, _) = self.ours.start(&stage, &UNLIMITED).await?;
        burst::create(&self.ours, &stage, count).await?;
        all_ready(&stage, count).await?;
        stage.zoho.set_token_life(Duration::from_hours(1));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (before, at_start) = (Calls::so_far(&stage).await?, program.used()?);
        let all = mints(&stage) + u64::try_from(count)?;
        until("all are renewed", async || Ok((mints(&stage) >= all).then_some(()))).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (calls, used) = (Calls::so_far(&stage).await?.since(&before), program.used()?);
        Ok(vec![
            ("calls each", format!("{:.2}: {}", as_f64(calls.total()) / as_f64(count), calls.each(count))),
            ("CPU ms each", cpu_each(used.cpu.saturating_sub(at_start.cpu), count)),
            ("mints", mints(&stage).to_string() + " with the first ones"),
        ])
    }

    async fn overdue(&self, count: usize) -> Result<Vec<(&'static str, String)>> {
        const LIFE: Duration = Duration::from_secs(90);
        let (stage, _) = self.stage(count).await?;
        // The default limit on requests a second: this is what it is for.
        let (program, _) = self.ours.start(&stage, &[]).await?;
        burst::create(&self.ours, &stage, count).await?;
        all_ready(&stage, count).await?;
        // Once more, so that all are of about the same age.
        stage.zoho.set_token_life(LIFE);
        let at = json!({ "metadata": { "annotations": { "zoho-operator.dev/renew-requested": "bench" } } });
        let api = &Api::<ZohoCredential>::namespaced(stage.client.clone(), NAMESPACE);
        stream::iter(0..count)
            .map(|number| {
                let patch = Patch::Merge(at.clone());
                async move { api.patch(&format!("c-{number}"), &PatchParams::default(), &patch).await }
            })
            .buffer_unordered(16)
            .try_for_each(|_| async { Ok(()) })
            .await
            .context("ask for renewals")?;
        let all = u64::try_from(2 * count)?;
        until("all are renewed", async || Ok((mints(&stage) >= all).then_some(()))).await?;
        // The last answers are stored.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = mints(&stage);
        program.pause()?;
        tokio::time::sleep(LIFE + Duration::from_secs(2)).await;
        stage.zoho.set_token_life(Duration::from_hours(1));
        let started = Instant::now();
        program.go_on()?;
        until("every target has a living token", async || {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let secrets = stage.secrets().list(&ListParams::default()).await?;
            let lives = secrets.items.iter().filter(|secret| {
                let token = secret.data.as_ref().and_then(|data| data.get("access_token"));
                token.is_some_and(|token| stage.zoho.is_alive(&String::from_utf8_lossy(&token.0)))
            });
            Ok((lives.count() == count).then_some(()))
        })
        .await?;
        Ok(vec![
            ("all valid again after s, at the default mint rate", seconds(started.elapsed())),
            ("mints before, and then", format!("{before}, {}", mints(&stage) - before)),
        ])
    }

    async fn bystanders(&self, credentials: usize, others: usize) -> Result<Vec<(&'static str, String)>> {
        let (stage, _) = self.stage(credentials).await?;
        let (program, _) = self.ours.start(&stage, &UNLIMITED).await?;
        burst::create(&self.ours, &stage, credentials).await?;
        all_ready(&stage, credentials).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (before, at_start) = (Calls::so_far(&stage).await?, program.used()?);
        let api = &stage.secrets();
        stream::iter(0..others)
            .map(|number| async move {
                let data = |byte: u8| [("blob".to_owned(), ByteString(vec![byte; 10 * 1024]))].into();
                let name = format!("other-{number}");
                api.create(&PostParams::default(), &secret(&name, data(b'a'))).await?;
                api.replace(&name, &PostParams::default(), &secret(&name, data(b'b'))).await
            })
            .buffer_unordered(16)
            .try_for_each(|_| async { Ok(()) })
            .await
            .context("write the Secrets of others")?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (calls, used) = (Calls::so_far(&stage).await?.since(&before), program.used()?);
        drop(program);
        let (program, took) = self.ours.start(&stage, &UNLIMITED).await?;
        let restarted = program.used()?;
        Ok(vec![
            ("calls meanwhile", calls.to_string()),
            ("CPU ms for each change", cpu_each(used.cpu.saturating_sub(at_start.cpu), 2 * others)),
            ("peak MiB", mebibytes(used.peak)),
            ("restart: ready s", seconds(took)),
            ("restart: peak MiB", mebibytes(restarted.peak)),
        ])
    }

    async fn restless(&self, credentials: usize, others: usize) -> Result<Vec<(&'static str, String)>> {
        let (stage, _) = self.stage(2 * others + 1).await?;
        let (_program, _) = self.ours.start(&stage, &UNLIMITED).await?;
        let Waits { calm, beside, touches, calls } = restless::measure(&self.ours, &stage, credentials, others).await?;
        let waits = |burst: &Burst| format!("{}, {}", seconds(burst.percentile(50)), seconds(burst.percentile(100)));
        Ok(vec![
            ("a new credential waits s (p50, longest of 20)", waits(&calm)),
            ("… while the source changes", waits(&beside)),
            ("changes meanwhile", touches.to_string()),
            ("calls meanwhile", calls.to_string()),
        ])
    }

    async fn hanging(&self, count: usize) -> Result<Vec<(&'static str, String)>> {
        let stage = Stage::new(self.latency).await?;
        let sources = stage.sources(count).await?;
        for _ in 0..8 {
            stage.zoho.script_for(&sources[0].refresh_token, Reply::Swallow);
        }
        let (_program, _) = self.ours.start(&stage, &UNLIMITED).await?;
        let api = self.ours.api(&stage).await?;
        self.ours.create(&api, &stage, 0).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let arrivals = burst::Arrivals::watch(&stage);
        let started = Instant::now();
        for number in 1..count {
            self.ours.create(&api, &stage, number).await?;
        }
        let created = started.elapsed();
        let came = arrivals.rest(1..count).await?;
        let last = came.into_iter().max().unwrap_or(started);
        Ok(vec![
            ("objects created one after another in s", seconds(created)),
            ("the last Secret came after s", seconds(last.saturating_duration_since(started))),
        ])
    }

    async fn start(&self) -> Result<Vec<(&'static str, String)>> {
        let stage = Stage::new(Duration::ZERO).await?;
        stage.sources(1).await?;
        // The claim of a new installation and its hash key are made once in a lifetime: they are there.
        drop(self.ours.start(&stage, &UNLIMITED).await?);
        let api = self.ours.api(&stage).await?;
        self.ours.create(&api, &stage, 0).await?;
        let started = Instant::now();
        let (_program, listed) = self.ours.start(&stage, &UNLIMITED).await?;
        until("the first request", async || Ok((mints(&stage) > 0).then_some(()))).await?;
        let asked = started.elapsed();
        until("its Secret", async || Ok(stage.secrets().get_opt(&target(0)).await?.map(drop))).await?;
        Ok(vec![
            ("listed after s", seconds(listed)),
            ("first request after s (looked every 20 ms)", seconds(asked)),
            ("first Secret after s", seconds(started.elapsed())),
        ])
    }
}

/// A scenario whose table has one column.
async fn figures(title: &str, measured: impl Future<Output = Result<Vec<(&'static str, String)>>>) -> Result<()> {
    progress(title);
    let table = Table::begin(title, &["figure", "value"]);
    for (figure, value) in measured.await? {
        table.row(&[figure.into(), value]);
    }
    Ok(())
}

/// What a burst cost.
struct Costs {
    reported: String,
    calls: Calls,
    cpu: Duration,
    used: Used,
    mints: u64,
}

fn burst_row(who: &str, burst: &Burst, floor: &Burst, costs: Option<&Costs>) -> Vec<String> {
    let none = || "–".to_owned();
    let cost = |show: &dyn Fn(&Costs) -> String| costs.map_or_else(none, show);
    vec![
        who.to_owned(),
        burst.count.to_string(),
        format!("{:.0}", burst.a_second()),
        format!("{:.2}", burst.took.as_secs_f64() / floor.took.as_secs_f64()),
        seconds(burst.percentile(50)),
        seconds(burst.percentile(99)),
        cost(&|costs| costs.reported.clone()),
        cost(&|costs| format!("{:.2}", as_f64(costs.calls.total()) / as_f64(burst.count))),
        cost(&|costs| cpu_each(costs.cpu, burst.count)),
        cost(&|costs| mebibytes(costs.used.peak)),
        cost(&|costs| costs.mints.to_string()),
    ]
}

fn cpu_each(cpu: Duration, count: usize) -> String {
    format!("{:.2}", cpu.as_secs_f64() * 1000.0 / as_f64(count))
}

fn mints(stage: &Stage) -> u64 {
    stage.zoho.stats().token.posts
}

async fn all_ready(stage: &Stage, count: usize) -> Result<()> {
    let api = Api::<ZohoCredential>::namespaced(stage.client.clone(), NAMESPACE);
    until("every credential is Ready", async || {
        let ready = |one: &ZohoCredential| {
            let condition = one.status.as_ref().and_then(|status| status.condition(ConditionType::Ready));
            condition.is_some_and(|condition| condition.status == ConditionStatus::True)
        };
        // A look costs the API server something, too.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let all = api.list(&ListParams::default().match_any()).await?;
        Ok((all.items.iter().filter(|one| ready(one)).count() == count).then_some(()))
    })
    .await
}
