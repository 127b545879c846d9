//! `kubectl zoho token`: prints the current access token.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::args::{Global, TokenArgs};
use super::connect::Cluster;
use super::output::Output;
use super::table::when;
use super::{Ended, get, secret_io};
use serde_json::{Value, json};
use zoho_api::ZohoCredential;
use zoho_client::calls::{ApiError, call};
use zoho_client::clock;
use zoho_core::facts::target::target_by_metadata;
use zoho_core::plan::Target;
use zoho_core::plan::renewal::Life;
use zoho_core::secret;

/// Prints the token, or the header that carries it. A dead token is not printed.
///
/// # Errors
///
/// There is no token of this credential, it is dead, or the caller may not read it.
///
/// # Permissions
///
/// get on `zohocredentials` and on the target Secret.
pub(crate) async fn run(global: &Global, args: &TokenArgs, output: &Output) -> anyhow::Result<Ended> {
    let cluster = Cluster::connect(global)?;
    let credential = cluster.credential(&args.name).await?;
    let name = credential.target_name();
    let look = format!("See kubectl zoho describe {}", args.name);
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), &cluster.namespace);
    let target = match call(secrets.get(&name)).await {
        Ok(target) => target,
        Err(ApiError::NotFound) => anyhow::bail!("there is no token yet: Secret {name} does not exist. {look}"),
        Err(error) => return Err(anyhow::Error::new(error).context(format!("read Secret {name}"))),
    };
    let life = match target_by_metadata(&credential, &target.metadata) {
        Target::Blocked { defect, .. } => anyhow::bail!("{} {look}", defect.message),
        Target::Ours { token: Some(token), .. } => token.life,
        Target::Ours { token: None, .. } | Target::Absent => {
            anyhow::bail!("Secret {name} holds no token of this ZohoCredential. {look}")
        }
    };
    let now = clock::system().now();
    let is_server = credential.spec.endpoint_central_server.is_some();
    // A server names no end of its tokens, so the one that is written down is a guess.
    if life.expires_at <= now && !is_server {
        anyhow::bail!("the token expired at {}. {look}", when(life.expires_at, now));
    }
    if let Some(form) = args.output.filter(|_| !args.show_token) {
        output.document(&get::print(form, &about(&credential, life))?)?;
        return Ok(Ended::Well);
    }
    let Some(token) = secret::token_in(&target) else {
        anyhow::bail!("Secret {name} was edited: its token is not where it should be. {look}")
    };
    if !secret_io::is_token(&token) {
        anyhow::bail!("Secret {name} was edited: what stands where its token should be is not a token. {look}")
    }
    let scheme = if is_server { "" } else { "Zoho-oauthtoken" };
    if let Some(form) = args.output {
        secret_io::print_token_with(output, &token, about(&credential, life), form)?;
        return Ok(Ended::Well);
    }
    secret_io::print_token(output, &token, args.header.then_some(scheme))?;
    Ok(Ended::Well)
}

/// What is known of the token, without it.
fn about(credential: &ZohoCredential, life: Life) -> Value {
    let mut about = json!({
        "name": credential.metadata.name, "namespace": credential.metadata.namespace,
        "secret": credential.target_name(), "issuedAt": life.issued_at,
    });
    if credential.spec.endpoint_central_server.is_none() {
        about["expiresAt"] = json!(life.expires_at);
        about["scheme"] = json!("Zoho-oauthtoken");
    }
    about
}
