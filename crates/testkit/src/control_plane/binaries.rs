//! Where the control plane's programs come from: built from `tests/controlplane`, or a folder that is already there.

use std::env;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::process::{Remover, last_lines, mortal};

/// The names under which the Go program is linked; each behaves as the program it is named after.
const PARTS: [&str; 8] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl", "helm"];

/// The programs a control plane is made of.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// etcd.
    pub etcd: PathBuf,
    /// kube-apiserver.
    pub kube_apiserver: PathBuf,
    /// kube-controller-manager. Without it nothing is garbage-collected and no namespace ever goes away.
    pub kube_controller_manager: Option<PathBuf>,
    /// kubectl, either a path or a bare name to be found in `PATH`.
    pub kubectl: PathBuf,
    /// helm, either a path or a bare name to be found in `PATH`.
    pub helm: PathBuf,
    /// Whether the programs exit when their standard input ends, as those built here do.
    pub(super) exit_with_stdin: bool,
}

impl Binaries {
    /// Takes the programs in `KUBEBUILDER_ASSETS` when that is set, else builds `tests/controlplane`, once for each
    /// state of its sources, into `$XDG_CACHE_HOME/zoho-operator/controlplane/` (`~/.cache` by default).
    ///
    /// `progress` is told what takes long. Processes that need the same build wait for each other.
    ///
    /// # Errors
    ///
    /// When Go is missing or too old, with the version that is needed; when the build fails, with its last lines.
    pub fn locate_or_build(progress: impl Fn(&str)) -> Result<Self> {
        match variable("KUBEBUILDER_ASSETS") {
            Some(folder) => Self::in_assets(Path::new(&folder), progress),
            None => Ok(Self::in_folder(&build(progress)?)),
        }
    }

    /// kubectl and helm from `PATH`, for a cluster that runs already.
    pub(super) fn on_path() -> Self {
        Self {
            etcd: "etcd".into(),
            kube_apiserver: "kube-apiserver".into(),
            kube_controller_manager: None,
            kubectl: "kubectl".into(),
            helm: "helm".into(),
            exit_with_stdin: false,
        }
    }

    fn in_folder(folder: &Path) -> Self {
        Self {
            etcd: folder.join("etcd"),
            kube_apiserver: folder.join("kube-apiserver"),
            kube_controller_manager: Some(folder.join("kube-controller-manager")),
            kubectl: folder.join("kubectl"),
            helm: folder.join("helm"),
            exit_with_stdin: true,
        }
    }

    fn in_assets(folder: &Path, progress: impl Fn(&str)) -> Result<Self> {
        let present = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let needed =
            |name| present(name).with_context(|| format!("no {name} in KUBEBUILDER_ASSETS={}", folder.display()));
        let binaries = Self {
            etcd: needed("etcd")?,
            kube_apiserver: needed("kube-apiserver")?,
            kube_controller_manager: present("kube-controller-manager"),
            kubectl: present("kubectl").unwrap_or_else(|| "kubectl".into()),
            helm: present("helm").unwrap_or_else(|| "helm".into()),
            exit_with_stdin: false,
        };
        if binaries.kube_controller_manager.is_none() {
            progress("KUBEBUILDER_ASSETS has no kube-controller-manager: no garbage collection, no namespace deletion");
        }
        Ok(binaries)
    }
}

/// An environment variable; absent when empty.
pub(super) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "says where test programs are; the product has no such settings")]
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Builds the Go program unless it is there, and returns the folder with the program and its links.
fn build(progress: impl Fn(&str)) -> Result<PathBuf> {
    let sources = crate::repository().join("tests/controlplane");
    let cache = cache_folder()?;
    let hash = hash_of(&sources)?;
    let folder = cache.join(&hash);
    if folder.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let lock = File::create(cache.join(format!("{hash}.lock"))).context("create the build's lock file")?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress("another process is building the control plane, waiting for it");
            lock.lock().context("wait for the other build")?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("lock the build"),
    }
    if folder.exists() {
        return Ok(folder);
    }

    let go_mod = GoMod::parse(&fs::read_to_string(sources.join("go.mod")).context("read go.mod")?)?;
    check_go(&sources, &go_mod.go)?;
    progress(&format!(
        "building the control plane of Kubernetes {} into {}: once, 5 to 10 minutes with a cold Go cache",
        go_mod.kubernetes,
        folder.display()
    ));
    let unfinished = tempfile::Builder::new()
        .prefix(&format!("{hash}.unfinished-"))
        .tempdir_in(&cache)
        .context("create a folder to build in")?;
    // Whoever interrupts this process wants neither a build that goes on in the background nor its remains.
    let _remover = Remover::start(unfinished.path())?;
    let mut go = mortal(Path::new("go"))
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", &go_mod.linker_flags(), "-o"])
        .arg(unfinished.path().join("controlplane"))
        .arg(".")
        .current_dir(&sources)
        .env("GOWORK", "off")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run go build")?;
    let stdin = go.stdin.take();
    let output = go.wait_with_output().context("wait for go build")?;
    drop(stdin);
    ensure!(
        output.status.success(),
        "go build in {} failed:\n{}",
        sources.display(),
        last_lines(&String::from_utf8_lossy(&output.stderr), 20)
    );
    for part in PARTS {
        symlink("controlplane", unfinished.path().join(part)).with_context(|| format!("link {part}"))?;
    }
    fs::rename(unfinished.keep(), &folder).with_context(|| format!("move the build to {}", folder.display()))?;
    progress("the control plane is built");
    Ok(folder)
}

fn cache_folder() -> Result<PathBuf> {
    let base = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => {
            bail!("neither XDG_CACHE_HOME nor HOME says where to keep the control plane's programs")
        }
    };
    Ok(base.join("zoho-operator/controlplane"))
}

/// A name for the state of the sources, short enough for a path.
fn hash_of(sources: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for name in ["go.mod", "go.sum", "main.go"] {
        let path = sources.join(name);
        hash.update(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        hash.update([0]);
    }
    let mut name = format!("{:x}", hash.finalize());
    name.truncate(16);
    Ok(name)
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

/// Compares `go1.26.8` with `1.26.0`, by numbers. What follows a number (`rc1`, `-custom`) counts for nothing.
fn is_at_least(found: &str, needed: &str) -> bool {
    let numbers = |version: &str| -> Vec<u32> {
        version
            .trim_start_matches("go")
            .split('.')
            .map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>())
            .map_while(|digits| digits.parse().ok())
            .collect()
    };
    let (found, needed) = (numbers(found), numbers(needed));
    !found.is_empty() && found >= needed
}

/// What `go.mod` says about versions, so that they are written down once.
#[derive(Debug, PartialEq, Eq)]
struct GoMod {
    /// Oldest Go that builds the module, like `1.26.0`.
    go: String,
    /// Kubernetes, like `v1.36.3`.
    kubernetes: String,
    /// Helm, like `v4.2.4`.
    helm: String,
}

impl GoMod {
    fn parse(text: &str) -> Result<Self> {
        let version_of = |module: &str| {
            text.lines()
                .map(str::trim)
                .filter(|line| !line.contains("=>"))
                .find_map(|line| line.strip_prefix(module)?.strip_prefix(' '))
                .and_then(|rest| rest.split_whitespace().next())
                .map(str::to_owned)
                .with_context(|| format!("go.mod has no line for {module}"))
        };
        Ok(Self {
            go: version_of("go")?,
            kubernetes: version_of("k8s.io/kubernetes")?,
            helm: version_of("helm.sh/helm/v4")?,
        })
    }

    /// Without these the programs report development versions, and clients draw conclusions from that.
    fn linker_flags(&self) -> String {
        let numbers: Vec<&str> = self.kubernetes.trim_start_matches('v').split('.').collect();
        let (major, minor) = (numbers.first().unwrap_or(&""), numbers.get(1).unwrap_or(&""));
        let package = "k8s.io/component-base/version";
        format!(
            "-s -w -X {package}.gitVersion={} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
             -X helm.sh/helm/v4/internal/version.version={}",
            self.kubernetes, self.helm
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_compare_by_number() {
        for (found, needed, expected) in [
            ("go1.26.0", "1.26.0", true),
            ("go1.26.8", "1.26.0", true),
            ("go1.100.0", "1.26.0", true),
            ("go1.27", "1.26.0", true),
            ("go2.0", "1.26.0", true),
            ("go1.26rc1", "1.26.0", false),
            ("go1.9.7", "1.26.0", false),
            ("go1.25.9", "1.26.0", false),
            ("devel", "1.26.0", false),
            ("", "1.26.0", false),
        ] {
            assert_eq!(is_at_least(found, needed), expected, "{found} for {needed}");
        }
    }

    #[test]
    fn versions_are_read_out_of_go_mod() {
        let text = "module m\n\ngo 1.26.0\n\nrequire (\n\thelm.sh/helm/v4 v4.2.4\n\tk8s.io/kubernetes v1.36.3 // indirect\n)\n\
                    replace (\n\tk8s.io/kubernetes => ../kubernetes\n)\n";
        let parsed = GoMod::parse(text).expect("complete");
        assert_eq!(parsed, GoMod { go: "1.26.0".into(), kubernetes: "v1.36.3".into(), helm: "v4.2.4".into() });
        assert!(parsed.linker_flags().contains("version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 "));
    }

    #[test]
    fn a_module_without_kubernetes_is_an_error() {
        let error = GoMod::parse("module m\ngo 1.26.0\n").expect_err("incomplete");
        assert_eq!(error.to_string(), "go.mod has no line for k8s.io/kubernetes");
    }
}
