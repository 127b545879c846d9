//! `make demo`: the operator's work as a story, on a real control plane and with a simulated Zoho.
//!
//! The story is told on standard output, in numbered steps, with the commands that are run and what kubectl prints. Each
//! step waits for what it promises and fails when that does not come, so the demo is a test, too. Whichever way it ends,
//! no process stays, and of a cluster that is not the demo's own everything is deleted that the demo made in it.

mod story;

mod describe;
mod example;
mod operator;
mod screen;
mod stage;
mod target;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::screen::Screen;
use self::stage::Stage;

/// The client id that the simulator knows.
pub const CLIENT_ID: &str = "1000.DEMOCLIENT7Q2M";
/// The client's secret.
pub const CLIENT_SECRET: &str = "demo-client-secret-5b1f0c9e";
/// The refresh token of the first half of the story, and of the second.
pub const REFRESH_TOKENS: [&str; 2] = ["1000.demo-refresh-token.8d41c6aa", "1000.demo-refresh-token.f7e2093b"];

/// Where the example is applied, and the names in it.
const NAMESPACE: &str = "patching";
const CREDENTIAL: &str = "patch-manager";
const SOURCE: &str = "zoho-oauth";
const TARGET: &str = "patch-manager-token";

/// How to tell the story.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Leave everything up after the last step, until Ctrl-C.
    pub keep: bool,
    /// Colours are wanted; a terminal is needed, too.
    pub colour: bool,
}

/// Tells the story and returns the program's exit code: 0 when everything came as promised, 1 when it did not, and 128
/// plus the signal's number after an interruption.
pub async fn run(options: Options) -> ExitCode {
    let started = Instant::now();
    let screen = Screen::new(io::stdout().is_terminal(), options.colour);
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            screen.failure(&format!("{error:#}"), "");
            return ExitCode::FAILURE;
        }
    };
    let mut stage = Stage { operator: None, cluster: None, zoho: None };
    let mut code = tokio::select! {
        told = story::tell(&mut stage, &screen) => match told {
            Ok(()) => 0,
            Err(error) => {
                screen.failure(&format!("{error:#}"), &stage.operator_log());
                1
            }
        },
        code = signals.next() => {
            screen.headline("Interrupted: cleaning up.");
            code
        }
    };
    if code == 0 && options.keep {
        story::leave_up(&stage, &screen);
        signals.next().await;
    }
    if code == 0 {
        screen.step("Clearing up");
    }
    let cleared = tokio::select! {
        cleared = stage.clear(&screen) => cleared,
        second = signals.next() => {
            code = second;
            Ok(())
        }
    };
    if let Err(error) = cleared {
        screen.failure(&format!("{error:#}"), "");
        code = code.max(1);
    }
    if code == 0 {
        screen.headline(&format!("Done in {} s.", started.elapsed().as_secs()));
    }
    ExitCode::from(code)
}

/// The signals that ask the demo to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for one and returns the exit code that goes with it.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
            _ = self.hang_up.recv() => 129,
        }
    }
}
