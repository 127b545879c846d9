//! Which objects a pass is made over, where another installation may serve them too.

use std::sync::Arc;

use zoho_api::names::ObjectName;
use zoho_api::{Observed, Time, ZohoCredential, ZohoCredentialStatus};
use zoho_client::apply;
use zoho_client::calls::ApiError;
use zoho_core::facts;
use zoho_core::facts::custody::{Around, Custody, TargetName, is_written_elsewhere};
use zoho_core::memory::Memory;
use zoho_core::status;

use super::recheck::look_again_at;
use super::{Context, PassError};
use crate::flags::SecretAccess;
use crate::watch::index::CredentialSeen;

/// What came of an object that is due.
pub(super) enum Charge {
    /// It is this installation's, as it is now.
    Taken(Arc<ZohoCredential>),
    /// It is not: look again then, or when it changes.
    Left { until: Option<Time> },
}

impl Context {
    /// Leaves alone what another installation serves, and says so once. What is nobody's is claimed before anything is done
    /// for it, by a write that names its version, so that of two installations one wins; where this one is known to be
    /// alone, the claim goes with the first report.
    ///
    /// # Errors
    ///
    /// The claim could not be written.
    ///
    /// # Permissions
    ///
    /// patch on `zohocredentials/status` in the namespace.
    pub(super) async fn take_charge(
        &self,
        credential: Arc<ZohoCredential>,
        key: &ObjectName,
        memory: &mut Memory,
    ) -> Result<Charge, PassError> {
        let us = &self.installation.name;
        let source = self.index.secret(&facts::source_of(&credential));
        let target = self.index.secret(&facts::target_of(&credential));
        let around = Around {
            source: source.as_ref().map(|seen| &seen.version),
            target: match &target {
                Some(seen) => TargetName::Taken(seen),
                None if self.flags.secret_access == SecretAccess::Get => TargetName::Unknown,
                None => TargetName::Free,
            },
            written_elsewhere: target
                .as_ref()
                .is_some_and(|seen| is_written_elsewhere(&credential, seen, &self.installation.hash_key)),
        };
        match memory.watching.look(&credential, around, us, self.clock.now()) {
            Custody::Ours => {
                memory.took_over |= facts::was_taken_over(&credential, &self.installation.hash_key);
                Ok(Charge::Taken(credential))
            }
            Custody::Unclaimed { until } => Ok(Charge::Left { until: Some(until) }),
            Custody::Nobodys if self.index.is_served_only_by(us) => Ok(Charge::Taken(credential)),
            _ if credential.metadata.deletion_timestamp.is_some() => Ok(Charge::Left { until: None }),
            Custody::Nobodys => self.claim(&credential, key, false).await,
            Custody::Abandoned { by } => {
                tracing::warn!(credential = %key, %by, "taken over from another installation");
                memory.took_over = true;
                self.claim(&credential, key, true).await
            }
            Custody::Others { by, until } => {
                self.tell_of(&credential, key, by, memory);
                Ok(Charge::Left { until })
            }
        }
    }

    /// Says with the claim, too, where the object is taken over: a process that comes after this one must know it.
    async fn claim(
        &self,
        credential: &ZohoCredential,
        key: &ObjectName,
        taken_over: bool,
    ) -> Result<Charge, PassError> {
        let before = credential.status.clone().unwrap_or_default();
        let mut claimed = ZohoCredentialStatus { served_by: Some(self.installation.name.clone()), ..before };
        if taken_over {
            claimed.observed = Some(Observed { taken_over, ..claimed.observed.unwrap_or_default() });
            facts::seal_status(credential, &mut claimed, &self.installation.hash_key);
        }
        match apply::patch_status(&self.client, credential, key, &claimed).await {
            Ok(written) => {
                self.wake.others(key, self.index.apply_credential(written));
                match self.index.credential(key) {
                    Some(CredentialSeen::Readable(credential)) => Ok(Charge::Taken(credential)),
                    Some(CredentialSeen::Unreadable(..)) | None => Ok(Charge::Left { until: None }),
                }
            }
            // Somebody else wrote it, the other installation perhaps: what it is now is read, or comes by the watch.
            Err(ApiError::Conflict | ApiError::NotFound) => {
                self.is_current(credential, key).await?;
                Ok(Charge::Left { until: Some(look_again_at(self.clock.now())) })
            }
            Err(error) => Err(PassError::Status(error)),
        }
    }

    /// Says once in an Event who serves it. The status is the other one's.
    fn tell_of(&self, credential: &ZohoCredential, key: &ObjectName, by: String, memory: &mut Memory) {
        if memory.told_of.as_ref() == Some(&by) {
            return;
        }
        tracing::info!(credential = %key, %by, "another installation serves it: it is left alone");
        self.events.publish(credential, status::served_elsewhere(key, &by, &self.installation.name));
        memory.told_of = Some(by);
    }
}
