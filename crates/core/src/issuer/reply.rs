//! The classifier of token replies: status, headers and body in, one verdict out. Pure.
//!
//! Zoho reports errors with HTTP 200, so the body is looked at before the status. Nothing that the server wrote leaves
//! this module but the token, a checked API domain, checked scopes, and an error code of `[a-z_]{1,64}`.

use std::time::Duration;

use secrecy::SecretString;

use super::body::{self, Object};
use super::cause::Cause;
use crate::template::LONGEST_TOKEN;
use zoho_api::{Outcome, Reason, Time};

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
/// Scopes that are kept of a reply, and the longest.
const MOST_SCOPES: usize = 64;
const LONGEST_SCOPE: usize = 128;
/// Where an error code stands, beside `error` itself and in it.
const CODE_KEYS: [&str; 5] = ["code", "error", "error_code", "errorCode", "errors"];
/// How deep a code is looked for.
const DEEPEST_CODE: usize = 3;

/// Status and headers of a reply.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`: seconds or a date.
    pub retry_after: Option<&'a str>,
    /// `Date`.
    pub date: Option<&'a str>,
    /// `Location`, which is never followed.
    pub location: Option<&'a str>,
}

impl Head<'_> {
    /// A reply of which only the status is known.
    pub fn of(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    fn is_success(self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What a reply of the token service means.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A token.
    Minted(Minted),
    /// Too many requests.
    Throttled {
        /// How long to be silent.
        silence: Duration,
    },
    /// No token.
    Failed(Failed),
}

/// A token, and what came with it.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token.
    pub access_token: SecretString,
    /// Its life, counted from when the request was sent.
    pub life: Duration,
    /// As the server wrote it; see `data_centers::checked_api_domain`.
    pub api_domain: Option<String>,
    /// What it is good for, sorted, as far as the server names it.
    pub scopes: Vec<String>,
    /// Another refresh token. The first exchange of a code brings one; a refresh usually does not.
    pub refresh_token: Option<SecretString>,
}

impl Minted {
    /// A token with which nothing came.
    pub fn bare(access_token: SecretString, life: Duration) -> Self {
        Self { access_token, life, api_domain: None, scopes: Vec::new(), refresh_token: None }
    }
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
    /// What stood in the way, where more than the reason is known.
    pub cause: Option<Cause>,
}

impl Failed {
    /// A failure that another try may end.
    pub fn passing(reason: Reason, outcome: Outcome) -> Self {
        Self { reason, code: None, permanent: false, outcome, cause: None }
    }

    /// A refusal that asking again does not change.
    pub fn permanent(reason: Reason, code: Option<String>) -> Self {
        Self { reason, code, permanent: true, outcome: Outcome::NotMinted, cause: None }
    }

    /// An answer that is none.
    pub(crate) fn unusable(head: Head<'_>) -> Self {
        let reason = match head.status {
            300..=399 => Reason::UpstreamRedirect,
            500.. => Reason::UpstreamUnavailable,
            _ => Reason::UpstreamReplyInvalid,
        };
        let cause = match head.status {
            300..=399 => head.location.and_then(Cause::of_redirect),
            status @ 500.. => Some(Cause::OutOfOrder { status }),
            _ => None,
        };
        Self { cause, ..Self::passing(reason, Outcome::Unknown) }
    }
}

/// Classifies a reply. Total: any bytes have a meaning. `now` counts where `Retry-After` is a date and the server's own
/// is not known.
pub fn classify(head: Head<'_>, body: &[u8], now: Time) -> Reply {
    let text = body::text(body);
    let Some(object) = Object::parse(&text) else {
        return if head.status == 429 { throttled(head, now) } else { Reply::Failed(Failed::unusable(head)) };
    };
    let token = object.values("access_token").find_map(|json| body::string(json).filter(|token| is_token(token)));
    let error = Said::of(&object);
    match (token, error) {
        (Some(token), None) if head.is_success() => Reply::Minted(minted(&object, token)),
        // A token that lives, perhaps; what the error is about is not known.
        (Some(_), _) => Reply::Failed(Failed::unusable(head)),
        (None, error) => refused(head, &object, &text, error, now),
    }
}

/// An object without a token.
fn refused(head: Head<'_>, object: &Object<'_>, text: &str, error: Option<Said>, now: Time) -> Reply {
    let verdict = error.as_ref().and_then(|said| permanent_reason(said.code.as_deref()?));
    let is_about_the_client = matches!(verdict, Some(Reason::ClientRejected | Reason::RefreshTokenRejected));
    if speaks_of_too_many_requests(text) || (head.status == 429 && !is_about_the_client) {
        return throttled(head, now);
    }
    let code = error.as_ref().and_then(|said| said.code.clone());
    match (verdict, error) {
        (Some(reason), _) => Reply::Failed(Failed::permanent(reason, code)),
        (None, Some(said)) if is_throttle(&said, object) => throttled(head, now),
        (None, None) => Reply::Failed(Failed::unusable(head)),
        (None, Some(_)) if (300..400).contains(&head.status) => Reply::Failed(Failed::unusable(head)),
        // Who is out of order may have minted before it noticed.
        (None, Some(_)) if head.status >= 500 => {
            if code.is_none() {
                return Reply::Failed(Failed::unusable(head));
            }
            Reply::Failed(Failed { code, ..Failed::passing(Reason::UpstreamError, Outcome::Unknown) })
        }
        (None, Some(_)) => Reply::Failed(Failed { code, ..Failed::passing(Reason::UpstreamError, Outcome::NotMinted) }),
    }
}

fn minted(object: &Object<'_>, token: String) -> Minted {
    let scopes = object.string("scope").unwrap_or_default();
    let mut scopes: Vec<String> = scopes.split([',', ' ']).filter(|scope| is_scope(scope)).map(str::to_owned).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.truncate(MOST_SCOPES);
    let refresh_token = object.string("refresh_token").filter(|token| is_token(token));
    Minted {
        access_token: SecretString::from(token),
        life: life(object),
        api_domain: object.string("api_domain"),
        scopes,
        refresh_token: refresh_token.map(SecretString::from),
    }
}

/// What an error says.
struct Said {
    /// As it stands there.
    words: String,
    /// In small letters, if that is one of `[a-z_]{1,64}`.
    code: Option<String>,
}

impl Said {
    /// The error in a reply; `None` where there is none, or an empty one.
    fn of(object: &Object<'_>) -> Option<Self> {
        let error = object.values("error").find(|json| is_something(json));
        let words = match error {
            Some(json) => first_words(json, DEEPEST_CODE),
            None => {
                CODE_KEYS.iter().flat_map(|key| object.values(key)).find_map(|json| first_words(json, DEEPEST_CODE))
            }
        };
        if error.is_none() && words.is_none() {
            return None;
        }
        let words = words.unwrap_or_default();
        let code = Some(words.to_ascii_lowercase()).filter(|code| is_code(code));
        Some(Self { words, code })
    }

    /// Is it a code, and not a word of some language that happens to be short? `Verweigert` is none, `INVALID` is one.
    fn is_code_as_written(&self) -> bool {
        let one_case = !self.words.contains(|c: char| c.is_ascii_lowercase())
            || !self.words.contains(|c: char| c.is_ascii_uppercase());
        self.code.is_some() && (one_case || self.words.contains('_'))
    }
}

/// Is a JSON text more than nothing: not null, false, zero or empty?
pub(super) fn is_something(json: &str) -> bool {
    match json.as_bytes().first() {
        Some(b'n' | b'f') => false,
        Some(b'"') => body::string(json).is_none_or(|text| !text.trim().is_empty()),
        Some(b'{' | b'[') => json[1..json.len() - 1].contains(|c: char| !c.is_whitespace()),
        Some(b't') => true,
        _ => body::number(json) != Some(0.0),
    }
}

/// The first text that may be a code: the value itself, or what stands in it under a key for codes.
fn first_words(json: &str, deepest: usize) -> Option<String> {
    if let Some(text) = body::string(json) {
        return Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    }
    let deeper = deepest.checked_sub(1)?;
    if let Some(object) = Object::parse(json) {
        return CODE_KEYS.iter().flat_map(|key| object.values(key)).find_map(|json| first_words(json, deeper));
    }
    let list: Vec<&serde_json::value::RawValue> = serde_json::from_str(json).ok()?;
    list.into_iter().find_map(|item| first_words(item.get(), deeper))
}

/// Codes that asking again does not change.
fn permanent_reason(code: &str) -> Option<Reason> {
    match code {
        "invalid_client" | "invalid_client_secret" => Some(Reason::ClientRejected),
        "invalid_code" | "invalid_grant" | "invalid_token" => Some(Reason::RefreshTokenRejected),
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

/// The English words, wherever they stand and under whatever code.
fn speaks_of_too_many_requests(text: &str) -> bool {
    let mut text = text.to_owned();
    // As JSON writes what stands between words.
    for escape in ["\\n", "\\r", "\\t", "\\u00a0", "\\u00A0"] {
        text = text.replace(escape, " ");
    }
    let words: Vec<String> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.windows(3).any(|three| three == ["too", "many", "requests"])
}

/// The throttle's text is localised, so its shape decides: words in place of a code, a description, and a failure.
/// Without a description, the words that Zoho throttles with.
fn is_throttle(said: &Said, object: &Object<'_>) -> bool {
    let is_failure = object.string("status").is_some_and(|status| status.trim().eq_ignore_ascii_case("failure"));
    let is_described = object.values("error_description").any(is_something);
    let has_shape = is_failure && is_described && !said.words.is_empty() && !said.is_code_as_written();
    has_shape || said.words.split_whitespace().map(str::to_ascii_lowercase).eq(["access", "denied"])
}

fn throttled(head: Head<'_>, now: Time) -> Reply {
    Reply::Throttled { silence: silence(head, now) }
}

/// How long the server wants to be left alone, within bounds.
fn silence(head: Head<'_>, now: Time) -> Duration {
    let asked = head.retry_after.and_then(|text| {
        let seconds = text.trim().parse().ok().filter(|seconds: &f64| *seconds >= 0.0);
        seconds.map(|seconds| Duration::from_secs_f64(seconds.min(LONGEST_THROTTLE.as_secs_f64()))).or_else(|| {
            // By the server's own clock, if that is known: whose date it is.
            let sent_at = head.date.and_then(Time::from_http_date).unwrap_or(now);
            Some(Time::from_http_date(text)?.since(sent_at))
        })
    });
    asked.unwrap_or(SHORTEST_THROTTLE).clamp(SHORTEST_THROTTLE, LONGEST_THROTTLE)
}

pub(super) fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn is_scope(scope: &str) -> bool {
    (1..=LONGEST_SCOPE).contains(&scope.len())
        && scope.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Could this be a token?
pub(crate) fn is_token(token: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The unit rule: `expires_in_sec` in seconds, else `expires_in`, which older servers give in milliseconds.
fn life(object: &Object<'_>) -> Duration {
    let number = |key| object.values(key).find_map(|json| body::number(json).filter(|number| *number > 0.0));
    let seconds = number("expires_in_sec").or_else(|| {
        let said = number("expires_in")?;
        Some(if said > MILLISECONDS_ABOVE { said / 1000.0 } else { said })
    });
    Duration::from_secs_f64(seconds.unwrap_or(LONGEST_LIFE).clamp(SHORTEST_LIFE, LONGEST_LIFE).floor())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use zoho_api::DataCenter;

    /// One word for a reply, so that a table can be read.
    fn word(reply: &Reply) -> String {
        match reply {
            Reply::Minted(minted) => format!("{} {}", minted.access_token.expose_secret(), minted.life.as_secs()),
            Reply::Throttled { silence } => format!("throttled {}", silence.as_secs()),
            Reply::Failed(Failed { reason, code, permanent, outcome, cause: _ }) => {
                let kind = if *permanent { "permanent" } else { "transient" };
                format!("{reason} {} {kind} {outcome:?}", code.as_deref().unwrap_or("-"))
            }
        }
    }

    const NOW: Time = Time::UNIX_EPOCH;

    fn said(status: u16, body: impl AsRef<[u8]>) -> String {
        word(&classify(Head::of(status), body.as_ref(), NOW))
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
            (502, r#"{"error":"general_error"}"#, "UpstreamError general_error transient Unknown"),
            (500, r#"{"error":"Internal Server Error"}"#, "UpstreamUnavailable - transient Unknown"),
            (502, r#"{"error":"invalid_client"}"#, "ClientRejected invalid_client permanent NotMinted"),
            (503, throttle, "throttled 600"),
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
            assert_eq!(said(*status, body), *expected, "{status} {body}");
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
            assert_eq!(said(200, &body), format!("t {expected}"), "{field}");
        }
    }

    #[test]
    fn retry_after_is_kept_within_ten_minutes_and_an_hour() {
        let head = |retry_after, date| Head { retry_after, date, ..Head::of(429) };
        let table = [
            ("1", None, 600),
            ("900", None, 900),
            ("900.5", None, 900),
            ("999999999999", None, 3600),
            ("soon", None, 600),
            ("-5", None, 600),
            ("NaN", None, 600),
            ("", None, 600),
            ("Thu, 01 Jan 1970 00:30:00 GMT", None, 1800),
            ("Thu, 01 Jan 1970 12:00:00 GMT", None, 3600),
            ("Thu, 01 Jan 1970 00:30:00 GMT", Some("Thu, 01 Jan 1970 00:10:00 GMT"), 1200),
            ("Thu, 01 Jan 1970 00:30:00 GMT", Some("yesterday"), 1800),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some("Thu, 01 Jan 1970 00:10:00 GMT"), 600),
        ];
        for (retry_after, date, expected) in table {
            let reply = classify(head(Some(retry_after), date), b"", NOW);
            assert_eq!(word(&reply), format!("throttled {expected}"), "{retry_after}");
        }
    }

    #[test]
    fn token_is_taken_whatever_stands_around_it() {
        let table: [(&str, &[u8]); 14] = [
            ("byte order mark", b"\xef\xbb\xbf{\"access_token\":\"1000.a\"}"),
            ("key twice", br#"{"access_token":"1000.a","access_token":"1000.a"}"#),
            ("other key twice", br#"{"expires_in":1,"access_token":"1000.a","expires_in":3600}"#),
            ("token twice, once null", br#"{"access_token":"1000.a","access_token":null}"#),
            ("empty error", br#"{"error":"","access_token":"1000.a"}"#),
            ("blank error", br#"{"error":" ","access_token":"1000.a"}"#),
            ("no error", br#"{"error":null,"access_token":"1000.a"}"#),
            ("error that is none", br#"{"error":false,"access_token":"1000.a"}"#),
            ("error without number", br#"{"error":0,"access_token":"1000.a"}"#),
            ("error without members", br#"{"error":{ },"access_token":"1000.a"}"#),
            ("errors twice, both empty", br#"{"error":"","error":null,"access_token":"1000.a"}"#),
            ("Latin-1", b"{\"owner\":\"J\xf6rg\",\"access_token\":\"1000.a\"}"),
            ("life out of range", br#"{"access_token":"1000.a","expires_in":1e999}"#),
            ("words on requests", br#"{"access_token":"1000.a","hint":"Too many requests end tokens"}"#),
        ];
        for (name, body) in table {
            assert_eq!(said(200, body), "1000.a 3600", "{name}");
        }
        assert_eq!(said(200, br#"{"access_token":"1000.a","access_token":"1000.b"}"#), "1000.b 3600", "the last one");
    }

    #[test]
    fn code_is_read_however_it_is_written_and_whatever_stands_around_it() {
        const REJECTED: &str = "RefreshTokenRejected invalid_code permanent NotMinted";
        let table: [(&str, &[u8], &str); 16] = [
            ("capitals", br#"{"error":"INVALID_CODE"}"#, REJECTED),
            ("mixed", br#"{"error":"Invalid_Code"}"#, REJECTED),
            ("blanks", br#"{"error":" invalid_code "}"#, REJECTED),
            ("nested", br#"{"error":{"code":"invalid_code"}}"#, REJECTED),
            ("nested as itself", br#"{"error":{"error":"Invalid_Code","message":"x"}}"#, REJECTED),
            ("in a list", br#"{"error":[{"code":"invalid_code"}]}"#, REJECTED),
            ("under another key", br#"{"code":"INVALID_CODE","message":"x","status":"error"}"#, REJECTED),
            ("in a list of errors", br#"{"errors":[{"code":"invalid_code"}]}"#, REJECTED),
            ("byte order mark", b"\xef\xbb\xbf{\"error\":\"invalid_code\"}", REJECTED),
            ("Latin-1", b"{\"error\":\"invalid_code\",\"error_description\":\"ung\xfcltig\"}", REJECTED),
            ("key twice", br#"{"error":"invalid_code","error":"invalid_code"}"#, REJECTED),
            ("key twice, once empty", br#"{"error":"invalid_code","error":""}"#, REJECTED),
            ("described", br#"{"error":"invalid_code","error_description":"x","status":"failure"}"#, REJECTED),
            ("of a token", br#"{"error":"invalid_token"}"#, "RefreshTokenRejected invalid_token permanent NotMinted"),
            ("of a client", br#"{"error":"INVALID_CLIENT"}"#, "ClientRejected invalid_client permanent NotMinted"),
            ("unknown", br#"{"error":{"code":"Some_Thing"}}"#, "UpstreamError some_thing transient NotMinted"),
        ];
        for (name, body, expected) in table {
            for status in [200, 400] {
                assert_eq!(said(status, body), expected, "{name} {status}");
            }
        }
    }

    #[test]
    fn throttle_is_known_by_its_words_or_its_shape_and_never_by_a_code() {
        let failure = |error: &str, text: &str| {
            serde_json::json!({ "error": error, "error_description": text, "status": "failure" }).to_string()
        };
        let many = "You have made too many requests continuously. Please try again after some time.";
        let table = [
            (400, failure("access_denied", many), "throttled 600"),
            (400, failure("invalid_code", &many.to_uppercase()), "throttled 600"),
            (200, failure("general_error", many), "throttled 600"),
            (200, r#"{"error":{"code":"x","message":"Too  many\nrequests"}}"#.to_owned(), "throttled 600"),
            (200, r#"{"error":"too_many_requests"}"#.to_owned(), "throttled 600"),
            (200, r#"{"error":"Access Denied"}"#.to_owned(), "throttled 600"),
            (400, r#"{"error":"access  denied"}"#.to_owned(), "throttled 600"),
            (400, failure("Access Denied", "Your IP address is not allowed."), "throttled 600"),
            (400, failure("Verweigert", "Zu viele Anfragen"), "throttled 600"),
            (429, r#"{"error":"access_denied"}"#.to_owned(), "throttled 600"),
            (429, r#"{"error":"invalid_code"}"#.to_owned(), "RefreshTokenRejected invalid_code permanent NotMinted"),
            (400, failure("inactive_user", "…"), "UpstreamError inactive_user transient NotMinted"),
            (400, failure("INACTIVE_USER", "…"), "UpstreamError inactive_user transient NotMinted"),
            (400, failure("Inactive_User", "…"), "UpstreamError inactive_user transient NotMinted"),
            (400, failure("", "…"), "UpstreamReplyInvalid - transient Unknown"),
        ];
        for (status, body, expected) in table {
            assert_eq!(said(status, &body), expected, "{status} {body}");
        }
    }

    #[test]
    fn scopes_are_sorted_and_few_and_short() {
        let scopes_of = |scope: &str| {
            let body = serde_json::json!({ "access_token": "t", "scope": scope }).to_string();
            match classify(Head::of(200), body.as_bytes(), Time::from_unix(0)) {
                Reply::Minted(minted) => minted.scopes,
                reply @ (Reply::Throttled { .. } | Reply::Failed(_)) => panic!("{reply:?}"),
            }
        };
        assert_eq!(scopes_of("B.x.READ A.x-y_z.READ,B.x.READ"), ["A.x-y_z.READ", "B.x.READ"]);
        assert_eq!(scopes_of(&format!("{} {}", "a".repeat(128), "b".repeat(129))), ["a".repeat(128)]);
        assert_eq!(scopes_of("A/b A\u{e9} A\nb"), Vec::<String>::new());
        let many: Vec<String> = (0..100).map(|number| format!("A.{number:03}.READ")).collect();
        assert_eq!(scopes_of(&many.join(",")), many[..64]);
    }

    #[test]
    fn what_comes_with_a_token_is_kept_as_far_as_it_is_well_formed() {
        let body = br#"{"access_token":"t","refresh_token":"r","scope":"A.b.READ,c d\u001b [x]","api_domain":"https://www.zohoapis.eu"}"#;
        let Reply::Minted(minted) = classify(Head::of(200), body, NOW) else { panic!("a token") };
        assert_eq!(minted.scopes, ["A.b.READ", "c"]);
        assert_eq!(minted.refresh_token.as_ref().map(ExposeSecret::expose_secret), Some("r"));
        assert_eq!(minted.api_domain.as_deref(), Some("https://www.zohoapis.eu"));
    }

    #[test]
    fn redirect_names_the_data_center_that_it_leads_to() {
        let head = Head { location: Some("https://accounts.zoho.in/oauth/v2/token"), ..Head::of(307) };
        let Reply::Failed(failed) = classify(head, b"", NOW) else { panic!("a failure") };
        assert_eq!((failed.reason, failed.cause), (Reason::UpstreamRedirect, Some(Cause::RedirectTo(DataCenter::IN))));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_never_mint_without_a_token(status in 100u16..600, body in proptest::collection::vec(0u8.., 0..200)) {
            let minted = matches!(classify(Head::of(status), &body, NOW), Reply::Minted(_));
            proptest::prop_assert!(!minted);
        }

        #[test]
        fn only_a_code_of_the_server_comes_through(code in ".{0,80}") {
            let body = serde_json::json!({ "error": code }).to_string();
            if let Reply::Failed(failed) = classify(Head::of(200), body.as_bytes(), NOW) {
                proptest::prop_assert!(failed.code.is_none_or(|code| is_code(&code)));
            }
        }
    }
}
