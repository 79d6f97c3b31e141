//! LOGIN and AUTHENTICATE (RFC 3501 §6.2, RFC 4959, RFC 7628, and XOAUTH2 as Google and Microsoft
//! document it), with each server's way to refuse.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::time::sleep;

use super::{
    levers::{Levers, Refusal, Scope, Ungranted},
    presence::{HeldToken, Login, Mailbox},
    profile::{Kind, RefusalStyle},
    session::{Reply, Secrecy, Session, Stop, throttled},
    syntax::Scanner,
};
use crate::{authority::Standing, mailboxes::Access, sync::lock};

/// What a client shows.
enum Proof {
    Password(String),
    Token(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Plain,
    XOAuth2,
    OAuthBearer,
}

impl Session {
    pub(super) async fn login(&mut self, mut scanner: Scanner<'_>) -> Result<Reply, Stop> {
        let mut arguments = || {
            scanner.space()?;
            let user = scanner.string()?;
            scanner.space()?;
            let password = scanner.string()?;
            scanner.end().map(|()| (user, password))
        };
        let (user, password) = match arguments() {
            Ok(arguments) => arguments,
            Err(bad) => return Ok(bad.into()),
        };
        if let Some(refused) = self.in_clear_text("LOGIN") {
            return Ok(refused);
        }
        if self.offers("LOGINDISABLED") {
            let why = "it shows a password to a server that takes none";
            self.presence.complain("LOGIN".to_owned(), why);
            return Ok(Reply::No("LOGIN failed.".into()));
        }
        match self.admit(&user, Proof::Password(password)).await {
            Ok(()) => Ok(Reply::Ok("LOGIN completed.".into())),
            Err(refusal) => Ok(self.refused("LOGIN", &user, &refusal)),
        }
    }

    pub(super) async fn authenticate(&mut self, mut scanner: Scanner<'_>) -> Result<Reply, Stop> {
        let name = match scanner.space().and_then(|()| scanner.word()) {
            Ok(name) => name,
            Err(bad) => return Ok(bad.into()),
        };
        if let Some(refused) = self.in_clear_text("AUTHENTICATE") {
            return Ok(refused);
        }
        let mechanism = match name.as_str() {
            "PLAIN" => Mechanism::Plain,
            "XOAUTH2" => Mechanism::XOAuth2,
            "OAUTHBEARER" => Mechanism::OAuthBearer,
            _ => {
                return Ok(Reply::No(
                    "[CANNOT] Unsupported authentication mechanism.".into(),
                ));
            }
        };
        if !self.offers(&format!("AUTH={name}")) {
            return Ok(Reply::No(
                "[CANNOT] Unsupported authentication mechanism.".into(),
            ));
        }
        let response = if scanner.accept(b' ') {
            if !self.offers("SASL-IR") {
                return Ok(Reply::Bad("Command Argument Error. 12".into()));
            }
            scanner.until(b"").to_vec()
        } else {
            self.wire.put_line("+ ");
            self.line().await?
        };
        if response == b"*" {
            return Ok(Reply::Bad("AUTHENTICATE cancelled.".into()));
        }
        let decoded = STANDARD.decode(&response).ok();
        let Some((user, proof)) = decoded.and_then(|bytes| read_proof(mechanism, &bytes)) else {
            return Ok(Reply::No("AUTHENTICATE failed. malformed response".into()));
        };
        match self.admit(&user, proof).await {
            Ok(()) => Ok(self.welcome(&user)),
            Err(refusal) => {
                if refusal == Refusal::Credentials && !self.challenge(mechanism).await? {
                    return Ok(Reply::Bad("Invalid SASL argument.".into()));
                }
                Ok(self.refused("AUTHENTICATE", &user, &refusal))
            }
        }
    }

    /// Where the server has this manner: the error as JSON, and the client's empty answer to it (or
    /// a single 0x01, RFC 7628 §3.2.3). Whether the client answered as it has to.
    async fn challenge(&mut self, mechanism: Mechanism) -> Result<bool, Stop> {
        let profile = Arc::clone(&self.presence.profile);
        let wanted: &[u8] = match (profile.refusal, mechanism) {
            (RefusalStyle::Immediate, _) | (RefusalStyle::Challenge, Mechanism::Plain) => {
                return Ok(true);
            }
            (RefusalStyle::Challenge, Mechanism::XOAuth2) => b"",
            (RefusalStyle::Challenge, Mechanism::OAuthBearer) => b"AQ==",
        };
        let json = profile.challenge(mechanism == Mechanism::OAuthBearer);
        self.wire.put_line(format!("+ {}", STANDARD.encode(json)));
        Ok(self.line().await? == wanted)
    }

    /// Gmail tells its capabilities before the tagged OK; Exchange has to be asked.
    fn welcome(&mut self, user: &str) -> Reply {
        if self.presence.profile.kind != Kind::Gmail {
            return Reply::Ok("AUTHENTICATE completed.".into());
        }
        let offered = self.presence.profile.capabilities_after_login.join(" ");
        self.wire.put_line(format!("* CAPABILITY {offered}"));
        Reply::Ok(format!("{user} authenticated (Success)").into())
    }

    fn refused(&self, command: &str, user: &str, refusal: &Refusal) -> Reply {
        let text = match refusal {
            Refusal::Credentials => self.presence.profile.refused(command),
            Refusal::LogonDenied => format!(
                "{command} failed. Error=\"AuthFailed:LogonDenied-None-OAuthLog:AuthExc_Auth \
                 Failed\" User:{user}"
            ),
            Refusal::BasicAuthBlocked => "[AUTHENTICATIONFAILED] \
                 AuthFailed:LogonDenied-BasicAuthBlocked-<UserType:OutlookCom> \
                 LogonFailed-BasicAuthBlocked"
                .to_owned(),
            Refusal::Unavailable => "[UNAVAILABLE] Temporary authentication failure.".to_owned(),
            Refusal::Text(text) => text.clone(),
        };
        Reply::No(text.into())
    }

    /// Refuses, and notes, a secret on a connection that is not encrypted yet.
    fn in_clear_text(&self, command: &str) -> Option<Reply> {
        match self.secrecy {
            Secrecy::Fine => None,
            Secrecy::Needed => {
                self.presence
                    .complain(command.to_owned(), "it shows a secret before STARTTLS");
                Some(Reply::No("[PRIVACYREQUIRED] STARTTLS first.".into()))
            }
        }
    }

    async fn admit(&mut self, user: &str, proof: Proof) -> Result<(), Refusal> {
        let delay = lock(&self.presence.shared.board).ask(Some(user), |levers| {
            Some(levers.login_delay).filter(|delay| *delay > Duration::ZERO)
        });
        if let Some(delay) = delay {
            sleep(delay).await;
        }
        let verdict = self.verify(user, proof);
        let shared = Arc::clone(&self.presence.shared);
        let mut board = lock(&shared.board);
        board.attempted(user, verdict.is_ok());
        match verdict {
            Ok(login) => {
                board.logged_in(self.presence.entry.id, user);
                drop(board);
                self.presence.login = Some(login);
                self.presence.profile = shared.profile_for(Some(user));
                shared.changes.tell();
                Ok(())
            }
            Err(refusal) => {
                board.count(Some(user), |counters| counters.logins_refused += 1);
                drop(board);
                shared.changes.tell();
                Err(refusal)
            }
        }
    }

    fn verify(&self, user: &str, proof: Proof) -> Result<Login, Refusal> {
        let shared = &self.presence.shared;
        let mut board = lock(&shared.board);
        if let Some(refusal) = board.ask(Some(user), Levers::take_login_refusal) {
            return Err(refusal);
        }
        let throttle = |levers: &mut Levers| {
            let counts = levers.throttle_logins;
            counts.then(|| levers.take_throttle()).flatten()
        };
        if let Some((backoff, _)) = board.ask(Some(user), throttle) {
            board.count(Some(user), |counters| counters.throttled += 1);
            return Err(Refusal::Text(throttled(backoff)));
        }
        let open = board.counters(Scope::User(user)).sessions;
        let max = board.levers(Scope::User(user)).connections_max;
        let words = board.ask(Some(user), |levers| levers.connections_text.clone());
        let ungranted = board.ask(Some(user), |levers| {
            Some(levers.ungranted).filter(|style| *style != Ungranted::default())
        });
        drop(board);
        let access = shared.mailboxes.access(user).ok_or(Refusal::Credentials)?;
        let (token, reach) = check(&access, user, proof)?;
        let mailbox = match (reach, ungranted.unwrap_or_default()) {
            (Reach::Granted, _) if access.has_imap() => Mailbox::Open,
            (Reach::Granted, _) | (Reach::Ungranted, Ungranted::NotConnected) => {
                Mailbox::NotConnected
            }
            (Reach::Ungranted, Ungranted::Refused) => return Err(Refusal::Credentials),
            (Reach::Ungranted, Ungranted::LogonDenied) => return Err(Refusal::LogonDenied),
        };
        if max.is_some_and(|max| open >= max) {
            let profile = &self.presence.profile;
            let words = words.unwrap_or_else(|| profile.too_many().to_owned());
            return Err(Refusal::Text(words));
        }
        Ok(Login {
            user: user.to_owned(),
            mailbox,
            token,
        })
    }
}

/// Whether the mailbox was granted to who shows a proof.
enum Reach {
    Granted,
    Ungranted,
}

fn check(access: &Access, user: &str, proof: Proof) -> Result<(Option<HeldToken>, Reach), Refusal> {
    let token = match proof {
        Proof::Password(password) if access.takes_password(&password) => {
            return Ok((None, Reach::Granted));
        }
        Proof::Password(_) => return Err(Refusal::Credentials),
        Proof::Token(token) => token,
    };
    let authority = access.authority().ok_or(Refusal::Credentials)?;
    let good_for = |user: &str| match authority.standing(&token, user) {
        Standing::Good { .. } => true,
        Standing::Expired | Standing::Unknown => false,
    };
    // The token of somebody else who may open this mailbox stays that person's.
    let others = access.delegates().iter().map(String::as_str);
    let bearer = std::iter::once(user)
        .chain(others)
        .find(|who| good_for(who));
    let bearer = bearer.ok_or(Refusal::Credentials)?.to_owned();
    // An application's token is good for anybody; a person's for that person only.
    let reach = if good_for("") && !access.is_granted() {
        Reach::Ungranted
    } else {
        Reach::Granted
    };
    let held = HeldToken {
        changes: authority.subscribe(),
        authority: authority.clone(),
        bearer,
        token,
    };
    Ok((Some(held), reach))
}

fn read_proof(mechanism: Mechanism, bytes: &[u8]) -> Option<(String, Proof)> {
    let text = std::str::from_utf8(bytes).ok()?;
    match mechanism {
        Mechanism::Plain => {
            let mut parts = text.split('\0');
            let (_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
            Some((user.to_owned(), Proof::Password(password.to_owned())))
        }
        Mechanism::XOAuth2 => {
            let user = text.strip_prefix("user=")?.split('\u{1}').next()?;
            Some((user.to_owned(), Proof::Token(bearer(text)?)))
        }
        Mechanism::OAuthBearer => {
            let user = text.strip_prefix("n,a=")?.split(',').next()?;
            Some((user.to_owned(), Proof::Token(bearer(text)?)))
        }
    }
}

/// The token in `^Aauth=Bearer TOKEN^A^A`.
fn bearer(text: &str) -> Option<String> {
    let body = text.strip_suffix("\u{1}\u{1}")?;
    let field = body
        .split('\u{1}')
        .find_map(|one| one.strip_prefix("auth="))?;
    let (scheme, token) = field.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.to_owned())
}
