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
        assert_eq!(platform["uri"], format!("@URL@/kubectl-zoho_@VERSION@_{name}.tar.gz").as_str());
        assert_eq!(
            (&platform["sha256"], &platform["bin"]),
            (&json!(format!("@SHA256_{name}@")), &json!("kubectl-zoho"))
        );
    }
}

#[test]
fn script_of_make_dist_is_well_formed() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/dist");
    let checked = Command::new("bash").args(["-n", script]).output().expect("bash");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
