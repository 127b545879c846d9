//! Everything that needs more than pure functions: tests against a real API server.

mod chart;
mod clients;
mod control_plane;
mod crash;
mod day;
mod demo;
mod examples;
mod healing;
mod inputs;
mod install;
mod journey;
mod layers;
mod leader;
mod metrics;
mod model;
mod preconditions;
mod quiet;
mod reasons;
mod refusals;
mod schema;
mod secrecy;
mod server_login;
mod startup;
mod support;
mod templates;
mod verify;
