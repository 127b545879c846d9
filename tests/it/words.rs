//! What users read is plain English: pages, comments of the chart and the examples, messages, help.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::chart::root;
use crate::pages::{pages, prose, read};

/// Records, which stay as they were written.
const RECORDS: &[&str] = &["docs/decisions/"];

/// What users read beside the pages: the chart, what `kubectl explain` and the API server say, the messages of conditions and
/// Events.
const TEXTS: &[&str] = &[
    "charts/zoho-operator/Chart.yaml",
    "charts/zoho-operator/values.yaml",
    "charts/zoho-operator/values.schema.json",
    "charts/zoho-operator/templates/NOTES.txt",
    "charts/zoho-operator/files/prometheus/rules.yaml",
    "crds/zohocredentials.yaml",
    "crds/zohomintledgers.yaml",
    "crates/core/tests/golden/messages.md",
    "tests/it/mistakes.md",
];

/// Words that native readers stop at, with what to write instead.
const NOT_USED: &[(&[&str], &str)] = &[
    (&["die", "dies", "died", "dead", "dying", "runs out"], "expire, expired"),
    (&["lives", "living token", "living tokens", "is alive", "are alive", "be alive"], "is valid; is in"),
    (&["kill", "kills"], "end, delete"),
    (&["he", "him", "his", "himself"], "they, or the noun"),
    (&["tell", "tells", "told"], "report, say, show"),
    (&["anew", "mended", "alike", "heals", "healed"], "again, fixed, the same"),
    (&["for ever"], "forever"),
    (
        &["stands in", "stands at", "stands as", "stands before", "stands beside", "stands between", "stands there"],
        "is",
    ),
    (&["stand in", "stand at", "stand here", "stand beside", "stand between", "stood"], "is, are"),
    (&["nobody is", "nobody can", "nobody may", "who asks too often"], "name the agent"),
    (&["whoever may", "whoever can", "whoever gets", "who may list"], "users who may"),
    (&["somebody else", "somebody else's"], "another user's, another program"),
    (&["it is no", "is none", "is no url", "is no self"], "is not a"),
    (&["but for"], "except"),
    (&["goes with", "go with", "goes without"], "is allowed only with"),
    (&["goes on", "go on", "going on"], "continues"),
    (&["be had"], "be available"),
    (&["asked for", "ask for tokens", "asks for tokens"], "requested, request"),
    (&["to be sure"], "to confirm"),
    (&["put right"], "fixed"),
    (&["taken for", "is taken only", "takes the token", "takes a token"], "treated as, accepts"),
    (&["another data center than", "another accounts host than", "another name than"], "other than"),
    (&["in the clear", "out of order", "in silence", "if that lasts"], "unencrypted, not working, if this continues"),
    (&["comes along", "come along", "came of", "comes of"], "is added, the result"),
    (&["as a folder", "a folder"], "a directory"),
    (&["meanwhile"], "in the meantime"),
    (&["present token", "present one", "present spec", "present reason"], "current"),
    (&["likewise"], "too, in the same way"),
];

/// A text with its name, line by line: of a page without blocks of code.
fn texts() -> Vec<(String, String)> {
    let is_plain = |page: &String| !RECORDS.iter().any(|name| page.starts_with(name));
    let examples = ["examples", "examples/clients"].into_iter().flat_map(|folder| {
        let entries = fs::read_dir(root().join(folder)).expect("a folder").flatten();
        let files = entries.filter(|entry| entry.path().is_file());
        files.map(move |entry| format!("{folder}/{}", entry.file_name().to_string_lossy()))
    });
    let files = pages().into_iter().filter(is_plain).chain(TEXTS.iter().map(|text| (*text).to_owned())).chain(examples);
    let files = files.map(|name| {
        let text = read(&name);
        let text = if Path::new(&name).extension().is_some_and(|end| end == "md") { prose(&text) } else { text };
        (name, text)
    });
    files.chain([("zoho-operator --help".to_owned(), help())]).collect()
}

fn help() -> String {
    let help = Command::new(env!("CARGO_BIN_EXE_zoho-operator")).arg("--help").output().expect("it runs").stdout;
    String::from_utf8(help).expect("text")
}

/// The words of a text, in small letters, with one blank before and after each.
fn words(text: &str) -> String {
    let outside_of_code: Vec<&str> = text.split('`').step_by(2).collect();
    let text = outside_of_code.join(" x ").to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '\'').collect();
    format!(" {} ", words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
}

#[test]
fn texts_use_plain_words() {
    let mut found = Vec::new();
    let texts = texts();
    assert!(texts.len() > 50, "only {} texts", texts.len());
    for (name, text) in texts {
        assert!(text.lines().count() > 1, "{name} is empty");
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            // What begins in this line may end in the next one.
            let both = words(&format!("{line} {}", lines.get(number + 1).unwrap_or(&"")));
            let line = words(line);
            for (unused, instead) in NOT_USED {
                let is_used = |word: &str| line.contains(word) || word.trim().contains(' ') && both.contains(word);
                let used = unused.iter().filter(|word| is_used(&format!(" {word} ")));
                found.extend(used.map(|word| format!("{name}, line {number} of its text: \"{word}\": {instead}")));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn words_are_found_whole_and_outside_of_code() {
    assert_eq!(words("It `dies`, **he** said."), " it x he said ");
    assert!(!words("the studied dieter").contains(" die "));
}
