//! Clients, refresh tokens and access tokens, with Zoho's limits enforced. Pure: the time is an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::form::TokenForm;

/// Zoho's limits for each refresh token.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Mints that are let through in any `window`. Default 10.
    pub mints: usize,
    /// Default 10 minutes.
    pub window: Duration,
    /// How long there must be no request at all before a throttled refresh token mints again. Default 10 minutes.
    pub silence: Duration,
    /// Access tokens that may be alive at once; one more and the oldest dies. Default 10.
    pub alive: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { mints: 10, window: Duration::from_mins(10), silence: Duration::from_mins(10), alive: 10 }
    }
}

/// What became of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// Products take it.
    Alive,
    /// Its life is over.
    Expired,
    /// It died early because one too many was minted after it.
    Evicted,
    /// It, or its refresh token, was revoked.
    Revoked,
    /// It was never minted here.
    Unknown,
}

/// An access token and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessToken {
    /// The token itself.
    pub access_token: Arc<str>,
    /// The refresh token it was minted with.
    pub refresh_token: Arc<str>,
    /// When it was minted.
    pub minted_at: Timestamp,
    /// When its life ends, if nothing ends it before.
    pub expires_at: Timestamp,
    #[serde(skip)]
    ended: Option<TokenState>,
}

impl AccessToken {
    fn state(&self, now: Timestamp) -> TokenState {
        match self.ended {
            Some(end) => end,
            None if self.expires_at > now => TokenState::Alive,
            None => TokenState::Expired,
        }
    }
}

#[derive(Debug)]
struct RefreshToken {
    text: Arc<str>,
    client_id: String,
    is_revoked: bool,
    token_life: Option<Duration>,
    minted_at: VecDeque<Timestamp>,
    blocked_until: Option<Timestamp>,
    /// Oldest first. Expired ones leave at the next mint.
    alive: VecDeque<Arc<str>>,
    max_alive: usize,
}

/// A mint that was let through.
#[derive(Debug)]
pub(super) struct Minted {
    pub(super) access_token: Arc<str>,
    pub(super) expires_in: u64,
    /// The refresh token, once for each access token that had to die.
    pub(super) evicted: Vec<Arc<str>>,
}

/// Why there was no mint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// With this OAuth error code.
    Code(&'static str),
    /// By the limit on mints.
    Throttled,
}

/// All accounts of one data center.
#[derive(Debug)]
pub struct Accounts {
    limits: Limits,
    token_life: Duration,
    seed: [u8; 16],
    minted: u64,
    clients: HashMap<String, String>,
    refresh_tokens: HashMap<String, RefreshToken>,
    access_tokens: HashMap<Arc<str>, AccessToken>,
}

impl Accounts {
    /// No accounts. Equal seeds give equal access tokens.
    pub(super) fn new(limits: Limits, token_life: Duration, seed: [u8; 16]) -> Self {
        Self {
            limits,
            token_life,
            seed,
            minted: 0,
            clients: HashMap::new(),
            refresh_tokens: HashMap::new(),
            access_tokens: HashMap::new(),
        }
    }

    /// Makes a client and one refresh token of it known.
    ///
    /// A known client takes the new secret. A known refresh token goes to this client and is no longer revoked; what
    /// it minted before still counts.
    pub fn register(&mut self, client_id: &str, client_secret: &str, refresh_token: &str) {
        self.clients.insert(client_id.to_owned(), client_secret.to_owned());
        let known = self.refresh_tokens.entry(refresh_token.to_owned()).or_insert_with(|| RefreshToken {
            text: Arc::from(refresh_token),
            client_id: String::new(),
            is_revoked: false,
            token_life: None,
            minted_at: VecDeque::new(),
            blocked_until: None,
            alive: VecDeque::new(),
            max_alive: 0,
        });
        client_id.clone_into(&mut known.client_id);
        known.is_revoked = false;
    }

    /// Makes a client without refresh tokens known, or its new secret.
    pub fn register_client(&mut self, client_id: &str, client_secret: &str) {
        self.clients.insert(client_id.to_owned(), client_secret.to_owned());
    }

    /// Deletes a client, so that requests meet `invalid_client`. Access tokens live on.
    pub fn remove_client(&mut self, client_id: &str) {
        self.clients.remove(client_id);
    }

    /// Sets the life of access tokens minted from now on, in general.
    pub fn set_token_life(&mut self, life: Duration) {
        self.token_life = life;
    }

    /// Sets the life of access tokens minted from now on with this refresh token. False if it is not known.
    pub fn set_token_life_of(&mut self, refresh_token: &str, life: Duration) -> bool {
        self.refresh_tokens.get_mut(refresh_token).map(|known| known.token_life = Some(life)).is_some()
    }

    /// Ends a refresh token and its access tokens. False if it was not valid.
    pub fn revoke(&mut self, refresh_token: &str, now: Timestamp) -> bool {
        let Some(known) = self.refresh_tokens.get_mut(refresh_token) else {
            return false;
        };
        let was_valid = !known.is_revoked;
        known.is_revoked = true;
        let ending = std::mem::take(&mut known.alive);
        for token in ending {
            self.end(&token, TokenState::Revoked, now);
        }
        was_valid
    }

    /// Ends one access token. False if it was not alive.
    pub fn revoke_access_token(&mut self, access_token: &str, now: Timestamp) -> bool {
        if !self.is_alive(access_token, now) {
            return false;
        }
        let refresh_token = self.access_tokens[access_token].refresh_token.clone();
        if let Some(known) = self.refresh_tokens.get_mut(&*refresh_token) {
            known.alive.retain(|token| &**token != access_token);
        }
        self.end(access_token, TokenState::Revoked, now);
        true
    }

    /// Whether products take this access token.
    pub fn is_alive(&self, access_token: &str, now: Timestamp) -> bool {
        self.token_state(access_token, now) == TokenState::Alive
    }

    /// What became of this access token.
    pub fn token_state(&self, access_token: &str, now: Timestamp) -> TokenState {
        self.access_token(access_token).map_or(TokenState::Unknown, |token| token.state(now))
    }

    /// An access token that was once minted here.
    pub fn access_token(&self, access_token: &str) -> Option<&AccessToken> {
        self.access_tokens.get(access_token)
    }

    /// The access tokens of a refresh token that live, oldest first.
    pub fn live_tokens(&self, refresh_token: &str, now: Timestamp) -> Vec<Arc<str>> {
        self.refresh_tokens
            .get(refresh_token)
            .into_iter()
            .flat_map(|known| &known.alive)
            .filter(|token| self.is_alive(token, now))
            .cloned()
            .collect()
    }

    /// The most access tokens of a refresh token that ever lived at once.
    pub fn max_alive_seen(&self, refresh_token: &str) -> usize {
        self.refresh_tokens.get(refresh_token).map_or(0, |known| known.max_alive)
    }

    /// Whether a mint with this refresh token would meet the throttle.
    pub fn is_throttled(&self, refresh_token: &str, now: Timestamp) -> bool {
        self.refresh_tokens.get(refresh_token).is_some_and(|known| known.is_throttled(&self.limits, now))
    }

    /// Exchanges a refresh token for an access token, as far as the rules and limits allow.
    pub(super) fn exchange(&mut self, form: &TokenForm, now: Timestamp) -> Result<Minted, Refusal> {
        match form.grant_type.as_deref() {
            Some("refresh_token") => {}
            Some(_) => return Err(Refusal::Code("unsupported_grant_type")),
            None => return Err(Refusal::Code("invalid_request")),
        }
        self.check_client(form)?;
        let client_id = form.client_id.as_deref().unwrap_or_default();
        let known = self
            .refresh_tokens
            .get_mut(form.refresh_token.as_deref().unwrap_or_default())
            .filter(|known| known.client_id == client_id && !known.is_revoked)
            .ok_or(Refusal::Code("invalid_code"))?;
        if known.is_throttled(&self.limits, now) {
            // Zoho wants silence: each try while throttled starts the wait anew.
            known.blocked_until = Some(after(now, self.limits.silence));
            return Err(Refusal::Throttled);
        }
        known.blocked_until = None;
        known.note_mint(&self.limits, now);

        self.minted += 1;
        let access_token = access_token_text(&self.seed, self.minted);
        let life = known.token_life.unwrap_or(self.token_life);
        self.access_tokens.insert(
            access_token.clone(),
            AccessToken {
                access_token: access_token.clone(),
                refresh_token: known.text.clone(),
                minted_at: now,
                expires_at: after(now, life),
                ended: None,
            },
        );
        let evicted = self.make_room(form, &access_token, now);
        Ok(Minted { access_token, expires_in: life.as_secs(), evicted })
    }

    /// Whether the form names a known client with its secret.
    pub(super) fn check_client(&self, form: &TokenForm) -> Result<(), Refusal> {
        let client_id = form.client_id.as_deref().unwrap_or_default();
        let secret = self.clients.get(client_id).ok_or(Refusal::Code("invalid_client"))?;
        if form.client_secret.as_ref() != Some(secret) {
            return Err(Refusal::Code("invalid_client_secret"));
        }
        Ok(())
    }

    /// Adds a new access token to the living ones of its refresh token and lets the oldest die where there is no room.
    fn make_room(&mut self, form: &TokenForm, new: &Arc<str>, now: Timestamp) -> Vec<Arc<str>> {
        let refresh_token = form.refresh_token.as_deref().unwrap_or_default();
        let Some(known) = self.refresh_tokens.get_mut(refresh_token) else {
            return Vec::new();
        };
        let tokens = &self.access_tokens;
        known.alive.retain(|token| tokens.get(token).is_some_and(|token| token.state(now) == TokenState::Alive));
        known.alive.push_back(new.clone());
        let excess = known.alive.len().saturating_sub(self.limits.alive);
        let dying: Vec<Arc<str>> = known.alive.drain(..excess).collect();
        known.max_alive = known.max_alive.max(known.alive.len());
        let text = known.text.clone();
        for token in &dying {
            self.end(token, TokenState::Evicted, now);
        }
        vec![text; excess]
    }

    fn end(&mut self, access_token: &str, end: TokenState, now: Timestamp) {
        if let Some(token) = self.access_tokens.get_mut(access_token)
            && token.state(now) == TokenState::Alive
        {
            token.ended = Some(end);
        }
    }
}

impl RefreshToken {
    fn is_throttled(&self, limits: &Limits, now: Timestamp) -> bool {
        if let Some(until) = self.blocked_until
            && until > now
        {
            return true;
        }
        let in_window = self.minted_at.iter().rev();
        in_window.take_while(|minted_at| after(**minted_at, limits.window) > now).count() >= limits.mints
    }

    fn note_mint(&mut self, limits: &Limits, now: Timestamp) {
        self.minted_at.push_back(now);
        while self.minted_at.len() > limits.mints {
            self.minted_at.pop_front();
        }
    }
}

fn after(instant: Timestamp, span: Duration) -> Timestamp {
    instant.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// `1000.<32 hex>.<32 hex>`, different for every `number`.
fn access_token_text(seed: &[u8; 16], number: u64) -> Arc<str> {
    let digest = Sha256::new().chain_update(seed).chain_update(number.to_be_bytes()).finalize();
    let (left, right) = digest.split_at(16);
    let hex = |bytes: &[u8]| {
        let number = bytes.iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
        format!("{number:032x}")
    };
    Arc::from(format!("1000.{}.{}", hex(left), hex(right)))
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
