//! The API server's audit log, which counts API calls by who made them.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// Who and what, for every request that has ended; the control plane's own chatter is left out.
pub(super) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
- level: None
  users: [system:apiserver, system:kube-controller-manager]
- level: None
  userGroups: [system:serviceaccounts:kube-system]
- level: Metadata
";

/// One finished API request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who it was done as: the impersonated user if there is one, else the one that authenticated.
    pub user: String,
    /// The API's verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// API group; empty for the core group and for URIs that are no resource.
    pub group: String,
    /// Resource in the plural, like `secrets`; empty for URIs that are no resource.
    pub resource: String,
    /// Like `status`; mostly empty.
    pub subresource: String,
    /// Empty for what has none.
    pub namespace: String,
    /// Empty for lists and for creations by `generateName`.
    pub name: String,
    /// Path and query.
    pub uri: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// What the client calls itself.
    pub user_agent: String,
    /// When the request came in.
    pub timestamp: Timestamp,
}

/// What was read of the log, so that a test that looks again and again reads each line once.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<AuditEntry>,
    /// Bytes that were read.
    read: u64,
}

impl Log {
    /// Reads what came since the last time, and returns all entries.
    pub(super) fn up_to_date(&mut self, path: &Path) -> Result<&[AuditEntry]> {
        let mut text = String::new();
        let mut file = File::open(path).context("open the audit log")?;
        file.seek(SeekFrom::Start(self.read)).context("find the end of what was read")?;
        file.read_to_string(&mut text).context("read the audit log")?;
        self.take_in(&text)?;
        Ok(&self.entries)
    }

    /// A last line without its end is one that is just being written, and is left for the next time.
    fn take_in(&mut self, text: &str) -> Result<()> {
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let event: Event = serde_json::from_str(line).with_context(|| format!("read the audit entry {line}"))?;
            self.entries.push(event.into());
            self.read += line.len() as u64;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    user: User,
    impersonated_user: Option<User>,
    verb: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    response_status: ResponseStatus,
    #[serde(default)]
    user_agent: String,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<Event> for AuditEntry {
    fn from(event: Event) -> Self {
        Self {
            user: event.impersonated_user.unwrap_or(event.user).username,
            verb: event.verb,
            group: event.object_ref.api_group,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            uri: event.request_uri,
            code: event.response_status.code,
            user_agent: event.user_agent,
            timestamp: event.request_received_timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = concat!(
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","#,
        r#""requestURI":"/api/v1/namespaces/a/secrets/b?timeout=1s","verb":"patch","#,
        r#""user":{"username":"admin","groups":["system:masters"]},"sourceIPs":["127.0.0.1"],"userAgent":"agent/1","#,
        r#""objectRef":{"resource":"secrets","namespace":"a","name":"b","apiVersion":"v1"},"#,
        r#""responseStatus":{"metadata":{},"code":409},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z","#,
        r#""stageTimestamp":"2026-01-02T03:04:06.000000Z"}"#,
        "\n"
    );

    #[test]
    fn a_line_becomes_an_entry() {
        let expected = AuditEntry {
            user: "admin".into(),
            verb: "patch".into(),
            group: String::new(),
            resource: "secrets".into(),
            subresource: String::new(),
            namespace: "a".into(),
            name: "b".into(),
            uri: "/api/v1/namespaces/a/secrets/b?timeout=1s".into(),
            code: 409,
            user_agent: "agent/1".into(),
            timestamp: "2026-01-02T03:04:05.678901Z".parse().expect("RFC 3339"),
        };
        let mut log = Log::default();
        log.take_in(LINE).expect("well formed");
        assert_eq!(log.entries, [expected]);
    }

    #[test]
    fn each_line_is_read_once_and_an_unfinished_one_when_it_is_finished() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let mut log = Log::default();
        let mut entries_of = |text: &str| {
            std::fs::write(&path, text).expect("written");
            log.up_to_date(&path).expect("well formed").len()
        };
        assert_eq!(entries_of(&format!("{LINE}{}", &LINE[..40])), 1);
        assert_eq!(entries_of(&format!("{LINE}{LINE}")), 2);
        assert_eq!(entries_of(&format!("{LINE}{LINE}{LINE}")), 3);
    }
}
