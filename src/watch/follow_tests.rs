//! The loop on paused time, with a source whose next answers are written down. What the API server really says is in
//! `tests/it/faults`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use futures::stream;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListMeta, ObjectMeta};
use kube::core::watch::{Bookmark, BookmarkMeta};
use tokio::time::{advance, sleep};

use super::*;
use crate::watch::source::Events;
use zoho_client::clock;
use zoho_core::mirror::{Mirror, Scope};

use crate::lead::Leadership;

type Event = kube::Result<WatchEvent<ConfigMap>>;

/// What comes next. Where nothing is written down, no answer comes.
enum Next {
    List(kube::Result<(&'static str, Vec<ConfigMap>)>),
    /// A page of a list, after so many seconds, and there are more.
    SlowPage(u64),
    /// Events, and then silence.
    Watch(Vec<Event>),
    /// Events, and then the end.
    WatchEnds(Vec<Event>),
    /// Events, and then the end when the API server was asked to end it.
    WatchEndsInTime(Vec<Event>),
    Refusal(u16),
    NoConnection,
    /// No answer to this request.
    Hang,
}

#[derive(Clone, Default)]
struct Script {
    next: Arc<Mutex<VecDeque<Next>>>,
    /// What was asked for, and when.
    asked: Arc<Mutex<Vec<(String, Instant)>>>,
    now: Arc<Mutex<HashMap<ObjectName, String>>>,
}

impl Script {
    fn new(next: impl IntoIterator<Item = Next>) -> Self {
        Self { next: Arc::new(Mutex::new(next.into_iter().collect())), ..Self::default() }
    }

    fn next(&self, asked: String) -> Next {
        self.asked.lock().unwrap().push((asked, Instant::now()));
        self.next.lock().unwrap().pop_front().unwrap_or(Next::Hang)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(asked, _)| asked.clone()).collect()
    }

    /// Seconds from one request to the next.
    fn pauses(&self) -> Vec<u64> {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|two| (two[1].1 - two[0].1).as_secs()).collect()
    }
}

fn healthy() -> Health {
    let health = Health::new();
    health.leads_by(Leadership::alone());
    health
}

fn refusal(code: u16) -> kube::Error {
    kube::Error::Api(Box::new(Status::failure("no", "Reason").with_code(code)))
}

impl Source<ConfigMap> for Script {
    async fn list(&self, params: &ListParams) -> kube::Result<ObjectList<ConfigMap>> {
        let what = if params.limit == Some(1) { "look" } else { "list" };
        match self.next(what.to_owned()) {
            Next::List(Ok((version, items))) => Ok(ObjectList {
                types: kube::core::TypeMeta::default(),
                metadata: ListMeta { resource_version: Some(version.into()), ..ListMeta::default() },
                items,
            }),
            Next::List(Err(error)) => Err(error),
            Next::SlowPage(seconds) => {
                sleep(Duration::from_secs(seconds)).await;
                let (version, token) = (Some("9".into()), Some("more".into()));
                let metadata = ListMeta { resource_version: version, continue_: token, ..ListMeta::default() };
                Ok(ObjectList { types: kube::core::TypeMeta::default(), metadata, items: Vec::new() })
            }
            Next::Refusal(code) => Err(refusal(code)),
            Next::NoConnection => Err(kube::Error::LinesCodecMaxLineLengthExceeded),
            Next::Hang | Next::Watch(_) | Next::WatchEnds(_) | Next::WatchEndsInTime(_) => std::future::pending().await,
        }
    }

    async fn watch(&self, _: &WatchParams, from: &str) -> kube::Result<Events<ConfigMap>> {
        match self.next(format!("watch {from}")) {
            Next::Watch(events) => Ok(stream::iter(events).chain(stream::pending()).boxed()),
            Next::WatchEnds(events) => Ok(stream::iter(events).boxed()),
            Next::WatchEndsInTime(events) => {
                let end = stream::once(async {
                    sleep(Duration::from_secs(WATCH_FOR.into())).await;
                    None
                });
                Ok(stream::iter(events).map(Some).chain(end).filter_map(std::future::ready).boxed())
            }
            Next::Refusal(code) => Err(refusal(code)),
            Next::NoConnection => Err(kube::Error::LinesCodecMaxLineLengthExceeded),
            Next::Hang | Next::List(_) | Next::SlowPage(_) => std::future::pending().await,
        }
    }

    async fn seen(&self, key: &ObjectName) -> Result<Option<String>, ApiError> {
        Ok(self.now.lock().unwrap().get(key).cloned())
    }
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Mirror<ObjectVersion>>>);

const ALL: Scope = None;

impl Told {
    fn versions(&self) -> Vec<String> {
        let mirror = self.0.lock().unwrap();
        let mut known: Vec<String> =
            mirror.iter().map(|(key, seen)| format!("{}@{}", key.name, seen.resource_version)).collect();
        known.sort();
        known
    }
}

impl Sink<ConfigMap> for Told {
    fn is_past(&self, version: Version) -> bool {
        self.0.lock().unwrap().is_past(&ALL, version)
    }

    fn take_in(&mut self, news: News<ConfigMap>) {
        let news = news.map(|object| (ObjectName::of(&object.metadata), ObjectVersion::of(&object.metadata)));
        self.0.lock().unwrap().told(&ALL, news);
    }

    fn disagreements(&self, listed: &HashMap<ObjectName, String>) -> Vec<Disagreement> {
        self.0.lock().unwrap().disagreements(&ALL, listed, 5)
    }

    fn went_back(&self, object: &ConfigMap, at: Version) -> bool {
        let (key, listed) = (ObjectName::of(&object.metadata), ObjectVersion::of(&object.metadata));
        self.0.lock().unwrap().went_back(&ALL, &key, &listed, at)
    }

    fn doubt(&mut self) {
        self.0.lock().unwrap().doubt(&ALL);
    }
}

struct Running {
    script: Script,
    told: Told,
    health: Health,
    metrics: Metrics,
    listed: watch::Receiver<bool>,
}

const NAME: &str = "the list of things";

fn run(script: Script) -> Running {
    run_beside(script, &History::default())
}

fn run_beside(script: Script, history: &History) -> Running {
    let (told, metrics, health) = (Told::default(), Metrics::default(), healthy());
    health.wait_for(NAME.to_owned(), None);
    let witness = Witness {
        health: health.clone(),
        metrics: metrics.clone(),
        clock: clock::system(),
        kind: "things",
        namespace: None,
        name: NAME.into(),
    };
    let listed = Watch::spawn(script.clone(), told.clone(), witness, history);
    Running { script, told, health, metrics, listed }
}

impl Running {
    fn is_up(&self) -> bool {
        let text = self.metrics.prometheus().expect("text");
        text.lines().any(|line| line == "zoho_operator_watch_up{namespace=\"\",kind=\"things\"} 1")
    }
}

/// Lets so much time pass, in steps that let everything run that is due.
async fn pass(seconds: u64) {
    for _ in 0..seconds * 4 {
        advance(Duration::from_millis(250)).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

fn thing(name: &str, version: u64) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            namespace: Some("ns".into()),
            name: Some(name.into()),
            uid: Some("u".into()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn list(version: &'static str, items: impl Into<Vec<ConfigMap>>) -> Next {
    Next::List(Ok((version, items.into())))
}

#[expect(clippy::unnecessary_wraps, reason = "as it comes on the stream")]
fn bookmark(version: &str) -> Event {
    let metadata = BookmarkMeta { resource_version: version.into(), annotations: BTreeMap::default() };
    Ok(WatchEvent::Bookmark(Bookmark { types: kube::core::TypeMeta::default(), metadata }))
}

#[tokio::test(start_paused = true)]
async fn list_that_is_never_answered_is_given_up_and_said() {
    let running = run(Script::new([Next::Hang, Next::Hang, list("5", [thing("a", 3)])]));
    pass(59).await;
    assert_eq!(running.script.asked(), ["list"]);
    pass(3).await;
    assert_eq!(running.script.asked(), ["list", "list"]);
    let text = running.metrics.prometheus().expect("text");
    assert!(text.contains("zoho_operator_watch_errors_total{kind=\"things\"} 1"), "{text}");
    assert!(!running.is_up() && !*running.listed.borrow());
    pass(64).await;
    assert!(running.is_up() && *running.listed.borrow());
    assert_eq!(running.told.versions(), ["a@3"]);
}

#[tokio::test(start_paused = true)]
async fn watch_that_is_never_answered_is_given_up_and_everything_listed_anew() {
    let running =
        run(Script::new([list("5", [thing("a", 3)]), Next::Hang, list("9", [thing("a", 8)]), Next::Watch(vec![])]));
    pass(29).await;
    assert!(running.is_up(), "so far it is only slow");
    pass(2).await;
    assert!(!running.is_up());
    pass(1).await;
    assert_eq!(running.script.asked(), ["list", "watch 5", "list", "watch 9"]);
    assert_eq!(running.told.versions(), ["a@8"]);
    assert!(running.is_up());
}

#[tokio::test(start_paused = true)]
async fn half_open_watch_is_noticed_within_125_seconds_and_readyz_says_so() {
    let events = vec![Ok(WatchEvent::Modified(thing("a", 7)))];
    let running = run(Script::new([list("5", [thing("a", 3)]), Next::Watch(events), Next::Hang, Next::Hang]));
    pass(119).await;
    assert_eq!(running.told.versions(), ["a@7"]);
    assert!(running.is_up());
    pass(6).await;
    assert!(!running.is_up());
    assert_eq!(running.script.asked(), ["list", "watch 5", "watch 7"], "it goes on from where it was");
    assert!(running.health.ready_text().contains(NAME), "{}", running.health.ready_text());
}

/// Its first watch is another one.
struct Steady(Script, Mutex<Option<Events<ConfigMap>>>);
impl Source<ConfigMap> for Steady {
    async fn list(&self, params: &ListParams) -> kube::Result<ObjectList<ConfigMap>> {
        self.0.list(params).await
    }
    async fn watch(&self, params: &WatchParams, from: &str) -> kube::Result<Events<ConfigMap>> {
        let first = self.1.lock().unwrap().take();
        match first {
            Some(events) => Ok(events),
            None => self.0.watch(params, from).await,
        }
    }
    async fn seen(&self, key: &ObjectName) -> Result<Option<String>, ApiError> {
        self.0.seen(key).await
    }
}

#[tokio::test(start_paused = true)]
async fn busy_watch_that_the_server_does_not_end_is_no_failure() {
    let steady = stream::unfold(5u64, |version| async move {
        sleep(Duration::from_secs(11)).await;
        Some((bookmark(&version.to_string()), version + 1))
    });
    let script = Script::new([list("5", []), Next::Watch(vec![])]);
    let metrics = Metrics::default();
    let witness = Witness {
        health: healthy(),
        metrics: metrics.clone(),
        clock: clock::system(),
        kind: "things",
        namespace: None,
        name: NAME.into(),
    };
    let _listed = Watch::spawn(
        Steady(script.clone(), Mutex::new(Some(steady.boxed()))),
        Told::default(),
        witness,
        &History::default(),
    );
    pass(122).await;
    assert_eq!(script.asked(), ["list", "watch 14"]);
    assert!(metrics.prometheus().expect("text").contains("zoho_operator_watch_errors_total{kind=\"things\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn pause_doubles_while_nothing_works_and_starts_anew_after_health() {
    let broken = || Err(kube::Error::LinesCodecMaxLineLengthExceeded);
    let mut script: Vec<Next> = (0..7).map(|_| Next::Refusal(500)).collect();
    script.push(list("5", []));
    // Reset now and then, and healthy in between: each time something is told first.
    script.extend((6..10).map(|version| Next::WatchEnds(vec![bookmark(&version.to_string()), broken()])));
    let running = run(Script::new(script));
    pass(140).await;
    assert_eq!(running.script.pauses()[..12], [1, 2, 4, 8, 16, 30, 30, 0, 1, 1, 1, 1]);
    assert_eq!(running.script.asked()[8..13], ["watch 5", "watch 6", "watch 7", "watch 8", "watch 9"]);
}

#[tokio::test(start_paused = true)]
async fn watch_that_ends_as_soon_as_it_is_opened_is_not_opened_in_a_hot_loop() {
    let mut script = vec![list("5", [])];
    script.extend((0..5).map(|_| Next::WatchEnds(vec![])));
    let running = run(Script::new(script));
    pass(40).await;
    assert_eq!(running.script.pauses()[..6], [0, 1, 2, 4, 8, 16]);
}

#[tokio::test(start_paused = true)]
async fn gone_by_event_or_by_http_means_one_list() {
    let gone = || Status::failure("too old resource version", "Expired").with_code(410);
    let script = [
        list("5", [thing("a", 3)]),
        Next::WatchEnds(vec![Ok(WatchEvent::Error(Box::new(gone())))]),
        list("7", [thing("a", 6)]),
        Next::Refusal(410),
        list("9", [thing("a", 8)]),
        Next::Watch(vec![]),
    ];
    let running = run(Script::new(script));
    pass(10).await;
    assert_eq!(running.script.asked(), ["list", "watch 5", "list", "watch 7", "list", "watch 9"]);
    assert_eq!(running.told.versions(), ["a@8"]);
}

#[tokio::test(start_paused = true)]
async fn refusal_is_said_and_tried_again() {
    let running = run(Script::new([Next::Refusal(403), Next::Refusal(403), list("5", []), Next::Watch(vec![])]));
    pass(1).await;
    assert!(!running.is_up() && !*running.listed.borrow());
    pass(4).await;
    assert!(running.is_up() && *running.listed.borrow());
}

#[tokio::test(start_paused = true)]
async fn list_from_a_server_that_is_behind_is_not_taken_in() {
    let script = Script::new([
        list("5", [thing("a", 3), thing("b", 4)]),
        Next::Watch(vec![Ok(WatchEvent::Modified(thing("a", 20)))]),
        Next::Refusal(410),
        list("10", [thing("a", 3)]),
        list("21", [thing("a", 20), thing("b", 4)]),
        Next::Watch(vec![]),
    ]);
    script
        .now
        .lock()
        .unwrap()
        .extend([(ObjectName::new("ns", "a"), "u/20".to_owned()), (ObjectName::new("ns", "b"), "u/4".to_owned())]);
    let running = run(script);
    pass(130).await;
    assert_eq!(running.script.asked(), ["list", "watch 5", "watch 20", "list", "list", "watch 21"]);
    assert_eq!(running.told.versions(), ["a@20", "b@4"]);
}

#[tokio::test(start_paused = true)]
async fn history_that_went_back_is_believed_when_the_objects_confirm_it() {
    let restored = || list("10", [thing("a", 3)]);
    let script = Script::new([
        list("5", [thing("a", 3)]),
        Next::Watch(vec![Ok(WatchEvent::Modified(thing("a", 20))), Ok(WatchEvent::Added(thing("b", 21)))]),
        Next::NoConnection,
        restored(),
        restored(),
        Next::Watch(vec![Ok(WatchEvent::Modified(thing("a", 11)))]),
    ]);
    script.now.lock().unwrap().insert(ObjectName::new("ns", "a"), "u/3".to_owned());
    let running = run(script);
    pass(126).await;
    assert_eq!(running.script.asked(), ["list", "watch 5", "watch 21", "list", "list", "watch 10"]);
    assert_eq!(running.told.versions(), ["a@11"], "not deaf to what happens since");
}

#[tokio::test(start_paused = true)]
async fn history_that_went_back_under_a_raised_revision_is_known_by_an_object() {
    let restored = || list("1000", [thing("a", 3)]);
    let running = run(Script::new([
        list("5", [thing("a", 3)]),
        Next::WatchEnds(vec![Ok(WatchEvent::Modified(thing("a", 20)))]),
        Next::NoConnection,
        restored(),
        restored(),
        Next::Watch(vec![Ok(WatchEvent::Modified(thing("a", 1001)))]),
    ]));
    pass(126).await;
    assert_eq!(running.script.asked()[3..6], ["list", "list", "watch 1000"], "{:?}", running.script.asked());
    assert_eq!(running.told.versions(), ["a@1001"]);
}

#[tokio::test(start_paused = true)]
async fn watch_that_breaks_off_at_once_again_and_again_is_no_news() {
    let broken = || Next::WatchEnds(vec![]);
    let running = run(Script::new(std::iter::once(list("5", [])).chain((0..40).map(|_| broken()))));
    pass(100).await;
    assert!(running.health.ready_text().starts_with("no news"), "{}", running.health.ready_text());
}

#[tokio::test(start_paused = true)]
async fn history_that_went_back_for_one_kind_did_for_all() {
    let history = History::default();
    let one = Script::new([
        list("5", [thing("a", 3)]),
        Next::WatchEnds(vec![Ok(WatchEvent::Modified(thing("a", 20)))]),
        Next::NoConnection,
        list("10", [thing("a", 3)]),
        list("10", [thing("a", 3)]),
        Next::Watch(vec![]),
    ]);
    one.now.lock().unwrap().insert(ObjectName::new("ns", "a"), "u/3".to_owned());
    // This one was told of nothing that its next list could be older than, and knows an answer from after it.
    let other = Script::new([list("5", [thing("b", 3)]), Next::Watch(vec![]), list("10", []), Next::Watch(vec![])]);
    let (_one, other) = (run_beside(one, &history), run_beside(other, &history));
    advance(Duration::from_millis(1)).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    other.told.0.lock().unwrap().answered(&ObjectName::new("ns", "b"), ObjectVersion::from("u/18"));
    assert_eq!(other.told.versions(), ["b@18"]);
    pass(20).await;
    assert_eq!(other.script.asked(), ["list", "watch 5", "list", "watch 10"]);
    assert_eq!(other.told.versions(), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn silence_to_the_end_leads_to_a_look_and_only_history_that_went_back_to_a_list() {
    let script = Script::new([
        list("20", [thing("a", 3)]),
        Next::WatchEndsInTime(vec![]),
        list("25", []),
        Next::WatchEndsInTime(vec![]),
        list("10", []),
        list("10", [thing("a", 3)]),
        list("10", [thing("a", 3)]),
        Next::Watch(vec![]),
    ]);
    script.now.lock().unwrap().insert(ObjectName::new("ns", "a"), "u/3".to_owned());
    let running = run(script);
    pass(230).await;
    let expected = ["list", "watch 20", "look", "watch 20", "look", "list", "list", "watch 10"];
    assert_eq!(running.script.asked(), expected);
}

#[tokio::test(start_paused = true)]
async fn what_a_watch_that_stays_silent_does_not_tell_is_listed() {
    let script = Script::new([
        list("20", [thing("a", 3)]),
        Next::WatchEndsInTime(vec![]),
        list("25", []),
        Next::WatchEndsInTime(vec![]),
        list("30", []),
        list("30", [thing("a", 3), thing("b", 28)]),
        Next::WatchEndsInTime(vec![]),
        list("35", []),
        Next::Watch(vec![]),
    ]);
    let running = run(script);
    pass(340).await;
    let expected = ["list", "watch 20", "look", "watch 20", "look", "list", "watch 30", "look", "watch 30"];
    assert_eq!(running.script.asked(), expected);
    assert_eq!(running.told.versions(), ["a@3", "b@28"]);
}

#[tokio::test(start_paused = true)]
async fn bookmark_saves_the_look() {
    let script = [list("20", []), Next::WatchEndsInTime(vec![bookmark("30")]), Next::Watch(vec![])];
    let running = run(Script::new(script));
    pass(112).await;
    assert_eq!(running.script.asked(), ["list", "watch 20", "watch 30"]);
}

#[tokio::test(start_paused = true)]
async fn list_of_many_slow_pages_is_no_watch_that_is_stuck() {
    let pages = (0..6).map(|_| Next::SlowPage(50));
    let running = run(Script::new(pages.chain([Next::List(Ok(("9", vec![thing("one", 5)])))])));
    for _ in 0..310 {
        pass(1).await;
        running.health.turn();
        assert_eq!(running.health.livez().1, "ok\n", "after {:?}", running.script.pauses());
    }
    assert!(*running.listed.borrow());
    assert_eq!(running.told.versions(), ["one@5"]);
}

#[tokio::test(start_paused = true)]
async fn list_after_silence_from_a_slow_api_server_is_not_called_stuck() {
    let script = [list("5", []), Next::WatchEndsInTime(vec![]), Next::SlowPage(59), Next::WatchEndsInTime(vec![])];
    let running = run(Script::new(script.into_iter().chain([Next::SlowPage(59), Next::SlowPage(59)])));
    for _ in 0..39 {
        pass(10).await;
        running.health.turn();
        assert_eq!(running.health.livez().1, "ok\n", "after {:?}", running.script.pauses());
    }
    assert_eq!(running.script.asked(), ["list", "watch 5", "look", "watch 5", "look", "list"]);
}
