//! A real Kubernetes control plane for tests and the demo: etcd, kube-apiserver and kube-controller-manager on free
//! loopback ports, RBAC on, every request audited. No scheduler and no node: pods stay pending.
//!
//! It lives in one temporary folder and is gone, processes and folder, when the [`ControlPlane`] is dropped or the
//! process that started it ends, even by SIGKILL. What tests share beyond that is theirs to write.

mod audit;
mod binaries;
mod identity;
mod local;
pub(crate) mod process;

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cluster_programs::mortal::Remover;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

pub use self::audit::AuditEntry;
pub use self::binaries::Binaries;
pub use self::identity::{Identity, OPERATOR_NAMESPACE, OPERATOR_SERVICE_ACCOUNT};
use self::local::Local;

/// How to bring up a control plane.
#[derive(Clone, Debug)]
pub struct Options {
    /// Use the cluster that `KUBECONFIG` names and start nothing. It must be one that tests may fill with rubbish.
    pub use_existing: bool,
    /// Flags for kube-apiserver, after its own; the last of two that say the same wins.
    pub apiserver_flags: Vec<String>,
    /// Start kube-controller-manager, if there is one. Default: true.
    pub controller_manager: bool,
    /// Told what takes long. Default: a line on standard error, past the test harness.
    pub progress: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Self { use_existing: false, apiserver_flags: Vec::new(), controller_manager: true, progress: say }
    }
}

impl Options {
    /// The defaults, but with the cluster that `KUBECONFIG` names where it is set.
    pub fn from_env() -> Self {
        let use_existing = cluster_programs::variable("KUBECONFIG").is_some();
        Self { use_existing, ..Self::default() }
    }
}

/// A control plane to test against. Bound to no async runtime, so it may live in a static.
#[derive(Debug)]
pub struct ControlPlane {
    // In this order: first the processes go, then the folder they write to.
    local: Option<Local>,
    folder: TempDir,
    _remover: Remover,
    binaries: Binaries,
    /// Gets a line now and then while helm is built.
    progress: fn(&str),
}

impl ControlPlane {
    /// Starts a control plane and waits until the API server is ready: 3 s, and minutes before that when its programs
    /// have to be built first, see [`Binaries::locate_or_build`].
    ///
    /// # Errors
    ///
    /// When a program cannot be built or does not come up in time; the message has the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        if options.use_existing {
            return Self::from_kubeconfig();
        }
        let progress = options.progress;
        let binaries = tokio::task::spawn_blocking(move || Binaries::locate_or_build(progress))
            .await
            .context("wait for the control plane's programs")??;
        let mut attempts_left = 2;
        loop {
            let (folder, remover) = new_folder()?;
            match Local::start(&binaries, &options, folder.path()).await {
                Ok(local) => {
                    return Ok(Self { local: Some(local), folder, _remover: remover, binaries, progress });
                }
                // Somebody took a port between the moment it was found free and the moment it was bound.
                Err(error) if attempts_left > 0 && error.to_string().contains("address already in use") => {
                    attempts_left -= 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The cluster that `KUBECONFIG` names, with kubectl and helm from `PATH`. Starts no process and has no audit log;
    /// the operator's identity is taken on by impersonation.
    pub fn from_kubeconfig() -> Result<Self> {
        let existing = Kubeconfig::from_env()
            .context("read KUBECONFIG")?
            .context("KUBECONFIG does not say which cluster to use")?;
        let (folder, remover) = new_folder()?;
        identity::write_impersonations(folder.path(), &existing)?;
        Ok(Self { local: None, folder, _remover: remover, binaries: Binaries::on_path(), progress: say })
    }

    /// The folder of logs, keys and kubeconfigs. Tests may put files in it; it goes away with the control plane.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the API server listens; `None` for an existing cluster. For what goes in between, like a proxy.
    pub fn address(&self) -> Option<SocketAddr> {
        self.local.as_ref().map(Local::address)
    }

    /// The kubeconfig of an identity. [`Identity::ControllerManager`] has none in an existing cluster.
    pub fn kubeconfig_of(&self, identity: Identity) -> PathBuf {
        identity.kubeconfig(self.folder())
    }

    /// The admin's kubeconfig.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.kubeconfig_of(Identity::Admin)
    }

    /// The operator's kubeconfig, for running it under its chart's RBAC rules.
    pub fn operator_kubeconfig_path(&self) -> PathBuf {
        self.kubeconfig_of(Identity::Operator)
    }

    /// Where kubectl is; a bare name means `PATH`.
    pub fn kubectl_path(&self) -> &Path {
        &self.binaries.kubectl
    }

    /// A client for the admin, on the current runtime and without retries. Make one for each test.
    pub async fn client(&self) -> Result<Client> {
        self.client_of(Identity::Admin).await
    }

    /// A client for the observer. See [`ControlPlane::client`].
    pub async fn observer_client(&self) -> Result<Client> {
        self.client_of(Identity::Observer).await
    }

    /// A client for the operator's `ServiceAccount`. See [`ControlPlane::client`].
    pub async fn operator_client(&self) -> Result<Client> {
        self.client_of(Identity::Operator).await
    }

    /// A client for an identity. See [`ControlPlane::client`].
    pub async fn client_of(&self, identity: Identity) -> Result<Client> {
        client_from(&self.kubeconfig_of(identity)).await
    }

    /// Runs kubectl as admin and returns what came of it, whether it succeeded or not.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        run(self.command(&self.binaries.kubectl, arguments)).await
    }

    /// Like [`ControlPlane::kubectl`], with something on its standard input.
    pub async fn kubectl_stdin(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut child =
            self.command(&self.binaries.kubectl, arguments).stdin(Stdio::piped()).spawn().context("run kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
        // A kubectl that refuses its arguments closes the pipe first; its own message says more than ours would.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await.context("wait for kubectl")
    }

    /// Runs helm as admin and returns what came of it, whether it succeeded or not.
    pub async fn helm(&self, arguments: &[&str]) -> Result<Output> {
        run(self.command(&self.helm_path().await?, arguments)).await
    }

    /// Where helm is, which is built unless it is there; a bare name means `PATH`.
    pub async fn helm_path(&self) -> Result<PathBuf> {
        let (binaries, progress) = (self.binaries.clone(), self.progress);
        tokio::task::spawn_blocking(move || binaries.helm(progress)).await.context("wait for helm")?
    }

    /// Applies manifests by server-side apply as admin, and fails with kubectl's message.
    pub async fn apply_yaml(&self, manifests: &str) -> Result<()> {
        let output = self.kubectl_stdin(&["apply", "--server-side", "--force-conflicts", "-f", "-"], manifests).await?;
        ensure!(output.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Of the requests that have ended so far, without those of the control plane itself, the wanted ones, oldest first;
    /// `None` for an existing cluster.
    ///
    /// An entry is written when the request has ended, some milliseconds after its client has the answer, and for a
    /// watch at its end: wait for the entry you expect before you count.
    pub fn audit_entries(&self, is_wanted: impl FnMut(&AuditEntry) -> bool) -> Result<Option<Vec<AuditEntry>>> {
        self.local.as_ref().map(|local| local.audit_entries(self.folder(), is_wanted)).transpose()
    }

    /// Kills the API server. etcd keeps what is stored; clients see their connections break.
    pub fn stop_apiserver(&self) -> Result<()> {
        self.own()?.stop_apiserver();
        Ok(())
    }

    /// Starts the API server again on the same port and waits until it is ready.
    pub async fn start_apiserver(&self) -> Result<()> {
        self.own()?.start_apiserver(self.folder()).await
    }

    /// Makes a backup of etcd: API server and etcd are down for a moment.
    pub async fn save_etcd(&self) -> Result<()> {
        self.own()?.copy_etcd(self.folder(), "etcd", "etcd-saved").await
    }

    /// Restores the backup, as it is and with the revision it had: the cluster's history goes back.
    pub async fn restore_etcd(&self) -> Result<()> {
        self.own()?.copy_etcd(self.folder(), "etcd-saved", "etcd").await
    }

    fn own(&self) -> Result<&Local> {
        match &self.local {
            Some(local) => Ok(local),
            None => bail!("an existing cluster's API server is not ours to stop or start"),
        }
    }

    /// A command as admin that neither reads nor leaves anything in the user's home folder.
    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments.iter().map(OsStr::new))
            .env("KUBECONFIG", self.kubeconfig_path())
            .env("KUBECACHEDIR", self.folder().join("kubectl-cache"))
            .env("KUBERC", "off")
            .env("HELM_CACHE_HOME", self.folder().join("helm-cache"))
            .env("HELM_CONFIG_HOME", self.folder().join("helm-config"))
            .env("HELM_DATA_HOME", self.folder().join("helm-data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

async fn run(mut command: Command) -> Result<Output> {
    let output = command.output().await;
    output.with_context(|| {
        let program = command.as_std().get_program().to_string_lossy();
        format!("run {program}, which is looked for in KUBEBUILDER_ASSETS and PATH when those are used")
    })
}

async fn client_from(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .context("understand the kubeconfig")?;
    config.default_retry = false;
    Client::try_from(config).context("make a client")
}

fn new_folder() -> Result<(TempDir, Remover)> {
    let folder = tempfile::Builder::new()
        .prefix("zoho-operator-control-plane-")
        // It holds tokens, in the case of an existing cluster real ones.
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .context("create the control plane's folder")?;
    let remover = Remover::start(folder.path())?;
    Ok((folder, remover))
}

fn say(line: &str) {
    // Straight to the file, since the test harness holds back what is printed. If it fails there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}
