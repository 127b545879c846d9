//! What is in a release's file, as SPDX 2.3: the file, the program in it, and every crate that is linked into the program.
//!
//! The crates are those of the list that cargo-auditable wrote into the program, so this says what was built and not what
//! might have been; cargo's metadata adds their licences. The same program gives the same document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use auditable_serde::{DependencyKind, Package, Source, VersionInfo};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zoho_api::Time;

/// What a document is made of.
#[derive(clap::Args)]
pub(crate) struct Sbom {
    /// Name of what is released: a file, or an image with its tag.
    #[arg(long)]
    name: String,
    /// What it is: ARCHIVE or CONTAINER.
    #[arg(long)]
    purpose: String,
    /// Its SHA-256, in hexadecimal digits.
    #[arg(long)]
    sha256: String,
    /// Address below which nobody else names documents.
    #[arg(long)]
    namespace: String,
    /// Seconds since 1970 at which it was made.
    #[arg(long)]
    created: i64,
    /// A file that is in it beside the program.
    #[arg(long)]
    beside: Vec<PathBuf>,
    /// The program, built with cargo-auditable.
    program: PathBuf,
}

impl Sbom {
    /// The document, as JSON.
    pub(crate) fn document(&self) -> anyhow::Result<String> {
        let list = auditable_info::audit_info_from_file(&self.program, auditable_info::Limits::default())
            .with_context(|| format!("read what {} is made of", self.program.display()))?;
        let mut packages = vec![released(&self.name, &self.purpose, &self.sha256)];
        let mut relationships = vec![related("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-released")];
        for path in &self.beside {
            let package = beside(path)?;
            relationships.push(related("SPDXRef-released", "CONTAINS", package["SPDXID"].as_str().unwrap_or_default()));
            packages.push(package);
        }
        let licences = licences()?;
        for package in &list.packages {
            packages.push(crate_of(package, &licences));
        }
        packages_of_program(&list, &digest(&self.program)?, &mut packages, &mut relationships)?;
        let document = json!({
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": self.name,
            "documentNamespace": format!("{}/{}.spdx.json#{}", self.namespace, self.name, self.sha256),
            "creationInfo": {
                "created": Time::from_unix(self.created).to_string(),
                "creators": [concat!("Tool: zoho-operator-xtask-", env!("CARGO_PKG_VERSION"))],
            },
            "packages": packages,
            "relationships": relationships,
        });
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }
}

/// Marks the program among its crates, and says who needs whom.
fn packages_of_program(
    list: &VersionInfo,
    sha256: &str,
    packages: &mut [Value],
    relationships: &mut Vec<Value>,
) -> anyhow::Result<()> {
    let root = list.packages.iter().find(|package| package.root).context("no crate is the program's own")?;
    let root = id(root);
    let program = packages.iter_mut().find(|package| package["SPDXID"] == root.as_str()).context("the program")?;
    program["checksums"] = checksums(sha256);
    program["primaryPackagePurpose"] = json!("APPLICATION");
    relationships.push(related("SPDXRef-released", "CONTAINS", &root));
    for package in &list.packages {
        for needed in &package.dependencies {
            let needed = list.packages.get(*needed).context("a dependency that is not in the list")?;
            relationships.push(match needed.kind {
                DependencyKind::Build => related(&id(needed), "BUILD_DEPENDENCY_OF", &id(package)),
                DependencyKind::Runtime => related(&id(package), "DEPENDS_ON", &id(needed)),
            });
        }
    }
    Ok(())
}

fn released(name: &str, purpose: &str, sha256: &str) -> Value {
    json!({
        "SPDXID": "SPDXRef-released", "name": name, "versionInfo": env!("CARGO_PKG_VERSION"),
        "primaryPackagePurpose": purpose, "checksums": checksums(sha256), "downloadLocation": "NOASSERTION",
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "Apache-2.0", "copyrightText": "NOASSERTION",
    })
}

fn beside(path: &Path) -> anyhow::Result<Value> {
    let name = path.file_name().context("a file")?.to_string_lossy();
    Ok(json!({
        "SPDXID": spdx_id(&format!("file-{name}")), "name": name, "primaryPackagePurpose": "FILE",
        "checksums": checksums(&digest(path)?), "downloadLocation": "NOASSERTION",
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
    }))
}

fn crate_of(package: &Package, licences: &BTreeMap<(String, String), String>) -> Value {
    let (name, version) = (&package.name, package.version.to_string());
    let licence = licences.get(&(name.clone(), version.clone())).map_or("NOASSERTION", String::as_str);
    let mut value = json!({
        "SPDXID": id(package), "name": name, "versionInfo": version,
        "downloadLocation": "NOASSERTION", "licenseConcluded": licence, "licenseDeclared": licence,
        "copyrightText": "NOASSERTION",
    });
    if package.source == Source::CratesIo {
        value["downloadLocation"] = json!(format!("https://crates.io/api/v1/crates/{name}/{version}/download"));
        value["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
            "referenceLocator": format!("pkg:cargo/{name}@{version}"),
        }]);
    }
    value
}

/// Licences of all crates of Cargo.lock, by name and version, as SPDX writes them.
fn licences() -> anyhow::Result<BTreeMap<(String, String), String>> {
    let output = Command::new("cargo")
        .args(["metadata", "--locked", "--format-version=1"])
        .output()
        .context("run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("no packages in cargo's metadata")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let licence = |package: &Value| {
        // Before SPDX had expressions, crates wrote MIT/Apache-2.0.
        Some(((text(&package["name"])?, text(&package["version"])?), text(&package["license"])?.replace('/', " OR ")))
    };
    Ok(packages.iter().filter_map(licence).collect())
}

fn digest(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(hexadecimal(&Sha256::digest(bytes)))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn checksums(sha256: &str) -> Value {
    json!([{ "algorithm": "SHA256", "checksumValue": sha256 }])
}

fn related(from: &str, how: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": how, "relatedSpdxElement": to })
}

fn id(package: &Package) -> String {
    spdx_id(&format!("crate-{}-{}", package.name, package.version))
}

/// SPDX has letters, digits, dots and hyphens in ids; an underscore becomes two dots, which no crate has.
fn spdx_id(name: &str) -> String {
    let dotted: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '.' }).collect();
    format!("SPDXRef-{}", dotted.replace('_', ".."))
}
