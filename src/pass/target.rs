//! What a pass does to targets: rehearse a write, store a token, delete what has a former name.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use tracing::Instrument as _;

use super::{Effect, Pass, PassError};
use crate::pass::gather::View;
use crate::serve::telemetry::SPANS;
use zoho_api::names::version;
use zoho_api::{Reason, Time};
use zoho_client::apply::{self, Mode};
use zoho_client::calls::ApiError;
use zoho_core::plan::{Defect, Target};
use zoho_core::secret;

/// A refused write is tried again after this.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// Repairs within `CONFLICT_FOR` after which somebody else is taken to want the target otherwise.
const MOST_REPAIRS: usize = 5;
/// How long such a target is left alone.
const CONFLICT_FOR: Duration = Duration::from_secs(600);

impl Pass<'_> {
    /// A dry run of the target's write where it is new, changed, or was refused before: what cannot be stored must not
    /// be minted.
    pub(super) async fn rehearse(&mut self, view: &View, now: Time) -> Result<Effect, PassError> {
        if let Some(refused) = self.still_refused(now) {
            return Ok(Effect::Blocked(refused));
        }
        let occasion = (view.target_version.clone(), self.generation());
        let verified =
            matches!(view.observed.target, Target::Ours { intact: true, .. }) && self.memory.refused.is_none();
        if verified || self.memory.rehearsed.as_ref() == Some(&occasion) {
            return Ok(Effect::Done);
        }
        let observer = self.context.observer();
        let dummy = match observer.render(self.credential, &secret::dummy_token(now), view.served.as_ref()) {
            Ok(dummy) => dummy,
            Err(defect) => return Ok(Effect::Blocked(defect)),
        };
        let name = self.target();
        match self.write(&dummy, view, Mode::DryRun).await {
            Ok(_) | Err(ApiError::NoDryRun) => {
                self.memory.rehearsed = Some(occasion);
                self.memory.refused = None;
                Ok(Effect::Done)
            }
            Err(ApiError::AlreadyExists | ApiError::Conflict) => {
                observer.refresh(&name).await?;
                Ok(Effect::LookAgain)
            }
            Err(ApiError::Refused { message }) => Ok(Effect::Blocked(self.refuse(&message, now))),
            Err(ApiError::NotFound) => Ok(Effect::Blocked(self.refuse("the namespace or the Secret is gone", now))),
            Err(source) => Err(PassError::Rehearse { name, source }),
        }
    }

    /// Brings the token that is known to the target.
    pub(super) async fn store(&mut self, view: &View, now: Time) -> Result<Effect, PassError> {
        let Some(token) = &view.token else { return Ok(Effect::LookAgain) };
        if let Some(refused) = self.still_refused(now) {
            return Ok(Effect::Blocked(refused));
        }
        if let Some(conflict) = self.conflict(view, token.life.expires_at, now) {
            return Ok(Effect::Blocked(conflict));
        }
        let wanted = match self.context.observer().render(self.credential, token, view.served.as_ref()) {
            Ok(wanted) => wanted,
            Err(defect) => return Ok(Effect::Blocked(defect)),
        };
        let name = self.target();
        let span = tracing::info_span!(target: SPANS, "write target", attempt = token.attempt);
        match self.write(&wanted, view, Mode::Real).instrument(span).await {
            Ok(written) => {
                let concerned = self.context.index.apply_secret(&written.metadata);
                self.context.wake_others(self.key, concerned);
                self.memory.intact = Some((version(&written.metadata), self.generation()));
                self.memory.refused = None;
                self.memory.minting_since = None;
                tracing::info!(credential = %self.key, uid = self.credential.metadata.uid, generation = self.generation(), target = %name, attempt = token.attempt, expires_at = %token.life.expires_at, "token stored");
                Ok(Effect::Done)
            }
            Err(ApiError::AlreadyExists | ApiError::Conflict | ApiError::NotFound) => {
                self.context.observer().refresh(&name).await?;
                Ok(Effect::LookAgain)
            }
            Err(ApiError::Refused { message }) => Ok(Effect::Blocked(self.refuse(&message, now))),
            Err(source) => Err(PassError::Write { name, source }),
        }
    }

    async fn write(&self, wanted: &Secret, view: &View, mode: Mode) -> Result<Secret, ApiError> {
        match (&view.observed.target, &view.target_version) {
            (Target::Ours { .. }, Some(at)) => {
                apply::update_target(&self.context.client, wanted, at, view.target.as_ref(), mode).await
            }
            _ => apply::create_target(&self.context.client, wanted, mode).await,
        }
    }

    fn still_refused(&self, now: Time) -> Option<Defect> {
        self.memory.refused.clone().filter(|defect| defect.again_at.is_some_and(|again_at| again_at > now))
    }

    fn refuse(&mut self, words: &str, now: Time) -> Defect {
        let message = format!("The API server refuses to write Secret {}: {words}.", self.target());
        let defect = Defect { reason: Reason::WriteRefused, message, again_at: Some(now + REFUSED_FOR) };
        self.memory.refused = Some(defect.clone());
        defect
    }

    /// Does somebody keep changing the target? A renewal is no repair.
    fn conflict(&mut self, view: &View, new_expiry: Time, now: Time) -> Option<Defect> {
        let Target::Ours { token, intact: false } = &view.observed.target else { return None };
        let by_us = self.memory.intact.as_ref().is_none_or(|(_, generation)| *generation != self.generation());
        if by_us || token.as_ref().is_some_and(|token| token.life.expires_at < new_expiry) {
            return None;
        }
        self.memory.repairs.retain(|repair| *repair + CONFLICT_FOR > now);
        if self.memory.repairs.len() < MOST_REPAIRS {
            self.memory.repairs.push(now);
            return None;
        }
        let managers = view.target.iter().flat_map(|target| target.metadata.managed_fields.iter().flatten());
        let manager = managers.filter_map(|entry| entry.manager.clone()).find(|manager| manager != "zoho-operator");
        let manager = manager.unwrap_or_else(|| "another client".into());
        let message = format!(
            "{manager} keeps changing Secret {}, which this ZohoCredential owns: it was put back {MOST_REPAIRS} times. Stop it from writing that Secret, or set spec.target.name to another name.",
            self.target()
        );
        let again_at = self.memory.repairs.first().map(|first| *first + CONFLICT_FOR);
        Some(Defect { reason: Reason::TargetConflict, message, again_at })
    }

    /// Deletes targets of former names once their token has died: pods that still mount them go on working until then.
    /// Returns when the next one is due.
    pub(super) async fn sweep_former_targets(&self, now: Time) -> Result<Option<Time>, PassError> {
        let Some(uid) = self.credential.metadata.uid.as_deref() else { return Ok(None) };
        let mut next: Option<Time> = None;
        for (name, seen) in self.context.index.controlled_by(uid) {
            let Some(stamp) = seen.ours.and_then(|ours| ours.stamp) else { continue };
            if name.namespace != self.key.namespace || name == self.target() {
                continue;
            }
            if stamp.life.expires_at > now {
                next = [next, Some(stamp.life.expires_at)].into_iter().flatten().min();
                continue;
            }
            match apply::delete_target(&self.context.client, &name, &seen.version).await {
                Ok(()) => tracing::info!(credential = %self.key, target = %name, "former target deleted"),
                // It changed meanwhile; the watch tells, and the next pass looks again.
                Err(ApiError::NotFound | ApiError::Conflict) => {}
                Err(source) => return Err(PassError::Delete { name, source }),
            }
        }
        Ok(next)
    }
}
