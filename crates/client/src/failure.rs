//! What a call without an answer means. Pure: looks at errors.

use std::error::Error;

use rustls::{AlertDescription, CertificateError};

use zoho_api::{Outcome, Reason, Time};
use zoho_core::issuer::cause::{Cause, ProxyKind, ProxyProblem, checked_names};
use zoho_core::issuer::reply::Failed;

use crate::tls::is_authority_as_server;

/// Longest text of an error that is logged, in characters.
const LONGEST_TEXT: usize = 256;

/// What a call without an answer means. Until a connection stands nothing of ours has left; after that the server may have
/// minted. `proxy`: host and port of the one on the way, where there is one.
pub(crate) fn of(error: &reqwest::Error, proxy: Option<String>) -> Failed {
    if error.is_builder() {
        return Failed::passing(Reason::UpstreamError, Outcome::NotSent);
    }
    if !error.is_connect() {
        return if error.is_timeout() {
            timed_out()
        } else {
            Failed::passing(Reason::UpstreamUnavailable, Outcome::Unknown)
        };
    }
    let cause = cause(error, proxy);
    let reason = if cause.is_tls() { Reason::UpstreamTLS } else { Reason::UpstreamUnavailable };
    Failed { cause: Some(cause), ..Failed::passing(reason, Outcome::NotSent) }
}

/// The same where an earlier request of the same attempt has reached the server: it counts, whatever became of this one.
pub(crate) fn after_something_was_sent(failed: Failed) -> Failed {
    let outcome = if failed.outcome == Outcome::NotSent { Outcome::Unknown } else { failed.outcome };
    Failed { outcome, ..failed }
}

/// No answer in time.
pub(crate) fn timed_out() -> Failed {
    Failed::passing(Reason::UpstreamTimeout, Outcome::Unknown)
}

/// 407 in place of the server's answer, out of a tunnel: it is of somebody who has read the request, and nobody knows how far
/// that got.
pub(crate) fn of_proxy_that_wants_login(proxy: String) -> Failed {
    let cause = Cause::Proxy(ProxyProblem { proxy, kind: ProxyKind::WantsLogin });
    Failed { cause: Some(cause), ..Failed::passing(Reason::UpstreamUnavailable, Outcome::Unknown) }
}

/// The innermost cause, for the log: one line, of bounded length.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let text = chain(error).last().map(ToString::to_string).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect()
}

fn cause(error: &reqwest::Error, proxy: Option<String>) -> Cause {
    let errors: Vec<&(dyn Error + 'static)> = chain(error).collect();
    let tls = errors.iter().find_map(|error| error.downcast_ref::<rustls::Error>());
    // The type has no name outside of hyper-util.
    let tunnel = errors.iter().map(ToString::to_string).find(|text| text.starts_with("tunnel error"));
    let is_cut = errors.iter().filter_map(|error| error.downcast_ref::<std::io::Error>()).any(|error| {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
    });
    match (proxy, tunnel, tls) {
        (Some(proxy), Some(tunnel), tls) => {
            let kind = match tls {
                Some(_) => ProxyKind::Untrusted,
                None if tunnel.contains("authorization required") => ProxyKind::WantsLogin,
                None if tunnel.contains("unsuccessful") => ProxyKind::Refuses,
                None => ProxyKind::Unreachable,
            };
            Cause::Proxy(ProxyProblem { proxy, kind })
        }
        (_, _, Some(tls)) => of_tls(tls),
        (_, _, None) if is_cut => Cause::BrokenHandshake,
        (Some(proxy), None, None) => Cause::Proxy(ProxyProblem { proxy, kind: ProxyKind::Unreachable }),
        (None, _, None) if errors.iter().any(|error| error.to_string().starts_with("dns error")) => Cause::UnknownHost,
        (None, _, None) => Cause::Unreachable,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other errors have one text")]
fn of_tls(error: &rustls::Error) -> Cause {
    match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. } => Cause::PlainHttp,
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        ) => Cause::ProtocolVersion,
        rustls::Error::NoCertificatesPresented => Cause::BadCertificate,
        _ => Cause::BrokenHandshake,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other errors have one text")]
fn of_certificate(error: &CertificateError) -> Cause {
    let time = |time: &rustls::pki_types::UnixTime| i64::try_from(time.as_secs()).ok().map(Time::from_unix);
    match error {
        // The signature of an authority of that name, made with another key: an authority that was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Cause::UnknownAuthority,
        CertificateError::Expired => Cause::Expired { since: None },
        CertificateError::ExpiredContext { not_after, .. } => Cause::Expired { since: time(not_after) },
        CertificateError::NotValidYet => Cause::NotYetValid { from: None },
        CertificateError::NotValidYetContext { not_before, .. } => Cause::NotYetValid { from: time(not_before) },
        CertificateError::NotValidForNameContext { expected, presented } => {
            Cause::WrongName { called: expected.to_str().into_owned(), names: checked_names(presented) }
        }
        error if is_authority_as_server(error) => Cause::AuthorityAsServer,
        _ => Cause::BadCertificate,
    }
}

/// An error and its causes.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        // An I/O error names the cause of what it wraps as its source, and so hides what it wraps.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_that_answers_out_of_a_tunnel_may_have_passed_the_request_on() {
        assert_eq!(of_proxy_that_wants_login("proxy:8080".into()).outcome, Outcome::Unknown);
    }

    #[test]
    fn attempt_of_which_something_was_sent_is_never_not_sent() {
        let table = [
            (Outcome::NotSent, Outcome::Unknown),
            (Outcome::Unknown, Outcome::Unknown),
            (Outcome::NotMinted, Outcome::NotMinted),
        ];
        for (outcome, expected) in table {
            let failed = after_something_was_sent(Failed::passing(Reason::UpstreamUnavailable, outcome));
            assert_eq!((failed.outcome, failed.reason), (expected, Reason::UpstreamUnavailable));
        }
    }
}
