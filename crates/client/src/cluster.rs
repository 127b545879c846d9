//! How to reach the Kubernetes API: the kubeconfig, or the pod's own account, and the proxy on the way.
//!
//! kube reads a kubeconfig by itself, and up to its version 5.0.0 gets `NO_PROXY` wrong on that way: it compares the list
//! with the proxy's host instead of the API server's, and an empty item in it is an error. Both are decided by the
//! environment, so the file is read with kube's types and put together here; see `docs/upstream.md`.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{Cluster, Kubeconfig, KubeconfigError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The cluster that a kubeconfig names: that of a file, else those of `KUBECONFIG`, else `~/.kube/config`; the pod's own
/// where there is none. `context`: another one than the current.
///
/// # Errors
///
/// A kubeconfig that cannot be used, or none at all outside of a pod.
pub fn config(file: Option<&Path>, context: Option<&str>) -> anyhow::Result<kube::Config> {
    let kubeconfig = match file {
        Some(path) => Kubeconfig::read_from(path).with_context(|| format!("read --kubeconfig {}", path.display()))?,
        None => match read().context("read the kubeconfig")? {
            Some(kubeconfig) => kubeconfig,
            None if context.is_none() => {
                return kube::Config::incluster()
                    .context("there is no kubeconfig (KUBECONFIG, --kubeconfig), and this is not a pod");
            }
            None => anyhow::bail!("there is no kubeconfig (KUBECONFIG, --kubeconfig) to have a context"),
        },
    };
    of_kubeconfig(&kubeconfig, context, &Proxies::of_process()).context("use the kubeconfig")
}

/// The files of `KUBECONFIG`, or `~/.kube/config`; `None` where none of them exists. Like kubectl: of a list those that do not
/// exist are passed over, and one that cannot be read is an error.
#[expect(clippy::disallowed_methods, reason = "as every client of Kubernetes")]
fn read() -> Result<Option<Kubeconfig>, KubeconfigError> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    of_files(std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect())
}

fn of_files(paths: Vec<PathBuf>) -> Result<Option<Kubeconfig>, KubeconfigError> {
    let is_missing = |error: &KubeconfigError| {
        matches!(error, KubeconfigError::FindPath)
            || matches!(error, KubeconfigError::ReadConfig(error, _) if error.kind() == io::ErrorKind::NotFound)
    };
    if paths.is_empty() {
        return match Kubeconfig::read() {
            Ok(kubeconfig) => Ok(Some(kubeconfig)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        };
    }
    let mut merged: Option<Kubeconfig> = None;
    for path in paths {
        match Kubeconfig::read_from(path) {
            Ok(next) => merged = Some(merged.unwrap_or_default().merge(next)?),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(merged)
}

fn of_kubeconfig(kubeconfig: &Kubeconfig, context: Option<&str>, proxies: &Proxies) -> anyhow::Result<kube::Config> {
    let name = context.or(kubeconfig.current_context.as_deref()).context("it has no current context")?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == name).and_then(|named| named.context.as_ref());
    let context = context.with_context(|| format!("it has no context {name}"))?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster);
    let cluster = cluster.and_then(|named| named.cluster.as_ref());
    let cluster =
        cluster.with_context(|| format!("it has no cluster {}, which context {name} names", context.cluster))?;
    // Like kubectl: a user that is not there is nobody.
    let user = kubeconfig.auth_infos.iter().find(|named| Some(&named.name) == context.user.as_ref());
    let mut user = user.and_then(|named| named.auth_info.clone()).unwrap_or_default();
    if let Some(exec) = user.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        exec.cluster = Some(cluster.try_into().context("pass the cluster to the credential plugin")?);
    }

    let server = cluster.server.as_deref().with_context(|| format!("its cluster {} has no server", context.cluster))?;
    let server: Uri = server.parse().with_context(|| format!("its server {server} is not a URL"))?;
    let proxy = match cluster.proxy_url.as_deref().filter(|url| !url.is_empty()) {
        // Who names a proxy for this very cluster means it.
        Some(own) => Some(proxy_uri(own).context("its proxy-url is not a URL")?),
        None => proxies.of(&server),
    };
    if let Some(other) = proxy.as_ref().filter(|proxy| !matches!(proxy.scheme_str(), Some("http" | "https"))) {
        // Without its user and password, which stand in every other text about it.
        let (scheme, host) = (other.scheme_str().unwrap_or_default(), other.host().unwrap_or_default());
        anyhow::bail!(
            "its proxy {scheme}://{host} is of a kind that is not supported: use an http:// or https:// proxy"
        );
    }
    let mut config = kube::Config::new(server);
    config.default_namespace = context.namespace.clone().unwrap_or_else(|| "default".into());
    config.root_cert = authorities(cluster)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name.clone_from(&cluster.tls_server_name);
    config.proxy_url = proxy;
    config.auth_info = user;
    Ok(config)
}

fn authorities(cluster: &Cluster) -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    let pem = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), _) if !data.is_empty() => STANDARD.decode(data).context("decode certificate-authority-data")?,
        (_, Some(path)) if !path.is_empty() => std::fs::read(path).with_context(|| format!("read {path}"))?,
        _ => return Ok(None),
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.context("parse the cluster's certificate authority")?;
    Ok(Some(found.into_iter().map(|certificate| certificate.to_vec()).collect()))
}

/// The environment's proxies.
#[derive(Clone, Debug, Default)]
struct Proxies {
    https: String,
    http: String,
    exceptions: String,
}

impl Proxies {
    #[expect(clippy::disallowed_methods, reason = "the proxies of a process are in its environment")]
    fn of_process() -> Self {
        let first = |names: [&str; 2]| {
            let set = names.into_iter().filter_map(|name| std::env::var(name).ok());
            set.map(|value| value.trim().to_owned()).find(|value| !value.is_empty()).unwrap_or_default()
        };
        Self {
            https: first(["HTTPS_PROXY", "https_proxy"]),
            // In capitals it is what a web server's request may set.
            http: first(["http_proxy", "HTTP_PROXY"]),
            exceptions: first(["NO_PROXY", "no_proxy"]),
        }
    }

    /// The proxy to an API server: decided by the API server's own URL, as kubectl does it. Loopback has none.
    fn of(&self, server: &Uri) -> Option<Uri> {
        let host = server.host()?.trim_matches(['[', ']']);
        let is_loopback =
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let raw = if server.scheme_str() == Some("http") { &self.http } else { &self.https };
        let proxy = proxy_uri(raw)?;
        let exceptions = exceptions(&self.exceptions, server);
        // Only whether there is one is asked here: the matcher keeps the credentials of the URL to itself.
        let matcher = Matcher::builder().all(proxy.to_string()).no(exceptions).build();
        let is_proxied = !is_loopback && matcher.intercept(server).is_some();
        is_proxied.then_some(proxy)
    }
}

/// A proxy's URL; `http://` may be left out.
fn proxy_uri(text: &str) -> Option<Uri> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    whole.parse().ok().filter(|uri: &Uri| uri.authority().is_some())
}

/// The list as the matcher has it: without empty items, ports that are not the server's, stars before a domain, and
/// brackets around an address.
fn exceptions(list: &str, server: &Uri) -> String {
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
    let items = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty());
    let items = items.filter_map(|item| {
        let item = match item.rsplit_once(':') {
            // More colons than one are an IPv6 address, unless that stands in brackets.
            Some((host, end)) if !host.contains(':') || host.ends_with(']') => {
                (end.parse() == Ok(port)).then_some(host)?
            }
            _ => item,
        };
        let item = item.trim_matches(['[', ']']);
        Some(if item.len() > 1 { item.trim_start_matches('*') } else { item })
    });
    items.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "http://user:secret@proxy.corp.example:3128";

    fn proxied(server: &str, exceptions: &str) -> bool {
        let proxies = Proxies { https: PROXY.into(), http: String::new(), exceptions: exceptions.into() };
        let proxy = proxies.of(&server.parse().unwrap());
        assert!(proxy.as_ref().is_none_or(|proxy| proxy.to_string().starts_with(PROXY)), "credentials included");
        proxy.is_some()
    }

    #[test]
    fn api_servers_own_url_decides() {
        let server = "https://api.corp.example:6443";
        for direct in [
            "api.corp.example",
            ".corp.example",
            "corp.example",
            "*.corp.example",
            "*",
            "API.corp.example",
            "api.corp.example:6443",
            ",api.corp.example,",
            " , ,api.corp.example",
            "other.example api.corp.example",
        ] {
            assert!(!proxied(server, direct), "{direct}");
        }
        for through in [
            "",
            ",",
            " , ",
            "proxy.corp.example",
            "proxy.corp.example:3128",
            "api.corp.example:443",
            "orp.example",
            "://,%",
        ] {
            assert!(proxied(server, through), "{through}");
        }
    }

    #[test]
    fn addresses_are_matched_by_networks_and_loopback_has_no_proxy() {
        assert!(!proxied("https://10.1.2.3:6443", "10.0.0.0/8,"));
        assert!(!proxied("https://[fd00::1]:6443", "[fd00::1]:6443"));
        assert!(!proxied("https://[fd00::1]:6443", "fd00::/8"));
        assert!(proxied("https://10.1.2.3:6443", "192.168.0.0/16,127.0.0.1"));
        for here in ["https://127.0.0.1:6443", "https://localhost:6443", "https://[::1]:6443"] {
            assert!(!proxied(here, ""), "{here}");
        }
    }

    #[test]
    fn files_that_do_not_exist_are_passed_over_and_others_must_be_readable() {
        let folder = tempfile::tempdir().unwrap();
        let (there, missing) = (folder.path().join("config"), folder.path().join("staging"));
        std::fs::write(&there, "{current-context: a}").unwrap();
        for paths in [vec![there.clone(), missing.clone()], vec![missing.clone(), there.clone()]] {
            let read = of_files(paths).unwrap().expect("one is there");
            assert_eq!(read.current_context.as_deref(), Some("a"));
        }
        assert!(of_files(vec![missing]).unwrap().is_none());
        assert!(of_files(vec![there, folder.path().to_owned()]).is_err(), "a folder is no file");
    }

    #[test]
    fn kubeconfig_is_read_with_its_own_proxy_first() {
        let kubeconfig = |cluster: &str| {
            Kubeconfig::from_yaml(&format!(
                "{{current-context: a, contexts: [{{name: a, context: {{cluster: c, user: u, namespace: ns}}}}], clusters: [{{name: c, cluster: {cluster}}}], users: [{{name: u, user: {{token: t}}}}]}}"
            ))
            .unwrap()
        };
        let proxies = Proxies { https: PROXY.into(), ..Proxies::default() };
        let own =
            kubeconfig("{server: 'https://api.example:6443', proxy-url: 'http://own.example:1', tls-server-name: n}");
        let own = of_kubeconfig(&own, None, &proxies).unwrap();
        assert_eq!(own.proxy_url.unwrap(), "http://own.example:1/");
        assert_eq!((own.default_namespace.as_str(), own.tls_server_name.as_deref()), ("ns", Some("n")));
        let plain = kubeconfig("{server: 'https://api.example:6443'}");
        assert!(of_kubeconfig(&plain, None, &proxies).unwrap().proxy_url.is_some());
        assert!(of_kubeconfig(&plain, None, &Proxies::default()).unwrap().proxy_url.is_none());
        for scheme in ["socks5", "socks5h", "socks4", "ftp"] {
            let named =
                kubeconfig(&format!("{{server: 'https://a', proxy-url: '{scheme}://user:secret@own.example:1'}}"));
            let exported = Proxies { https: format!("{scheme}://user:secret@own.example:1"), ..Proxies::default() };
            let mut used = vec![of_kubeconfig(&named, None, &proxies)];
            // Of the environment's those that nobody knows are none.
            used.extend(scheme.starts_with("socks").then(|| of_kubeconfig(&plain, None, &exported)));
            for error in used {
                let text = format!("{:#}", error.unwrap_err());
                let said = format!("{scheme}://own.example is of a kind");
                assert!(text.contains(&said) && !text.contains("secret"), "{text}");
            }
        }
        for (context, cluster, expected) in [
            (Some("b"), "{server: 'https://a'}", "it has no context b"),
            (None, "{}", "its cluster c has no server"),
            (None, "{server: 'https://a', certificate-authority: /nowhere}", "read /nowhere"),
        ] {
            let error = of_kubeconfig(&kubeconfig(cluster), context, &proxies).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
