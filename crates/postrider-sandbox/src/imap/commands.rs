//! Which commands there are, in which state each is allowed, and which of them a watcher must never
//! send.

use super::{
    config::TlsMode,
    presence::Mode,
    profile::Rev2,
    session::{Reply, Secrecy, Session, Stop, without_secrets},
    syntax::Scanner,
};

impl Session {
    pub(super) async fn dispatch(
        &mut self,
        name: &str,
        mut scanner: Scanner<'_>,
        line: &[u8],
    ) -> Result<Reply, Stop> {
        let may_change = self.presence.is_set(|levers| levers.allow_changes);
        if let Some(why) = changes_mail(name).filter(|_| !(may_change && is_served(name))) {
            self.presence.complain(without_secrets(name, line), why);
            return Ok(Reply::No(format!("{name} is not served here.").into()));
        }
        if let Some(refused) = self.out_of_state(name) {
            return Ok(refused);
        }
        if needs(name).is_some_and(|capability| !self.offers(capability)) {
            let why = "its capability was not offered";
            self.presence.complain(without_secrets(name, line), why);
            return Ok(Reply::Bad("Command Error. 12".into()));
        }
        let reply = match name {
            "CAPABILITY" => self.capability(),
            "NOOP" | "CHECK" => self.noop(name),
            "LOGOUT" => Ok(Reply::Logout),
            "ID" => self.id(),
            "NAMESPACE" => {
                self.wire.put_line("* NAMESPACE ((\"\" \"/\")) NIL NIL");
                Ok(Reply::Ok("NAMESPACE completed.".into()))
            }
            "ENABLE" => self.enable(scanner, line),
            "STARTTLS" => Ok(self.starttls()),
            "LOGIN" => return self.login(scanner).await,
            "AUTHENTICATE" => return self.authenticate(scanner).await,
            "LIST" | "LSUB" => self.list(name, &mut scanner, line),
            "STATUS" => self.status(&mut scanner),
            "EXAMINE" => self.select(&mut scanner, Mode::ReadOnly),
            "SELECT" if may_change => self.select(&mut scanner, Mode::ReadWrite),
            "SELECT" => {
                let why = "SELECT opens the folder for changes; EXAMINE does not";
                self.presence.complain(without_secrets(name, line), why);
                self.select(&mut scanner, Mode::ReadWrite)
            }
            "IDLE" => scanner.end().map(|()| Reply::Idle),
            "UNSELECT" | "CLOSE" => {
                self.presence.leave_folder();
                Ok(Reply::Ok(format!("{name} completed.").into()))
            }
            "SEARCH" | "UID SEARCH" => self.search(name, scanner, line),
            "UID STORE" => self.store_flags(&mut scanner),
            "UID MOVE" | "UID COPY" => self.carry(name, &mut scanner),
            "UID EXPUNGE" => self.expunge(&mut scanner),
            "FETCH" | "UID FETCH" => return self.fetch(name, scanner, line).await,
            _ => {
                let why = "there is no such command here";
                self.presence.complain(without_secrets(name, line), why);
                Ok(Reply::Bad("Command Error. 12".into()))
            }
        };
        Ok(reply.unwrap_or_else(Reply::from))
    }

    /// Refuses what was not offered, or is not allowed before or after a login or an EXAMINE.
    fn out_of_state(&self, name: &str) -> Option<Reply> {
        let invalid = || Some(Reply::Bad("Command received in Invalid state.".into()));
        let login = self.presence.login.is_some();
        match name {
            "CAPABILITY" | "NOOP" | "LOGOUT" | "ID" => None,
            "LOGIN" | "AUTHENTICATE" | "STARTTLS" => login.then(invalid).flatten(),
            _ if !login => invalid(),
            "UID STORE" | "UID MOVE" | "UID COPY" | "UID EXPUNGE" | "CHECK" | "UNSELECT"
            | "CLOSE" | "SEARCH" | "UID SEARCH" | "FETCH" | "UID FETCH" => {
                self.presence.view.is_none().then(invalid).flatten()
            }
            _ => None,
        }
    }

    pub(super) fn offers(&self, capability: &str) -> bool {
        self.offered().contains(&capability)
    }

    fn offered(&self) -> &[&'static str] {
        let profile = &self.presence.profile;
        match self.presence.login {
            None => &profile.capabilities,
            Some(_) => &profile.capabilities_after_login,
        }
    }

    fn capability(&mut self) -> Result<Reply, &'static str> {
        let mut line = format!("* CAPABILITY {}", self.offered().join(" "));
        if self.secrecy == Secrecy::Needed {
            line.push_str(" STARTTLS LOGINDISABLED");
        }
        self.wire.put_line(line);
        Ok(Reply::Ok("CAPABILITY completed.".into()))
    }

    fn noop(&mut self, name: &str) -> Result<Reply, &'static str> {
        self.tell_news();
        Ok(Reply::Ok(format!("{name} completed.").into()))
    }

    /// Untagged news of the folder, as it may stand before a command's own answer.
    pub(super) fn tell_news(&mut self) {
        for line in self.presence.news().lines {
            self.wire.put_line(line);
        }
    }

    /// RFC 5161. Exchange's IMAP4rev2 is not to be enabled, though it is offered.
    fn enable(&mut self, mut scanner: Scanner<'_>, line: &[u8]) -> Result<Reply, &'static str> {
        let mut enabled = "* ENABLED".to_owned();
        while scanner.accept(b' ') {
            let capability = scanner.word()?;
            if capability == "IMAP4REV2" && self.presence.profile.rev2() != Rev2::Absent {
                self.rev2 = true;
                enabled.push_str(" IMAP4rev2");
                let why = "this server's IMAP4rev2 is not to be relied on";
                self.presence.complain(without_secrets("ENABLE", line), why);
            }
        }
        scanner.end()?;
        self.wire.put_line(enabled);
        Ok(Reply::Ok("ENABLE completed.".into()))
    }

    fn id(&mut self) -> Result<Reply, &'static str> {
        let told = self.presence.profile.id();
        self.wire.put_line(format!("* ID {told}"));
        Ok(Reply::Ok("ID completed.".into()))
    }

    fn starttls(&self) -> Reply {
        match (&self.presence.shared.config.tls, self.secrecy) {
            (TlsMode::StartTls(_), Secrecy::Needed) => Reply::StartTls,
            (TlsMode::StartTls(_) | TlsMode::Implicit(_) | TlsMode::None, _) => {
                Reply::Bad("Command received in Invalid state.".into())
            }
        }
    }
}

/// The capability without which there is no such command.
fn needs(name: &str) -> Option<&'static str> {
    match name {
        "ID" => Some("ID"),
        "NAMESPACE" => Some("NAMESPACE"),
        "ENABLE" => Some("ENABLE"),
        "IDLE" => Some("IDLE"),
        "UNSELECT" => Some("UNSELECT"),
        "UID MOVE" => Some("MOVE"),
        "UID EXPUNGE" => Some("UIDPLUS"),
        _ => None,
    }
}

/// What is served where changes are allowed.
fn is_served(name: &str) -> bool {
    matches!(name, "UID STORE" | "UID MOVE" | "UID COPY" | "UID EXPUNGE")
}

/// Why a watcher must never send this command.
fn changes_mail(name: &str) -> Option<&'static str> {
    match name {
        "STORE" | "UID STORE" => Some("it changes flags"),
        "EXPUNGE" | "UID EXPUNGE" => Some("it removes mail"),
        "COPY" | "UID COPY" | "MOVE" | "UID MOVE" | "APPEND" => Some("it moves or adds mail"),
        "CREATE" | "DELETE" | "RENAME" => Some("it changes folders"),
        "SUBSCRIBE" | "UNSUBSCRIBE" => Some("it changes subscriptions"),
        "SETACL" | "DELETEACL" | "SETMETADATA" | "SETQUOTA" => Some("it changes the account"),
        _ => None,
    }
}
