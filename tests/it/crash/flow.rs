//! What happens to a credential in its life, step by step.

use std::fmt;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use zoho_api::{ConditionType, ZohoCredential, keys};

use super::stage::{Stage, lock};
use crate::installations::{installation, is_left_to_the_other_one, operator_of, served_by};
use crate::support::eventually;
use crate::support::look::{is, is_ready, text};
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN};

/// The source that another one replaces is [`REFRESH_TOKEN`]'s.
const OTHER: [(&str, &str); 3] = [
    ("client_id", "1000.CANARYOTHERID"),
    ("client_secret", "canary0other0secret0ba5e"),
    ("refresh_token", "1000.canary0other0refresh.f00d"),
];
/// Requests of somebody else that fill Zoho's ten minutes.
const FOREIGN_MINTS: u64 = 10;
/// An installation that is so late with what it announced has left its objects, in seconds.
const LATE: i64 = 120;

/// One of those that are crashed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Create,
    Renew,
    SpecChange,
    SourceChange,
    Rename,
    Repair,
    RepairOfToken,
    RepairOfDeleted,
    Throttle,
    Takeover,
}

/// Something happens, and the operator makes it good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Start,
    Due,
    Choose,
    ChooseLess,
    ReplaceSource,
    Rename,
    FormerExpires,
    EditTarget,
    PlantToken,
    DeleteTarget,
    MeetThrottle,
    ThrottleEnds,
    OtherOneIsLate,
}

impl Flow {
    pub(super) const ALL: [Self; 10] = [
        Self::Create,
        Self::Renew,
        Self::SpecChange,
        Self::SourceChange,
        Self::Rename,
        Self::Repair,
        Self::RepairOfToken,
        Self::RepairOfDeleted,
        Self::Throttle,
        Self::Takeover,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Renew => "renew",
            Self::SpecChange => "spec-change",
            Self::SourceChange => "source-change",
            Self::Rename => "rename",
            Self::Repair => "repair",
            Self::RepairOfToken => "repair-of-token",
            Self::RepairOfDeleted => "repair-of-deleted",
            Self::Throttle => "throttle",
            Self::Takeover => "takeover",
        }
    }

    pub(super) fn steps(self) -> &'static [Step] {
        match self {
            Self::Create => &[Step::Start],
            Self::Renew => &[Step::Due],
            Self::SpecChange => &[Step::Choose, Step::ChooseLess],
            Self::SourceChange => &[Step::ReplaceSource],
            Self::Rename => &[Step::Rename, Step::Due, Step::FormerExpires],
            Self::Repair => &[Step::EditTarget],
            Self::RepairOfToken => &[Step::PlantToken],
            Self::RepairOfDeleted => &[Step::DeleteTarget],
            Self::Throttle => &[Step::MeetThrottle, Step::ThrottleEnds],
            Self::Takeover => &[Step::OtherOneIsLate],
        }
    }

    /// The target holds a token that is none, until it is repaired.
    pub(super) fn has_dead_token(self) -> bool {
        self == Self::RepairOfToken
    }

    /// The token stands nowhere but in the operator's memory.
    pub(super) fn is_only_in_memory(self) -> bool {
        matches!(self, Self::RepairOfToken | Self::RepairOfDeleted)
    }

    /// Up to where the flow begins. Returns how many requests somebody else has sent.
    pub(super) async fn prepare(self, stage: &Stage) -> u64 {
        let world = &stage.world;
        world.zoho.register(OTHER[0].1, OTHER[1].1, OTHER[2].1);
        OTHER.iter().skip(1).for_each(|(_, secret)| world.confide(secret));
        world.good_source("source").await;
        // The former target expires between two renewals, so that one thing happens at a time.
        let spec = if self == Self::Rename { json!({ "renewBefore": "10m" }) } else { json!({}) };
        world.credential("one", "source", spec).await;
        if self == Self::Create {
            return 0;
        }
        if self == Self::Takeover {
            return leave_behind(stage).await;
        }
        stage.start();
        world.wait_ready("one").await;
        let mut foreign = 0;
        if self == Self::Throttle {
            let renewal = world.get("one").await.status.and_then(|status| status.renewal_time).expect("one");
            stage.advance(renewal.unix() - world.zoho.now().as_second() - 60);
            fill_the_window(stage).await;
            foreign = FOREIGN_MINTS;
        }
        rests(stage).await;
        foreign
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

async fn rests(stage: &Stage) {
    eventually("the operator rests", async || stage.is_quiet().then_some(())).await;
}

/// Another installation serves the credential, the stage's own has seen that and rests, and then the other one is gone for
/// good. Returns what it has sent.
async fn leave_behind(stage: &Stage) -> u64 {
    let world = &stage.world;
    let other = operator_of(world, &installation(world, "other").await);
    world.wait_ready("one").await;
    stage.start();
    is_left_to_the_other_one(world).await;
    rests(stage).await;
    other.kill();
    world.zoho.stats().token.posts
}

/// Somebody else mints with the same refresh token as often as Zoho lets him, and uses none of it.
async fn fill_the_window(stage: &Stage) {
    let zoho = &stage.world.zoho;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("refresh_token", REFRESH_TOKEN),
    ];
    for _ in 0..FOREIGN_MINTS {
        let answer = client.post(format!("{}/oauth/v2/token", zoho.url())).form(&form).send().await;
        let answer = answer.expect("an answer").bytes().await.expect("an answer");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert!(zoho.revoke_access_token(answer["access_token"].as_str().expect("a token")));
    }
}

impl Step {
    /// Makes it happen.
    pub(super) async fn begin(self, stage: &Stage) {
        let world = &stage.world;
        let target = world.get("one").await.target_name();
        *lock(&stage.before) = world.token(&target).await;
        stage.note(format!("step {self:?}"));
        let patch_target = async |patch: Value| {
            world.secrets().patch(&target, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
        };
        match self {
            Self::Start => stage.start(),
            Self::Due | Self::MeetThrottle | Self::ThrottleEnds => stage.advance_to_next(0).await,
            Self::OtherOneIsLate => stage.advance_to_next(LATE).await,
            Self::Choose => {
                let data = json!({ "TOKEN": "bearer {{ access_token }}" });
                let chosen = json!({ "labels": { "team": "a" }, "annotations": { "a.example/b": "c" }, "data": data });
                world.patch("one", json!({ "spec": { "target": chosen } })).await;
            }
            Self::ChooseLess => {
                let less = json!({ "labels": { "team": null }, "data": { "TOKEN": null } });
                world.patch("one", json!({ "spec": { "target": less } })).await;
            }
            Self::ReplaceSource => drop(world.source("source", &OTHER).await),
            Self::Rename => world.patch("one", json!({ "spec": { "target": { "name": "renamed" } } })).await,
            Self::FormerExpires => {
                let former = world.secret("one-token").await.expect("it stays until its token has expired");
                let expires = former.metadata.annotations.and_then(|mut all| all.remove(keys::EXPIRES_AT));
                let expires: jiff::Timestamp = expires.expect("one").parse().expect("a time");
                stage.advance(expires.as_second() - world.zoho.now().as_second() + 1);
            }
            Self::EditTarget => {
                let edit =
                    json!({ "metadata": { "labels": { keys::MANAGED_BY: "me" } }, "data": { "expires_at": "bm8=" } });
                patch_target(edit).await;
            }
            Self::PlantToken => patch_target(json!({ "stringData": { "access_token": "1000.planted.token" } })).await,
            Self::DeleteTarget => world.delete_secret(&target).await,
        }
    }

    /// Has the operator made it good, and said so?
    pub(super) async fn is_done(self, stage: &Stage) -> bool {
        let world = &stage.world;
        let seen = world.get("one").await;
        if self == Self::MeetThrottle {
            return is(&seen, ConditionType::Renewable, "Throttled");
        }
        let Some(target) = world.secret(&seen.target_name()).await else { return false };
        let token = text(&target, "access_token");
        let is_new = || lock(&stage.before).as_ref() != Some(&token);
        let labels = target.metadata.labels.clone().unwrap_or_default();
        let data = target.data.clone().unwrap_or_default();
        let is_made_good = match self {
            Self::Start | Self::Rename | Self::DeleteTarget | Self::PlantToken | Self::MeetThrottle => true,
            Self::Due | Self::ThrottleEnds => is_new(),
            Self::OtherOneIsLate => {
                is_new() && served_by(&seen) == format!("{}/zoho-operator", world.operator_namespace)
            }
            Self::Choose => labels.contains_key("team") && data.contains_key("TOKEN"),
            Self::ChooseLess => !labels.contains_key("team") && !data.contains_key("TOKEN"),
            Self::ReplaceSource => is_minted_from(stage, &token, OTHER[2].1),
            Self::FormerExpires => world.secret("one-token").await.is_none(),
            Self::EditTarget => {
                labels.get(keys::MANAGED_BY).is_some_and(|by| by != "me") && text(&target, "expires_at") != "no"
            }
        };
        is_made_good && world.zoho.is_alive(&token) && says(&seen, &target)
    }
}

/// Was that token minted with that refresh token?
pub(super) fn is_minted_from(stage: &Stage, token: &str, refresh_token: &str) -> bool {
    let log = stage.world.zoho.log();
    let minted = log.iter().find(|record| record.access_token.as_deref() == Some(token));
    minted.is_some_and(|record| record.refresh_token.as_deref() == Some(refresh_token))
}

/// Does the status say of the target what is so?
fn says(seen: &ZohoCredential, target: &k8s_openapi::api::core::v1::Secret) -> bool {
    let Some(status) = &seen.status else { return false };
    let annotations = target.metadata.annotations.clone().unwrap_or_default();
    let is_time =
        |time: Option<zoho_api::Time>, key: &str| time.map(|time| time.to_string()) == annotations.get(key).cloned();
    is_ready(seen)
        && is(seen, ConditionType::Renewable, "TokenValid")
        && status.observed_generation == seen.metadata.generation
        && status.target == target.metadata.name
        && is_time(status.expiration_time, keys::EXPIRES_AT)
        && is_time(status.last_mint_time, keys::ISSUED_AT)
}
