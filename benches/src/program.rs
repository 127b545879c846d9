//! A controller as a process: what it is started with, and what it has used.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use procfs::process::Process;
use rustix::process::{Pid, Signal, kill_process};

/// Killed when dropped.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

/// What a process has used since it started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// Time on processors.
    pub(crate) cpu: Duration,
    /// Most memory at once, in bytes.
    pub(crate) peak: u64,
}

impl Program {
    /// `command`: one that ends with its standard input, see [`cluster_programs::mortal`].
    pub(crate) fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Fails where it has ended.
    pub(crate) fn used(&self) -> Result<Used> {
        let process = Process::new(self.child.id().cast_signed()).context("find the controller's process")?;
        let (stat, status) = (process.stat()?, process.status()?);
        ensure!(stat.state != 'Z', "the controller has ended: {}", std::fs::read_to_string(&self.log)?);
        let ticks = Duration::from_secs(1) / u32::try_from(procfs::ticks_per_second())?;
        Ok(Used { cpu: ticks * u32::try_from(stat.utime + stat.stime)?, peak: status.vmhwm.unwrap_or_default() * 1024 })
    }

    /// Stops it as a suspended machine does.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a process has a number")?;
        kill_process(pid, signal).context("signal the controller")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
