//! The table "Fault classes" of docs/reliability.md: every class is there once, and the tests that it names exist.

use std::collections::BTreeSet;
use std::fs;

use crate::chart::root;
use crate::pages::read;

/// The classes are T01 to this one.
const LAST: usize = 39;

/// Where the tests of a module are, by the first part of a test's name; all others are in `tests/it`.
const ELSEWHERE: [(&str, &str); 4] = [
    ("core", "crates/core/src"),
    ("client", "crates/client/tests/wire"),
    ("model", "crates/core/tests/model/main"),
    ("operator", "src"),
];

/// A row: class, what goes wrong, tests, what is not covered.
struct Row<'a> {
    class: &'a str,
    tests: Vec<&'a str>,
    cells: usize,
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let section = page.split("\n## Fault classes\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let lines = section.unwrap_or_default().lines().filter(|line| line.starts_with("| T"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let tests = cells.get(2).copied().unwrap_or_default().split('`').skip(1).step_by(2).collect();
            Row { class: cells[0], tests, cells: cells.iter().filter(|cell| !cell.is_empty()).count() }
        })
        .collect()
}

/// What is wrong with the table of a page.
fn flaws(page: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let rows = rows(page);
    let mut flaws = Vec::new();
    let classes: Vec<&str> = rows.iter().map(|row| row.class).collect();
    let expected: Vec<String> = (1..=LAST).map(|number| format!("T{number:02}")).collect();
    if classes != expected {
        let (found, wanted): (BTreeSet<&str>, BTreeSet<&str>) =
            (classes.iter().copied().collect(), expected.iter().map(String::as_str).collect());
        let missing: Vec<_> = wanted.difference(&found).collect();
        flaws.push(format!("the classes are not T01 to T{LAST} in order: missing {missing:?}, found {classes:?}"));
    }
    for Row { class, tests, cells } in &rows {
        if *cells != 4 {
            flaws.push(format!("{class} has {cells} filled cells instead of four"));
        }
        if tests.is_empty() {
            flaws.push(format!("{class} names no test"));
        }
        flaws.extend(tests.iter().filter(|test| !exists(test)).map(|test| format!("{class}: there is no test {test}")));
    }
    flaws
}

/// Is it a test in the sources? `faults::ledger::NAME` is in `tests/it/faults/ledger.rs`, `core::plan::backoff::NAME` in
/// `crates/core/src/plan/backoff.rs`.
fn exists(test: &str) -> bool {
    let Some((module, name)) = test.rsplit_once("::") else { return false };
    let (first, rest) = module.split_once("::").unwrap_or((module, ""));
    let folder = ELSEWHERE.iter().find(|(part, _)| *part == first).map(|(_, folder)| *folder);
    let path = match folder {
        Some(file) if rest.is_empty() => format!("{file}.rs"),
        Some(folder) => format!("{folder}/{}.rs", rest.replace("::", "/")),
        None => format!("tests/it/{}.rs", module.replace("::", "/")),
    };
    let module = fs::read_to_string(root().join(&path));
    let module = module.or_else(|_| fs::read_to_string(root().join(path.replace(".rs", "/mod.rs"))));
    is_test(&module.unwrap_or_default(), name)
}

/// Does a file have a test of this name? Its attributes are in the lines before.
pub(crate) fn is_test(text: &str, name: &str) -> bool {
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else { return false };
    let before = before.rsplit_once('\n').map_or("", |(before, _)| before);
    let lines = before.lines().rev().map(str::trim);
    lines.take_while(|line| line.starts_with("#[")).any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
}

#[test]
fn every_fault_class_names_tests_that_exist() {
    assert_eq!(flaws(&read("docs/reliability.md"), exists), Vec::<String>::new());
}

#[test]
fn flaws_of_such_a_table_are_found() {
    let row = |number: usize, tests: &str| format!("| T{number:02} | what goes wrong | {tests} | nothing |\n");
    let table = |rows: String| format!("# A page\n\n## Fault classes\n\n{rows}\n## Next\n\n| T99 | x | y | z |\n");
    let whole: String = (1..=LAST).map(|number| row(number, "`a::good`, `b::good`")).collect();
    let is_good = |test: &str| test.ends_with("::good");
    assert_eq!(flaws(&table(whole.clone()), is_good), Vec::<String>::new());
    for (replaced, by, flaw) in [
        (row(7, "`a::good`, `b::good`"), String::new(), "missing [\"T07\"]"),
        (row(7, "`a::good`, `b::good`"), row(7, "`a::good`").repeat(2), "missing []"),
        (row(7, "`a::good`, `b::good`"), row(7, "to be written"), "T07 names no test"),
        (row(7, "`a::good`, `b::good`"), row(7, "`a::good`, `a::gone`"), "T07: there is no test a::gone"),
        (row(7, "`a::good`, `b::good`"), "| T07 | what | `a::good` | |\n".to_owned(), "T07 has 3 filled cells"),
    ] {
        let found = flaws(&table(whole.replace(&replaced, &by)), is_good);
        assert!(found.len() == 1 && found[0].contains(flaw), "{flaw}: {found:?}");
    }
    assert!(flaws("no such section", is_good)[0].contains("T01"));
}

#[test]
fn only_what_is_run_is_a_test() {
    let text =
        "#[tokio::test]\n#[ignore = \"minutes\"]\nasync fn long() {}\n\n#[test]\nfn short() {}\n\nfn helper() {}\n";
    for (name, is_one) in [("long", true), ("short", true), ("helper", false), ("gone", false), ("lon", false)] {
        assert_eq!(is_test(text, name), is_one, "{name}");
    }
    assert!(exists("healing::deleted_target_comes_back_with_the_same_token"));
    assert!(exists("core::plan::budget_tests::go_never_exceeds_the_limits"));
    assert!(exists("schema::every_rule_refuses_what_it_should"));
    assert!(!exists("healing::wait_for_token") && !exists("nowhere::deleted_target_comes_back_with_the_same_token"));
}
