//! What a part says of itself in its header: type, charset, boundary, name, encoding.

use mail_parser::{ContentType, parsers::MessageStream};

use super::{
    Warnings, clip,
    field::{Field, Reading, one_line},
    transfer::Encoding,
    words,
};

/// A part's own description. Defaults are those of a part without a header (RFC 2045 section 5.2).
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    /// Type and subtype, lower case; empty where nothing usable is declared.
    pub(super) kind: String,
    pub(super) charset: Option<String>,
    pub(super) boundary: Option<Vec<u8>>,
    pub(super) report_type: Option<String>,
    /// Of calendar parts (RFC 6047 section 2.4).
    pub(super) method: Option<String>,
    pub(super) disposition: Option<String>,
    pub(super) filename: Option<String>,
    pub(super) encoding: Encoding,
    pub(super) content_id: Option<String>,
}

/// Bytes of Content-Type and Content-Disposition that are looked at; RFC 2231 parts of a long
/// name fit many times over.
const STRUCTURED_BYTES_MAX: usize = 8 << 10;
const KIND_BYTES_MAX: usize = 127;
const FILENAME_BYTES_MAX: usize = 255;
const SHORT_BYTES_MAX: usize = 255;
/// RFC 2046 section 5.1.1 allows 70 characters.
const BOUNDARY_BYTES_MAX: usize = 200;

impl Head {
    /// Takes what this field says; the first field of a name counts.
    pub(super) fn take(
        &mut self,
        field: &Field<'_>,
        reading: Reading<'_>,
        warnings: &mut Warnings,
    ) {
        if field.name.len() < 8 || !field.name.as_bytes()[..8].eq_ignore_ascii_case(b"content-") {
            return;
        }
        if field.is("content-type") && self.kind.is_empty() {
            self.take_type(field.value, reading, warnings);
        } else if field.is("content-disposition") && self.disposition.is_none() {
            self.take_disposition(field.value, reading, warnings);
        } else if field.is("content-transfer-encoding") && self.encoding == Encoding::Identity {
            self.encoding = Encoding::of(&reading.raw(field.value, warnings));
        } else if field.is("content-id") && self.content_id.is_none() {
            let text = reading.text(field.value, warnings);
            let id = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '<' | '>'));
            self.content_id = (!id.is_empty()).then(|| clip(id, SHORT_BYTES_MAX).to_owned());
        }
    }

    fn take_type(&mut self, value: &[u8], reading: Reading<'_>, warnings: &mut Warnings) {
        let value = &value[..value.len().min(STRUCTURED_BYTES_MAX)];
        let raw = reading.raw(value, warnings);
        let Some(parsed) = structured(&raw, warnings) else {
            return;
        };
        let token =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let subtype = parsed.subtype().unwrap_or_default();
        if token(parsed.ctype()) && token(subtype) {
            let kind = format!("{}/{subtype}", parsed.ctype());
            self.kind = clip(&kind.to_ascii_lowercase(), KIND_BYTES_MAX).to_owned();
        }
        self.charset = short(parsed.attribute("charset"), warnings);
        self.report_type = short(parsed.attribute("report-type"), warnings);
        self.method = short(parsed.attribute("method"), warnings);
        if self.filename.is_none() {
            self.filename = filename(parsed.attribute("name"), warnings);
        }
        if self.kind.starts_with("multipart/") {
            self.boundary = boundary(&raw).or_else(|| usable(parsed.attribute("boundary")));
        }
    }

    fn take_disposition(&mut self, value: &[u8], reading: Reading<'_>, warnings: &mut Warnings) {
        let value = &value[..value.len().min(STRUCTURED_BYTES_MAX)];
        let raw = reading.raw(value, warnings);
        let Some(parsed) = structured(&raw, warnings) else {
            return;
        };
        let word = one_line(parsed.ctype().to_ascii_lowercase(), warnings);
        self.disposition = Some(clip(&word, SHORT_BYTES_MAX).to_owned());
        if let Some(name) = filename(parsed.attribute("filename"), warnings) {
            self.filename = Some(name);
        }
    }

    pub(super) fn is(&self, kind: &str) -> bool {
        self.kind == kind
    }
}

/// Type and parameters (RFC 2045 section 5.1, RFC 2231, and encoded words where they do not belong).
fn structured(raw: &str, warnings: &mut Warnings) -> Option<ContentType<'static>> {
    let mut line = if raw.contains("=?") {
        words::quote(raw, warnings)
    } else {
        raw.to_owned()
    };
    line.push('\n');
    MessageStream::new(line.as_bytes())
        .parse_content_type()
        .into_content_type()
        .map(|parsed| ContentType {
            c_type: parsed.c_type.into_owned().into(),
            c_subtype: parsed.c_subtype.map(|text| text.into_owned().into()),
            attributes: parsed.attributes.map(|list| {
                list.into_iter()
                    .map(|attribute| mail_parser::Attribute {
                        name: attribute.name.into_owned().into(),
                        value: attribute.value.into_owned().into(),
                    })
                    .collect()
            }),
        })
}

/// A boundary may look like an encoded word and is none.
fn boundary(raw: &str) -> Option<Vec<u8>> {
    // Parsing words in vain is quadratic, so only what is short is parsed as it stands.
    if !raw.contains("=?") || raw.len() > 1 << 10 {
        return None;
    }
    let line = format!("{raw}\n");
    let parsed = MessageStream::new(line.as_bytes())
        .parse_content_type()
        .into_content_type()?;
    usable(parsed.attribute("boundary"))
}

fn usable(boundary: Option<&str>) -> Option<Vec<u8>> {
    let bytes = boundary?.as_bytes().trim_ascii_end();
    (!bytes.is_empty() && bytes.len() <= BOUNDARY_BYTES_MAX).then(|| bytes.to_vec())
}

fn short(value: Option<&str>, warnings: &mut Warnings) -> Option<String> {
    let text = one_line(value?.to_owned(), warnings);
    (!text.is_empty()).then(|| clip(&text, SHORT_BYTES_MAX).to_owned())
}

/// The name without directories (RFC 2183 section 2.3 tells receivers to ignore them). Its end
/// is kept when it is too long, because the extension is there.
fn filename(value: Option<&str>, warnings: &mut Warnings) -> Option<String> {
    let text = one_line(value?.to_owned(), warnings);
    let name = text
        .rsplit(['/', '\\'])
        .find(|part| !part.trim().is_empty())?
        .trim();
    if matches!(name, "." | "..") {
        return None;
    }
    let start = name.ceil_char_boundary(name.len().saturating_sub(FILENAME_BYTES_MAX));
    Some(name[start..].to_owned())
}
