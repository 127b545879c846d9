//! An on-premises Endpoint Central server: accounts, logins, one-time passwords, lock-out. Pure.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use totp_rs::{Algorithm, Builder, Secret, Totp};

use super::form::{RawRequest, Violation};
use super::script::Page;

/// Wrong passwords or one-time passwords in a row after which an account is locked.
const LOCKED_AFTER: u32 = 5;
/// Seconds of a one-time password.
const STEP: u64 = 30;

/// One of the two requests of a login.
#[derive(Clone, Debug)]
pub enum LoginVisit {
    /// `POST …/desktop/authentication`.
    Password {
        /// `auth_type`: is it Active Directory, and then which domain?
        domain: Option<String>,
        /// `username`.
        username: String,
        /// `password`, decoded.
        password: String,
    },
    /// `POST …/desktop/authentication/otpValidate`.
    OneTimePassword {
        /// `uid` of the answer before.
        uid: String,
        /// `otp`.
        otp: String,
    },
}

impl LoginVisit {
    /// Reads the request with the password.
    ///
    /// # Errors
    ///
    /// The rule that it breaks.
    pub fn read_password(request: &RawRequest<'_>) -> Result<Self, Violation> {
        let fields = json_fields(request)?;
        let text = |name: &str| fields[name].as_str().map(str::to_owned);
        let password = text("password").ok_or("no password")?;
        let password = STANDARD.decode(password).map_err(|_| "password is not base64")?;
        let domain = match fields["auth_type"].as_str() {
            Some("local_authentication") if fields["domainName"].is_null() => None,
            Some("ad_authentication") => Some(text("domainName").ok_or("no domainName")?),
            _ => return Err("auth_type is not known"),
        };
        Ok(Self::Password {
            domain,
            username: text("username").ok_or("no username")?,
            password: String::from_utf8(password).map_err(|_| "password is not text")?,
        })
    }

    /// Reads the request with the one-time password.
    ///
    /// # Errors
    ///
    /// The rule that it breaks.
    pub fn read_one_time_password(request: &RawRequest<'_>) -> Result<Self, Violation> {
        let fields = json_fields(request)?;
        let text = |name: &str| fields[name].as_str().map(str::to_owned);
        if fields["rememberme_enabled"] != "true" {
            return Err("rememberme_enabled is not true");
        }
        Ok(Self::OneTimePassword { uid: text("uid").ok_or("no uid")?, otp: text("otp").ok_or("no otp")? })
    }
}

fn json_fields(request: &RawRequest<'_>) -> Result<Value, Violation> {
    if request.method != "POST" {
        return Err("method is not POST");
    }
    if request.content_type != Some("application/json") {
        return Err("content type is not application/json");
    }
    if request.query.is_some_and(|query| !query.is_empty()) {
        return Err("parameters in the query");
    }
    serde_json::from_slice(request.body).map_err(|_| "body is not JSON")
}

/// An account of the server.
struct Account {
    password: String,
    totp: Option<Totp>,
    /// Steps whose one-time passwords were taken.
    used: HashSet<u64>,
    wrong: u32,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("wrong", &self.wrong).finish_non_exhaustive()
    }
}

/// Who somebody is: the domain, or none for the server's own list, and the name.
type Who = (Option<String>, String);

/// Counts of logins.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LoginCounts {
    /// Requests with a password.
    pub logins: u64,
    /// Requests with a one-time password.
    pub one_time_passwords: u64,
    /// Tokens that were given.
    pub tokens: u64,
    /// Refused passwords and one-time passwords.
    pub refused: u64,
    /// One-time passwords that came a second time.
    pub reused: u64,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    seed: [u8; 16],
    accounts: HashMap<Who, Account>,
    /// Who waits for a one-time password, by `unique_userID`.
    waiting: HashMap<String, Who>,
    alive: HashSet<String>,
    given: Vec<String>,
    counts: LoginCounts,
}

impl Server {
    /// A server without accounts. Equal seeds give equal tokens.
    pub(super) fn new(seed: [u8; 16]) -> Self {
        Self {
            seed,
            accounts: HashMap::new(),
            waiting: HashMap::new(),
            alive: HashSet::new(),
            given: Vec::new(),
            counts: LoginCounts::default(),
        }
    }

    /// Makes an account known, or gives it another password or seed. `seed` is base32: two-factor authentication is on.
    ///
    /// # Panics
    ///
    /// When the seed is not base32.
    pub fn register(&mut self, domain: Option<&str>, username: &str, password: &str, seed: Option<&str>) {
        let totp = seed.map(|seed| {
            let seed = Secret::try_from_base32(seed).expect("a seed in base32");
            Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6).with_secret(seed).build_noncompliant()
        });
        let account = Account { password: password.to_owned(), totp, used: HashSet::new(), wrong: 0 };
        self.accounts.insert((domain.map(str::to_owned), username.to_owned()), account);
    }

    /// Ends all sessions.
    pub fn end_sessions(&mut self) {
        self.alive.clear();
    }

    /// Is this the token of a session?
    pub fn is_alive(&self, token: &str) -> bool {
        self.alive.contains(token)
    }

    /// All tokens ever given, oldest first.
    pub fn given(&self) -> &[String] {
        &self.given
    }

    /// Counts of logins.
    pub fn counts(&self) -> &LoginCounts {
        &self.counts
    }

    /// One request of a login.
    pub(super) fn visit(&mut self, visit: &LoginVisit, now: Timestamp) -> Page {
        match visit {
            LoginVisit::Password { domain, username, password } => {
                self.counts.logins += 1;
                let who = (domain.clone(), username.clone());
                let Some(account) = self.accounts.get_mut(&who).filter(|account| account.wrong < LOCKED_AFTER) else {
                    return self.refuse("10002", "User is locked or unknown");
                };
                if account.password != *password {
                    account.wrong += 1;
                    return self.refuse("10001", "Invalid user name or password");
                }
                if account.totp.is_some() {
                    let uid = format!("{}", 300_000 + self.waiting.len());
                    self.waiting.insert(uid.clone(), who);
                    return two_factor(&uid);
                }
                self.give(&who)
            }
            LoginVisit::OneTimePassword { uid, otp } => {
                self.counts.one_time_passwords += 1;
                let Some(who) = self.waiting.get(uid).cloned() else {
                    return self.refuse("10003", "Unknown user id");
                };
                let Some(account) = self.accounts.get_mut(&who).filter(|account| account.wrong < LOCKED_AFTER) else {
                    return self.refuse("10002", "User is locked or unknown");
                };
                let now = u64::try_from(now.as_second()).unwrap_or_default();
                // Strict: no skew at all is forgiven.
                let is_right = account.totp.as_ref().is_some_and(|totp| totp.generate(now).to_string() == *otp);
                if is_right && !account.used.insert(now / STEP) {
                    self.counts.reused += 1;
                    return self.refuse("10004", "One-time password was used before");
                }
                if !is_right {
                    account.wrong += 1;
                    return self.refuse("10004", "Invalid one-time password");
                }
                self.waiting.remove(uid);
                self.give(&who)
            }
        }
    }

    fn give(&mut self, who: &Who) -> Page {
        let token = self.next_token();
        if let Some(account) = self.accounts.get_mut(who) {
            account.wrong = 0;
        }
        self.counts.tokens += 1;
        self.alive.insert(token.clone());
        self.given.push(token.clone());
        answer(&json!({ "auth_data": { "auth_token": token }, "user_data": { "user_name": who.1 } }))
    }

    /// A token in the form of a UUID.
    fn next_token(&self) -> String {
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.given.len().to_be_bytes()).finalize();
        let hex = digest.iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02X}"));
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    fn refuse(&mut self, code: &str, description: &str) -> Page {
        self.counts.refused += 1;
        let body = json!({ "status": "error", "error_code": code, "error_description": description });
        Page::json(200, body.to_string())
    }
}

fn two_factor(uid: &str) -> Page {
    answer(&json!({ "two_factor_data": {
        "unique_userID": uid, "is_TwoFactor_Enabled": true, "OTP_Validation_Required": true, "google_authenticator": true,
    } }))
}

fn answer(authentication: &Value) -> Page {
    let body = json!({
        "message_type": "authentication", "message_version": "1.4", "status": "success",
        "message_response": { "authentication": authentication },
    });
    Page::json(200, body.to_string())
}
