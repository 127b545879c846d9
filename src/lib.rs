//! A Kubernetes operator that keeps a valid Zoho OAuth access token in a Secret.

#[cfg(feature = "testing")]
pub mod testing;
