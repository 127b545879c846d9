//! A stored ledger, however it came to be: settling it is idempotent, and whatever it says, no more is granted than the
//! limits allow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use zoho_api::names::{Holder, InputsDigest};
use zoho_api::{Reason, Time, ZohoMintLedgerSpec};
use zoho_core::plan::budget::{self, Found, Limits, Need, Request, Ruling};
use zoho_core::plan::record;

fuzz_target!(|body: &[u8]| {
    let found = match serde_json::from_slice::<ZohoMintLedgerSpec>(body) {
        Ok(ledger) => Found::Present(ledger),
        Err(_) => Found::Lost,
    };
    let now = Time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let limits = Limits::default();
    let mut ledger = budget::settle(found, now);
    assert_eq!(budget::settle(Found::Present(ledger.clone()), now), ledger);
    let (inputs, holder): (InputsDigest, Holder) = ("a".into(), "me".into());
    for need in [Need::Needed, Need::Wanted] {
        for (asked, login) in [(false, false), (true, false), (false, true), (true, true)] {
            let (spacing, namespace) = (Duration::ZERO, "ns");
            let request = Request { inputs: &inputs, need, asked, holder: &holder, spacing, login, namespace };
            if budget::account(&ledger, &request, limits, now) == Ruling::Go {
                assert!(budget::live(&ledger, limits, now) < limits.live);
                assert!(budget::attempts_in_window(&ledger, limits, now) < limits.attempts);
            }
        }
    }
    record::refuse(&mut ledger, &inputs, (Reason::RefreshTokenRejected, None), now);
    record::throttle(&mut ledger, now + Duration::from_secs(600));
    record::summarise(&mut ledger, limits, now);
});
