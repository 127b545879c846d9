//! Who may import whom, read from the `use crate::` lines: the structure that ARCHITECTURE.md promises.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Module, and the modules of this crate that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("clock", &["api", "config"]),
    ("config", &["api", "plan"]),
    ("leader", &["api", "clock", "config", "error"]),
    ("error", &[]),
    ("plan", &["api"]),
    ("template", &["api", "plan"]),
    ("secret", &["api", "plan", "template"]),
    ("index", &["api", "secret"]),
    (
        "mint",
        &["api", "clock", "config", "error", "index", "leader", "metrics", "plan", "secret", "telemetry", "template"],
    ),
    ("spec", &["api", "config", "mint", "plan", "secret", "template"]),
    ("message", &["api", "index", "mint", "plan"]),
    ("status", &["api", "message", "mint", "plan"]),
    ("queue", &["api", "index"]),
    ("apply", &["api", "error", "index"]),
    ("events", &["api", "error", "status"]),
    ("hash_key", &["api", "config", "error", "secret"]),
    ("probes", &["api", "clock", "index", "mint", "plan", "secret"]),
    ("observe", &["api", "config", "error", "index", "mint", "plan", "probes", "secret", "spec"]),
    (
        "reconcile",
        &[
            "api",
            "apply",
            "clock",
            "config",
            "error",
            "events",
            "index",
            "message",
            "metrics",
            "mint",
            "observe",
            "plan",
            "probes",
            "secret",
            "status",
            "telemetry",
        ],
    ),
    (
        "controller",
        &[
            "api",
            "clock",
            "config",
            "error",
            "index",
            "leader",
            "metrics",
            "poll",
            "queue",
            "reconcile",
            "server",
            "telemetry",
            "watch",
        ],
    ),
    ("poll", &["error", "index", "server"]),
    ("watch", &["clock", "error", "index", "metrics", "server"]),
    ("check", &["api", "client", "clock", "config", "error", "mint"]),
    ("server", &["leader", "metrics"]),
    ("metrics", &["api"]),
    ("series", &["api", "clock", "index", "leader", "mint", "plan"]),
    ("client", &["api", "clock", "metrics"]),
    ("cli", &["api", "clock", "config", "error", "index", "mint", "observe", "plan", "secret", "spec"]),
    ("telemetry", &["config"]),
];

/// Modules that decide or convert, and so must not be able to do anything.
const PURE: &[&str] = &[
    "api",
    "plan",
    "template",
    "secret",
    "spec",
    "status",
    "message",
    "queue",
    "mint/login",
    "cli/render",
    "cli/table",
    "cli/source_keys",
    "cli/login/consent",
    "cli/login/explain",
    "cli/login/issuer",
    "cli/login/scopes",
    "cli/doctor/credential",
    "cli/doctor/finding",
];

/// What pure modules must not name.
const EFFECTS: &[&str] = &[
    "async fn",
    ".await",
    "kube::Client",
    "kube::Api",
    "tracing::",
    "Timestamp::now",
    "Instant::now",
    "getrandom",
    "tokio::",
];

fn sources(module: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let single = root.join(format!("{module}.rs"));
    if single.is_file() {
        files.push(single);
    }
    if root.join(module).is_dir() {
        files.extend(walk(&root.join(module)));
    }
    let code = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
        (path.file_name().expect("a name").to_string_lossy().into_owned(), code)
    };
    files.into_iter().map(code).filter(|(name, _)| !name.ends_with("_tests.rs")).collect()
}

#[test]
fn modules_use_only_what_their_layer_allows() {
    for (module, allowed) in MAY_USE {
        let allowed: BTreeSet<&str> = allowed.iter().copied().chain([*module]).collect();
        let files = sources(module);
        assert!(!files.is_empty(), "no module {module}");
        for (file, code) in files {
            for line in code.lines() {
                for used in line.split("crate::").skip(1) {
                    let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    assert!(allowed.contains(used.as_str()), "{module}/{file} may not use {used}: {line}");
                }
            }
        }
    }
}

#[test]
fn every_module_stands_in_the_table() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    for module in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        assert!(
            module == "testing" || MAY_USE.iter().any(|(known, _)| *known == module),
            "{module} is not in the table"
        );
    }
}

#[test]
fn pure_modules_can_do_nothing() {
    for module in PURE {
        for (file, code) in sources(module) {
            for effect in EFFECTS {
                assert!(!code.contains(effect), "{module}/{file} names {effect}");
            }
        }
    }
}

#[test]
fn secret_bytes_are_exposed_in_three_places_only() {
    for entry in walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let name = entry.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("below it").display().to_string();
        let allowed = ["src/mint/transport.rs", "src/cli/secret_io.rs"].contains(&name.as_str())
            || name.starts_with("src/secret/")
            || name.starts_with("src/testing");
        let text = fs::read_to_string(&entry).expect("a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(allowed || !code.contains("expose_secret"), "{name} exposes secret bytes");
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
