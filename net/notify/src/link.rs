//! A link of client frames over TCP: dialled with its hello, frames in and out.

use std::io;
use std::time::Duration;

use base::limits::WIRE_FRAME_BYTES_MAX;
use base::{Acct, GroupId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use wire::{ClientHello, Frame, FrameClass, FrameError, FrameReader, FrameWriter, HelloError, Link, ReplyStatus};

/// A connection, and its hello, are there by then.
const DIAL_TIME_MAX: Duration = Duration::from_secs(1);
/// Without a frame for so long a link is broken: both sides of a good one say something every 250 ms.
pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(1000);
/// A frame is taken by then.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 64 << 10;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("{0}")]
    Hello(#[from] HelloError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Body(#[from] wire::client::BodyError),
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("nothing came in time")]
    Silent,
    #[error("the other side closed it")]
    Closed,
    #[error("the other side refuses: {0}")]
    Refused(String),
    #[error("something was not heard")]
    Gap,
}

/// The side that reads.
pub(crate) struct Reader {
    input: OwnedReadHalf,
    frames: FrameReader,
    bytes: Vec<u8>,
}

/// The side that writes.
pub(crate) struct Writer {
    output: OwnedWriteHalf,
    frames: FrameWriter,
    spare: Vec<u8>,
}

/// Dials and greets.
pub(crate) async fn dial(address: &str) -> Result<(Reader, Writer), LinkError> {
    let greeted = async {
        let stream = TcpStream::connect(address).await?;
        let (mut reader, mut writer) = split(stream, FrameClass::Request)?;
        writer.output.write_all(&ClientHello::new(Acct(0), [0; 16]).encode()).await?;
        while reader.frames.next_server_hello()?.is_none() {
            reader.fill().await?;
        }
        Ok((reader, writer))
    };
    timeout(DIAL_TIME_MAX, greeted).await.map_err(|_| LinkError::Silent)?
}

/// Takes the greeting of one who dialled, and answers it.
pub(crate) async fn greet(stream: TcpStream, hello: &wire::ServerHello) -> Result<(Reader, Writer), LinkError> {
    let greeted = async {
        let (mut reader, mut writer) = split(stream, FrameClass::Reply)?;
        while reader.frames.next_client_hello()?.is_none() {
            reader.fill().await?;
        }
        writer.output.write_all(&hello.encode()).await?;
        Ok((reader, writer))
    };
    timeout(DIAL_TIME_MAX, greeted).await.map_err(|_| LinkError::Silent)?
}

fn split(stream: TcpStream, class: FrameClass) -> io::Result<(Reader, Writer)> {
    stream.set_nodelay(true)?;
    let (input, output) = stream.into_split();
    let reader =
        Reader { input, frames: FrameReader::new(Link::Client, WIRE_FRAME_BYTES_MAX), bytes: vec![0; READ_BYTES] };
    Ok((reader, Writer { output, frames: FrameWriter::new(class, WIRE_FRAME_BYTES_MAX), spare: Vec::new() }))
}

impl Reader {
    async fn fill(&mut self) -> Result<(), LinkError> {
        match self.input.read(&mut self.bytes).await? {
            0 => Err(LinkError::Closed),
            count => {
                self.frames.push(&self.bytes[..count]);
                Ok(())
            }
        }
    }

    /// The next frame goes to `take`. A link on which nothing comes for `silence_max` is broken.
    pub(crate) async fn frame<T>(
        &mut self,
        silence_max: Duration,
        take: impl FnOnce(Frame<'_>) -> Result<T, LinkError>,
    ) -> Result<T, LinkError> {
        loop {
            if self.frames.pending_bytes() > 0
                && let Some(bytes) = self.frames.next_frame()?
            {
                return take(Frame::parse(bytes)?);
            }
            timeout(silence_max, self.fill()).await.map_err(|_| LinkError::Silent)??;
        }
    }
}

impl Writer {
    /// Sends one request.
    pub(crate) async fn request(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), LinkError> {
        self.frames.push_request(1, kind, 0, GroupId(0), body).expect("bodies are bounded far below a frame");
        self.flush().await
    }

    /// Sends one reply.
    pub(crate) async fn reply(
        &mut self,
        request_id: u64,
        status: ReplyStatus,
        kind: u8,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), LinkError> {
        let pushed = self.frames.push_reply(request_id, status as u8, kind, GroupId(0), body);
        pushed.expect("bodies are bounded far below a frame");
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), LinkError> {
        let bytes = self.frames.take(std::mem::take(&mut self.spare));
        let written = timeout(WRITE_TIME_MAX, self.output.write_all(&bytes)).await;
        self.spare = bytes;
        Ok(written.map_err(|_| LinkError::Silent)??)
    }
}
