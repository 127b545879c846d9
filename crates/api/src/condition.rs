//! Conditions and the closed list of reasons.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

macro_rules! words {
    ($(#[$outer:meta])* pub enum $name:ident { $($(#[$inner:meta])* $word:ident,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$inner])* $word,)+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$word,)+];

            /// The word as it stands in conditions, Events and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word),)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or(())
            }
        }
    };
}

words! {
    /// The types of conditions that a `ZohoCredential` can have.
    pub enum ConditionType {
        /// Does a living token for this spec stand in the target now?
        Ready,
        /// Can the token be renewed, as far as is known; if not, why?
        Renewable,
        /// Does the product take the token? Only with `spec.verify`.
        Verified,
        /// kstatus: work is going on. Present only while true.
        Reconciling,
        /// kstatus: a person must act. Present only while true.
        Stalled,
    }
}

words! {
    /// Why a condition is as it is. The same word stands in the condition, the Event and the metric label.
    pub enum Reason {
        /// A living token stands in the target and nothing speaks against its renewal.
        TokenValid,
        /// The first mint is on its way.
        Minting,
        /// `spec.suspend` is true: nothing is minted.
        Suspended,
        /// A rule is broken that the API server let pass.
        InvalidSpec,
        /// The source Secret does not exist.
        SourceSecretNotFound,
        /// A key of the source Secret is missing, empty, not printable ASCII or longer than 4 KiB.
        SourceSecretInvalid,
        /// `spec.accountsHost` is not on the operator's list.
        AccountsHostNotAllowed,
        /// `spec.endpointCentralServer.url` is not on the operator's list.
        ServerNotAllowed,
        /// A Secret of the target's name exists and belongs to someone else.
        TargetNotOwned,
        /// The target Secret is immutable.
        TargetImmutable,
        /// The target Secret would be larger than 1 MiB.
        TargetTooLarge,
        /// Someone keeps changing our keys of the target.
        TargetConflict,
        /// Admission, quota or RBAC refuses the write of the target.
        WriteRefused,
        /// RBAC refuses the read of the source or of the target.
        ReadRefused,
        /// A template of `spec.target.data` cannot be rendered.
        TemplateFailed,
        /// Wrong client id, client secret or data center.
        ClientRejected,
        /// The refresh token is revoked, deleted, pushed out or of another client.
        RefreshTokenRejected,
        /// Another permanent OAuth error.
        RequestRejected,
        /// The server refused the login.
        LoginRejected,
        /// The server asks for a one-time password and the source has no seed.
        OtpRequired,
        /// Zoho says that there were too many requests.
        Throttled,
        /// The budget of the mint ledger is spent.
        MintBudgetExhausted,
        /// No connection, or the token service answered with a 5xx.
        UpstreamUnavailable,
        /// The token service did not answer in time.
        UpstreamTimeout,
        /// The token service's certificate is not trusted.
        UpstreamTLS,
        /// The token service answered with a redirect, which is never followed.
        UpstreamRedirect,
        /// The token service's answer is not what it documents.
        UpstreamReplyInvalid,
        /// The token service answered with an error code that is not known.
        UpstreamError,
        /// The product refuses the token.
        VerificationRejected,
        /// The token's life ran out while its renewal failed.
        TokenExpired,
        /// Another installation serves the object; this one only says so, in an Event.
        ServedElsewhere,
    }
}

impl Reason {
    /// Believed at the first answer: wrong passwords lock accounts. What never worked is not tried again with the same inputs,
    /// what worked before after an hour and then once a day.
    pub fn is_final(self) -> bool {
        matches!(self, Self::LoginRejected | Self::OtpRequired)
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known yet.
    Unknown,
}

/// One aspect of the state of a `ZohoCredential`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Ready, Renewable, Verified, Reconciling or Stalled.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// One word of a closed list that says why.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What happened, what still works, what to do, and when the next try is.
    #[schemars(length(max = 2048))]
    pub message: String,
    /// The metadata.generation that this condition was computed for.
    pub observed_generation: i64,
    /// When status last changed.
    pub last_transition_time: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_its_word() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert_eq!("Whatever".parse::<Reason>(), Err(()));
    }
}
