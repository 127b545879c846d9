//! One HTTP port that any pod may connect to: what its clients can hold of this process is bounded, and who holds the
//! most gives way first.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep, timeout};
use tower::Service as _;

use crate::serve::certificate::Certificate;
use zoho_core::text::causes;

/// A client sends a whole header within this time, from the moment at which one may begin; a kept connection idles no
/// longer either. A TLS handshake has as long.
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// A client takes an answer within this time, from the moment at which it no longer fits into the socket.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// Largest header, in bytes.
const LARGEST_HEADER: usize = 16 * 1024;
/// Connections at once. The kubelet and a few Prometheus need one each.
const SEATS: usize = 64;
/// After an accept that failed, for want of file descriptors for example.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A connection that is served.
struct Seat {
    peer: IpAddr,
    task: AbortHandle,
}

/// Serves until the process ends; with a certificate, by TLS only.
///
/// At most 64 connections are open. For one more, the oldest of the address that has the most is ended: a pod that opens
/// many takes them from itself, and the kubelet and Prometheus stay served.
pub(crate) async fn serve(listener: TcpListener, router: Router, certificate: Option<Certificate>) {
    let mut seats: Vec<Seat> = Vec::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(error = causes(&error), "a connection was not accepted");
                sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let peer = peer.ip().to_canonical();
        seats.retain(|seat| !seat.task.is_finished());
        let peers: Vec<IpAddr> = seats.iter().map(|seat| seat.peer).collect();
        if let Some(oldest) = gives_way(&peers, peer) {
            seats.remove(oldest).task.abort();
        }
        let (router, certificate) = (router.clone(), certificate.clone());
        let task = tokio::spawn(async move {
            let ended = match certificate {
                None => converse(stream, router).await,
                Some(certificate) => match timeout(HEADER_WITHIN, certificate.acceptor().accept(stream)).await {
                    Ok(Ok(stream)) => converse(stream, router).await,
                    Ok(Err(error)) => Err(error.into()),
                    Err(elapsed) => Err(elapsed.into()),
                },
            };
            if let Err(error) = ended {
                tracing::trace!(error = causes(error.as_ref()), "a connection ended");
            }
        });
        seats.push(Seat { peer, task: task.abort_handle() });
    }
}

/// Which of the open connections, the oldest first, is ended for another one of `newest`; `None` where there is room.
fn gives_way(peers: &[IpAddr], newest: IpAddr) -> Option<usize> {
    if peers.len() < SEATS {
        return None;
    }
    let held = |peer: IpAddr| peers.iter().filter(|other| **other == peer).count() + usize::from(peer == newest);
    // Of several, `max_by_key` finds the last.
    peers.iter().enumerate().rev().max_by_key(|(_, peer)| held(**peer)).map(|(oldest, _)| oldest)
}

async fn converse<S>(stream: S, router: Router) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(router.clone(), request));
    let stream = TokioIo::new(Impatient { stream, overdue: None });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN).max_buf_size(LARGEST_HEADER);
    Ok(http.serve_connection(stream, service).await?)
}

/// Nothing that is served here takes a body; it is not read, and the connection ends with the answer.
async fn answer(mut router: Router, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if !request.body().is_end_stream() {
        let close = [(header::CONNECTION, "close")];
        return Ok((StatusCode::PAYLOAD_TOO_LARGE, close, "no body is taken here\n").into_response());
    }
    router.call(request).await
}

/// A stream that fails where what is written does not go out in time: a client that never reads would hold its answer for
/// ever. The time is that of all that was written, so reading a byte now and then does not help.
struct Impatient<S> {
    stream: S,
    /// Since the first write that had to wait, until nothing is left to write.
    overdue: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn in_time<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let overdue = self.overdue.get_or_insert_with(|| Box::pin(sleep(TAKEN_WITHIN)));
        ready!(overdue.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.in_time(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.overdue = None;
        }
        self.in_time(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(shut, cx)
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
