//! `kubectl zoho ledger`: what was asked of each refresh token, and which credentials live on it.

use std::collections::{BTreeMap, BTreeSet};

use kube::Api;
use serde_json::{Value, json};

use super::args::{Global, LedgerArgs};
use super::connect::Cluster;
use super::installation::Installation;
use super::output::Output;
use super::table::when;
use super::{Ended, get, pages, render};
use zoho_api::{Time, ZohoCredential, ZohoMintLedger, ZohoMintLedgerSpec};
use zoho_client::calls::ApiError;
use zoho_client::clock;
use zoho_core::plan::budget::{self, Found};
use zoho_core::plan::record;

/// A ledger with those who live on it, as far as both can be seen.
#[derive(Debug, Default)]
struct Account {
    /// The installation whose ledger it is.
    home: Option<Installation>,
    ledger: Option<ZohoMintLedgerSpec>,
    /// Namespace and name.
    credentials: BTreeSet<String>,
}

/// Shows all ledgers, the one of a name, or the one of a credential.
///
/// # Errors
///
/// There is none of that name, or the cluster does not answer.
///
/// # Permissions
///
/// As far as they go: list on `zohocredentials` in all namespaces, list on `zohomintledgers` in the operator's.
pub(crate) async fn run(global: &Global, args: &LedgerArgs, output: &Output) -> anyhow::Result<Ended> {
    let cluster = Cluster::connect(global)?;
    let mut unseen = Vec::new();
    let credentials = credentials(&cluster, &mut unseen).await?;
    let mut accounts = accounts(&credentials);
    for installation in Installation::serving(&cluster, global, &credentials).await {
        take_in(&cluster, installation, &mut accounts, &mut unseen).await?;
    }
    if let Some(name) = &args.name {
        let wanted = wanted(&cluster, name, &credentials, &accounts)?;
        accounts.retain(|ledger, _| *ledger == wanted);
    }
    for what in &unseen {
        output.note(&format!("Not seen: {what}"));
    }
    let now = clock::system().now();
    match args.output {
        Some(form) => {
            let items: Vec<Value> = accounts.iter().map(|(name, account)| document(name, account, now)).collect();
            output.document(&get::print(form, &json!(items))?)?;
        }
        None if accounts.is_empty() => output.note("There is no ledger: no token was requested yet."),
        None => {
            let blocks =
                accounts.iter().map(|(name, account)| render::fields(&lines(name, account, now), output.width()));
            output.result(&blocks.collect::<Vec<_>>().join("\n\n"))?;
        }
    }
    Ok(Ended::Well)
}

/// Those of all namespaces, or of the caller's where he may not list the others.
async fn credentials(cluster: &Cluster, unseen: &mut Vec<String>) -> anyhow::Result<Vec<ZohoCredential>> {
    let everywhere = Cluster { namespace: String::new(), ..cluster.clone() };
    match get::readable(&everywhere, true).await {
        Ok((credentials, _)) => Ok(credentials),
        Err(ApiError::Refused { message }) => {
            unseen.push(format!("ZohoCredentials of other namespaces than {}: {message}", cluster.namespace));
            let listed = get::readable(cluster, false).await;
            Ok(listed.map_err(|error| cluster.explain(error, "(all)"))?.0)
        }
        Err(error) => Err(cluster.explain(error, "(all)")),
    }
}

fn accounts(credentials: &[ZohoCredential]) -> BTreeMap<String, Account> {
    let mut accounts = BTreeMap::<String, Account>::new();
    for credential in credentials {
        let Some(ledger) = credential.status.as_ref().and_then(|status| status.ledger.as_ref()) else { continue };
        accounts.entry(ledger.to_string()).or_default().credentials.insert(full_name(credential));
    }
    accounts
}

fn full_name(credential: &ZohoCredential) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&credential.metadata.namespace), text(&credential.metadata.name))
}

async fn take_in(
    cluster: &Cluster,
    home: Installation,
    accounts: &mut BTreeMap<String, Account>,
    unseen: &mut Vec<String>,
) -> anyhow::Result<()> {
    let api = Api::<ZohoMintLedger>::namespaced(cluster.client.clone(), &home.namespace);
    let listed = match pages::all(&api).await {
        Ok(listed) => listed.items,
        Err(ApiError::NotFound) => Vec::new(),
        Err(ApiError::Refused { message }) => {
            unseen.push(format!("the ledgers in namespace {}: {message}", home.namespace));
            Vec::new()
        }
        Err(error) => return Err(cluster.explain(error, "(ledgers)")),
    };
    for ledger in listed {
        let account = accounts.entry(ledger.metadata.name.unwrap_or_default()).or_default();
        account.home = Some(home.clone());
        account.ledger = Some(ledger.spec);
    }
    Ok(())
}

/// Name of the ledger that is meant: its own, or that of a credential in the caller's namespace.
fn wanted(
    cluster: &Cluster,
    name: &str,
    credentials: &[ZohoCredential],
    accounts: &BTreeMap<String, Account>,
) -> anyhow::Result<String> {
    let is_it = |one: &&ZohoCredential| {
        one.metadata.name.as_deref() == Some(name) && one.metadata.namespace.as_deref() == Some(&cluster.namespace)
    };
    match credentials.iter().find(is_it) {
        Some(credential) => match credential.status.as_ref().and_then(|status| status.ledger.as_ref()) {
            Some(ledger) => Ok(ledger.to_string()),
            None => anyhow::bail!(
                "ZohoCredential {name} has no ledger yet: no token was requested. See kubectl zoho describe {name}"
            ),
        },
        None if accounts.contains_key(name) => Ok(name.to_owned()),
        None => anyhow::bail!(
            "there is neither a ZohoCredential {name} in namespace {} nor a ledger of that name. See kubectl zoho ledger",
            cluster.namespace
        ),
    }
}

fn lines(name: &str, account: &Account, now: Time) -> Vec<(&'static str, String)> {
    let home = account.home.as_ref().map(|home| format!("{}/", home.namespace)).unwrap_or_default();
    let mut lines = vec![("Ledger", format!("{home}{name}"))];
    if let Some(ledger) = &account.ledger {
        lines.push(("Budget", render::budget(ledger, record::limits(ledger).unwrap_or_default(), now)));
        if let Some(at) = ledger.last_mint_time {
            lines.push(("Last mint", when(at, now)));
        }
        if let Some(until) = ledger.throttled_until.filter(|until| *until > now) {
            lines.push(("Throttled", format!("until {}", when(until, now))));
        }
        if let Some(verdict) = &ledger.last_verdict {
            lines.push(("Refused", verdict.clone()));
        }
    }
    let nobody = || "no ZohoCredential that you may see".to_owned();
    let users: Vec<&str> = account.credentials.iter().map(String::as_str).collect();
    lines.push(("Used by", if users.is_empty() { nobody() } else { users.join("\n") }));
    lines
}

fn document(name: &str, account: &Account, now: Time) -> Value {
    let mut document = json!({ "name": name, "credentials": account.credentials });
    if let Some(home) = &account.home {
        document["namespace"] = json!(home.namespace);
    }
    if let Some(stored) = &account.ledger {
        let limits = record::limits(stored).unwrap_or_default();
        let ledger = budget::settle(Found::Present(stored.clone()), now);
        document["requests"] = json!(budget::attempts_in_window(&ledger, limits, now));
        document["requestsLimit"] = json!(limits.attempts);
        document["liveTokens"] = json!(budget::live(&ledger, limits, now));
        document["liveTokensLimit"] = json!(limits.live);
        document["lastMintTime"] = json!(stored.last_mint_time);
        document["throttledUntil"] = json!(ledger.throttled_until);
        document["lastVerdict"] = json!(stored.last_verdict);
    }
    document
}
