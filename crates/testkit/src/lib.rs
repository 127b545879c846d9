//! What tests and the demo start: a real Kubernetes control plane, a proxy before it that injects faults, an observer of
//! what users get; and the demo itself.

pub mod control_plane;
pub mod demo;
pub mod fault_proxy;
pub mod observer;

use std::path::{Path, PathBuf};

/// A program of this workspace beside the running test's: `zoho-demo`, `kubectl-zoho`.
///
/// # Panics
///
/// It was not built, or its sources changed since: `cargo test` builds the programs only of the packages that it tests.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test is a program");
    let folder = test.ancestors().nth(2).expect("tests are in a folder of their own below the programs");
    let program = folder.join(name);
    assert!(
        is_fresh(&program),
        "{} is missing or older than its sources: run the tests with `cargo test --workspace`, as `make test` does",
        program.display()
    );
    program
}

/// Is a program newer than every file that cargo says it was made from?
fn is_fresh(program: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let Ok(made_from) = std::fs::read_to_string(program.with_extension("d")) else { return false };
    let sources = made_from.split_once(": ").map_or("", |(_, sources)| sources);
    let built = changed(program);
    built.is_some() && sources.split_whitespace().all(|source| changed(Path::new(source)) <= built)
}

/// The root of this repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package is two folders below the root").to_owned()
}
