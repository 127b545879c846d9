//! What `GitOps` tools see: health in every situation, a first sync whose source comes later, no drift.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use zoho_api::{ConditionStatus, ConditionType};
use zoho_simulator::script::{Page, Reply, Script, Target, Times};

use crate::chart::{render, root, yaml_files};
use crate::support::look::{condition, is};
use crate::support::world::{REFRESH_TOKEN, World};
use crate::support::{cluster, eventually, manifest, untested};

/// Objects in the situations of the status' truth table, and what Argo CD should say of each.
struct Gallery(Vec<(&'static str, Value, &'static str)>);

impl Gallery {
    /// What the API server has now.
    async fn add(&mut self, situation: &'static str, world: &World, name: &str, expected: &'static str) {
        let object = serde_json::to_value(world.get(name).await).expect("JSON");
        self.0.push((situation, object, expected));
    }
}

#[tokio::test]
async fn argo_cd_calls_degraded_only_what_needs_a_person() {
    let world = World::new("argo_cd").await;
    let mut gallery = Gallery(Vec::new());
    let always = |reply| Script { reply, times: Times::UntilCleared, latency: None };

    world.good_source("source").await;
    world.credential("one", "source", json!({})).await;
    gallery.add("nobody has seen it yet", &world, "one", "Progressing").await;

    world.zoho.script(Target::Token, Reply::HoldThenMint);
    let operator = world.operator();
    world.wait_for_reason("one", "Minting").await;
    gallery.add("the first token is on its way", &world, "one", "Progressing").await;
    world.zoho.release();
    world.wait_ready("one").await;
    gallery.add("all is well", &world, "one", "Healthy").await;

    world.zoho.script(Target::Token, always(Reply::Status(Page::html(503, "Service Unavailable"))));
    world.advance(35 * 60);
    world.wait_for_reason("one", "UpstreamUnavailable").await;
    gallery.add("renewal fails, the token lives", &world, "one", "Healthy").await;
    world.credential("new", "other", json!({})).await;
    world.source("other", &[("client_id", "1000.OTHER"), ("client_secret", "x"), ("refresh_token", "1000.o")]).await;
    world.wait_for_reason("new", "UpstreamUnavailable").await;
    gallery.add("no token yet, it is tried again", &world, "new", "Progressing").await;
    world.credentials().delete("new", &DeleteParams::default()).await.expect("deleted");
    world.zoho.clear_scripts();

    world.credential("early", "late", json!({})).await;
    world.wait_for_reason("early", "SourceSecretNotFound").await;
    gallery.add("the source is not there yet", &world, "early", "Progressing").await;
    world.advance(6 * 60);
    let stalled = |seen: &_| condition(seen, ConditionType::Stalled) == Some(ConditionStatus::True);
    world.wait("early", "Stalled", stalled).await;
    gallery.add("the source does not come", &world, "early", "Degraded").await;
    world.good_source("late").await;
    world.wait_ready("early").await;
    gallery.add("the source came after all", &world, "early", "Healthy").await;

    world.patch("early", json!({ "spec": { "suspend": true } })).await;
    world.wait_for_reason("early", "Suspended").await;
    gallery.add("it is suspended", &world, "early", "Suspended").await;

    world.wait_ready("one").await;
    // A refusal in the second of a mint proves nothing: times are stored in whole ones.
    world.advance(5);
    assert!(world.zoho.revoke(REFRESH_TOKEN));
    let renew = json!({ "metadata": { "annotations": { "zoho-operator.dev/renew-requested": "now" } } });
    world.patch("one", renew).await;
    world.wait_for_reason("one", "RefreshTokenRejected").await;
    // It is asked once more, a minute later.
    world.advance(90);
    world.wait("one", "Stalled", stalled).await;
    gallery.add("the refresh token was revoked", &world, "one", "Degraded").await;

    operator.kill();
    world.patch("one", json!({ "spec": { "renewBefore": "10m" } })).await;
    gallery.add("nobody has seen the new spec yet", &world, "one", "Progressing").await;

    let script = health_script();
    for (situation, object, expected) in &gallery.0 {
        let Some(found) = lua(&script, object) else {
            return untested("the health check for Argo CD", "there is no Lua (Debian: apt-get install lua5.4)");
        };
        let (status, message) = found.split_once('\n').expect("status and message");
        assert_eq!(status, *expected, "{situation}: {object:#}");
        assert!(!message.trim().is_empty(), "{situation} has no message");
    }
}

#[tokio::test]
async fn a_sync_that_waits_by_kstatus_outlasts_a_late_source_and_ends_where_a_person_must_act() {
    let world = World::new("kstatus").await;
    let _operator = world.operator();
    let chart = tempfile::tempdir().expect("a folder");
    fs::create_dir(chart.path().join("templates")).expect("made");
    let write = |name: &str, text: &str| fs::write(chart.path().join(name), text).expect("written");
    write("Chart.yaml", "apiVersion: v2\nname: sync\nversion: 1.0.0\n");
    write(
        "templates/credential.yaml",
        "apiVersion: zoho-operator.dev/v1alpha1\nkind: ZohoCredential\nmetadata:\n  name: {{ .Release.Name }}\n\
         spec:\n  dataCenter: US\n  secretRef:\n    name: {{ .Release.Name }}-source\n",
    );
    let path = chart.path().to_string_lossy().into_owned();
    // Helm waits as Flux does, by kstatus.
    let sync = async |name: &str| {
        let install = ["install", name, &path, "-n", &world.namespace, "--wait=watcher", "--timeout", "50s"];
        world.cluster.helm(&install).await.expect("runs")
    };

    let late = async {
        eventually("it waits", async || {
            let seen = world.credentials().get_opt("late").await.expect("readable")?;
            (condition(&seen, ConditionType::Reconciling) == Some(ConditionStatus::True)).then_some(())
        })
        .await;
        world.advance(4 * 60);
        tokio::time::sleep(Duration::from_secs(4)).await;
        world.good_source("late-source").await;
    };
    let (output, ()) = tokio::join!(sync("late"), late);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let wrong = [("client_id", "1000.WRONG"), ("client_secret", "x"), ("refresh_token", "1000.wrong")];
    world.source("wrong-source", &wrong).await;
    let confirm = async {
        eventually("Zoho refuses it", async || {
            let seen = world.credentials().get_opt("wrong").await.expect("readable")?;
            is(&seen, ConditionType::Renewable, "ClientRejected").then_some(())
        })
        .await;
        world.advance(90);
    };
    let (output, ()) = tokio::join!(sync("wrong"), confirm);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "a refused client is no success");
    assert!(!error.contains("deadline"), "it waited for its timeout: {error}");
}

#[tokio::test]
async fn what_is_stored_is_what_was_applied() {
    let cluster = cluster().await;
    cluster.install_crds().await;
    // All at once, since each call of kubectl takes its time; in a namespace for each file, since names repeat.
    let mut objects = Vec::new();
    for path in yaml_files(&root().join("examples")) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let namespace = cluster.namespace(&format!("drift-{name}")).await;
        let text = fs::read_to_string(&path).expect("readable");
        for mut object in serde_saphyr::from_multiple::<Value>(&text).expect("YAML") {
            object["metadata"]["namespace"] = json!(namespace);
            objects.push(object);
        }
    }
    let manifest = manifest(&objects);
    let server_side = [&["apply", "--server-side", "--force-conflicts"][..], &["diff", "--server-side"]];
    for [apply, diff] in [server_side, [&["apply"], &["diff"]]] {
        for arguments in [apply, apply, diff] {
            let arguments = [arguments, &["-f", "-"]].concat();
            let output = cluster.kubectl_stdin(&arguments, &manifest).await.expect("runs");
            let (difference, error) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{arguments:?}: {difference}{error}");
        }
    }
}

#[tokio::test]
async fn an_installed_chart_does_not_drift() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("chart_does_not_drift").await;
    let values = format!("{}/ci/namespaced-values.yaml", crate::chart::CHART);
    for name in ["team-a", "team-b"] {
        let yaml = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n");
        cluster.apply_yaml(&yaml).await.expect("created");
    }
    let manifest = render(cluster, &namespace, Some(&values), &["--skip-tests"]).await;
    let run = async |arguments: &[&str]| {
        let output = cluster.kubectl_stdin(arguments, &manifest).await.expect("runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    };
    let (is_applied, said) = run(&["apply", "--server-side", "--force-conflicts", "-f", "-"]).await;
    assert!(is_applied, "{said}");
    // kubectl compares two reads, and a controller may write a status between them: what drifts differs every time.
    let mut differences = Vec::new();
    while differences.len() < 5 {
        let (is_same, said) = run(&["diff", "--server-side", "--force-conflicts", "-f", "-"]).await;
        if is_same {
            return;
        }
        differences.push(said);
    }
    panic!("{}", differences.join("\n\n"));
}

/// The script in docs/gitops.md.
fn health_script() -> String {
    let text = fs::read_to_string(root().join("docs/gitops.md")).expect("readable");
    let (_, rest) = text.split_once("health.zoho-operator.dev_ZohoCredential: |\n").expect("the script");
    let (script, _) = rest.split_once("```").expect("its end");
    script.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// What the script says: status, a line feed, message. None where there is no Lua.
fn lua(script: &str, object: &Value) -> Option<String> {
    let program = format!(
        "obj = {}\nlocal health = (function()\n{script}\nend)()\nio.write(health.status, '\\n', health.message)\n",
        literal(object)
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("health.lua");
    fs::write(&file, &program).expect("written");
    ["lua5.4", "lua5.1", "lua"].iter().find_map(|interpreter| run(interpreter, &file))
}

fn run(interpreter: &str, file: &Path) -> Option<String> {
    match Command::new(interpreter).arg(file).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).expect("text"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{interpreter}: {error}"),
    }
}

/// A value as Lua writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "nil".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => {
            let escaped: Vec<String> = text.bytes().map(|byte| format!("\\{byte:03}")).collect();
            format!("\"{}\"", escaped.concat())
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(literal).collect();
            format!("{{{}}}", items.join(","))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("[{}]={}", literal(&json!(key)), literal(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
    }
}
