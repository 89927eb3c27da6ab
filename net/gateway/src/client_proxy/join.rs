//! Two streams as one, until both have ended, one fails, or neither has brought anything for a while.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

/// Of each direction.
const BUFFER_BYTES: usize = 64 << 10;

/// Joins them. `first`: what the client has sent already.
///
/// Errors: the first of a stream, or `TimedOut` when nothing came for `idle`.
pub async fn join(mut client: TcpStream, mut server: TcpStream, first: &[u8], idle: Duration) -> io::Result<()> {
    let activity = Activity::new();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let there = async {
        to_server.write_all(first).await?;
        pump(&mut from_client, &mut to_server, &activity).await
    };
    let back = pump(&mut from_server, &mut to_client, &activity);
    tokio::select! {
        joined = async { tokio::try_join!(there, back) } => joined.map(drop),
        () = activity.ends(idle) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came for too long")),
    }
}

/// One direction, to its end, which is told on.
async fn pump(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, activity: &Activity) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        activity.touch();
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        activity.touch();
    }
}

/// When something last came or went.
struct Activity {
    began: Instant,
    /// Milliseconds after it.
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Activity {
        Activity { began: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn touch(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    /// Waits until nothing has come for so long.
    async fn ends(&self, idle: Duration) {
        loop {
            let end = self.began + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + idle;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}
