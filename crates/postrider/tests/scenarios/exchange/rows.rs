//! The faults: how each begins and ends, what the operator sees of it, and when it is tried again.

use std::{sync::Arc, time::Duration};

use postrider_sandbox::{
    imap::{Goodbye, Levers, Profile, Refusal, Scope, ThrottleStyle, Ungranted},
    mailboxes::{Access, Renumber},
};

use crate::world::World;

/// What the server asks for, so that the recovery is the daemon's own time.
const BACKOFF: Duration = Duration::from_secs(3);

/// One fault, and what has to come of it.
pub(super) struct Row {
    pub(super) fault: &'static str,
    pub(super) begin: fn(&Stand<'_>),
    /// What ends it; by itself, where it counts its times.
    pub(super) end: fn(&Stand<'_>),
    pub(super) sees: Sees,
    /// The mailbox has a credential of its own: a refusal that two mailboxes of one credential meet
    /// speaks of the token.
    pub(super) credential: Credential,
    /// Seconds from a refused or throttled login, or the fault itself, to the next login.
    pub(super) again: Option<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential {
    Shared,
    Own,
}

/// What `postrider mailboxes` tells while the fault lasts.
#[derive(Clone, Copy)]
pub(super) enum Sees {
    /// Nothing but a mailbox that is watched.
    Routine,
    /// This state and cause, and these words of the server's.
    Trouble(&'static str, &'static str, &'static str),
    /// A refused login: these words of the server's, and this diagnosis.
    Refusal(&'static str, &'static str),
}

/// Where a fault happens.
pub(super) struct Stand<'a> {
    pub(super) world: &'a World,
    pub(super) user: &'a str,
}

impl Stand<'_> {
    fn levers(&self, change: impl FnOnce(&mut Levers)) {
        self.world.server.levers(Scope::User(self.user), change);
    }

    fn drop_sessions(&self, goodbye: &Goodbye) {
        self.world
            .server
            .drop_sessions(Scope::User(self.user), goodbye);
    }

    fn access(&self, change: impl FnOnce(&mut Access)) {
        self.world.mailboxes.set_access(self.user, change).unwrap();
    }

    /// Ends the next session in place of a reply.
    fn ends_at(&self, command: &str, goodbye: Goodbye) {
        self.levers(|levers| levers.end_at_next(command, goodbye, 1));
    }

    fn throttles(&self, style: ThrottleStyle) {
        self.levers(|levers| levers.throttle_next(1, BACKOFF, style));
    }

    fn refuses(&self, refusal: Refusal, times: u32) {
        self.levers(|levers| levers.refuse_next_logins(refusal, times));
        self.drop_sessions(&Goodbye::Eof);
    }
}

fn itself(_: &Stand<'_>) {}

fn heals(at: &Stand<'_>) {
    at.levers(|levers| *levers = Levers::default());
}

fn is_granted(at: &Stand<'_>) {
    at.access(Access::grant);
    at.access(Access::enable_imap);
}

/// A fault of a session that works again after the next login, or at once.
const fn routine(fault: &'static str, begin: fn(&Stand<'_>), end: fn(&Stand<'_>)) -> Row {
    Row {
        fault,
        begin,
        end,
        sees: Sees::Routine,
        credential: Credential::Shared,
        again: None,
    }
}

const fn throttle(fault: &'static str, begin: fn(&Stand<'_>)) -> Row {
    Row {
        fault,
        begin,
        end: itself,
        sees: Sees::Trouble("throttled", "throttled", "Suggested Backoff Time: 3000"),
        credential: Credential::Shared,
        // What the server asks for, and the gate's own first wait of at most 30 s.
        again: Some((3.0, 32.0)),
    }
}

const fn refused(
    fault: &'static str,
    begin: fn(&Stand<'_>),
    end: fn(&Stand<'_>),
    says: &'static str,
    diagnosis: &'static str,
) -> Row {
    Row {
        fault,
        begin,
        end,
        sees: Sees::Refusal(says, diagnosis),
        credential: Credential::Own,
        again: Some((4.0, 20.0)),
    }
}

pub(super) const ROWS: &[Row] = &[
    refused(
        "AUTHENTICATE failed, twice",
        |at| at.refuses(Refusal::Credentials, 2),
        itself,
        "AUTHENTICATE failed.",
        "access_withdrawn",
    ),
    refused(
        "AUTHENTICATE failed with LogonDenied",
        |at| at.refuses(Refusal::LogonDenied, 1),
        itself,
        "AuthFailed:LogonDenied",
        "access_withdrawn",
    ),
    refused(
        "the grant is taken away, and the login refused",
        |at| {
            at.access(Access::revoke);
            at.drop_sessions(&Goodbye::Eof);
        },
        is_granted,
        "AUTHENTICATE failed.",
        "access_withdrawn",
    ),
    refused(
        "the grant is taken away, and the user not connected",
        |at| {
            at.access(Access::revoke);
            at.levers(|levers| levers.ungranted = Ungranted::NotConnected);
            at.drop_sessions(&Goodbye::Eof);
        },
        is_granted,
        "User is authenticated but not connected.",
        "imap_disabled",
    ),
    refused(
        "IMAP is switched off for the mailbox",
        |at| {
            at.access(Access::disable_imap);
            at.drop_sessions(&Goodbye::Eof);
        },
        is_granted,
        "User is authenticated but not connected.",
        "imap_disabled",
    ),
    routine(
        "a login takes 3 seconds",
        |at| {
            at.levers(|levers| levers.login_delay = Duration::from_secs(3));
            at.drop_sessions(&Goodbye::Expired);
        },
        heals,
    ),
    routine(
        "AccessTokenExpired in IDLE",
        |at| at.drop_sessions(&Goodbye::Expired),
        itself,
    ),
    routine(
        "AccessTokenExpired in place of the reply to UID SEARCH",
        |at| at.ends_at("UID SEARCH", Goodbye::Expired),
        itself,
    ),
    routine(
        "AccessTokenExpired in place of the reply to UID FETCH",
        |at| at.ends_at("UID FETCH", Goodbye::Expired),
        itself,
    ),
    routine(
        "AccessTokenExpired in place of the reply to DONE",
        |at| at.ends_at("DONE", Goodbye::Expired),
        itself,
    ),
    routine(
        "the stream ends in place of the reply to DONE",
        |at| at.ends_at("DONE", Goodbye::Eof),
        itself,
    ),
    throttle("throttled with NO", |at| at.throttles(ThrottleStyle::No)),
    throttle("throttled with NO and BYE", |at| {
        at.throttles(ThrottleStyle::NoThenBye);
    }),
    throttle("throttled with BAD", |at| at.throttles(ThrottleStyle::Bad)),
    throttle("throttled with BAD and BYE", |at| {
        at.throttles(ThrottleStyle::BadThenBye);
    }),
    Row {
        sees: Sees::Trouble("backoff", "connection", "Server Unavailable. 15"),
        again: Some((0.5, 20.0)),
        ..routine(
            "Server Unavailable. 15 in place of the reply to DONE",
            |at| at.ends_at("DONE", Goodbye::Unavailable),
            itself,
        )
    },
    Row {
        sees: Sees::Trouble("backoff", "connection", "Server Unavailable. 15"),
        again: Some((0.5, 20.0)),
        ..routine(
            "Server Unavailable. 15 in place of the reply to UID SEARCH",
            |at| at.ends_at("UID SEARCH", Goodbye::Unavailable),
            itself,
        )
    },
    routine(
        "IDLE announces nothing",
        |at| at.levers(|levers| levers.silent_idle = true),
        itself,
    ),
    routine(
        "EXISTS comes before the + of IDLE",
        |at| {
            at.levers(|levers| levers.exists_before_plus = true);
            at.drop_sessions(&Goodbye::Expired);
        },
        itself,
    ),
    routine(
        "EXISTS comes between DONE and its OK only",
        |at| at.levers(|levers| levers.exists_after_done = true),
        itself,
    ),
    Row {
        sees: Sees::Trouble("backoff", "connection", "ending IDLE"),
        ..routine(
            "DONE is never answered",
            |at| at.levers(|levers| levers.ignore_done = true),
            heals,
        )
    },
    routine(
        "IDLE is cut every 2 seconds",
        |at| {
            at.levers(|levers| levers.idle_max = Some((Duration::from_secs(2), Goodbye::Eof)));
            at.drop_sessions(&Goodbye::Eof);
        },
        heals,
    ),
    routine(
        "the half-broken IMAP4rev2 is offered",
        |at| {
            at.levers(|levers| levers.profile = Some(Arc::new(Profile::exchange_rev2())));
            at.drop_sessions(&Goodbye::Expired);
        },
        itself,
    ),
    routine(
        "SEARCH is answered with ESEARCH",
        |at| at.levers(|levers| levers.answer_esearch = true),
        itself,
    ),
    routine(
        "response codes without the OK before them",
        |at| {
            at.levers(|levers| levers.codes_without_ok = true);
            at.drop_sessions(&Goodbye::Expired);
        },
        itself,
    ),
    routine(
        "UIDVALIDITY 14 becomes 15, and all UIDs others",
        |at| {
            let mailboxes = &at.world.mailboxes;
            mailboxes
                .set_uidvalidity(at.user, "INBOX", 15, Renumber::From(9000))
                .unwrap();
        },
        itself,
    ),
    routine(
        "thousands of UIDs are left out",
        |at| {
            at.world
                .mailboxes
                .skip_uids(at.user, "INBOX", 70_000)
                .unwrap();
        },
        itself,
    ),
    routine(
        "sizes are wrong, and bytes differ at each fetch",
        |at| {
            at.levers(|levers| {
                levers.size_error_percent = -8;
                levers.rebuild_messages = true;
            });
        },
        itself,
    ),
    Row {
        sees: Sees::Trouble("throttled", "connection_limit", "Too many connections."),
        again: Some((10.0, 60.0)),
        ..routine(
            "too many connections",
            |at| {
                at.levers(|levers| levers.connections_max = Some(0));
                at.drop_sessions(&Goodbye::Eof);
            },
            heals,
        )
    },
];
