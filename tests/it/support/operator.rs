//! An operator process: its signals, its memory, its log, its end.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use super::{DEADLINE, eventually};

/// See the module; killed when dropped.
pub(crate) struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    pub(super) fn spawn(command: &mut Command, log: PathBuf) -> Self {
        Self { child: command.spawn().expect("the operator starts"), log }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A field of memory in what the kernel says of it, such as `VmRSS:`, in MiB; `None` where there is no `/proc`.
    pub(crate) fn memory(&self, field: &str) -> Option<f64> {
        Some(f64::from(self.kibibytes(field)?) / 1024.0)
    }

    /// The same in KiB.
    pub(crate) fn kibibytes(&self, field: &str) -> Option<u32> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let kibibytes = status.lines().find_map(|line| line.strip_prefix(field))?;
        kibibytes.trim().trim_end_matches("kB").trim().parse().ok()
    }

    /// How it ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be asked")
    }

    fn end(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name, such as `STOP`. When this one returns, the process stands still: the kernel has to run a
    /// thread before it is stopped, and on a busy machine the others go on until then.
    pub(crate) fn signal(&self, name: &str) {
        let arguments = [format!("-{name}"), self.child.id().to_string()];
        let status = Command::new("kill").args(arguments).status().expect("kill runs");
        assert!(status.success());
        let sent = Instant::now();
        while name == "STOP" && self.threads().any(|state| state != 'T') {
            assert!(sent.elapsed() < DEADLINE, "not stopped: {:?}", self.threads().collect::<Vec<_>>());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The state of each thread, such as `S` for asleep and `T` for stopped.
    fn threads(&self) -> impl Iterator<Item = char> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it is there");
        // After the name, which is in brackets; a thread may have ended since it was listed.
        let state = |stat: String| stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        threads
            .flatten()
            .filter_map(move |thread| std::fs::read_to_string(thread.path().join("stat")).ok().and_then(state))
    }

    /// Has it become the leader?
    pub(crate) fn leads(&self) -> bool {
        self.log().contains("\"message\":\"leading\"")
    }

    /// Waits until it has become the leader.
    pub(crate) async fn leading(&self) -> &Self {
        eventually("the operator leads", async || self.leads().then_some(())).await;
        self
    }

    /// SIGTERM; returns the exit code and how long it took.
    pub(crate) async fn terminate(self) -> (Option<i32>, Duration) {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until it ends by itself with exit code 1; returns what it had to say.
    pub(crate) async fn log_at_the_end(self) -> String {
        let log = self.log.clone();
        let (code, _) = self.ended().await;
        assert_eq!(code, Some(1));
        std::fs::read_to_string(log).expect("the log can be read")
    }

    /// Waits until it ends by itself; returns the exit code and how long it took.
    pub(crate) async fn ended(mut self) -> (Option<i32>, Duration) {
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return (status.code(), started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not ended within {DEADLINE:?}\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log can be read")
    }

    /// Waits until it has started and listed everything.
    pub(crate) async fn synced(&self) -> &Self {
        eventually("the operator has listed", async || self.log().contains("watches have listed").then_some(())).await;
        self
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.end();
    }
}
