//! What a `ZohoCredential` must be, beyond types and lengths: one rule for one mistake, each with a message of its own.
//!
//! No field has a `pattern`: kubectl would print the expression, and beside it whatever rule refuses the same text.

use serde_json::{Value, json};

use crate::duration;

/// Where a rule stands, the expression, and what the user is told.
pub(super) struct Rule {
    /// In the schema of the version, as a JSON pointer.
    pub path: &'static str,
    cel: String,
    message: &'static str,
    /// Field that it is about, seen from there; that of the path where it is empty.
    field: &'static str,
    reason: &'static str,
}

impl Rule {
    /// In the list `x-kubernetes-validations`.
    pub(super) fn validation(&self) -> Value {
        let mut validation = json!({ "rule": self.cel, "message": self.message });
        if !self.field.is_empty() {
            validation["fieldPath"] = json!(self.field);
        }
        // The default is FieldValueInvalid, with which the value is shown.
        if self.reason != INVALID {
            validation["reason"] = json!(self.reason);
        }
        validation
    }
}

const INVALID: &str = "FieldValueInvalid";
const REQUIRED: &str = "FieldValueRequired";
const FORBIDDEN: &str = "FieldValueForbidden";

const SPEC: &str = "/properties/spec";
const ACCOUNTS_HOST: &str = "/properties/spec/properties/accountsHost";
const API_URL: &str = "/properties/spec/properties/apiUrl";
const SERVER: &str = "/properties/spec/properties/endpointCentralServer";
const SERVER_URL: &str = "/properties/spec/properties/endpointCentralServer/properties/url";
const INTERVAL: &str = "/properties/spec/properties/verify/properties/interval";
const VERIFY_PATH: &str = "/properties/spec/properties/verify/properties/path";
const RENEW_BEFORE: &str = "/properties/spec/properties/renewBefore";
const RENEW_EVERY: &str = "/properties/spec/properties/renewEvery";

const HOST: &str = "self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')";
const HTTPS: &str = "self.matches('^https://[A-Za-z0-9][!-~]*$')";
const HTTP_OR_HTTPS: &str = r"self.matches('^https?://[A-Za-z0-9\\[][!-~]*$')";
const ABSOLUTE: &str = "self.matches('^/[A-Za-z0-9][!-~]*$')";
const NAME: &str = "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')";
const KEY: &str = "self.matches('^[-._a-zA-Z0-9]+$')";
const SCOPE: &str = "self.matches('^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+){1,3}$')";
const SOID: &str = "self.matches('^[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+$')";
/// What some server on the way decodes once more must not be another path than the one that was looked at.
const PERCENT: &str = "!self.matches('%(2[EeFf]|5[Cc])') && !self.matches('%($|[^0-9A-Fa-f]|.$|.[^0-9A-Fa-f])')";
const PERCENT_MESSAGE: &str =
    r"must have two hexadecimal digits after each %, and no encoded ., / or \ (%2E, %2F, %5C)";

const RESERVED_KEYS: &str = "self.all(k, !(k == 'owner' || k.startsWith('helm.sh/') || k.startsWith('argocd.argoproj.io/') || k.startsWith('zoho-operator.dev/') || k == 'app.kubernetes.io/managed-by' || k == 'app.kubernetes.io/instance' || (!k.startsWith('app.kubernetes.io/') && k.matches('^([^/]*[.])?(kubernetes|k8s)[.]io/'))))";
const RESERVED_KEYS_MESSAGE: &str = "uses a reserved key: *.kubernetes.io/ and *.k8s.io/ (except app.kubernetes.io/ without managed-by and instance), helm.sh/, argocd.argoproj.io/, zoho-operator.dev/ and owner are not allowed";

/// Keys of the source, where they stand, and seen from the spec.
const SOURCE_KEYS: [(&str, &str); 7] = [
    ("/properties/spec/properties/secretRef/properties/clientIdKey", ".secretRef.clientIdKey"),
    ("/properties/spec/properties/secretRef/properties/clientSecretKey", ".secretRef.clientSecretKey"),
    ("/properties/spec/properties/secretRef/properties/refreshTokenKey", ".secretRef.refreshTokenKey"),
    ("/properties/spec/properties/secretRef/properties/redirectUriKey", ".secretRef.redirectUriKey"),
    ("/properties/spec/properties/secretRef/properties/usernameKey", ".secretRef.usernameKey"),
    ("/properties/spec/properties/secretRef/properties/passwordKey", ".secretRef.passwordKey"),
    ("/properties/spec/properties/secretRef/properties/totpSecretKey", ".secretRef.totpSecretKey"),
];

/// Every rule of a `ZohoCredential`.
pub(super) fn of_credential() -> Vec<Rule> {
    [names(), issuer(), fields_of_the_other_issuer(), client_credentials(), times(), addresses(), texts(), target()]
        .into_iter()
        .flatten()
        .collect()
}

fn rule(path: &'static str, cel: impl Into<String>, message: &'static str) -> Rule {
    Rule { path, cel: cel.into(), message, field: "", reason: INVALID }
}

impl Rule {
    fn about(self, field: &'static str, reason: &'static str) -> Self {
        Self { field, reason, ..self }
    }
}

/// What is refused for its shape is not refused for its content, too: one mistake, one message.
fn once(shape: &str, cel: &str) -> String {
    format!("!{shape} || ({cel})")
}

fn names() -> Vec<Rule> {
    vec![
        rule(
            "",
            "size(self.metadata.name) <= 247 || (has(self.spec.target) && has(self.spec.target.name))",
            "metadata.name is longer than 247 characters: set spec.target.name",
        )
        .about(".spec.target.name", REQUIRED),
        rule(
            "",
            "(has(self.spec.target) && has(self.spec.target.name) ? self.spec.target.name : self.metadata.name + '-token') != self.spec.secretRef.name",
            "the target must not be the source: set spec.target.name to a name other than spec.secretRef.name",
        )
        .about(".spec.target.name", FORBIDDEN),
    ]
}

fn issuer() -> Vec<Rule> {
    vec![
        rule(
            SPEC,
            "has(self.dataCenter) || has(self.endpointCentralServer)",
            "set dataCenter, or endpointCentralServer for your own server",
        )
        .about(".dataCenter", REQUIRED),
        rule(
            SPEC,
            "!has(self.dataCenter) || !has(self.endpointCentralServer)",
            "is not allowed with dataCenter: set exactly one of them",
        )
        .about(".endpointCentralServer", FORBIDDEN),
        rule(
            SPEC,
            "!has(self.dataCenter) || self.dataCenter != 'Other' || has(self.accountsHost)",
            "dataCenter Other needs accountsHost",
        )
        .about(".accountsHost", REQUIRED),
        rule(
            SPEC,
            "!has(self.verify) || has(self.product) || has(self.endpointCentralServer) || (has(self.apiUrl) && has(self.verify.path))",
            "verify needs product, or apiUrl and verify.path",
        )
        .about(".product", REQUIRED),
        rule(
            SERVER,
            "has(self.domain) || !has(self.authentication) || self.authentication != 'ActiveDirectory'",
            "authentication ActiveDirectory needs domain",
        )
        .about(".domain", REQUIRED),
        rule(
            SERVER,
            "!has(self.domain) || (has(self.authentication) && self.authentication == 'ActiveDirectory')",
            "is allowed only with authentication ActiveDirectory",
        )
        .about(".domain", FORBIDDEN),
    ]
}

fn fields_of_the_other_issuer() -> Vec<Rule> {
    let (cloud, server) = SOURCE_KEYS.split_at(4);
    let fields = |keys: &[(&str, &'static str)], more: &[&'static str]| -> Vec<&'static str> {
        keys.iter().map(|(_, field)| *field).chain(more.iter().copied()).collect()
    };
    let of_cloud = fields(cloud, &[".accountsHost", ".renewBefore", ".grant", ".scopes", ".soid"]);
    let of_server = fields(server, &[".renewEvery"]);
    let only = |field: &'static str, other: &str, message| {
        rule(SPEC, format!("!has(self.{other}) || !has(self{field})"), message).about(field, FORBIDDEN)
    };
    let cloud =
        of_cloud.into_iter().map(|field| only(field, "endpointCentralServer", "is allowed only with dataCenter"));
    let server =
        of_server.into_iter().map(|field| only(field, "dataCenter", "is allowed only with endpointCentralServer"));
    cloud.chain(server).collect()
}

fn client_credentials() -> Vec<Rule> {
    const IS_CLIENT: &str = "(has(self.grant) && self.grant == 'ClientCredentials')";
    const USER_ONLY: &str = "is allowed only with grant RefreshToken";
    vec![
        rule(
            SPEC,
            format!("!{IS_CLIENT} || (has(self.scopes) && size(self.scopes) > 0)"),
            "grant ClientCredentials needs scopes",
        )
        .about(".scopes", REQUIRED),
        rule(SPEC, format!("!{IS_CLIENT} || !has(self.secretRef.refreshTokenKey)"), USER_ONLY)
            .about(".secretRef.refreshTokenKey", FORBIDDEN),
        rule(SPEC, format!("!{IS_CLIENT} || !has(self.secretRef.redirectUriKey)"), USER_ONLY)
            .about(".secretRef.redirectUriKey", FORBIDDEN),
        // With a server the other rule says it.
        rule(
            SPEC,
            format!("!has(self.soid) || {IS_CLIENT} || has(self.endpointCentralServer)"),
            "is allowed only with grant ClientCredentials",
        )
        .about(".soid", FORBIDDEN),
    ]
}

fn times() -> Vec<Rule> {
    let is_span = format!("self.matches('{}')", duration::PATTERN);
    let span = |path, example| rule(path, is_span.clone(), example);
    let within = |path, cel, message| rule(path, once(&is_span, cel), message);
    vec![
        span(RENEW_BEFORE, "must be numbers with their units h, m, s or ms, and no spaces: 30m, or 12m30s"),
        within(
            RENEW_BEFORE,
            "duration(self) >= duration('5m') && duration(self) <= duration('30m')",
            "must be from 5m to 30m",
        ),
        span(RENEW_EVERY, "must be numbers with their units h, m, s or ms, and no spaces: 8h, or 1h30m"),
        within(
            RENEW_EVERY,
            "duration(self) >= duration('10m') && duration(self) <= duration('168h')",
            "must be from 10m to 168h",
        ),
        span(INTERVAL, "must be numbers with their units h, m, s or ms, and no spaces: 5m, or 1h30m"),
        within(INTERVAL, "duration(self) >= duration('1m')", "must be at least 1m"),
    ]
}

fn addresses() -> Vec<Rule> {
    let traversal = r"!self.contains('\\') && !self.contains('..') && !self.contains('//')";
    let traversal_of_url = r"!self.contains('\\') && !self.contains('..') && !self.matches('^https://.*//')";
    vec![
        rule(
            ACCOUNTS_HOST,
            HOST,
            "must be the bare name of a host in lower case, without https:// and without a path: accounts.zohoone.ca",
        ),
        rule(
            API_URL,
            HTTPS,
            "must begin with https:// and a host, without spaces: https://helpdesk.corp.example/app/itdesk",
        ),
        rule(API_URL, once(HTTPS, traversal_of_url), r"must not contain \, .. or a second //"),
        rule(API_URL, once(HTTPS, PERCENT), PERCENT_MESSAGE),
        rule(
            SERVER_URL,
            HTTP_OR_HTTPS,
            "must begin with https:// and a host, without spaces: https://ec.corp.example:8383",
        ),
        rule(
            VERIFY_PATH,
            ABSOLUTE,
            "must be the path of a GET, without a host: one / and then a letter or digit, without spaces: /api/1.4/som/summary",
        ),
        rule(VERIFY_PATH, once(ABSOLUTE, traversal), r"must not contain \, .. or //"),
        rule(VERIFY_PATH, once(ABSOLUTE, PERCENT), PERCENT_MESSAGE),
    ]
}

fn texts() -> Vec<Rule> {
    const NAME_MESSAGE: &str = "must be the name of a Secret: lower-case letters, digits, '-' and '.'";
    let key = |(path, _)| rule(path, KEY, "must be a key of a Secret: letters, digits, '-', '_' and '.'");
    SOURCE_KEYS
        .map(key)
        .into_iter()
        .chain([
            rule("/properties/spec/properties/secretRef/properties/name", NAME, NAME_MESSAGE),
            rule("/properties/spec/properties/target/properties/name", NAME, NAME_MESSAGE),
            rule(
                "/properties/spec/properties/scopes/items",
                SCOPE,
                "must be one scope as Zoho writes it, without spaces and commas: ZohoCRM.modules.READ",
            ),
            rule(
                "/properties/spec/properties/soid",
                SOID,
                "must be the first word of the scopes, a dot and the organisation's id: ZohoCRM.7000001",
            ),
        ])
        .collect()
}

fn target() -> Vec<Rule> {
    vec![
        rule("/properties/spec/properties/target/properties/labels", RESERVED_KEYS, RESERVED_KEYS_MESSAGE),
        rule("/properties/spec/properties/target/properties/annotations", RESERVED_KEYS, RESERVED_KEYS_MESSAGE),
        rule(
            "/properties/spec/properties/target/properties/data",
            "self.all(k, size(k) <= 253 && k.matches('^[-._a-zA-Z0-9]+$'))",
            "keys of a Secret consist of letters, digits, '-', '_' and '.'",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts between `matches('` and `')`.
    fn expressions(cel: &str) -> Vec<&str> {
        cel.split(".matches('").skip(1).filter_map(|rest| rest.split("')").next()).collect()
    }

    /// One that is open at an end lets anything follow, line breaks and escapes included.
    #[test]
    fn what_a_text_must_be_is_about_the_whole_text() {
        let mut seen = 0;
        for rule in of_credential() {
            let demanded = rule.cel.starts_with("self.matches('").then(|| expressions(&rule.cel));
            for expression in demanded.into_iter().flatten() {
                seen += 1;
                assert!(expression.starts_with('^') && expression.ends_with('$'), "{expression}");
                // An alternative outside of parentheses has an anchor at one end only.
                let mut depth = 0;
                let is_outside = expression.chars().any(|c| {
                    depth += match c {
                        '(' => 1,
                        ')' => -1,
                        _ => 0,
                    };
                    c == '|' && depth == 0
                });
                assert!(!is_outside, "{expression}");
            }
        }
        assert!(seen >= 16, "{seen}");
    }
}
