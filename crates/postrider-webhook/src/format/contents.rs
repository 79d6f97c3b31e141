//! What is in a message that is kept: its header and texts out of its beginning, and where its
//! attachments lie. However large it is, it goes by in pieces.

use std::{borrow::Cow, io};

use postrider_core::message::{self, Decoder, Located, Locator, Message, ParseLimits};

use crate::body::{Encoding, Piece, RawMessage};

/// Of a message so much is looked at for header and texts, which stand before attachments.
const BEGINNING_BYTES: u64 = 2 << 20;

#[derive(Clone, Debug)]
pub struct Contents {
    pub attachments: Vec<File>,
    /// Where it is asked for.
    pub text: Option<Text>,
}

/// The message as text.
#[derive(Clone, Debug)]
pub struct Text {
    /// Header and texts; its attachments are those of the beginning alone.
    pub message: Message,
    /// All of it for a JSON string.
    pub json: Piece,
    /// Bytes that are no UTF-8 became U+FFFD in `json`.
    pub replaced: bool,
}

/// An attachment and where its bytes are.
#[derive(Clone, Debug)]
pub struct File {
    pub located: Located,
    /// Of its bytes, out of their transfer encoding.
    pub size: u64,
}

impl File {
    /// A name for receivers that take no file without one.
    pub fn name(&self) -> Cow<'_, str> {
        match &self.located.filename {
            Some(name) => name.into(),
            None => format!("attachment-{}", self.located.index).into(),
        }
    }

    pub fn piece(&self, message: &RawMessage, encoding: Encoding) -> Piece {
        Piece::Part {
            message: message.clone(),
            start: self.located.start,
            end: self.located.end,
            transfer: self.located.encoding,
            size: self.size,
            encoding,
        }
    }
}

impl Contents {
    /// What is attached.
    pub async fn of(raw: &RawMessage) -> io::Result<Self> {
        let mut locator = Locator::new(&ParseLimits::default());
        let mut chunks = raw.chunks(0, raw.len()).await?;
        while let Some(chunk) = chunks.next().await? {
            locator.push(&chunk);
        }
        let mut attachments = Vec::new();
        for located in locator.finish() {
            let size = size(raw, &located).await?;
            attachments.push(File { located, size });
        }
        Ok(Self {
            attachments,
            text: None,
        })
    }

    /// With what is written.
    pub async fn with_text(raw: &RawMessage) -> io::Result<Self> {
        let (beginning, total) = (raw.read(0, BEGINNING_BYTES).await?, raw.len());
        // It may take a while: it is parsed beside the threads that serve everybody.
        let parsed = tokio::task::spawn_blocking(move || {
            message::parse_prefix(&beginning, total, &ParseLimits::default())
        });
        let message = parsed.await.map_err(io::Error::other)?;
        let (json, replaced) = Piece::json(raw).await?;
        Ok(Self {
            text: Some(Text {
                message,
                json,
                replaced,
            }),
            ..Self::of(raw).await?
        })
    }
}

async fn size(raw: &RawMessage, located: &Located) -> io::Result<u64> {
    let mut decoder = Decoder::new(located.encoding);
    let mut chunks = raw.chunks(located.start, located.end).await?;
    let (mut size, mut out) = (0, Vec::new());
    while let Some(chunk) = chunks.next().await? {
        decoder.push(&chunk, &mut out);
        size += out.len() as u64;
        out.clear();
    }
    decoder.finish(&mut out);
    Ok(size + out.len() as u64)
}

/// Chooses what fits into `max` bytes together, in order; what does not is left out alone.
pub struct Budget {
    left: u64,
}

impl Budget {
    pub fn new(max: u64) -> Self {
        Self { left: max }
    }

    pub fn takes(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.left;
        if fits {
            self.left -= bytes;
        }
        fits
    }
}
