//! `kubectl zoho completion`: scripts for shells, and candidates for kubectl's own completion.

use clap::{Arg, Command, CommandFactory};

use super::Ended;
use super::args::{Cli, CompletionArgs};
use super::output::Output;

/// kubectl (cobra) then offers no files beside the candidates.
const NO_FILES: &str = ":4";

/// Prints a script, or candidates.
pub(crate) fn run(args: &CompletionArgs, output: &Output) -> Ended {
    match args.completer.shell() {
        Some(shell) => {
            let mut script = Vec::new();
            // The file name counts for who calls the plugin without kubectl.
            let mut command = Cli::command().bin_name("kubectl-zoho");
            clap_complete::generate(shell, &mut command, "kubectl-zoho", &mut script);
            output.document(String::from_utf8_lossy(&script).trim_end());
        }
        None => output.document(&candidates(&args.words)),
    }
    Ended::Well
}

/// What may stand where the last word does, one a line with its description, in cobra's form.
fn candidates(words: &[String]) -> String {
    let mut root = Cli::command();
    root.build();
    let (present, before) = words.split_last().map_or(("", words), |(last, before)| (last.as_str(), before));
    let command = before.iter().find_map(|word| root.find_subcommand(word));
    let flag_before = before.last().and_then(|word| word.strip_prefix("--"));
    let scope = command.unwrap_or(&root);
    let mut lines: Vec<String> = match flag_before.and_then(|name| flag(scope, name)) {
        Some(flag) if flag.get_action().takes_values() => values(flag),
        Some(_) | None if present.starts_with('-') => flags(scope),
        Some(_) | None => match command {
            Some(command) => command.get_positionals().take(1).flat_map(values).collect(),
            None => commands(&root),
        },
    };
    lines.retain(|line| line.starts_with(present));
    lines.push(NO_FILES.into());
    lines.join("\n")
}

fn flag<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|argument| argument.get_long() == Some(name))
}

fn values(argument: &Arg) -> Vec<String> {
    argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
}

fn flags(command: &Command) -> Vec<String> {
    let visible = command.get_arguments().filter(|argument| !argument.is_hide_set());
    visible.filter_map(|flag| Some(described(&format!("--{}", flag.get_long()?), flag.get_help()))).collect()
}

fn commands(root: &Command) -> Vec<String> {
    let visible = root.get_subcommands().filter(|command| !command.is_hide_set());
    visible.map(|command| described(command.get_name(), command.get_about())).collect()
}

fn described(name: &str, help: Option<&clap::builder::StyledStr>) -> String {
    let help = help.map(ToString::to_string).unwrap_or_default();
    format!("{name}\t{}", help.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let text = candidates(&words);
        assert!(text.ends_with(":4"), "{text}");
        text.lines().filter(|line| *line != ":4").map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn commands_flags_and_values_are_offered() {
        assert_eq!(names(&["re"]), ["renew", "revoke"]);
        assert_eq!(names(&["login", "x", "--data-center", "E"]), ["EU"]);
        let products: Vec<String> = zoho_api::Product::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names(&["login", "x", "--product", ""]), products);
        assert_eq!(names(&["login", "x", "--print"]), ["--print-secret"]);
        assert_eq!(names(&["completion", ""]), ["bash", "zsh", "fish", "words"]);
        assert_eq!(names(&["get", "-n", "x", "--outp"]), ["--output"]);
    }
}
