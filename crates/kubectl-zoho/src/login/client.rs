//! `kubectl zoho login --client-credentials`: a self client that asks in its own name. No code and no refresh token: the
//! client is proven by a first token before anything is written.

use secrecy::SecretString;

use super::super::args::{Global, LoginArgs};
use super::super::connect::Cluster;
use super::super::output::{Output, Paint};
use super::super::renew;
use super::super::{Ended, usage};
use super::store::Place;
use super::wanted::Wanted;
use super::{Client, check_what_is_given, dry_run, explain, finish, scopes, servable};
use zoho_api::ZohoCredential;
use zoho_client::clock;
use zoho_client::transport::Transport;
use zoho_core::issuer::TokenRequest;
use zoho_core::issuer::client_credentials::Asked;
use zoho_core::issuer::reply::{Failed, Minted, Reply};
use zoho_core::issuer::zoho::TokenService;
use zoho_core::policy::Policy;
use zoho_core::secret::ClientGrant;

/// Logs in: what is wanted is proven by a token, then stored.
///
/// # Errors
///
/// Zoho does not give the client such a token, or something keeps it from being stored.
pub(crate) async fn run(
    (global, args, output): (&Global, &LoginArgs, &Output),
    cluster: &Cluster,
    (wanted, existing): (&Wanted, Option<&ZohoCredential>),
    asked: Asked,
) -> anyhow::Result<Ended> {
    let (policy, _) = issuer_of((global, args), wanted, &asked)?;
    servable::check((global, &policy), wanted, existing, &cluster.namespace)?;
    let place = Place::find(cluster, wanted).await?;
    if args.dry_run {
        check_what_is_given(args, &place)?;
        let (values, namespace) = (dry_run::of_client(args, wanted), global.namespace.as_deref());
        output.result(&dry_run::manifests(wanted, &values, place.source_metadata(), namespace)?)?;
        return Ok(Ended::Well);
    }
    let grant = proven((global, args, output), wanted, asked, Some(&place)).await?;
    let store = Box::pin(async {
        let is_there_already = wanted.is_there && place.holds(&grant).await;
        let source = place.store_source(&grant).await?;
        if is_there_already {
            // The same values change nothing for the operator: a client that was refused before is tried again on request.
            let _ = renew::request(cluster, &wanted.name).await;
        }
        Ok(source)
    });
    finish(cluster, wanted, &place, store, args, output).await
}

/// Asks for the client and has Zoho give it a first token.
///
/// # Errors
///
/// Zoho gives none: why, and what to change.
pub(crate) async fn proven(
    (global, args, output): (&Global, &LoginArgs, &Output),
    wanted: &Wanted,
    asked: Asked,
    place: Option<&Place<'_>>,
) -> anyhow::Result<ClientGrant> {
    let (_, service) = issuer_of((global, args), wanted, &asked)?;
    let transport = Transport::new(&global.ca_file, &[])?;
    prove(&transport, &service, obtain((args, output), &service, asked, place)?, output).await
}

fn issuer_of(
    (global, args): (&Global, &LoginArgs),
    wanted: &Wanted,
    asked: &Asked,
) -> anyhow::Result<(Policy, TokenService)> {
    let issuer = super::issuer_of(global, args, wanted)?;
    if asked.scopes.is_empty() {
        return Err(usage("what for? Name a --product, or scopes with --scope"));
    }
    Ok(issuer)
}

fn obtain(
    (args, output): (&LoginArgs, &Output),
    service: &TokenService,
    asked: Asked,
    place: Option<&Place<'_>>,
) -> anyhow::Result<ClientGrant> {
    let console = output.paint(Paint::Strong, &service.console());
    output.note(&format!(
        "Client:  the Self Client at {console}: id and secret are under Client Secret\nScope:   {}",
        output.paint(Paint::Strong, &asked.scope())
    ));
    let Client { id, secret } = Client::ask(args, place)?;
    Ok(ClientGrant { client_id: SecretString::from(id), client_secret: secret, asked })
}

/// Has Zoho give a first token, which nobody uses: what is stored is known to work.
async fn prove(
    transport: &Transport,
    service: &TokenService,
    grant: ClientGrant,
    output: &Output,
) -> anyhow::Result<ClientGrant> {
    let request = TokenRequest::Client(service.clone(), grant.clone());
    match transport.send(&request, clock::system().as_ref()).await {
        Reply::Minted(Minted { scopes, .. }) => {
            // A reply need not name them.
            if !scopes.is_empty()
                && let Some(note) = scopes::not_granted(&grant.asked.scope(), &scopes.join(" "))
            {
                output.note(&note);
            }
            Ok(grant)
        }
        Reply::Throttled { .. } => anyhow::bail!(
            "Zoho reports too many requests with this client. Nothing was stored: wait ten minutes, then log in again"
        ),
        Reply::Failed(failed) => anyhow::bail!("{}. Nothing was stored", refused(&failed, service, &grant.asked)),
    }
}

/// Why there is no token: which of data center, client, scope and organisation it was.
fn refused(failed: &Failed, service: &TokenService, asked: &Asked) -> String {
    let host = service.token_url.host_str().unwrap_or_default();
    let (console, data_center) = (service.console(), service.data_center);
    let Some(code) = failed.code.as_deref() else {
        return explain::upstream(host, failed).trim_end_matches('.').to_owned();
    };
    let what = match code {
        "missing_org_info" => {
            "Organisation: the account has several. Name one with --soid, such as ZohoCRM.7000001: the first word of the scopes, a dot and the organisation's id".into()
        }
        "invalid_soid" => format!(
            "Organisation: Zoho does not know {}, or the client's owner is not in it. Correct --soid",
            asked.soid.as_deref().unwrap_or("it")
        ),
        "invalid_scope" => format!(
            "Scope: Zoho does not know one of {}, or does not grant it to a client alone. Name others with --scope",
            asked.scope()
        ),
        "invalid_client" => format!(
            "Client or data center: {host} does not know this client id, or it is not a Self Client. It is listed at {console} when you are signed in there, or it is not of {data_center}"
        ),
        "invalid_client_secret" => format!(
            "Client: {host} knows the client id, but not with this secret. It is mistyped, or was changed in the meantime: compare it at {console}"
        ),
        _ => format!(
            "Zoho refused the request. Check the client at {console}; if the product does not support client credentials, log in without --client-credentials"
        ),
    };
    format!("{what} ({code})")
}

#[cfg(test)]
mod tests {
    use super::super::issuer;
    use super::*;
    use zoho_api::{DataCenter, Reason};

    #[test]
    fn refusal_names_what_to_change() {
        let service = TokenService::of(&issuer::spec(DataCenter::EU, None), &Policy::default()).unwrap();
        let asked = Asked { scopes: vec!["ZohoCRM.users.READ".into()], soid: Some("ZohoCRM.9".into()) };
        for (code, expected) in [
            ("missing_org_info", "with --soid"),
            ("invalid_soid", "does not know ZohoCRM.9"),
            ("invalid_scope", "one of ZohoCRM.users.READ"),
            ("invalid_client", "not of EU"),
            ("invalid_client_secret", "https://api-console.zoho.eu"),
            ("unauthorized_client", "without --client-credentials"),
        ] {
            let failed = Failed::permanent(Reason::RequestRejected, Some(code.into()));
            let said = refused(&failed, &service, &asked);
            assert!(said.contains(expected) && said.ends_with(&format!("({code})")), "{said}");
        }
    }
}
