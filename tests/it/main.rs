//! Everything that needs more than pure functions: tests against a real API server.

mod chart;
mod control_plane;
mod crash;
mod demo;
mod healing;
mod inputs;
mod install;
mod journey;
mod layers;
mod quiet;
mod refusals;
mod schema;
mod secrecy;
mod startup;
mod support;
