//! Writes the `CustomResourceDefinition`s as YAML: `crdgen [FOLDER]`, by default to every place of the repository that
//! holds them.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::Context;
use zoho_operator::api::crd;

fn main() -> anyhow::Result<()> {
    if env::args().len() == 1 {
        fs::write(crd::ONE_FILE, crd::one_file()).context("write crds.yaml")?;
    }
    let folders = env::args().nth(1).map_or_else(|| crd::FOLDERS.map(PathBuf::from).to_vec(), |one| vec![one.into()]);
    for folder in folders {
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        for (name, yaml) in crd::files() {
            let path = folder.join(name);
            fs::write(&path, yaml).with_context(|| format!("write {}", path.display()))?;
        }
    }
    Ok(())
}
