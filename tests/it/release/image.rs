//! The image: an OCI layout in a tar, with one image for each platform.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{IMAGE, VERSION, dist, own_platform, printed, sha256, unpacked, version_of};

/// A layout, checked: what is in it has the digest by which it is named.
pub(super) struct Layout(tempfile::TempDir);

impl Layout {
    pub(super) fn of_the_release() -> Self {
        let layout = Self(unpacked(&dist(IMAGE)));
        for blob in fs::read_dir(layout.0.path().join("blobs/sha256")).expect("blobs").flatten() {
            assert_eq!(sha256(&blob.path()), blob.file_name().to_string_lossy(), "a blob is what its name says");
        }
        layout
    }

    fn json(&self, path: impl AsRef<Path>) -> Value {
        let text = fs::read_to_string(self.0.path().join(path)).expect("readable");
        serde_json::from_str(&text).expect("JSON")
    }

    fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
        self.0.path().join("blobs/sha256").join(digest.expect("a digest"))
    }

    /// The entry of the layout's index: all platforms under one name.
    pub(super) fn entry(&self) -> Value {
        let index = self.json("index.json");
        let [entry] = index["manifests"].as_array().expect("a list").as_slice() else { panic!("{index}") };
        entry.clone()
    }

    /// Platforms like `linux_amd64`, each with the descriptor of its manifest.
    pub(super) fn platforms(&self) -> Vec<(String, Value)> {
        let index = self.json(self.blob(&self.entry()));
        let manifests = index["manifests"].as_array().expect("a list").clone();
        let name = |platform: &Value| {
            format!("{}_{}", platform["os"].as_str().expect("an os"), platform["architecture"].as_str().expect("one"))
        };
        manifests.into_iter().map(|manifest| (name(&manifest["platform"]), manifest)).collect()
    }

    /// The files of an image, as they lie over each other.
    pub(super) fn files(&self, manifest: &Value) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for layer in self.json(self.blob(manifest))["layers"].as_array().expect("layers") {
            printed(Command::new("tar").arg("-xzf").arg(self.blob(layer)).arg("-C").arg(folder.path()));
        }
        folder
    }
}

/// What all platforms together are pulled by.
pub(super) fn digest() -> String {
    let entry = Layout::of_the_release().entry();
    entry["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest").to_owned()
}

#[test]
#[ignore = "checks dist/: run by make verify-release"]
fn image_holds_two_files_for_a_user_without_a_name_and_the_operator_runs() {
    let layout = Layout::of_the_release();
    let name = layout.entry()["annotations"]["io.containerd.image.name"].as_str().expect("a name").to_owned();
    assert!(name.ends_with(&format!("/zoho-operator:{VERSION}")), "{name}");
    let platforms = layout.platforms();
    for (platform, manifest) in &platforms {
        let config = layout.json(layout.blob(&layout.json(layout.blob(manifest))["config"]));
        assert_eq!(config["config"]["User"], "65532:65532", "{platform}");
        assert_eq!(config["config"]["Entrypoint"], json!(["/zoho-operator"]), "{platform}");
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], VERSION, "{platform}");
        let files = layout.files(manifest);
        let mut found: Vec<String> = printed(Command::new("find").current_dir(files.path()).args([".", "-type", "f"]))
            .lines()
            .map(str::to_owned)
            .collect();
        found.sort();
        assert_eq!(found, ["./etc/ssl/certs/ca-certificates.crt", "./zoho-operator"], "{platform}");
        if platform == own_platform() {
            assert_eq!(version_of(&files.path().join("zoho-operator")), format!("zoho-operator {VERSION}\n"));
        }
    }
    assert!(platforms.iter().any(|(platform, _)| platform == own_platform()), "nothing that runs here");
}
