//! Which installation serves an object, where two of them see it. Pure.
//!
//! The status says it (`servedBy`). Another installation's object is left alone for as long as that one does what it
//! announced; then it is taken over, so that no token expires because somebody was uninstalled.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use zoho_api::names::ObjectVersion;
use zoho_api::{ConditionStatus, ConditionType, Reason, Time, ZohoCredential, ZohoCredentialStatus, keys};

use super::generation;
use super::ownership::{Ownership, SecretSeen, is_adopted, ownership};
use crate::issuer::server_login::LONGEST_SESSION;
use crate::plan::budget::FULL_LIFE;
use crate::secret::HashKey;

/// So late may the other installation be with what it announced.
pub(crate) const LATE: Duration = Duration::from_secs(120);
/// A first mint announces nothing. It may wait for its turn, but not for longer than this.
const FIRST_MINT: Duration = Duration::from_secs(480);

/// Nobody waits for longer with something that he announces, and with a renewal no longer than a token lives: whoever may write
/// statuses may announce what he likes.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Whose an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Custody {
    /// Nobody's yet.
    Nobodys,
    /// Nobody's yet, but another installation has written its target, and may be about to say that it serves the object:
    /// in a burst Secrets come first.
    Unclaimed {
        /// Until when it may be.
        until: Time,
    },
    /// This installation's.
    Ours,
    /// Another one's.
    Others {
        /// Its name.
        by: String,
        /// When it will have missed something, as far as is known now.
        until: Option<Time>,
    },
    /// Another one's that missed what it announced, or that was told to leave it.
    Abandoned {
        /// Its name.
        by: String,
    },
}

/// What stands around an object, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Version of the source Secret.
    pub source: Option<&'a ObjectVersion>,
    /// What has the target's name.
    pub target: TargetName<'a>,
    /// It is the object's own, and was written under another hash key than ours.
    pub written_elsewhere: bool,
}

/// What has the target's name.
#[derive(Clone, Copy, Debug)]
pub enum TargetName<'a> {
    /// Not known: Secrets are not watched.
    Unknown,
    /// Nothing.
    Free,
    /// This Secret.
    Taken(&'a SecretSeen),
}

/// What one process has noticed of an object that another installation serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watching {
    /// The other one's last word.
    word: u64,
    /// When it was heard.
    heard: Option<Time>,
    /// The source as it was then.
    source: Option<u64>,
    /// The object might have taken what had the target's name then.
    was_offered: bool,
    /// Since when something is there that the other one has not looked at.
    unseen_since: Option<Time>,
}

impl Watching {
    /// Whose is it?
    pub fn look(&mut self, credential: &ZohoCredential, around: Around<'_>, us: &str, now: Time) -> Custody {
        let none = ZohoCredentialStatus::default();
        let status = credential.status.as_ref().unwrap_or(&none);
        let Some(by) = credential.served_elsewhere(us).map(str::to_owned) else {
            return credential.served_by().map_or_else(|| self.unclaimed(around, now), |_us| Custody::Ours);
        };
        if asked_for(credential) == Some(us) {
            return Custody::Abandoned { by };
        }
        self.notice(credential, status, around, now);
        let heard = self.heard.unwrap_or(now);
        let life = longest_life(credential);
        let announced = announced(status).map(|at| at.min(heard + life.max(LONGEST_WAIT)));
        let expiry = expiry(status).map(|at| at.min(heard + life));
        let due = [announced, expiry, self.first_mint(status), self.unseen_since];
        match due.into_iter().flatten().map(|at| at + LATE).min() {
            Some(due) if due <= now => Custody::Abandoned { by },
            until => Custody::Others { by, until },
        }
    }

    fn unclaimed(&mut self, around: Around<'_>, now: Time) -> Custody {
        let since = self.heard.unwrap_or(now).min(now);
        self.heard = Some(since).filter(|_| around.written_elsewhere);
        match since + LATE {
            until if around.written_elsewhere && until > now => Custody::Unclaimed { until },
            _ => Custody::Nobodys,
        }
    }

    /// A generation that the status does not have is unseen; so is a change by which the other one would come to say
    /// something else, where its status announces nothing.
    fn notice(&mut self, credential: &ZohoCredential, status: &ZohoCredentialStatus, around: Around<'_>, now: Time) {
        let source = around.source.map(fingerprint);
        let is_offered = matches!(around.target, TargetName::Taken(seen) if is_offered(credential, seen));
        let word = fingerprint(&serde_json::to_string(status).unwrap_or_default());
        if self.word != word {
            *self = Self { word, heard: Some(now), source, was_offered: is_offered, unseen_since: None };
        }
        self.heard = self.heard.map(|heard| heard.min(now));
        // What is heard of the source after the word may be older than it.
        self.source = self.source.or(source);
        let is_corrected = announced(status).is_none()
            && match renewable(status).and_then(|reason| reason.parse().ok()) {
                // Corrected in the spec, whose generation says so, or by the other one's flags.
                Some(
                    Reason::Suspended
                    | Reason::InvalidSpec
                    | Reason::AccountsHostNotAllowed
                    | Reason::ServerNotAllowed
                    | Reason::TemplateFailed
                    | Reason::TargetTooLarge,
                ) => false,
                Some(Reason::TargetImmutable) => matches!(around.target, TargetName::Free),
                Some(Reason::TargetNotOwned) => {
                    matches!(around.target, TargetName::Free) || (is_offered && !self.was_offered)
                }
                Some(Reason::SourceSecretNotFound) => source.is_some(),
                // Also words of another version.
                Some(_) | None => source.is_some() && source != self.source,
            };
        let is_unseen = status.observed_generation.is_none_or(|seen| seen != generation(credential)) || is_corrected;
        self.unseen_since = is_unseen.then(|| self.unseen_since.unwrap_or(now).min(now));
    }

    /// When the first mint, which announces nothing, must have ended.
    fn first_mint(&self, status: &ZohoCredentialStatus) -> Option<Time> {
        let is_minting = renewable(status) == Some(Reason::Minting.as_str());
        self.heard.filter(|_| is_minting).map(|heard| heard + FIRST_MINT)
    }
}

/// Is what has the target's name the object's own, and was it written under another hash key than this one?
pub fn is_written_elsewhere(credential: &ZohoCredential, seen: &SecretSeen, key: &HashKey) -> bool {
    matches!(ownership(credential, seen), Ownership::Ours(Some(stamp)) if !key.made(&stamp.inputs))
}

/// Is what has the target's name the object's own, or does its owner let the object take it? A record without an owner
/// says neither: its seal would have to be checked.
fn is_offered(credential: &ZohoCredential, seen: &SecretSeen) -> bool {
    matches!(ownership(credential, seen), Ownership::Ours(_)) || is_adopted(credential, seen)
}

/// The reason why it can be renewed, or not.
fn renewable(status: &ZohoCredentialStatus) -> Option<&str> {
    status.condition(ConditionType::Renewable).map(|it| it.reason.as_str())
}

/// No token lives longer, as its record has it.
pub(super) fn longest_life(credential: &ZohoCredential) -> Duration {
    if credential.spec.endpoint_central_server.is_some() { LONGEST_SESSION } else { FULL_LIFE }
}

/// When the other one must say that the token is not valid any more, whatever keeps it from renewing it.
fn expiry(status: &ZohoCredentialStatus) -> Option<Time> {
    let is_ready = status.condition(ConditionType::Ready).is_some_and(|it| it.status == ConditionStatus::True);
    status.expiration_time.filter(|_| is_ready)
}

/// When the other one will do something, as it says. Where a person must act it announces nothing, and it has not missed a
/// renewal that it cannot make.
fn announced(status: &ZohoCredentialStatus) -> Option<Time> {
    let renews = status.condition(ConditionType::Renewable).is_some_and(|it| it.status == ConditionStatus::True);
    status.next_attempt_time.or(status.renewal_time.filter(|_| renews))
}

/// The installation that a person wants.
fn asked_for(credential: &ZohoCredential) -> Option<&str> {
    credential.metadata.annotations.as_ref()?.get(keys::SERVED_BY).map(String::as_str)
}

fn fingerprint(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "custody_tests.rs"]
mod tests;
