//! The steps of writers.
//!
//! What a writer decides, it asks the product: `plan::plan` says what to do, `plan::budget` counts, `plan::record`
//! edits. Only the moving of records between server and memory, as `mint::ledger` does it, is played here.

use std::sync::Arc;
use std::time::Duration;

use zoho_api::{Attempt, Outcome, Reason, Time, ZohoMintLedgerSpec};
use zoho_core::plan::budget::SPEND_WITHIN;
use zoho_core::plan::budget::{self, Answer, Found, Hold, Request};
use zoho_core::plan::record::{self, Lesson};
use zoho_core::plan::{self, Observed, Plan, Source, Target};

use super::coverage::Met;
use super::setting::{Fate, MONOTONE, Protocol, QUIET, RATE, RESERVE, Reply, Setting, Sight};
use super::world::{Fault, INPUTS, Phase, Record, Reservation, Token, Word, World, Writer};

impl Setting {
    /// The ledger as this writer counts with it; see `Ledgers::view`.
    fn view(&self, record: &Record, writer: &Writer, expected: bool, now: Time) -> ZohoMintLedgerSpec {
        if !self.has_ledger() {
            return ZohoMintLedgerSpec::default();
        }
        let found = match record {
            Record::Kept(spec) => Found::Present(spec.as_ref().clone()),
            Record::Absent if !expected => Found::Absent,
            Record::Absent | Record::Unreadable => Found::Lost,
        };
        let mut ledger = budget::settle(found, now);
        for lesson in &writer.lessons {
            record::learn(&mut ledger, lesson);
        }
        ledger
    }

    /// A token in the target proves that its attempt minted; see `Ledgers::witness`.
    fn witness(&self, world: &mut World, index: usize, sight: Sight) {
        let record = if sight == Sight::FormerLedger { &world.former_ledger } else { &world.ledger };
        let target = if sight == Sight::FormerTarget { &world.former_target } else { &world.target };
        let (Record::Kept(ledger), Some(token)) = (&record.value, &target.value) else { return };
        let is_open = |attempt: &Attempt| attempt.id == token.attempt && attempt.outcome.is_none();
        let writer = &mut world.writers[index];
        if self.has_ledger()
            && ledger.attempts.iter().any(is_open)
            && writer.lessons.iter().all(|lesson| lesson.id != token.attempt)
        {
            let life = i32::try_from(token.expires_at.since(token.issued_at).as_secs()).ok();
            writer.lessons.push(Lesson { id: token.attempt.clone(), outcome: Outcome::Minted, life });
        }
    }

    /// What a pass of this writer sees, and what the product makes of it.
    pub(super) fn decide(&self, world: &World, writer: &Writer, sight: Sight) -> (Observed, Plan) {
        let record = if sight == Sight::FormerLedger { &world.former_ledger } else { &world.ledger };
        let target = if sight == Sight::FormerTarget { &world.former_target } else { &world.target };
        let held = target.value.as_ref().map(Token::record);
        let observed = Observed {
            deleting: false,
            defect: None,
            suspended: false,
            renew_before: Duration::from_secs(1800),
            spacing: Duration::ZERO,
            verification: None,
            renew_requested: world.is_asked && !writer.has_acted,
            source: Source::Usable { inputs: INPUTS.into(), ledger: "0000".into() },
            ledger: self.view(&record.value, writer, held.is_some(), world.now),
            target: if held.is_some() { Target::Ours { token: held, intact: true } } else { Target::Absent },
            at_hand: writer.hand.as_ref().map(Token::record),
            minting: false,
            grounded_until: None,
        };
        let plan = plan::plan(&observed, &writer.holder, self.limits(), world.now);
        (observed, plan)
    }

    pub(super) fn look(&self, world: &mut World, index: usize, sight: Sight) {
        self.witness(world, index, sight);
        let (observed, plan) = self.decide(world, &world.writers[index], sight);
        let seen = if sight == Sight::FormerLedger { &world.former_ledger } else { &world.ledger };
        let on = seen.version;
        let stored = match &seen.value {
            Record::Kept(ledger) => ledger.presumed_full_at,
            Record::Absent | Record::Unreadable => None,
        };
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
                let holder = world.writers[index].holder.clone();
                let id = world.unused(&format!("{holder}."));
                world.writers[index].has_acted |= observed.renew_requested;
                let reservation = Reservation { id, at: world.now, is_committed: false };
                if self.has_ledger() {
                    let request = Request {
                        inputs: INPUTS,
                        need: why.need(),
                        asked: observed.renew_requested,
                        holder: &holder,
                        spacing: observed.spacing,
                    };
                    let answer = budget::account(&observed.ledger, &request, self.limits(), world.now);
                    assert_eq!(answer, Answer::Go, "plan and budget agree");
                    let ledger = Arc::new(with_entry(observed.ledger, &reservation, holder));
                    Phase::Composed { ledger, on, reservation: Some(reservation) }
                } else {
                    Phase::Cleared(reservation)
                }
            }
            Plan::Keep { .. } | Plan::Wait { .. } | Plan::Park { .. } => {
                let presumed = observed.ledger.presumed_full_at;
                let is_waiting = matches!(plan, Plan::Wait { .. });
                let keeps = self.protocol != Protocol::ForgetfulPresumption;
                if keeps && is_waiting && presumed.is_some() && presumed != stored {
                    Phase::Composed { ledger: Arc::new(observed.ledger), on, reservation: None }
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
        let Phase::Composed { ledger, on, reservation } = take_phase(world, index) else { return };
        if on != world.ledger.version {
            self.met.note(Met::LedgerConflict);
            return;
        }
        world.put_ledger(Record::Kept(ledger));
        let writer = &mut world.writers[index];
        writer.lessons.clear();
        match reservation {
            Some(reservation) => writer.phase = Phase::Reserved(Reservation { is_committed: true, ..reservation }),
            None => self.met.note(Met::PresumptionKept),
        }
    }

    /// The answer is lost, and so is the attempt to read the ledger again: the writer takes it that nothing was reserved.
    pub(super) fn lose_put(world: &mut World, index: usize, fate: Fate) {
        let Phase::Composed { ledger, on, reservation } = take_phase(world, index) else { return };
        match fate {
            Fate::Applied if on == world.ledger.version => world.put_ledger(Record::Kept(ledger)),
            Fate::Delayed if on == world.ledger.version => world.adrift = Some(ledger),
            Fate::Applied | Fate::Delayed | Fate::Dropped => {}
        }
        if let Some(reservation) = reservation {
            world.writers[index].learn(&reservation, Outcome::NotSent, None);
        }
    }

    pub(super) fn arrive(&self, world: &mut World) {
        if let Some(ledger) = world.adrift.take() {
            world.put_ledger(Record::Kept(ledger));
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
            writer.learn(&reservation, Outcome::NotSent, None);
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
            world.writers[index].learn(&reservation, Outcome::NotSent, None);
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
                writer.learn(&reservation, Outcome::Minted, Some(life));
                let expires_at = reservation.at + life;
                if expires_at > world.now {
                    writer.has_stored = false;
                    writer.hand = Some(Token { attempt: reservation.id, issued_at: reservation.at, expires_at });
                }
            }
            Reply::LostToken | Reply::ServerError => writer.learn(&reservation, Outcome::Unknown, None),
            Reply::Throttled | Reply::Refused => {
                writer.learn(&reservation, Outcome::NotMinted, None);
                let said = if reply == Reply::Throttled { Word::Throttled } else { Word::Refused };
                if self.has_ledger() {
                    writer.phase = Phase::Told(said);
                }
            }
            Reply::NoConnection => {}
        }
    }

    /// See `Ledgers::amend`: it reads again until its write succeeds.
    pub(super) fn amend(&self, world: &mut World, index: usize) {
        let Phase::Told(said) = take_phase(world, index) else { return };
        let mut ledger = self.view(&world.ledger.value, &world.writers[index], true, world.now);
        match said {
            Word::Throttled => record::throttle(&mut ledger, world.now + Duration::from_secs(120)),
            Word::Refused => {
                record::refuse(&mut ledger, INPUTS, (Reason::RefreshTokenRejected, None), world.now);
            }
        }
        world.put_ledger(Record::Kept(Arc::new(ledger)));
        world.writers[index].lessons.clear();
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
        world.writers[index] = Writer::new(world.unused(&writer.holder[..1]));
        self.spend(world, Fault::Crash);
    }
}

fn with_entry(mut ledger: ZohoMintLedgerSpec, reservation: &Reservation, holder: String) -> ZohoMintLedgerSpec {
    let attempt = Attempt {
        id: reservation.id.clone(),
        at: reservation.at,
        holder,
        inputs: INPUTS.into(),
        life: None,
        outcome: None,
    };
    record::reserve(&mut ledger, attempt);
    ledger
}

fn take_phase(world: &mut World, index: usize) -> Phase {
    std::mem::replace(&mut world.writers[index].phase, Phase::Idle)
}
