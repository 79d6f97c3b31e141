//! Messages to test with: plain ones of any size, and those that break mail programs. Each is built
//! from a number that is found again in its Message-ID or, without headers, in its text.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use time::{OffsetDateTime, macros::format_description};

/// The Message-ID of the message with this number, with its angle brackets.
pub fn message_id(number: u64) -> String {
    format!("<{number}@sandbox.postrider.test>")
}

/// A plain text message of exactly this size (or its headers' size, if that is more).
pub fn plain(number: u64, bytes: usize) -> Vec<u8> {
    let mut mail = headers(number, &format!("message {number}")).into_bytes();
    mail.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n\r\n");
    let line = b"The quick brown fox jumps over the lazy dog and rides on to the next post.\r\n";
    while mail.len() + line.len() <= bytes {
        mail.extend_from_slice(line);
    }
    let rest = bytes.saturating_sub(mail.len());
    if rest >= 2 {
        mail.resize(mail.len() + rest - 2, b'.');
        mail.extend_from_slice(b"\r\n");
    } else {
        mail.resize(mail.len() + rest, b'.');
    }
    mail
}

/// A text and one attachment; together about this size.
pub fn large(number: u64, bytes: usize) -> Vec<u8> {
    let head = headers(number, &format!("large message {number}"));
    let mut mail = Vec::with_capacity(bytes + 4096);
    mail.extend_from_slice(head.as_bytes());
    mail.extend_from_slice(
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"x-large\"\r\n\r\n\
          --x-large\r\nContent-Type: text/plain\r\n\r\nSee the attachment.\r\n\
          --x-large\r\nContent-Type: application/octet-stream; name=\"large.bin\"\r\n\
          Content-Disposition: attachment; filename=\"large.bin\"\r\n\
          Content-Transfer-Encoding: base64\r\n\r\n",
    );
    let mut block = [0; 57];
    for (place, byte) in block.iter_mut().enumerate() {
        *byte = u8::try_from((place * 7 + 13) % 251).unwrap_or_default();
    }
    let line = STANDARD.encode(block) + "\r\n";
    while mail.len() < bytes {
        mail.extend_from_slice(line.as_bytes());
    }
    mail.extend_from_slice(b"--x-large--\r\n");
    mail
}

/// Messages that are legal, barely legal or broken, and arrive all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Odd {
    /// Bytes above 127 in headers, undeclared.
    EightBitHeaders,
    /// A multipart whose boundary never comes, with a broken encoding inside.
    BrokenMime,
    /// A multipart of 5,000 parts.
    ManyParts,
    /// 30 messages, one inside the other.
    DeepNesting,
    /// One header line of 1 MB.
    HugeHeader,
    /// NUL bytes in header and body.
    NulBytes,
    /// No header at all, text only.
    NoHeaders,
    /// 50 MB.
    Large,
}

impl Odd {
    pub const ALL: [Self; 8] = [
        Self::EightBitHeaders,
        Self::BrokenMime,
        Self::ManyParts,
        Self::DeepNesting,
        Self::HugeHeader,
        Self::NulBytes,
        Self::NoHeaders,
        Self::Large,
    ];

    pub fn make(self, number: u64) -> Vec<u8> {
        match self {
            Self::EightBitHeaders => eight_bit_headers(number),
            Self::BrokenMime => broken_mime(number),
            Self::ManyParts => many_parts(number),
            Self::DeepNesting => deep_nesting(number),
            Self::HugeHeader => huge_header(number),
            Self::NulBytes => nul_bytes(number),
            Self::NoHeaders => {
                format!("\r\nThis is message {number}, and it has no headers.\r\n").into_bytes()
            }
            Self::Large => large(number, 50 * 1024 * 1024),
        }
    }
}

fn headers(number: u64, subject: &str) -> String {
    // RFC 5322 §3.3; a format without names of time zones always succeeds.
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] +0000"
    );
    let date = OffsetDateTime::now_utc()
        .format(&format)
        .unwrap_or_default();
    format!(
        "Received: from sandbox.postrider.test by mail.sandbox.postrider.test; {date}\r\n\
         From: Ann Sender <ann@sandbox.postrider.test>\r\n\
         To: Bob Reader <bob@sandbox.postrider.test>\r\n\
         Subject: {subject}\r\n\
         Date: {date}\r\n\
         Message-ID: {}\r\n",
        message_id(number)
    )
}

fn eight_bit_headers(number: u64) -> Vec<u8> {
    let mut mail =
        b"X-Raw: \xe4\xf6\xfc \xff\xfe\r\nReply-To: \"J\xfcrgen\" <j@example.org>\r\n".to_vec();
    mail.extend_from_slice(headers(number, "placeholder").as_bytes());
    let at = find(&mail, b"placeholder");
    mail.splice(at..at + 11, b"Gr\xfc\xdfe aus K\xf6ln".iter().copied());
    mail.extend_from_slice(b"\r\nGr\xfc\xdfe\r\n");
    mail
}

fn broken_mime(number: u64) -> Vec<u8> {
    let mut mail = headers(number, "=?utf-8?B?broken").into_bytes();
    mail.extend_from_slice(
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"never\r\n\
          Content-Transfer-Encoding: base64\r\n\r\n--nevermore\r\n\
          Content-Type: text/plain; charset=\"no-such-charset\r\n\
          Content-Transfer-Encoding: quoted-printable\r\n\r\nbroken =ZZ =4\r\n--never",
    );
    mail
}

fn many_parts(number: u64) -> Vec<u8> {
    let mut mail = headers(number, "5,000 parts");
    mail.push_str("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"p\"\r\n\r\n");
    for part in 0..5000 {
        // Writing to a string does not fail.
        let _ = write!(
            mail,
            "--p\r\nContent-Type: text/plain\r\n\r\npart {part}\r\n"
        );
    }
    mail.push_str("--p--\r\n");
    mail.into_bytes()
}

fn deep_nesting(number: u64) -> Vec<u8> {
    let mut mail = headers(number, "30 messages, one inside the other");
    for level in 0..30 {
        let _ = write!(
            mail,
            "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\n\
             From: level{level}@example.org\r\nSubject: level {level}\r\n\
             Message-ID: <{number}.{level}@nested.postrider.test>\r\n"
        );
    }
    mail.push_str("\r\nthe innermost text\r\n");
    mail.into_bytes()
}

fn huge_header(number: u64) -> Vec<u8> {
    let mut mail = headers(number, "a header of 1 MB").into_bytes();
    mail.extend_from_slice(b"X-Huge: ");
    mail.resize(mail.len() + 1024 * 1024, b'h');
    mail.extend_from_slice(b"\r\n\r\nsmall text\r\n");
    mail
}

fn nul_bytes(number: u64) -> Vec<u8> {
    let mut mail = headers(number, "nul \0 bytes").into_bytes();
    mail.extend_from_slice(b"\r\nbefore\0after\r\n\0\0\0\r\n");
    mail
}

fn find(text: &[u8], part: &[u8]) -> usize {
    let found = text.windows(part.len()).position(|window| window == part);
    found.unwrap_or_default()
}
