//! The blow itself: the operator is killed on one side of one write.

use std::time::Duration;

use zoho_simulator::script::{Reply, Script, Target};
use zoho_testkit::fault_proxy::{Action, Breakpoint, Match, Point, RuleId, Window};

use super::boundary::{Boundary, Mode};
use super::flow::Flow;
use super::stage::Stage;
use crate::support::look::{is_ready, text};

/// In this time a request is there or not: what the operator does next it does at once.
const AT_ONCE: Duration = Duration::from_millis(150);
/// A flow that does not come to the write in this time is broken.
const REACHED_WITHIN: Duration = Duration::from_secs(45);

/// A blow that waits for its moment.
pub(super) struct Armed {
    mode: Mode,
    place: Place,
}

enum Place {
    Call(Breakpoint),
    /// The number of the request, counted from the world's beginning.
    Post(u64),
}

/// Makes everything ready. Before the flow begins.
pub(super) fn arm(stage: &Stage, boundary: &Boundary, mode: Mode) -> Armed {
    let world = &stage.world;
    let place = if let Some(on) = boundary.write.on(&world.namespace, &world.operator_namespace) {
        let point = if mode == Mode::Before { Point::Arrived } else { Point::Applied };
        Place::Call(stage.proxy.breakpoint(on, Window::nth(boundary.nth), point))
    } else {
        for _ in 1..boundary.nth {
            world.zoho.script(Target::Token, Script::once(Reply::Normal));
        }
        // One that is swallowed might as well not have arrived.
        let reply = if mode == Mode::Before { Reply::Swallow } else { Reply::MintThenHold };
        world.zoho.script(Target::Token, Script::once(reply));
        Place::Post(stage.mark().counts.posts + u64::try_from(boundary.nth).expect("few"))
    };
    Armed { mode, place }
}

impl Armed {
    /// Waits for the moment, kills the operator in it, and starts another one.
    pub(super) async fn strike(self, flow: Flow, stage: &Stage) -> Result<(), String> {
        let mode = self.mode;
        match self.place {
            Place::Call(mut breakpoint) => {
                let reached = tokio::time::timeout(REACHED_WITHIN, breakpoint.reached()).await;
                let Ok(Ok(stopped)) = reached else { return Err("the flow did not come to that write".to_owned()) };
                if mode == Mode::Read {
                    let shut = shut(stage);
                    stopped.go_on();
                    tokio::time::sleep(AT_ONCE).await;
                    stage.kill();
                    open(stage, shut).await;
                } else {
                    stage.kill();
                    drop(stopped);
                }
            }
            Place::Post(number) => {
                if let Err(late) = stage.world.zoho.wait_for_posts(number, REACHED_WITHIN).await {
                    return Err(format!("the flow did not come to that request: {late}"));
                }
                if mode == Mode::Read {
                    let shut = shut(stage);
                    stage.world.zoho.release();
                    tokio::time::sleep(AT_ONCE).await;
                    stage.kill();
                    open(stage, shut).await;
                } else {
                    stage.kill();
                    stage.world.zoho.clear_scripts();
                }
            }
        }
        let honest = is_not_ahead(flow, stage).await;
        stage.restart();
        honest
    }
}

/// Whatever the moment: a status never tells of a token that the target does not hold yet, and never calls one valid that is not.
/// Somebody who takes a token out of a target is ahead of the status for a moment.
async fn is_not_ahead(flow: Flow, stage: &Stage) -> Result<(), String> {
    let credential = stage.world.get("one").await;
    let is_called_valid = is_ready(&credential);
    let Some(status) = credential.status else { return Ok(()) };
    let (Some(said), Some(name)) = (status.last_mint_time, status.target) else { return Ok(()) };
    let Some(target) = stage.world.secret(&name).await else {
        let was_deleted = flow == Flow::RepairOfDeleted;
        return if was_deleted {
            Ok(())
        } else {
            Err(format!("the status tells of a token in {name}, which is not there"))
        };
    };
    let issued = target.metadata.annotations.as_ref().and_then(|all| all.get(zoho_api::keys::ISSUED_AT));
    // RFC 3339 in UTC sorts like the times it names.
    if let Some(issued) = issued.filter(|issued| said.to_string() > **issued) {
        return Err(format!("the status tells of a token of {said}, the target holds one of {issued}"));
    }
    if is_called_valid && !flow.has_dead_token() && !stage.world.zoho.is_alive(&text(&target, "access_token")) {
        return Err("Ready is True, and the token in the target is not valid".to_owned());
    }
    Ok(())
}

/// From now on nothing that the operator sends arrives.
fn shut(stage: &Stage) -> RuleId {
    let swallow = Script::until_cleared(Reply::Swallow);
    stage.world.zoho.script(Target::Token, swallow);
    stage.proxy.rule(Match::any(), Window::ALWAYS, Action::Hang)
}

async fn open(stage: &Stage, shut: RuleId) {
    // What the killed process has sent is read, and hung, before the next one comes.
    tokio::time::sleep(Duration::from_millis(200)).await;
    stage.proxy.remove(shut);
    stage.world.zoho.clear_scripts();
}
