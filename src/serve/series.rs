//! Metrics that are computed from the present state at each scrape: leadership, and what is known of each credential.
//!
//! So a series goes with its object. Only the leader has series of credentials: those of a standby would be as old as
//! its watches, and two values for one credential help nobody.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::lead::Leadership;
use crate::mint::ledger::Ledgers;
use crate::watch::index::Index;
use zoho_api::names::ObjectName;
use zoho_api::{ConditionStatus, ConditionType, Reason, Time, ZohoCredential, ZohoCredentialStatus};
use zoho_client::clock::Clock;
use zoho_core::plan::budget;

/// Reads anew at each scrape.
pub(crate) struct Series {
    /// What the watches told.
    pub index: Arc<Index>,
    /// The ledgers, for living tokens.
    pub ledgers: Ledgers,
    /// Does this process lead?
    pub leadership: Leadership,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Name of this installation.
    pub installation: String,
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Series")
    }
}

/// A gauge with one value for a credential.
type PerCredential<'a> = (&'a str, &'a str, &'a dyn Fn(&ZohoCredentialStatus) -> Option<i64>);

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let leads = self.leadership.is_leader();
        encoder
            .encode_descriptor("zoho_operator_leader", "Whether this process is the leader", None, MetricType::Gauge)?
            .encode_gauge(&i64::from(leads))?;
        let mut credentials = if leads { self.index.credentials() } else { Vec::new() };
        let all = credentials.len();
        // The installation that serves them has the series of the others.
        credentials.retain(|credential| credential.served_elsewhere(&self.installation).is_none());
        encoder
            .encode_descriptor(
                "zoho_operator_served_elsewhere",
                "Credentials that another installation serves, and that this one leaves alone",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::try_from(all - credentials.len()).unwrap_or(i64::MAX))?;
        let now = self.clock.now();
        let live = |status: &ZohoCredentialStatus| {
            let ledger = self.ledgers.look(status.ledger.as_ref()?, false, now);
            i64::try_from(budget::live(&ledger, self.ledgers.limits(), now)).ok()
        };
        let gauges: [PerCredential<'_>; 5] = [
            ("token_expiry_timestamp_seconds", "When the token in the target expires", &|status| {
                status.expiration_time.map(Time::unix)
            }),
            ("token_renewal_due_timestamp_seconds", "When the renewal of the token is, or was, due", &|status| {
                status.renewal_time.map(Time::unix)
            }),
            ("next_attempt_timestamp_seconds", "When the operator acts next, for any reason", &|status| {
                status.next_attempt_time.map(Time::unix)
            }),
            ("consecutive_failures", "Failed attempts since the last success", &|status| {
                Some(status.consecutive_failures.map_or(0, i64::from))
            }),
            ("live_tokens", "Tokens of the credential's ledger that may be valid", &live),
        ];
        for (name, help, value) in gauges {
            let name = format!("zoho_operator_{name}");
            let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for credential in &credentials {
                if let Some(value) = credential.status.as_ref().and_then(value) {
                    metric.encode_family(&labels(credential))?.encode_gauge(&value)?;
                }
            }
        }
        let unreadable = if leads { self.index.unreadable(&self.installation) } else { Vec::new() };
        encode_conditions(&mut encoder, &credentials, &unreadable)
    }
}

/// 1 for the status and the reason that each condition has now; what is not in the closed lists is left out.
fn encode_conditions(
    encoder: &mut DescriptorEncoder<'_>,
    credentials: &[Arc<ZohoCredential>],
    unreadable: &[ObjectName],
) -> Result<(), fmt::Error> {
    let name = "zoho_operator_credential_condition";
    let mut metric = encoder.encode_descriptor(name, "1 for the current status", None, MetricType::Gauge)?;
    for ([namespace, name], type_, status, _) in conditions(credentials, unreadable) {
        let labels = [namespace, name, ("type", type_.as_str()), ("status", status)];
        metric.encode_family(&labels)?.encode_gauge(&1i64)?;
    }
    let name = "zoho_operator_credential_reason";
    let mut metric = encoder.encode_descriptor(name, "1 for the current reason", None, MetricType::Gauge)?;
    for ([namespace, name], type_, _, reason) in conditions(credentials, unreadable) {
        let labels = [namespace, name, ("type", type_.as_str()), ("reason", reason.as_str())];
        metric.encode_family(&labels)?.encode_gauge(&1i64)?;
    }
    Ok(())
}

type Labels<'a> = [(&'static str, &'a str); 2];

fn conditions<'a>(
    credentials: &'a [Arc<ZohoCredential>],
    unreadable: &'a [ObjectName],
) -> impl Iterator<Item = (Labels<'a>, ConditionType, &'static str, Reason)> {
    let readable = credentials.iter().flat_map(|credential| {
        let conditions = credential.status.iter().flat_map(|status| &status.conditions);
        conditions.filter_map(|condition| {
            let status = match condition.status {
                ConditionStatus::True => "True",
                ConditionStatus::False => "False",
                ConditionStatus::Unknown => "Unknown",
            };
            Some((labels(credential), condition.type_.parse().ok()?, status, condition.reason.parse().ok()?))
        })
    });
    // What the operator writes into the status of an object that it cannot read.
    let said = [(ConditionType::Ready, "False"), (ConditionType::Renewable, "False"), (ConditionType::Stalled, "True")];
    let unreadable = unreadable.iter().flat_map(move |key| {
        let labels = [("namespace", &*key.namespace), ("name", &*key.name)];
        said.map(|(type_, status)| (labels, type_, status, Reason::InvalidSpec))
    });
    readable.chain(unreadable)
}

fn labels(credential: &ZohoCredential) -> Labels<'_> {
    let meta = &credential.metadata;
    [("namespace", meta.namespace.as_deref().unwrap_or_default()), ("name", meta.name.as_deref().unwrap_or_default())]
}
