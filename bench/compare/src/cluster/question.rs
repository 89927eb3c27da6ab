//! Questions to a node while a cluster is made or checked: one connection each, and one at a time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

/// How long one question to a node may take.
pub(crate) const QUESTION_MAX: Duration = Duration::from_secs(5);
/// Bytes in which there must be an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A connection for a question.
pub(super) fn dial(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, QUESTION_MAX)?;
    stream.set_read_timeout(Some(QUESTION_MAX))?;
    Ok(stream)
}

/// All that a node says until it closes the connection, as text.
pub(super) fn read_out(address: SocketAddr, question: &[u8]) -> Result<String> {
    let mut stream = dial(address)?;
    stream.write_all(question)?;
    let mut told = Vec::new();
    stream.read_to_end(&mut told)?;
    Ok(String::from_utf8_lossy(&told).into_owned())
}

/// Sends `out` and hears the node until there is an answer. `hear` is given the bytes that it has not taken yet; it appends
/// what is to be said to them, and returns how many it took, and the answer if that is among them.
pub(super) fn converse<T>(
    address: SocketAddr,
    mut out: Vec<u8>,
    mut hear: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(usize, Option<T>)>,
) -> Result<T> {
    let mut stream = dial(address)?;
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        stream.write_all(&out)?;
        out.clear();
        let length = stream.read(&mut buffer)?;
        ensure!(length > 0, "{address} closed the connection");
        input.extend_from_slice(&buffer[..length]);
        let (taken, answer) = hear(&input, &mut out)?;
        if let Some(answer) = answer {
            return Ok(answer);
        }
        input.drain(..taken);
        if input.len() > ANSWER_BYTES_MAX {
            bail!("{address} sends what is no answer");
        }
    }
}
