//! The chart and the examples: what Helm renders, and what the API server and the operator's own flags say to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use zoho_api::{ZohoCredential, crd};
use zoho_core::policy::{ListedServer, Policy};
use zoho_core::spec;

use crate::support::{ADMISSION_POLICY, Cluster, cluster};

#[tokio::test]
async fn lint_finds_nothing() {
    let cluster = cluster().await;
    for values in values_files() {
        let mut arguments = vec!["lint", "--strict", CHART];
        arguments.extend(values.iter().flat_map(|path| ["--values", path.as_str()]));
        let output = cluster.helm(&arguments).await.expect("runs");
        assert!(output.status.success(), "{values:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test]
async fn whatever_is_rendered_is_accepted() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("whatever_is_rendered").await;
    // The namespaces that ci/namespaced-values.yaml names.
    for name in ["team-a", "team-b"] {
        let yaml = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n");
        cluster.apply_yaml(&yaml).await.expect("created");
    }
    // A pod is accepted only where its ServiceAccount is: those of the values files.
    for name in ["zoho-operator", "every-value", "made-elsewhere"] {
        let yaml =
            format!("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: {namespace}\n");
        cluster.apply_yaml(&yaml).await.expect("created");
    }
    let class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: kata\nhandler: kata\n";
    cluster.apply_yaml(class).await.expect("created");
    cluster.apply_yaml(MONITORING_CRDS).await.expect("applied");
    let established = ["wait", "--for=condition=Established", "crd", "--all"];
    assert!(cluster.kubectl(&established).await.expect("runs").status.success());
    let mut kinds = BTreeSet::new();
    for values in values_files() {
        let manifest = render(cluster, &namespace, values.as_deref(), &[]).await;
        let objects = dry_run(cluster, None, &manifest).await;
        kinds.extend(objects.iter().map(|object| object["kind"].as_str().expect("it has one").to_owned()));
    }
    let expected = [
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "CustomResourceDefinition",
        "Deployment",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "PodMonitor",
        "PrometheusRule",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected, "each is rendered by some file of ci/");
}

/// A chart that asks the cluster or rolls dice renders otherwise at every sync from Git. Of the cluster only the kinds count.
#[tokio::test]
async fn rendering_depends_on_nothing_but_the_values() {
    let cluster = cluster().await;
    for values in values_files() {
        let first = render(cluster, "somewhere", values.as_deref(), &[]).await;
        assert_eq!(first, render(cluster, "somewhere", values.as_deref(), &[]).await, "{values:?}");
    }
    let templates = yaml_files(&Path::new(CHART).join("templates"));
    for path in templates.iter().chain(&[Path::new(CHART).join("templates/_helpers.tpl")]) {
        let text = fs::read_to_string(path).expect("readable");
        for word in
            ["lookup ", "rand", "genCA", "genSigned", "uuidv4", " now", "helm.sh/hook: pre", "helm.sh/hook: post"]
        {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

/// Helm keeps a release, CRDs included, in one Secret, and client-side apply an object in one annotation of 256 KiB.
#[test]
fn crds_are_small_enough_to_be_applied_by_whatever_means() {
    for path in yaml_files(&Path::new(CHART).join("files/crds")) {
        let size = fs::metadata(&path).expect("readable").len();
        assert!(size < 200 * 1024, "{} has {size} bytes", path.display());
    }
}

#[tokio::test]
async fn values_of_one_kind_appear_only_where_they_are_asked_for() {
    let cluster = cluster().await;
    let kinds = async |set: &str| -> BTreeSet<String> {
        let manifest = render(cluster, "somewhere", None, &["--set", set]).await;
        manifest.lines().filter_map(|line| line.strip_prefix("kind: ")).map(str::to_owned).collect()
    };
    let default = kinds("replicaCount=1").await;
    for (set, kind) in [
        ("prometheusRule.enabled=true", "PrometheusRule"),
        ("serviceMonitor.enabled=true", "ServiceMonitor"),
        ("podMonitor.enabled=true", "PodMonitor"),
        ("dashboards.enabled=true", "ConfigMap"),
    ] {
        assert!(!default.contains(kind), "{kind} is rendered by default");
        assert!(kinds(set).await.contains(kind), "{set}");
    }
    for (set, kind) in [
        ("podDisruptionBudget.enabled=false", "PodDisruptionBudget"),
        ("serviceAccount.create=false", "ServiceAccount"),
        ("rbac.create=false", "RoleBinding"),
        ("crds.enabled=false", "CustomResourceDefinition"),
        ("networkPolicy.ingress.enabled=false", "NetworkPolicy"),
        ("admissionPolicy.enabled=false", "ValidatingAdmissionPolicy"),
    ] {
        assert!(default.contains(kind), "{kind} is not rendered by default");
        assert!(!kinds(set).await.contains(kind), "{set}");
    }
}

/// As `helm upgrade --reuse-values` renders them from a release of a chart that did not have them yet.
#[tokio::test]
async fn limits_that_are_on_by_default_are_so_where_the_values_do_not_know_them() {
    let cluster = cluster().await;
    let new = "admissionPolicy networkPolicy.ingress enabled revisionHistoryLimit deploymentAnnotations podMonitor dnsPolicy dnsConfig \
               hostAliases runtimeClassName terminationGracePeriodSeconds prometheusRule.alertLabels prometheusRule.alerts";
    let without: Vec<String> = new.split_whitespace().map(|name| format!("{name}=null")).collect();
    let without = format!("{},prometheusRule.enabled=true", without.join(","));
    let manifest = render(cluster, "somewhere", None, &["--set", &without]).await;
    for kind in ["NetworkPolicy", "ValidatingAdmissionPolicy"] {
        assert!(manifest.contains(&format!("\nkind: {kind}\n")), "{kind}");
    }
}

#[tokio::test]
async fn two_replicas_are_kept_apart_and_one_without_election_is_never_two() {
    let cluster = cluster().await;
    let deployment = async |set: &str| -> Value {
        let show = ["--show-only", "templates/deployment.yaml", "--set", set];
        serde_saphyr::from_str(&render(cluster, "somewhere", None, &show).await).expect("YAML")
    };
    let apart = "/spec/template/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/weight";
    for (set, replicas, strategy, is_kept_apart) in [
        ("nameOverride=", 2, "RollingUpdate", true),
        ("replicaCount=1", 1, "RollingUpdate", false),
        ("leaderElection.enabled=false,replicaCount=1", 1, "Recreate", false),
    ] {
        let rendered = deployment(set).await;
        assert_eq!(rendered["spec"]["replicas"], replicas, "{set}");
        assert_eq!(rendered["spec"]["strategy"]["type"], strategy, "{set}");
        assert_eq!(rendered.pointer(apart).is_some(), is_kept_apart, "{set}");
    }
}

#[tokio::test]
async fn only_metrics_can_be_connected_to_and_egress_is_a_choice() {
    let cluster = cluster().await;
    let policy = async |set: &str| -> Value {
        let show = ["--show-only", "templates/networkpolicy.yaml", "--set", set];
        serde_saphyr::from_str::<Value>(&render(cluster, "somewhere", None, &show).await).expect("YAML")["spec"].take()
    };
    let metrics = json!([{ "ports": [{ "port": "metrics", "protocol": "TCP" }] }]);
    let default = policy("nameOverride=").await;
    assert_eq!((&default["policyTypes"], &default["ingress"]), (&json!(["Ingress"]), &metrics));
    assert!(default.get("egress").is_none(), "without the type it would say nothing: {default}");
    let from = policy("networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus").await;
    let peers = json!([{ "podSelector": { "matchLabels": { "app": "prometheus" } } }]);
    assert_eq!(from["ingress"], json!([{ "ports": metrics[0]["ports"], "from": peers }]));
    // As it was before ingress could be limited alone.
    for set in ["networkPolicy.enabled=true", "networkPolicy.enabled=true,networkPolicy.ingress.enabled=false"] {
        let both = policy(set).await;
        assert_eq!(both["policyTypes"], json!(["Ingress", "Egress"]), "{set}");
        assert_eq!((&both["ingress"], &both["egress"]), (&metrics, &json!([{}])), "{set}");
    }
}

#[tokio::test]
async fn without_the_right_to_list_secrets_there_is_none() {
    let cluster = cluster().await;
    let set = ["--set", "rbac.secretAccess=get", "--show-only", "templates/clusterrole.yaml"];
    let rendered = render(cluster, "somewhere", None, &set).await;
    assert!(rendered.contains("verbs: [get, create, patch, delete]"), "{rendered}");
    let rendered = render(cluster, "somewhere", None, &set[2..]).await;
    assert!(rendered.contains("verbs: [get, list, watch, create, patch, delete]"), "{rendered}");
}

#[tokio::test]
async fn prometheus_is_told_how_to_read_metrics_that_are_guarded() {
    let cluster = cluster().await;
    let endpoint = async |set: &str| -> Value {
        let set = format!("serviceMonitor.enabled=true{set}");
        let show = ["--show-only", "templates/servicemonitor.yaml", "--set", &set];
        let monitor: Value = serde_saphyr::from_str(&render(cluster, "somewhere", None, &show).await).expect("YAML");
        monitor["spec"]["endpoints"][0].clone()
    };
    assert_eq!(endpoint("").await, json!({ "port": "metrics", "honorLabels": true }));
    let guarded = endpoint(",metrics.authentication=true,metrics.certificateSecret=tls").await;
    assert_eq!(guarded["scheme"], "https");
    assert_eq!(guarded["tlsConfig"]["serverName"], "zoho-operator-metrics.somewhere.svc");
    assert_eq!(guarded["tlsConfig"]["ca"]["secret"], json!({ "name": "tls", "key": "ca.crt" }));
    assert_eq!(guarded["bearerTokenFile"], "/var/run/secrets/kubernetes.io/serviceaccount/token");
    let own = ",metrics.authentication=true,serviceMonitor.authorization.credentials.name=t";
    let own = endpoint(own).await;
    assert_eq!(own["authorization"], json!({ "credentials": { "name": "t" } }));
    assert!(own["bearerTokenFile"].is_null() && own["scheme"].is_null(), "{own}");

    let roles = async |set: &str| render(cluster, "somewhere", None, &["--set", set]).await.contains("tokenreviews");
    assert!(!roles("replicaCount=1").await, "a right that is not needed is granted");
    assert!(roles("metrics.authentication=true").await);
}

#[tokio::test]
async fn pods_pass_the_restricted_level() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("pods_pass_the_restricted_level").await;
    let label = ["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=restricted"];
    assert!(cluster.kubectl(&label).await.expect("runs").status.success());
    let account =
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: zoho-operator\n  namespace: {namespace}\n");
    cluster.apply_yaml(&account).await.expect("created");
    let default = async || {
        let output = cluster.kubectl(&["get", "serviceaccount", "default", "-n", &namespace]).await.expect("runs");
        output.status.success().then_some(())
    };
    crate::support::eventually("the default ServiceAccount exists", default).await;

    let chart = dry_run(cluster, None, &render(cluster, &namespace, None, &[]).await).await;
    let read = |name: &str| fs::read_to_string(root().join("examples").join(name)).expect("readable");
    let workloads = format!("{}---\n{}", read("workload.yaml"), read("cronjob.yaml"));
    let workloads = dry_run(cluster, Some(&namespace), &workloads).await;
    let pods: Vec<_> = chart.iter().chain(&workloads).filter_map(|object| Some((object, pod_of(object)?))).collect();
    assert_eq!(pods.len(), 3);
    for (object, spec) in pods {
        let name = object["metadata"]["name"].as_str().expect("it has one");
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace },
            "spec": spec,
        });
        // Deployments are let in with a warning; only pods are refused.
        let create = ["create", "--dry-run=server", "-f", "-"];
        let output = cluster.kubectl_stdin(&create, &pod.to_string()).await.expect("runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        pod["spec"]["containers"][0]["securityContext"] = json!({});
        let output = cluster.kubectl_stdin(&create, &pod.to_string()).await.expect("runs");
        assert!(!output.status.success(), "the level is not enforced");
    }
}

/// The pod that a Deployment or a `CronJob` makes.
fn pod_of(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Deployment" => object.pointer("/spec/template/spec"),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template/spec"),
        _ => None,
    }
}

#[tokio::test]
async fn wrong_values_are_refused_with_their_place() {
    let cluster = cluster().await;
    for (set, place, message) in [
        ("replicaCount=2,leaderElection.enabled=false", "/replicaCount", "maximum: got 2, want 1"),
        ("leaderElection.leaseDuration=15 s", "leaseDuration", "does not match pattern"),
        ("rbac.secretAccess=list", "/rbac/secretAccess", "value must be one of"),
        ("podDisruptionBudget.maxUnavailable=half", "maxUnavailable", "does not match pattern"),
        ("networkPolicy.apiServerCIDRs={10.0.0.1}", "apiServerCIDRs", "does not match pattern"),
        ("replicas=1", "''", "additional properties 'replicas' not allowed"),
        ("image.name=x", "/image", "additional properties 'name' not allowed"),
        ("config.maxLiveTokens=11", "/config/maxLiveTokens", "maximum: got 11, want 10"),
        ("config.concurrency=many", "/config/concurrency", "got string, want integer"),
        ("config.accountsUrls.MARS=https://a.example", "US", "invalid propertyName 'MARS'"),
        ("config.dataCenters={MARS}", "/config/dataCenters/0", "value must be one of"),
        ("config.accountsUrls.EU=http://a.example", "/config/accountsUrls/EU", "does not match pattern"),
        ("config.logLevel=loud", "/config/logLevel", "value must be one of"),
        ("image.digest=sha256:1", "/image/digest", "does not match pattern"),
    ] {
        let output = cluster.helm(&["template", "x", CHART, "--set", set]).await.expect("runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{set} is rendered");
        assert!(error.contains(place) && error.contains(message), "{set}: {error}");
    }
}

#[tokio::test]
async fn the_operator_understands_the_arguments_and_every_flag_has_a_value() {
    let cluster = cluster().await;
    let mut given = BTreeSet::new();
    for values in values_files() {
        let manifest = render(cluster, "somewhere", values.as_deref(), &["--show-only", "templates/deployment.yaml"]);
        let deployment: Value = serde_saphyr::from_str(&manifest.await).expect("YAML");
        let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        let arguments: Vec<String> = serde_json::from_value(arguments.clone()).expect("a list of texts");
        // There is no cluster, so all goes well as long as the flags do.
        let mut command = Command::new(env!("CARGO_BIN_EXE_zoho-operator"));
        let output = command.args(&arguments).arg("check").env("KUBECONFIG", "/dev/null").output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{values:?}: {error}");
        given.extend(arguments.iter().map(|argument| argument.split('=').next().expect("a flag").to_owned()));
    }
    let help = Command::new(env!("CARGO_BIN_EXE_zoho-operator")).arg("--help").output().expect("it runs").stdout;
    let help = String::from_utf8(help).expect("text");
    let flags = help
        .lines()
        .filter_map(|line| line.trim_start().trim_start_matches("-h, ").trim_start_matches("-V, ").strip_prefix("--"));
    let flags = flags.filter_map(|line| line.split([' ', '[']).next()).map(|flag| format!("--{flag}"));
    // The last one only in an image that was built for it, and given by `extraArgs` there.
    let of_no_value = ["--help", "--version", "--otlp-endpoint"];
    let wanted: Vec<String> = flags.filter(|flag| !of_no_value.contains(&flag.as_str())).collect();
    assert!(wanted.len() > 20, "the help lists the flags: {wanted:?}");
    let missing: Vec<_> = wanted.into_iter().filter(|flag| !given.contains(flag)).collect();
    assert_eq!(missing, Vec::<String>::new(), "flags without a value in the chart, or without an example in ci/");
}

#[tokio::test]
async fn crds_are_those_of_the_repository() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("crds_are_those").await;
    let show = ["--show-only", "templates/crds/crds.yaml"];
    let rendered = dry_run(cluster, None, &render(cluster, &namespace, None, &show).await).await;
    let ours = dry_run(cluster, None, &crd::one_file()).await;
    assert_eq!(rendered.len(), 2);
    for (rendered, ours) in rendered.iter().zip(&ours) {
        assert_eq!(rendered["metadata"]["name"], ours["metadata"]["name"]);
        assert_eq!(rendered["spec"], ours["spec"]);
        assert_eq!(rendered["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

#[tokio::test]
async fn a_namespaced_installation_has_no_cluster_scoped_object() {
    let cluster = cluster().await;
    let values = format!("{CHART}/ci/namespaced-values.yaml");
    let manifest = render(cluster, "somewhere", Some(&values), &[]).await;
    let kinds: BTreeSet<_> = manifest.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    let expected = [
        "Deployment",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    ];
    assert_eq!(kinds, BTreeSet::from(expected));
}

#[tokio::test]
async fn examples_are_accepted_and_served() {
    let cluster = cluster().await;
    cluster.install_crds().await;
    let namespace = cluster.namespace("examples_are_accepted").await;
    let policy = Policy {
        accounts_hosts: vec!["accounts.corp.example".into()],
        servers: vec![ListedServer {
            url: "https://ec.corp.example:8383".parse().expect("a URL"),
            namespaces: Vec::new(),
        }],
        ..Policy::default()
    };
    let mut seen = Vec::new();
    for path in yaml_files(&root().join("examples")) {
        let manifest = fs::read_to_string(&path).expect("readable");
        for object in dry_run(cluster, Some(&namespace), &manifest).await {
            if object["kind"] == "ZohoCredential" {
                let credential: ZohoCredential = serde_json::from_value(object).expect("one of ours");
                let served = spec::check(&credential, &policy);
                assert!(
                    served.is_ok(),
                    "{}: {}",
                    path.display(),
                    served.err().map(|defect| defect.message).unwrap_or_default()
                );
            }
        }
        seen.push(path.file_name().expect("a file").to_string_lossy().into_owned());
    }
    let expected = [
        "accounts-host.yaml",
        "adopt.yaml",
        "client-credentials.yaml",
        "cronjob.yaml",
        "endpoint-central-server.yaml",
        "endpoint-central.yaml",
        "env-style.yaml",
        "managed-source.yaml",
        "quickstart.yaml",
        "service-desk-plus.yaml",
        "several-tokens.yaml",
        "shared-credential.yaml",
        "site24x7.yaml",
        "suspend.yaml",
        "target.yaml",
        "template.yaml",
        "verify.yaml",
        "workload.yaml",
        "zoho-analytics.yaml",
        "zoho-books.yaml",
        "zoho-crm.yaml",
        "zoho-desk.yaml",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn readme_names_every_value() {
    fn walk(value: &Value, path: &str, readme: &str, missing: &mut Vec<String>) {
        if readme.contains(&format!("| `{path}` |")) {
            return;
        }
        match value.as_object().filter(|children| !children.is_empty()) {
            Some(children) => {
                for (key, child) in children {
                    let separator = if path.is_empty() { "" } else { "." };
                    walk(child, &format!("{path}{separator}{key}"), readme, missing);
                }
            }
            None => missing.push(path.into()),
        }
    }
    let read = |name: &str| fs::read_to_string(Path::new(CHART).join(name)).expect("readable");
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).expect("YAML");
    let mut missing = Vec::new();
    walk(&values, "", &read("README.md"), &mut missing);
    assert_eq!(missing, Vec::<String>::new());
}

/// What a cluster with the Prometheus operator has.
const MONITORING_CRDS: &str = include_str!("support/monitoring-crds.yaml");

/// Where the chart is.
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/zoho-operator");

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// No values of one's own, and every file of `ci/`.
fn values_files() -> Vec<Option<String>> {
    let files = yaml_files(&Path::new(CHART).join("ci"));
    assert!(!files.is_empty());
    std::iter::once(None).chain(files.into_iter().map(|path| Some(path.to_string_lossy().into_owned()))).collect()
}

pub(crate) fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

pub(crate) async fn render(cluster: &Cluster, namespace: &str, values: Option<&str>, more: &[&str]) -> String {
    let mut arguments = vec!["template", "zoho-operator", CHART, "--namespace", namespace];
    arguments.extend(["--api-versions", ADMISSION_POLICY]);
    arguments.extend(values.iter().flat_map(|path| ["--values", path]));
    arguments.extend(more);
    let output = cluster.helm(&arguments).await.expect("runs");
    assert!(output.status.success(), "{values:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("YAML is text")
}

/// What the API server would store; `namespace` is for objects that name none. Fails when it refuses or warns.
async fn dry_run(cluster: &Cluster, namespace: Option<&str>, manifest: &str) -> Vec<Value> {
    let mut apply = vec!["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-o", "json", "-f", "-"];
    apply.extend(namespace.iter().flat_map(|name| ["--namespace", name]));
    let output = cluster.kubectl_stdin(&apply, manifest).await.expect("runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{error}");
    // One object after the other, or one alone.
    serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter::<Value>()
        .flat_map(|object| {
            let mut object = object.expect("JSON");
            match object.get_mut("items").map(Value::take) {
                Some(items) => serde_json::from_value(items).expect("a list"),
                None => vec![object],
            }
        })
        .collect()
}
