//! `ZohoMintLedger`: what was asked of one refresh token (or server login), so that its limits are kept.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;
use super::names::{AttemptId, Holder, InputsDigest};

/// The record that every mint is reserved in before its request is sent. Written by the operator only.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "zoho-operator.dev",
    version = "v1alpha1",
    kind = "ZohoMintLedger",
    plural = "zohomintledgers",
    shortname = "zledger",
    category = "zoho",
    namespaced,
    derive = "PartialEq",
    doc = "The token requests of the last hours that were made with one refresh token (or server login). Every request is reserved here first, so that neither a crash nor a second leader can exceed Zoho's limits. Written by the operator, in its own namespace; do not edit it.",
    printcolumn(name = "Last Mint", type_ = "date", json_path = ".spec.lastMintTime"),
    printcolumn(name = "Counts", type_ = "string", json_path = ".spec.counts"),
    printcolumn(name = "Throttled Until", type_ = "string", json_path = ".spec.throttledUntil"),
    printcolumn(name = "Last Verdict", type_ = "string", json_path = ".spec.lastVerdict"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", default)]
pub struct ZohoMintLedgerSpec {
    /// Attempts of the last three hours, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 512))]
    pub attempts: Vec<Attempt>,
    /// Until when the operator sends no request because Zoho throttled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_until: Option<Time>,
    /// Permanent refusals, one for each set of inputs, at most 40.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub verdicts: Vec<Verdict>,
    /// The last 8 inputs that minted a token: inputs that never did must not use up their budget.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 16))]
    pub proven: Vec<Proven>,
    /// When a record was found lost, unreadable or in the future: from then on, the ten-minute window counts as full once, and five tokens count as valid for an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presumed_full_at: Option<Time>,
    /// When a token was last minted; an attempt whose outcome is not recorded yet counts as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_mint_time: Option<Time>,
    /// At the last write: attempts in ten minutes / their limit, tokens that may be valid / their limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<String>,
    /// Reason of the last permanent refusal that still applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_verdict: Option<String>,
}

/// One reserved request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Unique id; the target Secret names the attempt that its token came from.
    #[schemars(length(max = 64))]
    pub id: AttemptId,
    /// When it was reserved.
    pub at: Time,
    /// The process that reserved it.
    #[schemars(length(max = 128))]
    pub holder: Holder,
    /// Keyed hash of all values that are sent.
    #[schemars(length(max = 128))]
    pub inputs: InputsDigest,
    /// Namespace of the credential that it was reserved for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Whether this is a login; too many failed logins lock the account.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub login: bool,
    /// Lifetime of the minted token in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<i32>,
    /// minted, notMinted or notSent; absent while unknown, which counts as minted with a lifetime of 3600 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What is known of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// A token came back.
    Minted,
    /// The server answered with an OAuth error and no token.
    NotMinted,
    /// The process that made the entry knows that nothing left it.
    NotSent,
    /// Sent, and it may have minted: no answer, a cut answer, HTML, a 5xx.
    Unknown,
}

/// Inputs that minted a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proven {
    /// Keyed hash of all values that were sent.
    #[schemars(length(max = 128))]
    pub inputs: InputsDigest,
    /// Namespaces of the credentials that they minted for, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 16))]
    pub namespaces: Vec<String>,
    /// Whether they belong to a login.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub login: bool,
    /// When they last minted a token.
    pub at: Time,
}

/// A permanent refusal of one set of inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Keyed hash of all values that were sent.
    #[schemars(length(max = 128))]
    pub inputs: InputsDigest,
    /// The reason, as in conditions.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// The error code that the server sent, if it is one of `[a-z_]{1,64}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub code: Option<String>,
    /// When the server last refused them.
    pub at: Time,
    /// Whether the server refused them twice, at least a minute apart.
    #[serde(default)]
    pub confirmed: bool,
    /// How often the server refused them again after that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}
