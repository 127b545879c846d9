//! What people get wrong, and what they read then: `mistakes.md`, written by this test from what kubectl and the status really
//! say. It fails when the page is stale; `make mistakes` writes it anew, and the difference is for a person to review.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zoho_api::{ConditionStatus, ConditionType};
use zoho_simulator::grants::Client;

use crate::support::look::{condition, message};
use crate::support::untested;
use crate::support::world::World;

const HEAD: &str = "# What people get wrong, and what they read\n\n<!-- Written by `make mistakes` from what kubectl and the status say. Do not edit; read it as a person who has made the mistake. -->\n";

/// A good object but for what is replaced in it.
const GOOD: &str = "apiVersion: zoho-operator.dev/v1alpha1
kind: ZohoCredential
metadata: {name: crm, namespace: NS}
spec:
  dataCenter: US
  secretRef: {name: zoho-oauth}
";

/// Refused by kubectl: what it is, what stands in a good object, and what was typed instead.
const TYPED: [(&str, &str, &str); 19] = [
    ("A unit that does not exist", "spec:\n", "spec:\n  renewBefore: 30min\n"),
    ("A number without a unit", "spec:\n", "spec:\n  renewBefore: \"1800\"\n"),
    ("A number without a unit, and without quotes", "spec:\n", "spec:\n  renewBefore: 1800\n"),
    ("A span that is too long", "spec:\n", "spec:\n  renewBefore: 45m\n"),
    ("A tab in YAML", "  dataCenter: US", "\tdataCenter: US"),
    ("An apiVersion of another version", "dev/v1alpha1", "dev/v1"),
    ("An apiVersion of nobody", "zoho-operator.dev/v1alpha1", "zoho.com/v1"),
    ("A field with a typing error", "dataCenter", "dataCentre"),
    ("A field in the wrong place", "  secretRef: {name: zoho-oauth}", "secretRef: {name: zoho-oauth}"),
    ("A data center by its long name", "dataCenter: US", "dataCenter: Europe"),
    ("A data center in small letters", "dataCenter: US", "dataCenter: us"),
    ("No data center", "  dataCenter: US\n", ""),
    ("An accounts host as an address", "spec:\n", "spec:\n  accountsHost: https://accounts.zoho.com/\n"),
    ("An API without TLS", "spec:\n", "spec:\n  apiUrl: http://desk.zoho.com\n"),
    ("Scopes in one text", "spec:\n", "spec:\n  scopes: [\"Desk.tickets.READ,Desk.basic.READ\"]\n"),
    ("No source", "  secretRef: {name: zoho-oauth}\n", ""),
    ("The source as target", "spec:\n", "spec:\n  target: {name: zoho-oauth}\n"),
    ("A namespace that does not exist", "namespace: NS", "namespace: NS-of-nobody"),
    ("A boolean as text", "spec:\n", "spec:\n  suspend: \"yes\"\n"),
];

/// What is in the source Secret, instead of what Zoho knows.
struct Source {
    what: &'static str,
    /// What a person did, in a word or two.
    typed: &'static str,
    pairs: Option<Vec<(&'static str, String)>>,
}

/// What Zoho knows of the account number so: each mistake is made with one of its own.
fn account(world: &World, number: usize) -> [(&'static str, String); 3] {
    let account = [
        ("client_id", format!("1000.CANARYCLIENT{number:02}")),
        ("client_secret", format!("canary{number:02}client0secret0f00ba4")),
        ("refresh_token", format!("1000.canary{number:02}refresh.c0ffee.ba4")),
    ];
    let [(_, id), (_, secret), (_, token)] = &account;
    world.zoho.register(id, secret, token);
    world.confide(secret);
    world.confide(token);
    account
}

fn sources(world: &World) -> Vec<Source> {
    let mut number = 0;
    let mut next = || {
        number += 1;
        account(world, number)
    };
    let mut with = |key: &'static str, edit: &dyn Fn(&str) -> String| {
        Some(next().map(|(name, good)| (name, if name == key { edit(&good) } else { good })).to_vec())
    };
    let placeholder = "replace-with-your-client-secret";
    world.zoho.register_client("1000.SELFCLIENT", "canary0self0client0secret", Client::SelfClient);
    let code = world.zoho.grant_code("1000.SELFCLIENT", "ZohoCRM.modules.READ", std::time::Duration::from_mins(10));
    let (stranger, password) = ("canary0of0another0client0", "canary0password0of0the0account");
    for secret in [&code, "canary0self0client0secret", stranger, password] {
        world.confide(secret);
    }
    let source = |what, typed, pairs| Source { what, typed, pairs };
    vec![
        source(
            "No Secret of that name, or one in another namespace",
            "kubectl create secret generic zoho-oauth -n default …",
            None,
        ),
        source(
            "A key of another name",
            "--from-literal=refreshToken=…",
            with("", &str::to_owned).map(|pairs| {
                let renamed = |key| if key == "refresh_token" { "refreshToken" } else { key };
                pairs.into_iter().map(|(key, value)| (renamed(key), value)).collect()
            }),
        ),
        source("Quotes around a value", "client_secret: '\"…\"'", with("client_secret", &|good| format!("\"{good}\""))),
        source(
            "Base64 twice",
            "stringData: with the output of base64",
            with("refresh_token", &|good| STANDARD.encode(good)),
        ),
        source("A newline at the end", "echo … > refresh_token", with("refresh_token", &|good| format!("{good}\n"))),
        source("The example's placeholder", placeholder, with("client_secret", &|_| placeholder.into())),
        source(
            "The whole header",
            "Zoho-oauthtoken 1000.…",
            with("refresh_token", &|good| format!("Zoho-oauthtoken {good}")),
        ),
        source(
            "The whole answer of Zoho",
            "{\"refresh_token\":\"…\"}",
            with("refresh_token", &|good| format!("{{\"refresh_token\":\"{good}\"}}")),
        ),
        source("An empty value", "$(cat refresh_token) of an empty file", with("refresh_token", &|_| String::new())),
        source(
            "Two values in one key",
            "client_id: 1000.… 1000.…",
            with("client_id", &|good| format!("{good} {good}")),
        ),
        source(
            "The code of the API console in place of a refresh token",
            "the code that Generate Code shows",
            with("refresh_token", &|_| code.clone()),
        ),
        source(
            "The client of another data center",
            "a client id that accounts.zoho.com does not know",
            with("client_id", &|_| "1000.OFANOTHERDATACENTER".into()),
        ),
        source("The secret of another client", "another client's secret", with("client_secret", &|_| stranger.into())),
        source(
            "Something else in place of the refresh token",
            "the password of the account",
            with("refresh_token", &|_| password.into()),
        ),
        source("The refresh token of another client", "the refresh token of the client before", {
            let pairs = [("client_id", "1000.SELFCLIENT"), ("client_secret", "canary0self0client0secret")];
            let others = next().into_iter().filter(|(key, _)| *key == "refresh_token");
            Some(pairs.into_iter().map(|(key, value)| (key, value.to_owned())).chain(others).collect())
        }),
    ]
}

/// Kubernetes' own words with what differs from run to run taken out.
fn masked(world: &World, text: &str) -> String {
    let text = text.replace(&world.namespace, "patching");
    let is_clock = |word: &str| {
        word.len() >= 6 && word.is_char_boundary(6) && word[2..].starts_with(':') && word[5..].starts_with('Z')
    };
    let words = text
        .trim()
        .split(' ')
        .map(|word| if is_clock(word) { format!("HH:MMZ{}", &word[6..]) } else { word.to_owned() });
    words.collect::<Vec<_>>().join(" ")
}

fn quoted(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("> {}", line.trim_end())).collect();
    lines.join("\n") + "\n"
}

async fn typed(world: &World, page: &mut String) {
    for (what, good, typed) in TYPED {
        assert!(GOOD.contains(good), "{what}");
        let manifest = GOOD.replace(good, typed);
        let applied = manifest.replace("NS", &world.namespace);
        let output = world.cluster.kubectl_stdin(&["apply", "-f", "-"], &applied).await.expect("kubectl");
        assert!(!output.status.success(), "{what} is taken");
        let words = masked(world, &String::from_utf8_lossy(&output.stderr));
        let _ = write!(
            page,
            "\n## {what}\n\n```yaml\n{}```\n\nkubectl:\n\n{}",
            manifest.replace("NS", "patching"),
            quoted(&words)
        );
    }
}

async fn stored(world: &World, page: &mut String) {
    let sources = sources(world);
    for (number, source) in sources.iter().enumerate() {
        let name = format!("zoho-oauth-{number:02}");
        if let Some(pairs) = &source.pairs {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
            world.source(&name, &pairs).await;
        }
        world.credential(&format!("crm-{number:02}"), &name, json!({})).await;
    }
    for (number, Source { what, typed, .. }) in sources.iter().enumerate() {
        let name = format!("crm-{number:02}");
        let is_told = |seen: &_| {
            condition(seen, ConditionType::Renewable).is_some_and(|status| status != ConditionStatus::Unknown)
        };
        let seen = world.wait(&name, "told", is_told).await;
        let renewable =
            seen.status.as_ref().and_then(|status| status.condition(ConditionType::Renewable)).expect("told");
        let words = masked(world, &message(&seen, ConditionType::Renewable));
        let words = words.replace(&format!("oauth-{number:02}"), "oauth").replace(&name, "crm");
        let _ = write!(
            page,
            "\n## {what}\n\n`{typed}`\n\nRenewable is {:?}, {}:\n\n{}",
            renewable.status,
            renewable.reason,
            quoted(&words)
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "the page is written anew by the environment")]
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

#[tokio::test]
async fn what_people_get_wrong_is_told_so_that_they_can_put_it_right() {
    let world = World::new("mistakes").await;
    if is_set("KUBECONFIG") {
        return untested("the page of mistakes", "its words are those of the API server that the tests build");
    }
    let _operator = world.operator();
    let mut page = HEAD.to_owned();
    typed(&world, &mut page).await;
    stored(&world, &mut page).await;
    for canary in world.canaries() {
        assert!(!page.contains(&canary), "a secret stands in the page");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mistakes.md");
    if is_set("WRITE_MISTAKES") {
        std::fs::write(&path, &page).expect("the page is written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).find(|(written, told)| written != told);
    assert!(
        written == page,
        "tests/it/mistakes.md is stale: run `make mistakes` and read the difference. First: {differs:#?}"
    );
}
