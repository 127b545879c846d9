//! Words that others wrote about a Secret, without what stands in it. A policy's message or a webhook's may quote the object
//! that it refuses, and such words go on into statuses, Events and logs.

use std::collections::HashMap;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::{hex, token_in};

/// Shortest run that is masked, in bytes: less of a token tells nothing.
const WINDOW: usize = 8;
/// What stands in place of what was masked.
const MASK: &str = "***";
/// Most bytes of words, of values that are looked for as a whole, and of those of which every run is: sixteen runs are kept
/// for each of these. To search more would hold up everybody, and all three are somebody's choice.
const MOST_WORDS: usize = 8 << 10;
const MOST_WHOLE: usize = 64 << 10;
const MOST_IN_PARTS: usize = 16 << 10;
/// What stands in place of words that are not searched, because that would be too much work or cannot be done.
pub const LEFT_OUT: &str = "its words may quote the Secret and are left out";

/// The words without control characters, and without anything of the values of these Secrets:
///
/// * of a token every run of 8 characters and more, plain, in hexadecimal digits, and in base64 of whatever it stands in;
///   where the annotations do not say which part of a Secret is the token, all of it counts as one;
/// * of the other values every whole one of 8 characters and more, plain or in base64.
///
/// Also where it is percent-encoded, escaped as in JSON, or a list of numbers. To be called before the words are shortened: half a value
/// would not be known as one. Where there is too much to search, [`LEFT_OUT`] is returned.
pub fn without_values(words: &str, secrets: &[&Secret]) -> String {
    if words.len() > MOST_WORDS {
        return LEFT_OUT.into();
    }
    let words: Zeroizing<String> = Zeroizing::new(words.chars().filter(|c| !c.is_control()).collect());
    let Some(hidden) = Hidden::of(secrets) else { return LEFT_OUT.into() };
    let mut marks = vec![false; words.len()];
    let numbers = [10, 16].into_iter().flat_map(|base| numbers(&words, base));
    for view in [plain(&words), decoded(&words)].into_iter().chain(numbers) {
        hidden.mark(&view, &mut marks);
    }
    let mut shown = String::with_capacity(words.len());
    let mut was_masked = false;
    for (at, c) in words.char_indices() {
        let is_masked = marks[at..at + c.len_utf8()].contains(&true);
        match (is_masked, was_masked) {
            (true, false) => shown.push_str(MASK),
            (true, true) => {}
            (false, _) => shown.push(c),
        }
        was_masked = is_masked;
    }
    shown
}

/// What must not be shown.
struct Hidden {
    /// Every run of [`WINDOW`] bytes of what is masked in part, sorted.
    runs: Zeroizing<Vec<[u8; WINDOW]>>,
    /// What is masked where it stands as a whole.
    values: Vec<Zeroizing<Vec<u8>>>,
    /// Bytes that `runs` and `values` are of.
    in_parts: usize,
    whole: usize,
}

impl Hidden {
    /// `None` where there is too much to search for.
    fn of(secrets: &[&Secret]) -> Option<Self> {
        let mut hidden = Self { runs: Zeroizing::default(), values: Vec::new(), in_parts: 0, whole: 0 };
        for secret in secrets {
            let token = token_in(secret);
            let token = token.as_ref().map(|token| token.expose_secret().as_bytes()).filter(|token| !token.is_empty());
            let values = secret.data.iter().flatten().map(|(_, ByteString(value))| value.as_slice());
            match token {
                Some(token) => {
                    hidden.hide_parts(token)?;
                    for value in values {
                        hidden.hide_whole(value)?;
                        if value.windows(token.len()).any(|part| part == token) {
                            hidden.hide_encoded(value)?;
                        }
                    }
                }
                None => {
                    for value in values {
                        hidden.hide_whole(value)?;
                        hidden.hide_parts(value)?;
                    }
                }
            }
        }
        hidden.runs.sort_unstable();
        hidden.runs.dedup();
        Some(hidden)
    }

    fn hide_whole(&mut self, value: &[u8]) -> Option<()> {
        self.whole += value.len();
        if self.whole > MOST_WHOLE {
            return None;
        }
        let encoded = [STANDARD.encode(value), URL_SAFE.encode(value)].map(String::into_bytes);
        let forms = encoded.into_iter().chain([value.to_vec()]).map(Zeroizing::new);
        self.values.extend(forms.filter(|form| form.len() >= WINDOW));
        Some(())
    }

    /// A token: as it is, in hexadecimal digits, and in base64 wherever it stands in what was encoded.
    fn hide_parts(&mut self, token: &[u8]) -> Option<()> {
        self.hide_encoded(token)?;
        self.hide_runs(token);
        let digits = Zeroizing::new(hex(token));
        self.hide_runs(digits.as_bytes());
        self.hide_runs(Zeroizing::new(digits.to_ascii_uppercase()).as_bytes());
        for before in 0..3 {
            let shifted = Zeroizing::new([&[0; 2][..before], token].concat());
            // The characters at both ends depend on what stands beside it.
            let own = (before * 8).div_ceil(6)..shifted.len() * 8 / 6;
            for encoded in [STANDARD.encode(&*shifted), URL_SAFE.encode(&*shifted)].map(Zeroizing::new) {
                self.hide_runs(encoded.as_bytes().get(own.clone()).unwrap_or_default());
            }
        }
        Some(())
    }

    fn hide_encoded(&mut self, value: &[u8]) -> Option<()> {
        self.in_parts += value.len();
        if self.in_parts > MOST_IN_PARTS {
            return None;
        }
        for encoded in [STANDARD.encode(value), URL_SAFE.encode(value)].map(Zeroizing::new) {
            self.hide_runs(encoded.as_bytes());
        }
        Some(())
    }

    fn hide_runs(&mut self, text: &[u8]) {
        self.runs
            .extend(text.windows(WINDOW).map(|run| <[u8; WINDOW]>::try_from(run).expect("a window has its length")));
    }

    /// Marks what must not be shown, by its place in the words.
    fn mark(&self, view: &View, marks: &mut [bool]) {
        let View { bytes, places } = view;
        let mut hide = |found: Range<usize>| {
            for place in &places[found] {
                marks[place.clone()].fill(true);
            }
        };
        for (at, run) in bytes.windows(WINDOW).enumerate() {
            if self.runs.binary_search_by(|hidden| hidden.as_slice().cmp(run)).is_ok() {
                hide(at..at + WINDOW);
            }
        }
        let mut begins: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (at, run) in bytes.windows(WINDOW).enumerate() {
            begins.entry(run).or_default().push(at);
        }
        // Values that repeat themselves are found at every place, so each place of the words is hidden once.
        let mut longest = vec![0; bytes.len()];
        for value in &self.values {
            for &at in value.get(..WINDOW).and_then(|run| begins.get(run)).into_iter().flatten() {
                if longest[at] < value.len() && bytes[at..].starts_with(value) {
                    longest[at] = value.len();
                }
            }
        }
        covered(&longest).into_iter().for_each(hide);
    }
}

/// What matches of these lengths, one for each place, cover together: no place twice.
fn covered(longest: &[usize]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut until = 0;
    for (at, length) in longest.iter().enumerate() {
        let end = at + length;
        if end > until {
            ranges.push(at.max(until)..end);
            until = end;
        }
    }
    ranges
}

/// Words as they may be meant, and which part of the words each byte stands for.
#[derive(Default)]
struct View {
    bytes: Zeroizing<Vec<u8>>,
    places: Vec<Range<usize>>,
}

/// The words as they are.
fn plain(words: &str) -> View {
    View { bytes: Zeroizing::new(words.as_bytes().to_vec()), places: (0..words.len()).map(|at| at..at + 1).collect() }
}

/// The words without percent-encoding (RFC 3986) and without the escapes of JSON strings (RFC 8259).
fn decoded(words: &str) -> View {
    let bytes = words.as_bytes();
    let mut view = View { bytes: Zeroizing::new(Vec::with_capacity(bytes.len())), places: Vec::new() };
    let mut at = 0;
    while at < bytes.len() {
        let number = |from: usize, digits: usize| {
            let text = words.get(at + from..at + from + digits)?;
            text.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok())?
        };
        let (read, byte) = match (bytes[at], bytes.get(at + 1)) {
            (b'%', _) => number(1, 2).map_or((1, u32::from(b'%')), |byte| (3, byte)),
            (b'\\', Some(b'u')) => number(2, 4).map_or((1, u32::from(b'\\')), |byte| (6, byte)),
            (b'\\', Some(escaped)) => (2, u32::from(*escaped)),
            (byte, _) => (1, u32::from(byte)),
        };
        // What is no byte is no part of a token.
        view.bytes.push(u8::try_from(byte).unwrap_or_default());
        view.places.push(at..at + read);
        at += read;
    }
    view
}

/// The numbers to this base that follow each other in the words, with no other word in between, as the bytes that they stand for:
/// so Go prints bytes.
fn numbers(words: &str, base: u32) -> Vec<View> {
    let is_apart = |c: char| !c.is_ascii_alphanumeric();
    let mut rows = vec![View::default()];
    let mut at = 0;
    for piece in words.split_inclusive(is_apart) {
        let (number, end) = (piece.trim_end_matches(is_apart), at + piece.len());
        let byte = u8::from_str_radix(number.strip_prefix("0x").unwrap_or(number), base);
        let row = rows.last_mut().expect("there is one");
        match (byte, row.places.last_mut()) {
            (Ok(byte), _) => {
                row.bytes.push(byte);
                row.places.push(at..end);
            }
            (Err(_), Some(before)) if number.is_empty() => before.end = end,
            (Err(_), None) => {}
            (Err(_), Some(_)) => rows.push(View::default()),
        }
        at = end;
    }
    rows.retain(|row| row.bytes.len() >= WINDOW);
    rows
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
