//! A server that sends what a test says and keeps what it was sent, and the requests that are made to it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use zoho_api::{DataCenter, Time};
use zoho_client::clock::Clock;
use zoho_client::transport::Transport;
use zoho_core::issuer::TokenRequest;
use zoho_core::issuer::reply::{Failed, Reply};
use zoho_core::issuer::zoho::{GrantType, TokenService};
use zoho_core::secret::RefreshGrant;

/// How long a server waits for more of a request, or for another one.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server does once a connection stands.
#[derive(Clone)]
pub(crate) enum Script {
    /// Answers each request with these bytes and keeps the connection.
    Answer(Vec<u8>),
    /// Answers the first request of a connection, and meets the next one on it with a reset.
    AnswerOnceThenReset(Vec<u8>),
    /// Answers the first request with the first bytes, and so on; the last ones are for all that follow.
    Sequence(Vec<Vec<u8>>),
    /// Answers the first request of a connection with these bytes and ends it.
    AnswerAndEnd(Vec<u8>),
    /// Sends these bytes without reading first.
    Say(Vec<u8>),
    /// Ends the connection.
    Close,
    /// Lets a connection wait for so long, then answers one request with these bytes.
    AnswerAfter(Duration, Vec<u8>),
}

/// A running server. Its thread ends with the process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(script: Script) -> Self {
        Self::start_with(script, None)
    }

    /// Serves over TLS.
    pub(crate) fn start_tls(script: Script, config: ServerConfig) -> Self {
        Self::start_with(script, Some(Arc::new(config)))
    }

    fn start_with(script: Script, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Self { address, seen: seen.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, tls, seen) = (script.clone(), tls.clone(), seen.clone());
                // A client that goes away in the middle is its own matter.
                thread::spawn(move || serve(stream, &script, tls, &seen));
            }
        });
        server
    }

    pub(crate) fn url(&self, scheme: &str) -> Url {
        format!("{scheme}://{}", self.address).parse().expect("a URL")
    }

    /// The requests so far, head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.lock().expect("no thread panicked with it").clone()
    }
}

fn serve(
    stream: TcpStream,
    script: &Script,
    tls: Option<Arc<ServerConfig>>,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let raw = stream.try_clone()?;
    match tls {
        None => play(stream, &raw, script, seen),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            play(StreamOwned::new(connection, stream), &raw, script, seen)
        }
    }
}

fn play(mut stream: impl Read + Write, raw: &TcpStream, script: &Script, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    match script {
        Script::Close => {}
        Script::Say(bytes) => {
            stream.write_all(bytes)?;
            stream.flush()?;
            // What the client sent is read, or the system would answer it with a reset that overtakes the bytes.
            let _ = raw.shutdown(Shutdown::Write);
            let _ = io::copy(&mut stream, &mut io::sink());
        }
        Script::Answer(bytes) => {
            while let Some(request) = read_request(&mut stream)? {
                seen.lock().expect("no thread panicked with it").push(request);
                stream.write_all(bytes)?;
                stream.flush()?;
            }
        }
        Script::Sequence(answers) => {
            while let Some(request) = read_request(&mut stream)? {
                let number = {
                    let mut seen = seen.lock().expect("no thread panicked with it");
                    seen.push(request);
                    seen.len() - 1
                };
                stream.write_all(answers.get(number).or(answers.last()).expect("an answer"))?;
                stream.flush()?;
            }
        }
        Script::AnswerAfter(pause, bytes) => {
            thread::sleep(*pause);
            answer_one(&mut stream, bytes, seen)?;
        }
        Script::AnswerAndEnd(bytes) => answer_one(&mut stream, bytes, seen)?,
        Script::AnswerOnceThenReset(bytes) => {
            answer_one(&mut stream, bytes, seen)?;
            if let Some(request) = read_request(&mut stream)? {
                seen.lock().expect("no thread panicked with it").push(request);
            }
        }
    }
    raw.shutdown(Shutdown::Both)
}

/// Answers the next request, if there is one.
fn answer_one(stream: &mut (impl Read + Write), bytes: &[u8], seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let Some(request) = read_request(stream)? else { return Ok(()) };
    seen.lock().expect("no thread panicked with it").push(request);
    stream.write_all(bytes)?;
    stream.flush()
}

/// Reads one request; `None` where the client sends no more.
fn read_request(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if request.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(Some(String::from_utf8_lossy(&request).into_owned()));
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            length => request.extend_from_slice(&chunk[..length]),
        }
    }
}

/// An HTTP answer with this status line, headers and body.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: keep-alive\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// One whose end does not come.
pub(crate) fn cut_answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len() + 100);
    [head.as_bytes(), body].concat()
}

/// A clock that stands.
pub(crate) struct Standing;

impl Clock for Standing {
    fn now(&self) -> Time {
        Time::from_unix(1_800_000_000)
    }
}

/// A transport that trusts these certificates too, and of these servers their own.
pub(crate) fn transport(ca_files: &[PathBuf], servers: &[Url]) -> Transport {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Transport::new(ca_files, servers).expect("a transport")
}

pub(crate) fn refresh(base: &Url) -> TokenRequest {
    let mut token_url = base.clone();
    token_url.set_path("/oauth/v2/token");
    let secret = |text: &str| SecretString::from(text);
    let grant = RefreshGrant {
        client_id: secret("1000.CLIENT"),
        client_secret: secret("the-client-secret"),
        refresh_token: secret("1000.refresh.token"),
        redirect_uri: None,
    };
    TokenRequest::Refresh(
        TokenService { data_center: DataCenter::EU, token_url, grant_type: GrantType::RefreshToken },
        grant,
    )
}

/// Says something past the test harness.
#[expect(clippy::print_stdout, reason = "this is what it is for")]
pub(crate) fn tell(what: &str) {
    println!("{what}");
}

/// One line for what became of a request.
pub(crate) fn word(reply: &Reply) -> String {
    match reply {
        Reply::Minted(minted) => format!("token {}", minted.access_token.expose_secret()),
        Reply::Throttled { silence } => format!("throttled {}", silence.as_secs()),
        Reply::Failed(failed) => failure(failed),
    }
}

fn failure(failed: &Failed) -> String {
    let code = failed.code.as_deref().unwrap_or("-");
    format!("{} {code} {:?}", failed.reason, failed.outcome)
}
