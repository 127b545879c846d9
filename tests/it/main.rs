//! Everything that needs more than pure functions: tests against a real API server.

mod chart;
mod check;
mod clients;
mod control_plane;
mod crash;
mod day;
mod demo;
mod examples;
mod faults;
mod fights;
mod gitops;
mod hash_key;
mod healing;
mod honesty;
mod inputs;
mod install;
mod journey;
mod layers;
mod leader;
mod metrics;
// mod model; is being moved to the shared mirror
mod monitoring;
mod plugin;
mod preconditions;
mod quiet;
mod reasons;
mod refusals;
mod schema;
mod secrecy;
mod secret_access;
mod server_login;
mod startup;
mod support;
mod templates;
mod time;
#[cfg(feature = "otlp")]
mod traces;
mod verify;
mod wire;
