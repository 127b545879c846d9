//! What comes over the wire, byte by byte: real sockets, real TLS, certificates of every kind made on the spot.

mod certificates;
mod logins;
mod proxies;
mod replies;
mod support;
