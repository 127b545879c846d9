//! What a person's login and its end come to: the replies to an exchanged grant code and to a revocation. Pure.
//!
//! The operator itself never logs in at a data center; `kubectl zoho login` and `revoke` do.

use secrecy::SecretString;
use url::Url;

use super::body::{self, Object};
use super::reply::{self, Failed, Head, Minted, Reply};
use zoho_api::{Outcome, Reason, Time};

/// What is sent to have a grant code exchanged (RFC 6749 section 4.1.3, with the client's credentials in the body).
#[derive(Clone, Debug)]
pub struct CodeGrant {
    /// OAuth client id; not secret.
    pub client_id: String,
    /// OAuth client secret.
    pub client_secret: SecretString,
    /// The code. Works once, for some minutes.
    pub code: SecretString,
    /// The address that the code was sent to; a self client has none.
    pub redirect_uri: Option<String>,
    /// Shows that the code was asked for by this process (RFC 7636).
    pub verifier: Option<SecretString>,
}

/// What became of a grant code.
#[derive(Clone, Debug)]
pub enum Exchanged {
    /// It was exchanged.
    Granted {
        /// The long-lived token.
        refresh_token: SecretString,
        /// The scopes that the server names, separated by commas or spaces; server text, not for printing.
        scope: Option<String>,
    },
    /// There was an access token and no refresh token.
    WithoutRefreshToken,
    /// Too many requests.
    Throttled,
    /// Nothing usable came back.
    Failed(Failed),
}

/// What became of a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It works no longer.
    Done,
    /// The server does not know it, or not any more.
    NotValid,
    /// There is no such address at the server, so nothing was done.
    NoEndpoint,
    /// Nothing usable came back.
    Failed(Failed),
}

/// Reads the reply to an exchange. Total: any bytes have a meaning.
pub fn read_exchange(head: Head<'_>, body: &[u8], now: Time) -> Exchanged {
    match reply::classify(head, body, now) {
        Reply::Minted(Minted { refresh_token: Some(refresh_token), scopes, .. }) => {
            Exchanged::Granted { refresh_token, scope: Some(scopes.join(",")).filter(|scope| !scope.is_empty()) }
        }
        Reply::Minted(_) => Exchanged::WithoutRefreshToken,
        Reply::Throttled { .. } => Exchanged::Throttled,
        Reply::Failed(failed) => Exchanged::Failed(failed),
    }
}

/// Reads the reply to a revocation. Total. Only the codes for a refresh token that is not known say that there is none: who
/// reads that stops, and a token that leaked lives on.
pub fn read_revocation(head: Head<'_>, body: &[u8], now: Time) -> Revoked {
    let text = body::text(body);
    let is_success = Object::parse(&text)
        .and_then(|body| body.string("status"))
        .is_some_and(|word| word.trim().eq_ignore_ascii_case("success"));
    match head.status {
        404 | 405 | 410 => return Revoked::NoEndpoint,
        200..=299 if is_success => return Revoked::Done,
        _ => {}
    }
    match reply::classify(head, body, now) {
        Reply::Failed(Failed { reason: Reason::RefreshTokenRejected, .. }) => Revoked::NotValid,
        Reply::Failed(failed) => Revoked::Failed(failed),
        Reply::Throttled { .. } => Revoked::Failed(Failed::passing(Reason::Throttled, Outcome::NotMinted)),
        Reply::Minted(_) => Revoked::Failed(Failed::unusable(head)),
    }
}

/// Where a refresh token is revoked, for the token endpoint of the same accounts server: the older form, which wants the
/// token alone.
pub fn revocation_url(token_url: &Url) -> Url {
    beside(token_url, "/oauth/v2/token/revoke")
}

/// The newer form, which wants the client's id and secret in a Basic header, too. Zoho documents both.
pub fn newer_revocation_url(token_url: &Url) -> Url {
    beside(token_url, "/oauth/v2/revoke/token")
}

/// Where a person consents, for the token endpoint of the same accounts server.
pub fn consent_url(token_url: &Url) -> Url {
    beside(token_url, "/oauth/v2/auth")
}

/// Where an accounts server lists the data centers; needs no secret.
pub fn server_info_url(token_url: &Url) -> Url {
    beside(token_url, "/oauth/serverinfo")
}

/// Another address of the accounts server that a token endpoint belongs to.
pub(super) fn beside(token_url: &Url, path: &str) -> Url {
    let mut url = token_url.clone();
    let base = token_url.path().strip_suffix("/oauth/v2/token").unwrap_or_default().to_owned();
    url.set_path(&format!("{base}{path}"));
    url
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::issuer::cause::Cause;
    use zoho_api::{Outcome, Reason};

    fn word(exchanged: &Exchanged) -> String {
        match exchanged {
            Exchanged::Granted { refresh_token, scope } => {
                format!("{} for {}", refresh_token.expose_secret(), scope.as_deref().unwrap_or("-"))
            }
            Exchanged::WithoutRefreshToken => "no refresh token".into(),
            Exchanged::Throttled => "throttled".into(),
            Exchanged::Failed(failed) => format!("{} {}", failed.reason, failed.code.as_deref().unwrap_or("-")),
        }
    }

    #[test]
    fn every_reply_to_a_code_has_its_meaning() {
        let table = [
            (200, r#"{"access_token":"a","refresh_token":"r","scope":"A.b.READ"}"#, "r for A.b.READ"),
            (200, r#"{"access_token":"a","refresh_token":"r"}"#, "r for -"),
            (200, r#"{"access_token":"a"}"#, "no refresh token"),
            (200, r#"{"access_token":"a","refresh_token":""}"#, "no refresh token"),
            (200, r#"{"access_token":"a","refresh_token":"r\nr"}"#, "no refresh token"),
            (200, r#"{"access_token":"a","refresh_token":7}"#, "no refresh token"),
            (200, "\u{feff}{\"access_token\":\"a\",\"refresh_token\":\"r\"}", "r for -"),
            (200, r#"{"error":"INVALID_CODE"}"#, "RefreshTokenRejected invalid_code"),
            (200, r#"{"error":"invalid_code"}"#, "RefreshTokenRejected invalid_code"),
            (200, r#"{"error":"invalid_client"}"#, "ClientRejected invalid_client"),
            (400, r#"{"error":"X y","error_description":"d","status":"failure"}"#, "throttled"),
            (200, "<html>", "UpstreamReplyInvalid -"),
        ];
        for (status, body, expected) in table {
            assert_eq!(word(&read_exchange(Head::of(status), body.as_bytes(), Time::UNIX_EPOCH)), expected, "{body}");
        }
    }

    #[test]
    fn revocation_is_done_only_when_the_server_says_so() {
        let failed = |reason| Revoked::Failed(Failed::passing(reason, Outcome::Unknown));
        let out_of_order = |status| {
            let cause = Some(Cause::OutOfOrder { status });
            Revoked::Failed(Failed { cause, ..Failed::passing(Reason::UpstreamUnavailable, Outcome::Unknown) })
        };
        let client_rejected = Revoked::Failed(Failed::permanent(Reason::ClientRejected, Some("invalid_client".into())));
        let table = [
            (200, r#"{"status":"success"}"#, Revoked::Done),
            (200, "\u{feff}{\"status\":\"Success\"}", Revoked::Done),
            (400, r#"{"error":"invalid_token"}"#, Revoked::NotValid),
            (200, r#"{"error":"invalid_token"}"#, Revoked::NotValid),
            (200, "<html>", failed(Reason::UpstreamReplyInvalid)),
            (200, "{}", failed(Reason::UpstreamReplyInvalid)),
            (404, "<html>", Revoked::NoEndpoint),
            (404, r#"{"error":"invalid_token"}"#, Revoked::NoEndpoint),
            (405, "", Revoked::NoEndpoint),
            (302, "", failed(Reason::UpstreamRedirect)),
            (503, "{}", out_of_order(503)),
            (400, r#"{"error":"invalid_code"}"#, Revoked::NotValid),
            (400, r#"{"error":null}"#, failed(Reason::UpstreamReplyInvalid)),
            (401, r#"{"error":"invalid_client"}"#, client_rejected),
            (
                400,
                r#"{"error":"Access Denied","error_description":"You have made too many requests","status":"failure"}"#,
                Revoked::Failed(Failed::passing(Reason::Throttled, Outcome::NotMinted)),
            ),
        ];
        for (status, body, expected) in table {
            assert_eq!(
                read_revocation(Head::of(status), body.as_bytes(), Time::UNIX_EPOCH),
                expected,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn endpoints_stand_beside_the_token_endpoint() {
        let url: Url = "https://gateway.example/zoho/oauth/v2/token".parse().unwrap();
        assert_eq!(revocation_url(&url).as_str(), "https://gateway.example/zoho/oauth/v2/token/revoke");
        assert_eq!(newer_revocation_url(&url).as_str(), "https://gateway.example/zoho/oauth/v2/revoke/token");
        assert_eq!(consent_url(&url).as_str(), "https://gateway.example/zoho/oauth/v2/auth");
        assert_eq!(server_info_url(&url).as_str(), "https://gateway.example/zoho/oauth/serverinfo");
    }
}
