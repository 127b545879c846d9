//! What a call to the Kubernetes API can come to, in the words that decisions need.

use std::time::Duration;

use kube::core::Status;
use zoho_core::text::printable;

/// A call that has not answered by then is given up; it may still have been carried out.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Longest text of the API server that is passed on to people, in characters.
const LONGEST_MESSAGE: usize = 256;

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

/// Makes a call with a deadline of 10 s. kube sets none of its own.
///
/// # Errors
///
/// See [`ApiError`]. Nothing is repeated here.
pub async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(ANSWER_WITHIN, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(refusal(&status)),
        Ok(Err(error)) => Err(ApiError::Unavailable(Some(Box::new(error)))),
        Err(_elapsed) => Err(ApiError::Unavailable(None)),
    }
}

fn refusal(status: &Status) -> ApiError {
    let message = || printable(&status.message, LONGEST_MESSAGE);
    match (status.code, status.reason.as_str()) {
        (404, _) => ApiError::NotFound,
        (409, "AlreadyExists") => ApiError::AlreadyExists,
        (409, _) => ApiError::Conflict,
        // Another object of the same name: a patch cannot change the uid that it names.
        (422, _) if status.message.contains("metadata.uid") => ApiError::Conflict,
        (400, _) if status.message.contains("dry run") => ApiError::NoDryRun,
        (400 | 403 | 405 | 413 | 422, _) => ApiError::Refused { message: message() },
        // A denial by a webhook may carry any code; what it says is what a person needs.
        (_, _) if status.message.contains("admission webhook") => ApiError::Refused { message: message() },
        (401 | 429 | 500.., _) => ApiError::Unavailable(Some(Box::new(kube::Error::Api(Box::new(status.clone()))))),
        (_, _) => ApiError::Refused { message: message() },
    }
}

#[cfg(test)]
mod tests {
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
            (429, "TooManyRequests", "", "no answer from the API server"),
            (503, "ServiceUnavailable", "", "no answer from the API server"),
        ];
        for (code, reason, message, expected) in table {
            let status = Status::failure(message, reason).with_code(code);
            assert_eq!(refusal(&status).to_string(), expected, "{code} {reason}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn call_without_an_answer_ends() {
        let never = std::future::pending::<kube::Result<()>>();
        assert!(matches!(call(never).await, Err(ApiError::Unavailable(None))));
    }
}
