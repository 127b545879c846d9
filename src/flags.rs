//! Flags and environment: the only reader of both.
//!
//! Every flag can also be given as `ZOHO_OPERATOR_<NAME>`; lists are separated by commas. Unknown `ZOHO_OPERATOR_*`
//! variables are ignored, since Kubernetes' service links make such names.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use url::Url;

use zoho_api::duration::GoDuration;
use zoho_api::{DataCenter, Product};
use zoho_core::plan::budget::Limits;
use zoho_core::policy::{self, ListedServer, Policy, ServerPart, parse_accounts_url, parse_api_url, parse_server_part};

/// Keeps valid Zoho OAuth access tokens in Kubernetes Secrets.
#[derive(Clone, Debug, Parser)]
#[command(name = "zoho-operator", version, max_term_width = 100)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Flags {
    /// What to do instead of running the operator.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Serve only these namespaces, for which Roles are sufficient. Default: all.
    #[arg(long, env = "ZOHO_OPERATOR_WATCH_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACE")]
    pub watch_namespaces: Vec<String>,

    /// How the operator notices changes of Secrets. With get, it reads only the Secrets that credentials name, every 60 s, and
    /// needs no right to list or watch Secrets.
    #[arg(long, env = "ZOHO_OPERATOR_SECRET_ACCESS", default_value = "watch", value_name = "WAY")]
    pub secret_access: SecretAccess,

    /// Generate a new hash key if the old one is lost and ledgers exist. This mints no tokens; the first renewal of each
    /// credential then waits ten minutes.
    #[arg(long, env = "ZOHO_OPERATOR_RESET_HASH_KEY", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    pub reset_hash_key: bool,

    /// Namespace of the ledgers, the Lease and the hash key. Default: the pod's own, otherwise zoho-operator-system.
    #[arg(long, env = "ZOHO_OPERATOR_OPERATOR_NAMESPACE", value_name = "NAMESPACE")]
    operator_namespace: Option<String>,

    /// Name of this installation, used for the Lease, the hash key's Secret and the ledgers, for several installations in one
    /// namespace.
    #[arg(long, env = "ZOHO_OPERATOR_INSTANCE", default_value = "zoho-operator", value_name = "NAME")]
    pub instance: String,

    /// Existing Secret with the hash key. Default: INSTANCE-hash-key, which the operator creates at its first start.
    #[arg(long, env = "ZOHO_OPERATOR_HASH_KEY_SECRET", value_name = "NAME")]
    hash_key_secret: Option<String>,

    /// Labels on everything that the operator creates.
    #[arg(long, env = "ZOHO_OPERATOR_LABELS", value_delimiter = ',', value_parser = parse_label, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,

    /// Another token service for a data center (tests, gateways): a base URL to which /oauth/v2/token is added. https, or
    /// http on loopback only.
    #[arg(long, env = "ZOHO_OPERATOR_ACCOUNTS_URL", value_delimiter = ',', value_parser = parse_accounts_url, value_name = "DC=URL")]
    accounts_url: Vec<(DataCenter, Url)>,

    /// Request tokens from these data centers only. A host of --accounts-host belongs to the data center that the credential
    /// names with it; if that is Other, list Other too. Default: all.
    #[arg(long, env = "ZOHO_OPERATOR_DATA_CENTERS", value_delimiter = ',', value_name = "DC")]
    data_centers: Vec<DataCenter>,

    /// Additional hosts that spec.accountsHost may name.
    #[arg(long, env = "ZOHO_OPERATOR_ACCOUNTS_HOST", value_delimiter = ',', value_name = "HOST")]
    accounts_host: Vec<String>,

    /// Another API host for a product in a data center: the base URL that becomes `api_url`. https, or http on loopback
    /// only.
    #[arg(long, env = "ZOHO_OPERATOR_API_URL", value_delimiter = ',', value_parser = parse_api_url, value_name = "PRODUCT:DC=URL")]
    api_url: Vec<(Product, DataCenter, Url)>,

    /// Additional API hosts that `spec.verify` may send tokens to, as HOST or HOST:PORT; required for a `spec.apiUrl` on your
    /// own domain.
    #[arg(long, env = "ZOHO_OPERATOR_API_HOST", value_delimiter = ',', value_name = "HOST")]
    api_host: Vec<String>,

    /// Endpoint Central or Patch Manager Plus servers that `spec.endpointCentralServer.url` may name; passwords are sent to
    /// these servers only. https, or http on loopback only. With namespaces, only `ZohoCredentials` in these may name the
    /// server.
    #[arg(long, env = "ZOHO_OPERATOR_ENDPOINT_CENTRAL_URL", value_delimiter = ',', value_parser = parse_server_part, value_name = "URL[=NAMESPACE,...]")]
    endpoint_central_url: Vec<ServerPart>,

    /// Use a source Secret only if its annotation zoho-operator.dev/source-for names the credential, or is `*`.
    #[arg(long, env = "ZOHO_OPERATOR_REQUIRE_SOURCE_CONSENT", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    require_source_consent: bool,

    /// Allow labels and annotations in `spec.target` that make other controllers (Reflector, kubernetes-replicator, Config
    /// Syncer) copy the token into other namespaces.
    #[arg(long, env = "ZOHO_OPERATOR_ALLOW_REPLICATION", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    allow_replication: bool,

    /// Additional root certificates (PEM) for token services, products and servers; repeatable.
    #[arg(long, env = "ZOHO_OPERATOR_CA_FILE", value_delimiter = ',', value_name = "PATH")]
    pub ca_file: Vec<PathBuf>,

    /// Maximum number of requests in ten minutes for one refresh token; Zoho allows 10. Halve it if two clusters use one
    /// refresh token.
    #[arg(long, env = "ZOHO_OPERATOR_MAX_ATTEMPTS_PER_10M", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=10), value_name = "N")]
    max_attempts_per_10m: u8,

    /// Maximum number of valid access tokens of one refresh token; Zoho allows 10 and then invalidates the oldest. With 2,
    /// a renewal waits for the oldest to expire; with 1, for the former one.
    #[arg(long, env = "ZOHO_OPERATOR_MAX_LIVE_TOKENS", default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=10), value_name = "N")]
    max_live_tokens: u8,

    /// Maximum number of token requests a second, for the whole process; 0 for no limit.
    #[arg(long, env = "ZOHO_OPERATOR_MINT_RATE", default_value_t = 100, value_name = "N")]
    pub mint_rate: u32,

    /// Maximum number of concurrent reconciliations; one namespace gets at most three quarters of them.
    #[arg(long, env = "ZOHO_OPERATOR_CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "N")]
    pub concurrency: u16,

    /// Elect a leader, so that several replicas can run. Set it to false only if there is never more than one replica.
    #[arg(long, env = "ZOHO_OPERATOR_LEADER_ELECT", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    pub leader_elect: bool,

    /// How long after the leader's last renewal another replica may take over. Whole seconds.
    #[arg(long, env = "ZOHO_OPERATOR_LEADER_ELECT_LEASE_DURATION", default_value = "15s", value_name = "DURATION")]
    leader_elect_lease_duration: GoDuration,

    /// How long after its last renewal a leader that cannot renew stops acting.
    #[arg(long, env = "ZOHO_OPERATOR_LEADER_ELECT_RENEW_DEADLINE", default_value = "10s", value_name = "DURATION")]
    leader_elect_renew_deadline: GoDuration,

    /// How often the leader renews.
    #[arg(long, env = "ZOHO_OPERATOR_LEADER_ELECT_RETRY_PERIOD", default_value = "2s", value_name = "DURATION")]
    leader_elect_retry_period: GoDuration,

    /// Address of /metrics; ":8080" listens on all addresses, "0" serves none.
    #[arg(long, env = "ZOHO_OPERATOR_METRICS_BIND_ADDRESS", default_value = ":8080", value_name = "ADDRESS")]
    pub metrics_bind_address: String,

    /// Serve /metrics, which contains the names of all credentials, only to clients whose bearer token the API server accepts
    /// and whose user may get the non-resource URL /metrics.
    #[arg(long, env = "ZOHO_OPERATOR_METRICS_AUTHENTICATION", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    pub metrics_authentication: bool,

    /// Directory with tls.crt and tls.key (PEM), with which /metrics is served over TLS; read again when the files change.
    #[arg(long, env = "ZOHO_OPERATOR_METRICS_CERTIFICATE", value_name = "FOLDER")]
    pub metrics_certificate: Option<PathBuf>,

    /// Address of /livez, /readyz and /healthz; ":8081" listens on all addresses.
    #[arg(long, env = "ZOHO_OPERATOR_HEALTH_PROBE_BIND_ADDRESS", default_value = ":8081", value_name = "ADDRESS")]
    pub health_probe_bind_address: String,

    /// Format of the log. Default: text on a terminal, otherwise json.
    #[arg(long, env = "ZOHO_OPERATOR_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,

    /// Log level: error, warn, info, debug or trace.
    #[arg(long, env = "ZOHO_OPERATOR_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: tracing::Level,

    /// Full tracing filter, instead of --log-level. Example: `info,zoho_operator::mint=debug`.
    #[arg(long, env = "ZOHO_OPERATOR_LOG_FILTER", value_name = "FILTER")]
    pub log_filter: Option<String>,

    /// Send traces to this OpenTelemetry collector: a base URL of OTLP over HTTP, to which /v1/traces is added. Spans contain
    /// names and ids, no secrets. Example: `http://collector.observability:4318`.
    #[cfg(feature = "otlp")]
    #[arg(long, env = "ZOHO_OPERATOR_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<Url>,
}

/// What to do instead of running the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Check that the operator has its rights, that the clock is right, and that the token services can be reached. Sends no
    /// secret. Accepts the operator's flags; without any, it uses those of the operator in the same container.
    Check,
}

/// How changes of Secrets are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecretAccess {
    /// Watch the metadata of all Secrets in the namespaces that are served.
    Watch,
    /// Read only the Secrets that `ZohoCredentials` name.
    Get,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// The times of a leader election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Election {
    /// How long after the leader's last renewal another replica may take over.
    pub lease_duration: Duration,
    /// How long after its last renewal a leader stops acting.
    pub renew_deadline: Duration,
    /// How often it renews.
    pub retry_period: Duration,
}

impl Election {
    fn check(self) -> Result<Self, String> {
        let shown = |duration| GoDuration(duration).to_string();
        let Self { lease_duration, renew_deadline, retry_period } = self;
        if lease_duration.subsec_millis() != 0 || !(1..=600).contains(&lease_duration.as_secs()) {
            return Err(format!(
                "--leader-elect-lease-duration {} is not in whole seconds from 1s to 10m",
                shown(lease_duration)
            ));
        }
        if renew_deadline >= lease_duration {
            return Err(format!(
                "--leader-elect-renew-deadline {} is not shorter than --leader-elect-lease-duration {}: the leader must stop before another replica takes over",
                shown(renew_deadline),
                shown(lease_duration)
            ));
        }
        if retry_period < Duration::from_millis(100) || retry_period * 2 > renew_deadline {
            return Err(format!(
                "--leader-elect-retry-period {} is not from 100ms to half of --leader-elect-renew-deadline {}: one failed renewal must leave time for another",
                shown(retry_period),
                shown(renew_deadline)
            ));
        }
        Ok(self)
    }
}

impl Flags {
    /// Flags and environment of this process. Ends it with exit code 2, and what is wanted, where they do not fit.
    pub(crate) fn of_process() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let arguments = neighbours_arguments(&arguments).unwrap_or(arguments);
        // Flags may stand before a subcommand and after it.
        let command = Self::command().mut_args(|argument| argument.global(true));
        let flags = match Self::from_arg_matches(&command.get_matches_from(arguments)) {
            Ok(flags) => flags,
            Err(wrong) => wrong.exit(),
        };
        if let Err(wrong) = flags.election().map(drop).and_then(|()| flags.servers().map(drop)) {
            Self::command().error(ErrorKind::ValueValidation, wrong).exit();
        }
        flags
    }

    /// The times of the election; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Times that do not fit each other, as a sentence with the flags.
    pub(crate) fn election(&self) -> Result<Option<Election>, String> {
        let times = Election {
            lease_duration: self.leader_elect_lease_duration.0,
            renew_deadline: self.leader_elect_renew_deadline.0,
            retry_period: self.leader_elect_retry_period.0,
        };
        Ok(Some(times.check()?).filter(|_| self.leader_elect))
    }

    /// The servers that passwords may be sent to.
    ///
    /// # Errors
    ///
    /// A namespace without a server, as a sentence with the flag.
    fn servers(&self) -> Result<Vec<ListedServer>, String> {
        policy::servers(&self.endpoint_central_url)
    }

    /// Base URLs of these servers.
    pub(crate) fn server_urls(&self) -> Vec<Url> {
        self.servers().unwrap_or_default().into_iter().map(|server| server.url).collect()
    }

    /// Namespace of ledgers, lease and hash key.
    pub(crate) fn operator_namespace(&self) -> String {
        const IN_POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
        let pods = || std::fs::read_to_string(IN_POD).ok().map(|text| text.trim().to_owned());
        self.operator_namespace.clone().or_else(pods).unwrap_or_else(|| "zoho-operator-system".into())
    }

    /// Name of this installation, as objects name who serves them.
    pub(crate) fn installation(&self) -> String {
        format!("{}/{}", self.operator_namespace(), self.instance)
    }

    /// Name of the Secret with the hash key.
    pub(crate) fn hash_key_secret(&self) -> String {
        self.hash_key_secret.clone().unwrap_or_else(|| format!("{}-hash-key", self.instance))
    }

    /// May the hash key be made where there is none? Not where its Secret was named: that one is somebody else's.
    pub(crate) fn makes_hash_key(&self) -> bool {
        self.hash_key_secret.is_none()
    }

    /// What the administrator allows, and the limits.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            operator_namespace: self.operator_namespace(),
            labels: self.labels.iter().cloned().collect(),
            accounts_urls: self.accounts_url.clone(),
            accounts_hosts: self.accounts_host.clone(),
            api_urls: self.api_url.clone(),
            api_hosts: self.api_host.clone(),
            servers: self.servers().unwrap_or_default(),
            data_centers: self.data_centers.clone(),
            require_source_consent: self.require_source_consent,
            allow_replication: self.allow_replication,
            limits: Limits { attempts: self.max_attempts_per_10m.into(), live: self.max_live_tokens.into() },
        }
    }

    /// Form of the log.
    pub(crate) fn log_format(&self) -> LogFormat {
        let fitting = || if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
        self.log_format.unwrap_or_else(fitting)
    }

    /// Does this process run in a pod? Kubernetes says so to every container.
    #[expect(clippy::disallowed_methods, reason = "the environment is read here only")]
    pub(crate) fn is_in_pod() -> bool {
        std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
    }

    /// Name of this process in leases and ledgers: the pod's name, and what makes a restart another holder.
    #[expect(clippy::disallowed_methods, reason = "the environment is read here only")]
    pub(crate) fn holder() -> String {
        let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| "local".into());
        let mut random = [0u8; 4];
        getrandom::fill(&mut random).expect("the system has a random number generator");
        format!("{}-{:08x}", pod.chars().take(100).collect::<String>(), u32::from_be_bytes(random))
    }
}

/// `zoho-operator check` without flags, run beside the operator by `kubectl exec`: the operator's own flags, from the first
/// process of the container.
fn neighbours_arguments(own: &[OsString]) -> Option<Vec<OsString>> {
    if own.len() != 2 || own[1] != "check" || std::process::id() == 1 {
        return None;
    }
    let line = std::fs::read("/proc/1/cmdline").ok()?;
    let mut arguments: Vec<OsString> =
        line.split(|byte| *byte == 0).map(|part| OsString::from_vec(part.to_vec())).collect();
    // The line ends in a zero byte.
    arguments.pop();
    let is_operator = Path::new(arguments.first()?).file_name().is_some_and(|name| name == "zoho-operator");
    is_operator.then(|| arguments.into_iter().chain(["check".into()]).collect())
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("want KEY=VALUE, for example team=platform")?;
    Ok((key.into(), value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Flags, clap::Error> {
        Flags::try_parse_from(std::iter::once("zoho-operator").chain(args.iter().copied()))
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for url in
            ["US=http://127.0.0.1:8080", "US=http://[::1]:1", "US=http://localhost", "US=https://gateway.example"]
        {
            assert!(parse(&["--accounts-url", url]).is_ok(), "{url}");
        }
        for url in [
            "US=http://gateway.example",
            "US=http://127.0.0.1.evil.example",
            "US=ftp://127.0.0.1",
            "US",
            "XX=https://a",
        ] {
            assert!(parse(&["--accounts-url", url]).is_err(), "{url}");
        }
    }

    #[test]
    fn lists_of_the_administrator_become_the_policy() {
        let policy = parse(&["--api-url", "PatchManagerPlus:EU=https://gateway.example/p"]).unwrap().policy();
        let url = policy.api_url(Product::PatchManagerPlus, DataCenter::EU).map(Url::as_str);
        assert_eq!(url, Some("https://gateway.example/p"));
        assert_eq!(policy.api_url(Product::PatchManagerPlus, DataCenter::US), None);
        for product in Product::ALL {
            let policy = parse(&["--api-url", &format!("{product}:EU=https://a.example")]).unwrap().policy();
            assert!(policy.api_url(*product, DataCenter::EU).is_some(), "{product}");
        }
        for wrong in ["EU=https://a", "PatchManagerPlus:EU", "Mail:EU=https://a", "PatchManagerPlus:EU=http://a"] {
            assert!(parse(&["--api-url", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_stay_within_what_zoho_allows() {
        assert_eq!(parse(&[]).unwrap().policy().limits, Limits { attempts: 8, live: 7 });
        assert!(parse(&["--max-live-tokens", "11"]).is_err());
        assert!(parse(&["--max-attempts-per-10m", "0"]).is_err());
    }

    #[test]
    fn times_of_the_election_fit_each_other() {
        let times = |lease: &str, renew: &str, retry: &str| {
            let flags =
                ["lease-duration", "renew-deadline", "retry-period"].map(|flag| format!("--leader-elect-{flag}"));
            parse(&[&flags[0], lease, &flags[1], renew, &flags[2], retry]).unwrap().election()
        };
        let defaults = parse(&[]).unwrap().election().unwrap().expect("on by default");
        assert_eq!(
            (defaults.lease_duration, defaults.renew_deadline, defaults.retry_period),
            (Duration::from_secs(15), Duration::from_secs(10), Duration::from_secs(2))
        );
        assert!(times("3s", "2s", "500ms").is_ok());
        for (lease, renew, retry, expected) in [
            ("15s", "15s", "2s", "--leader-elect-renew-deadline 15s is not shorter"),
            ("15s", "10s", "6s", "--leader-elect-retry-period 6s is not from 100ms"),
            ("15s", "10s", "0s", "--leader-elect-retry-period 0s is not from 100ms"),
            ("1500ms", "1s", "200ms", "--leader-elect-lease-duration 1s500ms is not in whole seconds"),
            ("20m", "10s", "2s", "--leader-elect-lease-duration 20m is not in whole seconds"),
        ] {
            let wrong = times(lease, renew, retry).unwrap_err();
            assert!(wrong.starts_with(expected), "{wrong}");
        }
        for off in ["--leader-elect=false", "--leader-elect=0"] {
            assert!(parse(&[off]).map_or(true, |flags| flags.election() == Ok(None)), "{off}");
        }
        assert!(parse(&["--leader-elect"]).unwrap().leader_elect);
    }

    #[test]
    fn two_processes_are_two_holders() {
        assert_ne!(Flags::holder(), Flags::holder());
    }
}
