//! `kubectl zoho get`: a table.

use kube::Api;
use kube::api::{ListParams, ObjectList};
use kube::core::DeserializeGuard;
use serde_json::{Value, json};

use super::args::{Form, GetArgs, Global};
use super::connect::Cluster;
use super::output::{Output, Paint};
use super::table::table;
use super::{Ended, render};
use zoho_api::{Time, ZohoCredential};
use zoho_client::calls::{ApiError, call};
use zoho_client::clock;

const HEADER: [&str; 8] = ["NAMESPACE", "NAME", "READY", "RENEWABLE", "EXPIRES", "RENEWS", "LIVE", "SECRET"];

/// Lists credentials, or shows one.
///
/// # Errors
///
/// The cluster refuses or does not answer.
pub(crate) async fn run(global: &Global, args: &GetArgs, output: &Output) -> anyhow::Result<Ended> {
    let cluster = Cluster::connect(global)?;
    let credentials = match &args.name {
        Some(name) => vec![cluster.credential(name).await?],
        None => list(&cluster, args.all_namespaces, output).await?,
    };
    let now = clock::system().now();
    match args.output {
        Some(form) => {
            let items: Vec<Value> = credentials.iter().map(document).collect();
            let document = match args.name {
                Some(_) => items.into_iter().next().unwrap_or_default(),
                None => json!({ "apiVersion": "v1", "kind": "List", "items": items }),
            };
            output.document(&print(form, &document)?);
        }
        None if credentials.is_empty() => {
            let place =
                if args.all_namespaces { "any namespace".into() } else { format!("namespace {}", cluster.namespace) };
            output.note(&format!(
                "There is no ZohoCredential in {place}. Make one with: kubectl zoho login NAME --data-center DC"
            ));
        }
        None => output.result(&text(&credentials, args.all_namespaces, now, output)),
    }
    Ok(Ended::Well)
}

/// A document in a form for programs.
///
/// # Errors
///
/// Not for plain data.
pub(crate) fn print(form: Form, document: &Value) -> anyhow::Result<String> {
    Ok(match form {
        Form::Json => serde_json::to_string_pretty(document)?,
        Form::Yaml => serde_saphyr::to_string(document)?.trim_end().to_owned(),
    })
}

async fn list(cluster: &Cluster, everywhere: bool, output: &Output) -> anyhow::Result<Vec<ZohoCredential>> {
    // One that this version cannot read must not hide the others.
    let api: Api<DeserializeGuard<ZohoCredential>> = if everywhere {
        Api::all(cluster.client.clone())
    } else {
        Api::namespaced(cluster.client.clone(), &cluster.namespace)
    };
    let listed: Result<ObjectList<_>, ApiError> = call(api.list(&ListParams::default())).await;
    let listed = match listed {
        Ok(listed) => listed.items,
        Err(ApiError::NotFound) => {
            anyhow::bail!("this cluster does not know ZohoCredentials: install the operator. See kubectl zoho doctor")
        }
        Err(error) => return Err(cluster.explain(error, "(all)")),
    };
    let mut credentials = Vec::new();
    for DeserializeGuard(item) in listed {
        match item {
            Ok(credential) => credentials.push(credential),
            Err(error) => {
                let name = error.metadata.name.unwrap_or_default();
                output.note(&format!("ZohoCredential {name} cannot be read by this version: {}", error.error));
            }
        }
    }
    let key = |credential: &ZohoCredential| (credential.metadata.namespace.clone(), credential.metadata.name.clone());
    credentials.sort_by_key(key);
    Ok(credentials)
}

fn document(credential: &ZohoCredential) -> Value {
    let mut credential = credential.clone();
    credential.metadata.managed_fields = None;
    json!(credential)
}

fn text(credentials: &[ZohoCredential], everywhere: bool, now: Time, output: &Output) -> String {
    let skipped = usize::from(!everywhere);
    let rows: Vec<Vec<String>> =
        credentials.iter().map(|credential| render::row(credential, now).split_off(skipped)).collect();
    table(&HEADER[skipped..], &rows, |column, cell| match (HEADER[column + skipped], cell) {
        ("READY", "True") | ("RENEWABLE", "TokenValid") => output.paint(Paint::Good, cell),
        ("READY", "False") => output.paint(Paint::Bad, cell),
        ("READY" | "RENEWABLE", _) => output.paint(Paint::Odd, cell),
        (_, _) => cell.to_owned(),
    })
}
