//! Where a login is stored: beside what others have in the same Secret, over a connection that loses answers, or nowhere.

use serde_json::json;
use zoho_testkit::fault_proxy::{Action, Answer, Match, Point, Verb, Window};

use super::{Person, SCOPE, interrupt, signal_is_taken_in};
use crate::support::look::text;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, World};

#[tokio::test]
async fn login_leaves_what_another_credential_has_in_the_same_secret() {
    let world = World::new("login-shared").await;
    let person = Person::of(&world);
    for name in ["patch", "desk"] {
        let reference = json!({ "name": "zoho", "refreshTokenKey": format!("{name}_refresh_token") });
        world.credential(name, "zoho", json!({ "secretRef": reference })).await;
    }
    let login = async |name: &str, client: &str| {
        let code = person.code();
        person.zoho_with(&["login", name, "--timeout", "0s"], &[client, CLIENT_SECRET, &code]).await
    };
    login("patch", CLIENT_ID).await.ok();
    login("desk", CLIENT_ID).await.ok();
    let granted = world.zoho.granted();
    let source = world.secret("zoho").await.expect("the source");
    for (name, token) in ["patch", "desk"].into_iter().zip(&granted) {
        assert_eq!(&text(&source, &format!("{name}_refresh_token")), token, "{name}");
    }

    // Refresh tokens are of a client: another one would be of no use to the others.
    let ran = login("desk", "1000.ANOTHERCLIENT").await.failed();
    assert!(ran.stderr.contains("is for other credentials as well (patch,desk)"), "{}", ran.stderr);
    assert_eq!(world.secret("zoho").await.expect("the source").data, source.data);
    assert_eq!(world.zoho.granted(), granted, "the code is good still");
}

#[tokio::test]
async fn login_does_not_take_scopes_from_another_credential_of_the_same_token() {
    const SCOPES: [&str; 2] = ["PatchManagerPlusCloud.PatchMgmt.READ", "PatchManagerPlusCloud.Common.READ"];
    let world = World::new("login-scopes").await;
    let person = Person::of(&world);
    for (name, scope) in ["patch", "common"].into_iter().zip(SCOPES) {
        world.credential(name, "zoho", json!({ "secretRef": { "name": "zoho" }, "scopes": [scope] })).await;
    }
    let login = async |name: &str| {
        let code = person.code();
        person.zoho_with(&["login", name, "--timeout", "0s"], &[CLIENT_ID, CLIENT_SECRET, &code]).await
    };
    login("patch").await.ok();
    let (source, granted) = (world.secret("zoho").await.expect("the source"), world.zoho.granted());
    let ran = login("common").await.failed();
    let said = format!("also serves ZohoCredential patch, which needs {} too", SCOPES[0]);
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    assert_eq!(world.secret("zoho").await.expect("the source").data, source.data);
    assert_eq!(world.zoho.granted(), granted, "the code is good still");
}

#[tokio::test]
async fn code_for_fewer_scopes_takes_none_from_another_credential_of_the_same_token() {
    let world = World::new("login-narrow").await;
    let person = Person::of(&world);
    let scopes: Vec<&str> = SCOPE.split(',').collect();
    for name in ["patch", "common"] {
        world.credential(name, "zoho", json!({ "secretRef": { "name": "zoho" }, "scopes": scopes })).await;
    }
    let login = async |code: &str| {
        person.zoho_with(&["login", "common", "--timeout", "0s"], &[CLIENT_ID, CLIENT_SECRET, code]).await
    };
    login(&person.code()).await.ok();
    let source = world.secret("zoho").await.expect("the source");
    // What the person clicks in the console, whatever the login has asked for.
    let narrow = world.zoho.grant_code(CLIENT_ID, scopes[0], std::time::Duration::from_mins(10));
    let ran = login(&narrow).await.failed();
    let said = format!("Zoho did not grant {}, which ZohoCredential patch needs", scopes[1]);
    assert!(ran.stderr.contains(&said) && ran.stderr.contains("was revoked again"), "{}", ran.stderr);
    assert_eq!(world.secret("zoho").await.expect("the source").data, source.data);
    assert_eq!(world.zoho.stats().revocations, 1);
}

#[tokio::test]
async fn interrupt_while_it_stores_ends_the_wait_and_loses_nothing() {
    let world = World::new("login-stored").await;
    let person = Person::of(&world);
    let (proxy, kubeconfig) = person.proxy();
    let mut point = proxy.breakpoint(Match::new(Verb::Create, "secrets").dry_run(false), Window::ONCE, Point::Arrived);
    let args = ["login", "patch", "--data-center", "US", "--timeout", "150s", "--kubeconfig", &kubeconfig];
    let child = person.start(&args, &[CLIENT_ID, CLIENT_SECRET, &person.code()]);
    let stopped = point.reached().await.expect("it comes to that write");
    interrupt(&child);
    signal_is_taken_in(&child).await;
    stopped.go_on();
    // There is no operator: it would wait for longer than this test does.
    let ended = tokio::time::timeout(crate::support::DEADLINE, person.end_of(child)).await;
    let ran = ended.unwrap_or_else(|_| panic!("it waits\n{}", proxy.transcript())).failed();
    assert!(ran.stderr.contains("Everything is stored; the operator continues on its own."), "{}", ran.stderr);
    assert!(world.secret("patch-oauth").await.is_some());
    assert_eq!(world.get("patch").await.spec.secret_ref.name, "patch-oauth");
}

#[tokio::test]
async fn credential_that_could_not_be_stored_is_printed_to_be_applied() {
    let world = World::new("login-half").await;
    let person = Person::of(&world);
    let (proxy, kubeconfig) = person.proxy();
    let on = Match::new(Verb::Patch, "zohocredentials").dry_run(false);
    proxy.rule(on, Window::ALWAYS, Action::Answer(Answer::forbidden()));
    let args = ["login", "patch", "--data-center", "US", "--product", "PatchManagerPlus", "--kubeconfig", &kubeconfig];
    let ran = person.zoho_with(&args, &[CLIENT_ID, CLIENT_SECRET, &person.code()]).await.failed();
    assert!(ran.stderr.contains("apply the manifest that is printed here"), "{}", ran.stderr);
    let source = world.secret("patch-oauth").await.expect("the source");
    world.cluster.apply_yaml(&ran.stdout).await.expect("applied");
    assert_eq!(world.get("patch").await.spec.secret_ref.name, "patch-oauth");
    assert_eq!(world.secret("patch-oauth").await.expect("the source").data, source.data, "the only refresh token");
}

#[tokio::test]
async fn login_that_cannot_learn_who_else_uses_the_secret_spends_no_code() {
    let world = World::new("login-unknown").await;
    let person = Person::of(&world);
    for name in ["patch", "desk"] {
        world.credential(name, "zoho", json!({ "secretRef": { "name": "zoho" } })).await;
    }
    let (proxy, kubeconfig) = person.proxy();
    let login = async |name: &str| {
        let code = person.code();
        let args = ["login", name, "--timeout", "0s", "--kubeconfig", &kubeconfig];
        person.zoho_with(&args, &[CLIENT_ID, CLIENT_SECRET, &code]).await
    };
    login("patch").await.ok();
    let (source, granted) = (world.secret("zoho").await.expect("the source"), world.zoho.granted());
    for answer in [Answer::too_many_requests("1"), Answer::internal_error()] {
        let list = Match::new(Verb::List, "zohocredentials");
        let rule = proxy.rule(list, Window::ALWAYS, Action::Answer(answer));
        let ran = login("desk").await.failed();
        assert!(ran.stderr.contains("it is not known which ZohoCredentials use Secret zoho"), "{}", ran.stderr);
        proxy.remove(rule);
    }
    assert_eq!(world.secret("zoho").await.expect("the source").data, source.data);
    assert_eq!(world.zoho.granted(), granted, "the code is good still");
}

#[tokio::test]
async fn write_whose_answer_is_lost_is_made_again_and_the_token_lives_on() {
    let world = World::new("login-lost").await;
    let person = Person::of(&world);
    let (proxy, kubeconfig) = person.proxy();
    let login = ["login", "patch", "--data-center", "US", "--timeout", "0s", "--kubeconfig", &kubeconfig];
    let write = |verb| Match::new(verb, "secrets").dry_run(false);
    // Carried out, both.
    for (number, verb) in [Verb::Create, Verb::Patch].into_iter().enumerate() {
        let rule = proxy.rule(write(verb), Window::ONCE, Action::Swallow);
        person.zoho_with(&login, &[CLIENT_ID, CLIENT_SECRET, &person.code()]).await.ok();
        assert_eq!(proxy.seen(rule), 2, "{}", proxy.transcript());
        proxy.remove(rule);
        let source = world.secret("patch-oauth").await.expect("the source");
        assert_eq!(text(&source, "refresh_token"), world.zoho.granted()[number]);
    }
    assert_eq!(world.zoho.stats().revocations, 0);

    // Carried out, and the next try is refused: what that says does not count for the one before.
    let swallowed = proxy.rule(write(Verb::Patch), Window::ONCE, Action::Swallow);
    let second = Window { after: 1, times: Some(1) };
    let refused = proxy.rule(write(Verb::Patch), second, Action::Answer(Answer::forbidden()));
    person.zoho_with(&login, &[CLIENT_ID, CLIENT_SECRET, &person.code()]).await.ok();
    proxy.remove(swallowed);
    proxy.remove(refused);
    assert_eq!(world.zoho.stats().revocations, 0);

    // No answer at all: it may have been stored, so it is not revoked.
    proxy.rule(write(Verb::Patch), Window::ALWAYS, Action::Swallow);
    let ran = person.zoho_with(&login, &[CLIENT_ID, CLIENT_SECRET, &person.code()]).await.failed();
    assert!(ran.stderr.contains("it is not known whether the new refresh token was stored"), "{}", ran.stderr);
    let source = world.secret("patch-oauth").await.expect("the source");
    assert_eq!(text(&source, "refresh_token"), world.zoho.granted()[3]);
    assert_eq!(world.zoho.stats().revocations, 0);
}

#[tokio::test]
async fn refresh_token_that_nobody_reads_is_revoked_again() {
    use std::io::Write as _;
    use std::process::Stdio;
    let world = World::new("login-unread").await;
    let person = Person::of(&world);
    let code = person.code();
    let mut login = person.command(&["login", "patch", "--data-center", "US", "--print-secret=json"]);
    let mut child = login.stdin(Stdio::piped()).spawn().expect("kubectl starts");
    // As where the program behind the pipe is not there.
    drop(child.stdout.take());
    let lines = format!("{CLIENT_ID}\n{CLIENT_SECRET}\n{code}\n");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads");
    let ran = person.end_of(child).await.failed();
    assert!(ran.stderr.contains("could not be stored, and was revoked again"), "{}", ran.stderr);
    assert_eq!((world.zoho.granted().len(), world.zoho.stats().revocations), (1, 1));
}
