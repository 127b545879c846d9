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
/// It was not built, or its sources changed since: `cargo test` builds the programs only of the packages that it tests.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test is a program");
    let folder = test.ancestors().nth(2).expect("tests are in a folder of their own below the programs");
    let program = folder.join(name);
    let built = program.metadata().and_then(|metadata| metadata.modified()).ok();
    let newest = ["crates", "Cargo.lock"].map(|part| newest(&repository().join(part))).into_iter().max();
    assert!(
        built.is_some() && built >= newest,
        "{} is missing or older than its sources: run the tests with `cargo test --workspace`, as `make test` does",
        program.display()
    );
    program
}

/// When a file, or one below a folder, was last changed.
fn newest(path: &Path) -> SystemTime {
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    let own = path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    below.map(|entry| newest(&entry.path())).max().unwrap_or(own)
}

/// The root of this repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package is two folders below the root").to_owned()
}
