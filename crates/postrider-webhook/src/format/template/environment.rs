//! The language of templates: how values are written into a URL, into JSON and into plain text, the
//! filters that are added to those of MiniJinja, and what a template may cost.

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    escape_formatter, filters, value::Kwargs,
};
use sha2::{Digest as _, Sha256};

/// Of instructions one each, of bytes written or copied a sixty-fourth: so a text of an event of the
/// largest size fits several times, and a template writes 32 MiB at most.
const FUEL: u64 = 500_000;

const SOURCE_BYTES_MAX: usize = 64 << 10;

const URL: &str = "url";

/// What a template makes, and so how values are written into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Values are percent-encoded, slashes too.
    Url,
    /// Values are written as JSON: text in quotes, lists and objects whole.
    Json,
    /// Values are written as they are.
    Text,
    /// It makes a value, not a text.
    Expression,
}

pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| match name.split(' ').next() {
        Some("url") => AutoEscape::Custom(URL.into()),
        Some("json") => AutoEscape::Json,
        Some(_) | None => AutoEscape::None,
    });
    environment.set_formatter(format);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("tojson", tojson);
    environment.add_filter("html", html);
    environment.add_filter("clip", clip);
    environment.add_filter("between", between);
    environment.add_filter("sha256", sha256);
    environment
}

fn name(step: usize, key: &str, kind: Kind) -> String {
    let kind = match kind {
        Kind::Url => "url",
        Kind::Json => "json",
        Kind::Text | Kind::Expression => "text",
    };
    format!("{kind} {step} {key}")
}

/// Compiles a template; answers with what it looks up.
pub(super) fn add(
    environment: &mut Environment<'static>,
    step: usize,
    key: &str,
    kind: Kind,
    source: &str,
) -> Result<Vec<String>, String> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err("it is longer than 64 KiB".to_owned());
    }
    let found = match kind {
        Kind::Expression => environment
            .compile_expression_owned(source.to_owned())
            .map(|compiled| compiled.undeclared_variables(true)),
        Kind::Url | Kind::Json | Kind::Text => {
            let name = name(step, key, kind);
            environment
                .add_template_owned(name.clone(), source.to_owned())
                .and_then(|()| environment.get_template(&name))
                .map(|template| template.undeclared_variables(true))
        }
    };
    let functions = ["range", "dict", "namespace"];
    found
        .map(|paths| {
            let mut paths: Vec<String> = paths.into_iter().collect();
            paths.retain(|path| !functions.contains(&path.as_str()));
            paths.sort();
            paths
        })
        .map_err(|error| told(&error))
}

pub(super) fn render(
    environment: &Environment<'_>,
    (step, key, kind): (usize, &str, Kind),
    context: &Value,
) -> Result<String, String> {
    environment
        .get_template(&name(step, key, kind))
        .and_then(|template| template.render(context.clone()))
        .map_err(|error| told(&error))
}

pub(super) fn truth(
    environment: &Environment<'_>,
    expression: &str,
    context: &Value,
) -> Result<bool, String> {
    environment
        .compile_expression_owned(expression.to_owned())
        .and_then(|compiled| compiled.eval(context.clone()))
        .map(|value| value.is_true())
        .map_err(|error| told(&error))
}

/// Renders a template as far as to see whether it makes what it should.
pub(super) fn rehearse(
    environment: &Environment<'_>,
    (step, key, kind): (usize, &str, Kind),
    context: &Value,
) -> Result<(), String> {
    let text = match kind {
        Kind::Expression => return Ok(()),
        Kind::Url | Kind::Json | Kind::Text => render(environment, (step, key, kind), context)?,
    };
    match (kind, serde_json::from_str::<serde_json::Value>(&text)) {
        (Kind::Json, Err(error)) => Err(format!("it makes no JSON: {error}")),
        (Kind::Json | Kind::Url | Kind::Text | Kind::Expression, _) => Ok(()),
    }
}

/// What is wrong, and in which line of the template. Of a template at work the kind of error alone:
/// the rest may quote the mail.
fn told(error: &Error) -> String {
    let line = match error.line() {
        Some(line) if line > 1 => format!(" (line {line} of the template)"),
        Some(_) | None => String::new(),
    };
    let what = match (error.kind(), error.detail()) {
        (
            ErrorKind::SyntaxError
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::BadEscape,
            Some(detail),
        ) => detail.to_owned(),
        (kind, _) => kind.to_string(),
    };
    format!("{what}{line}")
}

fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if !is_url(state) {
        return escape_formatter(out, state, value);
    }
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if value.is_safe() {
        return Ok(out.write_str(value.as_str().unwrap_or_default())?);
    }
    Ok(out.write_str(&encoded(value)?)?)
}

fn is_url(state: &State<'_, '_>) -> bool {
    matches!(state.auto_escape(), AutoEscape::Custom(name) if name == URL)
}

/// RFC 3986 section 2.3: everything but unreserved characters.
fn encoded(value: &Value) -> Result<String, Error> {
    if value.is_none() {
        let problem = "null cannot be written into a URL";
        return Err(Error::new(ErrorKind::BadEscape, problem));
    }
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(out)
}

/// In a URL every value is encoded as it is; there the filter changes nothing.
fn urlencode(value: &Value) -> Result<Value, Error> {
    Ok(Value::from_safe_string(encoded(value)?))
}

/// MiniJinja's, whose text stands as it is wherever it is written; in a URL it is a value like any other.
fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    indent: Option<Value>,
    arguments: Kwargs,
) -> Result<Value, Error> {
    let json = filters::tojson(value, indent, arguments)?;
    match json.as_str() {
        Some(text) if is_url(state) => Ok(Value::from(text)),
        Some(_) | None => Ok(json),
    }
}

/// For text that goes into html.
fn html(value: &Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("<br>\n"),
            character => out.push(character),
        }
    }
    out
}

/// The first so many characters.
fn clip(value: &str, characters: usize) -> String {
    value.chars().take(characters).collect()
}

/// What stands between the first two such texts, else nothing: a ticket's number in a subject.
fn between(value: &str, start: &str, end: &str) -> String {
    let after = value.split_once(start).map(|(_, after)| after);
    let inner = after.and_then(|after| after.split_once(end));
    inner.map_or("", |(inner, _)| inner).trim().to_owned()
}

/// In hexadecimal: a word that any search finds again, made of what none takes.
fn sha256(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
