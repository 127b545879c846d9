//! Replies of token services and of servers: any bytes have a meaning, and only a checked code or token comes through.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zoho_core::issuer::reply::{self, Reply};
use zoho_core::issuer::server_login;

fuzz_target!(|input: (u16, Option<String>, Vec<u8>)| {
    let (status, retry_after, body) = input;
    match reply::classify(status, retry_after.as_deref(), &body) {
        Reply::Minted { life, .. } => {
            assert!((200..300).contains(&status));
            assert!((60..=3600).contains(&life.as_secs()));
        }
        Reply::Throttled { silence } => assert!((600..=3600).contains(&silence.as_secs())),
        Reply::Failed(failed) => {
            let is_code = |code: &str| {
                (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            };
            assert!(failed.code.as_deref().is_none_or(is_code));
        }
    }
    let _ = server_login::classify(status, &body);
});
