//! The operator behind a proxy that does to its requests, answers and watches what the world does to them.

mod calls;
mod ledger;
mod missed;
mod old_news;
mod outages;
mod proxy;
mod races;
mod upstream;
mod watches;

use zoho_testkit::fault_proxy::{FaultProxy, Record, Verb};

use crate::support::operator::Operator;
use crate::support::world::World;

/// A world without credentials, and an operator behind a proxy that has listed it.
async fn behind_a_proxy(test: &str) -> (World, FaultProxy, Operator) {
    let world = World::new(test).await;
    let proxy = world.proxy();
    let operator = world.operator_behind(&proxy, &[]);
    operator.synced().await;
    (world, proxy, operator)
}

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
