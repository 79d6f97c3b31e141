//! What an opened folder means for the cursor, as a table, and the text of a sieve.

use postrider_core::{
    cursor::{Break, Continuity, Cursor, Epoch, Past, Released, Sieve, anchored, reconcile},
    fingerprint::Fingerprint,
    ids::{Uid, UidValidity},
    time::Wall,
    watch::{Facts, HoldReason, Release, Reply, Selected},
};

/// (stored last, UIDNEXT, highest) in one UIDVALIDITY, and what that means. 0 is "none".
const NUMBERS: &[(u32, u32, u32, Continuity)] = &[
    // Nothing taken yet.
    (0, 1, 0, Continuity::Unchanged),
    (0, 0, 0, Continuity::Unchanged),
    (0, 8, 7, Continuity::Ahead),
    (0, 0, 7, Continuity::Ahead),
    // Nothing new.
    (7, 8, 7, Continuity::Unchanged),
    (7, 0, 7, Continuity::Unchanged),
    // New mail, whatever UIDNEXT says.
    (7, 10, 9, Continuity::Ahead),
    (7, 0, 9, Continuity::Ahead),
    (7, 5, 9, Continuity::Ahead),
    // The newest mail was expunged: the highest UID is lower, UIDNEXT is not.
    (7, 8, 5, Continuity::Unchanged),
    (7, 8, 0, Continuity::Unchanged),
    (7, 12, 5, Continuity::Unchanged),
    // Without UIDNEXT nobody knows.
    (7, 0, 5, Continuity::Unclear),
    (7, 0, 0, Continuity::Unclear),
    // A UID that was taken is to be given out again.
    (7, 7, 6, Continuity::WentBack),
    (7, 7, 0, Continuity::WentBack),
    (7, 1, 0, Continuity::WentBack),
    (7, 6, 5, Continuity::WentBack),
    // A UIDNEXT that cannot be: the highest UID is the better witness.
    (7, 3, 7, Continuity::Unchanged),
];

fn cursor(last: u32) -> Cursor {
    Cursor {
        last: Uid::new(last),
        ..Cursor::begin(UidValidity(4), Epoch(1))
    }
}

fn selected(validity: u32, next: u32, highest: u32) -> Selected {
    Selected {
        uid_validity: UidValidity(validity),
        uid_next: Uid::new(next),
        exists: u32::from(highest > 0),
        highest: Uid::new(highest),
        session_ends: None,
    }
}

fn past(cursor: Option<&Cursor>) -> Past<'_> {
    Past {
        cursor,
        state_lost: false,
        account_changed: false,
    }
}

#[test]
fn the_numbers_of_a_folder_tell_whether_it_goes_on() {
    for (last, next, highest, expected) in NUMBERS {
        let cursor = cursor(*last);
        let continuity = reconcile(past(Some(&cursor)), &selected(4, *next, *highest));
        assert_eq!(
            continuity, *expected,
            "last {last}, UIDNEXT {next}, highest {highest}"
        );
    }
}

#[test]
fn a_folder_without_a_cursor_is_seen_for_the_first_time_or_was_lost() {
    let folder = selected(4, 8, 7);
    assert_eq!(reconcile(past(None), &folder), Continuity::FirstSight);
    let lost = Past {
        state_lost: true,
        ..past(None)
    };
    assert_eq!(reconcile(lost, &folder), Continuity::StateLost);
}

#[test]
fn another_uidvalidity_and_another_account_are_told_whatever_the_numbers_say() {
    for (last, next, highest, _) in NUMBERS {
        let cursor = cursor(*last);
        let folder = selected(5, *next, *highest);
        let changed = Continuity::NewUidValidity {
            from: UidValidity(4),
            to: UidValidity(5),
        };
        assert_eq!(reconcile(past(Some(&cursor)), &folder), changed);
        let other = Past {
            account_changed: true,
            ..past(Some(&cursor))
        };
        assert_eq!(reconcile(other, &folder), Continuity::AccountChanged);
    }
}

#[test]
fn what_was_decided_before_stands_whatever_the_folder_looks_like() {
    let folder = selected(4, 8, 7);
    let mut cursor = cursor(7);
    cursor.sieve = Some(Box::new(Sieve::Anew));
    assert_eq!(
        reconcile(past(Some(&cursor)), &folder),
        Continuity::FirstSight
    );
    for why in HoldReason::ALL {
        cursor.sieve = Some(Box::new(Sieve::Over(*why)));
        assert_eq!(
            reconcile(past(Some(&cursor)), &folder),
            Continuity::Over(*why)
        );
    }
}

#[test]
fn an_anchor_that_is_another_message_breaks_and_a_missing_one_only_in_doubt() {
    let facts = |id| Facts {
        fingerprint: Fingerprint::of(Some(id), "", "", "", None),
        internal_date: None,
    };
    let anchor = facts("a").fingerprint;
    for continuity in [
        Continuity::Ahead,
        Continuity::Unchanged,
        Continuity::Unclear,
    ] {
        assert!(anchored(anchor, &Reply::Whole(facts("a")), continuity));
        assert!(!anchored(anchor, &Reply::Whole(facts("b")), continuity));
        assert!(!anchored(anchor, &Reply::Unreadable, continuity));
    }
    assert!(anchored(anchor, &Reply::Missing, Continuity::Ahead));
    assert!(!anchored(anchor, &Reply::Missing, Continuity::Unclear));
}

#[test]
fn a_sieve_is_read_as_it_was_written() {
    let mut sieves = vec![Sieve::Anew, Sieve::Start { since: Wall(-5) }];
    for why in HoldReason::ALL {
        sieves.push(Sieve::Over(*why));
        let mut words = vec![None];
        for release in [Release::Send, Release::Skip, Release::Since(Wall(12))] {
            for until in [None, Uid::new(9)] {
                words.push(Some(Released { release, until }));
            }
        }
        for released in words {
            sieves.push(Sieve::Break(Break {
                why: *why,
                at: Wall(1_700_000_000_000),
                old: 3,
                released,
            }));
        }
    }
    for sieve in sieves {
        assert_eq!(sieve.to_string().parse(), Ok(sieve), "{sieve}");
    }
    for text in [
        "",
        "start",
        "break",
        "anew now",
        "over",
        "break state_lost 1 2 keep",
        "start x",
    ] {
        assert!(text.parse::<Sieve>().is_err(), "{text}");
    }
}

#[test]
fn a_later_epoch_is_larger_even_if_the_clock_was_set_back() {
    let first = Epoch::begin(Wall(1_000), None);
    assert!(Epoch::begin(Wall(10), Some(first)) > first);
    assert!(Epoch::begin(Wall(2_000), Some(first)) > first);
}
