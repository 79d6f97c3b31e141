use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

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
async fn a_part_comes_out_of_its_encoding_and_a_message_into_a_string() {
    let bytes: Vec<u8> = (0..3 * CHUNK + 100)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let mut lines = String::new();
    for line in STANDARD.encode(&bytes).as_bytes().chunks(76) {
        lines.push_str(std::str::from_utf8(line).unwrap());
        lines.push_str("\r\n");
    }
    let head = "a \"quoted\" ä\r\n\u{1}";
    let raw = [head.as_bytes(), lines.as_bytes(), b"\xff\xc3"].concat();
    let message = RawMessage::Bytes(raw.clone().into());
    let part = |encoding| Piece::Part {
        message: message.clone(),
        start: head.len() as u64,
        end: (head.len() + lines.len()) as u64,
        transfer: message::Encoding::Base64,
        size: bytes.len() as u64,
        encoding,
    };
    let (json, replaced) = Piece::json(&message).await.unwrap();
    let body = Body {
        pieces: vec![
            Piece::Bytes("[\"".into()),
            json,
            Piece::Bytes("\",\"".into()),
            part(Encoding::Base64),
            Piece::Bytes("\"]".into()),
        ],
    };
    let whole_body = whole(&body).await.unwrap();
    assert_eq!(body.len(), whole_body.len() as u64);
    let told: Vec<String> = serde_json::from_slice(&whole_body).unwrap();
    assert_eq!(told[0], String::from_utf8_lossy(&raw));
    assert!(replaced);
    assert_eq!(told[1], STANDARD.encode(&bytes));
    let as_is = Body {
        pieces: vec![part(Encoding::AsIs)],
    };
    assert_eq!(whole(&as_is).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_piece_that_is_not_as_long_as_was_told_is_an_error() {
    for size in [3, 5] {
        let part = Piece::Part {
            message: RawMessage::Bytes("aGVs\r\nbA==".into()),
            start: 0,
            end: 10,
            transfer: message::Encoding::Base64,
            size,
            encoding: Encoding::AsIs,
        };
        let body = Body { pieces: vec![part] };
        assert!(whole(&body).await.is_err(), "{size}");
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
