//! Runs `go build` and says how far it is.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::Program;
use crate::mortal::mortal;
use crate::sources::{Sources, is_at_least};

/// How often the progress is told.
const EVERY: Duration = Duration::from_secs(15);
/// Debugging information would be thrown away by the linker: not writing it saves a tenth of the time.
const COMPILER_FLAGS: &str = "all=-dwarf=false";
/// The compiler collects its garbage less often than it would, which saves another tenth for some memory.
const GARBAGE_COLLECTION: (&str, &str) = ("GOGC", "400");
/// Packages that two cores compile in a second, measured from an empty cache.
const PACKAGES_A_SECOND: usize = 7;

/// Builds a program into the file `output`.
pub(crate) fn build(program: Program, sources: &Sources, output: &Path, progress: &impl Fn(&str)) -> Result<()> {
    check_go(&sources.folder, &sources.versions.go)?;
    let parts = program.parts().join(", ");
    progress(&format!("building {parts} of {}, once", version(program, sources)));
    let total = to_compile(program, sources, progress)?;
    progress(&format!("{parts}: {}", expected(total)));
    let mut counter = Counter { parts, total, compiled: 0, began: Instant::now() };
    let mut go = go_command(sources, "build");
    go.args(["-v", "-ldflags", &sources.versions.linker_flags(), "-o"]).arg(output).arg(package(program));
    run(go, progress, |line| counter.line(line))?;
    progress(&format!("{} built in {}", counter.parts, spoken(counter.began.elapsed())));
    Ok(())
}

fn version(program: Program, sources: &Sources) -> String {
    match program {
        Program::ControlPlane | Program::Kubectl | Program::Node => {
            format!("Kubernetes {}", sources.versions.kubernetes)
        }
        Program::Helm => format!("Helm {}", sources.versions.helm),
    }
}

fn package(program: Program) -> String {
    format!("./{}", program.name())
}

/// A go command whose flags are those of all programs, so that they share what is compiled.
fn go_command(sources: &Sources, verb: &str) -> Command {
    let mut go = mortal(Path::new("go"));
    go.args([verb, "-trimpath", "-buildvcs=false", "-gcflags", COMPILER_FLAGS])
        .current_dir(&sources.folder)
        .env("GOWORK", "off")
        .env(GARBAGE_COLLECTION.0, GARBAGE_COLLECTION.1);
    go
}

/// How many packages have to be compiled; downloads the modules first where they are not there.
fn to_compile(program: Program, sources: &Sources, progress: &impl Fn(&str)) -> Result<usize> {
    let (mut downloaded, began) = (0_usize, Instant::now());
    let mut download = mortal(Path::new("go"));
    download.args(["list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", &package(program)]);
    download.current_dir(&sources.folder).env("GOWORK", "off");
    run(download, progress, |line| {
        downloaded += usize::from(line.starts_with("go: downloading "));
        format!("{downloaded} modules downloaded after {}", spoken(began.elapsed()))
    })?;
    let mut list = go_command(sources, "list");
    list.args(["-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"]).arg(package(program));
    Ok(run(list, progress, |_| "looking for what has to be compiled".into())?
        .lines()
        .filter(|line| !line.is_empty())
        .count())
}

/// What to expect of that many packages.
fn expected(packages: usize) -> String {
    let minutes = packages.div_ceil(PACKAGES_A_SECOND).div_ceil(60);
    match minutes {
        0 | 1 => format!("{packages} packages to compile, less than a minute on two cores"),
        _ => format!("{packages} packages to compile, about {minutes} minutes on two cores"),
    }
}

/// Counts what `go build -v` names: the packages, as they are compiled.
struct Counter {
    parts: String,
    total: usize,
    compiled: usize,
    began: Instant,
}

impl Counter {
    fn line(&mut self, line: &str) -> String {
        self.compiled += usize::from(is_package(line));
        let Self { parts, total, compiled, began } = self;
        let elapsed = spoken(began.elapsed());
        if compiled < total {
            format!("{parts}: {compiled} of {total} packages compiled after {elapsed}")
        } else {
            format!("{parts}: linking, after {elapsed}")
        }
    }
}

/// Is the line the import path of a package, and not a message?
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.contains([' ', ':', '#'])
}

/// `45 s`, `2 min 5 s`.
fn spoken(span: Duration) -> String {
    match (span.as_secs() / 60, span.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// Runs a command to its end and returns what it printed. `on_line` gets the lines on standard error and says how far
/// things are, which is passed on now and then.
fn run(mut command: Command, progress: &impl Fn(&str), mut on_line: impl FnMut(&str) -> String) -> Result<String> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("run go")?;
    // Held open: the command is killed when this ends.
    let stdin = child.stdin.take();
    let stderr = child.stderr.take().context("go has no standard error")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens any more when the other side has failed.
        BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let stdout = child.stdout.take().context("go has no standard output")?;
    let output = thread::spawn(move || std::io::read_to_string(stdout));
    let (mut messages, mut far) = (Vec::new(), on_line(""));
    let mut next = Instant::now() + EVERY;
    loop {
        match lines.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                far = on_line(&line);
                if !is_package(&line) {
                    messages.push(line);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                far = on_line("");
                progress(&far);
                next = Instant::now() + EVERY;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().context("wait for go")?;
    drop(stdin);
    let last = messages.len().saturating_sub(20);
    ensure!(
        status.success(),
        "building {} failed ({far}):\n{}",
        command.get_args().last().unwrap_or_default().display(),
        messages[last..].join("\n")
    );
    match output.join() {
        Ok(output) => output.context("read what go says"),
        Err(_) => bail!("reading what go says failed"),
    }
}

/// Fails with one line that helps when the `go` command cannot build the module.
fn check_go(sources: &Path, needed: &str) -> Result<()> {
    let remedy = "install it from https://go.dev/dl/ and put its bin folder on PATH, \
                  or set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver";
    // Asked inside the module, a newer `go` command that may download toolchains answers with the one it would use.
    let Ok(output) = Command::new("go").args(["env", "GOVERSION"]).current_dir(sources).output() else {
        bail!("Go {needed} or newer is needed to build the control plane, and there is no go command: {remedy}");
    };
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        output.status.success() && is_at_least(&found, needed),
        "Go {needed} or newer is needed to build the control plane, but the go command is {}: {remedy}",
        if found.is_empty() { "older" } else { &found }
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_counted_and_messages_are_not() {
        let mut counter = Counter { parts: "helm".into(), total: 3, compiled: 0, began: Instant::now() };
        for line in
            ["internal/goarch", "go: downloading k8s.io/api v0.36.3", "k8s.io/api/core/v1", "# k8s.io/api/core/v1", ""]
        {
            counter.line(line);
        }
        assert_eq!(counter.line(""), "helm: 2 of 3 packages compiled after 0 s");
        assert_eq!(counter.line("controlplane/helm"), "helm: linking, after 0 s");
    }

    #[test]
    fn what_to_expect_grows_with_what_is_to_be_done() {
        assert_eq!(expected(0), "0 packages to compile, less than a minute on two cores");
        assert_eq!(expected(2700), "2700 packages to compile, about 7 minutes on two cores");
        assert_eq!(spoken(Duration::from_secs(125)), "2 min 5 s");
    }
}
