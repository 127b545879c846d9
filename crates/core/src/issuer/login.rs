//! What a person's login and its end come to: the replies to an exchanged grant code and to a revocation. Pure.
//!
//! The operator itself never logs in at a data center; `kubectl zoho login` and `revoke` do.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::reply::{self, Failed, Reply};
use zoho_api::{Outcome, Reason};

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
    /// Nothing usable came back.
    Failed(Failed),
}

#[derive(Deserialize)]
struct Body {
    refresh_token: Option<Value>,
    scope: Option<Value>,
    status: Option<Value>,
    error: Option<Value>,
}

/// Reads the reply to an exchange. Total: any bytes have a meaning.
pub fn read_exchange(status: u16, retry_after: Option<&str>, body: &[u8]) -> Exchanged {
    match reply::classify(status, retry_after, body) {
        Reply::Minted { .. } => {
            let body = serde_json::from_slice::<Body>(body).ok();
            let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
            let scope = body.as_ref().and_then(|body| text(body.scope.clone()));
            match body.and_then(|body| text(body.refresh_token)).filter(|token| reply::is_token(token)) {
                Some(token) => Exchanged::Granted { refresh_token: SecretString::from(token), scope },
                None => Exchanged::WithoutRefreshToken,
            }
        }
        Reply::Throttled { .. } => Exchanged::Throttled,
        Reply::Failed(failed) => Exchanged::Failed(failed),
    }
}

/// Reads the reply to a revocation. Total.
pub fn read_revocation(status: u16, body: &[u8]) -> Revoked {
    let said = serde_json::from_slice::<Body>(body).ok();
    let is_success = said.as_ref().is_some_and(|body| body.status.as_ref().is_some_and(|word| word == "success"));
    match (status, said) {
        (200..=299, Some(_)) if is_success => Revoked::Done,
        (400, Some(_)) | (_, Some(Body { error: Some(_), .. })) if status < 500 => Revoked::NotValid,
        _ => {
            let reason = match status {
                500.. => Reason::UpstreamUnavailable,
                300..=399 => Reason::UpstreamRedirect,
                _ => Reason::UpstreamReplyInvalid,
            };
            Revoked::Failed(Failed { reason, code: None, permanent: false, outcome: Outcome::Unknown })
        }
    }
}

/// Where a refresh token is revoked, beside the token endpoint.
pub fn revocation_url(token_url: &Url) -> Url {
    below(token_url, "/revoke")
}

/// Where a person consents, for the token endpoint of the same accounts server.
pub fn consent_url(token_url: &Url) -> Url {
    let mut url = token_url.clone();
    let base = token_url.path().strip_suffix("/oauth/v2/token").unwrap_or_default().to_owned();
    url.set_path(&format!("{base}/oauth/v2/auth"));
    url
}

/// Where an accounts server lists the data centers; needs no secret.
pub fn server_info_url(token_url: &Url) -> Url {
    let mut url = token_url.clone();
    let base = token_url.path().strip_suffix("/oauth/v2/token").unwrap_or_default().to_owned();
    url.set_path(&format!("{base}/oauth/serverinfo"));
    url
}

fn below(url: &Url, path: &str) -> Url {
    let mut below = url.clone();
    below.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
    below
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

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
            (200, r#"{"error":"invalid_code"}"#, "RefreshTokenRejected invalid_code"),
            (200, r#"{"error":"invalid_client"}"#, "ClientRejected invalid_client"),
            (400, r#"{"error":"x","error_description":"d","status":"failure"}"#, "throttled"),
            (200, "<html>", "UpstreamReplyInvalid -"),
        ];
        for (status, body, expected) in table {
            assert_eq!(word(&read_exchange(status, None, body.as_bytes())), expected, "{body}");
        }
    }

    #[test]
    fn revocation_is_done_only_when_the_server_says_so() {
        let failed =
            |reason| Revoked::Failed(Failed { reason, code: None, permanent: false, outcome: Outcome::Unknown });
        let table = [
            (200, r#"{"status":"success"}"#, Revoked::Done),
            (400, r#"{"error":"invalid_token"}"#, Revoked::NotValid),
            (200, r#"{"error":"invalid_token"}"#, Revoked::NotValid),
            (200, "<html>", failed(Reason::UpstreamReplyInvalid)),
            (200, "{}", failed(Reason::UpstreamReplyInvalid)),
            (302, "", failed(Reason::UpstreamRedirect)),
            (503, r#"{"error":"x"}"#, failed(Reason::UpstreamUnavailable)),
        ];
        for (status, body, expected) in table {
            assert_eq!(read_revocation(status, body.as_bytes()), expected, "{status} {body}");
        }
    }

    #[test]
    fn endpoints_stand_beside_the_token_endpoint() {
        let url: Url = "https://gateway.example/zoho/oauth/v2/token".parse().unwrap();
        assert_eq!(revocation_url(&url).as_str(), "https://gateway.example/zoho/oauth/v2/token/revoke");
        assert_eq!(consent_url(&url).as_str(), "https://gateway.example/zoho/oauth/v2/auth");
        assert_eq!(server_info_url(&url).as_str(), "https://gateway.example/zoho/oauth/serverinfo");
    }
}
