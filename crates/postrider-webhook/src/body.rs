//! A request's body in pieces: a message of any size goes out as it is read, and is never whole in
//! memory.

use std::{
    fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body::{Frame, SizeHint};
use tokio::{fs::File, io::AsyncReadExt as _};

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

    /// Up to `limit` bytes of it from `offset` on, read into memory.
    pub async fn read(&self, offset: u64, limit: u64) -> io::Result<Bytes> {
        let end = self.len().min(offset.saturating_add(limit));
        let mut source = Reading::open(self, offset.min(end), end).await?;
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

    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Message {
                start,
                end,
                encoding,
                ..
            } => {
                let bytes = end.saturating_sub(*start);
                match encoding {
                    Encoding::AsIs => bytes,
                    Encoding::Base64 => bytes.div_ceil(3) * 4,
                }
            }
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
                    match piece {
                        Piece::Bytes(bytes) => return Some((Ok(bytes), (pieces, None))),
                        Piece::Message {
                            message,
                            start,
                            end,
                            encoding,
                        } => match Reading::open(&message, start, end).await {
                            Ok(opened) => reading = Some(opened.encoded(encoding)),
                            Err(error) => return Some((Err(error), over())),
                        },
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
    encoding: Encoding,
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
            encoding: Encoding::AsIs,
        })
    }

    fn encoded(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
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
        Ok(Some(match self.encoding {
            Encoding::AsIs => chunk,
            Encoding::Base64 => STANDARD.encode(&chunk).into(),
        }))
    }
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    async fn whole(body: &Body) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut chunks = std::pin::pin!(body.chunks());
        while let Some(chunk) = chunks.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    fn message(len: usize) -> (Vec<u8>, RawMessage, RawMessage, tempfile::NamedTempFile) {
        let bytes: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let in_memory = RawMessage::Bytes(bytes.clone().into());
        let in_file = RawMessage::File {
            path: file.path().to_owned(),
            len: len as u64,
        };
        (bytes, in_memory, in_file, file)
    }

    #[tokio::test]
    async fn pieces_follow_one_another_and_their_length_is_known_before() {
        for len in [0, 1, 2, 3, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 2] {
            let (bytes, in_memory, in_file, _file) = message(len);
            for message in [in_memory, in_file] {
                let body = Body {
                    pieces: vec![
                        Piece::Bytes("<".into()),
                        Piece::whole(&message, Encoding::AsIs),
                        Piece::Bytes("|".into()),
                        Piece::whole(&message, Encoding::Base64),
                        Piece::Bytes(">".into()),
                    ],
                };
                let mut expected = b"<".to_vec();
                expected.extend_from_slice(&bytes);
                expected.push(b'|');
                expected.extend_from_slice(STANDARD.encode(&bytes).as_bytes());
                expected.push(b'>');
                assert_eq!(body.len(), expected.len() as u64, "{len}");
                assert_eq!(whole(&body).await.unwrap(), expected, "{len}");
            }
        }
    }

    #[tokio::test]
    async fn a_part_of_a_message_is_that_part() {
        let (bytes, in_memory, in_file, _file) = message(1000);
        for message in [in_memory, in_file] {
            let body = Body {
                pieces: vec![Piece::Message {
                    message: message.clone(),
                    start: 10,
                    end: 990,
                    encoding: Encoding::Base64,
                }],
            };
            let expected = STANDARD.encode(&bytes[10..990]);
            assert_eq!(whole(&body).await.unwrap(), expected.as_bytes());
            assert_eq!(message.read(995, 100).await.unwrap(), &bytes[995..]);
            assert!(message.read(2000, 1).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error_not_a_short_body() {
        let (_, _, _, file) = message(100);
        let longer = RawMessage::File {
            path: file.path().to_owned(),
            len: 200,
        };
        let body = Body {
            pieces: vec![Piece::whole(&longer, Encoding::AsIs)],
        };
        assert!(whole(&body).await.is_err());
    }
}
