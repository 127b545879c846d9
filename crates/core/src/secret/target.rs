//! The target Secret: made from a token, and the token taken back out of it.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{HashKey, MintedToken, Stamp};
use crate::plan::Defect;
use crate::plan::renewal::Life;
use crate::template::{self, Values};
use zoho_api::names::{AttemptId, InputsDigest};
use zoho_api::{Target, Time, ZohoCredential, keys};

/// How a token is presented to workloads.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// What stands before the token in an `Authorization` header, with the space after it.
    pub scheme: &'a str,
    /// Did the issuer say when the token dies? Else there is no `expires_at`.
    pub has_expiry: bool,
    /// The product's base URL.
    pub api_url: Option<&'a str>,
}

impl fmt::Display for Form<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}{}", self.scheme, self.api_url.unwrap_or_default());
        f.write_str(text.trim_end())
    }
}

/// Is the token in the target presented for another host, or by another scheme? `false` where nothing says how it is.
pub fn is_presented_otherwise(target: &Secret, form: Form<'_>) -> bool {
    let presented = target.metadata.annotations.as_ref().and_then(|annotations| annotations.get(keys::PRESENTED_AS));
    presented.is_some_and(|presented| *presented != form.to_string())
}

/// Keyed hash of the token and its whole record, bound to the object it was written for.
fn seal(token: &MintedToken, credential: &ZohoCredential, key: &HashKey) -> String {
    let meta = &credential.metadata;
    let parts = [
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
        &token.life.issued_at.to_string(),
        &token.life.expires_at.to_string(),
        token.inputs.as_str(),
        token.attempt.as_str(),
        token.api_domain.as_deref().unwrap_or_default(),
        token.access_token.expose_secret(),
    ];
    key.hash("seal", &parts.map(str::as_bytes))
}

/// The target Secret that `credential` asks for, with this token: name, labels, annotations, owner and data.
///
/// `labels` are those of the installation.
///
/// # Errors
///
/// `TemplateFailed`, where the spec did not pass [`template::check`].
pub fn render_target(
    credential: &ZohoCredential,
    token: &MintedToken,
    form: Form<'_>,
    labels: &BTreeMap<String, String>,
    key: &HashKey,
) -> Result<Secret, Defect> {
    let spec = credential.spec.target.clone().unwrap_or_default();
    let meta = &credential.metadata;
    let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());

    let data = data(&spec, token, form)?;
    let mut all_labels = labels.clone();
    all_labels.extend(spec.labels);
    let chosen = chosen_metadata(&all_labels, &spec.annotations);
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
        own(keys::MINTED_FROM, token.inputs.as_str()),
        own(keys::ATTEMPT, token.attempt.as_str()),
        // Written also when empty: a patch would leave a former value where it is.
        own(keys::API_DOMAIN, token.api_domain.as_deref().unwrap_or_default()),
        own(keys::TOKEN_AT, &place_of(token, &data)),
        own(keys::PRESENTED_AS, &form.to_string()),
        own(keys::SEAL, &seal(token, credential, key)),
    ]);
    if !chosen.is_empty() {
        annotations.extend([own(keys::CHOSEN_METADATA, &chosen)]);
    }
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
fn data(spec: &Target, token: &MintedToken, form: Form<'_>) -> Result<BTreeMap<String, ByteString>, Defect> {
    let access_token = token.access_token.expose_secret();
    let authorization = Zeroizing::new(format!("{}{access_token}", form.scheme));
    let expires_at = if form.has_expiry { token.life.expires_at.to_string() } else { String::new() };
    let values = Values {
        access_token,
        authorization: &authorization,
        expires_at: &expires_at,
        api_domain: token.api_domain.as_deref().unwrap_or_default(),
        api_url: form.api_url.unwrap_or_default(),
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

/// The labels and annotations that are somebody's choice, by key: what was chosen once and is no longer goes.
fn chosen_metadata(labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> String {
    let labels = labels.keys().map(|key| format!("label:{key}"));
    let annotations = annotations.keys().map(|key| format!("annotation:{key}"));
    labels.chain(annotations).collect::<Vec<_>>().join(",")
}

/// Labels and annotations of `present` that were chosen once and are no longer: those the operator wrote, as it recorded.
pub fn stale_metadata(present: &Secret, wanted: &Secret) -> (Vec<String>, Vec<String>) {
    let recorded = present.metadata.annotations.as_ref().and_then(|annotations| annotations.get(keys::CHOSEN_METADATA));
    let recorded = || recorded.iter().flat_map(|list| list.split(','));
    let stale = |prefix: &str, wanted: &Option<BTreeMap<String, String>>| -> Vec<String> {
        let keys = recorded().filter_map(|entry| entry.strip_prefix(prefix));
        keys.filter(|key| !wanted.iter().any(|wanted| wanted.contains_key(*key))).map(str::to_owned).collect()
    };
    let labels = stale("label:", &wanted.metadata.labels);
    let mut annotations = stale("annotation:", &wanted.metadata.annotations);
    let still_recorded = wanted.metadata.annotations.iter().any(|all| all.contains_key(keys::CHOSEN_METADATA));
    annotations.extend(recorded().next().filter(|_| !still_recorded).map(|_| keys::CHOSEN_METADATA.to_owned()));
    (labels, annotations)
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

/// The token in a target by its annotations alone, for a person who may read it. The seal is not checked: its key is the
/// operator's.
pub fn token_in(target: &Secret) -> Option<SecretString> {
    let place = target.metadata.annotations.as_ref()?.get(keys::TOKEN_AT)?;
    token_at(place, target.data.as_ref()?)
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
        scopes: Vec::new(),
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
        && stale_metadata(target, wanted) == (Vec::new(), Vec::new())
}

/// A token of the size and shape of a real one that works nowhere, for dry runs.
pub fn dummy_token(now: Time) -> MintedToken {
    MintedToken {
        access_token: SecretString::from(format!("1000.{}.{}", "0".repeat(32), "0".repeat(32))),
        life: Life { issued_at: now, expires_at: now },
        api_domain: Some("https://www.zohoapis.com".into()),
        scopes: Vec::new(),
        inputs: InputsDigest::default(),
        attempt: AttemptId::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use zoho_api::{DataCenter, SecretRef, ZohoCredentialSpec};

    const CLOUD: Form<'static> =
        Form { scheme: "Zoho-oauthtoken ", has_expiry: true, api_url: Some("https://patch.manageengine.eu") };

    fn key() -> HashKey {
        HashKey::new(&[7; 32]).unwrap()
    }

    fn reference() -> SecretRef {
        SecretRef { name: "zoho-oauth".into(), ..SecretRef::default() }
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
            grant: None,
            scopes: Vec::new(),
            soid: None,
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
            scopes: Vec::new(),
            inputs: "k.1".into(),
            attempt: "a1".into(),
        }
    }

    fn target() -> Secret {
        target_of(&credential())
    }

    fn target_of(credential: &ZohoCredential) -> Secret {
        render_target(credential, &token(), CLOUD, &BTreeMap::new(), &key()).unwrap()
    }

    #[test]
    fn token_comes_back_out_of_its_target() {
        let recovered = recover(&target(), &credential(), &key()).unwrap();
        assert_eq!(recovered.access_token.expose_secret(), "1000.aa.bb");
        assert_eq!(recovered.life, token().life);
        assert!(is_intact(&target(), &target()));
    }

    #[test]
    fn target_says_how_its_token_is_presented() {
        assert!(!is_presented_otherwise(&target(), CLOUD));
        let other_host = Form { api_url: Some("https://patch.manageengine.com"), ..CLOUD };
        let server = Form { scheme: "", has_expiry: false, api_url: None };
        assert!(is_presented_otherwise(&target(), other_host) && is_presented_otherwise(&target(), server));
        let mut unsaid = target();
        unsaid.metadata.annotations.as_mut().unwrap().remove(keys::PRESENTED_AS);
        assert!(!is_presented_otherwise(&unsaid, other_host), "as written by a version that did not say it");
    }

    #[test]
    fn metadata_that_is_chosen_no_longer_goes_and_what_others_set_stays() {
        let mut choosy = credential();
        choosy.spec.target = Some(Target {
            labels: [("team".into(), "a".into())].into(),
            annotations: [("example.com/note".into(), "b".into())].into(),
            ..Target::default()
        });
        let mut present = target_of(&choosy);
        present.metadata.labels.as_mut().unwrap().insert("foreign".into(), "stays".into());
        assert!(is_intact(&present, &target_of(&choosy)));
        let wanted = target();
        assert!(!is_intact(&present, &wanted));
        let gone = (vec!["team".to_owned()], vec!["example.com/note".to_owned(), keys::CHOSEN_METADATA.to_owned()]);
        assert_eq!(stale_metadata(&present, &wanted), gone);
        assert_eq!(stale_metadata(&wanted, &wanted), (vec![], vec![]));
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
    fn token_without_a_known_end_is_the_bare_header_and_names_no_expiry() {
        let server = Form { scheme: "", has_expiry: false, api_url: Some("https://ec.corp.example:8383") };
        let data = render_target(&credential(), &token(), server, &BTreeMap::new(), &key()).unwrap().data.unwrap();
        assert_eq!(data["authorization"].0, b"1000.aa.bb");
        assert!(!data.contains_key("expires_at"));
        assert_eq!(data["api_url"].0, b"https://ec.corp.example:8383");
    }

    #[test]
    fn debug_output_holds_no_secret_byte() {
        let text = format!("{:?} {:?}", token(), key());
        assert!(!text.contains("1000.aa.bb"), "{text}");
    }
}
