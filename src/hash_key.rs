//! The key of all hashes: made once for an installation, kept in an immutable Secret in the operator's namespace.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use zeroize::Zeroizing;

use crate::flags::Flags;
use zoho_api::{FIELD_MANAGER, ZohoMintLedger, keys};
use zoho_client::apply::{Before, write_secret};
use zoho_client::calls::{ApiError, call};
use zoho_core::secret::HashKey;

/// Key of the Secret.
const DATA_KEY: &str = "key";

/// The hash key, and what is known of its past.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The key.
    pub key: HashKey,
    /// It was made by `--reset-hash-key`, in place of one that was lost.
    pub replaces_lost: bool,
}

/// Reads the hash key, or makes it where nothing depends on one yet.
///
/// # Errors
///
/// A key is missing although ledgers exist: made anew, no ledger would be known, so nobody does that unasked.
///
/// With `--reset-hash-key` it is made all the same. Nothing has to be written for that: a target whose version is the one
/// in the status is still as the operator left it, whatever key sealed it, so it is left alone until its renewal is due.
/// Then the ledger under the new key is missing although the target's stamp shows that there was one, and a missing
/// ledger is presumed full for ten minutes. See `facts::target::is_ledger_expected`.
///
/// The Secret that `--hash-key-secret` names is missing: that one is not made here.
///
/// # Permissions
///
/// get and create on Secrets, list on `zohomintledgers`, all in the operator's namespace.
pub(crate) async fn load_or_create(client: &Client, flags: &Flags) -> anyhow::Result<Loaded> {
    let namespace = flags.operator_namespace();
    let name = flags.hash_key_secret();
    let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
    let read = || format!("read Secret {namespace}/{name}");
    match call(secrets.get(&name)).await {
        Ok(secret) => return parse(&secret, &namespace, &name),
        Err(ApiError::NotFound) => {}
        Err(error) => return Err(error).with_context(read),
    }
    if !flags.makes_hash_key() {
        bail!(
            "Secret {namespace}/{name}, which --hash-key-secret names, does not exist: create it, or leave the flag out"
        );
    }
    let has_ledgers = has_ledgers(client, &namespace, &flags.instance).await?;
    if has_ledgers && !flags.reset_hash_key {
        bail!(
            "Secret {namespace}/{name} is missing although mint ledgers exist: restore it from a backup. If there is none, start once with --reset-hash-key: a new key is created, tokens keep working, and the first renewal of each credential waits ten minutes, because earlier requests are not known under the new key"
        );
    }
    if has_ledgers {
        tracing::warn!(namespace, name, "the hash key is lost, a new one is created: earlier ledgers do not count");
    }
    let mut key = Zeroizing::new(vec![0u8; HashKey::BYTES]);
    getrandom::fill(&mut key).context("draw a random key")?;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(flags.policy().labels),
            annotations: has_ledgers.then(|| BTreeMap::from([(keys::REPLACES_LOST_KEY.to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([(DATA_KEY.to_owned(), ByteString(key.to_vec()))])),
        ..Secret::default()
    };
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
    match write_secret(&secrets, &secret, Before::Nothing, secrets.create(&params, &secret)).await {
        Ok(secret) => parse(&secret, &namespace, &name),
        // Another replica was faster.
        Err(ApiError::AlreadyExists) => parse(&call(secrets.get(&name)).await.with_context(read)?, &namespace, &name),
        Err(ApiError::NotFound) => {
            bail!("namespace {namespace} does not exist: create it, or name another one with --operator-namespace")
        }
        Err(error) => Err(error).with_context(|| format!("create Secret {namespace}/{name}")),
    }
}

/// Has this installation created ledgers? Those without a label, which a restore may have lost, may be its own; those of
/// other installations in the namespace have keys of their own.
async fn has_ledgers(client: &Client, namespace: &str, instance: &str) -> anyhow::Result<bool> {
    let ledgers = Api::<ZohoMintLedger>::namespaced(client.clone(), namespace);
    for selector in [format!("{}={instance}", keys::INSTANCE), format!("!{}", keys::INSTANCE)] {
        let one = ListParams::default().labels(&selector).limit(1);
        let found = call(ledgers.list_metadata(&one))
            .await
            .with_context(|| format!("list zohomintledgers in namespace {namespace}"))?;
        if !found.items.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn parse(secret: &Secret, namespace: &str, name: &str) -> anyhow::Result<Loaded> {
    let key = secret.data.as_ref().and_then(|data| data.get(DATA_KEY)).and_then(|key| HashKey::new(&key.0));
    let key = key.with_context(|| {
        format!("Secret {namespace}/{name} has no key {DATA_KEY} of 32 bytes: restore it from a backup")
    })?;
    let annotations = secret.metadata.annotations.as_ref();
    Ok(Loaded { key, replaces_lost: annotations.is_some_and(|all| all.contains_key(keys::REPLACES_LOST_KEY)) })
}
