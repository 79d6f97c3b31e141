//! Authentication-Results (RFC 8601): what a mail server found out about the sender. Anybody can
//! write such a field, so it says nothing until somebody knows whose it is: the reader of these
//! facts has to compare `authserv_id` with the one that it trusts.

use super::{
    AuthResult, Authentication, Warnings, clip,
    field::{Field, Reading},
};

/// Fields that are read; each hop may add some.
const FIELDS_MAX: usize = 20;
/// Results of one field: a mail may carry several DKIM signatures.
const RESULTS_MAX: usize = 20;
const PROPERTIES_MAX: usize = 10;
const TOKEN_BYTES_MAX: usize = 255;

/// In the order of the header: the latest hop first.
pub(super) fn read(
    fields: &[Field<'_>],
    reading: Reading<'_>,
    warnings: &mut Warnings,
) -> Vec<Authentication> {
    fields
        .iter()
        .filter(|field| field.is("authentication-results"))
        .take(FIELDS_MAX)
        .filter_map(|field| parse(&reading.raw(field.value, warnings)))
        .collect()
}

/// One field's value. Microsoft leaves the server's id out: then the first item is a result already.
fn parse(value: &str) -> Option<Authentication> {
    let mut items = items(value).into_iter();
    let mut first = items.next()?.into_iter();
    let head = first.next()?;
    let mut found = Authentication::default();
    if head.contains('=') {
        found
            .results
            .extend(result(std::iter::once(head).chain(first)));
    } else {
        found.authserv_id = token(&head);
    }
    let rest = items.filter_map(|words| result(words.into_iter()));
    found.results.extend(rest.take(RESULTS_MAX));
    Some(found)
}

/// `dkim=pass reason="good" header.d=example.org`. `none` alone is no result.
fn result(mut words: impl Iterator<Item = String>) -> Option<AuthResult> {
    let first = words.next()?;
    let (method, value) = first.split_once('=')?;
    // A version may follow the method: `dkim/1`.
    let method = method.split('/').next().unwrap_or_default();
    let mut one = AuthResult {
        method: token(&method.to_ascii_lowercase()),
        result: token(&value.to_ascii_lowercase()),
        properties: Vec::new(),
    };
    if one.method.is_empty() || one.result.is_empty() {
        return None;
    }
    for word in words {
        if let Some((name, value)) = word.split_once('=')
            && one.properties.len() < PROPERTIES_MAX
            && !name.is_empty()
        {
            let name = token(&name.to_ascii_lowercase());
            if !one.properties.iter().any(|(known, _)| *known == name) {
                one.properties.push((name, token(value)));
            }
        }
    }
    Some(one)
}

fn token(text: &str) -> String {
    clip(text, TOKEN_BYTES_MAX).to_owned()
}

/// Items between semicolons, each as its words: comments are left out, spaces around `=` belong to
/// no word, quoted strings are one.
fn items(value: &str) -> Vec<Vec<String>> {
    let mut items = vec![Vec::new()];
    let mut word = String::new();
    let mut depth = 0usize;
    let mut chars = value.chars().peekable();
    let mut quoted = false;
    fn end(items: &mut [Vec<String>], word: &mut String) {
        if let Some(item) = items.last_mut()
            && !word.is_empty()
        {
            item.push(std::mem::take(word));
        }
    }
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted || depth > 0 => {
                let next = chars.next();
                if depth == 0 {
                    word.extend(next);
                }
            }
            '"' if depth == 0 => quoted = !quoted,
            c if quoted => word.push(c),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            ';' => {
                end(&mut items, &mut word);
                if items.len() > RESULTS_MAX + 1 {
                    return items;
                }
                items.push(Vec::new());
            }
            '=' => {
                if word.is_empty()
                    && let Some(before) = items.last_mut().and_then(Vec::pop)
                {
                    word = before;
                }
                word.push('=');
            }
            c if c.is_whitespace() => {
                // A word that has a name and no value yet goes on.
                if word.find('=') != word.len().checked_sub(1) || word.is_empty() {
                    end(&mut items, &mut word);
                }
            }
            c => word.push(c),
        }
    }
    end(&mut items, &mut word);
    items.retain(|words| !words.is_empty());
    items
}
