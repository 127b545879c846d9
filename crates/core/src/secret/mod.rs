//! Secret bytes: the inputs read from a source Secret, the minted token, and the target Secret made from it.
//!
//! Pure. Besides `mint/transport.rs` the only module that exposes secret bytes; everyone else holds them in types whose
//! `Debug` is redacted and which are wiped on drop, or knows them by keyed hashes only.

mod inputs;
mod mask;
mod target;
pub mod values;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit, Mac};
use secrecy::SecretString;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::plan::Token;
use crate::plan::renewal::Life;
use zoho_api::names::{AttemptId, InputsDigest};
use zoho_api::{Time, keys};

pub use self::inputs::{ClientGrant, LoginGrant, RefreshGrant};
pub use self::mask::{LEFT_OUT, without_values};
pub use self::target::{
    Form, dummy_token, is_intact, is_presented_otherwise, recover, render_target, stale_metadata, token_in,
};

/// The key of every hash that leaves the process. Made once for an installation; see `hash_key.rs`.
#[derive(Clone)]
pub struct HashKey {
    id: String,
    key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashKey({})", self.id)
    }
}

impl HashKey {
    /// Bytes of a usable key.
    pub const BYTES: usize = 32;

    /// The key, or `None` when it has not 32 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::BYTES {
            return None;
        }
        let mut key = Self { id: String::new(), key: Zeroizing::new(bytes.to_vec()) };
        key.id = hex(&key.digest("key id", &[])[..4]);
        Some(key)
    }

    /// Names the key without telling it; every hash starts with it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// HMAC-SHA256 over the purpose and the parts, each with its length before it.
    fn digest(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Made with this key?
    pub fn made(&self, inputs: &InputsDigest) -> bool {
        inputs.key_id() == self.id
    }

    /// Keyed hash of what a status calls observed.
    pub fn seal_of_status(&self, parts: &[&str]) -> String {
        self.hash("status", &parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>())
    }

    fn hash(&self, purpose: &str, parts: &[&[u8]]) -> String {
        format!("{}.{}", self.id, hex(&self.digest(purpose, parts)[..16]))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// An access token and what is known of it.
#[derive(Clone, Debug)]
pub struct MintedToken {
    /// The token.
    pub access_token: SecretString,
    /// When it was asked for and when it dies.
    pub life: Life,
    /// `https://` and a host of the data center, if Zoho named one.
    pub api_domain: Option<String>,
    /// What it is good for, sorted, as far as the reply named it and this process has seen that.
    pub scopes: Vec<String>,
    /// Keyed hash of what it was minted from.
    pub inputs: InputsDigest,
    /// Id of the ledger entry it was minted under.
    pub attempt: AttemptId,
}

impl MintedToken {
    /// The record of it, without the token.
    pub fn record(&self) -> Token {
        Token { life: self.life, inputs: self.inputs.clone(), attempt: self.attempt.clone() }
    }
}

/// The record of a token as it stands in the annotations of a target. Trusted only together with the seal, or where the
/// version of the Secret is one that was verified before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When the token was asked for and when it dies.
    pub life: Life,
    /// Keyed hash of what it was minted from.
    pub inputs: InputsDigest,
    /// Id of the ledger entry it was minted under.
    pub attempt: AttemptId,
}

impl Stamp {
    /// The record as decisions know it.
    pub fn token(&self) -> Token {
        Token { life: self.life, inputs: self.inputs.clone(), attempt: self.attempt.clone() }
    }

    /// Reads the annotations of a target; `None` when one of them is missing or unreadable.
    pub fn read(annotations: &BTreeMap<String, String>) -> Option<Self> {
        // Ours are shorter, and anybody may write such annotations.
        let text = |key| annotations.get(key).map(String::as_str).filter(|text| text.len() <= 128);
        let time = |key| text(key)?.parse::<Time>().ok();
        Some(Self {
            life: Life { issued_at: time(keys::ISSUED_AT)?, expires_at: time(keys::EXPIRES_AT)? },
            inputs: text(keys::MINTED_FROM)?.into(),
            attempt: text(keys::ATTEMPT)?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_hash_cannot_slide_into_each_other() {
        let key = HashKey::new(&[7; 32]).unwrap();
        assert_ne!(key.hash("p", &[b"ab", b"c"]), key.hash("p", &[b"a", b"bc"]));
    }
}
