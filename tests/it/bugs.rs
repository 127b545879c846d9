//! The seeded bugs of `tests/bugs`, as far as can be seen without building each: the sources move on, and a patch that
//! does not fit them any more proves nothing. `make bugs` puts them in and sees the tests fail.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::chart::root;
use crate::classes::is_test;
use crate::layers::walk;
use crate::support::untested;

/// All of them.
fn patches() -> Vec<PathBuf> {
    let found = fs::read_dir(root().join("tests/bugs")).expect("the folder").flatten().map(|file| file.path());
    let mut patches: Vec<PathBuf> = found.filter(|path| path.extension().is_some_and(|is| is == "patch")).collect();
    patches.sort();
    assert_eq!(patches.len(), 17, "{patches:?}");
    patches
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
    let folders = ["src", "crates", "tests"].map(|folder| walk(&root().join(folder)));
    let sources: Vec<(PathBuf, String)> = folders
        .into_iter()
        .flatten()
        .filter(|path| path.extension().is_some_and(|is| is == "rs"))
        .map(|path| (path.clone(), fs::read_to_string(path).expect("text")))
        .collect();
    for file in patches() {
        let bug = fs::read_to_string(&file).expect("text");
        let test = bug.lines().find_map(|line| line.strip_prefix("test: ")).expect("it names its test");
        // As in `--test golden NAME` and `--lib plan::backoff::tests::NAME`.
        let (arguments, path) = test.rsplit_once(' ').expect("arguments of cargo test");
        let (modules, name) =
            path.rsplit_once("::").unwrap_or((arguments.rsplit(' ').next().unwrap_or_default(), path));
        let module = modules.split("::").filter(|module| *module != "tests").last().unwrap_or_default();
        let is_there = |(path, text): &(PathBuf, String)| {
            let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (file == module || file == format!("{module}_tests")) && is_test(text, name)
        };
        assert!(sources.iter().any(is_there), "{}: there is no test {test}", file.display());
    }
}
