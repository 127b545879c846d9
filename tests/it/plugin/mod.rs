//! `kubectl zoho` as people have it: the real binary, started by kubectl, against a real control plane, a simulated Zoho
//! and, where a token is to come of it, an operator process.

mod browser;
mod client_credentials;
mod commands;
mod device;
mod doctor;
mod failures;
mod keyboard;
mod login;
mod packaging;
mod secrecy;
mod storing;

use std::cell::RefCell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use zoho_simulator::grants::Client;
use zoho_testkit::control_plane::Identity;
use zoho_testkit::fault_proxy::FaultProxy;

use crate::support::eventually;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, World};

/// What a self client needs for a login.
pub(super) const SCOPE: &str = "PatchManagerPlusCloud.Common.READ,PatchManagerPlusCloud.PatchMgmt.READ";

/// A person at a shell, in the namespace of a world.
pub(crate) struct Person<'a> {
    pub(super) world: &'a World,
    home: tempfile::TempDir,
    /// Everything that the plugin said to him, but for what he asked it to print.
    heard: RefCell<Vec<String>>,
    /// He says where the operator is.
    says_where: bool,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(super) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    #[track_caller]
    pub(super) fn failed(self) -> Self {
        assert_eq!(self.code, Some(1), "{self:?}");
        self
    }

    #[track_caller]
    pub(super) fn misused(self) -> Self {
        assert_eq!(self.code, Some(2), "{self:?}");
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl<'a> Person<'a> {
    pub(crate) fn of(world: &'a World) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        // What desktops have: here it writes down what it is to open.
        let browser = home.path().join("xdg-open");
        std::fs::write(&browser, "#!/bin/sh\necho \"$1\" > \"$HOME/opened\"\n").expect("written");
        std::fs::set_permissions(&browser, Permissions::from_mode(0o755)).expect("executable");
        Self { world, home, heard: RefCell::default(), says_where: true }
    }

    /// The same, who leaves it to the plugin to find the operator.
    pub(super) fn without_operator_flags(mut self) -> Self {
        self.says_where = false;
        self
    }

    /// What the browser was to open.
    pub(super) fn opened(&self) -> PathBuf {
        self.home.path().join("opened")
    }

    /// `kubectl zoho …`, ready to be started.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let plugin = zoho_testkit::program("kubectl-zoho");
        let plugin = plugin.parent().expect("a folder");
        let kubectl = self.world.cluster.kubectl_path();
        let mut command = Command::new(kubectl);
        command
            .arg("zoho")
            .args(args)
            .env_clear()
            .env("PATH", format!("{}:{}:/usr/bin:/bin", self.home.path().display(), plugin.display()))
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.world.cluster.kubeconfig_of(Identity::Admin))
            .env("KUBERC", "off")
            .env("NO_PROXY", "127.0.0.1,localhost,::1")
            // Of no effect: a pod's service links, or an operator's settings in the same shell, are not meant for the plugin.
            .env("ZOHO_OPERATOR_CA_FILE", "/of/the/operator.pem")
            .env("ZOHO_OPERATOR_INSTANCE", "of-another-shell")
            .env("ZOHO_OPERATOR_CLOCK_OFFSET_FILE", self.world.clock())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let accounts_url = format!("US={}", self.world.zoho.url());
        let own = [
            ("-n", &self.world.namespace),
            ("--accounts-url", &accounts_url),
            ("--operator-namespace", &self.world.operator_namespace),
        ];
        let is_said = |flag: &str| self.says_where || flag != "--operator-namespace";
        for (flag, value) in own.into_iter().filter(|(flag, _)| !args.contains(flag) && is_said(flag)) {
            command.args([flag, value]);
        }
        command
    }

    /// Runs a command to its end, with lines on its standard input.
    pub(super) async fn zoho_with(&self, args: &[&str], lines: &[&str]) -> Ran {
        let child = self.start(args, lines);
        self.end_of(child).await
    }

    /// Runs a command to its end.
    pub(crate) async fn zoho(&self, args: &[&str]) -> Ran {
        self.zoho_with(args, &[]).await
    }

    /// Starts a command, with lines on its standard input.
    pub(super) fn start(&self, args: &[&str], lines: &[&str]) -> Child {
        use std::io::Write as _;
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("kubectl starts");
        let mut text = lines.join("\n");
        text.push('\n');
        // Who asks for nothing closes the pipe first.
        let _ = child.stdin.take().expect("a pipe").write_all(text.as_bytes());
        child
    }

    /// Waits for the end of a command.
    pub(super) async fn end_of(&self, child: Child) -> Ran {
        let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("it ran");
        let ran = Ran::from(output.expect("its output"));
        self.heard.borrow_mut().extend([ran.stdout.clone(), ran.stderr.clone()]);
        ran
    }

    /// Runs a command that is meant to print a secret; it is not among what must hold none.
    pub(super) async fn zoho_aloud(&self, args: &[&str], lines: &[&str]) -> Ran {
        let ran = self.zoho_with(args, lines).await;
        let mut heard = self.heard.borrow_mut();
        let length = heard.len();
        heard.remove(length - 2);
        drop(heard);
        ran
    }

    /// A proxy before the person's API server, and the kubeconfig that leads to it.
    pub(super) fn proxy(&self) -> (FaultProxy, String) {
        let proxy = FaultProxy::start(&self.world.cluster.kubeconfig_path()).expect("a fault proxy");
        let kubeconfig = proxy.kubeconfig().display().to_string();
        (proxy, kubeconfig)
    }

    /// Flags of somebody who may do with `zohocredentials` of the namespace what a rule says (`verbs: […]` and what else it
    /// has), and nothing else.
    pub(super) async fn caller(&self, rule: &str) -> [String; 4] {
        let manifest = format!(
            r"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: caller, namespace: {ns} }}
rules: [{{ apiGroups: [zoho-operator.dev], resources: [zohocredentials], {rule} }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: caller, namespace: {ns} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: caller }}
subjects: [{{ kind: Group, name: callers-of-{ns}, apiGroup: rbac.authorization.k8s.io }}]
",
            ns = self.world.namespace
        );
        self.world.cluster.apply_yaml(&manifest).await.expect("applied");
        ["--as", "someone", "--as-group", &format!("callers-of-{}", self.world.namespace)].map(str::to_owned)
    }

    /// A self client that Zoho knows, and a code of it.
    pub(super) fn code(&self) -> String {
        self.world.zoho.register_client(CLIENT_ID, CLIENT_SECRET, Client::SelfClient);
        self.world.zoho.grant_code(CLIENT_ID, SCOPE, std::time::Duration::from_mins(10))
    }

    /// Logs in as the self client, until the token is there.
    pub(super) async fn logs_in(&self, name: &str) -> Ran {
        let code = self.code();
        let args = ["login", name, "--data-center", "US", "--product", "PatchManagerPlus"];
        self.zoho_with(&args, &[CLIENT_ID, CLIENT_SECRET, &code]).await.ok()
    }

    /// Every secret of this person's doings.
    pub(super) fn canaries(&self) -> Vec<String> {
        let granted = self.world.zoho.granted();
        self.world.canaries().into_iter().chain(granted).collect()
    }

    /// The text with what differs from run to run taken out.
    pub(super) fn masked(&self, text: &str) -> String {
        let host = self.world.zoho.address().to_string();
        let text = text
            .replace(&self.world.operator_namespace, "OPERATOR-NS")
            .replace(&self.world.namespace, "NS")
            .replace(&host, "ZOHO");
        text.lines().map(masked_line).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Person<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for canary in self.canaries() {
            for heard in self.heard.borrow().iter() {
                assert!(!heard.contains(&canary), "a secret was said: {heard}");
            }
        }
    }
}

/// Times, spans, hashes and versions become words; columns two spaces.
fn masked_line(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let words = line.trim_start().split(' ').filter(|word| !word.is_empty()).map(masked_word);
    format!("{}{}", " ".repeat(indent), words.collect::<Vec<_>>().join(" "))
}

fn masked_word(word: &str) -> String {
    let core = word.trim_matches(|c: char| "().,:;".contains(c));
    let is_hex = core.len() == 32 && core.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_span = core.ends_with(['s', 'm', 'h', 'd'])
        && core.starts_with(|c: char| c.is_ascii_digit())
        && core.bytes().all(|byte| byte.is_ascii_digit() || b"smhd".contains(&byte));
    let is_clock = core.len() == 6 && core.ends_with('Z') && core.as_bytes()[2] == b':';
    let is_version = core.starts_with("v1.") && core.matches('.').count() == 2;
    let mask = match () {
        () if is_hex => "HASH",
        () if is_span => "SPAN",
        () if is_clock => "HH:MMZ",
        () if is_version => "VERSION",
        () => return word.to_owned(),
    };
    word.replace(core, mask)
}

/// Sends a process SIGINT, as Ctrl-C does.
fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
}

/// Waits until a process has taken in the signals that it was sent.
async fn signal_is_taken_in(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    eventually("the signal is no longer pending", async || {
        let status = std::fs::read_to_string(&status).expect("it lives");
        let is_pending = status.lines().any(|line| {
            (line.starts_with("SigPnd:") || line.starts_with("ShdPnd:")) && !line.ends_with("0000000000000000")
        });
        (!is_pending).then_some(())
    })
    .await;
}
