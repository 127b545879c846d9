//! Everything that needs more than pure functions: tests against a real API server.

mod control_plane;
mod healing;
mod journey;
mod quiet;
mod schema;
mod support;
