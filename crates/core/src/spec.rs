//! The rules of the CRD, checked again in code: an older or edited CRD may let pass what this version cannot serve. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::issuer::probe::{self, Question};
use crate::issuer::zoho;
use crate::issuer::{Issuer, Terms};
use crate::plan::Defect;
use crate::plan::renewal::Renewal;
use crate::policy::Policy;
use crate::secret::Form;
use crate::template;
use zoho_api::{Grant, Reason, Target, ZohoCredential, ZohoCredentialSpec};

/// Default of `spec.renewBefore`.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 60);
/// Shortest `spec.verify.interval`.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(60);
/// Longest name of a Secret.
const LONGEST_NAME: usize = 253;
/// Keys and values that may be chosen for a target, in bytes: 32 labels, 32 annotations and 32 templates, each as long as it may
/// be in ASCII.
const LARGEST: usize = 288 * 1024;
/// Most of `spec.scopes`, and the longest.
const MOST_SCOPES: usize = 64;
const LONGEST_SCOPE: usize = 128;

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
    grant_fields(spec)?;
    if credential.metadata.namespace.as_deref() == Some(policy.operator_namespace.as_str()) {
        return Err(invalid(
            "A ZohoCredential in the operator's own namespace is not served: its Secrets would be next to the operator's. Create it in the namespace of its workloads.",
        ));
    }
    if is_oversized(spec) {
        return Err(invalid(OVERSIZED));
    }
    let target = credential.target_name();
    if target.len() > LONGEST_NAME {
        return Err(invalid("The target's name is longer than 253 characters: set spec.target.name."));
    }
    if target == spec.secret_ref.name {
        return Err(invalid(&format!(
            "The target {target} is the source itself: set spec.target.name to a name other than spec.secretRef.name."
        )));
    }
    let renew_before = spec.renew_before.map_or(RENEW_BEFORE, |span| span.0);
    if !(Duration::from_secs(300)..=RENEW_BEFORE).contains(&renew_before) {
        return Err(invalid("spec.renewBefore must be from 5m to 30m."));
    }
    if let Some(target) = &spec.target {
        metadata(target, policy)?;
    }
    if spec.api_url.as_deref().is_some_and(|url| !url.starts_with("https://")) {
        return Err(invalid("spec.apiUrl must begin with https://: workloads send the token there."));
    }
    if let Some(flaw) = spec.api_url.as_deref().and_then(|url| path_flaw(after_scheme(url))) {
        return Err(invalid(&format!("spec.apiUrl {flaw}.")));
    }
    if let Some(verify) = &spec.verify {
        if let Some(flaw) = verify.path.as_deref().and_then(path_flaw) {
            return Err(invalid(&format!("spec.verify.path {flaw}.")));
        }
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

/// What is wrong with a spec that [`is_oversized`].
pub const OVERSIZED: &str =
    "spec.target is too large: keys and values of labels, annotations and data may have 288 KiB together.";

/// Is more chosen for the target than 32 entries of each kind can have? It would only fill memory.
pub fn is_oversized(spec: &ZohoCredentialSpec) -> bool {
    let of = |map: &BTreeMap<String, String>| map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    spec.target.as_ref().is_some_and(|target| of(&target.labels) + of(&target.annotations) + of(&target.data) > LARGEST)
}

/// Labels and annotations that somebody chose for the target.
fn metadata(target: &Target, policy: &Policy) -> Result<(), Defect> {
    for (field, map) in [("labels", &target.labels), ("annotations", &target.annotations)] {
        if let Some(key) = map.keys().find(|key| is_reserved(key)) {
            return Err(invalid(&format!("spec.target.{field} uses the reserved key {key}: choose another one.")));
        }
        if let Some(key) = map.keys().find(|key| !policy.allow_replication && is_for_replication(key)) {
            return Err(invalid(&format!(
                "spec.target.{field} uses {key}, which makes another controller copy the token into other namespaces with its own rights. Leave it out; only the operator's administrator can allow it (--allow-replication)."
            )));
        }
    }
    Ok(())
}

/// Keys by which controllers that copy Secrets into other namespaces are told to do so: those of Reflector, of Mittwald's
/// replicator, of Config Syncer (once kubed), and what others call alike.
fn is_for_replication(key: &str) -> bool {
    let Some((prefix, name)) = key.split_once('/') else { return false };
    let domains = ["emberstack.com", "mittwald.de", "kubed.appscode.com", "config-syncer.appscode.com"];
    let is_of_one = domains.iter().any(|domain| is_below(prefix, domain));
    is_of_one || name == "sync" || name.starts_with("replicate-") || name.starts_with("reflection-")
}

/// Is it this domain, or one below it?
fn is_below(prefix: &str, domain: &str) -> bool {
    prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What is wrong with the path of a URL, or with all that comes after `https://`, to be put after the field's name: whatever
/// a server on the way could read as another path than the one that was looked at.
fn path_flaw(path: &str) -> Option<&'static str> {
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("must be of printable ASCII characters without spaces");
    }
    if path.contains('\\') || path.contains("..") || path.contains("//") {
        return Some(r"must not contain \, .. or //");
    }
    path.split('%').skip(1).find_map(|rest| match rest.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("2e" | "2f" | "5c") => Some(r"must not contain an encoded ., / or \ (%2E, %2F, %5C)"),
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => None,
        Some(_) | None => Some("must have two hexadecimal digits after each %"),
    })
}

fn after_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
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
            "usernameKey, passwordKey, totpSecretKey and renewEvery are allowed only with spec.endpointCentralServer.",
        ));
    }
    if spec.endpoint_central_server.is_some() && of_data_centers {
        return Err(invalid(
            "clientIdKey, clientSecretKey, refreshTokenKey, redirectUriKey and renewBefore are allowed only with spec.dataCenter.",
        ));
    }
    Ok(())
}

/// Fields that go with one grant only, and what that grant is sent with.
fn grant_fields(spec: &ZohoCredentialSpec) -> Result<(), Defect> {
    if spec.endpoint_central_server.is_some()
        && (spec.grant.is_some() || !spec.scopes.is_empty() || spec.soid.is_some())
    {
        return Err(invalid("grant, scopes and soid are allowed only with spec.dataCenter."));
    }
    if spec.scopes.len() > MOST_SCOPES || !spec.scopes.iter().all(|scope| is_scope(scope)) {
        return Err(invalid(
            "spec.scopes is a list of at most 64 scopes such as ZohoCRM.modules.READ, of letters, digits, '_', '-' and dots.",
        ));
    }
    match spec.grant() {
        Grant::RefreshToken if spec.soid.is_some() => {
            Err(invalid("spec.soid is allowed only with grant ClientCredentials."))
        }
        Grant::ClientCredentials if spec.scopes.is_empty() => {
            Err(invalid("spec.grant ClientCredentials needs spec.scopes: they are sent with every request."))
        }
        Grant::ClientCredentials
            if spec.secret_ref.refresh_token_key.is_some() || spec.secret_ref.redirect_uri_key.is_some() =>
        {
            Err(invalid("refreshTokenKey and redirectUriKey are allowed only with grant RefreshToken."))
        }
        Grant::ClientCredentials if !spec.soid.as_deref().is_none_or(is_soid) => Err(invalid(
            "spec.soid is the first word of the scopes, a dot, and the organisation's id: ZohoCRM.7000001.",
        )),
        Grant::RefreshToken | Grant::ClientCredentials => Ok(()),
    }
}

/// Is it a scope as Zoho writes it, `Service.module.OPERATION`?
pub fn is_scope(text: &str) -> bool {
    text.len() <= LONGEST_SCOPE && (2..=4).contains(&text.split('.').count()) && text.split('.').all(is_word)
}

/// Is it an organisation as Zoho names it, `Service.id`?
pub fn is_soid(text: &str) -> bool {
    text.len() <= LONGEST_SCOPE && text.split('.').count() == 2 && text.split('.').all(is_word)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
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
        _ => ["kubernetes.io", "k8s.io"].iter().any(|domain| is_below(prefix, domain)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
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
                "only with spec.dataCenter",
            ),
            (json!({ "/spec/target/name": "source" }), "is the source itself"),
            (json!({ "/spec/renewBefore": "4m" }), "from 5m to 30m"),
            (json!({ "/spec/renewBefore": "31m" }), "from 5m to 30m"),
            (json!({ "/spec/renewEvery": "8h" }), "only with spec.endpointCentralServer"),
            (json!({ "/spec/secretRef/passwordKey": "p" }), "only with spec.endpointCentralServer"),
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
            (json!({ "/spec/apiUrl": "https://a.example/%2e%2E/x" }), "spec.apiUrl must not contain an encoded"),
            (json!({ "/spec/apiUrl": "https://a.example//x" }), "spec.apiUrl must not contain \\, .. or //"),
            (json!({ "/spec/apiUrl": "https://a.example/%zz" }), "spec.apiUrl must have two hexadecimal digits"),
            (
                json!({ "/spec/product": "PatchManagerPlus", "/spec/verify": { "interval": "5m", "path": "/a/%2E./b" } }),
                "spec.verify.path must not contain an encoded",
            ),
            (
                json!({ "/spec/target/annotations": { "reflector.v1.k8s.emberstack.com/reflection-allowed": "true" } }),
                "spec.target.annotations uses reflector.v1.k8s.emberstack.com/reflection-allowed, which makes",
            ),
            (json!({ "/spec/scopes": ["READ"] }), "list of at most 64 scopes"),
            (json!({ "/spec/scopes": ["A.b.READ\n"] }), "list of at most 64 scopes"),
            (json!({ "/spec/scopes": vec!["A.b.READ"; 65] }), "list of at most 64 scopes"),
            (json!({ "/spec/soid": "A.7" }), "only with grant ClientCredentials"),
            (json!({ "/spec/grant": "ClientCredentials" }), "needs spec.scopes"),
            (
                json!({ "/spec/grant": "ClientCredentials", "/spec/scopes": ["A.b.READ"], "/spec/soid": "7" }),
                "first word of the scopes",
            ),
            (
                json!({ "/spec/grant": "ClientCredentials", "/spec/scopes": ["A.b.READ"], "/spec/secretRef/refreshTokenKey": "r" }),
                "only with grant RefreshToken",
            ),
            (
                json!({ "/spec/grant": "ClientCredentials", "/spec/scopes": ["A.b.READ"], "/spec/secretRef/redirectUriKey": "r" }),
                "only with grant RefreshToken",
            ),
            (
                json!({ "/spec/dataCenter": null, "/spec/endpointCentralServer": { "url": "https://ec" }, "/spec/scopes": ["A.b.READ"] }),
                "only with spec.dataCenter",
            ),
        ];
        for (edit, expected) in table {
            let message = problem("ns", &edit).unwrap_or_default();
            assert!(message.contains(expected), "{edit}: {message}");
        }
        assert!(problem("operator", &json!({})).unwrap().contains("operator's own namespace"));
    }

    #[test]
    fn marks_for_replication_are_the_administrators_to_allow() {
        let refused = [
            "reflector.v1.k8s.emberstack.com/reflection-auto-enabled",
            "replicator.v1.mittwald.de/replicate-to",
            "kubed.appscode.com/sync",
            "config.kubed.appscode.com/origin",
            "config-syncer.appscode.com/sync",
            "synator/sync",
            "tools.corp.example/replicate-to-namespaces",
        ];
        let allowed = [
            "team",
            "corp.example/team",
            "corp.example/sync-window",
            "notmittwald.de/a",
            "reloader.stakater.com/match",
        ];
        for field in ["labels", "annotations"] {
            let credential = |key: &str| -> ZohoCredential {
                serde_json::from_value(json!({
                    "metadata": { "name": "c", "namespace": "ns" },
                    "spec": { "dataCenter": "EU", "secretRef": { "name": "s" }, "target": { field: { key: "true" } } },
                }))
                .unwrap()
            };
            for key in refused {
                let defect = check(&credential(key), &Policy::default()).expect_err(key);
                assert_eq!(defect.reason, Reason::InvalidSpec);
                assert!(defect.message.contains("--allow-replication"), "{key}: {}", defect.message);
                let liberal = Policy { allow_replication: true, ..Policy::default() };
                assert!(check(&credential(key), &liberal).is_ok(), "{key}");
            }
            for key in allowed {
                assert!(check(&credential(key), &Policy::default()).is_ok(), "{key}");
            }
        }
    }

    #[test]
    fn path_that_could_be_read_as_another_one_has_a_flaw() {
        for flawed in [
            "/a/../b",
            "/a//b",
            "/a\\b",
            "/a/%2e%2e/b",
            "/a/%2E%2E/b",
            "/a/.%2e/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%2g",
            "/a b",
            "/a\tb",
            "/a\u{e9}",
            "/a%\u{e9}",
        ] {
            assert!(path_flaw(flawed).is_some(), "{flawed}");
        }
        for fine in ["/api/1.4/som/summary", "/api/a.b/c", "/a%20b", "/a%C3%A9", "/a?b=c&d", "/a/./b"] {
            assert_eq!(path_flaw(fine), None, "{fine}");
        }
    }

    /// Texts that are nearly paths which lead elsewhere.
    fn nearly_paths() -> impl Strategy<Value = String> {
        let parts = [
            "/",
            "//",
            ".",
            "..",
            "%2e",
            "%2f",
            "%5c",
            "%",
            "%2",
            "%25",
            "%00",
            "a",
            "api",
            "\\",
            "?",
            "#",
            "@",
            ":",
            ";",
            "\t",
            " ",
            "%20",
            "\u{e9}",
            "/%2e%2E%2f",
            "%2F%2e%2e",
            "/.%2e/",
            "/%2e./",
            "%5C%2e%2e%5C",
            "/../",
        ];
        let end = prop::collection::vec(prop::sample::select(parts.to_vec()), 0..8);
        end.prop_map(|parts| format!("/a{}", parts.concat()))
    }

    /// As a server may read it that decodes before it looks for dots.
    fn decoded(path: &str) -> String {
        without_percent(path)
            .split('/')
            .fold(Vec::new(), |mut parts, part| {
                match part {
                    ".." => drop(parts.pop()),
                    "." => {}
                    part => parts.push(part.to_owned()),
                }
                parts
            })
            .join("/")
    }

    fn without_percent(path: &str) -> String {
        let digits = |rest: &str| u8::from_str_radix(rest.get(..2)?, 16).ok();
        let mut parts = path.split('%');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| match digits(part) {
            Some(byte) => format!("{text}{}{}", byte as char, &part[2..]),
            None => format!("{text}%{part}"),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn url_that_is_asked_keeps_origin_and_path_of_the_products(path in nearly_paths(), base in nearly_paths()) {
            let base = format!("https://desk.corp.example{base}");
            let credential = json!({
                "metadata": { "name": "c", "namespace": "ns" },
                "spec": { "dataCenter": "EU", "secretRef": { "name": "s" }, "product": "ServiceDeskPlus", "apiUrl": base,
                    "verify": { "interval": "5m", "path": path } },
            });
            let policy = Policy { api_hosts: vec!["desk.corp.example".into()], ..Policy::default() };
            let Ok(served) = check(&serde_json::from_value(credential).unwrap(), &policy) else { return Ok(()) };
            let Some((_, Ok(question))) = served.verify else { return Ok(()) };
            let base: url::Url = base.parse().unwrap();
            prop_assert_eq!(question.url.origin(), base.origin());
            prop_assert_eq!(question.url.query(), None);
            let (asked, prefix) = (question.url.path(), base.path().trim_end_matches('/'));
            prop_assert!(asked.starts_with(&format!("{prefix}/")), "{asked}");
            // Also where some server decodes it first.
            prop_assert!(decoded(asked).starts_with(&decoded(prefix)), "{asked}");
        }
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
            json!({ "/spec/grant": "RefreshToken", "/spec/scopes": ["ZohoCRM.modules.leads.READ"] }),
            json!({ "/spec/grant": "ClientCredentials", "/spec/scopes": ["Desk.tickets.READ"], "/spec/soid": "Desk.7" }),
            json!({ "/spec/target/data": { "k": "{{ access_token }}" }, "/spec/target/includeDefaultKeys": false }),
        ] {
            assert_eq!(problem("ns", &edit), None, "{edit}");
        }
    }
}
