//! Targets of former names: deleted once nobody needs them, and only those that this installation wrote.

use std::collections::HashMap;

use zoho_api::names::{ObjectName, ObjectVersion};
use zoho_api::{Reason, Time};
use zoho_client::apply;
use zoho_client::calls::ApiError;
use zoho_core::facts;
use zoho_core::facts::ownership::SecretSeen;
use zoho_core::memory::REFUSED_FOR;
use zoho_core::plan::{Defect, Facts, Target};
use zoho_core::text::causes;

use super::Pass;
use super::gather::Former;
use super::recheck::look_again_at;

/// So many former targets are read in one sweep; the next pass looks at more.
const LOOKS: usize = 16;

/// What is known of former targets after a sweep.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// When the next one may go.
    pub next: Option<Time>,
    /// Why one could not be deleted.
    pub obstacle: Option<Defect>,
}

impl Swept {
    fn again_at(&mut self, at: Time) {
        self.next = [self.next, Some(at)].into_iter().flatten().min();
    }
}

impl Pass<'_> {
    /// Deletes targets of former names once their token has expired and their successor holds one: pods that still mount
    /// them go on working until then. What stands in the way is reported, and tried again.
    ///
    /// Owner and times alone would be no proof: who may create Secrets could plant one and have it deleted. So it is read,
    /// and deleted only with a seal that is ours. What another key has sealed is left, too.
    pub(super) async fn sweep_former_targets(&mut self, facts: &Facts, now: Time) -> Swept {
        let mut swept = Swept::default();
        let has_successor =
            matches!(&facts.target, Target::Ours { token: Some(token), .. } if token.life.is_alive(now));
        let uid = self.credential.metadata.uid.as_deref().filter(|_| has_successor);
        let controlled = uid.map(|uid| self.context.index.controlled_by(uid)).unwrap_or_default();
        if !self.memory.left_alone.is_empty() {
            // Whoever may create Secrets decides how many there are.
            let versions: HashMap<&ObjectName, &ObjectVersion> =
                controlled.iter().map(|(name, seen)| (name, &seen.version)).collect();
            self.memory.left_alone.retain(|(name, version)| versions.get(name) == Some(&version));
        }
        let mut looks = 0;
        for (name, seen) in controlled {
            let Some(stamp) = seen.ours.as_ref().and_then(|ours| ours.stamp.clone()) else { continue };
            let is_former = name.namespace == self.key.namespace && name != facts::target_of(self.credential);
            if !is_former || self.memory.left_alone.contains(&(name.clone(), seen.version.clone())) {
                continue;
            }
            if stamp.life.expires_at.min(now + stamp.life.span()) > now {
                swept.again_at(stamp.life.expires_at);
                continue;
            }
            if !matches!(self.is_confirmed().await, Ok(true)) {
                // What is the target now is looked at first.
                swept.again_at(look_again_at(now));
                return swept;
            }
            if looks == LOOKS {
                if swept.obstacle.is_none() {
                    swept.again_at(look_again_at(now));
                }
                return swept;
            }
            looks += 1;
            self.sweep(&name, &seen, &mut swept, now).await;
        }
        swept
    }

    async fn sweep(&mut self, name: &ObjectName, seen: &SecretSeen, swept: &mut Swept, now: Time) {
        let former = match self.context.gatherer().former(self.credential, name, &seen.version).await {
            Ok(Former::Sealed(former)) => former,
            Ok(Former::Absent) => return,
            Ok(Former::NotOurs) => {
                tracing::warn!(credential = %self.key, target = %name, "a Secret with this owner is left as it is: it does not bear this operator's seal");
                self.memory.left_alone.insert((name.clone(), seen.version.clone()));
                return;
            }
            // It is looked at by the next pass.
            Ok(Former::Changed) => return swept.again_at(look_again_at(now)),
            Err(error) => return self.not_swept(name, &error, swept, now),
        };
        match apply::delete_target(&self.context.client, &former).await {
            Ok(()) => {
                self.is_gone(name, seen);
                tracing::info!(credential = %self.key, target = %name, "former target deleted");
            }
            Err(ApiError::NotFound) => self.is_gone(name, seen),
            // It changed meanwhile: it is read, and the next pass looks again.
            Err(ApiError::Conflict) => {
                swept.again_at(look_again_at(now));
                drop(self.context.gatherer().read(name).await);
            }
            Err(error) => self.not_swept(name, &error, swept, now),
        }
    }

    fn is_gone(&self, name: &ObjectName, seen: &SecretSeen) {
        let concerned = self.context.index.secret_not_found(name, Some(seen));
        self.context.wake.others(self.key, concerned);
    }

    fn not_swept(&self, name: &ObjectName, error: &ApiError, swept: &mut Swept, now: Time) {
        swept.again_at(now + REFUSED_FOR * 2);
        tracing::warn!(credential = %self.key, target = %name, error = causes(error), "former target not deleted; it is tried again");
        let message = format!("Former target Secret {name} cannot be deleted: {error}. It is tried again.");
        swept.obstacle = Some(Defect { reason: Reason::WriteRefused, message, again_at: None });
    }
}
