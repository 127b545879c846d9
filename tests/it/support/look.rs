//! What a credential and a Secret say.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use zoho_api::{ConditionStatus, ConditionType, ZohoCredential};

/// A value of a Secret; empty where there is none.
pub(crate) fn text(secret: &Secret, key: &str) -> String {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value.map(|ByteString(bytes)| String::from_utf8(bytes.clone()).expect("text")).unwrap_or_default()
}

/// Has the condition that reason?
pub(crate) fn is(credential: &ZohoCredential, type_: ConditionType, reason: &str) -> bool {
    let condition = credential.status.as_ref().and_then(|status| status.condition(type_));
    condition.is_some_and(|condition| condition.reason == reason)
}

pub(crate) fn condition(credential: &ZohoCredential, type_: ConditionType) -> Option<ConditionStatus> {
    credential.status.as_ref()?.condition(type_).map(|condition| condition.status)
}

pub(crate) fn is_ready(credential: &ZohoCredential) -> bool {
    condition(credential, ConditionType::Ready) == Some(ConditionStatus::True)
}

pub(crate) fn message(credential: &ZohoCredential, type_: ConditionType) -> String {
    let condition = credential.status.as_ref().and_then(|status| status.condition(type_));
    condition.map(|condition| condition.message.clone()).unwrap_or_default()
}

/// Is the status about the present spec?
pub(super) fn is_observed(credential: &ZohoCredential) -> bool {
    credential.status.as_ref().and_then(|status| status.observed_generation) == credential.metadata.generation
}
