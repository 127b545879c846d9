//! What the compiler cannot say of the structure that ARCHITECTURE.md promises. Who may use whom is in the manifests, so
//! these are read; who may expose secret bytes, and who reads the clock, is looked for in the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The members, and which members each may depend on (development dependencies aside).
const ARROWS: &[(&str, &[&str])] = &[
    ("crates/api", &[]),
    ("crates/core", &["zoho-api"]),
    ("crates/client", &["zoho-api", "zoho-core"]),
    (".", &["zoho-api", "zoho-core", "zoho-client"]),
    ("crates/kubectl-zoho", &["zoho-api", "zoho-core", "zoho-client"]),
    ("crates/simulator", &["zoho-api", "zoho-core"]),
    ("crates/cluster-programs", &[]),
    ("crates/testkit", &["zoho-api", "zoho-core", "zoho-simulator", "cluster-programs"]),
    ("benches", &["zoho-api", "zoho-simulator", "zoho-testkit", "cluster-programs"]),
    ("xtask", &["zoho-api", "zoho-core", "kubectl-zoho"]),
];

/// What the pure members must not be able to do.
const EFFECTS: &[&str] = &["tokio", "reqwest", "clap", "axum", "tracing", "getrandom", "futures", "rustls"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The dependencies of a member, each with what its manifest says of it.
fn dependencies(member: &str) -> BTreeMap<String, String> {
    let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a manifest");
    let section = manifest.split("\n[dependencies]\n").nth(1).expect("dependencies");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let named = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(['.', ' ', '=']));
    named.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
}

#[test]
fn members_depend_only_downwards() {
    let own: BTreeSet<&str> =
        ["zoho-api", "zoho-core", "zoho-client", "zoho-simulator", "zoho-testkit", "kubectl-zoho", "cluster-programs"]
            .into();
    for (member, allowed) in ARROWS {
        for name in dependencies(member).keys().filter(|name| own.contains(name.as_str())) {
            assert!(allowed.contains(&name.as_str()), "{member} may not depend on {name}");
        }
    }
    let members = fs::read_dir(root().join("crates")).expect("crates").flatten();
    for member in members.map(|entry| format!("crates/{}", entry.file_name().to_string_lossy())) {
        assert!(ARROWS.iter().any(|(known, _)| *known == member), "{member} is not in the table");
    }
}

#[test]
fn what_decides_can_do_nothing() {
    for member in ["crates/api", "crates/core"] {
        let dependencies = dependencies(member);
        for effect in EFFECTS {
            assert!(!dependencies.contains_key(*effect), "{member} depends on {effect}");
        }
        assert_eq!(dependencies["kube"], "workspace = true", "{member}: kube without a client");
    }
    for entry in sources("crates/core/src").into_iter().chain(sources("crates/api/src")) {
        for effect in [
            "async fn",
            ".await",
            "std::fs",
            "std::env",
            "std::net::Tcp",
            "std::net::Udp",
            "std::process",
            "Timestamp::now",
            "Instant::now",
        ] {
            assert!(!code(&entry).contains(effect), "{} names {effect}", entry.display());
        }
    }
}

#[test]
fn secret_bytes_are_exposed_in_three_places_only() {
    let allowed = ["crates/core/src/secret/", "crates/client/src/transport", "crates/kubectl-zoho/src/secret_io.rs"];
    for folder in ["src", "crates/api", "crates/core", "crates/client", "crates/kubectl-zoho"] {
        for entry in sources(folder) {
            let name = entry.strip_prefix(root()).expect("below it").display().to_string();
            let is_allowed = allowed.iter().any(|place| name.starts_with(place));
            assert!(is_allowed || !code(&entry).contains("expose_secret"), "{name} exposes secret bytes");
        }
    }
}

/// The plugin runs where people are: on macOS and Windows, too.
#[test]
fn plugin_names_no_system_of_its_own() {
    for folder in ["crates/api/src", "crates/core/src", "crates/client/src", "crates/kubectl-zoho/src"] {
        for entry in sources(folder) {
            for system in ["os::unix", "signal::unix", "os::linux", "/dev/tty"] {
                assert!(!code(&entry).contains(system), "{} names {system}", entry.display());
            }
        }
    }
}

/// A source without its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()
}

/// All files below a folder.
pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// The sources below a folder, but for those of tests.
fn sources(folder: &str) -> Vec<PathBuf> {
    let is_source = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "rs")
            && !path.components().any(|part| part.as_os_str() == "tests")
            && !path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
    };
    let found: Vec<PathBuf> = walk(&root().join(folder)).into_iter().filter(is_source).collect();
    assert!(!found.is_empty(), "no source below {folder}");
    found
}
