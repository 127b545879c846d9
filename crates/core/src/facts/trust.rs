//! How far a status can be believed: by its seal. Anybody who may write a status could else plant one.

use zoho_api::names::{LedgerName, ObjectVersion};
use zoho_api::{ZohoCredential, ZohoCredentialStatus};

use super::{Installation, generation};
use crate::memory::{Memory, Seen};
use crate::secret::HashKey;

/// How far what is known of a state of things goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nobody vouches for it.
    None,
    /// It is as an installation left it whose key is lost: it is left alone, and proves nothing.
    LeftAlone,
    /// This process has seen it, or this installation has sealed it.
    Proven,
}

/// Was the target seen to be intact in this version: by this process, or by the one that wrote the status?
pub(super) fn is_as_we_left_it(
    credential: &ZohoCredential,
    version: &ObjectVersion,
    memory: &Memory,
    installation: &Installation,
) -> Trust {
    let seen = Seen { version: version.clone(), generation: generation(credential) };
    if memory.intact.as_ref() == Some(&seen) {
        return Trust::Proven;
    }
    let says_so = credential.status.as_ref().is_some_and(|status| {
        status.observed_generation == Some(seen.generation)
            && status.observed.as_ref().and_then(|observed| observed.target.as_ref()) == Some(version)
    });
    if says_so { trust(credential, installation) } else { Trust::None }
}

/// Seals what a status that is about to be written says of versions.
pub fn seal_status(credential: &ZohoCredential, status: &mut ZohoCredentialStatus, key: &HashKey) {
    let sealed = seal(credential, status, key);
    if let Some(observed) = &mut status.observed {
        observed.seal = Some(sealed);
    }
}

/// Has this installation taken the object over from another one, and stored no token of its own since? So says a status that
/// it has sealed.
pub fn was_taken_over(credential: &ZohoCredential, key: &HashKey) -> bool {
    let is_sealed = |status: &ZohoCredentialStatus| {
        let observed = status.observed.as_ref().filter(|observed| observed.taken_over);
        observed.is_some_and(|observed| observed.seal.as_ref() == Some(&seal(credential, status, key)))
    };
    credential.status.as_ref().is_some_and(is_sealed)
}

/// How far the versions in the status can be believed. Those that another installation has noted are not.
pub(super) fn trust(credential: &ZohoCredential, installation: &Installation) -> Trust {
    let is_own = |status: &&ZohoCredentialStatus| !status.observed.as_ref().is_some_and(|observed| observed.taken_over);
    let Some(status) = credential.status.as_ref().filter(is_own) else { return Trust::None };
    let Some(sealed) = status.observed.as_ref().and_then(|observed| observed.seal.as_ref()) else { return Trust::None };
    if *sealed == seal(credential, status, &installation.hash_key) {
        Trust::Proven
    } else if installation.hash_key_replaces_lost && !installation.hash_key.made(&sealed.as_str().into()) {
        Trust::LeftAlone
    } else {
        Trust::None
    }
}

/// Keyed hash of what a status calls observed.
fn seal(credential: &ZohoCredential, status: &ZohoCredentialStatus, key: &HashKey) -> String {
    let text = |version: Option<&ObjectVersion>| version.map(ToString::to_string).unwrap_or_default();
    let observed = status.observed.as_ref();
    let source = text(observed.and_then(|observed| observed.source.as_ref()));
    let target = text(observed.and_then(|observed| observed.target.as_ref()));
    let generation = status.observed_generation.unwrap_or_default().to_string();
    let ledger = status.ledger.as_ref().map(LedgerName::as_str).unwrap_or_default();
    let uid = credential.metadata.uid.as_deref().unwrap_or_default();
    let parts = [uid, &generation, &source, &target, ledger, "taken over"];
    let is_taken_over = observed.is_some_and(|observed| observed.taken_over);
    key.seal_of_status(if is_taken_over { &parts } else { &parts[..5] })
}
