//! Where the operator is: as the flags say, as the object's status says, or found by its label.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;

use super::args::Global;
use super::connect::Cluster;
use zoho_api::ZohoCredential;
use zoho_client::calls::{ApiError, call};

/// Where the chart's documentation puts it.
const USUAL_NAMESPACE: &str = "zoho-operator-system";
/// As the operator's flag of that name is by default.
const USUAL_INSTANCE: &str = "zoho-operator";
/// What the chart's Deployment is labelled with; the second one may have another value, by the chart's `nameOverride`.
const LABELS: [&str; 2] = ["app.kubernetes.io/part-of=zoho-operator", "app.kubernetes.io/name=zoho-operator"];

/// One installation of the operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Installation {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which its Lease has.
    pub instance: String,
}

impl Installation {
    /// As the flags say; what they leave open is as usual.
    pub(crate) fn said(global: &Global) -> Self {
        Self {
            namespace: global.operator_namespace.clone().unwrap_or_else(|| USUAL_NAMESPACE.into()),
            instance: global.instance.clone().unwrap_or_else(|| USUAL_INSTANCE.into()),
        }
    }

    /// The one that serves this credential: its status names it, whether or not the caller may look for Deployments.
    pub(crate) async fn of(cluster: &Cluster, global: &Global, credential: &ZohoCredential) -> Self {
        Self::serving(cluster, global, std::slice::from_ref(credential)).await.swap_remove(0)
    }

    /// Those that serve these credentials, and where nothing says who does, all that can be found. Never none: where nothing
    /// is found either, the usual one.
    ///
    /// # Permissions
    ///
    /// As far as they go: list on Deployments, in all namespaces.
    pub(crate) async fn serving(cluster: &Cluster, global: &Global, credentials: &[ZohoCredential]) -> Vec<Self> {
        if global.operator_namespace.is_some() && global.instance.is_some() {
            return vec![Self::said(global)];
        }
        let said = credentials.iter().filter_map(|credential| Self::parse(credential.served_by()?));
        let mut found: Vec<Self> = said.filter(|one| one.fits(global)).collect();
        if found.is_empty() {
            found = Self::labelled(cluster, global).await;
        }
        found.sort();
        found.dedup();
        if found.is_empty() { vec![Self::said(global)] } else { found }
    }

    /// Does one of these credentials say that this one serves it?
    pub(crate) fn serves_one_of(&self, credentials: &[ZohoCredential]) -> bool {
        credentials.iter().filter_map(|credential| Self::parse(credential.served_by()?)).any(|one| one == *self)
    }

    /// `namespace/instance`, as in `status.servedBy`.
    fn parse(text: &str) -> Option<Self> {
        let (namespace, instance) = text.split_once('/')?;
        let is_name = |name: &str| !name.is_empty() && !name.contains('/');
        (is_name(namespace) && is_name(instance))
            .then(|| Self { namespace: namespace.into(), instance: instance.into() })
    }

    fn fits(&self, global: &Global) -> bool {
        let fits = |said: &Option<String>, is: &String| said.as_ref().is_none_or(|said| said == is);
        fits(&global.operator_namespace, &self.namespace) && fits(&global.instance, &self.instance)
    }

    async fn labelled(cluster: &Cluster, global: &Global) -> Vec<Self> {
        for label in LABELS {
            let found = deployments(cluster, global.operator_namespace.as_deref(), label).await.unwrap_or_default();
            let found: Vec<Self> = found.iter().filter_map(Self::deployed).filter(|one| one.fits(global)).collect();
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// As its Deployment runs it.
    fn deployed(deployment: &Deployment) -> Option<Self> {
        let containers = &deployment.spec.as_ref()?.template.spec.as_ref()?.containers;
        let args = || containers.iter().flat_map(|container| container.args.iter().flatten());
        let value = |flag: &str| args().find_map(|arg| arg.strip_prefix(flag)?.strip_prefix('=').map(str::to_owned));
        Some(Self {
            namespace: value("--operator-namespace").or(deployment.metadata.namespace.clone())?,
            instance: value("--instance").unwrap_or_else(|| USUAL_INSTANCE.into()),
        })
    }

    /// The Deployment of this installation, whatever its name.
    ///
    /// # Errors
    ///
    /// The API server's.
    pub(crate) async fn deployment(&self, cluster: &Cluster) -> Result<Option<Deployment>, ApiError> {
        for label in LABELS {
            let mut found = deployments(cluster, Some(&self.namespace), label).await?;
            let is_it = |one: &Deployment| Self::deployed(one).is_some_and(|deployed| deployed == *self);
            let own = found.iter().position(is_it).or((!found.is_empty()).then_some(0));
            if let Some(own) = own {
                return Ok(Some(found.swap_remove(own)));
            }
        }
        Ok(None)
    }
}

async fn deployments(cluster: &Cluster, namespace: Option<&str>, label: &str) -> Result<Vec<Deployment>, ApiError> {
    let client = cluster.client.clone();
    let api: Api<Deployment> =
        namespace.map_or_else(|| Api::all(client.clone()), |ns| Api::namespaced(client.clone(), ns));
    Ok(call(api.list(&ListParams::default().labels(label))).await?.items)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(namespace: &str, instance: &str) -> Installation {
        Installation { namespace: namespace.into(), instance: instance.into() }
    }

    #[test]
    fn installation_is_what_its_deployment_runs() {
        let deployment = |args: &[&str]| -> Deployment {
            let pod = json!({ "spec": { "containers": [{ "name": "c", "args": args }] } });
            serde_json::from_value(json!({
                "metadata": { "name": "any", "namespace": "home" }, "spec": { "selector": {}, "template": pod },
            }))
            .unwrap()
        };
        let table = [
            (vec![], one("home", "zoho-operator")),
            (vec!["--operator-namespace=other", "--instance=mine"], one("other", "mine")),
            (vec!["--instances=x", "--instance=mine"], one("home", "mine")),
        ];
        for (args, expected) in table {
            assert_eq!(Installation::deployed(&deployment(&args)), Some(expected), "{args:?}");
        }
    }

    #[test]
    fn status_names_it_unless_a_flag_says_otherwise() {
        assert_eq!(Installation::parse("ns/name"), Some(one("ns", "name")));
        for text in ["", "ns", "/name", "ns/", "a/b/c"] {
            assert_eq!(Installation::parse(text), None, "{text}");
        }
        let other = Global { operator_namespace: Some("other".into()), ..Global::default() };
        assert!(one("ns", "name").fits(&Global::default()) && !one("ns", "name").fits(&other));
        assert_eq!(Installation::said(&other), one("other", "zoho-operator"));
    }
}
