//! A strict simulation of Zoho's token service, of the part of the products' API that takes its tokens, and of the
//! ways in which both can fail. An on-premises server, which gives tokens for logins, stands beside them.
//!
//! [`Simulator`] runs it inside a test, the program `zoho-simulator` on its own. Limits are enforced, not scripted:
//! what a client gets wrong against the simulator it would get wrong against Zoho. The state machine is
//! [`state::Zoho`]; `http` is a thin shell around it, `consent` another one for what browsers see.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use zoho_simulator::{Simulator, SimulatorConfig, script::{Page, Reply, Script, Target}};
//! # async fn test() {
//! let simulator = Simulator::start(SimulatorConfig::default());
//! simulator.register("client", "secret", "refresh");
//! // A proxy's error hides the first mint from the client; the second is answered.
//! simulator.script(Target::Token, Reply::MintThenStatus(Page::html(502, "Bad Gateway")));
//! // ... point the subject at simulator.url() ...
//! simulator.wait_for_posts(2, Duration::from_secs(10)).await.unwrap();
//! assert_eq!(simulator.counts("refresh").mints, 2);
//! # }
//! ```

pub mod state;

pub mod accounts;
pub mod device;
pub mod form;
pub mod grants;
pub mod journal;
pub mod products;
pub mod script;
pub mod self_clients;
pub mod server;
pub mod tls;
pub mod wire;

mod consent;
mod control;
mod http;
mod shared;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::accounts::TokenState;
use self::grants::Client;
use self::journal::{Counts, Record, Stats};
use self::products::Treatment;
use self::script::{Script, Target};
use self::self_clients::Owner;
pub use self::shared::Clock;
use self::shared::Shared;
use self::state::{Settings, Zoho};
pub use self::tls::Certificate;
use self::wire::{CuttableListener, Line};

/// How to start a [`Simulator`].
#[derive(Clone)]
pub struct SimulatorConfig {
    /// Where to listen. Default: a free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// Limits and variants of Zoho.
    pub settings: Settings,
    /// Wait before each answer, after the mint. Default none.
    pub latency: Duration,
    /// Default: the system's clock.
    pub clock: Clock,
    /// Serve HTTPS, with a certificate for these host names and addresses made on the spot. Default: plain HTTP.
    pub tls_names: Vec<String>,
    /// Which certificate, where it serves HTTPS. Default: one that an authority signed.
    pub certificate: Certificate,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            settings: Settings::default(),
            latency: Duration::ZERO,
            clock: shared::system_clock(),
            tls_names: Vec::new(),
            certificate: Certificate::default(),
        }
    }
}

/// One set of what a client needs for a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: String,
    /// Refresh token.
    pub refresh_token: String,
}

/// A wait that ended without what it waited for.
#[derive(Debug, thiserror::Error)]
#[error("still waiting for {what} after {waited:?}; seen: {seen:?}")]
pub struct WaitError {
    what: String,
    waited: Duration,
    seen: Box<Stats>,
}

/// A running simulator; dropping it closes its port and all connections.
///
/// It has its own thread and runtime, so it can be used from any thread and outlives the runtime that started it.
/// Any number can run at once; each is a data center of its own.
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca_pem: Option<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Starts a simulator. It answers when this returns.
    ///
    /// # Panics
    ///
    /// When the address is taken or the machine gives no thread; [`Simulator::try_start`] returns the error.
    pub fn start(config: SimulatorConfig) -> Self {
        Self::try_start(config).expect("a simulator needs a free port and a thread")
    }

    /// Starts a simulator. It answers when this returns.
    pub fn try_start(config: SimulatorConfig) -> io::Result<Self> {
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
        let zoho = Zoho::new(config.settings, seed);
        let shared = Arc::new(Shared::new(zoho, config.clock, config.latency));
        let tls =
            if config.tls_names.is_empty() { None } else { Some(tls::make(config.certificate, config.tls_names)?) };
        let (acceptor, ca_pem) = tls.map(|tls| (tls.acceptor, tls.ca_pem)).unzip();

        let listener = std::net::TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let service = http::router(shared.clone()).into_make_service_with_connect_info::<Line>();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("zoho-simulator".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = axum::serve(CuttableListener::new(listener, acceptor), service) => {}
                    _ = stopped => {}
                }
            });
            // Requests that are never answered would keep an orderly shutdown waiting.
            runtime.shutdown_background();
        })?;
        Ok(Self { shared, address, ca_pem, stop: Some(stop), thread: Some(thread) })
    }

    /// Base URL without a slash at the end, such as `http://127.0.0.1:40001`.
    pub fn url(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate, in PEM, that a client must trust where it serves HTTPS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says of a token whether it lives, for who cannot borrow the simulator.
    pub fn introspection(&self) -> impl Fn(&str) -> bool + Send + Sync + 'static {
        let shared = self.shared.clone();
        move |token| shared.read(|zoho, now| zoho.accounts().is_alive(token, now) || zoho.server().is_alive(token))
    }

    /// Works on the state machine at the simulator's present time, while no request moves it.
    pub fn with<T>(&self, work: impl FnOnce(&mut Zoho, Timestamp) -> T) -> T {
        self.shared.with(work)
    }

    /// Makes a client and a refresh token of it known; see [`accounts::Accounts::register`].
    pub fn register(&self, client_id: &str, client_secret: &str, refresh_token: &str) {
        self.with(|zoho, _| {
            zoho.accounts_mut().register(client_id, client_secret, refresh_token);
        });
    }

    /// Makes a client without refresh tokens known, which gets them for grant codes.
    pub fn register_client(&self, client_id: &str, client_secret: &str, client: Client) {
        self.with(|zoho, _| {
            zoho.accounts_mut().register_client(client_id, client_secret);
            zoho.grants_mut().register(client_id, client);
        });
    }

    /// Makes a self client known that may ask for tokens in its owner's name.
    pub fn register_self_client(&self, client_id: &str, client_secret: &str, owner: Owner) {
        self.register_client(client_id, client_secret, Client::SelfClient);
        self.with(|zoho, _| zoho.self_clients_mut().register(client_id, owner));
    }

    /// A grant code as the API console makes it for a self client.
    pub fn grant_code(&self, client_id: &str, scope: &str, life: Duration) -> String {
        self.with(|zoho, now| zoho.grants_mut().code(client_id, scope, life, now))
    }

    /// A person types a code that a device shows, and answers. False if there is no such code.
    pub fn answer_device(&self, user_code: &str, answer: device::Answer) -> bool {
        self.with(|zoho, _| zoho.devices_mut().answer(user_code, answer))
    }

    /// Every refresh token that was given for consent.
    pub fn granted(&self) -> Vec<String> {
        self.shared.read(|zoho, _| zoho.grants().refresh_tokens().to_vec())
    }

    /// Makes `count` clients known, each with a secret and a refresh token of its own that start with `name`.
    pub fn register_many(&self, name: &str, count: usize) -> Vec<Credential> {
        let credentials: Vec<Credential> = (0..count)
            .map(|number| Credential {
                client_id: format!("{name}-client-{number}"),
                client_secret: format!("{name}-secret-{number}"),
                refresh_token: format!("{name}-refresh-{number}"),
            })
            .collect();
        self.with(|zoho, _| {
            for credential in &credentials {
                zoho.accounts_mut().register(
                    &credential.client_id,
                    &credential.client_secret,
                    &credential.refresh_token,
                );
            }
        });
        credentials
    }

    /// Deletes a client.
    pub fn remove_client(&self, client_id: &str) {
        self.with(|zoho, _| zoho.accounts_mut().remove_client(client_id));
    }

    /// Ends a refresh token and its access tokens. False if it was not valid.
    pub fn revoke(&self, refresh_token: &str) -> bool {
        self.with(|zoho, now| zoho.accounts_mut().revoke(refresh_token, now))
    }

    /// Lets the products treat the tokens of this refresh token in another way from now on.
    pub fn treat(&self, refresh_token: &str, treatment: Treatment) {
        self.with(|zoho, _| zoho.treat(refresh_token, treatment));
    }

    /// Ends one access token. False if it was not alive.
    pub fn revoke_access_token(&self, access_token: &str) -> bool {
        self.with(|zoho, now| zoho.accounts_mut().revoke_access_token(access_token, now))
    }

    /// Sets the life of access tokens minted from now on.
    pub fn set_token_life(&self, life: Duration) {
        self.with(|zoho, _| zoho.accounts_mut().set_token_life(life));
    }

    /// Sets the life of access tokens minted from now on with one refresh token. False if it is not known.
    pub fn set_token_life_of(&self, refresh_token: &str, life: Duration) -> bool {
        self.with(|zoho, _| zoho.accounts_mut().set_token_life_of(refresh_token, life))
    }

    /// Sets the wait before answers to requests that arrive from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.set_latency(latency);
    }

    /// Sets how far the simulator's time is ahead of its clock.
    pub fn set_clock_offset(&self, offset: SignedDuration) {
        self.shared.set_clock_offset(offset);
    }

    /// The simulator's present time.
    pub fn now(&self) -> Timestamp {
        self.shared.read(|_, now| now)
    }

    /// Queues a reply: a [`script::Reply`] plays once, a [`Script`] as often as it says.
    pub fn script(&self, target: Target, script: impl Into<Script>) {
        self.with(|zoho, _| zoho.script(target, script));
    }

    /// Queues a reply for one refresh token.
    pub fn script_for(&self, refresh_token: &str, script: impl Into<Script>) {
        self.script(Target::RefreshToken(refresh_token.to_owned()), script);
    }

    /// Forgets all scripts, lets held requests go on, and resets connections that would never be answered.
    pub fn clear_scripts(&self) {
        self.shared.clear_scripts();
    }

    /// Lets the requests go on that are held now.
    pub fn release(&self) {
        self.shared.release();
    }

    /// Whether products take this access token.
    pub fn is_alive(&self, access_token: &str) -> bool {
        self.token_state(access_token) == TokenState::Alive
    }

    /// What became of this access token.
    pub fn token_state(&self, access_token: &str) -> TokenState {
        self.shared.read(|zoho, now| zoho.accounts().token_state(access_token, now))
    }

    /// The living access tokens of a refresh token, oldest first.
    pub fn live_tokens(&self, refresh_token: &str) -> Vec<String> {
        let tokens = self.shared.read(|zoho, now| zoho.accounts().live_tokens(refresh_token, now));
        tokens.iter().map(ToString::to_string).collect()
    }

    /// The most access tokens of a refresh token that ever lived at once.
    pub fn max_alive_seen(&self, refresh_token: &str) -> usize {
        self.shared.read(|zoho, _| zoho.accounts().max_alive_seen(refresh_token))
    }

    /// All counts.
    pub fn stats(&self) -> Stats {
        self.shared.read(|zoho, _| zoho.journal().stats().clone())
    }

    /// The counts of one refresh token.
    pub fn counts(&self, refresh_token: &str) -> Counts {
        self.shared.read(|zoho, _| zoho.journal().counts(refresh_token))
    }

    /// The requests to the token endpoint in order of arrival; the latest 100 000.
    pub fn log(&self) -> Vec<Record> {
        self.shared.read(|zoho, _| zoho.journal().records().cloned().collect())
    }

    /// Breaches of the protocol's rules by clients, in order.
    pub fn violations(&self) -> Vec<&'static str> {
        self.shared.read(|zoho, _| zoho.journal().violations().to_vec())
    }

    /// Waits until at least `count` requests came to the token endpoint.
    ///
    /// A mint that goes with a request is done when this returns. Needs a runtime whose time is not paused.
    pub async fn wait_for_posts(&self, count: u64, within: Duration) -> Result<(), WaitError> {
        let what = format!("{count} requests");
        self.wait_until(&what, within, |zoho, _| zoho.journal().stats().token.posts >= count).await
    }

    /// Waits until at least `count` requests came with one refresh token.
    pub async fn wait_for_posts_of(&self, refresh_token: &str, count: u64, within: Duration) -> Result<(), WaitError> {
        let what = format!("{count} requests with {refresh_token}");
        self.wait_until(&what, within, |zoho, _| zoho.journal().counts(refresh_token).posts >= count).await
    }

    /// Waits until `is_so`, which is asked at each request, answer, and change by a test; not as time passes.
    pub async fn wait_until(
        &self,
        what: &str,
        within: Duration,
        mut is_so: impl FnMut(&Zoho, Timestamp) -> bool,
    ) -> Result<(), WaitError> {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            while !self.shared.read(&mut is_so) {
                if changed.changed().await.is_err() {
                    break;
                }
            }
        };
        timeout(within, wait).await.map_err(|_| WaitError {
            what: what.to_owned(),
            waited: within,
            seen: Box::new(self.stats()),
        })
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
