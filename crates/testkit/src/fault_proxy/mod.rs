//! A proxy between a client and a real API server that can do to requests, answers and watch frames what networks,
//! load balancers and dying servers do.
//!
//! TLS on both sides; the client's own credentials pass through in its headers. The client gets a kubeconfig that names
//! the proxy and the certificate that it made for itself. Everything is written down in order, and printed when the test
//! that owns the proxy fails.
//!
//! ```no_run
//! # use std::path::Path;
//! # use zoho_testkit::fault_proxy::{Action, Answer, FaultProxy, FrameAction, Match, Point, Verb, Window};
//! # async fn test(kubeconfig: &Path) -> anyhow::Result<()> {
//! let proxy = FaultProxy::start(kubeconfig)?;
//! // The second write of a target is carried out, and its answer is lost.
//! proxy.rule(Match::new(Verb::Patch, "secrets").dry_run(false), Window::nth(2), Action::Swallow);
//! // Nothing more is heard of the Secrets.
//! let held = proxy.frames(Match::new(Verb::Watch, "secrets"), Window::ALWAYS, FrameAction::Hold);
//! // ... start the subject with proxy.kubeconfig() ...
//! proxy.remove_frames(held);
//! // The subject is killed when its status is written, and does not know yet.
//! let mut point = proxy.breakpoint(Match::any().subresource("status"), Window::ONCE, Point::Applied);
//! let stopped = point.reached().await?;
//! // ... kill the subject ...
//! drop(stopped);
//! # Ok(())
//! # }
//! ```

mod call;
mod frames;
mod rule;
mod serve;
mod trace;

use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use axum::http::header;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::Kubeconfig;
use secrecy::ExposeSecret as _;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::call::{Call, Verb};
pub use self::rule::{Action, Answer, FrameAction, Match, Point, Stopped, Window};
use self::serve::{Shared, lock};
pub use self::trace::Record;
use self::trace::Trace;
use zoho_simulator::wire::{CuttableListener, Line};
use zoho_simulator::{Certificate, tls};

/// `Accept` of a client that wants a list of metadata only, as the operator asks for Secrets.
pub const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;q=0.8";
/// How long a test waits at a breakpoint before it has failed.
const REACHED_WITHIN: Duration = Duration::from_secs(60);

/// A rule, for taking it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(usize);

/// A rule about watch frames, for taking it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRuleId(usize);

/// A running proxy; dropping it closes its port and all connections. It has its own thread and runtime.
pub struct FaultProxy {
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
    /// Of the kubeconfig, for requests of the proxy's own.
    token: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts a proxy before the cluster that a kubeconfig names by one address and a certificate. It forwards when this
    /// returns.
    ///
    /// # Errors
    ///
    /// A kubeconfig without these, or no free port.
    pub fn start(kubeconfig: &Path) -> Result<Self> {
        // Another one in this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut kubeconfig = Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
        let token = kubeconfig.auth_infos.iter().find_map(|named| named.auth_info.as_ref()?.token.clone());
        let token = token.map(|token| token.expose_secret().to_owned()).unwrap_or_default();
        let Some(cluster) = kubeconfig.clusters.first_mut().and_then(|named| named.cluster.as_mut()) else {
            bail!("the kubeconfig names no cluster");
        };
        let server = cluster.server.take().context("the kubeconfig names no server")?;
        let authority = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
            (Some(data), _) => BASE64.decode(data).context("decode the certificate authority")?,
            (None, Some(path)) => fs::read(path).context("read the certificate authority")?,
            (None, None) => bail!("the kubeconfig names no certificate authority"),
        };
        let tls = tls::make(Certificate::OfAuthority, vec!["127.0.0.1".into()]).context("make a certificate")?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let address = listener.local_addr().context("ask for the own address")?;
        cluster.server = Some(format!("https://{address}"));
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = Some(BASE64.encode(&tls.ca_pem));
        let folder = tempfile::tempdir().context("create a folder")?;
        let text = serde_json::to_string(&kubeconfig).context("render the kubeconfig")?;
        fs::write(folder.path().join("kubeconfig"), text).context("write the kubeconfig")?;

        let shared = Arc::new(Shared {
            upstream: server.parse().context("parse the server's address")?,
            client: client(&authority)?,
            rules: Mutex::default(),
            frames: Mutex::default(),
            trace: Trace::new(),
            shut: watch::channel(0).0,
            changed: watch::channel(0).0,
        });
        let (stop, thread) = spawn(shared.clone(), listener, tls.acceptor).context("start the proxy's thread")?;
        Ok(Self { shared, folder, token, stop: Some(stop), thread: Some(thread) })
    }

    /// The kubeconfig of a client behind the proxy: the one given, with the proxy as its server.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Adds a rule after the others. The first rule that fits a request and whose window is open decides; all that fit
    /// count.
    pub fn rule(&self, on: Match, window: Window, action: Action) -> RuleId {
        RuleId(lock(&self.shared.rules).add(on, window, action))
    }

    /// Takes a rule back. What it has hung stays hung.
    pub fn remove(&self, rule: RuleId) {
        lock(&self.shared.rules).remove(rule.0);
    }

    /// How many requests a rule was about so far, also those that passed.
    pub fn seen(&self, rule: RuleId) -> usize {
        lock(&self.shared.rules).seen(rule.0)
    }

    /// Adds a rule about frames of watches, also of those that are open already. A name in `on` is that of the object
    /// that an event is about.
    pub fn frames(&self, on: Match, window: Window, action: FrameAction) -> FrameRuleId {
        FrameRuleId(lock(&self.shared.frames).add(on, window, action))
    }

    /// Takes a rule about frames back; what it holds goes on in order.
    pub fn remove_frames(&self, rule: FrameRuleId) {
        lock(&self.shared.frames).remove(rule.0);
        self.shared.changed.send_modify(|changes| *changes += 1);
    }

    /// Takes all rules back.
    pub fn clear(&self) {
        lock(&self.shared.rules).clear();
        lock(&self.shared.frames).clear();
        self.shared.changed.send_modify(|changes| *changes += 1);
    }

    /// Stops requests at a point until the test has done what it wants to do then.
    pub fn breakpoint(&self, on: Match, window: Window, point: Point) -> Breakpoint {
        let (sender, stopped) = mpsc::unbounded_channel();
        let rule = self.rule(on, window, Action::Stop(point, sender));
        Breakpoint { rule, stopped }
    }

    /// What went through so far, in order.
    pub fn trace(&self) -> Vec<Record> {
        self.shared.trace.records()
    }

    /// When it was started: times of the trace count from then.
    pub fn started(&self) -> Instant {
        self.shared.trace.started()
    }

    /// The trace as text, a line a request.
    pub fn transcript(&self) -> String {
        let lines: Vec<String> = self.trace().iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    /// Gets an answer now, with the kubeconfig's token, for giving it again later: `path_and_query` and `accept` as the
    /// client will ask.
    ///
    /// # Errors
    ///
    /// No answer, or one that is no success.
    pub async fn capture(&self, path_and_query: &str, accept: &str) -> Result<Answer> {
        let url = self.shared.upstream.join(path_and_query).context("make the URL")?;
        let request = self.shared.client.get(url).bearer_auth(&self.token).header(header::ACCEPT, accept);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status).context("get the answer")?;
        let status = answer.status();
        let content_type = answer.headers().get(header::CONTENT_TYPE).cloned();
        let headers = content_type.map(|value| (header::CONTENT_TYPE, value)).into_iter().collect();
        let body = answer.bytes().await.context("read the answer")?;
        Ok(Answer { status, headers, body })
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panics only where a defect of this module is; the test goes on to say what it saw.
            let _ = thread.join();
        }
        if thread::panicking() {
            // Straight to the file, since the test harness shows only what this thread prints by its macros.
            let _ = writeln!(io::stderr(), "what went through the fault proxy:\n{}", self.transcript());
        }
    }
}

/// Where requests stop.
#[derive(Debug)]
pub struct Breakpoint {
    rule: RuleId,
    stopped: mpsc::UnboundedReceiver<Stopped>,
}

impl Breakpoint {
    /// Waits for the next request that stops here.
    ///
    /// # Errors
    ///
    /// None did within a minute.
    pub async fn reached(&mut self) -> Result<Stopped> {
        let next = tokio::time::timeout(REACHED_WITHIN, self.stopped.recv()).await;
        next.context("no request reached the breakpoint in time")?.context("the breakpoint's rule is gone")
    }

    /// Its rule, for taking it back.
    pub fn rule(&self) -> RuleId {
        self.rule
    }
}

fn client(authority: &[u8]) -> Result<reqwest::Client> {
    let authority = reqwest::Certificate::from_pem_bundle(authority).context("parse the certificate authority")?;
    reqwest::Client::builder()
        .tls_certs_only(authority)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .no_proxy()
        .build()
        .context("build the client")
}

fn spawn(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
) -> io::Result<(oneshot::Sender<()>, JoinHandle<()>)> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _guard = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let service = serve::router(shared).into_make_service_with_connect_info::<Line>();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = thread::Builder::new().name("fault-proxy".to_owned()).spawn(move || {
        runtime.block_on(async move {
            tokio::select! {
                _ = axum::serve(CuttableListener::new(listener, Some(acceptor)), service) => {}
                _ = stopped => {}
            }
        });
        // Requests that are never answered would keep an orderly shutdown waiting.
        runtime.shutdown_background();
    })?;
    Ok((stop, thread))
}
