//! The account: whether both sums of the promise add up. The left sides are counters that were
//! moved with each commit, the right sides are counted from rows, so a row that got lost shows.

use std::collections::HashMap;

use postrider_core::ids::MailboxKey;

use crate::{
    error::doing,
    model::{StoreError, Sums},
    readers::Readers,
};

/// All parts from one statement, and so from one moment: two moments would not add up.
const PARTS: &str = "SELECT 0, mailbox, sum(uids), sum(deliveries), 0, 0, 0 FROM watch GROUP BY mailbox \
    UNION ALL SELECT 1, w.mailbox, l.a, l.b, l.c, l.d, l.e FROM (SELECT watch, sum(outcome = 1) AS a, \
    sum(outcome = 2) AS b, sum(outcome = 3) AS c, sum(outcome = 4) AS d, sum(outcome = 5) AS e \
    FROM ledger GROUP BY watch) AS l JOIN watch w ON w.id = l.watch \
    UNION ALL SELECT 2, coalesce(mailbox, 0), sum(state < 2), sum(state = 2), sum(state = 3), sum(state = 4), 0 \
    FROM delivery GROUP BY mailbox \
    UNION ALL SELECT 3, id, deliveries, pruned_delivered, pruned_discarded, 0, 0 FROM mailbox \
    UNION ALL SELECT 4, 0, coalesce(sum(sequence), 0), coalesce(sum(pruned_delivered), 0), \
    coalesce(sum(pruned_discarded), 0), 0, 0 FROM endpoint";

/// Which part a row is, the mailbox that it is of (0: of none), and its numbers.
type Part = (i64, i64, i64, i64, i64, i64, i64);

/// Over everything, and per mailbox in the order of their keys.
pub(crate) async fn sums(readers: &Readers) -> Result<(Sums, Vec<(MailboxKey, Sums)>), StoreError> {
    let mut reader = readers.get().await?;
    let parts: Vec<Part> = sqlx::query_as(PARTS)
        .fetch_all(reader.conn())
        .await
        .map_err(doing("adding up"))?;
    let names: Vec<(i64, String)> = sqlx::query_as("SELECT id, name FROM mailbox")
        .fetch_all(reader.conn())
        .await
        .map_err(doing("reading mailboxes"))?;
    let mut all = Sums::default();
    let mut each: HashMap<i64, Sums> = HashMap::new();
    for part in parts {
        add(part, each.entry(part.1).or_default(), &mut all);
    }
    let mut mailboxes: Vec<_> = names
        .into_iter()
        .map(|(id, name)| (MailboxKey::new(name), each.remove(&id).unwrap_or_default()))
        .collect();
    mailboxes.sort_by(|one, other| one.0.cmp(&other.0));
    Ok((all, mailboxes))
}

fn add(part: Part, one: &mut Sums, all: &mut Sums) {
    let (kind, _, a, b, c, d, e) = part;
    let [a, b, c, d, e] = [a, b, c, d, e].map(|value| u64::try_from(value).unwrap_or(0));
    match kind {
        0 => {
            one.deliveries += b;
            one.uids += a;
            all.uids += a;
        }
        1 => {
            for sums in [one, all] {
                sums.event += a;
                sums.known += b;
                sums.skipped += c;
                sums.quarantined += d;
                sums.vanished += e;
            }
        }
        2 => {
            for sums in [one, all] {
                sums.pending += a;
                sums.delivered += b;
                sums.dead += c;
                sums.discarded += d;
            }
        }
        // A mailbox's own counters, and those of the endpoints, which hold also what concerns none.
        3 => pruned(one, a, b, c),
        _ => pruned(all, a, b, c),
    }
}

fn pruned(sums: &mut Sums, deliveries: u64, delivered: u64, discarded: u64) {
    sums.deliveries += deliveries;
    sums.delivered += delivered;
    sums.discarded += discarded;
}
