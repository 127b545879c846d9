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
    doc = "One refresh token's (or server login's) mint attempts of the last hours. Every mint is reserved here first, so that no crash and no second leader can spend more than Zoho's limits allow. Written by the operator, in its own namespace; not meant to be edited.",
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
    /// Until when Zoho's throttle is met with silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_until: Option<Time>,
    /// Permanent refusals, one for each set of inputs, at most 40.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub verdicts: Vec<Verdict>,
    /// Inputs that minted, the last 8 of them: others that never did must not use up what is theirs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 16))]
    pub proven: Vec<Proven>,
    /// When a record was found lost, unreadable or in the future: from then on the ten-minute window counts as full once, and five tokens count as alive for an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presumed_full_at: Option<Time>,
    /// When a token was last minted; an attempt whose outcome is not written down yet counts as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_mint_time: Option<Time>,
    /// At the last write: attempts in ten minutes / their limit, tokens that may be alive / their limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<String>,
    /// Reason of the last permanent refusal that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_verdict: Option<String>,
}

/// One reserved request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Unique id; the target Secret names the one its token came from.
    #[schemars(length(max = 64))]
    pub id: AttemptId,
    /// When it was reserved.
    pub at: Time,
    /// The process that reserved it.
    #[schemars(length(max = 128))]
    pub holder: Holder,
    /// Keyed hash of everything that is sent.
    #[schemars(length(max = 128))]
    pub inputs: InputsDigest,
    /// Namespace of the credential that it was reserved for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// A login, of which too many failed ones lock the account.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub login: bool,
    /// Life of the minted token in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<i32>,
    /// minted, notMinted or notSent; absent while unknown, which counts as minted with a life of 3600.
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
    /// Keyed hash of everything that was sent.
    #[schemars(length(max = 128))]
    pub inputs: InputsDigest,
    /// Namespaces of the credentials that they minted for, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 16))]
    pub namespaces: Vec<String>,
    /// They are a login's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub login: bool,
    /// When they last did.
    pub at: Time,
}

/// A permanent refusal of one set of inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Keyed hash of everything that was sent.
    #[schemars(length(max = 128))]
    pub inputs: InputsDigest,
    /// The reason, as it stands in conditions.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// The error code that the server sent, if it is one of `[a-z_]{1,64}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub code: Option<String>,
    /// When it was last said.
    pub at: Time,
    /// Said twice, at least a minute apart.
    #[serde(default)]
    pub confirmed: bool,
    /// How often it was said again after that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}
