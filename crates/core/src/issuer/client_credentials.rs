//! Zoho's client-credentials grant of a self client (RFC 6749 section 4.4): what is asked for, and what a reply to it means.
//! Pure.

use super::reply::{self, Failed, Head, Reply};
use zoho_api::{Reason, Time, ZohoCredentialSpec};

/// What a client asks for in its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Sorted, each once: who writes them in another order shares the token.
    pub scopes: Vec<String>,
    /// The organisation, where the account has several.
    pub soid: Option<String>,
}

impl Asked {
    /// In whatever order and how often the scopes are named.
    pub fn new(mut scopes: Vec<String>, soid: Option<String>) -> Self {
        scopes.sort_unstable();
        scopes.dedup();
        Self { scopes, soid }
    }

    /// What a spec asks for.
    pub fn of(spec: &ZohoCredentialSpec) -> Self {
        Self::new(spec.scopes.clone(), spec.soid.clone())
    }

    /// The form field: Zoho wants commas and no spaces.
    pub fn scope(&self) -> String {
        self.scopes.join(",")
    }
}

/// Classifies a reply. No refresh token is in use, so none can be refused, and no refusal ends tokens that live.
pub fn classify(head: Head<'_>, body: &[u8], now: Time) -> Reply {
    match reply::classify(head, body, now) {
        Reply::Failed(Failed { reason: Reason::RefreshTokenRejected, code, .. }) => {
            Reply::Failed(Failed::permanent(Reason::RequestRejected, code))
        }
        reply @ (Reply::Minted(_) | Reply::Throttled { .. } | Reply::Failed(_)) => reply,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scopes_are_sent_sorted_and_once() {
        let spec: ZohoCredentialSpec = serde_json::from_value(json!({
            "secretRef": { "name": "s" }, "dataCenter": "EU", "soid": "ZohoCRM.7",
            "scopes": ["ZohoCRM.users.READ", "ZohoCRM.modules.READ", "ZohoCRM.users.READ"],
        }))
        .unwrap();
        let asked = Asked::of(&spec);
        assert_eq!(asked.scope(), "ZohoCRM.modules.READ,ZohoCRM.users.READ");
        assert_eq!(asked.soid.as_deref(), Some("ZohoCRM.7"));
    }

    #[test]
    fn no_refusal_is_about_a_refresh_token() {
        let now = Time::from_unix(0);
        for code in
            ["invalid_code", "invalid_grant", "invalid_token", "invalid_soid", "missing_org_info", "invalid_scope"]
        {
            let body = json!({ "error": code }).to_string();
            match classify(Head::of(200), body.as_bytes(), now) {
                Reply::Failed(failed) => {
                    assert_eq!((failed.reason, failed.permanent), (Reason::RequestRejected, true), "{code}");
                    assert_eq!(failed.code.as_deref(), Some(code));
                }
                reply @ (Reply::Minted(_) | Reply::Throttled { .. }) => panic!("{code}: {reply:?}"),
            }
        }
        let client = classify(Head::of(200), br#"{"error":"invalid_client"}"#, now);
        assert!(matches!(client, Reply::Failed(failed) if failed.reason == Reason::ClientRejected));
    }
}
