//! `examples/quickstart.yaml`, as users get it and with the simulator's values in it.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKENS};

/// The file as it is.
pub(super) fn read() -> Result<String> {
    let path = crate::repository().join("examples/quickstart.yaml");
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The `ZohoCredential` among the manifests, without comments.
pub(super) fn credential(manifests: &str) -> String {
    let found = manifests.split("\n---").find(|manifest| manifest.contains("kind: ZohoCredential"));
    let is_comment = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    found.unwrap_or_default().lines().filter(|line| !is_comment(line)).collect::<Vec<_>>().join("\n")
}

/// The manifests with what the simulator knows in place of the placeholders.
pub(super) fn filled_in(manifests: &str) -> Result<String> {
    let values = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("refresh_token", REFRESH_TOKENS[0])];
    let mut missing: Vec<&str> = values.iter().map(|(key, _)| *key).collect();
    let mut filled = String::new();
    for line in manifests.lines() {
        let found = values.iter().find(|(key, _)| {
            let value = line.trim_start().strip_prefix(key).and_then(|rest| rest.strip_prefix(':'));
            value.is_some_and(|value| value.trim_start().trim_start_matches(['"', '\'']).starts_with("replace-with-"))
        });
        match found {
            Some((key, value)) => {
                let indent = &line[..line.len() - line.trim_start().len()];
                filled.extend([indent, key, ": \"", value, "\"\n"]);
                missing.retain(|name| name != key);
            }
            None => filled.extend([line, "\n"]),
        }
    }
    ensure!(
        missing.is_empty(),
        "expected: placeholders replace-with-… in examples/quickstart.yaml\nseen:     none for {}",
        missing.join(", ")
    );
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_replaced_and_nothing_else() {
        let manifests = read().expect("the example is there");
        let filled = filled_in(&manifests).expect("it has the placeholders");
        for value in [CLIENT_ID, CLIENT_SECRET, REFRESH_TOKENS[0]] {
            assert!(filled.contains(&format!(": \"{value}\"\n")), "{filled}");
        }
        let values = filled.lines().filter(|line| !line.trim_start().starts_with('#'));
        assert!(values.clone().all(|line| !line.contains("replace-with-")), "{filled}");
        assert_eq!(filled.lines().count(), manifests.lines().count());
    }

    #[test]
    fn missing_placeholder_is_named() {
        let error = filled_in("stringData:\n  client_id: replace-with-x\n").expect_err("two are missing");
        assert!(error.to_string().ends_with("client_secret, refresh_token"), "{error}");
    }

    #[test]
    fn credential_is_shown_without_comments() {
        let shown = credential(&read().expect("the example is there"));
        assert!(shown.starts_with("apiVersion: zoho-operator.dev/v1alpha1\nkind: ZohoCredential\n"), "{shown}");
        assert!(!shown.contains("kind: Secret") && !shown.contains("\n#"), "{shown}");
    }
}
