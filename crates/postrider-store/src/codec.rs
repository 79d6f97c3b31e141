//! How core's values are written in columns. Numbers given out here are in stored data: they may
//! be added to, never changed.

use std::collections::BTreeMap;

use postrider_core::{
    cursor::{Cursor, Epoch, Sieve},
    fingerprint::Fingerprint,
    ids::{Uid, UidValidity},
    time::Wall,
    watch::{Hold, HoldReason, Outcome, Reason, Why},
};
use serde_json::{Value, json};

use crate::model::{FoundBy, StoreError};

/// `delivery.state`.
pub(crate) mod delivery {
    pub(crate) const PENDING: i64 = 0;
    pub(crate) const LEASED: i64 = 1;
    pub(crate) const DELIVERED: i64 = 2;
    pub(crate) const DEAD: i64 = 3;
    pub(crate) const DISCARDED: i64 = 4;

    /// As operators read it. A leased delivery is being sent, and pending until that is settled.
    pub(crate) fn name(state: i64) -> &'static str {
        match state {
            PENDING | LEASED => "pending",
            DELIVERED => "delivered",
            DEAD => "dead",
            _ => "discarded",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<[i64; 2]> {
        match name {
            "pending" => Some([PENDING, LEASED]),
            "delivered" => Some([DELIVERED, DELIVERED]),
            "dead" => Some([DEAD, DEAD]),
            "discarded" => Some([DISCARDED, DISCARDED]),
            _ => None,
        }
    }
}

/// `ledger.outcome` and `ledger.reason`; `None` for a suspect, which is not taken yet.
pub(crate) fn outcome(outcome: Outcome) -> Option<(i64, i64)> {
    match outcome {
        Outcome::Event => Some((1, 0)),
        Outcome::Known => Some((2, 0)),
        Outcome::Skipped(Reason::BeforeStart) => Some((3, 1)),
        Outcome::Skipped(Reason::Held) => Some((3, 2)),
        Outcome::Quarantined(Why::Unparseable) => Some((4, 1)),
        Outcome::Quarantined(Why::NoBody) => Some((4, 2)),
        Outcome::Quarantined(Why::Poison) => Some((4, 3)),
        Outcome::Vanished => Some((5, 0)),
        Outcome::Suspect { .. } => None,
    }
}

/// `ledger.found_by`.
pub(crate) fn found_by(found_by: FoundBy) -> i64 {
    match found_by {
        FoundBy::Idle => 1,
        FoundBy::Cycle => 2,
        FoundBy::Start => 3,
        FoundBy::Order => 4,
        FoundBy::Audit => 5,
    }
}

/// The columns of a cursor, as they are read together.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct CursorColumns {
    uid_validity: Option<i64>,
    epoch: Option<i64>,
    last_uid: Option<i64>,
    floor_uid: Option<i64>,
    gaps: Option<String>,
    anchor_uid: Option<i64>,
    anchor_print: Option<Vec<u8>>,
    sieve: Option<String>,
}

impl CursorColumns {
    /// `None` where there is none. What cannot be read is an error: a cursor without its sieve
    /// would send what it was to hold back.
    pub(crate) fn cursor(self) -> Result<Option<Cursor>, StoreError> {
        let (Some(uid_validity), Some(epoch)) = (self.uid_validity, self.epoch) else {
            return Ok(None);
        };
        let unreadable =
            |what: &str| StoreError::Other(format!("the {what} of a stored cursor cannot be read"));
        let anchor = match (
            self.anchor_uid.and_then(uid),
            self.anchor_print.as_deref().and_then(fingerprint),
        ) {
            (Some(uid), Some(print)) => Some((uid, print)),
            (None | Some(_), None) | (None, Some(_)) => None,
        };
        let sieve = self
            .sieve
            .map(|text| text.parse::<Sieve>().map_err(|_| unreadable("sieve")));
        Ok(Some(Cursor {
            uid_validity: UidValidity(
                u32::try_from(uid_validity).map_err(|_| unreadable("UIDVALIDITY"))?,
            ),
            epoch: Epoch(epoch),
            last: self.last_uid.and_then(uid),
            floor: self.floor_uid.and_then(uid),
            gaps: self.gaps.as_deref().map(parse_gaps).unwrap_or_default(),
            anchor,
            sieve: sieve.transpose()?.map(Box::new),
        }))
    }
}

pub(crate) fn gaps(cursor: &Cursor) -> String {
    Value::from(cursor.gaps.iter().map(|uid| uid.get()).collect::<Vec<_>>()).to_string()
}

fn parse_gaps(text: &str) -> Vec<Uid> {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let list = parsed.as_ref().and_then(Value::as_array);
    list.map(|list| {
        list.iter()
            .filter_map(|value| uid(value.as_i64()?))
            .collect()
    })
    .unwrap_or_default()
}

pub(crate) fn uid(value: i64) -> Option<Uid> {
    u32::try_from(value).ok().and_then(Uid::new)
}

pub(crate) fn suspects(suspects: &BTreeMap<Uid, u8>) -> String {
    Value::from(
        suspects
            .iter()
            .map(|(uid, tries)| json!([uid.get(), tries]))
            .collect::<Vec<_>>(),
    )
    .to_string()
}

pub(crate) fn parse_suspects(text: &str) -> BTreeMap<Uid, u8> {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let list = parsed.as_ref().and_then(Value::as_array);
    let pair = |value: &Value| {
        let uid = value.get(0).and_then(Value::as_i64).and_then(uid)?;
        let tries = value
            .get(1)
            .and_then(Value::as_u64)
            .and_then(|tries| u8::try_from(tries).ok())?;
        Some((uid, tries))
    };
    list.map(|list| list.iter().filter_map(pair).collect())
        .unwrap_or_default()
}

pub(crate) fn hold(hold: &Hold) -> String {
    json!({"why": hold.why.as_str(), "since": hold.since.0, "messages": hold.messages, "old": hold.old}).to_string()
}

/// A hold that cannot be read is still a hold: for the reason that its text is lost.
pub(crate) fn parse_hold(text: &str) -> Hold {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let number = |key: &str| value.get(key).and_then(Value::as_i64).unwrap_or(0);
    let why = value
        .get("why")
        .and_then(Value::as_str)
        .and_then(HoldReason::parse);
    Hold {
        why: why.unwrap_or(HoldReason::StateLost),
        since: Wall(number("since")),
        messages: u32::try_from(number("messages")).unwrap_or(u32::MAX),
        old: u32::try_from(number("old")).unwrap_or(u32::MAX),
    }
}

pub(crate) fn fingerprint(bytes: &[u8]) -> Option<Fingerprint> {
    bytes.try_into().ok().map(Fingerprint)
}

/// A list of byte strings as a JSON array of hexadecimal text, for `json_each` and `unhex`.
pub(crate) fn hex_list<'a>(items: impl Iterator<Item = &'a [u8]>) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("[");
    for item in items {
        text.push_str(if text.len() > 1 { ",\"" } else { "\"" });
        for byte in item {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push('"');
    }
    text.push(']');
    text
}

pub(crate) fn id_list(ids: &[i64]) -> String {
    Value::from(ids).to_string()
}
