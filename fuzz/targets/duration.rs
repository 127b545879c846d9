//! Durations as people write them: what is read is written back to the same span.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zoho_api::duration::GoDuration;

fuzz_target!(|text: &str| {
    if let Ok(duration) = text.parse::<GoDuration>() {
        let again: GoDuration = duration.to_string().parse().expect("what we write we can read");
        assert_eq!(again, duration);
    }
});
