//! Signs that a machine wrote the message. Conservative about bounces: a vacation reply has a
//! null return path, too, and is none.

use super::{
    Address, Auto, Warnings,
    address::short,
    clip,
    field::{Field, Reading, one_line},
    part::Head,
    report,
    transfer::decode_start,
    walk::Leaf,
};

const WORD_BYTES_MAX: usize = 64;
const LIST_ID_BYTES_MAX: usize = 512;
/// The method stands among the first lines.
const CALENDAR_BYTES_MAX: usize = 4 << 10;

pub(super) fn read(
    fields: &[Field<'_>],
    from: &[Address],
    root: &Head,
    leaves: &[Leaf<'_>],
    reading: Reading<'_>,
    warnings: &mut Warnings,
) -> Auto {
    let mut text = |name: &str| {
        let field = fields.iter().find(|field| field.is(name))?;
        let text = reading.text(field.value, warnings);
        (!text.is_empty()).then_some(text)
    };
    let auto_submitted = text("auto-submitted").and_then(word);
    let precedence = text("precedence").and_then(word);
    let list_id = text("list-id").map(|value| list_id(&value));
    let listed = fields.iter().any(Field::is_of_list);
    let null_path = text("return-path").map(|value| value == "<>");
    let failed = text("x-failed-recipients");
    let replies = [text("x-autoreply"), text("x-autorespond")]
        .into_iter()
        .flatten()
        .any(|value| !value.eq_ignore_ascii_case("no"));
    let is_bounce =
        is_report(root, leaves) || is_other_bounce(from, null_path, failed.is_some(), leaves);
    let by_exchange = is_exchange_reply(
        auto_submitted.as_deref(),
        text("x-ms-exchange-generated-message-source"),
        text("x-auto-response-suppress"),
    );
    let calendar = leaves.iter().find(|leaf| leaf.head.is("text/calendar"));
    Auto {
        is_bounce,
        bounce: is_bounce.then(|| {
            report::read(
                leaves,
                failed.as_deref().unwrap_or_default(),
                reading,
                warnings,
            )
        }),
        is_list: list_id.is_some() || listed || precedence.as_deref() == Some("list"),
        out_of_office: !root.is("multipart/report")
            && !is_bounce
            && (replies
                || by_exchange
                || auto_submitted.as_deref() == Some("auto-replied")
                || precedence.as_deref() == Some("auto_reply")),
        is_calendar: calendar.is_some(),
        calendar_method: calendar.and_then(|leaf| calendar_method(leaf, warnings)),
        list_id: list_id.map(|id| short(&id, LIST_ID_BYTES_MAX, warnings)),
        auto_submitted,
        precedence,
    }
}

/// The first word, in small letters; comments before it are passed over (RFC 3834 section 5.2).
fn word(text: String) -> Option<String> {
    let mut rest = text.trim_start();
    while let Some(comment) = rest.strip_prefix('(') {
        rest = comment.split_once(')')?.1.trim_start();
    }
    let word = rest.split([';', ' ', '\t', '(']).next().unwrap_or_default();
    let word = clip(word, WORD_BYTES_MAX).to_ascii_lowercase();
    (!word.is_empty()).then_some(word)
}

/// An absence answer of Exchange, which calls its own `auto-generated` and not `auto-replied`. That
/// it asks for no answer is no sign by itself: newsletters and tickets do so too.
fn is_exchange_reply(
    auto_submitted: Option<&str>,
    source: Option<String>,
    suppress: Option<String>,
) -> bool {
    let by_rules = source.is_some_and(|source| source.eq_ignore_ascii_case("mailbox rules agent"));
    let suppress = suppress.unwrap_or_default();
    let wants_none = suppress
        .split(',')
        .map(str::trim)
        .any(|word| word.eq_ignore_ascii_case("all") || word.eq_ignore_ascii_case("oof"));
    by_rules && wants_none && auto_submitted == Some("auto-generated")
}

/// The part's own parameter (RFC 6047 section 2.4), else the calendar's property (RFC 5545 section
/// 3.7.2).
fn calendar_method(leaf: &Leaf<'_>, warnings: &mut Warnings) -> Option<String> {
    let method = match &leaf.head.method {
        Some(method) => method.clone(),
        None => {
            let (start, _) =
                decode_start(leaf.body, leaf.head.encoding, CALENDAR_BYTES_MAX, warnings);
            let line = start.split(|byte| *byte == b'\n').find_map(|line| {
                let (name, value) = line.split_at_checked(b"METHOD:".len())?;
                name.eq_ignore_ascii_case(b"METHOD:").then_some(value)
            })?;
            one_line(String::from_utf8_lossy(line).into_owned(), warnings)
        }
    };
    let method = clip(&method, WORD_BYTES_MAX).to_ascii_uppercase();
    (!method.is_empty()).then_some(method)
}

/// RFC 2919: the id is in angle brackets, a phrase may precede it.
fn list_id(value: &str) -> String {
    let inner = value.rsplit_once('<').map_or(value, |(_, after)| after);
    inner
        .split_once('>')
        .map_or(inner, |(id, _)| id)
        .trim()
        .to_owned()
}

/// A delivery status notification (RFC 3464). Read receipts and complaints are reports, too, and no bounces.
fn is_report(root: &Head, leaves: &[Leaf<'_>]) -> bool {
    root.is("multipart/report")
        && match root.report_type.as_deref() {
            Some(kind) => kind.eq_ignore_ascii_case("delivery-status"),
            None => leaves.iter().any(report::is_status),
        }
}

/// Servers that write bounces in prose, and reports that something on the way has wrapped into another
/// multipart: from the mail system itself, and to nobody's reply.
fn is_other_bounce(
    from: &[Address],
    null_path: Option<bool>,
    failed: bool,
    leaves: &[Leaf<'_>],
) -> bool {
    let system = from
        .iter()
        .filter_map(|from| from.address.as_deref())
        .any(|address| {
            let local = address.split('@').next().unwrap_or_default();
            local.eq_ignore_ascii_case("mailer-daemon") || local.eq_ignore_ascii_case("postmaster")
        });
    let told = leaves.iter().any(report::is_status);
    (system && (null_path == Some(true) || failed || told)) || (told && null_path == Some(true))
}
