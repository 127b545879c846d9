//! Forwards requests as the rules say.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures::SinkExt as _;
use futures::channel::mpsc::Sender;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::call::{Call, Verb};
use super::frames::{self, Lines};
use super::rule::{Action, Answer, FrameAction, Point, Rules, Stopped};
use super::trace::Trace;
use zoho_simulator::wire::Line;

/// Larger than anything that the API server takes.
const LARGEST_REQUEST: usize = 16 * 1024 * 1024;
/// Header fields that belong to one connection (RFC 9110, section 7.6.1), and those that are made anew.
const NOT_FORWARDED: [header::HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::HOST];

/// What all connections share.
pub(super) struct Shared {
    pub(super) upstream: reqwest::Url,
    pub(super) client: reqwest::Client,
    pub(super) rules: Mutex<Rules<Action>>,
    pub(super) frames: Mutex<Rules<FrameAction>>,
    pub(super) trace: Trace,
    /// How many breakpoints let nothing in; and what wakes frames that are held when rules change.
    pub(super) shut: watch::Sender<usize>,
    pub(super) changed: watch::Sender<usize>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No answer will come.
struct NoAnswer;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(serve).with_state(shared)
}

async fn serve(State(shared): State<Arc<Shared>>, ConnectInfo(line): ConnectInfo<Line>, request: Request) -> Response {
    if let Ok(response) = Exchange::begin(shared, request, line.clone()).await {
        return response;
    }
    line.end();
    Response::default()
}

struct Exchange {
    shared: Arc<Shared>,
    call: Call,
    number: usize,
    line: Line,
}

impl Exchange {
    async fn begin(shared: Arc<Shared>, request: Request, line: Line) -> Result<Response, NoAnswer> {
        let call = Call::read(request.method(), request.uri());
        let mut shut = shared.shut.subscribe();
        // The sender is in `shared`.
        let _ = shut.wait_for(|breakpoints| *breakpoints == 0).await;
        let number = shared.trace.begin(&call);
        let decided = lock(&shared.rules).decide(&call, &call.name);
        let exchange = Self { shared, call, number, line };
        let Some((_, action)) = decided else { return exchange.forward(request).await?.stream(None) };
        exchange.shared.trace.fault(number, &action.to_string());
        exchange.act(action, request).await
    }

    async fn act(self, action: Action, request: Request) -> Result<Response, NoAnswer> {
        match action {
            Action::Pass => self.forward(request).await?.stream(None),
            Action::Delay(delay) => {
                sleep(delay).await;
                self.forward(request).await?.stream(None)
            }
            Action::Drop => Err(NoAnswer),
            Action::Reset => {
                self.line.cut();
                Ok(Response::default())
            }
            Action::Swallow => {
                self.forward(request).await?.finish().await;
                Err(NoAnswer)
            }
            Action::Hang => std::future::pending().await,
            Action::HangApplied => {
                self.forward(request).await?.finish().await;
                std::future::pending().await
            }
            Action::Answer(answer) => Ok(self.answer(answer)),
            Action::AnswerApplied(answer) => {
                self.forward(request).await?.finish().await;
                Ok(whole_response(answer))
            }
            Action::Drip { bytes, every } => self.forward(request).await?.stream(Some((bytes, every))),
            Action::Stop(Point::Arrived, test) => {
                self.ask(&test).await?;
                self.forward(request).await?.stream(None)
            }
            Action::Stop(Point::Applied, test) => {
                let forwarded = self.forward(request).await?;
                let (exchange, answer) = forwarded.whole().await?;
                exchange.ask(&test).await?;
                Ok(whole_response(answer))
            }
            Action::Stop(Point::Answered, test) => {
                let forwarded = self.forward(request).await?;
                let (exchange, answer) = forwarded.whole().await?;
                exchange.shared.shut.send_modify(|breakpoints| *breakpoints += 1);
                let response = whole_response(answer);
                tokio::spawn(async move {
                    // The answer leaves as soon as this handler returns; whatever the client does next waits outside.
                    sleep(Duration::from_millis(20)).await;
                    drop(exchange.ask(&test).await);
                    exchange.shared.shut.send_modify(|breakpoints| *breakpoints -= 1);
                });
                Ok(response)
            }
        }
    }

    /// Asks the test what is to become of the request.
    async fn ask(&self, test: &mpsc::UnboundedSender<Stopped>) -> Result<(), NoAnswer> {
        let (go_on, verdict) = oneshot::channel();
        test.send(Stopped { call: self.call.clone(), go_on }).map_err(|_| NoAnswer)?;
        verdict.await.map_err(|_| NoAnswer)
    }

    fn answer(&self, answer: Answer) -> Response {
        self.shared.trace.answered(self.number, answer.status.as_u16());
        whole_response(answer)
    }

    async fn forward(self, request: Request) -> Result<Forwarded, NoAnswer> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, LARGEST_REQUEST).await.map_err(|_| NoAnswer)?;
        let url = self.shared.upstream.join(&self.call.uri).map_err(|_| NoAnswer)?;
        let request = self.shared.client.request(parts.method, url).headers(kept(&parts.headers)).body(body);
        match request.send().await {
            Ok(answer) => {
                self.shared.trace.answered(self.number, answer.status().as_u16());
                Ok(Forwarded { exchange: self, answer })
            }
            Err(_unreachable) => {
                self.shared.trace.fault(self.number, "no answer from the API server");
                Err(NoAnswer)
            }
        }
    }
}

/// A request that was carried out.
struct Forwarded {
    exchange: Exchange,
    answer: reqwest::Response,
}

impl Forwarded {
    /// Reads the answer to its end, for nobody.
    async fn finish(mut self) {
        while let Ok(Some(_)) = self.answer.chunk().await {}
    }

    async fn whole(self) -> Result<(Exchange, Answer), NoAnswer> {
        let (status, headers) = (self.answer.status(), kept(self.answer.headers()));
        let body = self.answer.bytes().await.map_err(|_| NoAnswer)?;
        Ok((self.exchange, Answer { status, headers, body }))
    }

    /// Hands the answer on as it comes.
    fn stream(self, drip: Option<(usize, Duration)>) -> Result<Response, NoAnswer> {
        let mut response = Response::builder().status(self.answer.status());
        if let Some(headers) = response.headers_mut() {
            *headers = kept(self.answer.headers());
        }
        // One piece at a time: what the client does not read must not pile up here.
        let (sender, receiver) = futures::channel::mpsc::channel::<Result<Bytes, std::io::Error>>(0);
        let is_watch = self.exchange.call.verb == Verb::Watch && self.answer.status() == StatusCode::OK;
        tokio::spawn(async move {
            let Self { exchange, answer } = self;
            let out = Out { exchange, sender };
            match drip {
                Some((bytes, every)) => out.drip(answer, bytes, every).await,
                None if is_watch => out.watch(answer).await,
                None => out.copy(answer).await,
            }
        });
        response.body(Body::from_stream(receiver)).map_err(|_| NoAnswer)
    }
}

/// Where the body of an answer goes.
struct Out {
    exchange: Exchange,
    sender: Sender<Result<Bytes, std::io::Error>>,
}

impl Out {
    /// Says whether the client still listens.
    async fn send(&mut self, piece: Bytes) -> bool {
        self.sender.send(Ok(piece)).await.is_ok()
    }

    /// Ends the connection in the middle of the body.
    async fn break_off(mut self, is_reset: bool) {
        if is_reset {
            self.exchange.line.cut();
        }
        // The client may be gone already.
        let _ = self.sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).await;
    }

    async fn copy(mut self, mut answer: reqwest::Response) {
        loop {
            match answer.chunk().await {
                Ok(Some(piece)) => {
                    if !self.send(piece).await {
                        return;
                    }
                }
                Ok(None) => return,
                Err(_) => return self.break_off(false).await,
            }
        }
    }

    async fn drip(mut self, mut answer: reqwest::Response, bytes: usize, every: Duration) {
        while let Ok(Some(mut piece)) = answer.chunk().await {
            while !piece.is_empty() {
                sleep(every).await;
                let next = piece.split_to(bytes.clamp(1, piece.len()));
                if !self.send(next).await {
                    return;
                }
            }
        }
    }

    async fn watch(mut self, mut answer: reqwest::Response) {
        let mut lines = Lines::default();
        loop {
            let piece = tokio::select! {
                piece = answer.chunk() => piece,
                // Nobody listens any more.
                () = is_closed(&self.sender) => return,
            };
            let (frames, end) = match piece {
                Ok(Some(piece)) => (lines.push(&piece), None),
                Ok(None) => (std::mem::take(&mut lines).rest().into_iter().collect(), Some(false)),
                Err(_) => (Vec::new(), Some(true)),
            };
            for frame in frames {
                match self.meet(frame).await {
                    Next::GoOn => {}
                    Next::End => return,
                    Next::Reset => return self.break_off(true).await,
                }
            }
            if let Some(is_broken) = end {
                self.while_held(None).await;
                if is_broken {
                    self.break_off(false).await;
                }
                return;
            }
        }
    }

    /// Does to a frame what the rules say.
    async fn meet(&mut self, frame: Bytes) -> Next {
        let call = &self.exchange.call;
        let decided = lock(&self.exchange.shared.frames).decide(call, &frames::name_in(&frame));
        let Some((rule, action)) = decided else { return self.hand_on(frame).await };
        self.exchange.shared.trace.fault(self.exchange.number, &format!("{action:?} of a frame"));
        match action {
            FrameAction::Hold => {
                self.while_held(Some(rule)).await;
                self.hand_on(frame).await
            }
            FrameAction::Drop => Next::GoOn,
            FrameAction::Delay(delay) => {
                sleep(delay).await;
                self.hand_on(frame).await
            }
            FrameAction::Gone => {
                self.send(frames::gone()).await;
                Next::End
            }
            FrameAction::Reset => Next::Reset,
        }
    }

    async fn hand_on(&mut self, frame: Bytes) -> Next {
        if self.send(frame).await { Next::GoOn } else { Next::End }
    }

    /// Waits until the rule is gone, or, for the end of the stream, every rule that holds all of it.
    async fn while_held(&mut self, rule: Option<usize>) {
        let mut changed = self.exchange.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let is_held = {
                let rules = lock(&self.exchange.shared.frames);
                let holds = |action: &FrameAction| matches!(action, FrameAction::Hold);
                rule.map_or_else(|| rules.any(&self.exchange.call, holds), |rule| rules.has(rule))
            };
            if !is_held {
                return;
            }
            tokio::select! {
                // The sender is in `shared`.
                _ = changed.changed() => {}
                () = is_closed(&self.sender) => return,
            }
        }
    }
}

/// What follows a frame.
enum Next {
    GoOn,
    End,
    Reset,
}

/// Waits until the client is gone. By looking: the channel has no other way to say it.
async fn is_closed(sender: &Sender<Result<Bytes, std::io::Error>>) {
    while !sender.is_closed() {
        sleep(Duration::from_millis(50)).await;
    }
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in &NOT_FORWARDED {
        headers.remove(name);
    }
    headers
}

fn whole_response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().entry(header::CONTENT_TYPE).or_insert(json);
    response
}
