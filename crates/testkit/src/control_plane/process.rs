//! Child processes that live as long as the process that started them, and no longer.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cluster_programs::mortal::mortal;

/// Programs in Go collect their garbage less often than they would: it was an eighth of the API server's time, and costs some
/// hundred megabytes.
const GARBAGE_COLLECTION: (&str, &str) = ("GOGC", "300");

/// A running program whose output goes to a file. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    log: PathBuf,
    child: Child,
    /// The pipe whose end tells the child to exit.
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts `program`, which must exit by itself when its standard input ends (told so by `EXIT_WITH_STDIN`) or else
    /// gets a shell beside it that sees to that. The log is appended to.
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        exits_with_stdin: bool,
        arguments: &[String],
        folder: &Path,
    ) -> Result<Self> {
        let mut command = if exits_with_stdin {
            let mut command = Command::new(program);
            command.env("EXIT_WITH_STDIN", "1");
            command
        } else {
            mortal(program)
        };
        command.args(arguments).env(GARBAGE_COLLECTION.0, GARBAGE_COLLECTION.1);
        Self::spawn(name, command, folder)
    }

    /// Starts a command that ends with its standard input, see [`mortal`], with its log in `folder`.
    pub(crate) fn spawn(name: &'static str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).context("open the log")?;
        let mut child = command
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().context("share the log")?)
            .stderr(output)
            // Ctrl-C in the terminal is for the parent, which may still need the API server to finish.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        let stdin = child.stdin.take();
        Ok(Self { name, log, child, stdin })
    }

    /// Fails with the end of the log if the process is no longer running.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().with_context(|| format!("ask for the state of {}", self.name))? {
            bail!("{} ended with {status}; its log ends with\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Asks the process to end (SIGTERM) and waits until it has; `None` when it has not `within`.
    pub(crate) async fn terminate(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let ask_state = || format!("ask for the state of {}", self.name);
        if let Some(status) = self.child.try_wait().with_context(ask_state)? {
            return Ok(Some(status));
        }
        // The shell's own kill: not every machine has it as a program.
        let asked = Command::new("sh").args(["-c", r#"kill -TERM "$1""#, "sh", &self.child.id().to_string()]).status();
        asked.context("run kill")?;
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().with_context(ask_state)? {
                return Ok(Some(status));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(None)
    }

    /// Everything the process wrote.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The last lines the process wrote.
    pub(crate) fn log_tail(&self) -> String {
        last_lines(&self.log(), 20)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to do about failures here: they mean that the process is gone already.
        let _ = self.child.kill();
        // Before the process id is given back by waiting: the shell beside a foreign program kills by that id.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// Loopback ports nobody listens on at the moment, all different.
pub(super) fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// The end of a text, for error messages.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
