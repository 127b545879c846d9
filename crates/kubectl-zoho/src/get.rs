//! `kubectl zoho get`: a table.

use std::fmt::Write as _;

use kube::Api;
use kube::core::DeserializeGuard;
use serde_json::{Value, json};

use super::args::{Form, GetArgs, Global};
use super::connect::Cluster;
use super::output::{Output, Paint};
use super::table::Columns;
use super::{Ended, follow, pages, render};
use zoho_api::{Time, ZohoCredential};
use zoho_client::calls::ApiError;
use zoho_client::clock;
use zoho_core::text::is_plain;

const HEADER: [&str; 8] = ["NAMESPACE", "NAME", "READY", "RENEWABLE", "EXPIRES", "RENEWS", "LIVE", "SECRET"];

/// Lists credentials, or shows one.
///
/// # Errors
///
/// The cluster refuses or does not answer.
pub(crate) async fn run(global: &Global, args: &GetArgs, output: &Output) -> anyhow::Result<Ended> {
    let cluster = Cluster::connect(global)?;
    let (credentials, version) = match &args.name {
        Some(name) => {
            let credential = cluster.credential(name).await?;
            let version = credential.metadata.resource_version.clone().unwrap_or_default();
            (vec![credential], version)
        }
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
            output.document(&print(form, &document)?)?;
        }
        None if credentials.is_empty() && !args.watch => {
            let place =
                if args.all_namespaces { "any namespace".into() } else { format!("namespace {}", cluster.namespace) };
            output.note(&format!(
                "There is no ZohoCredential in {place}. Create one with: kubectl zoho login NAME --data-center DC"
            ));
        }
        None => {
            let rows = Rows::of(&credentials, args.all_namespaces, now, output);
            output.result(&rows.text(&credentials, now))?;
            if args.watch {
                let what = (args.name.as_deref(), args.all_namespaces);
                follow::changes(&cluster, what, (credentials, version), |credential, is_gone| {
                    let row = rows.row(credential, clock::system().now());
                    output.is_read(&if is_gone { format!("{row}  (deleted)") } else { row })
                })
                .await?;
            }
        }
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
        // Others chose what is in it. Such characters stand in texts only, where JSON has escapes for them.
        Form::Json => escaped(&serde_json::to_string_pretty(document)?, form),
        Form::Yaml => {
            let yaml = serde_saphyr::to_string(document)?.trim_end().to_owned();
            // In YAML only a text in quotes has escapes. JSON quotes them all, and is YAML as well.
            if is_shown(&yaml) { yaml } else { escaped(&serde_json::to_string_pretty(document)?, form) }
        }
    })
}

/// Does a terminal show it, and nothing but it?
fn is_shown(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '\n' | '\t') || is_plain(c))
}

/// JSON with escapes for what is not plain. YAML knows no pairs of surrogates.
fn escaped(json: &str, form: Form) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || is_plain(c) {
            text.push(c);
        } else if form == Form::Yaml && c > '\u{ffff}' {
            let _ = write!(text, "\\U{:08x}", u32::from(c));
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

async fn list(cluster: &Cluster, everywhere: bool, output: &Output) -> anyhow::Result<(Vec<ZohoCredential>, String)> {
    let listed = match readable(cluster, everywhere).await {
        Ok((mut credentials, rest)) => {
            let key =
                |credential: &ZohoCredential| (credential.metadata.namespace.clone(), credential.metadata.name.clone());
            credentials.sort_by_key(key);
            for (name, error) in rest.unreadable {
                output.note(&format!("ZohoCredential {name} cannot be read by this version: {error}"));
            }
            (credentials, rest.version)
        }
        Err(ApiError::NotFound) => {
            anyhow::bail!("this cluster does not know ZohoCredentials: install the operator. See kubectl zoho doctor")
        }
        Err(error) => return Err(cluster.explain(error, "(all)")),
    };
    Ok(listed)
}

/// What a list brings beside what can be read.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Version of the list.
    pub version: String,
    /// Name, and why not.
    pub unreadable: Vec<(String, String)>,
}

/// The credentials of the namespace, or of all. One that this version cannot read does not hide the others.
///
/// # Errors
///
/// The API server's.
pub(crate) async fn readable(cluster: &Cluster, everywhere: bool) -> Result<(Vec<ZohoCredential>, Rest), ApiError> {
    let api: Api<DeserializeGuard<ZohoCredential>> = if everywhere {
        Api::all(cluster.client.clone())
    } else {
        Api::namespaced(cluster.client.clone(), &cluster.namespace)
    };
    let listed = pages::all(&api).await?;
    let mut rest = Rest { version: listed.metadata.resource_version.unwrap_or_default(), ..Rest::default() };
    let mut credentials = Vec::new();
    for DeserializeGuard(item) in listed.items {
        match item {
            Ok(credential) => credentials.push(credential),
            Err(error) => rest.unreadable.push((error.metadata.name.unwrap_or_default(), error.error)),
        }
    }
    Ok((credentials, rest))
}

fn document(credential: &ZohoCredential) -> Value {
    let mut credential = credential.clone();
    credential.metadata.managed_fields = None;
    json!(credential)
}

/// The rows of one table, which all are aligned alike.
struct Rows<'a> {
    columns: Columns,
    /// Columns that are left out.
    skipped: usize,
    output: &'a Output,
}

impl<'a> Rows<'a> {
    fn of(credentials: &[ZohoCredential], everywhere: bool, now: Time, output: &'a Output) -> Self {
        let skipped = usize::from(!everywhere);
        let rows: Vec<Vec<String>> =
            credentials.iter().map(|credential| render::row(credential, now).split_off(skipped)).collect();
        Self { columns: Columns::of(&HEADER[skipped..], &rows, output.width()), skipped, output }
    }

    fn text(&self, credentials: &[ZohoCredential], now: Time) -> String {
        let titles: Vec<String> = HEADER[self.skipped..].iter().map(|title| (*title).to_owned()).collect();
        let head = self.columns.row(&titles, |_, title| title.to_owned());
        let rows = credentials.iter().map(|credential| self.row(credential, now));
        std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
    }

    fn row(&self, credential: &ZohoCredential, now: Time) -> String {
        let cells = render::row(credential, now).split_off(self.skipped);
        self.columns.row(&cells, |column, cell| match (HEADER[column + self.skipped], cell) {
            ("READY", "True") | ("RENEWABLE", "TokenValid") => self.output.paint(Paint::Good, cell),
            ("READY", "False") => self.output.paint(Paint::Bad, cell),
            ("READY" | "RENEWABLE", _) => self.output.paint(Paint::Odd, cell),
            (_, _) => cell.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_holds_nothing_that_a_terminal_obeys_and_says_the_same() {
        let text = "\u{9b}31m \u{202e} \u{200b} \u{7f} \u{1b}[2J é \u{e0001}\ttab: \"x\"";
        let document = json!({ "text": text, "list": [1, null], text: true });
        let json = print(Form::Json, &document).unwrap();
        assert!(is_shown(&json), "{json}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), document);
        let yaml = print(Form::Yaml, &document).unwrap();
        assert!(is_shown(&yaml), "{yaml}");
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), document);
        assert_eq!(print(Form::Yaml, &json!({ "a": ["é\n\tb", 1] })).unwrap().lines().next(), Some("a:"), "no JSON");
    }
}
