//! Reads requests as strictly as the operator should send them. Pure.
//!
//! Zoho itself takes parameters in the query too. Here that is refused and recorded, since a secret in a URL ends up
//! in access logs.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::device::DeviceForm;

/// What was wrong with a request. The text never holds anything the client sent.
pub type Violation = &'static str;

/// A request to the token endpoint as the wire brought it.
#[derive(Clone, Copy, Debug)]
pub struct RawRequest<'a> {
    /// HTTP method, in capitals.
    pub method: &'a str,
    /// Value of the `Content-Type` header.
    pub content_type: Option<&'a str>,
    /// What stands behind the `?` of the URL.
    pub query: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

impl RawRequest<'_> {
    /// The fields of the form.
    ///
    /// # Errors
    ///
    /// The first rule that the request breaks, if it is one that makes it unreadable.
    fn fields(&self) -> Result<HashMap<String, String>, Violation> {
        if self.method != "POST" {
            return Err("method is not POST");
        }
        let media_type = self.content_type.unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err("content type is not application/x-www-form-urlencoded");
        }
        if self.query.is_some_and(|query| !query.is_empty()) {
            return Err("parameters in the query");
        }
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(self.body).map_err(|_| "body is not a form")?;
        let count = pairs.len();
        let fields: HashMap<String, String> = pairs.into_iter().collect();
        if fields.len() != count {
            return Err("a field repeats");
        }
        Ok(fields)
    }
}

/// The form of `POST /oauth/v2/token`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenForm {
    /// Field `grant_type`.
    pub grant_type: Option<String>,
    /// Field `client_id`.
    pub client_id: Option<String>,
    /// Field `client_secret`.
    pub client_secret: Option<String>,
    /// Field `refresh_token`.
    pub refresh_token: Option<String>,
    /// Field `code`.
    pub code: Option<String>,
    /// Field `redirect_uri`. Some products' pages list it as mandatory also for a refresh, so it may be sent there.
    pub redirect_uri: Option<String>,
    /// Field `code_verifier` (RFC 7636).
    pub code_verifier: Option<String>,
    /// Field `scope`, where a client asks in its own name.
    pub scope: Option<String>,
    /// Field `soid`, there.
    pub soid: Option<String>,
    /// Whether there were fields that a refresh has no use for, such as `scope`.
    pub has_unknown_fields: bool,
}

impl TokenForm {
    /// Reads the form.
    ///
    /// # Errors
    ///
    /// The rule that the request breaks; Zoho answers such a request with `400` and HTML.
    pub fn read(request: &RawRequest<'_>) -> Result<Self, Violation> {
        let mut fields = request.fields()?;
        let mut form = Self {
            grant_type: fields.remove("grant_type"),
            client_id: fields.remove("client_id"),
            client_secret: fields.remove("client_secret"),
            ..Self::default()
        };
        if form.is_of_client() {
            form.scope = fields.remove("scope");
            form.soid = fields.remove("soid");
        } else {
            form.refresh_token = fields.remove("refresh_token");
            form.redirect_uri = fields.remove("redirect_uri");
        }
        if form.is_code_exchange() {
            form.code = fields.remove("code");
            form.code_verifier = fields.remove("code_verifier");
        }
        form.has_unknown_fields = !fields.is_empty();
        Ok(form)
    }

    /// A correct refresh with these values.
    pub fn refresh(client_id: &str, client_secret: &str, refresh_token: &str) -> Self {
        Self {
            grant_type: Some("refresh_token".to_owned()),
            client_id: Some(client_id.to_owned()),
            client_secret: Some(client_secret.to_owned()),
            refresh_token: Some(refresh_token.to_owned()),
            ..Self::default()
        }
    }

    /// A correct request of a client in its own name.
    pub fn of_client(client_id: &str, client_secret: &str, scope: &str, soid: Option<&str>) -> Self {
        Self {
            grant_type: Some("client_credentials".to_owned()),
            client_id: Some(client_id.to_owned()),
            client_secret: Some(client_secret.to_owned()),
            scope: Some(scope.to_owned()),
            soid: soid.map(str::to_owned),
            ..Self::default()
        }
    }

    pub(super) fn is_of_client(&self) -> bool {
        self.grant_type.as_deref() == Some("client_credentials")
    }

    pub(super) fn is_code_exchange(&self) -> bool {
        self.grant_type.as_deref() == Some("authorization_code")
    }

    /// A breach of the rules that Zoho lets pass or answers with an error code, and that is recorded here.
    pub(super) fn violation(&self) -> Option<Violation> {
        let required = [
            (&self.grant_type, "no grant_type"),
            (&self.client_id, "no client_id"),
            (&self.client_secret, "no client_secret"),
            if self.is_code_exchange() {
                (&self.code, "no code")
            } else if self.is_of_client() {
                (&self.scope, "no scope")
            } else {
                (&self.refresh_token, "no refresh_token")
            },
        ];
        required
            .into_iter()
            .find_map(|(field, violation)| field.is_none().then_some(violation))
            .or_else(|| self.has_unknown_fields.then_some("unexpected field"))
    }
}

/// A revocation, in one of the two forms that Zoho documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Field `token`.
    pub token: String,
    /// Client id and secret, in the newer form.
    pub client: Option<(String, String)>,
}

/// Reads `POST /oauth/v2/token/revoke`: field `token`, nothing else.
///
/// # Errors
///
/// The rule that the request breaks.
pub fn read_revocation(request: &RawRequest<'_>) -> Result<Revocation, Violation> {
    let mut fields = request.fields()?;
    let token = fields.remove("token").ok_or("no token")?;
    if fields.is_empty() { Ok(Revocation { token, client: None }) } else { Err("unexpected field") }
}

/// Reads `POST /oauth/v2/revoke/token`: fields `token` and `token_type`, the client in a Basic header.
///
/// # Errors
///
/// The rule that the request breaks.
pub fn read_newer_revocation(request: &RawRequest<'_>, authorization: Option<&str>) -> Result<Revocation, Violation> {
    let mut fields = request.fields()?;
    let token = fields.remove("token").ok_or("no token")?;
    if !matches!(fields.remove("token_type").as_deref(), Some("refresh_token" | "access_token")) {
        return Err("no token_type");
    }
    if !fields.is_empty() {
        return Err("unexpected field");
    }
    let basic = authorization.and_then(|text| text.strip_prefix("Basic ")).ok_or("no Basic header")?;
    let pair = STANDARD.decode(basic).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.ok_or("Basic header is not base64")?;
    let (id, secret) = pair.split_once(':').ok_or("Basic header without a secret")?;
    Ok(Revocation { token, client: Some((id.to_owned(), secret.to_owned())) })
}

/// Reads `POST /oauth/v3/device/code`.
///
/// # Errors
///
/// The rule that the request breaks.
pub fn read_device_begin(request: &RawRequest<'_>) -> Result<DeviceForm, Violation> {
    let mut fields = request.fields()?;
    if fields.remove("grant_type").as_deref() != Some("device_request") {
        return Err("grant_type is not device_request");
    }
    let client_id = fields.remove("client_id").ok_or("no client_id")?;
    let scope = fields.remove("scope").ok_or("no scope")?;
    let (access_type, prompt) = (fields.remove("access_type"), fields.remove("prompt"));
    let offline = access_type.as_deref() == Some("offline") && prompt.as_deref() == Some("consent");
    if fields.is_empty() { Ok(DeviceForm::Begin { client_id, scope, offline }) } else { Err("unexpected field") }
}

/// Reads `POST /oauth/v3/device/token`.
///
/// # Errors
///
/// The rule that the request breaks.
pub fn read_device_poll(request: &RawRequest<'_>) -> Result<DeviceForm, Violation> {
    let mut fields = request.fields()?;
    if fields.remove("grant_type").as_deref() != Some("device_token") {
        return Err("grant_type is not device_token");
    }
    let client_id = fields.remove("client_id").ok_or("no client_id")?;
    let client_secret = fields.remove("client_secret").ok_or("no client_secret")?;
    let device_code = fields.remove("code").ok_or("no code")?;
    if fields.is_empty() {
        Ok(DeviceForm::Poll { client_id, client_secret, device_code })
    } else {
        Err("unexpected field")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: RawRequest<'static> = RawRequest {
        method: "POST",
        content_type: Some("application/x-www-form-urlencoded"),
        query: None,
        body: b"grant_type=refresh_token&client_id=c&client_secret=s%26&refresh_token=r",
    };

    #[test]
    fn correct_form_is_read() {
        let form = TokenForm::read(&GOOD).expect("correct");
        assert_eq!(form, TokenForm::refresh("c", "s&", "r"));
        assert_eq!(form.violation(), None);
    }

    #[test]
    fn unreadable_requests_are_named() {
        let cases = [
            (RawRequest { method: "GET", ..GOOD }, "method is not POST"),
            (
                RawRequest { content_type: Some("application/json"), ..GOOD },
                "content type is not application/x-www-form-urlencoded",
            ),
            (RawRequest { content_type: None, ..GOOD }, "content type is not application/x-www-form-urlencoded"),
            (RawRequest { query: Some("client_id=c"), ..GOOD }, "parameters in the query"),
            (RawRequest { body: b"client_id=c&client_id=d", ..GOOD }, "a field repeats"),
        ];
        for (request, violation) in cases {
            assert_eq!(TokenForm::read(&request), Err(violation));
        }
    }

    #[test]
    fn missing_and_unexpected_fields_are_violations() {
        let cases: [(&[u8], Option<Violation>); 7] = [
            (b"", Some("no grant_type")),
            (b"grant_type=g&client_id=c&client_secret=s", Some("no refresh_token")),
            (b"grant_type=g&client_id=c&client_secret=s&refresh_token=r&scope=x", Some("unexpected field")),
            (b"grant_type=g&client_id=c&client_secret=s&refresh_token=r&redirect_uri=x", None),
            (b"grant_type=client_credentials&client_id=c&client_secret=s", Some("no scope")),
            (b"grant_type=client_credentials&client_id=c&client_secret=s&scope=A.b.READ&soid=A.7", None),
            (
                b"grant_type=client_credentials&client_id=c&client_secret=s&scope=A.b.READ&refresh_token=r",
                Some("unexpected field"),
            ),
        ];
        for (body, violation) in cases {
            let form = TokenForm::read(&RawRequest { body, ..GOOD }).expect("readable");
            assert_eq!(form.violation(), violation);
        }
    }
}
