//! The steps of writers.
//!
//! What a writer decides, it asks the product: `plan::plan` says what to do, and a [`LedgerMirror`] knows the ledger,
//! counts and composes. Only the order of calls is played here: that of the runtime's `mint::ledger`.

use std::sync::Arc;
use std::time::Duration;

use zoho_api::{Outcome, Reason, Time, ZohoMintLedgerSpec};
use zoho_core::plan::budget::SPEND_WITHIN;
use zoho_core::plan::budget::{Hold, Request};
use zoho_core::plan::mirror::{Draft, LedgerMirror};
use zoho_core::plan::record::Lesson;
use zoho_core::plan::renewal::Renewal;
use zoho_core::plan::{self, Facts, Plan, Source, Target};

use super::coverage::Met;
use super::setting::{Fate, MONOTONE, Protocol, QUIET, RATE, RESERVE, Reply, Setting, Sight};
use super::world::{Fault, Phase, Record, Reservation, Token, Versioned, World, Writer, inputs};

/// How long a throttle is met with silence at least.
const SILENCE: Duration = Duration::from_secs(600);
/// Writes tried in a row, as the runtime does.
const MOST_TRIES: usize = 5;

/// What a pass of a writer sees, and what the product makes of it.
pub(super) struct Look {
    mirror: LedgerMirror,
    facts: Facts,
    /// A target says that there must be a ledger.
    expected: bool,
    pub(super) plan: Plan,
}

impl Setting {
    /// What a pass of this writer sees, and what the product makes of it.
    pub(super) fn decide(&self, world: &World, writer: &Writer, sight: Sight) -> Look {
        let target = if sight == Sight::FormerTarget { &world.former_target } else { &world.target };
        let held = target.value.as_ref().map(Token::record);
        let expected = held.is_some();
        let mut mirror = self.mirror(world, writer, sight);
        let ledger = if self.has_ledger() {
            if let Some(token) = &held {
                mirror.witness(token);
            }
            mirror.look(expected, world.now)
        } else {
            ZohoMintLedgerSpec::default()
        };
        let facts = Facts {
            deleting: false,
            defect: None,
            suspended: false,
            renewal: Renewal::BeforeExpiry(Duration::from_secs(1800)),
            spacing: Duration::ZERO,
            renew_requested: world.is_asked && !writer.has_acted,
            source: Source::Usable { inputs: inputs(), ledger: "0000".into() },
            target: if expected { Target::Ours { token: held, intact: true } } else { Target::Absent },
            stored: writer.hand.as_ref().filter(|_| writer.has_stored).map(|token| token.attempt.clone()),
            conflict: None,
            at_hand: writer.hand.as_ref().map(Token::record),
            verification: None,
            ledger,
            minting: false,
            grounded_until: None,
        };
        let plan = plan::plan(&facts, &writer.holder, self.limits(), world.now);
        Look { mirror, facts, expected, plan }
    }

    /// The ledger as the writer knows it once it has seen that one.
    fn mirror(&self, world: &World, writer: &Writer, sight: Sight) -> LedgerMirror {
        let forgets = self.protocol == Protocol::ForgetfulPresumption && !matches!(world.ledger.value, Record::Kept(_));
        let mut writer = if forgets { Writer::new(writer.holder.clone()) } else { writer.clone() };
        match (sight, &world.former_ledger.value) {
            // That a list does not name a ledger is believed after a read only.
            (Sight::FormerLedger, Record::Absent) => {}
            (Sight::FormerLedger, _) => writer.see(&world.former_ledger, world.now),
            (Sight::Present | Sight::FormerTarget, _) => writer.see(&world.ledger, world.now),
        }
        writer.mirror
    }

    pub(super) fn look(&self, world: &mut World, index: usize, sight: Sight) {
        let Look { mirror, facts, expected, plan } = self.decide(world, &world.writers[index], sight);
        world.writers[index].mirror = mirror;
        self.note_hold(&plan);
        world.writers[index].phase = match plan {
            Plan::Store => {
                let token = world.writers[index].hand.clone().expect("only a token at hand is stored");
                let seen = if sight == Sight::FormerTarget { &world.former_target } else { &world.target };
                Phase::Storing { token, on: seen.version }
            }
            Plan::Mint { why } => {
                if why == plan::MintReason::Requested {
                    self.met.note(Met::Wanted);
                }
                self.compose(world, index, &facts, (why, expected))
            }
            Plan::Keep { .. } | Plan::Wait { .. } | Plan::Park { .. } => {
                let is_waiting = matches!(plan, Plan::Wait { .. });
                let keeps = is_waiting && self.protocol != Protocol::ForgetfulPresumption && self.has_ledger();
                let writer = &mut world.writers[index];
                let draft = if keeps { writer.mirror.keep(expected, self.limits(), world.now) } else { None };
                if let Some(draft) = draft {
                    Phase::Composed { draft: Box::new(draft), reservation: None }
                } else {
                    if sight == Sight::Present {
                        world.is_settled = true;
                        world.is_asked &= is_waiting;
                        if !world.is_asked {
                            world.writers.iter_mut().for_each(|writer| writer.has_acted = false);
                        }
                    }
                    Phase::Idle
                }
            }
            Plan::Refuse(_) | Plan::Suspend | Plan::Release => unreachable!("{plan:?}"),
        };
    }

    /// A flight starts: the entry is composed, or, without a ledger, the request is next.
    fn compose(
        &self,
        world: &mut World,
        index: usize,
        facts: &Facts,
        (why, expected): (plan::MintReason, bool),
    ) -> Phase {
        let now = world.now;
        let writer = &mut world.writers[index];
        writer.has_acted |= facts.renew_requested;
        let random = u32::try_from(index).expect("few writers") << 8 | u32::from(writer.drafts);
        writer.drafts += 1;
        if !self.has_ledger() {
            let id = format!("{}.{random}", now.unix()).into();
            return Phase::Cleared(Reservation { id, at: now, is_committed: false });
        }
        let request = Request {
            inputs: &inputs(),
            need: why.need(),
            asked: facts.renew_requested,
            holder: &writer.holder,
            spacing: facts.spacing,
        };
        let reserved = writer.mirror.reserve(&request, self.limits(), (expected, random), now);
        let (id, draft) = reserved.expect("plan and budget agree");
        let reservation = Reservation { id, at: now, is_committed: false };
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
            Hold::BackOff | Hold::Spaced => {}
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
        let World { writers, ledger, now, .. } = world;
        let writer = &mut writers[index];
        writer.see(ledger, *now);
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
        if self.protocol == Protocol::ReserveOnly || world.now < reservation.at + SPEND_WITHIN {
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
        if world.now >= reservation.at + SPEND_WITHIN {
            self.met.note(Met::SentAfterPause);
        }
        if reply == Reply::NoConnection {
            world.writers[index].learn(reservation.id, Outcome::NotSent, None);
            return;
        }
        let life = self.token_life();
        let mints = matches!(reply, Reply::Token | Reply::LostToken).then_some(life);
        let taken = world.server.take(&reservation.id, mints, self.server, world.now);
        if taken.is_err() {
            world.breaks(RATE);
        }
        let writer = &mut world.writers[index];
        let reply = taken.map_or(Reply::Throttled, |()| reply);
        match reply {
            Reply::Token => {
                writer.learn(reservation.id.clone(), Outcome::Minted, Some(life));
                let expires_at = reservation.at + life;
                if expires_at > world.now {
                    writer.has_stored = false;
                    writer.hand = Some(Token { attempt: reservation.id, issued_at: reservation.at, expires_at });
                }
            }
            Reply::LostToken | Reply::ServerError => writer.learn(reservation.id, Outcome::Unknown, None),
            Reply::Throttled | Reply::Refused => {
                writer.learn(reservation.id, Outcome::NotMinted, None);
                if self.has_ledger() {
                    writer.mirror.learn(word(reply, world.now));
                    writer.phase = Phase::Told;
                }
            }
            Reply::NoConnection => {}
        }
    }

    /// A word of the token service counts already; it is written at once, too.
    pub(super) fn keep(&self, world: &mut World, index: usize) {
        let Phase::Told = take_phase(world, index) else { return };
        for _ in 0..MOST_TRIES {
            let Some(draft) = world.writers[index].mirror.keep(true, self.limits(), world.now) else { return };
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
        if std::mem::replace(&mut world.writers[index].has_stored, true) {
            world.breaks(QUIET);
        }
        if world.target.value.as_ref().is_some_and(|held| held.expires_at > token.expires_at) {
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

fn word(reply: Reply, now: Time) -> Lesson {
    if reply == Reply::Throttled {
        Lesson::Throttle { until: now + SILENCE }
    } else {
        Lesson::Refusal { inputs: inputs(), reason: Reason::RefreshTokenRejected, code: None, at: now }
    }
}

fn take_phase(world: &mut World, index: usize) -> Phase {
    std::mem::replace(&mut world.writers[index].phase, Phase::Idle)
}
