//! `/metrics`, as dashboards and alerts see it.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::operator::Operator;
use crate::support::world::World;
use crate::support::{eventually, untested};

/// Every metric that users rely on, with the names of its labels.
const CONTRACT: [(&str, &[&str]); 20] = [
    ("mints_total", &["issuer", "outcome"]),
    ("mint_duration_seconds_count", &["issuer"]),
    ("token_expiry_timestamp_seconds", &["namespace", "name"]),
    ("token_renewal_due_timestamp_seconds", &["namespace", "name"]),
    ("next_attempt_timestamp_seconds", &["namespace", "name"]),
    ("credential_condition", &["namespace", "name", "type", "status"]),
    ("credential_reason", &["namespace", "name", "type", "reason"]),
    ("consecutive_failures", &["namespace", "name"]),
    ("live_tokens", &["namespace", "name"]),
    ("coalesced_total", &[]),
    ("reconciles_total", &["outcome"]),
    ("reconcile_duration_seconds_count", &[]),
    ("queue_depth", &[]),
    ("watch_up", &["namespace", "kind"]),
    ("watch_last_event_timestamp_seconds", &["kind"]),
    ("watch_errors_total", &["kind"]),
    ("api_requests_total", &["verb", "kind", "code"]),
    ("clock_offset_seconds", &[]),
    ("leader", &[]),
    ("build_info", &["version", "installation"]),
];

/// What every exporter of a process says.
const PROCESS: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
    "process_threads",
];

/// Where an operator serves something, as its log says.
pub(crate) async fn address(operator: &Operator, what: &str) -> String {
    eventually(&format!("{what} is served"), async || {
        let log = operator.log();
        let line = log
            .lines()
            .find(|line| line.contains("\"message\":\"serving\"") && line.contains(&format!("\"what\":\"{what}\"")))?;
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["address"].as_str().map(str::to_owned)
    })
    .await
}

/// Status line, headers and body of a GET.
pub(crate) async fn get(address: &str, path: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

pub(crate) async fn scrape(operator: &Operator) -> String {
    let (head, body) = get(&address(operator, "metrics").await, "/metrics", "*/*").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    body
}

/// What is scraped once this series has this value.
async fn scrape_until(operator: &Operator, name: &str, labels: &[(&str, &str)], expected: f64) -> String {
    eventually(&format!("{name} {labels:?}"), async || {
        let text = scrape(operator).await;
        (value(&text, name, labels) == Some(expected)).then_some(text)
    })
    .await
}

/// The value of the series that has all of these labels.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let is_it = |line: &&str| {
        let rest = line.strip_prefix("zoho_operator_").and_then(|line| line.strip_prefix(name));
        rest.is_some_and(|rest| {
            rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label.as_str()))
        })
    };
    text.lines().find(is_it)?.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test]
async fn every_metric_of_the_contract_is_there_and_goes_with_its_object() {
    let world = World::new("metrics").await;
    let operator = world.operator();
    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    let seen = world.wait_ready("one").await;
    let object = [("namespace", world.namespace.as_str()), ("name", "one")];
    // The operator has the answer to its own write a moment after we see what it wrote.
    let with =
        |more: &[(&'static str, &'static str)]| object.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    let ready = with(&[("type", "Ready"), ("status", "True")]);
    scrape_until(&operator, "credential_condition", &ready, 1.0).await;
    let text = scrape_until(&operator, "queue_depth", &[], 0.0).await;

    for (name, labels) in &CONTRACT {
        let line = text.lines().find(|line| {
            line.strip_prefix("zoho_operator_")
                .and_then(|line| line.strip_prefix(*name))
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let line = line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
        let found: Vec<&str> = match line.split_once('{') {
            Some((_, rest)) => rest.split("\",").map(|label| label.split('=').next().expect("a name")).collect(),
            None => Vec::new(),
        };
        assert_eq!(found, *labels, "{line}");
    }
    for name in PROCESS {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is missing in\n{text}");
    }
    for canary in world.canaries() {
        assert!(!text.contains(&canary), "a secret stands in the metrics");
    }

    let status = seen.status.expect("a status");
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century fit")]
    let expiry = status.expiration_time.expect("a time").unix() as f64;
    for (name, labels, expected) in [
        ("token_expiry_timestamp_seconds", with(&[]), Some(expiry)),
        ("credential_condition", ready, Some(1.0)),
        ("credential_condition", with(&[("type", "Ready"), ("status", "False")]), None),
        ("credential_reason", with(&[("type", "Renewable"), ("reason", "TokenValid")]), Some(1.0)),
        ("consecutive_failures", with(&[]), Some(0.0)),
        ("live_tokens", with(&[]), Some(1.0)),
        ("mints_total", vec![("issuer", "oauth"), ("outcome", "minted")], Some(1.0)),
        ("api_requests_total", vec![("verb", "create"), ("kind", "zohomintledgers"), ("code", "201")], Some(1.0)),
        ("watch_up", vec![("namespace", &world.namespace), ("kind", "secrets")], Some(1.0)),
        ("leader", vec![], Some(1.0)),
        ("queue_depth", vec![], Some(0.0)),
    ] {
        assert_eq!(value(&text, name, &labels), expected, "{name} {labels:?} in\n{text}");
    }
    promtool_finds_nothing(&text).await;

    world.zoho.revoke(crate::support::world::REFRESH_TOKEN);
    world.advance(2200);
    world.wait_for_reason("one", "RefreshTokenRejected").await;
    let refused = with(&[("type", "Renewable"), ("reason", "RefreshTokenRejected")]);
    let text = scrape_until(&operator, "credential_reason", &refused, 1.0).await;
    assert_eq!(value(&text, "mints_total", &[("issuer", "oauth"), ("outcome", "notMinted")]), Some(1.0));

    world.credentials().delete("one", &DeleteParams::default()).await.expect("deleted");
    eventually("the series went with the object", async || {
        let text = scrape(&operator).await;
        (!text.contains("name=\"one\"")).then_some(())
    })
    .await;
}

async fn promtool_finds_nothing(text: &str) {
    let child = tokio::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return untested("promtool check metrics", "there is no promtool (Debian: apt-get install prometheus)");
        }
        Err(error) => panic!("promtool: {error}"),
    };
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test]
async fn scraper_that_understands_openmetrics_gets_it() {
    let world = World::new("openmetrics").await;
    let operator = world.operator();
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let (head, body) = get(&address(&operator, "metrics").await, "/metrics", accept).await;
    let form = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.to_lowercase().contains(form), "{head}");
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn standby_has_no_series_of_credentials_and_says_that_it_stands_by() {
    let world = World::new("standby_metrics").await;
    world.good_source("source").await;
    let leader = world.operator_with(&["--leader-elect"]);
    leader.leading().await;
    let standby = world.operator_with(&["--leader-elect"]);
    standby.synced().await;
    world.credential("one", "source", json!({})).await;
    world.wait_ready("one").await;
    let (ours, theirs) = (scrape(&leader).await, scrape(&standby).await);
    assert_eq!((value(&ours, "leader", &[]), value(&theirs, "leader", &[])), (Some(1.0), Some(0.0)));
    assert!(ours.contains("name=\"one\"") && !theirs.contains("name=\"one\""), "{theirs}");
    for (operator, expected) in [(&leader, "ok: leading\n"), (&standby, "ok: standby, another replica leads\n")] {
        let (head, body) = get(&address(operator, "health").await, "/readyz", "*/*").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn clock_that_is_wrong_is_measured_and_told_once() {
    let world = World::new("wrong_clock").await;
    let operator = world.operator_ahead(&[], 3600);
    operator.synced().await;
    let offset = value(&scrape(&operator).await, "clock_offset_seconds", &[]).expect("a value");
    assert!((3590.0..=3610.0).contains(&offset), "{offset}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(operator.log().matches("clock differs from the API server's").count(), 1);
    let right = world.operator();
    right.synced().await;
    assert!(!right.log().contains("clock differs"));
}
