//! Everything that needs more than pure functions: tests against a real API server.

mod control_plane;
mod crash;
mod healing;
mod inputs;
mod journey;
mod layers;
mod quiet;
mod refusals;
mod schema;
mod secrecy;
mod support;
