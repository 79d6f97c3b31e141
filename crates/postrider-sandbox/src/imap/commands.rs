//! Which commands there are, in which state each is allowed, and which of them a watcher must never
//! send.

use super::{
    config::TlsMode,
    presence::Mode,
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
        if let Some(why) = changes_mail(name) {
            self.presence.complain(without_secrets(name, line), why);
            return Ok(Reply::No(format!("{name} is not served here.").into()));
        }
        if let Some(refused) = self.out_of_state(name) {
            return Ok(refused);
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
            "ENABLE" => {
                self.wire.put_line("* ENABLED");
                Ok(Reply::Ok("ENABLE completed.".into()))
            }
            "STARTTLS" => Ok(self.starttls()),
            "LOGIN" => return self.login(scanner).await,
            "AUTHENTICATE" => return self.authenticate(scanner).await,
            "LIST" => self.list(&mut scanner),
            "STATUS" => self.status(&mut scanner),
            "EXAMINE" => self.select(&mut scanner, Mode::ReadOnly),
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
            "SEARCH" | "UID SEARCH" => self.search(name, scanner),
            "FETCH" | "UID FETCH" => return self.fetch(name, scanner, line).await,
            _ => Ok(Reply::Bad("Command Error. 12".into())),
        };
        Ok(reply.unwrap_or_else(Reply::from))
    }

    /// Refuses what was not offered, or is not allowed before or after a login or an EXAMINE.
    fn out_of_state(&self, name: &str) -> Option<Reply> {
        let invalid = || Some(Reply::Bad("Command received in Invalid state.".into()));
        let login = self.presence.login.is_some();
        match name {
            "CAPABILITY" | "NOOP" | "LOGOUT" => None,
            "ID" if !self.offers("ID") => Some(Reply::Bad("Command Error. 12".into())),
            "ID" => None,
            "LOGIN" | "AUTHENTICATE" | "STARTTLS" => login.then(invalid).flatten(),
            _ if !login => invalid(),
            "NAMESPACE" | "ENABLE" | "IDLE" | "UNSELECT" if !self.offers(name) => {
                Some(Reply::Bad("Command Error. 12".into()))
            }
            "CHECK" | "UNSELECT" | "CLOSE" | "SEARCH" | "UID SEARCH" | "FETCH" | "UID FETCH" => {
                self.presence.view.is_none().then(invalid).flatten()
            }
            _ => None,
        }
    }

    pub(super) fn offers(&self, capability: &str) -> bool {
        self.offered().contains(&capability)
    }

    fn offered(&self) -> &[&'static str] {
        let config = &self.presence.shared.config;
        match self.presence.login {
            None => &config.capabilities,
            Some(_) => &config.capabilities_after_login,
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

    fn id(&mut self) -> Result<Reply, &'static str> {
        self.wire
            .put_line("* ID (\"name\" \"postrider-sandbox\" \"version\" \"1\")");
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
