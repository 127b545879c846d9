//! `zoho-operator`: flags to log to client to controller to exit code.
#![doc = ""]
#![doc = include_str!("../ARCHITECTURE.md")]

mod check;
mod controller;
mod flags;
mod hash_key;
mod lead;
mod mint;
mod pass;
mod serve;
mod wake;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::controller::Ended;
use crate::flags::{Command, Flags};
use crate::lead::{Elector, Leadership};
use crate::mint::Mints;
use crate::mint::gate::Gate;
use crate::mint::ledger::Ledgers;
use crate::pass::Context;
use crate::pass::events::Events;
use crate::pass::memories::Memories;
use crate::pass::probes::Probes;
use crate::pass::reads::SharedReads;
use crate::serve::clients::Clients;
use crate::serve::metrics::Metrics;
use crate::serve::series::Series;
use crate::serve::{Health, telemetry};
use crate::wake::Wake;
use crate::watch::index::Index;
use anyhow::Context as _;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zoho_client::calls::ApiError;
use zoho_client::clock::{self, Clock};
use zoho_client::server;
use zoho_client::transport::Transport;
use zoho_core::facts::Installation;
use zoho_core::text::{causes, printable_lines};

/// So often in a row a process that the API server does not know tries again at the start.
const MOST_UNAUTHENTICATED: usize = 10;
/// For so long a process that a person started waits for the API server.
const LONGEST_START: Duration = Duration::from_secs(10);
/// Longest pause before an API server that does not answer is asked again at the start.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

// One thread does all of the work: a pass waits for others most of its time, and each thread costs memory and hands work
// over. A second one is there for what this function waits for.
#[tokio::main(worker_threads = 1)]
async fn main() -> ExitCode {
    let flags = Flags::of_process();
    let done = match flags.command {
        Some(Command::Check) => check(&flags).await,
        None => Box::pin(run(flags)).await.map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word goes to the person who started the program")]
            {
                eprintln!("{}", printable_lines(&format!("zoho-operator: {error:#}")));
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let _telemetry = telemetry::start(&flags)?;
    keep_memory_private();
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone())?;

    let transport = Arc::new(Transport::new(&flags.ca_file, &flags.server_urls())?);
    let clock = clock::system();
    let metrics = Metrics::default();
    metrics.introduce(flags.installation());
    let clients = Clients::new(metrics.clone(), clock.clone());
    let client = clients.client()?;
    let health = Health::new();
    serve::serve_health(&flags.health_probe_bind_address, health.clone()).await?;
    let start = Start { health: &health, shutdown: &shutdown, in_pod: Flags::is_in_pod() };
    let kinds = start.patiently(async || watch::feed::check_kinds(&client, &flags).await).await?;
    let hash_key = start.patiently(async || hash_key::load_or_create(&client, &flags).await).await?;
    let holder = Flags::holder();
    let election = start.stand_for_election(&clients, &flags, &holder, &clock).await?;
    let (Some(()), Some(hash_key), Some((elector, leadership))) = (kinds, hash_key, election) else {
        tracing::info!("stopped before it began");
        return Ok(());
    };
    health.leads_by(leadership.clone());
    serve::serve_metrics(&flags, metrics.clone(), client.clone()).await?;

    let namespace = flags.operator_namespace();
    tracing::info!(holder, namespace, version = env!("CARGO_PKG_VERSION"), "starting");
    let (wake, woken) = Wake::channel();
    let leads = leadership.clone();
    let parts = Parts { flags, client, transport, hash_key, holder, leadership: leads, metrics, clock, wake };
    let context = Arc::new(parts.assemble());
    let ended = controller::run(context, woken, health, leadership, shutdown).await;
    // Last: until here nobody else may act.
    if let Some(elector) = elector {
        elector.release().await;
    }
    tracing::info!("stopped");
    match ended {
        Ended::Asked => Ok(()),
        Ended::LeaseLost => anyhow::bail!("the lease is lost: another replica leads, or soon will"),
    }
}

/// What the context of passes is made from.
struct Parts {
    flags: Flags,
    client: kube::Client,
    transport: Arc<Transport>,
    hash_key: hash_key::Loaded,
    holder: String,
    leadership: Leadership,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    wake: Wake,
}

impl Parts {
    fn assemble(self) -> Context {
        let Self { flags, client, transport, hash_key, holder, leadership, metrics, clock, wake } = self;
        let (policy, name) = (flags.policy(), flags.installation());
        let ledgers = Ledgers::new(
            client.clone(),
            (&policy.operator_namespace, &flags.instance),
            policy.labels.clone(),
            holder.as_str().into(),
            policy.limits,
            clock.clone(),
        );
        let index = Arc::new(Index::default());
        metrics.add(Series {
            index: index.clone(),
            ledgers: ledgers.clone(),
            leadership: leadership.clone(),
            clock: clock.clone(),
            installation: name.clone(),
        });
        let probes = Probes::new(transport.clone(), clock.clone(), wake.clone());
        let gate = Gate::new(flags.mint_rate);
        let mints = Mints::new(
            ledgers,
            index.clone(),
            transport,
            gate,
            clock.clone(),
            leadership,
            metrics.clone(),
            wake.clone(),
        );
        let (key, replaces_lost) = (hash_key.key, hash_key.replaces_lost);
        Context {
            events: Events::start(client.clone(), &holder),
            client,
            reads: SharedReads::default(),
            index,
            metrics,
            mints,
            probes,
            flags,
            installation: Installation { name, policy, hash_key: key, hash_key_replaces_lost: replaces_lost },
            clock,
            wake,
            memories: Memories::default(),
            news: pass::later::News::default(),
        }
    }
}

/// Prints what is there and what is not.
async fn check(flags: &Flags) -> anyhow::Result<ExitCode> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let clock = clock::system();
    let transport = Transport::new(&flags.ca_file, &flags.server_urls())?;
    let client = Clients::new(Metrics::default(), clock.clone()).client()?;
    let findings = check::check(flags, &client, &transport, clock.as_ref()).await?;
    for finding in &findings {
        #[expect(clippy::print_stdout, reason = "this is what it is for")]
        {
            println!("{}", printable_lines(&finding.to_string()));
        }
    }
    let is_bad = findings.iter().any(check::Finding::is_bad);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// No core dump, and no debugger of the same user, gets to see tokens.
fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(error = causes(&error), "core dumps cannot be forbidden");
    }
}

/// What comes before the first pass. In a pod, an API server that does not answer is waited for, as it is later: a process that
/// ended would be started again after ever longer pauses, and come minutes after the API server. Elsewhere a person started it,
/// who most likely named a cluster that is not there.
struct Start<'a> {
    health: &'a Health,
    shutdown: &'a CancellationToken,
    in_pod: bool,
}

impl Start<'_> {
    /// Tries again where the API server gives no usable answer. `None`: this process was asked to stop.
    async fn patiently<T>(&self, attempt: impl AsyncFn() -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        let (mut pause, mut patience) = (Duration::from_secs(1), Patience::new(self.in_pod));
        let began = Instant::now();
        loop {
            self.health.turn();
            let Some(outcome) = self.shutdown.run_until_cancelled(attempt()).await else { return Ok(None) };
            let error = match outcome {
                Ok(value) => return Ok(Some(value)),
                Err(error) => error,
            };
            match patience.after(&error, began.elapsed()) {
                Next::TryAgain => tracing::warn!(error = format!("{error:#}"), "the API server does not answer yet"),
                Next::SayThatNobodyAnswers => {
                    return Err(
                        error.context("no cluster answers (kubectl config current-context names the one asked)")
                    );
                }
                Next::GiveUp => return Err(error),
            }
            if self.shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(None);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Begins to stand for election, with a client of its own: a renewal must not wait for anything else.
    async fn stand_for_election(
        &self,
        clients: &Clients,
        flags: &Flags,
        holder: &str,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Option<(Option<Elector>, Leadership)>> {
        let Some(times) = flags.election().map_err(anyhow::Error::msg)? else {
            return Ok(Some((None, Leadership::alone())));
        };
        let (client, namespace, name) = (clients.client()?, flags.operator_namespace(), &flags.instance);
        // Else it would find out only when nobody leads any more.
        let update = ResourceAttributes {
            group: Some("coordination.k8s.io".into()),
            resource: Some("leases".into()),
            verb: Some("update".into()),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            ..ResourceAttributes::default()
        };
        // Who may not ask is not told.
        if let Ok(false) = server::may(&client, update).await {
            anyhow::bail!(
                "leader election needs the right to update Lease {namespace}/{name}, which this account does not have"
            );
        }
        let stands = self.patiently(async || {
            let labels = flags.policy().labels;
            Elector::start(client.clone(), &namespace, name, holder.to_owned(), labels, times, clock.clone())
                .await
                .with_context(|| {
                    format!("read Lease {namespace}/{name}: leader election needs get, create and update on it")
                })
        });
        Ok(stands.await?.map(|(elector, leadership)| (Some(elector), leadership)))
    }
}

/// What the API server answered.
fn answer_in(error: &anyhow::Error) -> Option<&ApiError> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// How long a start waits for the API server: in a pod for ever where it does not answer, and not for ever where it does not know
/// this process. Who is not known today may be in a moment, also when the API server has just come back.
struct Patience {
    in_pod: bool,
    /// So often in a row it did not know this process.
    unauthenticated: usize,
}

/// What a start does after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    TryAgain,
    /// A person waits, who has to hear more than what the network said.
    SayThatNobodyAnswers,
    GiveUp,
}

impl Patience {
    fn new(in_pod: bool) -> Self {
        Self { in_pod, unauthenticated: 0 }
    }

    /// After this error, so long after the first attempt.
    fn after(&mut self, error: &anyhow::Error, waited: Duration) -> Next {
        let answer = answer_in(error);
        let is_unknown = answer.is_some_and(ApiError::is_unauthenticated);
        self.unauthenticated = if is_unknown { self.unauthenticated + 1 } else { 0 };
        let is_away = matches!(answer, Some(ApiError::Unavailable(_)));
        if !is_away || self.unauthenticated > MOST_UNAUTHENTICATED {
            Next::GiveUp
        } else if self.in_pod || waited < LONGEST_START {
            Next::TryAgain
        } else if is_unknown {
            Next::GiveUp
        } else {
            Next::SayThatNobodyAnswers
        }
    }
}

/// The first signal finishes what is in flight, the second one ends at once.
fn stop_on_signals(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.is_cancelled() {
                #[expect(clippy::exit, reason = "asked twice to stop")]
                std::process::exit(1);
            }
            shutdown.cancel();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn start_waits_for_an_api_server_that_is_away_and_not_for_ever_for_one_that_does_not_know_it() {
        let unauthenticated = || {
            let status = Status::failure("", "Unauthorized").with_code(401);
            anyhow::Error::new(ApiError::Unavailable(Some(Box::new(kube::Error::Api(Box::new(status))))))
        };
        let away = || anyhow::Error::new(ApiError::Unavailable(None)).context("read Lease a/b");
        let (now, later) = (Duration::ZERO, LONGEST_START);
        let mut patience = Patience::new(true);
        let mut after = |error: anyhow::Error, waited| patience.after(&error, waited);
        assert!((0..100).all(|_| after(away(), later) == Next::TryAgain));
        // The first answer of an API server that has come back.
        assert!((0..MOST_UNAUTHENTICATED).all(|_| after(unauthenticated(), later) == Next::TryAgain));
        assert_eq!(after(unauthenticated(), later), Next::GiveUp);
        assert_eq!(after(away(), later), Next::TryAgain);
        assert_eq!(after(unauthenticated(), later), Next::TryAgain, "in a row");
        assert_eq!(after(anyhow::Error::new(ApiError::NotFound), now), Next::GiveUp);
        let mut patience = Patience::new(false);
        let mut after = |error: anyhow::Error, waited| patience.after(&error, waited);
        assert_eq!(after(away(), now), Next::TryAgain, "it may have just been started, too");
        assert_eq!(after(away(), later), Next::SayThatNobodyAnswers, "a person waits for an answer");
        assert_eq!(after(unauthenticated(), now), Next::TryAgain);
        assert_eq!(after(unauthenticated(), later), Next::GiveUp, "a cluster did answer");
    }
}
