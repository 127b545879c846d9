//! The demo as people run it: it ends well, and however it ends it leaves nothing behind.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use zoho_api::crd;
use zoho_testkit::control_plane::{ControlPlane, Options};
use zoho_testkit::demo::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKENS};

use crate::support::eventually;

/// It takes about 65 s; the rest is for a machine that runs other tests beside it, or builds the control plane first.
const STORY_WITHIN: Duration = Duration::from_mins(20);
/// Marks every process that comes from a demo, since children have their parent's environment.
const MARK: &str = "ZOHO_DEMO_UNDER_TEST";
/// What stands on the screen once there is an operator and a token.
const HALFWAY: &str = "Workloads mount this Secret";

#[tokio::test]
async fn demo_tells_its_whole_story_and_leaves_nothing_behind() {
    let mut demo = Demo::start("story", |_| {});
    let status = demo.wait().await;
    let output = demo.output();
    assert_eq!(status.code(), Some(0), "{output}");
    for milestone in [
        "Kubernetes v1.",
        "zohocredential.zoho-operator.dev/patch-manager serverside-applied",
        "patch-manager   True    TokenValid",
        HALFWAY,
        "with the same token",
        " → ",
        "asked Zoho for nothing",
        "Warning  RefreshTokenRejected",
        "to the byte",
        "Ready again ",
        "Nothing was throttled, nothing was lost",
        "stopped after SIGTERM",
        "Done in ",
    ] {
        assert!(output.contains(milestone), "{milestone} is missing:\n{output}");
    }
    assert!(!output.contains('\x1b'), "no colours in a file:\n{output}");
    for secret in [CLIENT_ID, CLIENT_SECRET, REFRESH_TOKENS[0], REFRESH_TOKENS[1]] {
        assert!(!output.contains(secret), "{secret} is shown:\n{output}");
    }
    // A sentence may say what refresh tokens begin with.
    let is_token = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    let tokens: Vec<&str> = output.split("1000.").skip(1).filter(is_token).collect();
    assert!(!tokens.is_empty() && tokens.iter().all(|rest| rest.chars().take(5).any(|c| c == '…')), "{output}");
    demo.assert_nothing_left().await;
}

#[tokio::test]
async fn terminated_demo_clears_up() {
    let mut demo = Demo::start("terminated", |_| {});
    demo.shows(HALFWAY).await;
    demo.signal("TERM");
    assert_eq!(demo.wait().await.code(), Some(143), "{}", demo.output());
    demo.assert_nothing_left().await;
}

#[tokio::test]
async fn killed_demo_leaves_nothing_behind() {
    let mut demo = Demo::start("killed", |_| {});
    demo.shows(HALFWAY).await;
    demo.signal("KILL");
    assert_eq!(demo.wait().await.code(), None);
    demo.assert_nothing_left().await;
}

#[tokio::test]
async fn demo_in_an_existing_cluster_takes_away_what_it_made_and_nothing_else() {
    let cluster = ControlPlane::start(Options::default()).await.expect("a control plane");
    let start = |name| Demo::start(name, |command| use_cluster(command, &cluster));

    let mut demo = start("existing");
    demo.shows(HALFWAY).await;
    assert!(demo.output().contains("its context test is used"), "{}", demo.output());
    demo.signal("INT");
    assert_eq!(demo.wait().await.code(), Some(130), "{}", demo.output());
    demo.assert_nothing_left().await;
    let left = kubectl(&cluster, &["get", "crd,namespace", "-o", "name"]).await;
    assert!(!left.contains("zoho") && !left.contains("patching"), "{left}");

    for (_, yaml) in crd::files() {
        cluster.apply_yaml(&yaml).await.expect("the CRD is installed");
    }
    kubectl(&cluster, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).await;
    kubectl(&cluster, &["create", "namespace", "patching"]).await;
    let mine = "{apiVersion: zoho-operator.dev/v1alpha1, kind: ZohoCredential, metadata: {name: mine, namespace: patching}, \
                spec: {dataCenter: EU, secretRef: {name: source}}}";
    eventually("the kind is served", async || cluster.apply_yaml(mine).await.ok()).await;
    let before = kubectl(&cluster, &["get", "zcred", "mine", "-n", "patching", "-o", "yaml"]).await;

    let mut demo = start("refused");
    assert_eq!(demo.wait().await.code(), Some(1), "{}", demo.output());
    assert!(demo.output().contains("There is a ZohoCredential patching/mine in this cluster"), "{}", demo.output());
    demo.assert_nothing_left().await;
    let after = kubectl(&cluster, &["get", "zcred", "mine", "-n", "patching", "-o", "yaml"]).await;
    assert_eq!(before, after);
}

/// `KUBECONFIG`, and the kubectl that a user of it has on the `PATH`.
#[expect(clippy::disallowed_methods, reason = "the PATH of the demo is this test's with one folder more")]
fn use_cluster(command: &mut Command, cluster: &ControlPlane) {
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = cluster.kubectl_path().parent().unwrap_or(Path::new("")).display().to_string();
    command.env("KUBECONFIG", cluster.kubeconfig_path()).env("PATH", format!("{folder}:{path}"));
}

async fn kubectl(cluster: &ControlPlane, arguments: &[&str]) -> String {
    let output = cluster.kubectl(arguments).await.expect("kubectl runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A running demo whose files go to a folder of its own.
struct Demo {
    child: Child,
    mark: String,
    folder: tempfile::TempDir,
}

impl Demo {
    fn start(name: &str, edit: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let temporary = folder.path().join("tmp");
        fs::create_dir(&temporary).expect("a folder");
        let output = File::create(folder.path().join("output")).expect("a file");
        let mark = format!("{name}-{}", std::process::id());
        let mut command = Command::new(zoho_testkit::program("zoho-demo"));
        for unwanted in ["KUBECONFIG", "KEEP", "NO_COLOR"] {
            command.env_remove(unwanted);
        }
        command
            .env("TMPDIR", &temporary)
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output);
        edit(&mut command);
        Self { child: command.spawn().expect("the demo starts"), mark, folder }
    }

    fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).expect("the output")
    }

    async fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + STORY_WITHIN;
        while !self.output().contains(text) {
            let ended = self.child.try_wait().expect("the demo can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "not shown: {text}\n{}", self.output());
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().expect("sh runs").success());
    }

    async fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + STORY_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().expect("the demo can be asked") {
                return status;
            }
            assert!(Instant::now() < deadline, "the demo does not end:\n{}", self.output());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// No process and no file; both may take a moment after a SIGKILL.
    async fn assert_nothing_left(&self) {
        let marked = format!("{MARK}={}", self.mark);
        let temporary = self.folder.path().join("tmp");
        let mut left = Vec::new();
        for _ in 0..1200 {
            left = processes_with(&marked);
            left.extend(fs::read_dir(&temporary).expect("the folder").flatten().map(|file| format!("{file:?}")));
            if left.is_empty() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("left behind: {left:?}\n{}", self.output());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Command lines of the processes with that in their environment; none where there is no `/proc`.
fn processes_with(variable: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let marked = processes.filter(|process| {
        // Processes of others cannot be read, and some end while we look.
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    });
    marked
        .map(|process| {
            let command = fs::read(process.join("cmdline")).unwrap_or_default();
            format!("{} {}", process.display(), String::from_utf8_lossy(&command).replace('\0', " "))
        })
        .collect()
}
