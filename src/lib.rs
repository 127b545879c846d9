//! A Kubernetes operator that keeps a valid Zoho OAuth access token in a Secret.

pub mod api;
pub mod plan;
#[cfg(feature = "testing")]
pub mod testing;
