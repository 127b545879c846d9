//! The one place of the plugin that takes secrets in and lets them out.
//!
//! In: prompts that show nothing, standard input, files; never arguments, never the environment. Out: the source Secret
//! as it is applied, and what `token` and `login --print-secret` were asked to print. So of the whole program three files
//! open secrets: this one, `secret.rs` and `mint/transport.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::ByteString;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::args::{Form, PrintSecret};
use super::get;
use super::login::consent;
use super::login::wanted::Wanted;
use super::output::Output;
use super::usage;
use zoho_api::{SecretRef, keys};
use zoho_core::issuer::reply;
use zoho_core::secret::values::{self, Kind};
use zoho_core::secret::{ClientGrant, RefreshGrant};

/// Asks for a value that may be seen: at a prompt, or as one line of standard input.
///
/// # Errors
///
/// Nothing was entered, or something that is no such value.
pub(crate) fn ask(what: &str) -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "{}: ", capitalised(what));
        let _ = stderr.flush();
    }
    let line = line_of_stdin(what)?;
    checked(what, Kind::ClientId, &line).map(str::to_owned)
}

/// The value of a flag that may be seen, checked like one that was asked for.
///
/// # Errors
///
/// It is no such value.
pub(crate) fn given(what: &str, value: &str) -> anyhow::Result<String> {
    checked(what, Kind::ClientId, value).map(str::to_owned)
}

/// Asks for a code. The whole address that the browser was sent to is as good, since the code stands in it.
///
/// # Errors
///
/// Nothing was entered, something that is no code, or an address that brings word of a refusal.
pub(crate) fn ask_code() -> anyhow::Result<PastedCode> {
    let line = secret_line("code")?;
    let pasted = consent::read_pasted(unwrapped(&line)).map_err(usage)?;
    let code = checked("code", Kind::ClientSecret, &pasted.code).map(SecretString::from)?;
    Ok(PastedCode { code, redirect_uri: pasted.redirect_uri, home: pasted.home })
}

/// A code, and what stood around it.
pub(crate) struct PastedCode {
    /// The code.
    pub code: SecretString,
    /// The address that it was sent to, where it was pasted with it.
    pub redirect_uri: Option<String>,
    /// Where it is to be exchanged, if the address says so.
    pub home: Option<consent::Home>,
}

/// Asks for a secret: at a prompt that shows nothing, or as one line of standard input.
///
/// # Errors
///
/// Nothing was entered, or something that is no such value.
pub(crate) fn ask_secret(what: &str) -> anyhow::Result<SecretString> {
    let line = secret_line(what)?;
    checked(what, Kind::ClientSecret, &line).map(SecretString::from)
}

fn secret_line(what: &str) -> anyhow::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        return line_of_stdin(what);
    }
    let prompt = format!("{} (not shown): ", capitalised(what));
    Ok(Zeroizing::new(rpassword::prompt_password(prompt).with_context(|| format!("read the {what}"))?))
}

/// Reads a secret from a file.
///
/// # Errors
///
/// The file cannot be read, or holds no such value.
pub(crate) fn read_secret(what: &str, path: &Path) -> anyhow::Result<SecretString> {
    let text = fs::read_to_string(path).with_context(|| format!("read the {what} from {}", path.display()))?;
    checked(what, Kind::ClientSecret, &Zeroizing::new(text)).map(SecretString::from)
}

fn capitalised(what: &str) -> String {
    let mut letters = what.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn line_of_stdin(what: &str) -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().read_line(&mut line).with_context(|| format!("read the {what}"))?;
    Ok(line)
}

/// A value without what is around it when it is copied: white space, a byte order mark, quotes.
fn unwrapped(text: &str) -> &str {
    let around = |c: char| c.is_whitespace() || "\u{feff}\"'`\u{201c}\u{201d}\u{2018}\u{2019}".contains(c);
    text.trim_matches(around)
}

/// The value without what is around it, if it can be one: by the rules that the operator has for a source.
fn checked<'a>(what: &str, kind: Kind, text: &'a str) -> anyhow::Result<&'a str> {
    let text = unwrapped(text);
    if text.is_empty() {
        return Err(usage(format!("no {what} was given")));
    }
    match values::checked(text.as_bytes(), kind) {
        Ok(_) => Ok(text),
        Err(wrong) => Err(usage(format!("that is not a {what}: it {wrong}"))),
    }
}

/// A PKCE verifier and its S256 challenge (RFC 7636).
pub(crate) fn new_verifier() -> (SecretString, String) {
    let verifier = Zeroizing::new(random());
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    (SecretString::from(verifier.as_str()), challenge)
}

/// 256 random bits as text.
pub(crate) fn random() -> String {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *bytes).expect("the system has a random number generator");
    URL_SAFE_NO_PAD.encode(*bytes)
}

/// Is a value of a source this one, but for white space around it?
pub(crate) fn is_same(stored: &SecretString, value: &str) -> bool {
    stored.expose_secret().trim() == value
}

/// What a login brings.
pub(crate) trait SourceValues {
    /// The values of a source Secret, by the keys that the credential names.
    fn values(&self, reference: &SecretRef) -> Vec<(String, Zeroizing<String>)>;
}

impl SourceValues for RefreshGrant {
    fn values(&self, reference: &SecretRef) -> Vec<(String, Zeroizing<String>)> {
        let mut values = vec![
            pair(reference.client_id_key(), &self.client_id),
            pair(reference.client_secret_key(), &self.client_secret),
            pair(reference.refresh_token_key(), &self.refresh_token),
        ];
        values.extend(self.redirect_uri.as_ref().map(|uri| pair(reference.redirect_uri_key(), uri)));
        values
    }
}

impl SourceValues for ClientGrant {
    fn values(&self, reference: &SecretRef) -> Vec<(String, Zeroizing<String>)> {
        vec![pair(reference.client_id_key(), &self.client_id), pair(reference.client_secret_key(), &self.client_secret)]
    }
}

fn pair(key: &str, value: &SecretString) -> (String, Zeroizing<String>) {
    (key.to_owned(), Zeroizing::new(value.expose_secret().to_owned()))
}

/// Refuses to print secrets where they would be seen.
///
/// # Errors
///
/// Standard output is a terminal.
pub(crate) fn refuse_terminal(output: &Output) -> anyhow::Result<()> {
    if output.is_terminal() {
        return Err(usage(
            "--print-secret prints secrets: pipe it into the program that stores them, not to a terminal",
        ));
    }
    Ok(())
}

/// The source Secret as it is written, without its metadata. In `data`: a merge patch of `stringData` takes no key away.
pub(crate) fn source_data(grant: &impl SourceValues, reference: &SecretRef) -> BTreeMap<String, ByteString> {
    grant.values(reference).into_iter().map(|(key, value)| (key, ByteString(value.as_bytes().to_vec()))).collect()
}

/// Prints the values of a source Secret as one JSON object, or the Secret as a manifest.
///
/// # Errors
///
/// They could not be written.
pub(crate) fn print_source(
    output: &Output,
    grant: &impl SourceValues,
    wanted: &Wanted,
    namespace: Option<&str>,
    form: PrintSecret,
) -> anyhow::Result<()> {
    let reference = &wanted.reference;
    let values: Map<String, Value> =
        grant.values(reference).into_iter().map(|(key, value)| (key, json!(value.as_str()))).collect();
    let text = Zeroizing::new(match form {
        PrintSecret::Json => serde_json::to_string(&values)? + "\n",
        PrintSecret::Manifest => {
            let mut metadata = json!({ "name": reference.name, "annotations": { (keys::SOURCE_FOR): wanted.name } });
            if let Some(namespace) = namespace {
                metadata["namespace"] = json!(namespace);
            }
            let manifest = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": values,
            });
            serde_saphyr::to_string(&manifest)?
        }
    });
    output.secret_result(text.as_bytes()).context("print the secrets")
}

/// Can it be a token, by the rule that the operator has for one that comes? Who may write the Secret may have put there what a
/// terminal obeys, or further headers.
pub(crate) fn is_token(token: &SecretString) -> bool {
    reply::is_token(token.expose_secret())
}

/// Prints an access token, or the header that carries it.
///
/// # Errors
///
/// It could not be written.
pub(crate) fn print_token(output: &Output, token: &SecretString, header_scheme: Option<&str>) -> anyhow::Result<()> {
    let token = token.expose_secret();
    let line = Zeroizing::new(match header_scheme {
        Some("") => format!("Authorization: {token}\n"),
        Some(scheme) => format!("Authorization: {scheme} {token}\n"),
        None => format!("{token}\n"),
    });
    output.secret_result(line.as_bytes()).context("print the token")
}

/// Writes the token to standard output, beside what is known of it, for programs.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn print_token_with(
    output: &Output,
    token: &SecretString,
    mut about: Value,
    form: Form,
) -> anyhow::Result<()> {
    about["accessToken"] = token.expose_secret().into();
    let text = Zeroizing::new(get::print(form, &about)? + "\n");
    output.secret_result(text.as_bytes()).context("print the token")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(redirect_uri: Option<&str>) -> RefreshGrant {
        RefreshGrant {
            client_id: SecretString::from("id"),
            client_secret: SecretString::from("secret"),
            refresh_token: SecretString::from("refresh"),
            redirect_uri: redirect_uri.map(SecretString::from),
        }
    }

    #[test]
    fn source_has_the_keys_that_the_credential_names() {
        let reference = SecretRef { name: "s".into(), refresh_token_key: Some("rt".into()), ..SecretRef::default() };
        let text = |redirect_uri| {
            let data = source_data(&grant(redirect_uri), &reference);
            let text = |ByteString(bytes): ByteString| String::from_utf8(bytes).unwrap();
            data.into_iter().map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(None), "client_id=id client_secret=secret rt=refresh");
        assert_eq!(text(Some("http://l")), "client_id=id client_secret=secret redirect_uri=http://l rt=refresh");
    }

    #[test]
    fn values_are_one_word() {
        for copied in [" 1000.a \n", "\"1000.a\"", "'1000.a'", "\u{201c}1000.a\u{201d}", "\u{feff}1000.a\r\n"] {
            assert_eq!(checked("code", Kind::ClientSecret, copied).unwrap(), "1000.a", "{copied}");
        }
        for wrong in ["", "  \n", "\"\"", "a b", "caf\u{e9}", "replace-with-your-client-id", &"x".repeat(4097)] {
            assert!(checked("code", Kind::ClientId, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn token_is_one_word_that_no_terminal_obeys() {
        let is_token = |text: &str| is_token(&SecretString::from(text));
        assert!(is_token("1000.0123456789abcdef.fedcba-_~!"));
        for planted in
            ["", "1000.a\u{1b}]52;c;x\u{7}", "1000.a\r\nX-Evil: 1", "1000.a b", "1000.a\n", "1000.\u{202e}a", "\u{7f}"]
        {
            assert!(!is_token(planted), "{planted:?}");
        }
    }

    #[test]
    fn two_verifiers_differ_and_have_the_length_that_is_wanted() {
        let (one, challenge) = new_verifier();
        let (other, _) = new_verifier();
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert_eq!((one.expose_secret().len(), challenge.len()), (43, 43));
    }
}
