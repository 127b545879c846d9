//! What a bare client needs, 32 at once: for the least that anybody could do, one request for a token and one Secret
//! created with it, and for the calls that the operator makes before a Secret exists.

use std::time::Instant;

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use zoho_api::ZohoMintLedger;
use zoho_simulator::Credential;
use zoho_testkit::control_plane::OPERATOR_NAMESPACE;

use super::burst::Burst;
use super::stage::{Stage, secret};
use super::subject::{Subject, target, token_url};

/// As many requests as the operator has under way to one host.
const AT_ONCE: usize = 32;

/// Requests a token and creates a Secret with it, once for each credential.
pub(crate) async fn create(stage: &Stage, credentials: &[Credential]) -> Result<Burst> {
    let (mints, secrets) = (&Mints::new(stage)?, &stage.secrets());
    for_each(credentials, async |number, credential| {
        let token = mints.mint(credential).await?;
        let data = [("access_token".to_owned(), ByteString(token.into_bytes()))].into();
        secrets.create(&PostParams::default(), &secret(&target(number), data)).await.context("create a Secret")?;
        Ok(())
    })
    .await
}

/// A ledger and a Secret that the operator has written.
pub(crate) struct Written {
    ledger: ZohoMintLedger,
    target: Secret,
}

impl Written {
    /// One of each, without what the API server adds.
    pub(crate) async fn of(stage: &Stage) -> Result<Self> {
        let ledgers = ledgers(stage).list(&ListParams::default().limit(1)).await.context("list the ledgers")?;
        let mut ledger = ledgers.items.into_iter().next().context("the operator has written a ledger")?;
        let mut target = stage.secrets().get(&target(0)).await.context("get a target")?;
        for metadata in [&mut ledger.metadata, &mut target.metadata] {
            (metadata.uid, metadata.resource_version, metadata.managed_fields) = (None, None, None);
        }
        Ok(Self { ledger, target })
    }
}

/// The same calls as the operator's, with objects of the same size: somebody creates the credential, and its source is
/// read, its ledger created, its token requested, its target created.
pub(crate) async fn same_calls(
    stage: &Stage,
    subject: &Subject,
    credentials: &[Credential],
    written: &Written,
) -> Result<Burst> {
    let (objects, ledgers, secrets) = (&subject.api(stage).await?, &ledgers(stage), &stage.secrets());
    let mints = &Mints::new(stage)?;
    for_each(credentials, async |number, credential| {
        subject.create(objects, stage, number).await?;
        secrets.get(&format!("source-{number}")).await.context("read a source")?;
        let (mut ledger, mut secret) = (written.ledger.clone(), written.target.clone());
        ledger.metadata.name = Some(format!("{}-{number}", ledger.name_any()));
        ledgers.create(&PostParams::default(), &ledger).await.context("create a ledger")?;
        let token = mints.mint(credential).await?;
        secret.metadata.name = Some(target(number));
        secret.data.get_or_insert_default().insert("access_token".to_owned(), ByteString(token.into_bytes()));
        secrets.create(&PostParams::default(), &secret).await.context("create a target")?;
        Ok(())
    })
    .await
}

fn ledgers(stage: &Stage) -> Api<ZohoMintLedger> {
    Api::namespaced(stage.client.clone(), OPERATOR_NAMESPACE)
}

/// Does it for each credential, [`AT_ONCE`], and notes how long each took.
async fn for_each(credentials: &[Credential], work: impl AsyncFn(usize, &Credential) -> Result<()>) -> Result<Burst> {
    let (started, work) = (Instant::now(), &work);
    let waits = stream::iter(credentials.iter().enumerate())
        .map(|(number, credential)| async move {
            let began = Instant::now();
            work(number, credential).await?;
            anyhow::Ok(began.elapsed())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(Burst::of(started, waits, Instant::now()))
}

/// Requests tokens.
struct Mints {
    http: reqwest::Client,
    url: String,
}

impl Mints {
    fn new(stage: &Stage) -> Result<Self> {
        Ok(Self { http: reqwest::Client::builder().no_proxy().build()?, url: token_url(stage) })
    }

    async fn mint(&self, credential: &Credential) -> Result<String> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &credential.client_id),
            ("client_secret", &credential.client_secret),
            ("refresh_token", &credential.refresh_token),
        ];
        let reply = self.http.post(&self.url).form(&form).send().await.context("ask for a token")?.bytes().await?;
        let reply: serde_json::Value = serde_json::from_slice(&reply).context("read the reply")?;
        Ok(reply["access_token"].as_str().context("a token")?.to_owned())
    }
}
