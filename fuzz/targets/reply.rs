//! Replies of token services and of servers: any bytes have a meaning, and only a checked code, token or scope comes
//! through. A seed is a line with status and header, and the body below it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zoho_api::{Outcome, Time};
use zoho_core::issuer::reply::{self, Head, Reply};
use zoho_core::issuer::server_login::{self, LoginAnswer};

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, body) = (String::from_utf8_lossy(&input[..end]), input.get(end + 1..).unwrap_or_default());
    let (status, header) = line.split_once(' ').unwrap_or((&line, ""));
    let (status, header) = (status.parse().unwrap_or(200), Some(header));
    let head = Head { status, retry_after: header, date: header, location: header };
    match reply::classify(head, body, Time::UNIX_EPOCH) {
        Reply::Minted(minted) => {
            assert!((200..300).contains(&status));
            assert!((60..=3600).contains(&minted.life.as_secs()));
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            assert!(minted.scopes.iter().all(|scope| scope.bytes().all(is_plain)));
        }
        Reply::Throttled { silence } => assert!((600..=3600).contains(&silence.as_secs())),
        Reply::Failed(failed) => {
            let is_code = |code: &str| {
                (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            };
            assert!(failed.code.as_deref().is_none_or(is_code));
            assert!(status < 500 || failed.permanent || failed.outcome == Outcome::Unknown);
            let _ = failed.cause.map(|cause| cause.sentence("Zoho"));
        }
    }
    if let LoginAnswer::Failed(failed) = server_login::classify(head, body) {
        assert!(failed.permanent || matches!(status, 408 | 429 | 502..=504), "a password is not sent again");
    }
});
