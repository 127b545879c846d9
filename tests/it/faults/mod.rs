//! The operator behind a proxy that does to its requests, answers and watches what the world does to them.

mod proxy;
