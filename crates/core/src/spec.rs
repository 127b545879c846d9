//! The rules of the CRD, checked again in code: an older or edited CRD may let pass what this version cannot serve. Pure.

use std::time::Duration;

use crate::issuer::probe::{self, Question};
use crate::issuer::zoho;
use crate::issuer::{Issuer, Terms};
use crate::plan::Defect;
use crate::plan::renewal::Renewal;
use crate::policy::Policy;
use crate::secret::Form;
use crate::template;
use zoho_api::{Reason, ZohoCredential, ZohoCredentialSpec};

/// Default of `spec.renewBefore`.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 60);
/// Shortest `spec.verify.interval`.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(60);
/// Longest name of a Secret.
const LONGEST_NAME: usize = 253;

/// What a spec that can be served asks for.
#[derive(Clone, Debug)]
pub struct Served {
    /// Where tokens are asked for.
    pub issuer: Issuer,
    /// What follows from that.
    pub terms: Terms,
    /// The product's base URL.
    pub api_url: Option<String>,
    /// When a token is due for renewal.
    pub renewal: Renewal,
    /// How often to ask the product whether it takes the token, and how; or why not.
    pub verify: Option<(Duration, Result<Question, Defect>)>,
}

impl Served {
    /// How a token is presented to workloads.
    pub fn form(&self) -> Form<'_> {
        let Terms { scheme, names_expiry, .. } = self.terms;
        Form { scheme, has_expiry: names_expiry, api_url: self.api_url.as_deref() }
    }
}

/// Checks a spec.
///
/// # Errors
///
/// `InvalidSpec`, `AccountsHostNotAllowed`, `ServerNotAllowed`, `TemplateFailed` or `TargetTooLarge`, with a sentence that names the field.
pub fn check(credential: &ZohoCredential, policy: &Policy) -> Result<Served, Defect> {
    let spec = &credential.spec;
    foreign_fields(spec)?;
    if credential.metadata.namespace.as_deref() == Some(policy.operator_namespace.as_str()) {
        return Err(invalid(
            "A ZohoCredential in the operator's own namespace is not served: its Secrets would stand beside the operator's. Create it in the namespace of its workloads.",
        ));
    }
    let target = credential.target_name();
    if target.len() > LONGEST_NAME {
        return Err(invalid("The target's name is longer than 253 characters: set spec.target.name."));
    }
    if target == spec.secret_ref.name {
        return Err(invalid(&format!(
            "The target {target} is the source itself: set spec.target.name to another name than spec.secretRef.name."
        )));
    }
    let renew_before = spec.renew_before.map_or(RENEW_BEFORE, |span| span.0);
    if !(Duration::from_secs(300)..=RENEW_BEFORE).contains(&renew_before) {
        return Err(invalid("spec.renewBefore must be from 5m to 30m."));
    }
    if let Some(target) = &spec.target {
        for (field, map) in [("labels", &target.labels), ("annotations", &target.annotations)] {
            if let Some(key) = map.keys().find(|key| is_reserved(key)) {
                return Err(invalid(&format!("spec.target.{field} uses the reserved key {key}: choose another one.")));
            }
        }
    }
    if let Some(verify) = &spec.verify {
        let is_own = spec.api_url.is_some() && verify.path.is_some();
        if spec.product.is_none() && spec.endpoint_central_server.is_none() && !is_own {
            return Err(invalid("spec.verify needs spec.product, or spec.apiUrl and spec.verify.path."));
        }
        if verify.interval.0 < SHORTEST_INTERVAL {
            return Err(invalid("spec.verify.interval must be at least 1m."));
        }
    }
    let issuer = Issuer::of(spec, credential.metadata.namespace.as_deref().unwrap_or_default(), policy)?;
    let terms = issuer.terms();
    let api_url = zoho::api_url(spec, policy)?.or_else(|| terms.api_url.clone());
    if let Some(target) = &spec.target {
        template::check(target, api_url.as_deref())?;
    }
    let renewal = terms.renew_every.map_or(Renewal::BeforeExpiry(renew_before), Renewal::AfterIssue);
    let question = || probe::question(spec, &issuer, &terms, api_url.as_deref(), policy);
    let verify = spec.verify.as_ref().map(|verify| (verify.interval.0, question()));
    Ok(Served { issuer, terms, api_url, renewal, verify })
}

/// Fields that go with the other issuer only.
fn foreign_fields(spec: &ZohoCredentialSpec) -> Result<(), Defect> {
    let source = &spec.secret_ref;
    let of_servers = source.username_key.is_some()
        || source.password_key.is_some()
        || source.totp_secret_key.is_some()
        || spec.renew_every.is_some();
    let of_data_centers = source.client_id_key.is_some()
        || source.client_secret_key.is_some()
        || source.refresh_token_key.is_some()
        || source.redirect_uri_key.is_some()
        || spec.renew_before.is_some();
    if spec.data_center.is_some() && of_servers {
        return Err(invalid(
            "usernameKey, passwordKey, totpSecretKey and renewEvery go with spec.endpointCentralServer only.",
        ));
    }
    if spec.endpoint_central_server.is_some() && of_data_centers {
        return Err(invalid(
            "clientIdKey, clientSecretKey, refreshTokenKey, redirectUriKey and renewBefore go with spec.dataCenter only.",
        ));
    }
    Ok(())
}

fn invalid(message: &str) -> Defect {
    Defect { reason: Reason::InvalidSpec, message: message.into(), again_at: None }
}

/// Keys that belong to Kubernetes, to its tools, or to us.
fn is_reserved(key: &str) -> bool {
    let Some((prefix, name)) = key.split_once('/') else { return key == "owner" };
    match prefix {
        "helm.sh" | "argocd.argoproj.io" | "zoho-operator.dev" => true,
        "app.kubernetes.io" => matches!(name, "managed-by" | "instance"),
        _ => ["kubernetes.io", "k8s.io"]
            .iter()
            .any(|domain| prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problem(namespace: &str, edit: &Value) -> Option<String> {
        let mut object = json!({
            "metadata": { "name": "c", "namespace": namespace },
            "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } },
        });
        for (path, value) in edit.as_object().unwrap() {
            let (parent, field) = path.rsplit_once('/').unwrap();
            if object.pointer(parent).is_none() {
                object["spec"][parent.rsplit_once('/').unwrap().1] = json!({});
            }
            object.pointer_mut(parent).unwrap()[field] = value.clone();
        }
        let policy = Policy { operator_namespace: "operator".into(), ..Policy::default() };
        check(&serde_json::from_value(object).unwrap(), &policy).err().map(|defect| defect.message)
    }

    #[test]
    fn every_broken_rule_is_named() {
        let table = [
            (json!({ "/spec/dataCenter": null }), "exactly one"),
            (json!({ "/spec/endpointCentralServer": { "url": "https://ec" } }), "exactly one"),
            (
                json!({ "/spec/dataCenter": null, "/spec/endpointCentralServer": { "url": "https://ec" } }),
                "--endpoint-central-url",
            ),
            (
                json!({ "/spec/dataCenter": null, "/spec/endpointCentralServer": { "url": "https://ec" }, "/spec/renewBefore": "5m" }),
                "spec.dataCenter only",
            ),
            (json!({ "/spec/target/name": "source" }), "is the source itself"),
            (json!({ "/spec/renewBefore": "4m" }), "from 5m to 30m"),
            (json!({ "/spec/renewBefore": "31m" }), "from 5m to 30m"),
            (json!({ "/spec/renewEvery": "8h" }), "endpointCentralServer only"),
            (json!({ "/spec/secretRef/passwordKey": "p" }), "endpointCentralServer only"),
            (
                json!({ "/spec/target/labels": { "app.kubernetes.io/managed-by": "me" } }),
                "reserved key app.kubernetes.io/managed-by",
            ),
            (json!({ "/spec/target/annotations": { "x.k8s.io/a": "b" } }), "reserved key x.k8s.io/a"),
            (json!({ "/spec/target/annotations": { "kubectl.kubernetes.io/a": "b" } }), "reserved key"),
            (json!({ "/spec/target/data": { "k": "{{ acces_token }}" } }), "Template k of spec.target.data, line 1"),
            (json!({ "/spec/target/includeDefaultKeys": false }), "No key of the target holds the token"),
            (json!({ "/spec/verify": { "interval": "5m" } }), "needs spec.product"),
            (json!({ "/spec/verify": { "interval": "5m", "path": "/a" } }), "needs spec.product, or spec.apiUrl"),
            (json!({ "/spec/apiUrl": "https://a", "/spec/verify": { "interval": "5m" } }), "and spec.verify.path"),
            (json!({ "/spec/product": "PatchManagerPlus", "/spec/verify": { "interval": "30s" } }), "at least 1m"),
            (json!({ "/spec/accountsHost": "evil.example" }), "not on the operator's list"),
        ];
        for (edit, expected) in table {
            let message = problem("ns", &edit).unwrap_or_default();
            assert!(message.contains(expected), "{edit}: {message}");
        }
        assert!(problem("operator", &json!({})).unwrap().contains("operator's own namespace"));
    }

    #[test]
    fn allowed_specs_are_served() {
        for edit in [
            json!({}),
            json!({ "/spec/renewBefore": "5m" }),
            json!({ "/spec/target/labels": { "app.kubernetes.io/name": "x", "team": "a" } }),
            json!({ "/spec/target/annotations": { "reloader.stakater.com/ignore": "false" } }),
            json!({ "/spec/product": "PatchManagerPlus" }),
            json!({ "/spec/apiUrl": "https://a.example", "/spec/verify": { "interval": "5m", "path": "/a" } }),
            json!({ "/spec/target/data": { "k": "{{ access_token }}" }, "/spec/target/includeDefaultKeys": false }),
        ] {
            assert_eq!(problem("ns", &edit), None, "{edit}");
        }
    }
}
