//! The bodies of replies, read as tolerantly as can be: a token that is thrown away has been minted all the same, and the
//! next attempt costs another one. Pure.
//!
//! What is forgiven: compression that was not asked for, byte order marks, UTF-16, bytes that are no UTF-8, control
//! characters in texts, keys that stand twice, numbers out of range, nesting without end, anything after the object.
//! What is not: an object that does not end, since nobody knows what was cut off.

use std::fmt;
use std::io::Read as _;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// Largest body that is read, in bytes, on the wire and unpacked.
pub const LARGEST: usize = 64 * 1024;
/// How often a body is unpacked. Twice: a server and a gateway before it may both have compressed it.
const LAYERS: usize = 2;

/// The text of a body; empty where it is larger than [`LARGEST`].
pub fn text(body: &[u8]) -> Zeroizing<String> {
    let mut unpacked = None;
    for _ in 0..LAYERS {
        match unpack(unpacked.as_ref().map_or(body, |inner: &Zeroizing<Vec<u8>>| inner.as_slice())) {
            Some(inner) => unpacked = Some(inner),
            None => break,
        }
    }
    let bytes = unpacked.as_ref().map_or(body, |inner| inner.as_slice());
    let mut text = Zeroizing::new(characters(bytes));
    if !text.starts_with(['{', '[', '<']) && text.contains('\u{fffd}') {
        // Raw DEFLATE has no mark to know it by; it is tried where nothing else makes sense.
        let inner = Zeroizing::new(characters(&inflate(DeflateDecoder::new(bytes))));
        if inner.starts_with('{') {
            text = inner;
        }
    }
    text
}

/// Is there an object in it that ends, whatever should have come after it?
pub fn is_whole(body: &[u8]) -> bool {
    Object::parse(&text(body)).is_some()
}

/// What is inside, where the bytes are of a compressed format. No JSON begins like one.
fn unpack(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    match bytes {
        [0x1f, 0x8b, ..] => Some(inflate(MultiGzDecoder::new(bytes))),
        [0x78, flags, ..] if (0x7800 + u32::from(*flags)).is_multiple_of(31) => Some(inflate(ZlibDecoder::new(bytes))),
        _ => None,
    }
}

/// Never more than [`LARGEST`], however much there would be: then nothing. A stream that breaks off gives what came
/// before; whether that is enough is seen by the object in it.
fn inflate(decoder: impl std::io::Read) -> Zeroizing<Vec<u8>> {
    let mut inner = Zeroizing::new(Vec::with_capacity(4096));
    let mut limited = decoder.take(LARGEST as u64 + 1);
    let mut chunk = Zeroizing::new([0u8; 4096]);
    while let Ok(length @ 1..) = limited.read(&mut *chunk) {
        inner.extend_from_slice(&chunk[..length]);
    }
    if inner.len() > LARGEST {
        inner.clear();
    }
    inner
}

/// Characters without the marks before them. What is no character becomes U+FFFD, a control character a blank: neither
/// may stand in JSON, and neither is part of anything that is looked for.
fn characters(bytes: &[u8]) -> String {
    let utf16 = |of: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| of([pair[0], pair[1]]));
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    let text: String = match bytes {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    // The second is how the mark looks after it was taken for Latin-1 once.
    let start = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}' || "ï»¿".contains(c);
    let text = Zeroizing::new(text);
    text.trim_start_matches(start).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A JSON object: its members in order, keys that stand twice included.
#[derive(Debug)]
pub struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Object<'a> {
    /// The object that a text begins with.
    pub fn parse(text: &'a str) -> Option<Self> {
        (&mut serde_json::Deserializer::from_str(text)).deserialize_map(Members).ok()
    }

    /// The values of a key as JSON texts, the last one first: where a key stands twice, the last one usually counts.
    pub fn values(&self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().rev().filter(move |(name, _)| name == key).map(|(_, value)| value.get())
    }

    /// The objects that are the value of a key, or that its list holds; the last value first.
    pub fn objects(&self, key: &'a str) -> impl Iterator<Item = Self> {
        self.values(key).flat_map(list).filter_map(Self::parse)
    }

    /// The last value of a key that is a text.
    pub fn string(&self, key: &'a str) -> Option<String> {
        self.values(key).find_map(string)
    }

    /// The last value of a key that is an object.
    pub fn object(&self, key: &'a str) -> Option<Self> {
        self.values(key).find_map(Self::parse)
    }

    /// The object at the end of a path.
    pub fn at(&self, path: &[&'a str]) -> Option<Self> {
        let (first, rest) = path.split_first()?;
        let inner = self.object(first)?;
        if rest.is_empty() { Some(inner) } else { inner.at(rest) }
    }
}

/// The members of a JSON list; what is no list is its own only member.
pub fn list(json: &str) -> Vec<&str> {
    let members: Result<Vec<&RawValue>, _> = serde_json::from_str(json);
    members.map_or_else(|_| vec![json], |members| members.into_iter().map(RawValue::get).collect())
}

/// A JSON text as a text. Halves of surrogate pairs, which JSON can write and Unicode does not have, become U+FFFD.
pub fn string(json: &str) -> Option<String> {
    if !json.starts_with('"') {
        return None;
    }
    serde_json::from_str(json).ok().or_else(|| serde_json::from_str(&without_surrogates(json)).ok())
}

fn without_surrogates(json: &str) -> String {
    let mut without = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let is_surrogate = rest.get(at + 1..at + 3).is_some_and(|mark| mark.eq_ignore_ascii_case("ud"))
            && rest.get(at + 3..at + 4).is_some_and(|digit| "89abcdefABCDEF".contains(digit));
        let escape = if is_surrogate { 6 } else { 2 };
        let end = rest.len().min(at + escape);
        without.push_str(&rest[..at]);
        match rest.get(at..end) {
            Some(kept) if !is_surrogate => without.push_str(kept),
            Some(_) => without.push(char::REPLACEMENT_CHARACTER),
            // In the middle of a character: not an escape that JSON knows.
            None => return String::new(),
        }
        rest = &rest[end..];
    }
    without.push_str(rest);
    without
}

/// A JSON number, or a text that holds one.
pub fn number(json: &str) -> Option<f64> {
    // A number that is too large for it becomes infinite, and so is none.
    let number = string(json).map_or_else(|| json.parse().ok(), |text| text.trim().parse::<f64>().ok());
    number.filter(|number| number.is_finite())
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Object(members))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const JSON: &[u8] = br#"{"a":"b"}"#;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn whatever_a_body_is_wrapped_in_its_text_is_found() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(JSON).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(JSON).unwrap();
        let utf16 = |order: fn(u16) -> [u8; 2]| {
            let text = format!("\u{feff}{}", str::from_utf8(JSON).unwrap());
            text.encode_utf16().flat_map(order).collect::<Vec<u8>>()
        };
        let without_trailer = {
            let packed = gzip(JSON);
            packed[..packed.len() - 8].to_vec()
        };
        let table = [
            ("as it is", JSON.to_vec()),
            ("byte order mark", [b"\xef\xbb\xbf", JSON].concat()),
            ("two of them and blank lines", [b"\xef\xbb\xbf\r\n\xef\xbb\xbf ", JSON].concat()),
            ("a mark that was taken for Latin-1", ["ï»¿".as_bytes(), JSON].concat()),
            ("UTF-16, little end first", utf16(u16::to_le_bytes)),
            ("UTF-16, big end first", utf16(u16::to_be_bytes)),
            ("gzip", gzip(JSON)),
            ("gzip twice", gzip(&gzip(JSON))),
            ("gzip without its trailer", without_trailer),
            ("byte order mark in gzip", gzip(&[b"\xef\xbb\xbf", JSON].concat())),
            ("zlib", zlib.finish().unwrap()),
            ("raw deflate", raw.finish().unwrap()),
        ];
        for (name, body) in table {
            assert_eq!(text(&body).as_bytes(), JSON, "{name}");
        }
    }

    #[test]
    fn bomb_is_not_unpacked() {
        let bomb = gzip(&vec![b' '; 100_000_000]);
        assert!(bomb.len() < 200_000);
        let started = std::time::Instant::now();
        assert_eq!(text(&bomb).as_str(), "");
        assert_eq!(text(&gzip(&bomb)).as_str(), "");
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }

    #[test]
    fn no_more_is_unpacked_than_is_read() {
        struct Endless(usize);
        impl std::io::Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0 += buffer.len();
                assert!(self.0 < 2 * LARGEST, "it goes on");
                buffer.fill(b' ');
                Ok(buffer.len())
            }
        }
        assert!(inflate(Endless(0)).is_empty());
        assert_eq!(inflate(&vec![b' '; LARGEST][..]).len(), LARGEST);
    }

    #[test]
    fn odd_members_do_not_hide_the_others() {
        let deep = format!(r#"{{"deep":{}1{},"a":"b"}}"#, "[".repeat(2000), "]".repeat(2000));
        let table: [(&str, &[u8]); 6] = [
            ("Latin-1 in a text", b"{\"d\":\"caf\xe9\",\"a\":\"b\"}"),
            ("line break in a text", b"{\"d\":\"one\r\ntwo\",\"a\":\"b\"}"),
            ("number out of range", br#"{"d":1e999,"a":"b"}"#),
            ("half a surrogate pair", br#"{"d":"\ud800","a":"b"}"#),
            ("nesting without end", deep.as_bytes()),
            ("something after it", b"{\"a\":\"b\"}\n<!-- proxy -->\0"),
        ];
        for (name, body) in table {
            let text = text(body);
            let object = Object::parse(&text).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(object.string("a").as_deref(), Some("b"), "{name}");
        }
        for cut in ["{\"a\":\"b\"", "{\"a\":\"b\",", "{\"a", "", "[]", "7", "null", "<html>"] {
            assert!(Object::parse(cut).is_none(), "{cut}");
        }
    }

    #[test]
    fn last_usable_value_of_a_key_counts() {
        let object = Object::parse(r#"{"a":"first","a":"last","a":null,"a":{"b":{"c":"deep"}}}"#).unwrap();
        assert_eq!(object.string("a").as_deref(), Some("last"));
        assert_eq!(object.at(&["a", "b"]).and_then(|inner| inner.string("c")).as_deref(), Some("deep"));
        assert!(object.at(&["a", "x"]).is_none());
    }

    #[test]
    fn texts_and_numbers_are_read_as_they_were_meant() {
        assert_eq!(string(r#""a\ud800b""#).as_deref(), Some("a\u{fffd}b"));
        assert_eq!(string(r#""\\ud800""#).as_deref(), Some(r"\ud800"), "no escape");
        assert_eq!(string("7"), None);
        for (json, expected) in
            [("7", Some(7.0)), ("\" 7 \"", Some(7.0)), ("1e999", None), ("\"NaN\"", None), ("[]", None)]
        {
            assert_eq!(number(json), expected, "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(0u8.., 0..300)) {
            let text = text(&body);
            if let Some(object) = Object::parse(&text) {
                let _ = object.values("").map(string).count();
            }
        }

        #[test]
        fn arbitrary_texts_never_panic(json in "\"[ud8\\\\\u{e9}\u{fffd}]{0,20}\"") {
            let _ = string(&json);
        }
    }
}
