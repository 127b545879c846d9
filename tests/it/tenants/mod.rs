//! Tenants who guess, flood and plant: what they do not get, and what it costs the others.

mod guesses;
mod ledgers;
mod load;
mod sources;

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use zoho_api::{ConditionType, ZohoCredential};

use crate::support::DEADLINE;
use crate::support::look::{is, message};
use crate::support::operator::Operator;
use crate::support::world::World;

/// Somebody with a namespace of his own in a world.
struct Tenant<'a> {
    world: &'a World,
    namespace: String,
}

impl<'a> Tenant<'a> {
    async fn new(world: &'a World, name: &str) -> Self {
        Self { world, namespace: world.cluster.namespace(name).await }
    }

    fn credentials(&self) -> Api<ZohoCredential> {
        Api::namespaced(self.world.client.clone(), &self.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.world.client.clone(), &self.namespace)
    }

    async fn source(&self, name: &str, pairs: &[(&str, &str)]) {
        self.world.confide_source(pairs);
        let data: serde_json::Map<String, Value> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        let params = PatchParams::apply("test").force();
        self.secrets().patch(name, &params, &Patch::Apply(&secret)).await.expect("the source is written");
    }

    async fn credential(&self, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential",
            "metadata": { "name": name }, "spec": spec,
        });
        let object = serde_json::from_value(object).expect("a credential");
        self.credentials().create(&PostParams::default(), &object).await.expect("the credential is created");
    }

    async fn get(&self, name: &str) -> ZohoCredential {
        self.credentials().get(name).await.expect("the credential is there")
    }

    /// Waits for one of these reasons of `Renewable`, given since the last one of another kind.
    async fn wait_for(&self, name: &str, reasons: &[&str]) -> ZohoCredential {
        let started = Instant::now();
        loop {
            let seen = self.get(name).await;
            if reasons.iter().any(|reason| is(&seen, ConditionType::Renewable, reason)) {
                self.world.assert_discreet(&seen);
                return seen;
            }
            assert!(started.elapsed() < DEADLINE, "{name}: not {reasons:?}\n{seen:#?}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    async fn says(&self, name: &str) -> String {
        message(&self.get(name).await, ConditionType::Renewable)
    }
}

/// An operator that serves the world's namespace and those of the tenants.
fn operator_for(world: &World, tenants: &[&Tenant<'_>], args: &[&str]) -> Operator {
    let namespaces: Vec<&str> =
        std::iter::once(&*world.namespace).chain(tenants.iter().map(|tenant| &*tenant.namespace)).collect();
    let namespaces = namespaces.join(",");
    world.operator_with(&[&["--watch-namespaces", &namespaces], args].concat())
}
