//! What tests and the demo run against: the Zoho simulator and a real Kubernetes control plane; and the demo itself. Off
//! in releases.

pub mod control_plane;
pub mod demo;
pub mod simulator;
