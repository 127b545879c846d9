//! What the story is played on: the cluster and what the demo made in it, the operator, and a Zoho.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use tokio::time::sleep;

use super::operator::Operator;
use super::screen::Screen;
use super::{CREDENTIAL, NAMESPACE, SOURCE, TARGET};
use crate::control_plane::{ControlPlane, OPERATOR_NAMESPACE, Options};
use zoho_api::{ZohoCredential, ZohoMintLedger, crd};
use zoho_simulator::Simulator;

/// The Secret that the operator makes for itself.
const HASH_KEY: &str = "zoho-operator-hash-key";
/// How often the cluster is asked whether something has come true.
const POLL: Duration = Duration::from_millis(50);

/// Everything that runs. Fields go away in this order.
pub(super) struct Stage {
    pub(super) operator: Option<Operator>,
    pub(super) cluster: Option<Cluster>,
    pub(super) zoho: Option<Simulator>,
}

/// The cluster of the demo.
pub(super) struct Cluster {
    control_plane: ControlPlane,
    client: Client,
    /// The context of the user's kubeconfig; `None` when the cluster is the demo's own.
    pub(super) context: Option<String>,
    /// What to delete in the user's cluster in the end, as arguments of `kubectl delete`, last first.
    made: Vec<Vec<String>>,
}

impl Stage {
    pub(super) fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("the first step brings the cluster up")
    }

    pub(super) fn zoho(&self) -> &Simulator {
        self.zoho.as_ref().expect("the second step starts the simulator")
    }

    /// Starts an operator in place of the one before and waits until it knows all objects.
    pub(super) async fn start_operator(&mut self, name: &'static str) -> Result<()> {
        let control_plane = &self.cluster().control_plane;
        let kubeconfig = control_plane.kubeconfig_path();
        let operator = Operator::start(name, &kubeconfig, &self.zoho().url(), control_plane.folder())?;
        self.operator.insert(operator).listed().await
    }

    /// The operator's last words, for a step that failed.
    pub(super) fn operator_log(&self) -> String {
        self.operator.as_ref().map(Operator::log_tail).unwrap_or_default()
    }

    /// Ends everything and leaves the user's cluster as it was.
    pub(super) async fn clear(mut self, screen: &Screen) -> Result<()> {
        let stopped = match self.operator.take() {
            Some(operator) => operator.stop().await.map(Some),
            None => Ok(None),
        };
        if let Some(cluster) = &mut self.cluster {
            cluster.clear(screen).await?;
        }
        if let Some(took) = stopped? {
            screen.done(&format!("The operator stopped after SIGTERM ({}).", seconds(took)));
        }
        drop(self);
        screen.done("No process is left running, no file is left behind.");
        Ok(())
    }
}

impl Cluster {
    /// A control plane of the demo's own, or the cluster that `KUBECONFIG` names.
    pub(super) async fn open(progress: fn(&str)) -> Result<Self> {
        let options = Options { progress, ..Options::from_env() };
        let context = if options.use_existing {
            let kubeconfig = Kubeconfig::from_env().context("read KUBECONFIG")?.unwrap_or_default();
            Some(kubeconfig.current_context.unwrap_or_else(|| "(none)".into()))
        } else {
            None
        };
        let control_plane = ControlPlane::start(options).await?;
        let client = control_plane.client().await?;
        Ok(Self { control_plane, client, context, made: Vec::new() })
    }

    /// `v1.36.3 at https://…`.
    pub(super) async fn describe(&self) -> Result<String> {
        let version = self.client.apiserver_version().await.context("ask the API server for its version")?;
        let kubeconfig = Kubeconfig::read_from(self.control_plane.kubeconfig_path()).context("read the kubeconfig")?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let url = config.context("understand the kubeconfig")?.cluster_url;
        Ok(format!("Kubernetes {} at {}", version.git_version, url.to_string().trim_end_matches('/')))
    }

    /// The kubeconfig of an administrator.
    pub(super) fn kubeconfig(&self) -> String {
        self.control_plane.kubeconfig_path().display().to_string()
    }

    /// kubectl, if it is not the one on the user's `PATH`.
    pub(super) fn own_kubectl(&self) -> Option<&Path> {
        Some(self.control_plane.kubectl_path()).filter(|path| path.is_absolute())
    }

    /// Fails when the demo would get into somebody's way.
    pub(super) async fn check_is_free(&self) -> Result<()> {
        let present: Vec<String> = self.crds().await?;
        if present.iter().any(|name| name.starts_with("zohocredentials.")) {
            let credentials = Api::<ZohoCredential>::namespaced(self.client.clone(), NAMESPACE);
            let found = credentials.list_metadata(&ListParams::default().limit(1)).await;
            if let Some(found) = found.context("list ZohoCredentials")?.items.first() {
                let name = found.metadata.name.as_deref().unwrap_or_default();
                bail!(
                    "There is a ZohoCredential {NAMESPACE}/{name} in this cluster already, and the demo's operator would \
                     serve it with a simulated Zoho. Delete it, or let the demo start a control plane of its own: \
                     unset KUBECONFIG."
                );
            }
        }
        for name in [SOURCE, TARGET] {
            ensure!(
                self.secret(name).await?.is_none(),
                "There is a Secret {NAMESPACE}/{name} in this cluster already, and the demo would overwrite it. Delete \
                 it, or let the demo start a control plane of its own: unset KUBECONFIG."
            );
        }
        let labelled = ListParams::default().labels("app.kubernetes.io/name=zoho-operator");
        let operators = Api::<Deployment>::all(self.client.clone()).list_metadata(&labelled).await;
        if let Some(found) = operators.context("list Deployments")?.items.first() {
            let namespace = found.metadata.namespace.as_deref().unwrap_or_default();
            bail!(
                "An operator is installed in this cluster already, in namespace {namespace}. Two of them would serve the \
                 same objects, so the demo does not start one. Let it start a control plane of its own: unset KUBECONFIG."
            );
        }
        Ok(())
    }

    /// Installs the CRDs and creates the namespaces that are not there.
    pub(super) async fn prepare(&mut self, screen: &Screen) -> Result<()> {
        let present = self.crds().await?;
        if present.is_empty() {
            let names = ["zohocredentials.zoho-operator.dev", "zohomintledgers.zoho-operator.dev"];
            self.made(&[&["crd"], &names[..]].concat());
            let folder = crate::repository().join("crds");
            screen.command("kubectl apply --server-side -f crds/");
            let folder = folder.display().to_string();
            screen.output(&self.kubectl(&["apply", "--server-side", "-f", &folder]).await?);
            let established = ["wait", "--for=condition=Established", "--timeout=30s", "crd"];
            self.kubectl(&[&established[..], &names].concat()).await?;
            self.wait_until_served().await?;
            // For the first two seconds of a kind the API server holds every create of it for two seconds, which would
            // pass for the operator's slowness.
            sleep(Duration::from_secs(2)).await;
        } else {
            ensure!(
                present.len() == crd::files().len(),
                "only a part of the CRDs is installed: {}",
                present.join(", ")
            );
            screen.done("The CRDs are already installed; they are left as they are.");
            ensure!(
                self.ledgers().await?.is_empty(),
                "Namespace {OPERATOR_NAMESPACE} has ZohoMintLedgers already, of an operator that was here before. Delete \
                 them, or let the demo start a control plane of its own: unset KUBECONFIG."
            );
        }
        let secrets = Api::<Secret>::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let hash_key = secrets.get_metadata_opt(HASH_KEY).await.context("look for the hash key")?;
        let mut operators_own = vec![vec!["zledger", "--all"]];
        if hash_key.is_none() {
            operators_own.push(vec!["secret", HASH_KEY]);
        }
        let users = vec![vec!["secret", SOURCE, TARGET], vec!["zcred", CREDENTIAL]];
        for (namespace, contents) in [(OPERATOR_NAMESPACE, operators_own), (NAMESPACE, users)] {
            let namespaces = Api::<Namespace>::all(self.client.clone());
            if namespaces.get_opt(namespace).await.context("read a namespace")?.is_none() {
                self.made(&["namespace", namespace]);
                screen.command(&format!("kubectl create namespace {namespace}"));
                screen.output(&self.kubectl(&["create", "namespace", namespace]).await?);
            }
            for arguments in contents {
                self.made(&[&arguments[..], &["-n", namespace]].concat());
            }
        }
        Ok(())
    }

    /// For a moment the API server answers 429 for kinds that are established.
    async fn wait_until_served(&self) -> Result<()> {
        until("the API server serves the new kinds", Duration::from_secs(30), async || {
            let credentials = Api::<ZohoCredential>::all(self.client.clone());
            let listed = credentials.list_metadata(&ListParams::default().limit(1)).await.map(drop);
            Ok(match (listed, self.ledgers().await) {
                (Ok(()), Ok(_)) => Ok(()),
                (Err(error), _) => Err(error.to_string()),
                (_, Err(error)) => Err(format!("{error:#}")),
            })
        })
        .await
    }

    /// Names of the ledgers in the operator's namespace.
    async fn ledgers(&self) -> Result<Vec<String>> {
        let ledgers = Api::<ZohoMintLedger>::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let found = ledgers.list_metadata(&ListParams::default()).await.context("list ZohoMintLedgers")?;
        Ok(found.items.into_iter().filter_map(|ledger| ledger.metadata.name).collect())
    }

    fn made(&mut self, arguments: &[&str]) {
        self.made.push(arguments.iter().map(|&argument| argument.to_owned()).collect());
    }

    /// Names of our CRDs that are installed.
    async fn crds(&self) -> Result<Vec<String>> {
        let crds = Api::<CustomResourceDefinition>::all(self.client.clone());
        let found = crds.list_metadata(&ListParams::default()).await.context("list CRDs")?;
        let names = found.items.into_iter().filter_map(|crd| crd.metadata.name);
        Ok(names.filter(|name| name.ends_with(".zoho-operator.dev")).collect())
    }

    /// Deletes what the demo made, where the cluster is not its own anyway.
    async fn clear(&mut self, screen: &Screen) -> Result<()> {
        if self.context.is_none() {
            return Ok(());
        }
        let mut kept = Vec::new();
        while let Some(arguments) = self.made.pop() {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            screen.meanwhile(&format!("Deleting {} …", arguments.join(" ")));
            let delete = [&["delete", "--ignore-not-found", "--timeout=60s"], &arguments[..]].concat();
            if let Err(error) = self.kubectl(&delete).await {
                kept.push(format!("kubectl delete {}: {error:#}", arguments.join(" ")));
            }
        }
        ensure!(kept.is_empty(), "not everything that the demo created could be deleted:\n{}", kept.join("\n"));
        screen.done("Everything that the demo created in your cluster is deleted.");
        Ok(())
    }

    /// Runs kubectl and returns what it printed, or fails with what it complained about.
    pub(super) async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_stdin(arguments, "").await
    }

    pub(super) async fn kubectl_stdin(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.control_plane.kubectl_stdin(arguments, input).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        // The words of the command could be secret only on its standard input.
        bail!(
            "expected: kubectl {} succeeds\nseen:     {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim_end()
        )
    }

    /// A Secret in the demo's namespace.
    pub(super) async fn secret(&self, name: &str) -> Result<Option<Secret>> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), NAMESPACE);
        secrets.get_opt(name).await.with_context(|| format!("read Secret {name}"))
    }

    /// The demo's credential.
    pub(super) async fn credential(&self) -> Result<ZohoCredential> {
        let credentials = Api::<ZohoCredential>::namespaced(self.client.clone(), NAMESPACE);
        credentials.get(CREDENTIAL).await.context("read the ZohoCredential")
    }
}

/// Asks until it is so, and fails with what was seen instead. `observe` gives the answer, or what it saw.
pub(super) async fn until<T>(
    expected: &str,
    within: Duration,
    mut observe: impl AsyncFnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match observe().await? {
            Ok(answer) => return Ok(answer),
            Err(seen) if Instant::now() > deadline => {
                bail!("expected: {expected}, within {within:?}\nseen:     {seen}");
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// `60 ms` or `2.4 s`.
pub(super) fn seconds(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{} ms", span.as_millis())
    } else {
        format!("{:.1} s", span.as_secs_f32())
    }
}
