//! What Exchange Online and Gmail were seen to do, as faults of the long run: each begun on the
//! running sandbox server, and ended.

use std::{sync::Arc, time::Duration};

use postrider_sandbox::{
    imap::{Goodbye, Levers, OnExpiry, Profile, Refusal, Scope, ThrottleStyle, Ungranted},
    mailboxes::{Access, Renumber},
};
use rand::Rng as _;
use tokio::time::sleep;

use crate::inject::Scene;

/// What a server may ask for in the long run, so that the recovery is the daemon's own time.
const BACKOFF: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quirk {
    FrontEnds,
    Capabilities,
    LogonDenied,
    Ungranted,
    SlowLogins,
    ExpiredInIdle,
    ExpiredAnywhere,
    ExpiredSilently,
    ThrottledAnyhow,
    ThrottledTenant,
    Unavailable,
    OddIdle,
    IdleCut,
    HalfBrokenRev2,
    CodesWithoutOk,
    SmallUidvalidity,
    WrongSizes,
    TooManyConnections,
    Gmail,
}

impl Scene {
    #[expect(clippy::too_many_lines, reason = "a table of faults")]
    pub(crate) async fn begin_quirk(&mut self, quirk: Quirk) {
        match quirk {
            Quirk::FrontEnds => {
                for profile in [Profile::exchange(), Profile::exchange_tcpproxy()] {
                    self.plays(profile, &Goodbye::Eof);
                    self.a_while().await;
                }
            }
            Quirk::Capabilities => {
                let hidden = ["SASL-IR", "MOVE", "ID", "NAMESPACE", "IDLE"];
                self.levers(|levers| {
                    levers.hidden_capabilities = hidden.map(str::to_owned).to_vec();
                });
                self.plays(Profile::exchange(), &Goodbye::Expired);
            }
            Quirk::LogonDenied => {
                self.levers(|levers| {
                    levers.refuse_next_logins(Refusal::LogonDenied, 2);
                    levers.refuse_next_logins(Refusal::Credentials, 2);
                });
                self.drop_sessions(Scope::Server);
            }
            Quirk::Ungranted => self.take_grant(),
            Quirk::SlowLogins => {
                self.levers(|levers| levers.login_delay = Duration::from_secs(3));
                self.drop_sessions(Scope::Server);
            }
            Quirk::ExpiredInIdle => {
                let server = &self.world.server;
                server.drop_sessions(Scope::Server, &Goodbye::Expired);
            }
            Quirk::ExpiredAnywhere => self.ends_anywhere(&Goodbye::Expired),
            Quirk::ExpiredSilently => {
                self.levers(|levers| levers.on_expiry = OnExpiry::EofInsteadOfReply);
                self.authority.expire_all();
            }
            Quirk::ThrottledAnyhow => {
                for style in [
                    ThrottleStyle::No,
                    ThrottleStyle::NoThenBye,
                    ThrottleStyle::Bad,
                    ThrottleStyle::BadThenBye,
                ] {
                    self.levers(|levers| levers.throttle_next(1, BACKOFF, style));
                    self.a_while().await;
                }
            }
            Quirk::ThrottledTenant => self.levers(|levers| {
                levers.throttle_logins = true;
                levers.throttle_for(BACKOFF, ThrottleStyle::BadThenBye);
            }),
            Quirk::Unavailable => self.ends_anywhere(&Goodbye::Unavailable),
            Quirk::OddIdle => self.levers(|levers| {
                levers.exists_before_plus = true;
                levers.exists_after_done = true;
            }),
            Quirk::IdleCut => self.levers(|levers| {
                levers.idle_max = Some((Duration::from_millis(700), Goodbye::Eof));
            }),
            Quirk::HalfBrokenRev2 => {
                self.levers(|levers| levers.answer_esearch = true);
                self.plays(Profile::exchange_rev2(), &Goodbye::Expired);
            }
            Quirk::CodesWithoutOk => {
                self.levers(|levers| levers.codes_without_ok = true);
                self.drop_sessions(Scope::Server);
            }
            Quirk::SmallUidvalidity => self.number_small(),
            Quirk::WrongSizes => self.levers(|levers| {
                levers.size_error_percent = 7;
                levers.rebuild_messages = true;
            }),
            Quirk::TooManyConnections => {
                self.each_user(|levers| levers.connections_max = Some(0));
                self.plays(Profile::gmail(), &Goodbye::Eof);
            }
            Quirk::Gmail => {
                self.levers(|levers| levers.mark_throttled = true);
                self.plays(Profile::gmail(), &Goodbye::Eof);
                self.a_while().await;
                self.levers(|levers| levers.refuse_next_logins(Refusal::Credentials, 1));
                let server = &self.world.server;
                server.drop_sessions(Scope::Server, &Goodbye::Expired);
            }
        }
    }

    /// What heals by itself, or must hold until all mail is there, has nothing to do here.
    pub(crate) fn end_quirk(&self, quirk: Quirk) {
        match quirk {
            Quirk::Ungranted => {
                for user in &self.world.users {
                    self.world
                        .mailboxes
                        .set_access(user, Access::grant)
                        .unwrap();
                }
            }
            Quirk::SlowLogins => self.levers(|levers| levers.login_delay = Duration::ZERO),
            Quirk::IdleCut => self.levers(|levers| levers.idle_max = None),
            Quirk::TooManyConnections => self.each_user(|levers| levers.connections_max = None),
            Quirk::FrontEnds
            | Quirk::Capabilities
            | Quirk::LogonDenied
            | Quirk::ExpiredInIdle
            | Quirk::ExpiredAnywhere
            | Quirk::ExpiredSilently
            | Quirk::ThrottledAnyhow
            | Quirk::ThrottledTenant
            | Quirk::Unavailable
            | Quirk::OddIdle
            | Quirk::HalfBrokenRev2
            | Quirk::CodesWithoutOk
            | Quirk::SmallUidvalidity
            | Quirk::WrongSizes
            | Quirk::Gmail => {}
        }
    }

    /// Another server from the next connection on.
    fn plays(&self, profile: Profile, goodbye: &Goodbye) {
        self.levers(|levers| levers.profile = Some(Arc::new(profile)));
        self.world.server.drop_sessions(Scope::Server, goodbye);
    }

    fn each_user(&self, change: impl Fn(&mut Levers)) {
        for user in &self.world.users {
            self.world.server.levers(Scope::User(user), &change);
        }
    }

    fn ends_anywhere(&self, goodbye: &Goodbye) {
        self.levers(|levers| {
            for command in ["NAMESPACE", "EXAMINE", "UID SEARCH", "UID FETCH", "DONE"] {
                levers.end_at_next(command, goodbye.clone(), 1);
            }
        });
    }

    fn take_grant(&mut self) {
        let mailbox = self.any_mailbox();
        let style = if self.rng.random() {
            Ungranted::LogonDenied
        } else {
            Ungranted::NotConnected
        };
        let user = self.world.users[mailbox].clone();
        self.levers(|levers| levers.ungranted = style);
        let mailboxes = &self.world.mailboxes;
        mailboxes.set_access(&user, Access::revoke).unwrap();
        self.drop_sessions(Scope::User(&user));
    }

    /// As Exchange numbers: from 14 on.
    fn number_small(&mut self) {
        for _ in 0..2 {
            let mailbox = self.any_mailbox();
            let (user, mailboxes) = (&self.world.users[mailbox], &self.world.mailboxes);
            let old = mailboxes.uidvalidity(user, "INBOX").unwrap();
            let small = if old < 1_000 { old + 1 } else { 14 };
            mailboxes
                .set_uidvalidity(user, "INBOX", small, Renumber::From(1))
                .unwrap();
            mailboxes.skip_uids(user, "INBOX", 5_000).unwrap();
        }
    }

    async fn a_while(&mut self) {
        let pause = self.rng.random_range(100..700);
        sleep(Duration::from_millis(pause)).await;
    }
}
