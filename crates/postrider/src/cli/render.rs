//! What people see: aligned tables, ages instead of times, nothing that a server or sender wrote
//! without its control characters, and those that turn the direction of text, taken out.

use postrider_core::time::Wall;
use postrider_webhook::answer::is_hidden;

use crate::{admin::api, config};

/// Rows under headings, columns as wide as needed; the last is not padded.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|text| (*text).to_owned()).collect()],
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| match cell.is_empty() {
            true => "-".to_owned(),
            false => clean(&cell),
        });
        self.rows.push(cells.collect());
    }

    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line += cell;
                let pad = width - cell.chars().count() + 2;
                line.extend(std::iter::repeat_n(' ', pad));
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Without what could drive a terminal, and at most a line long.
pub(crate) fn clean(text: &str) -> String {
    let mut chars = text.chars();
    let mut clean: String = chars
        .by_ref()
        .take(200)
        .map(|c| if is_hidden(c) { ' ' } else { c })
        .collect();
    if chars.next().is_some() {
        clean.push('…');
    }
    clean
}

/// `12s`, `4m`, `3h`, `9d`: how long ago; `in 4m` for what is to come.
pub(crate) fn age(at: &str, now: Wall) -> String {
    let Some(at) = config::parse_date(at) else {
        return clean(at);
    };
    let seconds = (now.0 - at.0) / 1000;
    let text = match seconds.unsigned_abs() {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7199 => format!("{}m", seconds / 60),
        seconds @ 7200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    };
    match seconds {
        ..0 => format!("in {text}"),
        0.. => text,
    }
}

pub(crate) fn maybe_age(at: Option<&str>, now: Wall) -> String {
    at.map(|at| age(at, now)).unwrap_or_default()
}

/// `2026-05-01 08:00:00`, for times that have to be compared with other logs; UTC.
pub(crate) fn moment(at: &str) -> String {
    clean(at.get(..19).unwrap_or(at)).replace('T', " ")
}

pub(crate) fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{number} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

/// Both sums of the promise, and loudly what they miss.
pub(crate) fn sums(sums: &api::Sums) -> String {
    let messages = [
        (sums.event, "event"),
        (sums.known, "known"),
        (sums.skipped, "skipped"),
        (sums.quarantined, "quarantined"),
        (sums.vanished, "vanished"),
    ];
    let deliveries = [
        (sums.pending, "pending"),
        (sums.delivered, "delivered"),
        (sums.dead, "dead"),
        (sums.discarded, "discarded"),
    ];
    format!(
        "messages    {} = {}{}\ndeliveries  {} = {}{}\n",
        sums.uids,
        addends(&messages),
        missed(sums.unaccounted_messages),
        sums.deliveries,
        addends(&deliveries),
        missed(sums.unaccounted_deliveries),
    )
}

fn addends(parts: &[(u64, &str)]) -> String {
    let parts: Vec<_> = parts
        .iter()
        .map(|(number, name)| format!("{number} {name}"))
        .collect();
    parts.join(" + ")
}

fn missed(number: i64) -> String {
    match number {
        0 => String::new(),
        number => format!("   UNACCOUNTED: {number}"),
    }
}

pub(crate) fn trouble(trouble: &api::Trouble, now: Wall) -> String {
    let mut text = format!(
        "{} (for {})",
        clean(&trouble.detail),
        age(&trouble.since, now)
    );
    if let Some(hint) = &trouble.hint {
        text += &format!("\n  hint: {}", clean(hint));
    }
    text
}

/// Trouble of the past: it is worth a look back, and must not look like the present.
pub(crate) fn over(trouble: &api::Trouble, good_since: Option<&str>, now: Wall) -> String {
    let good =
        match good_since.filter(|at| config::parse_date(at) > config::parse_date(&trouble.at)) {
            Some(at) => format!(", last good {} ago", age(at, now)),
            None => String::new(),
        };
    format!(
        "last trouble {} ago{good}: {}",
        age(&trouble.at, now),
        clean(&trouble.detail)
    )
}

/// `1 mailbox`, `3 mailboxes`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_drives_the_terminal() {
        let mut table = Table::new(&["NAME", "STATE", "NOTE"]);
        table.row(["support".to_owned(), "watching".to_owned(), String::new()]);
        table.row([
            "x".to_owned(),
            "held".to_owned(),
            "\u{1b}[2J\u{202e}gone".to_owned(),
        ]);
        assert_eq!(
            table.text(),
            "NAME     STATE     NOTE\nsupport  watching  -\nx        held       [2J gone\n"
        );
    }

    #[test]
    fn ages_are_short_and_the_future_says_so() {
        let now = Wall::from_seconds(1_000_000);
        let at = |seconds| Wall::from_seconds(1_000_000_i64 - seconds).rfc3339();
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7200, "2h"),
            (200_000, "2d"),
            (-300, "in 5m"),
        ] {
            assert_eq!(age(&at(seconds), now), text);
        }
    }

    #[test]
    fn what_the_sums_miss_cannot_be_overlooked() {
        let mut account = api::Sums {
            uids: 3,
            event: 2,
            known: 1,
            deliveries: 2,
            delivered: 2,
            ..api::Sums::default()
        };
        assert!(!sums(&account).contains("UNACCOUNTED"));
        account.unaccounted_messages = 1;
        assert!(
            sums(&account)
                .lines()
                .next()
                .is_some_and(|line| line.ends_with("UNACCOUNTED: 1"))
        );
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(20 << 30), "20.0 GiB");
    }
}
