//! One connection's bytes: what was read and not yet used, what is to be written. It holds no buffer
//! while the connection is idle, so that thousands of them are cheap.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// Anything that carries an IMAP conversation.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Bytes read at once.
const CHUNK: usize = 4096;
/// Output is sent when this much has gathered.
const FLUSH_AT: usize = 64 * 1024;

pub(crate) struct Wire {
    stream: Box<dyn Transport>,
    input: Vec<u8>,
    /// How much of `input` is known to hold no line end.
    scanned: usize,
    output: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: Box<dyn Transport>) -> Self {
        Self {
            stream,
            input: Vec::new(),
            scanned: 0,
            output: Vec::new(),
        }
    }

    /// For STARTTLS: the stream alone; bytes read ahead are discarded, as RFC 3501 §6.2.1 needs it.
    pub(crate) fn into_stream(self) -> Box<dyn Transport> {
        self.stream
    }

    /// The next line without its end, if one is there.
    pub(crate) fn take_line(&mut self) -> Option<Vec<u8>> {
        let found = self.input[self.scanned..].iter().position(|b| *b == b'\n');
        let Some(offset) = found else {
            self.scanned = self.input.len();
            return None;
        };
        let mut line = self.take(self.scanned + offset + 1);
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }

    /// The next bytes, if so many are there.
    pub(crate) fn take_exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        (self.input.len() >= count).then(|| self.take(count))
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.input.len()
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.scanned = 0;
        if count == self.input.len() {
            return std::mem::take(&mut self.input);
        }
        let rest = self.input.split_off(count);
        std::mem::replace(&mut self.input, rest)
    }

    /// Waits for more input; 0 is the end of the stream. Nothing is lost if the wait is given up.
    pub(crate) async fn read_more(&mut self) -> io::Result<usize> {
        poll_fn(|context| {
            let mut space = [0; CHUNK];
            let mut buffer = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut *self.stream).poll_read(context, &mut buffer))?;
            self.input.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    pub(crate) fn put(&mut self, bytes: impl AsRef<[u8]>) {
        self.output.extend_from_slice(bytes.as_ref());
    }

    pub(crate) fn put_line(&mut self, line: impl AsRef<[u8]>) {
        self.put(line);
        self.put(b"\r\n");
    }

    pub(crate) async fn flush_if_much(&mut self) -> io::Result<()> {
        if self.output.len() < FLUSH_AT {
            return Ok(());
        }
        self.flush().await
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            let output = std::mem::take(&mut self.output);
            self.stream.write_all(&output).await?;
        }
        self.stream.flush().await
    }

    /// Sends a large piece without copying it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush().await?;
        self.stream.write_all(bytes).await
    }

    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await
    }
}
