//! HTTP towards issuers: limits, no redirects, no kept connections. Exposes secret bytes, into request bodies and the
//! header that shows a token to a product.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, RequestBuilder, Url, redirect, retry};
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::clock::{self, Clock};
use crate::failure;
use crate::in_time::SendBefore;
use crate::tls::{self, Trust};
use zoho_api::Reason;
use zoho_core::issuer::TokenRequest;
use zoho_core::issuer::answer;
use zoho_core::issuer::body;
use zoho_core::issuer::client_credentials;
use zoho_core::issuer::device::{self, DeviceCode, Polled};
use zoho_core::issuer::login::{self, CodeGrant, Exchanged, Revoked};
use zoho_core::issuer::probe::Question;
use zoho_core::issuer::reply::{self, Failed, Head, Minted, Reply};
use zoho_core::issuer::server_login::{self, LoginAnswer, LoginServer};
use zoho_core::issuer::zoho::TokenService;
use zoho_core::plan::verify;
use zoho_core::secret::{ClientGrant, LoginGrant, RefreshGrant};

/// From nothing to a connection, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The whole call.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A whole login, which is up to three calls. Shorter than the time for which other processes take it to be in flight.
const LOGIN_WITHIN: Duration = Duration::from_secs(25);

/// Sends token requests.
#[derive(Debug)]
pub struct Transport {
    ca_files: Vec<PathBuf>,
    /// Listed servers, which may show exactly the certificates of the files.
    servers: Vec<ServerName<'static>>,
    /// Which proxy a request takes: the environment, as the client reads it.
    proxies: Matcher,
    current: Mutex<Current>,
}

/// The clients, and the content of the certificate files that they were made with.
#[derive(Clone, Debug)]
struct Current {
    pems: Vec<Vec<u8>>,
    /// For token services and products.
    usual: Client,
    /// For listed servers.
    servers: Client,
    /// For what is not encrypted, which is on this machine: no proxy may read it.
    plain: Client,
}

impl Current {
    fn new(ca_files: &[PathBuf], pems: Vec<Vec<u8>>, servers: &[ServerName<'static>]) -> anyhow::Result<Self> {
        let given = tls::certificates(ca_files, &pems)?;
        let own = given.iter().filter(|certificate| !tls::is_authority(certificate)).count();
        if own > 0 {
            tracing::info!(
                certificates = own,
                "certificates of --ca-file without CA:TRUE are no authorities: each is trusted as a server's own"
            );
        }
        let built = |builder: ClientBuilder| builder.build().context("build the HTTP client");
        let named = tls::config(&given, Trust::Named)?;
        let plain = built(builder(named.clone()).no_proxy())?;
        let usual = built(builder(named))?;
        let servers =
            if servers.is_empty() { usual.clone() } else { built(builder(tls::config(&given, Trust::Shown)?))? };
        Ok(Self { pems, usual, servers, plain })
    }
}

impl Transport {
    /// A transport that trusts the system's roots and those of the files. The files are read again before each request,
    /// so that a mounted `ConfigMap` can change. `servers`: base URLs of listed servers, which are trusted by their own
    /// certificates, too, where those stand in the files.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or holds no certificate.
    pub fn new(ca_files: &[PathBuf], servers: &[Url]) -> anyhow::Result<Self> {
        let servers: Vec<_> = servers.iter().filter_map(|url| tls::server_name(url.host_str()?)).collect();
        let current = Current::new(ca_files, read_all(ca_files)?, &servers)?;
        let proxies = Matcher::from_system();
        Ok(Self { ca_files: ca_files.to_vec(), servers, proxies, current: Mutex::new(current) })
    }

    /// Asks a host for its root page, with nothing secret in the request. An answer means: the name is known, the way leads
    /// there, and the certificate is trusted. Its status tells whether somebody else on the way has answered.
    ///
    /// # Errors
    ///
    /// What it means, and the innermost cause for people.
    pub async fn reach(&self, root: &Url) -> Result<u16, (Failed, String)> {
        match self.client_for(root).get(root.clone()).send().await {
            Ok(answer) => Ok(answer.status().as_u16()),
            Err(error) => Err((failure::of(&error, self.proxy_for(root)), failure::innermost(&error))),
        }
    }

    /// The client for the files as they are now. What cannot be used leaves the one before in place.
    fn current(&self) -> Current {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.ca_files.is_empty() {
            match read_all(&self.ca_files) {
                Ok(pems) if pems == current.pems => {}
                Ok(pems) => match Current::new(&self.ca_files, pems, &self.servers) {
                    Ok(changed) => {
                        tracing::info!("certificate files changed and are read again");
                        *current = changed;
                    }
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "changed certificate files are not used");
                    }
                },
                Err(error) => tracing::warn!(error = format!("{error:#}"), "certificate files cannot be read again"),
            }
        }
        current.clone()
    }

    fn client_for(&self, url: &Url) -> Client {
        let current = self.current();
        if is_plain(url) {
            return current.plain;
        }
        let name = url.host_str().and_then(tls::server_name);
        if name.is_some_and(|name| self.servers.contains(&name)) { current.servers } else { current.usual }
    }

    fn post(&self, url: &Url) -> RequestBuilder {
        self.client_for(url).post(url.clone())
    }

    /// Host and port of the proxy that a request takes, if it takes one; never the credentials in its URL.
    fn proxy_for(&self, url: &Url) -> Option<String> {
        let url = Some(url).filter(|url| !is_plain(url))?;
        let proxy = self.proxies.intercept(&url.as_str().parse().ok()?)?;
        proxy.uri().authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default().to_owned())
    }

    /// Asks for an access token. Nothing is repeated here.
    pub async fn send(&self, request: &TokenRequest, clock: &dyn Clock) -> Reply {
        self.ask(request, clock, None).await
    }

    /// The same as long as [`clock::steady`] is before `end`, however long it takes until a connection stands. `None`:
    /// nothing was sent.
    pub async fn send_before(&self, end: Duration, request: &TokenRequest, clock: &dyn Clock) -> Option<Reply> {
        let limit = SendBefore::new(end);
        let reply = self.ask(request, clock, Some(&limit)).await;
        (!limit.was_late()).then_some(reply)
    }

    async fn ask(&self, request: &TokenRequest, clock: &dyn Clock, limit: Option<&SendBefore>) -> Reply {
        match request {
            TokenRequest::Refresh(service, grant) => self.refresh(&service.token_url, grant, clock, limit).await,
            TokenRequest::Client(service, grant) => self.ask_as_client(&service.token_url, grant, clock, limit).await,
            TokenRequest::Login(server, grant) => {
                match timeout(LOGIN_WITHIN, self.log_in(server, grant, clock, limit)).await {
                    Ok(Ok(access_token)) => Reply::Minted(Minted::bare(access_token, server.life())),
                    Ok(Err(failed)) => Reply::Failed(failed),
                    Err(_elapsed) => Reply::Failed(failure::timed_out()),
                }
            }
        }
    }

    /// Shows a token to a product. One request.
    pub async fn show(&self, question: &Question, access_token: &SecretString) -> verify::Answer {
        let authorization = Zeroizing::new(format!("{}{}", question.scheme, access_token.expose_secret()));
        let Ok(mut authorization) = HeaderValue::from_str(&authorization) else {
            return verify::Answer::Nothing(Reason::UpstreamError);
        };
        authorization.set_sensitive(true);
        let url = &question.url;
        let mut request = self.client_for(url).get(url.clone()).header(header::AUTHORIZATION, authorization);
        if let Some(accept) = question.accept {
            request = request.header(header::ACCEPT, accept);
        }
        match self.read(url, request).await {
            // What a status means is said by the body.
            Ok(Received { cut: Some(_), body, .. }) if !body::is_whole(&body) => {
                verify::Answer::Nothing(Reason::UpstreamUnavailable)
            }
            Ok(Received { status, body, .. }) => answer::classify(question, status, &body),
            Err(failed) => verify::Answer::Nothing(failed.reason),
        }
    }

    /// RFC 6749 section 6: one request.
    async fn refresh(
        &self,
        token_url: &Url,
        grant: &RefreshGrant,
        clock: &dyn Clock,
        limit: Option<&SendBefore>,
    ) -> Reply {
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", grant.client_id.expose_secret()),
            ("client_secret", grant.client_secret.expose_secret()),
            ("refresh_token", grant.refresh_token.expose_secret()),
        ];
        if let Some(redirect_uri) = &grant.redirect_uri {
            form.push(("redirect_uri", redirect_uri.expose_secret()));
        }
        match self.read_before(token_url, self.post(token_url).form(&form), limit).await {
            Ok(received) => reply::classify(received.head(), &received.body, clock.now()),
            Err(failed) => Reply::Failed(failed),
        }
    }

    /// RFC 6749 section 4.4, with the client's credentials in the body: one request.
    async fn ask_as_client(
        &self,
        token_url: &Url,
        grant: &ClientGrant,
        clock: &dyn Clock,
        limit: Option<&SendBefore>,
    ) -> Reply {
        let scope = grant.asked.scope();
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", grant.client_id.expose_secret()),
            ("client_secret", grant.client_secret.expose_secret()),
            ("scope", &scope),
        ];
        if let Some(soid) = &grant.asked.soid {
            form.push(("soid", soid));
        }
        match self.read_before(token_url, self.post(token_url).form(&form), limit).await {
            Ok(received) => client_credentials::classify(received.head(), &received.body, clock.now()),
            Err(failed) => Reply::Failed(failed),
        }
    }

    /// Exchanges a grant code, which works once, for a refresh token. For logins of people; one request.
    pub async fn exchange(&self, token_url: &Url, grant: &CodeGrant) -> Exchanged {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", grant.client_id.as_str()),
            ("client_secret", grant.client_secret.expose_secret()),
            ("code", grant.code.expose_secret()),
        ];
        if let Some(redirect_uri) = &grant.redirect_uri {
            form.push(("redirect_uri", redirect_uri));
        }
        if let Some(verifier) = &grant.verifier {
            form.push(("code_verifier", verifier.expose_secret()));
        }
        match self.read(token_url, self.post(token_url).form(&form)).await {
            Ok(received) => login::read_exchange(received.head(), &received.body, clock::system().now()),
            Err(failed) => Exchanged::Failed(failed),
        }
    }

    /// Asks for a code that a person types into a browser elsewhere. For logins of people; one request.
    ///
    /// # Errors
    ///
    /// There is none, and why.
    pub async fn device_code(
        &self,
        service: &TokenService,
        client_id: &str,
        scope: &str,
    ) -> Result<DeviceCode, Exchanged> {
        let url = device::code_url(&service.token_url);
        let form = [
            ("grant_type", "device_request"),
            ("client_id", client_id),
            ("scope", scope),
            ("access_type", "offline"),
            ("prompt", "consent"),
        ];
        let received = self.read(&url, self.post(&url).form(&form)).await.map_err(Exchanged::Failed)?;
        device::read_code(service, received.head(), &received.body, clock::system().now())
    }

    /// Asks whether the person has answered. For logins of people; one request.
    pub async fn poll_device(
        &self,
        token_url: &Url,
        client_id: &str,
        client_secret: &SecretString,
        device_code: &SecretString,
    ) -> Polled {
        let url = device::poll_url(token_url);
        let form = [
            ("grant_type", "device_token"),
            ("client_id", client_id),
            ("client_secret", client_secret.expose_secret()),
            ("code", device_code.expose_secret()),
        ];
        match self.read(&url, self.post(&url).form(&form)).await {
            Ok(received) => device::read_poll(received.head(), &received.body, clock::system().now()),
            Err(failed) => Polled::NoAnswer(failed),
        }
    }

    /// Ends a refresh token and its access tokens, for good. For people; one request, and another one in the newer form
    /// where the server does not know the older.
    pub async fn revoke(&self, token_url: &Url, grant: &RefreshGrant) -> Revoked {
        let url = login::revocation_url(token_url);
        let token = ("token", grant.refresh_token.expose_secret());
        let revoked = self.ask_to_revoke(&url, self.post(&url).form(&[token])).await;
        if revoked != Revoked::NoEndpoint {
            return revoked;
        }
        let url = login::newer_revocation_url(token_url);
        let request = self.post(&url).form(&[token, ("token_type", "refresh_token")]);
        let (id, secret) = (grant.client_id.expose_secret(), grant.client_secret.expose_secret());
        self.ask_to_revoke(&url, request.basic_auth(id, Some(secret))).await
    }

    async fn ask_to_revoke(&self, url: &Url, request: RequestBuilder) -> Revoked {
        match self.read(url, request).await {
            Ok(received) => login::read_revocation(received.head(), &received.body, clock::system().now()),
            Err(failed) => Revoked::Failed(failed),
        }
    }

    /// Looks at a page that needs no secret, such as the list of data centers: its `Date` and its body.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub async fn look(&self, url: &Url) -> Result<(Option<String>, Vec<u8>), Failed> {
        let Received { date, body, .. } = self.read(url, self.client_for(url).get(url.clone())).await?;
        Ok((date, body.to_vec()))
    }

    /// The password, and where the server asks for one a one-time password: at most three requests. The limit is for the
    /// first one: the others belong to it.
    async fn log_in(
        &self,
        server: &LoginServer,
        grant: &LoginGrant,
        clock: &dyn Clock,
        limit: Option<&SendBefore>,
    ) -> Result<SecretString, Failed> {
        let mut fields = server.login_fields();
        fields["username"] = grant.username.expose_secret().into();
        fields["password"] = STANDARD.encode(grant.password.expose_secret()).into();
        let uid = match self.ask_server(server.login_url(), fields, limit).await? {
            LoginAnswer::Token(token) => return Ok(token),
            LoginAnswer::OneTimePassword { uid } => uid,
            LoginAnswer::Failed(failed) => return Err(failed),
        };
        let now = u64::try_from(clock.now().unix()).unwrap_or_default();
        for instant in server_login::otp_instants(now) {
            let otp = grant.one_time_password(instant).ok_or_else(server_login::otp_required)?;
            let fields = json!({
                "uid": uid.expose_secret(),
                "otp": otp.expose_secret(),
                "rememberme_enabled": "true",
            });
            // The password was sent, whatever becomes of this request.
            let answer = self.ask_server(server.otp_url(), fields, None).await;
            let answer = answer.map_err(failure::after_something_was_sent)?;
            match answer {
                LoginAnswer::Token(token) => return Ok(token),
                // The neighbouring step is worth a try only where the server has certainly refused this one.
                LoginAnswer::Failed(failed) if !failed.permanent || failed.code.is_some() => return Err(failed),
                LoginAnswer::Failed(_) | LoginAnswer::OneTimePassword { .. } => {}
            }
        }
        Err(server_login::otp_refused())
    }

    async fn ask_server(&self, url: Url, fields: Value, limit: Option<&SendBefore>) -> Result<LoginAnswer, Failed> {
        let request = self.post(&url).header(header::CONTENT_TYPE, "application/json").body(fields.to_string());
        let received = self.read_before(&url, request, limit).await?;
        Ok(server_login::classify(received.head(), &received.body))
    }

    /// Sends a request and reads what comes back, as far as it is not too large. An answer whose end did not come counts
    /// where the rest says all the same what it is: a refusal by its status, a success by the whole object in it.
    async fn read(&self, url: &Url, request: RequestBuilder) -> Result<Received, Failed> {
        self.read_before(url, request, None).await
    }

    /// The same for a request that is sent by the limit or not at all.
    async fn read_before(
        &self,
        url: &Url,
        request: RequestBuilder,
        limit: Option<&SendBefore>,
    ) -> Result<Received, Failed> {
        let proxy = self.proxy_for(url);
        let error = match read(request, limit).await {
            Ok(Received { status: 407, .. }) if proxy.is_some() => {
                return Err(failure::of_proxy_that_wants_login(proxy.unwrap_or_default()));
            }
            Ok(Received { cut: Some(error), status, body, .. }) if is_success(status) && !body::is_whole(&body) => {
                error
            }
            Ok(received) => return Ok(received),
            Err(error) => error,
        };
        let host = url.host_str().unwrap_or_default();
        tracing::warn!(host, proxy, error = failure::innermost(&error), "no answer");
        Err(failure::of(&error, proxy))
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// What came back.
struct Received {
    status: u16,
    retry_after: Option<String>,
    date: Option<String>,
    location: Option<String>,
    /// Empty where it was too large.
    body: Zeroizing<Vec<u8>>,
    /// Why there is no more of it, where there should be.
    cut: Option<reqwest::Error>,
}

impl Received {
    fn head(&self) -> Head<'_> {
        Head {
            status: self.status,
            retry_after: self.retry_after.as_deref(),
            date: self.date.as_deref(),
            location: self.location.as_deref(),
        }
    }
}

async fn read(request: RequestBuilder, limit: Option<&SendBefore>) -> Result<Received, reqwest::Error> {
    let (client, request) = request.build_split();
    let mut request = request?;
    if let Some(limit) = limit {
        limit.hold_back(&mut request);
    }
    let mut response = client.execute(request).await?;
    let status = response.status().as_u16();
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (retry_after, date, location) = (text(header::RETRY_AFTER), text(header::DATE), text(header::LOCATION));
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    let cut = loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > body::LARGEST => {
                body.clear();
                break None;
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    Ok(Received { status, retry_after, date, location, body, cut })
}

fn read_all(ca_files: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("read --ca-file {}", path.display()));
    ca_files.iter().map(read).collect()
}

fn is_plain(url: &Url) -> bool {
    url.scheme() == "http"
}

fn builder(tls: rustls::ClientConfig) -> ClientBuilder {
    // Not compressed: what cannot be unpacked is a lost token.
    let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
    Client::builder()
        .user_agent(concat!("zoho-operator/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(CONNECT_WITHIN)
        .timeout(ANSWER_WITHIN)
        // A server may close a kept connection in the moment in which a request is sent on it, and then nobody knows
        // whether it has minted. A request in half an hour is worth its own connection.
        .pool_max_idle_per_host(0)
        .tls_backend_preconfigured(tls)
}
