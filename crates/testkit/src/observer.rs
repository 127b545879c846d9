//! An independent witness: looks at the targets and asks whether their tokens live, ten times a second, and keeps every
//! version of the objects that it sees.
//!
//! Its connections are its own, past any proxy, so that it sees what pods would see.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource as _};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use zoho_api::{ZohoCredential, keys};

/// From one look to the next.
const EVERY: Duration = Duration::from_millis(100);

/// One version of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Since the observer was started.
    pub at: Duration,
    /// Kind of the object.
    pub kind: &'static str,
    /// Its metadata.
    pub meta: ObjectMeta,
    /// It was deleted in this version.
    pub is_deleted: bool,
}

impl Version {
    /// When the token in a target expires, as the target says.
    pub fn expires_at(&self) -> Option<&str> {
        self.meta.annotations.as_ref()?.get(keys::EXPIRES_AT).map(String::as_str)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let ObjectMeta { name, uid, resource_version, .. } = &self.meta;
        write!(
            f,
            "{:>9.3} {} {} {}/{}",
            self.at.as_secs_f64(),
            self.kind,
            part(name),
            part(uid),
            part(resource_version)
        )?;
        f.write_str(if self.is_deleted { " deleted" } else { "" })
    }
}

#[derive(Default)]
struct Seen {
    /// Targets that are there, with the token in each.
    targets: HashMap<String, String>,
    /// Time for which a target held a token that was dead.
    expired: BTreeMap<String, Duration>,
    versions: Vec<Version>,
}

/// Looks on until it is dropped.
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Observer {
    /// Looks at one namespace. `is_alive`: does the token service take this token?
    pub fn start(client: &Client, namespace: &str, is_alive: impl Fn(&str) -> bool + Send + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let started = Instant::now();
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        let credentials = Api::<ZohoCredential>::namespaced(client.clone(), namespace);
        let tasks = vec![
            tokio::spawn(watch_secrets(secrets, seen.clone(), started)),
            tokio::spawn(watch_credentials(credentials, seen.clone(), started)),
            tokio::spawn(integrate(seen.clone(), is_alive)),
        ];
        Self { seen, tasks }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// For how long targets held a token that was dead, all together.
    pub fn expired_token_time(&self) -> Duration {
        self.lock().expired.values().sum()
    }

    /// The same for each target that ever did.
    pub fn expired_token_times(&self) -> BTreeMap<String, Duration> {
        self.lock().expired.clone()
    }

    /// The targets that hold a token now.
    pub fn targets(&self) -> usize {
        self.lock().targets.len()
    }

    /// Every version that was seen, in order. Watches are quick, not complete: of two writes within a moment the API
    /// server tells both.
    pub fn versions(&self) -> Vec<Version> {
        self.lock().versions.clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn integrate(seen: Arc<Mutex<Seen>>, is_alive: impl Fn(&str) -> bool + Send) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        // A late look counts for the time that it is late: what was dead then may have been dead before.
        let passed = last.elapsed();
        last = Instant::now();
        let targets = lock(&seen).targets.clone();
        let dead: Vec<String> =
            targets.into_iter().filter(|(_, token)| !is_alive(token)).map(|(target, _)| target).collect();
        let mut seen = lock(&seen);
        for target in dead {
            *seen.expired.entry(target).or_default() += passed;
        }
    }
}

async fn watch_secrets(api: Api<Secret>, seen: Arc<Mutex<Seen>>, started: Instant) {
    let mut events = watcher(api, watcher::Config::default()).boxed();
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        let (secret, is_deleted) = match event {
            Ok(Event::InitApply(secret)) => {
                listed.extend(secret.metadata.name.clone());
                (secret, false)
            }
            Ok(Event::Apply(secret)) => (secret, false),
            Ok(Event::Delete(secret)) => (secret, true),
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitDone) => {
                // What went while nobody told.
                lock(&seen).targets.retain(|name, _| listed.contains(name));
                continue;
            }
            Err(_) => {
                tokio::time::sleep(EVERY).await;
                continue;
            }
        };
        let mut seen = lock(&seen);
        let name = secret.metadata.name.clone().unwrap_or_default();
        match token_in(&secret).filter(|_| !is_deleted) {
            Some(token) => drop(seen.targets.insert(name, token)),
            None => drop(seen.targets.remove(&name)),
        }
        seen.versions.push(version("Secret", secret.metadata, is_deleted, started));
    }
}

async fn watch_credentials(api: Api<ZohoCredential>, seen: Arc<Mutex<Seen>>, started: Instant) {
    let mut events = watcher(api, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let (credential, is_deleted) = match event {
            Ok(Event::InitApply(credential) | Event::Apply(credential)) => (credential, false),
            Ok(Event::Delete(credential)) => (credential, true),
            Ok(Event::Init | Event::InitDone) => continue,
            Err(_) => {
                tokio::time::sleep(EVERY).await;
                continue;
            }
        };
        lock(&seen).versions.push(version("ZohoCredential", credential.metadata, is_deleted, started));
    }
}

fn version(kind: &'static str, mut meta: ObjectMeta, is_deleted: bool, started: Instant) -> Version {
    meta.managed_fields = None;
    Version { at: started.elapsed(), kind, meta, is_deleted }
}

/// The token in a target; `None` for other Secrets.
fn token_in(secret: &Secret) -> Option<String> {
    let kind = ZohoCredential::kind(&());
    secret.metadata.owner_references.as_ref()?.iter().find(|owner| owner.kind == kind)?;
    let token = secret.data.as_ref()?.get("access_token")?;
    String::from_utf8(token.0.clone()).ok()
}
