//! What `make dist` is made from. Building the archives takes minutes and is left to it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

#[test]
fn krew_manifest_is_what_krew_wants() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/krew/zoho.yaml");
    let manifest: Value = serde_saphyr::from_str(&fs::read_to_string(path).expect("readable")).expect("YAML");
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&json!("Plugin"), &json!("zoho")));
    let description = manifest["spec"]["shortDescription"].as_str().expect("text");
    assert!(description.len() <= 50, "krew shows no more");
    for platform in manifest["spec"]["platforms"].as_array().expect("a list") {
        let labels = &platform["selector"]["matchLabels"];
        let name = format!("{}_{}", labels["os"].as_str().expect("an os"), labels["arch"].as_str().expect("an arch"));
        assert_eq!(platform["uri"], format!("@DOWNLOADS@/kubectl-zoho_@VERSION@_{name}.tar.gz").as_str());
        let program = if name.starts_with("windows") { "kubectl-zoho.exe" } else { "kubectl-zoho" };
        assert_eq!((&platform["sha256"], &platform["bin"]), (&json!(format!("@SHA256_{name}@")), &json!(program)));
    }
}

#[test]
fn scripts_are_well_formed() {
    for name in ["address", "build", "dist", "image", "notes", "release", "reproduce", "sbom"] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/").to_owned() + name;
        let checked = Command::new("bash").args(["-n", &script]).output().expect("bash");
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn addresses_and_registry_follow_from_one_variable() {
    let address = |project: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/address");
        let output = Command::new(script).env("PROJECT", project).env("VERSION", "1.2.3").output().expect("bash");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(
        address("github.com/Some-Team/zoho"),
        "registry=ghcr.io/some-team\n\
         url=https://github.com/Some-Team/zoho\n\
         docs=https://github.com/Some-Team/zoho/blob/v1.2.3/docs\n\
         downloads=https://github.com/Some-Team/zoho/releases/download/v1.2.3\n"
    );
    let unpublished = address("");
    assert!(unpublished.starts_with("registry=\nurl=https://unpublished.example\n"), "{unpublished}");
}
