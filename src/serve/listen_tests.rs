use std::net::{Ipv4Addr, SocketAddr};

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const HALF: &[u8] = b"GET / HTTP/1.1\r\nHost: ";
/// More than the buffers of two sockets hold.
const LONG: usize = 64 * 1024 * 1024;

async fn start() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get("ok\n")).route("/long", get(async || vec![b'x'; LONG]));
    tokio::spawn(serve(listener, router, None));
    address
}

async fn connected(address: SocketAddr, sends: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sends).await.unwrap();
    stream
}

/// What comes until the other side ends it; a reset is an end too.
async fn rest(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    String::from_utf8_lossy(&read).into_owned()
}

/// The whole answer to [`REQUEST`] on a connection that stays open.
async fn answered(stream: &mut TcpStream) -> String {
    let mut read = String::new();
    while !read.ends_with("\r\n\r\nok\n") {
        let mut some = [0; 256];
        let count = stream.read(&mut some).await.unwrap();
        assert!(count > 0, "it ended after {read:?}");
        read.push_str(str::from_utf8(&some[..count]).unwrap());
    }
    read
}

#[tokio::test(start_paused = true)]
async fn header_that_does_not_end_is_not_waited_for() {
    let address = start().await;
    let mut stream = connected(address, HALF).await;
    let began = Instant::now();
    rest(&mut stream).await;
    let waited = began.elapsed();
    assert!((4..=6).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn connection_that_says_nothing_is_ended_before_its_first_request_and_after() {
    let address = start().await;
    let mut silent = connected(address, b"").await;
    let began = Instant::now();
    rest(&mut silent).await;
    assert!((4..=6).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());

    let mut kept = connected(address, REQUEST).await;
    assert!(answered(&mut kept).await.starts_with("HTTP/1.1 200"));
    kept.write_all(REQUEST).await.unwrap();
    answered(&mut kept).await;
    let began = Instant::now();
    rest(&mut kept).await;
    assert!((4..=6).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn header_beyond_its_limit_is_refused() {
    let address = start().await;
    let long = [HALF, &vec![b'x'; 2 * LARGEST_HEADER]].concat();
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may be refused while it is sent.
    let _ = stream.write_all(&long).await;
    let refused = rest(&mut stream).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
    assert!(began.elapsed() < HEADER_WITHIN, "it was waited for");
}

#[tokio::test]
async fn body_is_refused_unread() {
    let address = start().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut stream = connected(address, request.as_bytes()).await;
        let refused = rest(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_take_its_answer_is_ended() {
    let address = start().await;
    let mut stream = connected(address, b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n").await;
    stream.readable().await.unwrap();
    // Some of it does not help: the time is that of the whole answer.
    let began = Instant::now();
    let mut taken = 0;
    while began.elapsed() < TAKEN_WITHIN + Duration::from_secs(5) {
        sleep(Duration::from_secs(1)).await;
        let mut some = vec![0; 64 * 1024];
        taken += stream.read(&mut some).await.unwrap();
    }
    taken += rest(&mut stream).await.len();
    assert!(taken < LONG, "{taken} bytes came");
}

#[tokio::test]
async fn for_the_connection_after_the_last_the_oldest_is_ended_and_no_other() {
    let address = start().await;
    let mut open = Vec::new();
    for _ in 0..SEATS {
        let mut stream = connected(address, REQUEST).await;
        answered(&mut stream).await;
        open.push(stream);
    }
    open.push(connected(address, b"").await);
    assert_eq!(rest(&mut open.remove(0)).await, "", "the oldest is ended");
    for stream in &mut open {
        stream.write_all(REQUEST).await.unwrap();
        answered(stream).await;
    }
}

/// Other systems have no second loopback address.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn probe_is_answered_while_another_address_holds_all_it_can_get() {
    let address = start().await;
    let mut held = Vec::new();
    for _ in 0..600 {
        held.push(connected(address, HALF).await);
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    let began = Instant::now();
    let mut probe = socket.connect(address).await.unwrap();
    // It goes on meanwhile.
    for _ in 0..100 {
        held.push(connected(address, HALF).await);
    }
    probe.write_all(REQUEST).await.unwrap();
    answered(&mut probe).await;
    assert!(began.elapsed() < HEADER_WITHIN, "it waited for others: {:?}", began.elapsed());
}

#[test]
fn oldest_of_who_has_the_most_gives_way() {
    let [probe, few, many] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
    let peers = |first: &[IpAddr]| {
        let mut peers = first.to_vec();
        peers.resize(SEATS, many);
        peers
    };
    assert_eq!(gives_way(&peers(&[probe, few, few])[1..], probe), None, "there is room");
    assert_eq!(gives_way(&peers(&[probe, few, few]), probe), Some(3));
    assert_eq!(gives_way(&peers(&[few, many, few]), many), Some(1));
    let each_one: Vec<IpAddr> = (0..64).map(|last| IpAddr::from([10, 0, 1, last])).collect();
    assert_eq!(gives_way(&each_one, probe), Some(0), "the oldest of all");
    assert_eq!(gives_way(&each_one, each_one[7]), Some(7), "who is there already gives way to himself");
}
