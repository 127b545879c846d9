//! Every file of `examples/` is applied as a person would apply it, and is served once the placeholders are replaced.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Map, Value, json};
use zoho_api::{ConditionStatus, ConditionType, Grant, Product, ZohoCredential};
use zoho_simulator::self_clients::Owner;

use crate::support::DEADLINE;
use crate::support::look::{condition, is_ready};
use crate::support::world::World;

const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// In place of the server of the examples.
const SERVER: &str = "https://ec.corp.example:8383";

/// The keys that a credential's source must have, with what the simulator takes.
fn source_of(credential: &ZohoCredential, number: usize) -> Map<String, Value> {
    let reference = &credential.spec.secret_ref;
    let pairs: Vec<(&str, String)> = match &credential.spec.endpoint_central_server {
        None if credential.spec.grant() == Grant::ClientCredentials => vec![
            (reference.client_id_key(), "client".into()),
            (reference.client_secret_key(), "canary0example0secret".into()),
        ],
        None => vec![
            (reference.client_id_key(), "client".into()),
            (reference.client_secret_key(), "canary0example0secret".into()),
            (reference.refresh_token_key(), format!("canary0example0refresh0{number}")),
        ],
        Some(server) => vec![
            (reference.username_key(), if server.domain.is_some() { "ad" } else { "local" }.into()),
            (reference.password_key(), "canary0example0password".into()),
            (reference.totp_secret_key(), SEED.into()),
        ],
    };
    pairs.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

fn teach(world: &World, credential: &ZohoCredential, number: usize) {
    let refresh_token = format!("canary0example0refresh0{number}");
    world.zoho.register("client", "canary0example0secret", &refresh_token);
    if credential.spec.grant() == Grant::ClientCredentials {
        let owner = Owner {
            scopes: credential.spec.scopes.clone(),
            organisations: credential.spec.soid.iter().cloned().collect(),
        };
        world.zoho.register_self_client("client", "canary0example0secret", owner);
    }
    if let Some(server) = &credential.spec.endpoint_central_server {
        let (domain, name) = (server.domain.as_deref(), if server.domain.is_some() { "ad" } else { "local" });
        let seed = server.domain.is_some().then_some(SEED);
        world.zoho.with(|zoho, _| zoho.server_mut().register(domain, name, "canary0example0password", seed));
    }
}

#[tokio::test]
async fn every_example_is_served_once_its_placeholders_are_replaced() {
    let world = World::new("examples").await;
    for secret in ["canary0example0secret", "canary0example0password", SEED] {
        world.confide(secret);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<_> = fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut namespaces = Vec::new();
    for path in &files {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        namespaces.push(world.cluster.namespace(&format!("ex-{name}")).await);
    }
    let url = world.zoho.url();
    let urls: Vec<String> = ["US", "EU"].iter().map(|data_center| format!("{data_center}={url}")).collect();
    let api_urls: Vec<String> = Product::ALL.iter().map(|product| format!("{product}:US={url}")).collect();
    let _operator = world.operator_with(&[
        "--watch-namespaces",
        &namespaces.join(","),
        "--accounts-url",
        &urls.join(","),
        "--accounts-host",
        "accounts.corp.example",
        "--api-url",
        &api_urls.join(","),
        "--endpoint-central-url",
        &url,
    ]);
    let mut served = 0;
    for (number, (path, namespace)) in files.iter().zip(&namespaces).enumerate() {
        let manifest = fs::read_to_string(path).expect("readable").replace(SERVER, &url);
        apply(&world, namespace, &manifest).await;
        let api: Api<ZohoCredential> = Api::namespaced(world.client.clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(world.client.clone(), namespace);
        for credential in api.list(&ListParams::default()).await.expect("listed") {
            teach(&world, &credential, number);
            let data = source_of(&credential, number);
            let name = &credential.spec.secret_ref.name;
            let source =
                json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
            let params = PatchParams::apply("test").force();
            secrets.patch(name, &params, &Patch::Apply(&source)).await.expect("the source is written");
            if credential.spec.accounts_host.is_some() || credential.spec.suspend {
                continue; // of hosts that are not here; of what is not to be served
            }
            served += 1;
            let name = credential.metadata.name.expect("it has one");
            let what = format!("served, as {} says", path.display());
            let is_served = |seen: &ZohoCredential| {
                let verified = condition(seen, ConditionType::Verified);
                let is_verified = seen.spec.verify.is_none() || verified == Some(ConditionStatus::True);
                is_ready(seen) && is_verified
            };
            world.wait_in(api.clone(), &name, (&what, DEADLINE), is_served).await;
        }
    }
    assert!(served >= 19, "only {served} credentials stand in the examples");
}

async fn apply(world: &World, namespace: &str, manifest: &str) {
    let arguments = ["apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "-"];
    let output = world.cluster.kubectl_stdin(&arguments, manifest).await.expect("kubectl");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}
