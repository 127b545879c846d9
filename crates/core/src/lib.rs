//! The decisions of zoho-operator, as pure functions: no I/O, no clock, no randomness.

pub mod burst;
pub mod facts;
#[cfg(test)]
mod fixtures;
pub mod issuer;
pub mod lease;
pub mod lines;
pub mod memory;
pub mod message;
pub mod mirror;
pub mod plan;
pub mod policy;
pub mod queue;
pub mod rehearsal;
pub mod secret;
pub mod shares;
pub mod spec;
pub mod status;
pub mod template;
pub mod text;
