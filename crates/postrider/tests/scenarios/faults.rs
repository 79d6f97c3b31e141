//! The list of faults that postrider is held against: those that the long run injects into the
//! running daemon, and those that have tests of their own. `docs/RELIABILITY.md` has a row for each.

/// What breaks. Two faults at the same time are of different layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Receiver,
    Network,
    Server,
    Tokens,
    Mail,
    Process,
    Disk,
}

/// A fault of the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Answers500,
    Answers401,
    Answers404,
    Answers429,
    ReceiverDown,
    ReceiverSlow,
    ClosesUnanswered,
    RefusesOne,
    Frozen,
    Swallowed,
    Cut,
    Reset,
    Unreachable,
    Trickle,
    ServerKilled,
    SessionsEnded,
    Throttled,
    LoginUnavailable,
    OneLoginRefused,
    SilentIdle,
    IgnoresDone,
    RefusesCommands,
    NotConnected,
    TokensExpired,
    TokensDown,
    Tokens500,
    Tokens429,
    Unreadable,
    Odd,
    NewUidvalidity,
    NewUidvalidityWhileDown,
    UidsReused,
    Removed,
    Killed,
    KilledAgain,
    Terminated,
    Suspended,
    Reloaded,
    DiskFull,
}

/// In the order of the page.
pub(crate) const FAULTS: &[(Fault, Layer, &str)] = &[
    (Fault::Answers500, Layer::Receiver, "receiver answers 500"),
    (
        Fault::Answers401,
        Layer::Receiver,
        "receiver answers 401, as after a bad deploy",
    ),
    (
        Fault::Answers404,
        Layer::Receiver,
        "receiver answers 404, as after a bad deploy",
    ),
    (
        Fault::Answers429,
        Layer::Receiver,
        "receiver answers 429 with Retry-After",
    ),
    (Fault::ReceiverDown, Layer::Receiver, "receiver is down"),
    (
        Fault::ReceiverSlow,
        Layer::Receiver,
        "receiver takes a second for each answer",
    ),
    (
        Fault::ClosesUnanswered,
        Layer::Receiver,
        "receiver closes after the full request, unanswered",
    ),
    (
        Fault::RefusesOne,
        Layer::Receiver,
        "receiver refuses one event (413) and takes the others",
    ),
    (
        Fault::Frozen,
        Layer::Network,
        "connections to the server freeze, then are reset",
    ),
    (
        Fault::Swallowed,
        Layer::Network,
        "a firewall forgets the connections: bytes are swallowed",
    ),
    (
        Fault::Cut,
        Layer::Network,
        "connections are cut (FIN), again and again",
    ),
    (
        Fault::Reset,
        Layer::Network,
        "connections are reset (RST), again and again",
    ),
    (
        Fault::Unreachable,
        Layer::Network,
        "connections end and new ones are refused",
    ),
    (
        Fault::Trickle,
        Layer::Network,
        "the line carries 8 KB per second",
    ),
    (
        Fault::ServerKilled,
        Layer::Server,
        "mail server is stopped and started again",
    ),
    (
        Fault::SessionsEnded,
        Layer::Server,
        "server ends all sessions, with BYE or without a word",
    ),
    (
        Fault::Throttled,
        Layer::Server,
        "server throttles with a suggested backoff",
    ),
    (
        Fault::LoginUnavailable,
        Layer::Server,
        "all logins are refused as UNAVAILABLE",
    ),
    (
        Fault::OneLoginRefused,
        Layer::Server,
        "one mailbox's login is refused, later accepted",
    ),
    (
        Fault::SilentIdle,
        Layer::Server,
        "server announces nothing in IDLE",
    ),
    (Fault::IgnoresDone, Layer::Server, "DONE is never answered"),
    (
        Fault::RefusesCommands,
        Layer::Server,
        "EXAMINE, UID SEARCH and UID FETCH are answered NO",
    ),
    (
        Fault::NotConnected,
        Layer::Server,
        "login says OK, then \"authenticated but not connected\"",
    ),
    (
        Fault::TokensExpired,
        Layer::Tokens,
        "all tokens end in mid-session",
    ),
    (
        Fault::TokensDown,
        Layer::Tokens,
        "tokens end while the token endpoint is down",
    ),
    (
        Fault::Tokens500,
        Layer::Tokens,
        "tokens end while the token endpoint answers 503",
    ),
    (
        Fault::Tokens429,
        Layer::Tokens,
        "tokens end while the token endpoint throttles (429)",
    ),
    (
        Fault::Unreadable,
        Layer::Mail,
        "messages that cannot be read: NIL body, garbage, cut connection",
    ),
    (
        Fault::Odd,
        Layer::Mail,
        "odd messages: 8-bit headers, broken MIME, 5,000 parts, 30 nested, NUL",
    ),
    (
        Fault::NewUidvalidity,
        Layer::Mail,
        "UIDVALIDITY changes while watching",
    ),
    (
        Fault::NewUidvalidityWhileDown,
        Layer::Mail,
        "UIDVALIDITY changes while the daemon is down",
    ),
    (
        Fault::UidsReused,
        Layer::Mail,
        "UIDs go back and are used again while the daemon is down",
    ),
    (
        Fault::Removed,
        Layer::Mail,
        "messages are removed the moment they arrive",
    ),
    (Fault::Killed, Layer::Process, "kill -9 under load"),
    (
        Fault::KilledAgain,
        Layer::Process,
        "kill -9 again while starting, several times",
    ),
    (
        Fault::Terminated,
        Layer::Process,
        "SIGTERM and a restart under load",
    ),
    (
        Fault::Suspended,
        Layer::Process,
        "the process is suspended (SIGSTOP) for seconds",
    ),
    (
        Fault::Reloaded,
        Layer::Process,
        "configuration reloaded under load",
    ),
    (
        Fault::DiskFull,
        Layer::Disk,
        "the disk fills up and is freed",
    ),
];

/// The row of rounds with two faults of the list at once.
pub(crate) const TWO_AT_ONCE: &str = "two of these at the same time";

impl Fault {
    pub(crate) fn layer(self) -> Layer {
        self.row().1
    }

    pub(crate) fn name(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (Self, Layer, &'static str) {
        let row = FAULTS.iter().find(|row| row.0 == self);
        row.expect("each fault is in the list")
    }

    /// Whether the daemon waits for a minute or so after it, by its own policy: too long for the
    /// sample among the ordinary tests.
    pub(crate) fn is_slow(self) -> bool {
        matches!(
            self,
            Self::Swallowed | Self::OneLoginRefused | Self::NotConnected
        )
    }

    /// Whether it can be there beside another one: not where it needs a calm moment, a stopped
    /// daemon, or a bound on what the account may say.
    pub(crate) fn combines(self) -> bool {
        !matches!(
            self,
            Self::Unreadable
                | Self::NewUidvalidityWhileDown
                | Self::UidsReused
                | Self::Removed
                | Self::DiskFull
        )
    }
}

/// Faults of the simulation, by the names under which it counts them.
pub(crate) const SIMULATED: &[(&str, &str)] = &[
    (
        "connection lost",
        "the connection is lost at any effect of the watch",
    ),
    ("crash", "the process dies between any two effects"),
    (
        "answer spoilt",
        "answers to a FETCH are missing or unreadable",
    ),
    ("survey refused", "a survey is refused"),
    ("read refused", "a read is refused"),
    (
        "cut by a message",
        "a message ends the connection when it is read",
    ),
    (
        "killed by a message",
        "a message ends the process when it is read",
    ),
    ("login failed", "a login is refused"),
    ("throttled", "the server throttles"),
    ("token expired", "a token ends in mid-session"),
    (
        "expunged before it was read",
        "a message is removed between survey and read",
    ),
    ("UIDVALIDITY changed", "UIDVALIDITY changes at any moment"),
    (
        "UIDs went back",
        "UIDs go back and are used again at any moment",
    ),
    ("a new account", "another account stands under the key"),
    ("state lost", "the stored state is lost"),
    ("a copy arrived", "a message arrives twice"),
    ("disk full", "no room for what was read"),
    ("down for days", "the daemon is down for days"),
    ("wall clock jumped", "the wall clock jumps by days"),
];

/// A fault that a test injects on a real Dovecot, and how the figures begin that the test notes.
pub(crate) const ON_DOVECOT: &[(&str, &str, &str)] = &[
    (
        "Dovecot: kill -9 of the daemon in the middle of a burst",
        "kill_in_the_middle_of_a_burst_of_500_loses_nothing",
        "kill_",
    ),
    (
        "Dovecot: odd messages among 1,000 at random gaps to 20 mailboxes",
        "a_thousand_messages_to_twenty_mailboxes_are_a_thousand_events",
        "thousand_",
    ),
    (
        "Dovecot: server killed and started again",
        "a_server_that_is_killed_and_started_again_is_watched_again_within_30_seconds",
        "server_",
    ),
    (
        "Dovecot: connections frozen or swallowed",
        "frozen_connections_are_noticed_and_replaced",
        "connections_",
    ),
    (
        "Dovecot: token revoked in mid-session",
        "a_token_that_is_revoked_in_mid_session_is_replaced",
        "revoked_token_",
    ),
    (
        "Dovecot: login refused for a while",
        "a_login_that_is_refused_for_a_while_is_watched_again_soon_after",
        "refused_login_",
    ),
    (
        "Dovecot: one mailbox wrong for ever",
        "a_mailbox_that_is_wrong_for_ever_changes_nothing_for_the_others",
        "wrong_for_ever_",
    ),
    (
        "Dovecot: UIDVALIDITY changes while watching",
        "a_new_uidvalidity_while_watching_repeats_nothing_and_loses_nothing",
        "uidvalidity_watching_",
    ),
    (
        "Dovecot: UIDVALIDITY changes while down",
        "a_new_uidvalidity_while_down_repeats_nothing_and_loses_nothing",
        "uidvalidity_down_",
    ),
    (
        "Dovecot: another account under the same key",
        "another_account_under_the_same_key_is_held_until_an_operator_adopts_it",
        "account_",
    ),
];

/// Faults that have tests of their own, which pass or fail and count nothing: where, what, which.
pub(crate) const TESTED: &[(&str, &str, &[&str])] = &[
    (
        "postrider-imap/tests/transcripts",
        "100,000 nested parentheses, smuggled ones, lines that parsers die of",
        &[
            "odd_lines_do_not_end_a_session",
            "odd_lines_do_not_hinder_a_login",
        ],
    ),
    (
        "postrider-imap/tests/transcripts",
        "a literal announced as 4 GB, a line that never ends",
        &[
            "broken_servers_end_their_own_session_only",
            "memory_stays_within_bounds",
        ],
    ),
    (
        "postrider-imap/tests/transcripts",
        "one byte per second",
        &[
            "one_byte_per_moment_ends_at_the_deadline",
            "one_byte_per_moment_of_a_body_is_no_progress",
        ],
    ),
    (
        "postrider-imap/tests/transcripts",
        "garbage after STARTTLS, PREAUTH",
        &[
            "garbage_after_starttls_is_refused",
            "preauth_and_odd_greetings_are_refused",
        ],
    ),
    (
        "postrider-imap/tests/transcripts",
        "a FETCH that does not parse among good ones",
        &["a_fetch_that_does_not_parse_among_good_ones"],
    ),
    (
        "postrider-imap/tests/transcripts",
        "a tagged NO in every command",
        &["a_refusal_is_never_an_empty_success"],
    ),
    (
        "postrider-imap/tests/transcripts",
        "a lost connection in every command",
        &["a_lost_connection_is_never_an_empty_success"],
    ),
    (
        "postrider-store/tests/it",
        "kill -9 of a process that commits",
        &["a_killed_process_loses_nothing_that_it_was_told_is_stored"],
    ),
    (
        "postrider-store/tests/it",
        "a full disk at every kind of write, also at the start",
        &[
            "on_a_full_disk_mail_is_refused_and_settling_and_pruning_go_on",
            "a_store_opens_on_a_full_disk_and_settles",
            "a_spool_that_fills_the_disk_stops_mail_and_leaves_no_half_file",
        ],
    ),
    (
        "postrider-store/tests/it",
        "a damaged, truncated or foreign database file",
        &[
            "a_file_that_is_no_database_is_called_damaged",
            "a_truncated_database_is_called_damaged",
            "a_page_that_was_overwritten_is_found_after_an_unclean_end",
            "a_database_that_is_destroyed_under_the_store_ends_it",
        ],
    ),
    (
        "postrider/tests/scenarios",
        "a ledger row is lost",
        &["a_ledger_row_that_is_lost_shows_in_the_sums_and_is_found_by_the_audit"],
    ),
    (
        "postrider/tests/scenarios",
        "a second daemon on the same store",
        &["a_second_daemon_on_the_same_store_is_refused"],
    ),
    (
        "postrider/tests/scenarios",
        "old unknown mail after a break of continuity",
        &["old_unknown_mail_after_a_break_is_held_until_an_operator_decides"],
    ),
    (
        "postrider/tests/scenarios",
        "a bad configuration is reloaded",
        &["a_bad_configuration_is_refused_and_the_old_one_stays"],
    ),
];
