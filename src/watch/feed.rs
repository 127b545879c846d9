//! Starts the watches, and takes what they bring into the index and the ledgers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::core::{DeserializeGuard, Resource as _};
use tokio::sync::watch;
use zoho_api::names::{LedgerName, ObjectName};
use zoho_api::{ZohoCredential, ZohoMintLedger};
use zoho_core::mirror::{Disagreement, Mirror, Scope, Taken, Version, Versioned, number};

use crate::flags::SecretAccess;
use crate::pass::Context;
use crate::serve::Health;
use crate::watch::follow::{Sink, Watch, Witness};
use crate::watch::index::{Kind, News, SecretMeta};
use crate::watch::poll::{self, Poll};
use crate::watch::source::OfCluster;

/// Each namespace that is served, once everything in it is listed.
pub(crate) type Listing = FuturesUnordered<BoxFuture<'static, Scope>>;

/// Starts the watches: credentials and Secrets of each namespace that is served, and the ledgers.
pub(crate) fn start(context: &Arc<Context>, health: &Health) -> Listing {
    let by_get = context.flags.secret_access == SecretAccess::Get;
    let scopes: Vec<Scope> = match context.flags.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(namespace.as_str().into())).collect(),
    };
    let witness = |kind: &'static str, scope: &Scope, is_essential: bool| {
        let (namespace, name) = (scope.as_deref().map(str::to_owned), name_of_watch(kind, scope.as_deref()));
        health.wait_for([name.clone()], is_essential);
        let (health, metrics, clock) = (health.clone(), context.metrics.clone(), context.clock.clone());
        Witness { health, metrics, clock, kind, namespace, name }
    };
    let own: Scope = Some(context.flags.operator_namespace().into());
    let of_ledgers = witness("zohomintledgers", &own, true);
    let source = OfCluster::new(&context.client, own.as_deref());
    let ledgers = Watch::spawn(source, Ledgers::new(context, own), of_ledgers);
    let listing = Listing::new();
    for scope in scopes {
        let sink = |kind| Indexed { context: context.clone(), kind, scope: scope.clone() };
        let source = OfCluster::new(&context.client, scope.as_deref());
        let of_credentials = witness("zohocredentials", &scope, false);
        let credentials =
            Watch::<DeserializeGuard<ZohoCredential>, _, _>::spawn(source, sink(Kind::Credentials), of_credentials);
        let of_secrets = witness("secrets", &scope, false);
        let secrets = if by_get {
            spawn_poll(context, of_secrets, scope.clone(), credentials.clone())
        } else {
            let source = OfCluster::new(&context.client, scope.as_deref());
            Watch::<SecretMeta, _, _>::spawn(source, sink(Kind::Secrets), of_secrets)
        };
        let needed = [ledgers.clone(), credentials, secrets];
        listing.push(Box::pin(async move {
            for mut one in needed {
                // A closed channel means that the watch's task is gone with the process.
                let _ = one.wait_for(|listed| *listed).await;
            }
            scope
        }));
    }
    listing
}

/// Takes what a watch tells into the index, and wakes whom it concerns.
struct Indexed {
    context: Arc<Context>,
    kind: Kind,
    scope: Scope,
}

impl Indexed {
    fn is_past(&self, version: Version) -> bool {
        self.context.index.is_past(self.kind, &self.scope, version)
    }

    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement> {
        self.context.index.disagreements(self.kind, &self.scope, listed)
    }

    fn doubt(&self) {
        self.context.index.doubt(self.kind, &self.scope);
        // Versions will come again with another content.
        self.context.memories.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Sink<DeserializeGuard<ZohoCredential>> for Indexed {
    fn is_past(&self, version: Version) -> bool {
        self.is_past(version)
    }

    fn take_in(&mut self, news: News<DeserializeGuard<ZohoCredential>>) {
        wake(&self.context, self.context.index.credentials_told(&self.scope, news));
    }

    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement> {
        self.disagreements(listed)
    }

    fn doubt(&mut self) {
        Self::doubt(self);
    }
}

impl Sink<SecretMeta> for Indexed {
    fn is_past(&self, version: Version) -> bool {
        self.is_past(version)
    }

    fn take_in(&mut self, news: News<SecretMeta>) {
        wake(&self.context, self.context.index.secrets_told(&self.scope, news));
    }

    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement> {
        self.disagreements(listed)
    }

    fn doubt(&mut self) {
        Self::doubt(self);
    }
}

fn wake(context: &Context, concerned: Vec<ObjectName>) {
    for key in concerned {
        // Without a receiver the process is shutting down.
        let _ = context.wake.send(key);
    }
}

/// Takes what the watch tells to the ledgers, and wakes whoever uses them: another replica may have minted, or a person
/// cleared a verdict.
struct Ledgers {
    context: Arc<Context>,
    scope: Scope,
    /// What the watch told, for the order of lists and news.
    told: Mirror<LedgerSeen>,
}

struct LedgerSeen {
    uid: String,
    version: String,
}

impl Versioned for LedgerSeen {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.version
    }
}

impl Ledgers {
    fn new(context: &Arc<Context>, scope: Scope) -> Self {
        Self { context: context.clone(), scope, told: Mirror::default() }
    }

    fn is_there(&mut self, ledger: DeserializeGuard<ZohoMintLedger>, listed_at: Option<Version>) {
        let meta = ledger.meta();
        let key = ObjectName::of(meta);
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let seen = LedgerSeen { uid: part(&meta.uid), version: part(&meta.resource_version) };
        let taken = match listed_at {
            Some(at) => self.told.listed(&self.scope, &key, seen, at),
            None => self.told.changed(&self.scope, &key, seen),
        };
        if !matches!(taken, Taken::No) && self.context.mints.ledgers().take_in(ledger) {
            self.wake_users(&LedgerName::from(&*key.name));
        }
    }

    fn is_gone(&self, name: &LedgerName) {
        self.context.mints.ledgers().forget(name);
        self.wake_users(name);
    }

    fn wake_users(&self, ledger: &LedgerName) {
        let is_user = |credential: &&Arc<ZohoCredential>| {
            credential.status.as_ref().and_then(|status| status.ledger.as_ref()) == Some(ledger)
        };
        let credentials = self.context.index.credentials();
        let users = credentials.iter().filter(is_user).map(|credential| ObjectName::of(&credential.metadata));
        wake(&self.context, users.collect());
    }
}

impl Sink<DeserializeGuard<ZohoMintLedger>> for Ledgers {
    fn is_past(&self, version: Version) -> bool {
        self.told.is_past(&self.scope, version)
    }

    fn take_in(&mut self, news: News<DeserializeGuard<ZohoMintLedger>>) {
        match news {
            News::Listed(ledger, at) => self.is_there(ledger, Some(at)),
            News::Changed(ledger) => self.is_there(ledger, None),
            News::Gone(ledger) => {
                let version = number(ledger.meta().resource_version.as_deref().unwrap_or_default());
                let key = ObjectName::of(ledger.meta());
                if !matches!(self.told.gone(&self.scope, &key, version), Taken::No) {
                    self.is_gone(&LedgerName::from(&*key.name));
                }
            }
            News::Only(present, at) => {
                let gone = self.told.only(&self.scope, &present, at);
                for (key, _) in gone {
                    self.is_gone(&LedgerName::from(&*key.name));
                }
            }
            News::Progress(version) => self.told.has_told(&self.scope, version),
        }
    }

    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement> {
        self.told.disagreements(&self.scope, listed, 5)
    }

    fn doubt(&mut self) {
        self.told.doubt(&self.scope);
        self.context.mints.ledgers().doubt();
    }
}

/// Reads the Secrets that credentials of a namespace name, first when the credentials are listed, and then every minute.
fn spawn_poll(
    context: &Context,
    witness: Witness,
    scope: Scope,
    mut credentials: watch::Receiver<bool>,
) -> watch::Receiver<bool> {
    let (listed, receiver) = watch::channel(false);
    let Witness { health, metrics, clock, kind, namespace, name } = witness;
    let (client, index, wake) = (context.client.clone(), context.index.clone(), context.wake.clone());
    let poll = Poll { client, index, scope, wake, health: health.clone(), name: name.clone() };
    metrics.watches(namespace.as_deref(), kind);
    tokio::spawn(async move {
        while !*credentials.borrow_and_update() {
            health.turns(&name);
            // A closed channel means that the watch's task is gone with the process.
            let _ = tokio::time::timeout(poll::EVERY, credentials.changed()).await;
        }
        loop {
            if poll.round().await == 0 {
                metrics.watch_told(namespace.as_deref(), kind, clock.now());
                health.is_well(&name);
            } else {
                metrics.watch_failed(namespace.as_deref(), kind);
                health.fails(&name);
            }
            // One that cannot be read holds up no other: its own pass reads it, or fails and is tried again.
            if !listed.send_replace(true) {
                health.has(&name);
            }
            health.turns(&name);
            tokio::time::sleep(poll::EVERY).await;
        }
    });
    receiver
}

/// As `/readyz` says it.
fn name_of_watch(kind: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("the list of {kind} in namespace {namespace}"),
        None => format!("the list of {kind}"),
    }
}
