//! The seeded bugs of `tests/bugs`, as far as can be seen without building each: the sources go on, and a patch that does not
//! fit them any more proves nothing. `make bugs` puts them in and sees the tests fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chart::root;
use crate::classes::is_test;
use crate::support::untested;

/// All fifteen.
fn patches() -> Vec<PathBuf> {
    let found = fs::read_dir(root().join("tests/bugs")).expect("the folder").flatten().map(|file| file.path());
    let mut patches: Vec<PathBuf> = found.filter(|path| path.extension().is_some_and(|is| is == "patch")).collect();
    patches.sort();
    assert_eq!(patches.len(), 15, "{patches:?}");
    patches
}

/// Every Rust file below a folder.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|is| is == "rs") {
            found.push(fs::read_to_string(path).expect("text"));
        }
    }
}

#[test]
fn patches_of_seeded_bugs_fit_the_sources() {
    for patch in patches() {
        let Ok(output) = Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(root()).output() else {
            return untested("whether the patches of tests/bugs fit", "there is no git");
        };
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} does not fit the sources any more: {error}", patch.display());
    }
}

#[test]
fn each_seeded_bug_names_a_test_that_exists() {
    let mut all = Vec::new();
    for folder in ["src", "crates", "tests"] {
        sources(&root().join(folder), &mut all);
    }
    for patch in patches() {
        let text = fs::read_to_string(&patch).expect("text");
        let test = text.lines().find_map(|line| line.strip_prefix("test: ")).expect("it names its test");
        let name = test.rsplit([':', ' ']).next().expect("a name");
        assert!(all.iter().any(|source| is_test(source, name)), "{}: there is no test {name}", patch.display());
    }
}
