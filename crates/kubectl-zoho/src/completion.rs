//! `kubectl zoho completion`: scripts for shells, and candidates for kubectl's own completion.

use std::time::Duration;

use clap::{Arg, Command, CommandFactory};

use super::Ended;
use super::args::{Cli, CompletionArgs, Global};
use super::connect::Cluster;
use super::get;
use super::output::Output;

/// kubectl (cobra) then offers no files beside the candidates.
const NO_FILES: &str = ":4";

/// A person waits for the key that he pressed.
const NAMES_WITHIN: Duration = Duration::from_secs(2);

/// Prints a script, or candidates.
///
/// # Errors
///
/// They could not be written.
pub(crate) async fn run(global: &Global, args: &CompletionArgs, output: &Output) -> anyhow::Result<Ended> {
    let Some(shell) = args.completer.shell() else {
        let mut lines = candidates(&args.words);
        if let Some(global) = wants_a_name(global, &args.words) {
            lines.extend(names(&global, args.words.last().map_or("", String::as_str)).await);
        }
        lines.push(NO_FILES.into());
        output.document(&lines.join("\n"))?;
        return Ok(Ended::Well);
    };
    let mut script = Vec::new();
    // The file name counts for who calls the plugin without kubectl.
    let mut command = Cli::command().bin_name("kubectl-zoho");
    clap_complete::generate(shell, &mut command, "kubectl-zoho", &mut script);
    output.document(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Ended::Well)
}

/// Names of the credentials that begin so, in the namespace that is meant. A cluster that does not answer at once offers none.
async fn names(global: &Global, begin: &str) -> Vec<String> {
    let look = async {
        let cluster = Cluster::connect(global).ok()?;
        let (credentials, _) = get::readable(&cluster, false).await.ok()?;
        Some(credentials.into_iter().filter_map(|credential| credential.metadata.name).collect::<Vec<_>>())
    };
    let mut names = tokio::time::timeout(NAMES_WITHIN, look).await.ok().flatten().unwrap_or_default();
    names.retain(|name| name.starts_with(begin));
    names
}

/// Is the name of a credential to be completed? Then where to look for it, as the words before say. `global`: what stood before
/// the command, which the plugin's own command line has taken already.
fn wants_a_name(global: &Global, words: &[String]) -> Option<Global> {
    let mut root = Cli::command();
    root.build();
    let (present, before) = words.split_last()?;
    let at = before.iter().position(|word| root.find_subcommand(word).is_some())?;
    let command = root.find_subcommand(&before[at])?;
    let takes_one = command.get_positionals().any(|argument| argument.get_id() == "name");
    let is_value = |word: &String| {
        word.strip_prefix("--").and_then(|name| flag(command, name)).or_else(|| short_flag(command, word))
    };
    let takes_value = |word: &String| is_value(word).is_some_and(|flag| flag.get_action().takes_values());
    let after = &before[at + 1..];
    let is_named = after
        .iter()
        .enumerate()
        .any(|(number, word)| !word.starts_with('-') && (number == 0 || !takes_value(&after[number - 1])));
    if !takes_one || is_named || present.starts_with('-') || before.last().is_some_and(takes_value) {
        return None;
    }
    let value = |long: &str, short: &str| {
        let long = format!("--{long}");
        words
            .iter()
            .zip(words.iter().skip(1))
            .find(|(flag, _)| **flag == long || **flag == short)
            .map(|(_, value)| value.clone())
            .or_else(|| words.iter().find_map(|word| word.strip_prefix(&format!("{long}=")).map(str::to_owned)))
    };
    Some(Global {
        namespace: value("namespace", "-n").or(global.namespace.clone()),
        context: value("context", "").or(global.context.clone()),
        kubeconfig: value("kubeconfig", "").map(Into::into).or(global.kubeconfig.clone()),
        ..global.clone()
    })
}

fn short_flag<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let letter = word.strip_prefix('-').filter(|letter| letter.chars().count() == 1)?.chars().next()?;
    command.get_arguments().find(|argument| argument.get_short() == Some(letter))
}

/// What may stand where the last word does, one a line with its description, in cobra's form.
fn candidates(words: &[String]) -> Vec<String> {
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
    lines
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
        candidates(&words).iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
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

    #[test]
    fn names_are_looked_for_where_the_words_say_and_nowhere_else() {
        let wanted = |words: &str| {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            wants_a_name(&Global::default(), &words)
                .map(|global| format!("{:?} {:?}", global.namespace, global.context))
        };
        for words in ["get ", "describe pa", "renew ", "token ", "revoke ", "doctor ", "login pa", "ledger "] {
            assert_eq!(wanted(words).as_deref(), Some("None None"), "{words}");
        }
        assert_eq!(wanted("-n x get ").as_deref(), Some("Some(\"x\") None"));
        assert_eq!(wanted("get --namespace=x --context y pa").as_deref(), Some("Some(\"x\") Some(\"y\")"));
        assert_eq!(wanted("get -A -o yaml ").as_deref(), Some("None None"), "-o takes the word after it, -A does not");
        for words in ["", "ge", "get one ", "get --out", "login x --product ", "completion ", "get -n "] {
            assert_eq!(wanted(words), None, "{words}");
        }
    }
}
