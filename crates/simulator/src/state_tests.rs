//! Tests of the state machine; in their own file for its length.

use serde_json::Value;

use super::*;
use crate::self_clients::Owner;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

fn zoho() -> Zoho {
    let mut zoho = Zoho::new(Settings::default(), [7; 16]);
    zoho.accounts_mut().register("client", "secret", "refresh");
    zoho
}

fn refresh() -> Visit {
    Visit::Token(Ok(TokenForm::refresh("client", "secret", "refresh")))
}

/// Plays a visit to its end, as the shell does with a client that waits.
fn play(zoho: &mut Zoho, visit: &Visit, now: Timestamp) -> Option<Page> {
    let begun = zoho.begin(visit, now);
    let acts = begun.reply.acts_on_arrival() || begun.reply == Reply::HoldThenMint;
    let acted = acts.then(|| zoho.act(begun.number, visit, now));
    let page = zoho.page(&begun.reply, visit, acted);
    let delivery = page.as_ref().map_or(Delivery::Cut, |page| Delivery::Answered(page.code));
    zoho.delivered(begun.number, visit, delivery);
    page
}

fn body(page: &Page) -> Value {
    serde_json::from_slice(&page.body).expect("JSON")
}

#[test]
fn success_is_the_documented_body() {
    let mut zoho = zoho();
    let page = play(&mut zoho, &refresh(), at(0)).expect("answered");
    assert_eq!(page.code, 200);
    let mut body = body(&page);
    let token = body["access_token"].take();
    assert_eq!(
        body,
        json!({
            "access_token": null,
            "api_domain": "https://www.zohoapis.eu",
            "expires_in": 3600,
            "token_type": "Bearer",
        })
    );
    let token = token.as_str().expect("text");
    assert!(zoho.accounts().is_alive(token, at(1)));
    let record = zoho.journal().records().next().expect("logged");
    assert_eq!(record.access_token.as_deref(), Some(token));
    assert_eq!(record.delivery, Delivery::Answered(200));
}

#[test]
fn refusals_come_with_status_200_and_a_code() {
    let mut zoho = zoho();
    let visit = Visit::Token(Ok(TokenForm::refresh("client", "secret", "unknown")));
    let page = play(&mut zoho, &visit, at(0)).expect("answered");
    assert_eq!(page.code, 200);
    assert_eq!(body(&page), json!({ "error": "invalid_code" }));
    assert_eq!(zoho.journal().counts("unknown").refused, 1);
}

#[test]
fn unreadable_request_meets_html_and_is_a_violation() {
    let mut zoho = zoho();
    let visit = Visit::Token(Err("parameters in the query"));
    let page = play(&mut zoho, &visit, at(0)).expect("answered");
    assert_eq!(page.code, 400);
    assert_eq!(page.content_type, "text/html;charset=UTF-8");
    assert_eq!(zoho.journal().violations(), ["parameters in the query"]);
}

#[test]
fn throttle_speaks_as_configured() {
    let cases = [(400, false, "Access Denied"), (200, false, "Access Denied"), (400, true, "拒绝访问")];
    for (throttle_status, throttle_is_localised, error) in cases {
        let settings = Settings { throttle_status, throttle_is_localised, ..Settings::default() };
        let mut zoho = Zoho::new(settings, [7; 16]);
        zoho.accounts_mut().register("client", "secret", "refresh");
        for _ in 0..10 {
            play(&mut zoho, &refresh(), at(0));
        }
        let page = play(&mut zoho, &refresh(), at(0)).expect("answered");
        assert_eq!(page.code, throttle_status);
        assert_eq!(body(&page)["error"], error);
        assert_eq!(body(&page)["status"], "failure");
        assert_eq!(zoho.journal().counts("refresh").throttled, 1);
        assert_eq!(zoho.journal().counts("refresh").mints, 10);
    }
}

#[test]
fn evictions_are_counted() {
    let mut zoho = zoho();
    for number in 0..13 {
        play(&mut zoho, &refresh(), at(number * 60));
    }
    assert_eq!(zoho.journal().counts("refresh").evictions, 3);
    assert_eq!(zoho.journal().stats().token.evictions, 3);
}

#[test]
fn each_reply_mints_and_answers_as_it_says() {
    let gateway = Page::html(502, "<html>$ACCESS_TOKEN</html>");
    let (mints, does_not) = (1, 0);
    let rows: [(Reply, u64, Option<u16>); 16] = [
        (Reply::Normal, mints, Some(200)),
        (Reply::Status(gateway.clone()), does_not, Some(502)),
        (Reply::MintThenStatus(gateway), mints, Some(502)),
        (Reply::body("{"), does_not, Some(200)),
        (Reply::mint_then_body("{"), mints, Some(200)),
        (Reply::Swallow, does_not, None),
        (Reply::MintThenSwallow, mints, None),
        (Reply::Reset, does_not, None),
        (Reply::MintThenReset, mints, None),
        (Reply::HoldThenMint, mints, Some(200)),
        (Reply::MintThenHold, mints, Some(200)),
        (Reply::Throttle, does_not, Some(400)),
        (Reply::LocalisedThrottle, does_not, Some(400)),
        (Reply::Redirect { code: 302, location: "http://evil.example/".to_owned() }, does_not, Some(302)),
        (Reply::Drip { every_ms: 1000 }, mints, Some(200)),
        (Reply::Huge { size: 1 << 30 }, does_not, None),
    ];
    for (reply, expected, status) in rows {
        let mut zoho = zoho();
        let kind = reply.kind();
        zoho.script(Target::Token, reply);
        let page = play(&mut zoho, &refresh(), at(0));
        assert_eq!(page.map(|page| page.code), status, "{kind}");
        assert_eq!(zoho.journal().counts("refresh").mints, expected, "{kind}");
        let alive = zoho.accounts().live_tokens("refresh", at(0)).len();
        assert_eq!(alive as u64, expected, "{kind}");
        let record = zoho.journal().records().next().expect("logged").clone();
        assert_eq!(record.script, Some(kind));
    }
}

#[test]
fn scripted_body_can_lie_about_a_living_token_and_echo_secrets() {
    let mut zoho = zoho();
    zoho.script(
        Target::RefreshToken("refresh".to_owned()),
        Reply::mint_then_body(
            r#"{"access_token":"$ACCESS_TOKEN","expires_in":-1,"echo":"$CLIENT_SECRET $REFRESH_TOKEN"}"#,
        ),
    );
    let page = play(&mut zoho, &refresh(), at(0)).expect("answered");
    let body = body(&page);
    let token = body["access_token"].as_str().expect("text");
    assert!(zoho.accounts().is_alive(token, at(0)));
    assert_eq!(body["echo"], "secret refresh");
}

#[test]
fn hidden_mint_counts_against_the_limits() {
    let mut zoho = zoho();
    let hidden = Reply::MintThenStatus(Page::html(502, ""));
    zoho.script(Target::Token, Script::times(hidden, 10));
    for _ in 0..10 {
        play(&mut zoho, &refresh(), at(0));
    }
    let page = play(&mut zoho, &refresh(), at(0)).expect("answered");
    assert_eq!(page.code, 400);
}

#[test]
fn scripted_throttle_is_counted_and_leaves_the_limits_alone() {
    let mut zoho = zoho();
    zoho.script(Target::Token, Reply::Throttle);
    play(&mut zoho, &refresh(), at(0));
    assert_eq!(zoho.journal().counts("refresh").throttled, 1);
    assert!(!zoho.accounts().is_throttled("refresh", at(0)));
}

#[test]
fn attempts_are_numbered_for_each_refresh_token() {
    let mut zoho = zoho();
    let other = Visit::Token(Ok(TokenForm::refresh("client", "secret", "other")));
    for visit in [&refresh(), &other, &refresh()] {
        play(&mut zoho, visit, at(0));
    }
    let attempts: Vec<(u64, u64)> = zoho.journal().records().map(|record| (record.number, record.attempt)).collect();
    assert_eq!(attempts, [(1, 1), (2, 1), (3, 2)]);
}

#[test]
fn revocation_ends_refresh_and_access_tokens() {
    let mut zoho = zoho();
    let page = play(&mut zoho, &refresh(), at(0)).expect("answered");
    let token = body(&page)["access_token"].as_str().expect("text").to_owned();
    let rows = [
        (token.clone(), 200),
        (token, 400),
        ("refresh".to_owned(), 200),
        ("refresh".to_owned(), 400),
        ("unknown".to_owned(), 400),
    ];
    for (token, status) in rows {
        let page =
            play(&mut zoho, &Visit::Revocation(Ok(Revocation { token, client: None })), at(1)).expect("answered");
        assert_eq!(page.code, status);
    }
    assert_eq!(zoho.journal().stats().revocations, 2);
}

#[test]
fn product_takes_living_tokens_with_the_documented_header_only() {
    let mut zoho = zoho();
    let page = play(&mut zoho, &refresh(), at(0)).expect("answered");
    let token = body(&page)["access_token"].as_str().expect("text").to_owned();
    let rows = [
        (Some(format!("Zoho-oauthtoken {token}")), 1, 200),
        (Some(format!("Zoho-oauthtoken {token}")), 3600, 401),
        (Some(format!("Bearer {token}")), 1, 401),
        (Some("Zoho-oauthtoken 1000.a.b".to_owned()), 1, 401),
        (None, 1, 401),
    ];
    for (header, second, status) in rows {
        let call = Call { path: "/api/1.4/patch/summary".into(), authorization: header };
        let page = play(&mut zoho, &Visit::Product(call), at(second)).expect("answered");
        assert_eq!(page.code, status);
    }
    let stats = zoho.journal().stats();
    assert_eq!((stats.product_ok, stats.product_refused), (1, 4));
    assert_eq!(stats.token.posts, 1);
}

#[test]
fn products_answer_each_in_their_own_way() {
    let mut zoho = zoho();
    let page = play(&mut zoho, &refresh(), at(0)).expect("answered");
    let token = body(&page)["access_token"].as_str().expect("text").to_owned();
    let mut call = |path: &str, treatment: Treatment| {
        zoho.treat("refresh", treatment);
        let call = Call { path: path.into(), authorization: Some(format!("Zoho-oauthtoken {token}")) };
        let page = play(&mut zoho, &Visit::Product(call), at(1)).expect("answered");
        (page.code, String::from_utf8(page.body).expect("text"))
    };
    for (path, treatment, status, word) in [
        ("/crm/v8/org", Treatment::Usual, 200, "org"),
        ("/crm/v8/org", Treatment::ScopeMissing, 401, "OAUTH_SCOPE_MISMATCH"),
        ("/api/v1/organizations", Treatment::HeaderLost, 401, "UNAUTHORIZED"),
        ("/workdrive/api/v1/users/me", Treatment::HeaderLost, 500, "INVALID_TICKET"),
        ("/creator/v2.1/meta/applications", Treatment::Throttled, 200, "4000"),
        ("/api/monitors", Treatment::Html, 200, "<html>"),
        ("/no/such/path", Treatment::Usual, 404, "Not Found"),
    ] {
        let (code, body) = call(path, treatment);
        assert!(code == status && body.contains(word), "{path} {treatment:?}: {code} {body}");
    }
}

#[test]
fn client_in_its_own_name_gets_a_token_and_no_refresh_token_within_the_limits() {
    let mut zoho = zoho();
    zoho.self_clients_mut().register("client", Owner::of_scopes(&["A.b.READ", "A.c.READ"]));
    let ask = |scope, secret| Visit::Token(Ok(TokenForm::of_client("client", secret, scope, None)));
    let said = body(&play(&mut zoho, &ask("A.b.READ,A.c.READ", "secret"), at(0)).expect("answered"));
    assert_eq!((&said["scope"], &said["refresh_token"]), (&json!("A.b.READ A.c.READ"), &Value::Null));
    assert!(zoho.accounts().is_alive(said["access_token"].as_str().expect("a token"), at(1)));
    let refused = body(&play(&mut zoho, &ask("A.x.READ", "secret"), at(1)).expect("answered"));
    assert_eq!(refused, json!({ "error": "invalid_scope" }));
    let wrong = body(&play(&mut zoho, &ask("A.b.READ", "wrong"), at(1)).expect("answered"));
    assert_eq!(wrong, json!({ "error": "invalid_client_secret" }));
    for second in 2..11 {
        play(&mut zoho, &ask("A.c.READ,A.b.READ", "secret"), at(second));
    }
    let throttled = play(&mut zoho, &ask("A.b.READ,A.c.READ", "secret"), at(12)).expect("answered");
    assert_eq!(throttled.code, 400, "ten in ten minutes, in whatever order the scopes stand");
}
