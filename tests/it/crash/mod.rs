//! The operator is killed at the worst moments, and started again.
//!
//! `plans` finds these moments by itself: whatever a flow writes, in the order in which it writes it, is a list of places
//! to die at.

mod blow;
mod boundary;
mod end;
mod flow;
mod kills;
mod plans;
mod stage;
