//! What the API server's audit log says of the operator.

use zoho_testkit::control_plane::{AuditEntry, Identity};

use super::world::World;

impl World {
    /// The operator's writes in this world's namespaces, in order, without what was only tried.
    pub(crate) fn writes(&self) -> Vec<AuditEntry> {
        let entries = self.cluster.audit_entries().expect("the audit log is readable").expect("our own control plane");
        let is_write = |entry: &AuditEntry| {
            entry.user == Identity::Operator.user()
                && [&self.namespace, &self.operator_namespace].contains(&&entry.namespace)
                && ["create", "patch", "update", "delete"].contains(&entry.verb.as_str())
                && !entry.uri.contains("dryRun")
        };
        entries.into_iter().filter(is_write).collect()
    }
}
