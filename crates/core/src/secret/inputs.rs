//! What is read from a source Secret: the inputs of each grant, trimmed and checked, and their keyed hashes.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};
use totp_rs::{Algorithm, Builder, Totp};

use super::values::{Kind, checked};
use super::{HashKey, hex};
use crate::issuer::client_credentials::Asked;
use crate::plan::Defect;
use zoho_api::names::{InputsDigest, LedgerName};
use zoho_api::{Reason, SecretRef};

/// What a refresh needs from the source Secret (RFC 6749 section 6, with the client's credentials in the body).
#[derive(Clone, Debug)]
pub struct RefreshGrant {
    /// OAuth client id.
    pub client_id: SecretString,
    /// OAuth client secret.
    pub client_secret: SecretString,
    /// The long-lived refresh token.
    pub refresh_token: SecretString,
    /// Sent only when the Secret has it (server-based clients).
    pub redirect_uri: Option<SecretString>,
}

impl RefreshGrant {
    /// Takes the inputs from a source Secret; white space around a value is dropped, since secrets made with `echo` end
    /// in a newline.
    ///
    /// # Errors
    ///
    /// `SourceSecretInvalid` with the key and what is wrong with it: missing, or a value that cannot be right; see
    /// [`super::values`].
    pub fn from_secret(secret: &Secret, reference: &SecretRef, namespace: &str) -> Result<Self, Defect> {
        let source = Source { secret, namespace, name: &reference.name };
        Ok(Self {
            client_id: source.required(reference.client_id_key(), Kind::ClientId)?,
            client_secret: source.required(reference.client_secret_key(), Kind::ClientSecret)?,
            refresh_token: source.required(reference.refresh_token_key(), Kind::RefreshToken)?,
            redirect_uri: source.take(reference.redirect_uri_key(), Kind::RedirectUri)?,
        })
    }

    /// Name of the ledger: the refresh token alone, since that is what Zoho counts by. Not the host: a data center has
    /// aliases.
    pub fn ledger_name(&self, key: &HashKey) -> LedgerName {
        hex(&key.digest("oauth", &[self.refresh_token.expose_secret().as_bytes()])[..16]).into()
    }

    /// Keyed hash of everything that is sent, and where.
    pub fn inputs(&self, key: &HashKey, token_url: &str) -> InputsDigest {
        let redirect_uri = self.redirect_uri.as_ref().map_or("", ExposeSecret::expose_secret);
        key.hash(
            "oauth inputs",
            &[
                token_url.as_bytes(),
                self.client_id.expose_secret().as_bytes(),
                self.client_secret.expose_secret().as_bytes(),
                self.refresh_token.expose_secret().as_bytes(),
                redirect_uri.as_bytes(),
            ],
        )
        .into()
    }
}

/// What a client needs to ask for a token in its own name (RFC 6749 section 4.4).
#[derive(Clone, Debug)]
pub struct ClientGrant {
    /// OAuth client id.
    pub client_id: SecretString,
    /// OAuth client secret.
    pub client_secret: SecretString,
    /// What for.
    pub asked: Asked,
}

impl ClientGrant {
    /// Takes the client from a source Secret, as [`RefreshGrant::from_secret`] does. Other keys are nobody's.
    ///
    /// # Errors
    ///
    /// `SourceSecretInvalid`, as there.
    pub fn from_secret(secret: &Secret, reference: &SecretRef, namespace: &str, asked: Asked) -> Result<Self, Defect> {
        let source = Source { secret, namespace, name: &reference.name };
        Ok(Self {
            client_id: source.required(reference.client_id_key(), Kind::ClientId)?,
            client_secret: source.required(reference.client_secret_key(), Kind::ClientSecret)?,
            asked,
        })
    }

    /// Name of the ledger: the client and what it asks for, never its secret, since the name is public.
    pub fn ledger_name(&self, key: &HashKey) -> LedgerName {
        hex(&key.digest("client", &self.parts(&[]))[..16]).into()
    }

    /// Keyed hash of everything that is sent, and where.
    pub fn inputs(&self, key: &HashKey, token_url: &str) -> InputsDigest {
        let secret = self.client_secret.expose_secret();
        key.hash("client inputs", &self.parts(&[token_url.as_bytes(), secret.as_bytes()])).into()
    }

    /// The scopes come last: there may be any number of them.
    fn parts<'a>(&'a self, more: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let soid = self.asked.soid.as_deref().unwrap_or_default();
        let first = [self.client_id.expose_secret().as_bytes(), soid.as_bytes()];
        let scopes = self.asked.scopes.iter().map(String::as_bytes);
        more.iter().copied().chain(first).chain(scopes).collect()
    }
}

/// What a login on a server needs from the source Secret.
#[derive(Clone, Debug)]
pub struct LoginGrant {
    /// Name of the account.
    pub username: SecretString,
    /// Its password.
    pub password: SecretString,
    /// Seed of its one-time passwords in base32 (RFC 6238), where the Secret has one.
    totp_secret: Option<SecretString>,
}

impl LoginGrant {
    /// Takes the inputs from a source Secret; white space around a value is dropped, and within a seed too, since people
    /// see it in groups of four.
    ///
    /// # Errors
    ///
    /// `SourceSecretInvalid` as for [`RefreshGrant::from_secret`], and for a seed that is not base32.
    pub fn from_secret(secret: &Secret, reference: &SecretRef, namespace: &str) -> Result<Self, Defect> {
        let source = Source { secret, namespace, name: &reference.name };
        let grant = Self {
            username: source.required(reference.username_key(), Kind::Username)?,
            password: source.required(reference.password_key(), Kind::Password)?,
            totp_secret: source.take(reference.totp_secret_key(), Kind::Seed)?.map(|seed| compact(&seed)),
        };
        match &grant.totp_secret {
            Some(_) if grant.totp().is_none() => {
                let key = reference.totp_secret_key();
                Err(source
                    .invalid(&format!("has a key {key} that is not a seed in base32 (the letters A to Z and 2 to 7)")))
            }
            _ => Ok(grant),
        }
    }

    /// Name of the ledger: the account, never the password, since the name is public. `account` says where it is. Servers
    /// take a name in any case for the same account, and lock that one: so the spellings of it share a ledger.
    pub fn ledger_name(&self, key: &HashKey, account: &[&str]) -> LedgerName {
        let parts = self.parts(account, &[]).into_iter().map(|part| String::from_utf8_lossy(part).to_lowercase());
        let parts: Vec<String> = parts.collect();
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        hex(&key.digest("login", &parts)[..16]).into()
    }

    /// Keyed hash of everything that is sent, and where.
    pub fn inputs(&self, key: &HashKey, account: &[&str]) -> InputsDigest {
        let seed = self.totp_secret.as_ref().map_or("", ExposeSecret::expose_secret);
        key.hash("login inputs", &self.parts(account, &[self.password.expose_secret().as_bytes(), seed.as_bytes()]))
            .into()
    }

    fn parts<'a>(&'a self, account: &[&'a str], more: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let account = account.iter().map(|part| part.as_bytes());
        account.chain([self.username.expose_secret().as_bytes()]).chain(more.iter().copied()).collect()
    }

    /// The one-time password of the step that `unix` seconds fall into (RFC 6238: SHA-1, 6 digits, 30 s); `None` without
    /// a seed.
    pub fn one_time_password(&self, unix: u64) -> Option<SecretString> {
        Some(SecretString::from(self.totp()?.generate(unix).to_string()))
    }

    /// Can it answer when the server asks for a one-time password?
    pub fn has_seed(&self) -> bool {
        self.totp_secret.is_some()
    }

    fn totp(&self) -> Option<Totp> {
        let seed = totp_rs::Secret::try_from_base32(self.totp_secret.as_ref()?.expose_secret()).ok()?;
        if seed.as_bytes().is_empty() {
            return None;
        }
        // Servers hand out seeds that are shorter than the RFC wants.
        Some(Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6).with_secret(seed).build_noncompliant())
    }
}

/// A seed without white space and padding, in capitals.
fn compact(seed: &SecretString) -> SecretString {
    let seed = seed.expose_secret().chars().filter(|c| !c.is_ascii_whitespace() && *c != '=' && *c != '-');
    SecretString::from(seed.collect::<String>().to_ascii_uppercase())
}

/// A source Secret and its name.
struct Source<'a> {
    secret: &'a Secret,
    namespace: &'a str,
    name: &'a str,
}

impl Source<'_> {
    fn invalid(&self, what: &str) -> Defect {
        let message = format!(
            "Secret {}/{} {what}. Correct it; the operator then continues by itself.",
            self.namespace, self.name
        );
        Defect { reason: Reason::SourceSecretInvalid, message, again_at: None }
    }

    fn required(&self, key: &str, kind: Kind) -> Result<SecretString, Defect> {
        // Not which keys it has: who reads this may have no right to look into the Secret.
        let field = kind.field();
        let missing = || self.invalid(&format!("has no key {key} (spec.secretRef.{field} may name another one)"));
        self.take(key, kind)?.ok_or_else(missing)
    }

    fn take(&self, key: &str, kind: Kind) -> Result<Option<SecretString>, Defect> {
        let Some(ByteString(bytes)) = self.secret.data.as_ref().and_then(|data| data.get(key)) else { return Ok(None) };
        match checked(bytes, kind) {
            Ok(value) => {
                let text = String::from_utf8(value.to_vec()).expect("printable ASCII is UTF-8");
                Ok(Some(SecretString::from(text)))
            }
            Err(wrong) => Err(self.invalid(&format!("has a key {key} that {wrong}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HashKey {
        HashKey::new(&[7; 32]).unwrap()
    }

    fn source(pairs: &[(&str, &[u8])]) -> Secret {
        let data = pairs.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec()))).collect();
        Secret { data: Some(data), ..Secret::default() }
    }

    fn reference() -> SecretRef {
        SecretRef { name: "zoho-oauth".into(), ..SecretRef::default() }
    }

    fn complete() -> [(&'static str, &'static [u8]); 3] {
        [("client_id", b"1000.ID"), ("client_secret", b"s3cret"), ("refresh_token", b"1000.r.t")]
    }

    #[test]
    fn white_space_around_a_value_is_dropped() {
        let mut pairs = complete();
        pairs[1].1 = b" s3cret\n";
        let grant = RefreshGrant::from_secret(&source(&pairs), &reference(), "ns").unwrap();
        assert_eq!(grant.client_secret.expose_secret(), "s3cret");
    }

    #[test]
    fn each_defect_of_a_source_is_named_with_its_key() {
        let long = vec![b'x'; 4097];
        let table: [(&str, &[u8], &str); 4] = [
            ("empty", b" \n", "has a key refresh_token that is empty"),
            (
                "not ASCII",
                "tökén".as_bytes(),
                "has a key refresh_token that contains a character that is not printable ASCII",
            ),
            (
                "control character",
                b"a\0b",
                "has a key refresh_token that contains a character that is not printable ASCII",
            ),
            ("too long", &long, "has a key refresh_token that is longer than 4 KiB"),
        ];
        for (name, value, expected) in table {
            let mut pairs = complete();
            pairs[2].1 = value;
            let defect = RefreshGrant::from_secret(&source(&pairs), &reference(), "ns").unwrap_err();
            assert_eq!(defect.reason, Reason::SourceSecretInvalid, "{name}");
            assert!(defect.message.contains(expected), "{name}: {}", defect.message);
            assert!(!defect.message.contains("s3cret"));
        }
        let missing = RefreshGrant::from_secret(&source(&complete()[..2]), &reference(), "ns").unwrap_err();
        assert_eq!(
            missing.message,
            "Secret ns/zoho-oauth has no key refresh_token (spec.secretRef.refreshTokenKey may name another one). Correct it; the operator then continues by itself."
        );
    }

    #[test]
    fn ledger_follows_the_refresh_token_and_inputs_follow_everything_sent() {
        let grant = RefreshGrant::from_secret(&source(&complete()), &reference(), "ns").unwrap();
        let mut other = complete();
        other[1].1 = b"another";
        let other = RefreshGrant::from_secret(&source(&other), &reference(), "ns").unwrap();
        assert_eq!(grant.ledger_name(&key()), other.ledger_name(&key()));
        assert_ne!(grant.inputs(&key(), "https://accounts.zoho.eu"), other.inputs(&key(), "https://accounts.zoho.eu"));
        assert_ne!(grant.inputs(&key(), "https://accounts.zoho.eu"), grant.inputs(&key(), "https://accounts.zoho.com"));
        assert_eq!(grant.ledger_name(&key()).as_str().len(), 32);
    }

    fn login(seed: &str) -> Result<LoginGrant, Defect> {
        let pairs: [(&str, &[u8]); 3] =
            [("username", b"api"), ("password", b"s3cret"), ("totp_secret", seed.as_bytes())];
        LoginGrant::from_secret(&source(&pairs), &reference(), "ns")
    }

    #[test]
    fn one_time_passwords_are_those_of_rfc_6238() {
        // Appendix B, SHA-1, of which six digits are the last ones. The seed is 12345678901234567890.
        let grant = login("GEZD GNBV GY3T QOJQ gezd gnbv gy3t qojq").unwrap();
        let vectors = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ];
        for (unix, expected) in vectors {
            assert_eq!(grant.one_time_password(unix).unwrap().expose_secret(), expected, "{unix}");
        }
        assert_eq!(grant.one_time_password(30).unwrap().expose_secret(), "287082", "a step is 30 s");
        assert_ne!(grant.one_time_password(29).unwrap().expose_secret(), "287082");
    }

    #[test]
    fn seed_that_is_none_is_named() {
        for seed in ["0189", "=", "a\u{7f}"] {
            let defect = login(seed).unwrap_err();
            assert!(defect.message.contains("totp_secret"), "{seed}: {}", defect.message);
        }
        assert!(login("JBSWY3DPEHPK3PXP").is_ok(), "ten bytes, as many servers hand out");
    }

    fn client(secret: &'static [u8], scopes: &[&str], soid: Option<&str>) -> ClientGrant {
        let asked = Asked { scopes: scopes.iter().map(|&scope| scope.into()).collect(), soid: soid.map(str::to_owned) };
        let pairs: [(&str, &[u8]); 2] = [("client_id", b"1000.ID"), ("client_secret", secret)];
        ClientGrant::from_secret(&source(&pairs), &reference(), "ns", asked).unwrap()
    }

    #[test]
    fn ledger_of_a_client_follows_what_it_asks_for_and_not_its_secret() {
        let one = client(b"one", &["A.b.READ", "A.c.READ"], Some("A.7"));
        let other = client(b"other", &["A.b.READ", "A.c.READ"], Some("A.7"));
        assert_eq!(one.ledger_name(&key()), other.ledger_name(&key()));
        assert_ne!(one.inputs(&key(), "https://a"), other.inputs(&key(), "https://a"));
        assert_ne!(one.inputs(&key(), "https://a"), one.inputs(&key(), "https://b"));
        for (scopes, soid) in [
            (&["A.b.READ"][..], Some("A.7")),
            (&["A.b.READ", "A.c.READ"], Some("A.8")),
            (&["A.b.READ", "A.c.READ"], None),
        ] {
            let another = client(b"one", scopes, soid);
            assert_ne!(one.ledger_name(&key()), another.ledger_name(&key()), "{scopes:?} {soid:?}");
            assert_ne!(one.inputs(&key(), "https://a"), another.inputs(&key(), "https://a"), "{scopes:?} {soid:?}");
        }
        let text = format!("{one:?}");
        assert!(!text.contains("1000.ID") && !text.contains("one\""), "{text}");
    }

    #[test]
    fn client_grant_needs_no_refresh_token() {
        let asked = Asked { scopes: vec!["A.b.READ".into()], soid: None };
        let defect = ClientGrant::from_secret(&source(&complete()[1..]), &reference(), "ns", asked).unwrap_err();
        assert!(defect.message.contains("has no key client_id"), "{}", defect.message);
    }

    #[test]
    fn ledger_of_a_login_follows_the_account_and_not_its_password() {
        let grant = |password: &'static [u8]| {
            let pairs: [(&str, &[u8]); 2] = [("username", b"api"), ("password", password)];
            LoginGrant::from_secret(&source(&pairs), &reference(), "ns").unwrap()
        };
        let (one, other) = (grant(b"one"), grant(b"other"));
        let account = ["https://ec.corp.example:8383", "Local", ""];
        assert_eq!(one.ledger_name(&key(), &account), other.ledger_name(&key(), &account));
        assert_ne!(one.inputs(&key(), &account), other.inputs(&key(), &account));
        let elsewhere = ["https://ec.corp.example:8384", "Local", ""];
        assert_ne!(one.ledger_name(&key(), &account), one.ledger_name(&key(), &elsewhere));
        let text = format!("{one:?}");
        assert!(!text.contains("one\"") && !text.contains("api"), "{text}");
    }

    #[test]
    fn spellings_of_an_account_share_its_ledger_and_not_its_token() {
        let grant = |username: &'static str| {
            let pairs: [(&str, &[u8]); 2] = [("username", username.as_bytes()), ("password", b"one")];
            LoginGrant::from_secret(&source(&pairs), &reference(), "ns").unwrap()
        };
        let [written, shouted] = [(grant("svc-patch"), "corp"), (grant("SVC-Patch"), "CORP")];
        let account = |domain: &'static str| ["https://ec.corp.example:8383", "ad", domain];
        let name = |(grant, domain): &(LoginGrant, &'static str)| grant.ledger_name(&key(), &account(domain));
        assert_eq!(name(&written), name(&shouted));
        assert_ne!(name(&written), name(&(grant("svc-patch2"), "corp")));
        let inputs = |(grant, domain): &(LoginGrant, &'static str)| grant.inputs(&key(), &account(domain));
        assert_ne!(inputs(&written), inputs(&shouted));
    }

    #[test]
    fn debug_output_holds_no_secret_byte() {
        let text = format!("{:?}", RefreshGrant::from_secret(&source(&complete()), &reference(), "ns").unwrap());
        for secret in ["1000.ID", "s3cret", "1000.r.t"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
