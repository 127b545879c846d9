//! Consent on another device: a code is shown, a person types it into any browser, and the token service is asked until
//! he has. Zoho's form of RFC 8628. Pure.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::body::{self, Object};
use super::data_centers;
use super::login::{Exchanged, beside, read_exchange};
use super::reply::{Failed, Head, is_token};
use super::zoho::TokenService;
use zoho_api::{DataCenter, Time};

/// What Zoho documents: one request in thirty seconds, and five minutes for the person.
const USUAL_INTERVAL: Duration = Duration::from_secs(30);
const USUAL_LIFE: Duration = Duration::from_secs(300);
/// Numbers above these are milliseconds.
const LONGEST_INTERVAL: Duration = Duration::from_secs(600);
const LONGEST_LIFE: Duration = Duration::from_secs(3600);
/// What is added where the server finds it too fast (RFC 8628 section 3.5).
const SLOWER_BY: Duration = Duration::from_secs(5);

/// A question that waits for its answer.
#[derive(Clone, Debug)]
pub struct DeviceCode {
    /// Shows that it is we who asked.
    pub device_code: SecretString,
    /// What the person types: printable ASCII without spaces, at most 64 characters.
    pub user_code: String,
    /// Where he types it, a page of this data center.
    pub address: Url,
    /// Between two requests.
    pub interval: Duration,
    /// How long the person may take.
    pub life: Duration,
}

/// What the token service says while it is asked.
#[derive(Clone, Debug)]
pub enum Polled {
    /// Nobody has answered yet.
    Pending,
    /// Nobody has, and we ask too often.
    TooFast,
    /// The account lives in another data center, which is to be asked from now on. `None`: in one that is not known.
    Elsewhere(Option<DataCenter>),
    /// Nothing usable came back; another request may bring more.
    NoAnswer(Failed),
    /// The person has refused.
    Refused,
    /// The person was too slow.
    Expired,
    /// It is over.
    Ended(Exchanged),
}

/// Where a code for a device is asked for.
pub fn code_url(token_url: &Url) -> Url {
    beside(token_url, "/oauth/v3/device/code")
}

/// Where it is asked whether the person has answered.
pub fn poll_url(token_url: &Url) -> Url {
    beside(token_url, "/oauth/v3/device/token")
}

/// Reads the reply to the request for a code.
///
/// # Errors
///
/// There is none, and why.
pub fn read_code(service: &TokenService, head: Head<'_>, body: &[u8], now: Time) -> Result<DeviceCode, Exchanged> {
    let text = body::text(body);
    if let (200..=299, Some(object)) = (head.status, Object::parse(&text))
        && let Some(device_code) = object.string("device_code").filter(|code| is_token(code))
        && let Some(user_code) = object.string("user_code").filter(|code| is_user_code(code))
    {
        return Ok(DeviceCode {
            device_code: SecretString::from(device_code),
            user_code,
            address: address(service, &object),
            interval: span(&object, "interval", LONGEST_INTERVAL).unwrap_or(USUAL_INTERVAL),
            life: span(&object, "expires_in", LONGEST_LIFE).unwrap_or(USUAL_LIFE),
        });
    }
    match read_exchange(head, body, now) {
        Exchanged::Granted { .. } | Exchanged::WithoutRefreshToken => Err(Exchanged::Failed(Failed::unusable(head))),
        refused @ (Exchanged::Throttled | Exchanged::Failed(_)) => Err(refused),
    }
}

/// Reads the reply to the question whether the person has answered. Total.
pub fn read_poll(head: Head<'_>, body: &[u8], now: Time) -> Polled {
    let exchanged = read_exchange(head, body, now);
    let failed = match exchanged {
        Exchanged::Failed(failed) => failed,
        Exchanged::Throttled => return Polled::TooFast,
        Exchanged::Granted { .. } | Exchanged::WithoutRefreshToken => return Polled::Ended(exchanged),
    };
    match failed.code.as_deref() {
        Some("authorization_pending") => Polled::Pending,
        Some("slow_down") => Polled::TooFast,
        Some("other_dc") => {
            let text = body::text(body);
            let location = Object::parse(&text).and_then(|object| object.string("user_location"));
            Polled::Elsewhere(location.and_then(|location| data_centers::of_location(location.trim())))
        }
        Some("access_denied") => Polled::Refused,
        Some("expired" | "expired_token") => Polled::Expired,
        Some(_) => Polled::Ended(Exchanged::Failed(failed)),
        None => Polled::NoAnswer(failed),
    }
}

/// How long to wait after a server that found it too fast.
pub fn slower(interval: Duration) -> Duration {
    (interval + SLOWER_BY).max(USUAL_INTERVAL)
}

/// The page that the server names, where it is one of the data center; else the usual one.
fn address(service: &TokenService, object: &Object<'_>) -> Url {
    let said = ["verification_url", "verification_uri"].iter().find_map(|key| object.string(key));
    let is_of_the_data_center = |url: &Url| {
        let host = url.host_str().filter(|_| url.scheme() == "https" && url.port().is_none()).unwrap_or_default();
        let has_nobody_else = url.username().is_empty() && url.password().is_none();
        let is_known = data_centers::checked_api_domain(service.data_center, &format!("https://{host}")).is_some();
        has_nobody_else && (is_known || url.origin() == service.token_url.origin())
    };
    let said = said.and_then(|said| Url::parse(&said).ok()).filter(is_of_the_data_center);
    said.unwrap_or_else(|| beside(&service.token_url, "/oauth/v3/device"))
}

/// A span in seconds, or in milliseconds where it would be longer than `longest`.
fn span(object: &Object<'_>, key: &str, longest: Duration) -> Option<Duration> {
    let number = |json: &str| body::number(json).or_else(|| body::string(json)?.trim().parse().ok());
    let number: f64 = object.values(key).find_map(number)?;
    let seconds = if number > longest.as_secs_f64() { number / 1000.0 } else { number };
    (seconds >= 1.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(longest).min(longest))
}

fn is_user_code(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::zoho::GrantType;
    use super::*;

    fn service() -> TokenService {
        TokenService {
            data_center: DataCenter::EU,
            token_url: "https://accounts.zoho.eu/oauth/v2/token".parse().unwrap(),
            grant_type: GrantType::RefreshToken,
        }
    }

    fn read(status: u16, body: &str) -> String {
        match read_code(&service(), Head::of(status), body.as_bytes(), Time::UNIX_EPOCH) {
            Ok(DeviceCode { device_code, user_code, address, interval, life }) => {
                let (interval, life) = (interval.as_secs(), life.as_secs());
                format!("{} {user_code} {address} {interval} {life}", device_code.expose_secret())
            }
            Err(Exchanged::Throttled) => "throttled".into(),
            Err(Exchanged::Failed(failed)) => format!("{} {}", failed.reason, failed.code.unwrap_or_default()),
            Err(granted) => format!("{granted:?}"),
        }
    }

    #[test]
    fn every_reply_to_the_request_for_a_code_has_its_meaning() {
        let page = "https://accounts.zoho.eu/oauth/v3/device";
        let table = [
            (
                r#"{"user_code":"AB-1","device_code":"1004.d","interval":30000,"expires_in":300000,"verification_url":"https://accounts.zoho.eu/oauth/v3/device"}"#,
                format!("1004.d AB-1 {page} 30 300"),
            ),
            (
                r#"{"user_code":"AB-1","device_code":"1004.d","interval":"5","expires_in":600,"verification_uri":"https://www.zoho.eu/device?x=1"}"#,
                "1004.d AB-1 https://www.zoho.eu/device?x=1 5 600".into(),
            ),
            // What is missing or cannot be is as documented.
            (
                r#"{"user_code":"AB-1","device_code":"1004.d","interval":0,"expires_in":-1}"#,
                format!("1004.d AB-1 {page} 30 300"),
            ),
            (
                r#"{"user_code":"A","device_code":"d","interval":1e300,"expires_in":1e300}"#,
                format!("d A {page} 600 3600"),
            ),
            (
                r#"{"user_code":"A","device_code":"d","verification_url":"https://evil.example/zoho.eu"}"#,
                format!("d A {page} 30 300"),
            ),
            (
                r#"{"user_code":"A","device_code":"d","verification_url":"https://u@accounts.zoho.eu/"}"#,
                format!("d A {page} 30 300"),
            ),
            (
                r#"{"user_code":"A","device_code":"d","verification_url":"http://accounts.zoho.eu/"}"#,
                format!("d A {page} 30 300"),
            ),
            // Nothing that a terminal obeys is shown.
            (r#"{"user_code":"A\u001b[31m","device_code":"d"}"#, "UpstreamReplyInvalid ".into()),
            (r#"{"device_code":"d"}"#, "UpstreamReplyInvalid ".into()),
            (r#"{"access_token":"a","refresh_token":"r"}"#, "UpstreamReplyInvalid ".into()),
            (r#"{"error":"invalid_client"}"#, "ClientRejected invalid_client".into()),
            ("<html>", "UpstreamReplyInvalid ".into()),
        ];
        for (body, expected) in table {
            assert_eq!(read(200, body), expected, "{body}");
        }
        assert_eq!(read(500, r#"{"user_code":"A","device_code":"d"}"#), "UpstreamUnavailable ");
        assert_eq!(read(400, r#"{"error":"X y","error_description":"d","status":"failure"}"#), "throttled");
    }

    #[test]
    fn every_reply_to_the_question_has_its_meaning() {
        let word = |polled: &Polled| match polled {
            Polled::Elsewhere(data_center) => format!("in {data_center:?}"),
            Polled::NoAnswer(failed) => format!("no answer, {}", failed.reason),
            Polled::Ended(Exchanged::Granted { refresh_token, .. }) => refresh_token.expose_secret().to_owned(),
            Polled::Ended(Exchanged::Failed(failed)) => format!("failed, {}", failed.code.as_deref().unwrap_or("-")),
            Polled::Pending | Polled::TooFast | Polled::Refused | Polled::Expired | Polled::Ended(_) => {
                format!("{polled:?}")
            }
        };
        let table = [
            (200, r#"{"error":"authorization_pending"}"#, "Pending"),
            (400, r#"{"error":"authorization_pending"}"#, "Pending"),
            (200, r#"{"error":"slow_down"}"#, "TooFast"),
            (429, "", "TooFast"),
            (200, r#"{"error":"other_dc","user_location":"eu"}"#, "in Some(EU)"),
            (200, r#"{"error":"other_dc","user_location":"moon"}"#, "in None"),
            (200, r#"{"error":"other_dc"}"#, "in None"),
            (200, r#"{"error":"access_denied"}"#, "Refused"),
            (200, r#"{"error":"expired"}"#, "Expired"),
            (200, r#"{"access_token":"a","refresh_token":"r"}"#, "r"),
            (200, r#"{"access_token":"a"}"#, "Ended(WithoutRefreshToken)"),
            (200, r#"{"error":"invalid_client_secret"}"#, "failed, invalid_client_secret"),
            (503, "", "no answer, UpstreamUnavailable"),
            (200, "<html>", "no answer, UpstreamReplyInvalid"),
        ];
        for (status, body, expected) in table {
            assert_eq!(word(&read_poll(Head::of(status), body.as_bytes(), Time::UNIX_EPOCH)), expected, "{body}");
        }
    }

    #[test]
    fn server_that_finds_it_too_fast_is_asked_no_more_than_zoho_allows() {
        let seconds = |seconds| slower(Duration::from_secs(seconds)).as_secs();
        assert_eq!((seconds(1), seconds(30), seconds(35)), (30, 35, 40));
    }
}
