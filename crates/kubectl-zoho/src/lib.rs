//! `kubectl zoho`: what people do with credentials, from login to revocation. Works with the rights of whoever calls it.
//!
//! In reading order: `args` is the command line; one command a file; `connect` makes the client; `facts` reads what
//! the caller may and decides with the operator's own [`zoho_core::plan`]; `render` makes text of it; `secret_io` is the
//! one place that takes secrets in and lets them out; `output` the one that prints.

#[expect(
    clippy::doc_markdown,
    clippy::struct_excessive_bools,
    reason = "docs of flags become the help, which shows Markdown as it is; flags are bools"
)]
mod args;
mod completion;
mod connect;
mod describe;
mod doctor;
mod facts;
mod follow;
mod get;
mod installation;
mod ledger;
mod login;
mod output;
mod pages;
mod reference;
mod render;
mod renew;
mod revoke;
mod secret_io;
mod source_keys;
mod table;
mod token;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use zoho_core::text::{causes, constant_words};

use self::args::{Cli, Command};
use self::output::Output;

/// The caller asked for something that cannot be meant; exit code 2, as for a wrong flag.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A usage error as the error of a command.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(message.into()))
}

/// How a command ended that has said everything itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Exit code 0.
    Well,
    /// Exit code 1.
    Badly,
}

/// `docs/kubectl-zoho.md`.
pub fn reference() -> String {
    reference::markdown()
}

/// Says on stderr that the program is broken, and where, and no word that may quote a Secret.
#[expect(clippy::print_stderr, reason = "nothing else is known to work any more")]
pub fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic.location().map_or_else(|| "a place unknown".to_owned(), ToString::to_string);
    let said = constant_words(panic.payload()).unwrap_or("a panic");
    eprintln!("error: kubectl-zoho is broken, please report it: {said}, at {location}");
}

/// Runs one command. Exit codes: 0 done, 1 failed, 2 wrong usage.
pub async fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().ok();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, with exit code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let output = Output::new(cli.global.no_color.as_deref());
    let ended = match &cli.command {
        Command::Login(args) => login::run(&cli.global, args, &output).await,
        Command::Get(args) => get::run(&cli.global, args, &output).await,
        Command::Describe(args) => describe::run(&cli.global, args, &output).await,
        Command::Ledger(args) => ledger::run(&cli.global, args, &output).await,
        Command::Renew(args) => renew::run(&cli.global, args, &output).await,
        Command::Token(args) => token::run(&cli.global, args, &output).await,
        Command::Doctor(args) => Box::pin(doctor::run(&cli.global, args, &output)).await,
        Command::Revoke(args) => revoke::run(&cli.global, args, &output).await,
        Command::Completion(args) => completion::run(&cli.global, args, &output).await,
    };
    match ended {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Badly) => ExitCode::FAILURE,
        Err(error) => {
            output.error(&causes(error.as_ref()));
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
