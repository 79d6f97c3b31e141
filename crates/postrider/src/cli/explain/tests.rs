//! What people see, from an answer as the daemon gives it.

use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_795_400_000;

fn at(ago: i64) -> String {
    Wall::from_seconds(NOW - ago).rfc3339()
}

fn shown(answer: Value) -> String {
    let explanation: api::Explanation = serde_json::from_value(answer).unwrap();
    text(&explanation, Wall::from_seconds(NOW))
}

fn taken() -> Value {
    json!({
        "folder": "INBOX", "uid": 4711, "present": true, "outcome": "event", "reason": null,
        "found_by": "idle", "taken_at": "2026-11-23T08:00:05.000Z", "internal_date": "2026-11-23T08:00:00.000Z",
    })
}

fn answer() -> Value {
    json!({
        "verdict": {
            "fine": false,
            "text": "silent because: the login is refused since 2026-11-23 02:14 UTC: NO\u{1b}[2J failed",
            "hint": "check the grant",
        },
        "mailbox": {
            "id": "support", "address": "support@contoso.com", "server": "outlook.office365.com:993",
            "username": "support@contoso.com", "credential": "contoso", "endpoints": ["tickets"],
            "labels": {}, "orphaned": false, "state": "auth_failed", "since": at(7300),
            "folders": [{
                "name": "INBOX", "state": "auth_failed", "since": at(7300), "mode": null,
                "uidvalidity": 14, "last_uid": 4711, "gaps": 0, "hold": null,
                "last_proven": at(7400), "next_try": null, "last_error": null,
            }],
            "last_error": null,
            "sums": api::Sums::default(),
        },
        "folders": [{
            "name": "INBOX", "last_life": at(7310),
            "wake": { "why": "changed", "at": at(7400), "found": { "event": 2, "known": 1 } },
            "before_start_uid": null, "newest": taken(),
            "server": null, "behind": null,
        }],
        "gate": { "shut_until": at(-600), "why": "refused", "sessions": 0 },
        "credential": {
            "id": "contoso", "type": "microsoft", "state": "ready", "token_expires": at(-1800),
            "last_error": null, "last_error_at": null,
        },
        "owed": [{
            "endpoint": "tickets", "endpoint_state": "open", "pending": 7, "dead": 0, "oldest_pending": at(1300),
        }],
        "server": { "folders": 0, "left_out": [], "note": "it was not asked: no login is tried" },
        "message": null,
    })
}

#[test]
fn the_verdict_comes_first_and_then_what_it_rests_on() {
    assert_eq!(
        shown(answer()),
        "\
silent because: the login is refused since 2026-11-23 02:14 UTC: NO [2J failed
  hint: check the grant

mailbox     support at outlook.office365.com:993
state       auth_failed for 2h
logins      held back (refused), the next in 10m; 0 sessions open
credential  contoso (microsoft): ready, its token ends in 30m
messages    0 = 0 event + 0 known + 0 skipped + 0 quarantined + 0 vanished
deliveries  0 = 0 pending + 0 delivered + 0 dead + 0 discarded

FOLDER  ALIVE   LAST WAKE       FOUND             READ TO  SERVER'S NEWEST  HELD  LAST MAIL
INBOX   2h ago  changed 2h ago  2 event, 1 known  4711     not asked        -     2026-11-23 08:00:00

ENDPOINT  STATE       PENDING  OLDEST  DEAD
tickets   in trouble  7        21m     0

the server: it was not asked: no login is tried
"
    );
}

#[test]
fn a_message_is_told_with_its_rows_its_attempts_and_its_places() {
    let mut answer = answer();
    answer["message"] = json!({
        "message_id": "a@b",
        "taken": [taken()],
        "events": [{
            "id": "5b6f", "type": "message.received", "mailbox": "support", "subject": "INBOX/14/4711",
            "time": "2026-11-23T08:00:00.000Z", "stored_at": "2026-11-23T08:00:05.000Z", "message_id": "a@b",
            "deliveries": [{
                "endpoint": "tickets", "sequence": 1, "state": "delivered", "attempts": 2, "due": null,
                "delivered_at": "2026-11-23T08:00:10.000Z", "dead_reason": null, "last_status": 200, "last_note": null,
            }],
            "attempts": [{
                "endpoint": "tickets", "at": "2026-11-23T08:00:06.000Z", "took_ms": 12, "status": 503, "note": "busy",
            }],
        }],
        "places": [
            { "folder": "INBOX", "uid": 4711, "watched": true, "taken": taken() },
            { "folder": "Archive", "uid": 3, "watched": false, "taken": null },
        ],
    });
    let text = shown(answer);
    let message = text.split("\nmailbox ").next().unwrap();
    let message = message.split_once("\n\n").unwrap().1;
    assert_eq!(
        message,
        "\
message     a@b

TAKEN (UTC)          FOLDER  UID   OUTCOME  FOUND BY
2026-11-23 08:00:05  INBOX   4711  event    idle

event       5b6f message.received (2026-11-23 08:00:05)
  tickets delivered 2026-11-23 08:00:10 after 2 attempts
    2026-11-23 08:00:06 tickets 503 12 ms busy

ON THE SERVER IN  UID   WATCHED
INBOX             4711  yes
Archive           3     NO
"
    );
}
