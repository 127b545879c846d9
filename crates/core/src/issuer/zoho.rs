//! Zoho's OAuth token service: which one a spec names, and by which grant it is asked. Pure.

use url::Url;

use super::client_credentials::Asked;
use super::data_centers;
use crate::plan::Defect;
use crate::policy::Policy;
use zoho_api::{DataCenter, Grant, Reason, ZohoCredentialSpec};

/// Where a token is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenService {
    /// The data center that the spec names.
    pub data_center: DataCenter,
    /// Full URL of the token endpoint.
    pub token_url: Url,
    /// How.
    pub grant_type: GrantType,
}

/// How a token is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantType {
    /// By the refresh token in the source.
    RefreshToken,
    /// By the client alone.
    ClientCredentials(Asked),
}

impl TokenService {
    /// The token service that a spec names.
    ///
    /// # Errors
    ///
    /// `AccountsHostNotAllowed` when the host is not on the operator's list, or belongs to a data center that is not: secrets
    /// are sent to listed hosts only. A host that the operator lists belongs to the data center that the spec names.
    pub fn of(spec: &ZohoCredentialSpec, policy: &Policy) -> Result<Self, Defect> {
        let data_center = spec.data_center.unwrap_or(DataCenter::Other);
        let of_host = spec.accounts_host.as_ref().filter(|host| !policy.allows_accounts_host(host));
        let of_host = of_host.and_then(|host| data_centers::of_accounts_host(host));
        if let Some(other) =
            [Some(data_center), of_host].into_iter().flatten().find(|dc| !policy.allows_data_center(*dc))
        {
            return Err(not_allowed(other, policy));
        }
        let grant_type = match spec.grant() {
            Grant::RefreshToken => GrantType::RefreshToken,
            Grant::ClientCredentials => GrantType::ClientCredentials(Asked::of(spec)),
        };
        let service = |token_url| Ok(Self { data_center, token_url, grant_type });
        match &spec.accounts_host {
            Some(host) if data_centers::is_known_accounts_host(host) || policy.allows_accounts_host(host) => {
                service(endpoint(&https(host)))
            }
            Some(host) => Err(Defect {
                reason: Reason::AccountsHostNotAllowed,
                message: format!(
                    "spec.accountsHost {host} is not on the operator's list. Correct it, or have the administrator add it with --accounts-host {host}."
                ),
                again_at: None,
            }),
            None => match Self::usual_url(data_center, policy) {
                Some(url) => service(url),
                None => Err(Defect {
                    reason: Reason::InvalidSpec,
                    message: "spec.dataCenter Other needs spec.accountsHost.".into(),
                    again_at: None,
                }),
            },
        }
    }

    /// The token endpoint of a data center where no spec names another host; none for `Other`.
    pub fn usual_url(data_center: DataCenter, policy: &Policy) -> Option<Url> {
        let known = || data_centers::row(data_center).map(|row| https(row.accounts[0]));
        policy.accounts_url(data_center).cloned().or_else(known).map(|base| endpoint(&base))
    }

    /// The grant, as specs name it.
    pub fn grant(&self) -> Grant {
        match self.grant_type {
            GrantType::RefreshToken => Grant::RefreshToken,
            GrantType::ClientCredentials(_) => Grant::ClientCredentials,
        }
    }

    /// Host of the console in which clients and refresh tokens of this data center are made.
    pub fn console(&self) -> String {
        let usual = data_centers::row(self.data_center).map(|row| row.accounts[0]);
        let host = usual.or(self.token_url.host_str()).unwrap_or_default();
        format!("https://{}", host.replacen("accounts.", "api-console.", 1))
    }
}

fn not_allowed(data_center: DataCenter, policy: &Policy) -> Defect {
    let allowed: Vec<String> = policy.data_centers.iter().map(ToString::to_string).collect();
    Defect {
        reason: Reason::AccountsHostNotAllowed,
        message: format!(
            "Data center {data_center} is not allowed here; allowed: {}. The operator's administrator decides that (--data-centers). If the account is in one of these, correct spec.dataCenter and spec.accountsHost.",
            allowed.join(", ")
        ),
        again_at: None,
    }
}

fn https(host: &str) -> Url {
    let mut url = Url::parse("https://accounts.zoho.com").expect("a constant URL");
    // A host that is none leaves the URL as it is only if it is empty or malformed; the schema's pattern and the list
    // have both passed it by now.
    if url.set_host(Some(host)).is_err() {
        url.set_path("/not-a-host");
    }
    url
}

fn endpoint(base: &Url) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/oauth/v2/token", base.path().trim_end_matches('/')));
    url
}

/// The product's base URL: `spec.apiUrl`, else the operator's `--api-url`, else its host in the data center; `None` without a product.
///
/// # Errors
///
/// `InvalidSpec` when the product has no host in that data center.
pub fn api_url(spec: &ZohoCredentialSpec, policy: &Policy) -> Result<Option<String>, Defect> {
    if let Some(url) = &spec.api_url {
        return Ok(Some(url.trim_end_matches('/').to_owned()));
    }
    let (Some(product), Some(data_center)) = (spec.product, spec.data_center) else { return Ok(None) };
    if let Some(url) = policy.api_url(product, data_center) {
        return Ok(Some(url.as_str().trim_end_matches('/').to_owned()));
    }
    match product.host(data_center) {
        Some(host) => Ok(Some(format!("https://{host}"))),
        None => Err(Defect {
            reason: Reason::InvalidSpec,
            message: format!(
                "No host of {product} is known in data center {data_center}: set spec.apiUrl to its base URL, or leave out spec.product."
            ),
            again_at: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(fields: &Value) -> ZohoCredentialSpec {
        let mut spec = json!({ "secretRef": { "name": "s" } });
        for (name, value) in fields.as_object().unwrap() {
            spec[name] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn token_service_is_the_listed_one() {
        let gateway = Policy {
            accounts_urls: vec![(DataCenter::US, url("http://127.0.0.1:9/base/"))],
            accounts_hosts: vec!["accounts.corp.example".into()],
            ..Policy::default()
        };
        let table = [
            (json!({ "dataCenter": "EU" }), Ok("https://accounts.zoho.eu/oauth/v2/token")),
            (
                json!({ "dataCenter": "CA", "accountsHost": "accounts.zohoone.ca" }),
                Ok("https://accounts.zohoone.ca/oauth/v2/token"),
            ),
            (json!({ "dataCenter": "US" }), Ok("http://127.0.0.1:9/base/oauth/v2/token")),
            (
                json!({ "dataCenter": "Other", "accountsHost": "accounts.corp.example" }),
                Ok("https://accounts.corp.example/oauth/v2/token"),
            ),
            (json!({ "dataCenter": "Other", "accountsHost": "evil.example" }), Err(Reason::AccountsHostNotAllowed)),
            (json!({ "dataCenter": "Other" }), Err(Reason::InvalidSpec)),
        ];
        for (fields, expected) in table {
            let service = TokenService::of(&spec(&fields), &gateway);
            let got = service.as_ref().map(|service| service.token_url.as_str()).map_err(|defect| defect.reason);
            assert_eq!(got, expected, "{fields}");
        }
    }

    #[test]
    fn only_allowed_data_centers_are_asked() {
        let europe = Policy {
            data_centers: vec![DataCenter::EU, DataCenter::AU],
            accounts_hosts: vec!["accounts.corp.example".into(), "accounts.zoho.in".into()],
            ..Policy::default()
        };
        let table = [
            (json!({ "dataCenter": "EU" }), Ok("https://accounts.zoho.eu/oauth/v2/token")),
            (json!({ "dataCenter": "US" }), Err("Data center US is not allowed here; allowed: EU, AU. ")),
            (json!({ "dataCenter": "US", "accountsHost": "accounts.zoho.eu" }), Err("Data center US ")),
            // The host of another data center is in that one, whatever the spec calls it.
            (json!({ "dataCenter": "EU", "accountsHost": "accounts.zoho.com" }), Err("Data center US ")),
            (
                json!({ "dataCenter": "EU", "accountsHost": "accounts.zoho.com.au" }),
                Ok("https://accounts.zoho.com.au/oauth/v2/token"),
            ),
            // Listed by the administrator: in the data center that the spec names.
            (
                json!({ "dataCenter": "EU", "accountsHost": "accounts.corp.example" }),
                Ok("https://accounts.corp.example/oauth/v2/token"),
            ),
            (
                json!({ "dataCenter": "EU", "accountsHost": "accounts.zoho.in" }),
                Ok("https://accounts.zoho.in/oauth/v2/token"),
            ),
            (json!({ "dataCenter": "Other", "accountsHost": "accounts.corp.example" }), Err("Data center Other ")),
            (json!({ "dataCenter": "EU", "accountsHost": "evil.example" }), Err("spec.accountsHost evil.example ")),
        ];
        for (fields, expected) in table {
            match (TokenService::of(&spec(&fields), &europe), expected) {
                (Ok(service), Ok(url)) => assert_eq!(service.token_url.as_str(), url, "{fields}"),
                (Err(defect), Err(text)) => {
                    assert_eq!(defect.reason, Reason::AccountsHostNotAllowed, "{fields}");
                    assert!(defect.message.starts_with(text), "{fields}: {}", defect.message);
                }
                (got, _) => panic!("{fields}: {got:?}"),
            }
        }
        let denied = TokenService::of(&spec(&json!({ "dataCenter": "US" })), &europe).unwrap_err();
        assert!(denied.message.contains("administrator") && denied.message.contains("--data-centers"));
        let other = Policy { data_centers: vec![DataCenter::Other], ..europe };
        let own = spec(&json!({ "dataCenter": "Other", "accountsHost": "accounts.corp.example" }));
        assert!(TokenService::of(&own, &other).is_ok());
    }

    #[test]
    fn console_belongs_to_the_data_center() {
        let service = TokenService::of(&spec(&json!({ "dataCenter": "EU" })), &Policy::default()).unwrap();
        assert_eq!(service.console(), "https://api-console.zoho.eu");
    }

    #[test]
    fn product_gives_its_host_in_the_data_center() {
        let pmp = json!({ "dataCenter": "EU", "product": "PatchManagerPlus" });
        assert_eq!(api_url(&spec(&pmp), &Policy::default()), Ok(Some("https://patch.manageengine.eu".into())));
        let own =
            json!({ "dataCenter": "EU", "product": "ServiceDeskPlus", "apiUrl": "https://desk.corp.example/app/it/" });
        assert_eq!(api_url(&spec(&own), &Policy::default()), Ok(Some("https://desk.corp.example/app/it".into())));
        for (product, data_center) in [
            ("PatchManagerPlus", "SG"),
            ("ZohoBooks", "UK"),
            ("ZohoPayments", "EU"),
            ("RemoteAccessPlus", "US"),
            ("ZohoCRM", "Other"),
        ] {
            let nowhere = spec(&json!({ "dataCenter": data_center, "product": product }));
            let none = api_url(&nowhere, &Policy::default()).unwrap_err();
            assert_eq!(none.reason, Reason::InvalidSpec);
            assert!(none.message.contains("spec.apiUrl") && none.message.contains(product), "{}", none.message);
            let own =
                spec(&json!({ "dataCenter": data_center, "product": product, "apiUrl": "https://rap.corp.example" }));
            assert_eq!(api_url(&own, &Policy::default()), Ok(Some("https://rap.corp.example".into())));
        }
    }
}
