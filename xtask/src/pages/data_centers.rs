//! `docs/data-centers.md`: from the address that a person sees in the browser to `spec.dataCenter`.

use std::fmt::Write as _;

use super::{Row, TABLE, code, console, domains, place, products_by_host};

const HEAD: &str = "\
# Data centers

<!-- Made from crates/api/src/products and crates/core/src/issuer/data_centers.rs by `make docs`. -->

A Zoho account exists in exactly one data center. Its clients and refresh tokens are unknown in all the others, so a wrong
`spec.dataCenter` is reported as `ClientRejected` (Zoho's error code `invalid_client`), although the client id and the client
secret are right.

## Find yours

1. Sign in to the product that your workload calls.
2. Look at the host in the browser's address bar, such as `patch.manageengine.eu` or `crm.zoho.com.au`.
3. Find the end of that host in this table. If two rows match, the longer one counts: `crm.zoho.com.au` is in `AU`, not in
   `US`.

Look at the address **after** you signed in. The public sites `www.zoho.com` and `www.manageengine.com` are the same for
everyone and say nothing about your account.

| the host ends in | `spec.dataCenter` | where |
|---|---|---|
";

const OTHER: &str = "\
## Not in these tables

Your product may have its own domain or a portal, such as `helpdesk.corp.example`. In this case, open the API console of the data
center that you expect and sign in. The console of the right data center lists your clients; the others send you to the right one
or show no clients.

`kubectl zoho doctor NAME` compares `spec.dataCenter` with the accounts hosts that Zoho names.

For an accounts host that is in none of the tables, set `dataCenter: Other` and `accountsHost`. The operator's administrator must
allow that host with `--accounts-host` (`config.accountsHosts` in the chart), because client secrets are sent to it. See
[examples/accounts-host.yaml](../examples/accounts-host.yaml).
";

/// The page as Markdown.
pub(super) fn page() -> String {
    let mut text = HEAD.to_owned();
    for row in TABLE {
        let _ = writeln!(text, "| {} | `{}` | {} |", code(endings(row)), row.data_center, place(row.data_center));
    }
    text.push_str("\nEach section below lists every host that the operator knows in one data center.\n");
    for row in TABLE {
        section(&mut text, row);
    }
    text.push('\n');
    text.push_str(OTHER);
    text
}

/// The ends of hosts by which a data center is known: its domains, and hosts of products that are below none of them.
fn endings(row: &Row) -> Vec<String> {
    let domains = domains(row.data_center).expect("every row is a data center with domains");
    let mut endings: Vec<String> = [Some(domains.zoho), domains.manage_engine, Some(domains.gateway)]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect();
    let accounts = row.accounts.iter().map(|host| (*host).to_owned());
    let products = products_by_host(row.data_center).into_iter().map(|(host, _)| host);
    for host in accounts.chain(products) {
        if !endings.iter().any(|ending| is_below(&host, ending)) {
            endings.push(host);
        }
    }
    endings
}

fn is_below(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn section(text: &mut String, row: &Row) {
    let data_center = row.data_center;
    let console = console(data_center).expect("every row has a console");
    let _ = write!(
        text,
        "\n## {data_center}: {}\n\nAPI console: <{console}>\n\n| host | what it is |\n|---|---|\n",
        place(data_center)
    );
    for (number, host) in row.accounts.iter().enumerate() {
        let what =
            if number == 0 { "accounts host".into() } else { format!("accounts host: set `accountsHost: {host}`") };
        let _ = writeln!(text, "| `{host}` | {what} |");
    }
    for (host, products) in products_by_host(data_center) {
        let _ = writeln!(text, "| `{host}` | {} |", code(products));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What people bring, and where they should be led; written by hand.
    const SEEN_IN_BROWSERS: &[(&str, &str)] = &[
        ("patch.manageengine.com", "US"),
        ("patch.manageengine.eu", "EU"),
        ("endpointcentral.manageengine.com", "US"),
        ("desktopcentral.manageengine.com", "US"),
        ("sdpondemand.manageengine.in", "IN"),
        ("crm.zoho.com.au", "AU"),
        ("crm.zoho.com", "US"),
        ("patch.manageengine.com.au", "AU"),
        ("servicedeskplus.net.au", "AU"),
        ("servicedeskplus.jp", "JP"),
        ("servicedeskplus.ae", "AE"),
        ("desk.zoho.com.cn", "CN"),
        ("accounts.zoho.cn", "CN"),
        ("books.zohocloud.ca", "CA"),
        ("accounts.zohoone.ca", "CA"),
        ("endpointcentral.manageengine.sa", "SA"),
        ("people.zoho.uk", "UK"),
        ("desk.zoho.sg", "SG"),
        ("app.site24x7.jp", "JP"),
        ("www.site24x7.net.au", "AU"),
        ("www.zohoapis.eu", "EU"),
    ];

    /// The data center that the page's first table leads to, read as the page says.
    fn led_to(page: &str, host: &str) -> Option<String> {
        let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let rows = rows.filter_map(|row| <[&str; 3]>::try_from(row.split(" | ").collect::<Vec<_>>()).ok());
        let mut found: Option<(usize, String)> = None;
        for [endings, data_center, _] in rows {
            for ending in endings.split(", ").map(|ending| ending.trim_matches('`')) {
                if is_below(host, ending) && found.as_ref().is_none_or(|(length, _)| *length < ending.len()) {
                    found = Some((ending.len(), data_center.trim_matches('`').to_owned()));
                }
            }
        }
        found.map(|(_, data_center)| data_center)
    }

    #[test]
    fn addresses_that_people_see_lead_to_their_data_center() {
        let page = page();
        for (host, expected) in SEEN_IN_BROWSERS {
            assert_eq!(led_to(&page, host).as_deref(), Some(*expected), "{host}");
        }
        assert_eq!(led_to(&page, "helpdesk.corp.example"), None);
    }

    #[test]
    fn every_known_host_leads_to_the_data_center_that_it_belongs_to() {
        let page = page();
        for row in TABLE {
            let products = products_by_host(row.data_center).into_iter().map(|(host, _)| host);
            for host in row.accounts.iter().map(|host| (*host).to_owned()).chain(products) {
                assert_eq!(led_to(&page, &host), Some(row.data_center.to_string()), "{host}");
                assert!(page.contains(&format!("| `{host}` |")), "{host} has no row");
            }
        }
    }
}
