//! `docs/kubectl-zoho.md`, made from the command line itself. `make docs` writes it; a test fails when it is stale.

use std::fmt::Write as _;

use clap::builder::PossibleValue;
use clap::{Arg, Command, CommandFactory};

use super::args::Cli;

const INSTALL: &str = "\
To install it, run `cargo install --locked --path crates/kubectl-zoho` in a clone of the repository; the
[README](../README.md#kubectl-zoho) has other ways. `login` needs a namespace that exists. `kubectl zoho doctor` lists the rights that you
lack.";

/// The reference as Markdown.
pub(crate) fn markdown() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = format!(
        "# kubectl zoho\n\n<!-- Made from crates/kubectl-zoho/src/args.rs by `make docs`. -->\n\n{}\n\n{INSTALL}\n\n{}\n\nSecrets are never taken from the command line or the environment, and are printed only by `token` and `login --print-secret`.\n",
        about(&root),
        paragraphs(root.get_after_help()),
    );
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        text.push_str(&section(command));
    }
    text.push_str("\n## Global options\n\n");
    let globals = root.get_arguments().filter(|argument| argument.is_global_set());
    text.push_str(&options(globals));
    text
}

fn section(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").replace("[OPTIONS]", "[options]");
    let mut text = format!("\n## {}\n\n{}\n\n```text\n{usage}\n```\n", command.get_name(), about(command));
    let own = || command.get_arguments().filter(|argument| !argument.is_global_set());
    if own().any(|argument| !argument.is_hide_set()) {
        text.push('\n');
        text.push_str(&options(own()));
    }
    if let Some(help) = command.get_after_help() {
        let _ = write!(text, "\n```text\n{help}\n```\n"); // writing to a String cannot fail
    }
    text
}

fn options<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let hidden =
        |argument: &&Arg| !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str());
    arguments.filter(hidden).map(option).collect()
}

fn option(argument: &Arg) -> String {
    // A value that may be left out is joined to its flag.
    let (between, end) = if argument.is_require_equals_set() { ("[=", "]") } else { (" ", "") };
    let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
    let value = value.and_then(|names| names.first()).map(|name| format!("{between}{name}{end}")).unwrap_or_default();
    let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let name = match argument.get_long() {
        Some(long) => format!("`{short}--{long}{value}`"),
        None => format!("`{}`", value.trim()),
    };
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values = argument.get_possible_values();
    let values: Vec<&str> = values.iter().filter(|value| !value.is_hide_set()).map(PossibleValue::get_name).collect();
    let values = if values.is_empty() || !argument.get_action().takes_values() {
        String::new()
    } else {
        format!(" One of {}.", values.join(", "))
    };
    let defaults = argument.get_default_values().iter().filter(|_| argument.get_action().takes_values());
    let default: Vec<String> = defaults.map(|value| value.to_string_lossy().into_owned()).collect();
    let default = if default.is_empty() { String::new() } else { format!(" Default: {}.", default.join(",")) };
    let env = argument.get_env().map(|name| format!(" Environment: `{}`.", name.to_string_lossy())).unwrap_or_default();
    format!("- {name}: {}.{values}{default}{env}\n", help.trim_end_matches('.'))
}

fn about(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    format!("{}.", about.trim_end_matches('.'))
}

fn paragraphs(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_in_docs_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kubectl-zoho.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == markdown(), "{path} is stale: run `make docs`");
    }

    #[test]
    fn every_command_is_in_it() {
        let text = markdown();
        for command in ["login", "get", "describe", "renew", "token", "doctor", "revoke", "completion"] {
            assert!(text.contains(&format!("\n## {command}\n")), "{command}");
        }
    }
}
