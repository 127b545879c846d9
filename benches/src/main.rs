//! `make bench`: what the released operator needs, on a real control plane, with a simulated Zoho that takes 50 ms for an
//! answer, and beside the least that could be done.
//!
//! A figure means something as a ratio within one run: machines differ, and so does what else they do. Each scenario has a
//! control plane of its own, so that none begins with what another left.

mod burst;
mod calls;
mod floor;
mod program;
mod restless;
mod scenarios;
mod stage;
mod subject;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

use self::scenarios::Bench;
use self::subject::Subject;

/// Measures zoho-operator on a real Kubernetes control plane. Prints Markdown.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Args {
    /// The operator, as it is released.
    #[arg(long, value_name = "PATH")]
    operator: PathBuf,
    /// Measure another controller beside it: a folder with setup.yaml, object.yaml and an executable `run`. See
    /// docs/performance.md.
    #[arg(long, value_name = "FOLDER")]
    peer: Option<PathBuf>,
    /// How many credentials are created at once.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 5000], value_name = "N,…")]
    sizes: Vec<usize>,
    /// Only these.
    #[arg(long, value_delimiter = ',', value_name = "SCENARIO,…")]
    only: Vec<Scenario>,
    /// How long the token service takes for an answer, in milliseconds.
    #[arg(long, default_value_t = 50, value_name = "MS")]
    latency: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Many new credentials at once, the floor and the peer beside; then a restart and a quiet minute.
    Burst,
    /// All tokens are renewed.
    Renewal,
    /// All tokens have expired while the process stood still.
    Overdue,
    /// Secrets of others come and change.
    Bystanders,
    /// A tenant with hundreds of credentials on one large source that changes all the time.
    Restless,
    /// One of many hangs.
    Hanging,
    /// From nothing to the first request.
    Start,
}

impl Args {
    fn wants(&self, scenario: Scenario) -> bool {
        self.only.is_empty() || self.only.contains(&scenario)
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let ours = Subject::ours(&args.operator);
    let peer = args.peer.as_deref().map(Subject::of_folder).transpose()?;
    let latency = Duration::from_millis(args.latency);
    runtime.block_on(Bench { args: &args, ours, peer, latency }.run())
}
