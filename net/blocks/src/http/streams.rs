//! Bodies between HTTP and the engine: what comes, with bounds on its speed, and what goes out.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_core::Stream;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use crate::content::{Body, BodyError, Content, ContentError, Download};

/// Nothing for so long is too slow.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// After so long a body must have come at this rate.
const RATE_AFTER: Duration = Duration::from_secs(60);
const RATE_BYTES_PER_S: u64 = 1024;

/// The body of a request.
pub(super) struct Incoming {
    body: axum::body::Body,
    length: Option<u64>,
    since: Instant,
    bytes: u64,
    /// The sender waits to be told that it may go on, and was not told yet.
    is_awaited: bool,
    is_over: bool,
}

impl Incoming {
    pub(super) fn new(headers: &HeaderMap, body: axum::body::Body) -> Incoming {
        use axum::body::HttpBody;
        let length = body.size_hint().exact();
        let expects = headers.get(header::EXPECT).is_some_and(|expect| expect.as_bytes().starts_with(b"100-"));
        Incoming { body, length, since: Instant::now(), bytes: 0, is_awaited: expects, is_over: false }
    }

    /// A call was refused. A sender that is on its way sends all before it reads why, so the rest is taken; one that
    /// waits, or brings more than any call may, is told at once.
    pub(super) async fn refuse(&mut self) {
        let is_huge = self.length.is_some_and(|bytes| bytes > base::limits::CONTENT_BODY_BYTES_MAX);
        if !self.is_awaited && !self.is_over && !is_huge {
            Content::drain(self).await;
        }
    }

    async fn piece(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            let frame = match timeout(IDLE_TIME_MAX, self.body.frame()).await {
                Err(_) => return Some(Err(BodyError::Slow)),
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some(Err(BodyError::Truncated(error.to_string()))),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers say nothing here.
            let Ok(bytes) = frame.into_data() else { continue };
            self.bytes += bytes.len() as u64;
            let took = self.since.elapsed();
            if took > RATE_AFTER && self.bytes < took.as_secs() * RATE_BYTES_PER_S {
                return Some(Err(BodyError::Slow));
            }
            return Some(Ok(bytes));
        }
    }
}

impl Body for Incoming {
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.is_over {
            return None;
        }
        self.is_awaited = false;
        let piece = self.piece().await;
        self.is_over = !matches!(piece, Some(Ok(_)));
        piece
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

type Next = Pin<Box<dyn Future<Output = (Download, Option<Result<Bytes, ContentError>>)> + Send>>;

/// A download as the body of an answer. An error ends the connection, since the head has gone.
pub(super) struct Outgoing(Option<Next>);

impl Outgoing {
    pub(super) fn new(download: Download) -> Outgoing {
        Outgoing(Some(next(download)))
    }
}

fn next(mut download: Download) -> Next {
    Box::pin(async move {
        let bytes = download.next().await;
        (download, bytes)
    })
}

impl Stream for Outgoing {
    type Item = Result<Bytes, ContentError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(future) = &mut self.0 else { return Poll::Ready(None) };
        let (download, bytes) = match future.as_mut().poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(done) => done,
        };
        self.0 = matches!(bytes, Some(Ok(_))).then(|| next(download));
        Poll::Ready(bytes)
    }
}
