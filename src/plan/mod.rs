//! What one pass should do: a total, pure function of what was observed and the time.

pub mod backoff;
pub mod budget;
#[cfg(test)]
mod budget_tests;
pub mod record;
pub mod renewal;
