//! The cluster as the caller's kubeconfig has it, and the operator's rules as far as they are known here.

use anyhow::Context as _;
use kube::{Api, Client};

use super::args::Global;
use super::installation::Installation;
use super::usage;
use zoho_api::{Reason, Time, ZohoCredential, ZohoCredentialSpec};
use zoho_client::calls::{ApiError, call};
use zoho_client::{clock, cluster, server};
use zoho_core::issuer::zoho::TokenService;
use zoho_core::policy::{Policy, parse_accounts_url};

/// Field manager of the plugin's writes, and the value of the label that marks its Secrets.
pub(crate) const FIELD_MANAGER: &str = "kubectl-zoho";

/// A client with the caller's rights, and the namespace he means.
#[derive(Clone)]
pub(crate) struct Cluster {
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
    pub(crate) fn connect(global: &Global) -> anyhow::Result<Self> {
        let mut config =
            cluster::config(global.kubeconfig.as_deref(), global.context.as_deref()).context("find a cluster")?;
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

    /// Now, by the API server's clock, which what the operator writes is compared with; by this machine's where that is not said.
    pub(crate) async fn now(&self) -> Time {
        server::date(&self.client).await.ok().flatten().unwrap_or_else(|| clock::system().now())
    }

    /// The credentials of the namespace.
    pub(crate) fn credentials(&self) -> Api<ZohoCredential> {
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
    pub(crate) async fn credential(&self, name: &str) -> anyhow::Result<ZohoCredential> {
        call(self.credentials().get(name)).await.map_err(|error| self.explain(error, name))
    }

    /// Why a call about a credential did not succeed, and what to do.
    pub(crate) fn explain(&self, error: ApiError, name: &str) -> anyhow::Error {
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

/// The operator's rules, with what the caller said of its flags. What was not said is as by default.
///
/// # Errors
///
/// A flag that the operator would refuse.
pub(crate) fn operator_policy(global: &Global) -> anyhow::Result<Policy> {
    let urls = global.accounts_url.iter().map(|text| {
        parse_accounts_url(text).map_err(|wrong| usage(format!("invalid value '{text}' for '--accounts-url': {wrong}")))
    });
    Ok(Policy {
        operator_namespace: Installation::said(global).namespace,
        accounts_urls: urls.collect::<Result<_, _>>()?,
        accounts_hosts: global.accounts_host_allowed.clone(),
        // Not known here; where it is not allowed, the operator's word in the conditions says so.
        allow_replication: true,
        ..Policy::default()
    })
}

/// The token service of a spec. As with the operator, secrets go to listed hosts only.
///
/// # Errors
///
/// A host that is not on the list, and how to put it there.
pub(crate) fn token_service(spec: &ZohoCredentialSpec, policy: &Policy) -> anyhow::Result<TokenService> {
    TokenService::of(spec, policy).map_err(|defect| match &spec.accounts_host {
        Some(host) if defect.reason == Reason::AccountsHostNotAllowed => {
            usage(format!("{host} is not a known accounts host: allow it with --accounts-host-allowed {host}"))
        }
        Some(_) | None => anyhow::anyhow!(defect.message),
    })
}
