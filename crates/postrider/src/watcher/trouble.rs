//! Trouble in words: its name, what an operator can do, and how it goes into the status. What servers
//! say may name people: addresses are left out of the log.

use std::{sync::Arc, time::Duration};

use postrider_core::watch::Failure;

use crate::{
    clock,
    config::Mailbox,
    diagnosis::Short,
    shared::Shared,
    watch_line::{Trouble, WatchLine},
};

/// A text of a server's without the addresses in it, for the log at `info` and above.
pub(crate) fn redacted(text: &str) -> String {
    let ends = |char: char| char.is_whitespace() || "<>()[]{}\"',;:=".contains(char);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(ends).unwrap_or(rest.len());
        let has_address = rest[..word].contains('@');
        out.push_str(if has_address {
            "(address)"
        } else {
            &rest[..word]
        });
        let next = rest[word..].chars().next().map_or(0, char::len_utf8);
        out.push_str(&rest[word..word + next]);
        rest = &rest[word + next..];
    }
    out
}

/// Errors carry their hint behind an empty line.
pub(super) fn split_hint(text: &str) -> (&str, Option<&str>) {
    match text.split_once("\n\nhint: ") {
        Some((what, hint)) => (what, Some(hint)),
        None => (text, None),
    }
}

/// The status says what is wrong; a throttle is told.
pub(crate) fn note_failure(
    shared: &Arc<Shared>,
    mailbox: &Arc<Mailbox>,
    line: &Arc<WatchLine>,
    failure: &Failure,
    detail: &str,
    diagnosis: Option<Box<Short>>,
) {
    let now = clock::now();
    match failure {
        Failure::Throttled { retry_after } => {
            let server = format!("{}:{}", mailbox.server.host, mailbox.server.port);
            shared.telemetry.mail.throttled(
                &line.key,
                &server,
                retry_after.unwrap_or(Duration::ZERO),
            );
        }
        Failure::TokenExpired => return,
        Failure::Connection
        | Failure::Refused
        | Failure::LoginRefused
        | Failure::CredentialRefused
        | Failure::ConnectionLimit
        | Failure::CredentialUnavailable { .. }
        | Failure::FolderMissing
        | Failure::StoreFull
        | Failure::Store => {}
    }
    line.update(|status| {
        let (since, reported) = match &status.trouble {
            // Whoever heard of a trouble wants to hear of its end, also if it looked otherwise since.
            Some(old) => (old.since, old.reported),
            None => (now.wall, false),
        };
        status.trouble = Some(Box::new(Trouble {
            cause: cause(failure),
            detail: detail.to_owned(),
            hint: hint(failure),
            since,
            at: now.wall,
            reported,
            diagnosis,
        }));
    });
}

/// The name of a failure in metrics, commands and events.
pub(crate) fn cause(failure: &Failure) -> &'static str {
    match failure {
        Failure::Connection => "connection",
        Failure::TokenExpired => "token_expired",
        Failure::LoginRefused => "login_refused",
        Failure::CredentialUnavailable { .. } => "credential_unavailable",
        Failure::CredentialRefused => "credential_refused",
        Failure::Throttled { .. } => "throttled",
        Failure::ConnectionLimit => "connection_limit",
        Failure::FolderMissing => "folder_missing",
        Failure::Refused => "refused",
        Failure::StoreFull => "store_full",
        Failure::Store => "store",
    }
}

/// What an operator can do about a failure.
pub(super) fn hint(failure: &Failure) -> &'static str {
    match failure {
        Failure::Connection => {
            "check that the host and port are reachable from here and that its certificate is valid"
        }
        Failure::TokenExpired => "nothing to do, a new session is opened",
        Failure::LoginRefused => {
            "check the mailbox's permission for this application (Add-MailboxPermission), that IMAP is on for it (Set-CASMailbox -ImapEnabled $true), its address, and the credential"
        }
        Failure::CredentialUnavailable { .. } => {
            "the token endpoint does not answer as it should; check the way to it, or wait"
        }
        Failure::CredentialRefused => {
            "the token endpoint refuses this credential: check client_id, tenant and the secret's value and expiry"
        }
        Failure::Throttled { .. } => "nothing to do, the server asked for slowness and gets it",
        Failure::ConnectionLimit => {
            "another program holds connections of this account, or limits.connections_per_mailbox is too high"
        }
        Failure::FolderMissing => {
            "check the name in folders = [...]: names are as the server lists them"
        }
        Failure::Refused => "the server refused a command; it is tried again",
        Failure::StoreFull => "free disk space or raise store.budget",
        Failure::Store => "see the store's own message in the log",
    }
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn addresses_in_a_servers_words_do_not_reach_the_log() {
        assert_eq!(
            redacted("NO AUTHENTICATE failed. User:<ceo@contoso.example>, a@b; code 5"),
            "NO AUTHENTICATE failed. User:<(address)>, (address); code 5"
        );
        assert_eq!(redacted("user=é@ü"), "user=(address)");
        assert_eq!(redacted("nothing here"), "nothing here");
        assert_eq!(redacted(""), "");
    }
}
