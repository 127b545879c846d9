//! One state of the model: what is shared (clock, ledger, target, token service), what each writer remembers, and the
//! faults that are still to come.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zoho_api::names::{AttemptId, Holder, ObjectVersion};
use zoho_api::{Attempt, Outcome, Time, ZohoMintLedgerSpec};
use zoho_core::plan;
use zoho_core::plan::budget::{self, IN_FLIGHT, Limits};
use zoho_core::plan::mirror::{Draft, LedgerMirror};
use zoho_core::plan::record::Lesson;
use zoho_core::plan::renewal::Life;

use super::setting::Setting;
use super::source::inputs;

/// How far the clock was ahead that wrote the record of [`Setting::is_ahead`].
const AHEAD: Duration = Duration::from_secs(8 * 3600);

/// The source at the beginning.
pub(super) const FIRST: u8 = 1;

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
    /// A word of the token service cannot be written.
    LostWord,
    /// The clock of all writers is set back.
    Step,
    /// Another source: the same refresh token with another client secret, say.
    Change,
}

/// The faults that are left: each kind has its number, and all together have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    together: u8,
    each: [u8; 13],
}

impl Faults {
    pub(super) fn new(together: u8, each: &[(Fault, u8)]) -> Self {
        let mut faults = Self { together, each: [0; 13] };
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
            self.each = [0; 13];
        }
    }
}

/// What the API server holds, with its resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Versioned<T> {
    pub(super) version: u16,
    pub(super) value: T,
}

impl<T> Versioned<T> {
    /// As the product writes it.
    pub(super) fn object_version(&self) -> ObjectVersion {
        ObjectVersion { uid: "ledger".into(), resource_version: self.version.to_string() }
    }
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
    pub(super) attempt: AttemptId,
    pub(super) issued_at: Time,
    pub(super) expires_at: Time,
    /// The version of the source that it was made from.
    pub(super) of: u8,
    /// When it was asked for, by the clock that nobody sets.
    pub(super) born: Time,
}

impl Token {
    /// When it really does.
    pub(super) fn dies(&self) -> Time {
        self.born + self.expires_at.since(self.issued_at)
    }

    /// As the product records it.
    pub(super) fn record(&self) -> plan::Token {
        let life = Life { issued_at: self.issued_at, expires_at: self.expires_at };
        plan::Token { life, inputs: inputs(self.of), attempt: self.attempt.clone() }
    }
}

/// The token service, with its own count of requests and living tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Server {
    requests: Vec<Time>,
    /// Attempt and death of each living token, oldest first.
    alive: Vec<(AttemptId, Time)>,
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
        attempt: &AttemptId,
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
            self.alive.push((attempt.clone(), now + life));
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
    pub(super) id: AttemptId,
    pub(super) at: Time,
    /// Did its entry really get into the ledger? The writer does not look at this; property S3 does.
    pub(super) is_committed: bool,
    /// The version of the source that is sent.
    pub(super) of: u8,
    /// When it was reserved, by the clock that nobody sets.
    pub(super) born: Time,
}

/// How far a writer has got. The clock and the other writers may move between any two phases.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Idle,
    /// The next ledger is composed from what was seen and its write is on the way; without a reservation it only keeps
    /// what must not be forgotten.
    Composed {
        draft: Box<Draft>,
        reservation: Option<Reservation>,
    },
    /// The entry is in the ledger.
    Reserved(Reservation),
    /// The deadline was looked at; the request is next.
    Cleared(Reservation),
    /// The token service said something that must be written down.
    Told,
    /// The target, in the version that was seen, is about to get this token.
    Storing {
        token: Token,
        on: u16,
    },
}

/// A word of the token service, by the clock that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Heard {
    pub(super) silent_until: Time,
    /// It refused the source at this instant. A token that is minted from it in spite of that ends the silence.
    pub(super) refused_at: Option<Time>,
}

/// One process that believes to lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Writer {
    /// This process; another one after a restart.
    pub(super) holder: Holder,
    /// The ledger as this process knows it: the product's own.
    pub(super) mirror: LedgerMirror,
    /// The version of the source that it has read, where that is played.
    pub(super) source: Option<u8>,
    /// What the token service has asked it for. It does not look at this; property S16 does.
    pub(super) heard: Option<Heard>,
    /// Drafts composed at this instant: what makes their ids unique, as chance does it in the product.
    pub(super) drafts: u8,
    pub(super) hand: Option<Token>,
    /// The token at hand has been stored.
    pub(super) has_stored: bool,
    /// And once more, over that of another writer.
    pub(super) has_stored_again: bool,
    /// The request of a person was acted on.
    pub(super) has_acted: bool,
    pub(super) phase: Phase,
    pub(super) is_paused: bool,
}

impl Writer {
    pub(super) fn new(holder: Holder) -> Self {
        Self {
            holder,
            mirror: LedgerMirror::default(),
            source: None,
            heard: None,
            drafts: 0,
            hand: None,
            has_stored: false,
            has_stored_again: false,
            has_acted: false,
            phase: Phase::Idle,
            is_paused: false,
        }
    }

    /// Is this attempt on its way?
    fn refers_to(&self, id: &AttemptId) -> bool {
        match &self.phase {
            Phase::Composed { .. } => true,
            Phase::Reserved(reservation) | Phase::Cleared(reservation) => reservation.id == *id,
            Phase::Idle | Phase::Told | Phase::Storing { .. } => false,
        }
    }

    pub(super) fn learn(&mut self, id: AttemptId, outcome: Outcome, life: Option<Duration>) {
        let life = life.and_then(|life| i32::try_from(life.as_secs()).ok());
        self.mirror.learn(Lesson::Outcome { id, outcome, life });
    }

    /// Takes in the ledger as the API server has it, or had it.
    pub(super) fn see(&mut self, ledger: &Versioned<Record>, now: Time) {
        let version = ledger.object_version();
        let _is_news = match &ledger.value {
            Record::Absent => return self.mirror.gone(),
            Record::Unreadable => self.mirror.absorb(version, None, now),
            Record::Kept(record) => self.mirror.absorb(version, Some(record.as_ref().clone()), now),
        };
    }

    /// Does it know more of the ledger than what is stored?
    pub(super) fn has_learnt(&self) -> bool {
        let mut mirror = self.mirror.clone();
        mirror.gone();
        mirror != LedgerMirror::default()
    }

    /// Forgets what it will see again at its next look, and what it learnt where the ledger says the same. Returns
    /// whether it knows the ledger as it is: then it does not take an older one for it.
    fn forget_what_it_sees_again(&mut self, ledger: &Versioned<Record>, limits: Option<Limits>, now: Time) -> bool {
        let knows = self.mirror.version() == Some(&ledger.object_version());
        match &ledger.value {
            Record::Absent => self.mirror.gone(),
            Record::Unreadable if knows => return false,
            Record::Kept(record) if knows && budget::is_from_the_future(record, now) => return false,
            Record::Unreadable | Record::Kept(_) => {
                self.see(ledger, now);
                if let Some(limits) = limits.filter(|_| self.has_learnt()) {
                    let mut fresh = Self::new(self.holder.clone());
                    fresh.see(ledger, now);
                    let says_the_same = self.mirror.look(false, now) == fresh.mirror.look(false, now);
                    if says_the_same && self.mirror.keep(false, limits, now).is_none() {
                        self.mirror = fresh.mirror;
                    }
                }
                self.mirror.gone();
            }
        }
        knows
    }
}

/// One state.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// By the clock that nobody sets: that of the token service.
    pub(super) now: Time,
    /// How far the clock of the writers is behind it.
    pub(super) behind: Duration,
    /// The version of the source.
    pub(super) source: u8,
    /// The version of the source that the status calls observed, where that is played.
    pub(super) status: Option<u8>,
    /// Tokens minted, where they are counted.
    pub(super) mints: u8,
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
            ('a'..).take(setting.writers).map(|name| Writer::new(format!("{name}0").into())).collect();
        for (number, Past { ago, life, outcome }) in setting.past.iter().enumerate() {
            let at = start - Duration::from_secs(*ago);
            let lasts = Duration::from_secs(*life);
            let id = AttemptId::from(format!("past{number}"));
            if let Some(outcome) = outcome {
                let minted = matches!(outcome, Outcome::Minted | Outcome::Unknown).then_some(lasts);
                server.take(&id, minted, setting.server, at).expect("a past within the limits of the server");
            } else {
                writers[0].phase =
                    Phase::Cleared(Reservation { id: id.clone(), at, is_committed: true, of: FIRST, born: at });
                writers[0].is_paused = true;
            }
            let known = (*outcome == Some(Outcome::Minted)).then_some(lasts);
            if let Some(life) = known {
                token = Some(Token { attempt: id.clone(), issued_at: at, expires_at: at + life, of: FIRST, born: at });
            }
            ledger.attempts.push(Attempt {
                id,
                at,
                holder: if outcome.is_none() { writers[0].holder.clone() } else { Holder::default() },
                inputs: inputs(FIRST),
                life: known.and_then(|life| i32::try_from(life.as_secs()).ok()),
                outcome: *outcome,
                namespace: "ns".into(),
                ..Attempt::default()
            });
        }
        server.forget(start);
        if setting.is_ahead {
            let at = start + AHEAD;
            ledger.throttled_until = Some(at);
            let (id, holder) = ("ahead".into(), "ahead".into());
            ledger.attempts.push(Attempt {
                id,
                at,
                holder,
                inputs: inputs(FIRST),
                life: None,
                outcome: None,
                namespace: "ns".into(),
                ..Attempt::default()
            });
        }
        let value = if setting.past.is_empty() { Record::Absent } else { Record::Kept(Arc::new(ledger)) };
        let ledger = Versioned { version: 0, value };
        let token_stands = token.is_some();
        let target = Versioned { version: 0, value: token };
        let heals_within = setting.heals_within.filter(|_| setting.faults.are_over());
        Self {
            now: start,
            behind: Duration::ZERO,
            source: FIRST,
            status: (setting.plays_the_source() && token_stands).then_some(FIRST),
            mints: 0,
            former_ledger: ledger.clone(),
            ledger,
            former_target: target.clone(),
            target,
            server,
            writers,
            is_asked: false,
            faults: setting.faults,
            heals_by: heals_within.map(|seconds| start + Duration::from_secs(seconds)),
            is_settled: false,
            adrift: None,
            broken: Vec::new(),
        }
    }

    /// The clock that writers read.
    pub(super) fn wall(&self) -> Time {
        self.now - self.behind
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

    /// What the columns for people say is left out: it changes no decision.
    pub(super) fn keep_record(&mut self, record: &ZohoMintLedgerSpec) -> ObjectVersion {
        let record = record.clone();
        let plain = ZohoMintLedgerSpec { last_mint_time: None, counts: None, last_verdict: None, ..record };
        self.put_ledger(Record::Kept(Arc::new(plain)));
        self.ledger.object_version()
    }

    pub(super) fn put_ledger(&mut self, value: Record) {
        let version = self.ledger.version + 1;
        self.former_ledger = std::mem::replace(&mut self.ledger, Versioned { version, value });
        self.adrift = None;
        self.is_settled = false;
        self.forget_former();
    }

    pub(super) fn put_target(&mut self, token: Token) {
        let version = self.target.version + 1;
        self.former_target = std::mem::replace(&mut self.target, Versioned { version, value: Some(token) });
        self.is_settled = false;
        self.forget_former();
    }

    pub(super) fn move_to(&mut self, now: Time, limits: Limits) {
        self.now = now;
        self.is_settled = false;
        self.server.forget(now);
        let wall = self.wall();
        for writer in &mut self.writers {
            writer.drafts = 0;
            writer.heard = writer.heard.filter(|heard| heard.silent_until > now);
            if writer.hand.take_if(|token| token.expires_at <= wall).is_some() {
                (writer.has_stored, writer.has_stored_again) = (false, false);
            }
        }
        self.forget_trifles(limits);
    }

    /// A name for a process that nothing refers to.
    pub(super) fn unused_holder(&self, prefix: &str) -> Holder {
        let mut names = (0..).map(|number: u32| Holder::from(format!("{prefix}{number}")));
        names.find(|name| !self.mentions(name)).expect("numbers do not end")
    }

    fn mentions(&self, name: &Holder) -> bool {
        let is_in = |ledger: &ZohoMintLedgerSpec| ledger.attempts.iter().any(|attempt| attempt.holder == *name);
        let records = [&self.ledger.value, &self.former_ledger.value];
        let is_drafted =
            |writer: &Writer| matches!(&writer.phase, Phase::Composed { draft, .. } if is_in(&draft.record));
        records.into_iter().any(|record| matches!(record, Record::Kept(ledger) if is_in(ledger)))
            || self.adrift.iter().any(|ledger| is_in(ledger))
            || self.writers.iter().any(|writer| writer.holder == *name || is_drafted(writer))
    }

    /// Was this writer asked for silence, and does that still stand for a request that was reserved then?
    pub(super) fn is_silenced(&self, writer: &Writer, reserved: Time) -> bool {
        let has_minted_since = |refused_at| self.tokens().any(|token| token.born >= refused_at);
        let stands = |heard: Heard| reserved < heard.silent_until && !heard.refused_at.is_some_and(has_minted_since);
        writer.heard.is_some_and(stands)
    }

    fn tokens(&self) -> impl Iterator<Item = &Token> {
        let targets = [&self.target.value, &self.former_target.value];
        targets.into_iter().chain(self.writers.iter().map(|writer| &writer.hand)).flatten()
    }

    /// What cannot change anything any more must not tell states apart: lessons that the ledger knows, tokens that were
    /// replaced, names and versions that nothing refers to.
    fn forget_trifles(&mut self, limits: Limits) {
        let is_over: Vec<bool> = self.writers.iter().map(|writer| !self.has_unstored_token(writer)).collect();
        for (writer, is_over) in self.writers.iter_mut().zip(is_over) {
            if is_over && self.faults.left(Fault::Stale) == 0 && !matches!(writer.phase, Phase::Storing { .. }) {
                writer.hand = None;
                (writer.has_stored, writer.has_stored_again) = (false, false);
            }
        }
        let knowing = self.forget_mirrors(limits);
        if let Record::Kept(ledger) = &self.ledger.value {
            let learnt: Vec<AttemptId> = self.writers.iter().flat_map(|writer| self.learnt_by(writer)).collect();
            let is_old = |attempt: &Attempt| {
                attempt.at + IN_FLIGHT <= self.wall()
                    && !attempt.id.as_str().is_empty()
                    && !self.writers.iter().any(|writer| writer.refers_to(&attempt.id))
                    && !self.tokens().any(|token| token.attempt == attempt.id)
                    && !learnt.contains(&attempt.id)
            };
            if self.adrift.is_none() && ledger.attempts.iter().any(is_old) {
                let mut renamed = ledger.as_ref().clone();
                for attempt in renamed.attempts.iter_mut().filter(|attempt| is_old(attempt)) {
                    attempt.id = AttemptId::default();
                    attempt.holder = Holder::default();
                }
                self.ledger.value = Record::Kept(Arc::new(renamed));
                if self.former_ledger.version == self.ledger.version {
                    self.former_ledger = self.ledger.clone();
                }
            }
        }
        let uses_versions = |writer: &Writer| {
            writer.mirror.is_stored() || matches!(writer.phase, Phase::Composed { .. } | Phase::Storing { .. })
        };
        if self.adrift.is_none() && !self.writers.iter().any(uses_versions) {
            self.former_ledger.version = u16::from(self.former_ledger.version == self.ledger.version);
            self.ledger.version = 1;
            self.former_target.version = u16::from(self.former_target.version == self.target.version);
            self.target.version = 1;
        }
        self.forget_former();
        self.remind(&knowing);
    }

    /// Attempts of which the writer knows more than the ledger.
    fn learnt_by(&self, writer: &Writer) -> Vec<AttemptId> {
        let Record::Kept(ledger) = &self.ledger.value else { return Vec::new() };
        if !writer.has_learnt() {
            return Vec::new();
        }
        let mut writer = writer.clone();
        writer.see(&self.ledger, self.wall());
        let known = writer.mirror.look(false, self.wall());
        let says_more = |attempt: &&Attempt| {
            let stored = ledger.attempts.iter().find(|stored| stored.id == attempt.id);
            stored.is_some_and(|stored| stored.outcome != attempt.outcome)
        };
        known.attempts.iter().filter(says_more).map(|attempt| attempt.id.clone()).collect()
    }

    /// See [`Writer::forget_what_it_sees_again`]; returns who knows the ledger as it is.
    fn forget_mirrors(&mut self, limits: Limits) -> Vec<bool> {
        let wall = self.wall();
        let Self { writers, ledger, adrift, .. } = self;
        // What a writer learnt of an entry that may still arrive is not known to the ledger.
        let limits = if adrift.is_some() { None } else { Some(limits) };
        writers.iter_mut().map(|writer| writer.forget_what_it_sees_again(ledger, limits, wall)).collect()
    }

    fn remind(&mut self, knowing: &[bool]) {
        if self.faults.left(Fault::Stale) > 0 {
            let wall = self.wall();
            for (writer, _) in self.writers.iter_mut().zip(knowing).filter(|(_, knows)| **knows) {
                writer.see(&self.ledger, wall);
            }
        }
    }

    /// What the writers know of the ledger must not tell states apart where they will see it again.
    pub(super) fn forget_seen(&mut self, limits: Limits) {
        let knowing = self.forget_mirrors(limits);
        self.remind(&knowing);
    }

    /// Does a living token stand in the target?
    pub(super) fn is_valid(&self) -> bool {
        self.target.value.as_ref().is_some_and(|token| token.dies() > self.now)
    }

    /// Does the writer hold a token that the target should get?
    pub(super) fn has_unstored_token(&self, writer: &Writer) -> bool {
        let is_better = |token: &Token| {
            let held = self.target.value.as_ref();
            let wins = |held: &Token| held.of != token.of || token.record().supersedes(&held.record(), self.wall());
            token.of == self.source && held.is_none_or(wins)
        };
        writer.hand.as_ref().is_some_and(is_better)
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
