//! The Zoho simulator as a program, for the demo and for tests from a shell.
//!
//! Prints its URL as the only line on standard output once it answers, and runs until it is interrupted or terminated.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use jiff::SignedDuration;
use tokio::signal::unix::{SignalKind, signal};
use zoho_simulator::state::Settings;
use zoho_simulator::{Simulator, SimulatorConfig};

/// A simulation of Zoho's token service.
///
/// POST /oauth/v2/token and /oauth/v2/token/revoke behave as at Zoho, limits included; GET /oauth/v2/auth is the consent
/// page, /oauth/serverinfo lists the data centers; GET /api/1.4/patch/summary, /api/1.4/som/summary and /api/v3/requests
/// take the access tokens. Control: GET /_sim/stats, /_sim/log, /_sim/live, /_sim/tokens/{token}; POST /_sim/register,
/// client, code, revoke, script, clear, release, clock, settings.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Life of an access token, such as 60s or 1h.
    #[arg(long, default_value = "1h", value_parser = parse_span)]
    token_life: Duration,
    /// Wait before each answer, such as 50ms.
    #[arg(long, default_value = "0s", value_parser = parse_span)]
    latency: Duration,
    /// Id of the client that is known from the start.
    #[arg(long, default_value = "1000.SIMULATED")]
    client_id: String,
    /// Its secret.
    #[arg(long, default_value = "simulated-client-secret")]
    client_secret: String,
    /// Its refresh token.
    #[arg(long, default_value = "1000.simulated.refresh")]
    refresh_token: String,
    /// Serve HTTPS, with a certificate for this host name or address made on the spot; repeatable.
    #[arg(long, value_name = "NAME", requires = "ca_out")]
    tls_name: Vec<String>,
    /// Where the certificate that clients must trust is written, in PEM.
    #[arg(long, value_name = "PATH")]
    ca_out: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let simulator = Simulator::try_start(SimulatorConfig {
        listen: flags.listen,
        settings: Settings { token_life: flags.token_life, ..Settings::default() },
        latency: flags.latency,
        tls_names: flags.tls_name,
        ..SimulatorConfig::default()
    })
    .with_context(|| format!("failed to listen on {}", flags.listen))?;
    if let (Some(path), Some(pem)) = (&flags.ca_out, simulator.ca_pem()) {
        std::fs::write(path, pem).with_context(|| format!("failed to write {}", path.display()))?;
    }
    simulator.register(&flags.client_id, &flags.client_secret, &flags.refresh_token);

    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        writeln!(std::io::stdout(), "{}", simulator.url())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

fn parse_span(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(span).map_err(|_| "must not be negative".to_owned())
}
