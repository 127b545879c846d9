//! What the unit tests of this crate start from: the real types, with values written by hand. Each chains.

use std::time::Duration;

use zoho_api::names::{Holder, InputsDigest, LedgerName};
use zoho_api::{Attempt, Outcome, Reason, Time, ZohoMintLedgerSpec};

use crate::plan::budget::{FULL_LIFE, Need, Request};
use crate::plan::renewal::{Life, Renewal};
use crate::plan::{Defect, Facts, Source, Target, Token};

/// The instant of every fixture: 1970-01-12T13:46:40Z.
pub(crate) fn now() -> Time {
    Time::from_unix(1_000_000)
}

/// So many seconds after that.
pub(crate) fn after(seconds: u64) -> Time {
    now() + Duration::from_secs(seconds)
}

/// So many seconds before that.
pub(crate) fn ago(seconds: u64) -> Time {
    now() - Duration::from_secs(seconds)
}

/// Half an hour before expiry.
pub(crate) fn half_an_hour() -> Renewal {
    Renewal::BeforeExpiry(Duration::from_secs(1800))
}

/// A token that was issued so many seconds ago and lives an hour.
pub(crate) fn issued_ago(seconds: u64) -> Token {
    let life = Life { issued_at: ago(seconds), expires_at: ago(seconds) + FULL_LIFE };
    Token { life, inputs: "inputs".into(), attempt: format!("a{seconds}").as_str().into() }
}

impl Token {
    pub(crate) fn living(mut self, seconds: u64) -> Self {
        self.life.expires_at = self.life.issued_at + Duration::from_secs(seconds);
        self
    }

    pub(crate) fn of_attempt(mut self, attempt: &str) -> Self {
        self.attempt = attempt.into();
        self
    }
}

/// Something is wrong.
pub(crate) fn defect(reason: Reason) -> Defect {
    Defect { reason, message: "why.".into(), again_at: None }
}

/// The ledger of the fixtures' source; its tokens have no jitter.
pub(crate) fn ledger_name() -> LedgerName {
    "0000".into()
}

/// A credential with a fresh token and nothing against it.
pub(crate) fn steady() -> Facts {
    Facts {
        deleting: false,
        defect: None,
        suspended: false,
        renewal: half_an_hour(),
        spacing: Duration::ZERO,
        is_login: false,
        namespace: "ns".into(),
        renew_requested: false,
        source: Source::Usable { inputs: "inputs".into(), ledger: ledger_name() },
        target: Target::Ours { token: Some(issued_ago(60)), intact: true },
        presented_otherwise: false,
        token_ended: false,
        stored: None,
        conflict: None,
        at_hand: None,
        verification: None,
        ledger: ZohoMintLedgerSpec::default(),
        minting: false,
        grounded_until: None,
        guarded_until: None,
    }
}

impl Facts {
    pub(crate) fn with_target(self, token: Option<Token>) -> Self {
        Self { target: Target::Ours { token, intact: true }, ..self }
    }

    pub(crate) fn with_ledger(self, ledger: ZohoMintLedgerSpec) -> Self {
        Self { ledger, ..self }
    }
}

/// A request for a token with these inputs, which is needed and which nobody asked for.
pub(crate) fn request<'a>(inputs: &'a InputsDigest, holder: &'a Holder) -> Request<'a> {
    let spacing = Duration::ZERO;
    Request { inputs, need: Need::Needed, asked: false, holder, spacing, login: false, namespace: "ns" }
}

/// An attempt with the fixtures' inputs by process `me`, so many seconds ago.
pub(crate) fn attempt(seconds_ago: u64, outcome: Option<Outcome>) -> Attempt {
    Attempt {
        id: format!("a{seconds_ago}").as_str().into(),
        at: ago(seconds_ago),
        holder: "me".into(),
        inputs: "inputs".into(),
        life: (outcome == Some(Outcome::Minted)).then_some(3600),
        outcome,
        ..Attempt::default()
    }
}
