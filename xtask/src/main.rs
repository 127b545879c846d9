//! Writes the files of this repository that are generated: `cargo run -p xtask -- crds`, `… -- docs` and
//! `… -- picture`.
//!
//! Tests compare what is written here with what is checked in.

mod picture;

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::Parser;
use serde::de::DeserializeOwned;
use zoho_api::{crd, products};

/// Writes generated files anew, below the folder that it is started in.
#[derive(Parser)]
enum Task {
    /// The `CustomResourceDefinitions`: crds/, crds.yaml and the chart's copy.
    Crds,
    /// docs/kubectl-zoho.md, from the plugin's command line; docs/products.md, from the table of products.
    Docs,
    /// docs/img/dashboard.svg, from the chart's dashboard and what `make picture` recorded in target/picture.json.
    Picture,
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Crds => crds(),
        Task::Docs => {
            write("docs/kubectl-zoho.md", &kubectl_zoho::reference())?;
            write(products::FILE, &products::markdown())
        }
        Task::Picture => {
            let dashboard = read("charts/zoho-operator/files/dashboards/zoho-operator.json")?;
            write("docs/img/dashboard.svg", &picture::draw(&dashboard, &read("target/picture.json")?))
        }
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

fn read<T: DeserializeOwned>(path: &str) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    serde_json::from_str(&text).with_context(|| format!("understand {path}"))
}

fn write(path: impl AsRef<Path>, text: &str) -> anyhow::Result<()> {
    let path = path.as_ref();
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
