//! `docs/products.md`, made from the table. `make docs` writes it; a test fails when it is stale.

use std::fmt::Write as _;

use super::{Facts, Hosts, Product};
use crate::DataCenter;

/// Where it stands, from the root of the repository.
pub const FILE: &str = "docs/products.md";

const HEAD: &str = "\
# Products

<!-- Made from crates/api/src/products/table.rs by `make docs`. -->

The operator works for every product that accepts tokens of Zoho's accounts servers: a `ZohoCredential` without `spec.product` keeps
the token valid too. With `spec.product`, the operator also knows the host of the product's API (`api_url` in the target)
and how to check that it accepts the token (`spec.verify`), and `kubectl zoho login` knows which scopes to request.

## Which products?

Nothing here is guessed. The table leaves out data centers in which no host of the product is known, and scopes that no page of
Zoho names. You set these yourself:

- `spec.apiUrl`, the base URL of the product's API: if the table says so, and in a data center that it does not
  name. To verify the token there, the operator must allow the host: `--api-host`, in the chart
  `config.apiHosts`.
- `spec.verify.path`, a cheap GET of that API: if the table names none, or if your scopes do not allow the one that it names.
- `kubectl zoho login --scope`: if the table names no scopes, or if your program needs others. The usual scopes allow only
  reading, if the product has such scopes; a refresh token keeps its scopes forever.

A product that is not in the table can be verified too: set `spec.apiUrl` and `spec.verify.path`, and leave out `spec.product`.

| `spec.product` | product | data centers | usual scopes | `spec.verify` asks | needs |
|---|---|---|---|---|---|
";

const ANSWERS: &str = "
## What its answers mean

The HTTP status alone is not enough: some products answer 401 to a token with insufficient scopes, and to a request that lost its
token on the way. So `spec.verify` reads the error code in the answer:

| the product says | condition Verified | new token |
|---|---|---|
| the token is accepted | True `TokenValid` | no |
| the token's owner may not do this | True `TokenValid`: the token is valid | no |
| the token is invalid | False `VerificationRejected` | one, if the product accepted this token before |
| a scope is missing | False `VerificationRejected`, naming the scope | no |
| no token came with the request | Unknown `UpstreamError`: a proxy removed the header | no |
| too many requests, an HTML page, anything else | Unknown, with the reason | no |

Some of these cannot be distinguished, because the product uses one code for both: Books (57) and Analytics (8535) for a missing
scope and an invalid token, Creator (1030) and Campaigns (1007) for a missing token and an invalid one. An unknown code with
status 401 is treated as an invalid token. In these cases, at most one unnecessary token is minted.

## Hosts

";

/// The page as Markdown.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for product in Product::ALL {
        let Facts { title, probe, scopes, documentation, .. } = product.facts();
        let title = documentation.map_or_else(|| (*title).to_owned(), |page| format!("[{title}]({page})"));
        let asks = probe.as_ref().map_or("`spec.verify.path`".to_owned(), |probe| format!("`{}`", probe.path));
        let needs = match probe {
            None => String::new(),
            Some(probe) if probe.scopes.is_empty() => "not known".into(),
            Some(probe) => code(probe.scopes),
        };
        let usual = if scopes.is_empty() { "`--scope`".into() } else { code(scopes) };
        let _ = writeln!(text, "| `{product}` | {title} | {} | {usual} | {asks} | {needs} |", served(*product));
    }
    text.push_str(ANSWERS);
    text.push_str(&hosts());
    text
}

fn hosts() -> String {
    let mut text = "| `spec.product` | hosts |\n|---|---|\n".to_owned();
    for product in Product::ALL {
        let hosts: Vec<String> = product
            .data_centers()
            .into_iter()
            .filter_map(|data_center| Some(format!("{data_center} {}", product.host(data_center)?)))
            .collect();
        let hosts = if hosts.is_empty() { "`spec.apiUrl`".to_owned() } else { hosts.join(", ") };
        let _ = writeln!(text, "| `{product}` | {hosts} |");
    }
    text
}

fn served(product: Product) -> String {
    if matches!(product.facts().hosts, Hosts::Unknown) {
        return "`spec.apiUrl`".into();
    }
    let served: Vec<String> = product.data_centers().iter().map(DataCenter::to_string).collect();
    served.join(" ")
}

fn code(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_in_docs_is_fresh() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FILE);
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == markdown(), "{} is stale: run `make docs`", path.display());
    }
}
