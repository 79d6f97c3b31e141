//! Text that drives no terminal: what is left in it of control characters, or of those that turn the
//! direction of text, is written as JSON would write it. So JSON stays JSON, with the same meaning.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    io,
};

use postrider_webhook::answer::is_hidden;
use tracing::field::Field;
use tracing_subscriber::{
    field::MakeExt as _,
    fmt::{
        FormatFields, MakeWriter,
        format::{Writer, debug_fn},
    },
};

/// Lines and tabs stay.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, &['\n', '\t'])
}

fn escaped<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let harms = |c: char| is_hidden(c) && !kept.contains(&c);
    if !text.contains(harms) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 32);
    for c in text.chars() {
        match harms(c) {
            // All of them are in the basic plane. A String takes whatever is written.
            true => drop(write!(out, "\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Fields of a line for people. Only values that are debugged would be escaped otherwise.
pub(crate) fn fields() -> impl for<'w> FormatFields<'w> + 'static {
    let one = |to: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        let value = format!("{value:?}");
        let value = escaped(&value, &[]);
        match field.name() {
            "message" => write!(to, "{value}"),
            name => write!(to, "{name}={value}"),
        }
    };
    debug_fn(one).delimited(" ")
}

/// Writes log lines, each of which is one line whatever is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<W> {
    pub(crate) to: W,
    pub(crate) colours: Colours,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// The formatter's own escape sequences stay; [`fields`] has none.
    Formatters,
    None,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Lines<W> {
    type Writer = LineWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            to: self.to.make_writer(),
            colours: self.colours,
        }
    }
}

#[derive(Debug)]
pub(crate) struct LineWriter<W> {
    to: W,
    colours: Colours,
}

impl<W: io::Write> io::Write for LineWriter<W> {
    /// The formatter writes a whole line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = match text.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (text.as_ref(), ""),
        };
        let kept: &[char] = match self.colours {
            Colours::Formatters => &['\x1b'],
            Colours::None => &[],
        };
        let mut out = escaped(text, kept).into_owned();
        out.push_str(end);
        self.to.write_all(out.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::*;

    const HOSTILE: &str = "a\nb\r\u{1b}[2J\u{9b}31m\u{7f}\u{202e}evil\u{2066}\u{2028}\0\tz";

    fn harms(text: &str) -> bool {
        text.chars().any(|c| is_hidden(c) && c != '\n')
    }

    #[test]
    fn json_means_the_same_and_drives_no_terminal() {
        let value = json!({ "subject": HOSTILE });
        for text in [value.to_string(), format!("{value:#}")] {
            let plain = plain(&text);
            assert!(!harms(&plain), "{plain:?}");
            assert_eq!(serde_json::from_str::<Value>(&plain).unwrap(), value);
        }
        assert!(matches!(plain("grün\n\tüber\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_log_line_is_one_line_in_every_format() {
        for (is_json, ansi) in [(true, false), (false, false), (false, true)] {
            let log = Arc::new(Mutex::new(Vec::new()));
            let to = log.clone();
            let colours = match ansi {
                true => Colours::Formatters,
                false => Colours::None,
            };
            let lines = tracing_subscriber::fmt()
                .with_ansi(ansi)
                .with_writer(Lines {
                    to: move || Shared(to.clone()),
                    colours,
                });
            let tell = || {
                tracing::error!(folder = HOSTILE, shown = %HOSTILE, debug = ?HOSTILE, "said: {HOSTILE}");
            };
            match is_json {
                true => tracing::subscriber::with_default(lines.json().finish(), tell),
                false => {
                    let lines = lines.fmt_fields(fields());
                    tracing::subscriber::with_default(lines.finish(), tell);
                }
            }
            let text = String::from_utf8(log.lock().unwrap().clone()).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            let body = match ansi {
                // The formatter's own: set and reset of colours, nothing else.
                true => text
                    .replace("\u{1b}[0m", "")
                    .replace("\u{1b}[2m", "")
                    .replace("\u{1b}[3m", "")
                    .replace("\u{1b}[31m", ""),
                false => text.clone(),
            };
            assert!(!harms(&body), "{body:?}");
            if is_json {
                let line: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(line["fields"]["folder"], HOSTILE);
            }
        }
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
