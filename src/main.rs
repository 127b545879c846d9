//! Placeholder until the controller stands.
fn main() {}
