//! The story, step by step. A step says what it does, does it, waits for what should come of it, and shows that.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::sleep;

use super::screen::{OUTPUT_WIDTH, Screen};
use super::stage::{Cluster, Stage, seconds, until};
use super::target::Target;
use super::{CLIENT_ID, CLIENT_SECRET, CREDENTIAL, NAMESPACE, REFRESH_TOKENS, SOURCE, TARGET};
use super::{describe, example, operator};
use crate::control_plane::OPERATOR_NAMESPACE;
use zoho_api::{ConditionStatus, ConditionType, Reason, Time, ZohoCredential};
use zoho_simulator::state::Settings;
use zoho_simulator::{Simulator, SimulatorConfig};

/// The shortest life that the operator believes; an hour at Zoho.
const TOKEN_LIFE: Duration = Duration::from_mins(1);
/// The next renewal comes after 24 to 30 s; the rest is for a machine that is busy.
const RENEWED_WITHIN: Duration = Duration::from_mins(1);
/// What needs no waiting takes a second at most; the rest is for a machine that is busy.
const SOON: Duration = Duration::from_secs(30);
const HERE: [&str; 2] = ["-n", NAMESPACE];

/// Tells all of it.
pub(super) async fn tell(stage: &mut Stage, screen: &Screen) -> Result<()> {
    screen.headline("zoho-operator: one ZohoCredential in, one Secret with a valid access token out");
    open_cluster(stage, screen).await?;
    open_zoho(stage, screen)?;
    start_operator(stage, screen).await?;
    apply(stage, screen).await?;
    delete_target(stage, screen).await?;
    await_renewal(stage, screen).await?;
    kill_operator(stage, screen).await?;
    revoke(stage, screen).await?;
    repair(stage, screen).await?;
    sum_up(stage, screen).await
}

async fn open_cluster(stage: &mut Stage, screen: &Screen) -> Result<()> {
    screen.step("A Kubernetes control plane");
    let started = Instant::now();
    // Only what takes minutes is told.
    let cluster = Cluster::open(|line| Screen::new(false, false).say(line)).await?;
    let cluster = stage.cluster.insert(cluster);
    let description = cluster.describe().await?;
    if let Some(context) = &cluster.context {
        screen.done(&format!("KUBECONFIG is set, so its context {context} is used: {description}."));
        screen.say("The demo deletes what it creates there when it ends.");
        return cluster.check_is_free().await;
    }
    screen.say("etcd, kube-apiserver and kube-controller-manager, on free ports of this machine.");
    screen.done(&format!("{description} ({}).", seconds(started.elapsed())));
    Ok(())
}

fn open_zoho(stage: &mut Stage, screen: &Screen) -> Result<()> {
    screen.step("A simulated Zoho");
    let settings =
        Settings { token_life: TOKEN_LIFE, api_domain: Some("https://www.zohoapis.com".into()), ..Settings::default() };
    let config = SimulatorConfig { settings, latency: Duration::from_millis(50), ..SimulatorConfig::default() };
    let zoho = Simulator::try_start(config).context("start the Zoho simulator")?;
    zoho.register(CLIENT_ID, CLIENT_SECRET, REFRESH_TOKENS[0]);
    screen.say(
        "A simulator of its token service, with its limits: ten tokens in ten minutes, ten valid at once. Tokens are \
         valid for one minute here instead of an hour, so that you see one renewed.",
    );
    screen.done(&format!("It listens at {}; the real Zoho is not contacted.", zoho.url()));
    stage.zoho = Some(zoho);
    Ok(())
}

async fn start_operator(stage: &mut Stage, screen: &Screen) -> Result<()> {
    screen.step("The operator");
    stage.cluster.as_mut().expect("the first step brings the cluster up").prepare(screen).await?;
    screen.command(&format!("zoho-operator {}", operator::arguments(&stage.zoho().url()).join(" ")));
    let started = Instant::now();
    stage.start_operator("operator").await?;
    screen.done(&format!("It runs, and has listed all objects ({}).", seconds(started.elapsed())));
    Ok(())
}

async fn apply(stage: &Stage, screen: &Screen) -> Result<()> {
    screen.step("One object in, one Secret out");
    let example = example::read()?;
    screen.say(&format!(
        "examples/quickstart.yaml has a Secret {SOURCE} with client id, client secret and refresh token, and this:"
    ));
    screen.output(&example::credential(&example));
    screen.say("The demo replaces the placeholders with the values of the simulator.");
    screen.command(&format!("kubectl apply --server-side -n {NAMESPACE} -f examples/quickstart.yaml"));
    let manifests = example::filled_in(&example)?;
    screen.output(
        &stage.cluster().kubectl_stdin(&["apply", "--server-side", "-n", NAMESPACE, "-f", "-"], &manifests).await?,
    );
    let applied = Instant::now();
    when(stage, "Ready is True and Renewable is True", SOON, is_well).await?;
    screen.done(&format!("Ready {} later.", seconds(applied.elapsed())));
    show(stage, screen, &["get", "zcred"]).await?;
    describe_credential(stage, screen).await?;
    let secret = target(stage).await?;
    screen.say("Workloads mount this Secret and nothing else:");
    screen.fields(&secret.fields());
    ensure!(stage.zoho().is_alive(&secret.token), "expected: Zoho accepts the token\nseen:     it does not");
    screen.done(&format!("Zoho accepts the token. {}", requests(stage)));
    Ok(())
}

async fn delete_target(stage: &Stage, screen: &Screen) -> Result<()> {
    screen.step("Somebody deletes the Secret");
    let before = target(stage).await?;
    show(stage, screen, &["delete", "secret", TARGET]).await?;
    let deleted = Instant::now();
    let after = until("the Secret is back", SOON, async || {
        let found = stage.cluster().secret(TARGET).await?.map(|secret| Target::of(&secret));
        Ok(found.filter(|found| found.uid != before.uid).ok_or_else(|| "no such Secret".to_owned()))
    })
    .await?;
    ensure!(
        after.token == before.token && stage.zoho().stats().token.posts == 1,
        "expected: the same token, and no request for another\nseen:     {}",
        requests(stage)
    );
    screen.done(&format!(
        "It is back after {}, with the same token: a token that is still valid is not requested again.",
        seconds(deleted.elapsed())
    ));
    Ok(())
}

async fn await_renewal(stage: &Stage, screen: &Screen) -> Result<()> {
    screen.step("Renewal, long before the token expires");
    let before = target(stage).await?;
    let due = stage.cluster().credential().await?.status.and_then(|status| status.renewal_time);
    let due = due.context("expected: status.renewalTime\nseen:     none")?;
    screen.say(&format!(
        "Half of the token's lifetime is kept as a margin for outages at Zoho: renewal is due at {due}."
    ));
    let after = until("another token in the Secret", RENEWED_WITHIN, async || {
        screen.meanwhile(&countdown(stage, due, "The renewal"));
        let found = target(stage).await?;
        Ok(if found.token == before.token { Err(format!("token {}", found.shown("access_token"))) } else { Ok(found) })
    })
    .await?;
    when(stage, "the status has the new expiry", SOON, |seen| {
        is_well(seen) && expiry(seen).as_deref() == Some(&*after.value("expires_at"))
    })
    .await?;
    let moved = |key| format!("{}  →  {}", before.shown(key), after.shown(key));
    screen.fields(&["access_token", "expires_at"].map(|key| (key.to_owned(), moved(key))));
    show(stage, screen, &["get", "zcred"]).await?;
    ensure!(
        stage.zoho().is_alive(&before.token) && stage.zoho().is_alive(&after.token),
        "expected: Zoho accepts the old token and the new one\nseen:     {:?} and {:?}",
        stage.zoho().token_state(&before.token),
        stage.zoho().token_state(&after.token)
    );
    screen.done("Zoho still accepts the old token too: a workload that read it a moment ago keeps working.");
    Ok(())
}

async fn kill_operator(stage: &mut Stage, screen: &Screen) -> Result<()> {
    screen.step("The operator crashes and restarts");
    let (before, posts) = (target(stage).await?, stage.zoho().stats().token.posts);
    screen.command("kill -KILL <operator>; zoho-operator …");
    if let Some(operator) = stage.operator.take() {
        operator.kill();
    }
    stage.start_operator("operator-again").await?;
    // Long enough for everything that it might do wrongly.
    sleep(Duration::from_secs(2)).await;
    let (after, now) = (target(stage).await?, stage.zoho().stats().token.posts);
    ensure!(
        now == posts && after == before,
        "expected: no request to Zoho and no write to the Secret\nseen:     {} requests, the Secret {}",
        now - posts,
        if after == before { "as it was" } else { "written" }
    );
    screen.done("It asked Zoho for nothing and wrote nothing: everything that it needs to know is in the cluster.");
    Ok(())
}

async fn revoke(stage: &Stage, screen: &Screen) -> Result<()> {
    screen.step("The refresh token is revoked at Zoho");
    let before = target(stage).await?;
    let due = stage.cluster().credential().await?.status.and_then(|status| status.renewal_time);
    let due = due.context("expected: status.renewalTime\nseen:     none")?;
    stage.zoho().revoke(REFRESH_TOKENS[0]);
    screen.say(&format!(
        "In Zoho's console, by a password reset, or by the 21st refresh token of this user. Zoho does not notify the \
         operator, which detects it at the next renewal, at {due}."
    ));
    until("Renewable is False with reason RefreshTokenRejected", RENEWED_WITHIN, async || {
        screen.meanwhile(&countdown(stage, due, "The renewal"));
        let seen = stage.cluster().credential().await?;
        let refused = is(&seen, ConditionType::Renewable, ConditionStatus::False, Reason::RefreshTokenRejected);
        Ok(if refused { Ok(()) } else { Err(told(&seen)) })
    })
    .await?;
    show(stage, screen, &["get", "zcred"]).await?;
    describe_credential(stage, screen).await?;
    let after = target(stage).await?;
    ensure!(after == before, "expected: the Secret as it was\nseen:     it was written");
    screen.done("The Secret is as it was, to the byte: an error never overwrites a token.");
    screen.say(
        "A minute after this first refusal, the operator asks Zoho once more to confirm it. Then Ready becomes False, and the \
         operator waits until the source Secret changes. The demo does not wait for that:",
    );
    Ok(())
}

async fn repair(stage: &Stage, screen: &Screen) -> Result<()> {
    screen.step("A new refresh token repairs it");
    let before = target(stage).await?;
    let zoho = stage.zoho();
    zoho.register(CLIENT_ID, CLIENT_SECRET, REFRESH_TOKENS[1]);
    zoho.set_token_life(Duration::from_hours(1));
    screen.say("Tokens minted from it are valid for an hour, as at Zoho.");
    let patch = json!({ "stringData": { "refresh_token": REFRESH_TOKENS[1] } }).to_string();
    let arguments = ["patch", "secret", SOURCE, HERE[0], HERE[1], "--patch-file", "/dev/stdin"];
    screen.command(&format!("kubectl {} < new-refresh-token.json", arguments.join(" ")));
    screen.output(&stage.cluster().kubectl_stdin(&arguments, &patch).await?);
    let patched = Instant::now();
    when(stage, "Ready is True and Renewable is True", SOON, is_well).await?;
    let took = patched.elapsed();
    let after = target(stage).await?;
    ensure!(
        after.token != before.token && zoho.is_alive(&after.token),
        "expected: another token, which Zoho takes\nseen:     {}, {:?}",
        after.shown("access_token"),
        zoho.token_state(&after.token)
    );
    screen.fields(&after.fields());
    screen.done(&format!("Ready again {} after the source Secret was changed.", seconds(took)));
    Ok(())
}

async fn sum_up(stage: &Stage, screen: &Screen) -> Result<()> {
    screen.step("Summary");
    show(stage, screen, &["get", "zcred", "-o", "wide"]).await?;
    screen.say("The operator records its requests, so that even crashes never exceed Zoho's limits:");
    let ledgers = ["get", "zledger", "-n", OPERATOR_NAMESPACE];
    screen.command(&format!("kubectl {}", ledgers.join(" ")));
    screen.output(&stage.cluster().kubectl(&ledgers).await?);
    screen.say("COUNTS are the requests of ten minutes and the valid tokens, each with the operator's own limit.");
    let stats = stage.zoho().stats();
    let count = |name: &str, count: u64| (name.to_owned(), count.to_string());
    screen.say("And this is what Zoho saw:");
    screen.fields(&[
        count("token requests", stats.token.posts),
        count("tokens minted", stats.token.mints),
        count("refused", stats.token.refused),
        count("throttled", stats.token.throttled),
        count("tokens that expired early because there were too many", stats.token.evictions),
        count("requests that broke Zoho's rules", stats.violations),
    ]);
    let seen = [stats.token.mints, stats.token.refused, stats.token.throttled, stats.token.evictions, stats.violations];
    ensure!(
        seen == [3, 1, 0, 0, 0] && stats.token.posts == 4,
        "expected: 4 requests: 3 tokens, 1 refusal; nothing throttled, nothing evicted, no rule broken"
    );
    screen.done("Two planned tokens, one refusal, one repair. Nothing was throttled, nothing was lost.");
    Ok(())
}

/// What to try while everything is left up.
pub(super) fn leave_up(stage: &Stage, screen: &Screen) {
    let cluster = stage.cluster();
    screen.step("Yours, until Ctrl-C");
    if cluster.context.is_none() {
        screen.say("In another terminal:");
        screen.output(&format!("export KUBECONFIG={}", cluster.kubeconfig()));
        if let Some(kubectl) = cluster.own_kubectl() {
            screen.output(&format!("alias kubectl={}   # if you have none", kubectl.display()));
        }
    }
    screen.say("To try:");
    let url = stage.zoho().url();
    screen.output(&format!(
        "kubectl get zcred -n {NAMESPACE} -w\n\
         kubectl describe zcred {CREDENTIAL} -n {NAMESPACE}\n\
         kubectl annotate zcred {CREDENTIAL} -n {NAMESPACE} --overwrite zoho-operator.dev/renew-requested=\"$(date)\"\n\
         kubectl patch zcred {CREDENTIAL} -n {NAMESPACE} --type merge -p '{{\"spec\":{{\"suspend\":true}}}}'\n\
         kubectl explain zcred.spec\n\
         curl -s {url}/_sim/stats"
    ));
}

/// A command as a person would type it, and what it prints.
async fn show(stage: &Stage, screen: &Screen, arguments: &[&str]) -> Result<()> {
    let arguments = [arguments, &HERE].concat();
    screen.command(&format!("kubectl {}", arguments.join(" ")));
    screen.output(&stage.cluster().kubectl(&arguments).await?);
    Ok(())
}

/// The parts of `kubectl describe` that say how it is: conditions and Events.
async fn describe_credential(stage: &Stage, screen: &Screen) -> Result<()> {
    let arguments = ["describe", "zcred", CREDENTIAL, HERE[0], HERE[1]];
    screen.command(&format!("kubectl {}", arguments.join(" ")));
    screen.output(&describe::excerpt(&stage.cluster().kubectl(&arguments).await?, OUTPUT_WIDTH));
    Ok(())
}

/// Waits for the credential to be as it should.
async fn when(stage: &Stage, what: &str, within: Duration, is_so: impl Fn(&ZohoCredential) -> bool) -> Result<()> {
    until(what, within, async || {
        let seen = stage.cluster().credential().await?;
        Ok(if is_so(&seen) { Ok(()) } else { Err(told(&seen)) })
    })
    .await
}

fn is(credential: &ZohoCredential, type_: ConditionType, status: ConditionStatus, reason: Reason) -> bool {
    let condition = credential.status.as_ref().and_then(|status| status.condition(type_));
    condition.is_some_and(|found| found.status == status && found.reason == reason.as_str())
}

fn is_well(credential: &ZohoCredential) -> bool {
    [ConditionType::Ready, ConditionType::Renewable]
        .into_iter()
        .all(|type_| is(credential, type_, ConditionStatus::True, Reason::TokenValid))
}

fn expiry(credential: &ZohoCredential) -> Option<String> {
    credential.status.as_ref()?.expiration_time.map(|time| time.to_string())
}

/// What the conditions say, for a step that waited in vain.
fn told(credential: &ZohoCredential) -> String {
    let conditions = credential.status.iter().flat_map(|status| &status.conditions);
    let said: Vec<String> = conditions
        .map(|condition| {
            format!("{}={:?} ({}): {}", condition.type_, condition.status, condition.reason, condition.message)
        })
        .collect();
    if said.is_empty() { "no conditions".into() } else { said.join("\n          ") }
}

fn countdown(stage: &Stage, due: Time, what: &str) -> String {
    let left = due.unix() - stage.zoho().now().as_second();
    if left > 0 { format!("{what} is due in {left} s …") } else { format!("{what} is due …") }
}

fn requests(stage: &Stage) -> String {
    let posts = stage.zoho().stats().token.posts;
    format!("Requests for tokens so far: {posts}.")
}

async fn target(stage: &Stage) -> Result<Target> {
    let secret = stage.cluster().secret(TARGET).await?;
    let secret = secret.with_context(|| format!("expected: Secret {TARGET}\nseen:     none"))?;
    Ok(Target::of(&secret))
}
