//! A request that leaves in time or not at all. Its body is asked for when a connection stands, and by then it may be late:
//! a name was slow to find, a handshake took seconds, the process was stopped. Then not even the head is sent.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use reqwest::{Body, Request};

use crate::clock;

/// Until when a request may be sent, and whether one was too late.
#[derive(Clone, Debug)]
pub(crate) struct SendBefore {
    /// By [`clock::steady`].
    end: Duration,
    was_late: Arc<AtomicBool>,
}

impl SendBefore {
    pub(crate) fn new(end: Duration) -> Self {
        Self { end, was_late: Arc::default() }
    }

    /// Lets a request go until then; one that is late ends with an error.
    pub(crate) fn hold_back(&self, request: &mut Request) {
        let body = request.body_mut().take().unwrap_or_default();
        *request.body_mut() = Some(Body::wrap(InTime { body, limit: self.clone(), has_left: false }));
    }

    /// Was a request held back? Then nothing of it was sent.
    pub(crate) fn was_late(&self) -> bool {
        self.was_late.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        clock::steady() >= self.end
    }
}

struct InTime {
    body: Body,
    limit: SendBefore,
    has_left: bool,
}

impl http_body::Body for InTime {
    type Data = <Body as http_body::Body>::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if !self.has_left && self.limit.is_over() {
            self.limit.was_late.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err("too late to be sent".into())));
        }
        self.has_left = true;
        Pin::new(&mut self.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
