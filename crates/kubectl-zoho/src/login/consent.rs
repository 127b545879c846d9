//! The consent of a server-based client: the address that asks for it, and what comes back. Pure.

use secrecy::SecretString;
use url::Url;

use super::{explain, issuer};
use zoho_api::DataCenter;
use zoho_core::issuer::data_centers;
use zoho_core::issuer::login::consent_url;
use zoho_core::issuer::zoho::TokenService;
use zoho_core::policy::Policy;

/// Where the browser comes back to, unless the client is registered with another address.
pub(crate) const REDIRECT_URI: &str = "http://localhost:8765/callback";

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Consent<'a> {
    /// The client.
    pub client_id: &'a str,
    /// Separated by commas.
    pub scope: &'a str,
    /// As registered.
    pub redirect_uri: &'a str,
    /// Comes back with the answer, so that nobody else's answer is taken.
    pub state: &'a str,
    /// S256 of the verifier (RFC 7636).
    pub challenge: &'a str,
}

/// The address to open. Without `access_type=offline` and `prompt=consent` no refresh token would come back.
pub(crate) fn address(service: &TokenService, consent: &Consent<'_>) -> Url {
    let mut url = consent_url(&service.token_url);
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", consent.client_id)
        .append_pair("scope", consent.scope)
        .append_pair("redirect_uri", consent.redirect_uri)
        .append_pair("access_type", "offline")
        .append_pair("prompt", "consent")
        .append_pair("state", consent.state)
        .append_pair("code_challenge", consent.challenge)
        .append_pair("code_challenge_method", "S256");
    url
}

/// Host and port to listen on for a redirect URI: this machine itself only.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn listen_at(redirect_uri: &str) -> Result<(u16, String), String> {
    let url: Url = redirect_uri.parse().map_err(|_| format!("{redirect_uri} is not a URL"))?;
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.port() {
        Some(port) if url.scheme() == "http" && is_here => Ok((port, url.path().to_owned())),
        _ => Err(format!(
            "{redirect_uri} does not lead back here: with --browser the redirect URI is http://localhost:PORT/PATH, registered with the client"
        )),
    }
}

/// The data center of the user's account, as a redirect names it; not yet looked for on the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// By its accounts server.
    Server(String),
    /// By its short name, such as `eu`, where nothing else was said.
    Location(String),
}

impl Home {
    fn of(accounts_server: Option<String>, location: Option<String>) -> Option<Self> {
        accounts_server.map(Self::Server).or(location.map(Self::Location))
    }
}

/// What a request to the callback means.
#[derive(Clone, Debug)]
pub(crate) enum Callback {
    /// The user agreed.
    Code {
        /// The grant code.
        code: SecretString,
        /// Where it is to be exchanged, if that was said.
        home: Option<Home>,
    },
    /// The user did not agree, or Zoho did not.
    Refused {
        /// An error code of `[a-z_]{1,64}`, else nothing.
        code: Option<String>,
    },
    /// Nobody's answer to this question.
    Stray,
}

/// Reads the query of the callback.
pub(crate) fn read_callback(query: &str, state: &str) -> Callback {
    let Ok(url) = Url::parse(&format!("http://localhost/?{query}")) else { return Callback::Stray };
    let value = |name: &str| {
        let mut values = url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        // Twice the same is nobody's honest answer.
        let value = values.next();
        if values.next().is_some() { None } else { value }
    };
    if value("state").as_deref() != Some(state) {
        return Callback::Stray;
    }
    if let Some(error) = value("error") {
        return Callback::Refused { code: Some(error).filter(|error| is_code(error)) };
    }
    match value("code").filter(|code| !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_graphic())) {
        Some(code) => {
            let home = Home::of(value("accounts-server"), value("location"));
            Callback::Code { code: SecretString::from(code), home }
        }
        None => Callback::Refused { code: None },
    }
}

/// What was pasted where a code was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pasted {
    /// The code, not yet checked.
    pub code: String,
    /// The address that it was sent to.
    pub redirect_uri: Option<String>,
    /// Where it is to be exchanged, if that was said.
    pub home: Option<Home>,
}

/// Takes what was pasted apart: a code, or the address with the code in it, whole or from the question mark on.
///
/// # Errors
///
/// An address without a code; what it says instead, if it does.
pub(crate) fn read_pasted(text: &str) -> Result<Pasted, String> {
    let bare = || Pasted { code: text.to_owned(), redirect_uri: None, home: None };
    let (address, query) = match text.split_once('?') {
        Some((address, query)) => (address, query),
        None if is_query(text) => ("", text),
        None if text.contains("://") => return Err("that address has no code in it: paste all of it".into()),
        None => return Ok(bare()),
    };
    let query = query.split('#').next().unwrap_or_default();
    let url = Url::parse(&format!("http://localhost/?{query}")).map_err(|_| "that is not an address")?;
    let value = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    match (value("code").filter(|code| !code.is_empty()), value("error").filter(|error| is_code(error))) {
        (Some(code), _) => Ok(Pasted {
            code,
            redirect_uri: Some(address.to_owned()).filter(|address| address.contains("://")),
            home: Home::of(value("accounts-server"), value("location")),
        }),
        (None, Some(error)) => Err(explain::consent(Some(&error))),
        (None, None) => Err("that address has no code in it: paste all of it".into()),
    }
}

/// Is it what stands behind the question mark of such an address?
fn is_query(text: &str) -> bool {
    ["code=", "error="].iter().any(|name| text.starts_with(name) || text.contains(&format!("&{name}")))
}

fn is_code(error: &str) -> bool {
    (1..=64).contains(&error.len()) && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The token service of the data center that a redirect names, with the data center and host of its spec.
///
/// `None` where it is not on the list: what comes with a redirect is not believed, and secrets go to listed hosts only.
pub(crate) fn service_at(home: &Home, policy: &Policy) -> Option<(DataCenter, Option<String>, TokenService)> {
    let (data_center, accounts_host) = match home {
        Home::Server(server) => issuer::of_server(&server.parse().ok()?, policy)?,
        Home::Location(location) => (data_centers::of_location(location)?, None),
    };
    let spec = issuer::spec(data_center, accounts_host.as_deref());
    Some((data_center, accounts_host, TokenService::of(&spec, policy).ok()?))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn word(callback: &Callback) -> String {
        match callback {
            Callback::Code { code, home } => {
                let home = match home {
                    Some(Home::Server(home) | Home::Location(home)) => home,
                    None => "-",
                };
                format!("{} at {home}", code.expose_secret())
            }
            Callback::Refused { code } => format!("refused {}", code.as_deref().unwrap_or("-")),
            Callback::Stray => "stray".into(),
        }
    }

    #[test]
    fn address_asks_for_a_refresh_token() {
        let spec = issuer::spec(DataCenter::EU, None);
        let service = TokenService::of(&spec, &Policy::default()).unwrap();
        let consent =
            Consent { client_id: "1000.X", scope: "A.b.READ", redirect_uri: REDIRECT_URI, state: "s", challenge: "c" };
        let expected = "https://accounts.zoho.eu/oauth/v2/auth?response_type=code&client_id=1000.X&scope=A.b.READ&redirect_uri=http%3A%2F%2Flocalhost%3A8765%2Fcallback&access_type=offline&prompt=consent&state=s&code_challenge=c&code_challenge_method=S256";
        assert_eq!(address(&service, &consent).as_str(), expected);
    }

    #[test]
    fn consent_of_china_starts_in_china() {
        let service = TokenService::of(&issuer::spec(DataCenter::CN, None), &Policy::default()).unwrap();
        let consent = Consent { client_id: "", scope: "", redirect_uri: "", state: "", challenge: "" };
        assert_eq!(address(&service, &consent).host_str(), Some("accounts.zoho.com.cn"));
    }

    #[test]
    fn only_the_answer_to_the_own_question_is_taken() {
        let table = [
            (
                "state=s&code=1000.c&location=eu&accounts-server=https%3A%2F%2Faccounts.zoho.eu",
                "1000.c at https://accounts.zoho.eu",
            ),
            ("state=s&code=1000.c", "1000.c at -"),
            ("state=s&code=1000.c&location=eu", "1000.c at eu"),
            ("state=s&error=access_denied", "refused access_denied"),
            ("state=s&error=%1b%5b31mred", "refused -"),
            ("state=s", "refused -"),
            ("state=s&code=a%20b", "refused -"),
            ("state=t&code=1000.c", "stray"),
            ("state=s&state=s&code=1000.c", "stray"),
            ("code=1000.c", "stray"),
            ("", "stray"),
        ];
        for (query, expected) in table {
            assert_eq!(word(&read_callback(query, "s")), expected, "{query}");
        }
    }

    #[test]
    fn pasted_address_is_taken_apart() {
        let address = "http://localhost/callback?state=s&code=1000.c%2Ed&location=eu&accounts-server=https%3A%2F%2Faccounts.zoho.eu#top";
        let from_query = &address["http://localhost/callback".len()..];
        let eu = Some(Home::Server("https://accounts.zoho.eu".to_owned()));
        let pasted = |code: &str, redirect_uri: Option<&str>, home: Option<Home>| {
            Ok(Pasted { code: code.into(), redirect_uri: redirect_uri.map(str::to_owned), home })
        };
        let no_code = |error: &str| Err(explain::consent(Some(error)));
        let table = [
            ("1000.c.d", pasted("1000.c.d", None, None)),
            (address, pasted("1000.c.d", Some("http://localhost/callback"), eu.clone())),
            (from_query, pasted("1000.c.d", None, eu)),
            ("code=1000.c", pasted("1000.c", None, None)),
            ("location=eu&code=1000.c", pasted("1000.c", None, Some(Home::Location("eu".into())))),
            ("https://x/cb?error=access_denied", no_code("access_denied")),
            ("?state=s&error=no_org&location=eu", no_code("no_org")),
            ("error=no_org", no_code("no_org")),
            ("https://x/cb?code=", Err("that address has no code in it: paste all of it".into())),
            ("https://x/cb?error=%1b", Err("that address has no code in it: paste all of it".into())),
            ("https://x/cb", Err("that address has no code in it: paste all of it".into())),
        ];
        for (text, expected) in table {
            assert_eq!(read_pasted(text), expected, "{text}");
        }
    }

    #[test]
    fn code_is_exchanged_at_listed_servers_only() {
        let policy = Policy {
            accounts_urls: vec![(DataCenter::IN, "http://127.0.0.1:9/base".parse().unwrap())],
            accounts_hosts: vec!["accounts.corp.example".into()],
            ..Policy::default()
        };
        let table = [
            ("https://accounts.zoho.eu", Some("EU - https://accounts.zoho.eu/oauth/v2/token")),
            ("https://accounts.zoho.eu/", Some("EU - https://accounts.zoho.eu/oauth/v2/token")),
            ("https://accounts.zohoone.ca", Some("CA accounts.zohoone.ca https://accounts.zohoone.ca/oauth/v2/token")),
            ("http://127.0.0.1:9", Some("IN - http://127.0.0.1:9/base/oauth/v2/token")),
            (
                "https://accounts.corp.example",
                Some("Other accounts.corp.example https://accounts.corp.example/oauth/v2/token"),
            ),
            ("http://accounts.zoho.eu", None),
            ("https://accounts.zoho.eu:8443", None),
            ("https://accounts.zoho.eu.evil.example", None),
            ("https://accounts.zoho.eu@evil.example", None),
            ("https://evil.example/accounts.zoho.eu", None),
            ("//accounts.zoho.eu", None),
            ("", None),
        ];
        for (server, expected) in table {
            let got = service_at(&Home::Server(server.into()), &policy).map(|(data_center, host, service)| {
                format!("{data_center} {} {}", host.as_deref().unwrap_or("-"), service.token_url)
            });
            assert_eq!(got.as_deref(), expected, "{server}");
        }
        for (location, expected) in
            [("eu", Some(DataCenter::EU)), ("IN", Some(DataCenter::IN)), ("other", None), ("xx", None)]
        {
            let got = service_at(&Home::Location(location.into()), &policy).map(|(data_center, _, _)| data_center);
            assert_eq!(got, expected, "{location}");
        }
    }

    #[test]
    fn redirect_leads_back_to_this_machine() {
        assert_eq!(listen_at(REDIRECT_URI), Ok((8765, "/callback".into())));
        assert_eq!(listen_at("http://127.0.0.1:9000/x/y"), Ok((9000, "/x/y".into())));
        for wrong in ["https://localhost:8765/", "http://corp.example:8765/", "http://localhost/callback", "nonsense"] {
            assert!(listen_at(wrong).is_err(), "{wrong}");
        }
    }
}
