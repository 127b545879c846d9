//! `kubectl zoho get --watch`: a row for each change, until the caller has seen enough.

use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt as _;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use kube::core::DeserializeGuard;

use super::connect::Cluster;
use super::pages;
use zoho_api::ZohoCredential;
use zoho_client::calls::call;

/// The API server ends a watch after that; another one goes on from there.
const WATCH_FOR: u32 = 290;
/// After a watch that broke.
const PAUSE: Duration = Duration::from_secs(1);

/// Hands over each credential as it changes, and whether it is gone. Ends when `show` says that nobody listens any more.
///
/// # Errors
///
/// The cluster refuses, or does not answer; what `show` says.
pub(crate) async fn changes(
    cluster: &Cluster,
    (name, everywhere): (Option<&str>, bool),
    mut version: String,
    mut show: impl FnMut(&ZohoCredential, bool) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let api: Api<DeserializeGuard<ZohoCredential>> = if everywhere {
        Api::all(cluster.client.clone())
    } else {
        Api::namespaced(cluster.client.clone(), &cluster.namespace)
    };
    let selector = name.map(|name| format!("metadata.name={name}"));
    let params = WatchParams { field_selector: selector, timeout: Some(WATCH_FOR), ..WatchParams::default() };
    loop {
        let events = call(api.watch(&params, &version)).await.map_err(|error| cluster.explain(error, "(watch)"))?;
        let mut events = pin!(events);
        let broke = loop {
            let (guard, is_gone) = match events.try_next().await {
                Ok(Some(WatchEvent::Added(guard) | WatchEvent::Modified(guard))) => (guard, false),
                Ok(Some(WatchEvent::Deleted(guard))) => (guard, true),
                Ok(Some(WatchEvent::Bookmark(_))) => continue,
                Ok(None) => break false,
                // Too old, or cut off.
                Ok(Some(WatchEvent::Error(_))) | Err(_) => break true,
            };
            // One that this version cannot read is left out, as in the list.
            let Ok(credential) = guard.0 else { continue };
            version = credential.metadata.resource_version.clone().unwrap_or(version);
            if !show(&credential, is_gone)? {
                return Ok(());
            }
        };
        if broke {
            tokio::time::sleep(PAUSE).await;
            let listed = pages::all(&api).await;
            let listed = listed.map_err(|error| cluster.explain(error, "(all)"))?;
            version = listed.metadata.resource_version.unwrap_or_default();
            let all = listed.items.into_iter().filter_map(|DeserializeGuard(item)| item.ok());
            for credential in all.filter(|one| name.is_none() || one.metadata.name.as_deref() == name) {
                if !show(&credential, false)? {
                    return Ok(());
                }
            }
        }
    }
}
