//! From accounts servers to data centers and back. Pure.

use url::Url;

use zoho_api::{DataCenter, ZohoCredentialSpec};
use zoho_core::issuer::data_centers;
use zoho_core::policy::Policy;

/// A spec that names nothing but the issuer.
pub(crate) fn spec(data_center: DataCenter, accounts_host: Option<&str>) -> ZohoCredentialSpec {
    let mut spec: ZohoCredentialSpec =
        serde_json::from_value(serde_json::json!({ "secretRef": { "name": "" } })).expect("the least that a spec has");
    spec.data_center = Some(data_center);
    spec.accounts_host = accounts_host.map(str::to_owned);
    spec
}

/// The data center of an accounts server, and its host where it is not the usual one. `None` where it is not listed.
pub(crate) fn of_server(server: &Url, policy: &Policy) -> Option<(DataCenter, Option<String>)> {
    let overridden = |data_center: &&DataCenter| {
        policy.accounts_url(**data_center).is_some_and(|known| known.origin() == server.origin())
    };
    if let Some(data_center) = DataCenter::ALL.iter().find(overridden) {
        return Some((*data_center, None));
    }
    let host = server.host_str()?;
    if server.scheme() != "https" || server.port().is_some() || !server.username().is_empty() {
        return None;
    }
    if let Some(row) = data_centers::TABLE.iter().find(|row| row.accounts.contains(&host)) {
        let alias = (row.accounts[0] != host).then(|| host.to_owned());
        return Some((row.data_center, alias));
    }
    policy.allows_accounts_host(host).then(|| (DataCenter::Other, Some(host.to_owned())))
}
