//! The operator behind a proxy that does to its requests, answers and watches what the world does to them.

mod ledger;
mod old_news;
mod proxy;
mod watches;

use zoho_testkit::fault_proxy::{FaultProxy, Record, Verb};

/// What operators have changed through a proxy: no dry runs, no Events.
fn writes(proxy: &FaultProxy) -> Vec<Record> {
    let is_write = |record: &Record| {
        record.call.verb.is_write()
            && !record.call.is_dry_run
            && !["events", "leases"].contains(&&*record.call.resource)
    };
    proxy.trace().into_iter().filter(is_write).collect()
}

fn count(proxy: &FaultProxy, verb: Verb, resource: &str) -> usize {
    proxy.trace().iter().filter(|record| (record.call.verb, &*record.call.resource) == (verb, resource)).count()
}
