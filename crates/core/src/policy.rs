//! What the administrator of an installation allows: plain data, made from flags by the operator and by the plugin.

use std::collections::BTreeMap;

use url::Url;
use zoho_api::{DataCenter, Product};

use crate::plan::budget::Limits;

/// See the module. The default allows what is known to be Zoho's, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Namespace of the operator: ledgers, lease and hash key; no `ZohoCredential` in it is served.
    pub operator_namespace: String,
    /// Labels on everything that the operator creates.
    pub labels: BTreeMap<String, String>,
    /// Base URLs that replace data centers' own token services; the last one of a data center counts.
    pub accounts_urls: Vec<(DataCenter, Url)>,
    /// Hosts that `spec.accountsHost` may name beyond the known ones.
    pub accounts_hosts: Vec<String>,
    /// Base URLs that replace products' own API hosts; the last one counts.
    pub api_urls: Vec<(Product, DataCenter, Url)>,
    /// Hosts, as HOST or HOST:PORT, that `spec.verify` may send tokens to beyond the known ones.
    pub api_hosts: Vec<String>,
    /// Servers that `spec.endpointCentralServer.url` may name.
    pub servers: Vec<ListedServer>,
    /// Data centers that `spec.dataCenter` may name; empty for all.
    pub data_centers: Vec<DataCenter>,
    /// Must a source Secret name the credentials that may be minted from it?
    pub require_source_consent: bool,
    /// May `spec.target` have marks by which other controllers copy the target into other namespaces?
    pub allow_replication: bool,
    /// What one refresh token may be used for.
    pub limits: Limits,
}

impl Policy {
    /// The base URL that replaces a data center's own token service.
    pub fn accounts_url(&self, data_center: DataCenter) -> Option<&Url> {
        self.accounts_urls.iter().rfind(|(dc, _)| *dc == data_center).map(|(_, url)| url)
    }

    /// The base URL that replaces a product's own API host in a data center.
    pub fn api_url(&self, product: Product, data_center: DataCenter) -> Option<&Url> {
        let of = |(p, dc, _): &&(Product, DataCenter, Url)| (*p, *dc) == (product, data_center);
        self.api_urls.iter().rfind(of).map(|(_, _, url)| url)
    }

    /// May tokens be asked for in this data center?
    pub fn allows_data_center(&self, data_center: DataCenter) -> bool {
        self.data_centers.is_empty() || self.data_centers.contains(&data_center)
    }

    /// May `spec.accountsHost` name this host, beyond the known ones?
    pub fn allows_accounts_host(&self, host: &str) -> bool {
        self.accounts_hosts.iter().any(|allowed| allowed == host)
    }

    /// May `spec.verify` send tokens to this host, beyond the known ones? `port`: where it is not the usual one.
    pub fn allows_api_host(&self, host: &str, port: Option<u16>) -> bool {
        let wanted = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        self.api_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&wanted))
    }

    /// The entries of the listed server that is equal to `url` in scheme, host, port and path.
    pub fn listed(&self, url: &Url) -> impl Iterator<Item = &ListedServer> {
        let base = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        let wanted = base(url);
        self.servers.iter().filter(move |listed| base(&listed.url) == wanted)
    }
}

/// A server that passwords may be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedServer {
    /// Its base URL.
    pub url: Url,
    /// Namespaces whose credentials may name it; none: all.
    pub namespaces: Vec<String>,
}

impl From<Url> for ListedServer {
    /// Listed for all namespaces.
    fn from(url: Url) -> Self {
        Self { url, namespaces: Vec::new() }
    }
}

impl ListedServer {
    /// May credentials of this namespace name it?
    pub fn is_for(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|of| of == namespace)
    }
}

/// A part of `URL=namespace,namespace`, as it comes out of a list that is separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerPart {
    /// A server, and the first of its namespaces if it has some.
    Server(ListedServer),
    /// One more namespace of the server before.
    Namespace(String),
}

/// A part of what `--endpoint-central-url` takes.
///
/// # Errors
///
/// What is wanted.
pub fn parse_server_part(text: &str) -> Result<ServerPart, String> {
    if !text.contains("://") {
        return namespace(text).map(ServerPart::Namespace);
    }
    let (url, namespaces) = match text.split_once('=') {
        Some((url, first)) => (url, vec![namespace(first)?]),
        None => (text, Vec::new()),
    };
    Ok(ServerPart::Server(ListedServer { url: parse_url(url)?, namespaces }))
}

/// The servers that parts make up.
///
/// # Errors
///
/// A namespace that follows no server with namespaces, as a sentence.
pub fn servers(parts: &[ServerPart]) -> Result<Vec<ListedServer>, String> {
    let mut servers: Vec<ListedServer> = Vec::new();
    for part in parts {
        match (part, servers.last_mut()) {
            (ServerPart::Server(server), _) => servers.push(server.clone()),
            (ServerPart::Namespace(namespace), Some(last)) if !last.namespaces.is_empty() => {
                last.namespaces.push(namespace.clone());
            }
            (ServerPart::Namespace(namespace), _) => {
                return Err(format!(
                    "--endpoint-central-url: {namespace} is not a URL; namespaces follow a server and =, for example https://ec.corp.example:8383=patching,reports"
                ));
            }
        }
    }
    Ok(servers)
}

fn namespace(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits =
        (1..=63).contains(&text.len()) && text.chars().all(is_part) && !text.starts_with('-') && !text.ends_with('-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("want URL or URL=NAMESPACE,NAMESPACE: {text:?} is not a namespace"))
    }
}

/// `DC=URL`, as `--accounts-url` takes it.
///
/// # Errors
///
/// What is wanted.
pub fn parse_accounts_url(text: &str) -> Result<(DataCenter, Url), String> {
    let (data_center, url) = text.split_once('=').ok_or("want DC=URL, for example EU=https://gateway.example")?;
    Ok((data_center.parse()?, parse_url(url)?))
}

/// `PRODUCT:DC=URL`, as `--api-url` takes it.
///
/// # Errors
///
/// What is wanted.
pub fn parse_api_url(text: &str) -> Result<(Product, DataCenter, Url), String> {
    let want = "want PRODUCT:DC=URL, for example PatchManagerPlus:EU=https://gateway.example";
    let (product, rest) = text.split_once(':').ok_or(want)?;
    let (data_center, url) = rest.split_once('=').ok_or(want)?;
    Ok((product.parse()?, data_center.parse()?, parse_url(url)?))
}

/// A URL that secrets may be sent to.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{text} is not a URL: {error}"))?;
    if !is_safe(&url) {
        return Err(format!("{url}: only https, or http on loopback, keeps secrets safe on their way"));
    }
    Ok(url)
}

/// https, or http to this machine itself: the URLs that secrets are safe with on their way.
pub fn is_safe(url: &Url) -> bool {
    let is_loopback = match url.host_str().map(|host| host.trim_matches(['[', ']'])) {
        Some("localhost") => true,
        Some(host) => host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for url in ["http://127.0.0.1:8080", "http://[::1]:1", "http://localhost", "https://gateway.example"] {
            assert!(is_safe(&url.parse().unwrap()), "{url}");
        }
        for url in ["http://gateway.example", "http://127.0.0.1.evil.example", "ftp://127.0.0.1"] {
            assert!(!is_safe(&url.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn servers_may_be_listed_for_some_namespaces() {
        let listed = |text: &str| {
            let parts: Result<Vec<_>, _> = text.split(',').map(parse_server_part).collect();
            servers(&parts?).map(|servers| {
                servers.into_iter().map(|server| (server.url.to_string(), server.namespaces)).collect::<Vec<_>>()
            })
        };
        let (a, b) = ("https://a.example:8383/".to_owned(), "https://b.example/ec".to_owned());
        let namespaces = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(listed("https://a.example:8383").unwrap(), [(a.clone(), vec![])]);
        assert_eq!(
            listed("https://a.example:8383=one,two,https://b.example/ec").unwrap(),
            [(a, namespaces(&["one", "two"])), (b, vec![])]
        );
        for wrong in
            ["one", "https://a.example,one", "https://a.example=", "https://a.example=One", "http://a.example=one", ""]
        {
            assert!(listed(wrong).is_err(), "{wrong}");
        }
    }
}
