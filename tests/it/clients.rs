//! The programs of `examples/clients`, run against a product that refuses every token but the present one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use zoho_simulator::{Simulator, SimulatorConfig};

use crate::support::{DEADLINE, untested};

fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients").join(name)
}

/// Is the program there? What cannot be run is not tested, and the run's end says so.
fn is_installed(program: &str, argument: &str) -> bool {
    let there = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        untested(&format!("the example client for {program}"), &format!("there is no {program}"));
    }
    there
}

async fn mint(zoho: &Simulator) -> String {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "client"),
        ("client_secret", "secret"),
        ("refresh_token", "refresh"),
    ];
    let reply = client.post(format!("{}/oauth/v2/token", zoho.url())).form(&form).send().await.expect("a reply");
    let body: Value = serde_json::from_slice(&reply.bytes().await.expect("a body")).expect("JSON");
    body["access_token"].as_str().expect("a token").to_owned()
}

/// Brings the file to its new content at once, as the kubelet does.
fn replace(folder: &Path, name: &str, content: &str) {
    let next = folder.join("next");
    fs::write(&next, content).expect("written");
    fs::rename(next, folder.join(name)).expect("renamed");
}

async fn wait_for_two_more(zoho: &Simulator) {
    let seen = zoho.stats().product_ok;
    let more = zoho.wait_until("two more requests", DEADLINE, |zoho, _| zoho.journal().stats().product_ok >= seen + 2);
    more.await.expect("the client goes on");
}

/// Runs a client over a renewal: it must use the new token as soon as that stands in the folder.
async fn survives_a_renewal(program: &Path, arguments: &[&Path]) {
    let zoho = Simulator::start(SimulatorConfig::default());
    zoho.register("client", "secret", "refresh");
    let first = mint(&zoho).await;
    let folder = tempfile::tempdir().expect("a folder");
    replace(folder.path(), "api_url", &zoho.url());
    replace(folder.path(), "authorization", &format!("Zoho-oauthtoken {first}"));
    let output = folder.path().join("output");
    let file = fs::File::create(&output).expect("a file");
    let mut running = tokio::process::Command::new(program)
        .args(arguments)
        .env("ZOHO_FOLDER", folder.path())
        .env("INTERVAL", "0.1")
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("the file"))
        .stderr(file)
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    wait_for_two_more(&zoho).await;
    let second = mint(&zoho).await;
    replace(folder.path(), "authorization", &format!("Zoho-oauthtoken {second}"));
    // The first of them may have been on its way with the old token.
    wait_for_two_more(&zoho).await;
    assert!(zoho.revoke_access_token(&first));
    wait_for_two_more(&zoho).await;
    crate::support::eventually("six answers are printed", async || {
        let output = fs::read_to_string(&output).expect("text");
        (output.matches(r#""status":"success""#).count() >= 6).then_some(())
    })
    .await;
    assert_eq!(running.try_wait().expect("it can be asked"), None, "it runs still");
    running.kill().await.expect("it ends");
    let output = fs::read_to_string(output).expect("text");
    assert_eq!(zoho.stats().product_refused, 0, "{output}");
    assert!(!output.contains(&first) && !output.contains(&second), "a token stands in the output");
}

#[tokio::test]
async fn python_client_survives_a_renewal() {
    if is_installed("python3", "--version") {
        survives_a_renewal(Path::new("python3"), &[&client("client.py")]).await;
    }
}

#[tokio::test]
async fn shell_client_survives_a_renewal() {
    if is_installed("curl", "--version") {
        survives_a_renewal(Path::new("sh"), &[&client("client.sh")]).await;
    }
}

#[tokio::test]
async fn go_client_is_well_formed_and_survives_a_renewal() {
    if !is_installed("go", "version") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("client");
    let output = |command: &mut Command| {
        let output = command.output().expect("it runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}");
        text
    };
    assert_eq!(output(Command::new("gofmt").arg("-l").arg(client("client.go"))), "");
    assert_eq!(output(Command::new("go").arg("vet").arg(client("client.go"))), "");
    output(Command::new("go").args(["build", "-o"]).arg(&program).arg(client("client.go")));
    survives_a_renewal(&program, &[]).await;
}

/// The job of `examples/cronjob.yaml`: it uses the token of the folder, and fails where the product refuses that.
#[tokio::test]
async fn cronjob_uses_the_token_of_its_folder_and_fails_with_a_refused_one() {
    if !is_installed("curl", "--version") {
        return;
    }
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cronjob.yaml")).expect("readable");
    let job: Value = serde_saphyr::from_str(&text).expect("YAML");
    let command = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"];
    let command: Vec<String> = serde_json::from_value(command.clone()).expect("a list of texts");
    let zoho = Simulator::start(SimulatorConfig::default());
    zoho.register("client", "secret", "refresh");
    let token = mint(&zoho).await;
    let folder = tempfile::tempdir().expect("a folder");
    replace(folder.path(), "api_url", &zoho.url());
    replace(folder.path(), "authorization", &format!("Zoho-oauthtoken {token}"));
    let script = command[2].replace("/var/run/zoho", &folder.path().to_string_lossy());
    let run = async || {
        let mut job = tokio::process::Command::new(&command[0]);
        job.args([&command[1], &script]).env("NO_PROXY", "127.0.0.1").output().await.expect("it runs")
    };
    let output = run().await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#""status":"success""#));
    assert!(zoho.revoke_access_token(&token));
    let output = run().await;
    assert!(!output.status.success(), "a refused token must fail the job");
    assert!(!String::from_utf8_lossy(&output.stderr).contains(&token), "a token stands in the output");
}

#[test]
fn prometheus_sends_the_header_that_zoho_wants() {
    let text = fs::read_to_string(client("prometheus.yaml")).expect("readable");
    let config: Value = serde_saphyr::from_str(&text).expect("YAML");
    let expected = json!({ "type": "Zoho-oauthtoken", "credentials_file": "/var/run/zoho/access_token" });
    assert_eq!(config["scrape_configs"][0]["authorization"], expected);
}
