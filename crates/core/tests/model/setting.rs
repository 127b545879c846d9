//! What is played: everything that can happen next, and what must always hold.

use std::sync::Arc;
use std::time::Duration;

use stateright::{Model, Property};
use zoho_api::Time;
use zoho_core::plan::Plan;
use zoho_core::plan::budget::Limits;
use zoho_core::plan::budget::SPEND_WITHIN;

use super::coverage::{Coverage, Met};
use super::world::{Fault, Faults, Past, Phase, Record, Token, World, Writer, start};

pub(super) const RATE: &str = "S1 the token service never refuses for too many requests";
pub(super) const EVICTION: &str = "S2 a living token in the target is never evicted";
pub(super) const RESERVE: &str = "S3 every request has its own entry in the ledger";
pub(super) const MONOTONE: &str = "S4 a token in the target is never replaced by one that was issued before it";
pub(super) const QUIET: &str = "S13 no writer stores its token again over another one's";
pub(super) const STORED: &str = "S14 a token that was minted is stored before its process mints another one";
pub(super) const SOURCE: &str = "S15 a token of a former source is not kept";
pub(super) const WORD: &str = "S16 a process sends nothing while it was asked for silence";
pub(super) const MINTS: &str = "S17 no more is minted than is needed";
pub(super) const HEALS: &str = "L1 the target is valid again some time after the last fault";
pub(super) const NO_GAP: &str = "L2 a token in the target never expires";

/// How a writer mints: as the product does, or as it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The product's.
    Ledger,
    /// No ledger at all; the target is overwritten.
    MintFirst,
    /// No ledger; compare-and-swap on the target.
    SecretOnly,
    /// Each request is reserved by compare-and-swap within the server's own window, without headroom, deadline or a
    /// count of the living tokens.
    ReserveOnly,
    /// Reserved, with back-off and deadline, but without a budget.
    BackOffOnly,
    /// The product's, but what is presumed about a lost record is not written down.
    ForgetfulPresumption,
    /// What was brought back from the future is brought back anew at each look.
    ForgetfulCorrection,
    /// A word of the token service that cannot be written is forgotten.
    ForgetfulWord,
    /// Of two tokens the one that expires later is taken for the newer one.
    ByExpiry,
    /// An error in a reply's body is always believed, also that of a gateway.
    TrustsEveryError,
    /// The status calls a source observed as soon as it was seen.
    StatusSaysSeen,
    /// Nobody notices that a token was issued in the future.
    BlindToSteps,
}

/// What is played.
pub(super) struct Setting {
    pub(super) protocol: Protocol,
    pub(super) writers: usize,
    /// The limits that writers keep.
    pub(super) own: Limits,
    /// The limits that the token service enforces.
    pub(super) server: Limits,
    /// Life of a token in seconds.
    pub(super) life: u64,
    /// How long is played, in seconds.
    pub(super) horizon: u64,
    pub(super) faults: Faults,
    pub(super) past: Vec<Past>,
    /// The record was written last by a clock that was eight hours ahead.
    pub(super) is_ahead: bool,
    /// S17.
    pub(super) most_mints: Option<u8>,
    /// L1, in seconds.
    pub(super) heals_within: Option<u64>,
    /// L2 must hold.
    pub(super) has_no_gap: bool,
    pub(super) met: Arc<Coverage>,
}

/// Which ledger and target a pass sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Present,
    FormerLedger,
    FormerTarget,
}

/// How the token service, or the way there, answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Token,
    LostToken,
    /// It mints, and a gateway answers 502 with an error of its own in JSON.
    HiddenToken,
    ServerError,
    Throttled,
    Refused,
    NoConnection,
}

/// What becomes of a write of the ledger whose answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Applied,
    /// Applied, and the writer finds its entry when it reads the ledger again.
    Found,
    Delayed,
    Dropped,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The clock moves on to the next instant at which anything can change.
    Tick,
    Look(usize, Sight),
    Put(usize),
    LosePut(usize, Fate),
    Check(usize),
    Post(usize, Reply),
    KeepWord(usize),
    Store(usize),
    Pause(usize),
    Crash(usize),
    Arrive,
    Ask,
    Login,
    Delete,
    Spoil,
    LoseWord(usize),
    /// So many seconds.
    SetBack(u16),
    Change,
}

impl Setting {
    pub(super) fn limits(&self) -> Limits {
        let none = 1000;
        match self.protocol {
            Protocol::Ledger
            | Protocol::ForgetfulPresumption
            | Protocol::ForgetfulCorrection
            | Protocol::ForgetfulWord
            | Protocol::ByExpiry
            | Protocol::TrustsEveryError
            | Protocol::StatusSaysSeen
            | Protocol::BlindToSteps => self.own,
            Protocol::ReserveOnly => Limits { attempts: self.server.attempts, live: none },
            Protocol::MintFirst | Protocol::SecretOnly | Protocol::BackOffOnly => Limits { attempts: none, live: none },
        }
    }

    pub(super) fn has_ledger(&self) -> bool {
        !matches!(self.protocol, Protocol::MintFirst | Protocol::SecretOnly)
    }

    /// Without a change of the source nobody need know it.
    pub(super) fn plays_the_source(&self) -> bool {
        self.faults.left(Fault::Change) > 0
    }

    pub(super) fn token_life(&self) -> Duration {
        Duration::from_secs(self.life)
    }

    pub(super) fn spend(&self, world: &mut World, fault: Fault) {
        world.spend(fault, self.heals_within);
    }

    /// The clock moves on where somebody has seen to everything, or where nobody can, and nobody is busy who is not
    /// paused.
    fn may_tick(world: &World) -> bool {
        let is_busy = |writer: &Writer| writer.phase != Phase::Idle || world.has_unstored_token(writer);
        (world.is_settled || world.writers.iter().all(|writer| writer.is_paused))
            && world.writers.iter().all(|writer| writer.is_paused || !is_busy(writer))
    }

    fn tick(&self, world: &World) -> Option<World> {
        let is_due = world.heals_by.map_or(self.heals_within.is_none(), |by| world.now >= by);
        if world.faults.are_over() && is_due && world.is_valid() {
            self.met.note(Met::ValidAfterAllFaults);
        }
        let end = start() + Duration::from_secs(self.horizon);
        let next = self.next_instant(world).filter(|next| *next <= end)?;
        let mut world = world.clone();
        world.move_to(next, self.limits());
        Some(world)
    }

    /// The next instant that a writer waits for, or at which a reservation or the target expires. Whatever else happens in
    /// between comes to the same as at one of them.
    fn next_instant(&self, world: &World) -> Option<Time> {
        let mut instants: Vec<Time> = world.target.value.iter().map(Token::dies).collect();
        for writer in &world.writers {
            match self.decide(world, writer, Sight::Present).plan {
                Plan::Keep { until } | Plan::Wait { until, .. } => instants.push(until + world.behind),
                Plan::Park { until, .. } => instants.extend(until.map(|until| until + world.behind)),
                Plan::Mint { .. } | Plan::Store | Plan::Refuse(_) | Plan::Suspend | Plan::Release => {}
            }
            if let Phase::Composed { reservation: Some(reservation), .. } | Phase::Reserved(reservation) = &writer.phase
            {
                let last = SPEND_WITHIN.checked_sub(Duration::from_secs(1)).expect("longer than a second");
                instants.extend([reservation.born + last, reservation.born + SPEND_WITHIN]);
            }
        }
        instants.into_iter().filter(|at| *at > world.now).min()
    }

    fn steps(&self, world: &World, index: usize, actions: &mut Vec<Action>) {
        let has = |fault| world.faults.left(fault) > 0;
        let writer = &world.writers[index];
        match &writer.phase {
            Phase::Idle => {
                actions.push(Action::Look(index, Sight::Present));
                if has(Fault::Stale) && world.former_ledger != world.ledger {
                    actions.push(Action::Look(index, Sight::FormerLedger));
                }
                if has(Fault::Stale) && world.former_target != world.target {
                    actions.push(Action::Look(index, Sight::FormerTarget));
                }
            }
            Phase::Composed { .. } => {
                actions.push(Action::Put(index));
                if has(Fault::LostWrite) {
                    actions
                        .extend([Fate::Applied, Fate::Found, Fate::Dropped].map(|fate| Action::LosePut(index, fate)));
                    if world.adrift.is_none() {
                        actions.push(Action::LosePut(index, Fate::Delayed));
                    }
                }
            }
            Phase::Reserved(_) => actions.push(Action::Check(index)),
            Phase::Cleared(_) => {
                actions.push(Action::Post(index, Reply::Token));
                if has(Fault::LostReply) {
                    actions.extend([Reply::LostToken, Reply::HiddenToken].map(|reply| Action::Post(index, reply)));
                }
                if has(Fault::Failure) {
                    let failures = [Reply::ServerError, Reply::Throttled, Reply::NoConnection];
                    actions.extend(failures.map(|reply| Action::Post(index, reply)));
                }
                if has(Fault::Refusal) {
                    actions.push(Action::Post(index, Reply::Refused));
                }
            }
            Phase::Told => {
                actions.push(Action::KeepWord(index));
                if has(Fault::LostWord) {
                    actions.push(Action::LoseWord(index));
                }
            }
            Phase::Storing { .. } => actions.push(Action::Store(index)),
        }
        // Where nobody runs, nobody can renew.
        let someone_runs = world.writers.iter().filter(|writer| !writer.is_paused).count() > 1;
        let may_pause = someone_runs || !self.has_no_gap;
        if has(Fault::Pause) && !writer.is_paused && may_pause && is_worth_a_pause(world, writer) {
            actions.push(Action::Pause(index));
        }
        if has(Fault::Crash) && !writer.is_paused && is_worth_a_crash(world, writer) {
            actions.push(Action::Crash(index));
        }
    }
}

fn is_worth_a_pause(world: &World, writer: &Writer) -> bool {
    match writer.phase {
        Phase::Idle => world.has_unstored_token(writer),
        Phase::Told => false,
        Phase::Composed { .. } | Phase::Reserved(_) | Phase::Cleared(_) | Phase::Storing { .. } => true,
    }
}

/// In the other phases a crash comes to the same as one phase earlier or later.
fn is_worth_a_crash(world: &World, writer: &Writer) -> bool {
    match writer.phase {
        Phase::Idle => writer.has_learnt() || world.has_unstored_token(writer),
        Phase::Cleared(_) | Phase::Told => true,
        Phase::Composed { .. } | Phase::Reserved(_) | Phase::Storing { .. } => false,
    }
}

/// A writer that is at work is interrupted by a pause only, which may end at the same instant: so what is between its
/// steps is counted, and the number of states stays small.
fn is_at_work(writer: &Writer) -> bool {
    writer.phase != Phase::Idle && !writer.is_paused
}

impl Model for Setting {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if let Some(index) = world.writers.iter().position(is_at_work) {
            return self.steps(world, index, actions);
        }
        for index in 0..world.writers.len() {
            self.steps(world, index, actions);
        }
        let has = |fault| world.faults.left(fault) > 0;
        if world.adrift.is_some() {
            actions.push(Action::Arrive);
        }
        if has(Fault::Request) && world.is_settled && !world.is_asked {
            actions.push(Action::Ask);
        }
        if has(Fault::Step) && world.is_settled {
            actions.extend([600, 3600].map(Action::SetBack));
        }
        if has(Fault::Change) && world.is_settled {
            actions.push(Action::Change);
        }
        if has(Fault::Login) && world.is_settled {
            actions.push(Action::Login);
        }
        // A record that nothing points to cannot be missed.
        if has(Fault::Loss) && world.target.value.is_some() && matches!(world.ledger.value, Record::Kept(_)) {
            actions.extend([Action::Delete, Action::Spoil]);
        }
        if Self::may_tick(world) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        if action == Action::Tick {
            return self.tick(last);
        }
        let mut world = last.clone();
        if let Action::Look(index, _)
        | Action::Put(index)
        | Action::LosePut(index, _)
        | Action::Check(index)
        | Action::Post(index, _)
        | Action::KeepWord(index)
        | Action::LoseWord(index)
        | Action::Store(index) = action
            && std::mem::take(&mut world.writers[index].is_paused)
        {
            world.disturb(self.heals_within);
        }
        match action {
            Action::Tick => {}
            Action::Look(index, sight) => {
                self.look(&mut world, index, sight);
                if sight != Sight::Present {
                    self.spend(&mut world, Fault::Stale);
                }
            }
            Action::Put(index) => self.put(&mut world, index),
            Action::LosePut(index, fate) => {
                self.spend(&mut world, Fault::LostWrite);
                Self::lose_put(&mut world, index, fate);
            }
            Action::Check(index) => self.check(&mut world, index),
            Action::Post(index, reply) => {
                match reply {
                    Reply::Token => {}
                    Reply::LostToken | Reply::HiddenToken => self.spend(&mut world, Fault::LostReply),
                    Reply::ServerError | Reply::Throttled | Reply::NoConnection => {
                        self.spend(&mut world, Fault::Failure);
                    }
                    Reply::Refused => self.spend(&mut world, Fault::Refusal),
                }
                self.post(&mut world, index, reply);
            }
            Action::KeepWord(index) => self.keep(&mut world, index),
            Action::Store(index) => self.store(&mut world, index),
            Action::LoseWord(index) => {
                self.spend(&mut world, Fault::LostWord);
                self.lose_word(&mut world, index);
            }
            Action::SetBack(seconds) => {
                self.spend(&mut world, Fault::Step);
                world.behind += Duration::from_secs(seconds.into());
                world.is_settled = false;
            }
            Action::Change => {
                self.spend(&mut world, Fault::Change);
                world.source += 1;
                world.is_settled = false;
            }
            Action::Pause(index) => {
                self.spend(&mut world, Fault::Pause);
                world.writers[index].is_paused = true;
            }
            Action::Crash(index) => self.crash(&mut world, index),
            Action::Arrive => self.arrive(&mut world),
            Action::Ask => {
                self.spend(&mut world, Fault::Request);
                world.is_asked = true;
                world.is_settled = false;
            }
            Action::Login => {
                self.spend(&mut world, Fault::Login);
                // Where it is refused, nothing of ours is.
                let _ = world.server.take(&"login".into(), Some(self.token_life()), self.server, world.now);
            }
            Action::Delete | Action::Spoil => {
                self.spend(&mut world, Fault::Loss);
                world.writers.iter_mut().for_each(|writer| writer.heard = None);
                world.put_ledger(if action == Action::Delete { Record::Absent } else { Record::Unreadable });
                world.is_settled = false;
            }
        }
        world.forget_seen(self.limits());
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(RATE, |_, world: &World| !world.broken.contains(&RATE)),
            Property::always(EVICTION, |_, world: &World| {
                !world.is_valid() || world.target.value.as_ref().is_none_or(|token| world.server.has_alive(token))
            }),
            Property::always(RESERVE, |_, world: &World| !world.broken.contains(&RESERVE)),
            Property::always(MONOTONE, |_, world: &World| !world.broken.contains(&MONOTONE)),
            Property::always(QUIET, |_, world: &World| !world.broken.contains(&QUIET)),
            Property::always(STORED, |_, world: &World| !world.broken.contains(&STORED)),
            Property::always(SOURCE, |_, world: &World| !world.broken.contains(&SOURCE)),
            Property::always(WORD, |_, world: &World| !world.broken.contains(&WORD)),
            Property::always(MINTS, |_, world: &World| !world.broken.contains(&MINTS)),
            Property::always(HEALS, |_, world: &World| {
                !world.is_settled || world.heals_by.is_none_or(|by| world.now < by) || world.is_valid()
            }),
            Property::always(NO_GAP, |setting: &Self, world: &World| {
                !setting.has_no_gap || world.target.value.is_none() || world.is_valid()
            }),
        ]
    }
}
