//! What passes of one object remember between them, and what follows from it. Pure; lost at a restart, without loss.

use std::collections::HashSet;
use std::time::Duration;

use zoho_api::names::{AttemptId, ObjectName, ObjectVersion};
use zoho_api::{Reason, Time, ZohoCredentialStatus};

use crate::facts::custody::Watching;
use crate::plan::{Defect, Source};
use crate::status::{Announcement, says_the_same};

/// A refused write or read is tried again after this.
pub const REFUSED_FOR: Duration = Duration::from_secs(30);
/// Repairs within `CONFLICT_FOR` after which somebody else is taken to want the target otherwise.
const MOST_REPAIRS: usize = 5;
/// Writes of one status in `REPORTS_COUNT`.
const MOST_REPORTS: usize = 3;
/// For so long a write of the status counts.
const REPORTS_COUNT: Duration = Duration::from_secs(3);
/// How long such a target is left alone.
const CONFLICT_FOR: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// uid of the object it is about: a recreated one starts over.
    pub uid: Option<String>,
    /// The source as last read.
    pub source: Option<KnownSource>,
    /// Version and generation at which the target was last seen to be as we would write it.
    pub intact: Option<Seen>,
    /// At which a dry run of the target's write last passed.
    pub rehearsed: Option<Rehearsed>,
    /// The renewal request that a flight was started with.
    pub asked: Option<Asked>,
    /// When the target was put back to what somebody else had changed.
    pub repairs: Vec<Time>,
    /// The last write of a token.
    pub stored: Option<Stored>,
    /// The last refusal of a write, until one succeeds.
    pub refused: Option<Refused>,
    /// When the first token was first waited for.
    pub minting_since: Option<Time>,
    /// Generation of which it was reported that it cannot be read.
    pub unreadable: Option<i64>,
    /// Secrets with this object as their owner that are none of ours, in the version in which that was found.
    pub left_alone: HashSet<(ObjectName, ObjectVersion)>,
    /// Generation that a consistent read of the object has confirmed.
    pub confirmed: Option<i64>,
    /// What was noticed while another installation served it.
    pub watching: Watching,
    /// Of which installation it was said that it serves the object.
    pub told_of: Option<String>,
    /// It was taken over from another installation: its ledger is not here, and is not missed.
    pub took_over: bool,
    /// The last writes of the status.
    pub reports: Vec<Time>,
    /// Since when good news waits behind a burst.
    pub news_since: Option<Time>,
    /// A status that may stand, and what is said with it.
    pub unsaid: Option<Box<Unsaid>>,
}

/// What was to be said with a status whose write had no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsaid {
    /// The status.
    pub meant: ZohoCredentialStatus,
    /// The Events.
    pub events: Vec<Announcement>,
}

/// A person's request for a renewal, and the token that it is to replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The annotation's value.
    pub request: String,
    /// Attempt of the token in the target when the flight was started.
    pub over: Option<AttemptId>,
}

/// What a dry run of the target's write was made over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// The target's version; `None` where there was no target.
    pub over: Option<ObjectVersion>,
    /// Generation of the credential.
    pub generation: i64,
    /// How often a Secret had been refused in the namespace, see [`crate::rehearsal::Rehearsals::refusals`].
    pub refusals: u64,
}

/// A version of a Secret, looked at for a generation of the spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The Secret's version.
    pub version: ObjectVersion,
    /// `metadata.generation` of the credential.
    pub generation: i64,
}

/// A source as it was read.
#[derive(Clone, Debug)]
pub struct KnownSource {
    /// In which version, for which generation.
    pub seen: Seen,
    /// What it came to.
    pub source: Source,
    /// How far apart requests with it must be.
    pub spacing: Duration,
    /// Does its refresh token not begin as Zoho's do?
    pub is_unmarked: bool,
}

/// A write of a token into a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Attempt of the token.
    pub attempt: AttemptId,
    /// The target.
    pub target: ObjectName,
    /// Generation that it was written for.
    pub generation: i64,
}

/// A refused write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was refused to be written.
    pub target: ObjectName,
    /// Generation that it was to be written for.
    pub generation: i64,
    /// What the API server said.
    pub words: String,
    /// When.
    pub at: Time,
}

impl Refused {
    /// What to report of it.
    pub fn defect(&self) -> Defect {
        let Self { target, words, at, .. } = self;
        let message = format!(
            "The API server refuses to write Secret {target}: {words}. Correct the policy, the quota or the operator's rights that this is about; the write is tried again every {} seconds.",
            REFUSED_FOR.as_secs()
        );
        Defect { reason: Reason::WriteRefused, message, again_at: Some(*at + REFUSED_FOR) }
    }
}

impl Memory {
    /// What is still to be said of a status, now that it is known to be this: said once, whatever it says of when it changed.
    pub fn take_unsaid(&mut self, status: &ZohoCredentialStatus) -> Vec<Announcement> {
        let timeless = |status: &ZohoCredentialStatus| {
            let mut status = status.clone();
            status.conditions.iter_mut().for_each(|condition| condition.last_transition_time = Time::UNIX_EPOCH);
            status
        };
        let stands = |unsaid: &mut Box<Unsaid>| says_the_same(&timeless(status), &timeless(&unsaid.meant));
        self.unsaid.take_if(stands).map(|unsaid| unsaid.events).unwrap_or_default()
    }

    /// The refusal that still stands for this very write. One of another generation or name says nothing of it; one of
    /// the future was noted by a clock that has been set back since.
    pub fn refusal(&self, target: &ObjectName, generation: i64, now: Time) -> Option<Defect> {
        let refused = self.refused.as_ref()?;
        let is_same = refused.target == *target && refused.generation == generation;
        let stands = refused.at <= now && now < refused.at + REFUSED_FOR;
        (is_same && stands).then(|| refused.defect())
    }

    /// Was a flight started with this request?
    pub fn has_asked(&self, request: &str) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.request == request)
    }

    /// The attempt whose token was last written to this target for this generation.
    pub fn stored_attempt(&self, target: &ObjectName, generation: i64) -> Option<&AttemptId> {
        let stored =
            self.stored.as_ref().filter(|stored| (&stored.target, stored.generation) == (target, generation))?;
        Some(&stored.attempt)
    }

    /// Someone keeps changing the target: it was put back too often in ten minutes. `manager`: who, as far as is known.
    pub fn conflict(&self, target: &ObjectName, manager: Option<&str>, now: Time) -> Option<Defect> {
        let recent = || self.repairs.iter().filter(|at| **at <= now && now < **at + CONFLICT_FOR);
        if recent().count() < MOST_REPAIRS {
            return None;
        }
        let manager = manager.unwrap_or("another client");
        let message = format!(
            "{manager} keeps changing Secret {target}, which this ZohoCredential owns: the operator has restored it {MOST_REPAIRS} times. Stop it from writing that Secret, or set spec.target.name to another name."
        );
        let again_at = recent().min().map(|first| *first + CONFLICT_FOR);
        Some(Defect { reason: Reason::TargetConflict, message, again_at })
    }

    /// May the status be written now? Three times in a row, and then about once a second, whatever happens: where two write
    /// one object, they must not do so as fast as they can.
    pub fn may_report(&self, now: Time) -> bool {
        self.reports.iter().filter(|at| **at <= now && now < **at + REPORTS_COUNT).count() < MOST_REPORTS
    }

    /// The status is written.
    pub fn note_report(&mut self, now: Time) {
        self.reports.retain(|at| *at <= now && now < *at + REPORTS_COUNT);
        self.reports.push(now);
    }

    /// The target is put back once more.
    pub fn note_repair(&mut self, now: Time) {
        self.repairs.retain(|at| *at <= now && now < *at + CONFLICT_FOR);
        self.repairs.push(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_unix(100_000 + seconds)
    }

    fn name(name: &str) -> ObjectName {
        ObjectName::new("ns", name)
    }

    #[test]
    fn what_could_not_be_said_is_said_once_and_only_of_the_status_that_was_meant() {
        let status = |ledger: &str| ZohoCredentialStatus { ledger: Some(ledger.into()), ..Default::default() };
        let events = || vec![crate::status::adopted(&ObjectName::new("ns", "t"), 1)];
        let memory = || {
            let unsaid = Unsaid { meant: status("meant"), events: events() };
            Memory { unsaid: Some(Box::new(unsaid)), ..Memory::default() }
        };
        let mut stands = memory();
        assert_eq!(stands.take_unsaid(&status("meant")), events());
        assert_eq!(stands.take_unsaid(&status("meant")), []);
        let mut late = memory();
        assert_eq!(late.take_unsaid(&status("before")), [], "not known to stand yet");
        assert_eq!(late.take_unsaid(&status("meant")), events());
    }

    #[test]
    fn refusal_stands_for_half_a_minute_and_for_the_very_write_only() {
        let refused = Refused { target: name("a"), generation: 3, words: "no".into(), at: at(0) };
        let memory = Memory { refused: Some(refused), ..Memory::default() };
        let stands = |target: &str, generation, now| memory.refusal(&name(target), generation, at(now)).is_some();
        assert!(stands("a", 3, 0) && stands("a", 3, 29));
        assert!(!stands("a", 3, 30), "it is tried again");
        assert!(!stands("corrected", 3, 1), "another name");
        assert!(!stands("a", 4, 1), "another spec");
        assert!(!stands("a", 3, -3600), "noted by a clock that was set back since");
    }

    #[test]
    fn status_is_written_three_times_at_once_and_then_once_a_second() {
        let mut memory = Memory::default();
        let mut written = Vec::new();
        for tick in 0..100 {
            let now = at(tick / 10);
            if memory.may_report(now) {
                memory.note_report(now);
                written.push(tick / 10);
            }
        }
        assert_eq!(written, [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9]);
        assert!(memory.may_report(at(-3600)), "the clock was set back");
    }

    #[test]
    fn five_repairs_in_ten_minutes_are_a_conflict_until_the_first_is_old() {
        let mut memory = Memory::default();
        for second in 0..5 {
            assert_eq!(memory.conflict(&name("t"), None, at(second)), None);
            memory.note_repair(at(second));
        }
        let conflict = memory.conflict(&name("t"), Some("argocd"), at(5)).unwrap();
        assert_eq!(conflict.again_at, Some(at(600)));
        assert!(conflict.message.starts_with("argocd keeps changing Secret ns/t"), "{}", conflict.message);
        assert_eq!(memory.conflict(&name("t"), None, at(600)), None);
        assert_eq!(memory.conflict(&name("t"), None, at(-3600)), None, "the clock was set back");
    }
}
