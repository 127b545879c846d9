//! What the API server's audit log says of the operator.

use zoho_testkit::control_plane::{AuditEntry, Identity};

use super::world::World;

impl World {
    /// Of the requests that have ended, those that are wanted, in order.
    pub(crate) fn audited(&self, is_wanted: impl FnMut(&AuditEntry) -> bool) -> Vec<AuditEntry> {
        self.cluster.audit_entries(is_wanted).expect("the audit log is readable").expect("our own control plane")
    }

    /// The operator's writes in this world's namespaces, in order, without what was only tried.
    pub(crate) fn writes(&self) -> Vec<AuditEntry> {
        self.audited(|entry| {
            entry.user == Identity::Operator.user()
                && [&self.namespace, &self.operator_namespace].contains(&&entry.namespace)
                && ["create", "patch", "update", "delete"].contains(&entry.verb.as_str())
                && !entry.uri.contains("dryRun")
        })
    }
}
