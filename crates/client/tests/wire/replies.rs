//! Replies of the token service.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use zoho_client::clock;
use zoho_core::issuer::cause::Cause;
use zoho_core::issuer::reply::Reply;

use crate::support::{Script, Server, Standing, answer, cut_answer, refresh, transport, word};

const TOKEN: &[u8] = br#"{"access_token":"1000.a.b","expires_in":3600}"#;
const BOM: &[u8] = b"\xef\xbb\xbf";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Sends one refresh and says what became of it. It is one request, whatever comes back.
async fn reply(bytes: Vec<u8>) -> String {
    let server = Server::start(Script::Answer(bytes));
    let reply = transport(&[], &[]).send(&refresh(&server.url("http")), &Standing).await;
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "one request");
    let request = requests[0].to_lowercase();
    assert!(request.starts_with("post /oauth/v2/token http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\naccept-encoding: identity\r\n"), "{request}");
    word(&reply)
}

#[tokio::test]
async fn token_is_taken_whatever_stands_around_it() {
    let table: [(&str, &str, Vec<u8>); 7] = [
        ("as documented", "", TOKEN.to_vec()),
        ("byte order mark", "", [BOM, TOKEN].concat()),
        ("key twice", "", br#"{"access_token":"1000.a.b","access_token":"1000.a.b"}"#.to_vec()),
        ("empty error", "", br#"{"error":"","access_token":"1000.a.b"}"#.to_vec()),
        ("null error", "", br#"{"error":null,"access_token":"1000.a.b"}"#.to_vec()),
        ("gzip that nobody asked for", "Content-Encoding: gzip\r\n", gzip(TOKEN)),
        ("gzip that is not said, with a mark", "", gzip(&[BOM, TOKEN].concat())),
    ];
    for (name, headers, body) in table {
        assert_eq!(reply(answer("200 OK", headers, &body)).await, "token 1000.a.b", "{name}");
    }
}

#[tokio::test]
async fn code_is_read_whatever_stands_around_it() {
    const REJECTED: &str = "RefreshTokenRejected invalid_code NotMinted";
    let table: [(&str, &[u8], &str); 9] = [
        ("byte order mark", b"\xef\xbb\xbf{\"error\":\"invalid_code\"}", REJECTED),
        ("Latin-1", b"{\"error\":\"invalid_code\",\"error_description\":\"ung\xfcltig\"}", REJECTED),
        ("gzip", &gzip(br#"{"error":"invalid_code"}"#), REJECTED),
        ("key twice", br#"{"error":"invalid_code","error":null}"#, REJECTED),
        ("capitals", br#"{"error":"INVALID_CODE"}"#, REJECTED),
        ("mixed", br#"{"error":"Invalid_Code"}"#, REJECTED),
        ("nested", br#"{"error":{"code":"invalid_code"}}"#, REJECTED),
        ("of a token", br#"{"error":"invalid_token"}"#, "RefreshTokenRejected invalid_token NotMinted"),
        (
            "unknown",
            br#"{"error":"inactive_user","error_description":"x","status":"failure"}"#,
            "UpstreamError inactive_user NotMinted",
        ),
    ];
    for (name, body, expected) in table {
        assert_eq!(reply(answer("400 Bad Request", "", body)).await, expected, "{name}");
    }
}

#[tokio::test]
async fn throttle_is_met_with_the_silence_that_is_asked_for() {
    let words = r#"{"error":"invalid_request","error_description":"You have made Too Many Requests continuously.","status":"failure"}"#;
    let address =
        r#"{"error":"Access Denied","error_description":"Your IP address is not allowed.","status":"failure"}"#;
    // The clock of these tests stands at 2027-01-15T08:00:00Z.
    let date = "Retry-After: Fri, 15 Jan 2027 08:30:00 GMT\r\n";
    let with_own_date = "Date: Fri, 15 Jan 2027 08:10:00 GMT\r\nRetry-After: Fri, 15 Jan 2027 08:30:00 GMT\r\n";
    let table = [
        ("400 Bad Request", "", words, "throttled 600"),
        ("200 OK", "", r#"{"error":"Access Denied"}"#, "throttled 600"),
        ("400 Bad Request", "", address, "throttled 600"),
        ("429 Too Many Requests", date, "", "throttled 1800"),
        ("429 Too Many Requests", with_own_date, "", "throttled 1200"),
        ("400 Bad Request", "Retry-After: 900\r\n", words, "throttled 900"),
        ("429 Too Many Requests", "Retry-After: 86400\r\n", "", "throttled 3600"),
    ];
    for (status, headers, body, expected) in table {
        assert_eq!(reply(answer(status, headers, body.as_bytes())).await, expected, "{status} {headers}{body}");
    }
}

#[tokio::test]
async fn server_out_of_order_may_have_minted_whatever_it_says() {
    let table = [
        (r#"{"error":"general_error"}"#, "UpstreamError general_error Unknown"),
        (r#"{"error":"Internal Server Error","status":500}"#, "UpstreamUnavailable - Unknown"),
        ("<html>", "UpstreamUnavailable - Unknown"),
        (r#"{"error":"invalid_client"}"#, "ClientRejected invalid_client NotMinted"),
    ];
    for (body, expected) in table {
        assert_eq!(reply(answer("500 Internal Server Error", "", body.as_bytes())).await, expected, "{body}");
    }
}

#[tokio::test]
async fn answer_whose_end_is_missing_counts_for_what_it_says_all_the_same() {
    let code = br#"{"error":"invalid_code"}"#;
    let table: [(&str, &[u8], &str); 7] = [
        ("200 OK", TOKEN, "token 1000.a.b"),
        ("200 OK", &TOKEN[..TOKEN.len() - 1], "UpstreamUnavailable - Unknown"),
        ("200 OK", b"", "UpstreamUnavailable - Unknown"),
        ("200 OK", code, "RefreshTokenRejected invalid_code NotMinted"),
        ("400 Bad Request", &code[..10], "UpstreamReplyInvalid - Unknown"),
        ("429 Too Many Requests", b"<html", "throttled 600"),
        ("503 Service Unavailable", b"<html", "UpstreamUnavailable - Unknown"),
    ];
    for (status, body, expected) in table {
        let server = Server::start(Script::AnswerAndEnd(cut_answer(status, body)));
        let reply = transport(&[], &[]).send(&refresh(&server.url("http")), &Standing).await;
        assert_eq!(word(&reply), expected, "{status} {}", String::from_utf8_lossy(body));
    }
}

#[tokio::test]
async fn compressed_bomb_is_no_answer() {
    let bomb = gzip(&vec![b' '; 50_000_000]);
    assert!(bomb.len() < 64 * 1024, "it is taken off the wire");
    assert_eq!(reply(answer("200 OK", "", &bomb)).await, "UpstreamReplyInvalid - Unknown");
}

#[tokio::test]
async fn kept_connection_that_the_server_resets_is_never_used() {
    let server = Server::start(Script::AnswerOnceThenReset(answer("200 OK", "", TOKEN)));
    let transport = transport(&[], &[]);
    let request = refresh(&server.url("http"));
    for round in 0..3 {
        let started = Instant::now();
        assert_eq!(word(&transport.send(&request, &Standing).await), "token 1000.a.b", "round {round}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn host_that_is_not_found_is_told_from_one_that_does_not_answer() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for (base, expected) in [
        (format!("http://{closed}"), Cause::Unreachable),
        // Longer than a name can be, so that nobody has to be asked.
        (format!("http://{}.invalid", "a".repeat(64)), Cause::UnknownHost),
    ] {
        let request = refresh(&base.parse().expect("a URL"));
        let Reply::Failed(failed) = transport(&[], &[]).send(&request, &Standing).await else { panic!("a failure") };
        assert_eq!(failed.cause, Some(expected), "{base}");
    }
}

#[tokio::test]
async fn request_that_is_late_sends_not_even_its_head() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address")).parse().expect("a URL");
    let received = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().expect("a connection").0.read_to_end(&mut bytes).expect("it is ended");
        bytes
    });
    let reply = transport(&[], &[]).send_before(clock::steady(), &refresh(&url), &Standing).await;
    assert!(reply.is_none(), "{reply:?}");
    assert_eq!(String::from_utf8_lossy(&received.join().expect("it ends")), "");
}
