//! What a reader of README and `docs/` rests on: links lead somewhere, no page is missing from the index, commands and values
//! exist. Their words are looked at in `words.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::chart::{CHART, root};

/// Pages beside `docs/` that users read.
const BESIDE: &[&str] = &["README.md", "charts/zoho-operator/README.md", "examples/README.md"];

/// Pages for those who change the code: their links are checked, their words are not.
const FOR_DEVELOPERS: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];

/// Markdown files below a folder, as paths from the root.
fn below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).expect("a folder").flatten() {
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(below(&name));
        } else if entry.path().extension().is_some_and(|end| end == "md") {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// What users read.
pub(crate) fn pages() -> Vec<String> {
    BESIDE.iter().map(|page| (*page).to_owned()).chain(below("docs")).collect()
}

pub(crate) fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The text of a page without its blocks of code.
pub(crate) fn prose(text: &str) -> String {
    let parts = text.split("```").step_by(2);
    parts.collect::<Vec<_>>().join("\n")
}

/// Targets of the links of a page, but for those on the web.
fn links(text: &str) -> Vec<String> {
    let ends = prose(text);
    let targets = ends.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let slug = |heading: &str| {
        let kept = heading.to_lowercase();
        kept.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).collect::<String>().replace(' ', "-")
    };
    headings.map(slug).collect()
}

/// A path without `..`.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => parts.push(part),
        }
    }
    parts
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages().into_iter().chain(FOR_DEVELOPERS.iter().map(|page| (*page).to_owned())) {
        for link in links(&read(&page)) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = Path::new(&page).parent().expect("a file has a folder");
            let target = if file.is_empty() { PathBuf::from(&page) } else { plain(&folder.join(file)) };
            let is_there = root().join(&target).exists();
            let has_heading = || anchors(&read(&target.to_string_lossy())).contains(anchor);
            if !is_there || !(anchor.is_empty() || has_heading()) {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(seen > 80, "only {seen} links were found");
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn anchors_are_made_as_the_sites_make_them() {
    let text =
        "# A b\n## The hash key is lost\n### `ClientRejected`, but id\n```sh\n# no heading\n```\n## EU: Europe\n";
    let expected = ["a-b", "clientrejected-but-id", "eu-europe", "the-hash-key-is-lost"];
    assert_eq!(anchors(text), expected.map(str::to_owned).into());
}

#[test]
fn every_page_is_in_the_index() {
    let index: BTreeSet<String> = links(&read("docs/README.md")).into_iter().collect();
    let decisions = read("docs/decisions/README.md");
    for page in below("docs") {
        let name = page.strip_prefix("docs/").expect("below docs");
        let is_listed = match name.strip_prefix("decisions/") {
            Some(record) if record != "README.md" => decisions.contains(&format!("]({record})")),
            _ => name == "README.md" || index.contains(name),
        };
        assert!(is_listed, "{page} is in no index: add it to docs/README.md");
    }
}

#[test]
fn every_example_is_in_the_list_of_examples() {
    let listed: BTreeSet<String> = links(&read("examples/README.md")).into_iter().collect();
    for folder in ["", "clients/"] {
        for entry in fs::read_dir(root().join("examples").join(folder)).expect("a folder").flatten() {
            let name = format!("{folder}{}", entry.file_name().to_string_lossy());
            let is_listed = listed.contains(&name) || entry.path().is_dir() || name == "README.md";
            assert!(is_listed, "examples/{name} is not in examples/README.md");
        }
    }
}

/// What follows `--set` of Helm in a page, without what is set.
fn set_values(text: &str) -> Vec<String> {
    let set = text.split("--set ").skip(1).filter_map(|rest| rest.split_whitespace().next());
    let keys = set.flat_map(|pairs| pairs.trim_matches(['\'', '"', '`']).split(','));
    keys.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect()
}

#[test]
fn every_value_of_the_chart_that_a_page_names_exists() {
    let text = fs::read_to_string(Path::new(CHART).join("values.yaml")).expect("readable");
    let values: Value = serde_saphyr::from_str(&text).expect("YAML");
    let top: BTreeSet<&str> = values.as_object().expect("a map").keys().map(String::as_str).collect();
    let is_value = |path: &str| values.pointer(&format!("/{}", path.replace('.', "/"))).is_some();
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        // In code spans, such as `config.apiHosts` and `replicaCount=1`; `spec.x` of a kind is none.
        let outside = prose(&text);
        let spans = outside.split('`').skip(1).step_by(2).map(|span| span.split('=').next().unwrap_or(span));
        let dotted = spans.filter(|span| {
            let (first, rest) = span.split_once('.').unwrap_or((span, ""));
            let is_file = ["yaml", "json"].contains(&rest);
            top.contains(first)
                && !is_file
                && !rest.is_empty()
                && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
        });
        for path in dotted.map(str::to_owned).chain(set_values(&text)) {
            seen += 1;
            assert!(is_value(&path), "{page} names the value {path}, which the chart does not have");
        }
    }
    assert!(seen > 60, "only {seen} values were found");
}

#[test]
fn every_flag_that_a_page_names_exists() {
    let help = Command::new(env!("CARGO_BIN_EXE_zoho-operator")).arg("--help").output().expect("it runs").stdout;
    let known = format!("{}{}", String::from_utf8(help).expect("text"), read("docs/kubectl-zoho.md"));
    let words: BTreeSet<&str> = known.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
    // Of kubectl, Helm, make and the like.
    let of_others = [
        "--all-pods",
        "--values",
        "--reset-then-reuse-values",
        "--reuse-values",
        "--force-conflicts",
        "--server-side",
        "--otlp-endpoint",
        "--fail",
        "--previous",
        "--wait",
        "--bump-revision",
        "--mark-compacted",
        "--help",
        "--logs",
        "--recursive",
        "--set",
        "--api-versions",
    ];
    let mut seen = 0;
    for page in pages() {
        for span in prose(&read(&page)).split('`').skip(1).step_by(2) {
            // A span that begins with a command is about that command.
            let Some(flag) = span.split([' ', '\n', '=', '[', ',']).next().filter(|word| word.starts_with("--")) else {
                continue;
            };
            seen += 1;
            assert!(words.contains(flag) || of_others.contains(&flag), "{page} names {flag}, which does not exist");
        }
    }
    assert!(seen > 60, "only {seen} flags were found");
}

#[test]
fn every_command_of_the_plugin_that_a_page_names_exists() {
    let reference = read("docs/kubectl-zoho.md");
    let commands: BTreeSet<&str> = reference.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let sections = |command: &str| reference.split("\n## ").find(|section| section.starts_with(command)).expect("one");
    let common = reference.split("\n## Global options").nth(1).expect("global options");
    let mut seen = 0;
    for page in pages().iter().filter(|page| *page != "docs/kubectl-zoho.md") {
        let text = read(page).replace("\\\n", " ");
        for rest in text.split("kubectl zoho ").skip(1) {
            let line = rest.split(['\n', '`', '|', '#']).next().unwrap_or_default();
            let mut line = line.split_whitespace();
            let Some(command) = line.next().map(|word| word.trim_matches(['.', ',', ':', ';', ')', '"', '\''])) else {
                continue;
            };
            assert!(commands.contains(command), "{page}: kubectl zoho {command}");
            seen += 1;
            for flag in line.filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap_or(flag).trim_matches(['.', ',', ')']);
                let is_flag = |text: &str| text.contains(&format!("{flag} ")) || text.contains(&format!("{flag}`"));
                assert!(is_flag(sections(command)) || is_flag(common), "{page}: kubectl zoho {command} {flag}");
            }
        }
    }
    assert!(seen > 30, "only {seen} commands were found");
}

#[test]
fn supported_versions_are_those_of_the_sources() {
    let page = read("docs/upgrading.md");
    let row = |what: &str| {
        let line = page.lines().find(|line| line.starts_with(&format!("| {what}"))).expect("a row");
        line.to_owned()
    };
    let version_in = |file: &str, before: &str| {
        let text = read(file);
        let rest = text.split(before).nth(1).unwrap_or_else(|| panic!("{file} has no {before}"));
        rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next().expect("a version").to_owned()
    };
    let modules = "tests/controlplane/go.mod";
    let oldest = version_in("charts/zoho-operator/Chart.yaml", "kubeVersion: \">=").replace(".0", "");
    assert!(
        row("Kubernetes").contains(&format!("| {oldest} or newer | {} |", version_in(modules, "k8s.io/kubernetes v")))
    );
    assert!(row("Helm").contains(&format!("| {} |", version_in(modules, "helm.sh/helm/v4 v"))));
    assert!(row("Rust").contains(&format!("{} or newer", version_in("Cargo.toml", "rust-version = \""))));
    let api = version_in("Cargo.toml", "features = [\"v1_");
    assert!(page.contains(&format!("against the API of Kubernetes 1.{api}")), "k8s-openapi is that of 1.{api}");
}
