//! `ZohoCredential`: one OAuth credential (or server login) in, one always-valid Secret out.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::{Condition, ConditionType};
use super::names::{LedgerName, ObjectVersion};
use super::products::Product;
use super::{Time, duration::GoDuration};

/// Which token to keep valid, where its inputs are, and where the token goes.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "zoho-operator.dev",
    version = "v1alpha1",
    kind = "ZohoCredential",
    plural = "zohocredentials",
    shortname = "zcred",
    category = "zoho",
    namespaced,
    status = "ZohoCredentialStatus",
    derive = "PartialEq",
    doc = "Keeps a valid Zoho or ManageEngine access token in a Secret. It names a source Secret with the client id, the client secret and the refresh token. The operator mints an access token from them, renews it before it expires, and writes it into the target Secret.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Renewable",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Renewable\")].reason"
    ),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expirationTime"),
    printcolumn(name = "Renews", type_ = "string", json_path = ".status.renewalTime"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.target"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Data Center", type_ = "string", json_path = ".spec.dataCenter", priority = 1),
    printcolumn(name = "Ledger", type_ = "string", json_path = ".status.ledger", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Renewable\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ZohoCredentialSpec {
    /// Zoho data center of the account: US, EU, IN, AU, CN, JP, CA, SA, UK, AE, SG, or Other together with accountsHost. It is the one in your browser's address bar when you are signed in (accounts.zoho.eu is EU). Exactly one of dataCenter and endpointCentralServer is required. Example: EU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_center: Option<DataCenter>,

    /// An accounts host other than the usual one of the data center, as a bare host name; required with dataCenter Other. A host that the operator does not know must be on its list (--accounts-host). Example: accounts.corp.example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub accounts_host: Option<String>,

    /// An on-premises Endpoint Central or Patch Manager Plus server instead of a Zoho data center.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_central_server: Option<EndpointCentralServer>,

    /// The source: a Secret in the same namespace with the values that tokens are minted from.
    pub secret_ref: SecretRef,

    /// dataCenter only: how tokens are requested. RefreshToken (default), or ClientCredentials: as the self client itself, without a refresh token; needs scopes. Example: ClientCredentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,

    /// dataCenter only: the scopes of the token, as Zoho writes them. With ClientCredentials, they are sent with every request. With RefreshToken, they record the scopes that the refresh token was created for: they are shown when a new one must be created, and compared with the scopes that Zoho says it granted. At most 64. Example: [ZohoCRM.modules.READ].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub scopes: Vec<String>,

    /// ClientCredentials only: the organisation that the token is for, if the account has several: the first word of the scopes, a dot, and the organisation's id. Example: ZohoCRM.7000001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub soid: Option<String>,

    /// Product whose API the token is for; sets api_url in the target and the request that verify makes. docs/products.md describes the products; a product without a known host in the data center needs apiUrl. Default: none. Example: ZohoCRM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Product>,

    /// Base URL of the product's API if it is not the usual one of the data center (your own domain, a portal); copied to api_url. https only. Example: https://helpdesk.corp.example/app/itdesk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub api_url: Option<String>,

    /// The Secret that workloads mount. Default: a Secret <metadata.name>-token with the default keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,

    /// How long before expiry the token is renewed: 5m to 30m, default 30m; never more than half of the token's lifetime. Workloads do not notice an outage of the token service that is ten minutes shorter than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<GoDuration>,

    /// endpointCentralServer only: how often to log in again, because the server states no lifetime. 10m to 168h, default 8h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_every: Option<GoDuration>,

    /// Check regularly that the product's API accepts the token; sets condition Verified. Needs product, or apiUrl and verify.path. Default: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,

    /// true stops minting; the target is left as it is. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How tokens of a data center are requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Grant {
    /// With a refresh token, in the name of the user who consented.
    #[default]
    RefreshToken,
    /// With the client id and the client secret alone, in the name of the self client's owner.
    ClientCredentials,
}

/// A Zoho data center; accounts live in exactly one, and so do clients and refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DataCenter {
    /// United States: accounts.zoho.com.
    US,
    /// Europe: accounts.zoho.eu.
    EU,
    /// India: accounts.zoho.in.
    IN,
    /// Australia: accounts.zoho.com.au.
    AU,
    /// China: accounts.zoho.com.cn.
    CN,
    /// Japan: accounts.zoho.jp.
    JP,
    /// Canada: accounts.zohocloud.ca.
    CA,
    /// Saudi Arabia: accounts.zoho.sa.
    SA,
    /// United Kingdom: accounts.zoho.uk.
    UK,
    /// United Arab Emirates: accounts.zoho.ae.
    AE,
    /// Singapore: accounts.zoho.sg.
    SG,
    /// None of these: `accountsHost` names the host.
    Other,
}

impl DataCenter {
    /// Every value, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::US,
        Self::EU,
        Self::IN,
        Self::AU,
        Self::CN,
        Self::JP,
        Self::CA,
        Self::SA,
        Self::UK,
        Self::AE,
        Self::SG,
        Self::Other,
    ];
}

impl FromStr for DataCenter {
    type Err = String;

    /// In any case; people type it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        one_of(&Self::ALL, text, "data center")
    }
}

impl fmt::Display for DataCenter {
    /// As in `spec.dataCenter`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

pub(crate) fn one_of<T: Copy + fmt::Display>(all: &[T], text: &str, what: &str) -> Result<T, String> {
    let is_it = |known: &&T| known.to_string().eq_ignore_ascii_case(text);
    all.iter().find(is_it).copied().ok_or_else(|| {
        let known: Vec<String> = all.iter().map(T::to_string).collect();
        format!("{text} is not a {what}; known are {}", known.join(" "))
    })
}

/// Where an on-premises server is and how to log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointCentralServer {
    /// Base URL of the server; must be on the operator's list (--endpoint-central-url). Example: https://ec.corp.example:8383.
    #[schemars(length(max = 2048))]
    pub url: String,
    /// Local (default) or ActiveDirectory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<ServerAuthentication>,
    /// Domain of the account; ActiveDirectory only. Example: CORP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub domain: Option<String>,
    /// Version of the server's API: "1.4" (default) or "1.3" for older servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<ServerApiVersion>,
}

/// Who checks the password of a server login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ServerAuthentication {
    /// The server's own user list.
    Local,
    /// Active Directory.
    ActiveDirectory,
}

/// Version of the on-premises API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ServerApiVersion {
    /// Current servers.
    #[serde(rename = "1.4")]
    V1_4,
    /// Older servers.
    #[serde(rename = "1.3")]
    V1_3,
}

/// The source Secret and the names of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the source Secret, in the namespace of the ZohoCredential.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Key of the OAuth client id. Default client_id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub client_id_key: Option<String>,
    /// Key of the OAuth client secret. Default client_secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub client_secret_key: Option<String>,
    /// Key of the refresh token. Default refresh_token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub refresh_token_key: Option<String>,
    /// Key of the redirect URI, which is sent with the request if the Secret has this key (server-based clients). Default redirect_uri.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub redirect_uri_key: Option<String>,
    /// endpointCentralServer only: key of the user name. Default username.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub username_key: Option<String>,
    /// endpointCentralServer only: key of the password. Default password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub password_key: Option<String>,
    /// endpointCentralServer only: key of the TOTP seed in base32, used when the server asks for an OTP. Default totp_secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub totp_secret_key: Option<String>,
}

impl SecretRef {
    /// Key of the client id, with its default.
    pub fn client_id_key(&self) -> &str {
        self.client_id_key.as_deref().unwrap_or("client_id")
    }

    /// Key of the client secret, with its default.
    pub fn client_secret_key(&self) -> &str {
        self.client_secret_key.as_deref().unwrap_or("client_secret")
    }

    /// Key of the refresh token, with its default.
    pub fn refresh_token_key(&self) -> &str {
        self.refresh_token_key.as_deref().unwrap_or("refresh_token")
    }

    /// Key of the redirect URI, with its default.
    pub fn redirect_uri_key(&self) -> &str {
        self.redirect_uri_key.as_deref().unwrap_or("redirect_uri")
    }

    /// Key of the user name, with its default.
    pub fn username_key(&self) -> &str {
        self.username_key.as_deref().unwrap_or("username")
    }

    /// Key of the password, with its default.
    pub fn password_key(&self) -> &str {
        self.password_key.as_deref().unwrap_or("password")
    }

    /// Key of the TOTP seed, with its default.
    pub fn totp_secret_key(&self) -> &str {
        self.totp_secret_key.as_deref().unwrap_or("totp_secret")
    }
}

/// The derived Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name of the Secret, in the same namespace. Default <metadata.name>-token. Changing it mints no new token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Labels added to the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    /// Templates, by key of the Secret; they add to the default keys or override them. Jinja with the names access_token, authorization, expires_at, api_domain and api_url (an absent value is empty), strings, ~ == != and or not, if/elif/else and raw. Values are not escaped; a newline at the end is kept. At least one key must contain the token. At most 32 templates of 4 KiB. Example: ZOHO_ACCESS_TOKEN: "{{ access_token }}".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub data: BTreeMap<String, String>,
    /// false leaves out the default keys (access_token, authorization, expires_at, api_domain, api_url). Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_default_keys: Option<bool>,
}

/// How to check that the product accepts the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// How often to check. At least 1m. Example: 5m.
    pub interval: GoDuration,
    /// Path of another cheap GET of that product, for tokens whose scopes do not allow the default one; required if the product has no default, and without a product. Example: /api/1.4/som/summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub path: Option<String>,
}

/// What the operator last saw and did. This is only a report; the target Secret has the token and its expiry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ZohoCredentialStatus {
    /// The metadata.generation that this status was computed for; -1 before the first pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the token in the target expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Time>,
    /// When renewal is (or was) due; not moved by retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
    /// When the operator acts next, for any reason: a renewal, a retry, the end of a throttle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// When the token in the target was minted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_mint_time: Option<Time>,
    /// When minting last failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Time>,
    /// Why the last attempt to mint a token failed; absent after a token was minted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// Attempts that failed since the last mint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_failures: Option<i32>,
    /// The value of annotation zoho-operator.dev/renew-requested that was last acted on (or refused).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_renew_request: Option<String>,
    /// Name of the target Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Name of the ZohoMintLedger of this credential, in the operator's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerName>,
    /// Number of tokens of that ledger that may have been valid right after the last mint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_tokens: Option<i32>,
    /// The installation that serves this object, as the namespace of its operator and its instance. Other installations leave
    /// the object alone as long as this one does what it announces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// The scopes of the token in the target, sorted, if Zoho's reply named them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub granted_scopes: Vec<String>,
    /// Until when the operator sends no request because Zoho throttled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_until: Option<Time>,
    /// The versions (uid/resourceVersion) of the Secrets that this status is based on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// Ready, Renewable, Verified; Reconciling and Stalled only while they are true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Why an attempt to mint a token failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// The reason, as in conditions.
    pub reason: String,
    /// The error code that the issuer sent, if it is one of `[a-z_]{1,64}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened, in a sentence or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The versions of the Secrets that a status is based on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Observed {
    /// uid/resourceVersion of the source Secret that the token in the target was minted from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<ObjectVersion>,
    /// uid/resourceVersion of the target Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ObjectVersion>,
    /// The ZohoCredential was taken over from another installation, and the target holds no token of this one yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub taken_over: bool,
    /// Keyed hash of all that and of the state that they were seen in, so that a status written by others is not trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal: Option<String>,
}

impl ZohoCredentialStatus {
    /// The condition of that type, if set.
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_.as_str())
    }
}

impl ZohoCredentialSpec {
    /// How tokens are asked for, with its default.
    pub fn grant(&self) -> Grant {
        self.grant.unwrap_or_default()
    }

    /// The scopes that `granted` does not have. None where it names none. Zoho's own pages write the operation in any case.
    pub fn scopes_missing_in(&self, granted: &[String]) -> Vec<&str> {
        let has = |scope: &&String| granted.iter().any(|one| one.eq_ignore_ascii_case(scope));
        let missing = self.scopes.iter().filter(|_| !granted.is_empty()).filter(|scope| !has(scope));
        missing.map(String::as_str).collect()
    }
}

impl ZohoCredential {
    /// The installation that serves it, as its status says; `None` where it is nobody's yet.
    pub fn served_by(&self) -> Option<&str> {
        self.status.as_ref()?.served_by.as_deref().filter(|by| !by.is_empty())
    }

    /// The installation that serves it, where that is another one than `us`.
    pub fn served_elsewhere(&self, us: &str) -> Option<&str> {
        self.served_by().filter(|by| *by != us)
    }

    /// Name of the target Secret, with its default.
    pub fn target_name(&self) -> String {
        let named = self.spec.target.as_ref().and_then(|target| target.name.clone());
        named.unwrap_or_else(|| format!("{}-token", self.metadata.name.as_deref().unwrap_or_default()))
    }
}
