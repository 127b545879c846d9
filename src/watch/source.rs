//! Where a watch's objects come from.

use futures::stream::{BoxStream, StreamExt as _};
use kube::api::{ListParams, ObjectList, WatchEvent, WatchParams};
use kube::core::Request;
use kube::core::{NamespaceResourceScope, Resource};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use zoho_api::names::{ObjectName, ObjectVersion};
use zoho_client::calls::{ApiError, call};

use super::kept::Kept;
use super::page;

/// Where the objects of one kind come from.
pub(crate) trait Source<K: Clone>: Send + Sync + 'static {
    /// A page of a consistent list, of whose objects there is what is kept of them.
    fn list(&self, params: &ListParams) -> impl Future<Output = kube::Result<ObjectList<K>>> + Send;
    /// The changes since a version.
    fn watch(&self, params: &WatchParams, from: &str) -> impl Future<Output = kube::Result<Events<K>>> + Send;
    /// `uid/resourceVersion` of an object now, by a consistent read.
    fn seen(&self, key: &ObjectName) -> impl Future<Output = Result<Option<String>, ApiError>> + Send;
}

/// What comes on a watch.
pub(crate) type Events<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

/// The API of one namespace, or of all.
pub(crate) fn api_of<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The API server's objects of one namespace, or of all.
pub(crate) struct OfCluster<K> {
    client: Client,
    namespace: Option<String>,
    api: Api<K>,
}

impl<K> OfCluster<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    /// Objects of a namespace; `None`: of all.
    ///
    /// # Permissions
    ///
    /// list, watch and get on the kind.
    pub(crate) fn new(client: &Client, namespace: Option<&str>) -> Self {
        Self { client: client.clone(), namespace: namespace.map(str::to_owned), api: api_of(client, namespace) }
    }
}

impl<K> Source<K> for OfCluster<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Kept
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    async fn list(&self, params: &ListParams) -> kube::Result<ObjectList<K>> {
        let requests = Request::new(K::url_path(&(), self.namespace.as_deref()));
        let request = if K::metadata_api() { requests.list_metadata(params) } else { requests.list(params) };
        page::list(&self.client, request.map_err(kube::Error::BuildRequest)?).await
    }

    async fn watch(&self, params: &WatchParams, from: &str) -> kube::Result<Events<K>> {
        Ok(self.api.watch(params, from).await?.boxed())
    }

    async fn seen(&self, key: &ObjectName) -> Result<Option<String>, ApiError> {
        let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
        match call(api.get(&key.name)).await {
            Ok(object) => Ok(Some(ObjectVersion::of(object.meta()).to_string())),
            Err(ApiError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
