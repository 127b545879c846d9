//! What the index says once watches, answers and doubts have come in, in any order.

use kube::core::DeserializeGuard;

use super::*;

fn secret(name: &str, version: &str) -> ObjectMeta {
    ObjectMeta {
        namespace: Some("ns".into()),
        name: Some(name.into()),
        uid: Some("u".into()),
        resource_version: Some(version.into()),
        ..ObjectMeta::default()
    }
}

fn credential(version: &str, source: &str) -> Told<ZohoCredential> {
    let mut credential: ZohoCredential = serde_json::from_value(serde_json::json!({
        "metadata": {}, "spec": { "dataCenter": "EU", "secretRef": { "name": source } }
    }))
    .unwrap();
    credential.metadata = secret("cred", version);
    Told { object: DeserializeGuard(Ok(credential)), served_by: None }
}

fn keys(concerned: Concerned) -> Vec<ObjectName> {
    concerned.into_iter().collect()
}

fn told(index: &Index, version: &str, source: &str) -> Vec<ObjectName> {
    keys(index.credentials_told(&None, News::Changed(credential(version, source))))
}

fn gone(index: &Index, version: &str, source: &str) -> Vec<ObjectName> {
    keys(index.credentials_told(&None, News::Gone(credential(version, source))))
}

fn secret_told(index: &Index, name: &str, version: &str) -> Vec<ObjectName> {
    keys(index.secrets_told(&None, News::Changed(meta(secret(name, version)))))
}

fn read(index: &Index, secret: &ObjectMeta) -> Vec<ObjectName> {
    keys(index.apply_secret(secret))
}

fn meta(metadata: ObjectMeta) -> SecretMeta {
    SecretMeta { metadata }
}

#[test]
fn secret_concerns_those_who_name_it() {
    let index = Index::default();
    let cred = ObjectName::new("ns", "cred");
    assert_eq!(told(&index, "1", "source"), std::slice::from_ref(&cred));
    assert_eq!(secret_told(&index, "source", "2"), std::slice::from_ref(&cred));
    assert_eq!(secret_told(&index, "cred-token", "3"), std::slice::from_ref(&cred));
    assert_eq!(secret_told(&index, "other", "4"), []);
    told(&index, "5", "other");
    assert_eq!(secret_told(&index, "source", "6"), []);
    assert_eq!(keys(index.secrets_told(&None, News::Gone(meta(secret("other", "7"))))), [cred]);
}

#[test]
fn answer_to_a_status_patch_does_not_bring_a_deleted_credential_back() {
    let index = Index::default();
    let cred = ObjectName::new("ns", "cred");
    told(&index, "5", "source");
    gone(&index, "8", "source");
    assert_eq!(keys(index.apply_credential(credential("7", "source"))), []);
    assert!(index.credential(&cred).is_none());
    assert_eq!(secret_told(&index, "source", "8"), [], "and nothing wakes it");
    assert_eq!(keys(index.apply_credential(credential("9", "source"))), [cred], "an answer ahead of the watch is news");
}

#[test]
fn answer_that_there_is_none_removes_what_was_asked_about() {
    let index = Index::default();
    let cred = ObjectName::new("ns", "cred");
    told(&index, "5", "source");
    assert_eq!(keys(index.credential_not_found(&cred, &secret("cred", "4"))), [], "something newer is known");
    assert_eq!(keys(index.credential_not_found(&cred, &secret("cred", "5"))), [cred]);
    secret_told(&index, "source", "6");
    let name = ObjectName::new("ns", "source");
    let asked = index.secret(&name);
    assert_eq!(keys(index.secret_not_found(&name, asked.as_ref())), [], "nobody names it any more");
    assert!(index.secret(&name).is_none());
}

#[test]
fn answer_ahead_of_the_watch_concerns_all_who_name_the_secret_and_the_watch_nobody_any_more() {
    let index = Index::default();
    let sharers = ["one", "two"].map(|name| {
        let mut sharer = credential("1", "source");
        let meta = &mut sharer.object.0.as_mut().unwrap().metadata;
        (meta.name, meta.uid) = (Some(name.into()), Some(name.into()));
        keys(index.credentials_told(&None, News::Changed(sharer)));
        ObjectName::new("ns", name)
    });
    assert_eq!(read(&index, &secret("source", "5")), sharers);
    assert_eq!(secret_told(&index, "source", "5"), []);
}

#[test]
fn older_news_than_what_is_known_are_ignored() {
    let index = Index::default();
    told(&index, "9", "source");
    assert_eq!(told(&index, "8", "source"), []);
    assert_eq!(told(&index, "9", "source"), []);
    secret_told(&index, "source", "10");
    assert_eq!(secret_told(&index, "source", "9"), []);
    assert_eq!(index.secret(&ObjectName::new("ns", "source")).unwrap().version, "u/10".into());
}

#[test]
fn what_a_list_does_not_name_is_gone_unless_it_is_newer_than_the_list() {
    let index = Index::default();
    let cred = ObjectName::new("ns", "cred");
    told(&index, "1", "source");
    read(&index, &secret("source", "2"));
    read(&index, &secret("cred-token", "9"));
    let nothing = HashSet::new;
    assert_eq!(keys(index.secrets_told(&Some("another".into()), News::Only(nothing(), Some(5)))), []);
    assert_eq!(
        keys(index.secrets_told(&Some("ns".into()), News::Only(nothing(), Some(5)))),
        std::slice::from_ref(&cred)
    );
    assert!(index.secret(&ObjectName::new("ns", "source")).is_none());
    assert!(index.secret(&ObjectName::new("ns", "cred-token")).is_some(), "written since");
    assert_eq!(keys(index.credentials_told(&None, News::Only(nothing(), Some(5)))), std::slice::from_ref(&cred));
    assert!(index.credential(&cred).is_none());
}

#[test]
fn former_target_is_wanted_as_long_as_its_owner_is_there() {
    let index = Index::default();
    told(&index, "1", "source");
    let mut former = secret("former", "2");
    former.owner_references = Some(vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        controller: Some(true),
        uid: "u".into(),
        ..Default::default()
    }]);
    read(&index, &former);
    read(&index, &secret("stray", "3"));
    index.forget_secrets(&None);
    assert!(index.secret(&ObjectName::new("ns", "former")).is_some());
    assert!(index.secret(&ObjectName::new("ns", "stray")).is_none());
    gone(&index, "4", "source");
    index.forget_secrets(&None);
    assert!(index.secret(&ObjectName::new("ns", "former")).is_none());
}

#[test]
fn secrets_that_are_forgotten_because_the_history_went_back_are_known_as_they_are_read_next() {
    let index = Index::default();
    let name = ObjectName::new("ns", "source");
    read(&index, &secret("source", "1000"));
    read(&index, &secret("source", "500"));
    assert_eq!(index.secret(&name).unwrap().version, "u/1000".into());
    index.forget_all_secrets(&Some("another".into()));
    assert!(index.secret(&name).is_some());
    index.forget_all_secrets(&Some("ns".into()));
    assert!(index.secret(&name).is_none());
    read(&index, &secret("source", "500"));
    assert_eq!(index.secret(&name).unwrap().version, "u/500".into());
}
