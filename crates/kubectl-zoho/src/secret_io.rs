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

use super::args::PrintSecret;
use super::output::Output;
use super::usage;
use zoho_api::SecretRef;
use zoho_core::secret::RefreshGrant;

/// Longest value that is taken, in bytes; the operator takes no longer ones from a Secret.
const LONGEST: usize = 4096;

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
    checked(what, &line).map(str::to_owned)
}

/// Asks for a secret: at a prompt that shows nothing, or as one line of standard input.
///
/// # Errors
///
/// Nothing was entered, or something that is no such value.
pub(crate) fn ask_secret(what: &str) -> anyhow::Result<SecretString> {
    let line = if io::stdin().is_terminal() {
        let prompt = format!("{} (not shown): ", capitalised(what));
        Zeroizing::new(rpassword::prompt_password(prompt).with_context(|| format!("read the {what}"))?)
    } else {
        line_of_stdin(what)?
    };
    checked(what, &line).map(SecretString::from)
}

/// Reads a secret from a file.
///
/// # Errors
///
/// The file cannot be read, or holds no such value.
pub(crate) fn read_secret(what: &str, path: &Path) -> anyhow::Result<SecretString> {
    let text = fs::read_to_string(path).with_context(|| format!("read the {what} from {}", path.display()))?;
    checked(what, &Zeroizing::new(text)).map(SecretString::from)
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

/// The value without the white space around it, if it can be one.
fn checked<'a>(what: &str, text: &'a str) -> anyhow::Result<&'a str> {
    let text = text.trim();
    if text.is_empty() {
        return Err(usage(format!("no {what} was given")));
    }
    if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(usage(format!("that is no {what}: want one word of printable ASCII")));
    }
    Ok(text)
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

/// The values of a source Secret, by the keys that the credential names.
fn values(grant: &RefreshGrant, reference: &SecretRef) -> Vec<(String, Zeroizing<String>)> {
    let pair = |key: &str, value: &SecretString| (key.to_owned(), Zeroizing::new(value.expose_secret().to_owned()));
    let mut values = vec![
        pair(reference.client_id_key(), &grant.client_id),
        pair(reference.client_secret_key(), &grant.client_secret),
        pair(reference.refresh_token_key(), &grant.refresh_token),
    ];
    values.extend(grant.redirect_uri.as_ref().map(|uri| pair(reference.redirect_uri_key(), uri)));
    values
}

/// The source Secret as it is applied, without its metadata.
///
/// In `data`: the API server forgets who owns what came as `stringData`, and would keep keys that are left out later.
pub(crate) fn source_data(grant: &RefreshGrant, reference: &SecretRef) -> BTreeMap<String, ByteString> {
    values(grant, reference).into_iter().map(|(key, value)| (key, ByteString(value.as_bytes().to_vec()))).collect()
}

/// Prints the values of a source Secret as one JSON object, or the Secret as a manifest.
///
/// # Errors
///
/// They could not be written.
pub(crate) fn print_source(
    output: &Output,
    grant: &RefreshGrant,
    reference: &SecretRef,
    namespace: Option<&str>,
    form: PrintSecret,
) -> anyhow::Result<()> {
    let values: Map<String, Value> =
        values(grant, reference).into_iter().map(|(key, value)| (key, json!(value.as_str()))).collect();
    let text = Zeroizing::new(match form {
        PrintSecret::Json => serde_json::to_string(&values)? + "\n",
        PrintSecret::Manifest => {
            let mut metadata = json!({ "name": reference.name });
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
        assert_eq!(checked("code", " 1000.a \n").unwrap(), "1000.a");
        for wrong in ["", "  \n", "a b", "caf\u{e9}", &"x".repeat(4097)] {
            assert!(checked("code", wrong).is_err(), "{wrong}");
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
