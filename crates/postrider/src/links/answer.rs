//! What a request gets. Nothing that a sender wrote decides how a browser treats it: every answer is
//! a download of a harmless type, and a file's name is escaped.

use std::{convert::Infallible, io};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::Frame,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
        CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use postrider_webhook::{
    body::{Body, Encoding, Piece, RawMessage},
    format::contents::Contents,
    link::Target,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::telemetry::links::Served;

/// Types that no browser runs anything of. All others are told as bytes.
const HARMLESS: [&str; 12] = [
    "application/pdf",
    "application/zip",
    "application/gzip",
    "application/msword",
    "application/vnd.ms-excel",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
];
const BYTES: &str = "application/octet-stream";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    WithBody,
    Alone,
}

type HttpBody = UnsyncBoxBody<Bytes, io::Error>;

pub(super) struct Answer {
    pub(super) served: Served,
    status: StatusCode,
    headers: HeaderMap,
    body: HttpBody,
}

impl Answer {
    fn of(served: Served, status: StatusCode) -> Self {
        let text = served.words();
        let mut headers = HeaderMap::new();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, plain);
        Self {
            served,
            status,
            headers,
            body: whole(Bytes::from_static(text.as_bytes())),
        }
    }

    pub(super) fn refused(served: Served) -> Self {
        let status = match served {
            Served::Served => StatusCode::OK,
            Served::NotFound => StatusCode::NOT_FOUND,
            Served::Forged => StatusCode::FORBIDDEN,
            Served::Expired | Served::Gone => StatusCode::GONE,
            Served::Busy => StatusCode::TOO_MANY_REQUESTS,
            Served::Later | Served::Failed => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut answer = Self::of(served, status);
        let wait = match served {
            Served::Busy => Some("1"),
            Served::Later | Served::Failed => Some("60"),
            Served::Served | Served::NotFound | Served::Forged | Served::Expired | Served::Gone => {
                None
            }
        };
        if let Some(wait) = wait {
            let wait = HeaderValue::from_static(wait);
            answer.headers.insert(RETRY_AFTER, wait);
        }
        answer
    }

    pub(super) fn wrong_method() -> Self {
        let mut answer = Self::of(Served::NotFound, StatusCode::METHOD_NOT_ALLOWED);
        let allow = HeaderValue::from_static("GET, HEAD");
        answer.headers.insert(ALLOW, allow);
        answer
    }

    pub(super) fn into_http(self) -> Response<HttpBody> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        for (name, value) in [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
            (CACHE_CONTROL, "private, no-store"),
            (REFERRER_POLICY, "no-referrer"),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
        ] {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The message, or one of its attachments; `look` is waited for where the message has to be looked
/// through, `place` is held until the last byte has gone.
pub(super) async fn message<L>(
    message: RawMessage,
    target: Target,
    head: Head,
    look: impl Future<Output = L>,
    place: OwnedSemaphorePermit,
) -> Answer {
    let (piece, kind, name) = match target {
        Target::Raw => {
            let piece = Piece::whole(&message, Encoding::AsIs);
            (piece, "message/rfc822", Some("message.eml".to_owned()))
        }
        Target::Part(index) => {
            let looking = look.await;
            let contents = Contents::of(&message).await;
            drop(looking);
            let contents = match contents {
                Ok(contents) => contents,
                Err(error) => {
                    tracing::warn!("a message cannot be read for a link: {error}");
                    return Answer::refused(Served::Failed);
                }
            };
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let Some(file) = contents.attachments.get(index) else {
                return Answer::refused(Served::Gone);
            };
            let piece = file.piece(&message, Encoding::AsIs);
            let about = &file.located;
            (piece, harmless(&about.content_type), about.filename.clone())
        }
    };
    let body = Body {
        pieces: vec![piece],
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Ok(disposition) = HeaderValue::from_str(&disposition(name.as_deref())) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    Answer {
        served: Served::Served,
        status: StatusCode::OK,
        headers,
        body: match head {
            Head::Alone => whole(Bytes::new()),
            Head::WithBody => streamed(&body, place),
        },
    }
}

fn harmless(content_type: &str) -> &'static str {
    let found = HARMLESS.iter().find(|known| **known == content_type);
    found.copied().unwrap_or(BYTES)
}

/// RFC 6266, with the name as it is by RFC 8187 and a plain one beside it.
fn disposition(name: Option<&str>) -> String {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return "attachment".to_owned();
    };
    let plain: String = name
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => c,
            _ => '_',
        })
        .collect();
    let mut encoded = String::with_capacity(name.len() * 3);
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

fn whole(bytes: Bytes) -> HttpBody {
    let body = Full::new(bytes).map_err(|never: Infallible| match never {});
    body.boxed_unsync()
}

fn streamed(body: &Body, place: OwnedSemaphorePermit) -> HttpBody {
    let chunks = body.chunks().map(move |chunk| {
        let _held = &place;
        chunk
    });
    StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_files_name_is_told_plainly_and_as_it_is() {
        assert_eq!(
            disposition(Some("Rechnung März.pdf")),
            "attachment; filename=\"Rechnung_M_rz.pdf\"; filename*=UTF-8''Rechnung%20M%C3%A4rz.pdf"
        );
        assert_eq!(disposition(None), "attachment");
        assert_eq!(disposition(Some("")), "attachment");
    }

    #[test]
    fn nothing_that_a_browser_runs_is_told_as_such() {
        for kind in [
            "text/html",
            "image/svg+xml",
            "text/xml",
            "application/javascript",
            "TEXT/HTML",
            "",
        ] {
            assert_eq!(harmless(kind), BYTES, "{kind}");
        }
        assert_eq!(harmless("image/png"), "image/png");
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_header(name in "\\PC{0,60}|.{0,60}|[\"\\\\\r\n;%'=a]{0,40}") {
            let header = disposition(Some(&name));
            prop_assert!(HeaderValue::from_str(&header).is_ok());
            prop_assert!(header.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            let quotes = header.bytes().filter(|byte| *byte == b'"').count();
            prop_assert!(quotes == 0 || quotes == 2, "{header}");
            prop_assert!(!header.contains('\\'));
            prop_assert_eq!(header.matches(';').count(), quotes);
        }
    }
}
