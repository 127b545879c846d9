//! What `make release` left in dist/: `make verify-release` runs these.

mod applied;
mod contents;
mod image;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chart::root;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const ARCHIVE: &str = concat!("kubectl-zoho_v", env!("CARGO_PKG_VERSION"), "_");
const IMAGE: &str = concat!("zoho-operator_v", env!("CARGO_PKG_VERSION"), "_image.tar");
const CHART: &str = concat!("zoho-operator-", env!("CARGO_PKG_VERSION"), ".tgz");

/// A file of the release.
fn dist(name: &str) -> PathBuf {
    root().join("dist").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(dist(name)).unwrap_or_else(|error| panic!("dist/{name}: {error}"))
}

/// The names of all files of the release, sorted.
fn files() -> Vec<String> {
    let entries = fs::read_dir(dist("")).expect("dist/").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Platforms like `linux_amd64` that the plugin was built for: one at least.
fn platforms() -> Vec<String> {
    let names = files();
    let platforms = names.iter().filter_map(|name| name.strip_prefix(ARCHIVE)?.strip_suffix(".tar.gz"));
    let platforms: Vec<String> = platforms.map(str::to_owned).collect();
    assert!(!platforms.is_empty(), "no archive of the plugin");
    platforms
}

/// The platform of programs that this machine can run.
fn own_platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "linux_amd64",
        "aarch64" => "linux_arm64",
        other => panic!("no release has programs for {other}"),
    }
}

/// What a command prints. It has to end well.
fn printed(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// SHA-256 of a file, in hexadecimal digits.
fn sha256(path: &Path) -> String {
    let line = printed(Command::new("sha256sum").arg(path));
    line.split_whitespace().next().expect("a sum").trim_start_matches('\\').to_owned()
}

/// A tar, compressed or not, unpacked into a folder.
fn unpacked(archive: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    printed(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder.path()));
    folder
}

/// `--version` of a program of this release, which has to be one static file.
fn version_of(program: &Path) -> String {
    let kind = printed(Command::new("readelf").arg("--program-headers").arg(program));
    assert!(!kind.contains("INTERP"), "{} needs libraries of the system", program.display());
    printed(Command::new(program).arg("--version"))
}
