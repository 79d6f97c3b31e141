//! What was odd about a message: stable codes for `parse.warnings`. A code, once out, keeps its
//! name and its meaning.

macro_rules! warnings {
    ($($(#[$doc:meta])* $name:ident => $code:literal,)*) => {
        /// One oddity.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Warning {
            $($(#[$doc])* $name,)*
        }

        impl Warning {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }
        }
    };
}

warnings! {
    /// It does not begin with a header field, so all of it is taken for text.
    NoHeaders => "no_headers",
    /// There is nothing after the headers.
    NoBody => "no_body",
    /// The parser gave up; the headers were read by a crude scan.
    Unparseable => "unparseable",
    /// It is larger than the parse budget and was read only in part.
    OverParseBudget => "over_parse_budget",
    /// NUL bytes stand as U+FFFD.
    NulReplaced => "nul_replaced",
    /// A header has bytes above 127 that are no UTF-8; read by the body's charset or as windows-1252.
    Header8bit => "header_8bit",
    /// A line among the headers is none; it was skipped.
    HeaderMalformed => "header_malformed",
    /// From, Date, Subject or Message-ID is there more than once; the first counts.
    HeaderDuplicate => "header_duplicate",
    /// Not all headers, or not all of a header, are in the event.
    HeadersCut => "headers_cut",
    /// Date is no date.
    DateUnreadable => "date_unreadable",
    /// A list of addresses or ids is not complete.
    ListsCut => "lists_cut",
    /// Subject, a name or another short text is not complete.
    FieldsCut => "fields_cut",
    /// Parts beyond the limit were not looked at.
    TooManyParts => "too_many_parts",
    /// Multiparts inside each other beyond the limit were not looked into.
    NestingTooDeep => "nesting_too_deep",
    /// A multipart without a usable boundary was taken for text.
    BoundaryMissing => "boundary_missing",
    /// A multipart does not end.
    MultipartUnclosed => "multipart_unclosed",
    /// An unknown Content-Transfer-Encoding; the bytes stand as they are.
    EncodingUnknown => "encoding_unknown",
    /// base64 or quoted-printable with errors; what could be decoded is there.
    EncodingBroken => "encoding_broken",
    /// An unknown charset, read as UTF-8.
    CharsetUnknown => "charset_unknown",
    /// No charset is declared and the text is no UTF-8; read as windows-1252.
    CharsetGuessed => "charset_guessed",
    /// The text is not valid in the charset that it declares; U+FFFD stands for what is wrong.
    CharsetInvalid => "charset_invalid",
    /// Not all of the html is in the event.
    HtmlCut => "html_cut",
    /// Not all of the plain text is in the event.
    TextCut => "text_cut",
    /// Not all attachments are listed.
    AttachmentsCut => "attachments_cut",
}

/// A set of warnings, told in the order of their definition.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Warnings(u32);

impl Warnings {
    pub fn add(&mut self, warning: Warning) {
        self.0 |= 1 << warning as u32;
    }
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }
    pub fn has(self, warning: Warning) -> bool {
        self.0 & (1 << warning as u32) != 0
    }
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    pub fn iter(self) -> impl Iterator<Item = Warning> {
        Warning::ALL
            .iter()
            .copied()
            .filter(move |warning| self.has(*warning))
    }
}

impl std::fmt::Debug for Warnings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(Warning::as_str))
            .finish()
    }
}
