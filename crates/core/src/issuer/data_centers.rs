//! Zoho's data centers as data: accounts hosts and API domains. The hosts of products stand in [`zoho_api::products`].
//!
//! Source: Zoho's multi-DC pages.

use crate::template::LONGEST_API_DOMAIN;
use zoho_api::DataCenter;

/// What is known of one data center.
#[derive(Debug)]
pub struct Row {
    /// The data center.
    pub data_center: DataCenter,
    /// Hosts of its accounts server; the first is the usual one, the others are aliases.
    pub accounts: &'static [&'static str],
    /// Domains whose hosts `api_domain` may name: the domain itself or below it.
    pub api_domains: &'static [&'static str],
}

macro_rules! row {
    ($dc:ident, $accounts:expr, $domains:expr) => {
        Row { data_center: DataCenter::$dc, accounts: &$accounts, api_domains: &$domains }
    };
}

/// Every data center but `Other`.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row!(US, ["accounts.zoho.com"], ["zohoapis.com", "zoho.com"]),
    row!(EU, ["accounts.zoho.eu"], ["zohoapis.eu", "zoho.eu"]),
    row!(IN, ["accounts.zoho.in"], ["zohoapis.in", "zoho.in"]),
    row!(AU, ["accounts.zoho.com.au"], ["zohoapis.com.au", "zoho.com.au"]),
    row!(CN, ["accounts.zoho.com.cn", "accounts.zoho.cn"], ["zohoapis.com.cn", "zoho.com.cn"]),
    row!(JP, ["accounts.zoho.jp"], ["zohoapis.jp", "zoho.jp"]),
    row!(CA, ["accounts.zohocloud.ca", "accounts.zohoone.ca", "accounts.zoho.ca"], ["zohoapis.ca", "zohocloud.ca"]),
    row!(UK, ["accounts.zoho.uk"], ["zohoapis.uk", "zoho.uk"]),
    row!(SA, ["accounts.zoho.sa"], ["zohoapis.sa", "zoho.sa"]),
    row!(AE, ["accounts.zoho.ae"], ["zohoapis.ae", "zoho.ae"]),
    row!(SG, ["accounts.zoho.sg"], ["zohoapis.sg", "zoho.sg"]),
];

/// The row of a data center; `None` for `Other`.
pub fn row(data_center: DataCenter) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.data_center == data_center)
}

/// Is this one of the accounts hosts of the table, whatever its data center?
pub fn is_known_accounts_host(host: &str) -> bool {
    of_accounts_host(host).is_some()
}

/// The data center of an accounts host.
pub fn of_accounts_host(host: &str) -> Option<DataCenter> {
    TABLE.iter().find(|row| row.accounts.contains(&host)).map(|row| row.data_center)
}

/// The data center of a short name as Zoho's answers have it, such as `eu`.
pub fn of_location(name: &str) -> Option<DataCenter> {
    TABLE.iter().map(|row| row.data_center).find(|known| known.to_string().eq_ignore_ascii_case(name))
}

/// The console in which clients and refresh tokens of a data center are made; `None` for `Other`.
pub fn console(data_center: DataCenter) -> Option<String> {
    row(data_center).map(|row| format!("https://{}", row.accounts[0].replacen("accounts.", "api-console.", 1)))
}

/// `api_domain` of a token reply, if it is `https://host` with a host of that data center: server text is taken only
/// where it says what is known. `Other` has no known hosts.
pub fn checked_api_domain(data_center: DataCenter, said: &str) -> Option<String> {
    let host = said.strip_prefix("https://")?;
    let host = host.strip_suffix('/').unwrap_or(host);
    let is_host = !host.is_empty()
        && said.len() <= LONGEST_API_DOMAIN
        && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    let known = row(data_center)?.api_domains.iter().any(|domain| {
        host == *domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && !rest.starts_with('.'))
    });
    (is_host && known).then(|| format!("https://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_domain_is_taken_only_from_the_data_center() {
        let table = [
            ("https://www.zohoapis.eu", Some("https://www.zohoapis.eu")),
            ("https://www.zohoapis.eu/", Some("https://www.zohoapis.eu")),
            ("https://desk.zoho.eu", Some("https://desk.zoho.eu")),
            ("https://www.zohoapis.com", None),
            ("http://www.zohoapis.eu", None),
            ("https://evilzohoapis.eu", None),
            ("https://zohoapis.eu.evil.example", None),
            ("https://evil.example/?zohoapis.eu", None),
            ("https://user@www.zohoapis.eu", None),
            ("https://www.zohoapis.eu:8443", None),
            ("", None),
        ];
        for (said, expected) in table {
            assert_eq!(checked_api_domain(DataCenter::EU, said).as_deref(), expected, "{said}");
        }
        assert_eq!(checked_api_domain(DataCenter::Other, "https://www.zohoapis.eu"), None);
    }

    #[test]
    fn api_domains_are_those_of_the_products_hosts() {
        for row in TABLE {
            let domains = zoho_api::products::domains(row.data_center).unwrap();
            assert_eq!(row.api_domains, [domains.gateway, domains.zoho], "{}", row.data_center);
        }
    }

    #[test]
    fn every_data_center_but_other_has_a_row_and_no_host_stands_twice() {
        let mut hosts: Vec<&str> = TABLE.iter().flat_map(|row| row.accounts.iter().copied()).collect();
        let count = hosts.len();
        hosts.sort_unstable();
        hosts.dedup();
        assert_eq!(hosts.len(), count);
        assert_eq!(TABLE.len(), 11);
        assert!(row(DataCenter::Other).is_none());
    }
}
