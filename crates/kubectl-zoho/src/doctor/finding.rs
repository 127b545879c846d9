//! What a check came to. Pure.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Could not be seen, with the caller's rights or from here.
    Unseen,
    /// Works, and will not for long or not for all.
    Warn,
    /// Does not work.
    Fail,
}

impl Level {
    /// As it is printed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unseen => "unseen",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    /// As it should be.
    pub(crate) fn ok(subject: &str, text: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Ok, text: text.into(), advice: None }
    }

    /// Could not be seen.
    pub(crate) fn unseen(subject: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Unseen, ..Self::ok(subject, text) }
    }

    /// Works for now.
    pub(crate) fn warn(subject: &str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warn, advice: Some(advice.into()), ..Self::ok(subject, text) }
    }

    /// Does not work.
    pub(crate) fn fail(subject: &str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Fail, advice: Some(advice.into()), ..Self::ok(subject, text) }
    }
}
