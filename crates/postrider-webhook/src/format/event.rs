//! The event as JSON, with as much of the message in it as the endpoint asks for. What is stored of
//! an event is the same for all; what an endpoint gets more, or less, is put in here and marked.

use postrider_core::event::EventType;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use url::Url;

use super::{
    RenderError, Rendered, Source,
    contents::{Budget, Contents, File},
    json,
    pieces::Pieces,
};
use crate::{
    body::{Encoding, Piece, RawMessage},
    link::{Linker, Target},
    payload::{self, RenderInput},
};

/// How much of the message's body is in the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    None,
    /// Plain text and html, as far as the event holds them.
    Text,
    /// Beside them the message itself.
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachments {
    /// What they are; not their bytes.
    Metadata,
    /// Their bytes as well, so many of all together.
    Inline { bytes_max: u64 },
    /// Links to their bytes, for a time.
    Link,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub url: Url,
    pub texts: Texts,
    pub attachments: Attachments,
    /// Makes the links, where there are any.
    pub linker: Option<Linker>,
}

impl Event {
    /// The event as it is stored.
    pub fn plain(url: Url) -> Self {
        Self {
            url,
            texts: Texts::Text,
            attachments: Attachments::Metadata,
            linker: None,
        }
    }

    pub fn needs_raw(&self) -> bool {
        self.texts == Texts::Full || self.attachments != Attachments::Metadata
    }

    pub fn needs_contents(&self) -> bool {
        match self.attachments {
            Attachments::Metadata => false,
            Attachments::Inline { .. } | Attachments::Link => true,
        }
    }

    pub(super) fn request(&self, source: &Source<'_>) -> Result<Rendered, RenderError> {
        let as_stored = self.texts == Texts::Text && self.attachments == Attachments::Metadata;
        if as_stored || source.event.event_type != EventType::MessageReceived {
            return Ok(json(&self.url, payload::render(&source.event).into()));
        }
        let data = self.data(source)?;
        let event = RenderInput {
            data: data.text(),
            ..source.event
        };
        let (text, at) = payload::render_at(&event);
        Ok(json(&self.url, data.within(text, at)))
    }

    /// `data` as this endpoint gets it.
    fn data(&self, source: &Source<'_>) -> Result<Pieces, RenderError> {
        let Object(keys) = read(source.event.data.trim_ascii())?;
        let mut data = Pieces::default();
        data.push("{");
        for (number, (key, value)) in keys.iter().enumerate() {
            data.push(if number > 0 { "," } else { "" });
            data.json(key)?;
            data.push(":");
            match (*key, self.attachments) {
                ("text", _) if self.texts == Texts::None => data.push(NO_TEXT),
                ("attachments", Attachments::Inline { bytes_max }) => {
                    files(&mut data, value, source, bytes_max)?;
                }
                ("attachments", Attachments::Link) => self.linked(&mut data, value, source)?,
                ("raw", _) => self.raw(&mut data, source)?,
                _ => data.push(value.get()),
            }
        }
        if !keys.iter().any(|(key, _)| *key == "raw") {
            data.push(",\"raw\":");
            self.raw(&mut data, source)?;
        }
        data.push("}");
        Ok(data)
    }

    /// The message itself, a link to it, or neither.
    fn raw(&self, data: &mut Pieces, source: &Source<'_>) -> Result<(), RenderError> {
        if self.texts == Texts::Full {
            return whole(data, source.raw);
        }
        match self.link(source, Target::Raw) {
            Some(link) => {
                data.push(
                    r#"{"included":false,"omitted_reason":"linked","size":null,"content":null,"href":"#,
                );
                data.json(&link)?;
                data.push("}");
            }
            None => data.push("null"),
        }
        Ok(())
    }

    fn link(&self, source: &Source<'_>, target: Target) -> Option<String> {
        let linker = self.linker.as_ref()?;
        Some(linker.link(source.event.id, target, source.now))
    }

    /// The list of attachments, with links to them.
    fn linked(
        &self,
        data: &mut Pieces,
        stored: &RawValue,
        source: &Source<'_>,
    ) -> Result<(), RenderError> {
        let list: Vec<Object<'_>> = read(stored.get().as_bytes())?;
        data.push("[");
        for (number, Object(keys)) in list.iter().enumerate() {
            data.push(if number > 0 { ",{" } else { "{" });
            let index = keys.iter().find(|(key, _)| *key == "index");
            let index = index.and_then(|(_, value)| value.get().parse().ok());
            for (key, value) in keys {
                match *key {
                    "omitted_reason" | "href" => {}
                    key => {
                        data.json(&key)?;
                        data.push(":");
                        data.push(value.get());
                        data.push(",");
                    }
                }
            }
            let link = index.and_then(|index| self.link(source, Target::Part(index)));
            let why = if link.is_some() {
                "linked"
            } else {
                "unreadable"
            };
            data.push(format!("\"omitted_reason\":\"{why}\",\"href\":"));
            data.json(&link)?;
            data.push("}");
        }
        for (number, file) in unlisted(source, list.len()).iter().enumerate() {
            data.push(if number + list.len() > 0 { "," } else { "" });
            let link = self.link(source, Target::Part(file.located.index));
            data.json(&Unlisted {
                href: link.as_deref(),
                ..Unlisted::of(file)
            })?;
            data.reopen();
            data.push(",");
            content(data, Err("linked"));
        }
        data.push("]");
        Ok(())
    }
}

const NO_TEXT: &str = r#"{"plain":null,"plain_source":null,"html":null,"truncated":false,"omitted_reason":"not_configured"}"#;

/// The message in base64.
fn whole(data: &mut Pieces, raw: Option<&RawMessage>) -> Result<(), RenderError> {
    match raw {
        Some(raw) => {
            data.push(format!(
                "{{\"included\":true,\"omitted_reason\":null,\"size\":{},\"content\":",
                raw.len()
            ));
            data.quoted(Piece::whole(raw, Encoding::Base64));
            data.push(",\"href\":null}");
        }
        None => data.push(
            r#"{"included":false,"omitted_reason":"not_stored","size":null,"content":null,"href":null}"#,
        ),
    }
    Ok(())
}

/// Of a large message the event knows only what its beginning holds.
fn unlisted<'a>(source: &Source<'a>, listed: usize) -> &'a [File] {
    let found = source.raw.and(source.contents);
    let all = found.map_or(&[][..], |contents| &contents.attachments);
    all.get(listed..).unwrap_or_default()
}

/// The list of attachments, with the bytes of those that fit.
fn files(
    data: &mut Pieces,
    stored: &RawValue,
    source: &Source<'_>,
    bytes_max: u64,
) -> Result<(), RenderError> {
    let list: Vec<Object<'_>> = read(stored.get().as_bytes())?;
    let found = source.raw.zip(source.contents);
    let mut budget = Budget::new(bytes_max);
    data.push("[");
    for (number, Object(keys)) in list.iter().enumerate() {
        data.push(if number > 0 { ",{" } else { "{" });
        for (key, value) in keys {
            match *key {
                "included" | "omitted_reason" | "content" => {}
                key => {
                    data.json(&key)?;
                    data.push(":");
                    data.push(value.get());
                    data.push(",");
                }
            }
        }
        content(data, included(keys, found, &mut budget));
    }
    for (number, file) in unlisted(source, list.len()).iter().enumerate() {
        data.push(if number + list.len() > 0 { "," } else { "" });
        data.json(&Unlisted::of(file))?;
        data.reopen();
        data.push(",");
        let piece = match source.raw {
            Some(raw) if budget.takes(file.size) => Ok(file.piece(raw, Encoding::Base64)),
            Some(_) => Err("too_large"),
            None => Err("not_stored"),
        };
        content(data, piece);
    }
    data.push("]");
    Ok(())
}

/// The end of an attachment's object: its bytes, or why they are not there.
fn content(data: &mut Pieces, piece: Result<Piece, &'static str>) {
    match piece {
        Ok(piece) => {
            data.push("\"included\":true,\"omitted_reason\":null,\"content\":");
            data.quoted(piece);
        }
        Err(why) => data.push(format!(
            "\"included\":false,\"omitted_reason\":\"{why}\",\"content\":null"
        )),
    }
    data.push("}");
}

/// An attachment that the stored event does not list, with the keys that it would have there.
#[derive(Serialize)]
struct Unlisted<'a> {
    index: u32,
    filename: Option<&'a str>,
    content_type: &'a str,
    size: u64,
    sha256: Option<&'a str>,
    disposition: Option<&'a str>,
    content_id: Option<&'a str>,
    href: Option<&'a str>,
}

impl<'a> Unlisted<'a> {
    fn of(file: &'a File) -> Self {
        let located = &file.located;
        Self {
            index: located.index,
            filename: located.filename.as_deref(),
            content_type: &located.content_type,
            size: file.size,
            sha256: None,
            disposition: located.disposition.as_deref(),
            content_id: located.content_id.as_deref(),
            href: None,
        }
    }
}

/// The bytes of the attachment that these keys describe, or why they are not in the event.
fn included(
    keys: &[(&str, &RawValue)],
    found: Option<(&RawMessage, &Contents)>,
    budget: &mut Budget,
) -> Result<Piece, &'static str> {
    let number = |name: &str| -> Option<u64> {
        let (_, value) = keys.iter().find(|(key, _)| *key == name)?;
        value.get().parse().ok()
    };
    let (raw, contents) = found.ok_or("not_stored")?;
    let file = number("index")
        .and_then(|index| contents.attachments.get(usize::try_from(index).ok()?))
        .ok_or("unreadable")?;
    if number("size").is_some_and(|size| size != file.size) {
        // Not what was described: better none than another one's bytes.
        return Err("unreadable");
    }
    if budget.takes(file.size) {
        Ok(file.piece(raw, Encoding::Base64))
    } else {
        Err("too_large")
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, RenderError> {
    serde_json::from_slice(json)
        .map_err(|error| RenderError::Other(format!("the stored event cannot be read: {error}")))
}

/// Keys and their values as they are written, in their order.
struct Object<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut keys = Vec::with_capacity(32);
                while let Some(entry) = map.next_entry()? {
                    keys.push(entry);
                }
                Ok(Object(keys))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
