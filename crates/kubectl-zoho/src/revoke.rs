//! `kubectl zoho revoke`: ends the refresh token at Zoho, and with it all access tokens made from it.

use std::io::{self, IsTerminal};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::core::DeserializeGuard;

use super::args::{Global, RevokeArgs};
use super::connect::{Cluster, operator_policy, token_service};
use super::login::explain;
use super::output::Output;
use super::{Ended, pages, renew, secret_io, usage};
use zoho_api::names::ObjectName;
use zoho_api::{Grant, Outcome, SecretRef, ZohoCredential};
use zoho_client::calls::{ApiError, call};
use zoho_client::transport::Transport;
use zoho_core::issuer::login::Revoked;
use zoho_core::issuer::zoho::TokenService;
use zoho_core::secret::RefreshGrant;

/// Asks, revokes, and has the operator look at what it comes to.
///
/// # Errors
///
/// The source cannot be read, or the caller did not say yes.
///
/// # Permissions
///
/// get, list and patch on `zohocredentials`, get on the source Secret. Credentials of other namespaces are named where the caller
/// may list them.
pub(crate) async fn run(global: &Global, args: &RevokeArgs, output: &Output) -> anyhow::Result<Ended> {
    let cluster = Cluster::connect(global)?;
    let credential = cluster.credential(&args.name).await?;
    if credential.spec.endpoint_central_server.is_some() {
        return Err(usage(format!("{} logs in at a server: there is no refresh token to revoke", args.name)));
    }
    if credential.spec.grant() == Grant::ClientCredentials {
        return Err(usage(format!(
            "{} asks by client credentials: there is no refresh token to revoke. Delete the client in the API console, or generate a new client secret there",
            args.name
        )));
    }
    let service = token_service(&credential.spec, &operator_policy(global)?)?;
    let grant = grant_of(&cluster, &credential.spec.secret_ref).await?;
    let sharers = sharers(&cluster, &credential).await?;
    let source = &credential.spec.secret_ref.name;
    output.note(&question(&cluster.namespace, source, host_of(&service), &sharers));
    if !args.yes && !is_confirmed()? {
        output.note("Nothing was revoked.");
        return Ok(Ended::Badly);
    }
    let transport = Transport::new(&global.ca_file, &[])?;
    match transport.revoke(&service.token_url, &grant).await {
        Revoked::Done => {
            let said = output.say(&format!(
                "Revoked. Secret {source} still holds it: log in again (kubectl zoho login {}), or delete both.",
                args.name
            ));
            have_looked_at(&cluster, &sharers, output).await;
            said?;
            Ok(Ended::Well)
        }
        revoked @ (Revoked::NotValid | Revoked::NoEndpoint | Revoked::Failed(_)) => {
            output.error(&why_not(&revoked, &service));
            if revoked == Revoked::NotValid {
                have_looked_at(&cluster, &sharers, output).await;
            }
            Ok(Ended::Badly)
        }
    }
}

async fn grant_of(cluster: &Cluster, reference: &SecretRef) -> anyhow::Result<RefreshGrant> {
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), &cluster.namespace);
    let source = match call(secrets.get(&reference.name)).await {
        Ok(source) => source,
        Err(ApiError::NotFound) => {
            anyhow::bail!("Secret {} does not exist: there is nothing to revoke", reference.name)
        }
        Err(error) => return Err(anyhow::Error::new(error).context(format!("read Secret {}", reference.name))),
    };
    RefreshGrant::from_secret(&source, reference, &cluster.namespace).map_err(|defect| anyhow::anyhow!(defect.message))
}

fn host_of(service: &TokenService) -> &str {
    service.token_url.host_str().unwrap_or_default()
}

fn question(namespace: &str, source: &str, host: &str, sharers: &Sharers) -> String {
    let name = |of: &ObjectName| {
        if &*of.namespace == namespace { format!("ZohoCredential {}", of.name) } else { format!("ZohoCredential {of}") }
    };
    let names: Vec<String> = sharers.names.iter().map(name).collect();
    let unseen = sharers.unseen.map_or("", Unseen::words);
    format!(
        "The refresh token in Secret {namespace}/{source} will be revoked at {host}, for good. Access tokens minted from it stop working at once; this affects {}{unseen}.",
        names.join(", ")
    )
}

/// Why it was not revoked, or may not have been.
fn why_not(revoked: &Revoked, service: &TokenService) -> String {
    let (host, data_center) = (host_of(service), service.data_center);
    match revoked {
        Revoked::Done => String::new(),
        Revoked::NotValid => format!(
            "{host} does not know this refresh token: it was revoked before, or belongs to a data center other than {data_center}"
        ),
        Revoked::NoEndpoint => format!(
            "{host} knows neither form of Zoho's revocation, so nothing was revoked. Is it an accounts host? Else remove the application at https://{host}/home#sessions/connectedapps"
        ),
        Revoked::Failed(failed) => {
            let fate = match failed.outcome {
                Outcome::NotSent | Outcome::NotMinted => "It was not revoked",
                Outcome::Minted | Outcome::Unknown => "Whether it was revoked is not known",
            };
            format!("{} {fate}; repeat it.", explain::upstream(host, failed))
        }
    }
}

/// The operator would notice at the next renewal only, and the status be wrong until then.
async fn have_looked_at(cluster: &Cluster, sharers: &Sharers, output: &Output) {
    for of in &sharers.names {
        let there = Cluster { namespace: of.namespace.to_string(), ..cluster.clone() };
        if let Err(error) = renew::request(&there, &of.name).await {
            output.note(&format!(
                "The operator could not be asked to look at ZohoCredential {of} ({error}): its status changes at the next renewal."
            ));
        }
    }
}

fn is_confirmed() -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(usage("standard input is not a terminal, so the command cannot ask: confirm with --yes"));
    }
    Ok(secret_io::ask("type yes to revoke it").is_ok_and(|answer| answer == "yes"))
}

/// Who lives on the same refresh token.
struct Sharers {
    names: Vec<ObjectName>,
    /// Why other namespaces were not looked at.
    unseen: Option<Unseen>,
}

/// Why not all namespaces could be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unseen {
    NotAllowed,
    NoAnswer,
}

impl Unseen {
    /// Revoking does not wait for such a list: a refresh token in wrong hands cannot either.
    fn of(error: ApiError) -> Result<Self, ApiError> {
        match error {
            ApiError::Refused { .. } => Ok(Self::NotAllowed),
            ApiError::Unavailable(_) => Ok(Self::NoAnswer),
            error @ (ApiError::NotFound | ApiError::Conflict | ApiError::AlreadyExists | ApiError::NoDryRun) => {
                Err(error)
            }
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotAllowed => ", and any that use it in namespaces that you may not list",
            Self::NoAnswer => ", and any that use it in other namespaces, which could not be listed",
        }
    }
}

/// In all namespaces, or in that of the credential where the others cannot be listed.
///
/// # Errors
///
/// The credentials cannot be listed: who is affected must be said before it is done.
async fn sharers(cluster: &Cluster, credential: &ZohoCredential) -> anyhow::Result<Sharers> {
    type Seen = DeserializeGuard<ZohoCredential>;
    let all = Api::<Seen>::all(cluster.client.clone());
    let explain = |error| cluster.explain(error, "list");
    let (listed, unseen) = match pages::all(&all).await {
        Ok(list) => (list.items, None),
        Err(error) => {
            let unseen = Unseen::of(error).map_err(explain)?;
            let own = Api::<Seen>::namespaced(cluster.client.clone(), &cluster.namespace);
            (pages::all(&own).await.map_err(explain)?.items, Some(unseen))
        }
    };
    let same = listed.into_iter().filter_map(|DeserializeGuard(item)| item.ok());
    let is_by_refresh_token =
        |of: &ZohoCredential| of.spec.endpoint_central_server.is_none() && of.spec.grant() == Grant::RefreshToken;
    let same = same.filter(|other| is_by_refresh_token(other) && shares(other, credential));
    let mut names: Vec<ObjectName> = same.map(|other| ObjectName::of(&other.metadata)).collect();
    if names.is_empty() {
        names.push(ObjectName::of(&credential.metadata));
    }
    Ok(Sharers { names, unseen })
}

/// Do two credentials live on the same refresh token? The operator knows: it counts the requests of each in a ledger of its own.
/// Where it has not said yet, they do if they name the same key of the same Secret.
fn shares(one: &ZohoCredential, other: &ZohoCredential) -> bool {
    let ledger = |of: &ZohoCredential| of.status.as_ref().and_then(|status| status.ledger.clone());
    let place = |of: &ZohoCredential| {
        let reference = &of.spec.secret_ref;
        (of.metadata.namespace.clone(), reference.name.clone(), reference.refresh_token_key().to_owned())
    };
    place(one) == place(other) || (ledger(one).is_some() && ledger(one) == ledger(other))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn credential(namespace: &str, reference: &Value, ledger: Option<&str>) -> ZohoCredential {
        let object = json!({ "metadata": { "name": "c", "namespace": namespace },
            "spec": { "dataCenter": "EU", "secretRef": reference }, "status": { "ledger": ledger } });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn list_that_does_not_come_keeps_nobody_from_revoking() {
        let asked = |error| {
            let unseen = Some(Unseen::of(error).expect("the own namespace is enough"));
            question("a", "zoho", "h", &Sharers { names: Vec::new(), unseen })
        };
        assert!(asked(ApiError::Unavailable(None)).contains("in other namespaces, which could not be listed"));
        assert!(asked(ApiError::Refused { message: "no".into() }).contains("in namespaces that you may not list"));
        assert!(Unseen::of(ApiError::NotFound).is_err());
    }

    #[test]
    fn who_has_the_same_refresh_token_is_named_and_nobody_else() {
        let of = |key: &str| json!({ "name": "zoho", "refreshTokenKey": key });
        let one = credential("a", &of("patch"), Some("l-1"));
        for (other, shares_it) in [
            (credential("a", &of("patch"), None), true),
            (credential("b", &of("other"), Some("l-1")), true),
            (credential("a", &of("desk"), Some("l-2")), false),
            (credential("b", &of("patch"), None), false),
        ] {
            assert_eq!(shares(&one, &other), shares_it, "{other:?}");
        }
    }
}
