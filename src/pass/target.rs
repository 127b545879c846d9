//! What a pass does to the target: rehearse a write, store a token.

use k8s_openapi::api::core::v1::Secret;
use tracing::Instrument as _;
use zoho_api::Time;
use zoho_api::names::{ObjectName, ObjectVersion};
use zoho_client::apply::{self, Mode};
use zoho_client::calls::ApiError;
use zoho_core::facts::target::render;
use zoho_core::facts::{self, Readings};
use zoho_core::memory::{Refused, Rehearsed, Seen, Stored};
use zoho_core::plan::{Defect, Facts, Target, Write, to_store};
use zoho_core::rehearsal::Shape;
use zoho_core::{secret, status};

use super::gather::Read;
use super::{Effect, Pass, PassError};
use crate::serve::telemetry::SPANS;

impl Pass<'_> {
    /// A dry run of the target's write where it is new, changed, or was refused before: what cannot be stored must not
    /// be minted. One of the same shape that was just created in the namespace says as much. `refusals` is how often a Secret
    /// had been refused there: a dry run says nothing any more once another one was.
    pub(super) async fn rehearse(
        &mut self,
        readings: &Readings,
        refusals: u64,
        now: Time,
    ) -> Result<Effect, PassError> {
        let target = facts::target_of(self.credential);
        if let Some(refused) = self.memory.refusal(&target, self.generation(), now) {
            return Ok(Effect::Blocked(refused));
        }
        let mints = &self.context.mints;
        let occasion = Rehearsed { over: readings.target.version.clone(), generation: self.generation(), refusals };
        let is_proven = readings.target.is_intact() && self.memory.refused.is_none();
        if is_proven || self.memory.rehearsed.as_ref() == Some(&occasion) {
            return Ok(Effect::Done);
        }
        let served = readings.served.as_ref().ok();
        let dummy = secret::dummy_token(now);
        let dummy = match render(self.credential, &dummy, served, &self.context.installation) {
            Ok(dummy) => dummy,
            Err(defect) => return Ok(Effect::Blocked(defect)),
        };
        let shape = readings.target.version.is_none().then(|| Shape::of(&dummy));
        let was_just_created = |shape: &Shape| mints.rehearsals().is_proven(shape, now);
        if self.memory.refused.is_none() && shape.as_ref().is_some_and(was_just_created) {
            // Not noted of this object: a refusal of another one ends it.
            return Ok(Effect::Done);
        }
        match self.write(&dummy, readings, Mode::DryRun).await {
            Ok(_) | Err(ApiError::NoDryRun) => {
                self.memory.rehearsed = Some(occasion);
                self.memory.refused = None;
                if let Some(shape) = shape {
                    mints.rehearsals().passed(shape, refusals, now);
                }
                Ok(Effect::Done)
            }
            Err(ApiError::AlreadyExists | ApiError::Conflict) => self.look_at_target(&target, now).await,
            Err(ApiError::Refused { message }) => Ok(Effect::Blocked(self.refuse(message, now))),
            Err(ApiError::NotFound) => Ok(Effect::Blocked(self.refuse("the namespace is gone".into(), now))),
            Err(source) => Err(PassError::Rehearse { name: target, source }),
        }
    }

    /// Brings the token that is known to the target.
    pub(super) async fn store(&mut self, readings: &Readings, facts: &Facts, now: Time) -> Result<Effect, PassError> {
        let Some(token) = readings.token_to_store(facts, now) else { return Ok(Effect::LookAgain) };
        if !self.is_confirmed().await? {
            return Ok(Effect::Outdated);
        }
        let target = facts::target_of(self.credential);
        if let Some(refused) = self.memory.refusal(&target, self.generation(), now) {
            return Ok(Effect::Blocked(refused));
        }
        let served = readings.served.as_ref().ok();
        let wanted = match render(self.credential, token, served, &self.context.installation) {
            Ok(wanted) => wanted,
            Err(defect) => return Ok(Effect::Blocked(defect)),
        };
        let brings = to_store(facts, now);
        let is_repair = brings == Some(Write::Repair) && self.is_for_present_spec();
        let refusals = self.context.mints.rehearsals().refusals(&self.key.namespace);
        let span = tracing::info_span!(target: SPANS, "write target", attempt = %token.attempt);
        let mut written = self.write(&wanted, readings, Mode::Real).instrument(span).await;
        if let (Err(ApiError::Conflict), Some(Write::Newer), Some(owned)) = (&written, brings, self.owned(readings)) {
            // Somebody writes faster than it can be read: what matters is whose it is, and that is checked on the spot.
            written = apply::replace_content(&self.context.client, &wanted, owned).await;
        }
        match written {
            Ok(written) => {
                if is_repair {
                    self.memory.note_repair(now);
                }
                // A patch says nothing of creates: a quota counts only these.
                if readings.target.version.is_none() {
                    self.context.mints.rehearsals().passed(Shape::of(&wanted), refusals, now);
                }
                self.stored(&written, &wanted, token.attempt.clone(), now);
                tracing::info!(credential = %self.key, uid = self.credential.metadata.uid, generation = self.generation(), %target, attempt = %token.attempt, expires_at = %token.life.expires_at, "token stored");
                if let Some(lost) = readings.target.keys_lost_by_adoption(self.credential, &wanted) {
                    self.context.events.publish(self.credential, status::adopted(&target, lost));
                }
                Ok(Effect::Done)
            }
            Err(ApiError::AlreadyExists | ApiError::Conflict | ApiError::NotFound) => {
                self.look_at_target(&target, now).await
            }
            Err(ApiError::Refused { message }) => Ok(Effect::Blocked(self.refuse(message, now))),
            Err(source) => Err(PassError::Write { name: target, source }),
        }
    }

    /// Takes in what a write left. Only what is as it was meant is called intact: admission may have changed it.
    fn stored(&mut self, written: &Secret, wanted: &Secret, attempt: zoho_api::names::AttemptId, now: Time) {
        self.context.news.stored(self.key, now);
        let concerned = self.context.index.apply_secret(&written.metadata);
        self.context.wake.others(self.key, concerned);
        let seen = Seen { version: ObjectVersion::of(&written.metadata), generation: self.generation() };
        self.memory.intact = secret::is_intact(written, wanted).then_some(seen);
        let target = facts::target_of(self.credential);
        self.memory.stored = Some(Stored { attempt, target, generation: self.generation() });
        self.memory.refused = None;
        self.memory.minting_since = None;
    }

    async fn write(&self, wanted: &Secret, readings: &Readings, mode: Mode) -> Result<Secret, ApiError> {
        match (&readings.target.target, &readings.target.version) {
            (Target::Ours { .. }, Some(at)) => {
                let present = readings.target.present.as_ref();
                apply::update_target(&self.context.client, wanted, at, present, mode).await
            }
            _ => apply::create_target(&self.context.client, wanted, mode).await,
        }
    }

    /// It is not what it was taken for. Where it may not be read either, that is what stands in the way.
    async fn look_at_target(&self, target: &ObjectName, now: Time) -> Result<Effect, PassError> {
        Ok(match self.context.gatherer().read(target).await? {
            Read::Refused(words) => Effect::Blocked(facts::read_refused(target, &words, now)),
            Read::There(_) | Read::Absent => Effect::LookAgain,
        })
    }

    /// The target, where it is known to have our owner reference already.
    fn owned<'r>(&self, readings: &'r Readings) -> Option<&'r Secret> {
        let uid = self.credential.metadata.uid.as_ref();
        let present = readings.target.present.as_ref()?;
        let owners = present.metadata.owner_references.iter().flatten();
        let is_ours = owners.into_iter().any(|owner| Some(&owner.uid) == uid && owner.controller == Some(true));
        Some(present).filter(|_| is_ours)
    }

    /// Was the target written for the present spec before? What differs then was changed by somebody else.
    fn is_for_present_spec(&self) -> bool {
        let is_present = |generation: i64| generation == self.generation();
        self.memory.intact.as_ref().is_some_and(|seen| is_present(seen.generation))
            || self.memory.stored.as_ref().is_some_and(|stored| is_present(stored.generation))
    }

    fn refuse(&mut self, words: String, now: Time) -> Defect {
        let target = facts::target_of(self.credential);
        let refused = Refused { target, generation: self.generation(), words, at: now };
        let defect = refused.defect();
        self.context.mints.rehearsals().refused(&self.key.namespace);
        self.memory.refused = Some(refused);
        defect
    }
}
