//! `kubectl zoho get --watch`: a row for each change, until the caller has seen enough.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt as _;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use kube::core::DeserializeGuard;

use super::connect::Cluster;
use super::pages;
use tokio::time::{Instant, sleep, timeout};
use zoho_api::ZohoCredential;
use zoho_api::names::ObjectName;
use zoho_client::calls::call;

/// The API server ends a watch after that; another one goes on from there.
const WATCH_FOR: u32 = 290;
/// How much later that end may come.
const SPARE: Duration = Duration::from_secs(30);
/// After a watch that broke, or that ended at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Hands over each credential as it changes, and whether it is gone. `known`: what was shown already, of which version.
/// Ends when `show` says that nobody listens any more.
///
/// # Errors
///
/// The cluster refuses, or does not answer; what `show` says.
pub(crate) async fn changes(
    cluster: &Cluster,
    (name, everywhere): (Option<&str>, bool),
    (known, mut version): (Vec<ZohoCredential>, String),
    mut show: impl FnMut(&ZohoCredential, bool) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let api: Api<DeserializeGuard<ZohoCredential>> = if everywhere {
        Api::all(cluster.client.clone())
    } else {
        Api::namespaced(cluster.client.clone(), &cluster.namespace)
    };
    let selector = name.map(|name| format!("metadata.name={name}"));
    let params = WatchParams { field_selector: selector.clone(), timeout: Some(WATCH_FOR), ..WatchParams::default() };
    let key = |credential: &ZohoCredential| ObjectName::of(&credential.metadata);
    let mut known: HashMap<ObjectName, ZohoCredential> = known.into_iter().map(|one| (key(&one), one)).collect();
    loop {
        let opened = Instant::now();
        let events = call(api.watch(&params, &version)).await.map_err(|error| cluster.explain(error, "(watch)"))?;
        let mut events = pin!(events);
        let broke = loop {
            // A connection that died without a word is noticed when the API server should have ended the watch.
            let event = timeout(Duration::from_secs(WATCH_FOR.into()) + SPARE, events.try_next()).await;
            let (guard, is_gone) = match event {
                Ok(Ok(Some(WatchEvent::Added(guard) | WatchEvent::Modified(guard)))) => (guard, false),
                Ok(Ok(Some(WatchEvent::Deleted(guard)))) => (guard, true),
                Ok(Ok(Some(WatchEvent::Bookmark(bookmark)))) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                Ok(Ok(None)) => break false,
                // Too old, cut off, or silent.
                Ok(Ok(Some(WatchEvent::Error(_))) | Err(_)) | Err(_) => break true,
            };
            // One that this version cannot read is left out, as in the list.
            let Ok(credential) = guard.0 else { continue };
            version = credential.metadata.resource_version.clone().unwrap_or(version);
            if !show(&credential, is_gone)? {
                return Ok(());
            }
            if is_gone {
                known.remove(&key(&credential));
            } else {
                known.insert(key(&credential), credential);
            }
        };
        if broke || opened.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
        if broke {
            let listed = pages::selected(&api, selector.as_deref()).await;
            let listed = listed.map_err(|error| cluster.explain(error, "(all)"))?;
            version = listed.metadata.resource_version.unwrap_or_default();
            // What has changed meanwhile, and what has gone.
            let present: HashSet<ObjectName> = listed
                .items
                .iter()
                .map(|DeserializeGuard(item)| item.as_ref().map_or_else(|error| ObjectName::of(&error.metadata), key))
                .collect();
            let gone: Vec<ZohoCredential> =
                known.extract_if(|key, _| !present.contains(key)).map(|(_, one)| one).collect();
            let all = listed.items.into_iter().filter_map(|DeserializeGuard(item)| item.ok());
            let of = |one: &ZohoCredential| one.metadata.resource_version.clone();
            let changed: Vec<ZohoCredential> =
                all.filter(|one| known.get(&key(one)).map(of) != Some(of(one))).collect();
            for (credential, is_gone) in
                gone.iter().map(|one| (one, true)).chain(changed.iter().map(|one| (one, false)))
            {
                if !show(credential, is_gone)? {
                    return Ok(());
                }
            }
            known.extend(changed.into_iter().map(|one| (key(&one), one)));
        }
    }
}
