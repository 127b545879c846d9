//! The list of issuers, and what differs between them. Pure.
//!
//! An issuer is found from the spec, reads its inputs from the source, and becomes a [`TokenRequest`]. Everything else,
//! from the plan to the target, knows it only by its [`Terms`].

pub mod answer;
pub mod body;
pub mod cause;
pub mod client_credentials;
pub mod data_centers;
pub mod device;
pub mod login;
pub mod probe;
pub mod reply;
pub mod server_login;
pub mod zoho;

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;

use self::cause::Cause;
use self::server_login::LoginServer;
use self::zoho::{GrantType, TokenService};
use crate::plan::Defect;
use crate::policy::Policy;
use crate::secret::{ClientGrant, HashKey, LoginGrant, RefreshGrant};
use zoho_api::names::{InputsDigest, LedgerName};
use zoho_api::{DataCenter, Grant, Reason, SecretRef, Time, ZohoCredentialSpec};

/// Who gives tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// Zoho's OAuth token service, by one of its grants.
    Zoho(TokenService),
    /// An on-premises Endpoint Central or Patch Manager Plus server, by login.
    Server(LoginServer),
}

/// What everybody else needs to know of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What people call it, at the start of a sentence.
    pub service: String,
    /// Where its inputs are made.
    pub console: String,
    /// The data center, where there is one.
    pub data_center: Option<DataCenter>,
    /// How tokens are asked for there.
    pub grant: Grant,
    /// What stands before the token in an `Authorization` header.
    pub scheme: &'static str,
    /// Does the issuer say when a token expires?
    pub names_expiry: bool,
    /// A request is a login: too many failed ones lock the account.
    pub is_login: bool,
    /// How far apart two requests are where nothing more is known: see [`TokenRequest::spacing`].
    pub spacing: Duration,
    /// How often a token is asked for, where the issuer names no expiry; else `spec.renewBefore` counts.
    pub renew_every: Option<Duration>,
    /// Base URL of the API that takes the tokens, where that is the issuer itself.
    pub api_url: Option<String>,
}

/// Everything that one token is asked for with.
#[derive(Clone, Debug)]
pub enum TokenRequest {
    /// RFC 6749 section 6, as Zoho understands it.
    Refresh(TokenService, RefreshGrant),
    /// RFC 6749 section 4.4, as Zoho understands it.
    Client(TokenService, ClientGrant),
    /// A login.
    Login(LoginServer, LoginGrant),
}

/// How the last flight with some inputs failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason to report.
    pub reason: Reason,
    /// The server's error code, if it is one of `[a-z_]{1,64}`.
    pub code: Option<String>,
    /// When.
    pub at: Time,
    /// Look again then; the ledger knows the time where this is `None`.
    pub again_at: Option<Time>,
    /// What stood in the way, where more than the reason is known.
    pub cause: Option<Cause>,
}

impl Issuer {
    /// The issuer that the spec of a credential in this namespace names.
    ///
    /// # Errors
    ///
    /// `InvalidSpec`; `AccountsHostNotAllowed` or `ServerNotAllowed`: secrets are sent to listed hosts only.
    pub fn of(spec: &ZohoCredentialSpec, namespace: &str, policy: &Policy) -> Result<Self, Defect> {
        match (&spec.data_center, &spec.endpoint_central_server) {
            (Some(_), None) => TokenService::of(spec, policy).map(Self::Zoho),
            (None, Some(server)) => LoginServer::of(server, spec.renew_every, (namespace, policy)).map(Self::Server),
            (Some(_), Some(_)) | (None, None) => Err(Defect {
                reason: Reason::InvalidSpec,
                message: "Set exactly one of spec.dataCenter and spec.endpointCentralServer.".into(),
                again_at: None,
            }),
        }
    }

    /// The root page of the host that it is.
    pub fn root(&self) -> Option<url::Url> {
        let mut root = match self {
            Self::Zoho(service) => service.token_url.clone(),
            Self::Server(server) => server.base_url().parse().ok()?,
        };
        root.set_path("/");
        root.set_query(None);
        Some(root)
    }

    /// The server that is logged in to, if it is one.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Zoho(_) => None,
            Self::Server(server) => Some(server.url.as_str()),
        }
    }

    /// What everybody else needs to know of it.
    pub fn terms(&self) -> Terms {
        match self {
            Self::Zoho(service) => Terms {
                service: format!("The token service of data center {}", service.data_center),
                console: service.console(),
                data_center: Some(service.data_center),
                grant: service.grant(),
                scheme: "Zoho-oauthtoken ",
                names_expiry: true,
                is_login: false,
                spacing: Duration::ZERO,
                renew_every: None,
                api_url: None,
            },
            Self::Server(server) => Terms {
                service: format!("The server {}", server.base_url()),
                console: server.base_url(),
                data_center: None,
                grant: Grant::RefreshToken,
                scheme: "",
                names_expiry: false,
                is_login: true,
                spacing: server_login::ONE_TIME_PASSWORDS_APART,
                renew_every: Some(server.renew_every),
                api_url: Some(server.base_url()),
            },
        }
    }

    /// The keys that the source must have.
    pub fn required_keys<'a>(&self, reference: &'a SecretRef) -> Vec<&'a str> {
        match self {
            Self::Zoho(service) => {
                let of_client = [reference.client_id_key(), reference.client_secret_key()];
                let refresh_token = (service.grant() == Grant::RefreshToken).then(|| reference.refresh_token_key());
                of_client.into_iter().chain(refresh_token).collect()
            }
            Self::Server(_) => vec![reference.username_key(), reference.password_key()],
        }
    }

    /// Takes from the source what the issuer asks for.
    ///
    /// # Errors
    ///
    /// `SourceSecretInvalid`, with the key and what is wrong with it.
    pub fn request(&self, source: &Secret, reference: &SecretRef, namespace: &str) -> Result<TokenRequest, Defect> {
        Ok(match self {
            Self::Zoho(service) => match &service.grant_type {
                GrantType::RefreshToken => {
                    TokenRequest::Refresh(service.clone(), RefreshGrant::from_secret(source, reference, namespace)?)
                }
                GrantType::ClientCredentials(asked) => TokenRequest::Client(
                    service.clone(),
                    ClientGrant::from_secret(source, reference, namespace, asked.clone())?,
                ),
            },
            Self::Server(server) => {
                TokenRequest::Login(server.clone(), LoginGrant::from_secret(source, reference, namespace)?)
            }
        })
    }
}

impl TokenRequest {
    /// Host that it is sent to.
    pub fn host(&self) -> &str {
        let url = match self {
            Self::Refresh(service, _) | Self::Client(service, _) => &service.token_url,
            Self::Login(server, _) => &server.url,
        };
        url.host_str().unwrap_or_default()
    }

    /// The server that is logged in to, if it is a login.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Refresh(..) | Self::Client(..) => None,
            Self::Login(server, _) => Some(server.url.as_str()),
        }
    }

    /// Name of the ledger: what the issuer counts by.
    pub fn ledger_name(&self, key: &HashKey) -> LedgerName {
        match self {
            Self::Refresh(_, grant) => grant.ledger_name(key),
            Self::Client(_, grant) => grant.ledger_name(key),
            Self::Login(server, grant) => grant.ledger_name(key, &server.account()),
        }
    }

    /// Keyed hash of everything that is sent, and where.
    pub fn inputs(&self, key: &HashKey) -> InputsDigest {
        match self {
            Self::Refresh(service, grant) => grant.inputs(key, service.token_url.as_str()),
            Self::Client(service, grant) => grant.inputs(key, service.token_url.as_str()),
            Self::Login(server, grant) => grant.inputs(key, &[server.login_url().as_str(), &server.account().concat()]),
        }
    }

    /// How far apart two requests must be, so that no one-time password is used twice.
    pub fn spacing(&self) -> Duration {
        match self {
            Self::Login(_, grant) if grant.has_seed() => server_login::ONE_TIME_PASSWORDS_APART,
            Self::Refresh(..) | Self::Client(..) | Self::Login(..) => Duration::ZERO,
        }
    }

    /// The API domain that came with a token, if it is one of those that are known.
    pub fn checked_api_domain(&self, said: &str) -> Option<String> {
        match self {
            Self::Refresh(service, _) | Self::Client(service, _) => {
                data_centers::checked_api_domain(service.data_center, said)
            }
            Self::Login(..) => None,
        }
    }
}
