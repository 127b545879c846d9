//! Where a login is stored: the source Secret and the `ZohoCredential`, never over somebody else's.
//!
//! Everything that can be refused is tried as a server-side dry run before the code is spent, which works only once.

use anyhow::Context as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::super::connect::{Cluster, FIELD_MANAGER};
use super::super::facts::manager_of;
use super::super::secret_io::{self, SourceValues};
use super::wanted::Wanted;
use zoho_api::names::ObjectVersion;
use zoho_api::{SecretRef, ZohoCredential, keys};
use zoho_client::apply::{Before, write_secret};
use zoho_client::calls::{ApiError, call};
use zoho_core::facts::source::with_consent;

/// The credential of that name, if there is one.
///
/// # Errors
///
/// With a sentence: no permission, no cluster.
///
/// # Permissions
///
/// get on `zohocredentials`.
pub(crate) async fn existing(cluster: &Cluster, name: &str) -> anyhow::Result<Option<ZohoCredential>> {
    match call(cluster.credentials().get(name)).await {
        Ok(credential) => Ok(Some(credential)),
        Err(ApiError::NotFound) => Ok(None),
        Err(error) => Err(cluster.explain(error, name)),
    }
}

/// A place that was looked at and takes what is to be stored.
pub(crate) struct Place<'a> {
    cluster: &'a Cluster,
    reference: SecretRef,
    /// The source that was there before, and ours: its version.
    own: Option<ObjectVersion>,
    /// Whom the source is for, as its annotation will say.
    source_for: String,
}

impl<'a> Place<'a> {
    /// Looks at what is there, and tries the writes.
    ///
    /// # Errors
    ///
    /// With a sentence: somebody else's Secret, no permission, no such namespace, kinds that are not installed.
    ///
    /// # Permissions
    ///
    /// patch on `zohocredentials` where there is none yet, get and patch (and create) on Secrets.
    pub(crate) async fn find(cluster: &'a Cluster, wanted: &Wanted) -> anyhow::Result<Self> {
        let (namespace, reference) = (&cluster.namespace, wanted.reference.clone());
        let secret = match call(secrets(cluster).get_metadata(&reference.name)).await {
            Ok(secret) => Some(secret.metadata),
            Err(ApiError::NotFound) => None,
            Err(error) => return Err(anyhow::Error::new(error).context(format!("look at Secret {}", reference.name))),
        };
        if let Some(meta) = &secret {
            let labels = meta.labels.as_ref();
            if labels.and_then(|labels| labels.get(keys::MANAGED_BY)).map(String::as_str) != Some(FIELD_MANAGER)
                || meta.owner_references.is_some()
            {
                anyhow::bail!(not_ours(namespace, &reference.name, manager_of(meta).as_deref()));
            }
        }
        let own = secret.as_ref().map(ObjectVersion::of);
        let said = secret.as_ref().and_then(|meta| meta.annotations.as_ref()?.get(keys::SOURCE_FOR));
        let source_for = with_consent(said.map(String::as_str), &wanted.name);
        let place = Self { cluster, reference, own, source_for };
        place.rehearse(wanted).await?;
        Ok(place)
    }

    async fn rehearse(&self, wanted: &Wanted) -> anyhow::Result<()> {
        let data = [("dry-run".to_owned(), ByteString(b"dry-run".to_vec()))].into();
        self.apply_source(&data, true).await.with_context(|| {
            format!("nothing was sent to Zoho, since Secret {} could not be stored", self.reference.name)
        })?;
        self.apply_credential(wanted, true).await.with_context(|| {
            format!("nothing was sent to Zoho, since ZohoCredential {} could not be stored", wanted.name)
        })
    }

    /// Writes the source Secret and returns its `uid/resourceVersion`.
    ///
    /// # Errors
    ///
    /// The API server's.
    pub(crate) async fn store_source(&self, grant: &impl SourceValues) -> anyhow::Result<ObjectVersion> {
        let data = secret_io::source_data(grant, &self.reference);
        let written = self.apply_source(&data, false).await?;
        Ok(ObjectVersion::of(&written.metadata))
    }

    async fn apply_source(
        &self,
        data: &std::collections::BTreeMap<String, ByteString>,
        dry_run: bool,
    ) -> anyhow::Result<Secret> {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": self.source_metadata(),
            "type": "Opaque",
            "data": data,
        });
        let name = &self.reference.name;
        let wanted = Secret {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            data: Some(data.clone()),
            ..Secret::default()
        };
        // Where nothing was a moment ago a Secret of somebody else must make this fail.
        let params = PatchParams { dry_run, force: self.own.is_some(), ..PatchParams::apply(FIELD_MANAGER) };
        let before = self.own.as_ref().map_or(Before::Nothing, Before::At);
        let (secrets, manifest) = (secrets(self.cluster), Patch::Apply(manifest));
        let written = write_secret(&secrets, &wanted, before, secrets.patch(name, &params, &manifest)).await;
        written.map_err(|error| self.explain(error))
    }

    /// The metadata of the source, but for its namespace.
    pub(crate) fn source_metadata(&self) -> Value {
        json!({
            "name": self.reference.name,
            "labels": { (keys::MANAGED_BY): FIELD_MANAGER },
            "annotations": { (keys::SOURCE_FOR): self.source_for },
        })
    }

    /// Writes the `ZohoCredential`, unless there is one.
    ///
    /// # Errors
    ///
    /// The API server's.
    pub(crate) async fn store_credential(&self, wanted: &Wanted) -> anyhow::Result<()> {
        self.apply_credential(wanted, false).await
    }

    async fn apply_credential(&self, wanted: &Wanted, dry_run: bool) -> anyhow::Result<()> {
        if wanted.is_there {
            return Ok(());
        }
        let manifest = wanted.manifest(None);
        let params = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER) };
        let api = self.cluster.credentials();
        call(api.patch(&wanted.name, &params, &Patch::Apply(manifest))).await.map_err(|error| self.explain(error))?;
        Ok(())
    }

    fn explain(&self, error: ApiError) -> anyhow::Error {
        match error {
            ApiError::NotFound => anyhow::anyhow!(
                "namespace {} does not exist, or the kinds of zoho-operator are not installed: see kubectl zoho doctor",
                self.cluster.namespace
            ),
            ApiError::Conflict
            | ApiError::AlreadyExists
            | ApiError::Refused { .. }
            | ApiError::NoDryRun
            | ApiError::Unavailable(_) => error.into(),
        }
    }
}

fn secrets(cluster: &Cluster) -> Api<Secret> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

fn not_ours(namespace: &str, name: &str, manager: Option<&str>) -> String {
    match manager {
        Some(manager) => format!(
            "Secret {namespace}/{name} is managed by {manager}, which would undo a change. Put the new values where it takes them from: --print-secret=json prints them for a pipe"
        ),
        None => format!(
            "Secret {namespace}/{name} exists and was not created by kubectl zoho; it is left as it is. Choose another one with --secret, or hand it over: kubectl label secret -n {namespace} {name} {}={FIELD_MANAGER}",
            keys::MANAGED_BY
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_secret_is_told_apart_from_a_managed_one() {
        assert!(not_ours("ns", "s", Some("ExternalSecret zoho")).contains("is managed by ExternalSecret zoho"));
        assert!(
            not_ours("ns", "s", None)
                .contains("kubectl label secret -n ns s app.kubernetes.io/managed-by=kubectl-zoho")
        );
    }
}
