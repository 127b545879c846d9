//! All writes to users' namespaces: target Secrets, status, Events. Each rests on a precondition.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use zoho_core::secret;

use crate::calls::{ApiError, answer, call};
use crate::told::Told;
use zoho_api::names::{ObjectName, ObjectVersion};
use zoho_api::{FIELD_MANAGER, ZohoCredential, ZohoCredentialStatus, keys};

/// Is a write carried out, or only tried?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Carried out.
    Real,
    /// A server-side dry run: authorisation, admission and validation answer, nothing is stored.
    DryRun,
}

/// What stands where a Secret is written. Who refuses the write may quote it as well.
#[derive(Clone, Copy, Debug)]
pub enum Before<'a> {
    /// Nothing.
    Nothing,
    /// This one, as it was read.
    Read(&'a Secret),
    /// One in this version. It is read where somebody's words have to be compared with it.
    At(&'a ObjectVersion),
}

/// Makes a write of a Secret. A policy or a webhook that refuses it may quote it: what is passed on of its words tells none of
/// the values that are written or stand there, see [`secret::without_values`].
///
/// # Errors
///
/// See [`ApiError`].
///
/// # Permissions
///
/// Those of the request; get on the Secret.
pub async fn write_secret<T>(
    secrets: &Api<Secret>,
    wanted: &Secret,
    before: Before<'_>,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    let failure = match answer(request).await {
        Ok(written) => return Ok(written),
        Err(failure) => failure,
    };
    let read = match before {
        Before::At(version) if failure.has_words() => {
            let found = call(secrets.get(name_of(wanted))).await.ok();
            let found = found.filter(|found| ObjectVersion::of(&found.metadata) == *version);
            let Some(found) = found else {
                return Err(failure.told_of_secret(|_| secret::LEFT_OUT.into()));
            };
            Some(found)
        }
        Before::Nothing | Before::Read(_) | Before::At(_) => None,
    };
    let present = match before {
        Before::Read(present) => Some(present),
        Before::Nothing | Before::At(_) => read.as_ref(),
    };
    let known: Vec<&Secret> = std::iter::once(wanted).chain(present).collect();
    Err(failure.told_of_secret(|words| secret::without_values(words, &known)))
}

/// Creates the target. Never overwrites: fails with `AlreadyExists` where a Secret of that name stands.
///
/// # Errors
///
/// See [`ApiError`].
///
/// # Permissions
///
/// create on Secrets in the namespace.
pub async fn create_target(client: &Client, wanted: &Secret, mode: Mode) -> Result<Secret, ApiError> {
    let params = PostParams { dry_run: mode == Mode::DryRun, field_manager: Some(FIELD_MANAGER.into()) };
    let secrets = secrets(client, wanted);
    write_secret(&secrets, wanted, Before::Nothing, secrets.create(&params, wanted)).await
}

/// Brings the target, in exactly this version (`uid/resourceVersion`), to what is wanted.
///
/// Labels and annotations that are not ours stay; foreign data keys go, and so does the consent to take the Secret over, which
/// is used up then. `present` is the target as read, if this pass has read it: only then can there be any of these, or a
/// missing owner.
///
/// # Errors
///
/// `Conflict` where the target is another object or version by now; see [`ApiError`].
///
/// # Permissions
///
/// patch on Secrets in the namespace.
pub async fn update_target(
    client: &Client,
    wanted: &Secret,
    at: &ObjectVersion,
    present: Option<&Secret>,
    mode: Mode,
) -> Result<Secret, ApiError> {
    let ObjectVersion { uid, resource_version } = at;
    let mut data: Map<String, Value> = Map::new();
    for key in present.and_then(|present| present.data.as_ref()).into_iter().flatten().map(|(key, _)| key) {
        data.insert(key.clone(), Value::Null);
    }
    // One of our own that is no longer there, such as an API domain that Zoho does not name any more.
    data.extend(keys::VALUES.map(|key| (key.to_owned(), Value::Null)));
    for (key, value) in wanted.data.iter().flatten() {
        data.insert(key.clone(), json!(value));
    }
    let mut metadata = json!({
        "uid": uid,
        "resourceVersion": resource_version,
        "labels": wanted.metadata.labels,
        "annotations": wanted.metadata.annotations,
    });
    if let Some(present) = present {
        metadata["ownerReferences"] = json!(with_our_owner(present, wanted));
        let (labels, annotations) = secret::stale_metadata(present, wanted);
        for (kind, keys) in [("labels", labels), ("annotations", annotations)] {
            for key in keys {
                metadata[kind][key] = Value::Null;
            }
        }
        if present.metadata.annotations.iter().any(|annotations| annotations.contains_key(keys::ADOPT)) {
            metadata["annotations"][keys::ADOPT] = Value::Null;
        }
    }
    let params = PatchParams {
        dry_run: mode == Mode::DryRun,
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "metadata": metadata, "data": data }));
    let secrets = secrets(client, wanted);
    let before = present.map_or(Before::At(at), Before::Read);
    write_secret(&secrets, wanted, before, secrets.patch(name_of(wanted), &params, &patch)).await
}

/// What the API server says, and all that it says, where a test in a JSON patch does not hold.
const PATCH_DOES_NOT_FIT: &str = "rejected our request due to an error in our request";

/// Brings a target that somebody else writes all the time to what is wanted: whatever its version is, as long as it is the
/// same object, has our owner reference, and holds the token that it held when it was read. The API server checks these
/// together with the write.
///
/// # Errors
///
/// `Conflict` where it is another object by now, or not ours any more; see [`ApiError`].
///
/// # Permissions
///
/// patch on Secrets in the namespace.
pub async fn replace_content(client: &Client, wanted: &Secret, present: &Secret) -> Result<Secret, ApiError> {
    let uid = present.metadata.uid.as_deref().unwrap_or_default();
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let mut operations = vec![json!({ "op": "test", "path": "/metadata/uid", "value": uid })];
    // Those that were read, ours among them, and others that somebody may have added.
    let owners = json!(present.metadata.owner_references);
    operations.push(json!({ "op": "test", "path": "/metadata/ownerReferences", "value": owners }));
    // What another leader has stored since may be newer than what is wanted.
    if let Some(attempt) = present.metadata.annotations.as_ref().and_then(|all| all.get(keys::ATTEMPT)) {
        let path = format!("/metadata/annotations/{}", escaped(keys::ATTEMPT));
        operations.push(json!({ "op": "test", "path": path, "value": attempt }));
    }
    let (had, wants) = (&present.metadata, &wanted.metadata);
    for (kind, before, map) in
        [("labels", &had.labels, &wants.labels), ("annotations", &had.annotations, &wants.annotations)]
    {
        if before.is_none() {
            // What has come since is not wiped out.
            let path = format!("/metadata/{kind}");
            operations.push(json!({ "op": "test", "path": path, "value": null }));
            operations.push(json!({ "op": "add", "path": path, "value": {} }));
        }
        for (key, value) in map.iter().flatten() {
            let path = format!("/metadata/{kind}/{}", escaped(key));
            operations.push(json!({ "op": "add", "path": path, "value": value }));
        }
    }
    operations.push(json!({ "op": "add", "path": "/data", "value": wanted.data }));
    let patch: json_patch::Patch = serde_json::from_value(Value::Array(operations)).expect("operations of RFC 6902");
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let (secrets, patch) = (secrets(client, wanted), Patch::<()>::Json(patch));
    // Before its words are masked, which leaves nothing of them where the Secret is large.
    let request = async {
        let mut answer = secrets.patch(name_of(wanted), &params, &patch).await;
        if let Err(kube::Error::Api(status)) = &mut answer
            && status.code == 422
            && status.message.contains(PATCH_DOES_NOT_FIT)
        {
            status.code = 409;
        }
        answer
    };
    write_secret(&secrets, wanted, Before::Read(present), request).await
}

/// Deletes a former target, in exactly the version that was read.
///
/// # Errors
///
/// See [`ApiError`].
///
/// # Permissions
///
/// delete on Secrets in the namespace.
pub async fn delete_target(client: &Client, former: &Secret) -> Result<(), ApiError> {
    let ObjectVersion { uid, resource_version } = ObjectVersion::of(&former.metadata);
    let preconditions = Preconditions { uid: Some(uid), resource_version: Some(resource_version) };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let secrets = secrets(client, former);
    write_secret(&secrets, former, Before::Nothing, secrets.delete(name_of(former), &params)).await?;
    Ok(())
}

/// Writes what changed in the status, and returns the object as it is then.
///
/// # Errors
///
/// `Conflict` where the object is another one or another version by now (the API server does not compare uids in writes
/// of the status subresource, so the version is what the write rests on); see [`ApiError`].
///
/// # Permissions
///
/// patch on `zohocredentials/status` in the namespace.
pub async fn patch_status(
    client: &Client,
    credential: &ZohoCredential,
    key: &ObjectName,
    status: &ZohoCredentialStatus,
) -> Result<Told<ZohoCredential>, ApiError> {
    let before = credential.status.as_ref().map_or(Value::Null, |status| json!(status));
    let patch = json!({
        "metadata": { "resourceVersion": credential.metadata.resource_version },
        "status": merge_patch(&before, &json!(status)),
    });
    let api = Api::<Told<ZohoCredential>>::namespaced(client.clone(), &key.namespace);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    call(api.patch_status(&key.name, &params, &Patch::Merge(patch))).await
}

/// Writes a status on an object that does not fit our types, in the version that was seen.
///
/// # Errors
///
/// `Conflict` where it is another version by now; see [`ApiError`].
///
/// # Permissions
///
/// patch on `zohocredentials/status` in the namespace.
pub async fn patch_status_of_unreadable(
    client: &Client,
    key: &ObjectName,
    seen: &ObjectMeta,
    status: &Value,
) -> Result<(), ApiError> {
    let patch = json!({ "metadata": { "resourceVersion": seen.resource_version }, "status": status });
    let api = Api::<Told<ZohoCredential>>::namespaced(client.clone(), &key.namespace);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    call(api.patch_status(&key.name, &params, &Patch::Merge(patch))).await?;
    Ok(())
}

/// The JSON merge patch (RFC 7396) that turns `from` into `to`.
fn merge_patch(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let mut patch = Map::new();
    for (key, value) in to {
        match from.get(key) {
            Some(before) if before == value => {}
            Some(before) => drop(patch.insert(key.clone(), merge_patch(before, value))),
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// The owners of the present Secret, ours among them as the one controller.
fn with_our_owner(present: &Secret, wanted: &Secret) -> Vec<OwnerReference> {
    let ours = wanted.metadata.owner_references.clone().unwrap_or_default();
    let foreign = present.metadata.owner_references.iter().flatten();
    let foreign = foreign.filter(|owner| ours.iter().all(|our| our.uid != owner.uid) && owner.controller != Some(true));
    foreign.cloned().chain(ours.iter().cloned()).collect()
}

fn secrets(client: &Client, secret: &Secret) -> Api<Secret> {
    Api::namespaced(client.clone(), secret.metadata.namespace.as_deref().unwrap_or_default())
}

fn name_of(secret: &Secret) -> &str {
    secret.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_names_what_changed_and_what_went() {
        let from = json!({ "a": 1, "b": { "c": 1, "d": 2 }, "gone": 1, "list": [1] });
        let to = json!({ "a": 1, "b": { "c": 1, "d": 3 }, "new": 2, "list": [1, 2] });
        let expected = json!({ "b": { "d": 3 }, "gone": null, "new": 2, "list": [1, 2] });
        assert_eq!(merge_patch(&from, &to), expected);
        assert_eq!(merge_patch(&Value::Null, &to), to);
        assert_eq!(merge_patch(&to, &to), json!({}));
    }
}
