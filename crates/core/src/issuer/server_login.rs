//! Login on an on-premises Endpoint Central or Patch Manager Plus server: which server a spec names, what is sent to it,
//! and what its answers mean. Pure.
//!
//! Wrong passwords lock accounts there, so a refusal is believed at once: [`Reason::is_final`].

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use super::body::{self, Object};
use super::cause::Cause;
use super::reply::{Failed, Head, is_something, is_token};
use crate::plan::Defect;
use crate::policy::{Policy, is_safe};
use zoho_api::duration::GoDuration;
use zoho_api::{EndpointCentralServer, Outcome, Reason, ServerApiVersion, ServerAuthentication};

/// Default of `spec.renewEvery`. The server names no lifetime.
const RENEW_EVERY: Duration = Duration::from_secs(8 * 3600);
/// Longest `spec.renewEvery`.
const LONGEST_INTERVAL: Duration = Duration::from_secs(168 * 3600);
/// No token is taken to live longer.
pub const LONGEST_SESSION: Duration = Duration::from_secs(LONGEST_INTERVAL.as_secs() * LIVES as u64);
/// A token is taken to live this many times `renewEvery`: nobody knows, and a renewal that failed for so long is worth
/// an alarm.
const LIVES: u32 = 2;
/// Seconds that one one-time password is for (RFC 6238).
const STEP: u64 = 30;
/// So close to a step's edge the clocks may disagree which step it is, in seconds.
const EDGE: u64 = 5;
/// No one-time password is used twice: a login may use those of the step it starts in, of the next two (its requests take
/// time, and a neighbouring step is tried) and of the one before.
pub const ONE_TIME_PASSWORDS_APART: Duration = Duration::from_secs(4 * STEP);
/// Our own word for a refused one-time password, in place of an error code.
pub const OTP_REFUSED: &str = "otp_refused";
/// Our own word for an answer to a login that is not understood, in place of an error code.
pub const NOT_UNDERSTOOD: &str = "not_understood";

/// A server that is logged in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginServer {
    /// Base URL, as the operator's list has it.
    pub url: Url,
    authentication: ServerAuthentication,
    domain: String,
    version: ServerApiVersion,
    /// How often to log in.
    pub renew_every: Duration,
}

impl LoginServer {
    /// The server that a spec names.
    ///
    /// # Errors
    ///
    /// `InvalidSpec`; `ServerNotAllowed` when it is not on the operator's list, or not for this namespace: passwords are sent
    /// to listed servers only.
    pub fn of(
        server: &EndpointCentralServer,
        renew_every: Option<GoDuration>,
        (namespace, policy): (&str, &Policy),
    ) -> Result<Self, Defect> {
        let invalid = |message: &str| Defect { reason: Reason::InvalidSpec, message: message.into(), again_at: None };
        let authentication = server.authentication.unwrap_or(ServerAuthentication::Local);
        if server.domain.is_some() != (authentication == ServerAuthentication::ActiveDirectory) {
            return Err(invalid(
                "spec.endpointCentralServer: authentication ActiveDirectory needs domain, and domain is allowed only with it.",
            ));
        }
        let renew_every = renew_every.map_or(RENEW_EVERY, |span| span.0);
        if !(Duration::from_secs(600)..=LONGEST_INTERVAL).contains(&renew_every) {
            return Err(invalid("spec.renewEvery must be from 10m to 168h."));
        }
        if server.url.parse().is_ok_and(|url: Url| !is_safe(&url)) {
            return Err(invalid(
                "spec.endpointCentralServer.url must begin with https: a password would cross the network unencrypted. (http is accepted only for a server on the operator's own machine.)",
            ));
        }
        let listed: Vec<_> = server.url.parse().ok().map(|url| policy.listed(&url).collect()).unwrap_or_default();
        let not_allowed =
            |message: &str| Defect { reason: Reason::ServerNotAllowed, message: message.into(), again_at: None };
        if listed.is_empty() {
            return Err(not_allowed(
                "spec.endpointCentralServer.url is not on the operator's list, so nothing is sent to it. Correct it (scheme, host and port must match), or have the administrator add that URL with --endpoint-central-url.",
            ));
        }
        let Some(url) = listed.iter().find(|listed| listed.is_for(namespace)).map(|listed| listed.url.clone()) else {
            return Err(not_allowed(
                "spec.endpointCentralServer.url is on the operator's list, but not for this namespace, so nothing is sent to it. Have the administrator add the namespace to it in --endpoint-central-url.",
            ));
        };
        let version = server.api_version.unwrap_or(ServerApiVersion::V1_4);
        Ok(Self { url, authentication, domain: server.domain.clone().unwrap_or_default(), version, renew_every })
    }

    /// Base URL without a slash at the end.
    pub fn base_url(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    /// Where an account is, beside its name.
    pub fn account(&self) -> [&str; 3] {
        let authentication = match self.authentication {
            ServerAuthentication::Local => "local",
            ServerAuthentication::ActiveDirectory => "ad",
        };
        [self.url.as_str(), authentication, &self.domain]
    }

    /// How long a token is taken to live.
    pub fn life(&self) -> Duration {
        self.renew_every * LIVES
    }

    /// Path of the API: `/api/1.4`.
    pub fn api_path(&self) -> &'static str {
        match self.version {
            ServerApiVersion::V1_4 => "/api/1.4",
            ServerApiVersion::V1_3 => "/api/1.3",
        }
    }

    /// Where the password is sent.
    pub fn login_url(&self) -> Url {
        self.endpoint("desktop/authentication")
    }

    /// Where the one-time password is sent.
    pub fn otp_url(&self) -> Url {
        self.endpoint("desktop/authentication/otpValidate")
    }

    fn endpoint(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{}/{name}", self.url.path().trim_end_matches('/'), self.api_path()));
        url
    }

    /// What a login sends beside user name and password.
    pub fn login_fields(&self) -> Value {
        match self.authentication {
            ServerAuthentication::Local => json!({ "auth_type": "local_authentication" }),
            ServerAuthentication::ActiveDirectory => {
                json!({ "auth_type": "ad_authentication", "domainName": self.domain })
            }
        }
    }
}

/// What a server answered.
#[derive(Debug)]
pub enum LoginAnswer {
    /// A token.
    Token(SecretString),
    /// The password is right, and a one-time password is asked for.
    OneTimePassword {
        /// What the server calls the user in the next request.
        uid: SecretString,
    },
    /// No token.
    Failed(Failed),
}

/// The server asks for a one-time password, and there is no seed.
pub fn otp_required() -> Failed {
    Failed::permanent(Reason::OtpRequired, None)
}

/// The server refused the one-time password.
pub fn otp_refused() -> Failed {
    Failed::permanent(Reason::LoginRejected, Some(OTP_REFUSED.into()))
}

fn rejected() -> Failed {
    Failed::permanent(Reason::LoginRejected, None)
}

/// An answer that may be a refusal. It is taken for one: who sends a password again because he did not understand locks
/// the account.
fn not_understood() -> Failed {
    Failed::permanent(Reason::LoginRejected, Some(NOT_UNDERSTOOD.into()))
}

/// Classifies an answer. Total: any bytes have a meaning. Errors come with HTTP 200 too, so the body is looked at first.
///
/// A password has been sent when this is asked. So only what is certainly no refusal may be tried again: gateways that did
/// not reach the server, and a server that wants fewer requests.
pub fn classify(head: Head<'_>, body: &[u8]) -> LoginAnswer {
    let text = body::text(body);
    let object = Object::parse(&text);
    let is_of_a_gateway = matches!(head.status, 408 | 429 | 502..=504);
    if let Some(object) = &object
        && is_refusal(object, is_of_a_gateway)
    {
        return LoginAnswer::Failed(rejected());
    }
    match head.status {
        200..=299 => {
            object.and_then(|object| accepted(&object)).unwrap_or_else(|| LoginAnswer::Failed(not_understood()))
        }
        401 => LoginAnswer::Failed(rejected()),
        status if is_of_a_gateway => {
            let cause = Some(Cause::OutOfOrder { status });
            LoginAnswer::Failed(Failed { cause, ..Failed::passing(Reason::UpstreamUnavailable, Outcome::Unknown) })
        }
        _ => LoginAnswer::Failed(not_understood()),
    }
}

/// The shapes in which these products refuse: `status: error`, an error code, or `errorCode` with `errorMsg`. A gateway that
/// answers in JSON has `error`, too, for its own status.
fn is_refusal(object: &Object<'_>, is_of_a_gateway: bool) -> bool {
    let says = |key| {
        object
            .string(key)
            .is_some_and(|word| ["error", "failed", "failure"].contains(&word.trim().to_ascii_lowercase().as_str()))
    };
    let has = |key| object.values(key).any(is_something);
    let has_code = has("error_code") || has("errorCode") || (has("error") && !is_of_a_gateway);
    says("status") || says("message_status") || has_code
}

fn accepted(object: &Object<'_>) -> Option<LoginAnswer> {
    let answer = object.at(&["message_response", "authentication"])?;
    let token = answer.object("auth_data").and_then(|data| data.string("auth_token"));
    if let Some(token) = token.filter(|token| is_token(token)) {
        return Some(LoginAnswer::Token(SecretString::from(token)));
    }
    let factors = answer.object("two_factor_data")?;
    let mut values = factors.values("unique_userID");
    let uid = values.find_map(|json| {
        body::string(json).or_else(|| json.starts_with(|c: char| c.is_ascii_digit()).then(|| json.to_owned()))
    })?;
    is_token(&uid).then(|| LoginAnswer::OneTimePassword { uid: SecretString::from(uid) })
}

/// The instants whose one-time passwords are tried, in Unix seconds: now, and near a step's edge once the neighbour.
pub fn otp_instants(now: u64) -> impl Iterator<Item = u64> {
    let neighbour = match now % STEP {
        early if early < EDGE => now.checked_sub(STEP),
        late if late >= STEP - EDGE => Some(now + STEP),
        _ => None,
    };
    std::iter::once(now).chain(neighbour)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::policy::ListedServer;

    fn server(fields: &Value) -> Result<LoginServer, Defect> {
        server_in("patching", fields)
    }

    #[test]
    fn server_that_is_listed_for_some_namespaces_is_called_for_these_only() {
        let fields = json!({ "url": "https://gateway.example/ec" });
        assert!(server_in("patching", &fields).is_ok());
        let refused = server_in("other", &fields).unwrap_err();
        assert_eq!(refused.reason, Reason::ServerNotAllowed);
        assert!(refused.message.contains("not for this namespace"), "{}", refused.message);
    }

    fn server_in(namespace: &str, fields: &Value) -> Result<LoginServer, Defect> {
        let servers = ["https://ec.corp.example:8383", "https://gateway.example/ec/"];
        let listed = |url: &str| ListedServer { url: url.parse().unwrap(), namespaces: Vec::new() };
        let mut servers = servers.map(listed);
        servers[1].namespaces = vec!["patching".into()];
        let policy = Policy { servers: servers.to_vec(), ..Policy::default() };
        let mut spec = json!({ "url": "https://ec.corp.example:8383" });
        for (name, value) in fields.as_object().unwrap() {
            spec[name] = value.clone();
        }
        LoginServer::of(&serde_json::from_value(spec).unwrap(), None, (namespace, &policy))
    }

    #[test]
    fn only_listed_servers_are_called() {
        for url in ["https://ec.corp.example:8383", "https://EC.corp.example:8383/", "https://gateway.example:443/ec"] {
            assert!(server(&json!({ "url": url })).is_ok(), "{url}");
        }
        for url in [
            "https://ec.corp.example",
            "https://ec.corp.example:8384",
            "https://ec.corp.example.evil.example:8383",
            "https://user@ec.corp.example:8383",
            "https://ec.corp.example:8383@evil.example",
            "https://ec.corp.example:8383/elsewhere",
            "https://ec.corp.example:8383/?a",
            "https://gateway.example/",
            "no url",
        ] {
            assert_eq!(server(&json!({ "url": url })).unwrap_err().reason, Reason::ServerNotAllowed, "{url}");
        }
    }

    #[test]
    fn plain_http_beyond_this_machine_is_invalid_and_no_flag_is_advised() {
        for url in ["http://ec.corp.example:8383", "http://10.0.0.7:8020", "ftp://ec.corp.example"] {
            let defect = server(&json!({ "url": url })).unwrap_err();
            assert_eq!(defect.reason, Reason::InvalidSpec, "{url}");
            assert!(!defect.message.contains("--endpoint-central-url"), "{}", defect.message);
        }
        let here = server(&json!({ "url": "http://127.0.0.1:8020" })).unwrap_err();
        assert_eq!(here.reason, Reason::ServerNotAllowed, "for tests, once it is listed");
    }

    #[test]
    fn requests_are_those_of_the_api_version() {
        let local = server(&json!({})).unwrap();
        assert_eq!(local.login_url().as_str(), "https://ec.corp.example:8383/api/1.4/desktop/authentication");
        assert_eq!(local.login_fields(), json!({ "auth_type": "local_authentication" }));
        let older = json!({ "url": "https://gateway.example/ec", "apiVersion": "1.3", "authentication": "ActiveDirectory", "domain": "CORP" });
        let older = server(&older).unwrap();
        assert_eq!(older.otp_url().as_str(), "https://gateway.example/ec/api/1.3/desktop/authentication/otpValidate");
        assert_eq!(older.login_fields(), json!({ "auth_type": "ad_authentication", "domainName": "CORP" }));
    }

    #[test]
    fn domain_goes_with_active_directory_only() {
        for wrong in [json!({ "domain": "CORP" }), json!({ "authentication": "ActiveDirectory" })] {
            assert_eq!(server(&wrong).unwrap_err().reason, Reason::InvalidSpec, "{wrong}");
        }
    }

    #[test]
    fn every_answer_has_its_meaning() {
        const REJECTED: &str = "LoginRejected - NotMinted";
        const NOT_UNDERSTOOD: &str = "LoginRejected not_understood NotMinted";
        const PASSING: &str = "UpstreamUnavailable - Unknown";
        let word = |status, body: &str| match classify(Head::of(status), body.as_bytes()) {
            LoginAnswer::Token(token) => format!("token {}", token.expose_secret()),
            LoginAnswer::OneTimePassword { uid } => format!("otp {}", uid.expose_secret()),
            LoginAnswer::Failed(failed) => {
                format!("{} {} {:?}", failed.reason, failed.code.as_deref().unwrap_or("-"), failed.outcome)
            }
        };
        let token = r#"{"message_type":"authentication","message_response":{"authentication":{"auth_data":{"auth_token":"A1-B2"}}},"status":"success"}"#;
        let two_factor = r#"{"message_response":{"authentication":{"two_factor_data":{"unique_userID":"7","is_TwoFactor_Enabled":true,"OTP_Validation_Required":true}}},"status":"success"}"#;
        let table = [
            (200, token, "token A1-B2"),
            (200, two_factor, "otp 7"),
            (200, r#"{"message_response":{"authentication":{"two_factor_data":{"unique_userID":7}}}}"#, "otp 7"),
            (200, &format!("\u{feff}{token}"), "token A1-B2"),
            (200, r#"{"status":"error","error_code":"10001","error_description":"Invalid"}"#, REJECTED),
            (401, r#"{"status":"error","error_code":"10002"}"#, REJECTED),
            (401, "<html>", REJECTED),
            (500, r#"{"status":"error","error_code":"10001"}"#, REJECTED),
            (200, r#"{"errorCode":"IAM0027","errorMsg":"Invalid credentials"}"#, REJECTED),
            (400, r#"{"errorCode":"IAM0027","errorMsg":"Invalid credentials"}"#, REJECTED),
            (503, r#"{"errorCode":"IAM0027","errorMsg":"Invalid credentials"}"#, REJECTED),
            (200, "\u{feff}{\"status\":\"Failed\"}", REJECTED),
            (403, "<html>", NOT_UNDERSTOOD),
            (404, "", NOT_UNDERSTOOD),
            (200, r#"{"message_response":{"authentication":{"auth_data":{"auth_token":"a b"}}}}"#, NOT_UNDERSTOOD),
            (200, r#"{"status":"success"}"#, NOT_UNDERSTOOD),
            (200, "<html>", NOT_UNDERSTOOD),
            (200, "", NOT_UNDERSTOOD),
            (200, "[]", NOT_UNDERSTOOD),
            (302, "", NOT_UNDERSTOOD),
            (500, "<html>", NOT_UNDERSTOOD),
            (503, "down", PASSING),
            (502, token, PASSING),
            (429, "", PASSING),
            (503, r#"{"timestamp":"2026-11-30","status":503,"error":"Service Unavailable"}"#, PASSING),
            (429, r#"{"error":"Too Many Requests"}"#, PASSING),
            (429, r#"{"status":"error","error_code":"10001"}"#, REJECTED),
            (500, r#"{"error":"Internal Server Error"}"#, REJECTED),
        ];
        for (status, body, expected) in table {
            assert_eq!(word(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn neighbouring_step_is_tried_near_an_edge_only() {
        let table: [(u64, &[u64]); 6] = [
            (3000, &[3000, 2970]),
            (3004, &[3004, 2974]),
            (3005, &[3005]),
            (3024, &[3024]),
            (3025, &[3025, 3055]),
            (3, &[3]),
        ];
        for (now, expected) in table {
            assert_eq!(otp_instants(now).collect::<Vec<_>>(), expected, "{now}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_never_give_a_token(status in 100u16..600, body in proptest::collection::vec(0u8.., 0..200)) {
            let is_failure = matches!(classify(Head::of(status), &body), LoginAnswer::Failed(_));
            proptest::prop_assert!(is_failure);
        }

        #[test]
        fn logins_so_far_apart_share_no_one_time_password(first in 0u64..100_000, late in 0u64..25, later in 0u64..25) {
            let steps = |at: u64| otp_instants(at).map(|at| at / STEP).collect::<Vec<_>>();
            let second = first + ONE_TIME_PASSWORDS_APART.as_secs();
            let used = steps(first + late);
            proptest::prop_assert!(steps(second + later).iter().all(|step| !used.contains(step)));
        }
    }
}
