//! The products whose APIs take tokens of Zoho's accounts servers: what is known of each, as data.
//!
//! The table stands in `table.rs`; whoever offers, asks or describes a product reads it from there. It holds what is
//! documented, or what several clients rely on. What nobody knows is left out: such a product needs `spec.apiUrl`, or
//! `spec.verify.path`.

mod document;
mod table;

use std::fmt;
use std::str::FromStr;

pub use self::document::{FILE, markdown};
pub use self::table::Product;
use super::credential::{DataCenter, one_of};

/// What is known of one product.
#[derive(Debug)]
pub struct Facts {
    /// What its maker calls it.
    pub title: &'static str,
    /// Where its API is.
    pub hosts: Hosts,
    /// A cheap GET that shows whether it takes a token, where one is known.
    pub probe: Option<Probe>,
    /// Scopes of its usual reading calls: what `kubectl zoho login` asks for. Empty where they are not known.
    pub scopes: &'static [&'static str],
    /// A page about its API or its hosts.
    pub documentation: Option<&'static str>,
}

/// Hosts of a product's API, by data center.
#[derive(Debug)]
pub enum Hosts {
    /// Zoho's gateway: `www.zohoapis.eu`.
    Gateway(&'static [DataCenter]),
    /// A host below Zoho's domain: `desk.zoho.eu`.
    Zoho(&'static str, &'static [DataCenter]),
    /// A host below `ManageEngine`'s domain: `patch.manageengine.eu`.
    ManageEngine(&'static str, &'static [DataCenter]),
    /// Hosts that follow no rule.
    Listed(&'static [(DataCenter, &'static str)]),
    /// Not known in any data center.
    Unknown,
}

/// A cheap GET of a product, and what its answers mean.
#[derive(Debug)]
pub struct Probe {
    /// Path below the product's base URL.
    pub path: &'static str,
    /// Query, without the question mark.
    pub query: Option<&'static str>,
    /// Header `Accept`, where the product wants a special one.
    pub accept: Option<&'static str>,
    /// The scopes that it needs. Empty where they are not known.
    pub scopes: &'static [&'static str],
    /// What error codes of its own mean, beside those that all products share.
    pub codes: &'static [(&'static str, Says)],
    /// What an HTTP status means where the body holds no code that is known.
    pub statuses: &'static [(u16, Says)],
}

impl Probe {
    /// A GET of this path, about which nothing more is known.
    pub const fn get(path: &'static str, scopes: &'static [&'static str]) -> Self {
        Self { path, query: None, accept: None, scopes, codes: &[], statuses: &[] }
    }
}

/// What a product says of a token with an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// The token is dead. Some products say so for a missing scope, too.
    Refused,
    /// No token came with the request.
    NoToken,
    /// The token lives, but its scopes do not allow this.
    ScopeMissing,
    /// The token lives, but its owner may not do this, or not in this organisation.
    MayNot,
    /// Nothing about the token: too many requests.
    Busy,
}

impl Product {
    /// Host of its API in a data center, where it is known.
    pub fn host(self, data_center: DataCenter) -> Option<String> {
        let domains = domains(data_center)?;
        let (served, host) = match self.facts().hosts {
            Hosts::Gateway(served) => (served, format!("www.{}", domains.gateway)),
            Hosts::Zoho(name, served) => (served, format!("{name}.{}", domains.zoho)),
            Hosts::ManageEngine(name, served) => (served, format!("{name}.{}", domains.manage_engine?)),
            Hosts::Listed(hosts) => {
                return hosts.iter().find(|(of, _)| *of == data_center).map(|(_, host)| (*host).to_owned());
            }
            Hosts::Unknown => return None,
        };
        served.contains(&data_center).then_some(host)
    }

    /// The data centers in which its host is known.
    pub fn data_centers(self) -> Vec<DataCenter> {
        DataCenter::ALL.into_iter().filter(|data_center| self.host(*data_center).is_some()).collect()
    }
}

/// Is this the host of a product's API, whatever its data center?
pub fn is_known_host(host: &str) -> bool {
    Product::ALL
        .iter()
        .any(|product| DataCenter::ALL.iter().any(|data_center| product.host(*data_center).as_deref() == Some(host)))
}

/// The domains of a data center.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domains {
    /// Zoho's own: `zoho.eu`.
    pub zoho: &'static str,
    /// Of its API gateway: `zohoapis.eu`.
    pub gateway: &'static str,
    /// `ManageEngine`'s, where it has one.
    pub manage_engine: Option<&'static str>,
}

/// The domains of a data center; `None` for `Other`.
pub const fn domains(data_center: DataCenter) -> Option<Domains> {
    let (zoho, gateway, manage_engine) = match data_center {
        DataCenter::US => ("zoho.com", "zohoapis.com", Some("manageengine.com")),
        DataCenter::EU => ("zoho.eu", "zohoapis.eu", Some("manageengine.eu")),
        DataCenter::IN => ("zoho.in", "zohoapis.in", Some("manageengine.in")),
        DataCenter::AU => ("zoho.com.au", "zohoapis.com.au", Some("manageengine.com.au")),
        DataCenter::CN => ("zoho.com.cn", "zohoapis.com.cn", Some("manageengine.cn")),
        DataCenter::JP => ("zoho.jp", "zohoapis.jp", Some("manageengine.jp")),
        DataCenter::CA => ("zohocloud.ca", "zohoapis.ca", Some("manageengine.ca")),
        DataCenter::SA => ("zoho.sa", "zohoapis.sa", Some("manageengine.sa")),
        DataCenter::UK => ("zoho.uk", "zohoapis.uk", Some("manageengine.uk")),
        DataCenter::AE => ("zoho.ae", "zohoapis.ae", None),
        DataCenter::SG => ("zoho.sg", "zohoapis.sg", None),
        DataCenter::Other => return None,
    };
    Some(Domains { zoho, gateway, manage_engine })
}

impl FromStr for Product {
    type Err = String;

    /// In any case; people type it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        one_of(Self::ALL, text, "product")
    }
}

impl fmt::Display for Product {
    /// As in `spec.product`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from the same facts as the table, but not from the table: it shows a slip in copying.
    const HOSTS: &str = include_str!("hosts.txt");

    #[test]
    fn every_host_is_the_one_that_its_documentation_names() {
        let line = |product: &Product, data_center| {
            product.host(data_center).map(|host| format!("{product} {data_center} {host}"))
        };
        let lines = |product| DataCenter::ALL.into_iter().filter_map(move |data_center| line(product, data_center));
        let known: Vec<String> = Product::ALL.iter().flat_map(lines).collect();
        let expected: Vec<&str> = HOSTS.lines().collect();
        let less: Vec<_> = expected.iter().filter(|line| !known.iter().any(|known| known == *line)).collect();
        let more: Vec<_> = known.iter().filter(|line| !expected.contains(&line.as_str())).collect();
        assert!(more.is_empty() && less.is_empty(), "only in the table: {more:#?}, only in hosts.txt: {less:#?}");
    }

    #[test]
    fn schema_and_chart_know_the_products_of_the_table() {
        let names: Vec<String> = Product::ALL.iter().map(ToString::to_string).collect();
        let crd = serde_json::to_value(crate::crd::zoho_credential()).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        assert_eq!(spec["product"]["enum"], serde_json::json!(names));
        let chart = include_str!("../../../../charts/zoho-operator/values.schema.json");
        let pattern = format!("\"^({}):(", names.join("|"));
        assert!(chart.contains(&pattern), "the pattern of config.apiUrls is not {pattern}");
    }

    #[test]
    fn products_of_the_first_hour_come_first() {
        let first: Vec<String> = Product::ALL.iter().take(3).map(ToString::to_string).collect();
        assert_eq!(first, ["PatchManagerPlus", "EndpointCentral", "ServiceDeskPlus"]);
    }

    #[test]
    fn every_row_is_well_formed() {
        let is_scope = |scope: &&str| (2..=4).contains(&scope.split('.').count()) && !scope.contains([',', ' ']);
        for product in Product::ALL {
            let facts = product.facts();
            assert!(facts.scopes.iter().all(is_scope), "{product}");
            assert!(facts.documentation.is_none_or(|page| page.starts_with("https://")), "{product}");
            let Some(probe) = &facts.probe else { continue };
            assert!(probe.path.starts_with('/') && !probe.path.contains(['?', '{']), "{product}");
            assert!(probe.scopes.iter().all(is_scope), "{product}");
            let is_asked_for = |scope: &&str| facts.scopes.is_empty() || facts.scopes.contains(scope);
            assert!(probe.scopes.iter().all(is_asked_for), "what login asks for lets {product} be verified");
        }
    }

    #[test]
    fn name_is_read_in_any_case() {
        assert_eq!("zohocrm".parse(), Ok(Product::ZohoCRM));
        assert!("ZohoNothing".parse::<Product>().unwrap_err().contains("PatchManagerPlus"));
    }
}
