//! What is said of scopes that were asked for and not granted. Pure.

use super::Announcement;
use crate::message;
use zoho_api::{Reason, ZohoCredentialSpec, ZohoCredentialStatus};

/// The Event of scopes that were asked for and not granted: once for what a mint or a change of the spec brings. Of the
/// reasons the one that means a living token with which something cannot be done.
pub fn missing_scopes(
    spec: &ZohoCredentialSpec,
    before: &ZohoCredentialStatus,
    after: &ZohoCredentialStatus,
) -> Option<Announcement> {
    let is_news =
        before.granted_scopes != after.granted_scopes || before.observed_generation != after.observed_generation;
    let missing = spec.scopes_missing_in(&after.granted_scopes);
    let note = message::not_granted(spec.grant(), &missing);
    (is_news && !missing.is_empty()).then(|| Announcement::new(true, Reason::VerificationRejected.as_str(), &note))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(scopes: &[&str]) -> ZohoCredentialSpec {
        serde_json::from_value(json!({ "secretRef": { "name": "s" }, "dataCenter": "EU", "scopes": scopes })).unwrap()
    }

    fn status(generation: i64, granted: &[&str]) -> ZohoCredentialStatus {
        let granted_scopes = granted.iter().map(|&scope| scope.to_owned()).collect();
        ZohoCredentialStatus {
            observed_generation: Some(generation),
            granted_scopes,
            ..ZohoCredentialStatus::default()
        }
    }

    #[test]
    fn scopes_that_are_missing_are_announced_once() {
        let asked = spec(&["A.b.READ", "A.c.READ"]);
        let none = status(1, &[]);
        let less = status(1, &["a.B.read"]);
        let event = missing_scopes(&asked, &none, &less).unwrap();
        assert!(event.warning);
        assert_eq!(event.reason, "VerificationRejected");
        assert!(event.note.starts_with("Zoho granted a token without A.c.READ,"), "{}", event.note);
        assert_eq!(missing_scopes(&asked, &less, &less), None, "said before");
        assert_eq!(missing_scopes(&asked, &none, &none), None, "the reply named none");
        assert_eq!(missing_scopes(&asked, &none, &status(1, &["A.b.READ", "A.c.READ", "A.d.READ"])), None);
        assert_eq!(missing_scopes(&spec(&[]), &none, &less), None, "nothing was recorded");
        assert!(missing_scopes(&asked, &status(0, &["A.b.READ"]), &status(1, &["A.b.READ"])).is_some(), "a new spec");
    }

    #[test]
    fn long_list_is_cut() {
        let scopes: Vec<String> = (0..64).map(|number| format!("Product.module{number:03}.READ")).collect();
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let note = missing_scopes(&spec(&scopes), &status(1, &[]), &status(1, &["X.y.READ"])).unwrap().note;
        assert!(note.contains("Product.module000.READ,Product.module001.READ"), "{note}");
        assert!(note.len() < 700 && note.contains(" more, so calls"), "{note}");
    }
}
