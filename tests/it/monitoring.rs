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

/// Where the runbooks are, as the chart's values have it.
const RUNBOOKS: &str = "https://unpublished.example/docs/runbooks.md";

#[tokio::test]
async fn every_alert_says_what_is_wrong_and_where_its_runbook_is() {
    let rules = rules().await;
    let names: Vec<&str> = rules.iter().filter_map(|rule| rule["alert"].as_str()).collect();
    assert_eq!(names, ALERTS);
    let runbooks = fs::read_to_string(root().join("docs/runbooks.md")).expect("readable");
    for rule in &rules {
        let name = rule["alert"].as_str().expect("it has one");
        let url = rule["annotations"]["runbook_url"].as_str().expect("it has one");
        assert_eq!(url, format!("{RUNBOOKS}#{}", name.to_lowercase()));
        let section = runbooks.split("\n## ").find(|section| section.starts_with(&format!("{name}\n")));
        let section = section.unwrap_or_else(|| panic!("no section {name} in docs/runbooks.md"));
        for part in ["**Means.**", "**Check.**", "**Cure.**"] {
            assert!(section.contains(part), "{name} has no {part}");
        }
        let severity = rule["labels"]["severity"].as_str().expect("it has one");
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        assert!(rule["annotations"]["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{name}");
        let description = rule["annotations"]["description"].as_str().expect("it has one");
        let (cause, command) = description.split_once('\n').unwrap_or_else(|| panic!("{name}: no command"));
        assert!(cause.contains("Cause: "), "{name}: {cause}");
        assert!(command.lines().any(|line| line.starts_with("kubectl ")), "{name}: {command}");
    }
}

#[tokio::test]
async fn what_the_values_say_about_an_alert_holds_for_that_one() {
    let default = rules().await;
    let set = "prometheusRule.alertLabels.team=platform,prometheusRule.runbookUrl=https://wiki.corp.example/zoho/,\
               prometheusRule.alerts.ZohoThrottled.enabled=false,prometheusRule.alerts.ZohoMintBudgetLow.severity=info,\
               prometheusRule.alerts.ZohoTokenExpired.for=7m";
    let changed = rules_with(set).await;
    let is_left = |rule: &&Value| rule["alert"] != "ZohoThrottled";
    let mut expected: Vec<Value> = default.iter().filter(is_left).cloned().collect();
    for rule in &mut expected {
        rule["labels"]["team"] = json!("platform");
        let name = rule["alert"].as_str().expect("it has one").to_owned();
        rule["annotations"]["runbook_url"] = json!(format!("https://wiki.corp.example/zoho#{}", name.to_lowercase()));
        match name.as_str() {
            "ZohoMintBudgetLow" => rule["labels"]["severity"] = json!("info"),
            "ZohoTokenExpired" => rule["for"] = json!("7m"),
            _ => {}
        }
    }
    assert_eq!(changed, expected);
    let none: Vec<String> = ALERTS.iter().map(|name| format!("prometheusRule.alerts.{name}.enabled=false")).collect();
    assert_eq!(rules_with(&none.join(",")).await, Vec::<Value>::new());
}

#[tokio::test]
async fn alert_that_is_off_or_quieter_takes_nobodys_place() {
    // What ZohoTokenExpired leaves to others.
    for (set, rejected, stuck) in [
        ("nameOverride=", true, true),
        ("prometheusRule.alerts.ZohoCredentialRejected.enabled=false", false, true),
        ("prometheusRule.alerts.ZohoCredentialRejected.severity=warning", false, true),
        ("prometheusRule.alerts.ZohoOperatorStuck.enabled=false", true, false),
        ("prometheusRule.alerts.ZohoTokenExpired.severity=page", false, false),
        (
            "prometheusRule.alerts.ZohoTokenExpired.severity=page,prometheusRule.alerts.ZohoOperatorStuck.severity=page",
            false,
            true,
        ),
    ] {
        let rules = rules_with(set).await;
        let rule = rules.iter().find(|rule| rule["alert"] == "ZohoTokenExpired").expect("it is there");
        let expression = rule["expr"].as_str().expect("it asks");
        let left = (expression.contains("RefreshTokenRejected"), expression.contains("next_attempt"));
        assert_eq!(left, (rejected, stuck), "{set}: {expression}");
    }
}

/// The schema knows the alerts by name, so that a mistyped one is refused.
#[test]
fn schema_names_every_alert() {
    let text = fs::read_to_string(Path::new(CHART).join("values.schema.json")).expect("readable");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(schema["properties"]["prometheusRule"]["properties"]["alerts"]["propertyNames"]["enum"], json!(ALERTS));
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

/// In Grafana one looks at one cluster, one installation and one namespace, and at few of many credentials.
#[test]
fn panels_ask_for_what_is_chosen_and_for_no_more_than_can_be_seen() {
    let panels = panels();
    assert!(panels.len() > 20);
    for panel in &panels {
        assert!(!panel.asks.is_empty(), "{} asks nothing", panel.title);
        for expression in &panel.asks {
            let metrics = metrics_in(expression).len();
            let is_chosen = |by: &str| expression.matches(by).count() == metrics;
            assert!(is_chosen("cluster=~\"$cluster\", job=~\"$job\""), "{}: {expression}", panel.title);
            let of_credentials = expression.contains("by (cluster, namespace, name)");
            assert!(!of_credentials || is_chosen("namespace=~\"$namespace\", name=~\"$name\""), "{}", panel.title);
            let is_bounded = ["topk($top, ", "bottomk($top, "].iter().any(|start| expression.starts_with(start));
            assert!(!of_credentials || panel.kind != "timeseries" || is_bounded, "{} has many lines", panel.title);
        }
    }
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let variables: Vec<&str> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(variables, ["datasource", "cluster", "job", "namespace", "name", "top"]);
}

#[test]
fn panel_says_what_it_shows_and_nothing_of_a_suspended_credential_is_red() {
    let panels = panels();
    for (metric, titles) in [
        ("zoho_operator_clock_offset_seconds", vec!["Own clock ahead of the Kubernetes API server's"]),
        (
            "zoho_operator_token_expiry_timestamp_seconds",
            vec!["Time until the next token expires", "Time until tokens expire, the $top next ones"],
        ),
        ("zoho_operator_token_renewal_due_timestamp_seconds", vec!["Time since renewals were due, the $top latest"]),
        (
            "zoho_operator_credential_condition",
            vec!["Credentials without a valid token", "Credentials that cannot be renewed"],
        ),
    ] {
        let asking: Vec<_> = panels.iter().filter(|panel| panel.asks.iter().any(|ask| ask.contains(metric))).collect();
        assert_eq!(asking.iter().map(|panel| panel.title.as_str()).collect::<Vec<_>>(), titles, "{metric}");
        for ask in asking.iter().flat_map(|panel| &panel.asks).filter(|ask| ask.contains("$name")) {
            assert!(ask.contains("unless on (cluster, namespace, name)") && ask.contains("\"Suspended\""), "{ask}");
        }
    }
}

#[tokio::test]
async fn dashboard_links_to_the_runbooks_of_the_values() {
    let anchors: Vec<String> = ALERTS.iter().map(|alert| format!("{RUNBOOKS}#{}", alert.to_lowercase())).collect();
    let links: Vec<String> = panels().into_iter().flat_map(|panel| panel.links).collect();
    assert!(links.len() > 10);
    for link in &links {
        assert!(link == RUNBOOKS || anchors.contains(link), "{link}");
    }
    let set = "dashboards.enabled=true,prometheusRule.runbookUrl=https://wiki.corp.example/zoho/";
    let show = ["--show-only", "templates/dashboards.yaml", "--set", set];
    let rendered = render(cluster().await, "somewhere", None, &show).await;
    // That of the whole dashboard too.
    assert_eq!(rendered.matches("\"https://wiki.corp.example/zoho").count(), links.len() + 1);
    assert!(!rendered.contains("unpublished.example"));
}

#[tokio::test]
async fn the_budget_that_is_low_follows_the_limit() {
    let cluster = cluster().await;
    for (limit, expected) in [("10", ">= 9"), ("7", ">= 6"), ("4", ">= 4"), ("3", ">= 4"), ("1", ">= 4")] {
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
    rules_with("prometheusRule.enabled=true").await
}

async fn rules_with(set: &str) -> Vec<Value> {
    let set = format!("prometheusRule.enabled=true,{set}");
    let show = ["--show-only", "templates/prometheusrule.yaml", "--set", &set];
    let rendered = render(cluster().await, "zoho-operator-system", None, &show).await;
    let rule: Value = serde_saphyr::from_str(&rendered).expect("YAML");
    let groups = rule["spec"]["groups"].as_array().expect("groups").clone();
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// The dashboard, as it is without the chart's values.
pub(crate) fn dashboard() -> Value {
    let path = Path::new(CHART).join("files/dashboards/zoho-operator.json");
    serde_json::from_str(&fs::read_to_string(path).expect("readable")).expect("JSON")
}

/// One panel of the dashboard.
struct Panel {
    title: String,
    kind: String,
    links: Vec<String>,
    asks: Vec<String>,
}

fn panels() -> Vec<Panel> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let texts = |list: &Value, key: &str| -> Vec<String> {
        let items = list.as_array().into_iter().flatten();
        items.map(|item| item[key].as_str().expect("a text").to_owned()).collect()
    };
    let panels = panels.iter().filter(|panel| panel["type"] != "row").map(|panel| Panel {
        title: panel["title"].as_str().expect("a title").to_owned(),
        kind: panel["type"].as_str().expect("a type").to_owned(),
        links: texts(&panel["links"], "url"),
        asks: texts(&panel["targets"], "expr"),
    });
    panels.collect()
}

/// All of the alerts and of the dashboard, with what stands for the dashboard's variables.
async fn expressions() -> Vec<String> {
    let of_panels = panels().into_iter().flat_map(|panel| panel.asks);
    // Not between quotes, so it has to be a number.
    let of_panels = of_panels.map(|expression| expression.replace("$top", "10"));
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
