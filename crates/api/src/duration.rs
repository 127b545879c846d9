//! A span of time as users write it: `30m`, `1h30m`.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span as Go writes it: one to four numbers of at most five digits, each with a unit `h`, `m`, `s` or `ms`.
///
/// A sum of more than [`LONGEST`] counts as that, so that what was read can be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

/// Eleven years: the longest span that one number of hours can say.
pub const LONGEST: Duration = Duration::from_secs(99_999 * 3600);

/// What is wrong with the text of a [`GoDuration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration such as 30m or 1h30m")]
pub struct NotADuration;

/// The pattern of the schema's rules; [`GoDuration::from_str`](std::str::FromStr) accepts exactly what it matches.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

impl std::str::FromStr for GoDuration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let mut rest = text;
        let mut total = Duration::ZERO;
        for _ in 0..4 {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=5).contains(&digits) {
                return Err(NotADuration);
            }
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| NotADuration)?;
            let (unit, tail) = if let Some(tail) = tail.strip_prefix("ms") {
                (Duration::from_millis(number), tail)
            } else if let Some(tail) = tail.strip_prefix('h') {
                (Duration::from_secs(number * 3600), tail)
            } else if let Some(tail) = tail.strip_prefix('m') {
                (Duration::from_secs(number * 60), tail)
            } else if let Some(tail) = tail.strip_prefix('s') {
                (Duration::from_secs(number), tail)
            } else {
                return Err(NotADuration);
            };
            total += unit;
            if tail.is_empty() {
                return Ok(Self(total.min(LONGEST)));
            }
            rest = tail;
        }
        Err(NotADuration)
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
        let (seconds, rest) = (millis / 1000 % 60, millis % 1000);
        let mut written = false;
        for (number, unit) in [(hours, "h"), (minutes, "m"), (seconds, "s"), (rest, "ms")] {
            if number > 0 {
                write!(f, "{number}{unit}")?;
                written = true;
            }
        }
        if written { Ok(()) } else { f.write_str("0s") }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 28 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_go_writes_it() {
        for (text, seconds) in [("30m", 1800), ("1h30m", 5400), ("0s", 0), ("90s", 90), ("1500ms", 1)] {
            assert_eq!(text.parse::<GoDuration>().unwrap().0.as_secs(), seconds, "{text}");
        }
    }

    #[test]
    fn sum_beyond_five_digits_of_hours_is_cut_to_them() {
        let span: GoDuration = "55300h55300h".parse().unwrap();
        assert_eq!(span.to_string(), "99999h");
    }

    #[test]
    fn anything_else_is_refused_without_a_panic() {
        for text in ["", "5", "m", "-5m", "1h-5m", "123456h", "1h1h1h1h1h", "1.5h", "１m", "1µs", "5 m"] {
            assert_eq!(text.parse::<GoDuration>(), Err(NotADuration), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in 0u64..99_999 * 3600) {
            let span = GoDuration(Duration::from_secs(seconds));
            proptest::prop_assert_eq!(span.to_string().parse::<GoDuration>(), Ok(span));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = text.parse::<GoDuration>();
        }
    }
}
