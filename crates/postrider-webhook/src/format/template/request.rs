//! One step as a request: a URL at the endpoint's own origin, headers that are one line each, and a
//! body in which the bytes of attachments are streamed from the stored message.

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;
use url::{Url, form_urlencoded};

use super::{
    PartContent, Step, StepBody, Template,
    context::{Context, FileFacts},
    environment::{self, Kind},
    failed,
};
use crate::{
    body::{Body, Encoding, Piece, RawMessage},
    format::{RenderError, Rendered, Source, multipart::Multipart},
};

/// What a template may write for one request; bytes of attachments do not count.
const TEXT_BYTES_MAX: usize = 8 << 20;

struct Request<'a> {
    template: &'a Template,
    index: usize,
    step: &'a Step,
    context: &'a Context,
    source: &'a Source<'a>,
}

pub(super) fn render(
    template: &Template,
    index: usize,
    step: &Step,
    context: &Context,
    source: &Source<'_>,
) -> Result<Rendered, RenderError> {
    let request = Request {
        template,
        index,
        step,
        context,
        source,
    };
    let url = request.url()?;
    let (kind, body) = request.body()?;
    let mut headers = HeaderMap::new();
    let (name, value) = request.idempotency_key()?;
    headers.insert(name, value);
    if let Some(kind) = kind {
        headers.insert(CONTENT_TYPE, kind);
    }
    for (name, _) in &step.headers {
        let value = request.text(&format!("headers.{name}"), Kind::Text)?;
        headers.insert(name.clone(), request.header(name, &value)?);
    }
    Ok(Rendered {
        method: step.method.clone(),
        url,
        headers,
        body,
    })
}

impl Request<'_> {
    fn failed(&self, key: &str, problem: &str) -> RenderError {
        failed(self.index, self.step, key, problem)
    }

    fn text(&self, key: &str, kind: Kind) -> Result<String, RenderError> {
        let at = (self.index, key, kind);
        let text = environment::render(&self.template.environment, at, self.context.value())
            .map_err(|problem| self.failed(key, &problem))?;
        if text.len() > TEXT_BYTES_MAX {
            return Err(self.failed(key, "it makes more than 8 MiB"));
        }
        if kind != Kind::Json && text.contains(&self.context.mark) {
            return Err(self.failed(key, "`base64` can be written into JSON alone"));
        }
        Ok(text)
    }

    /// What a mail says may choose among the endpoint's paths, but never leave them.
    fn url(&self) -> Result<Url, RenderError> {
        let base = &self.template.base;
        if self.step.url.is_empty() {
            return Ok(base.clone());
        }
        let text = self.text("url", Kind::Url)?;
        let text = text.trim();
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let dots = |segment: &str| {
            // Some servers take an encoded slash for one.
            let plain = segment.to_ascii_lowercase().replace("%2e", ".");
            let plain = plain.replace("%2f", "/").replace("%5c", "/");
            plain.split('/').any(|part| matches!(part, "." | ".."))
        };
        if path.split(['/', '\\']).any(dots) {
            return Err(self.failed("url", "a part of the path is `.` or `..`"));
        }
        let mut folder = base.clone();
        if !folder.path().ends_with('/') {
            folder.set_path(&format!("{}/", base.path()));
        }
        let url = folder
            .join(text)
            .map_err(|error| self.failed("url", &error.to_string()))?;
        if url.origin() != base.origin() || !url.username().is_empty() || url.password().is_some() {
            return Err(self.failed("url", "it leads away from the endpoint's own host"));
        }
        Ok(url)
    }

    fn header(&self, name: &HeaderName, value: &str) -> Result<HeaderValue, RenderError> {
        let value = value.trim();
        let made = HeaderValue::from_str(value)
            .ok()
            .filter(|_| value.is_ascii());
        made.ok_or_else(|| {
            let problem = "a header is one line of printable ASCII characters";
            self.failed(&format!("headers.{name}"), problem)
        })
    }

    /// The same at each attempt, and another for each request of an event: a product that knows the
    /// header would take the second one for a repeat of the first.
    fn idempotency_key(&self) -> Result<(HeaderName, HeaderValue), RenderError> {
        let id = self.source.event.id;
        let key = match (self.template.steps.len(), self.context.attachment()) {
            (1, None) => id.to_string(),
            (_, None) => format!("{id}-{}", self.step.name),
            (_, Some(number)) => format!("{id}-{}-{number}", self.step.name),
        };
        let name = HeaderName::from_static("idempotency-key");
        let value = self.header(&name, &key)?;
        Ok((name, value))
    }

    fn body(&self) -> Result<(Option<HeaderValue>, Body), RenderError> {
        match &self.step.body {
            StepBody::Nothing => Ok((None, Body::default())),
            StepBody::Json(_) => self.json(),
            StepBody::Form(fields) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, _) in fields {
                    let value = self.text(&format!("form.{name}"), Kind::Text)?;
                    form.append_pair(name, &value);
                }
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                Ok((Some(kind), Bytes::from(form.finish()).into()))
            }
            StepBody::Parts(_) => self.parts(),
            StepBody::Attachment => {
                let file = self.file(self.current()?)?;
                let kind = HeaderValue::from_str(&file.content_type)
                    .unwrap_or(HeaderValue::from_static("application/octet-stream"));
                let pieces = vec![self.piece(file, Encoding::AsIs)?];
                Ok((Some(kind), Body { pieces }))
            }
            StepBody::Message => {
                let kind = HeaderValue::from_static("message/rfc822");
                let pieces = vec![Piece::whole(self.message()?, Encoding::AsIs)];
                Ok((Some(kind), Body { pieces }))
            }
        }
    }

    fn json(&self) -> Result<(Option<HeaderValue>, Body), RenderError> {
        let text = self.text("json", Kind::Json)?;
        if let Err(error) = serde_json::from_str::<&RawValue>(&text) {
            // What serde says of the place is the template's business, not the mail's.
            let problem = format!("it makes no JSON: {:?} error", error.classify());
            return Err(self.failed("json", &problem));
        }
        let kind = HeaderValue::from_static("application/json");
        Ok((Some(kind), self.filled(&text)?))
    }

    fn parts(&self) -> Result<(Option<HeaderValue>, Body), RenderError> {
        let mut multipart = Multipart::of(self.source);
        let parts = match &self.step.body {
            StepBody::Parts(parts) => parts.as_slice(),
            StepBody::Nothing
            | StepBody::Json(_)
            | StepBody::Form(_)
            | StepBody::Attachment
            | StepBody::Message => &[],
        };
        for (number, part) in parts.iter().enumerate() {
            let named = match &part.filename {
                Some(_) => Some(self.text(&format!("parts[{number}].filename"), Kind::Text)?),
                None => None,
            };
            let files = match &part.content {
                PartContent::Text(_) => {
                    let text = self.text(&format!("parts[{number}]"), Kind::Text)?;
                    multipart.text(&part.name, &text);
                    continue;
                }
                PartContent::Message => {
                    let piece = Piece::whole(self.message()?, Encoding::AsIs);
                    let name = named.as_deref().unwrap_or("message.eml");
                    multipart.file(&part.name, name, "message/rfc822", piece);
                    continue;
                }
                PartContent::Attachments => 0..self.context.attachments(),
                PartContent::Attachment => {
                    let at = self.current()?;
                    at..at + 1
                }
            };
            for at in files {
                let file = self.file(at)?;
                let piece = self.piece(file, Encoding::AsIs)?;
                let name = named.as_deref().unwrap_or(&file.filename);
                multipart.file(&part.name, name, &file.content_type, piece);
            }
        }
        multipart.finish().map(|(kind, body)| (Some(kind), body))
    }

    /// The text with the bytes of files where their marks stand.
    fn filled(&self, text: &str) -> Result<Body, RenderError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(self.context.mark.as_str()) {
            // What a template does to a mark (clipping it, say) is an error, not a request.
            let (which, tail) = after
                .split_once('-')
                .ok_or_else(|| self.failed("json", "a file's base64 is cut"))?;
            pieces.push(Piece::Bytes(Bytes::from(before.to_owned())));
            pieces.push(match which {
                "message" => Piece::whole(self.message()?, Encoding::Base64),
                at => {
                    let at = at.parse().unwrap_or(usize::MAX);
                    self.piece(self.file(at)?, Encoding::Base64)?
                }
            });
            rest = tail;
        }
        pieces.push(Piece::Bytes(Bytes::from(rest.to_owned())));
        Ok(Body { pieces })
    }

    fn message(&self) -> Result<&RawMessage, RenderError> {
        self.source.raw.ok_or_else(|| self.source.no_message())
    }

    /// Which attachment this request is about.
    fn current(&self) -> Result<usize, RenderError> {
        let none = || self.failed("each", "there is no attachment without `each`");
        self.context.attachment().ok_or_else(none)
    }

    fn file(&self, at: usize) -> Result<&FileFacts, RenderError> {
        let cut = || self.failed("json", "a file's base64 is cut");
        self.context.file(at).ok_or_else(cut)
    }

    fn piece(&self, facts: &FileFacts, encoding: Encoding) -> Result<Piece, RenderError> {
        Ok(facts.file.piece(self.message()?, encoding))
    }
}
