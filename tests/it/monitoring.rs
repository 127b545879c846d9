//! The chart's alerts and its dashboard: what they ask is what the operator answers, and alerts fire when they should.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::chart::{CHART, render, root};
use crate::support::{cluster, untested};

/// The operator's metrics and, for histograms, what is asked of them.
const METRICS: &[&str] = &[
    "zoho_operator_mints_total",
    "zoho_operator_mint_duration_seconds_bucket",
    "zoho_operator_token_expiry_timestamp_seconds",
    "zoho_operator_token_renewal_due_timestamp_seconds",
    "zoho_operator_next_attempt_timestamp_seconds",
    "zoho_operator_credential_condition",
    "zoho_operator_credential_reason",
    "zoho_operator_consecutive_failures",
    "zoho_operator_live_tokens",
    "zoho_operator_coalesced_total",
    "zoho_operator_reconciles_total",
    "zoho_operator_reconcile_duration_seconds_bucket",
    "zoho_operator_queue_depth",
    "zoho_operator_watch_up",
    "zoho_operator_watch_last_event_timestamp_seconds",
    "zoho_operator_watch_errors_total",
    "zoho_operator_api_requests_total",
    "zoho_operator_clock_offset_seconds",
    "zoho_operator_leader",
    "zoho_operator_build_info",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
];

const ALERTS: [&str; 9] = [
    "ZohoRenewalOverdue",
    "ZohoTokenExpired",
    "ZohoCredentialNotReady",
    "ZohoCredentialRejected",
    "ZohoVerificationRejected",
    "ZohoThrottled",
    "ZohoMintBudgetLow",
    "ZohoOperatorStuck",
    "ZohoOperatorAbsent",
];

#[tokio::test]
async fn every_alert_says_what_is_wrong_and_where_its_runbook_is() {
    let rules = rules().await;
    let names: Vec<&str> = rules.iter().filter_map(|rule| rule["alert"].as_str()).collect();
    assert_eq!(names, ALERTS);
    let runbooks = fs::read_to_string(root().join("docs/runbooks.md")).expect("readable");
    for rule in &rules {
        let name = rule["alert"].as_str().expect("it has one");
        let url = rule["annotations"]["runbook_url"].as_str().expect("it has one");
        assert_eq!(url, format!("docs/runbooks.md#{}", name.to_lowercase()));
        let section = runbooks.split("\n## ").find(|section| section.starts_with(&format!("{name}\n")));
        let section = section.unwrap_or_else(|| panic!("no section {name} in docs/runbooks.md"));
        for part in ["**Means.**", "**Check.**", "**Cure.**"] {
            assert!(section.contains(part), "{name} has no {part}");
        }
        let severity = rule["labels"]["severity"].as_str().expect("it has one");
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        assert!(rule["annotations"]["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{name}");
    }
}

#[tokio::test]
async fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let asked: BTreeSet<String> = expressions().await.iter().flat_map(|expression| metrics_in(expression)).collect();
    let known: BTreeSet<String> = METRICS.iter().map(|&metric| metric.to_owned()).collect();
    assert_eq!(asked, known, "asked for (left), known (right)");
}

#[tokio::test]
async fn prometheus_understands_every_expression() {
    let rules: Vec<Value> = expressions()
        .await
        .iter()
        .enumerate()
        .map(|(number, expression)| json!({ "record": format!("expression_{number}"), "expr": expression }))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "expressions.yaml", &json!({ "groups": [{ "name": "all", "rules": rules }] }).to_string());
    promtool(folder.path(), &["check", "rules", "expressions.yaml"]);
}

#[tokio::test]
async fn alerts_fire_when_they_should_and_only_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let groups = json!({ "groups": [{ "name": "chart", "rules": rules().await }] });
    write(folder.path(), "rules.yaml", &groups.to_string());
    let tests = fs::read_to_string(root().join("tests/alerts.yaml")).expect("readable");
    for alert in ALERTS {
        assert!(tests.contains(&format!("alertname: {alert}\n        exp_alerts:")), "{alert} is not tested");
    }
    write(folder.path(), "alerts.yaml", &tests);
    promtool(folder.path(), &["test", "rules", "alerts.yaml"]);
}

#[tokio::test]
async fn the_budget_that_is_low_follows_the_limit() {
    let cluster = cluster().await;
    for (limit, expected) in [("10", ">= 9"), ("7", ">= 6"), ("3", ">= 3"), ("1", ">= 3")] {
        let set = format!("prometheusRule.enabled=true,config.maxLiveTokens={limit}");
        let show = ["--show-only", "templates/prometheusrule.yaml", "--set", &set];
        let rendered = render(cluster, "somewhere", None, &show).await;
        assert!(rendered.contains(&format!("live_tokens) {expected}\n")), "{limit}");
    }
}

/// Runs promtool in a folder, where there is one.
fn promtool(folder: &Path, arguments: &[&str]) {
    match Command::new("promtool").args(arguments).current_dir(folder).output() {
        Ok(output) => assert!(
            output.status.success(),
            "promtool {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let what = format!("promtool {}", arguments.join(" "));
            untested(&what, "there is no promtool (Debian: apt-get install prometheus)");
        }
        Err(error) => panic!("promtool: {error}"),
    }
}

fn write(folder: &Path, name: &str, content: &str) {
    fs::write(folder.join(name), content).expect("written");
}

async fn rules() -> Vec<Value> {
    let show = ["--show-only", "templates/prometheusrule.yaml", "--set", "prometheusRule.enabled=true"];
    let rendered = render(cluster().await, "zoho-operator-system", None, &show).await;
    let rule: Value = serde_saphyr::from_str(&rendered).expect("YAML");
    let groups = rule["spec"]["groups"].as_array().expect("groups").clone();
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// All of the alerts and of the dashboard, with what stands for the dashboard's variables.
async fn expressions() -> Vec<String> {
    let path = Path::new(CHART).join("files/dashboards/zoho-operator.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).expect("readable")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let of_panels = panels.iter().filter(|panel| panel["type"] != "row").flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap_or_else(|| panic!("{} asks nothing", panel["title"]));
        assert!(!targets.is_empty(), "{} asks nothing", panel["title"]);
        targets.iter().map(|target| target["expr"].as_str().expect("it asks").to_owned())
    });
    let rules = rules().await;
    of_panels.chain(rules.iter().map(|rule| rule["expr"].as_str().expect("it asks").to_owned())).collect()
}

/// The names in an expression that are those of metrics.
fn metrics_in(expression: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    expression
        .split(|c| !is_part(c))
        .filter(|word| word.starts_with("zoho_operator_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}
