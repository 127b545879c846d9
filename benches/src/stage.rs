//! Where a scenario is played: a control plane, a Zoho, and the namespace of the credentials.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::wait::{Condition as _, conditions};
use kube::{Api, Client};
use zoho_api::crd;
use zoho_simulator::{Credential, Simulator, SimulatorConfig};
use zoho_testkit::control_plane::{ControlPlane, Identity, OPERATOR_NAMESPACE, Options};

/// Where the credentials are.
pub(crate) const NAMESPACE: &str = "bench";
/// Calls at once of whoever sets the scene.
const AT_ONCE: usize = 16;
/// Longer than anything takes.
const DEADLINE: Duration = Duration::from_mins(10);

/// See the module.
pub(crate) struct Stage {
    pub(crate) cluster: ControlPlane,
    pub(crate) client: Client,
    pub(crate) zoho: Simulator,
}

impl Stage {
    /// An empty cluster with the kinds of the operator and rights for it.
    pub(crate) async fn new(latency: Duration) -> Result<Self> {
        let cluster = ControlPlane::start(Options::default()).await?;
        let client = cluster.client().await?;
        for (_, yaml) in crd::files() {
            cluster.apply_yaml(&yaml).await?;
        }
        for namespace in [NAMESPACE, OPERATOR_NAMESPACE] {
            cluster
                .apply_yaml(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"))
                .await?;
        }
        cluster.apply_yaml(&rights()).await?;
        let zoho = Simulator::start(SimulatorConfig::default());
        zoho.set_latency(latency);
        let stage = Self { cluster, client, zoho };
        stage.kinds_are_served().await?;
        Ok(stage)
    }

    async fn kinds_are_served(&self) -> Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in [crd::zoho_credential(), crd::zoho_mint_ledger()] {
            let name = crd.metadata.name.context("a kind has a name")?;
            until("the kinds are served", async || {
                let crd = api.get_opt(&name).await?;
                Ok(conditions::is_crd_established().matches_object(crd.as_ref()).then_some(()))
            })
            .await?;
        }
        // The API server holds creates of a new kind for two seconds.
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok(())
    }

    /// Source Secrets `source-<number>`, each with a refresh token of its own.
    pub(crate) async fn sources(&self, count: usize) -> Result<Vec<Credential>> {
        let registered = self.zoho.register_many("bench", count);
        let api = self.secrets();
        let writes = registered.iter().enumerate().map(|(number, credential)| {
            let values = [
                ("client_id", &credential.client_id),
                ("client_secret", &credential.client_secret),
                ("refresh_token", &credential.refresh_token),
            ];
            let data = values.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.clone().into_bytes())));
            secret(&format!("source-{number}"), data.collect())
        });
        let api = &api;
        stream::iter(writes)
            .map(|secret| async move { api.create(&PostParams::default(), &secret).await })
            .buffer_unordered(AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
            .context("create the sources")?;
        Ok(registered)
    }

    /// The Secrets beside the credentials.
    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

/// A Secret with these values.
pub(crate) fn secret(name: &str, data: std::collections::BTreeMap<String, ByteString>) -> Secret {
    Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(data),
        ..Secret::default()
    }
}

/// Waits until something is so.
pub(crate) async fn until<T>(what: &str, mut is_so: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(it) = is_so().await? {
            return Ok(it);
        }
        ensure!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The operator and a peer run under the same account. What it may do is not what is measured.
fn rights() -> String {
    let subject = Identity::Operator.user();
    format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {{name: bench}}, roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}, subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: '{subject}'}}]}}"
    )
}
