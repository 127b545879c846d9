//! Clients of the Kubernetes API. Every answer passes here once: counted, and its `Date` compared with the own clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use tower::{Layer, Service};

use crate::serve::metrics::Metrics;
use zoho_api::Time;
use zoho_client::clock::Clock;
use zoho_client::cluster;

/// Decisions are made by the wall clock; from this offset on, in seconds, a person should know.
pub(crate) const LARGEST_OFFSET: i64 = 60;

/// Kinds that are told apart in metrics.
const KINDS: [&str; 9] = [
    "secrets",
    "zohocredentials",
    "zohomintledgers",
    "events",
    "leases",
    "selfsubjectaccessreviews",
    "subjectaccessreviews",
    "tokenreviews",
    "customresourcedefinitions",
];

/// Makes clients that count into the same metrics.
#[derive(Clone)]
pub(crate) struct Clients {
    observer: Observer,
}

impl Clients {
    /// Clients of the cluster that the environment names.
    pub(crate) fn new(metrics: Metrics, clock: Arc<dyn Clock>) -> Self {
        Self { observer: Observer { metrics, clock, warned: Arc::default() } }
    }

    /// A client with connections of its own, without kube's retry layer, which would repeat POSTs; every call has a
    /// deadline of its own.
    ///
    /// # Errors
    ///
    /// No cluster is configured, or not so that a client can be made.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let mut config = cluster::config(None, None).context("find a cluster: set KUBECONFIG, or run in a pod")?;
        config.apply_debug_overrides();
        config.default_retry = false;
        let builder = ClientBuilder::try_from(config).context("make a Kubernetes client")?;
        Ok(builder.with_layer(&self.observer).build())
    }
}

#[derive(Clone)]
struct Observer {
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    warned: Arc<AtomicBool>,
}

impl Observer {
    fn compare_clocks(&self, headers: &HeaderMap) {
        let Some(theirs) = headers.get(header::DATE).and_then(|date| Time::from_http_date(date.to_str().ok()?)) else {
            return;
        };
        let ahead = self.clock.now().unix() - theirs.unix();
        self.metrics.clock_is_ahead(ahead);
        let is_far = ahead.abs() > LARGEST_OFFSET;
        if is_far == self.warned.swap(is_far, Ordering::Relaxed) {
            return;
        }
        if is_far {
            tracing::warn!(
                seconds_ahead = ahead,
                "this machine's clock differs from the API server's: tokens are renewed too early or too late; correct the clock (NTP)"
            );
        } else {
            tracing::info!("this machine's clock agrees with the API server's again");
        }
    }
}

impl<S> Layer<S> for Observer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observer: self.clone() }
    }
}

/// A service whose answers are observed.
#[derive(Clone)]
struct Observed<S> {
    inner: S,
    observer: Observer,
}

impl<S, B> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, kind) = what(request.method(), request.uri());
        let observer = self.observer.clone();
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            observer.metrics.api_answered(verb, kind, code);
            if let Ok(answer) = &answer {
                observer.compare_clocks(answer.headers());
            }
            answer
        }
        .boxed()
    }
}

/// Verb and kind of a request, from closed lists.
fn what(method: &Method, uri: &Uri) -> (&'static str, &'static str) {
    let mut parts = uri.path().split('/').filter(|part| !part.is_empty()).peekable();
    let skipped = match parts.next() {
        Some("api") => 1,
        Some("apis") => 2,
        Some(_) | None => return ("other", "other"),
    };
    for _ in 0..skipped {
        parts.next();
    }
    let mut rest: Vec<&str> = parts.collect();
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.drain(..2);
    }
    let kind = rest.first().and_then(|kind| KINDS.into_iter().find(|known| known == kind)).unwrap_or("other");
    let is_named = rest.len() > 1;
    let watches =
        uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1"));
    let verb = match (method.as_str(), is_named) {
        ("GET", _) if watches => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        (_, _) => "other",
    };
    (verb, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_verb_and_kind() {
        for (method, uri, expected) in [
            ("GET", "/api/v1/namespaces/a/secrets/s", ("get", "secrets")),
            ("GET", "/api/v1/namespaces/a/secrets?&limit=500", ("list", "secrets")),
            ("GET", "/api/v1/secrets?&watch=true&resourceVersion=1", ("watch", "secrets")),
            (
                "PATCH",
                "/apis/zoho-operator.dev/v1alpha1/namespaces/a/zohocredentials/c/status?",
                ("patch", "zohocredentials"),
            ),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/l", ("update", "leases")),
            ("POST", "/apis/events.k8s.io/v1/namespaces/a/events", ("create", "events")),
            (
                "DELETE",
                "/apis/zoho-operator.dev/v1alpha1/namespaces/a/zohomintledgers/l",
                ("delete", "zohomintledgers"),
            ),
            ("GET", "/api/v1/namespaces/secrets", ("get", "other")),
            ("GET", "/version", ("other", "other")),
            ("GET", "/apis/x/v1/namespaces/a/watch=true/secrets", ("get", "other")),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(what(&method, &uri.parse().unwrap()), expected, "{uri}");
        }
    }
}
