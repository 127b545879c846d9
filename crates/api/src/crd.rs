//! The two `CustomResourceDefinition`s: the derived schema, made structural the way the API server wants it, plus the
//! rules that need CEL. The files in [`FOLDERS`] and [`ONE_FILE`] are written from here by `crdgen`; a test fails when one is
//! stale.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{ZohoCredential, ZohoCredentialSpec, ZohoCredentialStatus, ZohoMintLedger, ZohoMintLedgerSpec};

/// One CEL rule: where it stands in the schema of the version, the expression, and what the user is told.
struct Rule {
    path: &'static str,
    cel: &'static str,
    message: &'static str,
}

const RESERVED_KEYS: &str = "self.all(k, !(k == 'owner' || k.startsWith('helm.sh/') || k.startsWith('argocd.argoproj.io/') || k.startsWith('zoho-operator.dev/') || k == 'app.kubernetes.io/managed-by' || k == 'app.kubernetes.io/instance' || (!k.startsWith('app.kubernetes.io/') && k.matches('^([^/]*[.])?(kubernetes|k8s)[.]io/'))))";
const RESERVED_KEYS_MESSAGE: &str = "uses a reserved key: *.kubernetes.io/ and *.k8s.io/ (but for app.kubernetes.io/ without managed-by and instance), helm.sh/, argocd.argoproj.io/, zoho-operator.dev/ and owner are not allowed";

/// What some server on the way decodes once more must not be another path than the one that was looked at.
const PERCENT: &str = "!self.matches('%(2[EeFf]|5[Cc])') && !self.matches('%($|[^0-9A-Fa-f]|.$|.[^0-9A-Fa-f])')";
const PERCENT_MESSAGE: &str =
    r"must have two hexadecimal digits after each %, and no encoded ., / or \ (%2E, %2F, %5C)";

const CREDENTIAL_RULES: &[Rule] = &[
    Rule {
        path: "",
        cel: "size(self.metadata.name) <= 247 || (has(self.spec.target) && has(self.spec.target.name))",
        message: "metadata.name is longer than 247 characters: set spec.target.name",
    },
    Rule {
        path: "",
        cel: "(has(self.spec.target) && has(self.spec.target.name) ? self.spec.target.name : self.metadata.name + '-token') != self.spec.secretRef.name",
        message: "the target must not be the source: set spec.target.name to another name than spec.secretRef.name",
    },
    Rule {
        path: "/properties/spec",
        cel: "has(self.dataCenter) != has(self.endpointCentralServer)",
        message: "set exactly one of dataCenter and endpointCentralServer",
    },
    Rule {
        path: "/properties/spec",
        cel: "!has(self.dataCenter) || self.dataCenter != 'Other' || has(self.accountsHost)",
        message: "dataCenter Other needs accountsHost",
    },
    Rule {
        path: "/properties/spec",
        cel: "!has(self.accountsHost) || has(self.dataCenter)",
        message: "accountsHost goes with dataCenter only",
    },
    Rule {
        path: "/properties/spec",
        cel: "!has(self.endpointCentralServer) || !(has(self.secretRef.clientIdKey) || has(self.secretRef.clientSecretKey) || has(self.secretRef.refreshTokenKey) || has(self.secretRef.redirectUriKey) || has(self.renewBefore))",
        message: "clientIdKey, clientSecretKey, refreshTokenKey, redirectUriKey and renewBefore go with dataCenter only",
    },
    Rule {
        path: "/properties/spec",
        cel: "!has(self.dataCenter) || !(has(self.secretRef.usernameKey) || has(self.secretRef.passwordKey) || has(self.secretRef.totpSecretKey) || has(self.renewEvery))",
        message: "usernameKey, passwordKey, totpSecretKey and renewEvery go with endpointCentralServer only",
    },
    Rule {
        path: "/properties/spec",
        cel: "!has(self.endpointCentralServer) || !(has(self.grant) || has(self.scopes) || has(self.soid))",
        message: "grant, scopes and soid go with dataCenter only",
    },
    Rule {
        path: "/properties/spec",
        cel: "!has(self.grant) || self.grant != 'ClientCredentials' || (has(self.scopes) && size(self.scopes) > 0)",
        message: "grant ClientCredentials needs scopes",
    },
    Rule {
        path: "/properties/spec",
        cel: "!has(self.grant) || self.grant != 'ClientCredentials' || !(has(self.secretRef.refreshTokenKey) || has(self.secretRef.redirectUriKey))",
        message: "refreshTokenKey and redirectUriKey go with grant RefreshToken only",
    },
    Rule {
        path: "/properties/spec",
        cel: "!has(self.soid) || (has(self.grant) && self.grant == 'ClientCredentials')",
        message: "soid goes with grant ClientCredentials only",
    },
    Rule {
        path: "/properties/spec",
        cel: "!has(self.verify) || has(self.product) || has(self.endpointCentralServer) || (has(self.apiUrl) && has(self.verify.path))",
        message: "verify needs product, or apiUrl and verify.path",
    },
    Rule {
        path: "/properties/spec/properties/renewBefore",
        cel: "duration(self) >= duration('5m') && duration(self) <= duration('30m')",
        message: "must be from 5m to 30m",
    },
    Rule {
        path: "/properties/spec/properties/renewEvery",
        cel: "duration(self) >= duration('10m') && duration(self) <= duration('168h')",
        message: "must be from 10m to 168h",
    },
    Rule {
        path: "/properties/spec/properties/verify/properties/interval",
        cel: "duration(self) >= duration('1m')",
        message: "must be at least 1m",
    },
    Rule {
        path: "/properties/spec/properties/verify/properties/path",
        cel: r"!self.contains('\\') && !self.contains('..') && !self.contains('//')",
        message: r"must not contain \, .. or //",
    },
    Rule { path: "/properties/spec/properties/verify/properties/path", cel: PERCENT, message: PERCENT_MESSAGE },
    Rule {
        path: "/properties/spec/properties/apiUrl",
        cel: r"!self.contains('\\') && !self.contains('..') && !self.matches('^https://.*//')",
        message: r"must not contain \, .. or a second //",
    },
    Rule { path: "/properties/spec/properties/apiUrl", cel: PERCENT, message: PERCENT_MESSAGE },
    Rule {
        path: "/properties/spec/properties/endpointCentralServer",
        cel: "has(self.domain) == (has(self.authentication) && self.authentication == 'ActiveDirectory')",
        message: "authentication ActiveDirectory needs domain, and domain goes with it only",
    },
    Rule {
        path: "/properties/spec/properties/target/properties/labels",
        cel: RESERVED_KEYS,
        message: RESERVED_KEYS_MESSAGE,
    },
    Rule {
        path: "/properties/spec/properties/target/properties/annotations",
        cel: RESERVED_KEYS,
        message: RESERVED_KEYS_MESSAGE,
    },
    Rule {
        path: "/properties/spec/properties/target/properties/data",
        cel: "self.all(k, size(k) <= 253 && k.matches('^[-._a-zA-Z0-9]+$'))",
        message: "keys of a Secret consist of letters, digits, '-', '_' and '.'",
    },
];

/// The `CustomResourceDefinition` of `ZohoCredential`.
///
/// # Panics
///
/// When a rule names a place that the schema does not have: every test of this module would fail first.
pub fn zoho_credential() -> CustomResourceDefinition {
    let mut crd = crd_value(&ZohoCredential::crd());
    let schema = schema_mut(&mut crd);
    restore_descriptions::<ZohoCredentialSpec>(&mut schema["properties"]["spec"]);
    restore_descriptions::<ZohoCredentialStatus>(&mut schema["properties"]["status"]);
    // A new object must not look finished to kstatus, which compares observedGeneration with generation.
    schema["properties"]["status"]["default"] = json!({ "observedGeneration": -1 });
    let conditions = &mut schema["properties"]["status"]["properties"]["conditions"];
    conditions["x-kubernetes-list-type"] = json!("map");
    conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
    conditions["maxItems"] = json!(8);
    schema["properties"]["metadata"] = json!({
        "type": "object",
        "properties": { "name": { "type": "string", "maxLength": 253 } },
    });
    for (map, max) in [("labels", 63), ("annotations", 4096), ("data", 4096)] {
        schema["properties"]["spec"]["properties"]["target"]["properties"][map]["additionalProperties"]["maxLength"] =
            json!(max);
    }
    for Rule { path, cel, message } in CREDENTIAL_RULES {
        let node = schema.pointer_mut(path).expect("every rule's path names a node of the derived schema");
        let rules = node
            .as_object_mut()
            .expect("a schema node is an object")
            .entry("x-kubernetes-validations")
            .or_insert_with(|| json!([]));
        rules.as_array_mut().expect("validations are a list").push(json!({ "rule": cel, "message": message }));
    }
    crd_from(crd)
}

/// The `CustomResourceDefinition` of `ZohoMintLedger`.
pub fn zoho_mint_ledger() -> CustomResourceDefinition {
    let mut crd = crd_value(&ZohoMintLedger::crd());
    let schema = schema_mut(&mut crd);
    restore_descriptions::<ZohoMintLedgerSpec>(&mut schema["properties"]["spec"]);
    schema["properties"]["spec"]["properties"]["attempts"]["x-kubernetes-list-type"] = json!("atomic");
    schema["properties"]["spec"]["properties"]["verdicts"]["x-kubernetes-list-type"] = json!("atomic");
    crd_from(crd)
}

/// Where [`files`] stand in the repository: for people, and in the chart, which has to be complete when it is packaged.
pub const FOLDERS: [&str; 2] = ["crds", "charts/zoho-operator/files/crds"];

/// The files with the definitions: name and content.
pub fn files() -> [(&'static str, String); 2] {
    [("zohocredentials.yaml", yaml(&zoho_credential())), ("zohomintledgers.yaml", yaml(&zoho_mint_ledger()))]
}

/// Both definitions in one file at the root of the repository, for `kubectl apply --server-side -f`.
pub const ONE_FILE: &str = "crds.yaml";

/// The content of [`ONE_FILE`].
pub fn one_file() -> String {
    files().map(|(_, yaml)| yaml).join("---\n")
}

fn yaml(crd: &CustomResourceDefinition) -> String {
    let body = serde_saphyr::to_string(crd).expect("a CRD is plain data");
    format!("# Written by `cargo run --bin crdgen`. Do not edit.\n{body}")
}

fn crd_value(crd: &CustomResourceDefinition) -> Value {
    let mut value = serde_json::to_value(crd).expect("a derived CRD is plain data");
    strip_nullable(schema_mut(&mut value));
    value
}

fn crd_from(value: Value) -> CustomResourceDefinition {
    serde_json::from_value(value).expect("the edited CRD is still one")
}

fn schema_mut(crd: &mut Value) -> &mut Value {
    &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// `Option<T>` derives `nullable: true`, and an optional unit enum the member `null`, which the API server would read
/// as the string "null". We leave absent fields out instead, so neither belongs in the schema.
fn strip_nullable(schema: &mut Value) {
    match schema {
        Value::Object(node) => {
            if node.get("nullable") == Some(&Value::Bool(true)) {
                node.remove("nullable");
            }
            if let Some(Value::Array(members)) = node.get_mut("enum") {
                members.retain(|member| !member.is_null());
            }
            node.values_mut().for_each(strip_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nullable),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// kube's schema rewriting puts the description of an enum in the place of that of the optional field which holds it;
/// the field's is the one with the default and the example.
fn restore_descriptions<T: JsonSchema>(schema: &mut Value) {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let derived = settings.into_generator().into_root_schema_for::<T>();
    copy_descriptions(derived.as_value(), schema);
}

fn copy_descriptions(from: &Value, to: &mut Value) {
    // An optional field is its own type or null.
    let from = if from["anyOf"].is_array() { &from["anyOf"][0] } else { from };
    for (name, field) in from["properties"].as_object().into_iter().flatten() {
        let Some(node) = to["properties"].get_mut(name) else { continue };
        if let Some(description) = field.get("description") {
            node["description"] = description.clone();
        }
        copy_descriptions(field, node);
    }
    if from["items"].is_object() {
        copy_descriptions(&from["items"], &mut to["items"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(crd: &CustomResourceDefinition) -> String {
        serde_json::to_string(crd).unwrap()
    }

    #[test]
    fn files_in_crds_are_fresh() {
        for folder in FOLDERS {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
            for (name, yaml) in files() {
                let path = folder.join(name);
                let written = std::fs::read_to_string(&path).unwrap_or_default();
                assert!(written == yaml, "{} is stale: run `cargo run --bin crdgen`", path.display());
            }
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), files().len(), "{}", folder.display());
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(ONE_FILE);
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == one_file(), "{} is stale: run `cargo run --bin crdgen`", path.display());
    }

    /// One that is open at an end lets anything follow, line breaks and escapes included.
    #[test]
    fn patterns_are_about_the_whole_text() {
        let mut patterns = Vec::new();
        for (_, yaml) in files() {
            let lines = yaml.lines().filter_map(|line| line.trim().strip_prefix("pattern: "));
            patterns.extend(lines.map(|pattern| pattern.trim_matches(['\'', '"']).to_owned()));
        }
        assert!(patterns.len() >= 16, "{patterns:?}");
        for pattern in patterns {
            assert!(pattern.starts_with('^') && pattern.ends_with('$'), "{pattern}");
            // An alternative outside of parentheses has an anchor at one end only.
            let mut depth = 0;
            let is_outside = pattern.chars().any(|c| {
                depth += match c {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                c == '|' && depth == 0
            });
            assert!(!is_outside, "{pattern}");
        }
    }

    #[test]
    fn schema_has_no_nullable_and_no_null_member() {
        for crd in [zoho_credential(), zoho_mint_ledger()] {
            assert!(!text(&crd).contains("nullable"), "{}", text(&crd));
            assert!(!text(&crd).contains("null,") && !text(&crd).contains(",null"));
        }
    }

    #[test]
    fn optional_enums_keep_the_description_of_their_field() {
        let crd = serde_json::to_value(zoho_credential()).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        let authentication = &spec["endpointCentralServer"]["properties"]["authentication"];
        for (field, expected) in
            [(&spec["dataCenter"], "Example: EU."), (&spec["product"], "Default: none."), (authentication, "(default)")]
        {
            assert!(field["description"].as_str().unwrap().contains(expected), "{field}");
        }
    }

    #[test]
    fn every_field_a_user_can_set_is_described() {
        fn walk(node: &Value, path: &str, missing: &mut Vec<String>) {
            if let Some(properties) = node["properties"].as_object() {
                for (name, child) in properties {
                    let path = format!("{path}.{name}");
                    if child["description"].as_str().is_none_or(str::is_empty) {
                        missing.push(path.clone());
                    }
                    walk(child, &path, missing);
                }
            }
        }
        let crd = serde_json::to_value(zoho_credential()).unwrap();
        let mut missing = Vec::new();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        walk(&schema["spec"], "spec", &mut missing);
        walk(&schema["status"], "status", &mut missing);
        assert_eq!(missing, Vec::<String>::new());
    }
}
