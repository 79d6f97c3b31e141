//! LOGIN and AUTHENTICATE (RFC 3501 §6.2, RFC 4959, RFC 7628, and XOAUTH2 as Google and Microsoft
//! document it), with each server's way to refuse.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::time::sleep;

use super::{
    config::RefusalStyle,
    levers::{Refusal, Scope},
    presence::{HeldToken, Login},
    session::{Reply, Secrecy, Session, Stop},
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
        match self.admit(&user, Proof::Password(password)).await {
            Ok(()) => Ok(Reply::Ok("LOGIN completed.".into())),
            Err(refusal) => Ok(refused("LOGIN", &refusal)),
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
            Ok(()) => Ok(Reply::Ok("AUTHENTICATE completed.".into())),
            Err(refusal) => {
                if refusal == Refusal::Credentials {
                    self.challenge(mechanism).await?;
                }
                Ok(refused("AUTHENTICATE", &refusal))
            }
        }
    }

    /// Where the server has this manner: the error as JSON, and the client's empty answer to it.
    async fn challenge(&mut self, mechanism: Mechanism) -> Result<(), Stop> {
        let json = match (self.presence.shared.config.refusal, mechanism) {
            (RefusalStyle::Immediate, _) | (RefusalStyle::Challenge, Mechanism::Plain) => {
                return Ok(());
            }
            (RefusalStyle::Challenge, Mechanism::XOAuth2) => {
                r#"{"status":"401","schemes":"bearer","scope":"mail"}"#
            }
            (RefusalStyle::Challenge, Mechanism::OAuthBearer) => r#"{"status":"invalid_token"}"#,
        };
        self.wire.put_line(format!("+ {}", STANDARD.encode(json)));
        self.line().await?;
        Ok(())
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
        let shared = &self.presence.shared;
        match verdict {
            Ok(login) => {
                lock(&shared.board).logged_in(self.presence.entry.id, user);
                self.presence.login = Some(login);
                self.presence.shared.changes.tell();
                Ok(())
            }
            Err(refusal) => {
                lock(&shared.board).count(Some(user), |counters| counters.logins_refused += 1);
                shared.changes.tell();
                Err(refusal)
            }
        }
    }

    fn verify(&self, user: &str, proof: Proof) -> Result<Login, Refusal> {
        let shared = &self.presence.shared;
        let mut board = lock(&shared.board);
        if let Some(refusal) = board.ask(Some(user), |levers| levers.refuse_login.clone()) {
            return Err(refusal);
        }
        let open = board.counters(Scope::User(user)).sessions;
        let max = board.levers(Scope::User(user)).connections_max;
        drop(board);
        let access = shared.mailboxes.access(user).ok_or(Refusal::Credentials)?;
        let token = check(&access, user, proof)?;
        if max.is_some_and(|max| open >= max) {
            return Err(Refusal::Text(
                "[LIMIT] Maximum number of connections from user+IP exceeded \
                 (mail_max_userip_connections)"
                    .to_owned(),
            ));
        }
        Ok(Login {
            user: user.to_owned(),
            token,
        })
    }
}

fn check(access: &Access, user: &str, proof: Proof) -> Result<Option<HeldToken>, Refusal> {
    match proof {
        Proof::Password(password) if access.takes_password(&password) => Ok(None),
        Proof::Password(_) => Err(Refusal::Credentials),
        Proof::Token(token) => {
            let authority = access.authority().ok_or(Refusal::Credentials)?;
            match authority.standing(&token, user) {
                Standing::Good { .. } => Ok(Some(HeldToken {
                    changes: authority.subscribe(),
                    authority: authority.clone(),
                    token,
                })),
                Standing::Expired | Standing::Unknown => Err(Refusal::Credentials),
            }
        }
    }
}

fn refused(command: &str, refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Credentials => Reply::No(format!("{command} failed.").into()),
        Refusal::Unavailable => Reply::No("[UNAVAILABLE] Temporary authentication failure.".into()),
        Refusal::Text(text) => Reply::No(text.clone().into()),
    }
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
