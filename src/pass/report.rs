//! What a pass says of its object, and when the next one is due.

use std::time::Duration;

use serde_json::json;
use tracing::Instrument as _;
use zoho_api::names::ObjectName;
use zoho_api::{ConditionType, Reason, Time, ZohoCredentialStatus};
use zoho_client::apply;
use zoho_client::calls::ApiError;
use zoho_core::burst;
use zoho_core::facts::{self, Readings};
use zoho_core::issuer::probe::Question;
use zoho_core::memory::Unsaid;
use zoho_core::message::Names;
use zoho_core::plan::budget::Hold;
use zoho_core::plan::{self, Facts, Plan, Write, requests};
use zoho_core::status::{self, Announcement, Asked, Report};

use super::recheck::look_again_at;
use super::{Context, Pass, PassError};
use crate::serve::telemetry::SPANS;
use crate::watch::index::Unreadable;

/// A first mint that takes longer than this is reported; a faster one saves the write.
const SILENT_FOR: Duration = Duration::from_secs(2);

impl Context {
    /// Says of an object that does not fit our types what is wrong with it; everything else goes on.
    pub(super) async fn report_unreadable(&self, key: &ObjectName, unreadable: &Unreadable) -> Result<(), PassError> {
        let Unreadable { meta, error, .. } = unreadable;
        let (now, generation) = (self.clock.now(), meta.generation.unwrap_or_default());
        let message = format!(
            "The object does not fit this version of the operator: {error}. Correct it, or bring CRDs and operator to the same version."
        );
        let condition = |type_: ConditionType, status: &str| {
            json!({ "type": type_.as_str(), "status": status, "reason": Reason::InvalidSpec.as_str(), "message": message,
                "observedGeneration": generation, "lastTransitionTime": now })
        };
        let conditions = [
            condition(ConditionType::Ready, "False"),
            condition(ConditionType::Renewable, "False"),
            condition(ConditionType::Stalled, "True"),
        ];
        let status = json!({ "observedGeneration": generation, "conditions": conditions });
        match apply::patch_status_of_unreadable(&self.client, key, meta, &status).await {
            Ok(()) | Err(ApiError::NotFound) => Ok(()),
            Err(error) => Err(PassError::Status(error)),
        }
    }
}

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
        for event in self.memory.take_unsaid(&before) {
            self.context.events.publish(self.credential, event);
        }
        if plan.is_in_flight() && before.conditions.is_empty() && self.silent_until(now) > now {
            return Ok(before);
        }
        let mints = &self.context.mints;
        let usable = facts.source.usable();
        let failure = usable.and_then(|(inputs, _)| mints.failure(inputs));
        let names = self.names(readings);
        let report = Report {
            previous: &before,
            generation: self.generation(),
            facts,
            plan,
            failure: failure.as_ref(),
            names: &names,
            versions: readings.observed(self.memory, self.generation()),
            live_tokens: usable.and_then(|(_, ledger)| mints.live_tokens(ledger)),
            granted_scopes: self.granted_scopes(facts),
            handled: facts::renew_request(self.credential).filter(|_| requests::answers_request(plan, facts)).cloned(),
        };
        let mut after = status::report(&report, now);
        let answer = status::answer(&report, self.outcome(facts, now), now);
        after.served_by = Some(self.context.installation.name.clone());
        if status::says_the_same(&before, &after) {
            return Ok(before);
        }
        // That a request was acted on is said nowhere else: a process that comes after this one would act on it again.
        let answers = after.last_handled_renew_request != before.last_handled_renew_request;
        if let Some(until) = (!answers).then(|| self.may_wait(plan, &after, now)).flatten() {
            self.again_at = Some(until);
            return Ok(before);
        }
        if !self.memory.may_report(now) {
            self.again_at = Some(now + Duration::from_secs(1));
            return Ok(before);
        }
        self.memory.note_report(now);
        // Once: a request that the status calls handled is none any more, also after a restart.
        self.write_status(&before, after, answer.filter(|_| answers), now).await
    }

    /// Writes the status, and publishes what changed. Returns the one that stands.
    async fn write_status(
        &mut self,
        before: &ZohoCredentialStatus,
        mut after: ZohoCredentialStatus,
        answer: Option<Announcement>,
        now: Time,
    ) -> Result<ZohoCredentialStatus, PassError> {
        let of_scopes = status::missing_scopes(&self.credential.spec, before, &after);
        let events: Vec<_> = status::announcements(before, &after).into_iter().chain(of_scopes).chain(answer).collect();
        facts::seal_status(self.credential, &mut after, &self.context.installation.hash_key);
        let span = tracing::info_span!(target: SPANS, "write status");
        let write = apply::patch_status(&self.context.client, self.credential, self.key, &after);
        match write.instrument(span).await {
            Ok(written) => {
                // The write named a version, so the object was the one that this pass took it for.
                self.memory.confirmed = self.credential.metadata.generation;
                self.memory.news_since = None;
                // What this one says, it says itself.
                self.memory.unsaid = None;
                self.context.news.forget(self.key);
                self.context.wake.others(self.key, self.context.index.apply_credential(written));
                for event in events {
                    self.context.events.publish(self.credential, event);
                }
                Ok(after)
            }
            Err(ApiError::NotFound) => {
                let gone = self.context.index.credential_not_found(self.key, &self.credential.metadata);
                self.context.wake.all(gone);
                Ok(before.clone())
            }
            Err(error) => {
                // It may stand all the same.
                self.memory.unsaid = Some(Box::new(Unsaid { meant: after, events }));
                if !matches!(error, ApiError::Conflict) {
                    return Err(PassError::Status(error));
                }
                // Recreated or edited meanwhile, and a watch may never bring it: it is read, and soon looked at again.
                self.is_current().await?;
                self.again_at = Some(look_again_at(now));
                Ok(before.clone())
            }
        }
    }

    /// In a burst Secrets come first. Until when good news of this object waits at most; bad news never does.
    fn may_wait(&mut self, plan: &Plan, after: &ZohoCredentialStatus, now: Time) -> Option<Time> {
        if !matches!(plan, Plan::Keep { .. }) || !burst::is_good_news(after) {
            return None;
        }
        let since = *self.memory.news_since.get_or_insert(now);
        self.context.news.may_wait(self.key, since, now)
    }

    fn silent_until(&self, now: Time) -> Time {
        self.memory.minting_since.unwrap_or(now).min(now) + SILENT_FOR
    }

    /// What a renewal request came to, where it is answered.
    fn outcome(&self, facts: &Facts, now: Time) -> Asked {
        let token = facts.target.token();
        let asked = self.memory.asked.as_ref();
        let asked = asked.filter(|asked| facts::renew_request(self.credential) == Some(&asked.request));
        let is_another = match (token, asked) {
            (Some(token), Some(asked)) => asked.over.as_ref() != Some(&token.attempt),
            // Asked of a process before this one, or while a token was on its way.
            (Some(token), None) => {
                let told = self.credential.status.as_ref().and_then(|status| status.last_mint_time);
                Some(token.life.issued_at) > told
            }
            (None, _) => false,
        };
        if is_another {
            return Asked::Renewed;
        }
        let ledgers = self.context.mints.ledgers();
        Asked::Refused(requests::held_back(facts, ledgers.holder(), ledgers.limits(), now))
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
            refresh_token_is_unmarked: readings.source.is_unmarked,
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
        // Whatever else is waited for: a target that somebody fights over is put back when that is over.
        let repairs = plan::to_store(facts, now) == Some(Write::Repair);
        let fought_until = facts.conflict.as_ref().filter(|_| repairs).and_then(|conflict| conflict.again_at);
        others.into_iter().chain([planned, changes, self.again_at, fought_until]).flatten().filter(|at| *at > now).min()
    }
}
