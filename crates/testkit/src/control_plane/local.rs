//! The processes of a control plane on this machine: their command lines, their order, and when each is ready.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::audit::{self, AuditEntry};
use super::binaries::Binaries;
use super::identity::{self, Identity};
use super::process::{Process, free_ports};
use super::{Options, client_from};

/// Far more than a start takes, so that it holds on a machine that is busy compiling.
const START_DEADLINE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(25);

/// The processes, in the order in which they go away.
#[derive(Debug)]
pub(super) struct Local {
    controller_manager: Option<Process>,
    apiserver: Mutex<Option<Process>>,
    etcd: Mutex<Option<Process>>,
    binaries: Binaries,
    apiserver_arguments: Vec<String>,
    port: u16,
    etcd_ports: [u16; 2],
    audited: Mutex<audit::Log>,
}

/// The certificate that the API server makes for itself.
pub(super) fn authority(folder: &Path) -> PathBuf {
    folder.join("certificates/apiserver.crt")
}

impl Local {
    /// Starts everything in an empty folder.
    pub(super) async fn start(binaries: &Binaries, options: &Options, folder: &Path) -> Result<Self> {
        let [port, etcd_port, peer_port] = free_ports().context("find free ports")?;
        identity::write_identities(folder, &format!("https://127.0.0.1:{port}"), &authority(folder))?;
        identity::write_service_account_keys(&folder.join("sa.key"), &folder.join("sa.pub"))?;
        fs::write(folder.join("audit-policy.yaml"), audit::POLICY).context("write the audit policy")?;

        let etcd = start_etcd(binaries, folder, etcd_port, peer_port).await?;
        let mut arguments = apiserver_arguments(port, etcd_port);
        arguments.extend(options.apiserver_flags.iter().cloned());
        let mut local = Self {
            controller_manager: None,
            apiserver: Mutex::new(None),
            etcd: Mutex::new(Some(etcd)),
            binaries: binaries.clone(),
            apiserver_arguments: arguments,
            port,
            etcd_ports: [etcd_port, peer_port],
            audited: Mutex::default(),
        };
        local.start_apiserver(folder).await?;
        if let Some(program) = binaries.kube_controller_manager.as_ref().filter(|_| options.controller_manager) {
            local.controller_manager = Some(Process::start(
                "kube-controller-manager",
                program,
                binaries.exit_with_stdin,
                &controller_manager_arguments(folder),
                folder,
            )?);
        }
        Ok(local)
    }

    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(super) fn audit_entries(
        &self,
        folder: &Path,
        mut is_wanted: impl FnMut(&AuditEntry) -> bool,
    ) -> Result<Vec<AuditEntry>> {
        let mut log = self.audited.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = log.up_to_date(&folder.join("audit.log"))?;
        Ok(entries.iter().filter(|entry| is_wanted(entry)).cloned().collect())
    }

    pub(super) fn stop_apiserver(&self) {
        *self.apiserver() = None;
    }

    pub(super) async fn start_apiserver(&self, folder: &Path) -> Result<()> {
        let process = Process::start(
            "kube-apiserver",
            &self.binaries.kube_apiserver,
            self.binaries.exit_with_stdin,
            &self.apiserver_arguments,
            folder,
        )?;
        *self.apiserver() = Some(process);
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            match &mut *self.apiserver() {
                Some(process) => process.check_running()?,
                None => bail!("kube-apiserver was stopped while it started"),
            }
            let answer = is_ready(folder).await;
            match answer {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    let log = self.apiserver().as_ref().map(Process::log_tail).unwrap_or_default();
                    bail!("kube-apiserver is not ready after {START_DEADLINE:?}: {error:#}; its log ends with\n{log}");
                }
                Err(_) => sleep(POLL).await,
            }
        }
    }

    /// Stops everything but the controller manager and copies what etcd has stored to a folder of its own, or back from
    /// there; then starts again.
    pub(super) async fn copy_etcd(&self, folder: &Path, from: &str, to: &str) -> Result<()> {
        self.stop_apiserver();
        *self.etcd.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (from, to) = (folder.join(from), folder.join(to));
        if to.exists() {
            fs::remove_dir_all(&to).context("remove etcd's former data")?;
        }
        copy(&from, &to).context("copy etcd's data")?;
        let [port, peer_port] = self.etcd_ports;
        let etcd = start_etcd(&self.binaries, folder, port, peer_port).await?;
        *self.etcd.lock().unwrap_or_else(PoisonError::into_inner) = Some(etcd);
        self.start_apiserver(folder).await
    }

    /// Nothing is left half done under this lock, so a panic elsewhere does not spoil it.
    fn apiserver(&self) -> MutexGuard<'_, Option<Process>> {
        self.apiserver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Starts etcd and waits until it answers. That another etcd answers on its port must not pass for success, since an
/// API server would join that one's cluster without a word: hence a name that only ours has.
async fn start_etcd(binaries: &Binaries, folder: &Path, port: u16, peer_port: u16) -> Result<Process> {
    let name = folder.file_name().context("the folder has no name")?.to_string_lossy();
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
    let arguments = [
        format!("--name={name}"),
        "--data-dir=etcd".into(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={name}={peer}"),
        "--unsafe-no-fsync".into(),
        "--log-level=error".into(),
    ];
    let mut etcd = Process::start("etcd", &binaries.etcd, binaries.exit_with_stdin, &arguments, folder)?;
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        etcd.check_running()?;
        match etcd_members(port).await {
            Ok(members) if members.contains(&format!("\"name\":\"{name}\"")) => return Ok(etcd),
            Ok(members) if !members.is_empty() && members.contains("\"members\"") => {
                bail!("another etcd answers on port {port} (address already in use)");
            }
            _ if Instant::now() > deadline => {
                bail!("etcd does not answer after {START_DEADLINE:?}; its log ends with\n{}", etcd.log_tail());
            }
            _ => sleep(POLL).await,
        }
    }
}

/// Asks etcd's JSON gateway who is in its cluster. Answered only once there is a leader.
async fn etcd_members(port: u16) -> Result<String> {
    let request =
        "POST /v3/cluster/member/list HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(Duration::from_secs(5), exchange).await.context("etcd does not answer")?
}

async fn is_ready(folder: &Path) -> Result<()> {
    let client = client_from(&Identity::Admin.kubeconfig(folder)).await?;
    let request = Request::get("/readyz").body(Vec::new()).context("build a request")?;
    timeout(Duration::from_secs(5), client.request_text(request)).await.context("no answer")?.context("ask /readyz")?;
    Ok(())
}

/// Paths are relative to the folder, in which the process runs.
fn apiserver_arguments(port: u16, etcd_port: u16) -> Vec<String> {
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".into(),
        // A machine without a network has no other address to advertise, and nothing here uses the kubernetes Service.
        "--advertise-address=127.0.0.1".into(),
        "--endpoint-reconciler-type=none".into(),
        "--cert-dir=certificates".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--service-account-signing-key-file=sa.key".into(),
        "--service-account-key-file=sa.pub".into(),
        "--token-auth-file=tokens.csv".into(),
        "--authorization-mode=RBAC".into(),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        "--allow-privileged=true".into(),
        "--audit-policy-file=audit-policy.yaml".into(),
        "--audit-log-path=audit.log".into(),
        // Megabytes; a log that is rotated away would make counts too small.
        "--audit-log-maxsize=2000".into(),
    ]
}

fn controller_manager_arguments(folder: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", Identity::ControllerManager.kubeconfig(folder).display()),
        "--secure-port=0".into(),
        "--service-account-private-key-file=sa.key".into(),
        format!("--root-ca-file={}", authority(folder).display()),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
        "--controllers=*,-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller,\
         -service-lb-controller"
            .into(),
    ]
}
