//! One connection: hellos, frames in, replies out; many requests at once, memory bounded.
//!
//! A frame is read only after its length was checked and its bytes were reserved, both of the connection's share and of
//! the server's. A reserve is given back when the last request of the frame is answered; what a client sends beyond it
//! waits in the socket. Replies with a block reserve from a pool of their own, so that no request waits for itself.

use std::sync::Arc;
use std::time::Duration;

use base::limits::{
    BLOCK_BYTES, BLOCK_CONNECTION_BYTES_MAX, BLOCK_FRAME_BYTES_MAX, BLOCK_MEMORY_BYTES_MAX, BLOCK_REQUESTS_MAX,
};
use base::{ClusterId, CoreId, GroupId, NodeId};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use wire::block::BlockKind;
use wire::frame::CLIENT_FRAME_HEADER_BYTES;
use wire::hello::CLIENT_HELLO_BYTES;
use wire::{ClientHello, Frame, FrameClass, FrameError, FrameWriter, HelloError, Link, ReplyStatus, ServerHello};

use crate::metaserver::Metaserver;
use crate::requests::{Answer, Session};
use crate::store::BlockStore;

/// The whole hello must be there by then.
const HELLO_TIME_MAX: Duration = Duration::from_secs(10);
/// A frame once begun must be whole, and a reply taken, by then: reserved memory is not held for the idle.
const FRAME_TIME_MAX: Duration = Duration::from_secs(60);
/// A connection without a request so long is closed; clients open another.
const IDLE_TIME_MAX: Duration = Duration::from_secs(300);
/// How long a connection that is given up may still send.
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);
/// Replies are gathered into one write up to about here.
const REPLY_BATCH_BYTES: usize = 256 << 10;
/// Reserves are counted in this unit.
const RESERVE_UNIT_BYTES: usize = 1024;

/// Why a connection ended before the client closed it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("{0}")]
    Hello(#[from] HelloError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Socket(#[from] std::io::Error),
    #[error("nothing came in time")]
    Slow,
}

/// What all connections of a server share.
pub(crate) struct Shared<M> {
    pub(crate) store: BlockStore,
    pub(crate) meta: M,
    requests_memory: Arc<Semaphore>,
    replies_memory: Arc<Semaphore>,
}

impl<M> Shared<M> {
    pub(crate) fn new(store: BlockStore, meta: M) -> Shared<M> {
        let memory = || Arc::new(Semaphore::new(BLOCK_MEMORY_BYTES_MAX / RESERVE_UNIT_BYTES));
        Shared { store, meta, requests_memory: memory(), replies_memory: memory() }
    }
}

/// One reply on its way out, with the memory it holds.
struct Reply {
    request_id: u64,
    kind: u8,
    answer: Answer,
    _reserve: Option<[OwnedSemaphorePermit; 2]>,
}

/// Serves one connection until the client closes it.
pub(crate) async fn serve<M: Metaserver>(stream: TcpStream, shared: Arc<Shared<M>>) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = stream.into_split();
    let mut hello = [0; CLIENT_HELLO_BYTES];
    // The magic first, so that another protocol is told at once and does not wait for more bytes.
    within(HELLO_TIME_MAX, input.read_exact(&mut hello[..4])).await?;
    match ClientHello::parse(&hello[..4]) {
        Err(error @ HelloError::Magic { .. }) => return Err(error.into()),
        Ok(_) | Err(_) => within(HELLO_TIME_MAX, input.read_exact(&mut hello[4..])).await?,
    };
    let hello = ClientHello::parse(&hello)?;
    within(FRAME_TIME_MAX, output.write_all(&server_hello().encode())).await?;

    let (replies, waiting) = mpsc::channel(BLOCK_REQUESTS_MAX);
    let writer = tokio::spawn(write_replies(output, waiting));
    let session = Arc::new(Session::new(hello.acct));
    let mut connection = Connection {
        shared,
        session,
        replies,
        requests: Arc::new(Semaphore::new(BLOCK_REQUESTS_MAX)),
        requests_memory: Arc::new(Semaphore::new(BLOCK_CONNECTION_BYTES_MAX / RESERVE_UNIT_BYTES)),
        replies_memory: Arc::new(Semaphore::new(BLOCK_CONNECTION_BYTES_MAX / RESERVE_UNIT_BYTES)),
    };
    let ended = connection.read_requests(&mut input).await;
    if let Err(ConnectionError::Frame(error)) = &ended {
        // The stream is lost, but its writer may still read why.
        connection.tell(error).await;
    }
    // The writer ends once the last request in flight has dropped its sender.
    drop(connection);
    let written = writer.await;
    if ended.is_err() {
        linger(&mut input).await;
    }
    match written {
        Ok(written) => ended.and(written),
        Err(_) => ended,
    }
}

/// Takes what is still coming for a moment: closing with bytes unread resets the connection, and the other side would
/// lose the reply that says why.
async fn linger(input: &mut OwnedReadHalf) {
    let mut scrap = vec![0; 16 << 10];
    let drain = async {
        let mut left = BLOCK_FRAME_BYTES_MAX;
        while let Ok(read) = input.read(&mut scrap).await
            && 0 < read
            && read < left
        {
            left -= read;
        }
    };
    // Running out of time is as good as the end.
    let _ = timeout(LINGER_TIME_MAX, drain).await;
}

/// A block server is not part of a cluster: it has no id of one, no node number, no groups. The format wants the counts
/// above zero.
fn server_hello() -> ServerHello {
    ServerHello {
        version: wire::WIRE_VERSION,
        features: 0,
        cluster_id: ClusterId::default(),
        node_id: NodeId(0),
        cores: 1,
        core: CoreId(0),
        groups: 1,
    }
}

struct Connection<M> {
    shared: Arc<Shared<M>>,
    session: Arc<Session>,
    replies: mpsc::Sender<Reply>,
    requests: Arc<Semaphore>,
    requests_memory: Arc<Semaphore>,
    replies_memory: Arc<Semaphore>,
}

impl<M: Metaserver> Connection<M> {
    async fn read_requests(&mut self, input: &mut OwnedReadHalf) -> Result<(), ConnectionError> {
        loop {
            let mut header = [0; CLIENT_FRAME_HEADER_BYTES];
            match timeout(IDLE_TIME_MAX, input.read(&mut header[..1])).await {
                Ok(Ok(0)) | Err(_) => return Ok(()),
                Ok(read) => read?,
            };
            within(FRAME_TIME_MAX, input.read_exact(&mut header[1..])).await?;
            let length = wire::frame_bytes(Link::Client, &header, BLOCK_FRAME_BYTES_MAX)?;
            let length = length.expect("the header is whole");
            let reserve =
                Arc::new([take(&self.requests_memory, length).await, take(&self.shared.requests_memory, length).await]);
            let mut frame = vec![0; length];
            frame[..CLIENT_FRAME_HEADER_BYTES].copy_from_slice(&header);
            within(FRAME_TIME_MAX, input.read_exact(&mut frame[CLIENT_FRAME_HEADER_BYTES..])).await?;
            let frame = Bytes::from(frame);
            for request in Frame::parse(&frame)?.requests()? {
                let body = frame.slice_ref(request.body);
                self.begin(request.request_id, request.kind, body, Arc::clone(&reserve)).await;
            }
            if self.replies.is_closed() {
                // The client does not take its replies.
                return Err(ConnectionError::Slow);
            }
        }
    }

    async fn begin(&self, request_id: u64, kind: u8, body: Bytes, reserve: Arc<[OwnedSemaphorePermit; 2]>) {
        let slot = Arc::clone(&self.requests).acquire_owned().await.expect("these semaphores are never closed");
        let (shared, session, replies) = (Arc::clone(&self.shared), Arc::clone(&self.session), self.replies.clone());
        let own_replies_memory = Arc::clone(&self.replies_memory);
        tokio::spawn(async move {
            let reply_reserve = if kind == BlockKind::GetBlock as u8 {
                let own = take(&own_replies_memory, BLOCK_BYTES as usize).await;
                Some([own, take(&shared.replies_memory, BLOCK_BYTES as usize).await])
            } else {
                None
            };
            let answer = session.answer(&shared.store, &shared.meta, kind, body).await;
            drop(reserve);
            // A closed channel is a client that went away; its answer has nowhere to go.
            let _ = replies.send(Reply { request_id, kind, answer, _reserve: reply_reserve }).await;
            drop(slot);
        });
    }

    async fn tell(&self, error: &FrameError) {
        let answer = (ReplyStatus::Malformed, Bytes::from(error.to_string()));
        let _ = self.replies.send(Reply { request_id: 0, kind: 0, answer, _reserve: None }).await;
    }
}

async fn write_replies(mut output: OwnedWriteHalf, mut waiting: mpsc::Receiver<Reply>) -> Result<(), ConnectionError> {
    let mut frames = FrameWriter::new(FrameClass::Reply, BLOCK_FRAME_BYTES_MAX);
    let mut spare = Vec::new();
    while let Some(first) = waiting.recv().await {
        let mut held = Vec::new();
        let mut next = Some(first);
        while let Some(reply) = next {
            let (status, body) = &reply.answer;
            let pushed = frames.push_reply(reply.request_id, *status as u8, reply.kind, GroupId(0), |out| {
                out.extend_from_slice(body);
            });
            pushed.expect("a block, an outcome or an echoed request fits a frame");
            held.push(reply);
            next = if frames.pending_bytes() < REPLY_BATCH_BYTES { waiting.try_recv().ok() } else { None };
        }
        let bytes = frames.take(std::mem::take(&mut spare));
        within(FRAME_TIME_MAX, output.write_all(&bytes)).await?;
        spare = bytes;
        // Blocks pass through once; a buffer of their size is not kept for an idle connection.
        spare.clear();
        spare.shrink_to(REPLY_BATCH_BYTES);
    }
    output.shutdown().await?;
    Ok(())
}

async fn within<T>(time_max: Duration, work: impl Future<Output = std::io::Result<T>>) -> Result<T, ConnectionError> {
    Ok(timeout(time_max, work).await.map_err(|_| ConnectionError::Slow)??)
}

async fn take(memory: &Arc<Semaphore>, bytes: usize) -> OwnedSemaphorePermit {
    let units = u32::try_from(bytes.div_ceil(RESERVE_UNIT_BYTES)).expect("a frame is small");
    Arc::clone(memory).acquire_many_owned(units).await.expect("these semaphores are never closed")
}
