//! What tests and the demo run against: the Zoho simulator and a real Kubernetes control plane. Off in releases.

pub mod control_plane;
pub mod simulator;
