//! The command line and the environment of `kubectl zoho`. `docs/kubectl-zoho.md` and the completions are made from it.
//!
//! No flag takes a secret: arguments stand in the list of processes and in the shell's history.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use zoho_api::{DataCenter, Product};
use zoho_core::spec;

/// Log in to Zoho, manage ZohoCredentials, and find problems.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-zoho",
    bin_name = "kubectl zoho",
    version,
    max_term_width = 80,
    disable_help_subcommand = true,
    after_help = "kubectl zoho COMMAND --help shows examples. Exit codes: 0 done; 1 failed, also if doctor finds a FAIL, if no new token comes in time, or if you do not confirm a revocation; 2 wrong usage. The plugin works with your own rights in the cluster."
)]
pub(crate) struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The kubeconfig file to use. Default: KUBECONFIG, else ~/.kube/config, else in a pod its own account.
    #[arg(long, global = true, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the ZohoCredential. Default: that of the context.
    #[arg(long, short, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// User to act as.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub impersonate: Option<String>,
    /// Group to act as, with --as; repeatable.
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub impersonate_groups: Vec<String>,
    /// Namespace of the operator. Default: the one in the ZohoCredential's status, or the one found by the chart's labels, else
    /// zoho-operator-system.
    #[arg(long, global = true, value_name = "NAMESPACE")]
    pub operator_namespace: Option<String>,
    /// Name of the operator's installation, which is the name of its Lease. Default: found in the same way, else
    /// zoho-operator.
    #[arg(long, global = true, value_name = "NAME")]
    pub instance: Option<String>,
    /// Additional accounts hosts to trust, like the operator's --accounts-host.
    #[arg(long, global = true, value_delimiter = ',', value_name = "HOST")]
    pub accounts_host_allowed: Vec<String>,
    /// For tests and gateways: another accounts server for a data center, like the operator's flag of the same name; https,
    /// or http on loopback.
    #[arg(long, global = true, value_delimiter = ',', value_name = "DC=URL")]
    pub accounts_url: Vec<String>,
    /// Additional root certificates (PEM) for the accounts server, for proxies that intercept TLS; repeatable.
    #[arg(long, global = true, value_delimiter = ',', value_name = "PATH")]
    pub ca_file: Vec<PathBuf>,
    /// Do not use colours. They are never used if standard output is not a terminal.
    #[arg(long, global = true, env = "NO_COLOR", hide_env_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "1", value_name = "ANY")]
    pub no_color: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Get a refresh token from Zoho, store it, and wait for the access token.
    Login(LoginArgs),
    /// List ZohoCredentials.
    #[command(visible_alias = "list")]
    Get(GetArgs),
    /// Explain the state of a ZohoCredential, and what happens next and when.
    Describe(NameArgs),
    /// Show the ledgers, the ZohoCredentials that use each, and how much of their budgets is used.
    Ledger(LedgerArgs),
    /// Renew a token now, and wait for it.
    Renew(RenewArgs),
    /// Print the current access token.
    Token(TokenArgs),
    /// Look for problems, and say what to do about them.
    Doctor(DoctorArgs),
    /// Revoke the refresh token at Zoho, permanently. All access tokens from it stop working at once.
    Revoke(RevokeArgs),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Examples, for kubectl-zoho called without kubectl:\n  source <(kubectl zoho completion bash)\n  kubectl zoho completion zsh > \"${fpath[1]}/_kubectl-zoho\"\n\nFor `kubectl zoho <TAB>`, load kubectl's own completion (kubectl completion\n--help), and put an executable file kubectl_complete-zoho with this content into\nPATH; it also completes the names of ZohoCredentials:\n  #!/bin/sh\n  exec kubectl-zoho completion words \"$@\""
    )]
    Completion(CompletionArgs),
}

/// Arguments of `login`.
#[derive(Clone, Debug, Args)]
#[command(after_help = LOGIN_HELP)]
pub(crate) struct LoginArgs {
    /// Name of the ZohoCredential. If it exists, it defines everything else; otherwise it is created, but not with
    /// --dry-run or --print-secret.
    pub name: String,
    /// Data center of the account: the one in the browser's address bar when you are signed in to Zoho. Required for a new
    /// ZohoCredential.
    #[arg(long, ignore_case = true, value_parser = one_of(&DataCenter::ALL), value_name = "DC")]
    pub data_center: Option<DataCenter>,
    /// Another accounts host of that data center; required with Other. If it is not one of Zoho's, the operator must
    /// allow it too (--accounts-host; in the chart, config.accountsHosts).
    #[arg(long, value_name = "HOST")]
    pub accounts_host: Option<String>,
    /// Product whose API the token is for; also selects the scopes, if docs/products.md has some for it.
    #[arg(long, ignore_case = true, value_parser = one_of(Product::ALL))]
    pub product: Option<Product>,
    /// Scopes instead of the product's, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "SCOPE")]
    pub scope: Vec<String>,
    /// Self client: you enter a code that you generate in the API console (the default).
    #[arg(long, conflicts_with = "browser")]
    pub grant_code: bool,
    /// Server-based client: you consent in your browser, which returns the code.
    #[arg(long)]
    pub browser: bool,
    /// Non-browser client: the plugin shows a code that you enter in any browser, for example on your phone.
    #[arg(long, conflicts_with_all = ["browser", "grant_code", "redirect_uri", "client_credentials"])]
    pub device: bool,
    /// Self client without a refresh token: it requests tokens in its own name, if the product supports that.
    #[arg(long, conflicts_with_all = ["browser", "grant_code", "redirect_uri"])]
    pub client_credentials: bool,
    /// With --client-credentials: the organisation, if the account has several. Example: ZohoCRM.7000001.
    #[arg(long, requires = "client_credentials", value_name = "SERVICE.ID", value_parser = parse_soid)]
    pub soid: Option<String>,
    /// With --browser: only print the address, do not open a browser.
    #[arg(long, requires = "browser")]
    pub no_open: bool,
    /// The client's redirect URI, as registered. Default with --browser: http://localhost:8765/callback.
    #[arg(long, value_name = "URI")]
    pub redirect_uri: Option<String>,
    /// Client id (not secret). Default: the plugin asks for it.
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// File with the client secret. Default: the plugin asks for it.
    #[arg(long, value_name = "PATH")]
    pub client_secret_file: Option<PathBuf>,
    /// Name of the source Secret. Default: the one that the ZohoCredential names, otherwise NAME-oauth.
    #[arg(long, value_name = "NAME")]
    pub secret: Option<String>,
    /// Check that the cluster would accept the objects, and print them without secrets. Asks for no secrets and sends
    /// nothing to Zoho.
    #[arg(long, conflicts_with = "print_secret")]
    pub dry_run: bool,
    /// Print the secrets instead of storing them, for a pipe into vault, kubeseal or sops; refused on a terminal. With
    /// --data-center it needs no cluster and does not read the ZohoCredential: name its Secret with --secret and the
    /// namespace with -n.
    #[arg(long, value_name = "FORM")]
    pub print_secret: Option<PrintSecret>,
    /// How long to wait for the token; 0s does not wait.
    #[arg(long, default_value = "90s", value_parser = parse_span, value_name = "SPAN")]
    pub timeout: std::time::Duration,
}

const LOGIN_HELP: &str = "Before the first login, create a client in the API console of your data center
(https://api-console.zoho.com, .eu, …):
  Self Client: choose Add client, Self Client, Create. For a code, enter under
    Generate Code the scopes that login shows, choose 10 minutes and any
    description, and copy the code. --client-credentials needs no code.
  Server-based Applications (--browser): register the redirect URI
    http://localhost:8765/callback
  Non-browser Applications (--device): nothing else to register.

You type secrets at a prompt that does not show them. If standard input is not
a terminal, the plugin reads the values from there, one per line, in this order:
  client id      without --client-id
  client secret  without --client-secret-file
  code           without --browser, --device or --client-credentials; you can
                 enter the whole address that the browser was redirected to

login changes only Secrets that it created. To hand over one of your own:
  kubectl label secret NAME app.kubernetes.io/managed-by=kubectl-zoho
If another tool manages the Secret, use --print-secret instead.

Examples:
  kubectl zoho login patch-manager --data-center EU --product PatchManagerPlus
  kubectl zoho login patch-manager   # again, after the token was revoked
  kubectl zoho login desk --data-center US --product ServiceDeskPlus --browser
  kubectl zoho login desk --data-center US --product ServiceDeskPlus --device
  kubectl zoho login crm --data-center EU --client-credentials \\
    --scope ZohoCRM.modules.READ --soid ZohoCRM.7000001
  kubectl zoho login desk --data-center US --scope SDPOnDemand.requests.READ \\
    --print-secret=json | vault kv put secret/zoho -
  kubectl zoho login desk --data-center US --product ServiceDeskPlus \\
    --print-secret=manifest | kubeseal -o yaml > sealed.yaml";

/// Form of printed secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrintSecret {
    /// One JSON object with the keys of the source Secret.
    Json,
    /// The source Secret as a manifest.
    Manifest,
}

/// Arguments of `get`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl zoho get -A\n  kubectl zoho get --watch\n  kubectl zoho get patch-manager -o yaml"
)]
pub(crate) struct GetArgs {
    /// Name of a ZohoCredential. Default: all.
    pub name: Option<String>,
    /// List the ZohoCredentials of all namespaces.
    #[arg(long, short = 'A', conflicts_with = "name")]
    pub all_namespaces: bool,
    /// Then print a row for each change, until Ctrl-C.
    #[arg(long, short, conflicts_with = "output")]
    pub watch: bool,
    /// Output format.
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<Form>,
}

/// Form of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Arguments of commands on one `ZohoCredential`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  kubectl zoho describe patch-manager -n patching")]
pub(crate) struct NameArgs {
    /// Name of the ZohoCredential.
    pub name: String,
    /// Output format.
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<Form>,
}

/// Arguments of `ledger`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl zoho ledger\n  kubectl zoho ledger patch-manager -n patching\n  kubectl zoho ledger 3f9c0d4be1a25c6f8d7e90ab12cd34ef -o json"
)]
pub(crate) struct LedgerArgs {
    /// Name of a ZohoCredential, whose ledger is shown, or of a ledger. Default: all ledgers.
    pub name: Option<String>,
    /// Output format.
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<Form>,
}

/// Arguments of `renew`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  kubectl zoho renew patch-manager")]
pub(crate) struct RenewArgs {
    /// Name of the ZohoCredential.
    pub name: String,
    /// How long to wait; 0s does not wait.
    #[arg(long, default_value = "90s", value_parser = parse_span, value_name = "SPAN")]
    pub timeout: std::time::Duration,
    /// Output format.
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<Form>,
}

/// Arguments of `token`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl zoho token patch-manager\n  kubectl zoho token patch-manager --header |\n    curl -H @- https://patch.manageengine.eu/api/1.4/patch/summary\n  kubectl zoho token patch-manager -o json   # without the token itself"
)]
pub(crate) struct TokenArgs {
    /// Name of the ZohoCredential.
    pub name: String,
    /// Print the whole header, `Authorization: …`.
    #[arg(long)]
    pub header: bool,
    /// Print the details of the token in this format, without the token itself.
    #[arg(long, short, value_name = "FORM", conflicts_with = "header")]
    pub output: Option<Form>,
    /// With --output: also print the token.
    #[arg(long, requires = "output")]
    pub show_token: bool,
}

/// Arguments of `doctor`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Sends no secret anywhere.\n\nExamples:\n  kubectl zoho doctor\n  kubectl zoho doctor patch-manager -o json"
)]
pub(crate) struct DoctorArgs {
    /// Name of a ZohoCredential to check. Default: all in the namespace.
    pub name: Option<String>,
    /// Use the cluster only: do not connect to Zoho's accounts servers.
    #[arg(long)]
    pub offline: bool,
    /// Output format.
    #[arg(long, short, value_name = "FORM")]
    pub output: Option<Form>,
}

/// Arguments of `revoke`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl zoho revoke patch-manager\n\nOther ZohoCredentials that use the same refresh token lose their access too.\nThe ZohoCredential and the source Secret stay; delete them, or log in again.\nClient credentials and your own servers have no refresh token to revoke."
)]
pub(crate) struct RevokeArgs {
    /// Name of the ZohoCredential.
    pub name: String,
    /// Do not ask for confirmation. Required if standard input is not a terminal.
    #[arg(long, short)]
    pub yes: bool,
}

/// Arguments of `completion`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell, or `words` for kubectl itself.
    #[arg(value_name = "SHELL")]
    pub completer: Completer,
    /// What stands on the command line so far; for `words`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub words: Vec<String>,
}

/// Who completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Completer {
    /// bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
    /// Candidates for kubectl's own completion, one a line.
    Words,
}

impl Completer {
    /// The shell that a script is made for.
    pub(crate) fn shell(self) -> Option<Shell> {
        match self {
            Self::Bash => Some(Shell::Bash),
            Self::Zsh => Some(Shell::Zsh),
            Self::Fish => Some(Shell::Fish),
            Self::Words => None,
        }
    }
}

/// One of the words, in any case.
fn one_of<T>(all: &[T]) -> impl TypedValueParser<Value = T> + use<T>
where
    T: Clone + Send + Sync + ToString + FromStr<Err = String> + 'static,
{
    PossibleValuesParser::new(all.iter().map(|word| PossibleValue::new(word.to_string())))
        .try_map(|word| word.parse::<T>())
}

fn parse_soid(text: &str) -> Result<String, String> {
    let wants =
        || "expected the first word of the scopes, a dot and the organisation's id, such as ZohoCRM.7000001".to_owned();
    spec::is_soid(text).then(|| text.to_owned()).ok_or_else(wants)
}

fn parse_span(text: &str) -> Result<std::time::Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "expected a duration such as 90s or 2m".to_owned())?;
    std::time::Duration::try_from(span).map_err(|_| "must not be negative".to_owned())
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
