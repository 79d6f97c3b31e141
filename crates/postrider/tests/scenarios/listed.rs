//! The faults that have tests of their own: in the simulation, on a real Dovecot, in transcripts and
//! scenarios. `docs/RELIABILITY.md` has a row for each.

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
        "Exchange: each fault alone in a mailbox, all at the same time: what is told, and when it is tried again",
        &["each_fault_of_exchange_is_told_outlived_and_loses_nothing"],
    ),
    (
        "postrider/tests/scenarios",
        "Exchange: a tenant is throttled, another one is not",
        &["a_throttled_tenant_is_left_alone_and_others_do_not_notice"],
    ),
    (
        "postrider/tests/scenarios",
        "Exchange: throttled for 89 seconds to 50 minutes, and for a day",
        &["a_throttle_is_waited_for_as_long_as_it_asks_and_an_hour_at_most"],
    ),
    (
        "postrider/tests/scenarios",
        "Exchange: LIST with RETURN, LSUB and ENABLE break a front end, and are never sent",
        &["every_front_end_is_watched_with_folders_in_the_users_language"],
    ),
    (
        "postrider/tests/scenarios",
        "folder names in other languages, in modified UTF-7, with spaces and unquoted",
        &[
            "every_front_end_is_watched_with_folders_in_the_users_language",
            "gmails_ids_are_in_the_event_and_its_folders_are_found_by_role",
        ],
    ),
    (
        "postrider/tests/scenarios",
        "Gmail: challenge, expiry, throttle marks and limit, each in a mailbox",
        &["gmails_refusals_expiries_and_throttle_marks_lose_nothing"],
    ),
    (
        "postrider/tests/scenarios",
        "a bad configuration is reloaded",
        &["a_bad_configuration_is_refused_and_the_old_one_stays"],
    ),
    (
        "postrider/tests/scenarios",
        "endpoints, one for each and in order: every class of status, redirects to themselves, each form of Retry-After, slow and endless heads, trailers and interim answers (101, 103), bodies without end and of 100 MB, cut ones, a reset after the full request, two answers to one request, garbage, a wrong certificate, a refused connection, a name that is gone",
        &["whatever_an_endpoint_does_nothing_is_lost_repeated_under_another_id_or_out_of_order"],
    ),
    (
        "postrider-core/src/delivery",
        "endpoints, by simulated time: an outage of a week of every kind, and a deploy that answers 404 (or 401, 400, 5xx, …) for an hour: 0 dead, everything delivered, ramped up",
        &[
            "an_outage_of_a_week_ends_with_everything_delivered_ramped_up_and_nothing_dead",
            "a_deploy_that_answers_404_for_an_hour_leaves_nothing_dead",
        ],
    ),
    (
        "postrider/src/dispatcher",
        "endpoints: a deploy that answers 404 for longer than any limit; one that is taken out of the configuration while the store takes nothing",
        &[
            "a_deploy_that_answers_404_for_longer_than_any_limit_leaves_nothing_dead",
            "an_endpoint_that_is_taken_out_gives_back_its_leases_even_if_they_cannot_be_stored_then",
        ],
    ),
    (
        "postrider-webhook/tests/it",
        "endpoints: a name bound anew to a metadata service (DNS rebinding), private addresses in every encoding",
        &[
            "a_name_that_is_bound_anew_to_a_metadata_service_is_not_followed",
            "a_connection_that_is_kept_stays_at_the_address_that_was_judged",
            "a_strict_endpoint_is_not_reached_by_name_nor_by_address",
        ],
    ),
    (
        "postrider/tests/scenarios",
        "endpoints: a name that leads inside after it led to the receiver (DNS rebinding), several addresses with bad ones among them; proxies in the environment",
        &[
            "a_name_that_is_bound_anew_is_not_followed_inside_by_the_daemon",
            "a_proxy_is_used_where_an_endpoint_says_so_and_nowhere_else",
        ],
    ),
    (
        "postrider/tests/scenarios",
        "endpoints: certificates of an unknown authority, expired, not valid yet, of another name; a client certificate that is asked for, refused, broken, renewed; an authority that changes",
        &[
            "a_certificate_that_is_not_in_order_is_told_in_plain_words_and_costs_nothing",
            "a_client_certificate_is_shown_and_a_renewed_one_takes_its_place_while_running",
            "an_endpoints_own_authority_is_read_again_when_its_file_changes",
        ],
    ),
    (
        "postrider-webhook/tests/it",
        "endpoints: an HTTP/2 connection behind which nobody is awake",
        &["a_connection_behind_which_nobody_is_awake_does_not_get_the_next_attempt_too"],
    ),
    (
        "postrider/tests/scenarios",
        "escape sequences, line ends and marks of direction in a mail, secrets in a receiver's answer: logs, metrics, commands, database",
        &[
            "nothing_of_a_mail_or_a_secret_leaves_its_place_in_logs_for_people",
            "nothing_of_a_mail_or_a_secret_leaves_its_place_in_logs_of_every_step",
        ],
    ),
    (
        "postrider/tests/scenarios",
        "after delivery: a kill, refusals, a missing folder or a vanished message between acceptance and move or mark",
        &[
            "messages_are_moved_once_the_endpoint_accepted_and_not_before",
            "without_move_messages_are_copied_and_removed_by_uid",
            "what_is_to_be_done_outlives_a_kill_and_refusals",
            "a_folder_that_is_missing_is_told_and_used_once_it_is_there",
        ],
    ),
    (
        "postrider/tests/scenarios",
        "links: forged, of a message that is not kept, of one that is gone",
        &[
            "a_link_serves_its_attachment_as_a_harmless_download_and_a_forged_one_nothing",
            "what_is_not_kept_is_read_again_from_its_mailbox_and_what_is_gone_is_gone",
        ],
    ),
];
