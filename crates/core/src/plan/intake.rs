//! How much that never minted an object, a namespace and a server may bring. Pure; lost at a restart, and then counted
//! anew.
//!
//! Anybody who may create `ZohoCredentials` can make the operator try refresh tokens and passwords that he guesses. Every
//! try leaves a ledger behind or counts against an account, so tries are few; what works is not counted.

use std::collections::HashMap;
use std::time::Duration;

use zoho_api::Time;
use zoho_api::names::{InputsDigest, LedgerName, ObjectName};

use super::budget::WINDOW;
use super::guard::{Account, DAY, Guard};

/// Ledgers that one object may bring in ten minutes.
const MOST_OF_OBJECT: usize = 8;
/// Ledgers that one namespace may have, where it has no more credentials than that …
const MOST_OF_NAMESPACE: usize = 200;
/// … and so many beside those of its credentials where it has. What never minted counts here.
const BESIDE_CREDENTIALS: usize = 100;
/// Ledgers for each credential of a namespace, with those that minted: a ledger is kept for some hours after its refresh token was
/// replaced, and all of them may be replaced, and once more.
const OF_EACH_CREDENTIAL: usize = 3;
/// Logins that never worked, from one namespace to one server, in an hour.
const GUESSES_OF_NAMESPACE: usize = 5;
/// Such logins to one server, from everywhere. The owner of an account may change its password all the same.
const GUESSES_AT_SERVER: usize = 20;
/// For so long such a login counts.
const GUESS_COUNTS: Duration = Duration::from_secs(3600);
/// Passwords in a day that a namespace may bring for an account that is others', and one object for any.
const MOST_PASSWORDS: usize = 5;
/// What may end by itself is looked at again after this.
const SOON: Duration = Duration::from_secs(2);
/// Ledgers go when nothing refers to them, which is looked at every minute.
const LEDGERS_GO: Duration = Duration::from_secs(60);

/// Who asks for a token, with what.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer<'a> {
    /// The credential.
    pub object: &'a ObjectName,
    /// The ledger of its inputs.
    pub ledger: &'a LedgerName,
    /// Keyed hash of everything that would be sent.
    pub inputs: &'a InputsDigest,
    /// The ledger exists.
    pub has_ledger: bool,
    /// The inputs minted before.
    pub is_proven: bool,
    /// The server, where it is a login.
    pub server: Option<&'a str>,
    /// Whose the account is, where it is a login.
    pub account: Account,
    /// Ledgers that credentials of its namespace brought, and that never minted.
    pub ledgers: usize,
    /// Those that did.
    pub minted: usize,
    /// Credentials in its namespace.
    pub credentials: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Intake {
    /// The ledgers that each object brought, and when.
    brought: HashMap<ObjectName, Vec<(LedgerName, Time)>>,
    /// Requests under way that make a ledger.
    making: HashMap<LedgerName, ObjectName>,
    /// Logins with inputs that never worked: under way, or failed.
    guesses: Vec<Guess>,
    /// What namespaces bring for accounts that are others', under no name, and what each object brings for any.
    passwords: HashMap<(ObjectName, LedgerName), Vec<(InputsDigest, Time)>>,
}

#[derive(Debug)]
struct Guess {
    server: String,
    namespace: String,
    ledger: LedgerName,
    at: Time,
    is_under_way: bool,
}

impl Intake {
    /// Notes a password for an account that is others': who tries many would learn from success, without a login. Returns
    /// until when nothing of this namespace is taken for that account, also not what is right.
    pub fn held_as_stranger(&mut self, who: &Newcomer<'_>, now: Time) -> Option<Time> {
        who.server.filter(|_| who.account == Account::Others)?;
        let namespace = ObjectName::new(&who.object.namespace, "");
        let tried = self.passwords.entry((namespace, who.ledger.clone())).or_default();
        tried.retain(|(_, at)| counts(*at, DAY, now));
        if tried.len() <= MOST_PASSWORDS && !tried.iter().any(|(inputs, _)| inputs == who.inputs) {
            tried.push((who.inputs.clone(), now));
        }
        let oldest = tried.first().filter(|_| tried.len() > MOST_PASSWORDS)?;
        Some(oldest.1 + DAY)
    }

    /// Notes inputs for a server that never worked. An object that has tried too many is held back, with what is right too: a
    /// token that is there already would say, without a login, that it has guessed right. Returns why, and until when.
    pub fn held_as_guesser(&mut self, who: &Newcomer<'_>, now: Time) -> Option<(Time, Guard)> {
        who.server?;
        let key = (who.object.clone(), who.ledger.clone());
        if !self.passwords.contains_key(&key) {
            if who.is_proven {
                return None;
            }
            // Names of accounts are without end.
            let here = self.passwords.keys().filter(|(object, _)| object.namespace == who.object.namespace).count();
            if here >= most_of(who.credentials) {
                return Some((now + LEDGERS_GO, Guard::NewLedgers));
            }
        }
        let tried = self.passwords.entry(key).or_default();
        tried.retain(|(_, at)| counts(*at, DAY, now));
        let is_new = !who.is_proven && !tried.iter().any(|(inputs, _)| inputs == who.inputs);
        if is_new && tried.len() <= MOST_PASSWORDS {
            tried.push((who.inputs.clone(), now));
        }
        if who.is_proven && tried.len() <= MOST_PASSWORDS {
            // It worked: who changes a password every hour does not guess.
            tried.retain(|(inputs, _)| inputs != who.inputs);
        }
        let oldest = tried.first().filter(|_| tried.len() > MOST_PASSWORDS)?;
        Some((oldest.1 + DAY, Guard::Passwords))
    }

    /// What holds a request back, and until when.
    pub fn held(&self, who: &Newcomer<'_>, now: Time) -> Option<(Time, Guard)> {
        if let Some(until) = self.ledgers_held(who, now) {
            return Some((until, Guard::NewLedgers));
        }
        let server = who.server.filter(|_| !who.is_proven)?;
        let here = |guess: &&Guess| guess.server == server && counts(guess.at, GUESS_COUNTS, now);
        let all = || self.guesses.iter().filter(here);
        let own = || all().filter(|guess| guess.namespace == *who.object.namespace);
        let until = |guesses: &mut dyn Iterator<Item = &Guess>| {
            let end = |guess: &Guess| if guess.is_under_way { now + SOON } else { guess.at + GUESS_COUNTS };
            guesses.map(end).min()
        };
        let held = if own().count() >= GUESSES_OF_NAMESPACE {
            until(&mut own())
        } else if all().count() >= GUESSES_AT_SERVER && who.account != Account::Own {
            until(&mut all())
        } else {
            None
        };
        Some((held?, Guard::FailedGuesses))
    }

    fn ledgers_held(&self, who: &Newcomer<'_>, now: Time) -> Option<Time> {
        if who.has_ledger {
            return None;
        }
        let brought = self.brought.get(who.object).into_iter().flatten().map(|(_, at)| *at);
        let brought = brought.filter(|at| counts(*at, WINDOW, now));
        if brought.clone().count() >= MOST_OF_OBJECT {
            return brought.min().map(|oldest| oldest + WINDOW);
        }
        let making = self.making.values().filter(|object| object.namespace == who.object.namespace).count();
        let most = most_of(who.credentials);
        let most_of_all = MOST_OF_NAMESPACE + OF_EACH_CREDENTIAL * who.credentials;
        let unproven = who.ledgers + making;
        (unproven >= most || unproven + who.minted >= most_of_all).then(|| now + LEDGERS_GO)
    }

    /// A request is about to be reserved.
    pub fn begins(&mut self, who: &Newcomer<'_>, now: Time) {
        if !who.has_ledger {
            self.brought.retain(|_, brought| {
                brought.retain(|(_, at)| counts(*at, WINDOW, now));
                !brought.is_empty()
            });
            self.brought.entry(who.object.clone()).or_default().push((who.ledger.clone(), now));
            self.making.insert(who.ledger.clone(), who.object.clone());
        }
        if let Some(server) = who.server.filter(|_| !who.is_proven) {
            self.guesses.retain(|guess| guess.is_under_way || counts(guess.at, GUESS_COUNTS, now));
            self.guesses.push(Guess {
                server: server.to_owned(),
                namespace: who.object.namespace.as_ref().to_owned(),
                ledger: who.ledger.clone(),
                at: now,
                is_under_way: true,
            });
        }
    }

    /// A ledger is made for an object without a request. Says whether it may be, and counts it.
    pub fn brings(&mut self, who: &Newcomer<'_>, now: Time) -> bool {
        let is_known =
            self.brought.get(who.object).is_some_and(|brought| brought.iter().any(|(of, _)| of == who.ledger));
        if !who.has_ledger && !is_known {
            if self.ledgers_held(who, now).is_some() {
                return false;
            }
            self.brought.entry(who.object.clone()).or_default().push((who.ledger.clone(), now));
        }
        true
    }

    /// The request is over and has left no ledger behind, so it does not count as having brought one.
    pub fn left_nothing(&mut self, ledger: &LedgerName) {
        let Some(brought) = self.making.get(ledger).and_then(|object| self.brought.get_mut(object)) else { return };
        if let Some(its) = brought.iter().rposition(|(of, _)| of == ledger) {
            brought.remove(its);
        }
    }

    /// The request is over. What did no harm does not count: it minted, or nothing was sent.
    pub fn ends(&mut self, ledger: &LedgerName, is_harmless: bool) {
        self.making.remove(ledger);
        self.guesses.retain_mut(|guess| {
            let is_it = guess.ledger == *ledger && guess.is_under_way;
            guess.is_under_way &= !is_it;
            !(is_it && is_harmless)
        });
    }

    /// Forgets what does not count any more.
    pub fn forget_old(&mut self, now: Time) {
        self.passwords.retain(|_, tried| tried.iter().any(|(_, at)| counts(*at, DAY, now)));
        self.guesses.retain(|guess| guess.is_under_way || counts(guess.at, GUESS_COUNTS, now));
    }
}

/// What a namespace with so many credentials may have that never minted.
fn most_of(credentials: usize) -> usize {
    MOST_OF_NAMESPACE.max(credentials + BESIDE_CREDENTIALS)
}

/// Does something that was noted then still count? What lies in the future was noted by a clock that was set back since,
/// and does not.
fn counts(at: Time, span: Duration, now: Time) -> bool {
    at <= now && now < at + span
}
