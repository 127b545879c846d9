//! Consent on another device: a code to type into any browser, and the question whether somebody has.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::signal;
use tokio::time::sleep;

use super::super::connect::token_service;
use super::super::output::Paint;
use super::explain::{self, Way};
use super::store::Place;
use super::wanted::Wanted;
use super::{Client, Granted, Login, issuer};
use zoho_api::DataCenter;
use zoho_client::transport::Transport;
use zoho_core::issuer::device::{self, Polled};
use zoho_core::issuer::zoho::TokenService;

/// Before the code expires, for one more question.
const SPARE: Duration = Duration::from_secs(3);

/// The caller did not wait.
const INTERRUPTED: &str = "interrupted: nothing was stored, and the code on the screen is of no use any more";

/// Asks for consent, and waits for it no longer than the code lives, asking no more often than the server allows.
///
/// Ctrl-C ends the wait. A request that is on its way by then is finished, since its answer may be a refresh token; that
/// is revoked.
///
/// # Errors
///
/// The answer is no, there is none, or the caller did not wait for it.
pub(super) async fn consent(
    login: &Login<'_>,
    transport: &Transport,
    client: Client,
    at: (&mut Wanted, Option<&Place<'_>>),
) -> anyhow::Result<Granted> {
    let ended = ask(login, transport, client, at).await;
    login.output.progress_ends();
    ended
}

async fn ask(
    login: &Login<'_>,
    transport: &Transport,
    client: Client,
    (wanted, place): (&mut Wanted, Option<&Place<'_>>),
) -> anyhow::Result<Granted> {
    let mut interrupted = pin!(signal::ctrl_c());
    let mut service = login.service.clone();
    let scope = login.scope.as_deref().unwrap_or_default();
    let code = transport.device_code(&service, &client.id, scope).await;
    let code = code.map_err(|refused| anyhow::anyhow!(explain::exchange(&refused, &service, Way::Device)))?;
    let strong = |text: &str| login.output.paint(Paint::Strong, text);
    login.output.note(&format!(
        "In any browser, open\n\n  {}\n\nand enter the code\n\n  {}\n",
        strong(code.address.as_str()),
        strong(&code.user_code)
    ));
    let started = Instant::now();
    let mut interval = code.interval;
    // Why the last question had no answer, which may have been a refresh token.
    let mut silence: Option<String> = None;
    loop {
        let left = code.life.saturating_sub(started.elapsed());
        login.output.progress(&format!("waiting for your consent, {}s left …", left.as_secs()));
        tokio::select! {
            biased;
            _ = &mut interrupted => anyhow::bail!(INTERRUPTED),
            () = sleep(interval.min(left.saturating_sub(SPARE))) => {}
        }
        let is_last = left < interval + SPARE;
        let polled = transport.poll_device(&service.token_url, &client.id, &client.secret, &code.device_code).await;
        match polled {
            Polled::Pending => silence = None,
            Polled::NoAnswer(failed) => {
                let host = service.token_url.host_str().unwrap_or_default();
                silence = Some(explain::upstream(host, &failed));
            }
            Polled::TooFast => interval = device::slower(interval),
            Polled::Elsewhere(data_center) => service = follow(login, data_center, (&mut *wanted, place))?,
            Polled::Refused => anyhow::bail!(explain::consent(Some("access_denied"))),
            Polled::Expired => anyhow::bail!(after(silence)),
            Polled::Ended(exchanged) => {
                login.output.progress_ends();
                let granted = login.granted(exchanged, service, client, None)?;
                if interrupted.now_or_never().is_some() {
                    return Err(super::undo(transport, &granted, anyhow::anyhow!("interrupted")).await);
                }
                return Ok(granted);
            }
        }
        if is_last {
            anyhow::bail!(after(silence));
        }
    }
}

/// That the code was not entered in time; and why that is not known, where the last answers did not come.
fn after(silence: Option<String>) -> String {
    format!("{}{}", silence.map(|why| format!("{why} ")).unwrap_or_default(), explain::EXPIRED)
}

fn follow(
    login: &Login<'_>,
    data_center: Option<DataCenter>,
    at: (&mut Wanted, Option<&Place<'_>>),
) -> anyhow::Result<TokenService> {
    let Some(data_center) = data_center else {
        anyhow::bail!("your account is in a data center that is not known here, so nothing was requested there")
    };
    let service = token_service(&issuer::spec(data_center, None), &login.policy)?;
    login.follow((data_center, None, service), at)
}
