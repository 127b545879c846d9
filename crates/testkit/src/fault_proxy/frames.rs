//! The body of a watch, taken apart into events. Pure.

use axum::body::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::rule::status_object;

/// Puts the pieces of a body together to lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// Takes in a piece; returns the lines that it completes, each with its line feed.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<Bytes> {
        let mut lines = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(part);
            if part.ends_with(b"\n") {
                lines.push(std::mem::take(&mut self.unfinished).into());
            }
        }
        lines
    }

    /// What is left when the body ends.
    pub(super) fn rest(self) -> Option<Bytes> {
        (!self.unfinished.is_empty()).then(|| self.unfinished.into())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    object: Object,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
}

/// Name of the object that an event is about; empty for bookmarks.
pub(super) fn name_in(frame: &[u8]) -> String {
    serde_json::from_slice::<Event>(frame).unwrap_or_default().object.metadata.name
}

/// The event that says that the watch's version is too old.
pub(super) fn gone() -> Bytes {
    let status = status_object(StatusCode::GONE, "Expired", "too old resource version");
    format!("{}\n", json!({ "type": "ERROR", "object": status })).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_however_they_come() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"{\"a\""), Vec::<Bytes>::new());
        assert_eq!(lines.push(b":1}\n{\"b\":2}\n{"), ["{\"a\":1}\n", "{\"b\":2}\n"]);
        assert_eq!(lines.rest().as_deref(), Some(&b"{"[..]));
    }

    #[test]
    fn event_names_its_object() {
        assert_eq!(name_in(br#"{"type":"ADDED","object":{"metadata":{"name":"one","uid":"u"}}}"#), "one");
        assert_eq!(name_in(br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}"#), "");
        assert_eq!(name_in(&gone()), "");
    }
}
