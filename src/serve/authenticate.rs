//! Who may read the metrics, which tell the names of all credentials: whom the API server knows by a bearer token and
//! lets get the non-resource URL `/metrics`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use ring::hmac;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use zoho_client::calls::{ApiError, call};
use zoho_core::text::{causes, printable};

/// An answer of the API server holds for so long.
const HOLDS_FOR: Duration = Duration::from_secs(60);
/// Answers that are kept.
const KEPT: usize = 64;
/// Reviews at once: whoever sends one invented token after the other keeps the API server no busier than this.
const REVIEWS: usize = 4;
/// Turn and answer of the API server come within this time, or the request is refused. Prometheus waits for ten seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// Longest name of a user in an answer, in characters.
const LONGEST_NAME: usize = 253;

/// What the API server says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Its user may read the metrics.
    Admitted,
    /// It is nobody's.
    Unknown,
    /// Its user, by name, may not.
    Forbidden(String),
}

impl Verdict {
    fn refusal(self) -> Option<Response> {
        match self {
            Self::Admitted => None,
            Self::Unknown => Some(unauthorized("the API server does not know this token\n")),
            Self::Forbidden(user) => {
                let text = format!(
                    "{user} may not read the metrics: it needs a ClusterRole with verb get on nonResourceURLs /metrics\n"
                );
                Some((StatusCode::FORBIDDEN, text).into_response())
            }
        }
    }
}

/// Lets those in who may read the metrics.
pub(crate) struct Guard {
    client: Client,
    /// Tokens are known by a keyed hash only.
    key: hmac::Key,
    known: Mutex<Known>,
    reviews: Semaphore,
    /// The API server could not be asked last time.
    fails: AtomicBool,
}

impl Guard {
    /// # Errors
    ///
    /// The system gives no random numbers.
    ///
    /// # Permissions
    ///
    /// create on `tokenreviews.authentication.k8s.io` and `subjectaccessreviews.authorization.k8s.io`.
    pub(crate) fn new(client: Client) -> anyhow::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new());
        let key = key.map_err(|_unspecified| anyhow::anyhow!("draw a random key"))?;
        let reviews = Semaphore::new(REVIEWS);
        Ok(Self { client, key, known: Mutex::default(), reviews, fails: AtomicBool::new(false) })
    }

    /// What to answer instead of the metrics: 401 without a token that the API server knows, 403 where its user may not
    /// read them, 503 where that cannot be found out. `None`: nothing speaks against it.
    pub(crate) async fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        let Some(token) = bearer(headers) else {
            return Some(unauthorized("send a token of this cluster: Authorization: Bearer TOKEN\n"));
        };
        let digest = hmac::sign(&self.key, token.as_bytes());
        if let Some(verdict) = self.known().get(digest.as_ref(), Instant::now()) {
            return verdict.refusal();
        }
        match timeout(ANSWER_WITHIN, self.review(token)).await {
            Ok(Ok(verdict)) => {
                self.fails.store(false, Ordering::Relaxed);
                self.known().put(digest.as_ref(), verdict.clone(), Instant::now());
                verdict.refusal()
            }
            Ok(Err(error)) => Some(self.unavailable(&error)),
            Err(_elapsed) => Some(self.unavailable(&ApiError::Unavailable(None))),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closed where it is not known, and told once.
    fn unavailable(&self, error: &ApiError) -> Response {
        if !self.fails.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = causes(error),
                "the API server cannot be asked who may read the metrics; they are refused (see zoho-operator check)"
            );
        }
        let text = "the API server cannot be asked about this token now; the operator's log says why\n";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }

    async fn review(&self, token: &str) -> Result<Verdict, ApiError> {
        let _turn = self.reviews.acquire().await.expect("it is never closed");
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews = Api::<TokenReview>::all(self.client.clone());
        let status = call(reviews.create(&PostParams::default(), &review)).await?.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(Verdict::Unknown);
        };
        let name = printable(user.username.as_deref().unwrap_or_default(), LONGEST_NAME);
        let attributes = NonResourceAttributes { path: Some("/metrics".into()), verb: Some("get".into()) };
        let spec = SubjectAccessReviewSpec {
            non_resource_attributes: Some(attributes),
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let answer = call(reviews.create(&PostParams::default(), &review)).await?;
        let is_allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if is_allowed { Verdict::Admitted } else { Verdict::Forbidden(name) })
    }
}

fn unauthorized(text: &'static str) -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response()
}

/// The token of the one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// The last answers of the API server, by the hash of the token. Pure.
#[derive(Debug, Default)]
struct Known(Vec<Answer>);

#[derive(Debug)]
struct Answer {
    digest: Vec<u8>,
    verdict: Verdict,
    until: Instant,
}

impl Known {
    fn get(&self, digest: &[u8], now: Instant) -> Option<Verdict> {
        let answer = self.0.iter().find(|answer| answer.digest == digest && now < answer.until)?;
        Some(answer.verdict.clone())
    }

    /// Where there is no room, a refusal goes before what was admitted: invented tokens push nobody out.
    fn put(&mut self, digest: &[u8], verdict: Verdict, now: Instant) {
        self.0.retain(|answer| now < answer.until && answer.digest != digest);
        self.0.push(Answer { digest: digest.to_vec(), verdict, until: now + HOLDS_FOR });
        if self.0.len() > KEPT {
            let refused = self.0.iter().position(|answer| answer.verdict != Verdict::Admitted);
            self.0.remove(refused.unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_that_of_the_one_bearer_header() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["Bearer a.b.c"]).as_deref(), Some("a.b.c"));
        assert_eq!(of(&["bearer  a"]).as_deref(), Some("a"));
        for none in [&[][..], &["Bearer"], &["Bearer "], &["Basic a"], &["a"], &["Bearer a", "Bearer b"]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_hold_for_a_minute_and_take_no_more_room_than_they_may() {
        let mut known = Known::default();
        let begin = Instant::now();
        known.put(b"good", Verdict::Admitted, begin);
        for invented in 0..1000_u32 {
            known.put(&invented.to_be_bytes(), Verdict::Unknown, begin);
        }
        assert_eq!(known.0.len(), KEPT);
        assert_eq!(known.get(b"good", begin), Some(Verdict::Admitted), "invented tokens push it out");
        assert_eq!(known.get(&999_u32.to_be_bytes(), begin), Some(Verdict::Unknown), "the oldest refusal gives way");
        assert_eq!(known.get(b"good", begin + Duration::from_secs(59)), Some(Verdict::Admitted));
        assert_eq!(known.get(b"good", begin + HOLDS_FOR), None);
        known.put(b"good", Verdict::Unknown, begin + HOLDS_FOR);
        assert_eq!(known.0.len(), 1, "what does not hold any more is not kept");
    }
}
