//! A stored status, however it came to be: it is read or refused, and a report can be made on top of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use zoho_api::{Time, ZohoCredentialStatus};
use zoho_core::status;

fuzz_target!(|body: &[u8]| {
    let Ok(stored) = serde_json::from_slice::<ZohoCredentialStatus>(body) else { return };
    let now = Time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let _ = status::changes_at(&stored, None, now);
    let _ = status::announcements(&ZohoCredentialStatus::default(), &stored);
    assert!(status::says_the_same(&stored, &stored));
    let written = serde_json::to_vec(&stored).expect("it can be written");
    let again: ZohoCredentialStatus = serde_json::from_slice(&written).expect("what we write we can read");
    assert_eq!(again, stored);
});
