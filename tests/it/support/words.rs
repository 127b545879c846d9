//! Thousands of words, looked for in a text all at once: a soak has tens of thousands of secrets, and megabytes of output.

use std::collections::HashMap;

/// Words are told apart by so many bytes at their beginning; none may be shorter.
const HEAD: usize = 12;
/// Marks for which beginnings there are, as a power of two.
const BITS: u32 = 20;

pub(crate) struct Words {
    /// By a hash of the beginning: most places of a text are passed by with one look.
    marks: Vec<bool>,
    by_head: HashMap<Vec<u8>, Vec<String>>,
}

impl Words {
    pub(crate) fn new(words: impl IntoIterator<Item = String>) -> Self {
        let mut known = Self { marks: vec![false; 1 << BITS], by_head: HashMap::new() };
        for word in words {
            let head = word.as_bytes().get(..HEAD).unwrap_or_else(|| panic!("{word} is too short to be looked for"));
            known.marks[mark(head)] = true;
            known.by_head.entry(head.to_vec()).or_default().push(word);
        }
        known
    }

    /// The first line of a text that holds one of the words, and the word.
    pub(crate) fn find<'a>(&'a self, text: &'a str) -> Option<(&'a str, &'a str)> {
        let (at, word) = text.as_bytes().windows(HEAD).enumerate().find_map(|(at, head)| {
            let words = self.marks[mark(head)].then(|| self.by_head.get(head))??;
            let found = words.iter().find(|word| text.as_bytes()[at..].starts_with(word.as_bytes()))?;
            Some((at, found.as_str()))
        })?;
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        Some((text[line..].lines().next().unwrap_or_default(), word))
    }
}

/// Many secrets begin alike, so it is the end of the beginning that is looked at.
fn mark(head: &[u8]) -> usize {
    let last = head[HEAD - 4..].iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    (last.wrapping_mul(0x9e37_79b1) >> (32 - BITS)) as usize
}

#[test]
fn words_are_found_wherever_they_are_and_nothing_else_is() {
    let words = Words::new(["1000.first0secret".to_owned(), "1000.first0secrets0longer".into(), "c0ffee0ba4f0".into()]);
    let table = [
        ("", None),
        ("1000.first0secre", None),
        ("a\nb 1000.first0secret c\nd", Some(("b 1000.first0secret c", "1000.first0secret"))),
        ("1000.first0secret", Some(("1000.first0secret", "1000.first0secret"))),
        ("\u{e4}\u{f6} c0ffee0ba4f0", Some(("\u{e4}\u{f6} c0ffee0ba4f0", "c0ffee0ba4f0"))),
        ("C0FFEE0BA4F0", None),
    ];
    for (text, expected) in table {
        assert_eq!(words.find(text), expected, "{text}");
    }
}
