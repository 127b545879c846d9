//! Many credentials at once.

use futures::StreamExt as _;
use serde_json::json;
use zoho_simulator::Credential;

use super::world::World;

/// So many are created at the same time.
const AT_ONCE: usize = 16;

impl World {
    /// Sources `source-0`, `source-1` … with what the simulator has registered, and credentials `c0`, `c1` … that read them.
    pub(crate) async fn create_many(&self, registered: &[Credential]) {
        let create = async |(number, credential)| {
            self.source_of(&format!("source-{number}"), credential).await;
            self.credential(&format!("c{number}"), &format!("source-{number}"), json!({})).await;
        };
        futures::stream::iter(registered.iter().enumerate()).for_each_concurrent(AT_ONCE, create).await;
    }
}
