//! The cluster as the caller's kubeconfig has it, and the operator's rules as far as they are known here.

use anyhow::Context as _;
use clap::Parser;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client};

use super::args::Global;
use super::usage;
use crate::api::ZohoCredential;
use crate::config::Config;
use crate::error::{ApiError, call};

/// A client with the caller's rights, and the namespace he means.
#[derive(Clone)]
pub struct Cluster {
    /// Makes calls.
    pub client: Client,
    /// Of the flag, else of the context, else `default`.
    pub namespace: String,
}

impl Cluster {
    /// Reads the kubeconfig, or a pod's own account where there is none. Credential plugins run where it names them.
    ///
    /// # Errors
    ///
    /// A kubeconfig that is missing or cannot be used.
    pub async fn connect(global: &Global) -> anyhow::Result<Self> {
        let mut config = read(global).await?;
        if let Some(user) = &global.impersonate {
            config.auth_info.impersonate = Some(user.clone());
        }
        if !global.impersonate_groups.is_empty() {
            if global.impersonate.is_none() {
                return Err(usage("--as-group goes with --as"));
            }
            config.auth_info.impersonate_groups = Some(global.impersonate_groups.clone());
        }
        // kube's own retries repeat POSTs; a person repeats what failed.
        config.default_retry = false;
        let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("make a Kubernetes client")?;
        Ok(Self { client, namespace })
    }

    /// The credentials of the namespace.
    pub fn credentials(&self) -> Api<ZohoCredential> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One credential of the namespace.
    ///
    /// # Errors
    ///
    /// With a sentence for the caller.
    ///
    /// # Permissions
    ///
    /// get on `zohocredentials`.
    pub async fn credential(&self, name: &str) -> anyhow::Result<ZohoCredential> {
        call(self.credentials().get(name)).await.map_err(|error| self.explain(error, name))
    }

    /// Why a call about a credential did not succeed, and what to do.
    pub fn explain(&self, error: ApiError, name: &str) -> anyhow::Error {
        match error {
            ApiError::NotFound => anyhow::anyhow!(
                "ZohoCredential {name} is not in namespace {ns} (or this cluster does not know that kind). See kubectl zoho get -A, and kubectl zoho doctor",
                ns = self.namespace
            ),
            ApiError::Unavailable(Some(cause)) if matches!(*cause, kube::Error::SerdeError(_)) => {
                anyhow::Error::new(*cause).context(format!("read {name}: it does not fit this version of the plugin"))
            }
            ApiError::Unavailable(Some(cause)) => anyhow::Error::new(*cause).context("reach the cluster"),
            ApiError::Conflict
            | ApiError::AlreadyExists
            | ApiError::Refused { .. }
            | ApiError::NoDryRun
            | ApiError::Unavailable(None) => anyhow::Error::new(error).context(format!("ZohoCredential {name}")),
        }
    }
}

async fn read(global: &Global) -> anyhow::Result<kube::Config> {
    let kubeconfig = match &global.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).with_context(|| format!("read --kubeconfig {}", path.display()))?,
        None => match Kubeconfig::read() {
            Ok(kubeconfig) => kubeconfig,
            Err(KubeconfigError::FindPath | KubeconfigError::ReadConfig(..)) if global.context.is_none() => {
                return kube::Config::incluster()
                    .context("find a cluster: there is no kubeconfig (KUBECONFIG, --kubeconfig), and this is no pod");
            }
            Err(error) => return Err(error).context("read the kubeconfig"),
        },
    };
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.context("use the kubeconfig")
}

/// The operator's rules, with what the caller said of its flags. What was not said is as by default.
///
/// # Errors
///
/// A flag that the operator would refuse.
pub fn operator_config(global: &Global) -> anyhow::Result<Config> {
    let mut flags = vec!["zoho-operator".to_owned(), format!("--operator-namespace={}", global.operator_namespace)];
    flags.extend(global.accounts_url.iter().map(|url| format!("--accounts-url={url}")));
    flags.extend(global.accounts_host_allowed.iter().map(|host| format!("--accounts-host={host}")));
    Config::try_parse_from(flags).map_err(|error| {
        let text = error.to_string();
        usage(text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
    })
}
