//! What the API server makes of the `CustomResourceDefinition`s: every rule refuses what it should and says so.

use std::collections::BTreeSet;

use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client, Error};
use serde_json::{Map, Value, json};
use zoho_api::{ZohoCredential, crd};

use crate::support::cluster;

/// What is refused: its name, the change that makes a good object a bad one (a JSON merge patch), the field that the
/// answer names, and its words.
type Refused = (&'static str, Value, &'static str, &'static str);

const EXACTLY_ONE: &str = "set exactly one of dataCenter and endpointCentralServer";
const OTHER_NEEDS_HOST: &str = "dataCenter Other needs accountsHost";
const HOST_NEEDS_DATA_CENTER: &str = "accountsHost goes with dataCenter only";
const CLOUD_ONLY: &str =
    "clientIdKey, clientSecretKey, refreshTokenKey, redirectUriKey and renewBefore go with dataCenter only";
const SERVER_ONLY: &str = "usernameKey, passwordKey, totpSecretKey and renewEvery go with endpointCentralServer only";
const GRANT_CLOUD_ONLY: &str = "grant, scopes and soid go with dataCenter only";
const CLIENT_NEEDS_SCOPES: &str = "grant ClientCredentials needs scopes";
const CLIENT_ONLY: &str = "refreshTokenKey and redirectUriKey go with grant RefreshToken only";
const SOID: &str = "soid goes with grant ClientCredentials only";
const DOMAIN: &str = "authentication ActiveDirectory needs domain, and domain goes with it only";
const NOT_THE_SOURCE: &str =
    "the target must not be the source: set spec.target.name to another name than spec.secretRef.name";
const TOO_LONG: &str = "metadata.name is longer than 247 characters: set spec.target.name";
const RESERVED: &str = "uses a reserved key: *.kubernetes.io/ and *.k8s.io/ (but for app.kubernetes.io/ without managed-by and instance), helm.sh/, argocd.argoproj.io/, zoho-operator.dev/ and owner are not allowed";
const DATA_KEYS: &str = "keys of a Secret consist of letters, digits, '-', '_' and '.'";
const VERIFY: &str = "verify needs product, or apiUrl and verify.path";
const PATH: &str = r"must not contain \, .. or //";
const PERCENT: &str = r"must have two hexadecimal digits after each %, and no encoded ., / or \ (%2E, %2F, %5C)";
const URL_PATH: &str = r"must not contain \, .. or a second //";

#[tokio::test]
async fn every_rule_refuses_what_it_should() {
    let credentials = credentials("every_rule_refuses").await;
    let rules = rules_of_the_credential();
    let table = refused();
    let mut failures = Vec::new();
    for (name, edit, field, message) in &table {
        let object = credential(edit);
        match credentials.create(&dry_run(), &object).await {
            Ok(_) => failures.push(format!("{name}: accepted")),
            Err(Error::Api(status)) => {
                let causes = status.details.map(|details| details.causes).unwrap_or_default();
                if !causes.iter().any(|cause| cause.field == *field && cause.message.contains(message)) {
                    failures.push(format!("{name}: refused for another reason: {causes:?}"));
                }
            }
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    let shown: BTreeSet<_> =
        table.iter().map(|(_, _, field, message)| (field.to_string(), message.to_string())).collect();
    failures.extend(rules.difference(&shown).map(|rule| format!("no row shows this rule: {rule:?}")));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn what_the_rules_allow_is_accepted() {
    let credentials = credentials("what_the_rules_allow").await;
    let mut failures = Vec::new();
    for (name, edit) in accepted() {
        if let Err(error) = credentials.create(&dry_run(), &credential(&edit)).await {
            failures.push(format!("{name}: {error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn a_new_object_does_not_look_finished() {
    let credentials = credentials("a_new_object").await;
    let created = credentials.create(&PostParams::default(), &credential(&json!({}))).await.expect("accepted");
    let read = credentials.get("c").await.expect("stored");
    for object in [&created, &read] {
        assert_eq!(object.data["status"], json!({ "observedGeneration": -1 }));
        assert_eq!(object.metadata.generation, Some(1));
    }
}

#[tokio::test]
async fn fields_explain_themselves() {
    let cluster = cluster().await;
    cluster.install_crds().await;
    for (field, expected) in [
        ("zohocredential.spec.renewBefore", "5m to 30m, default 30m"),
        ("zohocredential.spec.dataCenter", "Example: EU."),
        ("zohocredential.spec.endpointCentralServer.authentication", "Local (default) or ActiveDirectory."),
        ("zcred.status.conditions.reason", "closed list"),
        ("zledger.spec.attempts", "last three hours"),
    ] {
        // Freshly installed kinds are in the API server's OpenAPI document a moment later.
        crate::support::eventually(field, async || {
            let output = cluster.kubectl(&["explain", field]).await.expect("runs");
            let text = String::from_utf8_lossy(&output.stdout);
            // kubectl wraps its lines.
            text.split_whitespace().collect::<Vec<_>>().join(" ").contains(expected).then_some(())
        })
        .await;
    }
}

fn refused() -> Vec<Refused> {
    let mut table = refused_by_rules();
    table.extend(refused_by_bounds());
    table.extend(refused_keys());
    table
}

fn refused_by_rules() -> Vec<Refused> {
    vec![
        ("a long name", json!({ "metadata": { "name": "n".repeat(248) } }), "<nil>", TOO_LONG),
        ("the target is the source", spec(&json!({ "target": { "name": "source" } })), "<nil>", NOT_THE_SOURCE),
        (
            "the default target is the source",
            spec(&json!({ "secretRef": { "name": "c-token" } })),
            "<nil>",
            NOT_THE_SOURCE,
        ),
        ("no issuer", spec(&json!({ "dataCenter": null })), "spec", EXACTLY_ONE),
        ("two issuers", spec(&json!({ "endpointCentralServer": server() })), "spec", EXACTLY_ONE),
        ("Other without host", spec(&json!({ "dataCenter": "Other" })), "spec", OTHER_NEEDS_HOST),
        (
            "host for a server",
            on_server(&json!({ "accountsHost": "accounts.zoho.eu" })),
            "spec",
            HOST_NEEDS_DATA_CENTER,
        ),
        ("renewBefore for a server", on_server(&json!({ "renewBefore": "30m" })), "spec", CLOUD_ONLY),
        ("renewEvery for a data center", spec(&json!({ "renewEvery": "8h" })), "spec", SERVER_ONLY),
        ("scopes for a server", on_server(&json!({ "scopes": ["A.b.READ"] })), "spec", GRANT_CLOUD_ONLY),
        ("a grant for a server", on_server(&json!({ "grant": "RefreshToken" })), "spec", GRANT_CLOUD_ONLY),
        ("a client without scopes", spec(&json!({ "grant": "ClientCredentials" })), "spec", CLIENT_NEEDS_SCOPES),
        ("a client with no scope", client(&json!({ "scopes": [] })), "spec", CLIENT_NEEDS_SCOPES),
        ("a client's refresh token", client(&json!({ "secretRef": { "refreshTokenKey": "k" } })), "spec", CLIENT_ONLY),
        ("a client's redirect URI", client(&json!({ "secretRef": { "redirectUriKey": "k" } })), "spec", CLIENT_ONLY),
        ("an organisation for a refresh token", spec(&json!({ "soid": "ZohoCRM.7" })), "spec", SOID),
        ("verify without product", spec(&json!({ "verify": { "interval": "5m" } })), "spec", VERIFY),
        (
            "verify of an own API without path",
            spec(&json!({ "apiUrl": "https://a.example", "verify": { "interval": "5m" } })),
            "spec",
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
        (
            "directory without domain",
            on_server(&json!({ "endpointCentralServer": { "authentication": "ActiveDirectory" } })),
            "spec.endpointCentralServer",
            DOMAIN,
        ),
        (
            "domain without directory",
            on_server(&json!({ "endpointCentralServer": { "domain": "CORP" } })),
            "spec.endpointCentralServer",
            DOMAIN,
        ),
        (
            "domain with local users",
            on_server(&json!({ "endpointCentralServer": { "domain": "CORP", "authentication": "Local" } })),
            "spec.endpointCentralServer",
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
        ("path with a space", verify(&json!({ "path": "/a b" })), "spec.verify.path", "should match"),
        ("apiUrl with a space", spec(&json!({ "apiUrl": "https://a.example/a b" })), "spec.apiUrl", "should match"),
        ("path to a host", verify(&json!({ "path": "//evil.example" })), "spec.verify.path", "should match"),
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
        ("a plain http apiUrl", spec(&json!({ "apiUrl": "http://a.example" })), "spec.apiUrl", "should match"),
        (
            "an accounts host with a path",
            spec(&json!({ "accountsHost": "a.example/x" })),
            "spec.accountsHost",
            "should match",
        ),
        ("a scope of one word", spec(&json!({ "scopes": ["READ"] })), "spec.scopes[0]", "should match"),
        ("a scope and more", spec(&json!({ "scopes": ["A.b.READ\nx"] })), "spec.scopes[0]", "should match"),
        ("two scopes in one", spec(&json!({ "scopes": ["A.b.READ,A.c.READ"] })), "spec.scopes[0]", "should match"),
        ("a scope twice", spec(&json!({ "scopes": ["A.b.READ", "A.b.READ"] })), "spec.scopes[1]", "Duplicate value"),
        ("too many scopes", spec(&json!({ "scopes": scopes(65) })), "spec.scopes", "must have at most 64 items"),
        ("an organisation without its service", client(&json!({ "soid": "7000001" })), "spec.soid", "should match"),
        ("an unknown grant", spec(&json!({ "grant": "Password" })), "spec.grant", "supported values"),
        ("an unknown data center", spec(&json!({ "dataCenter": "MARS" })), "spec.dataCenter", "supported values"),
        ("a member called null", spec(&json!({ "dataCenter": "null" })), "spec.dataCenter", "supported values"),
        ("a span without unit", spec(&json!({ "renewBefore": "1800" })), "spec.renewBefore", "should match"),
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
    let reserved = |field: &'static str, key: &str| json!({ "spec": { "target": { field: { key: "x" } } } });
    let mut table = Vec::new();
    for key in ["clientIdKey", "clientSecretKey", "refreshTokenKey", "redirectUriKey"] {
        table.push((key, on_server(&json!({ "secretRef": { key: "k" } })), "spec", CLOUD_ONLY));
    }
    for key in ["usernameKey", "passwordKey", "totpSecretKey"] {
        table.push((key, spec(&json!({ "secretRef": { key: "k" } })), "spec", SERVER_ONLY));
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

fn accepted() -> Vec<(&'static str, Value)> {
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

/// A good object, changed.
fn credential(edit: &Value) -> DynamicObject {
    let mut object = json!({
        "apiVersion": "zoho-operator.dev/v1alpha1",
        "kind": "ZohoCredential",
        "metadata": { "name": "c" },
        "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } },
    });
    merge(&mut object, edit);
    serde_json::from_value(object).expect("it has metadata")
}

/// JSON merge patch (RFC 7396).
fn merge(object: &mut Value, edit: &Value) {
    let Value::Object(edit) = edit else {
        *object = edit.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in edit {
        if value.is_null() {
            object.as_object_mut().expect("made one").remove(key);
        } else {
            merge(&mut object[key], value);
        }
    }
}

/// Where each rule stands, as the API server names it, and its message.
fn rules_of_the_credential() -> BTreeSet<(String, String)> {
    fn walk(node: &Value, path: &str, found: &mut BTreeSet<(String, String)>) {
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let field = if path.is_empty() { "<nil>" } else { path };
            found.insert((field.into(), rule["message"].as_str().expect("every rule has one").into()));
        }
        for (name, child) in node["properties"].as_object().into_iter().flatten() {
            let separator = if path.is_empty() { "" } else { "." };
            walk(child, &format!("{path}{separator}{name}"), found);
        }
    }
    let crd = serde_json::to_value(crd::zoho_credential()).expect("plain data");
    let mut found = BTreeSet::new();
    walk(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut found);
    found
}

async fn credentials(test: &str) -> Api<DynamicObject> {
    let cluster = cluster().await;
    cluster.install_crds().await;
    let namespace = cluster.namespace(test).await;
    let client: Client = cluster.client().await.expect("a client");
    Api::namespaced_with(client, &namespace, &ApiResource::erase::<ZohoCredential>(&()))
}

fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}
