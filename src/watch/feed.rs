//! The watches of an installation: which there are, and where what they bring goes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::Client;
use kube::core::Resource;
use tokio::sync::watch;
use zoho_api::names::{LedgerName, ObjectName, ObjectVersion};
use zoho_api::{ZohoCredential, ZohoMintLedger};
use zoho_client::calls::{ApiError, call};
use zoho_client::told::{SecretMeta, Told};
use zoho_core::mirror::{Disagreement, Mirror, News, Scope, Taken, Version};

use super::follow::{History, Sink, Watch, Witness};
use super::index::Kind;
use super::poll::{EVERY, Poll, Round};
use super::source::{OfCluster, api_of};
use crate::flags::{Flags, SecretAccess};
use crate::pass::Context;
use crate::serve::Health;

/// Each namespace that is served, once everything in it is listed.
pub(crate) type Listing = FuturesUnordered<BoxFuture<'static, Scope>>;

/// Starts the watches: credentials and Secrets of each namespace that is served, and the ledgers.
pub(crate) fn start_watches(context: &Arc<Context>, health: &Health) -> Listing {
    let by_get = context.flags.secret_access == SecretAccess::Get;
    let witness = |kind: &'static str, scope: &Scope, serves: Option<Scope>| {
        let (namespace, name) = (scope.as_deref().map(str::to_owned), name_of_watch(kind, scope.as_deref()));
        health.wait_for(name.clone(), serves);
        let (health, metrics, clock) = (health.clone(), context.metrics.clone(), context.clock.clone());
        Witness { health, metrics, clock, kind, namespace, name }
    };
    let history = History::default();
    let own: Scope = Some(context.flags.operator_namespace().into());
    let of_ledgers = witness("zohomintledgers", &own, None);
    let source = OfCluster::new(&context.client, own.as_deref());
    let ledgers = Watch::spawn(source, Ledgers::new(context, own), of_ledgers, &history);
    let listing = Listing::new();
    for scope in scopes(&context.flags) {
        let sink = |kind| Indexed { context: context.clone(), kind, scope: scope.clone() };
        let source = OfCluster::new(&context.client, scope.as_deref());
        let of_credentials = witness("zohocredentials", &scope, Some(scope.clone()));
        let credentials =
            Watch::<Told<ZohoCredential>, _, _>::spawn(source, sink(Kind::Credentials), of_credentials, &history);
        let of_secrets = witness("secrets", &scope, Some(scope.clone()));
        let secrets = if by_get {
            spawn_poll(context, of_secrets, scope.clone(), credentials.clone())
        } else {
            let source = OfCluster::new(&context.client, scope.as_deref());
            Watch::<SecretMeta, _, _>::spawn(source, sink(Kind::Secrets), of_secrets, &history)
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
        if self.context.flags.secret_access == SecretAccess::Get {
            // No list of them will come, and what is read now may have a lower version than what is known.
            self.context.index.forget_all_secrets(&self.scope);
        }
        // Versions will come again with another content.
        self.context.memories.forget_all();
    }
}

impl Sink<Told<ZohoCredential>> for Indexed {
    fn is_past(&self, version: Version) -> bool {
        self.is_past(version)
    }

    fn went_back(&self, credential: &Told<ZohoCredential>, at: Version) -> bool {
        self.context.index.credential_went_back(&self.scope, credential.meta(), at)
    }

    fn take_in(&mut self, news: News<Told<ZohoCredential>>) {
        self.context.wake.all(self.context.index.credentials_told(&self.scope, news));
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

    fn went_back(&self, secret: &SecretMeta, at: Version) -> bool {
        self.context.index.secret_went_back(&self.scope, secret.meta(), at)
    }

    fn take_in(&mut self, news: News<SecretMeta>) {
        self.context.wake.all(self.context.index.secrets_told(&self.scope, news));
    }

    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement> {
        self.disagreements(listed)
    }

    fn doubt(&mut self) {
        Self::doubt(self);
    }
}

/// What is served: some namespaces, or all.
fn scopes(flags: &Flags) -> Vec<Scope> {
    match flags.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(namespace.as_str().into())).collect(),
    }
}

/// Takes what the watch tells to the ledgers, and wakes whoever uses them: another replica may have minted, or a person
/// cleared a verdict.
struct Ledgers {
    context: Arc<Context>,
    scope: Scope,
    /// What the watch told, for the order of lists and news.
    told: Mirror<ObjectVersion>,
}

impl Ledgers {
    fn new(context: &Arc<Context>, scope: Scope) -> Self {
        Self { context: context.clone(), scope, told: Mirror::default() }
    }

    /// Those whose status names it, and those that wait for it and have never tried, whose status does not.
    fn wake_users(&self, ledger: &LedgerName) {
        let is_user = |credential: &&Arc<ZohoCredential>| {
            credential.status.as_ref().and_then(|status| status.ledger.as_ref()) == Some(ledger)
        };
        let credentials = self.context.index.credentials();
        let users = credentials.iter().filter(is_user).map(|credential| ObjectName::of(&credential.metadata));
        let users: HashSet<ObjectName> = users.chain(self.context.memories.users_of(ledger)).collect();
        self.context.wake.all(users.into_iter().collect());
    }
}

impl Sink<Told<ZohoMintLedger>> for Ledgers {
    fn is_past(&self, version: Version) -> bool {
        self.told.is_past(&self.scope, version)
    }

    fn went_back(&self, ledger: &Told<ZohoMintLedger>, at: Version) -> bool {
        let (key, listed) = (ObjectName::of(ledger.meta()), ObjectVersion::of(ledger.meta()));
        self.told.went_back(&self.scope, &key, &listed, at)
    }

    fn take_in(&mut self, news: News<Told<ZohoMintLedger>>) {
        let mut object = None;
        let news = news.map(|ledger| {
            let seen = (ObjectName::of(ledger.meta()), ObjectVersion::of(ledger.meta()));
            object = Some(ledger);
            seen
        });
        for (key, taken) in self.told.told(&self.scope, news) {
            if matches!(taken, Taken::No) {
                continue;
            }
            let name = LedgerName::from(&*key.name);
            let ledgers = self.context.mints.ledgers();
            let is_news = if self.told.get(&key).is_some() {
                object.take().is_some_and(|ledger| ledgers.take_in(ledger))
            } else {
                ledgers.forget(&name);
                true
            };
            if is_news {
                self.wake_users(&name);
            }
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

/// How often a poll that waits for the credentials looks what became of them.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// Reads the Secrets that credentials of a namespace name, first when the credentials are listed, and then every minute.
fn spawn_poll(
    context: &Arc<Context>,
    witness: Witness,
    scope: Scope,
    mut credentials: watch::Receiver<bool>,
) -> watch::Receiver<bool> {
    let (listed, receiver) = watch::channel(false);
    let Witness { health, metrics, clock, kind, namespace, name } = witness;
    let poll = Poll { context: context.clone(), scope, health: health.clone(), name: name.clone() };
    metrics.watches(namespace.as_deref(), kind);
    tokio::spawn(async move {
        let of_credentials = name_of_watch("zohocredentials", namespace.as_deref());
        while !*credentials.borrow_and_update() {
            health.turns(&name);
            health.waits_with(&name, &of_credentials);
            // A closed channel means that the watch's task is gone with the process.
            let _ = tokio::time::timeout(LOOK, credentials.changed()).await;
        }
        loop {
            let Round { wanted, failed, refused } = poll.round().await;
            // One that cannot be read holds up no other: its own pass reads it, or fails and is tried again.
            if !listed.send_replace(true) {
                health.has(&name);
            }
            // What is wrong with one Secret is its own credential's matter.
            if failed == 0 || failed < wanted {
                metrics.watch_told(namespace.as_deref(), kind, clock.now());
                health.is_well(&name);
            } else {
                metrics.watch_failed(namespace.as_deref(), kind);
                // Nothing but rights is missing: as where a watch is refused. The credentials say which Secret it is.
                if refused == failed { health.each_is_refused(&name) } else { health.fails(&name) }
            }
            health.turns(&name);
            tokio::time::sleep(EVERY).await;
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

/// Says in one line what is missing where the kinds are not served.
///
/// # Errors
///
/// No cluster, no permission in any of the namespaces, or no CRDs.
pub(crate) async fn check_kinds(client: &Client, flags: &Flags) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    for scope in scopes(flags) {
        let params = kube::api::ListParams::default().limit(1);
        let credentials = api_of::<ZohoCredential>(client, scope.as_deref());
        outcome = call(credentials.list_metadata(&params)).await.map(drop);
        // One that may not be read is tried again later, as long as there is another one.
        if !matches!(outcome, Err(ApiError::Refused { .. })) {
            break;
        }
    }
    match outcome {
        Ok(()) => Ok(()),
        Err(ApiError::NotFound) => anyhow::bail!(
            "the CustomResourceDefinitions of zoho-operator.dev are not installed: apply them (kubectl apply --server-side -f crds/ in the repository, or -f crds.yaml of a release), or install the Helm chart with crds.enabled=true"
        ),
        Err(error) => Err(anyhow::Error::new(error).context("list zohocredentials")),
    }
}
