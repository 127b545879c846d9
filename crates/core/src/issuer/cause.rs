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
                "{service} presents a certificate of an unknown authority. Add the certificate of that authority with --ca-file (chart: caBundle). Behind a proxy that intercepts TLS, it is that of the proxy; for a listed server, it may be the server's own."
            ),
            Self::Expired { since } => format!(
                "{service} presents a certificate that has expired{}. It must be renewed there; if it was, a clock is wrong.",
                since.map(|since| format!(" ({since})")).unwrap_or_default()
            ),
            Self::NotYetValid { from } => format!(
                "{service} presents a certificate that is not valid yet{}. If it was issued just now, wait; otherwise a clock is wrong.",
                from.map(|from| format!(" (valid from {from})")).unwrap_or_default()
            ),
            Self::WrongName { called, names } if names.is_empty() => format!(
                "{service} presents a certificate that names no host, so it is not valid for {called}. It needs one with {called} as a subject alternative name."
            ),
            Self::WrongName { called, names } => format!(
                "{service} presents a certificate for {}, not for {called}. Use a name that is in its certificate, or give it a certificate for {called}.",
                names.join(", ")
            ),
            Self::AuthorityAsServer => format!(
                "{service} presents the certificate of an authority (CA:TRUE) as its own. This is accepted only from a listed server, and only if exactly this certificate is added with --ca-file."
            ),
            Self::BadCertificate => format!(
                "{service} presents a certificate that cannot be used; the log names the cause. It must be replaced there."
            ),
            Self::PlainHttp => format!(
                "{service} does not use https at this port: the answer is not TLS, but perhaps plain http. Correct the port or the URL."
            ),
            Self::ProtocolVersion => {
                format!("{service} offers no secure version of TLS, or no secure cipher: enable TLS 1.2 or 1.3 there.")
            }
            Self::BrokenHandshake => format!(
                "{service} closed the connection during the TLS handshake. Check that this port uses https, and that no firewall blocks it."
            ),
            Self::UnknownHost => format!(
                "{service} was not found: DNS does not know its name. Correct the name, or check DNS in this cluster."
            ),
            Self::Unreachable => format!(
                "{service} cannot be reached. Check that it is running, that firewalls and network policies allow this pod to connect to it, and whether a proxy must be set (HTTPS_PROXY; chart: proxy)."
            ),
            Self::OutOfOrder { status } => format!(
                "{service}, or a proxy in front of it, is not working ({status}). The operator retries; if this continues, check the proxies in between and the status page of the service."
            ),
            Self::Proxy(problem) => format!("{service} was not reached, because of the proxy: {problem}"),
            Self::RedirectTo(data_center) => format!(
                "{service} answered with a redirect to data center {data_center}, which is not followed: secrets go to the data center of the spec only. The account is most likely in {data_center}: if its client is listed at {}, set spec.dataCenter to {data_center}.",
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
                "{proxy} requires a user name and a password (407). Put them into HTTPS_PROXY (http://user:password@{proxy}), or add the host to NO_PROXY if it can be reached without the proxy."
            ),
            ProxyKind::Refuses => write!(
                f,
                "{proxy} refuses to connect to it. Allow the host there, or add it to NO_PROXY if it can be reached without the proxy."
            ),
            ProxyKind::Unreachable => write!(
                f,
                "{proxy} does not answer. Correct HTTPS_PROXY (chart: proxy), or allow this pod to connect to the proxy."
            ),
            ProxyKind::Untrusted => write!(
                f,
                "{proxy} presents a certificate that is not trusted. Add the certificate of its authority with --ca-file (chart: caBundle), or correct HTTPS_PROXY."
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
    fn each_cause_says_what_it_was_and_names_what_is_known() {
        let proxy = |kind| Cause::Proxy(ProxyProblem { proxy: "p.example:3128".into(), kind });
        let wrong = |names: &[&str]| Cause::WrongName {
            called: "a.example".into(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        };
        for (cause, starts) in [
            (wrong(&[]), "Zoho presents a certificate that names no host, so it is not valid for a.example."),
            (
                wrong(&["b.example", "c.example"]),
                "Zoho presents a certificate for b.example, c.example, not for a.example.",
            ),
            (
                proxy(ProxyKind::WantsLogin),
                "Zoho was not reached, because of the proxy: p.example:3128 requires a user name",
            ),
            (proxy(ProxyKind::Refuses), "Zoho was not reached, because of the proxy: p.example:3128 refuses"),
            (
                proxy(ProxyKind::Unreachable),
                "Zoho was not reached, because of the proxy: p.example:3128 does not answer",
            ),
            (proxy(ProxyKind::Untrusted), "Zoho was not reached, because of the proxy: p.example:3128 presents"),
            (Cause::OutOfOrder { status: 503 }, "Zoho, or a proxy in front of it, is not working (503)."),
            (Cause::UnknownAuthority, "Zoho presents a certificate of an unknown authority."),
        ] {
            assert!(cause.sentence("Zoho").starts_with(starts), "{}", cause.sentence("Zoho"));
        }
    }

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

    #[test]
    fn what_is_about_certificates_is_tls_and_what_is_about_the_way_is_not() {
        for cause in [Cause::UnknownAuthority, Cause::Expired { since: None }, Cause::BadCertificate, Cause::PlainHttp]
        {
            assert!(cause.is_tls(), "{cause:?}");
        }
        let proxy = ProxyProblem { proxy: "proxy.corp.example:3128".into(), kind: ProxyKind::WantsLogin };
        for cause in [Cause::Proxy(proxy), Cause::RedirectTo(DataCenter::EU)] {
            assert!(!cause.is_tls(), "{cause:?}");
        }
    }
}
