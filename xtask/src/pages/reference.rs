//! `docs/reference.md`: every field of the kinds, from their `CustomResourceDefinition`s.

use std::fmt::Write as _;

use serde_json::Value;
use zoho_api::{Reason, crd};

use super::code;

const HEAD: &str = "\
# API reference

<!-- Made from the CustomResourceDefinitions by `make docs`. -->

Every field of the kinds in `zoho-operator.dev/v1alpha1`. `kubectl explain zcred.spec --recursive` shows the same in a cluster.
Durations are written as Go writes them: `30m`, `1h30m`.
";

/// The page as Markdown.
pub(super) fn page() -> String {
    let mut text = HEAD.to_owned();
    for crd in [crd::zoho_credential(), crd::zoho_mint_ledger()] {
        let crd = serde_json::to_value(crd).expect("a CRD is plain data");
        kind(&mut text, &crd["spec"]);
    }
    text.push_str("\n## Reasons\n\nThe words that conditions, Events and metrics use. ");
    text.push_str("The [README](../README.md#how-is-it-doing) says what each means and what to do.\n\n");
    let reasons: Vec<String> = Reason::ALL.iter().map(|reason| format!("`{}`", reason.as_str())).collect();
    let _ = writeln!(text, "{}", reasons.join(", "));
    text
}

fn kind(text: &mut String, spec: &Value) {
    let names = &spec["names"];
    let schema = &spec["versions"][0]["schema"]["openAPIV3Schema"];
    let _ = write!(
        text,
        "\n## {}\n\nShort name `{}`. {}\n",
        string(&names["kind"]),
        string(&names["shortNames"][0]),
        string(&schema["description"])
    );
    let mut rules = Vec::new();
    for part in ["spec", "status"] {
        let part_schema = &schema["properties"][part];
        if part_schema["properties"].is_object() {
            let _ =
                write!(text, "\n### {}.{part}\n\n| field | type | meaning |\n|---|---|---|\n", string(&names["kind"]));
            fields(text, part, part_schema);
            rules_of(&mut rules, part, part_schema);
        }
    }
    rules.extend(own_rules("", schema));
    if !rules.is_empty() {
        text.push_str("\nRules that the API server checks:\n\n");
        for (path, message) in rules {
            let path = if path.is_empty() { String::new() } else { format!("`{path}`: ") };
            let _ = writeln!(text, "- {path}{}", escaped(&message));
        }
    }
}

/// One row for each field, those inside of it after it.
fn fields(text: &mut String, path: &str, schema: &Value) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let is_required = schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        let required = if is_required { ", required" } else { "" };
        let meaning = escaped(string(&field["description"]));
        let _ = writeln!(text, "| `{path}` | {}{required} | {meaning} |", type_of(field));
        fields(text, &path, field);
        fields(text, &format!("{path}[]"), &field["items"]);
    }
}

fn type_of(field: &Value) -> String {
    match (string(&field["type"]), string(&field["format"])) {
        ("array", _) => format!("list of {}", type_of(&field["items"])),
        ("object", _) if field["additionalProperties"].is_object() => "map of strings".into(),
        ("string", "date-time") => "time".into(),
        ("string", _) if field["enum"].is_array() => one_of(&field["enum"]),
        (plain, _) => plain.into(),
    }
}

/// As many words as a cell holds; longer lists have a page of their own.
fn one_of(words: &Value) -> String {
    let words: Vec<&str> = words.as_array().into_iter().flatten().map(string).collect();
    if words.len() > 12 { format!("one of {} names", words.len()) } else { code(words) }
}

fn own_rules(path: &str, schema: &Value) -> Vec<(String, String)> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    // A rule about several fields names the one that it is told of.
    let place = |rule: &Value| format!("{path}{}", string(&rule["fieldPath"])).trim_start_matches('.').to_owned();
    rules.map(|rule| (place(rule), string(&rule["message"]).to_owned())).collect()
}

fn rules_of(rules: &mut Vec<(String, String)>, path: &str, schema: &Value) {
    rules.extend(own_rules(path, schema));
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        rules_of(rules, &format!("{path}.{name}"), field);
    }
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text that Markdown neither takes for the end of a cell nor for a tag.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace(['\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_a_person_can_set_has_a_row_and_every_rule_a_line() {
        let page = page();
        for field in [
            "spec.dataCenter",
            "spec.secretRef.name",
            "spec.endpointCentralServer.url",
            "spec.target.data",
            "spec.verify.interval",
            "status.conditions[].reason",
            "status.lastFailure.code",
            "spec.attempts[].outcome",
        ] {
            assert!(page.contains(&format!("| `{field}` | ")), "{field}");
        }
        assert!(page.contains("| `spec.secretRef.name` | string, required | "));
        assert!(
            page.contains("- `spec.endpointCentralServer`: is not allowed with dataCenter: set exactly one of them\n")
        );
        assert!(
            page.contains("- `spec.target.name`: metadata.name is longer than 247 characters: set spec.target.name\n")
        );
    }

    #[test]
    fn text_of_a_cell_stays_in_it() {
        assert_eq!(escaped("json|yaml of <name>\nand more"), "json\\|yaml of &lt;name> and more");
    }
}
