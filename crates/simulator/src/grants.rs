//! Grant codes: who may ask for one, what it is good for, and the refresh token it is exchanged for. Pure.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::form::TokenForm;

/// How long the code of a consent lives.
const CONSENT_CODE_LIFE: Duration = Duration::from_mins(2);

/// A client, and how it gets its codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// Codes are made in the API console.
    SelfClient,
    /// Has no browser: people type its codes elsewhere.
    Device,
    /// Codes come by a redirect to one of these.
    Server {
        /// As registered; compared as text.
        redirect_uris: Vec<String>,
    },
}

/// Where a user's account lives, if not here: the redirect says so, and the code is one of that data center.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Value of `location`, such as `eu`.
    pub location: String,
    /// Value of `accounts-server`.
    pub accounts_server: String,
    /// The code, made there by [`Grants::code`].
    pub code: String,
}

/// A question that is put to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The client that asks.
    pub client_id: String,
    /// What for, separated by commas.
    pub scope: String,
    redirect_uri: String,
    state: String,
    offline: bool,
    challenge: Option<String>,
}

#[derive(Debug)]
struct Code {
    client_id: String,
    scope: String,
    expires_at: Timestamp,
    redirect_uri: Option<String>,
    challenge: Option<String>,
    with_refresh_token: bool,
}

/// What a code was exchanged for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) refresh_token: String,
    /// Whether the client is told of it.
    pub(super) tells_refresh_token: bool,
    pub(super) scope: String,
}

/// Clients with a way to grant codes, and the codes.
#[derive(Debug, Default)]
pub struct Grants {
    clients: HashMap<String, Client>,
    codes: HashMap<String, Code>,
    questions: HashMap<String, Question>,
    elsewhere: Option<Elsewhere>,
    refuses_with: Option<&'static str>,
    answers_itself: Option<bool>,
    refresh_tokens: Vec<String>,
}

impl Grants {
    /// Makes a client known, or another kind of client.
    pub fn register(&mut self, client_id: &str, client: Client) {
        self.clients.insert(client_id.to_owned(), client);
    }

    /// A code as the API console makes it.
    pub fn code(&mut self, client_id: &str, scope: &str, life: Duration, now: Timestamp) -> String {
        self.issue(Code {
            client_id: client_id.to_owned(),
            scope: scope.to_owned(),
            expires_at: now.checked_add(life).unwrap_or(Timestamp::MAX),
            redirect_uri: None,
            challenge: None,
            with_refresh_token: true,
        })
    }

    /// Sends users who consent to another data center from now on; `None`: their accounts live here.
    pub fn set_elsewhere(&mut self, elsewhere: Option<Elsewhere>) {
        self.elsewhere = elsewhere;
    }

    /// Sends users back with this error although they consent, such as `no_org`.
    pub fn set_refuses_with(&mut self, error: Option<&'static str>) {
        self.refuses_with = error;
    }

    /// Makes the consent page answer itself, by a script in it: a person for tests with a browser.
    pub fn set_answers_itself(&mut self, accepts: Option<bool>) {
        self.answers_itself = accepts;
    }

    /// See [`Grants::set_answers_itself`].
    pub fn answers_itself(&self) -> Option<bool> {
        self.answers_itself
    }

    /// Every refresh token that was given for consent.
    pub fn refresh_tokens(&self) -> &[String] {
        &self.refresh_tokens
    }

    /// Is this a client for devices?
    pub(super) fn is_device(&self, client_id: &str) -> bool {
        self.clients.get(client_id) == Some(&Client::Device)
    }

    /// A refresh token for consent that came without a code.
    pub(super) fn grant(&mut self) -> String {
        let refresh_token = format!("1000.granted{}.{}", random_text(), random_text());
        self.refresh_tokens.push(refresh_token.clone());
        refresh_token
    }

    /// Reads `GET /oauth/v2/auth` and returns the question's id with it.
    ///
    /// # Errors
    ///
    /// What is wrong, as the error page says it. Nothing is sent to an address that is not registered.
    pub(super) fn ask(&mut self, query: &HashMap<String, String>) -> Result<(String, Question), &'static str> {
        let value = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let Some(Client::Server { redirect_uris }) = self.clients.get(value("client_id")) else {
            return Err("invalid_client");
        };
        if !redirect_uris.iter().any(|known| known == value("redirect_uri")) {
            return Err("invalid_redirect_uri");
        }
        if value("response_type") != "code" {
            return Err("invalid_response_type");
        }
        if value("scope").is_empty() || value("scope").contains(' ') {
            return Err("invalid_scope");
        }
        let challenge = query.get("code_challenge").cloned();
        if challenge.is_some() && value("code_challenge_method") != "S256" {
            return Err("invalid_request");
        }
        let question = Question {
            client_id: value("client_id").to_owned(),
            scope: value("scope").to_owned(),
            redirect_uri: value("redirect_uri").to_owned(),
            state: value("state").to_owned(),
            offline: value("access_type") == "offline" && value("prompt") == "consent",
            challenge,
        };
        let id = random_text();
        self.questions.insert(id.clone(), question.clone());
        Ok((id, question))
    }

    /// Takes the user's answer and returns the address that his browser is sent to.
    pub(super) fn answer(&mut self, id: &str, accepts: bool, here: &str, now: Timestamp) -> Option<String> {
        let question = self.questions.remove(id)?;
        let mut pairs = vec![("state", question.state.clone())];
        if let Some(error) = self.refuses_with.filter(|_| accepts) {
            pairs.push(("error", error.to_owned()));
        } else if accepts {
            let (location, server, code) = match self.elsewhere.clone() {
                Some(Elsewhere { location, accounts_server, code }) => (location, accounts_server, code),
                None => ("us".to_owned(), here.to_owned(), String::new()),
            };
            let code = if code.is_empty() { self.issue(Code::of(&question, now)) } else { code };
            pairs.extend([("code", code), ("location", location), ("accounts-server", server)]);
        } else {
            pairs.push(("error", "access_denied".to_owned()));
        }
        let query = serde_urlencoded::to_string(&pairs).unwrap_or_default();
        Some(format!("{}?{query}", question.redirect_uri))
    }

    /// Exchanges a code, once. The client's secret has been checked by then.
    pub(super) fn exchange(&mut self, form: &TokenForm, now: Timestamp) -> Result<Granted, &'static str> {
        let text = form.code.as_deref().unwrap_or_default();
        let code = self
            .codes
            .get(text)
            .filter(|code| code.expires_at > now && form.client_id.as_ref() == Some(&code.client_id));
        let code = code.ok_or("invalid_code")?;
        if code.redirect_uri.is_some() && code.redirect_uri != form.redirect_uri {
            return Err("invalid_redirect_uri");
        }
        if let Some(challenge) = &code.challenge {
            let verifier = form.code_verifier.as_deref().unwrap_or_default();
            if URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != *challenge {
                return Err("invalid_request");
            }
        }
        let code = self.codes.remove(text).ok_or("invalid_code")?;
        let refresh_token = self.grant();
        Ok(Granted { refresh_token, tells_refresh_token: code.with_refresh_token, scope: code.scope })
    }

    fn issue(&mut self, code: Code) -> String {
        let text = format!("1000.code{}.{}", random_text(), random_text());
        self.codes.insert(text.clone(), code);
        text
    }
}

impl Code {
    fn of(question: &Question, now: Timestamp) -> Self {
        Self {
            client_id: question.client_id.clone(),
            scope: question.scope.clone(),
            expires_at: now.checked_add(CONSENT_CODE_LIFE).unwrap_or(Timestamp::MAX),
            redirect_uri: Some(question.redirect_uri.clone()),
            challenge: question.challenge.clone(),
            with_refresh_token: question.offline,
        }
    }
}

pub(super) fn random_text() -> String {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).expect("the system has a random number generator");
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "http://accounts.test";
    const REDIRECT: &str = "http://localhost:8765/callback";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
    }

    fn grants() -> Grants {
        let mut grants = Grants::default();
        grants.register("self", Client::SelfClient);
        grants.register("server", Client::Server { redirect_uris: vec![REDIRECT.to_owned()] });
        grants
    }

    fn query(edit: &[(&str, &str)]) -> HashMap<String, String> {
        let mut query = HashMap::from(
            [
                ("client_id", "server"),
                ("redirect_uri", REDIRECT),
                ("response_type", "code"),
                ("scope", "A.b.READ"),
                ("state", "s"),
                ("access_type", "offline"),
                ("prompt", "consent"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        query.extend(edit.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        query
    }

    fn form(client: &str, code: &str, redirect_uri: Option<&str>) -> TokenForm {
        TokenForm {
            grant_type: Some("authorization_code".to_owned()),
            client_id: Some(client.to_owned()),
            code: Some(code.to_owned()),
            redirect_uri: redirect_uri.map(str::to_owned),
            ..TokenForm::default()
        }
    }

    fn consented(grants: &mut Grants, edit: &[(&str, &str)]) -> String {
        let (id, _) = grants.ask(&query(edit)).expect("a question");
        let address = grants.answer(&id, true, HERE, at(0)).expect("an address");
        let pairs: HashMap<String, String> =
            serde_urlencoded::from_str(address.split_once('?').expect("a query").1).expect("pairs");
        assert_eq!((&*pairs["state"], &*pairs["accounts-server"]), ("s", HERE));
        pairs["code"].clone()
    }

    #[test]
    fn code_of_a_self_client_works_once_while_it_lives() {
        let mut grants = grants();
        let code = grants.code("self", "A.b.READ", Duration::from_mins(10), at(0));
        assert_eq!(grants.exchange(&form("server", &code, None), at(1)), Err("invalid_code"), "of another client");
        let granted = grants.exchange(&form("self", &code, None), at(599)).expect("granted");
        assert!(granted.tells_refresh_token);
        assert_eq!(grants.exchange(&form("self", &code, None), at(599)), Err("invalid_code"), "used");
        let code = grants.code("self", "A.b.READ", Duration::from_mins(10), at(0));
        assert_eq!(grants.exchange(&form("self", &code, None), at(600)), Err("invalid_code"), "expired");
    }

    #[test]
    fn consent_needs_a_registered_address_and_so_does_the_exchange() {
        let mut grants = grants();
        for (edit, expected) in [
            (("client_id", "self"), "invalid_client"),
            (("redirect_uri", "http://evil.example"), "invalid_redirect_uri"),
            (("response_type", "token"), "invalid_response_type"),
            (("scope", "A B"), "invalid_scope"),
        ] {
            assert_eq!(grants.ask(&query(&[edit])), Err(expected));
        }
        let code = consented(&mut grants, &[]);
        assert_eq!(grants.exchange(&form("server", &code, None), at(1)), Err("invalid_redirect_uri"));
        assert_eq!(grants.exchange(&form("server", &code, Some("http://x")), at(1)), Err("invalid_redirect_uri"));
        assert!(grants.exchange(&form("server", &code, Some(REDIRECT)), at(1)).expect("granted").tells_refresh_token);
    }

    #[test]
    fn refresh_token_needs_offline_access_and_consent() {
        for edit in [("access_type", "online"), ("prompt", "login")] {
            let mut grants = grants();
            let code = consented(&mut grants, &[edit]);
            let granted = grants.exchange(&form("server", &code, Some(REDIRECT)), at(1)).expect("granted");
            assert!(!granted.tells_refresh_token, "{edit:?}");
        }
    }

    #[test]
    fn challenge_is_met_by_its_verifier_only() {
        let mut grants = grants();
        // RFC 7636, appendix B.
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let code = consented(&mut grants, &[("code_challenge", challenge), ("code_challenge_method", "S256")]);
        let mut form = form("server", &code, Some(REDIRECT));
        assert_eq!(grants.exchange(&form, at(1)), Err("invalid_request"));
        form.code_verifier = Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned());
        assert!(grants.exchange(&form, at(1)).is_ok());
    }

    #[test]
    fn refusal_of_the_user_comes_back_as_access_denied() {
        let mut grants = grants();
        let (id, _) = grants.ask(&query(&[])).expect("a question");
        let address = grants.answer(&id, false, HERE, at(0));
        assert_eq!(address.as_deref(), Some("http://localhost:8765/callback?state=s&error=access_denied"));
        assert_eq!(grants.answer(&id, true, HERE, at(0)), None, "answered");
    }
}
