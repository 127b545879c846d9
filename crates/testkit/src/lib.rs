//! What tests and the demo start: a real Kubernetes control plane, a proxy before it that injects faults, an observer of
//! what users get; and the demo itself.

pub mod control_plane;
pub mod demo;
pub mod fault_proxy;
pub mod observer;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A program of this workspace beside the running test's: `zoho-demo`, `kubectl-zoho`.
///
/// # Panics
///
/// It was not built, or one of its sources changed since: cargo builds programs for the tests of their own package only.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test is a program");
    let folder = test.ancestors().nth(2).expect("tests are in a folder of their own below the programs");
    let program = folder.join(name);
    // What cargo writes beside a program in make's form: its name, a colon, and what it was made from.
    let sources = std::fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let built = modified(&program);
    let is_fresh = built.is_some() && is_newer_than_all(built, &sources);
    assert!(is_fresh, "{} is missing or older than its sources: make test builds it", program.display());
    program
}

/// Paths with spaces have a backslash before each.
fn is_newer_than_all(built: Option<SystemTime>, dep_info: &str) -> bool {
    let sources = dep_info.split_once(": ").map_or("", |(_, sources)| sources).trim().replace("\\ ", "\0");
    !sources.is_empty() && sources.split(' ').all(|source| modified(Path::new(&source.replace('\0', " "))) <= built)
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

/// The root of this repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package is two folders below the root").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_fresh_while_it_is_newer_than_what_it_was_made_from() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("with a space.rs");
        std::fs::write(&source, "").expect("written");
        let dep_info = format!("/target/program: {}\n", source.display().to_string().replace(' ', "\\ "));
        let changed = modified(&source);
        assert!(is_newer_than_all(changed, &dep_info));
        let before = changed.map(|changed| changed - std::time::Duration::from_secs(1));
        assert!(!is_newer_than_all(before, &dep_info));
        assert!(!is_newer_than_all(changed, ""), "nothing is known of it");
    }
}
