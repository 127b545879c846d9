//! `kubectl zoho`: arguments to [`zoho_operator::cli::run`] to exit code.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    zoho_operator::cli::run(std::env::args_os()).await
}
