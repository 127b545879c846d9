//! Values of a source Secret that cannot be right, and those that are odd. Pure.
//!
//! One place for both programs: what the operator refuses before it sends anything, `kubectl zoho doctor` names with the
//! same words. Nothing here ever tells a value, only what is wrong with it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use zoho_api::SecretRef;

/// Longest value that is taken from a source Secret, in bytes.
pub const LONGEST_VALUE: usize = 4096;
/// What Zoho's client ids, codes and tokens begin with.
const MARK: &[u8] = b"1000.";
/// How often something may have been encoded. Each time makes a third more of it.
const ENCODINGS: usize = 3;
/// What stands in the examples in place of a value.
const PLACEHOLDER: &[u8] = b"replace-with-";
/// What stands before a token in a header.
const SCHEMES: [&str; 4] = ["zoho-oauthtoken ", "bearer ", "basic ", "authorization:"];

/// What the values of a source are used for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A refresh at Zoho's token service.
    Refresh,
    /// A client's own request at Zoho's token service.
    Client,
    /// A login on a server.
    Login,
}

/// What a value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OAuth client id.
    ClientId,
    /// OAuth client secret.
    ClientSecret,
    /// Refresh token.
    RefreshToken,
    /// Redirect URI of a server-based client.
    RedirectUri,
    /// Name of an account.
    Username,
    /// Its password, which may hold anything that can be typed.
    Password,
    /// Seed of one-time passwords, which is checked on its own.
    Seed,
}

impl Kind {
    /// What the value under a key is for. A key that the credential does not name is nobody's: anything may stand there.
    pub fn of(key: &str, reference: &SecretRef, grant: Grant) -> Option<Self> {
        Self::keys(reference, grant).into_iter().find_map(|(name, kind)| (name == key).then_some(kind))
    }

    /// The keys that a source may have, and what for.
    pub fn keys(reference: &SecretRef, grant: Grant) -> Vec<(&str, Self)> {
        match grant {
            Grant::Refresh => vec![
                (reference.client_id_key(), Self::ClientId),
                (reference.client_secret_key(), Self::ClientSecret),
                (reference.refresh_token_key(), Self::RefreshToken),
                (reference.redirect_uri_key(), Self::RedirectUri),
            ],
            Grant::Client => {
                vec![(reference.client_id_key(), Self::ClientId), (reference.client_secret_key(), Self::ClientSecret)]
            }
            Grant::Login => vec![
                (reference.username_key(), Self::Username),
                (reference.password_key(), Self::Password),
                (reference.totp_secret_key(), Self::Seed),
            ],
        }
    }

    /// Field of `spec.secretRef` that names its key.
    pub fn field(self) -> &'static str {
        match self {
            Self::ClientId => "clientIdKey",
            Self::ClientSecret => "clientSecretKey",
            Self::RefreshToken => "refreshTokenKey",
            Self::RedirectUri => "redirectUriKey",
            Self::Username => "usernameKey",
            Self::Password => "passwordKey",
            Self::Seed => "totpSecretKey",
        }
    }

    /// Is it one word, by OAuth's rules or Zoho's?
    fn is_one_word(self) -> bool {
        matches!(self, Self::ClientId | Self::ClientSecret | Self::RefreshToken | Self::RedirectUri)
    }

    fn begins_with_mark(self) -> bool {
        matches!(self, Self::ClientId | Self::RefreshToken)
    }
}

/// The value without the white space around it: secrets made with `echo` end in a newline.
///
/// # Errors
///
/// Why it cannot be right, to be put after "key x".
pub fn checked(bytes: &[u8], kind: Kind) -> Result<&[u8], &'static str> {
    let value = bytes.trim_ascii();
    match flaw(value, kind) {
        Some(flaw) => Err(flaw),
        None => Ok(value),
    }
}

fn flaw(value: &[u8], kind: Kind) -> Option<&'static str> {
    let text = String::from_utf8_lossy(value);
    if value.is_empty() {
        return Some("is empty");
    }
    if value.len() > LONGEST_VALUE {
        return Some("is longer than 4 KiB");
    }
    if value.starts_with(b"\xff\xfe") || value.starts_with(b"\xfe\xff") {
        return Some("is UTF-16: save the file as UTF-8, or better as ASCII");
    }
    if text.starts_with('\u{feff}') {
        return Some("begins with a byte order mark: save the file without it");
    }
    if value.starts_with(PLACEHOLDER) || is_between(&text, '<', '>') {
        return Some("is the placeholder of an example: replace it with the real value");
    }
    if kind != Kind::Password && is_quoted(&text) {
        return Some("is in quotes: store it without them");
    }
    if let Some(flaw) = flaw_of_word(value, &text).filter(|_| kind.is_one_word()) {
        return Some(flaw);
    }
    (!value.iter().all(|byte| (b' '..=b'~').contains(byte)))
        .then_some("contains a character that is not printable ASCII")
}

fn flaw_of_word(value: &[u8], text: &str) -> Option<&'static str> {
    let small = text.to_ascii_lowercase();
    if SCHEMES.iter().any(|scheme| small.starts_with(scheme)) {
        return Some("begins with a word of a header, such as Zoho-oauthtoken: store only the value");
    }
    if is_between(text, '{', '}') {
        return Some("is JSON: store each of its values under a separate key");
    }
    if is_encoded(value) {
        return Some("is base64 of the real value: kubectl create secret already encodes it");
    }
    text.contains(char::is_whitespace).then_some("contains white space: it was damaged when it was copied")
}

fn is_between(text: &str, first: char, last: char) -> bool {
    text.len() > 1 && text.starts_with(first) && text.ends_with(last)
}

fn is_quoted(text: &str) -> bool {
    let pairs = [
        ('"', '"'),
        ('\'', '\''),
        ('`', '`'),
        ('\u{201c}', '\u{201d}'),
        ('\u{2018}', '\u{2019}'),
        ('\u{201e}', '\u{201c}'),
    ];
    pairs.iter().any(|(first, last)| is_between(text, *first, *last))
}

/// Is it base64, however often, of something that begins as Zoho's values do?
fn is_encoded(value: &[u8]) -> bool {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engines = [&alphabet::STANDARD, &alphabet::URL_SAFE].map(|alphabet| GeneralPurpose::new(alphabet, config));
    let mut inner = zeroize::Zeroizing::new(value.to_vec());
    for _ in 0..ENCODINGS {
        inner.retain(|byte| !byte.is_ascii_whitespace());
        let Some(decoded) = engines.iter().find_map(|engine| engine.decode(&*inner).ok()) else { return false };
        inner = zeroize::Zeroizing::new(decoded);
        let plain = inner.trim_ascii_start();
        if plain.strip_prefix(b"\"").unwrap_or(plain).starts_with(MARK) {
            return true;
        }
    }
    false
}

/// What is odd about a value that [lacks the mark](lacks_mark), to be put after "key x".
pub const WITHOUT_MARK: &str = "does not begin with 1000., as Zoho's do: is it the right value?";

/// Does it lack what Zoho's client ids and refresh tokens begin with? It may be right all the same.
pub fn lacks_mark(bytes: &[u8], kind: Kind) -> bool {
    kind.begins_with_mark() && !bytes.trim_ascii().starts_with(MARK)
}

/// What is odd about a value that may be right all the same, to be put after "key x".
pub fn oddity(bytes: &[u8], kind: Kind) -> Option<&'static str> {
    let value = bytes.trim_ascii();
    if lacks_mark(value, kind) {
        return Some(WITHOUT_MARK);
    }
    if kind == Kind::Password && is_quoted(&String::from_utf8_lossy(value)) {
        return Some("is in quotes, which are sent as part of the password: is that intended?");
    }
    (value.len() < bytes.len())
        .then_some("has white space around it, such as the newline of echo; the operator removes it")
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn what_cannot_be_right_is_named() {
        let once = STANDARD.encode("1000.b.c\n");
        let twice = STANDARD.encode(&once);
        let wrapped = format!("{}\n{}", &once[..4], &once[4..]);
        let table: [(&str, &str); 22] = [
            (" \n", "is empty"),
            ("\"1000.b\"", "is in quotes"),
            ("'1000.b'\n", "is in quotes"),
            ("\u{201c}1000.b\u{201d}", "is in quotes"),
            ("1000.b c", "contains white space"),
            ("1000.b\n1000.c", "contains white space"),
            ("1000.b\tc", "contains white space"),
            ("1000.b\u{a0}c", "contains white space"),
            ("Zoho-oauthtoken 1000.b", "begins with a word of a header"),
            ("zoho-OAuthToken 1000.b", "begins with a word of a header"),
            ("Bearer 1000.b", "begins with a word of a header"),
            ("Authorization: x", "begins with a word of a header"),
            ("\u{feff}1000.b", "begins with a byte order mark"),
            ("replace-with-your-refresh-token", "is the placeholder"),
            ("<refresh token>", "is the placeholder"),
            ("{\"refresh_token\":\"1000.b\"}", "is JSON"),
            ("1000.b\u{200b}", "contains a character that is not printable ASCII"),
            ("1000.\u{7f}b", "contains a character that is not printable ASCII"),
            (&once, "is base64"),
            (&twice, "is base64"),
            (&wrapped, "is base64"),
            (once.trim_end_matches('='), "is base64"),
        ];
        for (value, expected) in table {
            for kind in [Kind::RefreshToken, Kind::ClientSecret] {
                let wrong = checked(value.as_bytes(), kind).unwrap_err();
                assert!(wrong.starts_with(expected), "{value:?}: {wrong}");
            }
        }
        let utf16: Vec<u8> = "\u{feff}1000.b".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(checked(&utf16, Kind::ClientId).unwrap_err().starts_with("is UTF-16"));
        assert!(checked(&[b'x'; 4097], Kind::Password).unwrap_err().starts_with("is longer"));
    }

    #[test]
    fn what_may_be_right_passes() {
        let table = [
            (Kind::RefreshToken, "1000.0a.b-c_d~\n", "1000.0a.b-c_d~"),
            (Kind::RefreshToken, "without-the-mark", "without-the-mark"),
            (Kind::ClientSecret, "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"),
            (Kind::RedirectUri, "https://corp.example/a?b=c", "https://corp.example/a?b=c"),
            (Kind::Username, "Jane Doe", "Jane Doe"),
            (Kind::Password, "\"a b\" {x} Bearer y", "\"a b\" {x} Bearer y"),
            (Kind::Password, "'quoted'", "'quoted'"),
            (Kind::Seed, "ABCD EFGH", "ABCD EFGH"),
        ];
        for (kind, value, expected) in table {
            assert_eq!(checked(value.as_bytes(), kind), Ok(expected.as_bytes()), "{value}");
        }
        for kind in [Kind::Username, Kind::Password, Kind::Seed] {
            assert!(checked(b"replace-with-the-password", kind).is_err(), "{kind:?}");
            assert!(checked("\u{feff}x".as_bytes(), kind).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn oddities_are_told_and_do_no_harm() {
        let table = [
            (Kind::RefreshToken, "1000.b", None),
            (Kind::RefreshToken, "b", Some("does not begin with 1000.")),
            (Kind::ClientId, "1000.A\n", Some("has white space around it")),
            (Kind::ClientSecret, "abc", None),
            (Kind::Password, "'abc'", Some("is in quotes, which are sent")),
        ];
        for (kind, value, expected) in table {
            let odd = oddity(value.as_bytes(), kind);
            assert_eq!(odd.is_some(), expected.is_some(), "{value}");
            assert!(odd.is_none_or(|odd| odd.starts_with(expected.unwrap_or_default())), "{value}: {odd:?}");
        }
    }

    #[test]
    fn kind_follows_the_keys_that_the_credential_names() {
        let reference = SecretRef { refresh_token_key: Some("rt".into()), ..SecretRef::default() };
        assert_eq!(Kind::of("rt", &reference, Grant::Refresh), Some(Kind::RefreshToken));
        assert_eq!(Kind::of("client_secret", &reference, Grant::Refresh), Some(Kind::ClientSecret));
        assert_eq!(Kind::of("refresh_token", &reference, Grant::Refresh), None);
        assert_eq!(Kind::of("password", &reference, Grant::Login), Some(Kind::Password));
        assert_eq!(Kind::of("totp_secret", &reference, Grant::Login), Some(Kind::Seed));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(value in proptest::collection::vec(0u8.., 0..100)) {
            let _ = checked(&value, Kind::RefreshToken);
            let _ = oddity(&value, Kind::Password);
        }
    }
}
