//! The classifier of token replies: status, headers and body in, one verdict out. Pure.
//!
//! Zoho reports errors with HTTP 200, so the body is looked at before the status. Nothing that the server wrote leaves
//! this module but the token, a checked API domain, and an error code of `[a-z_]{1,64}`.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::template::LONGEST_TOKEN;
use zoho_api::{Outcome, Reason};

/// Life that is assumed where the server names none, and the longest that is believed.
const LONGEST_LIFE: f64 = 3600.0;
/// Shortest life that is believed.
const SHORTEST_LIFE: f64 = 60.0;
/// An `expires_in` above this is in milliseconds.
const MILLISECONDS_ABOVE: f64 = 86_400.0;
/// A throttle is met with at least this much silence.
const SHORTEST_THROTTLE: Duration = Duration::from_secs(600);
/// And at most this much.
const LONGEST_THROTTLE: Duration = Duration::from_secs(3600);

/// What a reply of the token service means.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A token.
    Minted {
        /// The token.
        access_token: SecretString,
        /// Its life, counted from when the request was sent.
        life: Duration,
        /// As the server wrote it; see `data_centers::checked_api_domain`.
        api_domain: Option<String>,
    },
    /// Too many requests.
    Throttled {
        /// How long to be silent.
        silence: Duration,
    },
    /// No token.
    Failed(Failed),
}

/// A reply without a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The reason to report.
    pub reason: Reason,
    /// The server's error code, if it is one of `[a-z_]{1,64}`.
    pub code: Option<String>,
    /// Asking again with the same inputs is pointless.
    pub permanent: bool,
    /// `NotMinted` where the server said so in JSON, else `Unknown`.
    pub outcome: Outcome,
}

impl Failed {
    /// An answer that is none.
    pub(crate) fn unusable(status: u16) -> Self {
        let reason = match status {
            300..=399 => Reason::UpstreamRedirect,
            500.. => Reason::UpstreamUnavailable,
            _ => Reason::UpstreamReplyInvalid,
        };
        Self { reason, code: None, permanent: false, outcome: Outcome::Unknown }
    }
}

#[derive(Deserialize)]
struct Body {
    access_token: Option<Value>,
    expires_in: Option<Value>,
    expires_in_sec: Option<Value>,
    api_domain: Option<Value>,
    error: Option<Value>,
    error_description: Option<Value>,
    status: Option<Value>,
}

/// Classifies a reply. Total: any bytes have a meaning.
pub fn classify(status: u16, retry_after: Option<&str>, body: &[u8]) -> Reply {
    let body = serde_json::from_slice::<Body>(body).ok();
    if let Some(Body { error: Some(error), access_token: None, .. }) = &body
        && let Some(code) = error.as_str()
        && let Some(reason) = permanent_reason(code)
    {
        let code = Some(code.to_owned());
        return Reply::Failed(Failed { reason, code, permanent: true, outcome: Outcome::NotMinted });
    }
    if status == 429 || body.as_ref().is_some_and(is_throttle) {
        return Reply::Throttled { silence: silence(retry_after) };
    }
    let Some(body) = body else { return Reply::Failed(Failed::unusable(status)) };
    match (body.error, body.access_token) {
        (Some(error), None) if !error.is_null() => {
            let code = error.as_str().filter(|code| is_code(code)).map(str::to_owned);
            let reason = Reason::UpstreamError;
            Reply::Failed(Failed { reason, code, permanent: false, outcome: Outcome::NotMinted })
        }
        (None | Some(Value::Null), Some(Value::String(token))) if (200..300).contains(&status) && is_token(&token) => {
            Reply::Minted {
                access_token: SecretString::from(token),
                life: life(body.expires_in_sec.as_ref(), body.expires_in.as_ref()),
                api_domain: body.api_domain.as_ref().and_then(Value::as_str).map(str::to_owned),
            }
        }
        _ => Reply::Failed(Failed::unusable(status)),
    }
}

/// Codes that asking again does not change.
fn permanent_reason(code: &str) -> Option<Reason> {
    match code {
        "invalid_client" | "invalid_client_secret" => Some(Reason::ClientRejected),
        "invalid_code" | "invalid_grant" => Some(Reason::RefreshTokenRejected),
        "unauthorized_client"
        | "unsupported_grant_type"
        | "invalid_scope"
        | "invalid_request"
        | "invalid_redirect_uri"
        | "missing_org_info"
        | "invalid_soid"
        | "access_denied" => Some(Reason::RequestRejected),
        _ => None,
    }
}

/// The throttle's text is localised, so its shape decides; the English words are taken wherever they stand.
fn is_throttle(body: &Body) -> bool {
    let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let has_description = body.error_description.as_ref().is_some_and(|text| !text.is_null());
    let has_shape = body.error.is_some() && text(&body.status) == "failure" && has_description;
    body.access_token.is_none() && (has_shape || text(&body.error_description).contains("too many requests"))
}

fn silence(retry_after: Option<&str>) -> Duration {
    let asked = retry_after.and_then(|text| text.trim().parse().ok()).map_or(SHORTEST_THROTTLE, Duration::from_secs);
    asked.clamp(SHORTEST_THROTTLE, LONGEST_THROTTLE)
}

fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Could this be a token?
pub(crate) fn is_token(token: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The unit rule: `expires_in_sec` in seconds, else `expires_in`, which older servers give in milliseconds.
fn life(seconds: Option<&Value>, either: Option<&Value>) -> Duration {
    let seconds = number(seconds).or_else(|| {
        let said = number(either)?;
        Some(if said > MILLISECONDS_ABOVE { said / 1000.0 } else { said })
    });
    Duration::from_secs_f64(seconds.unwrap_or(LONGEST_LIFE).clamp(SHORTEST_LIFE, LONGEST_LIFE).floor())
}

fn number(value: Option<&Value>) -> Option<f64> {
    let number = match value? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.filter(|number| number.is_finite() && *number > 0.0)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    /// One word for a reply, so that a table can be read.
    fn word(reply: &Reply) -> String {
        match reply {
            Reply::Minted { access_token, life, .. } => format!("{} {}", access_token.expose_secret(), life.as_secs()),
            Reply::Throttled { silence } => format!("throttled {}", silence.as_secs()),
            Reply::Failed(Failed { reason, code, permanent, outcome }) => {
                let kind = if *permanent { "permanent" } else { "transient" };
                format!("{reason} {} {kind} {outcome:?}", code.as_deref().unwrap_or("-"))
            }
        }
    }

    #[test]
    fn every_documented_reply_has_its_meaning() {
        const REJECTED: &str = "RefreshTokenRejected invalid_code permanent NotMinted";
        let throttle = r#"{"error":"Access Denied","error_description":"You have made too many requests continuously. Please try again after some time.","status":"failure"}"#;
        let localised = r#"{"error":"拒绝访问","error_description":"您连续发出了太多请求。","status":"failure"}"#;
        let table: &[(u16, &str, &str)] = &[
            (
                200,
                r#"{"access_token":"1000.a.b","expires_in":3600,"api_domain":"https://www.zohoapis.eu","token_type":"Bearer"}"#,
                "1000.a.b 3600",
            ),
            (200, r#"{"access_token":"1000.a.b","expires_in":360}"#, "1000.a.b 360"),
            (200, r#"{"error":"invalid_code"}"#, REJECTED),
            (400, r#"{"error":"invalid_code"}"#, REJECTED),
            (500, r#"{"error":"invalid_code"}"#, REJECTED),
            (200, r#"{"error":"invalid_grant"}"#, "RefreshTokenRejected invalid_grant permanent NotMinted"),
            (200, r#"{"error":"invalid_client"}"#, "ClientRejected invalid_client permanent NotMinted"),
            (200, r#"{"error":"invalid_client_secret"}"#, "ClientRejected invalid_client_secret permanent NotMinted"),
            (400, r#"{"error":"invalid_scope"}"#, "RequestRejected invalid_scope permanent NotMinted"),
            (200, r#"{"error":"access_denied"}"#, "RequestRejected access_denied permanent NotMinted"),
            (200, throttle, "throttled 600"),
            (400, throttle, "throttled 600"),
            (200, localised, "throttled 600"),
            (400, localised, "throttled 600"),
            (429, "", "throttled 600"),
            (429, "<html>", "throttled 600"),
            (200, r#"{"error":"general_error"}"#, "UpstreamError general_error transient NotMinted"),
            (200, r#"{"error":"Whatever it is"}"#, "UpstreamError - transient NotMinted"),
            (200, r#"{"error":{"code":7}}"#, "UpstreamError - transient NotMinted"),
            (502, r#"{"error":"general_error"}"#, "UpstreamError general_error transient NotMinted"),
            (500, "<html>oops</html>", "UpstreamUnavailable - transient Unknown"),
            (503, "", "UpstreamUnavailable - transient Unknown"),
            (502, r#"{"access_token":"1000.a.b","expires_in":3600}"#, "UpstreamUnavailable - transient Unknown"),
            (200, "<html>hello</html>", "UpstreamReplyInvalid - transient Unknown"),
            (403, "<html>WAF</html>", "UpstreamReplyInvalid - transient Unknown"),
            (200, "", "UpstreamReplyInvalid - transient Unknown"),
            (200, "{}", "UpstreamReplyInvalid - transient Unknown"),
            (200, "[]", "UpstreamReplyInvalid - transient Unknown"),
            (200, r#"{"access_token":"1000.a"#, "UpstreamReplyInvalid - transient Unknown"),
            (200, r#"{"access_token":""}"#, "UpstreamReplyInvalid - transient Unknown"),
            (200, r#"{"access_token":"a b"}"#, "UpstreamReplyInvalid - transient Unknown"),
            (200, r#"{"access_token":"a\nb"}"#, "UpstreamReplyInvalid - transient Unknown"),
            (200, r#"{"access_token":7}"#, "UpstreamReplyInvalid - transient Unknown"),
            (200, r#"{"access_token":"1000.a.b","error":"invalid_code"}"#, "UpstreamReplyInvalid - transient Unknown"),
            (302, "", "UpstreamRedirect - transient Unknown"),
        ];
        for (status, body, expected) in table {
            assert_eq!(word(&classify(*status, None, body.as_bytes())), *expected, "{status} {body}");
        }
    }

    #[test]
    fn life_follows_the_unit_rule_and_lies_are_bounded() {
        let table = [
            (r#""expires_in":3600"#, 3600),
            (r#""expires_in":"3600""#, 3600),
            (r#""expires_in":3600000"#, 3600),
            (r#""expires_in":3600000,"expires_in_sec":1800"#, 1800),
            (r#""expires_in":360000"#, 360),
            (r#""expires_in":360"#, 360),
            (r#""expires_in":0"#, 3600),
            (r#""expires_in":-1"#, 3600),
            (r#""expires_in":1"#, 60),
            (r#""expires_in":86400"#, 3600),
            (r#""expires_in":9223372036854775808"#, 3600),
            (r#""expires_in":"NaN""#, 3600),
            (r#""expires_in":"soon""#, 3600),
            (r#""expires_in":null"#, 3600),
            (r#""scope":"x""#, 3600),
        ];
        for (field, expected) in table {
            let body = format!(r#"{{"access_token":"t",{field}}}"#);
            assert_eq!(word(&classify(200, None, body.as_bytes())), format!("t {expected}"), "{field}");
        }
    }

    #[test]
    fn retry_after_is_kept_within_ten_minutes_and_an_hour() {
        for (said, expected) in [("1", 600), ("900", 900), ("999999999999", 3600), ("soon", 600), ("-5", 600)] {
            assert_eq!(word(&classify(429, Some(said), b"")), format!("throttled {expected}"), "{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_never_mint_without_a_token(status in 100u16..600, body in proptest::collection::vec(0u8.., 0..200)) {
            let minted = matches!(classify(status, None, &body), Reply::Minted { .. });
            proptest::prop_assert!(!minted);
        }

        #[test]
        fn only_a_code_of_the_server_comes_through(code in ".{0,80}") {
            let body = serde_json::json!({ "error": code }).to_string();
            if let Reply::Failed(failed) = classify(200, None, body.as_bytes()) {
                proptest::prop_assert!(failed.code.is_none_or(|code| is_code(&code)));
            }
        }
    }
}
