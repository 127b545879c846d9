//! Sums, archives, and what krew and Homebrew are told of them.

use std::process::Command;

use serde_json::Value;

use super::{
    ARCHIVE, CHART, IMAGE, VERSION, dist, files, own_platform, platforms, printed, read, sha256, unpacked, version_of,
};

#[test]
#[ignore = "checks dist/: run by make verify-release"]
fn every_file_is_there_and_has_its_sum() {
    let mut expected: Vec<String> =
        [CHART, IMAGE, "SHA256SUMS", "crds.yaml", "install.yaml", "kubectl-zoho.rb", "release-notes.md", "zoho.yaml"]
            .map(str::to_owned)
            .into();
    for platform in platforms() {
        expected.extend([format!("{ARCHIVE}{platform}.tar.gz"), format!("{ARCHIVE}{platform}.spdx.json")]);
    }
    let of_image = format!("zoho-operator_v{VERSION}_");
    expected.extend(files().into_iter().filter(|name| name.starts_with(&of_image) && name.ends_with(".spdx.json")));
    expected.sort();
    assert_eq!(files(), expected);
    let summed = read("SHA256SUMS");
    let mut sums: Vec<(&str, &str)> = summed.lines().filter_map(|line| line.split_once("  ")).collect();
    sums.sort_by_key(|(_, name)| *name);
    let found: Vec<(String, String)> =
        files().into_iter().filter(|name| name != "SHA256SUMS").map(|name| (sha256(&dist(&name)), name)).collect();
    assert_eq!(sums, found.iter().map(|(sum, name)| (sum.as_str(), name.as_str())).collect::<Vec<_>>());
}

#[test]
#[ignore = "checks dist/: run by make verify-release"]
fn archives_hold_the_plugin_and_its_licence_and_it_runs() {
    for platform in platforms() {
        let archive = dist(&format!("{ARCHIVE}{platform}.tar.gz"));
        let listed = printed(Command::new("tar").arg("-tvzf").arg(&archive));
        let program = if platform.starts_with("windows") { "kubectl-zoho.exe" } else { "kubectl-zoho" };
        let entries: Vec<(&str, &str)> =
            listed.lines().map(|line| (&line[..14], line.rsplit(' ').next().unwrap_or_default())).collect();
        assert_eq!(entries, [("-rw-r--r-- 0/0", "LICENSE"), ("-rwxr-xr-x 0/0", program)], "{platform}: {listed}");
        if platform == own_platform() {
            let folder = unpacked(&archive);
            assert_eq!(version_of(&folder.path().join(program)), format!("kubectl-zoho {VERSION}\n"));
        }
    }
    assert!(platforms().iter().any(|platform| platform == own_platform()), "nothing that runs here");
}

#[test]
#[ignore = "checks dist/: run by make verify-release"]
fn krew_and_homebrew_know_the_archives_by_their_sums() {
    let manifest: Value = serde_saphyr::from_str(&read("zoho.yaml")).expect("YAML");
    let formula = read("kubectl-zoho.rb");
    assert_eq!(manifest["spec"]["version"], format!("v{VERSION}").as_str());
    assert!(formula.contains(&format!("version \"{VERSION}\"")), "{formula}");
    let mut known = Vec::new();
    for platform in manifest["spec"]["platforms"].as_array().expect("a list") {
        let labels = &platform["selector"]["matchLabels"];
        let name = format!("{}_{}", labels["os"].as_str().expect("an os"), labels["arch"].as_str().expect("an arch"));
        let archive = format!("{ARCHIVE}{name}.tar.gz");
        let sum = sha256(&dist(&archive));
        assert_eq!(platform["sha256"], sum.as_str(), "{name}");
        let uri = platform["uri"].as_str().expect("an address");
        assert!(uri.starts_with("https://") && uri.ends_with(&format!("/v{VERSION}/{archive}")), "{uri}");
        // Homebrew has no Windows.
        if !name.starts_with("windows") {
            let entry = format!("url \"{uri}\"\n      sha256 \"{sum}\"\n");
            assert_eq!(formula.matches(&entry).count(), 1, "{name}: {formula}");
        }
        known.push(name);
    }
    known.sort();
    assert_eq!(known, platforms());
    for text in [&read("zoho.yaml"), &formula, &read("install.yaml"), &read("release-notes.md")] {
        for place in ["@URL@", "@DOWNLOADS@", "@VERSION@", "@NUMBER@", "@SHA256_"] {
            assert!(!text.contains(place), "{place} was not filled in: {text}");
        }
    }
}

#[test]
#[ignore = "checks dist/: run by make verify-release"]
fn notes_say_what_has_changed_and_which_image_it_is() {
    let notes = read("release-notes.md");
    assert!(notes.contains("### Added") || notes.contains("### Changed") || notes.contains("### Fixed"), "{notes}");
    assert!(notes.contains(&format!("zoho-operator@sha256:{}", super::image::digest())), "{notes}");
}
