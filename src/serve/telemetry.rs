//! The log, and with feature `otlp` traces.
//!
//! Spans have a target of their own and carry names and ids only, so the log looks the same with and without traces, and
//! no event, whatever it says, becomes part of a trace.

use std::io::IsTerminal as _;

use anyhow::Context;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::flags::{Flags, LogFormat};

/// Target of all spans.
pub(crate) const SPANS: &str = "zoho_operator_span";

/// Keeps telemetry going; what is not sent yet is sent when it is dropped.
#[must_use]
pub(crate) struct Telemetry {
    #[cfg(feature = "otlp")]
    _traces: Option<otlp::Traces>,
}

/// Starts logging to stderr, and where `--otlp-endpoint` is given, sending traces. A TLS provider must be installed.
///
/// # Errors
///
/// A filter that cannot be parsed; an exporter that cannot be made.
pub(crate) fn start(flags: &Flags) -> anyhow::Result<Telemetry> {
    let wanted = flags.log_filter.clone().unwrap_or_else(|| flags.log_level.to_string());
    let filter = EnvFilter::try_new(&wanted).with_context(|| format!("parse log filter {wanted}"))?;
    // kube-client logs whole response bodies, Secrets among them, when it cannot decode them.
    let filter = filter.add_directive("kube_client::client=error".parse().expect("a constant directive"));
    let filter = filter.add_directive(format!("{SPANS}=off").parse().expect("a constant directive"));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let log = match flags.log_format() {
        LogFormat::Json => log.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Text => log.with_filter(filter).boxed(),
    };
    let all = tracing_subscriber::registry().with(log);
    #[cfg(feature = "otlp")]
    {
        let traces = flags.otlp_endpoint.as_ref().map(otlp::Traces::start).transpose()?;
        all.with(traces.as_ref().map(otlp::Traces::layer)).init();
        Ok(Telemetry { _traces: traces })
    }
    #[cfg(not(feature = "otlp"))]
    {
        all.init();
        Ok(Telemetry {})
    }
}

#[cfg(feature = "otlp")]
mod otlp {
    use anyhow::Context;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_otlp::WithExportConfig as _;
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::Subscriber;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::registry::LookupSpan;
    use tracing_subscriber::{Layer, filter::LevelFilter};
    use url::Url;

    /// Sends spans in batches, from a thread of its own.
    pub(super) struct Traces(SdkTracerProvider);

    impl Traces {
        pub(super) fn start(endpoint: &Url) -> anyhow::Result<Self> {
            let url = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
            let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(url);
            let exporter = exporter.build().context("make an exporter for --otlp-endpoint")?;
            let resource = Resource::builder_empty().with_service_name("zoho-operator").build();
            let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
            Ok(Self(provider.build()))
        }

        pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
        where
            S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
        {
            tracing_opentelemetry::layer()
                .with_tracer(self.0.tracer("zoho-operator"))
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_filter(Targets::new().with_target(super::SPANS, LevelFilter::INFO))
        }
    }

    impl Drop for Traces {
        fn drop(&mut self) {
            // A collector that is not there must not keep the process; what it misses are traces.
            let _ = self.0.shutdown();
        }
    }
}
