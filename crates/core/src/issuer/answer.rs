//! What a product's answer says of the token that it was shown. Pure.
//!
//! The status alone says little: some products answer 401 to a token whose scopes do not suffice, or to a request that
//! lost its token on the way, and some report errors with status 200. So the error code in the body counts first: those of
//! the product's own, then the words that Zoho's products share, and the status last.

use serde::de::IgnoredAny;

use super::body::{self, Object};
use super::probe::Question;
use super::reply::is_something;
use crate::plan::verify::Answer;
use zoho_api::Reason;
use zoho_api::products::Says;

/// Where products put error codes: keys from the outside in. A list on the way stands for its members.
const PLACES: &[&[&str]] = &[
    &["code"],
    &["Code"],
    &["errorCode"],
    &["error_code"],
    &["data", "errorCode"],
    &["error", "code"],
    &["error", "title"],
    &["error", "error_code"],
    &["response", "errors", "code"],
    &["response_status", "status_code"],
    &["errors", "id"],
];

/// Words that mean the same in every product that uses them.
const SHARED: &[(&str, Says)] = &[
    ("INVALID_OAUTHTOKEN", Says::Refused),
    ("INVALID_TOKEN", Says::Refused),
    ("INVALID_OAUTH", Says::Refused),
    ("oauthtoken_invalid", Says::Refused),
    ("INVALID_TICKET", Says::NoToken),
    ("AUTHENTICATION_FAILURE", Says::NoToken),
    ("NO_PERMISSION", Says::MayNot),
    ("OAUTH_ORG_MISMATCH", Says::MayNot),
    ("THRESHOLD_EXCEEDED", Says::Busy),
    ("TOO_MANY_REQUESTS", Says::Busy),
];

/// What an answer says of the token. Total. `body` is empty where it was too large to be read.
///
/// A refusal is no proof that the token is dead: some products say the same of a missing scope.
pub fn classify(question: &Question, status: u16, body: &[u8]) -> Answer {
    match status {
        300..=399 => return Answer::Nothing(Reason::UpstreamRedirect),
        429 => return Answer::Nothing(Reason::UpstreamUnavailable),
        _ => {}
    }
    let text = body::text(body);
    let object = Object::parse(&text);
    let said = object.as_ref().and_then(|object| said(question, object));
    let by_status = || question.statuses.iter().find(|(of, _)| *of == status).map(|(_, says)| *says);
    if let Some(says) = said.or_else(by_status) {
        return match says {
            Says::Refused => Answer::Refused,
            Says::NoToken => Answer::NoToken,
            Says::ScopeMissing => Answer::ScopeMissing,
            Says::MayNot => Answer::MayNot,
            Says::Busy => Answer::Nothing(Reason::UpstreamUnavailable),
        };
    }
    match status {
        401 => Answer::Refused,
        // Endpoint Central and its kin report errors with status 200 too.
        200..=299 if object.as_ref().is_some_and(is_error) => Answer::Refused,
        200..=299 if object.is_some() || is_list(&text) => Answer::Taken,
        200..=299 => Answer::Nothing(Reason::UpstreamReplyInvalid),
        500.. => Answer::Nothing(Reason::UpstreamUnavailable),
        _ => Answer::Nothing(Reason::UpstreamError),
    }
}

fn is_error(object: &Object<'_>) -> bool {
    object.string("status").is_some_and(|word| word.trim().eq_ignore_ascii_case("error"))
        && object.values("error_code").any(is_something)
}

fn is_list(text: &str) -> bool {
    serde_json::from_str::<Vec<IgnoredAny>>(text).is_ok()
}

/// What the first error code that is known says.
fn said(question: &Question, object: &Object<'_>) -> Option<Says> {
    let codes: Vec<String> = PLACES.iter().flat_map(|place| at(object, place)).collect();
    let known = |code: &String| {
        let is_it = |(word, _): &&(&str, Says)| word.eq_ignore_ascii_case(code);
        question.codes.iter().chain(SHARED).find(is_it).map(|(_, says)| *says)
    };
    let is_of_scopes = |code: &String| code.to_ascii_uppercase().contains("SCOPE");
    codes.iter().find_map(known).or_else(|| codes.iter().any(is_of_scopes).then_some(Says::ScopeMissing))
}

/// The texts and numbers at a place.
fn at(object: &Object<'_>, place: &[&'static str]) -> Vec<String> {
    match place {
        [] => Vec::new(),
        [key] => object.values(key).map(|json| body::string(json).unwrap_or_else(|| json.to_owned())).collect(),
        [key, rest @ ..] => object.objects(key).flat_map(|inner| at(&inner, rest)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use zoho_api::Product;

    use super::*;

    /// A question to a product; to none where it is `None`.
    fn question(product: Option<Product>) -> Question {
        let known = product.and_then(|product| product.facts().probe.as_ref());
        Question {
            product: "it".into(),
            url: "https://api.example/ping".parse().unwrap(),
            accept: None,
            scheme: "Zoho-oauthtoken ",
            needs: String::new(),
            codes: known.map_or(&[], |probe| probe.codes),
            statuses: known.map_or(&[], |probe| probe.statuses),
        }
    }

    fn check(rows: &[(Option<Product>, u16, &str, Answer)]) {
        for (product, status, body, expected) in rows {
            assert_eq!(
                classify(&question(*product), *status, body.as_bytes()),
                *expected,
                "{product:?} {status} {body}"
            );
        }
    }

    #[test]
    fn answers_of_the_first_three_have_their_meaning() {
        let (patch, desk) = (Some(Product::PatchManagerPlus), Some(Product::ServiceDeskPlus));
        check(&[
            (patch, 200, r#"{"status":"success"}"#, Answer::Taken),
            (patch, 200, r#"{"status":"error","error_code":"10002"}"#, Answer::Refused),
            (patch, 200, "\u{feff}{\"status\":\"error\",\"error_code\":\"10002\"}", Answer::Refused),
            // An error needs both.
            (patch, 200, r#"{"status":"error"}"#, Answer::Taken),
            (patch, 200, r#"{"status":"success","error_code":"10002"}"#, Answer::Taken),
            (patch, 200, "\u{feff}{\"status\":\"success\"}", Answer::Taken),
            (patch, 401, "", Answer::Refused),
            (patch, 403, "{}", Answer::Nothing(Reason::UpstreamError)),
            (desk, 403, r#"{"response_status":{"status_code":4002}}"#, Answer::MayNot),
            (desk, 403, r#"{"response_status":[{"status_code":4002,"status":"failed"}]}"#, Answer::MayNot),
            (desk, 403, "{}", Answer::MayNot),
            (desk, 401, "{}", Answer::Refused),
            (patch, 200, "<html>", Answer::Nothing(Reason::UpstreamReplyInvalid)),
            (patch, 200, "", Answer::Nothing(Reason::UpstreamReplyInvalid)),
            (patch, 302, "", Answer::Nothing(Reason::UpstreamRedirect)),
            (patch, 404, "{}", Answer::Nothing(Reason::UpstreamError)),
            (patch, 429, "{}", Answer::Nothing(Reason::UpstreamUnavailable)),
            (patch, 503, "", Answer::Nothing(Reason::UpstreamUnavailable)),
        ]);
    }

    #[test]
    fn good_answers_are_taken_whatever_code_stands_in_them() {
        check(&[
            (Some(Product::ZohoCRM), 200, r#"{"org":[{"country_code":"DE","id":"1"}]}"#, Answer::Taken),
            (Some(Product::ZohoDesk), 200, r#"{"data":[{"id":"1","companyName":"A"}]}"#, Answer::Taken),
            (Some(Product::ZohoBooks), 200, r#"{"code":0,"message":"success","organizations":[]}"#, Answer::Taken),
            (Some(Product::ZohoCreator), 200, r#"{"code":3000,"applications":[]}"#, Answer::Taken),
            (Some(Product::ZohoProjects), 200, r#"[{"id":"1","portal_name":"a"}]"#, Answer::Taken),
            (Some(Product::ZohoProjects), 200, "[<html>", Answer::Nothing(Reason::UpstreamReplyInvalid)),
            (Some(Product::ZohoPeople), 200, r#"{"response":{"result":[],"status":0}}"#, Answer::Taken),
            (Some(Product::ZohoMail), 200, r#"{"status":{"code":200},"data":[{"accountId":"14"}]}"#, Answer::Taken),
            (Some(Product::ZohoAnalytics), 200, r#"{"status":"success","data":{"workspaces":[]}}"#, Answer::Taken),
            (Some(Product::Site24x7), 200, r#"{"code":0,"message":"success","data":[]}"#, Answer::Taken),
        ]);
    }

    #[test]
    fn dead_token_is_refused() {
        check(&[
            (Some(Product::ZohoCRM), 401, r#"{"code":"INVALID_TOKEN","status":"error"}"#, Answer::Refused),
            (Some(Product::ZohoDesk), 401, r#"{"errorCode":"INVALID_OAUTH"}"#, Answer::Refused),
            (Some(Product::ZohoBooks), 401, r#"{"code":57,"message":"You are not authorized"}"#, Answer::Refused),
            (Some(Product::ZohoProjects), 401, r#"{"error":{"title":"INVALID_OAUTHTOKEN"}}"#, Answer::Refused),
            (Some(Product::ZohoPeople), 401, r#"{"response":{"errors":{"code":7213}}}"#, Answer::Refused),
            (Some(Product::ZohoRecruit), 401, r#"{"code":"INVALID_TOKEN"}"#, Answer::Refused),
            (Some(Product::ZohoCreator), 401, r#"{"code":1030}"#, Answer::Refused),
            (Some(Product::ZohoAnalytics), 401, r#"{"data":{"errorCode":8535}}"#, Answer::Refused),
            (Some(Product::ZohoWorkDrive), 401, r#"{"errors":[{"id":"F7003"}]}"#, Answer::Refused),
            (Some(Product::ZohoWorkDrive), 500, r#"{"errors":[{"id":"F000"}]}"#, Answer::Refused),
            (Some(Product::ZohoSign), 401, r#"{"code":9041,"status":"failure"}"#, Answer::Refused),
            (Some(Product::ZohoCliq), 401, r#"{"code":"oauthtoken_invalid"}"#, Answer::Refused),
            (Some(Product::ZohoMail), 401, r#"{"data":{"errorCode":"INVALID_OAUTHTOKEN"}}"#, Answer::Refused),
            (Some(Product::ZohoCalendar), 401, r#"{"error":[{"error_code":"INVALID_OAUTHTOKEN"}]}"#, Answer::Refused),
            (Some(Product::ZohoCampaigns), 401, r#"{"Code":"1007"}"#, Answer::Refused),
            (None, 401, r#"{"code":"INVALID_TOKEN"}"#, Answer::Refused),
            (None, 401, r#"{"code":"14"}"#, Answer::Refused),
        ]);
    }

    #[test]
    fn request_that_lost_its_token_is_no_refusal() {
        check(&[
            (Some(Product::ZohoCRM), 401, r#"{"code":"AUTHENTICATION_FAILURE"}"#, Answer::NoToken),
            (Some(Product::ZohoDesk), 401, r#"{"errorCode":"UNAUTHORIZED"}"#, Answer::NoToken),
            (Some(Product::ZohoBooks), 401, r#"{"code":14}"#, Answer::NoToken),
            (Some(Product::ZohoInvoice), 401, r#"{"code":14}"#, Answer::NoToken),
            (Some(Product::ZohoProjects), 401, r#"{"error":{"title":"INVALID_TICKET"}}"#, Answer::NoToken),
            (Some(Product::ZohoPeople), 400, r#"{"response":{"errors":{"code":7202}}}"#, Answer::NoToken),
            (Some(Product::ZohoAnalytics), 400, r#"{"data":{"errorCode":8518}}"#, Answer::NoToken),
            (Some(Product::ZohoWorkDrive), 500, r#"{"errors":[{"id":"INVALID_TICKET"}]}"#, Answer::NoToken),
            (Some(Product::ZohoSign), 401, r#"{"code":9031}"#, Answer::NoToken),
            (Some(Product::ZohoCliq), 401, "", Answer::NoToken),
            (Some(Product::ZohoCliq), 401, "<html></html>", Answer::NoToken),
            (Some(Product::ZohoMail), 400, r#"{"data":{"errorCode":"INVALID_TICKET"}}"#, Answer::NoToken),
            (Some(Product::ZohoCalendar), 400, r#"{"error":[{"error_code":"INVALID_TICKET"}]}"#, Answer::NoToken),
        ]);
    }

    #[test]
    fn missing_scope_and_missing_right_are_no_refusal() {
        check(&[
            (Some(Product::ZohoCRM), 401, r#"{"code":"OAUTH_SCOPE_MISMATCH"}"#, Answer::ScopeMissing),
            (Some(Product::ZohoDesk), 403, r#"{"errorCode":"SCOPE_MISMATCH"}"#, Answer::ScopeMissing),
            (
                Some(Product::ZohoMail),
                401,
                r#"{"errorCode":"INVALID_OAUTHSCOPE","authFail":true}"#,
                Answer::ScopeMissing,
            ),
            (Some(Product::ZohoAnalytics), 401, r#"{"data":{"errorCode":8540}}"#, Answer::ScopeMissing),
            (Some(Product::ZohoWorkDrive), 401, r#"{"errors":[{"id":"F7004"}]}"#, Answer::ScopeMissing),
            (Some(Product::Site24x7), 401, r#"{"error_code":1121}"#, Answer::ScopeMissing),
            (None, 401, r#"{"error":{"title":"INVALID_OAUTHSCOPE"}}"#, Answer::ScopeMissing),
            (Some(Product::ZohoCRM), 403, r#"{"code":"NO_PERMISSION"}"#, Answer::MayNot),
            (Some(Product::ZohoAnalytics), 403, r#"{"data":{"errorCode":7301}}"#, Answer::MayNot),
            (Some(Product::ZohoDesk), 403, r#"{"errorCode":"LICENSE_ACCESS_LIMITED"}"#, Answer::MayNot),
            (Some(Product::ZohoDesk), 403, r#"{"errorCode":"OAUTH_ORG_MISMATCH"}"#, Answer::MayNot),
            (None, 403, r#"{"errorCode":"FORBIDDEN"}"#, Answer::Nothing(Reason::UpstreamError)),
        ]);
    }

    #[test]
    fn throttles_and_pages_say_nothing_of_the_token() {
        let busy = Answer::Nothing(Reason::UpstreamUnavailable);
        check(&[
            (Some(Product::ZohoCreator), 200, r#"{"code":4000}"#, busy),
            (Some(Product::ZohoDesk), 429, r#"{"errorCode":"THRESHOLD_EXCEEDED"}"#, busy),
            (Some(Product::ZohoDesk), 403, r#"{"errorCode":"TOO_MANY_REQUESTS"}"#, busy),
            (Some(Product::ZohoBooks), 429, r#"{"code":57}"#, busy),
            (
                Some(Product::ZohoCliq),
                400,
                r#"{"message":"URL throttle limits"}"#,
                Answer::Nothing(Reason::UpstreamError),
            ),
            (Some(Product::ZohoBigin), 200, "<html></html>", Answer::Nothing(Reason::UpstreamReplyInvalid)),
        ]);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_answers_never_panic(status in 100u16..600, body in "[\\[\\]{}\",:a-z0-9]{0,60}") {
            for product in Product::ALL {
                let _ = classify(&question(Some(*product)), status, body.as_bytes());
            }
        }
    }
}
