//! Login by a code that is typed into a browser elsewhere: Zoho's device flow.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr};
use std::time::Duration;

use zoho_api::DataCenter;
use zoho_simulator::device::Answer;
use zoho_simulator::grants::Client;
use zoho_simulator::script::{Reply, Target};
use zoho_simulator::{Simulator, SimulatorConfig};

use super::{Person, Ran, interrupt, signal_is_taken_in};
use crate::support::DEADLINE;
use crate::support::look::text;
use crate::support::world::{CLIENT_ID, CLIENT_SECRET, World};

const LOGIN: [&str; 7] = ["login", "patch", "--data-center", "US", "--product", "PatchManagerPlus", "--device"];
const QUICK: Duration = Duration::from_secs(1);

/// A login that has shown its code and waits.
struct Waiting<'p, 'w> {
    person: &'p Person<'w>,
    child: Child,
    /// The code to type.
    user_code: String,
    said: String,
    stderr: BufReader<ChildStderr>,
}

/// A client for devices that Zoho knows.
fn register(zoho: &Simulator, life: Duration) {
    zoho.register_client(CLIENT_ID, CLIENT_SECRET, Client::Device);
    zoho.with(|zoho, _| zoho.devices_mut().set_pace(QUICK, life));
}

impl<'p, 'w> Waiting<'p, 'w> {
    fn start(person: &'p Person<'w>, args: &[&str]) -> Self {
        let mut child = person.start(args, &[CLIENT_ID, CLIENT_SECRET]);
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        let user_code = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).expect("text") > 0, "it ended: {said}");
            let is_code = said.ends_with("enter the code\n\n");
            said.push_str(&line);
            if is_code {
                break line.trim().to_owned();
            }
        };
        Self { person, child, user_code, said, stderr }
    }

    fn answers(&self, answer: Answer) {
        assert!(self.person.world.zoho.answer_device(&self.user_code, answer), "no code {}", self.user_code);
    }

    fn interrupt(&self) {
        interrupt(&self.child);
    }

    async fn polled(&self, times: u64) {
        let is_so = |zoho: &zoho_simulator::state::Zoho, _| zoho.devices().polls() >= times;
        self.person.world.zoho.wait_until("polls", DEADLINE, is_so).await.expect("it asks");
    }

    async fn end(mut self) -> Ran {
        let (mut child, mut stderr) = (self.child, self.stderr);
        let output = tokio::task::spawn_blocking(move || {
            let (mut rest, mut stdout) = (String::new(), String::new());
            stderr.read_to_string(&mut rest).expect("text");
            child.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("text");
            (child.wait().expect("it ends").code(), stdout, rest)
        });
        let (code, stdout, rest) = output.await.expect("it ran");
        self.said.push_str(&rest);
        assert!(!self.said.contains("1004."), "the device's own code is secret: {}", self.said);
        self.person.heard.borrow_mut().extend([stdout.clone(), self.said.clone()]);
        Ran { code, stdout, stderr: self.said }
    }
}

async fn nothing_is_stored(world: &World) {
    assert!(world.secret("patch-oauth").await.is_none());
    assert!(world.credentials().get_opt("patch").await.expect("an answer").is_none());
    assert_eq!(world.zoho.violations(), Vec::<&str>::new());
}

#[tokio::test]
async fn code_that_is_typed_elsewhere_becomes_a_token_that_is_kept_valid() {
    let world = World::new("device").await;
    let operator = world.operator();
    operator.synced().await;
    let person = Person::of(&world);
    register(&world.zoho, Duration::from_mins(5));
    let waiting = Waiting::start(&person, &LOGIN);
    waiting.polled(2).await;
    waiting.answers(Answer::Accepted);
    let code = waiting.user_code.clone();
    let ran = waiting.end().await.ok();
    assert_eq!(
        person.masked(&ran.stderr.replace(&code, "CODE")),
        "Client: a Non-browser Application at https://api-console.zoho.com
Scope: PatchManagerPlusCloud.Common.READ,PatchManagerPlusCloud.PatchMgmt.READ
In any browser, open

  http://ZOHO/oauth/v3/device

and enter the code

  CODE

Stored in Secret NS/patch-oauth.
ZohoCredential NS/patch is made."
    );
    assert!(ran.stdout.starts_with("Ready. Secret patch-token holds a token"), "{ran:?}");
    let source = world.secret("patch-oauth").await.expect("the source");
    assert_eq!(text(&source, "client_id"), CLIENT_ID);
    assert_eq!(text(&source, "refresh_token"), world.zoho.granted()[0]);
    assert_eq!(text(&source, "redirect_uri"), "");
    assert_eq!(world.zoho.violations(), Vec::<&str>::new(), "never asked too often");

    // Anew after a revocation: with nothing but the name and the way.
    world.zoho.revoke(&world.zoho.granted()[0]);
    let waiting = Waiting::start(&person, &["login", "patch", "--device"]);
    waiting.answers(Answer::Accepted);
    waiting.end().await.ok();
    let source = world.secret("patch-oauth").await.expect("the source");
    assert_eq!(text(&source, "refresh_token"), world.zoho.granted()[1]);
}

#[tokio::test]
async fn person_who_refuses_or_is_too_slow_is_told_so() {
    let world = World::new("device-no").await;
    let person = Person::of(&world);
    register(&world.zoho, Duration::from_mins(5));
    let waiting = Waiting::start(&person, &LOGIN);
    waiting.answers(Answer::Refused);
    let ran = waiting.end().await.failed();
    assert!(ran.stderr.contains("Zoho gave no code (access_denied): the consent was refused"), "{}", ran.stderr);

    register(&world.zoho, 2 * QUICK);
    let ran = Waiting::start(&person, &LOGIN).end().await.failed();
    assert!(ran.stderr.contains("the code was not entered, or the consent was not given"), "{}", ran.stderr);
    // Zoho's clock may be the faster one.
    register(&world.zoho, Duration::from_mins(5));
    let waiting = Waiting::start(&person, &LOGIN);
    world.advance(301);
    let ran = waiting.end().await.failed();
    assert!(ran.stderr.contains("the code was not entered, or the consent was not given"), "{}", ran.stderr);

    world.zoho.register_client(CLIENT_ID, CLIENT_SECRET, Client::SelfClient);
    let ran = person.zoho_with(&LOGIN, &[CLIENT_ID, CLIENT_SECRET]).await.failed();
    assert!(ran.stderr.contains("does not know this client id as one of a Non-browser Application"), "{}", ran.stderr);
    let ran = person.zoho(&LOGIN[..4].iter().chain(&["--device"]).copied().collect::<Vec<_>>()).await.misused();
    assert!(ran.stderr.contains("Name a --product, or scopes with --scope"), "{}", ran.stderr);
    nothing_is_stored(&world).await;
    assert_eq!(world.zoho.granted(), Vec::<String>::new());
}

#[tokio::test]
async fn account_of_another_data_center_is_asked_for_there_if_that_is_known() {
    let world = World::new("device-dc").await;
    let person = Person::of(&world);
    let europe = Simulator::start(SimulatorConfig::default());
    for zoho in [&world.zoho, &europe] {
        register(zoho, Duration::from_mins(5));
    }
    let both = format!("US={},EU={}", world.zoho.url(), europe.url());
    let args = [&LOGIN[..], &["--accounts-url", &both, "--timeout", "0s"]].concat();

    let waiting = Waiting::start(&person, &args);
    waiting.answers(Answer::Elsewhere("moon".to_owned()));
    let ran = waiting.end().await.failed();
    assert!(ran.stderr.contains("is in a data center that is not known here"), "{}", ran.stderr);
    nothing_is_stored(&world).await;

    let waiting = Waiting::start(&person, &args);
    let question = world.zoho.with(|zoho, _| zoho.devices().question(&waiting.user_code)).expect("asked");
    europe.with(|zoho, _| zoho.devices_mut().adopt(question));
    waiting.answers(Answer::Elsewhere("eu".to_owned()));
    let ran = waiting.end().await.ok();
    assert!(ran.stderr.contains("Your account is in data center EU, not US; EU is used."), "{}", ran.stderr);
    assert_eq!(world.get("patch").await.spec.data_center, Some(DataCenter::EU));
    let source = world.secret("patch-oauth").await.expect("the source");
    assert_eq!((world.zoho.granted().len(), text(&source, "refresh_token")), (0, europe.granted()[0].clone()));
    assert_eq!((world.zoho.violations(), europe.violations()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn interrupted_login_leaves_nothing() {
    let world = World::new("device-interrupted").await;
    let person = Person::of(&world);
    register(&world.zoho, Duration::from_mins(5));
    let waiting = Waiting::start(&person, &LOGIN);
    waiting.polled(1).await;
    waiting.interrupt();
    let ran = waiting.end().await.failed();
    assert!(ran.stderr.contains("interrupted: nothing was stored"), "{}", ran.stderr);
    assert_eq!(world.zoho.granted(), Vec::<String>::new());

    // In the moment in which the answer is on its way: what it brings is revoked.
    let waiting = Waiting::start(&person, &LOGIN);
    // In one step: it may ask between two.
    world.zoho.with(|zoho, _| {
        assert!(zoho.devices_mut().answer(&waiting.user_code, Answer::Accepted));
        zoho.script(Target::Device, Reply::MintThenHold);
    });
    let granted = |zoho: &zoho_simulator::state::Zoho, _| zoho.grants().refresh_tokens().len() == 1;
    world.zoho.wait_until("a refresh token", DEADLINE, granted).await.expect("granted");
    waiting.interrupt();
    // Taken in before the answer comes.
    signal_is_taken_in(&waiting.child).await;
    world.zoho.release();
    let ran = waiting.end().await.failed();
    assert!(ran.stderr.contains("was revoked again"), "{}", ran.stderr);
    assert_eq!(world.zoho.stats().revocations, 1);
    nothing_is_stored(&world).await;
}
