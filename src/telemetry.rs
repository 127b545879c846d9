//! The log.

use std::io::IsTerminal as _;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts logging to stderr.
///
/// # Errors
///
/// A filter that cannot be parsed.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let wanted = config.log_filter.clone().unwrap_or_else(|| config.log_level.to_string());
    let filter = EnvFilter::try_new(&wanted).with_context(|| format!("parse log filter {wanted}"))?;
    // kube-client logs whole response bodies, Secrets among them, when it cannot decode them.
    let filter = filter.add_directive("kube_client::client=error".parse().expect("a constant directive"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format() {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.init(),
    }
    Ok(())
}
