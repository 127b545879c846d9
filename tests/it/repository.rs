//! What is in the repository and what is not, and what is written down in more than one place.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::chart::root;
use crate::pages::plain;
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

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == extension)
}

/// `docker build` sees what .dockerignore lets through, and cargo wants every member of the workspace there, built or not.
#[test]
fn image_is_built_from_all_that_cargo_wants() {
    let Some(tracked) = git(&["ls-files", "--cached"]) else { return };
    let read = |name: &str| fs::read_to_string(root().join(name)).expect(name);
    let ignored = read(".dockerignore");
    let sent: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let manifest = read("Cargo.toml");
    let members = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).expect("members").0;
    let members =
        members.split(',').map(|member| member.trim().trim_matches('"').to_owned()).filter(|member| member != ".");
    let sources = tracked.iter().filter(|name| {
        has_extension(name, "rs") && !name.contains("tests") && sent.iter().any(|part| name.starts_with(part))
    });
    let included = sources.flat_map(|name| {
        let text = read(name);
        let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        let paths: Vec<&str> =
            text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let folder = Path::new(name).parent().expect("a folder");
        paths.iter().map(|path| plain(&folder.join(path)).to_string_lossy().into_owned()).collect::<Vec<_>>()
    });
    let wanted: Vec<String> =
        members.chain(included).chain(["Cargo.lock".into(), "rust-toolchain.toml".into()]).collect();
    assert!(wanted.iter().any(|name| name == "ARCHITECTURE.md") && wanted.len() > 5, "{wanted:?}");
    for name in wanted {
        let first = name.split('/').next().unwrap_or(&name);
        assert!(sent.contains(&first), "{name} is not in the image's context: add !{first} to .dockerignore");
    }
}

/// Hosts that others hold and that we mean to name. Ours is none of them: packaging/address has what a release is told.
const HOSTS: &[&str] = &[
    "api-console.zoho",
    "collector.observability:",
    "accounts.zoho",
    "www.zoho",
    "zoho.com",
    "keepachangelog.com",
    "semver.org",
    "rustup.rs",
    "go.dev",
    "spdx.org",
    "www.contributor-covenant.org",
    "token.actions.githubusercontent.com",
    "crates.io",
    "jqlang.org",
    "krew.sigs.k8s.io",
    "kind.sigs.k8s.io",
    "github.com/rust-lang/crates.io-index",
];

/// Files that lead people somewhere.
fn leads_somewhere(name: &str) -> bool {
    let is_document = Path::new(name).extension().is_some_and(|extension| extension == "md")
        && !name.starts_with("docs/upstream")
        && !name.contains("/golden/");
    let is_packed =
        ["packaging/", "charts/zoho-operator/Chart.yaml", ".github/"].iter().any(|start| name.starts_with(start));
    is_document && !name.starts_with("docs/products")
        || is_packed
        || name.ends_with("Cargo.toml")
        || name == "Dockerfile"
}

/// The text after each `https://` or `oci://`, up to what ends an address.
fn addresses(text: &str) -> impl Iterator<Item = &str> {
    let after = text.split("://").skip(1);
    after.map(|rest| rest.split(|c: char| c.is_whitespace() || "`\"')>|,;".contains(c)).next().unwrap_or_default())
}

/// Is it filled in by a release, of this machine or network, a name that nobody can hold, or somebody else's on purpose?
fn is_known(address: &str) -> bool {
    let host = address.split(['/', ':']).next().unwrap_or_default();
    address.is_empty()
        || host.starts_with(['$', '@', '<', '{'])
        || host.ends_with(".example")
        || host == "localhost"
        || !host.contains('.')
        || host == ".."
        || host.starts_with(|c: char| c.is_ascii_digit())
        || address.starts_with("ghcr.io/OWNER/")
        || address.starts_with("github.com/OWNER/")
        || HOSTS.iter().any(|known| address.starts_with(known))
        || ["manageengine.com", "manageengine.eu", "zoho.com", "zoho.eu", "zohoapis.com", "zohoapis.eu"]
            .iter()
            .any(|tail| host.ends_with(tail))
}

#[test]
fn no_address_of_ours_is_written_down() {
    let Some(tracked) = git(&["ls-files", "--cached"]) else { return };
    let (mut looked_at, mut unknown) = (0, Vec::new());
    for name in tracked.iter().filter(|name| leads_somewhere(name)) {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        for address in addresses(&text) {
            looked_at += 1;
            if !is_known(address) {
                unknown.push(format!("{name} leads to {address}"));
            }
        }
    }
    assert!(looked_at > 20, "{looked_at} addresses");
    assert!(unknown.is_empty(), "see packaging/address, or add the host of somebody else: {unknown:#?}");
    for ours in ["zoho-operator.dev/releases", "ghcr.io/zoho-operator/charts", "github.com/zoho-operator/zoho-operator"]
    {
        assert!(!is_known(ours), "{ours}");
    }
}
