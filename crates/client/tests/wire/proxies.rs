//! Proxies on the way: what they do is named as theirs, and nothing of their URL but host and port is told.

use std::process::Command;

use crate::support::{Script, Server, Standing, answer, refresh, tell, transport, word};
use zoho_core::issuer::reply::Reply;

/// The proxy is in the environment of a process, so each of these runs in one of its own.
const CHILD: &str = "WIRE_TEST_TARGET";

fn child(target: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("the own program"));
    command.args(["--exact", "proxies::one_refresh_as_a_child", "--nocapture", "--ignored"]).env(CHILD, target);
    for name in
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"]
    {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text.lines().find_map(|line| line.split_once("SAID ")).map(|(_, said)| said.to_owned());
    said.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test]
#[ignore = "run by the others"]
async fn one_refresh_as_a_child() {
    #[expect(clippy::disallowed_methods, reason = "the parent says what to do")]
    let Ok(target) = std::env::var(CHILD) else { return };
    let reply = transport(&[], &[]).send(&refresh(&target.parse().expect("a URL")), &Standing).await;
    let sentence = match &reply {
        Reply::Failed(failed) => failed.cause.as_ref().map(|cause| cause.sentence("Zoho")).unwrap_or_default(),
        Reply::Minted(_) | Reply::Throttled { .. } => String::new(),
    };
    tell(&format!("SAID {}: {sentence}", word(&reply)));
}

fn through(proxy: &str) -> String {
    child("https://accounts.zoho.eu", &[("HTTPS_PROXY", proxy)])
}

#[test]
fn proxy_is_named_for_what_it_does() {
    let answers = |status: &str| Server::start(Script::Answer(answer(status, "", b"<html>no</html>")));
    let table = [
        (answers("407 Proxy Authentication Required"), "requires a user name and a password (407)"),
        (answers("403 Forbidden"), "refuses to connect to it"),
        (answers("502 Bad Gateway"), "refuses to connect to it"),
        (Server::start(Script::Close), "does not answer"),
    ];
    for (server, expected) in table {
        let said = through(&format!("http://user:the-proxy-password@{}", server.address));
        let start = "UpstreamUnavailable - NotSent: Zoho was not reached, because of the proxy: ";
        assert!(said.starts_with(&format!("{start}{} {expected}", server.address)), "{said}\nwant {expected}");
        assert!(!said.contains("the-proxy-password"), "{said}");
        assert!(server.requests().iter().all(|request| request.starts_with("CONNECT accounts.zoho.eu:443 ")));
    }
}

#[test]
fn dead_proxy_is_named() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let said = child("https://accounts.zoho.eu", &[(variable, &format!("http://{dead}"))]);
        assert!(said.contains(&format!("because of the proxy: {dead} does not answer")), "{variable}: {said}");
    }
}

#[test]
fn host_behind_no_proxy_is_called_directly_and_no_proxy_is_blamed() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let proxy = format!("http://{dead}");
    let said = child(&format!("https://{closed}"), &[("HTTPS_PROXY", &proxy), ("NO_PROXY", ",127.0.0.1, ,")]);
    assert!(said.starts_with("UpstreamUnavailable - NotSent: Zoho cannot be reached."), "{said}");
}

#[test]
fn what_is_not_encrypted_takes_no_proxy() {
    let proxy = Server::start(Script::Answer(answer("407 Proxy Authentication Required", "", b"")));
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let said = child("http://127.0.0.1:9", &[(variable, &format!("http://{}", proxy.address))]);
        assert!(said.starts_with("UpstreamUnavailable - NotSent: Zoho cannot be reached."), "{variable}: {said}");
    }
    assert_eq!(proxy.requests(), Vec::<String>::new(), "secrets would have gone through it in the clear");
}
