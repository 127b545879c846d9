//! Pages of `docs/` that are made from what the code knows. `make docs` writes them; a test fails when one is stale.

mod data_centers;
mod network;
mod reference;

use zoho_api::products::{self, domains};
use zoho_api::{DataCenter, Product};
use zoho_core::issuer::data_centers::{Row, TABLE, console};

/// Every generated page: its path in the repository, and its text.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    vec![
        ("docs/kubectl-zoho.md", kubectl_zoho::reference()),
        (products::FILE, products::markdown()),
        ("docs/data-centers.md", data_centers::page()),
        ("docs/network.md", network::page()),
        ("docs/reference.md", reference::page()),
    ]
}

/// The products that have an API host in a data center, by host, in the order of the catalogue.
fn products_by_host(data_center: DataCenter) -> Vec<(String, Vec<Product>)> {
    let mut hosts: Vec<(String, Vec<Product>)> = Vec::new();
    for product in Product::ALL {
        let Some(host) = product.host(data_center) else { continue };
        match hosts.iter_mut().find(|(known, _)| *known == host) {
            Some((_, products)) => products.push(*product),
            None => hosts.push((host, vec![*product])),
        }
    }
    hosts
}

/// Names in code spans, separated by commas.
fn code(words: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// Where people know a data center by.
fn place(data_center: DataCenter) -> &'static str {
    match data_center {
        DataCenter::US => "United States",
        DataCenter::EU => "Europe",
        DataCenter::IN => "India",
        DataCenter::AU => "Australia",
        DataCenter::CN => "China",
        DataCenter::JP => "Japan",
        DataCenter::CA => "Canada",
        DataCenter::SA => "Saudi Arabia",
        DataCenter::UK => "United Kingdom",
        DataCenter::AE => "United Arab Emirates",
        DataCenter::SG => "Singapore",
        DataCenter::Other => "none of these",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_generated_page_is_fresh() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (path, text) in super::all() {
            let written = fs::read_to_string(root.join(path)).unwrap_or_default();
            assert!(written == text, "{path} is stale: run `make docs`");
        }
    }
}
