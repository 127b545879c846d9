//! What is in the repository and what is not, and what is written down in more than one place.

use std::fs;
use std::process::Command;

use crate::chart::root;
use crate::support::untested;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Paths that git answers with, or `None` where this is no clone, as in an archive of the sources.
fn git(arguments: &[&str]) -> Option<Vec<String>> {
    let output = Command::new("git").args(arguments).arg("-z").current_dir(root()).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        untested("what git has", "this is no clone, or there is no git");
        return None;
    };
    let paths = String::from_utf8(output.stdout).expect("our paths are UTF-8");
    Some(paths.split_terminator('\0').map(str::to_owned).collect())
}

#[test]
fn nothing_that_is_ignored_is_tracked() {
    let Some(tracked) = git(&["ls-files", "--cached", "--ignored", "--exclude-standard"]) else { return };
    assert_eq!(tracked, Vec::<String>::new(), "tracked, although .gitignore names it: git rm -r --cached …");
}

/// The largest text here is a tenth of that.
const LARGEST: u64 = 1 << 20;

#[test]
fn no_program_or_archive_is_tracked() {
    let Some(tracked) = git(&["ls-files", "--cached"]) else { return };
    assert!(!tracked.is_empty());
    for name in tracked {
        let path = root().join(&name);
        // What is deleted but not yet committed is still in the index.
        let Ok(size) = fs::metadata(&path).map(|metadata| metadata.len()) else { continue };
        assert!(size <= LARGEST, "{name} has {size} bytes: what is built belongs in no repository");
        let is_binary = fs::read(&path).expect("readable").contains(&0);
        // Inputs of the fuzz targets are bytes.
        assert!(!is_binary || name.starts_with("fuzz/seeds/"), "{name} is binary");
    }
}

#[test]
fn one_version_everywhere() {
    for (file, before) in [
        ("charts/zoho-operator/Chart.yaml", "\nversion: "),
        ("charts/zoho-operator/Chart.yaml", "\nappVersion: "),
        ("Dockerfile", "\nARG VERSION="),
        ("Dockerfile", "zoho-operator:"),
        ("README.md", "zoho-operator:"),
        ("Cargo.lock", "\nname = \"zoho-operator\"\nversion = "),
        ("fuzz/Cargo.lock", "\nname = \"zoho-core\"\nversion = "),
    ] {
        let text = fs::read_to_string(root().join(file)).expect(file);
        let named: Vec<&str> = text.split(before).skip(1).filter_map(version_at_start).collect();
        assert!(!named.is_empty(), "{file} names no version after {before:?}");
        assert!(named.iter().all(|version| *version == VERSION), "{file} names {named:?}, Cargo.toml {VERSION}");
    }
}

/// `1.2.3-rc.1`, with or without quotation marks, at the start of a text.
fn version_at_start(text: &str) -> Option<&str> {
    let text = text.trim_start_matches('"');
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || ".-+".contains(c))).unwrap_or(text.len());
    Some(&text[..end]).filter(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

#[test]
fn versions_are_found_with_and_without_quotation_marks() {
    assert_eq!(version_at_start("0.1.0\nappVersion"), Some("0.1.0"));
    assert_eq!(version_at_start("\"1.20.3-rc.1\"\n"), Some("1.20.3-rc.1"));
    assert_eq!(version_at_start("VERSION (IMAGE=…)"), None);
    assert_eq!(version_at_start(""), None);
}
