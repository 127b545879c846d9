//! The demo as a program: `make demo`. See [`zoho_testkit::demo`].

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::builder::FalseyValueParser;
use zoho_testkit::demo::{self, Options};

/// Shows what zoho-operator does, on a real Kubernetes control plane and with a simulated Zoho, in about a minute.
///
/// Starts the control plane itself (and builds it once, which needs Go), or uses the cluster that KUBECONFIG names.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Flags {
    /// Leave everything up after the last step, until Ctrl-C.
    #[arg(long, env = "KEEP", value_parser = FalseyValueParser::new())]
    keep: bool,
    /// No colours; there are none either where standard output is not a terminal.
    #[arg(long, env = "NO_COLOR", num_args = 0..=1, default_missing_value = "1", value_name = "ANY")]
    no_color: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    let colour = flags.no_color.is_none_or(|value| value.is_empty());
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let code = runtime.block_on(demo::run(Options { keep: flags.keep, colour }));
    // A build of the control plane may be on its way after an interruption: it ends with this process.
    runtime.shutdown_background();
    Ok(code)
}
