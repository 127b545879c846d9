//! Writes the files of this repository that are generated: `cargo run -p xtask -- crds` and `… -- docs`.
//!
//! Tests compare what is written here with what is checked in. `… -- sbom` is for packaging/.

mod sbom;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::Parser;
use zoho_api::{crd, products};

use self::sbom::Sbom;

/// Writes generated files anew, below the folder that it is started in.
#[derive(Parser)]
enum Task {
    /// The `CustomResourceDefinitions`: crds/, crds.yaml and the chart's copy.
    Crds,
    /// docs/kubectl-zoho.md, from the plugin's command line; docs/products.md, from the table of products.
    Docs,
    /// Prints what a released file is made of, as SPDX.
    Sbom(Sbom),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Crds => crds(),
        Task::Docs => {
            write("docs/kubectl-zoho.md", &kubectl_zoho::reference())?;
            write(products::FILE, &products::markdown())
        }
        Task::Sbom(sbom) => io::stdout().write_all(sbom.document()?.as_bytes()).context("print the document"),
    }
}

fn crds() -> anyhow::Result<()> {
    write(crd::ONE_FILE, &crd::one_file())?;
    for folder in crd::FOLDERS {
        fs::create_dir_all(folder).with_context(|| format!("create {folder}"))?;
        for (name, yaml) in crd::files() {
            write(Path::new(folder).join(name), &yaml)?;
        }
    }
    Ok(())
}

fn write(path: impl AsRef<Path>, text: &str) -> anyhow::Result<()> {
    let path = path.as_ref();
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
