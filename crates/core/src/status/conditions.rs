//! The conditions as a struct, so that their order and their types cannot go wrong; in the status they are a list.

use crate::text::printable;
use zoho_api::{Condition, ConditionStatus, ConditionType, Reason, Time};

/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 1024;
/// Longest reason, in characters. Ours are shorter; one of the status before may be anybody's.
const LONGEST_REASON: usize = 64;

/// A condition before it has a transition time.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    status: ConditionStatus,
    reason: String,
    message: String,
}

/// The conditions, in the order in which people read them. `None`: absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    pub(super) ready: Option<Wanted>,
    pub(super) renewable: Option<Wanted>,
    pub(super) verified: Option<Wanted>,
    pub(super) reconciling: Option<Wanted>,
    pub(super) stalled: Option<Wanted>,
}

impl Conditions {
    pub(super) fn of(conditions: &[Condition]) -> Self {
        let get = |type_: ConditionType| {
            let condition = conditions.iter().find(|condition| condition.type_ == type_.as_str())?;
            let Condition { status, reason, message, .. } = condition.clone();
            Some(Wanted { status, reason, message })
        };
        Self {
            ready: get(ConditionType::Ready),
            renewable: get(ConditionType::Renewable),
            verified: get(ConditionType::Verified),
            reconciling: get(ConditionType::Reconciling),
            stalled: get(ConditionType::Stalled),
        }
    }

    /// Makes them a list, the one place where one is made: whatever went into a message, it is printable and in one line.
    /// Gives them their times: a transition is a change of status (for Reconciling also of reason, from which patience
    /// counts), nothing else.
    pub(super) fn since(self, before: &[Condition], generation: i64, now: Time) -> Vec<Condition> {
        let Self { ready, renewable, verified, reconciling, stalled } = self;
        let all = [
            (ConditionType::Ready, ready),
            (ConditionType::Renewable, renewable),
            (ConditionType::Verified, verified),
            (ConditionType::Reconciling, reconciling),
            (ConditionType::Stalled, stalled),
        ];
        let condition = |(type_, wanted): (ConditionType, Option<Wanted>)| {
            let Wanted { status, reason, message } = wanted?;
            let is_same = |old: &&Condition| {
                old.type_ == type_.as_str()
                    && old.status == status
                    && (type_ != ConditionType::Reconciling || old.reason == reason)
            };
            Some(Condition {
                last_transition_time: before.iter().find(is_same).map_or(now, |old| old.last_transition_time.min(now)),
                type_: type_.to_string(),
                status,
                reason: printable(&reason, LONGEST_REASON),
                message: shortened(&message),
                observed_generation: generation,
            })
        };
        all.into_iter().filter_map(condition).collect()
    }
}

pub(super) fn wanted(status: ConditionStatus, reason: Reason, message: &str) -> Wanted {
    Wanted { status, reason: reason.as_str().into(), message: message.to_owned() }
}

/// As it may stand in a status.
pub(super) fn shortened(message: &str) -> String {
    printable(message, LONGEST_MESSAGE)
}
