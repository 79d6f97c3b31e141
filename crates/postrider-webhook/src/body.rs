//! A request's body in pieces: a message of any size goes out as it is read, and is never whole in
//! memory.

use std::{
    fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body::{Frame, SizeHint};
use postrider_core::message;
use tokio::{fs::File, io::AsyncReadExt as _};

mod coder;

#[cfg(test)]
mod tests;

use coder::Coder;

/// Bytes that are read at a time: a multiple of three, so that base64 goes on without padding.
const CHUNK: usize = 48 * 1024;

/// A message (RFC 5322) as it was read from its mailbox.
#[derive(Clone, PartialEq, Eq)]
pub enum RawMessage {
    Bytes(Bytes),
    File { path: PathBuf, len: u64 },
}

impl RawMessage {
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes from `start` to before `end`, as they are read.
    pub async fn chunks(&self, start: u64, end: u64) -> io::Result<Chunks> {
        let end = end.min(self.len());
        Ok(Chunks(Reading::open(self, start.min(end), end).await?))
    }

    /// Up to `limit` bytes of it from `offset` on, read into memory.
    pub async fn read(&self, offset: u64, limit: u64) -> io::Result<Bytes> {
        let end = self.len().min(offset.saturating_add(limit));
        let mut source = self.chunks(offset, end).await?;
        let mut all = Vec::with_capacity(usize::try_from(end.saturating_sub(offset)).unwrap_or(0));
        while let Some(chunk) = source.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }
}

impl fmt::Debug for RawMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawMessage({} bytes)", self.len())
    }
}

/// A part of a message while it is read.
pub struct Chunks(Reading);

impl Chunks {
    /// The next bytes; `None` after the last ones.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.0.next().await
    }
}

/// How a piece of a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    AsIs,
    /// Standard alphabet with padding, in one line (RFC 4648 section 4).
    Base64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Bytes),
    /// A part of a message, from `start` to before `end`.
    Message {
        message: RawMessage,
        start: u64,
        end: u64,
        encoding: Encoding,
    },
    /// What stands from `start` to before `end` in a transfer encoding: `size` bytes without it.
    Part {
        message: RawMessage,
        start: u64,
        end: u64,
        transfer: message::Encoding,
        size: u64,
        encoding: Encoding,
    },
    /// A whole message inside a JSON string, `len` bytes there.
    Json {
        message: RawMessage,
        len: u64,
    },
}

impl Piece {
    pub fn whole(message: &RawMessage, encoding: Encoding) -> Self {
        Self::Message {
            message: message.clone(),
            start: 0,
            end: message.len(),
            encoding,
        }
    }

    /// A message for a JSON string (between its quotes), and whether bytes in it that are no UTF-8
    /// became U+FFFD there. The message is read once to know how long it will be.
    pub async fn json(message: &RawMessage) -> io::Result<(Self, bool)> {
        let mut coder = Coder::json();
        let mut chunks = message.chunks(0, message.len()).await?;
        let (mut len, mut out) = (0, Vec::new());
        while let Some(chunk) = chunks.next().await? {
            coder.push(&chunk, &mut out);
            len += out.len() as u64;
            out.clear();
        }
        coder.finish(&mut out);
        len += out.len() as u64;
        let message = message.clone();
        Ok((Self::Json { message, len }, coder.has_replaced()))
    }

    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Message {
                start,
                end,
                encoding,
                ..
            } => encoding.len(end.saturating_sub(*start)),
            Self::Part { size, encoding, .. } => encoding.len(*size),
            Self::Json { len, .. } => *len,
        }
    }

    /// Its bytes, where they are not at hand.
    async fn open(self) -> io::Result<Result<Bytes, Reading>> {
        let len = self.len();
        let (message, start, end, coder) = match self {
            Self::Bytes(bytes) => return Ok(Ok(bytes)),
            Self::Message {
                message,
                start,
                end,
                encoding,
            } => (message, start, end, Coder::plain(encoding)),
            Self::Part {
                message,
                start,
                end,
                transfer,
                encoding,
                ..
            } => (message, start, end, Coder::part(transfer, encoding)),
            Self::Json { message, .. } => {
                let end = message.len();
                (message, 0, end, Coder::json())
            }
        };
        let reading = Reading::open(&message, start, end).await?;
        Ok(Err(reading.coded(coder, len)))
    }
}

impl Encoding {
    fn len(self, bytes: u64) -> u64 {
        match self {
            Self::AsIs => bytes,
            Self::Base64 => bytes.div_ceil(3) * 4,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    pub pieces: Vec<Piece>,
}

impl Body {
    pub fn len(&self) -> u64 {
        self.pieces.iter().map(Piece::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the body consists of, in order. A file that became shorter is an error, not a short body.
    pub fn chunks(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let pieces = self.pieces.clone().into_iter();
        stream::unfold(
            (pieces, None::<Reading>),
            |(mut pieces, mut reading)| async move {
                loop {
                    let chunk = match &mut reading {
                        Some(current) => current.next().await,
                        None => Ok(None),
                    };
                    let piece = match chunk {
                        Ok(Some(chunk)) => return Some((Ok(chunk), (pieces, reading))),
                        Ok(None) => pieces.next()?,
                        Err(error) => return Some((Err(error), over())),
                    };
                    match piece.open().await {
                        Ok(Ok(bytes)) => return Some((Ok(bytes), (pieces, None))),
                        Ok(Err(opened)) => reading = Some(opened),
                        Err(error) => return Some((Err(error), over())),
                    }
                }
            },
        )
    }

    /// As the HTTP client takes it; its length is told, so it is not sent in chunks of HTTP's own.
    pub(crate) fn into_http(self) -> reqwest::Body {
        if let [Piece::Bytes(bytes)] = self.pieces.as_slice() {
            return bytes.clone().into();
        }
        reqwest::Body::wrap(Streamed {
            left: self.len(),
            chunks: Mutex::new(self.chunks().boxed()),
        })
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self {
            pieces: vec![Piece::Bytes(bytes)],
        }
    }
}

/// Nothing follows an error.
fn over() -> (std::vec::IntoIter<Piece>, Option<Reading>) {
    (Vec::new().into_iter(), None)
}

/// A message while it is read.
struct Reading {
    source: Source,
    left: u64,
    coder: Coder,
    /// Bytes that are still to come out of it; `None`: as many as are read.
    promised: Option<u64>,
    ended: bool,
}

enum Source {
    Bytes(Bytes),
    File(Box<File>),
}

impl Reading {
    async fn open(message: &RawMessage, start: u64, end: u64) -> io::Result<Self> {
        let source = match message {
            RawMessage::Bytes(bytes) => {
                let at = |offset| {
                    usize::try_from(offset)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len())
                };
                Source::Bytes(bytes.slice(at(start)..at(end).max(at(start))))
            }
            RawMessage::File { path, .. } => {
                let mut file = File::open(path).await?;
                if start > 0 {
                    tokio::io::AsyncSeekExt::seek(&mut file, io::SeekFrom::Start(start)).await?;
                }
                Source::File(Box::new(file))
            }
        };
        Ok(Self {
            source,
            left: end.saturating_sub(start),
            coder: Coder::plain(Encoding::AsIs),
            promised: None,
            ended: false,
        })
    }

    fn coded(mut self, coder: Coder, len: u64) -> Self {
        self.coder = coder;
        self.promised = Some(len);
        self
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let chunk = self.read().await?;
            self.ended = chunk.is_none();
            let chunk = match (chunk, self.coder.is_plain()) {
                (Some(chunk), true) => chunk,
                (chunk, _) => {
                    let mut out = Vec::with_capacity(CHUNK / 2 * 3);
                    match chunk {
                        Some(chunk) => self.coder.push(&chunk, &mut out),
                        None => self.coder.finish(&mut out),
                    }
                    out.into()
                }
            };
            if let Some(promised) = &mut self.promised {
                *promised = promised
                    .checked_sub(chunk.len() as u64)
                    .ok_or_else(changed)?;
                if self.ended && *promised > 0 {
                    return Err(changed());
                }
            }
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }

    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let want = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        let chunk = match &mut self.source {
            Source::Bytes(bytes) if bytes.len() < want => return Err(shorter()),
            Source::Bytes(bytes) => bytes.split_to(want),
            Source::File(file) => {
                let mut chunk = vec![0; want];
                file.read_exact(&mut chunk).await.map_err(|error| {
                    if error.kind() == io::ErrorKind::UnexpectedEof {
                        shorter()
                    } else {
                        error
                    }
                })?;
                chunk.into()
            }
        };
        self.left -= chunk.len() as u64;
        Ok(Some(chunk))
    }
}

fn changed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the stored message is not what it was",
    )
}

fn shorter() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the stored message is shorter than it was",
    )
}

struct Streamed {
    /// The client wants a body that threads could share. None does, so it is never locked.
    chunks: Mutex<stream::BoxStream<'static, io::Result<Bytes>>>,
    left: u64,
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let chunks = self
            .chunks
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let polled = chunks.poll_next_unpin(context);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            self.left = self.left.saturating_sub(chunk.len() as u64);
        }
        polled.map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
