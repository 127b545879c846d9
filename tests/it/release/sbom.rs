//! What the release says it is made of, against what cargo says is linked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::image::Layout;
use super::{ARCHIVE, VERSION, dist, platforms, printed, read, sha256, unpacked};
use crate::chart::root;

/// The target of a platform.
fn target(platform: &str) -> String {
    let table = fs::read_to_string(root().join("packaging/targets")).expect("readable");
    let line = table.lines().find(|line| line.ends_with(&format!(" {platform}"))).expect("in the table");
    line.split_whitespace().next().expect("a target").to_owned()
}

/// Crates as `name version` that are linked into a program or run while one is compiled, from Cargo.lock by cargo itself.
fn linked(package: &str, platform: &str) -> BTreeSet<String> {
    let tree = printed(Command::new("cargo").current_dir(root()).args([
        "tree",
        "--locked",
        "--edges=normal,no-proc-macro",
        "--prefix=none",
        "--format={p}",
        "--package",
        package,
        "--target",
        &target(platform),
    ]));
    let name = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?);
        Some(format!("{name} {}", version.trim_start_matches('v')))
    };
    tree.lines().filter_map(name).collect()
}

/// Checks a document about a file or an image with that digest, with that program in it.
fn check(name: &str, digest: &str, program: &Path, package: &str, platform: &str) {
    let document: Value = serde_json::from_str(&read(&format!("{name}.spdx.json"))).expect("JSON");
    assert_eq!((&document["spdxVersion"], &document["name"]), (&"SPDX-2.3".into(), &name.into()));
    let packages = document["packages"].as_array().expect("packages");
    let sum = |wanted: &str| {
        let found = packages.iter().find(|package| package["name"] == wanted);
        found.unwrap_or_else(|| panic!("{name} does not name {wanted}"))["checksums"][0]["checksumValue"].clone()
    };
    assert_eq!(sum(name), digest, "{name}: what is released");
    assert_eq!(sum(package), sha256(program).as_str(), "{name}: the program in it");
    let named: BTreeSet<String> = packages
        .iter()
        .filter(|package| package["SPDXID"].as_str().is_some_and(|id| id.starts_with("SPDXRef-crate-")))
        .map(|package| format!("{} {}", package["name"], package["versionInfo"]).replace('"', ""))
        .collect();
    let linked = linked(package, platform);
    assert!(linked.contains(&format!("{package} {VERSION}")) && linked.len() > 50, "{linked:?}");
    let missing: Vec<_> = linked.difference(&named).collect();
    assert!(missing.is_empty(), "{name} does not name {missing:?}, which is linked in");
    let locked = fs::read_to_string(root().join("Cargo.lock")).expect("readable");
    for each in &named {
        let (crate_name, version) = each.split_once(' ').expect("name and version");
        let entry = format!("name = \"{crate_name}\"\nversion = \"{version}\"");
        assert!(locked.contains(&entry), "{name} names {each}, which Cargo.lock does not");
    }
    let related: BTreeSet<&str> = document["relationships"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|relationship| [&relationship["spdxElementId"], &relationship["relatedSpdxElement"]])
        .filter_map(Value::as_str)
        .collect();
    for package in packages {
        assert!(related.contains(package["SPDXID"].as_str().expect("an id")), "{name}: nobody needs {package}");
        assert!(package["licenseDeclared"] != "NOASSERTION" || package["primaryPackagePurpose"] == "FILE", "{package}");
    }
}

#[test]
#[ignore = "checks dist/: run by make verify-release"]
fn documents_name_every_crate_that_is_linked_in() {
    for platform in platforms() {
        let name = format!("{ARCHIVE}{platform}");
        let archive = dist(&format!("{name}.tar.gz"));
        let folder = unpacked(&archive);
        let program = if platform.starts_with("windows") { "kubectl-zoho.exe" } else { "kubectl-zoho" };
        check(&name, &sha256(&archive), &folder.path().join(program), "kubectl-zoho", &platform);
    }
    let layout = Layout::of_the_release();
    for (platform, manifest) in layout.platforms() {
        let name = format!("zoho-operator_v{VERSION}_{platform}");
        let digest = manifest["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
        let files = layout.files(&manifest);
        check(&name, digest, &files.path().join("zoho-operator"), "zoho-operator", &platform);
        assert!(
            read(&format!("{name}.spdx.json"))
                .contains(&sha256(&files.path().join("etc/ssl/certs/ca-certificates.crt")))
        );
    }
}
