//! Who is measured: the operator, or another controller that a folder describes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use cluster_programs::mortal::mortal;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use zoho_testkit::control_plane::OPERATOR_NAMESPACE;

use super::program::Program;
use super::stage::{NAMESPACE, Stage, until};

/// What the operator's log says once it knows all objects.
const LISTED: &str = "watches have listed";

/// The operator's object.
const OURS: &str = "{apiVersion: zoho-operator.dev/v1alpha1, kind: ZohoCredential, metadata: {name: '${NAME}', namespace: '${NAMESPACE}'}, spec: {dataCenter: US, secretRef: {name: '${SOURCE}'}, target: {name: '${TARGET}'}}}";

/// See the module.
pub(crate) struct Subject {
    /// What it is called in the table.
    pub(crate) name: String,
    /// Applied before it starts; empty where the stage has all it needs.
    setup: String,
    object: String,
    program: PathBuf,
    /// It is zoho-operator, with flags and a log that are known.
    is_ours: bool,
}

impl Subject {
    pub(crate) fn ours(program: &Path) -> Self {
        let (setup, object) = (String::new(), OURS.to_owned());
        Self { name: "zoho-operator".into(), setup, object, program: program.to_owned(), is_ours: true }
    }

    /// Another controller: `setup.yaml`, applied first; `object.yaml`, of which one is created for each credential;
    /// `run`, the program or what starts it, with KUBECONFIG, NAMESPACE and `TOKEN_URL` in its environment.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            fs::read_to_string(folder.join(name)).with_context(|| format!("read {}", folder.join(name).display()))
        };
        let name = folder.file_name().map_or("peer".into(), |name| name.to_string_lossy().into_owned());
        let program = folder.join("run").canonicalize().context("find the peer's program, run")?;
        Ok(Self { name, setup: read("setup.yaml")?, object: read("object.yaml")?, program, is_ours: false })
    }

    /// Starts it, and waits until it works as far as that can be seen. Returns how long that took, too.
    pub(crate) async fn start(&self, stage: &Stage, flags: &[&str]) -> Result<(Program, std::time::Duration)> {
        if !self.setup.is_empty() {
            stage.cluster.apply_yaml(&filled(&self.setup, stage, 0)).await.context("apply the peer's setup.yaml")?;
        }
        let number = fs::read_dir(stage.cluster.folder())?.count();
        let log = stage.cluster.folder().join(format!("controller-{number}.log"));
        let mut command: Command = mortal(&self.program);
        command
            .env("KUBECONFIG", stage.cluster.operator_kubeconfig_path())
            .env("NAMESPACE", NAMESPACE)
            .env("TOKEN_URL", token_url(stage))
            .env("NO_COLOR", "1");
        if self.is_ours {
            command
                .args([
                    "--operator-namespace",
                    OPERATOR_NAMESPACE,
                    "--accounts-url",
                    &format!("US={}", stage.zoho.url()),
                ])
                .args([
                    "--health-probe-bind-address",
                    "127.0.0.1:0",
                    "--metrics-bind-address",
                    "0",
                    "--leader-elect=false",
                ])
                .args(["--log-level", "info"])
                .args(flags);
        }
        let started = Instant::now();
        let program = Program::spawn(command, &log)?;
        if self.is_ours {
            until("the operator has listed", async || {
                program.used()?;
                Ok(fs::read_to_string(&log)?.contains(LISTED).then_some(()))
            })
            .await?;
        } else {
            // What its log says is not known: whatever it does at its start is over by then.
            tokio::time::sleep(std::time::Duration::from_secs(10)).await;
            program.used()?;
        }
        Ok((program, started.elapsed()))
    }

    /// The object of a credential.
    pub(crate) fn object(&self, stage: &Stage, number: usize) -> Result<DynamicObject> {
        serde_saphyr::from_str(&filled(&self.object, stage, number)).context("read object.yaml")
    }

    /// The kind of its objects.
    pub(crate) async fn kind(&self, stage: &Stage) -> Result<ApiResource> {
        let types = self.object(stage, 0)?.types.context("object.yaml has apiVersion and kind")?;
        let kind = GroupVersionKind::try_from(&types).context("understand object.yaml's apiVersion")?;
        let (resource, _) = kube::discovery::pinned_kind(&stage.client, &kind).await.context("find its kind")?;
        Ok(resource)
    }

    /// Where its objects are.
    pub(crate) async fn api(&self, stage: &Stage) -> Result<Api<DynamicObject>> {
        Ok(Api::namespaced_with(stage.client.clone(), NAMESPACE, &self.kind(stage).await?))
    }

    /// Creates the object of a credential.
    pub(crate) async fn create(&self, api: &Api<DynamicObject>, stage: &Stage, number: usize) -> Result<()> {
        let object = self.object(stage, number)?;
        api.create(&PostParams::default(), &object).await.with_context(|| format!("create object {number}"))?;
        Ok(())
    }
}

/// A template with what belongs to a credential in its places.
fn filled(template: &str, stage: &Stage, number: usize) -> String {
    template
        .replace("${NAME}", &format!("c-{number}"))
        .replace("${NAMESPACE}", NAMESPACE)
        .replace("${SOURCE}", &format!("source-{number}"))
        .replace("${TARGET}", &target(number))
        .replace("${TOKEN_URL}", &token_url(stage))
}

/// The Secret that is waited for.
pub(crate) fn target(number: usize) -> String {
    format!("target-{number}")
}

/// Where tokens are asked for.
pub(crate) fn token_url(stage: &Stage) -> String {
    format!("{}/oauth/v2/token", stage.zoho.url())
}
