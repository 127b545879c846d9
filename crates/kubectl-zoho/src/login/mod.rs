//! `kubectl zoho login`: from a grant code to a refresh token in the source Secret, and on to a token that is kept valid.
//!
//! In order: check what was asked for; try the writes; get a code ([`consent`], [`callback`], or typed by a person);
//! exchange it; store or print; wait.

pub(crate) mod callback;
pub(crate) mod consent;
pub(crate) mod explain;
pub(crate) mod issuer;
pub(crate) mod scopes;
pub(crate) mod store;
pub(crate) mod wait;

use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use self::callback::Listener;
use self::consent::{Callback, Consent};
use self::explain::Way;
use self::store::{Place, Wanted};
use super::args::{Global, LoginArgs};
use super::connect::{Cluster, operator_policy};
use super::output::{Output, Paint};
use super::secret_io::PastedCode;
use super::{Ended, secret_io, usage};
use zoho_api::SecretRef;
use zoho_client::clock;
use zoho_client::transport::Transport;
use zoho_core::issuer::login::{CodeGrant, Exchanged, Revoked, revocation_url};
use zoho_core::issuer::zoho::TokenService;
use zoho_core::policy::Policy;
use zoho_core::secret::RefreshGrant;

/// What listens for the browser.
struct Waiting {
    listener: Listener,
    port: u16,
    state: String,
}

/// A login that was thought through and has not begun.
struct Login<'a> {
    args: &'a LoginArgs,
    output: &'a Output,
    policy: Policy,
    service: TokenService,
    way: Way,
    scope: Option<String>,
}

/// A code and what it is exchanged with.
struct Obtained {
    service: TokenService,
    grant: CodeGrant,
}

/// Logs in.
///
/// # Errors
///
/// Whatever keeps it from being stored; the operator's word on it is told by the exit code.
pub(crate) async fn run(global: &Global, args: &LoginArgs, output: &Output) -> anyhow::Result<Ended> {
    let login = Login::prepare(global, args, output)?;
    let mut wanted = Wanted {
        name: args.name.clone(),
        data_center: args.data_center,
        accounts_host: args.accounts_host.clone(),
        product: args.product,
        secret: args.secret.clone(),
    };
    if args.dry_run {
        // All that the real one would be refused for, short of asking anybody for secrets.
        let cluster = Cluster::connect(global)?;
        let place = Place::find(&cluster, &wanted).await?;
        login.check_what_is_given()?;
        output.result(&dry_run(&login, &wanted, &place, global.namespace.as_deref())?);
        return Ok(Ended::Well);
    }
    let transport = Transport::new(&global.ca_file, &[])?;
    if let Some(form) = args.print_secret {
        if output.is_terminal() {
            return Err(usage(
                "--print-secret prints secrets: pipe it into the program that stores them, not to a terminal",
            ));
        }
        let obtained = login.obtain(&mut wanted, None).await?;
        let grant = login.exchange(&transport, obtained).await?.1;
        secret_io::print_source(output, &grant, &wanted, global.namespace.as_deref(), form)?;
        return Ok(Ended::Well);
    }
    let cluster = Cluster::connect(global)?;
    let place = Place::find(&cluster, &wanted).await?;
    let obtained = login.obtain(&mut wanted, Some(&place)).await?;
    let (service, grant) = login.exchange(&transport, obtained).await?;
    let since = clock::system().now();
    let source = match place.store_source(&grant).await {
        Ok(source) => source,
        Err(error) => return Err(undo(&transport, &service, &grant, error).await),
    };
    let (namespace, secret) = (&cluster.namespace, &place.reference.name);
    output.note(&format!("Stored in Secret {namespace}/{secret}."));
    place.store_credential(&wanted).await?;
    let there = if place.existing.is_some() { "stands as it was" } else { "is made" };
    output.note(&format!("ZohoCredential {namespace}/{} {there}.", wanted.name));
    if args.timeout.is_zero() {
        return Ok(Ended::Well);
    }
    wait::until_ready(&cluster, &wanted.name, (&source, since), args.timeout, output).await
}

/// What cannot be stored must not live on unseen: a user has twenty refresh tokens.
async fn undo(
    transport: &Transport,
    service: &TokenService,
    grant: &RefreshGrant,
    error: anyhow::Error,
) -> anyhow::Error {
    let revoked = transport.revoke(&revocation_url(&service.token_url), &grant.refresh_token).await;
    error.context(if revoked == Revoked::Done {
        "the new refresh token could not be stored, and was revoked again"
    } else {
        "the new refresh token could not be stored, and could not be revoked either: delete it in the API console"
    })
}

impl<'a> Login<'a> {
    fn prepare(global: &Global, args: &'a LoginArgs, output: &'a Output) -> anyhow::Result<Self> {
        let way = if args.browser { Way::Browser } else { Way::SelfClient };
        let mut global = global.clone();
        // Who names a host on the command line trusts it; the operator has its own list.
        global.accounts_host_allowed.extend(args.accounts_host.clone());
        let policy = operator_policy(&global)?;
        let spec = issuer::spec(args.data_center, args.accounts_host.as_deref());
        let service =
            TokenService::of(&spec, &policy).map_err(|_| usage("--data-center Other needs --accounts-host"))?;
        let scope = scopes::wanted(&args.scope, args.product).map_err(usage)?;
        if way == Way::Browser && scope.is_none() {
            return Err(usage("what for? Name a --product, or scopes with --scope"));
        }
        if way == Way::Browser {
            consent::listen_at(redirect_uri(args)).map_err(usage)?;
        }
        Ok(Self { args, output, policy, service, way, scope })
    }

    /// Looks at what stands on the command line, without asking for the rest.
    fn check_what_is_given(&self) -> anyhow::Result<()> {
        if let Some(id) = &self.args.client_id {
            secret_io::given("client id", id)?;
        }
        if let Some(path) = &self.args.client_secret_file {
            secret_io::read_secret("client secret", path)?;
        }
        Ok(())
    }

    /// Gets a code from a person, or by the browser. The browser may bring word of another data center.
    async fn obtain(&self, wanted: &mut Wanted, place: Option<&Place<'_>>) -> anyhow::Result<Obtained> {
        // Where nothing can come back, nothing is asked for.
        let waiting = if self.way == Way::Browser { Some(self.wait_for_browser().await?) } else { None };
        self.introduce();
        let client_id = match &self.args.client_id {
            Some(id) => secret_io::given("client id", id)?,
            None => secret_io::ask("client id")?,
        };
        let client_secret = match &self.args.client_secret_file {
            Some(path) => secret_io::read_secret("client secret", path)?,
            None => secret_io::ask_secret("client secret")?,
        };
        let Some(waiting) = waiting else {
            let PastedCode { code, redirect_uri, accounts_server } = secret_io::ask_code()?;
            let service = match accounts_server {
                Some(server) => self.follow(&server, wanted, place)?,
                None => self.service.clone(),
            };
            let redirect_uri = self.args.redirect_uri.clone().or(redirect_uri);
            let grant = CodeGrant { client_id, client_secret, code, redirect_uri, verifier: None };
            return Ok(Obtained { service, grant });
        };
        let (code, accounts_server, verifier) = self.consent(&client_id, waiting).await?;
        let service = match accounts_server {
            Some(server) => self.follow(&server, wanted, place)?,
            None => self.service.clone(),
        };
        let redirect_uri = Some(redirect_uri(self.args).to_owned());
        Ok(Obtained {
            service,
            grant: CodeGrant { client_id, client_secret, code, redirect_uri, verifier: Some(verifier) },
        })
    }

    /// Says where to click, and which scopes are asked for.
    fn introduce(&self) {
        let strong = |text: &str| self.output.paint(Paint::Strong, text);
        let scope = self.scope.as_deref();
        let text = match self.way {
            Way::Browser => format!(
                "Client:  a Server-based Application at {}, with redirect URI {}\nScope:   {}",
                strong(&self.service.console()),
                strong(redirect_uri(self.args)),
                strong(scope.unwrap_or_default())
            ),
            Way::SelfClient => format!(
                "At {}, Self Client, Generate Code, enter\n  Scope:     {}\n  Duration:  10 minutes\nand copy the code. Client id and secret stand under Client Secret.",
                strong(&self.service.console()),
                scope.map_or_else(|| "the scopes of your product's API".into(), strong)
            ),
        };
        self.output.note(&text);
    }

    /// Listens for the answer to a question that bears this state.
    async fn wait_for_browser(&self) -> anyhow::Result<Waiting> {
        let (port, path) = consent::listen_at(redirect_uri(self.args)).map_err(usage)?;
        let state = secret_io::random();
        Ok(Waiting { listener: Listener::start(port, &path, &state).await?, port, state })
    }

    async fn consent(
        &self,
        client_id: &str,
        waiting: Waiting,
    ) -> anyhow::Result<(SecretString, Option<String>, SecretString)> {
        let redirect_uri = redirect_uri(self.args);
        let Waiting { listener, port, state } = waiting;
        let (verifier, challenge) = secret_io::new_verifier();
        let scope = self.scope.as_deref().unwrap_or_default();
        let consent = Consent { client_id, scope, redirect_uri, state: &state, challenge: &challenge };
        let address: Url = consent::address(&self.service, &consent);
        let opened = !self.args.no_open && open::that_detached(address.as_str()).is_ok();
        let how = if opened { "Your browser opens. If it does not, open" } else { "Open in a browser on this machine" };
        self.output.note(&format!("{how}:\n\n  {address}\n"));
        self.output.progress("waiting for the browser …");
        let answer = listener.answer().await;
        self.output.progress_ends();
        match answer {
            Some(Callback::Code { code, accounts_server }) => Ok((code, accounts_server, verifier)),
            Some(Callback::Refused { code }) => {
                let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
                anyhow::bail!(
                    "Zoho gave no code{code}: the consent was refused, or the account may not use the product"
                )
            }
            Some(Callback::Stray) | None => anyhow::bail!(
                "no answer came to {redirect_uri} within five minutes. If the browser runs on another machine, forward the port: ssh -L {port}:localhost:{port}"
            ),
        }
    }

    /// The code belongs to the data center of the user's account, wherever the question was put.
    fn follow(&self, server: &str, wanted: &mut Wanted, place: Option<&Place<'_>>) -> anyhow::Result<TokenService> {
        let Some((data_center, accounts_host, service)) = consent::service_at(server, &self.policy) else {
            anyhow::bail!(
                "the redirect names an accounts server that is not on the list, so the code was not sent there. If it is a real one, allow it with --accounts-host-allowed"
            )
        };
        if service.token_url == self.service.token_url {
            return Ok(service);
        }
        if data_center == wanted.data_center && place.is_some_and(|place| place.existing.is_some()) {
            // Another host of the same data center: the spec's is as good.
            return Ok(service);
        }
        if place.is_some_and(|place| place.existing.is_some()) {
            anyhow::bail!(
                "your account lives in data center {data_center}, and ZohoCredential {} logs in at {}. Sign in with another account, or correct its spec",
                wanted.name,
                wanted.data_center
            );
        }
        self.output.note(&format!(
            "Your account lives in data center {data_center}, not {}: {data_center} it is.",
            wanted.data_center
        ));
        wanted.data_center = data_center;
        wanted.accounts_host = accounts_host;
        Ok(service)
    }

    async fn exchange(
        &self,
        transport: &Transport,
        obtained: Obtained,
    ) -> anyhow::Result<(TokenService, RefreshGrant)> {
        let Obtained { service, grant } = obtained;
        let exchanged = transport.exchange(&service.token_url, &grant).await;
        let Exchanged::Granted { refresh_token, scope } = exchanged else {
            anyhow::bail!(explain::exchange(&exchanged, &service, self.way));
        };
        if let (Some(asked), Some(granted)) = (&self.scope, &scope) {
            let missing = scopes::missing(asked, granted);
            if !missing.is_empty() {
                self.output.note(&format!("Zoho did not grant {}: calls that need it will fail.", missing.join(", ")));
            }
        }
        let grant = RefreshGrant {
            client_id: SecretString::from(grant.client_id),
            client_secret: grant.client_secret,
            refresh_token,
            redirect_uri: grant.redirect_uri.map(SecretString::from),
        };
        Ok((service, grant))
    }
}

fn redirect_uri(args: &LoginArgs) -> &str {
    args.redirect_uri.as_deref().unwrap_or(consent::REDIRECT_URI)
}

/// The manifests without what is secret.
fn dry_run(login: &Login<'_>, wanted: &Wanted, place: &Place<'_>, namespace: Option<&str>) -> anyhow::Result<String> {
    let reference = place.reference.clone();
    let mut metadata = place.source_metadata();
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque",
        "stringData": placeholders(login, &reference),
    });
    // A credential that is there stays as it is.
    let credential = place.existing.is_none().then(|| wanted.manifest(&reference, namespace));
    let manifests: Vec<Value> = std::iter::once(secret).chain(credential).collect();
    let documents: Result<Vec<String>, _> = manifests.iter().map(serde_saphyr::to_string).collect();
    let scope = login.scope.as_deref().map(|scope| format!("# Scope: {scope}\n")).unwrap_or_default();
    Ok(format!("{scope}{}", documents?.join("---\n").trim_end()))
}

fn placeholders(login: &Login<'_>, reference: &SecretRef) -> Value {
    let client_id = login.args.client_id.as_deref().unwrap_or("<client id>");
    let mut data = json!({
        (reference.client_id_key()): client_id,
        (reference.client_secret_key()): "<client secret>",
        (reference.refresh_token_key()): "<refresh token>",
    });
    if login.way == Way::Browser || login.args.redirect_uri.is_some() {
        data[reference.redirect_uri_key()] = json!(redirect_uri(login.args));
    }
    data
}
