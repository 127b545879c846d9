//! What goes wrong in a soak. Each is a single fault, so that what it may cost is known.
//!
//! A throttle of the token service is not among them: it asks for ten minutes of silence, and tokens live shorter here.

use std::time::Duration;

use zoho_simulator::script::{Page, Reply, Script, Target};
use zoho_testkit::fault_proxy::{Action, Answer, FrameAction, Match, Verb, Window};

use super::Soak;

/// Of the simulator, but for the fault that makes it slow.
const LATENCY: Duration = Duration::from_millis(50);

/// What goes wrong, and for how long.
pub(super) struct Fault {
    pub(super) what: &'static str,
    pub(super) lasts: Duration,
    kind: Kind,
}

/// Where a fault strikes.
enum Kind {
    /// Between the operator and the API server.
    Calls(Match, Action),
    /// In watches that are open.
    Watches(FrameAction),
    /// At the token service.
    Tokens(Reply),
    /// The token service takes so long for an answer.
    SlowTokens(Duration),
    /// A signal to the leader, or else to the replica that stands by.
    Signal { to_leader: bool, name: &'static str },
}

fn fault(what: &'static str, seconds: u64, kind: Kind) -> Fault {
    Fault { what, lasts: Duration::from_secs(seconds), kind }
}

/// All faults, in an order that stays: a seed means the same ones again.
pub(super) fn all() -> Vec<Fault> {
    let mut all = of_the_api_server();
    all.extend(of_the_token_service());
    all.extend(of_the_processes());
    all
}

fn of_the_api_server() -> Vec<Fault> {
    let targets = || Match::new(Verb::Patch, "secrets");
    let ledgers = || Match::new(Verb::Update, "zohomintledgers");
    let status = || Match::any().subresource("status");
    let sources = || Match::new(Verb::Get, "secrets");
    let calls = |what, seconds, on, action| fault(what, seconds, Kind::Calls(on, action));
    let drip = Action::Drip { bytes: 1, every: Duration::from_secs(1) };
    vec![
        calls("the API server does not answer", 15, Match::any(), Action::Hang),
        calls("connections to the API server are reset", 10, Match::any(), Action::Reset),
        calls("the API server answers 429", 15, Match::any(), Action::Answer(Answer::too_many_requests("1"))),
        calls("the API server takes 400 ms longer", 20, Match::any(), Action::Delay(Duration::from_millis(400))),
        calls("writes are answered with 500", 15, Match::writes(), Action::Answer(Answer::internal_error())),
        calls("writes of targets meet conflicts", 10, targets(), Action::Answer(Answer::conflict())),
        calls("writes of targets are forbidden", 15, targets(), Action::Answer(Answer::forbidden())),
        calls("answers to writes of targets are lost", 15, targets(), Action::Swallow),
        calls("writes of ledgers meet conflicts", 10, ledgers(), Action::Answer(Answer::conflict())),
        calls("answers to writes of ledgers are lost", 15, ledgers(), Action::Swallow),
        calls("status cannot be written", 15, status(), Action::Answer(Answer::internal_error())),
        calls("sources come a byte a second", 15, sources(), drip),
        fault("watches end with 410", 5, Kind::Watches(FrameAction::Gone)),
        fault("watches are reset", 5, Kind::Watches(FrameAction::Reset)),
        fault("watches fall silent", 20, Kind::Watches(FrameAction::Hold)),
    ]
}

fn of_the_token_service() -> Vec<Fault> {
    let tokens = |what, seconds, reply| fault(what, seconds, Kind::Tokens(reply));
    let hidden = Reply::MintThenStatus(Page::html(502, "<h1>Bad Gateway</h1>"));
    vec![
        tokens("the token service answers 503", 20, Reply::html(503, "<h1>sorry</h1>")),
        tokens("the token service mints and answers 502", 15, hidden),
        tokens("the token service mints and never answers", 15, Reply::MintThenSwallow),
        tokens("the token service resets connections", 20, Reply::Reset),
        tokens("a login page answers for the token service", 20, Reply::html(200, "<html>login</html>")),
        tokens("the token service answers general_error", 15, Reply::error("general_error")),
        fault("the token service takes 3 s", 20, Kind::SlowTokens(Duration::from_secs(3))),
    ]
}

fn of_the_processes() -> Vec<Fault> {
    let signal = |what, seconds, to_leader, name| fault(what, seconds, Kind::Signal { to_leader, name });
    vec![
        signal("the leader is ended by SIGKILL", 1, true, "KILL"),
        signal("the standby is ended by SIGKILL", 1, false, "KILL"),
        signal("the leader is asked to stop by SIGTERM", 1, true, "TERM"),
        signal("the leader sleeps past its lease", 20, true, "STOP"),
    ]
}

impl Soak {
    pub(super) fn begin(&mut self, fault: &Fault) {
        match &fault.kind {
            Kind::Calls(on, action) => drop(self.proxy.rule(on.clone(), Window::ALWAYS, action.clone())),
            Kind::Watches(action) => drop(self.proxy.frames(Match::any(), Window::ALWAYS, action.clone())),
            Kind::Tokens(reply) => self.world.zoho.script(Target::Token, Script::until_cleared(reply.clone())),
            Kind::SlowTokens(latency) => self.world.zoho.set_latency(*latency),
            Kind::Signal { to_leader, name } => self.signalled = self.replicas.signal(*to_leader, name),
        }
    }

    pub(super) fn end(&mut self, fault: &Fault) {
        match &fault.kind {
            Kind::Calls(..) | Kind::Watches(_) => self.proxy.clear(),
            Kind::Tokens(_) => self.world.zoho.clear_scripts(),
            Kind::SlowTokens(_) => self.world.zoho.set_latency(LATENCY),
            Kind::Signal { .. } => self.replicas.go_on(self.signalled.take()),
        }
    }
}
