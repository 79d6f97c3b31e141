//! Html becomes text that a person can read: blocks on lines of their own, no markup, no scripts.
//! No attempt at layout. Linear, and never longer than its source by more than list marks.

use mail_parser::decoders::html::add_html_token;

pub(super) fn to_text(html: &str) -> String {
    let mut out = Out::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        out.text(&rest[..at]);
        rest = &rest[at..];
        rest = match markup(rest) {
            Markup::None => {
                out.text("<");
                &rest[1..]
            }
            Markup::Comment(length) => &rest[length..],
            Markup::Tag {
                name,
                closing,
                length,
            } => {
                let after = &rest[length..];
                if !closing && is_hidden(name) {
                    skip(after, name)
                } else {
                    out.tag(name, closing);
                    after
                }
            }
        };
    }
    out.text(rest);
    out.finish()
}

enum Markup<'a> {
    /// The `<` is a character.
    None,
    Comment(usize),
    Tag {
        name: &'a str,
        closing: bool,
        length: usize,
    },
}

/// What begins at the `<` that `rest` begins with. What never ends reaches to the end, as in a browser.
fn markup(rest: &str) -> Markup<'_> {
    let inner = &rest[1..];
    if inner.starts_with("!--") {
        return Markup::Comment(inner.find("-->").map_or(rest.len(), |end| end + 4));
    }
    let closing = inner.starts_with('/');
    let named = inner.strip_prefix('/').unwrap_or(inner);
    match named.bytes().next() {
        Some(byte) if byte.is_ascii_alphabetic() => {
            let end = named.bytes().position(|byte| !byte.is_ascii_alphanumeric());
            let name = &named[..end.unwrap_or(named.len())];
            let length = rest.find('>').map_or(rest.len(), |end| end + 1);
            Markup::Tag {
                name,
                closing,
                length,
            }
        }
        Some(b'!' | b'?') => Markup::Comment(rest.find('>').map_or(rest.len(), |end| end + 1)),
        _ => Markup::None,
    }
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

fn is_hidden(name: &str) -> bool {
    is_one_of(
        name,
        &["style", "script", "template", "title", "noscript", "svg"],
    )
}

/// What follows the closing tag of `name`; nothing where it is never closed.
fn skip<'a>(rest: &'a str, name: &str) -> &'a str {
    let bytes = rest.as_bytes();
    for at in memchr::memmem::find_iter(bytes, b"</") {
        let tag = bytes.get(at + 2..at + 2 + name.len());
        if tag.is_some_and(|tag| tag.eq_ignore_ascii_case(name.as_bytes())) {
            let end = memchr::memchr(b'>', &bytes[at..]);
            return end.map_or("", |end| &rest[at + end + 1..]);
        }
    }
    ""
}

/// Text under way: runs of white space as one space, at most one empty line between blocks.
#[derive(Default)]
struct Out {
    text: String,
    space: bool,
    /// Line ends owed before the next character.
    lines: u8,
}

impl Out {
    fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let length = c.len_utf8();
            if c.is_whitespace() {
                self.space = true;
            } else if c == '&' {
                rest = self.entity(rest);
                continue;
            } else if !matches!(
                c,
                '\u{200b}' | '\u{feff}' | '\u{ad}' | '\u{34f}' | '\u{200c}'
            ) {
                // Invisible characters pad previews of newsletters.
                self.push(c);
            }
            rest = &rest[length..];
        }
    }

    /// The character reference that `text` begins with; a lone `&` stands for itself.
    fn entity<'a>(&mut self, text: &'a str) -> &'a str {
        let end = text.bytes().take(32).position(|byte| byte == b';');
        let token = end.map(|end| &text[..=end]).filter(|token| {
            token[1..token.len() - 1]
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'#')
        });
        let Some(token) = token else {
            self.push('&');
            return &text[1..];
        };
        let mut decoded = String::new();
        add_html_token(&mut decoded, token.as_bytes(), false);
        for c in decoded.chars() {
            if c.is_whitespace() {
                self.space = true;
            } else if !c.is_control() || c == '\0' {
                self.push(c);
            }
        }
        &text[token.len()..]
    }

    fn push(&mut self, c: char) {
        if self.text.is_empty() {
            // Nothing before the first character.
        } else if self.lines > 0 {
            self.text
                .push_str(if self.lines == 1 { "\n" } else { "\n\n" });
        } else if self.space {
            self.text.push(' ');
        }
        (self.lines, self.space) = (0, false);
        self.text.push(c);
    }

    fn tag(&mut self, name: &str, closing: bool) {
        let lines = if name.eq_ignore_ascii_case("br") {
            self.lines + 1
        } else if is_one_of(
            name,
            &[
                "p",
                "h1",
                "h2",
                "h3",
                "h4",
                "h5",
                "h6",
                "blockquote",
                "ul",
                "ol",
                "pre",
                "table",
                "hr",
            ],
        ) {
            2
        } else if is_one_of(
            name,
            &[
                "div", "tr", "li", "dt", "dd", "section", "article", "header", "footer", "center",
                "address", "body", "head",
            ],
        ) {
            1
        } else {
            self.space |= is_one_of(name, &["td", "th"]);
            return;
        };
        self.lines = self.lines.max(lines).min(2);
        if !closing && name.eq_ignore_ascii_case("li") {
            self.push('-');
            self.space = true;
        }
    }

    fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::to_text;

    #[test]
    fn html_of_mail_programs_reads_as_text() {
        for (html, text) in [
            (
                "<p>Hello,</p><p>two&nbsp;words &amp; more</p>",
                "Hello,\n\ntwo words & more",
            ),
            ("<div>one</div><div>two<br>three</div>", "one\ntwo\nthree"),
            ("a<br><br>b<br/><br/><br/>c", "a\n\nb\n\nc"),
            (
                "<ul><li>one</li><li>two</li></ul>end",
                "- one\n- two\n\nend",
            ),
            (
                "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>",
                "a b\nc",
            ),
            (
                "<head><title>no</title><style>p{}</style></head><body>yes</body>",
                "yes",
            ),
            ("x<SCRIPT>if (a</b) {}</script>y", "xy"),
            (
                "<!--[if mso]><p>no</p><![endif]-->yes<![if !mso]> too<![endif]>",
                "yes too",
            ),
            (
                "1 < 2 &lt; 3 & 4 &unknown; &#228;&#xe4;",
                "1 < 2 < 3 & 4 &unknown; ää",
            ),
            ("<b>bo</b>ld <i>it</i>", "bold it"),
            ("  <p> a\r\n b </p>  ", "a b"),
            ("", ""),
            ("<p", ""),
            ("<!-- never ends", ""),
            ("<style>never ends", ""),
            ("&&&;&#;&#xffffffff;&#0;", "&&&;&#;\u{fffd}\0"),
        ] {
            assert_eq!(to_text(html), text, "{html}");
        }
    }

    #[test]
    fn hostile_html_is_read_in_linear_time() {
        for piece in [
            "<",
            "<a",
            "<!--",
            "<!",
            "&",
            "</",
            "<style>",
            "&#x",
            "<li>",
            "<br>",
            "<script></",
        ] {
            let html = piece.repeat(300_000 / piece.len());
            assert!(to_text(&html).len() <= html.len() * 2, "{piece}");
        }
    }
}
