//! Zoho's accounts server as seen from here. Asks for its public list of data centers only; no secret leaves.

use serde_json::Value;

use super::super::args::Global;
use super::super::facts::Facts;
use super::super::login::explain;
use super::super::table::span;
use super::cluster::skew;
use super::finding::Finding;
use zoho_api::{ConditionStatus, ConditionType, DataCenter, Reason, Time};
use zoho_client::transport::Transport;
use zoho_core::issuer::data_centers;
use zoho_core::issuer::login::server_info_url;
use zoho_core::issuer::zoho::TokenService;

/// Clocks that differ by more make expiry times wrong.
const CLOCK_TOLERANCE: u64 = 60;

/// Looks at the accounts server of one credential, and where the client may belong if Zoho does not know it.
///
/// # Errors
///
/// A certificate file that cannot be used.
pub(crate) async fn examine(
    name: &str,
    facts: &Facts,
    service: &TokenService,
    global: &Global,
    now: Time,
) -> anyhow::Result<Vec<Finding>> {
    let transport = Transport::new(&global.ca_file, &[])?;
    let host = service.token_url.host_str().unwrap_or_default();
    let mut findings = Vec::new();
    let mut others = Vec::new();
    match transport.look(&server_info_url(&service.token_url)).await {
        Ok((date, body)) => {
            let skew = date.as_deref().and_then(Time::from_http_date).map(|server| skew(server, now));
            findings.push(match skew.filter(|skew| *skew > CLOCK_TOLERANCE) {
                Some(skew) => Finding::warn(
                    name,
                    format!("{host} answers, but its clock and that of this machine differ by {}", span(skew)),
                    "set this machine's clock by NTP; if the operator's is as wrong, so are its expiry times",
                ),
                None => Finding::ok(name, format!("{host} answers from here")),
            });
            others = locations(&body);
        }
        Err(failed) => findings.push(Finding::warn(
            name,
            format!("from here: {}", explain::upstream(host, &failed)),
            "if the operator reports Upstream… as well, look at its proxy, DNS and network policies",
        )),
    }
    if is_unknown_client(facts) {
        findings.push(wrong_data_center(name, service, &others));
    }
    Ok(findings)
}

fn is_unknown_client(facts: &Facts) -> bool {
    let said = facts.credential.status.as_ref().and_then(|status| status.condition(ConditionType::Renewable));
    said.is_some_and(|said| said.status == ConditionStatus::False && said.reason == Reason::ClientRejected.as_str())
}

/// Where the client may belong. The server's list is compared with ours, for a hint; secrets go by ours only.
fn wrong_data_center(name: &str, service: &TokenService, others: &[String]) -> Finding {
    let own = service.data_center;
    let known = data_centers::TABLE.iter().filter(|row| row.data_center != own);
    let said: Vec<String> = known
        .filter(|row| others.is_empty() || row.accounts.iter().any(|host| others.iter().any(|other| other == host)))
        .map(|row| format!("{} https://{}", row.data_center, row.accounts[0].replacen("accounts.", "api-console.", 1)))
        .collect();
    let own = if own == DataCenter::Other { "that host".to_owned() } else { own.to_string() };
    Finding::fail(
        name,
        format!(
            "Zoho does not know the client in {own}: the client id or the client secret is mistyped, or the client belongs to another data center"
        ),
        format!(
            "is the client listed at {}? If not, look for it in the others ({}), and set spec.dataCenter to the one that has it",
            service.console(),
            said.join(", ")
        ),
    )
}

/// Hosts of `/oauth/serverinfo`.
fn locations(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let urls = body["locations"].as_object().into_iter().flatten().filter_map(|(_, url)| url.as_str());
    urls.filter_map(|url| url::Url::parse(url).ok()?.host_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_the_list_are_hosts() {
        let body = br#"{"result":"success","locations":{"us":"https://accounts.zoho.com","eu":"https://accounts.zoho.eu","x":7}}"#;
        let mut found = locations(body);
        found.sort();
        assert_eq!(found, ["accounts.zoho.com", "accounts.zoho.eu"]);
        assert_eq!(locations(b"<html>"), Vec::<String>::new());
    }
}
