//! `kubectl zoho revoke`: ends the refresh token at Zoho, and with it all access tokens made from it.

use std::io::{self, IsTerminal};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use kube::core::DeserializeGuard;

use super::args::{Global, RevokeArgs};
use super::connect::{Cluster, operator_policy};
use super::login::explain;
use super::output::Output;
use super::{Ended, secret_io, usage};
use zoho_api::ZohoCredential;
use zoho_client::calls::{ApiError, call};
use zoho_client::transport::Transport;
use zoho_core::issuer::login::{Revoked, revocation_url};
use zoho_core::issuer::zoho::TokenService;
use zoho_core::secret::RefreshGrant;

/// Asks, and revokes.
///
/// # Errors
///
/// The source cannot be read, or the caller did not say yes.
///
/// # Permissions
///
/// get and list on `zohocredentials`, get on the source Secret.
pub(crate) async fn run(global: &Global, args: &RevokeArgs, output: &Output) -> anyhow::Result<Ended> {
    let cluster = Cluster::connect(global)?;
    let credential = cluster.credential(&args.name).await?;
    let reference = &credential.spec.secret_ref;
    if credential.spec.endpoint_central_server.is_some() {
        return Err(usage(format!("{} logs in at a server: there is no refresh token to revoke", args.name)));
    }
    let policy = operator_policy(global)?;
    let service =
        TokenService::of(&credential.spec, &policy).map_err(|defect| match &credential.spec.accounts_host {
            // As with the operator, secrets go to listed hosts only.
            Some(host) => usage(format!(
                "{host} is no accounts host that is known here: allow it with --accounts-host-allowed {host}"
            )),
            None => anyhow::anyhow!(defect.message),
        })?;
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), &cluster.namespace);
    let source = match call(secrets.get(&reference.name)).await {
        Ok(source) => source,
        Err(ApiError::NotFound) => {
            anyhow::bail!("Secret {} does not exist: there is nothing to revoke", reference.name)
        }
        Err(error) => return Err(anyhow::Error::new(error).context(format!("read Secret {}", reference.name))),
    };
    let grant = RefreshGrant::from_secret(&source, reference, &cluster.namespace)
        .map_err(|defect| anyhow::anyhow!(defect.message))?;

    let host = service.token_url.host_str().unwrap_or_default();
    let sharers = sharers(&cluster, &credential).await;
    output.note(&format!(
        "The refresh token in Secret {}/{} will be revoked at {host}, for good. Access tokens made from it stop working at once, those of {}.",
        cluster.namespace,
        reference.name,
        sharers.join(", ")
    ));
    if !args.yes && !is_confirmed()? {
        output.note("Nothing was revoked.");
        return Ok(Ended::Badly);
    }
    let transport = Transport::new(&global.ca_file, &[])?;
    match transport.revoke(&revocation_url(&service.token_url), &grant.refresh_token).await {
        Revoked::Done => {
            output.say(&format!(
                "Revoked. Secret {} still holds it: log in anew (kubectl zoho login {} --data-center {}), or delete both.",
                reference.name, args.name, service.data_center
            ));
            Ok(Ended::Well)
        }
        Revoked::NotValid => {
            output.error(&format!(
                "{host} does not know this refresh token: it was revoked before, or belongs to another data center than {}",
                service.data_center
            ));
            Ok(Ended::Badly)
        }
        Revoked::Failed(failed) => {
            output.error(&format!(
                "{} Whether it was revoked is not known; repeat it.",
                explain::upstream(host, &failed)
            ));
            Ok(Ended::Badly)
        }
    }
}

fn is_confirmed() -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(usage("nobody can be asked where standard input is not a terminal: confirm with --yes"));
    }
    Ok(secret_io::ask("type yes to revoke it").is_ok_and(|answer| answer == "yes"))
}

/// The credentials of the namespace that live on this source; the one itself where they cannot be listed.
async fn sharers(cluster: &Cluster, credential: &ZohoCredential) -> Vec<String> {
    let api = Api::<DeserializeGuard<ZohoCredential>>::namespaced(cluster.client.clone(), &cluster.namespace);
    let listed = call(api.list(&ListParams::default())).await.map(|list| list.items).unwrap_or_default();
    let same = listed.into_iter().filter_map(|DeserializeGuard(item)| item.ok());
    let same = same.filter(|other| other.spec.secret_ref.name == credential.spec.secret_ref.name);
    let mut names: Vec<String> = same.filter_map(|other| other.metadata.name).collect();
    if names.is_empty() {
        names.extend(credential.metadata.name.clone());
    }
    names.into_iter().map(|name| format!("ZohoCredential {name}")).collect()
}
