//! What is refused, with the words for it, and what is accepted: one change of a good object a row.

use serde_json::{Map, Value, json};

use super::merge;

/// What is refused: its name, the change that makes a good object a bad one (a JSON merge patch), the field that the
/// answer names, and its words.
pub(super) type Refused = (&'static str, Value, &'static str, &'static str);

const NO_ISSUER: &str = "set dataCenter, or endpointCentralServer for your own server";
const TWO_ISSUERS: &str = "is not allowed with dataCenter: set exactly one of them";
const OTHER_NEEDS_HOST: &str = "dataCenter Other needs accountsHost";
const CLOUD_ONLY: &str = "is allowed only with dataCenter";
const SERVER_ONLY: &str = "is allowed only with endpointCentralServer";
const CLIENT_NEEDS_SCOPES: &str = "grant ClientCredentials needs scopes";
const USER_ONLY: &str = "is allowed only with grant RefreshToken";
const CLIENT_ONLY: &str = "is allowed only with grant ClientCredentials";
const NO_DOMAIN: &str = "authentication ActiveDirectory needs domain";
const DOMAIN: &str = "is allowed only with authentication ActiveDirectory";
const NOT_THE_SOURCE: &str =
    "the target must not be the source: set spec.target.name to a name other than spec.secretRef.name";
const TOO_LONG: &str = "metadata.name is longer than 247 characters: set spec.target.name";
const RESERVED: &str = "uses a reserved key: *.kubernetes.io/ and *.k8s.io/ (except app.kubernetes.io/ without managed-by and instance), helm.sh/, argocd.argoproj.io/, zoho-operator.dev/ and owner are not allowed";
const DATA_KEYS: &str = "keys of a Secret consist of letters, digits, '-', '_' and '.'";
const VERIFY: &str = "verify needs product, or apiUrl and verify.path";
const PATH: &str = r"must not contain \, .. or //";
const PERCENT: &str = r"must have two hexadecimal digits after each %, and no encoded ., / or \ (%2E, %2F, %5C)";
const HOST: &str =
    "must be the bare name of a host in lower case, without https:// and without a path: accounts.zohoone.ca";
const URL: &str = "must begin with https:// and a host, without spaces: https://helpdesk.corp.example/app/itdesk";
const SERVER_URL: &str = "must begin with https:// and a host, without spaces: https://ec.corp.example:8383";
const ABSOLUTE: &str =
    "must be the path of a GET, without a host: one / and then a letter or digit, without spaces: /api/1.4/som/summary";
const SPAN: &str = "must be numbers with their units h, m, s or ms, and no spaces: 30m, or 12m30s";
const SPAN_OF_SERVER: &str = "must be numbers with their units h, m, s or ms, and no spaces: 8h, or 1h30m";
const SPAN_OF_VERIFY: &str = "must be numbers with their units h, m, s or ms, and no spaces: 5m, or 1h30m";
const NAME: &str = "must be the name of a Secret: lower-case letters, digits, '-' and '.'";
const KEY: &str = "must be a key of a Secret: letters, digits, '-', '_' and '.'";
const SCOPE: &str = "must be one scope as Zoho writes it, without spaces and commas: ZohoCRM.modules.READ";
const ORGANISATION: &str = "must be the first word of the scopes, a dot and the organisation's id: ZohoCRM.7000001";
const URL_PATH: &str = r"must not contain \, .. or a second //";

pub(super) fn refused() -> Vec<Refused> {
    let mut table = refused_by_rules();
    table.extend(refused_by_rules_of_parts());
    table.extend(refused_by_bounds());
    table.extend(refused_keys());
    table
}

fn refused_by_rules() -> Vec<Refused> {
    vec![
        ("a long name", json!({ "metadata": { "name": "n".repeat(248) } }), "spec.target.name", TOO_LONG),
        (
            "the target is the source",
            spec(&json!({ "target": { "name": "source" } })),
            "spec.target.name",
            NOT_THE_SOURCE,
        ),
        (
            "the default target is the source",
            spec(&json!({ "secretRef": { "name": "c-token" } })),
            "spec.target.name",
            NOT_THE_SOURCE,
        ),
        ("no issuer", spec(&json!({ "dataCenter": null })), "spec.dataCenter", NO_ISSUER),
        ("two issuers", spec(&json!({ "endpointCentralServer": server() })), "spec.endpointCentralServer", TWO_ISSUERS),
        ("Other without host", spec(&json!({ "dataCenter": "Other" })), "spec.accountsHost", OTHER_NEEDS_HOST),
        (
            "host for a server",
            on_server(&json!({ "accountsHost": "accounts.zoho.eu" })),
            "spec.accountsHost",
            CLOUD_ONLY,
        ),
        ("renewBefore for a server", on_server(&json!({ "renewBefore": "30m" })), "spec.renewBefore", CLOUD_ONLY),
        ("renewEvery for a data center", spec(&json!({ "renewEvery": "8h" })), "spec.renewEvery", SERVER_ONLY),
        ("scopes for a server", on_server(&json!({ "scopes": ["A.b.READ"] })), "spec.scopes", CLOUD_ONLY),
        ("a grant for a server", on_server(&json!({ "grant": "RefreshToken" })), "spec.grant", CLOUD_ONLY),
        ("an organisation for a server", on_server(&json!({ "soid": "ZohoCRM.7" })), "spec.soid", CLOUD_ONLY),
        ("a client without scopes", spec(&json!({ "grant": "ClientCredentials" })), "spec.scopes", CLIENT_NEEDS_SCOPES),
        ("a client with no scope", client(&json!({ "scopes": [] })), "spec.scopes", CLIENT_NEEDS_SCOPES),
        (
            "a client's refresh token",
            client(&json!({ "secretRef": { "refreshTokenKey": "k" } })),
            "spec.secretRef.refreshTokenKey",
            USER_ONLY,
        ),
        (
            "a client's redirect URI",
            client(&json!({ "secretRef": { "redirectUriKey": "k" } })),
            "spec.secretRef.redirectUriKey",
            USER_ONLY,
        ),
        ("an organisation for a refresh token", spec(&json!({ "soid": "ZohoCRM.7" })), "spec.soid", CLIENT_ONLY),
        ("verify without product", spec(&json!({ "verify": { "interval": "5m" } })), "spec.product", VERIFY),
        (
            "verify of an own API without path",
            spec(&json!({ "apiUrl": "https://a.example", "verify": { "interval": "5m" } })),
            "spec.product",
            VERIFY,
        ),
        ("renewBefore short", spec(&json!({ "renewBefore": "4m59s" })), "spec.renewBefore", "must be from 5m to 30m"),
        ("renewBefore long", spec(&json!({ "renewBefore": "30m1ms" })), "spec.renewBefore", "must be from 5m to 30m"),
        (
            "the longest span",
            spec(&json!({ "renewBefore": "99999h99999h99999h99999h" })),
            "spec.renewBefore",
            "must be from 5m to 30m",
        ),
        ("renewEvery short", on_server(&json!({ "renewEvery": "9m" })), "spec.renewEvery", "must be from 10m to 168h"),
        (
            "renewEvery long",
            on_server(&json!({ "renewEvery": "168h1s" })),
            "spec.renewEvery",
            "must be from 10m to 168h",
        ),
        ("interval short", verify(&json!({ "interval": "59s" })), "spec.verify.interval", "must be at least 1m"),
        ("path up", verify(&json!({ "path": "/a/../b" })), "spec.verify.path", PATH),
        ("path with two slashes", verify(&json!({ "path": "/a//b" })), "spec.verify.path", PATH),
        ("path with a backslash", verify(&json!({ "path": r"/a\b" })), "spec.verify.path", PATH),
        ("encoded dots", verify(&json!({ "path": "/a/%2e%2E/b" })), "spec.verify.path", PERCENT),
        ("encoded slash", verify(&json!({ "path": "/a%2Fb" })), "spec.verify.path", PERCENT),
        ("encoded backslash", verify(&json!({ "path": "/a%5cb" })), "spec.verify.path", PERCENT),
        ("percent at the end", verify(&json!({ "path": "/a%" })), "spec.verify.path", PERCENT),
        ("percent and one digit", verify(&json!({ "path": "/a%2" })), "spec.verify.path", PERCENT),
        ("percent and no digit", verify(&json!({ "path": "/a%2g/b" })), "spec.verify.path", PERCENT),
        ("apiUrl up", spec(&json!({ "apiUrl": "https://a.example/../b" })), "spec.apiUrl", URL_PATH),
        ("apiUrl with two slashes", spec(&json!({ "apiUrl": "https://a.example//b" })), "spec.apiUrl", URL_PATH),
        ("apiUrl with encoded dots", spec(&json!({ "apiUrl": "https://a.example/%2e%2e/b" })), "spec.apiUrl", PERCENT),
        ("apiUrl with a lone percent", spec(&json!({ "apiUrl": "https://a.example/%/b" })), "spec.apiUrl", PERCENT),
    ]
}

fn refused_by_rules_of_parts() -> Vec<Refused> {
    vec![
        (
            "directory without domain",
            on_server(&json!({ "endpointCentralServer": { "authentication": "ActiveDirectory" } })),
            "spec.endpointCentralServer.domain",
            NO_DOMAIN,
        ),
        (
            "domain without directory",
            on_server(&json!({ "endpointCentralServer": { "domain": "CORP" } })),
            "spec.endpointCentralServer.domain",
            DOMAIN,
        ),
        (
            "domain with local users",
            on_server(&json!({ "endpointCentralServer": { "domain": "CORP", "authentication": "Local" } })),
            "spec.endpointCentralServer.domain",
            DOMAIN,
        ),
        (
            "a space in a key of the target",
            spec(&json!({ "target": { "data": { "a b": "" } } })),
            "spec.target.data",
            DATA_KEYS,
        ),
        (
            "a long key of the target",
            spec(&json!({ "target": { "data": { "k".repeat(254): "" } } })),
            "spec.target.data",
            DATA_KEYS,
        ),
    ]
}

fn refused_by_bounds() -> Vec<Refused> {
    vec![
        ("path with a space", verify(&json!({ "path": "/a b" })), "spec.verify.path", ABSOLUTE),
        ("apiUrl with a space", spec(&json!({ "apiUrl": "https://a.example/a b" })), "spec.apiUrl", URL),
        ("path to a host", verify(&json!({ "path": "//evil.example" })), "spec.verify.path", ABSOLUTE),
        (
            "too many keys",
            spec(&json!({ "target": { "data": many(33) } })),
            "spec.target.data",
            "must have at most 32 items",
        ),
        (
            "a long template",
            spec(&json!({ "target": { "data": { "a": "x".repeat(4097) } } })),
            "spec.target.data.a",
            "may not be more than 4096",
        ),
        ("a plain http apiUrl", spec(&json!({ "apiUrl": "http://a.example" })), "spec.apiUrl", URL),
        ("an accounts host with a path", spec(&json!({ "accountsHost": "a.example/x" })), "spec.accountsHost", HOST),
        ("a scope of one word", spec(&json!({ "scopes": ["READ"] })), "spec.scopes[0]", SCOPE),
        ("a scope and more", spec(&json!({ "scopes": ["A.b.READ\nx"] })), "spec.scopes[0]", SCOPE),
        ("two scopes in one", spec(&json!({ "scopes": ["A.b.READ,A.c.READ"] })), "spec.scopes[0]", SCOPE),
        ("a scope twice", spec(&json!({ "scopes": ["A.b.READ", "A.b.READ"] })), "spec.scopes[1]", "Duplicate value"),
        ("too many scopes", spec(&json!({ "scopes": scopes(65) })), "spec.scopes", "must have at most 64 items"),
        ("an organisation without its service", client(&json!({ "soid": "7000001" })), "spec.soid", ORGANISATION),
        ("an unknown grant", spec(&json!({ "grant": "Password" })), "spec.grant", "supported values"),
        ("an unknown data center", spec(&json!({ "dataCenter": "MARS" })), "spec.dataCenter", "supported values"),
        ("a member called null", spec(&json!({ "dataCenter": "null" })), "spec.dataCenter", "supported values"),
        ("a span without unit", spec(&json!({ "renewBefore": "1800" })), "spec.renewBefore", SPAN),
        ("a span of words", spec(&json!({ "renewBefore": "30min" })), "spec.renewBefore", SPAN),
        ("a span with a space", spec(&json!({ "renewBefore": "10m 5s" })), "spec.renewBefore", SPAN),
        ("an empty span", spec(&json!({ "renewBefore": "" })), "spec.renewBefore", SPAN),
        (
            "a span of one word for a server",
            on_server(&json!({ "renewEvery": "8" })),
            "spec.renewEvery",
            SPAN_OF_SERVER,
        ),
        ("days", on_server(&json!({ "renewEvery": "1d" })), "spec.renewEvery", SPAN_OF_SERVER),
        ("a half minute", verify(&json!({ "interval": "1.5m" })), "spec.verify.interval", SPAN_OF_VERIFY),
        ("an empty host", spec(&json!({ "accountsHost": "" })), "spec.accountsHost", HOST),
        ("a host in capitals", spec(&json!({ "accountsHost": "Accounts.zoho.eu" })), "spec.accountsHost", HOST),
        (
            "an address for a host",
            spec(&json!({ "accountsHost": "https://accounts.zoho.eu" })),
            "spec.accountsHost",
            HOST,
        ),
        ("an apiUrl without scheme", spec(&json!({ "apiUrl": "a.example/b" })), "spec.apiUrl", URL),
        ("an apiUrl with a line break", spec(&json!({ "apiUrl": "https://a.example\nb" })), "spec.apiUrl", URL),
        (
            "a server without scheme",
            on_server(&json!({ "endpointCentralServer": { "url": "ec.corp.example:8383" } })),
            "spec.endpointCentralServer.url",
            SERVER_URL,
        ),
        ("a source with capitals", spec(&json!({ "secretRef": { "name": "Zoho" } })), "spec.secretRef.name", NAME),
        ("a source without a name", spec(&json!({ "secretRef": { "name": "" } })), "spec.secretRef.name", NAME),
        ("a target with an underscore", spec(&json!({ "target": { "name": "a_b" } })), "spec.target.name", NAME),
        ("an empty scope", spec(&json!({ "scopes": [""] })), "spec.scopes[0]", SCOPE),
        (
            "a long host",
            spec(&json!({ "accountsHost": "h".repeat(254) })),
            "spec.accountsHost",
            "may not be more than 253",
        ),
        (
            "a long span",
            spec(&json!({ "renewBefore": "1m".repeat(15) })),
            "spec.renewBefore",
            "may not be more than 28",
        ),
        ("no source", spec(&json!({ "secretRef": null })), "spec.secretRef", "Required value"),
    ]
}

/// A client in its own name.
fn client(edit: &Value) -> Value {
    let mut fields = json!({ "grant": "ClientCredentials", "scopes": ["ZohoCRM.modules.READ"] });
    for (field, value) in edit.as_object().into_iter().flatten() {
        fields[field] = value.clone();
    }
    spec(&fields)
}

fn scopes(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("ZohoCRM.module{number}.READ")).collect()
}

fn refused_keys() -> Vec<Refused> {
    let field = |key: &str| match key {
        "clientIdKey" => "spec.secretRef.clientIdKey",
        "clientSecretKey" => "spec.secretRef.clientSecretKey",
        "refreshTokenKey" => "spec.secretRef.refreshTokenKey",
        "redirectUriKey" => "spec.secretRef.redirectUriKey",
        "usernameKey" => "spec.secretRef.usernameKey",
        "passwordKey" => "spec.secretRef.passwordKey",
        _ => "spec.secretRef.totpSecretKey",
    };
    let reserved = |field: &'static str, key: &str| json!({ "spec": { "target": { field: { key: "x" } } } });
    let mut table = Vec::new();
    for key in ["clientIdKey", "clientSecretKey", "refreshTokenKey", "redirectUriKey"] {
        table.push((key, on_server(&json!({ "secretRef": { key: "k" } })), field(key), CLOUD_ONLY));
        table.push((key, spec(&json!({ "secretRef": { key: "a b" } })), field(key), KEY));
    }
    for key in ["usernameKey", "passwordKey", "totpSecretKey"] {
        table.push((key, spec(&json!({ "secretRef": { key: "k" } })), field(key), SERVER_ONLY));
        table.push((key, on_server(&json!({ "secretRef": { key: "a b" } })), field(key), KEY));
    }
    for key in [
        "owner",
        "helm.sh/chart",
        "argocd.argoproj.io/instance",
        "zoho-operator.dev/credential-uid",
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/instance",
        "kubernetes.io/metadata.name",
        "kubectl.kubernetes.io/last-applied-configuration",
        "k8s.io/a",
        "sub.x.k8s.io/a",
    ] {
        table.push((key, reserved("labels", key), "spec.target.labels", RESERVED));
        table.push((key, reserved("annotations", key), "spec.target.annotations", RESERVED));
    }
    table
}

pub(super) fn accepted() -> Vec<(&'static str, Value)> {
    let labels = json!({ "team": "a", "app.kubernetes.io/name": "x", "notkubernetes.io/a": "b", "owner2": "c" });
    vec![
        ("the least", json!({})),
        ("the longest name", json!({ "metadata": { "name": "n".repeat(247) } })),
        (
            "a longer name with a target",
            json!({ "metadata": { "name": "n".repeat(253) }, "spec": { "target": { "name": "t" } } }),
        ),
        ("a target's own name", spec(&json!({ "target": { "name": "headers" } }))),
        (
            "the name of the default target as source",
            spec(&json!({ "target": { "name": "t" }, "secretRef": { "name": "c-token" } })),
        ),
        (
            "every key of the source",
            spec(
                &json!({ "secretRef": { "clientIdKey": "a", "clientSecretKey": "b", "refreshTokenKey": "c", "redirectUriKey": "d" } }),
            ),
        ),
        ("recorded scopes", spec(&json!({ "grant": "RefreshToken", "scopes": scopes(64) }))),
        ("a client", client(&json!({ "soid": "ZohoCRM.7000001" }))),
        ("Other with host", spec(&json!({ "dataCenter": "Other", "accountsHost": "accounts.zohoone.ca" }))),
        ("another host", spec(&json!({ "accountsHost": "accounts.zoho.cn" }))),
        ("the shortest renewBefore", spec(&json!({ "renewBefore": "5m" }))),
        ("the longest renewBefore", spec(&json!({ "renewBefore": "29m60s" }))),
        ("verify", verify(&json!({ "interval": "1m", "path": "/api/1.4/som/summary?a=b" }))),
        ("an encoded space", verify(&json!({ "path": "/api/a%20b%C3%A9" }))),
        ("an apiUrl", spec(&json!({ "apiUrl": "https://helpdesk.corp.example/app/itdesk" }))),
        ("labels of its own", spec(&json!({ "target": { "labels": labels, "annotations": labels } }))),
        (
            "reloads at renewal",
            spec(&json!({ "target": { "annotations": { "reloader.stakater.com/ignore": "false" } } })),
        ),
        (
            "templates",
            spec(
                &json!({ "target": { "includeDefaultKeys": false, "data": { "headers.conf": "Authorization: {{ authorization }}\n", "_a-B.1": "x".repeat(4096) } } }),
            ),
        ),
        ("32 keys", spec(&json!({ "target": { "data": many(32) } }))),
        ("suspended", spec(&json!({ "suspend": true }))),
        (
            "a server",
            on_server(
                &json!({ "renewEvery": "8h", "secretRef": { "usernameKey": "a", "passwordKey": "b", "totpSecretKey": "c" } }),
            ),
        ),
        (
            "a server with a directory",
            on_server(
                &json!({ "endpointCentralServer": { "authentication": "ActiveDirectory", "domain": "CORP", "apiVersion": "1.3" } }),
            ),
        ),
        ("a server with local users", on_server(&json!({ "endpointCentralServer": { "authentication": "Local" } }))),
        (
            "an own API that is verified",
            spec(&json!({ "apiUrl": "https://a.example", "verify": { "interval": "5m", "path": "/ping" } })),
        ),
        ("a server that is verified", on_server(&json!({ "verify": { "interval": "5m" } }))),
        ("the bounds of renewEvery", on_server(&json!({ "renewEvery": "168h" }))),
    ]
}

/// A change of the spec.
fn spec(edit: &Value) -> Value {
    json!({ "spec": edit })
}

/// The issuer of objects for an on-premises server.
fn server() -> Value {
    json!({ "url": "https://ec.corp.example:8383" })
}

/// A change of the spec to one for an on-premises server, and more of it.
fn on_server(edit: &Value) -> Value {
    let mut spec = json!({ "endpointCentralServer": server() });
    merge(&mut spec, edit);
    spec["dataCenter"] = Value::Null;
    json!({ "spec": spec })
}

fn verify(edit: &Value) -> Value {
    let mut verify = json!({ "interval": "5m" });
    merge(&mut verify, edit);
    json!({ "spec": { "product": "PatchManagerPlus", "verify": verify } })
}

fn many(count: usize) -> Map<String, Value> {
    (0..count).map(|number| (format!("key-{number}"), json!("x"))).collect()
}
