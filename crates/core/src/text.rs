//! Foreign text that people get to see. Who may create a Secret or a `ZohoCredential` chooses names, kinds and field
//! managers, and none of them may move a terminal's cursor, forge a line or turn the order of letters round. Pure.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;

/// Does a terminal show it, and nothing but it? Not so are control characters (C0, DEL, C1), what breaks lines, what turns
/// the direction of writing, what has no width, and characters that Unicode promises never to assign.
pub fn is_plain(c: char) -> bool {
    !matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{fffe}'..='\u{ffff}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Text in one line, at most so many characters: tabs and line breaks are spaces, and what is not plain is written as in
/// JSON, like `\u001b`. Where it is cut, it ends in `…`. Plain text that is short enough stays as it is.
pub fn printable(text: &str, longest: usize) -> String {
    // Beyond that nothing can have room: an escape is longer than what it stands for.
    let shown: String = text.chars().take(longest + 1).map(in_one_line).collect();
    match shown.char_indices().nth(longest) {
        None => shown,
        Some(_) => shown.chars().take(longest.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Text in as many lines as it has; what else is not plain is escaped as by [`printable`].
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| c == '\n' || is_plain(c)) {
        return Cow::Borrowed(text);
    }
    text.split('\n').map(|line| line.chars().map(in_one_line).collect::<String>()).collect::<Vec<_>>().join("\n").into()
}

fn in_one_line(c: char) -> Cow<'static, str> {
    match c {
        '\t' | '\n' | '\r' => " ".into(),
        _ if is_plain(c) => c.to_string().into(),
        '\0'..='\u{ffff}' => format!("\\u{:04x}", u32::from(c)).into(),
        _ => "\u{fffd}".into(),
    }
}

/// An error and its causes in one line, each part once: many libraries print their cause and hand it on as well, whole or
/// with their own words around it.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let said = cause.to_string();
        if !parts.join(": ").contains(&said) {
            let new: Vec<String> = said.split(": ").map(str::to_owned).filter(|part| !parts.contains(part)).collect();
            parts.extend(new);
        }
        next = cause.source();
    }
    parts.join(": ")
}

/// What a panic says, where that stands in the source as it is. Anything else may quote what the program was at: a Secret,
/// or the words of others.
pub fn constant_words(panic: &(dyn Any + Send)) -> Option<&'static str> {
    panic.downcast_ref::<&'static str>().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let table = [
            ("Secret ns/name – ü 日本 🦀", "Secret ns/name – ü 日本 🦀"),
            ("\u{1b}[2J", "\\u001b[2J"),
            ("\u{9b}2J\u{7f}\0", "\\u009b2J\\u007f\\u0000"),
            ("a\r\nb\tc", "a  b c"),
            ("\u{202e}dab\u{2069}", "\\u202edab\\u2069"),
            ("ad\u{200b}min\u{feff}\u{2028}", "ad\\u200bmin\\ufeff\\u2028"),
            ("\u{e0041}", "\u{fffd}"),
        ];
        for (text, expected) in table {
            assert_eq!(printable(text, 100), expected);
        }
        assert_eq!(printable_lines("a\nb\u{1b}\r\n"), "a\nb\\u001b \n");
    }

    #[test]
    fn cause_that_is_printed_by_its_error_too_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Told(&'static str, #[source] Option<Box<Told>>);
        let table: [(&[&'static str], &str); 10] = [
            (
                &["cannot reach h (refused by peer), giving up", "refused by peer"],
                "cannot reach h (refused by peer), giving up",
            ),
            (&["read: a: b", "open: a", "b"], "read: a: b: open"),
            (&["a", "read: a", "b"], "a: read: b"),
            (&["a"], "a"),
            (&["a", "b"], "a: b"),
            (&["b: c", "c"], "b: c"),
            (
                &["reach it: client error: refused", "client error: refused", "refused"],
                "reach it: client error: refused",
            ),
            // What one error says twice itself is its own affair.
            (&["x: x", "y"], "x: x: y"),
            (&["write the status"], "write the status"),
            (
                &["write the status", "no answer: refused", "refused", "os error 111"],
                "write the status: no answer: refused: os error 111",
            ),
        ];
        for (chain, expected) in table {
            let error = chain.iter().rev().fold(None, |cause, text| Some(Box::new(Told(text, cause))));
            assert_eq!(causes(error.expect("an error").as_ref()), expected);
        }
    }

    #[test]
    fn panic_is_quoted_only_where_it_says_nothing_but_what_the_source_says() {
        let said = |of: fn()| constant_words(std::panic::catch_unwind(of).unwrap_err().as_ref());
        assert_eq!(said(|| panic!("constant")), Some("constant"));
        assert_eq!(said(|| panic!("{}", "1000.canary".repeat(2))), None);
        assert_eq!(said(|| assert_eq!("1000.canary".parse::<u8>().expect("a number"), 0)), None, "an error quotes");
        assert_eq!(said(|| std::panic::panic_any(7)), None);
    }

    #[test]
    fn text_is_cut_where_it_is_longer_than_it_may_be() {
        assert_eq!(printable("abcd", 4), "abcd");
        assert_eq!(printable("abcde", 4), "abc…");
        assert_eq!(printable("ab\u{1b}", 4), "ab\\…", "by what is shown");
        assert_eq!(printable(&"ü".repeat(1_000_000), 3), "üü…");
    }

    proptest! {
        #[test]
        fn nothing_comes_through_that_is_not_plain(text in ".*|\\PC*", longest in 1..300_usize) {
            let shown = printable(&text, longest);
            prop_assert!(shown.chars().all(is_plain) && shown.chars().count() <= longest);
            prop_assert_eq!(printable(&shown, longest), shown.clone(), "what is plain stays as it is");
            prop_assert!(printable_lines(&text).split('\n').all(|line| line.chars().all(is_plain)));
        }

    }

    #[test]
    fn no_character_of_the_sets_is_plain() {
        let sets = ['\0'..='\u{1f}', '\u{7f}'..='\u{9f}', '\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}'];
        let further = ['\u{2060}'..='\u{2069}', '\u{feff}'..='\u{feff}', '\u{61c}'..='\u{61c}'];
        let wrong: Vec<char> = sets.into_iter().chain(further).flatten().filter(|c| is_plain(*c)).collect();
        assert_eq!(wrong, Vec::<char>::new());
    }
}
