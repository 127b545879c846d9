//! The edges that the operator and the plugin share: HTTP to token services, servers and products; calls to the
//! Kubernetes API with a deadline and a meaning; the way to the API server; the clock.

pub mod apply;
pub mod calls;
pub mod clock;
pub mod cluster;
mod failure;
mod in_time;
pub mod server;
mod tls;
pub mod told;
pub mod transport;
