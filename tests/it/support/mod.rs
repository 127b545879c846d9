//! What the tests share: one control plane for the whole run, a namespace for each test, waiting with a deadline.

pub(crate) mod world;

use std::ops::Deref;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::OnceCell;
use tokio::time::sleep;
use zoho_operator::api::crd;
use zoho_operator::testing::control_plane::{ControlPlane, OPERATOR_NAMESPACE, OPERATOR_SERVICE_ACCOUNT, Options};

/// Far more than anything takes, so that it holds on a busy machine; a test that waits this long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// The control plane that all tests of a run share.
pub(crate) struct Cluster {
    control_plane: ControlPlane,
    namespaces: AtomicUsize,
}

/// The control plane of this run, started by whoever asks first. Make a client of your own, in your test's runtime.
pub(crate) async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let control_plane = ControlPlane::start(Options::from_env()).await.expect("a control plane");
            install(&control_plane).await;
            Cluster { control_plane, namespaces: AtomicUsize::new(0) }
        })
        .await
}

/// Installs the CRDs and the operator's rights.
async fn install(control_plane: &ControlPlane) {
    for (name, yaml) in crd::files() {
        control_plane.apply_yaml(&yaml).await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    let output = control_plane.kubectl(&established).await.expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let account = format!("{OPERATOR_NAMESPACE}:{OPERATOR_SERVICE_ACCOUNT}");
    let bind =
        ["create", "clusterrolebinding", "operator", "--clusterrole=cluster-admin", "--serviceaccount", &account];
    control_plane.kubectl(&bind).await.expect("kubectl runs");
}

impl Deref for Cluster {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.control_plane
    }
}

impl Cluster {
    /// Creates a namespace that nobody else uses, named after the test (underscores allowed), and returns its name.
    pub(crate) async fn namespace(&self, test: &str) -> String {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let readable: String = test.replace(['_', ':'], "-").to_lowercase().chars().take(40).collect();
        let name = format!("{}-{}-{number}", readable.trim_matches('-'), process::id());
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let client = self.client().await.expect("a client");
        Api::all(client).create(&PostParams::default(), &namespace).await.expect("the namespace is created");
        name
    }
}

/// Asks `observe` again and again until it has an answer, and fails the test when it has none in time.
pub(crate) async fn eventually<T>(what: &str, mut observe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(outcome) = observe().await {
            return outcome;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
