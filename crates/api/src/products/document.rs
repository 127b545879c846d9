//! `docs/products.md`, made from the table. `make docs` writes it; a test fails when it is stale.

use std::fmt::Write as _;

use super::{Facts, Hosts, Product};
use crate::DataCenter;

/// Where it stands, from the root of the repository.
pub const FILE: &str = "docs/products.md";

const HEAD: &str = "\
# Products

<!-- Made from crates/api/src/products/table.rs by `make docs`. -->

Every product that takes tokens of Zoho's accounts servers can be served: a `ZohoCredential` without `spec.product` keeps the
token valid all the same. With `spec.product` the operator also knows the host of the product's API (`api_url` in the target)
and how to ask it whether it takes the token (`spec.verify`), and `kubectl zoho login` knows which scopes to ask for.

## Which products?

Nothing here is guessed. A data center is left out where no host of the product is known in it, and so are scopes that no page
names. What is left out you set yourself:

- `spec.apiUrl`, the base URL of the product's API: always where the table says so, and in a data center that it does not
  name. Where the token is to be verified there, the operator must allow the host: `--api-host`, in the chart
  `config.apiHosts`.
- `spec.verify.path`, a cheap GET of that API: where the table names none, or where your scopes forbid the one that it names.
- `kubectl zoho login --scope`: where the table names no scopes, or where your program needs others. The usual scopes only
  read, where the product has such scopes; a refresh token keeps its scopes for ever.

A product that is not in the table can be verified too: set `spec.apiUrl` and `spec.verify.path`, and leave out `spec.product`.

| `spec.product` | product | data centers | usual scopes | `spec.verify` asks | needs |
|---|---|---|---|---|---|
";

const ANSWERS: &str = "
## What its answers mean

The status alone says little: some products answer 401 to a token whose scopes do not suffice, and to a request that lost its
token on the way. So `spec.verify` reads the error code in the answer:

| the product says | condition Verified | new token |
|---|---|---|
| it takes the token | True `TokenValid` | no |
| the token's owner may not do this | True `TokenValid`: the token is good | no |
| the token is dead | False `VerificationRejected` | one, if it took this token before |
| a scope is missing | False `VerificationRejected`, naming the scope | no |
| no token came with the request | Unknown `UpstreamError`: a proxy took the header away | no |
| too many requests, a page in HTML, anything else | Unknown, with the reason | no |

Some of these cannot be told apart, since the products use one code for both: Books (57) and Analytics (8535) say of a missing
scope what they say of a dead token, Creator (1030) and Campaigns (1007) say of a missing token what they say of a dead one. A
code that is not known, with status 401, is taken for a dead token. In these cases at most one token is minted in vain.

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
