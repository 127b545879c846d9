//! The request that shows a token to a product. Pure; what the answers mean is in [`super::answer`].

use url::Url;

use super::{Issuer, Terms};
use crate::plan::Defect;
use crate::policy::Policy;
use zoho_api::products::{self, Probe, Says};
use zoho_api::{Product, Reason, ZohoCredentialSpec};

/// A cheap GET that a product answers to whoever has a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who is asked, for messages.
    pub product: String,
    /// Where.
    pub url: Url,
    /// Header `Accept`, where the product wants a special one.
    pub accept: Option<&'static str>,
    /// What stands before the token in the `Authorization` header.
    pub scheme: &'static str,
    /// What a token needs so that the answer can be yes.
    pub needs: String,
    /// What error codes of this product mean.
    pub codes: &'static [(&'static str, Says)],
    /// What a status means where there is no such code.
    pub statuses: &'static [(u16, Says)],
}

impl Question {
    /// What is asked, in one line: answers to different ones say nothing of each other.
    pub fn asked(&self) -> String {
        format!("GET {}", self.url)
    }
}

/// The question for what a spec names.
///
/// # Errors
///
/// `InvalidSpec` when the token would go to a host that is not on the operator's list, when a path would lead elsewhere,
/// or when none is known: the product is not asked then, but everything else is served.
pub fn question(
    spec: &ZohoCredentialSpec,
    issuer: &Issuer,
    terms: &Terms,
    api_url: Option<&str>,
    policy: &Policy,
) -> Result<Question, Defect> {
    let base = api_url
        .ok_or_else(|| invalid("spec.verify needs spec.product, or spec.apiUrl and spec.verify.path.".into()))?;
    let base: Url = base.parse().map_err(|_| invalid("spec.apiUrl is not a URL.".into()))?;
    if spec.api_url.is_some() && !is_allowed(&base, policy) {
        let host = base.host_str().unwrap_or_default();
        let host = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        return Err(invalid(format!(
            "The token is not sent to {host} of spec.apiUrl, which is not on the operator's list: have the administrator add it with --api-host {host}, or leave out spec.verify."
        )));
    }
    let known = spec.product.and_then(|product| product.facts().probe.as_ref());
    let own_path = spec.verify.as_ref().and_then(|verify| verify.path.as_deref());
    let (path, query) = match (issuer, known, own_path) {
        (_, _, Some(path)) => (path.to_owned(), None),
        (Issuer::Server(server), _, None) => (format!("{}/som/summary", server.api_path()), None),
        (Issuer::Zoho(_), Some(probe), None) => (probe.path.to_owned(), probe.query),
        (Issuer::Zoho(_), None, None) => return Err(invalid(no_path(spec.product))),
    };
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(query);
    if url.origin() != base.origin() || !url.path().starts_with(base.path().trim_end_matches('/')) {
        return Err(invalid("spec.verify.path leads out of the product's API: choose another one.".into()));
    }
    Ok(Question {
        product: match (issuer, spec.product) {
            (Issuer::Server(_), _) => terms.service.clone(),
            (Issuer::Zoho(_), Some(product)) => product.to_string(),
            (Issuer::Zoho(_), None) => format!("The API at {}", url.host_str().unwrap_or_default()),
        },
        url,
        accept: known.and_then(|probe| probe.accept),
        scheme: terms.scheme,
        needs: match issuer {
            Issuer::Server(_) => "a role of its account that may read this".into(),
            Issuer::Zoho(_) => needs(known.filter(|_| own_path.is_none())),
        },
        codes: known.map_or(&[], |probe| probe.codes),
        statuses: known.map_or(&[], |probe| probe.statuses),
    })
}

fn no_path(product: Option<Product>) -> String {
    match product {
        Some(product) => format!(
            "No GET is known that {product} answers for every token: set spec.verify.path to a cheap one that the token's scopes allow, or leave out spec.verify."
        ),
        None => "spec.verify without spec.product needs spec.verify.path: set it to a cheap GET of the API.".into(),
    }
}

/// In words. `known`: what is asked, where that is not the user's own choice.
fn needs(known: Option<&Probe>) -> String {
    match known.map_or(&[][..], |probe| probe.scopes) {
        [] => "a scope that allows this GET".into(),
        [scope] => format!("the scope {scope}"),
        scopes => format!("the scopes {}", scopes.join(",")),
    }
}

fn is_allowed(base: &Url, policy: &Policy) -> bool {
    let host = base.host_str().unwrap_or_default();
    let is_plain = base.username().is_empty() && base.password().is_none() && base.query().is_none();
    let is_known = base.port().is_none() && products::is_known_host(host);
    base.scheme() == "https" && is_plain && (is_known || policy.allows_api_host(host, base.port()))
}

fn invalid(message: String) -> Defect {
    Defect { reason: Reason::InvalidSpec, message, again_at: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::issuer::zoho;

    fn policy() -> Policy {
        Policy {
            api_hosts: vec!["desk.corp.example".into(), "desk.corp.example:8443".into()],
            servers: vec![crate::policy::ListedServer {
                url: "https://ec.corp.example:8383".parse().unwrap(),
                namespaces: Vec::new(),
            }],
            ..Policy::default()
        }
    }

    fn asked(fields: &Value) -> Result<Question, Defect> {
        let mut spec = json!({ "dataCenter": "EU", "secretRef": { "name": "s" }, "verify": { "interval": "5m" } });
        for (name, value) in fields.as_object().unwrap() {
            spec[name] = value.clone();
        }
        let spec: ZohoCredentialSpec = serde_json::from_value(spec).unwrap();
        let issuer = Issuer::of(&spec, "ns", &policy()).unwrap();
        let terms = issuer.terms();
        let api_url = zoho::api_url(&spec, &policy()).unwrap().or_else(|| terms.api_url.clone());
        question(&spec, &issuer, &terms, api_url.as_deref(), &policy())
    }

    #[test]
    fn each_product_is_asked_what_its_documentation_says() {
        let table = [
            (json!({ "product": "PatchManagerPlus" }), "https://patch.manageengine.eu/api/1.4/patch/summary"),
            (json!({ "product": "EndpointCentral" }), "https://endpointcentral.manageengine.eu/api/1.4/som/summary"),
            (
                json!({ "product": "ServiceDeskPlus" }),
                "https://sdpondemand.manageengine.eu/api/v3/requests?input_data={%22list_info%22:{%22row_count%22:1}}",
            ),
            (
                json!({ "product": "ServiceDeskPlus", "apiUrl": "https://desk.corp.example:8443/app/it/" }),
                "https://desk.corp.example:8443/app/it/api/v3/requests?input_data={%22list_info%22:{%22row_count%22:1}}",
            ),
            (
                json!({ "product": "PatchManagerPlus", "verify": { "interval": "5m", "path": "/api/1.4/som/summary" } }),
                "https://patch.manageengine.eu/api/1.4/som/summary",
            ),
            (
                json!({ "dataCenter": null, "endpointCentralServer": { "url": "https://ec.corp.example:8383", "apiVersion": "1.3" } }),
                "https://ec.corp.example:8383/api/1.3/som/summary",
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(asked(&fields).unwrap().url.as_str(), expected, "{fields}");
        }
    }

    #[test]
    fn token_goes_to_listed_hosts_only() {
        for url in [
            "https://evil.example",
            "https://patch.manageengine.eu.evil.example",
            "https://patch.manageengine.eu@evil.example",
            "https://user@patch.manageengine.eu",
            "https://patch.manageengine.eu:8443",
            "https://desk.corp.example:8444",
            "https://desk.corp.example/?q",
        ] {
            let defect = asked(&json!({ "product": "PatchManagerPlus", "apiUrl": url })).unwrap_err();
            assert!(defect.message.contains("--api-host"), "{url}: {}", defect.message);
        }
        for url in ["https://patch.manageengine.com", "https://desk.corp.example/x", "https://DESK.corp.example:8443"] {
            assert!(asked(&json!({ "product": "PatchManagerPlus", "apiUrl": url })).is_ok(), "{url}");
        }
    }

    #[test]
    fn path_cannot_move_the_origin_also_where_the_schema_lets_it_pass() {
        for path in ["//evil.example/a", "/\\evil.example", "@evil.example/", "/../../x", "/a?b#c", ":443@evil.example"]
        {
            let verify = json!({ "interval": "5m", "path": path });
            let url = "https://desk.corp.example/app/it";
            let asked = asked(&json!({ "product": "ServiceDeskPlus", "apiUrl": url, "verify": verify }));
            if let Ok(question) = asked {
                let url = question.url.as_str();
                assert!(url.starts_with("https://desk.corp.example/app/it"), "{path}: {url}");
                assert_eq!(question.url.query(), None, "{path}: {url}");
            }
        }
    }

    #[test]
    fn every_known_probe_is_asked_at_its_products_host() {
        let mut asked_of = 0;
        for product in Product::ALL {
            let Some(data_center) = product.data_centers().first().copied() else { continue };
            let question = asked(&json!({ "product": product, "dataCenter": data_center }));
            let Some(probe) = &product.facts().probe else {
                assert!(question.unwrap_err().message.contains("spec.verify.path"), "{product}");
                continue;
            };
            let url = question.unwrap().url;
            assert_eq!(url.host_str().map(str::to_owned), product.host(data_center), "{product}");
            assert_eq!(url.path(), probe.path, "{product}");
            asked_of += 1;
        }
        assert!(asked_of >= 25, "{asked_of}");
    }

    #[test]
    fn what_is_no_product_is_asked_at_a_path_of_ones_own() {
        let url = "https://desk.corp.example/base";
        let path = json!({ "interval": "5m", "path": "/ping" });
        let question = asked(&json!({ "apiUrl": url, "verify": path })).unwrap();
        assert_eq!(question.url.as_str(), "https://desk.corp.example/base/ping");
        assert_eq!(question.product, "The API at desk.corp.example");
        assert_eq!(question.needs, "a scope that allows this GET");
        assert!(asked(&json!({ "apiUrl": url })).unwrap_err().message.contains("spec.verify.path"));
        let elsewhere = asked(&json!({ "apiUrl": "https://evil.example", "verify": path })).unwrap_err();
        assert!(elsewhere.message.contains("--api-host"), "{}", elsewhere.message);
    }

    #[test]
    fn missing_scope_is_named_where_it_is_known() {
        let table = [
            (json!({ "product": "ZohoCRM" }), "the scope ZohoCRM.org.READ"),
            (
                json!({ "product": "PatchManagerPlus" }),
                "the scopes PatchManagerPlusCloud.Common.READ,PatchManagerPlusCloud.PatchMgmt.READ",
            ),
            (json!({ "product": "Site24x7" }), "a scope that allows this GET"),
            (
                json!({ "product": "ZohoCRM", "verify": { "interval": "5m", "path": "/crm/v8/Leads" } }),
                "a scope that allows this GET",
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(asked(&fields).unwrap().needs, expected, "{fields}");
        }
    }
}
