//! The two `CustomResourceDefinition`s: the derived schema, made structural the way the API server wants it, plus the
//! rules that need CEL. The files in [`FOLDERS`] and [`ONE_FILE`] are written from here by `make crds`; a test fails when one is
//! stale.

mod rules;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{ZohoCredential, ZohoCredentialSpec, ZohoCredentialStatus, ZohoMintLedger, ZohoMintLedgerSpec};

/// Fields that `kubectl get zcred --field-selector` knows, from Kubernetes 1.31.
const SELECTABLE: [&str; 4] = [".spec.dataCenter", ".spec.product", ".spec.secretRef.name", ".spec.target.name"];

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
    for rule in rules::of_credential() {
        let node = schema.pointer_mut(rule.path).expect("every rule's path names a node of the derived schema");
        let rules = node
            .as_object_mut()
            .expect("a schema node is an object")
            .entry("x-kubernetes-validations")
            .or_insert_with(|| json!([]));
        rules.as_array_mut().expect("validations are a list").push(rule.validation());
    }
    crd["spec"]["versions"][0]["selectableFields"] = SELECTABLE.map(|path| json!({ "jsonPath": path })).into();
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
    format!("# Written by `make crds`. Do not edit.\n{body}")
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
                assert!(written == yaml, "{} is stale: run `make crds`", path.display());
            }
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), files().len(), "{}", folder.display());
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(ONE_FILE);
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == one_file(), "{} is stale: run `make crds`", path.display());
    }

    /// kubectl prints a pattern as it is, and beside it what a rule says of the same text.
    #[test]
    fn no_field_has_a_pattern() {
        assert!(!text(&zoho_credential()).contains("\"pattern\""));
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
