//! Zoho as a state machine: a request comes in, a page goes out. Pure: no sockets, no clock, no waiting.
//!
//! The HTTP shell calls [`Zoho::begin`] when a request arrives, [`Zoho::act`] when it is to take its ordinary effect,
//! and [`Zoho::delivered`] when it is over. What lies between them in time is the shell's affair.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::accounts::{Accounts, Limits, Refusal};
use super::device::{self, Consented, DeviceForm, Devices};
use super::form::{Revocation, TokenForm, Violation};
use super::grants::{Granted, Grants};
use super::journal::{Delivery, Journal, Outcome};
use super::products::{self, Answer, Call, Treatment};
use super::script::{Page, Reply, Script, Scripts, Target};
use super::self_clients::SelfClients;
use super::server::{LoginVisit, Server};

const THROTTLED: &str = "Access Denied";
const THROTTLED_LOCALISED: &str = "拒绝访问";

/// How this Zoho behaves where Zoho's data centers differ.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits for each refresh token.
    pub limits: Limits,
    /// Life of an access token; whole seconds of it are told as `expires_in`. Default 1 hour.
    pub token_life: Duration,
    /// `api_domain` of the token reply; some products send none. Default `https://www.zohoapis.eu`.
    pub api_domain: Option<String>,
    /// HTTP status of a throttled request, 400 or 200. Default 400.
    pub throttle_status: u16,
    /// Whether the throttle speaks Chinese. Default no.
    pub throttle_is_localised: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            token_life: Duration::from_hours(1),
            api_domain: Some("https://www.zohoapis.eu".to_owned()),
            throttle_status: 400,
            throttle_is_localised: false,
        }
    }
}

/// A request to one of Zoho's endpoints, already read.
#[derive(Clone, Debug)]
pub enum Visit {
    /// `POST /oauth/v2/token`, with the form or what is wrong with it.
    Token(Result<TokenForm, Violation>),
    /// A revocation, or what is wrong with the request.
    Revocation(Result<Revocation, Violation>),
    /// One of the two requests of a consent on another device, or what is wrong with it.
    Device(Result<DeviceForm, Violation>),
    /// A call of a product's API.
    Product(Call),
    /// A request of a login on a server, or what is wrong with it.
    Login(Result<LoginVisit, Violation>),
}

impl Visit {
    fn refresh_token(&self) -> Option<&str> {
        match self {
            Self::Token(Ok(form)) => form.refresh_token.as_deref(),
            Self::Token(Err(_)) | Self::Revocation(_) | Self::Device(_) | Self::Product(_) | Self::Login(_) => None,
        }
    }

    fn targets(&self) -> Vec<Target> {
        match self {
            Self::Token(_) => self
                .refresh_token()
                .map(|text| Target::RefreshToken(text.to_owned()))
                .into_iter()
                .chain([Target::Token])
                .collect(),
            Self::Revocation(_) => vec![Target::Revocation],
            Self::Device(_) => vec![Target::Device],
            Self::Product(_) => vec![Target::Product],
            Self::Login(_) => vec![Target::Login],
        }
    }
}

/// A visit that has begun.
#[derive(Debug)]
pub struct Begun {
    /// Its number in the log; other endpoints than the token endpoint are not logged.
    pub number: Option<u64>,
    /// How to answer.
    pub reply: Reply,
    /// A wait of its own, where the script has one.
    pub latency: Option<Duration>,
}

/// The ordinary effect of a visit.
#[derive(Debug)]
pub struct Acted {
    /// The ordinary answer.
    pub page: Page,
    /// The access token that was minted.
    pub access_token: Option<Arc<str>>,
}

/// One data center of Zoho.
#[derive(Debug)]
pub struct Zoho {
    settings: Settings,
    accounts: Accounts,
    grants: Grants,
    devices: Devices,
    self_clients: SelfClients,
    scripts: Scripts,
    journal: Journal,
    server: Server,
    /// By refresh token.
    treatments: HashMap<String, Treatment>,
}

impl Zoho {
    /// A data center without accounts. Equal seeds give equal access tokens.
    pub fn new(settings: Settings, seed: [u8; 16]) -> Self {
        Self {
            accounts: Accounts::new(settings.limits.clone(), settings.token_life, seed),
            settings,
            grants: Grants::default(),
            devices: Devices::default(),
            self_clients: SelfClients::default(),
            scripts: Scripts::default(),
            server: Server::new(seed),
            journal: Journal::default(),
            treatments: HashMap::new(),
        }
    }

    /// Clients and tokens.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Clients and tokens, to change.
    pub fn accounts_mut(&mut self) -> &mut Accounts {
        &mut self.accounts
    }

    /// The on-premises server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The on-premises server, to change.
    pub fn server_mut(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Grant codes.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Grant codes, to change.
    pub fn grants_mut(&mut self) -> &mut Grants {
        &mut self.grants
    }

    /// Consent on other devices.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Consent on other devices, to change.
    pub fn devices_mut(&mut self) -> &mut Devices {
        &mut self.devices
    }

    /// Lets the products treat the tokens of this refresh token in another way from now on.
    pub fn treat(&mut self, refresh_token: &str, treatment: Treatment) {
        self.treatments.insert(refresh_token.to_owned(), treatment);
    }

    /// Clients that may ask in their own name, to change.
    pub fn self_clients_mut(&mut self) -> &mut SelfClients {
        &mut self.self_clients
    }

    /// Counts and log.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Queues a scripted reply.
    pub fn script(&mut self, target: Target, script: impl Into<Script>) {
        self.scripts.push(target, script.into());
    }

    /// Forgets all scripts.
    pub fn clear_scripts(&mut self) {
        self.scripts.clear();
    }

    /// Notes a request that arrived and says how it is to be answered.
    pub fn begin(&mut self, visit: &Visit, now: Timestamp) -> Begun {
        let scripted = self.scripts.next(&visit.targets());
        let violation = match visit {
            Visit::Token(Ok(form)) => form.violation(),
            Visit::Token(Err(violation))
            | Visit::Revocation(Err(violation))
            | Visit::Device(Err(violation))
            | Visit::Login(Err(violation)) => Some(*violation),
            Visit::Device(Ok(DeviceForm::Poll { device_code, .. })) => self.devices.violation(device_code, now),
            Visit::Device(Ok(DeviceForm::Begin { .. }))
            | Visit::Revocation(Ok(_))
            | Visit::Product(_)
            | Visit::Login(Ok(_)) => None,
        };
        if let Some(violation) = violation {
            self.journal.violation(violation);
        }
        let number = matches!(visit, Visit::Token(_)).then(|| {
            let script = scripted.as_ref().map(|(reply, _)| reply.kind());
            self.journal.arrived(visit.refresh_token(), script, now)
        });
        let (reply, latency) = scripted.unwrap_or((Reply::Normal, None));
        if matches!(reply, Reply::Throttle | Reply::LocalisedThrottle) {
            self.treated(number, visit, Outcome::Throttled, None);
        }
        Begun { number, reply, latency }
    }

    /// Lets a visit take its ordinary effect: mint, refuse, revoke.
    pub fn act(&mut self, number: Option<u64>, visit: &Visit, now: Timestamp) -> Acted {
        let mut access_token = None;
        let page = match visit {
            Visit::Token(Ok(form)) => {
                let (page, outcome) = self.exchange(form, now, &mut access_token);
                self.treated(number, visit, outcome, access_token.clone());
                page
            }
            Visit::Token(Err(violation)) => {
                self.treated(number, visit, Outcome::Unreadable(violation), None);
                Page::html(400, "<html><body><h1>Bad Request</h1></body></html>")
            }
            Visit::Revocation(Ok(revocation)) => self.revoke(revocation, now),
            Visit::Device(Ok(form)) => self.visit_device(form, now, &mut access_token),
            Visit::Login(Ok(login)) => self.server.visit(login, now),
            Visit::Revocation(Err(_)) | Visit::Device(Err(_)) | Visit::Login(Err(_)) => {
                Page::html(400, "<html><body><h1>Bad Request</h1></body></html>")
            }
            Visit::Product(call) => self.call_product(call, now),
        };
        Acted { page, access_token }
    }

    /// The page that `reply` sends; `acted` is there if the visit took its effect before.
    ///
    /// Nothing for replies that need no page or more than one.
    pub fn page(&self, reply: &Reply, visit: &Visit, acted: Option<Acted>) -> Option<Page> {
        let access_token = acted.as_ref().and_then(|acted| acted.access_token.clone());
        let page = match reply {
            Reply::Normal | Reply::HoldThenMint | Reply::MintThenHold | Reply::Drip { .. } => {
                return acted.map(|acted| acted.page);
            }
            Reply::Status(page) | Reply::MintThenStatus(page) => page.clone(),
            Reply::Body { body } | Reply::MintThenBody { body } => Page::json(200, body.clone()),
            Reply::Throttle => throttle_page(400, THROTTLED),
            Reply::LocalisedThrottle => throttle_page(400, THROTTLED_LOCALISED),
            Reply::Redirect { code, location } => Page::html(*code, "").with_header("Location", location.clone()),
            Reply::Swallow | Reply::MintThenSwallow | Reply::Reset | Reply::MintThenReset | Reply::Huge { .. } => {
                return None;
            }
        };
        let mut values = vec![("$ACCESS_TOKEN", access_token.as_deref().unwrap_or_default())];
        if let Visit::Token(Ok(form)) = visit {
            values.extend([
                ("$REFRESH_TOKEN", form.refresh_token.as_deref().unwrap_or_default()),
                ("$CLIENT_ID", form.client_id.as_deref().unwrap_or_default()),
                ("$CLIENT_SECRET", form.client_secret.as_deref().unwrap_or_default()),
            ]);
        }
        Some(page.fill(&values))
    }

    /// Notes the end of a visit.
    pub fn delivered(&mut self, number: Option<u64>, visit: &Visit, delivery: Delivery) {
        if let Some(number) = number {
            self.journal.delivered(number, visit.refresh_token(), delivery);
        }
    }

    /// Notes a request to an address that does not exist.
    pub fn stray(&mut self) {
        self.journal.stats.strays += 1;
    }

    fn treated(&mut self, number: Option<u64>, visit: &Visit, outcome: Outcome, access_token: Option<Arc<str>>) {
        if let Some(number) = number {
            self.journal.treated(number, visit.refresh_token(), outcome, access_token);
        }
    }

    fn exchange(&mut self, form: &TokenForm, now: Timestamp, access_token: &mut Option<Arc<str>>) -> (Page, Outcome) {
        let granted = match self.granted(form, now) {
            Ok(granted) => granted,
            Err(refusal) => return self.refused(&refusal),
        };
        self.mint(form, granted, now, access_token)
    }

    /// Mints with the refresh token of the form, or with one that was granted this moment.
    fn mint(
        &mut self,
        form: &TokenForm,
        granted: Option<Granted>,
        now: Timestamp,
        access_token: &mut Option<Arc<str>>,
    ) -> (Page, Outcome) {
        let first = granted.as_ref().map(|granted| {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let (client_id, client_secret) = (text(&form.client_id), text(&form.client_secret));
            self.accounts.register(&client_id, &client_secret, &granted.refresh_token);
            TokenForm::refresh(&client_id, &client_secret, &granted.refresh_token)
        });
        match self.accounts.exchange(first.as_ref().unwrap_or(form), now) {
            Ok(minted) => {
                for refresh_token in &minted.evicted {
                    self.journal.evicted(refresh_token);
                }
                let mut body = json!({
                    "access_token": &*minted.access_token,
                    "token_type": "Bearer",
                    "expires_in": minted.expires_in,
                });
                if let Some(api_domain) = &self.settings.api_domain {
                    body["api_domain"] = json!(api_domain);
                }
                if let Some(granted) = granted {
                    body["scope"] = json!(granted.scope.replace(',', " "));
                    if granted.tells_refresh_token {
                        body["refresh_token"] = json!(granted.refresh_token);
                    }
                }
                *access_token = Some(minted.access_token);
                (Page::json(200, body.to_string()), Outcome::Minted)
            }
            Err(refusal) => self.refused(&refusal),
        }
    }

    fn visit_device(&mut self, form: &DeviceForm, now: Timestamp, access_token: &mut Option<Arc<str>>) -> Page {
        let refusal = |code: &str| Page::json(200, json!({ "error": code }).to_string());
        match form {
            DeviceForm::Begin { client_id, .. } if !self.grants.is_device(client_id) => refusal("invalid_client"),
            DeviceForm::Begin { client_id, scope, offline } => {
                let (device_code, user_code) = self.devices.begin(client_id, scope, *offline, now);
                let (interval, expires_in) = self.devices.pace_in_milliseconds();
                let body = json!({
                    "user_code": user_code, "device_code": device_code,
                    "interval": interval, "expires_in": expires_in,
                });
                Page::json(200, body.to_string())
            }
            DeviceForm::Poll { client_id, client_secret, device_code } => {
                let form = TokenForm::refresh(client_id, client_secret, "");
                if let Err(refused) = self.accounts.check_client(&form) {
                    return self.refused(&refused).0;
                }
                match self.devices.poll(client_id, device_code, now) {
                    Ok(Consented { scope, offline }) => {
                        let refresh_token = self.grants.grant();
                        let granted = Granted { refresh_token, tells_refresh_token: offline, scope };
                        self.mint(&form, Some(granted), now, access_token).0
                    }
                    Err(device::Refusal::Code(code)) => refusal(code),
                    Err(device::Refusal::Elsewhere(location)) => {
                        Page::json(200, json!({ "error": "other_dc", "user_location": location }).to_string())
                    }
                }
            }
        }
    }

    /// What a code, or a client that asks in its own name, is granted; nothing new where a refresh token is shown.
    fn granted(&mut self, form: &TokenForm, now: Timestamp) -> Result<Option<Granted>, Refusal> {
        if !form.is_code_exchange() && !form.is_of_client() {
            return Ok(None);
        }
        self.accounts.check_client(form)?;
        let granted = if form.is_code_exchange() {
            self.grants.exchange(form, now)
        } else {
            self.self_clients.grant(form).map(|granted| Granted {
                refresh_token: granted.account,
                tells_refresh_token: false,
                scope: granted.scope,
            })
        };
        granted.map(Some).map_err(Refusal::Code)
    }

    fn refused(&self, refusal: &Refusal) -> (Page, Outcome) {
        match refusal {
            Refusal::Throttled => {
                let text = if self.settings.throttle_is_localised { THROTTLED_LOCALISED } else { THROTTLED };
                let page = throttle_page(self.settings.throttle_status, text);
                (page, Outcome::Throttled)
            }
            Refusal::Code(code) => (Page::json(200, json!({ "error": code }).to_string()), Outcome::Refused(code)),
        }
    }

    fn revoke(&mut self, revocation: &Revocation, now: Timestamp) -> Page {
        let Revocation { token, client } = revocation;
        if let Some((id, secret)) = client
            && self.accounts.check_client(&TokenForm::refresh(id, secret, token)).is_err()
        {
            return Page::json(401, r#"{"error":"invalid_client"}"#);
        }
        if self.accounts.revoke(token, now) || self.accounts.revoke_access_token(token, now) {
            self.journal.stats.revocations += 1;
            Page::json(200, r#"{"status":"success"}"#)
        } else {
            Page::json(400, r#"{"error":"invalid_token"}"#)
        }
    }

    fn call_product(&mut self, call: &Call, now: Timestamp) -> Page {
        let Some(product) = products::at(&call.path) else {
            self.stray();
            return Page::html(404, "<html><body><h1>Not Found</h1></body></html>");
        };
        let answer = self.answer(call.authorization.as_deref(), now);
        match answer {
            Answer::Taken => self.journal.stats.product_ok += 1,
            Answer::Dead | Answer::NoToken | Answer::ScopeMissing | Answer::Throttled | Answer::Html => {
                self.journal.stats.product_refused += 1;
            }
        }
        product.page(answer)
    }

    fn answer(&self, authorization: Option<&str>, now: Timestamp) -> Answer {
        let Some(authorization) = authorization else { return Answer::NoToken };
        if self.server.is_alive(authorization) {
            return Answer::Taken;
        }
        let Some(token) = authorization.strip_prefix("Zoho-oauthtoken ") else { return Answer::Dead };
        let refresh_token = self.accounts.access_token(token).map(|known| &*known.refresh_token);
        let treatment = refresh_token.and_then(|text| self.treatments.get(text)).copied().unwrap_or_default();
        match treatment {
            Treatment::HeaderLost => Answer::NoToken,
            Treatment::Throttled => Answer::Throttled,
            Treatment::Html => Answer::Html,
            Treatment::Usual | Treatment::ScopeMissing if !self.accounts.is_alive(token, now) => Answer::Dead,
            Treatment::ScopeMissing => Answer::ScopeMissing,
            Treatment::Usual => Answer::Taken,
        }
    }
}

fn throttle_page(status: u16, error: &str) -> Page {
    let description = if error == THROTTLED {
        "You have made too many requests continuously. Please try again after some time."
    } else {
        "您在短时间内请求过于频繁，请稍后再试。"
    };
    let body = json!({ "error": error, "error_description": description, "status": "failure" });
    Page::json(status, body.to_string())
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
