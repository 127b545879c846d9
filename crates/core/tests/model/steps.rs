//! The steps of writers.
//!
//! What a writer decides, it asks the product: `plan::plan` says what to do, and a [`LedgerMirror`] knows the ledger,
//! counts and composes. Only the order of calls is played here: that of the runtime's `mint::ledger`.

use std::sync::Arc;
use std::time::Duration;

use zoho_api::{Outcome, Reason, Time, ZohoMintLedgerSpec};
use zoho_core::issuer::reply::{self, Failed, Head};
use zoho_core::plan::budget::{CONFIRM_AFTER, Hold, Request, SPEND_WITHIN};
use zoho_core::plan::mirror::{Draft, LedgerMirror};
use zoho_core::plan::record::Lesson;
use zoho_core::plan::renewal::{Life, Renewal};
use zoho_core::plan::{self, Facts, Plan, Target};

use super::coverage::Met;
use super::setting::{
    Fate, MINTS, MONOTONE, Protocol, QUIET, RATE, RESERVE, Reply, SOURCE, STORED, Setting, Sight, WORD,
};
use super::source;
use super::world::{Fault, Heard, Phase, Record, Reservation, Token, Versioned, World, Writer};

/// Writes tried in a row, as the runtime does.
const MOST_TRIES: usize = 5;

/// What a pass of a writer sees, and what the product makes of it.
pub(super) struct Look {
    mirror: LedgerMirror,
    facts: Facts,
    /// A target says that there must be a ledger.
    expected: bool,
    /// The source itself was read.
    was_read: bool,
    pub(super) plan: Plan,
}

impl Setting {
    /// What a pass of this writer sees, and what the product makes of it.
    pub(super) fn decide(&self, world: &World, writer: &Writer, sight: Sight) -> Look {
        let now = world.wall();
        let target = if sight == Sight::FormerTarget { &world.former_target } else { &world.target };
        let held = target.value.as_ref().map(Token::record).map(|token| self.distort(token, now));
        let is_there = held.is_some();
        let target = if is_there { Target::Ours { token: held, intact: true } } else { Target::Absent };
        let knows_source = !self.plays_the_source() || writer.source == Some(world.source);
        let known = if knows_source { None } else { source::by_status(world.status, world.source, &target) };
        let was_read = !knows_source && known.is_none();
        let source = known.unwrap_or_else(|| source::usable(world.source));
        let (inputs, _) = source.usable().expect("a source that can be used");
        let expected = target.token().is_some_and(|token| token.inputs == *inputs);
        let mut mirror = self.mirror(world, writer, sight);
        let ledger = if self.has_ledger() {
            if let Some(token) = target.token() {
                mirror.witness(token);
            }
            mirror.look(expected, now)
        } else {
            ZohoMintLedgerSpec::default()
        };
        let hand = writer.hand.as_ref().map(Token::record).filter(|token| token.inputs == *inputs);
        let facts = Facts {
            deleting: false,
            defect: None,
            suspended: false,
            renewal: Renewal::BeforeExpiry(Duration::from_secs(1800)),
            spacing: Duration::ZERO,
            is_login: false,
            namespace: "ns".into(),
            renew_requested: world.is_asked && !writer.has_acted,
            presented_otherwise: false,
            token_ended: false,
            stored: writer.hand.as_ref().filter(|_| writer.has_stored).map(|token| token.attempt.clone()),
            conflict: None,
            at_hand: hand.filter(|hand| target.token().is_none_or(|held| !self.passes_over(hand, held))),
            verification: None,
            ledger,
            minting: false,
            grounded_until: None,
            guarded_until: None,
            source,
            target,
        };
        let plan = plan::plan(&facts, &writer.holder, self.limits(), now);
        Look { mirror, facts, expected, was_read, plan }
    }

    /// Where a step of the clock is not noticed, a token seems to be issued now at the latest.
    fn distort(&self, token: plan::Token, now: Time) -> plan::Token {
        if self.protocol != Protocol::BlindToSteps {
            return token;
        }
        let issued_at = token.life.issued_at.min(now);
        plan::Token { life: Life { issued_at, ..token.life }, ..token }
    }

    /// Where tokens are ordered by expiry, one that expires earlier is not newer.
    fn passes_over(&self, hand: &plan::Token, held: &plan::Token) -> bool {
        self.protocol == Protocol::ByExpiry && hand.life.expires_at <= held.life.expires_at
    }

    /// The ledger as the writer knows it once it has seen that one.
    fn mirror(&self, world: &World, writer: &Writer, sight: Sight) -> LedgerMirror {
        let is_lost = !matches!(world.ledger.value, Record::Kept(_));
        let forgets = self.protocol == Protocol::ForgetfulCorrection
            || (self.protocol == Protocol::ForgetfulPresumption && is_lost);
        let mut writer = if forgets { Writer::new(writer.holder.clone()) } else { writer.clone() };
        match (sight, &world.former_ledger.value) {
            // That a list does not name a ledger is believed after a read only.
            (Sight::FormerLedger, Record::Absent) => {}
            (Sight::FormerLedger, _) => writer.see(&world.former_ledger, world.wall()),
            (Sight::Present | Sight::FormerTarget, _) => writer.see(&world.ledger, world.wall()),
        }
        writer.mirror
    }

    pub(super) fn look(&self, world: &mut World, index: usize, sight: Sight) {
        let Look { mirror, facts, expected, was_read, plan } = self.decide(world, &world.writers[index], sight);
        world.writers[index].mirror = mirror;
        if was_read {
            world.writers[index].source = Some(world.source);
        }
        self.note_hold(&plan);
        match &plan {
            Plan::Store => {
                let token = world.writers[index].hand.clone().expect("only a token at hand is stored");
                let seen = if sight == Sight::FormerTarget { &world.former_target } else { &world.target };
                world.writers[index].phase = Phase::Storing { token, on: seen.version };
            }
            Plan::Mint { why } => self.mint(world, index, &facts, (*why, expected)),
            Plan::Keep { .. } | Plan::Wait { .. } | Plan::Park { .. } => {
                let now = world.wall();
                let writer = &mut world.writers[index];
                let draft = if self.keeps() { writer.mirror.keep(expected, self.limits(), now) } else { None };
                if let Some(draft) = draft {
                    writer.phase = Phase::Composed { draft: Box::new(draft), reservation: None };
                } else if sight == Sight::Present {
                    self.report(world, &facts);
                    Self::settle(world, &plan);
                }
            }
            Plan::Refuse(_) | Plan::Suspend | Plan::Release => unreachable!("{plan:?}"),
        }
    }

    /// Does a pass with nothing to do write what must not be forgotten?
    fn keeps(&self) -> bool {
        let forgets = matches!(self.protocol, Protocol::ForgetfulPresumption | Protocol::ForgetfulCorrection);
        self.has_ledger() && !forgets
    }

    /// Nothing is left to do at this instant.
    fn settle(world: &mut World, plan: &Plan) {
        let is_waiting = matches!(plan, Plan::Wait { .. });
        if matches!(plan, Plan::Keep { .. }) && world.target.value.as_ref().is_some_and(|held| held.of != world.source)
        {
            world.breaks(SOURCE);
        }
        world.is_settled = true;
        world.is_asked &= is_waiting;
        if !world.is_asked {
            world.writers.iter_mut().for_each(|writer| writer.has_acted = false);
        }
    }

    /// The status, as far as a restart trusts it.
    fn report(&self, world: &mut World, facts: &Facts) {
        if self.plays_the_source() {
            world.status = if self.protocol == Protocol::StatusSaysSeen {
                Some(world.source)
            } else {
                source::observed(&facts.source, world.source, &facts.target)
            };
        }
    }

    /// The source is read before anything is minted from it; the flight starts, and the pass ends with its status.
    fn mint(&self, world: &mut World, index: usize, facts: &Facts, (why, expected): (plan::MintReason, bool)) {
        if self.plays_the_source() && world.writers[index].source != Some(world.source) {
            world.writers[index].source = Some(world.source);
            if facts.source != source::usable(world.source) {
                return;
            }
        }
        if why == plan::MintReason::Requested {
            self.met.note(Met::Wanted);
        }
        let writer = &world.writers[index];
        let is_unstored = |hand: &Token| {
            let is_newer = |held: &Token| held.born <= hand.born && held.attempt != hand.attempt;
            let (life, now) = (hand.record().life, world.wall());
            world.target.value.as_ref().is_none_or(is_newer)
                && !writer.has_stored
                && hand.of == world.source
                && life.is_alive(now)
                && !life.is_from_the_future(now)
        };
        if writer.hand.as_ref().is_some_and(is_unstored) {
            world.breaks(STORED);
        }
        world.writers[index].phase = self.compose(world, index, facts, (why, expected));
        self.report(world, facts);
    }

    /// A flight starts: the entry is composed, or, without a ledger, the request is next.
    fn compose(
        &self,
        world: &mut World,
        index: usize,
        facts: &Facts,
        (why, expected): (plan::MintReason, bool),
    ) -> Phase {
        let (now, born, of) = (world.wall(), world.now, world.source);
        let has_stepped = u32::from(!world.behind.is_zero());
        let writer = &mut world.writers[index];
        writer.has_acted |= facts.renew_requested;
        let slot = u32::try_from(index).expect("few writers");
        let random = has_stepped << 16 | slot << 8 | u32::from(writer.drafts);
        writer.drafts += 1;
        if !self.has_ledger() {
            let id = format!("{}.{random}", now.unix()).into();
            return Phase::Cleared(Reservation { id, at: now, is_committed: false, of, born });
        }
        let request = Request {
            inputs: &source::inputs(of),
            need: why.need(),
            asked: facts.renew_requested,
            holder: &writer.holder,
            spacing: facts.spacing,
            login: facts.is_login,
            namespace: &facts.namespace,
        };
        let reserved = writer.mirror.reserve(&request, self.limits(), (expected, random), now);
        let (id, draft) = reserved.expect("plan and budget agree");
        let reservation = Reservation { id, at: now, is_committed: false, of, born };
        Phase::Composed { draft: Box::new(draft), reservation: Some(reservation) }
    }

    fn note_hold(&self, plan: &Plan) {
        let Plan::Wait { why, .. } = plan else { return };
        match why {
            Hold::InFlight => self.met.note(Met::HeldInFlight),
            Hold::Throttled => self.met.note(Met::HeldByThrottle),
            Hold::Confirming(_) => self.met.note(Met::HeldForConfirmation),
            Hold::WindowFull => self.met.note(Met::HeldByWindow),
            Hold::LiveFull => self.met.note(Met::HeldByLiveTokens),
            Hold::BackOff | Hold::Spaced | Hold::Guarded(_) => {}
        }
    }

    pub(super) fn put(&self, world: &mut World, index: usize) {
        let Phase::Composed { draft, reservation } = take_phase(world, index) else { return };
        if replaces(&draft, &world.ledger) {
            let is_presumed = draft.record.presumed_full_at.is_some();
            let version = world.keep_record(&draft.record);
            let writer = &mut world.writers[index];
            writer.mirror.confirm(*draft, version);
            match reservation {
                Some(reservation) => writer.phase = Phase::Reserved(Reservation { is_committed: true, ..reservation }),
                None if is_presumed => self.met.note(Met::PresumptionKept),
                None => {}
            }
            return;
        }
        self.met.note(Met::LedgerConflict);
        let is_gone = world.ledger.value == Record::Absent;
        Self::look_for_own_entry(world, index, reservation.filter(|_| !is_gone));
    }

    /// The answer is lost, and but for one fate so is the attempt to read the ledger again: the writer takes it that
    /// nothing was reserved.
    pub(super) fn lose_put(world: &mut World, index: usize, fate: Fate) {
        let Phase::Composed { draft, reservation } = take_phase(world, index) else { return };
        if replaces(&draft, &world.ledger) {
            match fate {
                Fate::Applied => drop(world.keep_record(&draft.record)),
                Fate::Found => {
                    world.keep_record(&draft.record);
                    return Self::look_for_own_entry(world, index, reservation);
                }
                Fate::Delayed => world.adrift = Some(Arc::new(draft.record)),
                Fate::Dropped => {}
            }
        }
        if let Some(reservation) = reservation {
            world.writers[index].learn(reservation.id, Outcome::NotSent, None);
        }
    }

    /// The ledger is read again after a write without a clear answer.
    fn look_for_own_entry(world: &mut World, index: usize, reservation: Option<Reservation>) {
        let wall = world.wall();
        let World { writers, ledger, .. } = world;
        let writer = &mut writers[index];
        writer.see(ledger, wall);
        match reservation {
            Some(reservation) if writer.mirror.holds(&reservation.id) => {
                let is_entry = |record: &Record| matches!(record, Record::Kept(kept) if kept.attempts.iter().any(|entry| entry.id == reservation.id));
                let is_committed = is_entry(&ledger.value);
                writer.phase = Phase::Reserved(Reservation { is_committed, ..reservation });
            }
            Some(reservation) => writer.learn(reservation.id, Outcome::NotSent, None),
            None => {}
        }
    }

    pub(super) fn arrive(&self, world: &mut World) {
        if let Some(record) = world.adrift.take() {
            world.keep_record(&record);
            self.met.note(Met::LateWriteArrived);
        }
    }

    /// The deadline is looked at. A step of its own: a pause may fall between it and the request.
    pub(super) fn check(&self, world: &mut World, index: usize) {
        let Phase::Reserved(reservation) = take_phase(world, index) else { return };
        let writer = &mut world.writers[index];
        if self.protocol == Protocol::ReserveOnly || world.now < reservation.born + SPEND_WITHIN {
            writer.phase = Phase::Cleared(reservation);
        } else {
            self.met.note(Met::DeadlinePassed);
            writer.learn(reservation.id, Outcome::NotSent, None);
        }
    }

    pub(super) fn post(&self, world: &mut World, index: usize, reply: Reply) {
        let Phase::Cleared(reservation) = take_phase(world, index) else { return };
        if !reservation.is_committed {
            world.breaks(RESERVE);
        }
        if world.now >= reservation.born + SPEND_WITHIN {
            self.met.note(Met::SentAfterPause);
        }
        if world.is_silenced(&world.writers[index], reservation.born) {
            world.breaks(WORD);
        }
        if reply == Reply::NoConnection {
            world.writers[index].learn(reservation.id, Outcome::NotSent, None);
            return;
        }
        let life = self.token_life();
        let mints = matches!(reply, Reply::Token | Reply::LostToken | Reply::HiddenToken).then_some(life);
        let taken = world.server.take(&reservation.id, mints, self.server, world.now);
        if taken.is_err() {
            world.breaks(RATE);
        }
        if let (Some(most), Some(_)) = (self.most_mints, mints) {
            world.mints += 1;
            if world.mints > most {
                world.breaks(MINTS);
            }
        }
        let (now, wall) = (world.now, world.wall());
        let writer = &mut world.writers[index];
        match taken.map_or(Reply::Throttled, |()| reply) {
            Reply::Token => {
                writer.learn(reservation.id.clone(), Outcome::Minted, Some(life));
                let Reservation { id: attempt, at: issued_at, of, born, .. } = reservation;
                let expires_at = issued_at + life;
                if expires_at > wall {
                    (writer.has_stored, writer.has_stored_again) = (false, false);
                    writer.hand = Some(Token { attempt, issued_at, expires_at, of, born });
                }
            }
            Reply::LostToken | Reply::ServerError => writer.learn(reservation.id, Outcome::Unknown, None),
            Reply::HiddenToken => writer.learn(reservation.id, self.outcome_of_gateway(wall), None),
            Reply::Throttled => {
                let reply::Reply::Throttled { silence } = reply::classify(Head::of(429), b"", wall) else {
                    unreachable!("429 is a throttle")
                };
                writer.learn(reservation.id, Outcome::NotMinted, None);
                let heard = Heard { silent_until: now + silence, refused_at: None };
                self.hear(writer, Lesson::Throttle { until: wall + silence }, heard);
            }
            Reply::Refused => {
                writer.learn(reservation.id, Outcome::NotMinted, None);
                let (inputs, reason) = (source::inputs(reservation.of), Reason::RefreshTokenRejected);
                let heard = Heard { silent_until: now + CONFIRM_AFTER, refused_at: Some(now) };
                self.hear(writer, Lesson::Refusal { inputs, reason, code: None, at: wall }, heard);
            }
            Reply::NoConnection => {}
        }
    }

    /// What the product makes of the error that a gateway sends instead of the answer.
    fn outcome_of_gateway(&self, now: Time) -> Outcome {
        let body = br#"{"error":"general_error"}"#;
        match reply::classify(Head::of(502), body, now) {
            _ if self.protocol == Protocol::TrustsEveryError => Outcome::NotMinted,
            reply::Reply::Failed(Failed { outcome, .. }) => outcome,
            reply @ (reply::Reply::Minted(_) | reply::Reply::Throttled { .. }) => unreachable!("{reply:?}"),
        }
    }

    fn hear(&self, writer: &mut Writer, word: Lesson, heard: Heard) {
        if self.has_ledger() {
            writer.mirror.learn(word);
            writer.phase = Phase::Told;
            writer.heard = Some(heard);
        }
    }

    /// A word that cannot be written is known all the same.
    pub(super) fn lose_word(&self, world: &mut World, index: usize) {
        take_phase(world, index);
        if self.protocol == Protocol::ForgetfulWord {
            world.writers[index].mirror = LedgerMirror::default();
        }
        self.met.note(Met::WordLost);
    }

    /// A word of the token service counts already; it is written at once, too.
    pub(super) fn keep(&self, world: &mut World, index: usize) {
        let Phase::Told = take_phase(world, index) else { return };
        for _ in 0..MOST_TRIES {
            let now = world.wall();
            let Some(draft) = world.writers[index].mirror.keep(true, self.limits(), now) else { return };
            if replaces(&draft, &world.ledger) {
                let version = world.keep_record(&draft.record);
                return world.writers[index].mirror.confirm(draft, version);
            }
            Self::look_for_own_entry(world, index, None);
        }
    }

    pub(super) fn store(&self, world: &mut World, index: usize) {
        let Phase::Storing { token, on } = take_phase(world, index) else { return };
        if on != world.target.version && self.protocol != Protocol::MintFirst {
            self.met.note(Met::TargetConflict);
            return;
        }
        let has_stepped = !world.behind.is_zero();
        let writer = &mut world.writers[index];
        if std::mem::replace(&mut writer.has_stored, true) {
            let is_first = !std::mem::replace(&mut writer.has_stored_again, true);
            if !(has_stepped && is_first) {
                world.breaks(QUIET);
            }
        }
        let is_older = |held: &Token| held.of == token.of && held.born > token.born;
        if !has_stepped && world.target.value.as_ref().is_some_and(is_older) {
            world.breaks(MONOTONE);
        }
        world.put_target(token);
    }

    pub(super) fn crash(&self, world: &mut World, index: usize) {
        let writer = &world.writers[index];
        if world.has_unstored_token(writer) {
            self.met.note(Met::CrashBetweenRequestAndTarget);
        }
        if matches!(writer.phase, Phase::Reserved(_) | Phase::Cleared(_)) {
            self.met.note(Met::CrashWithReservation);
        }
        world.writers[index] =
            Writer { drafts: writer.drafts, ..Writer::new(world.unused_holder(&writer.holder.as_str()[..1])) };
        self.spend(world, Fault::Crash);
    }
}

/// Is the draft a write of this version?
fn replaces(draft: &Draft, ledger: &Versioned<Record>) -> bool {
    let stored = (ledger.value != Record::Absent).then(|| ledger.object_version());
    draft.replaces == stored
}

fn take_phase(world: &mut World, index: usize) -> Phase {
    std::mem::replace(&mut world.writers[index].phase, Phase::Idle)
}
