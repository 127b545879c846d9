//! Why a login did not work: which of data center, client, scope and code it was. Pure.

use zoho_api::{Outcome, Reason};
use zoho_core::issuer::login::Exchanged;
use zoho_core::issuer::reply::Failed;
use zoho_core::issuer::zoho::TokenService;

/// How the code was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Made in the API console by a person.
    SelfClient,
    /// Brought by the browser.
    Browser,
    /// None: a person typed one that was shown to him.
    Device,
}

/// Nobody typed the code.
pub(crate) const EXPIRED: &str =
    "the code was not entered, or the consent was not given, in time: log in again for another one";

/// Why there is no refresh token.
pub(crate) fn exchange(exchanged: &Exchanged, service: &TokenService, way: Way) -> String {
    let host = service.token_url.host_str().unwrap_or_default();
    let data_center = service.data_center;
    let console = service.console();
    match exchanged {
        Exchanged::Granted { .. } => String::new(),
        Exchanged::WithoutRefreshToken => match way {
            Way::SelfClient => format!(
                "Zoho gave an access token but no refresh token. Is this a Self Client? Codes of other clients need access_type=offline and prompt=consent: use --browser. At {console}, Self Client, Generate Code makes one that works."
            ),
            Way::Browser | Way::Device => format!(
                "Zoho gave an access token but no refresh token, although it was requested with access_type=offline and prompt=consent. Remove the application at https://{host}/home#sessions/connectedapps and log in again, or use a Self Client (--grant-code)."
            ),
        },
        Exchanged::Throttled => {
            "Zoho reports too many requests. It allows ten codes in ten minutes and five new refresh tokens a minute: wait ten minutes, then make a new code.".into()
        }
        Exchanged::Failed(failed) => match failed.code.as_deref() {
            Some(code) => format!("{} ({code})", refused(code, host, data_center, &console, way)),
            None => format!("{} {}", upstream(host, failed), fate_of_the_code(failed.outcome)),
        },
    }
}

fn refused(code: &str, host: &str, data_center: zoho_api::DataCenter, console: &str, way: Way) -> String {
    match (code, way) {
        ("invalid_code" | "invalid_grant" | "invalid_token", Way::SelfClient) => format!(
            "Code: Zoho does not accept it. It has expired (it is valid for as long as you chose, 3 to 10 minutes), was used before, or was generated for another client. Generate a new one at {console}, Self Client, Generate Code, with 10 minutes"
        ),
        ("invalid_code" | "invalid_grant" | "invalid_token", Way::Browser) => {
            "Code: Zoho does not accept it. It is valid for one or two minutes and works once: log in again, and continue at once".into()
        }
        ("invalid_code" | "invalid_grant" | "invalid_token", Way::Device) => {
            "Code: Zoho does not know it any more. Log in again for another one".into()
        }
        ("invalid_client", Way::Device) => format!(
            "Client or data center: {host} does not know this client id as one of a Non-browser Application. It is mistyped, of another type, or of a data center other than {data_center}: see {console}"
        ),
        ("invalid_client", _) => format!(
            "Client or data center: {host} does not know this client id. It is mistyped, or the client belongs to a data center other than {data_center}: it is listed at {console} when you are signed in there, or it is not of {data_center}"
        ),
        ("invalid_client_secret", _) => format!(
            "Client: {host} knows the client id, but not with this secret. It is mistyped, was changed in the meantime, or is that of another data center: compare it at {console}"
        ),
        ("invalid_redirect_uri", _) => format!(
            "Client: its redirect URI is not the one that was sent. Register the same at {console}, or name the registered one with --redirect-uri"
        ),
        ("invalid_scope", _) => "Scope: Zoho does not know one of the scopes, or the account's edition does not have it. Name others with --scope".into(),
        ("access_denied", _) => "Consent: it was refused, or the account may not use the product".into(),
        ("unauthorized_client" | "unsupported_grant_type", _) => format!(
            "Client: it is of another type than this login needs. At {console} a Self Client goes with a code, a Server-based Application with --browser, a Non-browser Application with --device"
        ),
        (_, _) => format!("Zoho refused the request. Check the client at {console}"),
    }
}

/// Why the answer to the consent page brings no code. `code`: the error that it brings instead.
pub(crate) fn consent(code: Option<&str>) -> String {
    let why = match code {
        Some("no_org") => {
            "this account has no organization in a product of the asked scopes. Sign in with an account that uses the product, or open the product with this one once and set it up; other scopes are named with --scope"
        }
        Some("access_denied") => {
            "the consent was refused, or the account may not use the product. Log in again and accept, with an account that may"
        }
        Some("invalid_scope") => "Zoho does not know one of the scopes. Name others with --scope",
        Some(_) | None => "the consent was refused, or the account may not use the product",
    };
    format!("Zoho gave no code{}: {why}", code.map(|code| format!(" ({code})")).unwrap_or_default())
}

fn fate_of_the_code(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotSent => "The code was not sent: while it is valid, it can be used again.",
        Outcome::Minted | Outcome::NotMinted => "The code may be used up: make a new one.",
        Outcome::Unknown => {
            "The code may be used up: make a new one. If Zoho has issued a refresh token, nobody has it: delete the unused one in the API console."
        }
    }
}

/// What a call without a usable answer means.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other failures have one text")]
pub(crate) fn upstream(host: &str, failed: &Failed) -> String {
    if let Some(cause) = &failed.cause {
        return cause.sentence(host);
    }
    match failed.reason {
        Reason::UpstreamTimeout => format!("{host} did not answer in time."),
        Reason::UpstreamTLS => format!("The certificate of {host} is not trusted."),
        Reason::UpstreamRedirect => {
            format!("{host} answered with a redirect, which is not followed: is it the accounts host?")
        }
        Reason::UpstreamReplyInvalid => {
            format!("{host} answered with something that is not a reply of Zoho; a proxy in between may have answered.")
        }
        Reason::UpstreamError => format!("{host} answered with an unknown error."),
        Reason::Throttled => format!("{host} reports too many requests: wait ten minutes."),
        Reason::ClientRejected => format!("{host} does not accept the client id or the client secret."),
        _ => format!("{host} cannot be reached or is not working."),
    }
}

/// Where the account is, and so what is used instead of what was thought.
pub(crate) fn moved(from: &TokenService, to: &TokenService) -> String {
    let words = |service: &TokenService| {
        if from.data_center == to.data_center {
            service.token_url.host_str().unwrap_or_default().to_owned()
        } else {
            service.data_center.to_string()
        }
    };
    let place = if from.data_center == to.data_center { "at" } else { "in data center" };
    let (from, to) = (words(from), words(to));
    format!("Your account is {place} {to}, not {from}; {to} is used.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::issuer;
    use zoho_api::DataCenter;
    use zoho_core::policy::Policy;

    #[test]
    fn answer_without_a_code_is_explained() {
        let table = [
            (Some("no_org"), "Zoho gave no code (no_org): this account has no organization in a product of the asked"),
            (Some("access_denied"), "Zoho gave no code (access_denied): the consent was refused, or the account may"),
            (Some("other_error"), "Zoho gave no code (other_error): the consent was refused, or the account may"),
            (None, "Zoho gave no code: the consent was refused, or the account may"),
        ];
        for (code, expected) in table {
            assert!(consent(code).starts_with(expected), "{}", consent(code));
        }
    }

    #[test]
    fn each_failure_names_what_it_is_about() {
        let config = Policy::default();
        let service = TokenService::of(&issuer::spec(DataCenter::EU, None), &config).unwrap();
        let failed = |code: Option<&str>| {
            let code = code.map(str::to_owned);
            Exchanged::Failed(Failed { code, ..Failed::passing(Reason::UpstreamTimeout, Outcome::Unknown) })
        };
        let table = [
            (failed(Some("invalid_code")), "Code: Zoho does not accept it. It has expired"),
            (failed(Some("invalid_client")), "Client or data center: accounts.zoho.eu does not know this client id."),
            (failed(Some("invalid_client_secret")), "Client: accounts.zoho.eu knows the client id, but not with this"),
            (failed(Some("invalid_redirect_uri")), "Client: its redirect URI"),
            (failed(Some("invalid_scope")), "Scope: "),
            (failed(Some("access_denied")), "Consent: "),
            (failed(Some("unauthorized_client")), "Client: it is of another type"),
            (failed(Some("general_error")), "Zoho refused the request."),
            (failed(None), "accounts.zoho.eu did not answer in time."),
            (Exchanged::Throttled, "Zoho reports too many requests."),
            (Exchanged::WithoutRefreshToken, "Zoho gave an access token but no refresh token. Is this a Self Client?"),
        ];
        for (exchanged, expected) in table {
            let text = exchange(&exchanged, &service, Way::SelfClient);
            assert!(text.starts_with(expected), "{text}");
        }
    }

    #[test]
    fn account_elsewhere_is_told_by_what_differs() {
        let service = |data_center, host| {
            TokenService::of(&issuer::spec(data_center, host), &Policy::default()).expect("it is known")
        };
        let own = service(DataCenter::CA, Some("accounts.zohoone.ca"));
        for (there, expected) in [
            (
                service(DataCenter::CA, None),
                "Your account is at accounts.zohocloud.ca, not accounts.zohoone.ca; accounts.zohocloud.ca is used.",
            ),
            (service(DataCenter::EU, None), "Your account is in data center EU, not CA; EU is used."),
        ] {
            assert_eq!(moved(&own, &there), expected);
        }
    }
}
