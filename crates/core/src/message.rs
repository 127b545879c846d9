//! Sentences for people: what happened, what to do about it, and when the next try is. Pure.

use crate::issuer::cause::Cause;
use crate::issuer::probe::Question;
use crate::issuer::{Failure, data_centers, server_login};
use crate::plan::guard::Guard;
use crate::plan::verify::Answer;
use crate::secret::values::WITHOUT_MARK;
use zoho_api::names::ObjectName;
use zoho_api::{DataCenter, Grant, Reason, Time, keys};

/// Zoho allows ten requests in ten minutes; with so few of our own, others have made the rest.
const FEW_ATTEMPTS: usize = 5;
/// Longest list of scopes in a message, in bytes.
const LONGEST_SCOPES: usize = 400;

/// Names that messages use.
#[derive(Clone, Debug)]
pub struct Names {
    /// Name of the `ZohoCredential`.
    pub credential: String,
    /// The source Secret.
    pub source: ObjectName,
    /// The target Secret.
    pub target: ObjectName,
    /// Who makes the source Secret, if somebody does: kind and name of its controller.
    pub source_manager: Option<String>,
    /// Key of the refresh token.
    pub refresh_token_key: String,
    /// Does the refresh token not begin as Zoho's do?
    pub refresh_token_is_unmarked: bool,
    /// What the token is for, as the spec says it.
    pub scopes: Vec<String>,
    /// How tokens are asked for, at a data center.
    pub grant: Grant,
    /// The data center.
    pub data_center: Option<DataCenter>,
    /// Who is asked for tokens, at the start of a sentence.
    pub service: String,
    /// Where the inputs are made.
    pub console: String,
    /// Does the issuer say when a token dies?
    pub expiry_is_named: bool,
    /// What the product is asked about the token, where it is.
    pub question: Option<Question>,
}

impl Names {
    /// A change of a Secret that somebody makes is undone by him; it has to be made where he takes it from.
    fn source_and_its_manager(&self) -> String {
        match &self.source_manager {
            Some(manager) => format!("{} (managed by {manager}: change it there)", self.source),
            None => self.source.to_string(),
        }
    }

    fn data_center_and_its_hosts(&self) -> String {
        let Some(data_center) = self.data_center else { return "this one".into() };
        let hosts = data_centers::row(data_center).map(|row| row.accounts.join(", "));
        hosts.map_or_else(|| data_center.to_string(), |hosts| format!("{data_center} ({hosts})"))
    }
}

/// Adds when the next try is.
pub fn with_next_try(message: &str, until: Time) -> String {
    format!("{message} Next try {}.", until.clock())
}

/// Adds when the next try is, of something that the source can cure; where the client asks by itself, the spec can, too.
pub fn with_next_try_or_change(message: &str, names: &Names, until: Option<Time>) -> String {
    match until {
        Some(until) if names.grant == Grant::ClientCredentials => {
            format!("{message} Next try {}, or at once when the spec or that Secret changes.", until.clock())
        }
        Some(until) => format!("{message} Next try {}, or at once when that Secret changes.", until.clock()),
        None => format!("{message} It is not tried again until that Secret changes: wrong passwords lock accounts."),
    }
}

/// Why something that never worked is held back.
pub fn guarded(guard: Guard) -> &'static str {
    match guard {
        Guard::OtherNamespace => {
            "This account is used from another namespace. To avoid locking it, the operator does not try a password from this namespace that is not known to work."
        }
        Guard::FailedLogins => {
            "Two logins with this account failed within a day. Another one could lock it, so the operator tries no other login before the day is over, with any password."
        }
        Guard::Refusals => {
            "Too many different values were refused for this refresh token or account, so the operator tries no others for now."
        }
        Guard::NewLedgers => {
            "This ZohoCredential has used eight new refresh tokens or accounts in ten minutes, or its namespace has the maximum number of them. The operator tries the next one later."
        }
        Guard::Passwords => {
            "Within a day, this ZohoCredential has had more than five passwords for this account that never worked. So that nobody finds a password by trying, it gets no token for the account before the day is over, with any password."
        }
        Guard::FailedGuesses => {
            "Within an hour, too many logins at this server failed with values that never worked before. To avoid locking accounts, the operator tries others later."
        }
    }
}

/// What the issuer counts requests by.
pub fn counted_by(names: &Names) -> &'static str {
    match names.grant {
        Grant::RefreshToken => "refresh token",
        Grant::ClientCredentials => "client",
    }
}

/// What was asked for and not granted.
pub fn not_granted(grant: Grant, missing: &[&str]) -> String {
    let scopes = listed(missing);
    let remedy = match grant {
        Grant::RefreshToken => {
            "A refresh token keeps its scopes forever: create a new one with these scopes, or correct spec.scopes."
        }
        Grant::ClientCredentials => "Check that the client's owner may use them, or correct spec.scopes.",
    };
    format!("Zoho granted a token without {scopes}, so calls that need it fail. {remedy}")
}

/// As Zoho wants them to be typed, with commas and no spaces, as far as there is room.
fn listed(scopes: &[impl AsRef<str>]) -> String {
    let mut list = String::new();
    for (number, scope) in scopes.iter().map(AsRef::as_ref).enumerate() {
        if list.len() + scope.len() >= LONGEST_SCOPES {
            return format!("{list} and {} more", scopes.len() - number);
        }
        let comma = if number == 0 { "" } else { "," };
        list.push_str(comma);
        list.push_str(scope);
    }
    list
}

/// What a throttle means. `attempts`: how many requests of our own led to it.
///
/// Zoho's words for it are localised, and are those for an address that may not log in; so where our own requests cannot
/// have been the cause, both are named.
pub fn throttled(names: &Names, attempts: usize) -> String {
    let counted_by = counted_by(names);
    let somebody_else = if attempts <= FEW_ATTEMPTS {
        format!(
            " This operator made only {attempts} of them in ten minutes. Either another program uses this {counted_by} too, or Zoho does not accept this cluster's address, which it reports in the same way (Zoho Accounts, Allowed IP Addresses)."
        )
    } else {
        String::new()
    };
    format!(
        "Zoho reports too many requests with this {counted_by}.{somebody_else} The operator waits, because every further request would prolong the block."
    )
}

/// What a permanent refusal means and what to do about it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other refusals have one text")]
pub fn refusal(names: &Names, reason: Reason, code: Option<&str>, confirmed: bool) -> String {
    let Names { console, service, grant, .. } = names;
    let source = names.source_and_its_manager();
    let is_otp = code == Some(server_login::OTP_REFUSED);
    let is_unclear = code == Some(server_login::NOT_UNDERSTOOD);
    let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
    let data_center = names.data_center_and_its_hosts();
    let is_client = *grant == Grant::ClientCredentials;
    match reason {
        Reason::RefreshTokenRejected => {
            let ended = if confirmed { "; tokens made from it no longer work" } else { "" };
            format!(
                "Zoho refused the refresh token{code}: it was revoked, or belongs to another client{ended}. {}{}",
                what_is_odd_about_it(names),
                how_to_get_a_refresh_token(names)
            )
        }
        Reason::ClientRejected if is_client => format!(
            "Zoho refused the client{code}: the client id or secret in Secret {source} is wrong, the client belongs to a data center other than {data_center}, or it is not a Self Client. Compare both at {console}; if the client is not listed there, correct spec.dataCenter."
        ),
        Reason::ClientRejected => format!(
            "Zoho refused the client{code}: the client id or secret in Secret {source} is wrong, or the client belongs to a data center other than {data_center}. Compare both at {console}; if the client is not listed there, correct spec.dataCenter."
        ),
        Reason::LoginRejected if is_otp => format!(
            "{service} refused the one-time password: the seed in Secret {source} is not that of this account, or the clocks differ by more than half a minute. Compare the time of the server with that of the cluster's nodes; then correct the seed, or request one attempt with the annotation {}.",
            keys::RENEW_REQUESTED
        ),
        Reason::LoginRejected if is_unclear => format!(
            "{service} answered the login with something that the operator does not understand, and treats as a refusal. Check spec.endpointCentralServer (url, apiVersion, authentication), and whether the account of Secret {source} can log in there by hand. After a change at the server only, request one attempt with the annotation {}.",
            keys::RENEW_REQUESTED
        ),
        Reason::LoginRejected => format!(
            "{service} refused the login: user name, password or domain is wrong, or the account is locked or disabled. Correct Secret {source}; after a change at the server only, request one attempt with the annotation {}.",
            keys::RENEW_REQUESTED
        ),
        Reason::OtpRequired => format!(
            "{service} asks for a one-time password. Set up an authenticator app for the account and put its seed (base32) into key totp_secret of Secret {source}. The operator cannot use one-time passwords that the server sends by mail."
        ),
        _ if is_client => of_client_credentials(names, &code, &source),
        _ => format!("Zoho refused the request{code}. Check the client's settings at {console} and Secret {source}."),
    }
}

fn what_is_odd_about_it(names: &Names) -> String {
    let key = &names.refresh_token_key;
    if names.refresh_token_is_unmarked { format!("Key {key} {WITHOUT_MARK} ") } else { String::new() }
}

/// By hand, and with the plugin. The console alone does not do: it gives codes.
fn how_to_get_a_refresh_token(names: &Names) -> String {
    let Names { credential, console, refresh_token_key: key, source, .. } = names;
    let scopes = match &*names.scopes {
        [] => String::new(),
        scopes => format!(" with the scopes {}", listed(scopes)),
    };
    let plugin = match (&names.source_manager, names.data_center) {
        (Some(_), Some(data_center)) => {
            format!("kubectl zoho login {credential} --data-center {data_center} --print-secret=json prints one")
        }
        _ => format!("kubectl zoho login {credential} -n {} does both", source.namespace),
    };
    format!(
        "Make a new one{scopes} at {console} and put it into key {key} of Secret {}; {plugin}. The code that the console shows is not a refresh token: it must first be exchanged for one.",
        names.source_and_its_manager()
    )
}

/// A refusal of what a client asks for in its own name. `code`: in parentheses.
fn of_client_credentials(names: &Names, code: &str, source: &str) -> String {
    let console = &names.console;
    let client = format!("the Self Client of Secret {source}");
    match code.trim_matches([' ', '(', ')']) {
        "missing_org_info" => format!(
            "Zoho needs the organisation{code}, because the account of {client} has several: set spec.soid to the first word of the scopes, a dot and the organisation's id, such as ZohoCRM.7000001."
        ),
        "invalid_soid" => format!(
            "Zoho does not know the organisation in spec.soid{code}, or the owner of {client} is not in it. Correct spec.soid: the first word of the scopes, a dot and the organisation's id, such as ZohoCRM.7000001."
        ),
        "invalid_scope" => format!(
            "Zoho refused the scopes{code}. Correct spec.scopes: one of {} is misspelt, belongs to another data center, or is not available to {client} alone.",
            listed(&names.scopes)
        ),
        _ => format!(
            "Zoho refused the request{code}. Check {client} at {console}, spec.scopes and spec.soid; if the product does not support client credentials, use grant RefreshToken."
        ),
    }
}

/// What a failed call to the token service means.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other failures have one text")]
pub fn upstream(names: &Names, failure: &Failure) -> String {
    let code = failure.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    let service = &names.service;
    let is_told = |cause: &&Cause| !matches!(cause, Cause::RedirectTo(to) if Some(*to) == names.data_center);
    if let Some(cause) = failure.cause.as_ref().filter(is_told) {
        return cause.sentence(service);
    }
    match failure.reason {
        Reason::UpstreamTimeout => format!(
            "{service} did not answer in time. If this continues, allow this pod to connect to it, or set HTTPS_PROXY (chart: proxy)."
        ),
        Reason::UpstreamTLS => format!(
            "{service} could not be trusted; the operator's log names the cause. If its certificate is from an authority of your own, add that with --ca-file (chart: caBundle)."
        ),
        Reason::UpstreamRedirect => {
            format!(
                "{service} answered with a redirect, which is not followed: secrets go to listed hosts only. A proxy or a login page may have answered; to see what answers in this cluster, run zoho-operator check."
            )
        }
        Reason::UpstreamReplyInvalid => format!(
            "{service} answered with something that is not a token reply; a proxy, a login page or a wrong host may have answered. To see what answers in this cluster, run zoho-operator check."
        ),
        Reason::UpstreamError => format!(
            "{service} answered with an unknown error{code}. If this continues, ask its support what it means."
        ),
        Reason::WriteRefused => {
            "The ledger of this credential cannot be written, and the operator mints no token without it. Check the operator's rights on zohomintledgers in its own namespace (zoho-operator check); its log has the error."
                .into()
        }
        _ => format!(
            "{service} is not working, or the connection to it was lost. If this continues, check the proxies and firewalls in between."
        ),
    }
}

/// What a product's answer about the token means. `took_it_before`: the same token.
pub fn verified(question: &Question, answer: Answer, took_it_before: bool) -> String {
    let Question { product, url, needs, .. } = question;
    match answer {
        Answer::Taken => format!("{product} accepts the token (GET {url})."),
        Answer::MayNot => format!(
            "{product} accepts the token, but the token's owner may not make this request (GET {url}). If your program is refused too, give that user the rights in {product}."
        ),
        Answer::ScopeMissing => format!(
            "{product} recognizes the token, but a scope is missing (GET {url}). It needs {needs}. A refresh token keeps its scopes forever: create another one with that scope, or set spec.verify.path to a GET that its scopes allow. The operator mints no other token for this."
        ),
        Answer::NoToken => format!(
            "The request reached {product} without the token (GET {url}): a proxy or gateway in between removes the Authorization header. The token itself may be valid, so the operator mints no other one. Let the header pass, or let this pod connect to the product directly (NO_PROXY; chart: proxy)."
        ),
        Answer::Refused if took_it_before => format!(
            "{product} refuses a token that it accepted before (GET {url}), so it was revoked early. The operator mints a new one once."
        ),
        Answer::Refused => format!(
            "{product} refuses the token (GET {url}) and never accepted it, so a new one would not help. It needs {needs}; or set spec.verify.path to a GET that its scopes allow. With the right scopes, check that the account may use the product in this data center."
        ),
        Answer::Nothing(reason) => format!(
            "{product} did not say whether it accepts the token (GET {url}: {reason}). The operator asks again after spec.verify.interval."
        ),
    }
}
