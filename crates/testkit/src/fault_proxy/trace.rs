//! What went through the proxy, in order. Holds no header and no body.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::call::Call;

/// A test that makes more requests keeps the first ones.
const MOST: usize = 200_000;

/// One request.
#[derive(Clone, Debug)]
pub struct Record {
    /// Since the proxy was started.
    pub at: Duration,
    /// The request.
    pub call: Call,
    /// What a rule did to it; empty where it went through.
    pub fault: String,
    /// What the API server answered; `None` before that and where it was not asked.
    pub status: Option<u16>,
    /// From the request's arrival to the answer's first byte.
    pub took: Option<Duration>,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3} ", self.at.as_secs_f64())?;
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None => f.write_str(" - ")?,
        }
        match self.took {
            Some(took) => write!(f, " {:>6} ms", took.as_millis())?,
            None => f.write_str("          ")?,
        }
        write!(f, " {}", self.call)?;
        if self.fault.is_empty() { Ok(()) } else { write!(f, " ** {}", self.fault) }
    }
}

#[derive(Debug)]
pub(super) struct Trace {
    started: Instant,
    records: Mutex<Vec<Record>>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), records: Mutex::default() }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down a request; the number stands for it from then on.
    pub(super) fn begin(&self, call: &Call) -> usize {
        let mut records = self.lock();
        if records.len() == MOST {
            // Stands for no record.
            return MOST;
        }
        let (at, call) = (self.started.elapsed(), call.clone());
        records.push(Record { at, call, fault: String::new(), status: None, took: None });
        records.len() - 1
    }

    pub(super) fn fault(&self, number: usize, fault: &str) {
        if let Some(record) = self.lock().get_mut(number) {
            if !record.fault.is_empty() {
                record.fault.push_str(", ");
            }
            record.fault.push_str(fault);
        }
    }

    pub(super) fn answered(&self, number: usize, status: u16) {
        let now = self.started.elapsed();
        if let Some(record) = self.lock().get_mut(number) {
            record.status = Some(status);
            record.took = Some(now.saturating_sub(record.at));
        }
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_one_line() {
        let trace = Trace::new();
        let uri = "/api/v1/namespaces/a/secrets?dryRun=All";
        let call = Call::read(&http::Method::POST, &uri.parse().unwrap());
        let number = trace.begin(&call);
        trace.fault(number, "Swallow");
        let mut record = trace.records().remove(0);
        record.at = Duration::from_millis(1500);
        assert_eq!(record.to_string(), format!("    1.500  -            create (dry run) {uri} ** Swallow"));
        trace.answered(number, 201);
        let mut record = trace.records().remove(0);
        (record.at, record.took) = (Duration::ZERO, Some(Duration::from_millis(12)));
        assert_eq!(record.to_string(), format!("    0.000 201     12 ms create (dry run) {uri} ** Swallow"));
    }
}
