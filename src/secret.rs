//! Secret bytes: the inputs read from a source Secret, the minted token, and the target Secret made from it.
//!
//! Pure. Besides `mint/transport.rs` the only module that exposes secret bytes; everyone else holds them in types whose
//! `Debug` is redacted and which are wiped on drop, or knows them by keyed hashes only.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use hmac::{Hmac, Mac};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::api::{Reason, SecretRef, Target, Time, ZohoCredential, keys};
use crate::plan::Defect;
use crate::plan::renewal::Life;
use crate::template::{self, Values};

/// Longest value that is taken from a source Secret, in bytes.
const LONGEST_INPUT: usize = 4096;

/// The key of every hash that leaves the process. Made once for an installation; see `hash_key.rs`.
#[derive(Clone)]
pub struct HashKey {
    id: String,
    key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashKey({})", self.id)
    }
}

impl HashKey {
    /// Bytes of a usable key.
    pub const BYTES: usize = 32;

    /// The key, or `None` when it has not 32 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::BYTES {
            return None;
        }
        let mut key = Self { id: String::new(), key: Zeroizing::new(bytes.to_vec()) };
        key.id = hex(&key.digest("key id", &[])[..4]);
        Some(key)
    }

    /// Names the key without telling it; every hash starts with it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// HMAC-SHA256 over the purpose and the parts, each with its length before it.
    fn digest(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn hash(&self, purpose: &str, parts: &[&[u8]]) -> String {
        format!("{}.{}", self.id, hex(&self.digest(purpose, parts)[..16]))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

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
    /// `SourceSecretInvalid` with the key and what is wrong with it: missing, empty, not printable ASCII, or longer than
    /// 4 KiB.
    pub fn from_secret(secret: &Secret, reference: &SecretRef, namespace: &str) -> Result<Self, Defect> {
        let take = |key: &str| take(secret, key, namespace, &reference.name);
        let required = |key: &str| {
            take(key)?.ok_or_else(|| {
                invalid(namespace, &reference.name, &format!("has no key {key}; it has {}", listed_keys(secret)))
            })
        };
        Ok(Self {
            client_id: required(reference.client_id_key())?,
            client_secret: required(reference.client_secret_key())?,
            refresh_token: required(reference.refresh_token_key())?,
            redirect_uri: take(reference.redirect_uri_key())?,
        })
    }

    /// Name of the ledger: the refresh token alone, since that is what Zoho counts by. Not the host: a data center has
    /// aliases.
    pub fn ledger_name(&self, key: &HashKey) -> String {
        hex(&key.digest("oauth", &[self.refresh_token.expose_secret().as_bytes()])[..16])
    }

    /// Keyed hash of everything that is sent, and where.
    pub fn inputs(&self, key: &HashKey, token_url: &str) -> String {
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
    }
}

fn invalid(namespace: &str, name: &str, what: &str) -> Defect {
    let message = format!("Secret {namespace}/{name} {what}. Correct it; the operator goes on by itself.");
    Defect { reason: Reason::SourceSecretInvalid, message, again_at: None }
}

/// Names of keys are no secrets; they tell a person at once where the typing error is.
fn listed_keys(secret: &Secret) -> String {
    let keys: Vec<&str> = secret.data.iter().flatten().map(|(key, _)| key.as_str()).take(8).collect();
    if keys.is_empty() { "none".into() } else { keys.join(", ") }
}

fn take(secret: &Secret, key: &str, namespace: &str, name: &str) -> Result<Option<SecretString>, Defect> {
    let Some(ByteString(bytes)) = secret.data.as_ref().and_then(|data| data.get(key)) else { return Ok(None) };
    let bytes = bytes.trim_ascii();
    let wrong = if bytes.is_empty() {
        "is empty"
    } else if bytes.len() > LONGEST_INPUT {
        "is longer than 4 KiB"
    } else if !bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        "holds a character that is not printable ASCII"
    } else {
        let text = String::from_utf8(bytes.to_vec()).expect("printable ASCII is UTF-8");
        return Ok(Some(SecretString::from(text)));
    };
    Err(invalid(namespace, name, &format!("has a key {key} that {wrong}")))
}

/// An access token and what is known of it.
#[derive(Clone, Debug)]
pub struct MintedToken {
    /// The token.
    pub access_token: SecretString,
    /// When it was asked for and when it dies.
    pub life: Life,
    /// `https://` and a host of the data center, if Zoho named one.
    pub api_domain: Option<String>,
    /// Keyed hash of what it was minted from.
    pub inputs: String,
    /// Id of the ledger entry it was minted under.
    pub attempt: String,
}

/// The record of a token as it stands in the annotations of a target. Trusted only together with the seal, or where the
/// version of the Secret is one that was verified before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When the token was asked for and when it dies.
    pub life: Life,
    /// Keyed hash of what it was minted from.
    pub inputs: String,
    /// Id of the ledger entry it was minted under.
    pub attempt: String,
}

impl Stamp {
    /// Reads the annotations of a target; `None` when one of them is missing or unreadable.
    pub fn read(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let time = |key| annotations.get(key)?.parse::<Time>().ok();
        Some(Self {
            life: Life { issued_at: time(keys::ISSUED_AT)?, expires_at: time(keys::EXPIRES_AT)? },
            inputs: annotations.get(keys::MINTED_FROM)?.clone(),
            attempt: annotations.get(keys::ATTEMPT)?.clone(),
        })
    }
}

/// Keyed hash of the token and its whole record, bound to the object it was written for.
fn seal(token: &MintedToken, credential: &ZohoCredential, key: &HashKey) -> String {
    let meta = &credential.metadata;
    let parts = [
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
        &token.life.issued_at.to_string(),
        &token.life.expires_at.to_string(),
        &token.inputs,
        &token.attempt,
        token.api_domain.as_deref().unwrap_or_default(),
        token.access_token.expose_secret(),
    ];
    key.hash("seal", &parts.map(str::as_bytes))
}

/// The target Secret that `credential` asks for, with this token: name, labels, annotations, owner and data.
///
/// `labels` are those of the installation; `api_url` is the product's base URL.
///
/// # Errors
///
/// `TemplateFailed`, where the spec did not pass [`template::check`].
pub fn render_target(
    credential: &ZohoCredential,
    token: &MintedToken,
    api_url: Option<&str>,
    labels: &BTreeMap<String, String>,
    key: &HashKey,
) -> Result<Secret, Defect> {
    let spec = credential.spec.target.clone().unwrap_or_default();
    let meta = &credential.metadata;
    let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());

    let data = data(&spec, token, api_url)?;
    let mut all_labels = labels.clone();
    all_labels.extend(spec.labels);
    all_labels.extend([
        own(keys::MANAGED_BY, "zoho-operator"),
        own(keys::CREDENTIAL_UID, meta.uid.as_deref().unwrap_or_default()),
    ]);
    let mut annotations = BTreeMap::from([own(keys::RELOADER_IGNORE, "true")]);
    annotations.extend(spec.annotations);
    annotations.extend([
        own(keys::CREDENTIAL, meta.name.as_deref().unwrap_or_default()),
        own(keys::ISSUED_AT, &token.life.issued_at.to_string()),
        own(keys::EXPIRES_AT, &token.life.expires_at.to_string()),
        own(keys::MINTED_FROM, &token.inputs),
        own(keys::ATTEMPT, &token.attempt),
        // Written also when empty: a patch would leave a former value where it is.
        own(keys::API_DOMAIN, token.api_domain.as_deref().unwrap_or_default()),
        own(keys::TOKEN_AT, &place_of(token, &data)),
        own(keys::SEAL, &seal(token, credential, key)),
    ]);
    let mut owner = credential.controller_owner_ref(&());
    if let Some(owner) = &mut owner {
        // Deleting the credential must never wait for the Secret.
        owner.block_owner_deletion = Some(false);
    }
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(credential.target_name()),
            namespace: meta.namespace.clone(),
            labels: Some(all_labels),
            annotations: Some(annotations),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        data: Some(data),
        ..Secret::default()
    })
}

/// Default keys, unless they are not wanted, and templates, which add to them or override them.
fn data(spec: &Target, token: &MintedToken, api_url: Option<&str>) -> Result<BTreeMap<String, ByteString>, Defect> {
    let access_token = token.access_token.expose_secret();
    let authorization = Zeroizing::new(format!("Zoho-oauthtoken {access_token}"));
    let expires_at = token.life.expires_at.to_string();
    let values = Values {
        access_token,
        authorization: &authorization,
        expires_at: &expires_at,
        api_domain: token.api_domain.as_deref().unwrap_or_default(),
        api_url: api_url.unwrap_or_default(),
    };
    let mut data = BTreeMap::new();
    if spec.include_default_keys != Some(false) {
        let present = values.named().filter(|(_, value)| !value.is_empty());
        data.extend(present.map(|(key, value)| (key.to_owned(), ByteString(value.into()))));
    }
    let rendered = template::render(&spec.data, &values)?;
    data.extend(rendered.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))));
    Ok(data)
}

/// Where the token stands in the data, so that it can be taken back out of whatever the templates make of it. Empty when
/// it stands nowhere.
fn place_of(token: &MintedToken, data: &BTreeMap<String, ByteString>) -> String {
    let token = token.access_token.expose_secret().as_bytes();
    let place = |(key, ByteString(value)): (&String, &ByteString)| {
        let first = value.windows(token.len().max(1)).position(|part| part == token)?;
        Some(format!("{key}/{first}/{}", token.len()))
    };
    data.iter().find_map(place).unwrap_or_default()
}

/// What stands at such a place; `None` when there is no such place.
fn token_at(place: &str, data: &BTreeMap<String, ByteString>) -> Option<SecretString> {
    let (key, span) = place.split_once('/')?;
    let (first, length) = span.split_once('/')?;
    let (first, length) = (first.parse::<usize>().ok()?, length.parse::<usize>().ok()?);
    let bytes = data.get(key)?.0.get(first..first.checked_add(length)?)?;
    Some(SecretString::from(std::str::from_utf8(bytes).ok()?))
}

/// Takes the token back out of a target that was written for `credential`, whatever its templates were.
///
/// `None` when the record or the token was edited: the seal tells. A token that someone planted is never taken for ours.
pub fn recover(target: &Secret, credential: &ZohoCredential, key: &HashKey) -> Option<MintedToken> {
    let annotations = target.metadata.annotations.as_ref()?;
    let stamp = Stamp::read(annotations)?;
    let token = MintedToken {
        access_token: token_at(annotations.get(keys::TOKEN_AT)?, target.data.as_ref()?)?,
        life: stamp.life,
        api_domain: annotations.get(keys::API_DOMAIN).filter(|domain| !domain.is_empty()).cloned(),
        inputs: stamp.inputs,
        attempt: stamp.attempt,
    };
    (annotations.get(keys::SEAL)? == &seal(&token, credential, key)).then_some(token)
}

/// Is everything that is ours in `target` as in `wanted`? Foreign labels and annotations may stand beside it, foreign
/// data may not.
pub fn is_intact(target: &Secret, wanted: &Secret) -> bool {
    let includes = |has: &Option<BTreeMap<String, String>>, wants: &Option<BTreeMap<String, String>>| {
        wants.iter().flatten().all(|(key, value)| has.as_ref().and_then(|has| has.get(key)) == Some(value))
    };
    includes(&target.metadata.labels, &wanted.metadata.labels)
        && includes(&target.metadata.annotations, &wanted.metadata.annotations)
        && target.metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true))
        && target.data == wanted.data
}

/// A token of the size and shape of a real one that works nowhere, for dry runs.
pub fn dummy_token(now: Time) -> MintedToken {
    MintedToken {
        access_token: SecretString::from(format!("1000.{}.{}", "0".repeat(32), "0".repeat(32))),
        life: Life { issued_at: now, expires_at: now },
        api_domain: Some("https://www.zohoapis.com".into()),
        inputs: String::new(),
        attempt: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::{DataCenter, ZohoCredentialSpec};

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

    fn credential() -> ZohoCredential {
        let spec = ZohoCredentialSpec {
            data_center: Some(DataCenter::EU),
            accounts_host: None,
            endpoint_central_server: None,
            secret_ref: reference(),
            product: None,
            api_url: None,
            target: None,
            renew_before: None,
            renew_every: None,
            verify: None,
            suspend: false,
        };
        let mut credential = ZohoCredential::new("patch", spec);
        credential.metadata.namespace = Some("patching".into());
        credential.metadata.uid = Some("uid-1".into());
        credential
    }

    fn token() -> MintedToken {
        MintedToken {
            access_token: SecretString::from("1000.aa.bb"),
            life: Life { issued_at: Time::UNIX_EPOCH, expires_at: Time::UNIX_EPOCH + Duration::from_secs(3600) },
            api_domain: Some("https://www.zohoapis.eu".into()),
            inputs: "k.1".into(),
            attempt: "a1".into(),
        }
    }

    fn target() -> Secret {
        target_of(&credential())
    }

    fn target_of(credential: &ZohoCredential) -> Secret {
        let api_url = Some("https://patch.manageengine.eu");
        render_target(credential, &token(), api_url, &BTreeMap::new(), &key()).unwrap()
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
                "has a key refresh_token that holds a character that is not printable ASCII",
            ),
            (
                "control character",
                b"a\0b",
                "has a key refresh_token that holds a character that is not printable ASCII",
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
        assert!(
            missing.message.contains("has no key refresh_token; it has client_id, client_secret"),
            "{}",
            missing.message
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
        assert_eq!(grant.ledger_name(&key()).len(), 32);
    }

    #[test]
    fn parts_of_a_hash_cannot_slide_into_each_other() {
        assert_ne!(key().hash("p", &[b"ab", b"c"]), key().hash("p", &[b"a", b"bc"]));
    }

    #[test]
    fn token_comes_back_out_of_its_target() {
        let recovered = recover(&target(), &credential(), &key()).unwrap();
        assert_eq!(recovered.access_token.expose_secret(), "1000.aa.bb");
        assert_eq!(recovered.life, token().life);
        assert!(is_intact(&target(), &target()));
    }

    #[test]
    fn edited_token_or_record_is_not_taken_for_ours() {
        let mut planted = target();
        planted.data.as_mut().unwrap().insert("access_token".into(), ByteString(b"1000.evil".to_vec()));
        assert!(recover(&planted, &credential(), &key()).is_none());
        for annotation in [
            keys::EXPIRES_AT,
            keys::ISSUED_AT,
            keys::MINTED_FROM,
            keys::ATTEMPT,
            keys::API_DOMAIN,
            keys::TOKEN_AT,
            keys::SEAL,
        ] {
            let mut edited = target();
            edited.metadata.annotations.as_mut().unwrap().insert(annotation.into(), "2030-01-01T00:00:00Z".into());
            assert!(recover(&edited, &credential(), &key()).is_none(), "{annotation}");
        }
        assert!(recover(&target(), &credential(), &HashKey::new(&[8; 32]).unwrap()).is_none(), "another key");
    }

    fn with_templates(include_default_keys: Option<bool>, templates: &[(&str, &str)]) -> ZohoCredential {
        let data = templates.iter().map(|(key, source)| ((*key).to_owned(), (*source).to_owned())).collect();
        let mut credential = credential();
        credential.spec.target = Some(Target { data, include_default_keys, ..Target::default() });
        credential
    }

    #[test]
    fn token_comes_back_out_of_whatever_templates_make_of_it() {
        let table = [
            (with_templates(None, &[("access_token", "Bearer {{ access_token }}")]), "access_token/7/10"),
            (
                with_templates(None, &[("access_token", "x"), ("authorization", "y"), ("z", "{{ access_token }}")]),
                "z/0/10",
            ),
            (with_templates(Some(false), &[("h.conf", "\n{{ api_url }}\n{{ authorization }}\n")]), "h.conf/47/10"),
        ];
        for (credential, place) in table {
            let target = target_of(&credential);
            assert_eq!(target.metadata.annotations.as_ref().unwrap()[keys::TOKEN_AT], place);
            let recovered = recover(&target, &credential, &key()).unwrap();
            assert_eq!(recovered.access_token.expose_secret(), "1000.aa.bb");
            assert_eq!(recovered.api_domain, token().api_domain);
            // Also by a spec with other templates: a changed template and a rename cost no mint.
            assert!(recover(&target, &with_templates(None, &[]), &key()).is_some());
        }
    }

    #[test]
    fn strange_places_hold_no_token() {
        let data = target().data.unwrap();
        let max = usize::MAX;
        for place in ["", "access_token", "access_token/0", "access_token/1/10", "access_token/x/1", "other/0/1"] {
            assert!(token_at(place, &data).is_none(), "{place}");
        }
        assert!(token_at(&format!("access_token/{max}/{max}"), &data).is_none());
        assert!(token_at("access_token/0/10", &data).is_some());
    }

    #[test]
    fn templates_add_to_the_default_keys_or_override_them_or_stand_alone() {
        let texts = |credential: &ZohoCredential| -> Vec<(String, String)> {
            let data = target_of(credential).data.unwrap();
            data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect()
        };
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let templates = [("authorization", "Bearer {{ access_token }}"), ("more", "{{ api_domain }}\n")];
        assert_eq!(
            texts(&with_templates(None, &templates)),
            owned(&[
                ("access_token", "1000.aa.bb"),
                ("api_domain", "https://www.zohoapis.eu"),
                ("api_url", "https://patch.manageengine.eu"),
                ("authorization", "Bearer 1000.aa.bb"),
                ("expires_at", "1970-01-01T01:00:00Z"),
                ("more", "https://www.zohoapis.eu\n"),
            ])
        );
        assert_eq!(
            texts(&with_templates(Some(false), &templates)),
            owned(&[("authorization", "Bearer 1000.aa.bb"), ("more", "https://www.zohoapis.eu\n")])
        );
    }

    #[test]
    fn edited_or_foreign_or_outdated_data_is_not_intact() {
        let credential = with_templates(Some(false), &[("k", "a {{ access_token }} b")]);
        for (key, value) in [("k", "a 1000.aa.bb c"), ("extra", "x")] {
            let mut edited = target_of(&credential);
            edited.data.as_mut().unwrap().insert(key.into(), ByteString(value.into()));
            assert!(!is_intact(&edited, &target_of(&credential)), "{key}");
        }
        let changed = with_templates(Some(false), &[("k", "{{ access_token }}")]);
        assert!(!is_intact(&target_of(&credential), &target_of(&changed)));
    }

    #[test]
    fn foreign_metadata_may_stay_and_foreign_data_may_not() {
        let mut touched = target();
        touched.metadata.labels.as_mut().unwrap().insert("team".into(), "a".into());
        assert!(is_intact(&touched, &target()));
        touched.data.as_mut().unwrap().insert("extra".into(), ByteString(vec![]));
        assert!(!is_intact(&touched, &target()));
    }

    #[test]
    fn default_keys_are_exactly_these() {
        let data = target().data.unwrap();
        let text: Vec<(String, String)> =
            data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect();
        let expected = [
            ("access_token", "1000.aa.bb"),
            ("api_domain", "https://www.zohoapis.eu"),
            ("api_url", "https://patch.manageengine.eu"),
            ("authorization", "Zoho-oauthtoken 1000.aa.bb"),
            ("expires_at", "1970-01-01T01:00:00Z"),
        ];
        assert_eq!(text, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn debug_output_holds_no_secret_byte() {
        let grant = RefreshGrant::from_secret(&source(&complete()), &reference(), "ns").unwrap();
        let text = format!("{grant:?} {:?} {:?}", token(), key());
        for secret in ["1000.ID", "s3cret", "1000.r.t", "1000.aa.bb"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
