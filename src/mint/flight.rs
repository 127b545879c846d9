//! One flight: through the gate, reserved in its ledger, sent, and settled by what the reply says.

use tracing::Instrument as _;
use tracing::field::Empty;
use zoho_api::names::{LedgerName, ObjectName};
use zoho_api::{Outcome, Reason};
use zoho_core::issuer::reply::{Failed, Minted, Reply};
use zoho_core::issuer::{Failure, TokenRequest};
use zoho_core::plan::budget::Request;
use zoho_core::plan::record::Lesson;
use zoho_core::plan::renewal::Life;
use zoho_core::secret::MintedToken;
use zoho_core::text::causes;

use super::gate::End;
use super::ledger::{NotReserved, Reservation};
use super::{Mints, Order};
use crate::serve::metrics::{Issuer, MintOutcome};
use crate::serve::telemetry::SPANS;
use crate::watch::index::CredentialSeen;

impl Mints {
    /// Flies, takes in what came of it, and wakes who waits.
    pub(super) async fn take_off(self, order: Order, key: ObjectName) {
        // Lands also when the flight panics, or everybody who shares the ledger would wait for ever.
        let mut landing = Landing { mints: self.clone(), ledger: order.ledger.clone(), has_news: false };
        let ledger = &order.ledger;
        let span =
            tracing::info_span!(target: SPANS, "mint", credential = %key, %ledger, attempt = Empty, outcome = Empty);
        let result = self.fly(&order, &key).instrument(span).await;
        landing.has_news = !matches!(result, Err(None));
        self.take_in(&order, &key, result);
        drop(landing);
    }

    async fn fly(&self, order: &Order, key: &ObjectName) -> Result<MintedToken, Option<Failure>> {
        let Order { inputs, need, asked, spacing, .. } = order;
        let (holder, login) = (self.ledgers.holder(), order.request.server().is_some());
        let namespace = &*key.namespace;
        let request = Request { inputs, need: *need, asked: *asked, holder, spacing: *spacing, login, namespace };
        let mut pass = tokio::select! {
            biased;
            () = self.closing.cancelled() => return Err(None),
            pass = self.gate.enter(order.request.host(), &key.namespace, order.ledger.as_str()) => pass,
        };
        // The wait may have been long.
        if !self.leadership.is_leader() || !self.is_still_wanted(order, key) {
            return Err(None);
        }
        let reserve = tracing::info_span!(target: SPANS, "reserve");
        let reservation =
            match self.ledgers.reserve(&order.ledger, &request, order.ledger_expected).instrument(reserve).await {
                Ok(reservation) => reservation,
                // The plan looks at the ledger again and says what to wait for.
                Err(NotReserved::LookAgain) => return Err(None),
                Err(NotReserved::Unavailable(error)) => {
                    return Err(Some(self.ledger_unavailable(&order.ledger, &error)));
                }
            };
        let issuer = match &order.request {
            TokenRequest::Refresh(..) | TokenRequest::Client(..) => Issuer::OAuth,
            TokenRequest::Login(..) => Issuer::Login,
        };
        let sent_at = tokio::time::Instant::now();
        // A process that was paused since it reserved may have lost the lease. One that ends may not have the time that an
        // answer needs.
        let reply = if !self.leadership.is_leader() || self.closing.is_cancelled() {
            None
        } else {
            let request = tracing::info_span!(target: SPANS, "token request", host = order.request.host());
            let sent = self.transport.send_before(reservation.spend_before, &order.request, self.clock.as_ref());
            pass.carry(sent.instrument(request)).await
        };
        // Or the reservation grew old before there was a connection.
        let Some(reply) = reply else {
            self.learn(order, &reservation, Outcome::NotSent, None);
            self.metrics.minted(issuer, MintOutcome::NotSent, None);
            return Err(None);
        };
        let is_silence = matches!(&reply, Reply::Failed(failed) if failed.reason == Reason::UpstreamTimeout);
        pass.ended(if is_silence { End::TimedOut } else { End::Answered });
        let mint = tracing::Span::current();
        mint.record("attempt", reservation.id.as_str()).record("outcome", outcome_of(&reply).word());
        let (outcome, took) = (outcome_of(&reply), sent_at.elapsed());
        self.metrics.minted(issuer, outcome, Some(took));
        tracing::info!(
            credential = %key, uid = order.uid, generation = order.generation, ledger = %order.ledger,
            attempt = %reservation.id, outcome = outcome.word(), milliseconds = took.as_millis(), "token request ended"
        );
        self.settle(order, reservation, reply).await
    }

    /// Is what the order was decided on still so, as far as is known without asking?
    fn is_still_wanted(&self, order: &Order, key: &ObjectName) -> bool {
        let credential = match self.index.credential(key) {
            Some(CredentialSeen::Readable(credential)) => credential,
            Some(CredentialSeen::Unreadable(..)) | None => return false,
        };
        let is_same_spec = credential.metadata.uid.as_deref() == Some(&order.uid)
            && credential.metadata.generation.unwrap_or_default() == order.generation
            && credential.metadata.deletion_timestamp.is_none();
        let is_ours = credential.served_elsewhere(&order.installation).is_none();
        let source = self.index.secret(&order.source).map(|seen| seen.version);
        // What spoke for its Secret then does no more.
        let is_refused = order.refusals.is_some_and(|before| self.rehearsals().refusals(&key.namespace) != before);
        is_same_spec && is_ours && !is_refused && (source.is_none() || source == order.source_version)
    }

    /// Writes down what the reply says, and takes the token out of it.
    async fn settle(
        &self,
        order: &Order,
        reservation: Reservation,
        reply: Reply,
    ) -> Result<MintedToken, Option<Failure>> {
        match reply {
            Reply::Minted(Minted { access_token, life, api_domain, scopes, refresh_token }) => {
                if refresh_token.is_some() {
                    self.warn_of_rotation(order);
                }
                let seconds = i32::try_from(life.as_secs()).ok();
                self.learn(order, &reservation, Outcome::Minted, seconds);
                self.lock().live_tokens.insert(order.ledger.clone(), reservation.live_tokens);
                let api_domain = api_domain.and_then(|said| order.request.checked_api_domain(&said));
                let life = Life { issued_at: reservation.at, expires_at: reservation.at + life };
                let (inputs, attempt) = (order.inputs.clone(), reservation.id);
                Ok(MintedToken { access_token, life, api_domain, scopes, inputs, attempt })
            }
            Reply::Throttled { silence } => {
                self.learn(order, &reservation, Outcome::NotMinted, None);
                self.write_down(order, Lesson::Throttle { until: self.clock.now() + silence }).await;
                Err(Some(self.failure_now(Reason::Throttled, None)))
            }
            Reply::Failed(Failed { reason, code, permanent, outcome, cause }) => {
                self.learn(order, &reservation, outcome, None);
                if permanent {
                    let (inputs, code, at) = (order.inputs.clone(), code.clone(), self.clock.now());
                    self.write_down(order, Lesson::Refusal { inputs, reason, code, at }).await;
                }
                Err(Some(Failure { cause, ..self.failure_now(reason, code) }))
            }
        }
    }

    /// Zoho does not rotate refresh tokens: the one in the source goes on working, and the source is its owner's.
    fn warn_of_rotation(&self, order: &Order) {
        if self.lock().rotating.insert(order.ledger.clone()) {
            tracing::warn!(
                ledger = %order.ledger,
                "a refresh brought another refresh token; it is not used, and the source Secret is left as it is"
            );
        }
    }

    fn learn(&self, order: &Order, reservation: &Reservation, outcome: Outcome, life: Option<i32>) {
        self.ledgers.learn(&order.ledger, Lesson::Outcome { id: reservation.id.clone(), outcome, life });
    }

    /// A word of the issuer counts at once, and is written at once, so that a restart does not forget it. Where that
    /// fails it goes with the next write.
    async fn write_down(&self, order: &Order, word: Lesson) {
        self.ledgers.learn(&order.ledger, word);
        if let Err(error) = self.ledgers.keep(&order.ledger, true).await {
            tracing::warn!(
                ledger = %order.ledger,
                error = causes(&error),
                "verdict not written to the ledger yet; it goes with the next write"
            );
        }
    }
}

fn outcome_of(reply: &Reply) -> MintOutcome {
    match reply {
        Reply::Minted(_) => MintOutcome::Minted,
        Reply::Throttled { .. } => MintOutcome::Throttled,
        Reply::Failed(failed) => match failed.outcome {
            Outcome::Minted | Outcome::Unknown => MintOutcome::Unknown,
            Outcome::NotMinted => MintOutcome::NotMinted,
            Outcome::NotSent => MintOutcome::NotSent,
        },
    }
}

/// Ends a flight, whatever became of it.
struct Landing {
    mints: Mints,
    ledger: LedgerName,
    /// There is a token, or why there is none.
    has_news: bool,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.mints.lock();
            // Nothing is under way any more where the result was taken in.
            state.intake.ends(&self.ledger, false);
            let waiting = state.flights.remove(&self.ledger).unwrap_or_default();
            if self.has_news {
                state.landed.extend(waiting.iter().cloned());
            }
            waiting
        };
        for key in waiting {
            self.mints.wake.one(key);
        }
    }
}
