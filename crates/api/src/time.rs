//! An instant in whole seconds.
//!
//! Everything we store (status, annotations, ledger) has whole seconds, so everything we compare has them too: a finer
//! clock next to a stored value makes decisions flip within one second.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant, UTC, in whole seconds; written as RFC 3339 (`2026-11-21T10:27:12Z`).
///
/// Arithmetic saturates at the ends of the representable range (years -9999 to 9999).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// The instant this many seconds after 1970-01-01T00:00:00Z, clamped to the representable range.
    pub fn from_unix(seconds: i64) -> Self {
        Self(seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second()))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Only the time of day, for messages: `10:27Z`.
    pub fn clock(self) -> String {
        self.timestamp().strftime("%H:%MZ").to_string()
    }

    /// The instant of an HTTP date (RFC 9110, section 5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn from_http_date(text: &str) -> Option<Self> {
        rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok().map(Self::from)
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_second(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.as_second())
    }
}

impl std::str::FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Timestamp>().map(Self::from)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp())
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self::from_unix(self.0.saturating_add(seconds(span)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self::from_unix(self.0.saturating_sub(seconds(span)))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_second_are_dropped_and_text_has_none() {
        let time: Time = "2026-11-21T10:27:12.987Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-21T10:27:12Z");
        assert_eq!(time.clock(), "10:27Z");
    }

    #[test]
    fn dates_of_http_answers_are_read() {
        let date = Time::from_http_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date, Some(Time::from_unix(784_111_777)));
        assert_eq!(Time::from_http_date("yesterday"), None);
    }

    #[test]
    fn arithmetic_saturates_instead_of_panicking() {
        let end = Time::from_unix(i64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Time::from_unix(i64::MIN) - Duration::MAX, Time::from_unix(i64::MIN));
        assert_eq!(Time::from_unix(5).since(Time::from_unix(9)), Duration::ZERO);
    }
}
