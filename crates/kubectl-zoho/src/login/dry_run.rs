//! What `login --dry-run` shows: the manifests without what is secret.

use serde_json::{Value, json};

use super::super::args::LoginArgs;
use super::explain::Way;
use super::wanted::Wanted;
use super::{Login, redirect_uri};

/// What would be applied, and the scopes that would be asked for. `values`: the source's, without secrets; `metadata`: the
/// source's, without its namespace.
///
/// # Errors
///
/// It could not be written as YAML.
pub(crate) fn manifests(
    wanted: &Wanted,
    values: &Value,
    mut metadata: Value,
    namespace: Option<&str>,
) -> anyhow::Result<String> {
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque",
        "stringData": values,
    });
    // A credential that is there stays as it is.
    let credential = (!wanted.is_there).then(|| wanted.manifest(namespace));
    let manifests: Vec<Value> = std::iter::once(secret).chain(credential).collect();
    let documents: Result<Vec<String>, _> = manifests.iter().map(serde_saphyr::to_string).collect();
    let scopes = wanted.scopes.join(",");
    let scope = if scopes.is_empty() { String::new() } else { format!("# Scope: {scopes}\n") };
    Ok(format!("{scope}{}", documents?.join("---\n").trim_end()))
}

/// The `ZohoCredential` that would be applied.
///
/// # Errors
///
/// It could not be written as YAML.
pub(crate) fn credential(wanted: &Wanted, namespace: &str) -> anyhow::Result<String> {
    Ok(serde_saphyr::to_string(&wanted.manifest(Some(namespace)))?.trim_end().to_owned())
}

/// The values of a source with a refresh token.
pub(crate) fn placeholders(login: &Login<'_>, wanted: &Wanted) -> Value {
    let reference = &wanted.reference;
    let mut data = of_client(login.args, wanted);
    data[reference.refresh_token_key()] = json!("<refresh token>");
    if login.way == Way::Browser || login.args.redirect_uri.is_some() {
        data[reference.redirect_uri_key()] = json!(redirect_uri(login.args));
    }
    data
}

/// The values of a source with a client alone.
pub(crate) fn of_client(args: &LoginArgs, wanted: &Wanted) -> Value {
    let reference = &wanted.reference;
    json!({
        (reference.client_id_key()): args.client_id.as_deref().unwrap_or("<client id>"),
        (reference.client_secret_key()): "<client secret>",
    })
}
