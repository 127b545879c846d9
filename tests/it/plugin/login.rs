//! Login with a code of a self client: what it makes, and what it leaves alone.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::{Value, json};
use zoho_simulator::grants::Client;
use zoho_simulator::script::{Page, Reply, Target};

use super::{Person, SCOPE};
use crate::support::look::text;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, World};

const LOGIN: [&str; 6] = ["login", "patch", "--data-center", "US", "--product", "PatchManagerPlus"];

#[tokio::test]
async fn code_becomes_a_token_that_is_kept_valid() {
    let world = World::new("login-code").await;
    // It would refuse a source that does not say for whom it is.
    let operator = world.operator_with(&["--require-source-consent"]);
    operator.synced().await;
    let person = Person::of(&world);
    let ran = person.logs_in("patch").await;
    let said = person.masked(&ran.stderr);
    assert_eq!(
        said,
        "At https://api-console.zoho.com, Self Client, Generate Code, enter
  Scope: PatchManagerPlusCloud.Common.READ,PatchManagerPlusCloud.PatchMgmt.READ
  Duration: 10 minutes
and copy the code. Client id and secret are under Client Secret.
Stored in Secret NS/patch-oauth.
ZohoCredential NS/patch is made."
    );
    assert_eq!(
        person.masked(&ran.stdout),
        "Ready. Secret patch-token holds a token that works until HH:MMZ (in SPAN), and is kept valid.
Try it: kubectl zoho token patch"
    );

    let source = world.secret("patch-oauth").await.expect("the source");
    assert_eq!(text(&source, "client_id"), CLIENT_ID);
    assert_eq!(text(&source, "refresh_token"), world.zoho.granted()[0]);
    assert_eq!(text(&source, "redirect_uri"), "", "a self client has none");
    let managers: Vec<_> = source.metadata.managed_fields.iter().flatten().map(|field| field.manager.clone()).collect();
    assert_eq!(managers, [Some("kubectl-zoho".to_owned())]);
    let token = person.zoho_aloud(&["token", "patch"], &[]).await.ok().stdout;
    assert!(world.zoho.is_alive(token.trim()));

    // The refresh token was revoked: another login, with nothing but the name, puts a new one in its place.
    world.zoho.revoke(&world.zoho.granted()[0]);
    let ran = person.zoho_with(&["login", "patch"], &[CLIENT_ID, CLIENT_SECRET, &person.code()]).await.ok();
    let again = person.masked(&ran.stderr);
    assert!(again.contains("Scope: PatchManagerPlusCloud.Common.READ,PatchManagerPlusCloud.PatchMgmt.READ"), "{again}");
    assert!(again.ends_with("ZohoCredential NS/patch is unchanged."), "{again}");
    let source = world.secret("patch-oauth").await.expect("the source");
    assert_eq!(text(&source, "refresh_token"), world.zoho.granted()[1]);
    let second = person.zoho_aloud(&["token", "patch"], &[]).await.ok().stdout;
    assert!(world.zoho.is_alive(second.trim()));
}

#[tokio::test]
async fn refused_login_says_what_it_was_and_stores_nothing() {
    let world = World::new("login-refused").await;
    let person = Person::of(&world);
    let code = person.code();
    world.zoho.register_client("1000.OTHER", CLIENT_SECRET, Client::SelfClient);
    let expired = world.zoho.grant_code(CLIENT_ID, SCOPE, Duration::ZERO);
    let table = [
        ([CLIENT_ID, CLIENT_SECRET, &expired], "Code: Zoho does not accept it. It has expired", "(invalid_code)"),
        (["1000.OTHER", CLIENT_SECRET, &code], "Code: Zoho does not accept it.", "(invalid_code)"),
        (["1000.UNKNOWN", CLIENT_SECRET, &code], "Client or data center: 127.0.0.1 does not know", "(invalid_client)"),
        (
            [CLIENT_ID, "wrong-secret", &code],
            "Client: 127.0.0.1 knows the client id, but not",
            "(invalid_client_secret)",
        ),
    ];
    for (lines, what, error_code) in table {
        let ran = person.zoho_with(&LOGIN, &lines).await.failed();
        assert!(ran.stderr.contains(what) && ran.stderr.contains(error_code), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    assert!(world.secret("patch-oauth").await.is_none());
    assert!(world.credentials().get_opt("patch").await.expect("an answer").is_none());
    assert_eq!(world.zoho.granted(), Vec::<String>::new());
}

#[tokio::test]
async fn pasted_address_and_quotes_are_taken_apart() {
    let world = World::new("login-pasted").await;
    let person = Person::of(&world);
    let quoted = [CLIENT_ID, CLIENT_SECRET].map(|value| format!("\"{value}\""));
    let server = world.zoho.url();
    let forms: [&dyn Fn(&str) -> String; 4] = [
        &|code| format!("  '{code}'"),
        &|code| format!("\u{feff}\"{code}\"\r"),
        &|code| format!("?location=us&code={code}&accounts-server={server}"),
        &|code| format!("\u{201c}code={code}\u{201d}"),
    ];
    for (number, form) in forms.into_iter().enumerate() {
        let args = ["login", &format!("patch-{number}"), "--data-center", "US", "--timeout", "0s"];
        let pasted = form(&person.code());
        let ran = person.zoho_with(&args, &[&quoted[0], &quoted[1], &pasted]).await.ok();
        assert!(ran.stderr.contains("is made."), "{}", ran.stderr);
        let source = world.secret(&format!("patch-{number}-oauth")).await.expect("the source");
        assert_eq!(text(&source, "client_id"), CLIENT_ID);
        assert_eq!(text(&source, "client_secret"), CLIENT_SECRET);
        assert_eq!(text(&source, "refresh_token"), world.zoho.granted()[number]);
    }
    // A whole address brings the redirect URI along, which has to be sent with the code again.
    let code = person.code();
    let address = format!("http://localhost/callback?state=x&code={code}&location=us&accounts-server={server}");
    world.zoho.script(Target::Token, Reply::error("invalid_redirect_uri"));
    let ran = person.zoho_with(&LOGIN, &[CLIENT_ID, CLIENT_SECRET, &address]).await.failed();
    assert!(ran.stderr.contains("Client: its redirect URI is not the one that was sent"), "{}", ran.stderr);
    // What is no code is told before anything is sent.
    let posts = world.zoho.stats().token.posts;
    for (pasted, says) in [
        ("http://localhost/callback?error=access_denied", "Zoho gave no code (access_denied): the consent was refused"),
        ("http://localhost/callback?error=no_org&location=us", "Zoho gave no code (no_org): this account has no org"),
        ("http://localhost/callback?code=1000.x&location=moon", "not on the list"),
        ("http://localhost/callback", "has no code in it"),
        ("https://localhost/?accounts-server=https://accounts.evil.example&code=1000.x", "not on the list"),
        ("1000.a b", "it contains white space"),
        ("replace-with-your-code", "it is the placeholder of an example"),
    ] {
        let ran = person.zoho_with(&LOGIN, &[CLIENT_ID, CLIENT_SECRET, pasted]).await;
        assert!(ran.code != Some(0) && ran.stderr.contains(says), "{pasted}: {}", ran.stderr);
    }
    assert_eq!(world.zoho.stats().token.posts, posts, "nothing was sent");
}

#[tokio::test]
async fn replies_are_read_as_the_operator_reads_them() {
    let world = World::new("login-replies").await;
    let person = Person::of(&world);
    let args = ["login", "patch", "--data-center", "US", "--timeout", "0s"];
    let failing = [
        (Page::json(200, r#"{"error":"INVALID_CODE"}"#), "Code: Zoho does not accept it."),
        (
            Page::json(200, &b"\xef\xbb\xbf{\"error\":{\"code\":\"invalid_client\"}}"[..]),
            "does not know this client id",
        ),
        (Page::html(307, "").with_header("Location", "https://accounts.zoho.in/x"), "set spec.dataCenter to IN"),
    ];
    for (page, says) in failing {
        world.zoho.script(Target::Token, Reply::Status(page));
        let ran = person.zoho_with(&args, &[CLIENT_ID, CLIENT_SECRET, &person.code()]).await.failed();
        assert!(ran.stderr.contains(says) && !ran.stderr.contains("cannot be reached"), "{says}: {}", ran.stderr);
    }
    // A byte order mark before the reply loses neither the code nor the refresh token.
    let body = b"\xef\xbb\xbf{\"access_token\":\"1000.x\",\"refresh_token\":\"1000.came0after0the0mark\"}";
    world.confide("1000.came0after0the0mark");
    world.zoho.script(Target::Token, Reply::Status(Page::json(200, &body[..]).gzipped()));
    person.zoho_with(&args, &[CLIENT_ID, CLIENT_SECRET, &person.code()]).await.ok();
    let source = world.secret("patch-oauth").await.expect("the source");
    assert_eq!(text(&source, "refresh_token"), "1000.came0after0the0mark");
}

#[tokio::test]
async fn dry_run_refuses_what_the_real_run_would_refuse() {
    let world = World::new("login-dry-refused").await;
    let person = Person::of(&world);
    world.good_source("foreign").await;
    world.credential("there", "foreign", json!({ "dataCenter": "EU" })).await;
    world.credential("ours", "ours-oauth", json!({ "product": "PatchManagerPlus" })).await;
    let bad_secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(bad_secret.path(), "two words\n").expect("written");
    let bad_secret = bad_secret.path().to_str().expect("text");
    let table: [(&[&str], &str); 10] = [
        (&["patch", "--product", "RemoteAccessPlus"], "no host of RemoteAccessPlus is known in data center US"),
        (&["patch", "--secret", "foreign"], "was not created by kubectl zoho"),
        (&["there"], "logs in at data center EU, not at data center US"),
        (&["ours", "--product", "EndpointCentral"], "is for PatchManagerPlus, not EndpointCentral"),
        (&["ours", "--secret", "another"], "reads Secret ours-oauth, not another"),
        (&["Not_A_Name"], "Invalid value"),
        (&["patch", "-n", "nowhere"], "namespace nowhere does not exist"),
        (&["patch", "--client-secret-file", bad_secret], "it contains white space"),
        (&["patch", "--client-secret-file", "/nowhere"], "/nowhere"),
        (&["patch", "--client-id", "replace-with-your-client-id"], "it is the placeholder of an example"),
    ];
    for (more, says) in table {
        let real = [&["login"], more, &["--data-center", "US"]].concat();
        let dry = [&real[..], &["--dry-run"]].concat();
        let code = person.code();
        let really = person.zoho_with(&real, &[CLIENT_ID, CLIENT_SECRET, &code]).await;
        let dryly = person.zoho(&dry).await;
        assert!(dryly.stderr.contains(says), "{more:?}: {}", dryly.stderr);
        assert_eq!(
            (dryly.code, dryly.stdout.as_str()),
            (really.code, ""),
            "{more:?}: {} {}",
            really.stderr,
            dryly.stderr
        );
    }
    assert_eq!(world.zoho.stats().token.posts, 0, "neither sends anything");
    let ran = person.zoho(&["login", "ours", "--dry-run"]).await.ok();
    assert!(ran.stdout.contains("name: ours-oauth") && !ran.stdout.contains("ZohoCredential"), "{}", ran.stdout);
}

#[tokio::test]
async fn secret_of_somebody_else_is_left_alone_and_the_code_unspent() {
    let world = World::new("login-foreign").await;
    let person = Person::of(&world);
    world.good_source("patch-oauth").await;
    let code = person.code();
    let ran = person.zoho_with(&LOGIN, &[CLIENT_ID, CLIENT_SECRET, &code]).await.failed();
    assert_eq!(
        person.masked(&ran.stderr),
        "kubectl zoho: Secret NS/patch-oauth exists and was not created by kubectl zoho; it is left as it is. Choose another one with --secret, or hand it over: kubectl label secret -n NS patch-oauth app.kubernetes.io/managed-by=kubectl-zoho"
    );
    let owned: Secret = serde_json::from_value(json!({
        "metadata": {
            "name": "synced",
            "ownerReferences": [{ "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "zoho", "uid": "1", "controller": true }],
        },
    }))
    .expect("a Secret");
    world.secrets().create(&PostParams::default(), &owned).await.expect("created");
    let args = [&LOGIN[..], &["--secret", "synced"]].concat();
    let ran = person.zoho_with(&args, &[CLIENT_ID, CLIENT_SECRET, &code]).await.failed();
    assert!(
        ran.stderr
            .contains("Secret NS/synced is managed by ExternalSecret zoho".replace("NS", &world.namespace).as_str()),
        "{}",
        ran.stderr
    );
    let ran = person.zoho_with(&[&LOGIN[..], &["-n", "nowhere"]].concat(), &[CLIENT_ID, CLIENT_SECRET, &code]).await;
    assert!(ran.failed().stderr.contains("namespace nowhere does not exist"));
    assert_eq!(world.zoho.stats().token.posts, 0, "the code is good still");
}

#[tokio::test]
async fn refresh_token_that_cannot_be_stored_is_revoked_again() {
    let world = World::new("login-undo").await;
    let person = Person::of(&world);
    // What no dry run shows.
    let policy = format!(
        r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{ name: {ns} }}
spec:
  matchConstraints:
    namespaceSelector: {{ matchLabels: {{ kubernetes.io/metadata.name: {ns} }} }}
    resourceRules: [{{ apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [secrets] }}]
  validations: [{{ expression: "request.dryRun", message: no Secrets today }}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{ name: {ns} }}
spec: {{ policyName: {ns}, validationActions: [Deny] }}
"#,
        ns = world.namespace
    );
    world.cluster.apply_yaml(&policy).await.expect("applied");
    crate::support::eventually("the policy holds", async || {
        let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": "probe" } })).expect("a Secret");
        let created = world.secrets().create(&PostParams::default(), &secret).await.is_ok();
        if created {
            world.delete_secret("probe").await;
        }
        (!created).then_some(())
    })
    .await;
    let code = person.code();
    let ran = person.zoho_with(&LOGIN, &[CLIENT_ID, CLIENT_SECRET, &code]).await.failed();
    assert!(
        ran.stderr.contains("could not be stored, and was revoked again") && ran.stderr.contains("no Secrets today"),
        "{}",
        ran.stderr
    );
    assert_eq!((world.zoho.granted().len(), world.zoho.stats().revocations), (1, 1));
    assert!(world.credentials().get_opt("patch").await.expect("an answer").is_none());
}

#[tokio::test]
async fn printed_secrets_need_no_cluster_and_no_terminal_sees_them() {
    let world = World::new("login-print").await;
    let person = Person::of(&world);
    let code = person.code();
    let args = [
        "login",
        "patch",
        "--data-center",
        "us",
        "--scope",
        "A.b.READ",
        "--kubeconfig",
        "/nowhere",
        "--print-secret=json",
    ];
    let ran = person.zoho_aloud(&args, &[CLIENT_ID, CLIENT_SECRET, &code]).await.ok();
    let printed: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let expected =
        json!({ "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": world.zoho.granted()[0] });
    assert_eq!(printed, expected);
    assert!(ran.stderr.contains("Zoho did not grant A.b.READ"), "{}", ran.stderr);

    let secret_file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret_file.path(), format!("{CLIENT_SECRET}\n")).expect("written");
    let path = secret_file.path().to_str().expect("text");
    let args = [
        "login",
        "patch",
        "--data-center",
        "US",
        "--client-id",
        CLIENT_ID,
        "--client-secret-file",
        path,
        "--print-secret",
        "manifest",
    ];
    let ran = person.zoho_aloud(&args, &[&person.code()]).await.ok();
    let printed: Value = serde_saphyr::from_str(&ran.stdout).expect("YAML");
    assert_eq!(printed["kind"], "Secret");
    let consent = json!({ "zoho-operator.dev/source-for": "patch" });
    let metadata = json!({ "name": "patch-oauth", "namespace": world.namespace, "annotations": consent });
    assert_eq!(printed["metadata"], metadata);
    assert_eq!(printed["stringData"]["refresh_token"], world.zoho.granted()[1].as_str());

    // On a terminal it is refused before anything is asked.
    let command = person.command(&["login", "patch", "--data-center", "US", "--print-secret=json"]);
    let line: Vec<_> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy()).collect();
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line.join(" "), "/dev/null"]).env_clear();
    script.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?)))).stdin(std::process::Stdio::null());
    match script.output() {
        Ok(output) => {
            assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
            assert!(String::from_utf8_lossy(&output.stdout).contains("--print-secret prints secrets"));
        }
        Err(_) => crate::support::untested(
            "--print-secret refuses a terminal",
            "there is no script(1) to make one (Debian: bsdutils)",
        ),
    }
    assert_eq!(world.zoho.granted().len(), 2);
}

#[tokio::test]
async fn dry_run_shows_what_would_be_applied() {
    let world = World::new("login-dry").await;
    let person = Person::of(&world);
    let ran = person.zoho(&[&LOGIN[..], &["--dry-run", "--browser", "--client-id", "1000.X"]].concat()).await.ok();
    assert_eq!(
        person.masked(&ran.stdout),
        "# Scope: PatchManagerPlusCloud.Common.READ,PatchManagerPlusCloud.PatchMgmt.READ
apiVersion: v1
kind: Secret
metadata:
  annotations:
    zoho-operator.dev/source-for: patch
  labels:
    app.kubernetes.io/managed-by: kubectl-zoho
  name: patch-oauth
  namespace: NS
stringData:
  client_id: 1000.X
  client_secret: <client secret>
  redirect_uri: http://localhost:8765/callback
  refresh_token: <refresh token>
type: Opaque
---
apiVersion: zoho-operator.dev/v1alpha1
kind: ZohoCredential
metadata:
  name: patch
  namespace: NS
spec:
  dataCenter: US
  product: PatchManagerPlus
  scopes:
  - PatchManagerPlusCloud.Common.READ
  - PatchManagerPlusCloud.PatchMgmt.READ
  secretRef:
    name: patch-oauth"
    );
    assert!(world.secret("patch-oauth").await.is_none());
}

#[tokio::test]
async fn login_that_cannot_be_meant_is_wrong_usage() {
    let world = World::new("login-usage").await;
    let person = Person::of(&world);
    let table: [(&[&str], &str); 7] = [
        (&["login", "patch"], "--data-center"),
        (&["login", "patch", "--data-center", "XX"], "invalid value 'XX'"),
        (&["login", "patch", "--data-center", "Other"], "--data-center Other needs --accounts-host"),
        (&["login", "patch", "--data-center", "US", "--browser"], "Name a --product, or scopes with --scope"),
        (&["login", "patch", "--data-center", "US", "--scope", "READ"], "READ is not a scope"),
        (
            &[
                "login",
                "patch",
                "--data-center",
                "US",
                "--browser",
                "--scope",
                "A.b.READ",
                "--redirect-uri",
                "https://x/y",
            ],
            "does not lead back here",
        ),
        (
            &["login", "patch", "--data-center", "US", "--accounts-url", "US=http://gateway.example"],
            "only https, or http on loopback",
        ),
    ];
    for (args, expected) in table {
        let ran = person.zoho(args).await.misused();
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
    }
    let ran = person.zoho_with(&LOGIN, &[CLIENT_ID, ""]).await.misused();
    assert!(ran.stderr.ends_with("kubectl zoho: no client secret was given\n"), "{}", ran.stderr);
}
