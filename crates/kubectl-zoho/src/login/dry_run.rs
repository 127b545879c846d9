//! What `login --dry-run` shows: the manifests without what is secret.

use serde_json::{Value, json};

use super::explain::Way;
use super::wanted::Wanted;
use super::{Login, redirect_uri};

/// What would be applied, and the scopes that would be asked for. `metadata`: that of the source, without its namespace.
///
/// # Errors
///
/// It could not be written as YAML.
pub(crate) fn manifests(
    login: &Login<'_>,
    wanted: &Wanted,
    mut metadata: Value,
    namespace: Option<&str>,
) -> anyhow::Result<String> {
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque",
        "stringData": placeholders(login, wanted),
    });
    // A credential that is there stays as it is.
    let credential = (!wanted.is_there).then(|| wanted.manifest(namespace));
    let manifests: Vec<Value> = std::iter::once(secret).chain(credential).collect();
    let documents: Result<Vec<String>, _> = manifests.iter().map(serde_saphyr::to_string).collect();
    let scope = login.scope.as_deref().map(|scope| format!("# Scope: {scope}\n")).unwrap_or_default();
    Ok(format!("{scope}{}", documents?.join("---\n").trim_end()))
}

fn placeholders(login: &Login<'_>, wanted: &Wanted) -> Value {
    let reference = &wanted.reference;
    let client_id = login.args.client_id.as_deref().unwrap_or("<client id>");
    let mut data = json!({
        (reference.client_id_key()): client_id,
        (reference.client_secret_key()): "<client secret>",
        (reference.refresh_token_key()): "<refresh token>",
    });
    if login.way == Way::Browser || login.args.redirect_uri.is_some() {
        data[reference.redirect_uri_key()] = json!(redirect_uri(login.args));
    }
    data
}
