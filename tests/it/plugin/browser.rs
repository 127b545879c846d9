//! Login with a server-based client: the consent page, the way back, and the data center that it names.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{StatusCode, Url, redirect};
use serde_json::Value;
use zoho_api::DataCenter;
use zoho_simulator::grants::{Client, Elsewhere};
use zoho_simulator::{Simulator, SimulatorConfig};

use super::{Person, Ran, SCOPE};
use crate::support::look::text;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, World};
use crate::support::{eventually, untested};

/// A login that waits for the browser.
struct Waiting<'p, 'w> {
    person: &'p Person<'w>,
    child: Child,
    /// The address to open.
    address: Url,
    /// What was said before it.
    said: String,
    stderr: BufReader<std::process::ChildStderr>,
}

/// A port that nobody listens on, so that tests run beside each other.
fn free_redirect() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://localhost:{}/callback", listener.local_addr().expect("an address").port())
}

impl<'p, 'w> Waiting<'p, 'w> {
    fn start(person: &'p Person<'w>, redirect_uri: &str, more: &[&str]) -> Self {
        let client = Client::Server { redirect_uris: vec![redirect_uri.to_owned()] };
        person.world.zoho.register_client(CLIENT_ID, CLIENT_SECRET, client);
        let args = ["login", "patch", "--data-center", "US", "--product", "PatchManagerPlus", "--browser"];
        let args = [&args[..], &["--redirect-uri", redirect_uri], more].concat();
        let mut child = person.start(&args, &[CLIENT_ID, CLIENT_SECRET]);
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).expect("text") > 0, "it ended: {said}");
            said.push_str(&line);
            if let Some(address) = line.trim().strip_prefix("http://").filter(|_| line.contains("/oauth/v2/auth?")) {
                break format!("http://{address}").parse().expect("a URL");
            }
        };
        Self { person, child, address, said, stderr }
    }

    async fn end(mut self) -> Ran {
        let (mut child, mut stderr) = (self.child, self.stderr);
        let output = tokio::task::spawn_blocking(move || {
            let mut rest = String::new();
            stderr.read_to_string(&mut rest).expect("text");
            let mut stdout = String::new();
            child.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("text");
            (child.wait().expect("it ends").code(), stdout, rest)
        });
        let (code, stdout, rest) = output.await.expect("it ran");
        self.said.push_str(&rest);
        self.person.heard.borrow_mut().extend([stdout.clone(), self.said.clone()]);
        Ran { code, stdout, stderr: self.said }
    }
}

fn http() -> reqwest::Client {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none()).build().expect("a client")
}

async fn body_of(response: reqwest::Response) -> String {
    String::from_utf8(response.bytes().await.expect("a body").to_vec()).expect("text")
}

/// Answers the question as a browser does, and returns where it is sent.
async fn answer(address: &Url, how: &str) -> Url {
    let page = body_of(http().get(address.clone()).send().await.expect("the consent page")).await;
    let question = page.split(r#"name="question" value=""#).nth(1).and_then(|rest| rest.split('"').next());
    let question = question.unwrap_or_else(|| panic!("no question: {page}"));
    let url = address.join("/oauth/v2/auth/answer").expect("a URL");
    let response = http().post(url).form(&[("question", question), ("answer", how)]).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::FOUND);
    response.headers()["location"].to_str().expect("text").parse().expect("a URL")
}

async fn open(url: &Url) -> (StatusCode, String) {
    let response = http().get(url.clone()).send().await.expect("the callback answers");
    (response.status(), body_of(response).await)
}

#[tokio::test]
async fn consent_in_a_browser_brings_a_refresh_token() {
    let world = World::new("browser").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    let redirect_uri = free_redirect();
    let waiting = Waiting::start(&person, &redirect_uri, &[]);
    let opened = eventually("the browser is opened", async || {
        std::fs::read_to_string(person.opened()).ok().filter(|address| address.ends_with('\n'))
    })
    .await;
    assert_eq!(opened.trim_end(), waiting.address.as_str());
    let query = |name: &str| {
        waiting
            .address
            .query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    assert_eq!(
        (query("access_type"), query("prompt"), query("scope")),
        ("offline".into(), "consent".into(), SCOPE.into())
    );
    assert_eq!((query("code_challenge_method"), query("code_challenge").len()), ("S256".into(), 43));

    let callback = answer(&waiting.address, "accept").await;
    // What is not the answer to this question is refused, and the login goes on waiting.
    let mut forged = callback.clone();
    forged.set_query(Some("state=guessed&code=1000.forged"));
    assert_eq!(open(&forged).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(open(&callback.join("/favicon.ico").expect("a URL")).await.0, StatusCode::NOT_FOUND);
    let (status, page) = open(&callback).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("<h1>Zoho has answered</h1>"), "{page}");

    let ran = waiting.end().await.ok();
    assert!(ran.stdout.starts_with("Ready. Secret patch-token holds a token"), "{ran:?}");
    let source = world.secret("patch-oauth").await.expect("the source");
    assert_eq!(text(&source, "redirect_uri"), redirect_uri);
    assert_eq!(text(&source, "refresh_token"), world.zoho.granted()[0]);
}

#[tokio::test]
async fn taken_port_ends_the_login_before_anything_is_asked_or_opened() {
    let world = World::new("browser-taken").await;
    let person = Person::of(&world);
    for address in ["127.0.0.1:0", "[::1]:0"] {
        // A machine without IPv6 has nobody there.
        let Ok(other) = TcpListener::bind(address) else { continue };
        let port = other.local_addr().expect("an address").port();
        let redirect_uri = format!("http://localhost:{port}/callback");
        let args = ["login", "patch", "--data-center", "US", "--product", "PatchManagerPlus", "--browser"];
        let ran = person.zoho_with(&[&args[..], &["--redirect-uri", &redirect_uri]].concat(), &[]).await.failed();
        assert!(ran.stderr.contains(&format!("port {port} is taken")), "{}", ran.stderr);
        assert!(ran.stderr.contains("name it with --redirect-uri"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("/oauth/v2/auth?") && !person.opened().exists(), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn refused_consent_ends_the_login() {
    let world = World::new("browser-refused").await;
    let person = Person::of(&world);
    let waiting = Waiting::start(&person, &free_redirect(), &["--no-open"]);
    let callback = answer(&waiting.address, "reject").await;
    assert!(open(&callback).await.1.contains("<h1>No consent</h1>"));
    let ran = waiting.end().await.failed();
    assert!(ran.stderr.contains("Zoho gave no code (access_denied): the consent was refused"), "{}", ran.stderr);
    // Consent of an account that has no organization in the product.
    world.zoho.with(|zoho, _| zoho.grants_mut().set_refuses_with(Some("no_org")));
    let waiting = Waiting::start(&person, &free_redirect(), &["--no-open"]);
    open(&answer(&waiting.address, "accept").await).await;
    let ran = waiting.end().await.failed();
    assert!(ran.stderr.contains("Zoho gave no code (no_org): this account has no organization"), "{}", ran.stderr);
    assert_eq!(world.zoho.stats().token.posts, 0);
}

#[tokio::test]
async fn code_is_exchanged_where_the_account_lives_if_that_is_listed() {
    let world = World::new("browser-dc").await;
    let person = Person::of(&world);
    let europe = Simulator::start(SimulatorConfig::default());
    let redirect_uri = free_redirect();
    europe.register_client(CLIENT_ID, CLIENT_SECRET, Client::SelfClient);
    let both = format!("US={},EU={}", world.zoho.url(), europe.url());
    let lives_at = |accounts_server: String| {
        let code = europe.grant_code(CLIENT_ID, SCOPE, Duration::from_mins(1));
        let elsewhere = Elsewhere { location: "eu".into(), accounts_server, code };
        world.zoho.with(|zoho, _| zoho.grants_mut().set_elsewhere(Some(elsewhere)));
    };

    // Not on the list: nothing is sent there.
    let evil = Simulator::start(SimulatorConfig::default());
    lives_at(evil.url());
    let waiting = Waiting::start(&person, &redirect_uri, &["--no-open", "--accounts-url", &both, "--timeout", "0s"]);
    open(&answer(&waiting.address, "accept").await).await;
    let ran = waiting.end().await.failed();
    assert!(ran.stderr.contains("names an accounts server that is not on the list"), "{}", ran.stderr);
    assert_eq!((evil.stats().token.posts, evil.stats().strays, world.zoho.stats().token.posts), (0, 0, 0));

    lives_at(europe.url());
    let waiting = Waiting::start(&person, &redirect_uri, &["--no-open", "--accounts-url", &both, "--timeout", "0s"]);
    open(&answer(&waiting.address, "accept").await).await;
    let ran = waiting.end().await.ok();
    assert!(ran.stderr.contains("Your account is in data center EU, not US; EU is used."), "{}", ran.stderr);
    assert_eq!((world.zoho.stats().token.posts, europe.granted().len()), (0, 1));
    assert_eq!(world.get("patch").await.spec.data_center, Some(DataCenter::EU));
    let source = world.secret("patch-oauth").await.expect("the source");
    assert_eq!(text(&source, "refresh_token"), europe.granted()[0]);
}

#[tokio::test]
async fn chromium_follows_the_consent_back_to_the_default_port() {
    let Some(chromium) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| is_installed(name))
    else {
        return untested(
            "a real browser goes through the consent",
            "there is no chromium (Debian: apt-get install chromium)",
        );
    };
    let world = World::new("chromium").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    // The person who clicks is a script in the page.
    world.zoho.with(|zoho, _| zoho.grants_mut().set_answers_itself(Some(true)));
    eventually("nobody else listens on port 8765", async || TcpListener::bind("127.0.0.1:8765").ok().map(drop)).await;
    let waiting = Waiting::start(&person, "http://localhost:8765/callback", &["--no-open"]);
    let browser = Browser::open(chromium, &waiting.address);
    // The code does not stay in the address bar.
    let last = ("Zoho has answered".to_owned(), "http://localhost:8765/".to_owned());
    eventually("the browser shows the last page, without the code", async || {
        browser.tab().await.filter(|tab| *tab == last)
    })
    .await;
    let ran = waiting.end().await.ok();
    assert!(ran.stdout.starts_with("Ready."), "{ran:?}");
}

fn is_installed(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    there.is_ok_and(|status| status.success())
}

/// A headless browser with one tab.
struct Browser {
    child: Child,
    profile: tempfile::TempDir,
}

impl Browser {
    fn open(program: &str, address: &Url) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let child = Command::new(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server"])
            .args(["--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(address.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium starts");
        Self { child, profile }
    }

    /// Title and address of the tab.
    async fn tab(&self) -> Option<(String, String)> {
        let port = std::fs::read_to_string(self.profile.path().join("DevToolsActivePort")).ok()?;
        let url = format!("http://127.0.0.1:{}/json/list", port.lines().next()?);
        let tabs = http().get(url).send().await.ok()?.bytes().await.ok()?;
        let tabs: Value = serde_json::from_slice(&tabs).ok()?;
        let tab = tabs.as_array()?.iter().find(|tab| tab["type"] == "page")?;
        Some((tab["title"].as_str()?.to_owned(), tab["url"].as_str()?.to_owned()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its helpers may still be writing to the profile.
        let _ = std::fs::remove_dir_all(Path::new(self.profile.path()));
    }
}
