//! Limits and lives of the tokens of an account.

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

fn accounts() -> Accounts {
    let mut accounts = Accounts::new(Limits::default(), HOUR, [7; 16]);
    accounts.register("client", "secret", "refresh");
    accounts
}

fn mint(accounts: &mut Accounts, seconds: i64) -> Result<Arc<str>, Refusal> {
    let form = TokenForm::refresh("client", "secret", "refresh");
    let minted = accounts.exchange(&form, at(seconds))?;
    Ok(minted.access_token)
}

#[test]
fn refusals_are_those_of_zoho() {
    let good = TokenForm::refresh("client", "secret", "refresh");
    let with_grant = |grant: Option<&str>| TokenForm { grant_type: grant.map(str::to_owned), ..good.clone() };
    let cases = [
        (TokenForm::refresh("other", "secret", "refresh"), "invalid_client"),
        (TokenForm::refresh("client", "wrong", "refresh"), "invalid_client_secret"),
        (TokenForm::refresh("client", "secret", "unknown"), "invalid_code"),
        (TokenForm::refresh("client", "secret", "revoked"), "invalid_code"),
        (TokenForm::refresh("client", "secret", "of-second"), "invalid_code"),
        (with_grant(Some("password")), "unsupported_grant_type"),
        (with_grant(None), "invalid_request"),
        (TokenForm { client_secret: None, ..good.clone() }, "invalid_client_secret"),
        (TokenForm { refresh_token: None, ..good.clone() }, "invalid_code"),
    ];
    let mut accounts = accounts();
    accounts.register("second", "secret-2", "of-second");
    accounts.register("client", "secret", "revoked");
    assert!(accounts.revoke("revoked", at(0)));
    for (form, code) in cases {
        let refusal = accounts.exchange(&form, at(0)).expect_err(code);
        assert_eq!(refusal, Refusal::Code(code), "{form:?}");
    }
    assert_eq!(accounts.minted, 0);
}

#[test]
fn access_tokens_look_like_those_of_zoho_and_differ() {
    let mut accounts = accounts();
    let first = mint(&mut accounts, 0).expect("minted");
    let second = mint(&mut accounts, 0).expect("minted");
    assert_ne!(first, second);
    let parts: Vec<&str> = first.split('.').collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0], "1000");
    for part in &parts[1..] {
        assert_eq!(part.len(), 32);
        assert!(part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}

#[test]
fn eleventh_mint_within_ten_minutes_is_throttled() {
    let mut accounts = accounts();
    for second in 0..10 {
        mint(&mut accounts, second).expect("within the limit");
    }
    assert_eq!(mint(&mut accounts, 599), Err(Refusal::Throttled));
}

#[test]
fn window_slides() {
    let mut accounts = accounts();
    for number in 0..30 {
        mint(&mut accounts, number * 60).expect("ten in any ten minutes");
    }
    mint(&mut accounts, 29 * 60 + 1).expect_err("an eleventh");
}

#[test]
fn throttle_ends_after_silence_only() {
    let mut accounts = accounts();
    for _ in 0..10 {
        mint(&mut accounts, 0).expect("within the limit");
    }
    assert_eq!(mint(&mut accounts, 100), Err(Refusal::Throttled));
    // The window is over at 600, but the tries at 100 and 650 were no silence.
    assert_eq!(mint(&mut accounts, 650), Err(Refusal::Throttled));
    assert_eq!(mint(&mut accounts, 1249), Err(Refusal::Throttled));
    assert!(accounts.is_throttled("refresh", at(1848)));
    mint(&mut accounts, 1849).expect("600 s of silence");
    mint(&mut accounts, 1850).expect("the window is empty again");
}

#[test]
fn refused_requests_do_not_prolong_the_throttle_of_others() {
    let mut accounts = accounts();
    accounts.register("client", "secret", "neighbour");
    for _ in 0..10 {
        mint(&mut accounts, 0).expect("within the limit");
    }
    mint(&mut accounts, 0).expect_err("throttled");
    let form = TokenForm::refresh("client", "secret", "neighbour");
    accounts.exchange(&form, at(300)).expect("own limits");
    mint(&mut accounts, 600).expect("600 s of silence");
}

#[test]
fn eleventh_token_kills_the_oldest() {
    let mut accounts = accounts();
    let tokens: Vec<Arc<str>> = (0..12).map(|number| mint(&mut accounts, number * 60).expect("slow enough")).collect();
    let now = at(11 * 60);
    let states: Vec<TokenState> = tokens.iter().map(|token| accounts.token_state(token, now)).collect();
    assert_eq!(states[..2], [TokenState::Evicted; 2]);
    assert_eq!(states[2..], [TokenState::Alive; 10]);
    assert_eq!(accounts.live_tokens("refresh", now), tokens[2..]);
    assert_eq!(accounts.max_alive_seen("refresh"), 10);
}

#[test]
fn expired_tokens_leave_room() {
    let mut accounts = accounts();
    assert!(accounts.set_token_life_of("refresh", Duration::from_mins(5)));
    for number in 0..30 {
        let form = TokenForm::refresh("client", "secret", "refresh");
        let minted = accounts.exchange(&form, at(number * 60)).expect("minted");
        assert_eq!(minted.expires_in, 300);
        assert!(minted.evicted.is_empty());
    }
    assert_eq!(accounts.max_alive_seen("refresh"), 5);
}

#[test]
fn token_lives_until_its_expiry_and_not_at_it() {
    let mut accounts = accounts();
    let token = mint(&mut accounts, 0).expect("minted");
    assert_eq!(accounts.token_state(&token, at(3599)), TokenState::Alive);
    assert_eq!(accounts.token_state(&token, at(3600)), TokenState::Expired);
    assert_eq!(accounts.token_state("1000.x.y", at(0)), TokenState::Unknown);
}

#[test]
fn revoked_refresh_token_takes_its_access_tokens_along() {
    let mut accounts = accounts();
    accounts.register("client", "secret", "neighbour");
    let token = mint(&mut accounts, 0).expect("minted");
    let form = TokenForm::refresh("client", "secret", "neighbour");
    let neighbour = accounts.exchange(&form, at(0)).expect("minted");
    assert!(accounts.revoke("refresh", at(1)));
    assert!(!accounts.revoke("refresh", at(1)));
    assert_eq!(accounts.token_state(&token, at(1)), TokenState::Revoked);
    assert!(accounts.is_alive(&neighbour.access_token, at(1)));
    assert_eq!(mint(&mut accounts, 2), Err(Refusal::Code("invalid_code")));

    accounts.register("client", "secret", "refresh");
    mint(&mut accounts, 3).expect("registered again");
    assert_eq!(accounts.token_state(&token, at(3)), TokenState::Revoked);
}

#[test]
fn revoked_access_token_dies_alone() {
    let mut accounts = accounts();
    let first = mint(&mut accounts, 0).expect("minted");
    let second = mint(&mut accounts, 0).expect("minted");
    assert!(accounts.revoke_access_token(&first, at(1)));
    assert!(!accounts.revoke_access_token(&first, at(1)));
    assert_eq!(accounts.live_tokens("refresh", at(1)), [second]);
}

#[test]
fn rotated_client_secret_replaces_the_old_one() {
    let mut accounts = accounts();
    accounts.register("client", "rotated", "refresh");
    assert_eq!(mint(&mut accounts, 0), Err(Refusal::Code("invalid_client_secret")));
    let form = TokenForm::refresh("client", "rotated", "refresh");
    accounts.exchange(&form, at(0)).expect("new secret");
}
