//! Which request or watch frame meets which fault. Pure but for the channels that a breakpoint carries.

use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::call::{Call, Verb};

/// Which requests are meant. What is not given matches everything.
#[derive(Clone, Debug, Default)]
pub struct Match {
    verbs: Vec<Verb>,
    writes: bool,
    resource: Option<String>,
    subresource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    dry_run: Option<bool>,
}

impl Match {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests with this verb for this resource (in the plural).
    pub fn new(verb: Verb, resource: &str) -> Self {
        Self { verbs: vec![verb], resource: Some(resource.to_owned()), ..Self::default() }
    }

    /// Every request for this resource.
    pub fn resource(resource: &str) -> Self {
        Self { resource: Some(resource.to_owned()), ..Self::default() }
    }

    /// Everything that may change what is stored; dry runs change nothing.
    pub fn writes() -> Self {
        Self { writes: true, dry_run: Some(false), ..Self::default() }
    }

    /// Only this subresource; empty for the object itself.
    #[must_use]
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.to_owned());
        self
    }

    /// Only in this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only the object of this name; of a watch, frames about it.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Only dry runs, or only what is none.
    #[must_use]
    pub fn dry_run(mut self, is_dry_run: bool) -> Self {
        self.dry_run = Some(is_dry_run);
        self
    }

    fn fits(&self, call: &Call, name: &str) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        (self.verbs.is_empty() || self.verbs.contains(&call.verb))
            && (!self.writes || call.verb.is_write())
            && is(&self.resource, &call.resource)
            && is(&self.subresource, &call.subresource)
            && is(&self.namespace, &call.namespace)
            && is(&self.name, name)
            && self.dry_run.is_none_or(|wanted| wanted == call.is_dry_run)
    }
}

/// A whole answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Header fields; `content-type` is JSON where there is none.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A `Status` object, as the API server answers what it does not do.
    pub fn status(status: StatusCode, reason: &str, message: &str) -> Self {
        let body = status_object(status, reason, message).to_string();
        Self { status, headers: HeaderMap::new(), body: body.into() }
    }

    /// 410: what was asked for is too long ago.
    pub fn gone() -> Self {
        Self::status(StatusCode::GONE, "Expired", "too old resource version")
    }

    /// 409: the object is not in the version that the write was meant for.
    pub fn conflict() -> Self {
        Self::status(StatusCode::CONFLICT, "Conflict", "the object has been modified")
    }

    /// 409: an object of that name exists.
    pub fn already_exists() -> Self {
        Self::status(StatusCode::CONFLICT, "AlreadyExists", "the object already exists")
    }

    /// 404.
    pub fn not_found() -> Self {
        Self::status(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
    }

    /// 500.
    pub fn internal_error() -> Self {
        Self::status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "an error of the fault proxy")
    }

    /// 403.
    pub fn forbidden() -> Self {
        Self::status(StatusCode::FORBIDDEN, "Forbidden", "forbidden by the fault proxy")
    }

    /// 429, with the seconds after which to come again.
    pub fn too_many_requests(retry_after: &'static str) -> Self {
        let mut answer = Self::status(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "too many requests");
        answer.headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from_static(retry_after));
        answer
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} bytes", self.status, self.body.len())
    }
}

pub(super) fn status_object(status: StatusCode, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": status.as_u16() })
}

/// Where a breakpoint stops a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// It has arrived, and is not forwarded yet.
    Arrived,
    /// It is carried out, and its answer is held back.
    Applied,
    /// Its answer is delivered, and no further request is let in.
    Answered,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Forwarded, whatever later rules say.
    Pass,
    /// Forwarded after a while.
    Delay(Duration),
    /// Never forwarded; the connection ends without an answer.
    Drop,
    /// Never forwarded; the connection is reset.
    Reset,
    /// Forwarded and carried out; the connection ends without an answer.
    Swallow,
    /// Never forwarded, never answered; the connection stays.
    Hang,
    /// Forwarded and carried out, never answered; the connection stays.
    HangApplied,
    /// Never forwarded; answered like this. Also for old answers, see [`super::FaultProxy::capture`].
    Answer(Answer),
    /// Forwarded and carried out; answered like this, as where something on the way has sent it twice.
    AnswerApplied(Answer),
    /// Forwarded; the answer's body comes in pieces.
    Drip {
        /// Bytes of a piece.
        bytes: usize,
        /// From one piece to the next.
        every: Duration,
    },
    /// The test is asked; see [`super::FaultProxy::breakpoint`].
    Stop(Point, mpsc::UnboundedSender<Stopped>),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Stop(point, _) = self { write!(f, "Stop({point:?})") } else { write!(f, "{self:?}") }
    }
}

/// A request that waits at a breakpoint. Dropped without a word, its connection ends.
#[derive(Debug)]
pub struct Stopped {
    /// The request.
    pub call: Call,
    pub(super) go_on: oneshot::Sender<()>,
}

impl Stopped {
    /// Lets it go on.
    pub fn go_on(self) {
        // The connection may have ended meanwhile.
        let _ = self.go_on.send(());
    }
}

/// What becomes of a frame of a watch, which is one event.
#[derive(Clone, Debug)]
pub enum FrameAction {
    /// It is held, and all that follow it and the end of the stream too, until the rule is gone.
    Hold,
    /// It is left out.
    Drop,
    /// It comes later, and so do those that follow it.
    Delay(Duration),
    /// In its place comes an event that says 410, and then the end.
    Gone,
    /// In its place the connection is reset.
    Reset,
}

/// A rule: from the n-th match on, so many times.
#[derive(Clone, Debug)]
struct Rule<A> {
    id: usize,
    on: Match,
    window: Window,
    seen: usize,
    action: A,
}

/// Which of the matches are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// So many matches pass before.
    pub after: usize,
    /// So many are meant; `None`: all from then on.
    pub times: Option<usize>,
}

impl Window {
    /// All matches.
    pub const ALWAYS: Self = Self { after: 0, times: None };
    /// The next one only.
    pub const ONCE: Self = Self { after: 0, times: Some(1) };

    /// The next so many.
    pub fn times(times: usize) -> Self {
        Self { after: 0, times: Some(times) }
    }

    /// Only the n-th match, counted from 1.
    pub fn nth(n: usize) -> Self {
        Self { after: n.saturating_sub(1), times: Some(1) }
    }

    fn holds(self, seen: usize) -> bool {
        seen > self.after && self.times.is_none_or(|times| seen <= self.after.saturating_add(times))
    }
}

/// Rules in order; the first one that applies decides.
#[derive(Debug)]
pub(super) struct Rules<A> {
    rules: Vec<Rule<A>>,
    next: usize,
}

impl<A> Default for Rules<A> {
    fn default() -> Self {
        Self { rules: Vec::new(), next: 0 }
    }
}

impl<A: Clone> Rules<A> {
    /// Adds a rule after the others.
    pub(super) fn add(&mut self, on: Match, window: Window, action: A) -> usize {
        self.next += 1;
        self.rules.push(Rule { id: self.next, on, window, seen: 0, action });
        self.next
    }

    pub(super) fn remove(&mut self, id: usize) {
        self.rules.retain(|rule| rule.id != id);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// How often a rule's requests were seen.
    pub(super) fn seen(&self, id: usize) -> usize {
        self.rules.iter().find(|rule| rule.id == id).map_or(0, |rule| rule.seen)
    }

    /// What becomes of this call, or of the frame about the object of this name. Counts it.
    pub(super) fn decide(&mut self, call: &Call, name: &str) -> Option<(usize, A)> {
        let mut decided = None;
        for rule in self.rules.iter_mut().filter(|rule| rule.on.fits(call, name)) {
            rule.seen += 1;
            if decided.is_none() && rule.window.holds(rule.seen) {
                decided = Some((rule.id, rule.action.clone()));
            }
        }
        decided
    }

    pub(super) fn has(&self, id: usize) -> bool {
        self.rules.iter().any(|rule| rule.id == id)
    }

    /// Are there rules whose action `is` so about everything that this call brings?
    pub(super) fn any(&self, call: &Call, is: impl Fn(&A) -> bool) -> bool {
        self.rules.iter().any(|rule| is(&rule.action) && rule.on.name.is_none() && rule.on.fits(call, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, uri: &str) -> Call {
        Call::read(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    fn decide(rules: &mut Rules<char>, call: &Call) -> Option<char> {
        rules.decide(call, &call.name.clone()).map(|(_, action)| action)
    }

    #[test]
    fn match_says_what_it_means() {
        let secret = call("PATCH", "/api/v1/namespaces/a/secrets/s");
        let status = call("PATCH", "/apis/g/v1/namespaces/a/zohocredentials/s/status");
        let rehearsal = call("POST", "/api/v1/namespaces/b/secrets?dryRun=All");
        let list = call("GET", "/api/v1/namespaces/a/secrets");
        let table = [
            ("any", Match::any(), [true, true, true, true]),
            ("verb", Match::new(Verb::Patch, "secrets"), [true, false, false, false]),
            ("resource", Match::resource("secrets"), [true, false, true, true]),
            ("writes", Match::writes(), [true, true, false, false]),
            ("subresource", Match::any().subresource("status"), [false, true, false, false]),
            ("object itself", Match::writes().subresource(""), [true, false, false, false]),
            ("namespace", Match::any().namespace("b"), [false, false, true, false]),
            ("name", Match::any().name("s"), [true, true, false, false]),
            ("dry run", Match::any().dry_run(true), [false, false, true, false]),
        ];
        for (what, on, expected) in table {
            let fits = [&secret, &status, &rehearsal, &list].map(|call| on.fits(call, &call.name));
            assert_eq!(fits, expected, "{what}");
        }
    }

    #[test]
    fn first_rule_whose_window_is_open_decides_and_all_count() {
        let list = call("GET", "/api/v1/namespaces/a/secrets");
        let mut rules = Rules::default();
        rules.add(Match::any(), Window::nth(2), 'a');
        let second = rules.add(Match::resource("secrets"), Window { after: 0, times: Some(3) }, 'b');
        rules.add(Match::any(), Window { after: 4, times: None }, 'c');
        let seen: Vec<Option<char>> = (0..6).map(|_| decide(&mut rules, &list)).collect();
        assert_eq!(seen, [Some('b'), Some('a'), Some('b'), None, Some('c'), Some('c')]);
        assert_eq!(rules.seen(second), 6);
        rules.remove(second);
        assert!(!rules.has(second));
        rules.clear();
        assert_eq!(decide(&mut rules, &list), None);
    }

    #[test]
    fn refusals_are_status_objects() {
        let answer = Answer::too_many_requests("1");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status.as_u16(), body["code"].as_u64(), body["kind"].as_str()),
            (429, Some(429), Some("Status"))
        );
        assert_eq!(answer.headers["retry-after"], "1");
    }
}
