//! The request that shows a token to a product, and what the product's answers mean. Pure.

use url::Url;

use super::body::{self, Object};
use super::data_centers;
use super::reply::is_something;
use super::{Issuer, Terms};
use crate::plan::Defect;
use crate::plan::verify::Answer;
use crate::policy::Policy;
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
    pub needs: &'static str,
    /// Does 403 mean that the token is good and its owner may not do this?
    forbidden_is_taken: bool,
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
/// `InvalidSpec` when the token would go to a host that is not on the operator's list, or a path would lead elsewhere:
/// the product is not asked then, but everything else is served.
pub fn question(
    spec: &ZohoCredentialSpec,
    issuer: &Issuer,
    terms: &Terms,
    api_url: Option<&str>,
    policy: &Policy,
) -> Result<Question, Defect> {
    let base = api_url.ok_or_else(|| invalid("spec.verify needs spec.product.".into()))?;
    let base: Url = base.parse().map_err(|_| invalid("spec.apiUrl is no URL.".into()))?;
    if spec.api_url.is_some() && !is_allowed(&base, policy) {
        let host = base.host_str().unwrap_or_default();
        let host = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        return Err(invalid(format!(
            "The token is not sent to {host} of spec.apiUrl, which is not on the operator's list: have the operator started with --api-host {host}, or leave out spec.verify."
        )));
    }
    let own_path = spec.verify.as_ref().and_then(|verify| verify.path.as_deref());
    let (path, query) = match (issuer, spec.product, own_path) {
        (_, _, Some(path)) => (path.to_owned(), None),
        (Issuer::Server(server), _, None) => (format!("{}/som/summary", server.api_path()), None),
        (Issuer::Zoho(_), Some(Product::PatchManagerPlus), None) => ("/api/1.4/patch/summary".into(), None),
        (Issuer::Zoho(_), Some(Product::ServiceDeskPlus), None) => {
            ("/api/v3/requests".into(), Some(r#"input_data={"list_info":{"row_count":1}}"#))
        }
        (Issuer::Zoho(_), Some(Product::EndpointCentral) | None, None) => ("/api/1.4/som/summary".into(), None),
    };
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(query);
    if url.origin() != base.origin() || !url.path().starts_with(base.path().trim_end_matches('/')) {
        return Err(invalid("spec.verify.path leads out of the product's API: choose another one.".into()));
    }
    let is_service_desk = spec.product == Some(Product::ServiceDeskPlus);
    Ok(Question {
        product: match issuer {
            Issuer::Zoho(_) => spec.product.map(|product| product.to_string()).unwrap_or_default(),
            Issuer::Server(_) => terms.service.clone(),
        },
        url,
        accept: is_service_desk.then_some("application/vnd.manageengine.sdp.v3+json"),
        scheme: terms.scheme,
        needs: needs(issuer, spec.product),
        forbidden_is_taken: is_service_desk,
    })
}

fn needs(issuer: &Issuer, product: Option<Product>) -> &'static str {
    match (issuer, product) {
        (Issuer::Server(_), _) => "a role of its account that may read this",
        (Issuer::Zoho(_), Some(Product::PatchManagerPlus)) => {
            "the scopes PatchManagerPlusCloud.Common.READ,PatchManagerPlusCloud.PatchMgmt.READ"
        }
        (Issuer::Zoho(_), Some(Product::ServiceDeskPlus)) => "the scope SDPOnDemand.requests.READ",
        (Issuer::Zoho(_), Some(Product::EndpointCentral) | None) => {
            "the scopes DesktopCentralCloud.Common.READ,DesktopCentralCloud.SOM.READ"
        }
    }
}

fn is_allowed(base: &Url, policy: &Policy) -> bool {
    let host = base.host_str().unwrap_or_default();
    let is_plain = base.username().is_empty() && base.password().is_none() && base.query().is_none();
    let is_known = base.port().is_none() && data_centers::is_known_product_host(host);
    base.scheme() == "https" && is_plain && (is_known || policy.allows_api_host(host, base.port()))
}

fn invalid(message: String) -> Defect {
    Defect { reason: Reason::InvalidSpec, message, again_at: None }
}

/// What an answer says of the token. Total. `body` is empty where it was too large to be read.
///
/// A refusal is no proof that the token is dead: a missing scope looks the same.
pub fn classify(question: &Question, status: u16, body: &[u8]) -> Answer {
    let text = body::text(body);
    let body = Object::parse(&text);
    let says_error = body.as_ref().is_some_and(|body| {
        body.string("status").is_some_and(|word| word.trim().eq_ignore_ascii_case("error"))
            && body.values("error_code").any(is_something)
    });
    match status {
        401 => Answer::Refused,
        403 if question.forbidden_is_taken => Answer::Taken,
        // This code base reports errors with status 200 too.
        200..=299 if says_error => Answer::Refused,
        200..=299 if body.is_some() => Answer::Taken,
        200..=299 => Answer::Nothing(Reason::UpstreamReplyInvalid),
        300..=399 => Answer::Nothing(Reason::UpstreamRedirect),
        429 | 500.. => Answer::Nothing(Reason::UpstreamUnavailable),
        _ => Answer::Nothing(Reason::UpstreamError),
    }
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
    fn every_answer_has_its_meaning() {
        let patch = asked(&json!({ "product": "PatchManagerPlus" })).unwrap();
        let desk = asked(&json!({ "product": "ServiceDeskPlus" })).unwrap();
        let table = [
            (&patch, 200, r#"{"status":"success"}"#, Answer::Taken),
            (&patch, 200, r#"{"status":"error","error_code":"10002"}"#, Answer::Refused),
            (&patch, 200, "\u{feff}{\"status\":\"error\",\"error_code\":\"10002\"}", Answer::Refused),
            (&patch, 200, "\u{feff}{\"status\":\"success\"}", Answer::Taken),
            (&patch, 401, "", Answer::Refused),
            (&patch, 403, "{}", Answer::Nothing(Reason::UpstreamError)),
            (&desk, 403, r#"{"response_status":{"status_code":4002}}"#, Answer::Taken),
            (&desk, 401, "{}", Answer::Refused),
            (&patch, 200, "<html>", Answer::Nothing(Reason::UpstreamReplyInvalid)),
            (&patch, 200, "", Answer::Nothing(Reason::UpstreamReplyInvalid)),
            (&patch, 302, "", Answer::Nothing(Reason::UpstreamRedirect)),
            (&patch, 404, "{}", Answer::Nothing(Reason::UpstreamError)),
            (&patch, 429, "{}", Answer::Nothing(Reason::UpstreamUnavailable)),
            (&patch, 503, "", Answer::Nothing(Reason::UpstreamUnavailable)),
        ];
        for (question, status, body, expected) in table {
            assert_eq!(classify(question, status, body.as_bytes()), expected, "{status} {body}");
        }
    }
}
