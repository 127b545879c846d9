//! `kubectl zoho`: arguments to [`kubectl_zoho::run`] to exit code.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    std::panic::set_hook(Box::new(kubectl_zoho::panicked));
    Box::pin(kubectl_zoho::run(std::env::args_os())).await
}
