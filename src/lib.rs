//! A Kubernetes operator that keeps a valid Zoho OAuth access token in a Secret.
//!
//! In reading order: [`api`] is what users write; [`index`] what the watches told of it; [`observe`] turns that into
//! facts; [`plan`] decides; [`mint`] asks the token service; [`secret`] and [`apply`] write the target; [`status`]
//! reports; [`reconcile`] is one pass over one object; [`controller`] makes passes when they are due. [`cli`] is
//! `kubectl zoho`, a program of its own that decides with the same code.

pub mod api;
pub mod apply;
pub mod check;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod controller;
pub mod error;
pub mod events;
pub mod hash_key;
pub mod index;
pub mod leader;
pub mod message;
pub mod metrics;
pub mod mint;
pub mod observe;
pub mod plan;
pub mod poll;
pub mod probes;
pub mod queue;
pub mod reconcile;
pub mod secret;
pub mod series;
pub mod server;
pub mod spec;
pub mod status;
pub mod telemetry;
pub mod template;
#[cfg(feature = "testing")]
pub mod testing;
pub mod watch;
