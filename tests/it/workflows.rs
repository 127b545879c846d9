//! The workflows: nobody but us decides what runs in them, and no job may more than it needs. actionlint reads the rest.

use std::fs;

use serde_json::Value;

use crate::chart::{root, yaml_files};

fn workflows() -> Vec<(String, String)> {
    let files = yaml_files(&root().join(".github/workflows"));
    let named = files.into_iter().map(|path| {
        (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read_to_string(path).expect("readable"))
    });
    let workflows: Vec<_> = named.collect();
    assert!(workflows.len() >= 3, "{workflows:?}");
    workflows
}

/// Is it `owner/name@<commit> # v1.2.3`?
fn is_pinned(uses: &str) -> bool {
    let Some((action, version)) = uses.split_once(" # v") else { return false };
    let Some((name, commit)) = action.split_once('@') else { return false };
    name.contains('/')
        && commit.len() == 40
        && commit.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        && version.split('.').count() == 3
        && version.split('.').all(|part| part.parse::<u32>().is_ok())
}

#[test]
fn every_action_is_pinned_by_its_commit() {
    for (name, text) in workflows() {
        let uses: Vec<&str> = text.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, uses)| uses).collect();
        assert!(!uses.is_empty(), "{name} checks nothing out");
        for uses in uses {
            assert!(is_pinned(uses), "{name}: {uses} is not owner/name@<40 hexadecimal digits> # vX.Y.Z");
        }
    }
    assert!(!is_pinned("actions/checkout@v7 # v7.0.1"));
    assert!(!is_pinned("actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"));
}

#[test]
fn every_job_states_its_permissions_and_a_time_limit() {
    for (name, text) in workflows() {
        let workflow: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(workflow["permissions"].as_object().map(serde_json::Map::len), Some(0), "{name}: none by default");
        for (job, spec) in workflow["jobs"].as_object().expect("jobs") {
            assert!(spec["timeout-minutes"].is_u64(), "{name}: {job} has no time limit");
            let permissions =
                spec["permissions"].as_object().unwrap_or_else(|| panic!("{name}: {job} says no permissions"));
            let writes = permissions.values().any(|right| right == "write");
            assert_eq!(
                writes,
                (name.as_str(), job.as_str()) == ("release.yaml", "publish"),
                "{name}: {job}: {permissions:?}"
            );
            // Who may publish compiles nothing, so that no dependency's build script has these rights.
            let steps = spec["steps"].to_string();
            assert!(!writes || !(steps.contains("cargo ") || steps.contains("make ")), "{name}: {job} builds");
        }
    }
}
