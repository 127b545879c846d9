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
pub fn is_token(token: &str) -> bool {
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
#[path = "reply_tests.rs"]
mod tests;
