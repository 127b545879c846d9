//! The products' APIs: one GET of each, answered as the product answers it. Written from their pages and from what others
//! have seen, and not from the operator's table.

use super::script::Page;

/// A GET of a product's API.
#[derive(Clone, Debug)]
pub struct Call {
    /// Path of the request.
    pub path: String,
    /// What the `Authorization` header holds.
    pub authorization: Option<String>,
}

/// How the products treat the tokens of a refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Treatment {
    /// By whether they live.
    #[default]
    Usual,
    /// Something on the way takes the `Authorization` header.
    HeaderLost,
    /// Their scopes do not suffice.
    ScopeMissing,
    /// There were too many calls.
    Throttled,
    /// A page for people, such as that of a login.
    Html,
}

/// The answers of one product, each a status and a body.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) path: &'static str,
    taken: (u16, &'static str),
    dead: (u16, &'static str),
    no_token: (u16, &'static str),
    scope_missing: (u16, &'static str),
    throttled: (u16, &'static str),
}

/// What the answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    Dead,
    NoToken,
    ScopeMissing,
    Throttled,
    Html,
}

impl Product {
    pub(super) fn page(&self, answer: Answer) -> Page {
        let (code, body) = match answer {
            Answer::Taken => self.taken,
            Answer::Dead => self.dead,
            Answer::NoToken => self.no_token,
            Answer::ScopeMissing => self.scope_missing,
            Answer::Throttled => self.throttled,
            Answer::Html => return Page::html(200, "<html><body><h1>Sign in</h1></body></html>"),
        };
        // Blank ones are not JSON, whatever the product says otherwise.
        if body.is_empty() { Page::html(code, "") } else { Page::json(code, body) }
    }
}

/// The product that has a path.
pub(super) fn at(path: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.path == path)
}

/// Endpoint Central and its kin.
const fn endpoint_central(path: &'static str) -> Product {
    let refused = (401, r#"{"status":"error","error_code":"10002","error_description":"Invalid or expired token"}"#);
    Product {
        path,
        taken: (200, r#"{"status":"success","message_response":{}}"#),
        dead: refused,
        no_token: refused,
        scope_missing: refused,
        throttled: (429, "{}"),
    }
}

/// CRM and its kin.
const fn crm(path: &'static str, taken: &'static str) -> Product {
    Product {
        path,
        taken: (200, taken),
        dead: (401, r#"{"code":"INVALID_TOKEN","details":{},"message":"invalid oauth token","status":"error"}"#),
        no_token: (
            401,
            r#"{"code":"AUTHENTICATION_FAILURE","details":{},"message":"Authentication failed","status":"error"}"#,
        ),
        scope_missing: (
            401,
            r#"{"code":"OAUTH_SCOPE_MISMATCH","details":{},"message":"invalid oauth scope","status":"error"}"#,
        ),
        throttled: (429, r#"{"code":"TOO_MANY_REQUESTS","details":{},"message":"too many requests","status":"error"}"#),
    }
}

/// Books and its kin: a dead token and a missing scope look the same.
const fn books(path: &'static str) -> Product {
    let refused = (401, r#"{"code":57,"message":"You are not authorized to perform this operation"}"#);
    Product {
        path,
        taken: (200, r#"{"code":0,"message":"success","organizations":[{"organization_id":"10234695"}]}"#),
        dead: refused,
        no_token: (401, r#"{"code":14,"message":"Invalid value passed for authtoken."}"#),
        scope_missing: refused,
        throttled: (429, r#"{"code":44,"message":"Too many requests"}"#),
    }
}

/// All of them. Where nobody has seen a product's answer to a missing scope, it is that to a dead token.
pub(super) const PRODUCTS: &[Product] = &[
    endpoint_central("/api/1.4/patch/summary"),
    endpoint_central("/api/1.4/som/summary"),
    endpoint_central("/api/1.3/som/summary"),
    endpoint_central("/api/v3/requests"),
    crm("/crm/v8/org", r#"{"org":[{"country_code":"DE","id":"111"}]}"#),
    crm("/bigin/v2/users", r#"{"users":[{"id":"111","status":"active"}],"info":{"count":1}}"#),
    crm("/recruit/v2/users", r#"{"users":[{"id":"111","status":"active"}],"info":{"count":1}}"#),
    books("/books/v3/organizations"),
    books("/invoice/v3/organizations"),
    Product {
        path: "/api/v1/organizations",
        taken: (200, r#"{"data":[{"id":"3981311","companyName":"Example"}]}"#),
        dead: (401, r#"{"errorCode":"INVALID_OAUTH","message":"The OAuth Token you provided is invalid."}"#),
        no_token: (401, r#"{"errorCode":"UNAUTHORIZED","message":"You are not authenticated."}"#),
        scope_missing: (403, r#"{"errorCode":"SCOPE_MISMATCH","message":"Invalid OAuth Scope."}"#),
        throttled: (429, r#"{"errorCode":"THRESHOLD_EXCEEDED","message":"API limit"}"#),
    },
    Product {
        path: "/api/v3/portals",
        taken: (200, r#"[{"id":"64040003","portal_name":"example"}]"#),
        dead: (401, r#"{"error":{"status_code":"401","method":"GET","title":"INVALID_OAUTHTOKEN"}}"#),
        no_token: (401, r#"{"error":{"status_code":"401","method":"GET","title":"INVALID_TICKET"}}"#),
        scope_missing: (401, r#"{"error":{"status_code":"401","method":"GET","title":"INVALID_OAUTHTOKEN"}}"#),
        throttled: (429, "{}"),
    },
    Product {
        path: "/people/api/forms",
        taken: (200, r#"{"response":{"result":[{"formLinkName":"employee"}],"message":"Data fetched","status":0}}"#),
        dead: (401, r#"{"response":{"message":"Error","status":1,"errors":{"code":7213,"message":"Invalid token"}}}"#),
        no_token: (400, r#"{"response":{"message":"Error","status":1,"errors":{"code":7202,"message":"No token"}}}"#),
        scope_missing: (
            401,
            r#"{"response":{"message":"Error","status":1,"errors":{"code":7213,"message":"Invalid token"}}}"#,
        ),
        throttled: (429, "{}"),
    },
    Product {
        path: "/creator/v2.1/meta/applications",
        taken: (200, r#"{"code":3000,"applications":[]}"#),
        dead: (
            401,
            r#"{"code":1030,"description":"Authorization Failure. The access token is either invalid or expired."}"#,
        ),
        no_token: (401, r#"{"code":1030,"description":"Authorization Failure."}"#),
        scope_missing: (401, r#"{"code":1030,"description":"Authorization Failure."}"#),
        throttled: (200, r#"{"code":4000,"description":"You have reached your API call limit for today."}"#),
    },
    Product {
        path: "/restapi/v2/workspaces/owned",
        taken: (200, r#"{"status":"success","summary":"Get owned workspaces","data":{"workspaces":[]}}"#),
        dead: (401, r#"{"status":"failure","summary":"INVALID_OAUTHTOKEN","data":{"errorCode":8535}}"#),
        no_token: (400, r#"{"status":"failure","summary":"NO_TICKET","data":{"errorCode":8518}}"#),
        scope_missing: (401, r#"{"status":"failure","summary":"INVALID_OAUTHTOKEN","data":{"errorCode":8535}}"#),
        throttled: (429, "{}"),
    },
    Product {
        path: "/workdrive/api/v1/users/me",
        taken: (200, r#"{"data":{"id":"55613477","type":"users","attributes":{"edition":"TEAM"}}}"#),
        dead: (401, r#"{"errors":[{"id":"F7003","title":"Invalid OAuth token."}]}"#),
        no_token: (500, r#"{"errors":[{"id":"INVALID_TICKET","title":"Invalid ticket."}]}"#),
        scope_missing: (401, r#"{"errors":[{"id":"F7004","title":"Invalid OAuth scope."}]}"#),
        throttled: (429, "{}"),
    },
    Product {
        path: "/api/v1/accounts",
        taken: (200, r#"{"code":0,"status":"success","accounts":[{"account_id":"1"}]}"#),
        dead: (401, r#"{"code":9041,"status":"failure","message":"Invalid Oauth token"}"#),
        no_token: (401, r#"{"code":9031,"status":"failure","message":"Ticket invalid"}"#),
        scope_missing: (401, r#"{"code":9041,"status":"failure","message":"Invalid Oauth token"}"#),
        throttled: (429, "{}"),
    },
    Product {
        path: "/api/v2/channels",
        taken: (200, r#"{"channels":[],"has_more":false}"#),
        dead: (401, r#"{"code":"oauthtoken_invalid","message":"Invalid oauth token"}"#),
        no_token: (401, ""),
        scope_missing: (401, r#"{"code":"oauthtoken_invalid","message":"Invalid oauth token"}"#),
        throttled: (400, r#"{"message":"URL throttle limits"}"#),
    },
    Product {
        path: "/api/accounts",
        taken: (200, r#"{"status":{"code":200,"description":"success"},"data":[{"accountId":"2560636000000008002"}]}"#),
        dead: (
            401,
            r#"{"status":{"code":401,"description":"Unauthorized"},"data":{"errorCode":"INVALID_OAUTHTOKEN"}}"#,
        ),
        no_token: (400, r#"{"status":{"code":400,"description":"Bad Request"},"data":{"errorCode":"INVALID_TICKET"}}"#),
        scope_missing: (401, r#"{"errorCode":"INVALID_OAUTHSCOPE","authFail":true}"#),
        throttled: (429, "{}"),
    },
    Product {
        path: "/api/v1/calendars",
        taken: (200, r#"{"calendars":[{"uid":"1","name":"Example"}]}"#),
        dead: (401, r#"{"error":[{"error_code":"INVALID_OAUTHTOKEN"}]}"#),
        no_token: (400, r#"{"error":[{"error_code":"INVALID_TICKET"}]}"#),
        scope_missing: (401, r#"{"error":[{"error_code":"INVALID_OAUTHTOKEN"}]}"#),
        throttled: (429, "{}"),
    },
    Product {
        path: "/api/v1.1/getmailinglists",
        taken: (200, r#"{"status":"success","code":"0","list_of_details":[]}"#),
        dead: (401, r#"{"Code":"1007","message":"Unauthorized request."}"#),
        no_token: (401, r#"{"Code":"1007","message":"Unauthorized request."}"#),
        scope_missing: (401, r#"{"Code":"1007","message":"Unauthorized request."}"#),
        throttled: (429, "{}"),
    },
    Product {
        path: "/api/monitors",
        taken: (200, r#"{"code":0,"message":"success","data":[]}"#),
        dead: (401, "{}"),
        no_token: (401, "{}"),
        scope_missing: (401, r#"{"error_code":1121,"message":"OAuth Scope is invalid."}"#),
        throttled: (429, "{}"),
    },
];
