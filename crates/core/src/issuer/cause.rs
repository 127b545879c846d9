//! What stood in the way of a call, where more than the reason is known, and a sentence for each. Pure.
//!
//! Everything in here is from closed lists, from the own configuration, or a name that was checked letter by letter: the
//! sentences go into conditions and Events.

use std::fmt;

use url::Url;
use zoho_api::{DataCenter, Time};

use super::data_centers;

/// Names of a certificate that are told.
const MOST_NAMES: usize = 4;
/// The longest name that DNS knows.
const LONGEST_NAME: usize = 253;

/// What stood in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The certificate's authority is not known.
    UnknownAuthority,
    /// The certificate has expired.
    Expired {
        /// When.
        since: Option<Time>,
    },
    /// The certificate does not hold yet.
    NotYetValid {
        /// From when on it does.
        from: Option<Time>,
    },
    /// The certificate is for other names.
    WrongName {
        /// The name that was called.
        called: String,
        /// Names that it has; see [`checked_names`].
        names: Vec<String>,
    },
    /// The certificate is an authority's (`CA:TRUE`), and shown as the server's own.
    AuthorityAsServer,
    /// Something else is wrong with the certificate.
    BadCertificate,
    /// What answered does not speak TLS.
    PlainHttp,
    /// No version of TLS, or no cipher, is common to both.
    ProtocolVersion,
    /// The handshake was broken off.
    BrokenHandshake,
    /// The name of the host is not known.
    UnknownHost,
    /// No connection.
    Unreachable,
    /// It says itself that it, or what it stands before, does not work: a status from 500 on.
    OutOfOrder {
        /// The HTTP status.
        status: u16,
    },
    /// The proxy on the way.
    Proxy(ProxyProblem),
    /// A redirect to the accounts server of a data center.
    RedirectTo(DataCenter),
}

/// What a proxy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProblem {
    /// Host and port, never what stands before them in the URL.
    pub proxy: String,
    /// What it did.
    pub kind: ProxyKind,
}

/// What a proxy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// It wants to know who asks (407).
    WantsLogin,
    /// It does not let the connection through.
    Refuses,
    /// It does not answer.
    Unreachable,
    /// Its own certificate is not trusted.
    Untrusted,
}

impl Cause {
    /// The cause in a redirect's `Location`, where that is an accounts server that is known.
    pub fn of_redirect(location: &str) -> Option<Self> {
        let location = location.trim();
        let whole = if location.starts_with("//") { format!("https:{location}") } else { location.to_owned() };
        let url: Url = whole.parse().ok()?;
        data_centers::of_accounts_host(url.host_str()?).map(Self::RedirectTo)
    }

    /// Is it about TLS, and not about the way there?
    pub fn is_tls(&self) -> bool {
        match self {
            Self::UnknownAuthority
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::WrongName { .. }
            | Self::AuthorityAsServer
            | Self::BadCertificate
            | Self::PlainHttp
            | Self::ProtocolVersion => true,
            Self::Proxy(problem) => problem.kind == ProxyKind::Untrusted,
            Self::BrokenHandshake
            | Self::UnknownHost
            | Self::Unreachable
            | Self::OutOfOrder { .. }
            | Self::RedirectTo(_) => false,
        }
    }

    /// A sentence or two for people: what it was, and what to do. `service`: who was called, at the start of a sentence.
    pub fn sentence(&self, service: &str) -> String {
        match self {
            Self::UnknownAuthority => format!(
                "{service} shows a certificate of an authority that is not known. Give that authority's certificate with --ca-file (chart: caBundle); behind a proxy that opens TLS it is the proxy's, for a listed server it may be the server's own."
            ),
            Self::Expired { since } => format!(
                "{service} shows a certificate that has expired{}. It has to be renewed there; if it has been, a clock is wrong.",
                since.map(|since| format!(" ({since})")).unwrap_or_default()
            ),
            Self::NotYetValid { from } => format!(
                "{service} shows a certificate that is not valid yet{}. If it was made just now, wait; else a clock is wrong.",
                from.map(|from| format!(" (from {from} on)")).unwrap_or_default()
            ),
            Self::WrongName { called, names } if names.is_empty() => format!(
                "{service} shows a certificate that names no host, so it is not valid for {called}. It needs one with {called} as a subject alternative name."
            ),
            Self::WrongName { called, names } => format!(
                "{service} shows a certificate for {}, not for {called}. Call it by a name that its certificate has, or let it have a certificate for {called}.",
                names.join(", ")
            ),
            Self::AuthorityAsServer => format!(
                "{service} shows the certificate of an authority (CA:TRUE) as its own, which is taken only from a listed server and only if exactly this certificate is given with --ca-file."
            ),
            Self::BadCertificate => format!(
                "{service} shows a certificate that cannot be used; the log names the cause. It has to be replaced there."
            ),
            Self::PlainHttp => format!(
                "{service} does not speak https at this port: what answered is not TLS but, perhaps, plain http. Correct the port or the URL."
            ),
            Self::ProtocolVersion => format!(
                "{service} offers no version of TLS, or no cipher, that is safe: TLS 1.2 or 1.3 has to be switched on there."
            ),
            Self::BrokenHandshake => format!(
                "{service} closed the connection before it was secured. Is https spoken at this port, and does a firewall let it through?"
            ),
            Self::UnknownHost => format!(
                "{service} was not found: its name is not known here. Correct the name, or look at DNS in this cluster."
            ),
            Self::Unreachable => format!(
                "{service} cannot be reached. Look whether it runs, whether firewalls and network policies let this pod's traffic out to it, and whether a proxy has to be set (HTTPS_PROXY; chart: proxy)."
            ),
            Self::OutOfOrder { status } => format!(
                "{service} is out of order, or what stands before it ({status}). It is tried again by itself; if that lasts, look at proxies on the way and at its own status page."
            ),
            Self::Proxy(problem) => format!("{service} was not reached, because of the proxy: {problem}"),
            Self::RedirectTo(data_center) => format!(
                "{service} answered with a redirect to data center {data_center}, which is not followed: secrets go to the data center of the spec only. The account most likely lives in {data_center}: if its client is listed at {}, set spec.dataCenter to {data_center}.",
                data_centers::console(*data_center).unwrap_or_default()
            ),
        }
    }
}

impl fmt::Display for ProxyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proxy, kind } = self;
        match kind {
            ProxyKind::WantsLogin => write!(
                f,
                "{proxy} wants a user name and a password (407). Put them into HTTPS_PROXY (http://user:password@{proxy}), or the host into NO_PROXY if it can be reached without the proxy."
            ),
            ProxyKind::Refuses => write!(
                f,
                "{proxy} refuses to connect to it. Have the host allowed there, or put it into NO_PROXY if it can be reached without the proxy."
            ),
            ProxyKind::Unreachable => write!(
                f,
                "{proxy} does not answer. Correct HTTPS_PROXY (chart: proxy), or let this pod's traffic out to the proxy."
            ),
            ProxyKind::Untrusted => write!(
                f,
                "{proxy} shows a certificate that is not trusted. Give its authority's certificate with --ca-file (chart: caBundle), or correct HTTPS_PROXY."
            ),
        }
    }
}

/// Names of a certificate that can be told to people: host names and addresses, the first few. What else a certificate
/// may hold is left out.
pub fn checked_names(presented: &[String]) -> Vec<String> {
    let names = presented.iter().filter_map(|name| {
        // As rustls writes them: DnsName("a.example"), IpAddress(127.0.0.1).
        let name = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));
        let name = name.trim_matches('"');
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-*:_".contains(&byte));
        (is_plain && (1..=LONGEST_NAME).contains(&name.len())).then(|| name.to_ascii_lowercase())
    });
    names.take(MOST_NAMES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_to_an_accounts_server_names_its_data_center() {
        let table = [
            ("https://accounts.zoho.com/oauth/v2/token", Some(DataCenter::US)),
            ("https://ACCOUNTS.zoho.in", Some(DataCenter::IN)),
            ("//accounts.zoho.com.cn/x", Some(DataCenter::CN)),
            ("http://accounts.zoho.jp:80/", Some(DataCenter::JP)),
            ("https://accounts.zohoone.ca/", Some(DataCenter::CA)),
            ("https://accounts.zoho.com.evil.example/", None),
            ("https://accounts.zoho.com@evil.example/", None),
            ("/oauth/v2/token", None),
            ("\u{1b}[31m", None),
            ("", None),
        ];
        for (location, expected) in table {
            assert_eq!(Cause::of_redirect(location), expected.map(Cause::RedirectTo), "{location}");
        }
    }

    #[test]
    fn only_host_names_of_a_certificate_are_told() {
        let presented = [
            "DnsName(\"EC.corp.example\")",
            "IpAddress(::1)",
            "*.corp.example",
            "DnsName(\"a b\")",
            "DirectoryName(\"x\ny\")",
            "",
        ];
        let presented: Vec<String> = presented.map(str::to_owned).to_vec();
        assert_eq!(checked_names(&presented), ["ec.corp.example", "::1", "*.corp.example"]);
        assert_eq!(checked_names(&vec!["a".to_owned(); 100]).len(), MOST_NAMES);
    }
}
