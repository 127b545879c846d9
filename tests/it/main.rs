//! Everything that needs more than pure functions: tests against a real API server.

mod chart;
mod control_plane;
mod install;
mod journey;
mod schema;
mod support;
