//! Writes the CustomResourceDefinitions as YAML: `crdgen [FOLDER]`, by default `crds`.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::Context;
use zoho_operator::api::crd;

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(env::args().nth(1).unwrap_or_else(|| "crds".into()));
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for (name, yaml) in crd::files() {
        let path = folder.join(name);
        fs::write(&path, yaml).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
