//! The operator as a program beside the demo, killed when the demo ends, in whichever way.

use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cluster_programs::mortal::mortal;
use tokio::time::sleep;

use super::NAMESPACE;
use crate::control_plane::process::Process;

/// What the log says once the operator knows all objects.
const LISTED: &str = "watches have listed";
/// Far more than a start takes.
const START_WITHIN: Duration = Duration::from_secs(30);
/// The operator gives itself 20 s to finish what is in flight.
const STOP_WITHIN: Duration = Duration::from_secs(25);

/// A running operator.
#[derive(Debug)]
pub(super) struct Operator {
    process: Process,
}

impl Operator {
    /// Starts the operator. Its log is `<name>.log` in `folder`.
    pub(super) fn start(name: &'static str, kubeconfig: &Path, accounts_url: &str, folder: &Path) -> Result<Self> {
        let mut command = mortal(&program()?);
        // Settings for another operator are not for this one.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ZOHO_OPERATOR_")) {
            command.env_remove(name);
        }
        command
            .args(arguments(accounts_url))
            .args(["--health-probe-bind-address", "127.0.0.1:0", "--metrics-bind-address", "0", "--log-format", "text"])
            // It is killed in the story, and its successor should not wait for a lease to run out.
            .arg("--leader-elect=false")
            .env("KUBECONFIG", kubeconfig)
            // Its log is shown when something fails.
            .env("NO_COLOR", "1");
        Ok(Self { process: Process::spawn(name, command, folder)? })
    }

    /// Waits until it has listed everything.
    pub(super) async fn listed(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        while !self.process.log().contains(LISTED) {
            self.process.check_running()?;
            if Instant::now() > deadline {
                bail!("expected: \"{LISTED}\" in the operator's log within {START_WITHIN:?}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// SIGKILL: no chance to tidy up.
    pub(super) fn kill(self) {
        drop(self);
    }

    /// SIGTERM; the operator must end by itself and say that all is well.
    pub(super) async fn stop(mut self) -> Result<Duration> {
        let started = Instant::now();
        let status = self.process.terminate(STOP_WITHIN).await?;
        let status =
            status.with_context(|| format!("expected: the operator ends within {STOP_WITHIN:?} of SIGTERM"))?;
        ensure!(status.success(), "expected: the operator ends with exit code 0\nseen:     {status}");
        Ok(started.elapsed())
    }

    /// The end of its log.
    pub(super) fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

/// The arguments that matter to the story.
pub(super) fn arguments(accounts_url: &str) -> [String; 4] {
    let accounts_url = format!("US={accounts_url}");
    ["--watch-namespaces".into(), NAMESPACE.into(), "--accounts-url".into(), accounts_url]
}

/// The operator beside this very program, where cargo puts both.
fn program() -> Result<PathBuf> {
    let demo = env::current_exe().context("ask where the demo is")?;
    let program = demo.with_file_name("zoho-operator");
    ensure!(
        program.is_file(),
        "there is no {}: build it with cargo build --features testing --bin zoho-operator",
        program.display()
    );
    Ok(program)
}
