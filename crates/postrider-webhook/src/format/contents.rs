//! What is in a message that is kept: its header and texts out of its beginning, and where its
//! attachments lie. However large it is, it goes by in pieces.

use std::io;

use postrider_core::message::{self, Decoder, Located, Locator, Message, ParseLimits};

use crate::body::{Encoding, Piece, RawMessage};

/// Of a message so much is looked at for header and texts, which stand before attachments.
const BEGINNING_BYTES: u64 = 2 << 20;

#[derive(Clone, Debug)]
pub struct Contents {
    /// Header and texts; its attachments are those of the beginning alone.
    pub message: Message,
    pub attachments: Vec<File>,
    /// The message for a JSON string, and whether bytes in it became U+FFFD; where it is asked for.
    pub json: Option<(Piece, bool)>,
}

/// An attachment and where its bytes are.
#[derive(Clone, Debug)]
pub struct File {
    pub located: Located,
    /// Of its bytes, out of their transfer encoding.
    pub size: u64,
}

impl File {
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
    pub async fn of(raw: &RawMessage) -> io::Result<Self> {
        let limits = ParseLimits::default();
        let beginning = raw.read(0, BEGINNING_BYTES).await?;
        let message = message::parse_prefix(&beginning, raw.len(), &limits);
        drop(beginning);
        let mut locator = Locator::new(&limits);
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
            message,
            attachments,
            json: None,
        })
    }

    /// With the message for a JSON string.
    pub async fn with_json(raw: &RawMessage) -> io::Result<Self> {
        Ok(Self {
            json: Some(Piece::json(raw).await?),
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
