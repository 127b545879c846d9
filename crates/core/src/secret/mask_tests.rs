//! Whoever quotes a Secret, and however: its token does not come through.

use std::fmt::Write as _;

use proptest::prelude::*;
use zoho_api::keys;

use super::*;

const TOKEN: &str = "1000.0123456789abcdef0123456789abcdef.fedcba9876543210fedcba9876543210";

/// A Secret with these values; `at`: where its token stands, as its annotation says.
fn secret(values: &[(&str, &str)], at: Option<&str>) -> Secret {
    let data = values.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect();
    let mut secret = Secret { data: Some(data), ..Secret::default() };
    secret.metadata.annotations = at.map(|at| [(keys::TOKEN_AT.to_owned(), at.to_owned())].into());
    secret
}

fn target(token: &str) -> Secret {
    let authorization = format!("Zoho-oauthtoken {token}");
    let values =
        [("access_token", token), ("authorization", &authorization), ("api_url", "https://patch.manageengine.eu")];
    secret(&values, Some(&format!("access_token/0/{}", token.len())))
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = if byte.is_ascii_alphanumeric() { write!(out, "{}", byte as char) } else { write!(out, "%{byte:02X}") };
        out
    })
}

/// As Go writes JSON.
fn json(text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Base64 of a token and what stands around it, and the characters in it that tell of the token alone.
fn base64(before: &str, token: &str, after: &str) -> (String, String) {
    let encoded = STANDARD.encode(format!("{before}{token}{after}"));
    let bits = |bytes: usize| bytes * 8;
    let (first, last) = (bits(before.len()).div_ceil(6), bits(before.len() + token.len()) / 6);
    let part = encoded[first..last].to_owned();
    (encoded, part)
}

/// Every way to quote a token: its name, what stands in the words, and which part of that is the token.
fn quotings(token: &str) -> Vec<(&'static str, String, String)> {
    let row = |how, (quoted, part): (String, String)| (how, quoted, part);
    let same = |text: String| (text.clone(), text);
    let header = format!("Zoho-oauthtoken {token}");
    let (alone, part) = base64("", token, "");
    let for_urls = |text: String| text.replace('+', "-").replace('/', "_");
    vec![
        row("plain", same(token.into())),
        row("header", (header.clone(), token.into())),
        row("base64", base64("", token, "")),
        row("base64 of the header", base64("Zoho-oauthtoken ", token, "")),
        row("base64 of another header", base64("Authorization: Bearer ", token, "\n")),
        row("base64 of something shifted by two", base64("xy", token, "z")),
        row("base64 for URLs", same(for_urls(base64("", token, "").1))),
        row("hexadecimal", same(hex(token.as_bytes()))),
        row("hexadecimal capitals", same(hex(token.as_bytes()).to_ascii_uppercase())),
        row("JSON", (json(&header), token.into())),
        row("base64 in JSON", (format!(r#"{{"data":{{"access_token":"{alone}"}}}}"#), part)),
        row("percent-encoded", (percent(&header), token.into())),
        row(
            "bytes as Go prints them",
            (format!("map[access_token:{}]", listed(token, |byte| byte.to_string(), " ")), token.into()),
        ),
        row("bytes as Go writes them", (listed(token, |byte| format!("0x{byte:x}"), ", "), token.into())),
        row("hexadecimal with blanks", (listed(token, |byte| format!("{byte:02X}"), " "), token.into())),
    ]
}

fn listed(text: &str, number: impl Fn(u8) -> String, between: &str) -> String {
    format!("[{}]", text.bytes().map(number).collect::<Vec<_>>().join(between))
}

/// Every 8 characters in a row.
fn runs(text: &str) -> Vec<&[u8]> {
    text.as_bytes().windows(WINDOW).collect()
}

fn holds_run_of(words: &str, text: &str) -> bool {
    let numbers = [10, 16].into_iter().flat_map(|base| numbers(words, base));
    let views: Vec<View> = [plain(words), decoded(words)].into_iter().chain(numbers).collect();
    runs(text).iter().any(|run| views.iter().any(|view| view.bytes.windows(WINDOW).any(|part| part == *run)))
}

#[test]
fn words_that_quote_nothing_stay_as_they_are() {
    let words = "admission webhook \"w\" denied the request: Secret ns/one-token must have a label team (100%)";
    assert_eq!(without_values(words, &[&target(TOKEN)]), words);
    assert_eq!(without_values(words, &[]), words);
    let cut = format!("nothing of 7 characters: {}.", &TOKEN[5..12]);
    assert_eq!(without_values(&cut, &[&target(TOKEN)]), cut);
}

#[test]
fn zeros_in_a_value_mask_no_words() {
    let binary = secret(&[("keystore", "\0\0\0\0\0\0\0\0\0\0")], None);
    let words = "a policy says no to this Secret, since it has no label team; ask the platform team for one";
    assert_eq!(without_values(words, &[&binary]), words);
    assert_eq!(without_values("bytes [0 0 0 0 0 0 0 0 0 0]", &[&binary]), "bytes [***");
}

#[test]
fn what_stands_around_a_quoted_token_stays() {
    for (how, quoted, _) in quotings(TOKEN).into_iter().filter(|(how, ..)| ["plain", "base64"].contains(how)) {
        let words = format!("denied: access_token is {quoted}, which is too long");
        let shown = without_values(&words, &[&target(TOKEN)]);
        assert_eq!(shown, "denied: access_token is ***, which is too long", "{how}");
    }
}

#[test]
fn token_that_was_broken_by_control_characters_is_masked_before_they_go() {
    let broken: Vec<String> =
        TOKEN.as_bytes().chunks(5).map(|part| String::from_utf8(part.to_vec()).unwrap()).collect();
    assert_eq!(without_values(&broken.join("\n"), &[&target(TOKEN)]), "***");
}

#[test]
fn whole_values_are_masked_too_and_parts_of_them_are_not() {
    let shown = without_values("bad https://patch.manageengine.eu, not https://patch.corp", &[&target(TOKEN)]);
    assert_eq!(shown, "bad ***, not https://patch.corp");
    let encoded = STANDARD.encode("https://patch.manageengine.eu");
    assert_eq!(without_values(&format!("bad {encoded}"), &[&target(TOKEN)]), "bad ***");
}

#[test]
fn of_a_secret_whose_token_is_not_known_every_part_is_masked() {
    for at in [None, Some(""), Some("other/0/10"), Some("password/0/0")] {
        let foreign = secret(&[("password", "correct horse battery staple")], at);
        assert_eq!(without_values("it is horse battery, really", &[&foreign]), "it is***, really", "{at:?}");
    }
}

#[test]
fn token_of_what_stood_there_before_is_masked_beside_the_new_one() {
    let (before, wanted) = (target("1000.before.before.before"), target(TOKEN));
    let words = format!("{TOKEN} replaces 1000.before.before.before");
    assert_eq!(without_values(&words, &[&wanted, &before]), "*** replaces ***");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_token_comes_through_however_it_is_quoted(
        token in "[!-~]{8,90}",
        before in "[ -~]{0,20}",
        after in "[ -~]{0,20}",
        cut in 0..200_usize,
    ) {
        let target = target(&token);
        for (how, quoted, part) in quotings(&token) {
            let words = format!("{before}{quoted}{after}");
            // Also words that somebody else has shortened, at either end.
            let (head, tail) = words.split_at(cut.min(words.len()));
            for words in [&words, head, tail] {
                let shown = without_values(words, &[&target]);
                prop_assert!(!holds_run_of(&shown, &part), "{how}: {shown}");
            }
        }
    }

    #[test]
    fn any_words_are_taken(words in any::<String>(), token in "[!-~]{1,90}") {
        let shown = without_values(&words, &[&target(&token)]);
        prop_assert!(!shown.contains(char::is_control));
        prop_assert!(shown.len() <= words.len().max(3) * 3);
    }
}

#[test]
fn what_would_be_too_much_to_search_is_left_out() {
    let noise = |length: usize| "a value that is nobody's business ".chars().cycle().take(length).collect::<String>();
    let (small, parts, whole) = (noise(1000), noise(MOST_IN_PARTS + 1), noise(MOST_WHOLE + 1));
    let quoted = without_values("a policy says no", &[&secret(&[("note", &small)], None)]);
    assert_eq!(quoted, "a policy says no");
    for unsearched in [secret(&[("note", &parts)], None), secret(&[("note", &whole)], Some("note/0/9"))] {
        assert_eq!(without_values("a policy says no", &[&target(TOKEN), &unsearched]), LEFT_OUT);
    }
    assert_eq!(without_values(&noise(MOST_WORDS + 1), &[&target(TOKEN)]), LEFT_OUT);
}

#[test]
fn each_place_of_the_words_is_hidden_once_whatever_repeats_itself() {
    assert_eq!(covered(&[4, 4, 4, 0, 0, 0, 0, 2, 0]), [0..4, 4..5, 5..6, 7..9]);
    let repeated = "a".repeat(1000);
    let secret = secret(&[("one", &repeated), ("other", &repeated[..900])], Some("access_token/0/9"));
    assert_eq!(without_values(&format!("no: {} aaaaaaa", "a".repeat(5000)), &[&secret]), "no: *** aaaaaaa");
}
