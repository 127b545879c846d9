//! Templates: what passes the check renders whatever the values are, and stays within the size that was computed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zoho_api::Target;
use zoho_core::template::{self, Values};

fuzz_target!(|input: (String, String, bool)| {
    let (source, value, is_absent) = input;
    let data = [("key".to_owned(), source)].into_iter().collect();
    let target = Target { data, ..Target::default() };
    if template::check(&target, Some("https://patch.manageengine.eu")).is_err() {
        return;
    }
    let optional = |text: &'static str| if is_absent { "" } else { text };
    let values = Values {
        access_token: &value,
        authorization: &value,
        expires_at: optional("2026-01-02T03:04:05Z"),
        api_domain: optional("https://www.zohoapis.eu"),
        api_url: "https://patch.manageengine.eu",
    };
    template::render(&target.data, &values).expect("the check is the proof");
});
