//! One state of the model: what is shared (clock, ledger, target, token service), what each writer remembers, and the
//! faults that are still to come.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zoho_api::{Attempt, Outcome, Time, ZohoMintLedgerSpec};
use zoho_core::plan;
use zoho_core::plan::budget::{IN_FLIGHT, Limits};
use zoho_core::plan::record::Lesson;
use zoho_core::plan::renewal::Life;

use super::setting::Setting;

/// What all writers send.
pub(super) const INPUTS: &str = "inputs";

/// When every play begins.
pub(super) fn start() -> Time {
    Time::from_unix(1_000_000)
}

/// What may go wrong, or be done by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// A writer dies and starts anew, as another holder.
    Crash,
    /// The request mints and its answer is lost, or a gateway's 5xx hides it.
    LostReply,
    /// The request mints nothing: a 5xx, a throttle without cause, or no connection.
    Failure,
    /// The request is refused for good, without cause.
    Refusal,
    /// A write of the ledger whose answer is lost; it may be applied, at once, later or never.
    LostWrite,
    /// A pass that sees the ledger or the target as it was before the last write.
    Stale,
    /// A writer stands still between two steps, for as long as it likes.
    Pause,
    /// A person asks for a renewal.
    Request,
    /// The ledger is deleted or spoilt.
    Loss,
    /// Somebody mints with the same refresh token, without us.
    Login,
}

/// The faults that are left: each kind has its number, and all together have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    together: u8,
    each: [u8; 10],
}

impl Faults {
    pub(super) fn new(together: u8, each: &[(Fault, u8)]) -> Self {
        let mut faults = Self { together, each: [0; 10] };
        for (fault, times) in each {
            faults.each[*fault as usize] = *times;
        }
        faults
    }

    pub(super) fn left(&self, fault: Fault) -> u8 {
        self.each[fault as usize].min(self.together)
    }

    pub(super) fn are_over(&self) -> bool {
        self.together == 0
    }

    fn spend(&mut self, fault: Fault) {
        self.together -= 1;
        self.each[fault as usize] -= 1;
        if self.together == 0 {
            self.each = [0; 10];
        }
    }
}

/// What the API server holds, with its resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Versioned<T> {
    pub(super) version: u16,
    pub(super) value: T,
}

/// The ledger object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Record {
    Absent,
    Unreadable,
    Kept(Arc<ZohoMintLedgerSpec>),
}

/// A token: in a writer's memory, or in the target. Its attempt tells it from all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token {
    pub(super) attempt: String,
    pub(super) issued_at: Time,
    pub(super) expires_at: Time,
}

impl Token {
    /// As the product records it.
    pub(super) fn record(&self) -> plan::Token {
        let life = Life { issued_at: self.issued_at, expires_at: self.expires_at };
        plan::Token { life, inputs: INPUTS.into(), attempt: self.attempt.clone() }
    }
}

/// The token service, with its own count of requests and living tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Server {
    requests: Vec<Time>,
    /// Attempt and death of each living token, oldest first.
    alive: Vec<(String, Time)>,
}

/// The span in which the token service counts requests.
const SERVER_WINDOW: Duration = Duration::from_secs(600);

/// There were too many requests.
#[derive(Debug)]
pub(super) struct TooMany;

impl Server {
    /// Takes a request, which mints where a life is given.
    pub(super) fn take(
        &mut self,
        attempt: &str,
        life: Option<Duration>,
        limits: Limits,
        now: Time,
    ) -> Result<(), TooMany> {
        self.forget(now);
        if self.requests.len() >= limits.attempts {
            return Err(TooMany);
        }
        self.requests.push(now);
        if let Some(life) = life {
            self.alive.push((attempt.to_owned(), now + life));
        }
        if self.alive.len() > limits.live {
            self.alive.remove(0);
        }
        Ok(())
    }

    pub(super) fn has_alive(&self, token: &Token) -> bool {
        self.alive.iter().any(|(attempt, _)| *attempt == token.attempt)
    }

    fn forget(&mut self, now: Time) {
        self.requests.retain(|at| *at + SERVER_WINDOW > now);
        self.alive.retain(|(_, death)| *death > now);
    }
}

/// The right to send one request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reservation {
    pub(super) id: String,
    pub(super) at: Time,
    /// Did its entry really get into the ledger? The writer does not look at this; property S3 does.
    pub(super) is_committed: bool,
}

/// A word of the token service that is written to the ledger at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Word {
    Throttled,
    Refused,
}

/// How far a writer has got. The clock and the other writers may move between any two phases.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Idle,
    /// The next ledger is composed from what was seen and its write is on the way; without a reservation it only keeps a
    /// presumption.
    Composed {
        ledger: Arc<ZohoMintLedgerSpec>,
        on: u16,
        reservation: Option<Reservation>,
    },
    /// The entry is in the ledger.
    Reserved(Reservation),
    /// The deadline was looked at; the request is next.
    Cleared(Reservation),
    /// The token service said something that must be written down.
    Told(Word),
    /// The target, in the version that was seen, is about to get this token.
    Storing {
        token: Token,
        on: u16,
    },
}

/// One process that believes to lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    /// This process; another one after a restart.
    pub(super) holder: String,
    pub(super) lessons: Vec<Lesson>,
    pub(super) hand: Option<Token>,
    /// The token at hand has been stored.
    pub(super) has_stored: bool,
    /// The request of a person was acted on.
    pub(super) has_acted: bool,
    pub(super) phase: Phase,
    pub(super) is_paused: bool,
}

impl Writer {
    pub(super) fn new(holder: String) -> Self {
        Self {
            holder,
            lessons: Vec::new(),
            hand: None,
            has_stored: false,
            has_acted: false,
            phase: Phase::Idle,
            is_paused: false,
        }
    }

    /// Does what it remembers of its attempts, or is about to write, name this one?
    fn refers_to(&self, id: &str) -> bool {
        self.lessons.iter().any(|lesson| lesson.id == id)
            || match &self.phase {
                Phase::Composed { .. } => true,
                Phase::Reserved(reservation) | Phase::Cleared(reservation) => reservation.id == id,
                Phase::Idle | Phase::Told(_) | Phase::Storing { .. } => false,
            }
    }

    fn mentions(&self, name: &str) -> bool {
        let is_under_way = match &self.phase {
            Phase::Composed { reservation, .. } => reservation.as_ref().is_some_and(|new| new.id == name),
            Phase::Reserved(new) | Phase::Cleared(new) => new.id == name,
            Phase::Idle | Phase::Told(_) | Phase::Storing { .. } => false,
        };
        is_under_way || self.holder == name || self.lessons.iter().any(|lesson| lesson.id == name)
    }

    pub(super) fn learn(&mut self, reservation: &Reservation, outcome: Outcome, life: Option<Duration>) {
        let life = life.and_then(|life| i32::try_from(life.as_secs()).ok());
        self.lessons.push(Lesson { id: reservation.id.clone(), outcome, life });
    }
}

/// One state.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) now: Time,
    pub(super) ledger: Versioned<Record>,
    pub(super) former_ledger: Versioned<Record>,
    pub(super) target: Versioned<Option<Token>>,
    pub(super) former_target: Versioned<Option<Token>>,
    pub(super) server: Server,
    pub(super) writers: Vec<Writer>,
    /// A request of a person stands.
    pub(super) is_asked: bool,
    pub(super) faults: Faults,
    /// When the target must be valid again, if no fault is left and anybody asks.
    pub(super) heals_by: Option<Time>,
    /// At this instant a writer has seen everything as it is and found nothing to do.
    pub(super) is_settled: bool,
    /// A write of the ledger that its writer has given up may still arrive, as long as nobody else writes.
    pub(super) adrift: Option<Arc<ZohoMintLedgerSpec>>,
    /// Promises that were broken on the way here.
    pub(super) broken: Vec<&'static str>,
}

/// A request of the time before a play.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// Seconds before the start.
    pub(super) ago: u64,
    /// Life of the token in seconds.
    pub(super) life: u64,
    /// `None`: the first writer has cleared it and stands still since.
    pub(super) outcome: Option<Outcome>,
}

impl World {
    /// After the past of this setting; its last minted token of known life is in the target.
    pub(super) fn new(setting: &Setting) -> Self {
        let mut server = Server { requests: Vec::new(), alive: Vec::new() };
        let mut ledger = ZohoMintLedgerSpec::default();
        let mut token = None;
        let start = start();
        let mut writers: Vec<Writer> =
            ('a'..).take(setting.writers).map(|name| Writer::new(format!("{name}0"))).collect();
        for (number, Past { ago, life, outcome }) in setting.past.iter().enumerate() {
            let at = start - Duration::from_secs(*ago);
            let lasts = Duration::from_secs(*life);
            let id = format!("past{number}");
            if let Some(outcome) = outcome {
                let minted = matches!(outcome, Outcome::Minted | Outcome::Unknown).then_some(lasts);
                server.take(&id, minted, setting.server, at).expect("a past within the limits of the server");
            } else {
                writers[0].phase = Phase::Cleared(Reservation { id: id.clone(), at, is_committed: true });
                writers[0].is_paused = true;
            }
            let known = (*outcome == Some(Outcome::Minted)).then_some(lasts);
            if let Some(life) = known {
                token = Some(Token { attempt: id.clone(), issued_at: at, expires_at: at + life });
            }
            ledger.attempts.push(Attempt {
                id,
                at,
                holder: if outcome.is_none() { writers[0].holder.clone() } else { String::new() },
                inputs: INPUTS.into(),
                life: known.and_then(|life| i32::try_from(life.as_secs()).ok()),
                outcome: *outcome,
            });
        }
        server.forget(start);
        let value = if setting.past.is_empty() { Record::Absent } else { Record::Kept(Arc::new(ledger)) };
        let ledger = Versioned { version: 0, value };
        let target = Versioned { version: 0, value: token };
        Self {
            now: start,
            former_ledger: ledger.clone(),
            ledger,
            former_target: target.clone(),
            target,
            server,
            writers,
            is_asked: false,
            faults: setting.faults,
            heals_by: None,
            is_settled: false,
            adrift: None,
            broken: Vec::new(),
        }
    }

    pub(super) fn spend(&mut self, fault: Fault, heals_within: Option<u64>) {
        self.faults.spend(fault);
        self.disturb(heals_within);
        self.forget_former();
    }

    /// After the last fault, or the end of the last pause, the target must become valid again.
    pub(super) fn disturb(&mut self, heals_within: Option<u64>) {
        let span = heals_within.filter(|_| self.faults.are_over());
        self.heals_by = span.map(|seconds| self.now + Duration::from_secs(seconds));
    }

    pub(super) fn breaks(&mut self, promise: &'static str) {
        if !self.broken.contains(&promise) {
            self.broken.push(promise);
        }
    }

    pub(super) fn put_ledger(&mut self, value: Record) {
        let version = self.ledger.version + 1;
        self.former_ledger = std::mem::replace(&mut self.ledger, Versioned { version, value });
        self.adrift = None;
        self.forget_former();
    }

    pub(super) fn put_target(&mut self, token: Token) {
        let version = self.target.version + 1;
        self.former_target = std::mem::replace(&mut self.target, Versioned { version, value: Some(token) });
        self.forget_former();
    }

    pub(super) fn move_to(&mut self, now: Time) {
        self.now = now;
        self.is_settled = false;
        self.server.forget(now);
        for writer in &mut self.writers {
            if writer.hand.take_if(|token| token.expires_at <= now).is_some() {
                writer.has_stored = false;
            }
        }
        self.forget_trifles();
    }

    /// A name for an attempt or a process that nothing refers to.
    pub(super) fn unused(&self, prefix: &str) -> String {
        let mut names = (0..).map(|number: u32| format!("{prefix}{number}"));
        names.find(|name| !self.mentions(name)).expect("numbers do not end")
    }

    fn mentions(&self, name: &str) -> bool {
        let is_in = |ledger: &ZohoMintLedgerSpec| {
            ledger.attempts.iter().any(|attempt| attempt.id == name || attempt.holder == name)
        };
        let records = [&self.ledger.value, &self.former_ledger.value];
        records.into_iter().any(|record| matches!(record, Record::Kept(ledger) if is_in(ledger)))
            || self.adrift.iter().any(|ledger| is_in(ledger))
            || self.server.alive.iter().any(|(attempt, _)| attempt == name)
            || self.tokens().any(|token| token.attempt == name)
            || self.writers.iter().any(|writer| writer.mentions(name))
    }

    fn tokens(&self) -> impl Iterator<Item = &Token> {
        let targets = [&self.target.value, &self.former_target.value];
        targets.into_iter().chain(self.writers.iter().map(|writer| &writer.hand)).flatten()
    }

    /// What cannot change anything any more must not tell states apart: lessons that the ledger knows, tokens that were
    /// replaced, names and versions that nothing refers to.
    fn forget_trifles(&mut self) {
        let is_over: Vec<bool> = self.writers.iter().map(|writer| !self.has_unstored_token(writer)).collect();
        for (writer, is_over) in self.writers.iter_mut().zip(is_over) {
            if is_over && self.faults.left(Fault::Stale) == 0 && !matches!(writer.phase, Phase::Storing { .. }) {
                writer.hand = None;
                writer.has_stored = false;
            }
            if let (Record::Kept(ledger), None) = (&self.ledger.value, &self.adrift) {
                writer.lessons.retain(|lesson| {
                    let attempt = ledger.attempts.iter().find(|attempt| attempt.id == lesson.id);
                    attempt.is_some_and(|attempt| attempt.outcome != Some(lesson.outcome))
                });
            }
        }
        if let Record::Kept(ledger) = &self.ledger.value {
            let is_old = |attempt: &Attempt| {
                attempt.at + IN_FLIGHT <= self.now
                    && !attempt.id.is_empty()
                    && !self.writers.iter().any(|writer| writer.refers_to(&attempt.id))
                    && !self.tokens().any(|token| token.attempt == attempt.id)
            };
            if self.adrift.is_none() && ledger.attempts.iter().any(is_old) {
                let mut renamed = ledger.as_ref().clone();
                for attempt in renamed.attempts.iter_mut().filter(|attempt| is_old(attempt)) {
                    attempt.id.clear();
                    attempt.holder.clear();
                }
                self.ledger.value = Record::Kept(Arc::new(renamed));
                if self.former_ledger.version == self.ledger.version {
                    self.former_ledger = self.ledger.clone();
                }
            }
        }
        let uses_versions = |writer: &Writer| matches!(writer.phase, Phase::Composed { .. } | Phase::Storing { .. });
        if self.adrift.is_none() && !self.writers.iter().any(uses_versions) {
            self.former_ledger.version = u16::from(self.former_ledger.version == self.ledger.version);
            self.ledger.version = 1;
            self.former_target.version = u16::from(self.former_target.version == self.target.version);
            self.target.version = 1;
        }
        self.forget_former();
    }

    /// Does a living token stand in the target?
    pub(super) fn is_valid(&self) -> bool {
        self.target.value.as_ref().is_some_and(|token| token.expires_at > self.now)
    }

    /// Does the writer hold a token that the target should get?
    pub(super) fn has_unstored_token(&self, writer: &Writer) -> bool {
        let held = self.target.value.as_ref().map(Token::record);
        writer.hand.as_ref().is_some_and(|token| held.is_none_or(|held| token.record().supersedes(&held)))
    }

    /// What nobody can see any more must not tell states apart.
    fn forget_former(&mut self) {
        if self.faults.left(Fault::Stale) == 0 {
            self.former_ledger = self.ledger.clone();
            self.former_target = self.target.clone();
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?} {:?}", self.now.unix(), self.ledger, self.target, self.writers)
    }
}
