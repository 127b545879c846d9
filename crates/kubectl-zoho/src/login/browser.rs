//! Consent by the browser on this machine: the address is opened, and the answer waited for.

use secrecy::SecretString;
use url::Url;

use super::super::{secret_io, usage};
use super::callback::Listener;
use super::consent::{self, Callback, Consent, Home};
use super::{Login, explain, redirect_uri};

/// What listens for the browser, for the answer to a question that bears this state.
pub(super) struct Waiting {
    listener: Listener,
    port: u16,
    state: String,
}

impl Waiting {
    /// Listens where the redirect URI leads.
    ///
    /// # Errors
    ///
    /// It does not lead here, or the port is taken.
    pub(super) async fn start(redirect_uri: &str) -> anyhow::Result<Self> {
        let (port, path) = consent::listen_at(redirect_uri).map_err(usage)?;
        let state = secret_io::random();
        Ok(Self { listener: Listener::start(port, &path, &state).await?, port, state })
    }

    /// Puts the question, and returns the code, where it is to be exchanged if that was said, and the verifier to send
    /// with it.
    ///
    /// # Errors
    ///
    /// The answer is no, or there is none.
    pub(super) async fn code(
        self,
        login: &Login<'_>,
        client_id: &str,
    ) -> anyhow::Result<(SecretString, Option<Home>, SecretString)> {
        let (output, redirect_uri) = (login.output, redirect_uri(login.args));
        let Self { listener, port, state } = self;
        let (verifier, challenge) = secret_io::new_verifier();
        let scope = login.scope.as_deref().unwrap_or_default();
        let consent = Consent { client_id, scope, redirect_uri, state: &state, challenge: &challenge };
        let address: Url = consent::address(&login.service, &consent);
        let opened = !login.args.no_open && open::that_detached(address.as_str()).is_ok();
        let how = if opened { "Your browser opens. If it does not, open" } else { "Open in a browser on this machine" };
        output.note(&format!("{how}:\n\n  {address}\n"));
        output.progress("waiting for the browser …");
        let answer = listener.answer().await;
        output.progress_ends();
        match answer {
            Some(Callback::Code { code, home }) => Ok((code, home, verifier)),
            Some(Callback::Refused { code }) => anyhow::bail!(explain::consent(code.as_deref())),
            Some(Callback::Stray) | None => anyhow::bail!(
                "no answer came to {redirect_uri} within five minutes. If the browser runs on another machine, forward the port: ssh -L {port}:localhost:{port}"
            ),
        }
    }
}
