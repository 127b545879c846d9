//! One test's world: two namespaces, a Zoho of its own, and operator processes that are killed and started at will.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;
use zoho_api::{ConditionType, ZohoCredential, ZohoMintLedger};
use zoho_simulator::journal::Record;
use zoho_simulator::{Credential, Simulator, SimulatorConfig};
use zoho_testkit::control_plane::Options;
use zoho_testkit::fault_proxy::FaultProxy;
use zoho_testkit::observer::Observer;

use super::look::{is, is_observed, is_ready, text};
use super::operator::Operator;
use super::words::Words;
use super::{Cluster, DEADLINE, Home, OPERATOR_NAMESPACES, cluster};

/// The three secrets of one credential. Long and strange enough to be found in a log.
pub(crate) const CLIENT_ID: &str = "1000.CANARYCLIENTID";
pub(crate) const CLIENT_SECRET: &str = "canary0client0secret0f00ba4";
pub(crate) const REFRESH_TOKEN: &str = "1000.canary0refresh0token.c0ffee";

/// What a failed test prints of each log, and of the requests to Zoho.
const LAST_LINES: usize = 60;
const LAST_REQUESTS: usize = 40;

pub(crate) struct World {
    pub(crate) cluster: Home,
    pub(crate) client: Client,
    /// Where the credentials are.
    pub(crate) namespace: String,
    /// Where ledgers and hash key are.
    pub(crate) operator_namespace: String,
    pub(crate) zoho: Simulator,
    folder: tempfile::TempDir,
    offset: AtomicI64,
    /// Further secrets that must stand nowhere.
    confided: std::sync::Mutex<Vec<String>>,
}

impl World {
    pub(crate) async fn new(test: &str) -> Self {
        Self::on(Home::Shared(cluster().await), test).await
    }

    /// A world on a control plane of its own, which the test may stop.
    pub(crate) async fn alone(test: &str) -> Self {
        Self::on(Home::Own(Box::new(Cluster::start(Options::default()).await)), test).await
    }

    async fn on(cluster: Home, test: &str) -> Self {
        cluster.install_crds().await;
        let zoho = Simulator::start(SimulatorConfig::default());
        zoho.register(CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN);
        zoho.set_latency(Duration::from_millis(50));
        let operator_namespace = cluster.namespace(&format!("{OPERATOR_NAMESPACES}{test}")).await;
        cluster.grant_own_rights(&operator_namespace).await;
        Self {
            client: cluster.observer_client().await.expect("a client"),
            namespace: cluster.namespace(test).await,
            cluster,
            operator_namespace,
            zoho,
            folder: tempfile::tempdir().expect("a folder"),
            offset: AtomicI64::new(0),
            confided: std::sync::Mutex::default(),
        }
    }

    /// Moves the wall clock of operators and Zoho; timers do not notice.
    pub(crate) fn advance(&self, seconds: i64) {
        self.advance_beside(seconds, 0);
    }

    /// Moves the wall clock of operators, and that of Zoho to so many seconds ahead of it.
    pub(crate) fn advance_beside(&self, seconds: i64, ahead: i64) {
        let offset = self.offset.fetch_add(seconds, Ordering::Relaxed) + seconds;
        self.zoho.set_clock_offset(SignedDuration::from_secs(offset + ahead));
        self.set_clock(&offset.to_string());
    }

    /// Stops the wall clock of operators until [`Self::advance`]: what happens meanwhile happens within one second, however
    /// busy the machine is. Timers do not notice; what is tried again after a pause is not.
    pub(crate) fn stop_clock(&self) {
        let now = zoho_client::clock::system().now().unix() + self.offset.load(Ordering::Relaxed);
        self.set_clock(&format!("@{now}"));
    }

    fn set_clock(&self, text: &str) {
        // Renamed into place: an operator must not read half a number.
        let next = self.folder.path().join("clock.next");
        std::fs::write(&next, text).expect("the clock is written");
        std::fs::rename(next, self.clock()).expect("the clock is moved");
    }

    /// Tells of one more secret that must stand nowhere.
    pub(crate) fn confide(&self, secret: &str) {
        let mut confided = self.confided.lock().expect("no test panicked with it");
        if !confided.iter().any(|known| known == secret) {
            confided.push(secret.to_owned());
        }
    }

    /// The file that moves the clock.
    pub(crate) fn clock(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    pub(crate) fn operator(&self) -> Operator {
        self.operator_with(&[])
    }

    /// Starts an operator for this world's namespace, logging everything.
    pub(crate) fn operator_with(&self, args: &[&str]) -> Operator {
        self.operator_in(args, &[])
    }

    /// Starts an operator in another environment.
    pub(crate) fn operator_in(&self, args: &[&str], variables: &[(&str, &str)]) -> Operator {
        self.spawn(args, &self.clock(), &self.cluster.operator_kubeconfig_path(), variables)
    }

    /// Starts an operator under somebody else's rights.
    pub(crate) fn operator_as(&self, args: &[&str], kubeconfig: &str) -> Operator {
        self.spawn(args, &self.clock(), Path::new(kubeconfig), &[])
    }

    /// Starts a proxy before the API server, for operators of [`Self::operator_behind`].
    pub(crate) fn proxy(&self) -> FaultProxy {
        FaultProxy::start(&self.cluster.operator_kubeconfig_path()).expect("a fault proxy")
    }

    /// Starts an operator that reaches the API server through a proxy.
    pub(crate) fn operator_behind(&self, proxy: &FaultProxy, args: &[&str]) -> Operator {
        self.spawn(args, &self.clock(), &proxy.kubeconfig(), &[])
    }

    /// Starts to look at the targets in this world's namespace.
    pub(crate) fn observer(&self) -> Observer {
        Observer::start(&self.client, &self.namespace, self.zoho.introspection())
    }

    /// Starts an operator whose wall clock is so many seconds ahead, and does not follow [`Self::advance`].
    pub(crate) fn operator_ahead(&self, args: &[&str], seconds: i64) -> Operator {
        let clock = self.folder.path().join(format!("clock-{seconds}"));
        std::fs::write(&clock, seconds.to_string()).expect("the clock is written");
        self.spawn(args, &clock, &self.cluster.operator_kubeconfig_path(), &[])
    }

    fn spawn(&self, args: &[&str], clock: &Path, kubeconfig: &Path, variables: &[(&str, &str)]) -> Operator {
        let number = std::fs::read_dir(self.folder.path()).expect("the folder").count();
        let log = self.folder.path().join(format!("operator-{number}.log"));
        let file = File::create(&log).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_zoho-operator"));
        command
            .args(args.iter().all(|arg| *arg != "--operator-namespace").then_some("--operator-namespace"))
            .args(args.iter().all(|arg| *arg != "--operator-namespace").then_some(&self.operator_namespace))
            .args(args.iter().all(|arg| *arg != "--watch-namespaces").then_some("--watch-namespaces"))
            .args(args.iter().all(|arg| *arg != "--watch-namespaces").then_some(&self.namespace))
            .args(["--health-probe-bind-address", "127.0.0.1:0", "--metrics-bind-address", "127.0.0.1:0"])
            .args(["--log-format", "json", "--log-level", "trace"])
            .args(["--accounts-url", &format!("US={}", self.zoho.url())])
            // A killed predecessor's lease would hold up every start; tests of the election ask for it.
            .args(args.iter().all(|arg| !arg.starts_with("--leader-elect")).then_some("--leader-elect=false"))
            .args(args)
            .env("KUBECONFIG", kubeconfig)
            .env("KUBERNETES_SERVICE_HOST", "as-in-a-pod.invalid")
            .env("ZOHO_OPERATOR_CLOCK_OFFSET_FILE", clock)
            .env("HOSTNAME", format!("operator-{number}"))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log"))
            .stderr(file);
        Operator::spawn(&mut command, log)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn credentials(&self) -> Api<ZohoCredential> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn ledgers(&self) -> Api<ZohoMintLedger> {
        Api::namespaced(self.client.clone(), &self.operator_namespace)
    }

    /// The Events about a credential: reason and note.
    pub(crate) async fn events_of(&self, name: &str) -> Vec<String> {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        let events = events.list(&ListParams::default()).await.expect("Events can be listed").items;
        let is_about = |event: &Event| event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some(name);
        let text = |event: Event| format!("{} {}", event.reason.unwrap_or_default(), event.note.unwrap_or_default());
        events.into_iter().filter(is_about).map(text).collect()
    }

    /// What a test puts into a source is secret, but for the names in it and what the examples have in place of a secret.
    pub(crate) fn confide_source(&self, pairs: &[(&str, &str)]) {
        const NAMES: [&str; 3] = ["client_id", "username", "redirect_uri"];
        let is_secret = |key: &str, value: &str| {
            !NAMES.contains(&key) && !value.starts_with("replace-with-") && value.len() >= 12 && value.is_ascii()
        };
        pairs.iter().filter(|(key, value)| is_secret(key, value)).for_each(|(_, secret)| self.confide(secret));
    }

    /// No secret stands in what is said of an object: a later word would hide it.
    pub(crate) fn assert_discreet(&self, seen: &ZohoCredential) {
        let text = serde_json::to_string(seen).expect("plain data");
        assert_eq!(Words::new(self.canaries()).find(&text), None, "a secret stands in the object");
    }

    /// Creates or replaces a source Secret.
    pub(crate) async fn source(&self, name: &str, pairs: &[(&str, &str)]) -> Secret {
        self.confide_source(pairs);
        let data: Value = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        let params = PatchParams::apply("test").force();
        self.secrets().patch(name, &params, &Patch::Apply(&secret)).await.expect("the source is written")
    }

    /// A source with what the simulator has registered.
    pub(crate) async fn source_of(&self, name: &str, registered: &Credential) -> Secret {
        let Credential { client_id, client_secret, refresh_token } = registered;
        self.source(
            name,
            &[("client_id", client_id), ("client_secret", client_secret), ("refresh_token", refresh_token)],
        )
        .await
    }

    /// A running operator, and what it serves, see [`World::serve_one`].
    pub(crate) async fn served(test: &str) -> (World, Operator) {
        let world = World::new(test).await;
        let operator = world.operator();
        world.serve_one().await;
        (world, operator)
    }

    /// Credential `one`, from Secret `source` into Secret `one-token`, once it is ready.
    pub(crate) async fn serve_one(&self) {
        self.good_source("source").await;
        self.credential("one", "source", json!({})).await;
        self.wait_ready("one").await;
    }

    /// The source that works.
    pub(crate) async fn good_source(&self, name: &str) -> Secret {
        let pairs = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("refresh_token", REFRESH_TOKEN)];
        self.source(name, &pairs).await
    }

    /// A credential in data center US that reads `source`; `edit` is merged into its spec.
    pub(crate) fn object(name: &str, source: &str, edit: &Value) -> ZohoCredential {
        let mut spec = json!({ "dataCenter": "US", "secretRef": { "name": source } });
        for (field, value) in edit.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let object = json!({
            "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential",
            "metadata": { "name": name }, "spec": spec,
        });
        serde_json::from_value(object).expect("a credential")
    }

    /// Creates a credential, see [`Self::object`].
    pub(crate) async fn credential(&self, name: &str, source: &str, edit: Value) -> ZohoCredential {
        let object = Self::object(name, source, &edit);
        self.credentials().create(&PostParams::default(), &object).await.expect("the credential is created")
    }

    /// Merges a patch into a credential.
    pub(crate) async fn patch(&self, name: &str, patch: Value) {
        let patch = Patch::Merge(patch);
        self.credentials().patch(name, &PatchParams::default(), &patch).await.expect("the credential is patched");
    }

    pub(crate) async fn get(&self, name: &str) -> ZohoCredential {
        self.credentials().get(name).await.expect("the credential is there")
    }

    pub(crate) async fn secret(&self, name: &str) -> Option<Secret> {
        self.secrets().get_opt(name).await.expect("Secrets can be read")
    }

    pub(crate) async fn delete_secret(&self, name: &str) {
        self.secrets().delete(name, &DeleteParams::default()).await.expect("the Secret is deleted");
    }

    /// The token in a target.
    pub(crate) async fn token(&self, target: &str) -> Option<String> {
        self.secret(target).await.as_ref().map(|secret| text(secret, "access_token"))
    }

    /// Waits until a credential is as it should be, and shows what it was when it is not in time.
    pub(crate) async fn wait(&self, name: &str, what: &str, is_so: impl Fn(&ZohoCredential) -> bool) -> ZohoCredential {
        self.wait_within(name, what, DEADLINE, is_so).await
    }

    pub(crate) async fn wait_within(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        is_so: impl Fn(&ZohoCredential) -> bool,
    ) -> ZohoCredential {
        self.wait_in(self.credentials(), name, (what, within), is_so).await
    }

    /// The same in another namespace.
    pub(crate) async fn wait_in(
        &self,
        credentials: Api<ZohoCredential>,
        name: &str,
        (what, within): (&str, Duration),
        is_so: impl Fn(&ZohoCredential) -> bool,
    ) -> ZohoCredential {
        let is_so = |seen: Option<&ZohoCredential>| seen.is_some_and(&is_so);
        let waiting = async {
            loop {
                if let Ok(Some(seen)) = await_condition(credentials.clone(), name, &is_so).await {
                    return seen;
                }
                // Some tests stop the API server, and with it all watches.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if let Ok(seen) = timeout(within, waiting).await {
            return seen;
        }
        let seen = credentials.get(name).await.expect("it exists");
        panic!("{name} not within {within:?}: {what}\n{}", self.scene(&seen).await)
    }

    /// Returns when the operator has seen all that was done to credentials and Secrets so far: a watch tells changes in their
    /// order, and later ones have been acted on.
    pub(crate) async fn caught_up(&self) {
        self.credential("marker", "marker", json!({})).await;
        self.wait_for_reason("marker", "SourceSecretNotFound").await;
        self.source("marker", &[("no", "credential")]).await;
        self.wait_for_reason("marker", "SourceSecretInvalid").await;
    }

    /// Waits for a reason of `Renewable` and returns the credential.
    pub(crate) async fn wait_for_reason(&self, name: &str, reason: &str) -> ZohoCredential {
        let what = format!("Renewable with reason {reason}");
        let seen = self.wait(name, &what, |seen| is(seen, ConditionType::Renewable, reason)).await;
        self.assert_discreet(&seen);
        seen
    }

    pub(crate) async fn wait_ready(&self, name: &str) -> ZohoCredential {
        self.wait(name, "Ready", |seen| {
            is_ready(seen) && is(seen, ConditionType::Renewable, "TokenValid") && is_observed(seen)
        })
        .await
    }

    async fn scene(&self, seen: &ZohoCredential) -> String {
        let mut scene = format!("{seen:#?}\n{:#?}\n", self.zoho.stats());
        for ledger in self.ledgers().list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            let _ = writeln!(scene, "ledger {:#?}", ledger.spec);
        }
        scene
    }

    /// Every secret that there was in this world: none may stand in a log, an Event, a status or a ledger.
    pub(crate) fn canaries(&self) -> Vec<String> {
        let minted =
            self.zoho.log().into_iter().filter_map(|record| record.access_token.map(|token| token.to_string()));
        let sessions = self.zoho.with(|zoho, _| zoho.server().given().to_vec());
        let known = [CLIENT_SECRET, REFRESH_TOKEN]
            .map(str::to_owned)
            .into_iter()
            .chain(self.confided.lock().expect("no test panicked with it").clone());
        let plain = known.chain(minted).chain(sessions);
        plain
            .flat_map(|secret| {
                let hex = secret.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
                let standard = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&secret);
                let url = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&secret);
                let fragment = secret[secret.len() - 12..].to_owned();
                let escaped = Some(percent_encoded(&secret)).filter(|escaped| *escaped != secret);
                [secret, hex, standard, url, fragment].into_iter().chain(escaped)
            })
            .collect()
    }
}

/// As in a URL or a form.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            encoded + char::from(byte).encode_utf8(&mut [0; 4])
        }
        other => format!("{encoded}%{other:02X}"),
    })
}

impl World {
    /// The last requests to Zoho, and the last lines of each operator.
    fn last_words(&self) -> String {
        let mut words = String::from("the last requests to Zoho:\n");
        let requests = self.zoho.log();
        for record in &requests[requests.len().saturating_sub(LAST_REQUESTS)..] {
            // Neither its refresh token nor what it minted.
            let Record { number, at, outcome, script, delivery, .. } = record;
            let _ = writeln!(words, "{number} at {at}: {outcome:?}, {script:?}, {delivery:?}");
        }
        for (path, text) in self.files() {
            // What is not of the operator's own making and yet no line of a log is a panic.
            let ours: Vec<&str> =
                text.lines().filter(|line| line.contains("zoho_operator") || !line.starts_with('{')).collect();
            let _ =
                writeln!(words, "{}:\n{}", path.display(), ours[ours.len().saturating_sub(LAST_LINES)..].join("\n"));
        }
        words
    }

    /// Logs and clocks of the operators. A byte that is no text hides nothing around it.
    fn files(&self) -> Vec<(PathBuf, String)> {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let read = |path: PathBuf| {
            let text = std::fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            text.ok().map(|text| (path, text))
        };
        paths.into_iter().filter_map(read).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Straight to the file, since the test harness shows only what this thread prints by its macros.
            let _ = std::io::stderr().write_all(self.last_words().as_bytes());
            return;
        }
        let canaries = Words::new(self.canaries());
        for (path, text) in self.files() {
            assert_eq!(canaries.find(&text), None, "a secret stands in {}", path.display());
            assert!(!text.contains("panicked"), "a panic stands in {}", path.display());
        }
        assert_eq!(self.zoho.violations(), Vec::<&str>::new(), "requests that Zoho does not document");
        assert_eq!(self.zoho.stats().token.evictions, 0, "valid tokens were invalidated by newer ones");
    }
}
