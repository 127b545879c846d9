//! `kubectl zoho login`: from a person's consent to a refresh token in the source Secret, and on to a token that is kept
//! valid.
//!
//! In order: see what is there ([`wanted`]); ask whether it could be served ([`servable`]); try the writes ([`store`]); get a code ([`browser`], or typed by a person) and
//! exchange it, or have the consent given elsewhere ([`device`]); store or print; wait.

mod browser;
pub(crate) mod callback;
pub(crate) mod client;
pub(crate) mod consent;
mod device;
mod dry_run;
pub(crate) mod explain;
pub(crate) mod issuer;
pub(crate) mod scopes;
mod servable;
pub(crate) mod store;
pub(crate) mod wait;
pub(crate) mod wanted;

use std::pin::pin;

use futures::{FutureExt as _, TryFutureExt as _};
use secrecy::SecretString;
use tokio::signal;

use self::browser::Waiting;
use self::consent::Home;
use self::explain::Way;
use self::store::Place;
use self::wanted::Wanted;
use super::args::{Global, LoginArgs, PrintSecret};
use super::connect::{Cluster, operator_policy, token_service};
use super::output::{Output, Paint};
use super::secret_io::PastedCode;
use super::{Ended, secret_io, usage};
use zoho_api::DataCenter;
use zoho_api::names::ObjectVersion;
use zoho_client::transport::Transport;
use zoho_core::issuer::login::{CodeGrant, Exchanged, Revoked};
use zoho_core::issuer::zoho::TokenService;
use zoho_core::policy::Policy;
use zoho_core::secret::RefreshGrant;

/// A login that was thought through and has not begun.
struct Login<'a> {
    args: &'a LoginArgs,
    output: &'a Output,
    policy: Policy,
    /// Where it was to be, as a spec says it.
    asked_at: (DataCenter, Option<String>),
    service: TokenService,
    way: Way,
    scope: Option<String>,
}

/// What a login has brought.
struct Granted {
    /// Where the account lives.
    service: TokenService,
    grant: RefreshGrant,
    /// What it is good for, if Zoho said so.
    scope: Option<String>,
}

/// What asks for consent.
struct Client {
    id: String,
    secret: SecretString,
}

/// Logs in.
///
/// # Errors
///
/// Whatever keeps it from being stored; the operator's word on it is told by the exit code.
pub(crate) async fn run(global: &Global, args: &LoginArgs, output: &Output) -> anyhow::Result<Ended> {
    if let Some(form) = args.print_secret {
        return print(global, args, form, output).await;
    }
    let cluster = Cluster::connect(global)?;
    let existing = store::existing(&cluster, &args.name).await?;
    let mut wanted = Wanted::of(args, existing.as_ref())?;
    if let Some(asked) = wanted.of_client() {
        return client::run((global, args, output), &cluster, (&wanted, existing.as_ref()), asked).await;
    }
    let login = Login::prepare(global, args, &wanted, output)?;
    servable::check((global, &login.policy), &wanted, existing.as_ref(), &cluster.namespace)?;
    let place = Place::find(&cluster, &wanted).await?;
    if args.dry_run {
        // All that the real one would be refused for, short of asking anybody for secrets.
        check_what_is_given(args, &place)?;
        let values = dry_run::placeholders(&login, &wanted);
        output.result(&dry_run::manifests(&wanted, &values, place.source_metadata(), global.namespace.as_deref())?)?;
        return Ok(Ended::Well);
    }
    let transport = Transport::new(&global.ca_file, &[])?;
    let granted = login.ask(&transport, &mut wanted, Some(&place)).await?;
    let store = async {
        place.check_granted(granted.scope.as_deref())?;
        place.store_source(&granted.grant).await
    };
    let store = store.or_else(|error| undo(&transport, &granted, error).map(Err));
    finish(&cluster, &wanted, &place, Box::pin(store), args, output).await
}

/// The source, the credential, and a token in its target. Ctrl-C ends the wait for the token, and nothing before: what was
/// given would be lost.
async fn finish(
    cluster: &Cluster,
    wanted: &Wanted,
    place: &Place<'_>,
    store: impl Future<Output = anyhow::Result<ObjectVersion>>,
    args: &LoginArgs,
    output: &Output,
) -> anyhow::Result<Ended> {
    let namespace = &cluster.namespace;
    let mut interrupted = pin!(signal::ctrl_c());
    let _ = interrupted.as_mut().now_or_never();
    output.progress("storing …");
    let since = cluster.now().await;
    let stored = store.await;
    output.progress_ends();
    let source = stored?;
    output.note(&format!("Stored in Secret {namespace}/{}.", wanted.reference.name));
    if let Err(error) = place.store_credential(wanted).await {
        // It holds no secret, and says what the caller has said.
        output.result(&dry_run::credential(wanted, namespace)?)?;
        return Err(error.context(format!(
            "the Secret is stored and needs no new login, but ZohoCredential {} is not: apply the manifest that is printed here, with kubectl apply -f -",
            wanted.name
        )));
    }
    let there = if wanted.is_there { "is unchanged" } else { "is made" };
    output.note(&format!("ZohoCredential {namespace}/{} {there}.", wanted.name));
    if args.timeout.is_zero() {
        return Ok(Ended::Well);
    }
    tokio::select! {
        biased;
        _ = interrupted => {
            output.progress_ends();
            output.note("Everything is stored; the operator continues on its own.");
            Ok(Ended::Badly)
        }
        ended = wait::until_ready(cluster, &wanted.name, (&source, since), args.timeout, output) => ended,
    }
}

/// Logs in, and prints what would be stored. Without a cluster, unless the credential in it has to say what is wanted.
async fn print(global: &Global, args: &LoginArgs, form: PrintSecret, output: &Output) -> anyhow::Result<Ended> {
    secret_io::refuse_terminal(output)?;
    let existing = match args.data_center {
        Some(_) => None,
        None => store::existing(&Cluster::connect(global)?, &args.name).await?,
    };
    let mut wanted = Wanted::of(args, existing.as_ref())?;
    if let Some(asked) = wanted.of_client() {
        let grant = client::proven((global, args, output), &wanted, asked, None).await?;
        secret_io::print_source(output, &grant, &wanted, global.namespace.as_deref(), form)?;
        return Ok(Ended::Well);
    }
    let login = Login::prepare(global, args, &wanted, output)?;
    let transport = Transport::new(&global.ca_file, &[])?;
    let granted = login.ask(&transport, &mut wanted, None).await?;
    match secret_io::print_source(output, &granted.grant, &wanted, global.namespace.as_deref(), form) {
        Ok(()) => Ok(Ended::Well),
        Err(error) => Err(undo(&transport, &granted, error).await),
    }
}

/// What cannot be stored must not live on unseen: a user has twenty refresh tokens.
async fn undo(transport: &Transport, granted: &Granted, error: anyhow::Error) -> anyhow::Error {
    if store::is_unknown(&error) {
        // Revoked, it might stand where a working one stood.
        return error.context("it is not known whether the new refresh token was stored, so it was not revoked. Log in again once the API server answers; if the Secret was not changed, also delete the unused refresh token in the API console");
    }
    let revoked = transport.revoke(&granted.service.token_url, &granted.grant).await;
    error.context(if revoked == Revoked::Done {
        "the new refresh token could not be stored, and was revoked again"
    } else {
        "the new refresh token could not be stored, and could not be revoked either: delete it in the API console"
    })
}

/// Whom to ask, by the rules of the operator.
fn issuer_of(global: &Global, args: &LoginArgs, wanted: &Wanted) -> anyhow::Result<(Policy, TokenService)> {
    let mut global = global.clone();
    // Who names a host on the command line trusts it; the operator has its own list.
    global.accounts_host_allowed.extend(args.accounts_host.clone());
    let policy = operator_policy(&global)?;
    if wanted.data_center == DataCenter::Other && wanted.accounts_host.is_none() {
        return Err(usage("--data-center Other needs --accounts-host"));
    }
    let service = token_service(&issuer::spec(wanted.data_center, wanted.accounts_host.as_deref()), &policy)?;
    Ok((policy, service))
}

/// Looks at what stands on the command line, without asking for the rest.
fn check_what_is_given(args: &LoginArgs, place: &Place<'_>) -> anyhow::Result<()> {
    if let Some(id) = &args.client_id {
        place.check_client(&secret_io::given("client id", id)?)?;
    }
    if let Some(path) = &args.client_secret_file {
        secret_io::read_secret("client secret", path)?;
    }
    Ok(())
}

impl Client {
    /// From the command line, or from a person.
    fn ask(args: &LoginArgs, place: Option<&Place<'_>>) -> anyhow::Result<Self> {
        let id = match &args.client_id {
            Some(id) => secret_io::given("client id", id)?,
            None => secret_io::ask("client id")?,
        };
        place.map_or(Ok(()), |place| place.check_client(&id))?;
        let secret = match &args.client_secret_file {
            Some(path) => secret_io::read_secret("client secret", path)?,
            None => secret_io::ask_secret("client secret")?,
        };
        Ok(Self { id, secret })
    }
}

impl<'a> Login<'a> {
    fn prepare(global: &Global, args: &'a LoginArgs, wanted: &Wanted, output: &'a Output) -> anyhow::Result<Self> {
        let way = match (args.browser, args.device) {
            (true, _) => Way::Browser,
            (false, true) => Way::Device,
            (false, false) => Way::SelfClient,
        };
        let (policy, service) = issuer_of(global, args, wanted)?;
        let scope = (!wanted.scopes.is_empty()).then(|| wanted.scopes.join(","));
        if way != Way::SelfClient && scope.is_none() {
            return Err(usage("what for? Name a --product, or scopes with --scope"));
        }
        if way == Way::Browser {
            consent::listen_at(redirect_uri(args)).map_err(usage)?;
        }
        let asked_at = (wanted.data_center, wanted.accounts_host.clone());
        Ok(Self { args, output, policy, asked_at, service, way, scope })
    }

    /// Gets a refresh token, for a place that takes it. Where it comes from may be another data center than was thought.
    async fn ask(
        &self,
        transport: &Transport,
        wanted: &mut Wanted,
        place: Option<&Place<'_>>,
    ) -> anyhow::Result<Granted> {
        // Where nothing can come back, nothing is asked for.
        let waiting =
            if self.way == Way::Browser { Some(Waiting::start(redirect_uri(self.args)).await?) } else { None };
        self.introduce();
        let client = Client::ask(self.args, place)?;
        if self.way == Way::Device {
            return device::consent(self, transport, client, (wanted, place)).await;
        }
        let (service, grant) = match waiting {
            Some(waiting) => self.code_of_browser(waiting, client, (wanted, place)).await?,
            None => self.code_of_person(client, (wanted, place))?,
        };
        // From here on Ctrl-C ends nothing at once: the answer may be a refresh token.
        let mut interrupted = pin!(signal::ctrl_c());
        let _ = interrupted.as_mut().now_or_never();
        let exchanged = transport.exchange(&service.token_url, &grant).await;
        let CodeGrant { client_id: id, client_secret: secret, redirect_uri, .. } = grant;
        let granted = self.granted(exchanged, service, Client { id, secret }, redirect_uri)?;
        if interrupted.now_or_never().is_some() {
            return Err(undo(transport, &granted, anyhow::anyhow!("interrupted")).await);
        }
        Ok(granted)
    }

    fn code_of_person(
        &self,
        client: Client,
        at: (&mut Wanted, Option<&Place<'_>>),
    ) -> anyhow::Result<(TokenService, CodeGrant)> {
        let PastedCode { code, redirect_uri, home } = secret_io::ask_code()?;
        let service = self.at_home(home.as_ref(), at)?;
        let redirect_uri = self.args.redirect_uri.clone().or(redirect_uri);
        let Client { id: client_id, secret: client_secret } = client;
        Ok((service, CodeGrant { client_id, client_secret, code, redirect_uri, verifier: None }))
    }

    async fn code_of_browser(
        &self,
        waiting: Waiting,
        client: Client,
        at: (&mut Wanted, Option<&Place<'_>>),
    ) -> anyhow::Result<(TokenService, CodeGrant)> {
        let (code, home, verifier) = waiting.code(self, &client.id).await?;
        let service = self.at_home(home.as_ref(), at)?;
        let redirect_uri = Some(redirect_uri(self.args).to_owned());
        let Client { id: client_id, secret: client_secret } = client;
        Ok((service, CodeGrant { client_id, client_secret, code, redirect_uri, verifier: Some(verifier) }))
    }

    /// Says where to click, and which scopes are asked for.
    fn introduce(&self) {
        let strong = |text: &str| self.output.paint(Paint::Strong, text);
        let scope = self.scope.as_deref();
        let console = strong(&self.service.console());
        let text = match self.way {
            Way::Browser => format!(
                "Client:  a Server-based Application at {console}, with redirect URI {}\nScope:   {}",
                strong(redirect_uri(self.args)),
                strong(scope.unwrap_or_default())
            ),
            Way::Device => format!(
                "Client:  a Non-browser Application at {console}\nScope:   {}",
                strong(scope.unwrap_or_default())
            ),
            Way::SelfClient => format!(
                "At {console}, Self Client, Generate Code, enter\n  Scope:     {}\n  Duration:  10 minutes\nand copy the code. Client id and secret are under Client Secret.",
                scope.map_or_else(|| "the scopes of your product's API".into(), strong)
            ),
        };
        self.output.note(&text);
    }

    /// Where the user's account lives, as Zoho said, if it did: secrets go to listed hosts only.
    fn at_home(
        &self,
        home: Option<&Home>,
        (wanted, place): (&mut Wanted, Option<&Place<'_>>),
    ) -> anyhow::Result<TokenService> {
        let Some(home) = home else { return Ok(self.service.clone()) };
        match consent::service_at(home, &self.policy) {
            // It says nothing of the host.
            Some((there, _, _)) if matches!(home, Home::Location(_)) && there == wanted.data_center => {
                Ok(self.service.clone())
            }
            Some(there) => self.follow(there, (wanted, place)),
            None => anyhow::bail!(
                "the redirect names an accounts server that is not on the list, so the code was not sent there. If it is a real one, allow it with --accounts-host-allowed"
            ),
        }
    }

    /// The code belongs to the data center of the user's account, wherever the question was put.
    fn follow(
        &self,
        (data_center, accounts_host, service): (DataCenter, Option<String>, TokenService),
        (wanted, place): (&mut Wanted, Option<&Place<'_>>),
    ) -> anyhow::Result<TokenService> {
        if service.token_url == self.service.token_url {
            // Also where it was sent elsewhere in between.
            (wanted.data_center, wanted.accounts_host) = self.asked_at.clone();
            return Ok(service);
        }
        if data_center == wanted.data_center && wanted.is_there {
            // Another host of the same data center: the spec's is as good.
            return Ok(service);
        }
        if wanted.is_there {
            anyhow::bail!(
                "your account is in data center {data_center}, and ZohoCredential {} logs in at {}. Sign in with another account, or correct its spec",
                wanted.name,
                wanted.data_center
            );
        }
        place.map_or(Ok(()), |place| place.check_move(wanted, (data_center, accounts_host.as_deref())))?;
        self.output.note(&explain::moved(&self.service, &service));
        wanted.data_center = data_center;
        wanted.accounts_host = accounts_host;
        if self.args.print_secret.is_none() {
            servable::check_host(wanted)?;
        }
        Ok(service)
    }

    /// What Zoho gave, as it is stored.
    fn granted(
        &self,
        exchanged: Exchanged,
        service: TokenService,
        client: Client,
        redirect_uri: Option<String>,
    ) -> anyhow::Result<Granted> {
        let Exchanged::Granted { refresh_token, scope } = exchanged else {
            anyhow::bail!(explain::exchange(&exchanged, &service, self.way));
        };
        if let (Some(asked), Some(granted)) = (&self.scope, &scope)
            && let Some(note) = scopes::not_granted(asked, granted)
        {
            self.output.note(&note);
        }
        let grant = RefreshGrant {
            client_id: SecretString::from(client.id),
            client_secret: client.secret,
            refresh_token,
            redirect_uri: redirect_uri.map(SecretString::from),
        };
        Ok(Granted { service, grant, scope })
    }
}

fn redirect_uri(args: &LoginArgs) -> &str {
    args.redirect_uri.as_deref().unwrap_or(consent::REDIRECT_URI)
}
