//! What is odd about the values of a source Secret. Pure; tells of values what is wrong with them, never what they are.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use zoho_api::SecretRef;
use zoho_core::secret::values::{Grant, Kind, checked, oddity};

/// What is odd about a key that is not there.
pub(crate) const MISSING: &str = "is missing";

/// Something odd about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Oddity {
    /// The key.
    pub key: String,
    /// What is odd about its value, to be put after "key x".
    pub what: &'static str,
    /// The operator copes with it.
    pub harmless: bool,
}

/// The keys that a Secret has, for whoever may read it: where one is missing they show the typing error.
pub(crate) fn listed_keys(secret: &Secret) -> String {
    let keys: Vec<&str> = secret.data.iter().flatten().map(|(key, _)| key.as_str()).take(8).collect();
    if keys.is_empty() { "none".into() } else { keys.join(", ") }
}

/// Looks at the keys that the issuer takes. What the operator refuses is among it, with the operator's words.
pub(crate) fn oddities(secret: &Secret, reference: &SecretRef, required: &[&str], grant: Grant) -> Vec<Oddity> {
    let mut found = Vec::new();
    for (key, kind) in Kind::keys(reference, grant) {
        let odd = |what, harmless| Oddity { key: key.to_owned(), what, harmless };
        match secret.data.as_ref().and_then(|data| data.get(key)) {
            None if required.contains(&key) => found.push(odd(MISSING, false)),
            None => {}
            Some(ByteString(bytes)) => match checked(bytes, kind) {
                Err(wrong) => found.push(odd(wrong, false)),
                Ok(_) => found.extend(oddity(bytes, kind).map(|what| odd(what, true))),
            },
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REQUIRED: [&str; 3] = ["client_id", "client_secret", "refresh_token"];

    fn found(id: &str, refresh_token: &str) -> Vec<String> {
        let secret: Secret = serde_json::from_value(json!({ "metadata": {} }))
            .map(|secret: Secret| Secret {
                data: Some(
                    [("client_id", id), ("client_secret", "abc"), ("refresh_token", refresh_token)]
                        .map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())))
                        .into(),
                ),
                ..secret
            })
            .unwrap();
        let reference = SecretRef { name: "s".into(), ..SecretRef::default() };
        oddities(&secret, &reference, &REQUIRED, Grant::Refresh)
            .into_iter()
            .map(|odd| format!("{} {}", odd.key, odd.what))
            .collect()
    }

    #[test]
    fn common_mistakes_are_named_without_the_value() {
        let table = [
            ("1000.A", "1000.b", None),
            ("1000.A\n", "1000.b", Some("client_id has white space around it")),
            ("\"1000.A\"", "1000.b", Some("client_id is in quotes")),
            ("1000.A", "'1000.b'", Some("refresh_token is in quotes")),
            ("1000.A B", "1000.b", Some("client_id contains white space")),
            ("1000.A", "", Some("refresh_token is empty")),
            ("1000.A", "MTAwMC5i", Some("refresh_token is base64")),
            ("\u{feff}1000.A", "1000.b", Some("client_id begins with a byte order mark")),
            ("A", "1000.b", Some("client_id does not begin with 1000.")),
        ];
        for (id, refresh_token, expected) in table {
            let found = found(id, refresh_token);
            match expected {
                None => assert_eq!(found, Vec::<String>::new()),
                Some(expected) => assert!(found[0].starts_with(expected), "{found:?}"),
            }
        }
    }

    #[test]
    fn missing_key_is_named() {
        let reference = SecretRef { name: "s".into(), refresh_token_key: Some("rt".into()), ..SecretRef::default() };
        let found = oddities(&Secret::default(), &reference, &["client_id", "client_secret", "rt"], Grant::Refresh);
        let keys: Vec<&str> = found.iter().map(|odd| odd.key.as_str()).collect();
        assert_eq!(keys, ["client_id", "client_secret", "rt"]);
    }
}
