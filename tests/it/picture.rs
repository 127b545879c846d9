//! The picture of the dashboard in the docs: hours of an operator's real metrics, and what a real Prometheus answers to the panels.
//!
//! `make picture` plays and asks here, and draws in `xtask`.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use zoho_simulator::script::{Reply, Script};

use crate::chart::root;
use crate::day::settled;
use crate::metrics::scrape;
use crate::monitoring::dashboard;
use crate::support::operator::Operator;
use crate::support::world::World;
use crate::support::{eventually, variable};

/// Time between two scrapes.
const STEP: i64 = 60;
/// Scrapes.
const STEPS: usize = 210;
/// Where the answers go, for `xtask picture`.
const ANSWERS: &str = "target/picture.json";

/// An old picture shows panels that are not there. What it says under itself is part of it.
#[test]
fn picture_shows_every_panel_and_says_what_it_is() {
    let picture = fs::read_to_string(root().join("docs/img/dashboard.svg")).expect("make picture");
    let panels = dashboard()["panels"].as_array().expect("panels").clone();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title").replace("$top", "10").replace('\'', "&#39;");
        assert!(picture.contains(&format!(">{title}<")), "{title}: make picture");
    }
    assert!(picture.contains("not a screenshot of Grafana"));
    let operations = fs::read_to_string(root().join("docs/operations.md")).expect("readable");
    assert!(operations.contains("](img/dashboard.svg)"));
}

#[tokio::test]
#[ignore = "records what make picture draws"]
async fn answers_for_the_picture() {
    if variable("WRITE_PICTURE").is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (metrics, start, end) = play().await;
    fs::write(folder.path().join("metrics.txt"), metrics).expect("written");
    let prometheus = Prometheus::start(folder.path()).await;
    let mut answers = serde_json::Map::new();
    for panel in dashboard()["panels"].as_array().expect("panels") {
        let asks = panel["targets"].as_array().into_iter().flatten();
        let asked = asks.map(|target| {
            let expression = target["expr"].as_str().expect("it asks").replace("$top", "10");
            let chosen = ["cluster", "job", "namespace", "name"];
            let expression = chosen.iter().fold(expression, |all, name| all.replace(&format!("${name}"), ".*"));
            prometheus.ask(&expression, panel["type"] == "timeseries", start, end)
        });
        answers.insert(panel["title"].as_str().expect("a title").to_owned(), asked.collect());
    }
    let all = json!({ "start": start, "end": end, "panels": answers });
    fs::write(root().join(ANSWERS), all.to_string()).expect("written");
}

/// Three and a half hours of six credentials: one is suspended, one revoked, and for a while Zoho is away for
/// another one. As text with the time of
/// each sample; when it begins and when it ends.
async fn play() -> (String, i64, i64) {
    let world = World::new("picture").await;
    let names = ["patch-manager", "endpoint-central", "service-desk", "crm-sync", "desk-bot", "analytics"];
    let registered = world.zoho.register_many("picture", names.len());
    for (name, credential) in names.iter().zip(&registered) {
        world.source_of(&format!("{name}-oauth"), credential).await;
        world.credential(name, &format!("{name}-oauth"), json!({})).await;
    }
    // One that shares its refresh token.
    world.credential("patch-report", "patch-manager-oauth", json!({})).await;
    let operator = world.operator();
    for name in names {
        world.wait_ready(name).await;
    }
    let (mut text, start) = (String::new(), world.zoho.now().as_second());
    for step in 0..STEPS {
        match step {
            60 => world.patch("desk-bot", json!({ "spec": { "suspend": true } })).await,
            90 => drop(world.zoho.revoke(&registered[3].refresh_token)),
            100 => {
                let away = Script::until_cleared(Reply::html(503, ""));
                world.zoho.script_for(&registered[5].refresh_token, away);
            }
            150 => world.zoho.clear_scripts(),
            _ => {}
        }
        settled(&world).await;
        record(&mut text, &world, &operator, start).await;
        world.advance(STEP);
    }
    text.push_str("# EOF\n");
    (text, start, start + STEP * i64::try_from(STEPS).expect("few") - STEP)
}

/// One scrape, with the labels that Prometheus adds.
async fn record(text: &mut String, world: &World, operator: &Operator, start: i64) {
    let now = world.zoho.now().as_second();
    for line in scrape(operator).await.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a series and its value");
        let (name, labels) =
            series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest.trim_end_matches('}')));
        let labels = labels.replace(&world.namespace, "patching");
        let own = if labels.contains("namespace=") { "" } else { ",namespace=\"zoho-operator-system\"" };
        let comma = if labels.is_empty() { "" } else { "," };
        // The clock of the API server stands still meanwhile.
        let value = match (name, value.parse::<i64>()) {
            ("zoho_operator_clock_offset_seconds", Ok(ahead)) => (ahead - (now - start)).clamp(-1, 1).to_string(),
            _ => value.to_owned(),
        };
        let target = "job=\"zoho-operator-metrics\",instance=\"10.0.0.1:8080\",pod=\"zoho-operator-0\"";
        writeln!(text, "{name}{{{labels}{comma}{target}{own}}} {value} {now}").expect("a text");
    }
}

/// A Prometheus that scrapes nothing and knows what was recorded.
struct Prometheus {
    process: Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Prometheus {
    async fn start(folder: &Path) -> Self {
        let data = folder.join("data");
        let blocks = ["tsdb", "create-blocks-from", "openmetrics", "metrics.txt", "data"];
        promtool(&blocks, folder);
        fs::write(folder.join("prometheus.yml"), "{}").expect("written");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let flag = |name: &str, value: PathBuf| format!("--{name}={}", value.display());
        let process = Command::new("prometheus")
            .arg(flag("config.file", folder.join("prometheus.yml")))
            .arg(flag("storage.tsdb.path", data))
            .args(["--storage.tsdb.retention.time=10y", &format!("--web.listen-address={free}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus (Debian: apt-get install prometheus)");
        let prometheus = Self { process, url: format!("http://{free}") };
        eventually("Prometheus answers", async || reqwest::get(format!("{}/-/ready", prometheus.url)).await.ok()).await;
        prometheus
    }

    /// The result of a query, over the time that was played or at its end.
    fn ask(&self, expression: &str, over_time: bool, start: i64, end: i64) -> Value {
        let (start, end) = (start.to_string(), end.to_string());
        let arguments: &[&str] = if over_time {
            &["query", "range", "-o", "json", "--start", &start, "--end", &end, "--step", "2m", &self.url, expression]
        } else {
            &["query", "instant", "-o", "json", "--time", &end, &self.url, expression]
        };
        serde_json::from_str(&promtool(arguments, Path::new("."))).expect("JSON")
    }
}

fn promtool(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new("promtool").args(arguments).current_dir(folder).output().expect("promtool");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
