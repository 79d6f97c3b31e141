//! A text with holes, which pieces of a message fill.

use bytes::Bytes;
use serde::Serialize;

use super::RenderError;
use crate::body::{Body, Piece};

#[derive(Default)]
pub(super) struct Pieces {
    text: Vec<u8>,
    /// Where in the text each stands.
    holes: Vec<(usize, Piece)>,
}

impl Pieces {
    pub(super) fn push(&mut self, text: impl AsRef<[u8]>) {
        self.text.extend_from_slice(text.as_ref());
    }

    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), RenderError> {
        serde_json::to_writer(&mut self.text, value)
            .map_err(|error| RenderError::Other(error.to_string()))
    }

    /// A piece between quotes.
    pub(super) fn quoted(&mut self, piece: Piece) {
        self.text.push(b'"');
        self.holes.push((self.text.len(), piece));
        self.text.push(b'"');
    }

    /// The text without its last byte: an object that is open again.
    pub(super) fn reopen(&mut self) {
        self.text.pop();
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same holes in a text that holds this one from `at` on, as far as its last hole.
    pub(super) fn within(self, text: Bytes, at: usize) -> Body {
        let mut pieces = Vec::with_capacity(self.holes.len() * 2 + 1);
        let mut from = 0;
        for (hole, piece) in self.holes {
            pieces.push(Piece::Bytes(text.slice(from..at + hole)));
            pieces.push(piece);
            from = at + hole;
        }
        pieces.push(Piece::Bytes(text.slice(from..)));
        Body { pieces }
    }

    pub(super) fn finish(mut self) -> Body {
        let text = Bytes::from(std::mem::take(&mut self.text));
        self.within(text, 0)
    }
}
