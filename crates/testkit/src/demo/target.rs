//! The target Secret as the demo compares and shows it.

use k8s_openapi::api::core::v1::Secret;

/// Characters of a token that are shown.
const SHOWN: usize = 9;

/// The target Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) uid: String,
    version: String,
    pub(super) token: String,
    data: Vec<(String, String)>,
}

impl Target {
    pub(super) fn of(secret: &Secret) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let data = secret.data.iter().flatten().map(|(key, value)| (key.clone(), text(&value.0))).collect();
        let mut target = Self {
            uid: secret.metadata.uid.clone().unwrap_or_default(),
            version: secret.metadata.resource_version.clone().unwrap_or_default(),
            token: String::new(),
            data,
        };
        target.token = target.value("access_token");
        target
    }

    pub(super) fn value(&self, key: &str) -> String {
        self.data.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// All of it, as it may be shown.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        self.data.iter().map(|(key, _)| (key.clone(), self.shown(key))).collect()
    }

    /// A value as it may be shown: never a whole token.
    pub(super) fn shown(&self, key: &str) -> String {
        let value = self.value(key);
        if self.token.is_empty() { value } else { value.replace(&self.token, &shortened(&self.token)) }
    }
}

fn shortened(token: &str) -> String {
    token.chars().take(SHOWN).chain(['…']).collect()
}
