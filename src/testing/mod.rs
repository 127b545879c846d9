//! What tests and the demo run against: the Zoho simulator, a real Kubernetes control plane, a proxy that injects faults,
//! an observer of what users get; and the demo itself. Off in releases.

pub mod control_plane;
pub mod demo;
pub mod fault_proxy;
pub mod observer;
pub mod simulator;
