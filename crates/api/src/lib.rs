//! What users write and read: the two kinds, their conditions and reasons, and the value types in them.
//!
//! The schema that the API server enforces is made in [`crd`].

pub mod condition;
pub mod crd;
#[expect(
    clippy::doc_markdown,
    clippy::duplicated_attributes,
    rustdoc::bare_urls,
    reason = "field docs become `kubectl explain`, which shows Markdown as it is; kube's attributes repeat words"
)]
pub mod credential;
pub mod duration;
#[expect(clippy::duplicated_attributes, reason = "kube's attributes repeat words")]
pub mod ledger;
pub mod names;
pub mod products;
pub mod time;

pub use condition::{Condition, ConditionStatus, ConditionType, Reason};
pub use credential::{
    DataCenter, EndpointCentralServer, Grant, LastFailure, Observed, SecretRef, ServerApiVersion, ServerAuthentication,
    Target, Verify, ZohoCredential, ZohoCredentialSpec, ZohoCredentialStatus,
};
pub use ledger::{Attempt, Outcome, Proven, Verdict, ZohoMintLedger, ZohoMintLedgerSpec};
pub use products::Product;
pub use time::Time;

/// The API group of both kinds, and the prefix of our annotations and labels.
pub const GROUP: &str = "zoho-operator.dev";

/// The field manager of every write.
pub const FIELD_MANAGER: &str = "zoho-operator";

/// Annotations and labels that the operator reads or writes.
pub mod keys {
    /// On a `ZohoCredential`: any new value asks for one mint now.
    pub const RENEW_REQUESTED: &str = "zoho-operator.dev/renew-requested";
    /// On a `ZohoCredential`: the installation (`<namespace>/<instance>`) that a person wants to serve it.
    pub const SERVED_BY: &str = "zoho-operator.dev/served-by";
    /// On a Secret: its owner's consent that the named `ZohoCredential` may take it over.
    pub const ADOPT: &str = "zoho-operator.dev/adopt";
    /// On a Secret: its owner's consent that the named `ZohoCredentials` may be minted from it; names separated by commas, or `*`.
    pub const SOURCE_FOR: &str = "zoho-operator.dev/source-for";
    /// Label on a target: uid of the `ZohoCredential` it belongs to.
    pub const CREDENTIAL_UID: &str = "zoho-operator.dev/credential-uid";
    /// Annotation on a target: name of the `ZohoCredential` it belongs to.
    pub const CREDENTIAL: &str = "zoho-operator.dev/credential";
    /// Annotation on a target: when the token request was sent, RFC 3339.
    pub const ISSUED_AT: &str = "zoho-operator.dev/issued-at";
    /// Annotation on a target: when the token dies, RFC 3339.
    pub const EXPIRES_AT: &str = "zoho-operator.dev/expires-at";
    /// Annotation on a target: keyed hash of everything that was sent to mint the token.
    pub const MINTED_FROM: &str = "zoho-operator.dev/minted-from";
    /// Annotation on a target: id of the ledger entry that the token was minted under.
    pub const ATTEMPT: &str = "zoho-operator.dev/attempt";
    /// Annotation on a target: the API domain that Zoho named with the token, or nothing.
    pub const API_DOMAIN: &str = "zoho-operator.dev/api-domain";
    /// Annotation on a target: where the token stands in its data, as `<key>/<first byte>/<bytes>`.
    pub const TOKEN_AT: &str = "zoho-operator.dev/token-at";
    /// Annotation on a target: the scheme and the base URL that its token is presented with. A token of other inputs stays as it
    /// was presented: it is of the host of its time.
    pub const PRESENTED_AS: &str = "zoho-operator.dev/presented-as";
    /// Annotation on a target: keyed hash of the token and of the record in the annotations above, so that an edit is
    /// noticed.
    pub const SEAL: &str = "zoho-operator.dev/seal";
    /// Annotation on a target: which of its labels and annotations were chosen in `spec.target` or by `--labels`, so that
    /// they go when they are chosen no longer.
    pub const CHOSEN_METADATA: &str = "zoho-operator.dev/chosen-metadata";
    /// Annotation on a target: keeps Stakater's Reloader from restarting workloads at every renewal.
    pub const RELOADER_IGNORE: &str = "reloader.stakater.com/ignore";
    /// Annotation on the Secret of the hash key: it was made in place of one that was lost.
    pub const REPLACES_LOST_KEY: &str = "zoho-operator.dev/replaces-lost-key";
    /// Label on a ledger: the installation that made it.
    pub const INSTANCE: &str = "zoho-operator.dev/instance";
    /// Label on a ledger: namespace of the `ZohoCredential` that it was made for.
    pub const NAMESPACE: &str = "zoho-operator.dev/namespace";
    /// The usual label that names the managing program.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// The default keys of a target, and the names that templates know.
    pub const VALUES: [&str; 5] = ["access_token", "authorization", "expires_at", "api_domain", "api_url"];
}
