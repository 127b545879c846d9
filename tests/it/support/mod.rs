//! What the tests share: one control plane for the whole run, a namespace for each test, waiting with a deadline.

pub(crate) mod audit;
pub(crate) mod crowd;
pub(crate) mod look;
pub(crate) mod operator;
pub(crate) mod words;
pub(crate) mod world;

use std::env;
use std::fs::File;
use std::io::Write;
use std::ops::Deref;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, PostParams};
use kube::runtime::wait::{Condition, conditions};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::sleep;
use zoho_api::crd;
use zoho_testkit::control_plane::{ControlPlane, Identity, OPERATOR_NAMESPACE, OPERATOR_SERVICE_ACCOUNT, Options};

/// Far more than anything takes, so that it holds on a busy machine; a test that waits this long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

/// What is acted on at once is done by then, also on a busy machine. What nobody notices waits for the next look at
/// everything, or for the next try after a refusal: thirty seconds and more, often hours.
const AT_ONCE: Duration = Duration::from_secs(20);

/// Fails where what began `since` then was not acted on at once.
#[track_caller]
pub(crate) fn was_at_once(since: Instant) {
    let took = since.elapsed();
    tell(&format!("acted on after {took:.1?}"));
    assert!(took < AT_ONCE, "not at once, but after {took:?}");
}

/// What `helm template`, which asks no cluster, must be told for the chart's admission policy.
pub(crate) const ADMISSION_POLICY: &str = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy";

/// How the names of the operators' own namespaces begin.
pub(crate) const OPERATOR_NAMESPACES: &str = "op-";

/// The control plane that all tests of a run share.
pub(crate) struct Cluster {
    control_plane: ControlPlane,
    namespaces: AtomicUsize,
    crds: OnceCell<()>,
    /// The chart's role in the operator's own namespace.
    role: OnceCell<String>,
}

/// The control plane of this run, started by whoever asks first. Make a client of your own, in your test's runtime.
pub(crate) async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(|| Cluster::start(Options::from_env())).await
}

/// The control plane of a test: that of the run, or one of its own that it may stop.
pub(crate) enum Home {
    Shared(&'static Cluster),
    Own(Box<Cluster>),
}

impl Deref for Home {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        match self {
            Self::Shared(cluster) => cluster,
            Self::Own(cluster) => cluster,
        }
    }
}

impl Deref for Cluster {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.control_plane
    }
}

impl Cluster {
    /// Starts a control plane on which the operator may do what its chart grants it.
    pub(crate) async fn start(options: Options) -> Self {
        let control_plane = ControlPlane::start(options).await.expect("a control plane");
        let cluster =
            Self { control_plane, namespaces: AtomicUsize::new(0), crds: OnceCell::new(), role: OnceCell::new() };
        cluster.grant_rights().await;
        cluster
    }

    /// Installs the `CustomResourceDefinition`s, as `crds/` has them, unless another test did; returns once objects of
    /// these kinds are served.
    pub(crate) async fn install_crds(&self) {
        self.crds
            .get_or_init(|| async {
                for (name, yaml) in crd::files() {
                    self.apply_yaml(&yaml).await.expect(name);
                }
                let crds: Api<CustomResourceDefinition> = Api::all(self.client().await.expect("a client"));
                for crd in [crd::zoho_credential(), crd::zoho_mint_ledger()] {
                    let name = crd.metadata.name.expect("it has one");
                    eventually("the CustomResourceDefinition is Established", async || {
                        let crd = crds.get(&name).await.expect("it was created");
                        conditions::is_crd_established().matches_object(Some(&crd)).then_some(())
                    })
                    .await;
                }
            })
            .await;
    }

    /// Grants the operator what the chart grants it in all namespaces; see [`Self::grant_own_rights`] for the rest. And
    /// limits it as the chart does, but that each test has a namespace of the operator's own.
    async fn grant_rights(&self) {
        self.apply_yaml(&self.rendered("templates/clusterrole.yaml").await).await.expect("applied");
        let policy = self.rendered("templates/admissionpolicy.yaml").await;
        let own = format!("request.namespace == '{OPERATOR_NAMESPACE}'");
        assert!(policy.contains(&own), "{policy}");
        let of_tests = format!("request.namespace.startsWith('{OPERATOR_NAMESPACES}')");
        self.apply_yaml(&policy.replace(&own, &of_tests)).await.expect("applied");
    }

    /// Grants the operator what the chart grants it in its own namespace: here, each test has one.
    pub(crate) async fn grant_own_rights(&self, namespace: &str) {
        let rendered = self.role.get_or_init(|| self.rendered("templates/role.yaml")).await;
        let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(rendered).expect("YAML");
        let client = self.client().await.expect("a client");
        // Not by kubectl, which takes as long as the rest of a test's start.
        for mut object in objects {
            let kind = object.types.as_ref().and_then(|types| GroupVersionKind::try_from(types).ok());
            let resource = ApiResource::from_gvk(&kind.expect("apiVersion and kind"));
            object.metadata.namespace = Some(namespace.to_owned());
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
            api.create(&PostParams::default(), &object).await.expect("a Role, or its RoleBinding");
        }
        // The API server learns of them a moment later. Ledgers are what only these grant.
        let review = json!({ "metadata": {}, "spec": { "user": Identity::Operator.user(),
            "resourceAttributes": { "namespace": namespace, "verb": "create", "group": "zoho-operator.dev", "resource": "zohomintledgers" } } });
        let review: SubjectAccessReview = serde_json::from_value(review).expect("a SubjectAccessReview");
        let reviews = Api::all(client);
        eventually("the operator has its rights", async || {
            let answer = reviews.create(&PostParams::default(), &review).await.expect("an answer");
            answer.status.is_some_and(|status| status.allowed).then_some(())
        })
        .await;
    }

    async fn rendered(&self, template: &str) -> String {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/zoho-operator");
        let mut arguments = vec!["template", OPERATOR_SERVICE_ACCOUNT, chart, "-n", OPERATOR_NAMESPACE];
        arguments.extend(["--show-only", template, "--api-versions", ADMISSION_POLICY]);
        let output = self.helm(&arguments).await.expect("helm runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

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

/// Objects as one manifest.
pub(crate) fn manifest<'a>(objects: impl IntoIterator<Item = &'a Value>) -> String {
    objects.into_iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
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

/// Says something measured, past the test harness.
#[expect(clippy::print_stdout, reason = "this is what it is for")]
pub(crate) fn tell(what: &str) {
    println!("{what}");
}

/// Says what could not be tested on this machine, and what would bring it: at the end of `make test`, since the harness
/// swallows what a test prints that passes. In CI everything is there, so a part that is left out is a failure.
#[expect(
    clippy::disallowed_methods,
    reason = "how tests are run is said by variables of tests/run, not by the product's"
)]
pub(crate) fn untested(what: &str, remedy: &str) {
    let line = format!("{what}: {remedy}");
    assert!(env::var("CI").as_deref() != Ok("true"), "in CI nothing is left out, but this was: {line}");
    tell(&format!("not tested: {line}"));
    if let Ok(path) = env::var("NOT_TESTED") {
        let mut file = File::options().append(true).create(true).open(path).expect("the list of what is not tested");
        writeln!(file, "{line}").expect("written");
    }
}

/// A variable of the environment that is not empty.
#[expect(clippy::disallowed_methods, reason = "a test is chosen, or its file written anew, by the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
