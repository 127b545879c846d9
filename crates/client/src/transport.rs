//! HTTP towards issuers: TLS, limits, no redirects. Exposes secret bytes, into request bodies and the
//! header that shows a token to a product.

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{self, HeaderValue};
use reqwest::{Certificate, Client, RequestBuilder, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::clock::Clock;
use zoho_api::{Outcome, Reason};
use zoho_core::issuer::TokenRequest;
use zoho_core::issuer::login::{self, CodeGrant, Exchanged, Revoked};
use zoho_core::issuer::probe::{self, Question};
use zoho_core::issuer::reply::{self, Failed, Reply};
use zoho_core::issuer::server_login::{self, Answer, LoginServer};
use zoho_core::plan::verify;
use zoho_core::secret::{LoginGrant, RefreshGrant};

/// From nothing to a connection, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The whole call.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A whole login, which is up to three calls. Shorter than the time for which other processes take it to be in flight.
const LOGIN_WITHIN: Duration = Duration::from_secs(25);
/// Largest reply that is read, in bytes.
const LARGEST_REPLY: usize = 64 * 1024;

/// Sends token requests.
#[derive(Debug)]
pub struct Transport {
    ca_files: Vec<PathBuf>,
    current: Mutex<Current>,
}

/// The client, and the content of the certificate files that it was made with.
#[derive(Clone, Debug)]
struct Current {
    pems: Vec<Vec<u8>>,
    client: Client,
}

impl Transport {
    /// A transport that trusts the system's roots and those of the files. The files are read again before each request,
    /// so that a mounted `ConfigMap` can change.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or holds no certificate.
    pub fn new(ca_files: &[PathBuf]) -> anyhow::Result<Self> {
        let pems = read_all(ca_files)?;
        let client = client(ca_files, &pems)?;
        Ok(Self { ca_files: ca_files.to_vec(), current: Mutex::new(Current { pems, client }) })
    }

    /// Asks a host for its root page, with nothing secret in the request. Any answer is a good one: the name is known, the
    /// way leads there, and the certificate is trusted.
    ///
    /// # Errors
    ///
    /// The reason, and the innermost cause for people.
    pub async fn reach(&self, root: &Url) -> Result<u16, (Reason, String)> {
        match self.client().get(root.clone()).send().await {
            Ok(answer) => Ok(answer.status().as_u16()),
            Err(error) => {
                let mut cause: &dyn std::error::Error = &error;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                Err((failure(&error).reason, cause.to_string()))
            }
        }
    }

    /// The client for the files as they are now. What cannot be used leaves the one before in place.
    fn client(&self) -> Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.ca_files.is_empty() {
            match read_all(&self.ca_files) {
                Ok(pems) if pems == current.pems => {}
                Ok(pems) => match client(&self.ca_files, &pems) {
                    Ok(client) => {
                        tracing::info!("certificate files changed and are read again");
                        *current = Current { pems, client };
                    }
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "changed certificate files are not used");
                    }
                },
                Err(error) => tracing::warn!(error = format!("{error:#}"), "certificate files cannot be read again"),
            }
        }
        current.client.clone()
    }

    /// Asks for an access token. Nothing is repeated here.
    pub async fn send(&self, request: &TokenRequest, clock: &dyn Clock) -> Reply {
        match request {
            TokenRequest::Refresh(service, grant) => self.refresh(&service.token_url, grant).await,
            TokenRequest::Login(server, grant) => {
                match timeout(LOGIN_WITHIN, self.log_in(server, grant, clock)).await {
                    Ok(Ok(access_token)) => Reply::Minted { access_token, life: server.life(), api_domain: None },
                    Ok(Err(failed)) => Reply::Failed(failed),
                    Err(_elapsed) => Reply::Failed(timed_out()),
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
        let mut request = self.client().get(question.url.clone()).header(header::AUTHORIZATION, authorization);
        if let Some(accept) = question.accept {
            request = request.header(header::ACCEPT, accept);
        }
        match read(request).await {
            Ok(Received { status, body, .. }) => probe::classify(question, status, &body),
            Err(error) => verify::Answer::Nothing(failure(&error).reason),
        }
    }

    /// RFC 6749 section 6: one request.
    async fn refresh(&self, token_url: &Url, grant: &RefreshGrant) -> Reply {
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", grant.client_id.expose_secret()),
            ("client_secret", grant.client_secret.expose_secret()),
            ("refresh_token", grant.refresh_token.expose_secret()),
        ];
        if let Some(redirect_uri) = &grant.redirect_uri {
            form.push(("redirect_uri", redirect_uri.expose_secret()));
        }
        match read(self.client().post(token_url.clone()).form(&form)).await {
            Ok(Received { status, retry_after, body, .. }) => reply::classify(status, retry_after.as_deref(), &body),
            Err(error) => Reply::Failed(failure(&error)),
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
        match read(self.client().post(token_url.clone()).form(&form)).await {
            Ok(Received { status, retry_after, body, .. }) => {
                login::read_exchange(status, retry_after.as_deref(), &body)
            }
            Err(error) => Exchanged::Failed(failure(&error)),
        }
    }

    /// Ends a refresh token and its access tokens, for good. For people; one request.
    pub async fn revoke(&self, revocation_url: &Url, refresh_token: &SecretString) -> Revoked {
        let form = [("token", refresh_token.expose_secret())];
        match read(self.client().post(revocation_url.clone()).form(&form)).await {
            Ok(Received { status, body, .. }) => login::read_revocation(status, &body),
            Err(error) => Revoked::Failed(failure(&error)),
        }
    }

    /// Looks at a page that needs no secret, such as the list of data centers: its `Date` and its body.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub async fn look(&self, url: &Url) -> Result<(Option<String>, Vec<u8>), Failed> {
        let Received { date, body, .. } =
            read(self.client().get(url.clone())).await.map_err(|error| failure(&error))?;
        Ok((date, body.to_vec()))
    }

    /// The password, and where the server asks for one a one-time password: at most three requests.
    async fn log_in(
        &self,
        server: &LoginServer,
        grant: &LoginGrant,
        clock: &dyn Clock,
    ) -> Result<SecretString, Failed> {
        let mut fields = server.login_fields();
        fields["username"] = grant.username.expose_secret().into();
        fields["password"] = STANDARD.encode(grant.password.expose_secret()).into();
        let uid = match self.ask_server(server.login_url(), fields).await? {
            Answer::Token(token) => return Ok(token),
            Answer::OneTimePassword { uid } => uid,
            Answer::Failed(failed) => return Err(failed),
        };
        let now = u64::try_from(clock.now().unix()).unwrap_or_default();
        for instant in server_login::otp_instants(now) {
            let otp = grant.one_time_password(instant).ok_or_else(server_login::otp_required)?;
            let fields = json!({
                "uid": uid.expose_secret(),
                "otp": otp.expose_secret(),
                "rememberme_enabled": "true",
            });
            match self.ask_server(server.otp_url(), fields).await? {
                Answer::Token(token) => return Ok(token),
                Answer::Failed(failed) if !failed.permanent => return Err(failed),
                Answer::Failed(_) | Answer::OneTimePassword { .. } => {}
            }
        }
        Err(server_login::otp_refused())
    }

    async fn ask_server(&self, url: Url, fields: Value) -> Result<Answer, Failed> {
        let request = self.client().post(url).header(header::CONTENT_TYPE, "application/json").body(fields.to_string());
        let Received { status, body, .. } = read(request).await.map_err(|error| failure(&error))?;
        Ok(server_login::classify(status, &body))
    }
}

/// What came back.
struct Received {
    status: u16,
    retry_after: Option<String>,
    date: Option<String>,
    /// Empty where it was too large.
    body: Zeroizing<Vec<u8>>,
}

async fn read(request: RequestBuilder) -> Result<Received, reqwest::Error> {
    let mut response = request.send().await?;
    let status = response.status().as_u16();
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (retry_after, date) = (text(header::RETRY_AFTER), text(header::DATE));
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LARGEST_REPLY {
            body.clear();
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Received { status, retry_after, date, body })
}

fn read_all(ca_files: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("read --ca-file {}", path.display()));
    ca_files.iter().map(read).collect()
}

fn client(ca_files: &[PathBuf], pems: &[Vec<u8>]) -> anyhow::Result<Client> {
    let mut roots = Vec::new();
    for (path, pem) in ca_files.iter().zip(pems) {
        let bundle = Certificate::from_pem_bundle(pem)
            .with_context(|| format!("parse --ca-file {}: want PEM certificates", path.display()))?;
        anyhow::ensure!(!bundle.is_empty(), "--ca-file {} holds no certificate", path.display());
        roots.extend(bundle);
    }
    Client::builder()
        .user_agent(concat!("zoho-operator/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(CONNECT_WITHIN)
        .timeout(ANSWER_WITHIN)
        .tls_certs_merge(roots)
        .build()
        .context("build the HTTP client")
}

/// What a call without a usable answer means. Until a connection stands nothing of ours has left; after that the server
/// may have minted.
fn failure(error: &reqwest::Error) -> Failed {
    let failed = |reason, outcome| Failed { reason, code: None, permanent: false, outcome };
    if is_tls(error) {
        failed(Reason::UpstreamTLS, Outcome::NotSent)
    } else if error.is_connect() {
        failed(Reason::UpstreamUnavailable, Outcome::NotSent)
    } else if error.is_builder() {
        failed(Reason::UpstreamError, Outcome::NotSent)
    } else if error.is_timeout() {
        timed_out()
    } else {
        failed(Reason::UpstreamUnavailable, Outcome::Unknown)
    }
}

fn timed_out() -> Failed {
    Failed { reason: Reason::UpstreamTimeout, code: None, permanent: false, outcome: Outcome::Unknown }
}

/// A certificate or handshake problem, found while connecting.
fn is_tls(error: &reqwest::Error) -> bool {
    error.is_connect() && error.source().is_some_and(has_tls_cause)
}

fn has_tls_cause(error: &(dyn std::error::Error + 'static)) -> bool {
    // An I/O error names the cause of what it wraps as its source, and so hides what it wraps.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || wrapped.is_some_and(|wrapped| has_tls_cause(wrapped))
        || error.source().is_some_and(has_tls_cause)
}
