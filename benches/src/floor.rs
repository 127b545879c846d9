//! The least that anybody could do: one request for a token and one Secret created with it, 32 at once, and nothing else.

use std::time::Instant;

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use kube::api::PostParams;
use zoho_simulator::Credential;

use super::burst::Burst;
use super::stage::{Stage, secret};
use super::subject::{target, token_url};

/// As many requests as the operator has under way to one host.
const AT_ONCE: usize = 32;

/// Mints and creates, once for each credential.
pub(crate) async fn create(stage: &Stage, credentials: &[Credential]) -> Result<Burst> {
    let (http, url, secrets) = (reqwest::Client::builder().no_proxy().build()?, token_url(stage), stage.secrets());
    let (http, url, secrets) = (&http, &url, &secrets);
    let started = Instant::now();
    let waits = stream::iter(credentials.iter().enumerate())
        .map(|(number, credential)| async move {
            let began = Instant::now();
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", &credential.client_id),
                ("client_secret", &credential.client_secret),
                ("refresh_token", &credential.refresh_token),
            ];
            let reply = http.post(url).form(&form).send().await.context("ask for a token")?.bytes().await?;
            let reply: serde_json::Value = serde_json::from_slice(&reply).context("read the reply")?;
            let token = reply["access_token"].as_str().context("a token")?;
            let data = [("access_token".to_owned(), ByteString(token.as_bytes().to_vec()))].into();
            secrets.create(&PostParams::default(), &secret(&target(number), data)).await.context("create a Secret")?;
            anyhow::Ok(began.elapsed())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(Burst::of(started, waits, Instant::now()))
}
