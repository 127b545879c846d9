//! A Kubernetes operator that keeps a valid Zoho OAuth access token in a Secret.

pub mod api;
pub mod apply;
pub mod clock;
pub mod config;
pub mod error;
pub mod index;
pub mod mint;
pub mod observe;
pub mod plan;
pub mod secret;
pub mod spec;
pub mod status;
#[cfg(feature = "testing")]
pub mod testing;
