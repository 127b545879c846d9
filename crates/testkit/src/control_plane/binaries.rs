//! Where the control plane's programs come from: built from `tests/controlplane`, or a folder that is already there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cluster_programs::{Program, locate_or_build, variable};

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
    /// helm, either a path or a bare name to be found in `PATH`; `None` where it is built when somebody asks for it.
    pub helm: Option<PathBuf>,
    /// Whether the programs exit when their standard input ends, as those built here do.
    pub(super) exit_with_stdin: bool,
}

impl Binaries {
    /// Takes the programs in `KUBEBUILDER_ASSETS` when that is set, else those of [`cluster_programs`], which are built
    /// unless they are there. `progress` gets a line now and then while that takes long.
    ///
    /// # Errors
    ///
    /// See [`locate_or_build`].
    pub fn locate_or_build(progress: impl Fn(&str)) -> Result<Self> {
        match variable("KUBEBUILDER_ASSETS") {
            Some(folder) => Self::in_assets(Path::new(&folder), progress),
            None => Ok(Self::in_folder(&locate_or_build(&Program::OF_DEMO, progress)?)),
        }
    }

    /// kubectl and helm from `PATH`, for a cluster that runs already.
    pub(super) fn on_path() -> Self {
        Self {
            etcd: "etcd".into(),
            kube_apiserver: "kube-apiserver".into(),
            kube_controller_manager: None,
            kubectl: "kubectl".into(),
            helm: Some("helm".into()),
            exit_with_stdin: false,
        }
    }

    fn in_folder(folder: &Path) -> Self {
        Self {
            etcd: folder.join("etcd"),
            kube_apiserver: folder.join("kube-apiserver"),
            kube_controller_manager: Some(folder.join("kube-controller-manager")),
            kubectl: folder.join("kubectl"),
            helm: None,
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
            helm: Some(present("helm").unwrap_or_else(|| "helm".into())),
            exit_with_stdin: false,
        };
        if binaries.kube_controller_manager.is_none() {
            progress("KUBEBUILDER_ASSETS has no kube-controller-manager: no garbage collection, no namespace deletion");
        }
        Ok(binaries)
    }

    /// helm, built unless it is there.
    pub(super) fn helm(&self, progress: impl Fn(&str)) -> Result<PathBuf> {
        match &self.helm {
            Some(path) => Ok(path.clone()),
            None => Ok(locate_or_build(&[Program::Helm], progress)?.join("helm")),
        }
    }
}
