//! What the API server says of itself and of who asks.

use http::{Request, header};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::client::Body;
use kube::{Api, Client};
use zoho_api::Time;

use crate::calls::{ApiError, call};

/// The API server's clock, as the header of an answer has it; `None` where there is no such header.
///
/// # Errors
///
/// See [`ApiError`].
pub async fn date(client: &Client) -> Result<Option<Time>, ApiError> {
    let request = Request::get("/version").body(Body::empty()).expect("a path");
    let answer = call(client.send(request)).await?;
    Ok(answer.headers().get(header::DATE).and_then(|date| Time::from_http_date(date.to_str().ok()?)))
}

/// May who asks do this?
///
/// # Errors
///
/// See [`ApiError`].
pub async fn may(client: &Client, what: ResourceAttributes) -> Result<bool, ApiError> {
    let spec =
        SelfSubjectAccessReviewSpec { resource_attributes: Some(what), ..SelfSubjectAccessReviewSpec::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answer = call(Api::all(client.clone()).create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
