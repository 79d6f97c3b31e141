//! Every verdict, from the facts that lead to it.

use super::*;

const NOW: i64 = 1_795_400_000;

fn at(ago: i64) -> String {
    Wall::from_seconds(NOW - ago).rfc3339()
}

/// A mailbox that is well, to be spoiled.
struct World {
    mailbox: api::Mailbox,
    state: State,
    folders: Vec<api::FolderLife>,
    owed: Vec<api::Owed>,
    heard: bool,
    conditions: Vec<String>,
}

fn well() -> World {
    World {
        mailbox: api::Mailbox {
            id: "support".to_owned(),
            address: "support@contoso.com".to_owned(),
            server: "outlook.office365.com:993".to_owned(),
            username: "support@contoso.com".to_owned(),
            credential: "contoso".to_owned(),
            endpoints: vec!["tickets".to_owned()],
            labels: Default::default(),
            orphaned: false,
            state: "watching".to_owned(),
            since: Some(at(7200)),
            folders: vec![shown()],
            last_error: None,
            sums: api::Sums::default(),
        },
        state: State::Watching,
        folders: vec![api::FolderLife {
            name: "INBOX".to_owned(),
            last_life: at(30),
            wake: None,
            before_start_uid: Some(100),
            newest: Some(taken("event", None)),
            server: None,
            behind: None,
        }],
        owed: Vec::new(),
        heard: true,
        conditions: Vec::new(),
    }
}

fn shown() -> api::Folder {
    api::Folder {
        name: "INBOX".to_owned(),
        state: "watching".to_owned(),
        since: Some(at(7200)),
        mode: Some("idle".to_owned()),
        uidvalidity: Some(14),
        last_uid: Some(4711),
        gaps: 0,
        hold: None,
        last_proven: Some(at(30)),
        next_try: None,
        last_error: None,
    }
}

fn taken(outcome: &str, reason: Option<&str>) -> api::Taken {
    api::Taken {
        folder: "INBOX".to_owned(),
        uid: 4711,
        present: true,
        outcome: outcome.to_owned(),
        reason: reason.map(str::to_owned),
        found_by: "idle".to_owned(),
        taken_at: at(3600),
        internal_date: Some(at(3660)),
    }
}

fn trouble(detail: &str) -> Option<api::Trouble> {
    let trouble = serde_json::json!({
        "cause": "login_refused",
        "detail": detail,
        "hint": "check the grant",
        "since": at(5400),
        "at": at(10),
    });
    serde_json::from_value(trouble).unwrap()
}

impl World {
    fn facts(&self) -> Facts<'_> {
        Facts {
            mailbox: &self.mailbox,
            state: self.state,
            folders: &self.folders,
            owed: &self.owed,
            heard: self.heard,
            conditions: &self.conditions,
            stalled_after: Duration::from_secs(900),
            now: Wall::from_seconds(NOW),
        }
    }

    fn verdict(&self) -> api::Verdict {
        of_mailbox(&self.facts())
    }

    fn says(&self, words: &str) -> api::Verdict {
        let verdict = self.verdict();
        assert!(verdict.text.contains(words), "{verdict:?}");
        verdict
    }
}

#[test]
fn a_mailbox_that_is_well_says_since_when_no_mail_came() {
    let verdict = well().verdict();
    assert!(verdict.fine);
    assert_eq!(
        verdict.text,
        format!(
            "nothing is wrong: no mail came since {} (looked at {})",
            moment(&at(3660)),
            moment(&at(30))
        )
    );
    let mut empty = well();
    empty.folders[0].newest = None;
    assert!(empty.says("no mail came since it is watched").fine);
}

#[test]
fn a_refused_login_says_since_when_and_what_the_server_said() {
    let mut world = well();
    world.state = State::AuthFailed;
    world.mailbox.last_error = trouble("the server refused the login: NO AUTHENTICATE failed.");
    world.mailbox.folders[0].next_try = Some(at(-600));
    let verdict = world.verdict();
    assert_eq!(
        verdict.text,
        format!(
            "silent because: the login is refused since {}: the server refused the login: NO AUTHENTICATE failed.; the next try is at {}",
            moment(&at(5400)),
            moment(&at(-600))
        )
    );
    assert_eq!(verdict.hint.as_deref(), Some("check the grant"));
}

#[test]
fn each_state_that_keeps_a_mailbox_silent_is_said_in_words() {
    for (state, words) in [
        (State::Paused, "an operator paused it"),
        (State::Held, "it is held"),
        (State::StoreFull, "no room to store"),
        (State::Throttled, "it is throttled"),
        (State::Backoff, "cannot be reached"),
        (State::Connecting, "it is trying to log in"),
    ] {
        let mut world = well();
        world.state = state;
        assert!(!world.says(words).fine);
    }
    let mut young = well();
    young.state = State::Connecting;
    young.mailbox.since = Some(at(10));
    assert!(young.says("it is logging in").fine);
}

#[test]
fn a_hold_names_its_folder_and_how_to_end_it() {
    let mut world = well();
    world.state = State::Held;
    world.mailbox.folders[0].hold = Some(api::Hold {
        why: "uidvalidity_changed".to_owned(),
        since: at(600),
        messages: 812,
        old: 700,
    });
    let verdict = world.says("INBOX is held since");
    assert!(
        verdict
            .text
            .contains("812 messages wait for your word, 700 of them old")
    );
    assert!(
        verdict
            .hint
            .unwrap()
            .starts_with("postrider mailboxes release support")
    );
}

#[test]
fn a_watch_without_life_is_silent_whatever_its_state_says() {
    let mut world = well();
    world.folders[0].last_life = at(1000);
    assert!(!world.says("no sign of life for INBOX since").fine);
}

#[test]
fn mail_above_the_cursor_is_on_its_way_or_was_not_announced() {
    let mut world = well();
    world.folders[0].behind = Some(true);
    world.folders[0].server = Some(api::ServerFolder {
        uidvalidity: 14,
        uidnext: Some(4714),
        highest_uid: Some(4713),
        messages: 9,
    });
    assert!(!world.says("UID 4713, which was not announced").fine);
    world.state = State::Syncing;
    assert!(world.says("it is reading").fine);
}

#[test]
fn a_mailbox_that_is_read_may_be_silent_at_its_endpoints() {
    let mut world = well();
    world.heard = false;
    world.says("no endpoint of this mailbox takes message.received");
    let mut world = well();
    world.owed = vec![api::Owed {
        endpoint: "tickets".to_owned(),
        endpoint_state: Some("open".to_owned()),
        pending: 7,
        dead: 1,
        oldest_pending: Some(at(1200)),
    }];
    world.says("7 events wait for endpoint tickets (in trouble), the oldest since");
    world.owed[0].oldest_pending = Some(at(10));
    for (state, words) in [("open", "in trouble"), ("paused", "paused")] {
        world.owed[0].endpoint_state = Some(state.to_owned());
        world.says(&format!("7 events wait for endpoint tickets ({words})"));
    }
    world.owed[0].endpoint_state = Some("closed".to_owned());
    world.says("1 events died at endpoint tickets");
    world.owed[0].dead = 0;
    world.says("nothing is wrong");
}

fn story() -> api::Story {
    api::Story {
        message_id: "a@b".to_owned(),
        taken: Vec::new(),
        events: Vec::new(),
        places: Vec::new(),
    }
}

fn server(folders: u32, note: Option<&str>) -> api::ServerLook {
    api::ServerLook {
        folders,
        left_out: Vec::new(),
        note: note.map(str::to_owned),
    }
}

fn of(story: &api::Story, look: &api::ServerLook) -> api::Verdict {
    let world = well();
    of_message(story, &world.facts(), look, world.verdict())
}

#[test]
fn a_message_that_became_an_event_says_who_took_it() {
    let delivery = |state: &str, note: Option<&str>| api::Delivery {
        endpoint: "tickets".to_owned(),
        sequence: 1,
        state: state.to_owned(),
        attempts: 3,
        due: None,
        delivered_at: (state == "delivered").then(|| at(60)),
        dead_reason: None,
        last_status: Some(413),
        last_note: note.map(str::to_owned),
        first_attempt_at: None,
        blocked: false,
        stepped_aside: false,
        replay: None,
        replay_mark: None,
        as_id: None,
    };
    let mut story = story();
    story.events.push(api::EventLife {
        event: api::Event {
            id: "5b6f".to_owned(),
            event_type: "message.received".to_owned(),
            mailbox: Some("support".to_owned()),
            subject: "INBOX/14/4711".to_owned(),
            time: at(90),
            stored_at: at(80),
            message_id: Some("a@b".to_owned()),
            deliveries: vec![delivery("delivered", None)],
        },
        attempts: Vec::new(),
    });
    let verdict = of(&story, &server(1, None));
    assert!(
        verdict.fine && verdict.text.contains("tickets took it at"),
        "{verdict:?}"
    );
    story.events[0].event.deliveries = vec![delivery("pending", Some("HTTP 503"))];
    let verdict = of(&story, &server(1, None));
    assert!(
        verdict
            .text
            .contains("has not taken it yet after 3 attempts (HTTP 503)")
    );
    assert_eq!(verdict.hint.as_deref(), Some("postrider events show 5b6f"));
    story.events[0].event.deliveries = vec![delivery("dead", Some("HTTP 413"))];
    assert!(
        of(&story, &server(1, None))
            .text
            .contains("tickets: dead (HTTP 413)")
    );
}

#[test]
fn a_message_that_no_endpoint_was_to_have_says_whose_condition_that_is() {
    let mut story = story();
    story.events.push(api::EventLife {
        event: api::Event {
            id: "5b6f".to_owned(),
            event_type: "message.received".to_owned(),
            mailbox: Some("support".to_owned()),
            subject: "INBOX/14/4711".to_owned(),
            time: at(90),
            stored_at: at(80),
            message_id: Some("a@b".to_owned()),
            deliveries: Vec::new(),
        },
        attempts: Vec::new(),
    });
    let verdict = of(&story, &server(1, None));
    assert!(
        verdict.text.ends_with("no endpoint was to have it"),
        "{verdict:?}"
    );
    let world = World {
        conditions: vec!["tickets".to_owned(), "vip".to_owned()],
        ..well()
    };
    let verdict = of_message(&story, &world.facts(), &server(1, None), world.verdict());
    let told = "the condition (`when`) of tickets, vip did not let it through";
    assert!(verdict.text.contains(told), "{verdict:?}");
    let hint = verdict.hint.unwrap_or_default();
    assert!(
        hint.contains("test-route FILE.eml --mailbox support"),
        "{hint}"
    );
}

#[test]
fn a_message_without_an_event_is_told_by_its_row_in_the_ledger() {
    for (outcome, reason, words) in [
        ("event", None, "has been pruned since"),
        ("known", None, "known again"),
        ("skipped", Some("before_start"), "start = \"new\""),
        ("skipped", Some("held"), "released the hold"),
        ("quarantined", Some("poison"), "quarantined"),
        ("vanished", None, "vanished"),
    ] {
        let mut story = story();
        story.places.push(api::MessagePlace {
            folder: "INBOX".to_owned(),
            uid: 4711,
            watched: true,
            taken: Some(taken(outcome, reason)),
        });
        let verdict = of(&story, &server(1, None));
        assert!(verdict.text.contains(words), "{verdict:?}");
        assert!(verdict.text.contains("INBOX, UID 4711"), "{verdict:?}");
    }
}

#[test]
fn a_message_on_the_server_alone_is_told_by_its_place() {
    let mut story = story();
    story.places.push(api::MessagePlace {
        folder: "Junk Email".to_owned(),
        uid: 3,
        watched: false,
        taken: None,
    });
    let verdict = of(&story, &server(7, None));
    assert!(
        verdict
            .text
            .contains("`Junk Email` (UID 3), which is not watched"),
        "{verdict:?}"
    );
    story.places[0] = api::MessagePlace {
        folder: "INBOX".to_owned(),
        uid: 4712,
        watched: true,
        taken: None,
    };
    let verdict = of(&story, &server(7, None));
    assert!(
        verdict.text.contains("not read yet; nothing is wrong"),
        "{verdict:?}"
    );
    story.places[0].uid = 4000;
    let verdict = of(&story, &server(7, None));
    assert!(
        !verdict.fine && verdict.text.contains("below the cursor (4711)"),
        "{verdict:?}"
    );
}

#[test]
fn a_message_that_is_nowhere_says_how_far_it_was_looked_for() {
    let verdict = of(&story(), &server(7, None));
    assert!(
        verdict.text.contains("in none of the 7 folders"),
        "{verdict:?}"
    );
    let verdict = of(&story(), &server(0, Some("it was not asked")));
    assert!(
        verdict.text.contains("the server: it was not asked"),
        "{verdict:?}"
    );
}
