//! Everything that needs more than pure functions: tests against a real API server.

mod control_plane;
mod demo;
mod journey;
mod support;
