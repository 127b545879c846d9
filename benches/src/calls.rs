//! API calls, counted by the API server's own audit log.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use zoho_testkit::control_plane::{AuditEntry, Identity};

use super::burst::as_f64;
use super::stage::Stage;

/// How many calls of each kind, but for watches and lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    /// By verb and resource.
    pub(crate) counts: BTreeMap<String, usize>,
    /// Lists, by resource: one a page.
    pub(crate) lists: BTreeMap<String, usize>,
}

impl Calls {
    /// All that the controller has made so far. The log is behind by some milliseconds.
    pub(crate) async fn so_far(stage: &Stage) -> Result<Self> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let is_ours = |entry: &AuditEntry| entry.user == Identity::Operator.user();
        let entries = stage.cluster.audit_entries(is_ours)?.context("the control plane has an audit log")?;
        let mut calls = Self::default();
        for entry in entries {
            let sub = if entry.subresource.is_empty() { String::new() } else { format!("/{}", entry.subresource) };
            match entry.verb.as_str() {
                "watch" => {}
                "list" => *calls.lists.entry(entry.resource).or_default() += 1,
                verb => {
                    let dry = if entry.uri.contains("dryRun") { " (dry run)" } else { "" };
                    *calls.counts.entry(format!("{verb} {}{sub}{dry}", entry.resource)).or_default() += 1;
                }
            }
        }
        Ok(calls)
    }

    /// Those since then.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let less = |now: &BTreeMap<String, usize>, before: &BTreeMap<String, usize>| {
            let rest = now.iter().map(|(call, count)| (call.clone(), count - before.get(call).copied().unwrap_or(0)));
            rest.filter(|(_, count)| *count > 0).collect()
        };
        Self { counts: less(&self.counts, &before.counts), lists: less(&self.lists, &before.lists) }
    }

    pub(crate) fn total(&self) -> usize {
        self.counts.values().sum()
    }

    /// Of each kind, for each of so many credentials.
    pub(crate) fn each(&self, credentials: usize) -> String {
        let each = |(call, count): (&String, &usize)| format!("{:.2} {call}", as_f64(*count) / as_f64(credentials));
        self.counts.iter().map(each).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(call, count): (&String, &usize)| format!("{count} {call}");
        let lists = self.lists.iter().map(|(resource, count)| format!("{count} list {resource}"));
        let all: Vec<String> = self.counts.iter().map(text).chain(lists).collect();
        if all.is_empty() { f.write_str("none") } else { f.write_str(&all.join(", ")) }
    }
}
