//! What the chart makes of values: each file of `ci/` with the facts that it is there for, values that make no sense, and the chart
//! as a part of another one.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::chart::{CHART, render, yaml_files};
use crate::support::cluster;

/// What one file of `ci/` is rendered to.
struct Rendered(Vec<Value>);

impl Rendered {
    async fn of(file: &str) -> Self {
        let values = format!("{CHART}/ci/{file}-values.yaml");
        Self::parse(&render(cluster().await, "zoho-operator-system", Some(&values), &[]).await)
    }

    fn parse(manifest: &str) -> Self {
        let documents = manifest.split("\n---").map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
        Self(documents.filter(|object| !object.is_null()).collect())
    }

    fn kinds(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The one object of this kind.
    fn one(&self, kind: &str) -> &Value {
        match self.kinds(kind).as_slice() {
            [one] => one,
            several => panic!("{} of kind {kind}", several.len()),
        }
    }

    fn spec(&self) -> &Value {
        &self.one("Deployment")["spec"]
    }

    fn pod(&self) -> &Value {
        &self.spec()["template"]["spec"]
    }

    /// Values of a flag, of the operator's pod and of that of `helm test`.
    fn flag(&self, flag: &str) -> Vec<String> {
        let of = |pod: &Value| -> Vec<String> {
            let arguments: Vec<String> = serde_json::from_value(pod["containers"][0]["args"].clone()).expect("texts");
            let start = format!("--{flag}=");
            arguments.iter().filter_map(|argument| argument.strip_prefix(&start)).map(str::to_owned).collect()
        };
        let values = of(self.pod());
        assert_eq!(of(&self.one("Pod")["spec"]), values, "helm test takes another way than the operator");
        values
    }
}

fn selects(spec: &Value, pod: &Value) -> bool {
    let labels = &pod["metadata"]["labels"];
    let wanted = spec["selector"]["matchLabels"].as_object().expect("labels");
    wanted.iter().all(|(key, value)| labels[key] == *value)
}

/// A file without facts shows nothing.
#[test]
fn every_file_of_ci_has_a_test() {
    let text = include_str!("chart_values.rs");
    let others = include_str!("chart.rs");
    for path in yaml_files(&Path::new(CHART).join("ci")) {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let short = name.strip_suffix("-values.yaml").unwrap_or_else(|| panic!("{name}"));
        let is_tested = text.contains(&format!("Rendered::of(\"{short}\")")) || others.contains(&name);
        assert!(is_tested, "ci/{name}");
    }
}

#[tokio::test]
async fn minimal_two_replicas_and_what_guards_them_and_nothing_of_prometheus() {
    let rendered = Rendered::of("minimal").await;
    assert_eq!(
        rendered.pod()["containers"][0]["image"],
        json!(concat!("registry.corp.example/zoho-operator:", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!((&rendered.spec()["replicas"], &rendered.spec()["revisionHistoryLimit"]), (&json!(2), &json!(10)));
    assert_eq!(rendered.pod()["terminationGracePeriodSeconds"], 30);
    for unset in ["dnsPolicy", "dnsConfig", "hostAliases", "runtimeClassName", "priorityClassName", "imagePullSecrets"]
    {
        assert!(rendered.pod()[unset].is_null(), "{unset}");
    }
    assert!(rendered.one("Deployment")["metadata"]["annotations"].is_null());
    rendered.one("ValidatingAdmissionPolicy");
    rendered.one("PodDisruptionBudget");
    assert_eq!(rendered.one("NetworkPolicy")["spec"]["policyTypes"], json!(["Ingress"]));
    assert_eq!(rendered.kinds("CustomResourceDefinition").len(), 2);
    for kind in ["ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"] {
        assert!(rendered.kinds(kind).is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn every_value_reaches_its_place() {
    let rendered = Rendered::of("every-value").await;
    let pod = rendered.pod();
    for (place, expected) in [
        ("/dnsPolicy", json!("Default")),
        ("/dnsConfig/options/0/name", json!("ndots")),
        ("/hostAliases/0", json!({ "ip": "10.20.30.40", "hostnames": ["ec.corp.example"] })),
        ("/runtimeClassName", json!("kata")),
        ("/terminationGracePeriodSeconds", json!(45)),
        ("/imagePullSecrets", json!([{ "name": "corp-registry" }, { "name": "other-registry" }])),
    ] {
        assert_eq!(pod.pointer(place), Some(&expected), "{place}");
    }
    // What shows the way is the same for helm test.
    let test = &rendered.one("Pod")["spec"];
    for field in ["dnsPolicy", "dnsConfig", "hostAliases", "runtimeClassName", "imagePullSecrets", "tolerations"] {
        assert_eq!(test[field], pod[field], "{field}");
    }
    let deployment = rendered.one("Deployment");
    assert_eq!(deployment["metadata"]["annotations"], json!({ "example.com/owner": "platform" }));
    assert_eq!(deployment["spec"]["revisionHistoryLimit"], 2);
    assert_eq!(rendered.one("PrometheusRule")["metadata"]["labels"]["release"], "prometheus");
}

#[tokio::test]
async fn restricted_network_leads_through_the_proxy_and_nowhere_else() {
    let rendered = Rendered::of("restricted-network").await;
    let environment = &rendered.pod()["containers"][0]["env"];
    assert_eq!(environment[0], json!({ "name": "HTTPS_PROXY", "value": "http://proxy.corp.example:3128" }));
    assert_eq!(environment[1], json!({ "name": "NO_PROXY", "value": ".corp.example" }));
    assert_eq!(rendered.flag("data-centers"), ["EU"]);
    assert_eq!(rendered.flag("ca-file"), ["/etc/zoho-operator/ca-configmap/ca.crt"]);
    assert_eq!(rendered.pod()["dnsPolicy"], "None");
    assert_eq!(rendered.pod()["dnsConfig"]["nameservers"], json!(["10.0.0.10"]));
    let policy = &rendered.one("NetworkPolicy")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    let egress = policy["egress"].as_array().expect("rules");
    assert!(!egress.contains(&json!({})), "it is open: {egress:?}");
    assert_eq!(egress[0]["to"], json!([{ "ipBlock": { "cidr": "10.0.0.1/32" } }]));
    assert_eq!(egress.last().expect("rules")["ports"], json!([{ "port": 3128, "protocol": "TCP" }]));
}

#[tokio::test]
async fn metrics_by_tls_are_scraped_by_tls_and_alerts_and_dashboard_are_there() {
    let rendered = Rendered::of("metrics-tls").await;
    let endpoint = &rendered.one("ServiceMonitor")["spec"]["endpoints"][0];
    assert_eq!((&endpoint["scheme"], &endpoint["honorLabels"]), (&json!("https"), &json!(true)));
    assert_eq!(endpoint["tlsConfig"]["serverName"], "zoho-operator-metrics.zoho-operator-system.svc");
    assert_eq!(endpoint["bearerTokenFile"], "/var/run/secrets/kubernetes.io/serviceaccount/token");
    assert_eq!(rendered.flag("metrics-authentication"), ["true"]);
    assert_eq!(rendered.flag("metrics-certificate"), ["/etc/zoho-operator/metrics-certificate"]);
    let readers = rendered.kinds("ClusterRole");
    assert!(readers.iter().any(|role| role["rules"][0]["nonResourceURLs"] == json!(["/metrics"])));
    rendered.one("PrometheusRule");
    assert_eq!(rendered.one("ConfigMap")["metadata"]["labels"]["grafana_dashboard"], "1");
}

#[tokio::test]
async fn namespaced_has_roles_where_it_serves_and_at_home() {
    let rendered = Rendered::of("namespaced").await;
    let places: Vec<_> = rendered.kinds("Role").iter().map(|role| role["metadata"]["namespace"].clone()).collect();
    assert_eq!(places.len(), 3);
    for place in ["team-a", "team-b", "zoho-operator-system"] {
        assert!(places.contains(&json!(place)), "{place}");
    }
    assert_eq!(rendered.flag("watch-namespaces"), ["team-a,team-b"]);
    let of_cluster = |object: &&Value| object["kind"].as_str().is_some_and(|kind| kind.starts_with("Cluster"));
    assert_eq!(rendered.0.iter().filter(of_cluster).count(), 0);
}

#[tokio::test]
async fn pod_monitor_scrapes_as_the_service_monitor_would_and_alerts_have_their_labels() {
    let rendered = Rendered::of("pod-monitor").await;
    let monitor = rendered.one("PodMonitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let selected = &monitor["spec"]["selector"]["matchLabels"];
    assert_eq!(*selected, rendered.spec()["selector"]["matchLabels"]);
    let expected = json!([{
        "port": "metrics",
        "honorLabels": true,
        "interval": "30s",
        "scrapeTimeout": "10s",
        "authorization": { "credentials": { "name": "prometheus-token", "key": "token" } },
    }]);
    assert_eq!(monitor["spec"]["podMetricsEndpoints"], expected);
    let groups = rendered.one("PrometheusRule")["spec"]["groups"].as_array().expect("groups").clone();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    assert_eq!(rules.len(), 8);
    assert!(rules.iter().all(|rule| rule["labels"]["team"] == "platform" && rule["alert"] != "ZohoThrottled"));
    let quiet = rules.iter().find(|rule| rule["alert"] == "ZohoCredentialNotReady").expect("it is there");
    assert_eq!((&quiet["labels"]["severity"], &quiet["for"]), (&json!("warning"), &json!("30m")));
}

#[tokio::test]
async fn high_availability_spreads_three_replicas_and_drains_one_at_a_time() {
    let rendered = Rendered::of("high-availability").await;
    assert_eq!((&rendered.spec()["replicas"], &rendered.spec()["revisionHistoryLimit"]), (&json!(3), &json!(3)));
    assert_eq!(rendered.spec()["strategy"]["rollingUpdate"], json!({ "maxSurge": 1, "maxUnavailable": 0 }));
    assert_eq!(rendered.pod()["topologySpreadConstraints"][0]["whenUnsatisfiable"], "DoNotSchedule");
    assert_eq!(rendered.pod()["priorityClassName"], "system-cluster-critical");
    assert_eq!(rendered.pod()["terminationGracePeriodSeconds"], 60);
    let budget = &rendered.one("PodDisruptionBudget")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    // It is about the operator's pods. That of helm test has no controller, so a budget with it cannot be counted.
    assert!(selects(budget, &rendered.spec()["template"]));
    assert!(!selects(budget, rendered.one("Pod")));
    // And helm test takes the way that the NetworkPolicy leaves.
    let policy = json!({ "selector": rendered.one("NetworkPolicy")["spec"]["podSelector"] });
    assert!(selects(&policy, &rendered.spec()["template"]) && selects(&policy, rendered.one("Pod")));
    let times =
        ["lease-duration", "renew-deadline", "retry-period"].map(|time| rendered.flag(&format!("leader-elect-{time}")));
    assert_eq!(times.concat(), ["30s", "20s", "4s"]);
}

#[tokio::test]
async fn on_premises_servers_are_listed_known_and_within_reach() {
    let rendered = Rendered::of("on-premises").await;
    let servers = rendered.flag("endpoint-central-url");
    assert_eq!(servers, ["https://ec.corp.example:8383", "https://hr.corp.example:8383=hr,payroll"]);
    assert_eq!(rendered.flag("ca-file"), ["/etc/zoho-operator/ca-secret/servers.pem"]);
    assert_eq!(rendered.pod()["volumes"][0]["secret"]["secretName"], "server-certificates");
    assert_eq!(rendered.pod()["hostAliases"][0]["ip"], "10.20.30.40");
    let egress = &rendered.one("NetworkPolicy")["spec"]["egress"];
    assert!(egress.to_string().contains("{\"port\":8383,\"protocol\":\"TCP\"}"), "{egress}");
}

#[tokio::test]
async fn containers_write_nothing_and_gain_no_right() {
    let rendered = Rendered::of("minimal").await;
    for pod in [rendered.pod(), &rendered.one("Pod")["spec"]] {
        let of_pod = json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
        assert_eq!(pod["securityContext"], of_pod);
        let of_container = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        });
        let containers = pod["containers"].as_array().expect("containers");
        assert!(containers.len() == 1 && pod["initContainers"].is_null(), "{pod}");
        assert_eq!(containers[0]["securityContext"], of_container);
    }
}

#[tokio::test]
async fn openshift_chooses_the_user_and_finds_names() {
    let rendered = Rendered::of("openshift").await;
    for pod in [rendered.pod(), &rendered.one("Pod")["spec"]] {
        for context in [&pod["securityContext"], &pod["containers"][0]["securityContext"]] {
            let numbers = ["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"];
            assert!(numbers.iter().all(|number| context[number].is_null()), "{context}");
        }
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["containers"][0]["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
        assert_eq!(pod["runtimeClassName"], "kata");
    }
    let image =
        concat!("image-registry.corp.example:5000/zoho-operator-system/zoho-operator:", env!("CARGO_PKG_VERSION"));
    assert_eq!(rendered.pod()["containers"][0]["image"], image);
    let egress = &rendered.one("NetworkPolicy")["spec"]["egress"];
    assert!(egress.to_string().contains("{\"port\":5353,\"protocol\":\"UDP\"}"), "{egress}");
    let labels = &rendered.one("ServiceMonitor")["metadata"]["labels"];
    assert_eq!(labels["openshift.io/user-monitoring"], "true");
}

#[tokio::test]
async fn proxy_with_a_password_comes_from_its_secret_and_rights_from_others() {
    let rendered = Rendered::of("proxy-secret").await;
    let proxy = &rendered.pod()["containers"][0]["env"][0];
    assert_eq!(proxy["valueFrom"]["secretKeyRef"], json!({ "name": "proxy", "key": "HTTPS_PROXY" }));
    assert_eq!(rendered.pod()["serviceAccountName"], "made-elsewhere");
    for kind in ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount"] {
        assert!(rendered.kinds(kind).is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn values_of_a_parent_chart_are_taken() {
    let rendered = Rendered::of("subchart").await;
    assert_eq!(rendered.pod()["imagePullSecrets"], json!([{ "name": "corp-registry" }]));

    let folder = tempfile::tempdir().expect("a folder");
    let parent = folder.path().join("platform");
    fs::create_dir_all(parent.join("charts")).expect("created");
    std::os::unix::fs::symlink(CHART, parent.join("charts/zoho-operator")).expect("linked");
    let chart = format!(
        "apiVersion: v2\nname: platform\nversion: 1.0.0\ndependencies:\n  - name: zoho-operator\n    version: {}\n    \
         condition: zoho-operator.enabled\n",
        env!("CARGO_PKG_VERSION")
    );
    fs::write(parent.join("Chart.yaml"), chart).expect("written");
    let (parent, values) = (parent.to_string_lossy(), folder.path().join("values.yaml"));
    let of = async |text: &str| -> Rendered {
        fs::write(&values, text).expect("written");
        let arguments = ["template", "platform", &parent, "-n", "somewhere", "-f", &values.to_string_lossy()];
        let output = cluster().await.helm(&arguments).await.expect("runs");
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        Rendered::parse(&String::from_utf8_lossy(&output.stdout))
    };
    assert!(of("zoho-operator: { enabled: false }").await.0.is_empty());
    let own = concat!("zoho-operator:", env!("CARGO_PKG_VERSION"));
    for (text, registry) in [
        ("zoho-operator: { enabled: true }", ""),
        ("global: null", ""),
        ("global: { imageRegistry: null, imagePullSecrets: null, otherChart: { a: b } }", ""),
        ("global: { imageRegistry: registry.corp.example }", "registry.corp.example/"),
    ] {
        let rendered = of(text).await;
        assert_eq!(rendered.pod()["containers"][0]["image"], format!("{registry}{own}"), "{text}");
        assert_eq!(rendered.one("Deployment")["metadata"]["name"], "platform-zoho-operator", "{text}");
    }
}

/// What the schema cannot say: each value is good, and they do not fit together.
#[tokio::test]
async fn values_that_do_not_fit_together_are_refused_with_what_to_do() {
    for (set, sentence) in [
        ("leaderElection.renewDeadline=15s", "Shorten renewDeadline, or lengthen leaseDuration."),
        ("leaderElection.retryPeriod=6s", "Shorten retryPeriod, or lengthen renewDeadline."),
        ("leaderElection.leaseDuration=1h", "is not in whole seconds from 1s to 10m: choose such a time"),
        ("leaderElection.leaseDuration=15s500ms", "is not in whole seconds from 1s to 10m: choose such a time"),
        ("watchNamespaces={team-a,somewhere}", "take it out, or install the release in another namespace."),
        ("config.metricsPort=8081", "are both 8081: choose two ports."),
        ("extraArgs={--metrics-bind-address=0}", "extraArgs repeats --metrics-bind-address, which the chart sets"),
        (
            "extraEnv[0].name=ZOHO_OPERATOR_LOG_LEVEL,extraEnv[0].value=debug",
            "has no effect, since the chart sets --log-level",
        ),
        ("networkPolicy.apiServerCIDRs={10.0.0.1/32}", "set networkPolicy.enabled=true, or take them out."),
        ("terminationGracePeriodSeconds=20", "Choose 25 or more."),
        ("enabled=false", "add `condition: zoho-operator.enabled` to the dependency"),
        ("serviceMonitor.enabled=true,podMonitor.enabled=true", "scraped twice: choose one."),
        ("podMonitor.enabled=true,metrics.authentication=true", "Name a Secret with a token there"),
        ("serviceMonitor.interval=10s,serviceMonitor.scrapeTimeout=1m", "which Prometheus refuses: shorten it."),
        ("serviceMonitor.enabled=true,serviceMonitor.honorLabels=false,dashboards.enabled=true", "set it to true"),
        ("prometheusRule.enabled=true,prometheusRule.runbookUrl=docs/runbooks.md", "name the address, with https://"),
        (
            "watchNamespaces={hr},config.endpointCentralUrls[0].url=https://a.example,config.endpointCentralUrls[0].namespaces={hr,it}",
            "lets namespace it use https://a.example, but watchNamespaces does not name it: add it there",
        ),
    ] {
        let arguments = ["template", "zoho-operator", CHART, "-n", "somewhere", "--set", set];
        let output = cluster().await.helm(&arguments).await.expect("runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{set} is rendered");
        assert!(error.contains(sentence), "{set}: {error}");
        let refused = error.lines().filter(|line| line.ends_with('.') || line.contains(": ")).count();
        assert_eq!(refused, 2, "one sentence, and where it comes from: {error}");
    }
    // At the edge.
    for set in [
        "leaderElection.leaseDuration=10m,leaderElection.renewDeadline=9m59s,leaderElection.retryPeriod=100ms",
        "leaderElection.retryPeriod=5s",
        "leaderElection.enabled=false,replicaCount=1,leaderElection.renewDeadline=1h",
        "terminationGracePeriodSeconds=25",
        "serviceMonitor.interval=1m,serviceMonitor.scrapeTimeout=60s",
        "config.apiHosts={one.example},extraArgs={--api-host=other.example}",
        "extraEnv[0].name=HTTPS_PROXY,extraEnv[0].value=http://p.example:3128",
    ] {
        render(cluster().await, "somewhere", None, &["--set", set]).await;
    }
}

/// YAML takes digits for a number, and namespaces and releases may have such names.
#[tokio::test]
async fn names_of_digits_stay_names_and_no_key_stands_twice() {
    let set =
        "serviceMonitor.enabled=true,prometheusRule.enabled=true,commonLabels.app\\.kubernetes\\.io/component=tokens";
    let arguments = ["template", "42", CHART, "-n", "2024", "--set-string", "watchNamespaces={1001}", "--set", set];
    let output = cluster().await.helm(&arguments).await.expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rendered = Rendered::parse(&String::from_utf8(output.stdout).expect("text"));
    for object in &rendered.0 {
        let namespace = &object["metadata"]["namespace"];
        assert!(namespace.is_null() || *namespace == "2024" || *namespace == "1001", "{object}");
        for (_, label) in object["metadata"]["labels"].as_object().into_iter().flatten() {
            assert!(label.is_string(), "{object}");
        }
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(subject["namespace"], "2024", "{object}");
        }
    }
    assert_eq!(rendered.one("Service")["metadata"]["labels"]["app.kubernetes.io/component"], "metrics");
}

#[tokio::test]
async fn notes_warn_of_what_will_not_work() {
    let notes = async |set: &str| -> String {
        let arguments = ["install", "zoho-operator", CHART, "-n", "somewhere", "--dry-run=client", "--set", set];
        let output = cluster().await.helm(&arguments).await.expect("runs");
        assert!(output.status.success(), "{set}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).split("NOTES:").nth(1).expect("notes").to_owned()
    };
    let registry = "WARNING: no registry is set";
    let egress = "WARNING: egress is limited to port 443";
    let limited = "networkPolicy.enabled=true,networkPolicy.apiServerCIDRs={10.0.0.1/32}";
    for (set, warning, is_expected) in [
        ("replicaCount=2", registry, true),
        ("image.registry=registry.corp.example", registry, false),
        ("global.imageRegistry=registry.corp.example", registry, false),
        ("image.repository=registry.corp.example/zoho-operator", registry, false),
        ("image.repository=platform/zoho-operator", registry, true),
        (&format!("{limited},proxy.httpsProxy=http://p.example:3128"), egress, true),
        (limited, egress, false),
        ("config.dataCenters={EU}", "config.dataCenters, which is empty", false),
        ("replicaCount=1", "config.dataCenters, which is empty", true),
    ] {
        let notes = notes(set).await;
        assert_eq!(notes.contains(warning), is_expected, "{set}: {notes}");
    }
}
