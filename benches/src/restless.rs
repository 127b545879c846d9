//! A tenant with hundreds of credentials on one large source that changes all the time, and how long others wait meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;

use super::burst::Burst;
use super::calls::Calls;
use super::stage::{Stage, secret, until};
use super::subject::{Subject, target};

/// Where the tenant's credentials are.
const TENANT: &str = "restless";
/// How large the source is, beside its three values.
const PADDING: usize = 900_000;
/// How often it changes.
const EVERY: Duration = Duration::from_millis(100);

/// How long credentials of others wait, before and while the tenant's source changes.
pub(crate) struct Waits {
    pub(crate) calm: Burst,
    pub(crate) beside: Burst,
    /// Changes of the source.
    pub(crate) touches: usize,
    /// Calls of the operator meanwhile.
    pub(crate) calls: Calls,
}

/// `credentials` on one source, and twice `others` beside them. The stage has sources for those of others, and one more.
pub(crate) async fn measure(subject: &Subject, stage: &Stage, credentials: usize, others: usize) -> Result<Waits> {
    tenant(subject, stage, credentials, 2 * others).await?;
    let calm = one_after_another(subject, stage, 0..others).await?;
    let before = Calls::so_far(stage).await?;
    let mut touches = 0;
    let beside = tokio::select! {
        failed = touch(stage, &mut touches) => return Err(failed),
        beside = one_after_another(subject, stage, others..2 * others) => beside?,
    };
    Ok(Waits { calm, beside, touches, calls: Calls::so_far(stage).await?.since(&before) })
}

/// The tenant's source, with the values of the stage's, and credentials that use it; all are served when this returns.
async fn tenant(subject: &Subject, stage: &Stage, credentials: usize, source: usize) -> Result<()> {
    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {TENANT}}}}}");
    stage.cluster.apply_yaml(&namespace).await?;
    let values = stage.secrets().get(&format!("source-{source}")).await?.data.unwrap_or_default();
    let padding = ("padding".to_owned(), ByteString(vec![b'x'; PADDING]));
    let large = secret("source", values.into_iter().chain([padding]).collect());
    sources(stage).create(&PostParams::default(), &large).await.context("create the large source")?;
    let kind = subject.kind(stage).await?;
    let api = &Api::<DynamicObject>::namespaced_with(stage.client.clone(), TENANT, &kind);
    stream::iter(0..credentials)
        .map(|number| async move {
            let mut object = subject.object(stage, number)?;
            object.metadata.namespace = Some(TENANT.into());
            object.data["spec"]["secretRef"]["name"] = json!("source");
            api.create(&PostParams::default(), &object).await.with_context(|| format!("create credential {number}"))
        })
        .buffer_unordered(8)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    for number in 0..credentials {
        let name = target(number);
        until("the tenant's Secrets", async || Ok(sources(stage).get_metadata_opt(&name).await?.map(drop))).await?;
    }
    Ok(())
}

fn sources(stage: &Stage) -> Api<Secret> {
    Api::namespaced(stage.client.clone(), TENANT)
}

/// Changes a label of the source until it fails.
async fn touch(stage: &Stage, touches: &mut usize) -> anyhow::Error {
    loop {
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "touched": touches.to_string() } } }));
        if let Err(error) = sources(stage).patch_metadata("source", &PatchParams::default(), &patch).await {
            return anyhow::Error::new(error).context("change the source");
        }
        *touches += 1;
        tokio::time::sleep(EVERY).await;
    }
}

/// Creates credentials one after another, each when the one before has its Secret.
async fn one_after_another(subject: &Subject, stage: &Stage, numbers: std::ops::Range<usize>) -> Result<Burst> {
    let api = subject.api(stage).await?;
    let (started, mut waits) = (Instant::now(), Vec::new());
    for number in numbers {
        let created = Instant::now();
        subject.create(&api, stage, number).await?;
        let name = target(number);
        until("its Secret", async || Ok(stage.secrets().get_metadata_opt(&name).await?.map(drop))).await?;
        waits.push(created.elapsed());
    }
    Ok(Burst::of(started, waits, Instant::now()))
}
