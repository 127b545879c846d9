//! The log, and with feature `otlp` traces.
//!
//! Spans have a target of their own and carry names and ids only, so the log looks the same with and without traces, and
//! no event, whatever it says, becomes part of a trace.

use std::any::Any;
use std::io::{self, IsTerminal as _};
use std::panic::Location;

use anyhow::Context;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};
use zoho_core::text::{constant_words, printable_lines};

use crate::flags::{Flags, LogFormat};

/// Target of all spans.
pub(crate) const SPANS: &str = "zoho_operator_span";

/// Keeps telemetry going; what is not sent yet is sent when it is dropped.
#[must_use]
pub(crate) struct Telemetry {
    #[cfg(feature = "otlp")]
    _traces: Option<otlp::Traces>,
}

/// Logs a panic as one event: where it was, and no word that may quote a Secret.
fn log_panic(location: Option<&Location<'_>>, payload: &(dyn Any + Send)) {
    let (location, said) = (location.map(ToString::to_string), constant_words(payload));
    tracing::error!(location, said, "a panic, which is a defect: please report it");
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
    // It says of each call without an answer that it failed. Who made the call says what it was about.
    let filter = filter.add_directive("kube_client::client::builder=off".parse().expect("a constant directive"));
    let filter = filter.add_directive(format!("{SPANS}=off").parse().expect("a constant directive"));
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt::layer().with_writer(move || Lines { colours }).with_ansi(colours);
    let log = match flags.log_format() {
        LogFormat::Json => log.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Text => log.with_filter(filter).boxed(),
    };
    let all = tracing_subscriber::registry().with(log);
    std::panic::set_hook(Box::new(|panic| log_panic(panic.location(), panic.payload())));
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

/// Standard error, an event a line: names, kinds and the words of others are in events, and none of them may begin a line
/// or be obeyed by a terminal. In JSON an escape is one there too.
struct Lines {
    /// The subscriber writes colours, and escapes what others wrote like them.
    colours: bool,
}

impl io::Write for Lines {
    /// The subscriber writes an event by one call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(line(&String::from_utf8_lossy(event), self.colours).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn line(event: &str, colours: bool) -> String {
    const COLOUR: &str = "\u{1b}";
    let text = event.trim_end_matches('\n').replace('\n', " ");
    let line = if colours {
        text.split(COLOUR).map(printable_lines).collect::<Vec<_>>().join(COLOUR)
    } else {
        printable_lines(&text).into_owned()
    };
    line + "\n"
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the log says of it.
    fn logged(json: bool, of: impl FnOnce()) -> String {
        use std::sync::{Arc, Mutex};

        #[derive(Clone, Default)]
        struct Log(Arc<Mutex<String>>);
        impl io::Write for Log {
            fn write(&mut self, event: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().push_str(&line(str::from_utf8(event).unwrap(), false));
                Ok(event.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let log = Log::default();
        let writer = log.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let layer = if json { layer.json().flatten_event(true).boxed() } else { layer.boxed() };
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, of);
        let log = log.0.lock().unwrap();
        log.clone()
    }

    fn hostile() {
        let name = "a\u{1b}[2J\nINFO forged\u{9b}2J\u{7f}\u{202e}z";
        let error: &dyn std::error::Error = &io::Error::other(name);
        tracing::warn!(name, shown = %name, debug = ?name, error, "of {name}");
    }

    #[test]
    fn panic_is_one_line_that_says_where_and_quotes_no_secret() {
        let quoted = std::panic::catch_unwind(|| "1000.canary\nINFO".parse::<u8>().expect("a number")).unwrap_err();
        let constant = std::panic::catch_unwind(|| panic!("on purpose")).unwrap_err();
        let broken = || [quoted, constant].iter().for_each(|panic| log_panic(Some(Location::caller()), &**panic));
        let log = logged(true, broken);
        let events: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [quoted, constant] = &*events else { panic!("two lines: {log}") };
        assert!(quoted["location"].as_str().unwrap().starts_with("src/serve/telemetry.rs:"), "{log}");
        assert!(!log.contains("canary"), "{log}");
        assert_eq!((&quoted["said"], &constant["said"]), (&serde_json::Value::Null, &"on purpose".into()));
    }

    #[test]
    fn hostile_text_stays_text_in_one_line_of_either_form() {
        for json in [false, true] {
            let log = logged(json, hostile);
            let line = log.strip_suffix('\n').expect("a line");
            assert!(line.chars().all(zoho_core::text::is_plain), "{line:?}");
        }
        let value: serde_json::Value = serde_json::from_str(&logged(true, hostile)).expect("it is JSON still");
        assert_eq!(value["name"], "a\u{1b}[2J\nINFO forged\u{9b}2J\u{7f}\u{202e}z", "and says what it said");
    }

    #[test]
    fn colours_of_the_subscriber_stay() {
        assert_eq!(line("\u{1b}[32mINFO\u{1b}[0m a\u{202e}\nb\n", true), "\u{1b}[32mINFO\u{1b}[0m a\\u202e b\n");
    }
}
