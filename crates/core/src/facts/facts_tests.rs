//! From readings to facts: what a stale, planted, edited or foreign state of things is worth.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::json;
use zoho_api::names::ObjectVersion;
use zoho_api::{Condition, ConditionStatus, Observed, Verdict, ZohoCredentialStatus};

use super::ownership::SecretSeen;
use super::source::{consents, consents_to_others, source_defect, with_consent};
use super::target::{other_manager, render};
use super::*;
use crate::fixtures::{after, ago, now};
use crate::memory::{Asked, Seen, Stored};
use crate::mirror::Versioned as _;
use crate::plan::mirror::LedgerMirror;
use crate::plan::{Source, Target};
use crate::spec;

fn installation() -> Installation {
    let hash_key = HashKey::new(&[7; 32]).unwrap();
    Installation { name: "ours/one".into(), policy: Policy::default(), hash_key, hash_key_replaces_lost: false }
}

fn credential() -> ZohoCredential {
    serde_json::from_value(json!({
        "metadata": { "name": "patch", "namespace": "ns", "uid": "mine", "generation": 3, "resourceVersion": "5" },
        "spec": { "dataCenter": "EU", "secretRef": { "name": "source" } },
    }))
    .unwrap()
}

fn served() -> Served {
    spec::check(&credential(), &Policy::default()).unwrap()
}

fn source(refresh_token: &str, version: &str) -> Secret {
    let pairs = [("client_id", "1000.ID"), ("client_secret", "s3cret"), ("refresh_token", refresh_token)];
    let data = pairs.map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec()))).into();
    let mut secret = Secret { data: Some(data), ..Secret::default() };
    secret.metadata.uid = Some("s".into());
    secret.metadata.resource_version = Some(version.into());
    secret
}

fn source_seen(refresh_token: &str) -> SourceSeen {
    SourceSeen::read(&credential(), &served(), &source(refresh_token, "1"), &installation())
}

/// A token minted from this source.
fn token(refresh_token: &str) -> MintedToken {
    let mut token = secret::dummy_token(now());
    token.life.expires_at = after(3600);
    token.attempt = "a1".into();
    token.inputs = source_seen(refresh_token).source.usable().unwrap().0.clone();
    token
}

/// The target as it is stored.
fn stored(token: &MintedToken, version: &str) -> Secret {
    let mut target = render(&credential(), token, Some(&served()), &installation()).unwrap();
    target.metadata.uid = Some("t".into());
    target.metadata.resource_version = Some(version.into());
    target
}

fn target_seen(secret: Secret) -> TargetSeen {
    TargetSeen::read(&credential(), secret, Some(&served()), &installation())
}

fn readings(source: SourceSeen, target: TargetSeen) -> Readings {
    Readings {
        served: Ok(served()),
        source,
        target,
        hand: None,
        verification: None,
        ledger: ZohoMintLedgerSpec::default(),
        minting: false,
        grounded_until: None,
        guarded_until: None,
        may_share: true,
        former_ended: false,
    }
}

/// A credential whose status was written by this installation over these readings.
fn reported(readings: &Readings) -> ZohoCredential {
    let renewable = Condition {
        type_: "Renewable".into(),
        status: ConditionStatus::True,
        reason: "TokenValid".into(),
        message: "m".into(),
        observed_generation: 3,
        last_transition_time: now(),
    };
    let mut status = ZohoCredentialStatus {
        observed_generation: Some(3),
        ledger: readings.source.source.usable().map(|(_, ledger)| ledger.clone()),
        observed: Some(readings.observed(&Memory::default(), 1)),
        conditions: vec![renewable],
        ..ZohoCredentialStatus::default()
    };
    seal_status(&credential(), &mut status, &installation().hash_key);
    ZohoCredential { status: Some(status), ..credential() }
}

#[test]
fn status_observes_the_source_only_that_the_token_in_the_target_was_minted_from() {
    let of_it = readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9")));
    let observed = of_it.observed(&Memory::default(), 1);
    assert_eq!((observed.source, observed.target), (Some("s/1".into()), Some("t/9".into())));
    let of_another = readings(source_seen("1000.b.b"), target_seen(stored(&token("1000.a.a"), "9")));
    let observed = of_another.observed(&Memory::default(), 1);
    assert_eq!((observed.source, observed.target), (None, Some("t/9".into())), "the new source has minted nothing yet");
}

#[test]
fn takeover_is_known_to_the_next_process_until_there_is_a_token_and_by_a_sealed_status_only() {
    let key = installation().hash_key;
    let taken = Memory { took_over: true, ..Memory::default() };
    let without = readings(source_seen("1000.a.a"), TargetSeen::absent());
    let with = readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9")));
    assert!(without.observed(&taken, 3).taken_over && !without.observed(&Memory::default(), 3).taken_over);
    assert!(!with.observed(&taken, 3).taken_over);

    let mut claimed = reported(&with);
    let status = claimed.status.as_mut().unwrap();
    status.observed.as_mut().unwrap().taken_over = true;
    assert!(!was_taken_over(&claimed, &key), "anybody could write that");
    let mut status = claimed.status.clone().unwrap();
    seal_status(&claimed, &mut status, &key);
    claimed.status = Some(status);
    assert!(was_taken_over(&claimed, &key) && !was_taken_over(&claimed, &HashKey::new(&[8; 32]).unwrap()));
    let seen = SecretSeen::of(&stored(&token("1000.a.a"), "9").metadata);
    let by_metadata =
        |of: &ZohoCredential| TargetSeen::by_metadata(of, &seen, &Memory::default(), &installation()).is_some();
    assert!(by_metadata(&reported(&with)));
    assert!(!by_metadata(&claimed), "what the other installation has noted is not believed");
}

#[test]
fn status_does_not_call_a_target_observed_that_was_intact_for_another_generation() {
    let mut edited = readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9")));
    // The spec wants something else, and the write is refused.
    edited.target.target = Target::Ours { token: Some(token("1000.a.a").record()), intact: false };
    let intact = |generation| Memory { intact: Some(Seen { version: "t/9".into(), generation }), ..Memory::default() };
    assert_eq!(edited.observed(&intact(2), 3).target, None, "a restart would believe it");
    assert_eq!(edited.observed(&intact(3), 3).target, Some("t/9".into()), "somebody edited it since");
}

#[test]
fn restart_takes_the_inputs_from_a_sealed_status_of_the_same_versions_only() {
    let before = readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9")));
    let credential = reported(&before);
    let seen = SecretSeen::of(&stored(&token("1000.a.a"), "9").metadata);
    let target =
        TargetSeen::by_metadata(&credential, &seen, &Memory::default(), &installation()).expect("as it was left");
    assert!(target.is_proven && target.is_intact());
    let by_status = |credential: &ZohoCredential, version: &str| {
        SourceSeen::by_status(credential, &version.into(), &target, &served(), &installation()).map(|seen| seen.source)
    };
    assert_eq!(by_status(&credential, "s/1"), Some(before.source.source.clone()));
    assert_eq!(by_status(&credential, "s/2"), None, "the source changed");
    let edit = |edit: fn(&mut ZohoCredential)| {
        let mut edited = credential.clone();
        edit(&mut edited);
        by_status(&edited, "s/1")
    };
    assert_eq!(edit(|it| it.metadata.generation = Some(4)), None, "another spec");
    assert_eq!(edit(|it| it.metadata.uid = Some("other".into())), None, "another object");
    assert_eq!(edit(|it| it.status.as_mut().unwrap().ledger = Some("theirs".into())), None, "a planted ledger");
    assert_eq!(edit(|it| it.status.as_mut().unwrap().observed.as_mut().unwrap().seal = None), None, "no seal");
    assert_eq!(edit(|it| it.status.as_mut().unwrap().conditions[0].status = ConditionStatus::False), None);
    let former = target_seen(stored(&token("1000.old.old"), "10"));
    assert!(former.is_proven, "an older copy that was put back has a right seal");
    let by_former = SourceSeen::by_status(&credential, &"s/1".into(), &former, &served(), &installation());
    assert!(by_former.is_none(), "the token in it was minted from other inputs");
}

#[test]
fn planted_status_makes_no_target_intact_and_no_witness() {
    let mut planted = reported(&readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9"))));
    let observed = planted.status.as_mut().unwrap().observed.as_mut().unwrap();
    observed.target = Some("t/10".into());
    let seen = SecretSeen::of(&stored(&token("1000.a.a"), "10").metadata);
    assert!(TargetSeen::by_metadata(&planted, &seen, &Memory::default(), &installation()).is_none(), "it is read");
}

#[test]
fn what_a_lost_key_sealed_is_left_alone_and_proves_nothing() {
    let credential = reported(&readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9"))));
    let seen = SecretSeen::of(&stored(&token("1000.a.a"), "9").metadata);
    let mut other = Installation { hash_key: HashKey::new(&[8; 32]).unwrap(), ..installation() };
    let look =
        |installation: &Installation| TargetSeen::by_metadata(&credential, &seen, &Memory::default(), installation);
    assert!(look(&other).is_none(), "another key says nothing");
    other.hash_key_replaces_lost = true;
    let left_alone = look(&other).expect("left alone");
    assert!(left_alone.is_intact() && !left_alone.is_proven);
    assert_eq!(readings(source_seen("1000.a.a"), left_alone).proven_token(), None);
}

#[test]
fn stamp_with_inputs_of_the_present_key_is_never_left_alone_unread() {
    // Who may write the status plants a seal of a foreign key, and a target that claims the inputs of somebody's token.
    let mut planted = reported(&readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9"))));
    planted.status.as_mut().unwrap().observed.as_mut().unwrap().seal = Some("deadbeef.0".into());
    let seen = SecretSeen::of(&stored(&token("1000.a.a"), "9").metadata);
    let reset = Installation { hash_key_replaces_lost: true, ..installation() };
    let look = |seen: &SecretSeen| TargetSeen::by_metadata(&planted, seen, &Memory::default(), &reset);
    assert!(look(&seen).is_none(), "it is read, and its seal counts");
    let of_lost_key = |lives: u64| {
        let mut of_lost_key = seen.clone();
        let stamp = of_lost_key.ours.as_mut().unwrap().stamp.as_mut().unwrap();
        stamp.inputs = "deadbeef.1".into();
        stamp.life.expires_at = stamp.life.issued_at + Duration::from_secs(lives);
        look(&of_lost_key)
    };
    for lives in [600, 3600] {
        assert!(of_lost_key(lives).is_some_and(|left_alone| !left_alone.is_proven), "{lives} s");
    }
    assert!(of_lost_key(3601).is_none(), "no token lives so long");
}

#[test]
fn edited_target_is_not_intact_and_its_token_is_known_as_long_as_the_seal_is_right() {
    let mut labelled = stored(&token("1000.a.a"), "9");
    labelled.metadata.labels.as_mut().unwrap().remove("app.kubernetes.io/managed-by");
    let seen = target_seen(labelled);
    assert!(matches!(&seen.target, Target::Ours { token: Some(_), intact: false }), "{:?}", seen.target);
    let mut planted = stored(&token("1000.a.a"), "9");
    planted.data.as_mut().unwrap().insert("access_token".into(), ByteString(b"1000.planted".to_vec()));
    let seen = target_seen(planted);
    assert!(matches!(&seen.target, Target::Ours { token: None, intact: false }), "{:?}", seen.target);
    assert!(!seen.is_proven);
}

#[test]
fn secret_of_nobody_is_not_taken_over_without_consent_and_a_target_is_no_source() {
    let mut somebodys = source("1000.a.a", "1");
    somebodys.type_ = Some("Opaque".into());
    let Target::Blocked { defect, token: None } = target_seen(somebodys.clone()).target else { panic!("blocked") };
    assert_eq!(defect.reason, Reason::TargetNotOwned);
    somebodys.metadata.annotations = Some([(keys::ADOPT.to_owned(), "patch".to_owned())].into());
    assert!(matches!(target_seen(somebodys).target, Target::Ours { token: None, intact: false }));

    let target = stored(&token("1000.a.a"), "9");
    let defect = source_defect(&credential(), Some(&target), Some(&served()), &Policy::default()).expect("a defect");
    assert_eq!(defect.reason, Reason::InvalidSpec);
    assert!(defect.message.contains("is itself the target of a ZohoCredential"), "{}", defect.message);
}

#[test]
fn immutable_target_is_blocked_and_its_token_counts() {
    let mut immutable = stored(&token("1000.a.a"), "9");
    immutable.immutable = Some(true);
    let Target::Blocked { defect, token: Some(_) } = target_seen(immutable).target else { panic!("blocked") };
    assert_eq!(defect.reason, Reason::TargetImmutable);
}

#[test]
fn newest_token_is_the_one_that_is_stored() {
    let held = target_seen(stored(&token("1000.a.a"), "9"));
    let mut newer = token("1000.a.a");
    newer.life.issued_at = after(60);
    newer.life.expires_at = after(660);
    newer.attempt = "a2".into();
    let mut readings = readings(source_seen("1000.a.a"), held);
    let to_store = |readings: &Readings| {
        let facts = facts(&credential(), readings, &Memory::default(), after(60));
        readings.token_to_store(&facts, after(60)).unwrap().attempt.clone()
    };
    assert_eq!(to_store(&readings), "a1".into());
    readings.hand = Some(Arc::new(newer));
    assert_eq!(to_store(&readings), "a2".into(), "although it expires earlier");
    let mut older = token("1000.a.a");
    older.life.issued_at = now() - Duration::from_secs(60);
    older.attempt = "a0".into();
    readings.hand = Some(Arc::new(older));
    assert_eq!(to_store(&readings), "a1".into());
}

#[test]
fn refresh_token_that_does_not_look_like_one_is_remembered_as_such() {
    for (refresh_token, is_unmarked) in [("1000.a.a", false), (" 1000.a.a\n", false), ("a.a", true)] {
        let seen = source_seen(refresh_token);
        let memory = Memory { source: seen.to_remember(&credential()), ..Memory::default() };
        let known = SourceSeen::known(&credential(), seen.version.as_ref().unwrap(), &memory).unwrap();
        assert_eq!((seen.is_unmarked, known.is_unmarked), (is_unmarked, is_unmarked), "{refresh_token}");
    }
}

#[test]
fn what_is_remembered_is_for_one_version_and_one_spec() {
    let memory = Memory { source: source_seen("1000.a.a").to_remember(&credential()), ..Memory::default() };
    let known = |version: &str| SourceSeen::known(&credential(), &version.into(), &memory).is_some();
    assert!(known("s/1"));
    assert!(!known("s/2"));
    let mut edited = credential();
    edited.metadata.generation = Some(4);
    assert!(SourceSeen::known(&edited, &ObjectVersion::from("s/1"), &memory).is_none());
    let intact = Memory { intact: Some(Seen { version: "t/9".into(), generation: 2 }), ..Memory::default() };
    let seen = SecretSeen::of(&stored(&token("1000.a.a"), "9").metadata);
    assert!(TargetSeen::by_metadata(&credential(), &seen, &intact, &installation()).is_none(), "of another spec");
}

#[test]
fn refused_read_is_a_reason_and_no_source() {
    let refused = SourceSeen::refused(&credential(), "secrets \"source\" is forbidden", now());
    let Source::Unusable(defect) = refused.source else { panic!("unusable") };
    assert_eq!((defect.reason, defect.again_at), (Reason::ReadRefused, Some(after(30))));
    assert!(defect.message.contains("ns/source") && defect.message.contains("forbidden"), "{}", defect.message);
}

#[test]
fn ledger_counts_what_the_token_in_the_target_proves() {
    let open = zoho_api::Attempt {
        id: "a1".into(),
        at: now(),
        holder: "gone".into(),
        inputs: token("1000.a.a").inputs,
        life: None,
        outcome: None,
        ..zoho_api::Attempt::default()
    };
    let mut readings = readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9")));
    let version = ObjectVersion { uid: "l".into(), resource_version: "1".into() };
    let mut mirror = LedgerMirror::default();
    mirror.absorb(version, Some(ZohoMintLedgerSpec { attempts: vec![open], ..Default::default() }), now());
    mirror.witness(readings.proven_token().expect("its seal is right"));
    readings.ledger = mirror.look(true, after(60));
    let facts = facts(&credential(), &readings, &Memory::default(), after(60));
    assert_eq!(facts.ledger.attempts[0].outcome, Some(zoho_api::Outcome::Minted));
    let nothing = Observed::default();
    assert_eq!(nothing.seal, None);
}

fn asking_for_consent() -> Installation {
    let mut installation = installation();
    installation.policy.require_source_consent = true;
    installation
}

fn source_for(annotation: &str) -> Secret {
    let mut source = source("1000.a.a", "1");
    source.metadata.annotations = Some([(keys::SOURCE_FOR.to_owned(), annotation.to_owned())].into());
    source
}

#[test]
fn secret_that_was_made_for_something_else_is_no_source() {
    let of_type = |type_: Option<&str>| {
        let source = Secret { type_: type_.map(str::to_owned), ..source("1000.a.a", "1") };
        source_defect(&credential(), Some(&source), Some(&served()), &Policy::default())
    };
    for type_ in [
        "kubernetes.io/service-account-token",
        "kubernetes.io/dockerconfigjson",
        "kubernetes.io/dockercfg",
        "kubernetes.io/tls",
        "kubernetes.io/ssh-auth",
        "bootstrap.kubernetes.io/token",
        "helm.sh/release.v1",
    ] {
        let defect = of_type(Some(type_)).expect(type_);
        assert_eq!(defect.reason, Reason::SourceSecretInvalid, "{type_}");
        assert!(defect.message.starts_with(&format!("Secret ns/source has type {type_}: ")), "{}", defect.message);
        assert!(defect.message.contains("into a separate Opaque Secret"), "{}", defect.message);
    }
    for type_ in [None, Some(""), Some("Opaque"), Some("kubernetes.io/basic-auth"), Some("corp.example/zoho")] {
        assert_eq!(of_type(type_), None, "{type_:?}");
    }
}

#[test]
fn type_of_a_source_is_looked_at_before_what_is_in_it() {
    let login: ZohoCredential = serde_json::from_value(json!({
        "metadata": { "name": "patch", "namespace": "ns" },
        "spec": { "endpointCentralServer": { "url": "https://ec" }, "secretRef": { "name": "source", "usernameKey": "namespace", "passwordKey": "token" } },
    }))
    .unwrap();
    let policy = Policy { servers: vec!["https://ec".parse::<url::Url>().unwrap().into()], ..Policy::default() };
    let served = spec::check(&login, &policy).unwrap();
    let data =
        [("namespace", "ns"), ("token", "ey.token")].map(|(key, text)| (key.to_owned(), ByteString(text.into())));
    let mut secret = Secret { data: Some(data.into()), ..Secret::default() };
    assert_eq!(source_defect(&login, Some(&secret), Some(&served), &policy), None, "it would be sent");
    secret.type_ = Some("kubernetes.io/service-account-token".into());
    let seen = SourceSeen::read(&login, &served, &secret, &Installation { policy, ..installation() });
    assert!(seen.request.is_none() && seen.source.usable().is_none(), "{:?}", seen.source);
}

#[test]
fn source_is_used_only_with_consent_where_that_is_asked_for() {
    let defect = |source: &Secret, installation: &Installation| {
        source_defect(&credential(), Some(source), Some(&served()), &installation.policy)
    };
    assert_eq!(defect(&source("1000.a.a", "1"), &installation()), None, "not asked for by default");
    let missing = defect(&source("1000.a.a", "1"), &asking_for_consent()).expect("no consent");
    assert_eq!(missing.reason, Reason::SourceSecretInvalid);
    let line = "kubectl annotate secret -n ns source zoho-operator.dev/source-for=patch";
    assert!(missing.message.contains(line), "{}", missing.message);
    assert_eq!(defect(&source_for("other, patch"), &asking_for_consent()), None);
    let other = defect(&source_for("theirs"), &asking_for_consent()).expect("consent for another");
    assert!(!other.message.contains("theirs"), "{}", other.message);
}

#[test]
fn consent_names_credentials_or_every_one() {
    for (annotation, expected) in [
        (None, false),
        (Some(""), false),
        (Some("patch"), true),
        (Some("a,patch"), true),
        (Some(" a , patch "), true),
        (Some("*"), true),
        (Some("a,*"), true),
        (Some("patch-2"), false),
        (Some("pat*"), false),
        (Some("PATCH"), false),
    ] {
        assert_eq!(consents(annotation, "patch"), expected, "{annotation:?}");
        assert!(consents(Some(&with_consent(annotation, "patch")), "patch"), "{annotation:?}");
    }
    assert_eq!(with_consent(None, "patch"), "patch");
    assert_eq!(with_consent(Some("a"), "patch"), "a,patch");
    assert_eq!(with_consent(Some("*"), "patch"), "*");
}

#[test]
fn status_is_no_consent() {
    let before = readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9")));
    let by_status = |installation: &Installation| {
        let (credential, target) = (reported(&before), &before.target);
        SourceSeen::by_status(&credential, &"s/1".into(), target, &served(), installation).is_some()
    };
    assert!(by_status(&installation()));
    assert!(!by_status(&asking_for_consent()), "the source is read");
}

/// A Secret that nobody controls and whose owner lets it be taken over.
fn offered(type_: &str, values: &[&str]) -> Secret {
    let mut secret = stored(&token("1000.a.a"), "9");
    secret.metadata.owner_references = None;
    secret.metadata.annotations = Some([(keys::ADOPT.to_owned(), "patch".to_owned())].into());
    secret.type_ = Some(type_.into());
    secret.data = Some(values.iter().map(|key| ((*key).to_owned(), ByteString(b"theirs".to_vec()))).collect());
    secret
}

#[test]
fn only_an_opaque_secret_is_taken_over() {
    let seen = target_seen(offered("Opaque", &["key"]));
    assert!(matches!(seen.target, Target::Ours { token: None, intact: false }), "{:?}", seen.target);
    let Target::Blocked { defect, token: None } = target_seen(offered("kubernetes.io/tls", &["tls.key"])).target else {
        panic!("blocked")
    };
    assert_eq!(defect.reason, Reason::TargetNotOwned);
    for part in ["has type kubernetes.io/tls", "spec.target.name", "kubectl delete secret -n ns patch-token"] {
        assert!(defect.message.contains(part), "{}", defect.message);
    }
    let mut restored = stored(&token("1000.a.a"), "9");
    restored.metadata.owner_references = None;
    restored.type_ = Some("kubernetes.io/tls".into());
    assert!(matches!(target_seen(restored).target, Target::Blocked { .. }), "nor by its seal");
}

#[test]
fn secret_without_an_owner_is_ours_by_its_seal_only() {
    let mut restored = stored(&token("1000.a.a"), "9");
    restored.metadata.owner_references = None;
    assert!(matches!(target_seen(restored.clone()).target, Target::Ours { token: Some(_), .. }));
    restored.data.as_mut().unwrap().insert("access_token".into(), ByteString(b"1000.planted.planted".to_vec()));
    let Target::Blocked { defect, token: None } = target_seen(restored).target else { panic!("blocked") };
    assert_eq!(defect.reason, Reason::TargetNotOwned);
}

#[test]
fn offer_to_take_a_secret_over_says_that_its_keys_go() {
    let mut foreign = offered("Opaque", &["theirs"]);
    foreign.metadata.annotations = None;
    let Target::Blocked { defect, .. } = target_seen(foreign).target else { panic!("blocked") };
    let text = "which removes every key that spec.target does not define: kubectl annotate secret -n ns patch-token zoho-operator.dev/adopt=patch";
    assert!(defect.message.contains(text), "{}", defect.message);
}

#[test]
fn keys_that_an_adoption_removes_are_counted_and_a_repair_removes_none() {
    let wanted = stored(&token("1000.a.a"), "9");
    let lost = |secret: Secret| target_seen(secret).keys_lost_by_adoption(&credential(), &wanted);
    assert_eq!(lost(offered("Opaque", &["mine", "more", "access_token"])), Some(2));
    assert_eq!(lost(offered("Opaque", &[])), Some(0));
    let mut edited = wanted.clone();
    edited.data.as_mut().unwrap().insert("extra".into(), ByteString(Vec::new()));
    assert_eq!(lost(edited), None, "it is ours already");
    assert_eq!(TargetSeen::absent().keys_lost_by_adoption(&credential(), &wanted), None);
    let event = crate::status::adopted(&target_of(&credential()), 2);
    assert_eq!((event.warning, event.reason.as_str()), (false, "Adopted"));
    assert_eq!(event.note, "Secret ns/patch-token was taken over and holds the token now; 2 keys of it were removed.");
}

#[test]
fn renewal_is_asked_for_by_a_short_word_that_was_not_handled() {
    let asks = |word: Option<&str>, handled: Option<&str>| {
        let mut credential = credential();
        credential.metadata.annotations = word.map(|word| [(keys::RENEW_REQUESTED.to_owned(), word.to_owned())].into());
        let status = ZohoCredentialStatus {
            last_handled_renew_request: handled.map(str::to_owned),
            ..ZohoCredentialStatus::default()
        };
        credential.status = Some(status);
        renew_request(&credential).cloned()
    };
    assert_eq!(asks(Some("now"), None).as_deref(), Some("now"));
    assert_eq!(asks(Some("again"), Some("now")).as_deref(), Some("again"));
    let longest = "x".repeat(LONGEST_REQUEST);
    assert_eq!(asks(Some(&longest), None), Some(longest.clone()));
    for (word, handled) in [(None, None), (Some(""), None), (Some("now"), Some("now")), (Some(&*(longest + "x")), None)]
    {
        assert_eq!(asks(word, handled), None, "{word:?} after {handled:?}");
    }
}

#[test]
fn identity_is_all_that_says_which_object_it_is_and_in_which_state() {
    let meta = credential().metadata;
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH);
    let whole = ObjectMeta { creation_timestamp: Some(time.clone()), deletion_timestamp: Some(time), ..meta };
    let fat = ObjectMeta {
        labels: Some([("a".to_owned(), "b".to_owned())].into()),
        finalizers: Some(vec!["f".into()]),
        ..whole.clone()
    };
    assert_eq!(identity(fat), whole);
}

#[test]
fn status_vouches_only_for_its_generation_and_its_version() {
    let credential = reported(&readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9"))));
    let look = |credential: &ZohoCredential, version: &str| {
        let seen = SecretSeen::of(&stored(&token("1000.a.a"), version).metadata);
        assert_eq!((seen.uid(), seen.resource_version()), ("t", version));
        TargetSeen::by_metadata(credential, &seen, &Memory::default(), &installation()).is_some()
    };
    assert!(look(&credential, "9"));
    assert!(!look(&credential, "10"), "another version is read");
    let mut edited = credential;
    edited.metadata.generation = Some(4);
    assert!(!look(&edited, "9"), "for another spec it is read");
}

#[test]
fn ledger_is_expected_where_a_token_of_these_inputs_or_of_a_former_key_is_in_the_target() {
    let credential = credential();
    let inputs = |refresh_token: &str| source_seen(refresh_token).source.usable().unwrap().0.clone();
    let (here, elsewhere) = (inputs("1000.a.a"), inputs("1000.b.b"));
    let secret = stored(&token("1000.a.a"), "9");
    let (seen, ours) = (SecretSeen::of(&secret.metadata), target_seen(secret).target);
    let key = installation().hash_key;
    let former = HashKey::new(&[8; 32]).unwrap();
    let table = [
        ("minted from these", &ours, &here, &key, false, true),
        ("minted from others, which have a ledger of their own", &ours, &elsewhere, &key, false, false),
        ("nothing is there", &Target::Absent, &here, &key, false, false),
        ("stamped under a key that was lost", &Target::Absent, &here, &former, false, true),
        ("stamped by the installation that it was taken from", &Target::Absent, &here, &former, true, false),
    ];
    for (name, target, inputs, key, took_over, expected) in table {
        let seen = Some(&seen).filter(|_| name != "nothing is there");
        let at = |now| target::is_ledger_expected(&credential, target, seen, inputs, (key, took_over), now);
        assert_eq!(at(now()), expected, "{name}");
        assert_eq!(at(after(3 * 3600 - 1)), expected, "{name}");
        assert!(!at(after(3 * 3600)), "{name}: by then a ledger that nothing refers to is deleted");
    }
}

#[test]
fn who_else_writes_a_target_is_named() {
    let manager = |names: &[&str]| {
        let managed =
            names.iter().map(|name| ManagedFieldsEntry { manager: Some((*name).into()), ..Default::default() });
        let mut secret = Secret::default();
        secret.metadata.managed_fields = Some(managed.collect());
        other_manager(&secret)
    };
    assert_eq!(manager(&[zoho_api::FIELD_MANAGER, "kubectl-edit"]).as_deref(), Some("kubectl-edit"));
    assert_eq!(manager(&[zoho_api::FIELD_MANAGER]), None);
}

#[test]
fn pause_after_a_ledger_that_could_not_be_written_is_a_short_one() {
    let mut readings = readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9")));
    for (seconds, is_believed) in [(5, true), (30, true), (31, false), (7200, false)] {
        readings.grounded_until = Some(after(seconds));
        let facts = facts(&credential(), &readings, &Memory::default(), now());
        assert_eq!(facts.grounded_until.is_some(), is_believed, "{seconds} s: a clock was set back since");
    }
}

#[test]
fn renewal_that_a_flight_was_started_for_is_not_asked_for_again() {
    let mut credential = credential();
    credential.metadata.annotations = Some([(keys::RENEW_REQUESTED.to_owned(), "now".to_owned())].into());
    credential.status = Some(ZohoCredentialStatus { last_mint_time: Some(now()), ..ZohoCredentialStatus::default() });
    let readings = readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9")));
    let asked =
        |request: &str| Memory { asked: Some(Asked { request: request.to_owned(), over: None }), ..Memory::default() };
    for (memory, expected) in [(Memory::default(), true), (asked("before"), true), (asked("now"), false)] {
        assert_eq!(facts(&credential, &readings, &memory, now()).renew_requested, expected, "{:?}", memory.asked);
    }
}

#[test]
fn token_that_no_status_tells_of_answers_the_request_of_a_process_that_has_ended() {
    let mut credential = credential();
    let readings = readings(source_seen("1000.a.a"), target_seen(stored(&token("1000.a.a"), "9")));
    let by_us = Stored { attempt: "a1".into(), target: target_of(&credential), generation: 3 };
    let by_us = || Memory { stored: Some(by_us.clone()), ..Memory::default() };
    let (before, since) = (format!("{}-0a1b2c3d", ago(5)), format!("{}-0a1b2c3d", after(5)));
    for (what, request, last_told, memory, expected) in [
        ("minted for it", &*before, Some(ago(1800)), Memory::default(), false),
        ("the first one", &before, None, Memory::default(), false),
        ("told of: there was another request since", &before, Some(now()), Memory::default(), true),
        ("our own: we know what we did", &before, Some(ago(1800)), by_us(), true),
        ("minted before it was made", &since, Some(ago(1800)), Memory::default(), true),
        ("nobody knows when", "Mon Nov 30 20:11:46 UTC 2026", Some(ago(1800)), Memory::default(), true),
    ] {
        credential.metadata.annotations = Some([(keys::RENEW_REQUESTED.to_owned(), request.to_owned())].into());
        credential.status = Some(ZohoCredentialStatus { last_mint_time: last_told, ..ZohoCredentialStatus::default() });
        assert_eq!(facts(&credential, &readings, &memory, now()).renew_requested, expected, "{what}");
    }
}

#[test]
fn consent_names_others_where_it_names_anybody_else() {
    let table = [(None, false), (Some(""), false), (Some(" one ,"), false), (Some("one,two"), true), (Some("*"), true)];
    for (annotation, expected) in table {
        assert_eq!(consents_to_others(annotation, "one"), expected, "{annotation:?}");
    }
}

#[test]
fn token_has_ended_where_its_own_refresh_token_is_revoked() {
    let inputs = |refresh_token: &str| source_seen(refresh_token).source.usable().unwrap().0.clone();
    let of = |refresh_token: &str, confirmed, reason: &str| {
        let inputs = inputs(refresh_token);
        Verdict { inputs, reason: reason.into(), at: now(), confirmed, ..Verdict::default() }
    };
    let table = [
        (of("1000.a.a", true, "RefreshTokenRejected"), true),
        (of("1000.a.a", false, "RefreshTokenRejected"), false),
        (of("1000.a.a", true, "ClientRejected"), false),
        (of("1000.b.b", true, "RefreshTokenRejected"), false),
    ];
    let held = || target_seen(stored(&token("1000.a.a"), "9"));
    for (verdict, ended) in table {
        let ledger = ZohoMintLedgerSpec { verdicts: vec![verdict.clone()], ..Default::default() };
        let with_it = Readings { ledger: ledger.clone(), ..readings(source_seen("1000.a.a"), held()) };
        assert_eq!(facts(&credential(), &with_it, &Memory::default(), now()).token_ended, ended, "{verdict:?}");
        let mut mirror = LedgerMirror::default();
        let version = ObjectVersion { uid: "l".into(), resource_version: "1".into() };
        mirror.absorb(version, Some(ledger), now());
        assert_eq!(mirror.has_ended(&inputs("1000.a.a"), now()), ended, "{verdict:?}");
    }
    let former = Readings { former_ended: true, ..readings(source_seen("1000.b.b"), held()) };
    assert!(facts(&credential(), &former, &Memory::default(), now()).token_ended);
}
