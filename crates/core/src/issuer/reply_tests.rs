//! Every reply that Zoho is known to give, and some that it is not.

use secrecy::ExposeSecret;

use super::*;
use zoho_api::DataCenter;

/// One word for a reply, so that a table can be read.
fn word(reply: &Reply) -> String {
    match reply {
        Reply::Minted(minted) => format!("{} {}", minted.access_token.expose_secret(), minted.life.as_secs()),
        Reply::Throttled { silence } => format!("throttled {}", silence.as_secs()),
        Reply::Failed(Failed { reason, code, permanent, outcome, cause: _ }) => {
            let kind = if *permanent { "permanent" } else { "transient" };
            format!("{reason} {} {kind} {outcome:?}", code.as_deref().unwrap_or("-"))
        }
    }
}

const NOW: Time = Time::UNIX_EPOCH;

fn said(status: u16, body: impl AsRef<[u8]>) -> String {
    word(&classify(Head::of(status), body.as_ref(), NOW))
}

#[test]
fn every_documented_reply_has_its_meaning() {
    const REJECTED: &str = "RefreshTokenRejected invalid_code permanent NotMinted";
    let throttle = r#"{"error":"Access Denied","error_description":"You have made too many requests continuously. Please try again after some time.","status":"failure"}"#;
    let localised = r#"{"error":"拒绝访问","error_description":"您连续发出了太多请求。","status":"failure"}"#;
    let table: &[(u16, &str, &str)] = &[
        (
            200,
            r#"{"access_token":"1000.a.b","expires_in":3600,"api_domain":"https://www.zohoapis.eu","token_type":"Bearer"}"#,
            "1000.a.b 3600",
        ),
        (200, r#"{"access_token":"1000.a.b","expires_in":360}"#, "1000.a.b 360"),
        (200, r#"{"error":"invalid_code"}"#, REJECTED),
        (400, r#"{"error":"invalid_code"}"#, REJECTED),
        (500, r#"{"error":"invalid_code"}"#, REJECTED),
        (200, r#"{"error":"invalid_grant"}"#, "RefreshTokenRejected invalid_grant permanent NotMinted"),
        (200, r#"{"error":"invalid_client"}"#, "ClientRejected invalid_client permanent NotMinted"),
        (200, r#"{"error":"invalid_client_secret"}"#, "ClientRejected invalid_client_secret permanent NotMinted"),
        (400, r#"{"error":"invalid_scope"}"#, "RequestRejected invalid_scope permanent NotMinted"),
        (200, r#"{"error":"access_denied"}"#, "RequestRejected access_denied permanent NotMinted"),
        (200, throttle, "throttled 600"),
        (400, throttle, "throttled 600"),
        (200, localised, "throttled 600"),
        (400, localised, "throttled 600"),
        (429, "", "throttled 600"),
        (429, "<html>", "throttled 600"),
        (200, r#"{"error":"general_error"}"#, "UpstreamError general_error transient NotMinted"),
        (200, r#"{"error":"Whatever it is"}"#, "UpstreamError - transient NotMinted"),
        (200, r#"{"error":{"code":7}}"#, "UpstreamError - transient NotMinted"),
        (502, r#"{"error":"general_error"}"#, "UpstreamError general_error transient Unknown"),
        (500, r#"{"error":"Internal Server Error"}"#, "UpstreamUnavailable - transient Unknown"),
        (502, r#"{"error":"invalid_client"}"#, "ClientRejected invalid_client permanent NotMinted"),
        (503, throttle, "throttled 600"),
        (500, "<html>oops</html>", "UpstreamUnavailable - transient Unknown"),
        (503, "", "UpstreamUnavailable - transient Unknown"),
        (502, r#"{"access_token":"1000.a.b","expires_in":3600}"#, "UpstreamUnavailable - transient Unknown"),
        (200, "<html>hello</html>", "UpstreamReplyInvalid - transient Unknown"),
        (403, "<html>WAF</html>", "UpstreamReplyInvalid - transient Unknown"),
        (200, "", "UpstreamReplyInvalid - transient Unknown"),
        (200, "{}", "UpstreamReplyInvalid - transient Unknown"),
        (200, "[]", "UpstreamReplyInvalid - transient Unknown"),
        (200, r#"{"access_token":"1000.a"#, "UpstreamReplyInvalid - transient Unknown"),
        (200, r#"{"access_token":""}"#, "UpstreamReplyInvalid - transient Unknown"),
        (200, r#"{"access_token":"a b"}"#, "UpstreamReplyInvalid - transient Unknown"),
        (200, r#"{"access_token":"a\nb"}"#, "UpstreamReplyInvalid - transient Unknown"),
        (200, r#"{"access_token":7}"#, "UpstreamReplyInvalid - transient Unknown"),
        (200, r#"{"access_token":"1000.a.b","error":"invalid_code"}"#, "UpstreamReplyInvalid - transient Unknown"),
        (302, "", "UpstreamRedirect - transient Unknown"),
        (302, r#"{"error":"moved"}"#, "UpstreamRedirect - transient Unknown"),
    ];
    for (status, body, expected) in table {
        assert_eq!(said(*status, body), *expected, "{status} {body}");
    }
}

#[test]
fn life_follows_the_unit_rule_and_lies_are_bounded() {
    let table = [
        (r#""expires_in":3600"#, 3600),
        (r#""expires_in":"3600""#, 3600),
        (r#""expires_in":3600000"#, 3600),
        (r#""expires_in":3600000,"expires_in_sec":1800"#, 1800),
        (r#""expires_in":360000"#, 360),
        (r#""expires_in":360"#, 360),
        (r#""expires_in":0"#, 3600),
        (r#""expires_in":-1"#, 3600),
        (r#""expires_in":1"#, 60),
        (r#""expires_in":86400"#, 3600),
        (r#""expires_in":9223372036854775808"#, 3600),
        (r#""expires_in":"NaN""#, 3600),
        (r#""expires_in":"soon""#, 3600),
        (r#""expires_in":null"#, 3600),
        (r#""scope":"x""#, 3600),
    ];
    for (field, expected) in table {
        let body = format!(r#"{{"access_token":"t",{field}}}"#);
        assert_eq!(said(200, &body), format!("t {expected}"), "{field}");
    }
}

#[test]
fn retry_after_is_kept_within_ten_minutes_and_an_hour() {
    let head = |retry_after, date| Head { retry_after, date, ..Head::of(429) };
    let table = [
        ("1", None, 600),
        ("900", None, 900),
        ("900.5", None, 900),
        ("999999999999", None, 3600),
        ("soon", None, 600),
        ("-5", None, 600),
        ("NaN", None, 600),
        ("", None, 600),
        ("Thu, 01 Jan 1970 00:30:00 GMT", None, 1800),
        ("Thu, 01 Jan 1970 12:00:00 GMT", None, 3600),
        ("Thu, 01 Jan 1970 00:30:00 GMT", Some("Thu, 01 Jan 1970 00:10:00 GMT"), 1200),
        ("Thu, 01 Jan 1970 00:30:00 GMT", Some("yesterday"), 1800),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some("Thu, 01 Jan 1970 00:10:00 GMT"), 600),
    ];
    for (retry_after, date, expected) in table {
        let reply = classify(head(Some(retry_after), date), b"", NOW);
        assert_eq!(word(&reply), format!("throttled {expected}"), "{retry_after}");
    }
}

#[test]
fn token_is_taken_whatever_stands_around_it() {
    let table: [(&str, &[u8]); 14] = [
        ("byte order mark", b"\xef\xbb\xbf{\"access_token\":\"1000.a\"}"),
        ("key twice", br#"{"access_token":"1000.a","access_token":"1000.a"}"#),
        ("other key twice", br#"{"expires_in":1,"access_token":"1000.a","expires_in":3600}"#),
        ("token twice, once null", br#"{"access_token":"1000.a","access_token":null}"#),
        ("empty error", br#"{"error":"","access_token":"1000.a"}"#),
        ("blank error", br#"{"error":" ","access_token":"1000.a"}"#),
        ("no error", br#"{"error":null,"access_token":"1000.a"}"#),
        ("error that is none", br#"{"error":false,"access_token":"1000.a"}"#),
        ("error without number", br#"{"error":0,"access_token":"1000.a"}"#),
        ("error without members", br#"{"error":{ },"access_token":"1000.a"}"#),
        ("errors twice, both empty", br#"{"error":"","error":null,"access_token":"1000.a"}"#),
        ("Latin-1", b"{\"owner\":\"J\xf6rg\",\"access_token\":\"1000.a\"}"),
        ("life out of range", br#"{"access_token":"1000.a","expires_in":1e999}"#),
        ("words on requests", br#"{"access_token":"1000.a","hint":"Too many requests end tokens"}"#),
    ];
    for (name, body) in table {
        assert_eq!(said(200, body), "1000.a 3600", "{name}");
    }
    assert_eq!(said(200, br#"{"access_token":"1000.a","access_token":"1000.b"}"#), "1000.b 3600", "the last one");
}

#[test]
fn code_is_read_however_it_is_written_and_whatever_stands_around_it() {
    const REJECTED: &str = "RefreshTokenRejected invalid_code permanent NotMinted";
    let table: [(&str, &[u8], &str); 17] = [
        ("capitals", br#"{"error":"INVALID_CODE"}"#, REJECTED),
        ("mixed", br#"{"error":"Invalid_Code"}"#, REJECTED),
        ("blanks", br#"{"error":" invalid_code "}"#, REJECTED),
        ("nested", br#"{"error":{"code":"invalid_code"}}"#, REJECTED),
        ("nested as itself", br#"{"error":{"error":"Invalid_Code","message":"x"}}"#, REJECTED),
        ("in a list", br#"{"error":[{"code":"invalid_code"}]}"#, REJECTED),
        ("under another key", br#"{"code":"INVALID_CODE","message":"x","status":"error"}"#, REJECTED),
        ("in a list of errors", br#"{"errors":[{"code":"invalid_code"}]}"#, REJECTED),
        ("byte order mark", b"\xef\xbb\xbf{\"error\":\"invalid_code\"}", REJECTED),
        ("Latin-1", b"{\"error\":\"invalid_code\",\"error_description\":\"ung\xfcltig\"}", REJECTED),
        ("key twice", br#"{"error":"invalid_code","error":"invalid_code"}"#, REJECTED),
        ("key twice, once empty", br#"{"error":"invalid_code","error":""}"#, REJECTED),
        ("described", br#"{"error":"invalid_code","error_description":"x","status":"failure"}"#, REJECTED),
        (
            "one word in capitals",
            br#"{"error":"INVALID","error_description":"x","status":"failure"}"#,
            "UpstreamError invalid transient NotMinted",
        ),
        ("of a token", br#"{"error":"invalid_token"}"#, "RefreshTokenRejected invalid_token permanent NotMinted"),
        ("of a client", br#"{"error":"INVALID_CLIENT"}"#, "ClientRejected invalid_client permanent NotMinted"),
        ("unknown", br#"{"error":{"code":"Some_Thing"}}"#, "UpstreamError some_thing transient NotMinted"),
    ];
    for (name, body, expected) in table {
        for status in [200, 400] {
            assert_eq!(said(status, body), expected, "{name} {status}");
        }
    }
}

#[test]
fn throttle_is_known_by_its_words_or_its_shape_and_never_by_a_code() {
    let failure = |error: &str, text: &str| {
        serde_json::json!({ "error": error, "error_description": text, "status": "failure" }).to_string()
    };
    let many = "You have made too many requests continuously. Please try again after some time.";
    let table = [
        (400, failure("access_denied", many), "throttled 600"),
        (400, failure("invalid_code", &many.to_uppercase()), "throttled 600"),
        (200, failure("general_error", many), "throttled 600"),
        (200, r#"{"error":{"code":"x","message":"Too  many\nrequests"}}"#.to_owned(), "throttled 600"),
        (200, r#"{"error":"too_many_requests"}"#.to_owned(), "throttled 600"),
        (200, r#"{"error":"Access Denied"}"#.to_owned(), "throttled 600"),
        (400, r#"{"error":"access  denied"}"#.to_owned(), "throttled 600"),
        (400, failure("Access Denied", "Your IP address is not allowed."), "throttled 600"),
        (400, failure("Verweigert", "Zu viele Anfragen"), "throttled 600"),
        (429, r#"{"error":"access_denied"}"#.to_owned(), "throttled 600"),
        (429, r#"{"error":"invalid_code"}"#.to_owned(), "RefreshTokenRejected invalid_code permanent NotMinted"),
        (400, failure("inactive_user", "…"), "UpstreamError inactive_user transient NotMinted"),
        (400, failure("INACTIVE_USER", "…"), "UpstreamError inactive_user transient NotMinted"),
        (400, failure("Inactive_User", "…"), "UpstreamError inactive_user transient NotMinted"),
        (400, failure("", "…"), "UpstreamReplyInvalid - transient Unknown"),
    ];
    for (status, body, expected) in table {
        assert_eq!(said(status, &body), expected, "{status} {body}");
    }
}

#[test]
fn scopes_are_sorted_and_few_and_short() {
    let scopes_of = |scope: &str| {
        let body = serde_json::json!({ "access_token": "t", "scope": scope }).to_string();
        match classify(Head::of(200), body.as_bytes(), Time::from_unix(0)) {
            Reply::Minted(minted) => minted.scopes,
            reply @ (Reply::Throttled { .. } | Reply::Failed(_)) => panic!("{reply:?}"),
        }
    };
    assert_eq!(scopes_of("B.x.READ A.x-y_z.READ,B.x.READ"), ["A.x-y_z.READ", "B.x.READ"]);
    assert_eq!(scopes_of(&format!("{} {}", "a".repeat(128), "b".repeat(129))), ["a".repeat(128)]);
    assert_eq!(scopes_of("A/b A\u{e9} A\nb"), Vec::<String>::new());
    let many: Vec<String> = (0..100).map(|number| format!("A.{number:03}.READ")).collect();
    assert_eq!(scopes_of(&many.join(",")), many[..64]);
}

#[test]
fn what_comes_with_a_token_is_kept_as_far_as_it_is_well_formed() {
    let body = br#"{"access_token":"t","refresh_token":"r","scope":"A.b.READ,c d\u001b [x]","api_domain":"https://www.zohoapis.eu"}"#;
    let Reply::Minted(minted) = classify(Head::of(200), body, NOW) else { panic!("a token") };
    assert_eq!(minted.scopes, ["A.b.READ", "c"]);
    assert_eq!(minted.refresh_token.as_ref().map(ExposeSecret::expose_secret), Some("r"));
    assert_eq!(minted.api_domain.as_deref(), Some("https://www.zohoapis.eu"));
}

#[test]
fn redirect_names_the_data_center_that_it_leads_to() {
    let head = Head { location: Some("https://accounts.zoho.in/oauth/v2/token"), ..Head::of(307) };
    let Reply::Failed(failed) = classify(head, b"", NOW) else { panic!("a failure") };
    assert_eq!((failed.reason, failed.cause), (Reason::UpstreamRedirect, Some(Cause::RedirectTo(DataCenter::IN))));
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_never_mint_without_a_token(status in 100u16..600, body in proptest::collection::vec(0u8.., 0..200)) {
        let minted = matches!(classify(Head::of(status), &body, NOW), Reply::Minted(_));
        proptest::prop_assert!(!minted);
    }

    #[test]
    fn only_a_code_of_the_server_comes_through(code in ".{0,80}") {
        let body = serde_json::json!({ "error": code }).to_string();
        if let Reply::Failed(failed) = classify(Head::of(200), body.as_bytes(), NOW) {
            proptest::prop_assert!(failed.code.is_none_or(|code| is_code(&code)));
        }
    }
}
