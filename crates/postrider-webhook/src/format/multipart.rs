//! Bodies of `multipart/form-data` (RFC 7578), whose files may be of any size: their length is known
//! before, and a repeat is the same to the byte.

use bytes::Bytes;
use reqwest::header::HeaderValue;
use sha2::{Digest as _, Sha256};

use super::{RenderError, Source};
use crate::body::{Body, Piece};

pub struct Multipart {
    boundary: String,
    pieces: Vec<Piece>,
}

impl Multipart {
    /// The boundary is the event's own: a hash over what is stored of it, the times at which servers
    /// took the message among it, so whoever wrote the message could not write it into its text.
    pub fn of(source: &Source<'_>) -> Self {
        let mut hash = Sha256::new();
        hash.update(source.event.id);
        hash.update(source.event.stored_at.0.to_be_bytes());
        hash.update(source.event.data);
        let hash = hash.finalize();
        let digits: String = hash[..20]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            boundary: format!("postrider-{digits}"),
            pieces: Vec::new(),
        }
    }

    /// A field of text. It carries no type of its own: some receivers take what has one for a file.
    pub fn text(&mut self, name: &str, value: &str) {
        self.field(name, Piece::Bytes(Bytes::from(value.to_owned())));
    }

    /// A field whose value is not a file to the receiver, however large.
    pub fn field(&mut self, name: &str, value: Piece) {
        self.part(&format!("; name=\"{}\"", quoted(name)), "", value);
    }

    /// A field of this type that is no file.
    pub fn typed(&mut self, name: &str, content_type: &str, value: Piece) {
        let disposition = format!("; name=\"{}\"", quoted(name));
        self.part(&disposition, &kind(content_type), value);
    }

    pub fn file(&mut self, name: &str, filename: &str, content_type: &str, content: Piece) {
        let (name, filename) = (quoted(name), quoted(filename));
        let disposition = format!("; name=\"{name}\"; filename=\"{filename}\"");
        self.part(&disposition, &kind(content_type), content);
    }

    fn part(&mut self, disposition: &str, more: &str, content: Piece) {
        let start = if self.pieces.is_empty() { "" } else { "\r\n" };
        let head = format!(
            "{start}--{}\r\nContent-Disposition: form-data{disposition}\r\n{more}\r\n",
            self.boundary
        );
        self.pieces.push(Piece::Bytes(head.into()));
        self.pieces.push(content);
    }

    /// The value of `Content-Type`, and the body.
    pub fn finish(mut self) -> Result<(HeaderValue, Body), RenderError> {
        let end = format!("\r\n--{}--\r\n", self.boundary);
        self.pieces.push(Piece::Bytes(end.into()));
        let kind = format!("multipart/form-data; boundary={}", self.boundary);
        let kind =
            HeaderValue::try_from(kind).map_err(|error| RenderError::Other(error.to_string()))?;
        let pieces = self.pieces;
        Ok((kind, Body { pieces }))
    }
}

/// The header line of a type, which a sender may have chosen.
fn kind(content_type: &str) -> String {
    let plain = content_type
        .chars()
        .filter(|character| character.is_ascii_graphic() || *character == ' ');
    format!("Content-Type: {}\r\n", plain.collect::<String>())
}

/// A name in quotes, as browsers write it (HTML Living Standard, "multipart/form-data").
fn quoted(text: &str) -> String {
    text.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_its_quotes_or_its_line() {
        let name = "a\"; filename=\"b\r\nX-Y: z";
        assert_eq!(quoted(name), "a%22; filename=%22b%0D%0AX-Y: z");
        let mut form = Multipart {
            boundary: "b".to_owned(),
            pieces: Vec::new(),
        };
        let content = Piece::Bytes(Bytes::from_static(b"c"));
        form.file(name, name, "text/plain\r\nX-Y: z", content);
        let (kind, body) = form.finish().unwrap();
        assert_eq!(kind, "multipart/form-data; boundary=b");
        let Piece::Bytes(head) = &body.pieces[0] else {
            panic!("{body:?}");
        };
        let head = std::str::from_utf8(head).unwrap();
        let lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(lines.len(), 5, "{head}");
        assert_eq!(lines[2], "Content-Type: text/plainX-Y: z");
    }
}
