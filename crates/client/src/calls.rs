//! What a call to the Kubernetes API can come to, in the words that decisions need.

use std::time::Duration;

use kube::core::Status;
use zoho_core::text::printable;

/// A call that has not answered by then is given up; it may still have been carried out.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Longest text of the API server that is passed on to people, in characters.
const LONGEST_MESSAGE: usize = 256;

/// Words of the API server for a webhook that denies, and for one that it cannot ask.
const WEBHOOK: [&str; 2] = ["admission webhook", "failed calling webhook"];

/// Why a call to the API server did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No such object.
    #[error("not found")]
    NotFound,
    /// The object is not the one, or not the version, that the write was meant for.
    #[error("conflict")]
    Conflict,
    /// An object of that name exists.
    #[error("already exists")]
    AlreadyExists,
    /// The server will not do it: RBAC, admission, quota, validation.
    #[error("refused: {message}")]
    Refused {
        /// The server's words, printable and in one line, at most 256 characters.
        message: String,
    },
    /// A webhook cannot say what it would do: it does not support dry runs.
    #[error("a webhook does not support dry runs")]
    NoDryRun,
    /// No usable answer; whether the call was carried out is not known.
    #[error("no answer from the API server")]
    Unavailable(#[source] Option<Box<kube::Error>>),
}

impl ApiError {
    /// Was the call not taken because the API server does not know the caller, or the caller's credentials cannot be had?
    pub fn is_unauthenticated(&self) -> bool {
        let Self::Unavailable(Some(cause)) = self else { return false };
        matches!(**cause, kube::Error::Auth(_)) || matches!(&**cause, kube::Error::Api(status) if status.code == 401)
    }
}

/// Makes a call with a deadline of 10 s. kube sets none of its own.
///
/// # Errors
///
/// See [`ApiError`]. Nothing is repeated here.
pub async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    answer(request).await.map_err(|failure| failure.told(str::to_owned))
}

/// Why a call did not succeed, with the whole of what the server said, which nobody has looked through yet.
pub(crate) struct Failure(ApiError);

/// Makes a call as [`call`] does.
pub(crate) async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(ANSWER_WITHIN, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(Failure(refusal(&status))),
        Ok(Err(error)) => Err(Failure(ApiError::Unavailable(Some(Box::new(error))))),
        Err(_elapsed) => Err(Failure(ApiError::Unavailable(None))),
    }
}

impl Failure {
    /// Has it words of the server, or of somebody whom the server asks?
    pub(crate) fn has_words(&self) -> bool {
        match &self.0 {
            ApiError::Refused { .. } => true,
            ApiError::Unavailable(Some(error)) => matches!(**error, kube::Error::Api(_) | kube::Error::SerdeError(_)),
            ApiError::NotFound
            | ApiError::Conflict
            | ApiError::AlreadyExists
            | ApiError::NoDryRun
            | ApiError::Unavailable(None) => false,
        }
    }

    /// What is passed on of it. `words` says in which words; they are shortened after that.
    pub(crate) fn told(self, words: impl Fn(&str) -> String) -> ApiError {
        match self.0 {
            ApiError::Refused { message } => {
                let message = printable(&words(&message), LONGEST_MESSAGE);
                ApiError::Refused { message }
            }
            ApiError::Unavailable(Some(error)) => ApiError::Unavailable(Some(Box::new(reworded(*error, words)))),
            other @ (ApiError::NotFound
            | ApiError::Conflict
            | ApiError::AlreadyExists
            | ApiError::NoDryRun
            | ApiError::Unavailable(None)) => other,
        }
    }

    /// The same of a call that is about a Secret. Nothing that was said goes on unless `words` has seen it, also where what
    /// came back is no answer that can be read.
    pub(crate) fn told_of_secret(self, words: impl Fn(&str) -> String) -> ApiError {
        let told = match self.0 {
            ApiError::Unavailable(Some(error)) if matches!(*error, kube::Error::SerdeError(_)) => {
                let status = Status::failure(&error.to_string(), "UnreadableAnswer");
                ApiError::Unavailable(Some(Box::new(kube::Error::Api(Box::new(status)))))
            }
            told @ (ApiError::NotFound
            | ApiError::Conflict
            | ApiError::AlreadyExists
            | ApiError::Refused { .. }
            | ApiError::NoDryRun
            | ApiError::Unavailable(_)) => told,
        };
        Self(told).told(words)
    }
}

/// An answer without details, which nobody reads and which may hold anything.
#[expect(clippy::wildcard_enum_match_arm, reason = "only one variant has words of others")]
fn reworded(error: kube::Error, words: impl Fn(&str) -> String) -> kube::Error {
    match error {
        kube::Error::Api(status) => {
            let told = Status::failure(&words(&status.message), &words(&status.reason)).with_code(status.code);
            kube::Error::Api(Box::new(told))
        }
        error => error,
    }
}

fn refusal(status: &Status) -> ApiError {
    let refused = || ApiError::Refused { message: status.message.clone() };
    match (status.code, status.reason.as_str()) {
        (404, _) => ApiError::NotFound,
        (409, "AlreadyExists") => ApiError::AlreadyExists,
        (409, _) => ApiError::Conflict,
        // Another object of the same name: a patch cannot change the uid that it names.
        (422, _) if status.message.contains("metadata.uid") => ApiError::Conflict,
        (400, _) if status.message.contains("dry run") => ApiError::NoDryRun,
        (400 | 403 | 405 | 413 | 422, _) => refused(),
        // A denial by a webhook may carry any code, and one that cannot be asked is an internal error: what is said of it is
        // what a person needs.
        (_, _) if WEBHOOK.iter().any(|words| status.message.contains(words)) => refused(),
        (401 | 429 | 500.., _) => ApiError::Unavailable(Some(Box::new(kube::Error::Api(Box::new(status.clone()))))),
        (_, _) => refused(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_answer_has_one_meaning() {
        let table = [
            (404, "NotFound", "", "not found"),
            (409, "AlreadyExists", "", "already exists"),
            (409, "Conflict", "", "conflict"),
            (403, "Forbidden", "exceeded quota: q", "refused: exceeded quota: q"),
            (422, "Invalid", "bad\nname", "refused: bad name"),
            (422, "Invalid", "Secret \"s\" is invalid: metadata.uid: Invalid value: field is immutable", "conflict"),
            (
                400,
                "BadRequest",
                "admission webhook \"w\" does not support dry run",
                "a webhook does not support dry runs",
            ),
            (
                418,
                "",
                "admission webhook \"w\" denied the request: no",
                "refused: admission webhook \"w\" denied the request: no",
            ),
            (
                500,
                "InternalError",
                "Internal error occurred: failed calling webhook \"w\": connection refused",
                "refused: Internal error occurred: failed calling webhook \"w\": connection refused",
            ),
            (500, "InternalError", "Internal error occurred: out of order", "no answer from the API server"),
            (429, "TooManyRequests", "", "no answer from the API server"),
            (503, "ServiceUnavailable", "", "no answer from the API server"),
        ];
        for (code, reason, message, expected) in table {
            let status = Status::failure(message, reason).with_code(code);
            let told = Failure(refusal(&status)).told(str::to_owned);
            assert_eq!(told.to_string(), expected, "{code} {reason}");
        }
    }

    #[test]
    fn words_are_seen_whole_before_they_are_shortened() {
        let message = format!("{}secret", "x".repeat(LONGEST_MESSAGE - 3));
        let failure = Failure(refusal(&Status::failure(&message, "Forbidden").with_code(403)));
        let told = failure.told(|words| words.replace("secret", "***")).to_string();
        assert!(told.ends_with("x***"), "{told}");
    }

    #[test]
    fn no_form_of_a_failure_about_a_secret_keeps_words_that_were_not_looked_through() {
        let detailed = json!({
            "code": 500, "reason": "secret", "message": "it is secret", "status": "Failure",
            "details": { "name": "secret", "causes": [{ "reason": "r", "message": "secret", "field": "f" }] },
        });
        let detailed: Status = serde_json::from_value(detailed).unwrap();
        let unreadable = serde_json::from_str::<u8>("\"secret\"").unwrap_err();
        for error in [kube::Error::Api(Box::new(detailed)), kube::Error::SerdeError(unreadable)] {
            let failure = Failure(ApiError::Unavailable(Some(Box::new(error))));
            assert!(failure.has_words());
            let told = failure.told_of_secret(|words| words.replace("secret", "***"));
            let text = format!("{told:?} {}", std::error::Error::source(&told).unwrap());
            assert!(text.contains("***") && !text.contains("secret"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn call_without_an_answer_ends() {
        let never = std::future::pending::<kube::Result<()>>();
        assert!(matches!(call(never).await, Err(ApiError::Unavailable(None))));
    }
}
