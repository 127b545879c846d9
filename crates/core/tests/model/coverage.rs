//! What a check must have met, lest it hold because nothing ever happens.

use std::sync::atomic::{AtomicBool, Ordering};

/// What a check has met at least once. Not part of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    LedgerConflict,
    TargetConflict,
    DeadlinePassed,
    SentAfterPause,
    CrashBetweenRequestAndTarget,
    CrashWithReservation,
    PresumptionKept,
    LateWriteArrived,
    HeldInFlight,
    HeldByWindow,
    HeldByLiveTokens,
    HeldByThrottle,
    HeldForConfirmation,
    Wanted,
    WordLost,
    ValidAfterAllFaults,
}

/// Which of them.
#[derive(Default)]
pub(super) struct Coverage([AtomicBool; 16]);

impl Coverage {
    pub(super) fn note(&self, met: Met) {
        self.0[met as usize].store(true, Ordering::Relaxed);
    }

    pub(super) fn has(&self, met: Met) -> bool {
        self.0[met as usize].load(Ordering::Relaxed)
    }
}
