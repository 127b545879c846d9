//! The Events: what a change of status, or something beside it, is announced by.

use crate::plan::Defect;
use crate::text::printable;
use zoho_api::names::ObjectName;
use zoho_api::{ConditionStatus, ConditionType, Reason, ZohoCredentialStatus, keys};

/// Longest note of an Event, in bytes: the API server takes no longer one.
const LONGEST_NOTE: usize = 1024;

/// An Event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Announcement {
    /// Something a person may have to do.
    pub warning: bool,
    /// The reason of the condition that changed.
    pub reason: String,
    /// Its message.
    pub note: String,
    /// It answers one request of a person: its note is its own, and not that of the last one of this reason.
    pub is_answer: bool,
}

impl Announcement {
    /// The one place where one is made: whatever went into its note, that is printable and in one line.
    pub(super) fn new(warning: bool, reason: &str, note: &str) -> Self {
        let mut note = printable(note, LONGEST_NOTE);
        note.truncate(note.floor_char_boundary(LONGEST_NOTE));
        Self { warning, reason: printable(reason, LONGEST_NOTE), note, is_answer: false }
    }
}

/// The Event of something that stands in the way beside the status.
pub fn warning(obstacle: &Defect) -> Announcement {
    Announcement::new(true, obstacle.reason.as_str(), &obstacle.message)
}

/// The Event of an object that another installation serves.
pub fn served_elsewhere(object: &ObjectName, by: &str, us: &str) -> Announcement {
    let note = format!(
        "Installation {by} serves this object, so {us} leaves it alone. It takes over when {by} is two minutes late with an announced step, or at once: kubectl annotate --overwrite zohocredential -n {} {} {}={us}",
        object.namespace,
        object.name,
        keys::SERVED_BY,
    );
    Announcement::new(false, Reason::ServedElsewhere.as_str(), &note)
}

/// The Event of a Secret that was taken over. It tells how many keys went, not which: they were somebody else's.
pub fn adopted(target: &ObjectName, lost: usize) -> Announcement {
    let keys = match lost {
        0 => "no key of it was".to_owned(),
        1 => "one key of it was".to_owned(),
        lost => format!("{lost} keys of it were"),
    };
    let note = format!("Secret {target} was taken over and holds the token now; {keys} removed.");
    Announcement::new(false, "Adopted", &note)
}

/// The Events of a change of status: one for each transition, none for a routine renewal.
pub fn announcements(before: &ZohoCredentialStatus, after: &ZohoCredentialStatus) -> Vec<Announcement> {
    let said = |status: &ZohoCredentialStatus, type_| {
        status.condition(type_).map(|condition| (condition.status, condition.reason.clone(), condition.message.clone()))
    };
    let mut events: Vec<Announcement> = Vec::new();
    for type_ in [ConditionType::Ready, ConditionType::Renewable, ConditionType::Verified] {
        let Some((status, reason, note)) = said(after, type_) else { continue };
        if type_ == ConditionType::Verified && status == ConditionStatus::Unknown {
            continue;
        }
        let changed = said(before, type_).is_none_or(|(was, why, _)| (was, &why) != (status, &reason));
        let told = events.iter().any(|event| event.reason == reason);
        if changed && !told && reason != Reason::Minting.as_str() {
            let warning = status == ConditionStatus::False && reason != Reason::Suspended.as_str();
            events.push(Announcement::new(warning, &reason, &note));
        }
    }
    events
}
