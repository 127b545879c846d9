//! What a pass says of its object, and when the next one is due.

use std::time::Duration;

use tracing::Instrument as _;
use zoho_api::{Time, ZohoCredentialStatus};
use zoho_client::apply;
use zoho_client::calls::ApiError;
use zoho_core::facts::{self, Readings};
use zoho_core::issuer::probe::Question;
use zoho_core::message::Names;
use zoho_core::plan::budget::Hold;
use zoho_core::plan::{Facts, Plan};
use zoho_core::status::{self, Report};

use super::recheck::look_again_at;
use super::{Pass, PassError};
use crate::serve::telemetry::SPANS;

/// A first mint that takes longer than this is reported; a faster one saves the write.
const SILENT_FOR: Duration = Duration::from_secs(2);

impl Pass<'_> {
    /// Writes the status if it says something new, and publishes what changed.
    pub(super) async fn report(
        &mut self,
        readings: &Readings,
        facts: &Facts,
        plan: &Plan,
        now: Time,
    ) -> Result<ZohoCredentialStatus, PassError> {
        let before = self.credential.status.clone().unwrap_or_default();
        if plan.is_in_flight() && before.conditions.is_empty() && self.silent_until(now) > now {
            return Ok(before);
        }
        let mints = &self.context.mints;
        let usable = facts.source.usable();
        let mut after = status::report(
            &Report {
                previous: &before,
                generation: self.generation(),
                facts,
                plan,
                failure: usable.and_then(|(inputs, _)| mints.failure(inputs)).as_ref(),
                names: &self.names(readings),
                versions: readings.observed(self.memory),
                live_tokens: usable.and_then(|(_, ledger)| mints.live_tokens(ledger)),
                granted_scopes: self.granted_scopes(facts),
                handled: self.handled(plan).filter(|_| !facts.minting),
            },
            now,
        );
        after.served_by = Some(self.context.installation.name.clone());
        if status::says_the_same(&before, &after) {
            return Ok(before);
        }
        if !self.memory.may_report(now) {
            self.again_at = Some(now + Duration::from_secs(1));
            return Ok(before);
        }
        self.memory.note_report(now);
        self.write_status(before, after, now).await
    }

    /// Writes the status, and publishes what changed. Returns the one that stands.
    async fn write_status(
        &mut self,
        before: ZohoCredentialStatus,
        mut after: ZohoCredentialStatus,
        now: Time,
    ) -> Result<ZohoCredentialStatus, PassError> {
        facts::seal_status(self.credential, &mut after, &self.context.installation.hash_key);
        let span = tracing::info_span!(target: SPANS, "write status");
        let write = apply::patch_status(&self.context.client, self.credential, self.key, &after);
        match write.instrument(span).await {
            Ok(written) => {
                // The write named a version, so the object was the one that this pass took it for.
                self.memory.confirmed = self.credential.metadata.generation;
                self.context.index.apply_credential(written);
                let of_scopes = status::missing_scopes(&self.credential.spec, &before, &after);
                for announcement in status::announcements(&before, &after).into_iter().chain(of_scopes) {
                    self.context.events.publish(self.credential, announcement);
                }
                Ok(after)
            }
            Err(ApiError::NotFound) => {
                let gone = self.context.index.credential_not_found(self.key, &self.credential.metadata);
                self.context.wake_all(gone);
                Ok(before)
            }
            // Recreated or edited meanwhile, and a watch may never bring it: it is read, and soon looked at again.
            Err(ApiError::Conflict) => {
                self.is_current().await?;
                self.again_at = Some(look_again_at(now));
                Ok(before)
            }
            Err(error) => Err(PassError::Status(error)),
        }
    }

    fn silent_until(&self, now: Time) -> Time {
        self.memory.minting_since.unwrap_or(now).min(now) + SILENT_FOR
    }

    /// A renewal request that is done, or that nothing will come of.
    fn handled(&self, plan: &Plan) -> Option<String> {
        match plan {
            Plan::Mint { .. } | Plan::Store | Plan::Wait { .. } | Plan::Release => None,
            Plan::Keep { .. } | Plan::Refuse(_) | Plan::Park { .. } | Plan::Suspend => {
                facts::renew_request(self.credential).cloned()
            }
        }
    }

    /// The scopes that came with the token in the target, where this process minted it.
    fn granted_scopes(&self, facts: &Facts) -> Option<Vec<String>> {
        let token = facts.target.token()?;
        let hand = self.context.mints.at_hand(&token.inputs).filter(|hand| hand.attempt == token.attempt)?;
        Some(hand.scopes.clone())
    }

    /// What the product is asked.
    pub(super) fn question(readings: &Readings) -> Option<Question> {
        readings.served.as_ref().ok()?.verify.as_ref()?.1.as_ref().ok().cloned()
    }

    fn names(&self, readings: &Readings) -> Names {
        let source = facts::source_of(self.credential);
        let seen = self.context.index.secret(&source).and_then(|seen| seen.ours);
        let terms = readings.served.as_ref().ok().map(|served| &served.terms);
        Names {
            credential: self.credential.metadata.name.clone().unwrap_or_default(),
            source,
            source_manager: seen.and_then(|seen| seen.controller),
            target: facts::target_of(self.credential),
            refresh_token_key: self.credential.spec.secret_ref.refresh_token_key().to_owned(),
            scopes: self.credential.spec.scopes.clone(),
            data_center: terms.and_then(|terms| terms.data_center),
            grant: self.credential.spec.grant(),
            service: terms.map(|terms| terms.service.clone()).unwrap_or_default(),
            console: terms.map(|terms| terms.console.clone()).unwrap_or_default(),
            question: Self::question(readings),
            expiry_is_named: terms.is_none_or(|terms| terms.names_expiry),
        }
    }

    /// The next instant at which there may be something to do.
    pub(super) fn next(
        &self,
        facts: &Facts,
        plan: &Plan,
        status: &ZohoCredentialStatus,
        others: [Option<Time>; 2],
        now: Time,
    ) -> Option<Time> {
        let planned = match plan {
            // The flight's landing wakes the object; until then only its report may be due.
            Plan::Mint { .. } => Some(self.silent_until(now)),
            Plan::Wait { until, why: Hold::InFlight } if status.conditions.is_empty() => {
                Some(self.silent_until(now).min(*until))
            }
            Plan::Keep { until } | Plan::Wait { until, .. } => Some(*until),
            Plan::Park { until, .. } => *until,
            Plan::Refuse(defect) => defect.again_at,
            Plan::Store | Plan::Suspend | Plan::Release => None,
        };
        let life = facts.target.token().map(|token| token.life);
        let changes = status::changes_at(status, life, now);
        others.into_iter().chain([planned, changes, self.again_at]).flatten().filter(|at| *at > now).min()
    }
}
