//! Writes the files of this repository that are generated: `cargo run -p xtask -- crds`, `… -- docs`, `… -- picture` and
//! `… -- demo-picture`.
//!
//! Tests compare what is written here with what is checked in. `… -- sbom` is for packaging/.

mod pages;
mod picture;
mod sbom;
mod site;
mod terminal;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::Parser;
use serde::de::DeserializeOwned;
use zoho_api::crd;

use self::sbom::Sbom;

/// Writes generated files anew, below the folder that it is started in.
#[derive(Parser)]
enum Task {
    /// The `CustomResourceDefinitions`: crds/, crds.yaml and the chart's copy.
    Crds,
    /// The pages of docs/ that are made from what the code knows: products, data centers, hosts, the plugin's command line,
    /// the fields of the kinds.
    Docs,
    /// What mdBook makes the documentation site from, in target/site.
    Site,
    /// Whether the links of the site lead somewhere.
    SiteLinks,
    /// docs/img/dashboard.svg, from the chart's dashboard and what `make picture` recorded in target/picture.json.
    Picture,
    /// docs/img/demo.svg, from what `make demo-picture` recorded in target/demo.txt.
    DemoPicture,
    /// Prints what a released file is made of, as SPDX.
    Sbom(Sbom),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Crds => crds(),
        Task::Site => site::stage(),
        Task::SiteLinks => site::check(),
        Task::Docs => pages::all().into_iter().try_for_each(|(path, text)| write(path, &text)),
        Task::Picture => {
            let dashboard = read("charts/zoho-operator/files/dashboards/zoho-operator.json")?;
            write("docs/img/dashboard.svg", &picture::draw(&dashboard, &read("target/picture.json")?))
        }
        Task::DemoPicture => {
            let printed = fs::read_to_string("target/demo.txt").context("read target/demo.txt: make demo-picture")?;
            write("docs/img/demo.svg", &terminal::draw(&printed))
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

fn read<T: DeserializeOwned>(path: &str) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    serde_json::from_str(&text).with_context(|| format!("understand {path}"))
}

fn write(path: impl AsRef<Path>, text: &str) -> anyhow::Result<()> {
    let path = path.as_ref();
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
