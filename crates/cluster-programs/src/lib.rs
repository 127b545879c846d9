//! The programs of a Kubernetes cluster, built from Go modules in `tests/controlplane`: once for each state of these
//! sources, each program when somebody asks for it, into `$XDG_CACHE_HOME/zoho-operator/controlplane/` (`~/.cache` by
//! default).

mod build;
pub mod mortal;
mod sources;

use std::env;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::mortal::Remover;
use self::sources::Sources;

/// A program; each behaves as the part whose name it is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// etcd, kube-apiserver and kube-controller-manager.
    ControlPlane,
    /// kubectl, which is started often: alone, it is there in half the time.
    Kubectl,
    /// helm, which the tests need as well.
    Helm,
    /// kubelet, kube-proxy and kube-scheduler, for a node.
    Node,
}

impl Program {
    const ALL: [Self; 4] = [Self::ControlPlane, Self::Kubectl, Self::Helm, Self::Node];

    /// What a control plane is used with: all that the demo needs.
    pub const OF_DEMO: [Self; 2] = [Self::ControlPlane, Self::Kubectl];

    /// The program of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.name() == name)
    }

    /// Its folder in `tests/controlplane`, and its file.
    fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::Node => "node",
        }
    }

    /// What it is called by.
    fn parts(self) -> &'static [&'static str] {
        match self {
            Self::ControlPlane => &["etcd", "kube-apiserver", "kube-controller-manager"],
            Self::Kubectl => &["kubectl"],
            Self::Helm => &["helm"],
            Self::Node => &["kubelet", "kube-proxy", "kube-scheduler"],
        }
    }

    fn is_in(self, folder: &Path) -> bool {
        self.parts().iter().all(|part| folder.join(part).is_file())
    }
}

/// The folder with the programs, which are built unless they are there. `progress` gets a line now and then while that
/// takes long. Processes that need the same program wait for each other.
///
/// # Errors
///
/// When Go is missing or too old, with the version that is needed; when a build fails, with its last lines.
pub fn locate_or_build(programs: &[Program], progress: impl Fn(&str)) -> Result<PathBuf> {
    let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/controlplane"))?;
    let cache = cache_folder()?;
    let folder = cache.join(&sources.hash);
    for program in programs {
        if !program.is_in(&folder) {
            build_once(*program, &sources, &cache, &progress)?;
        }
    }
    Ok(folder)
}

fn build_once(program: Program, sources: &Sources, cache: &Path, progress: &impl Fn(&str)) -> Result<()> {
    let folder = cache.join(&sources.hash);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let name = format!("{}.{}", sources.hash, program.name());
    let lock = File::create(cache.join(format!("{name}.lock"))).context("create the build's lock file")?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress(&format!("another process is building {}, waiting for it", program.parts().join(", ")));
            lock.lock().context("wait for the other build")?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("lock the build"),
    }
    if program.is_in(&folder) {
        return Ok(());
    }
    // Under the lock nobody else uses this name. Whoever interrupts this process wants no remains.
    let unfinished = cache.join(format!("{name}.unfinished"));
    let _remover = Remover::start(&unfinished)?;
    build::build(program, sources, &unfinished, progress)?;
    fs::rename(&unfinished, folder.join(format!("{}.program", program.name()))).context("move the program")?;
    for part in program.parts() {
        let link = folder.join(part);
        // There may be one of a program that was deleted.
        let _ = fs::remove_file(&link);
        symlink(format!("{}.program", program.name()), &link).with_context(|| format!("link {part}"))?;
    }
    Ok(())
}

fn cache_folder() -> Result<PathBuf> {
    let base = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => {
            bail!("neither XDG_CACHE_HOME nor HOME says where to keep the cluster's programs")
        }
    };
    Ok(base.join("zoho-operator/controlplane"))
}

/// An environment variable; absent when empty.
pub fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "says where test programs are; the product has no such settings")]
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_the_names_of_their_folders() {
        for program in Program::ALL {
            assert_eq!(Program::named(program.name()), Some(program));
            let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/controlplane").join(program.name());
            let main = fs::read_to_string(main.join("main.go")).expect("it has a main package");
            for part in program.parts() {
                assert!(main.contains(&format!("\"{part}\":")), "{part} is not a part of {}", program.name());
            }
        }
        assert_eq!(Program::named("kubelet"), None);
    }
}
