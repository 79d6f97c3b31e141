//! Signs that a machine wrote the message. Conservative about bounces: a vacation reply has a
//! null return path, too, and is none.

use super::{
    Address, Auto, Warnings,
    address::short,
    clip,
    field::{Field, Reading},
    part::Head,
    walk::Leaf,
};

const WORD_BYTES_MAX: usize = 64;
const LIST_ID_BYTES_MAX: usize = 512;

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
    let word = |text: String| {
        let word = text.split([';', ' ', '\t', '(']).next().unwrap_or_default();
        let word = clip(word, WORD_BYTES_MAX).to_ascii_lowercase();
        (!word.is_empty()).then_some(word)
    };
    let auto_submitted = text("auto-submitted").and_then(word);
    let precedence = text("precedence").and_then(word);
    let list_id = text("list-id").map(|value| list_id(&value));
    let null_path = text("return-path").map(|value| value == "<>");
    let failed = text("x-failed-recipients").is_some();
    Auto {
        is_bounce: is_report(root, leaves) || is_old_bounce(from, null_path, failed),
        list_id: list_id.map(|id| short(&id, LIST_ID_BYTES_MAX, warnings)),
        auto_submitted,
        precedence,
    }
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
            None => leaves
                .iter()
                .any(|leaf| leaf.head.is("message/delivery-status")),
        }
}

/// Servers that write bounces in prose: from the mail system itself, and to nobody's reply.
fn is_old_bounce(from: &[Address], null_path: Option<bool>, failed: bool) -> bool {
    let system = from
        .iter()
        .filter_map(|from| from.address.as_deref())
        .any(|address| {
            let local = address.split('@').next().unwrap_or_default();
            local.eq_ignore_ascii_case("mailer-daemon") || local.eq_ignore_ascii_case("postmaster")
        });
    system && (null_path == Some(true) || failed)
}
