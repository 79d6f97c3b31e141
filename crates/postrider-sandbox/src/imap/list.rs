//! LIST and LSUB (RFC 3501 §6.3.8), with roles (RFC 6154) and the extended form (RFC 5258, RFC 5819)
//! where the profile has them. Where it has not, the extended form is refused and noted.

use super::{
    profile::Rev2,
    session::{Reply, Session, without_secrets},
    syntax::{Bad, Scanner, quoted},
    utf7,
};
use crate::mailboxes::names::Role;

/// What a LIST asks for.
struct Asked {
    patterns: Vec<String>,
    /// Only folders with a role.
    roles_only: bool,
    /// STATUS of each folder as well.
    status: Option<Vec<String>>,
    extended: bool,
}

impl Session {
    pub(super) fn list(
        &mut self,
        name: &str,
        scanner: &mut Scanner<'_>,
        line: &[u8],
    ) -> Result<Reply, Bad> {
        let rev2 = self.presence.profile.rev2();
        if self.list_broken {
            return Ok(Reply::No("[SERVERBUG] Internal server error".into()));
        }
        if name == "LSUB" && rev2 == Rev2::HalfBroken {
            self.list_broken = true;
            let why = "this IMAP4rev2 refuses LSUB, and LIST after it";
            self.presence.complain(without_secrets(name, line), why);
            return Ok(Reply::Bad("Command Error. 12".into()));
        }
        let asked = read(scanner)?;
        if asked.extended && !self.offers("LIST-EXTENDED") {
            self.list_broken = rev2 == Rev2::HalfBroken;
            let why = "LIST-EXTENDED was not offered";
            self.presence.complain(without_secrets(name, line), why);
            return Ok(Reply::Bad("Command Argument Error. 12".into()));
        }
        let user = self.presence.user().unwrap_or_default().to_owned();
        if asked.patterns.iter().all(String::is_empty) {
            self.wire
                .put_line(format!(r#"* {name} (\Noselect) "/" """#));
            return Ok(Reply::Ok(format!("{name} completed.").into()));
        }
        for (folder, role) in self.presence.shared.mailboxes.folder_names(&user) {
            let wire_name = utf7::encode(&folder);
            let wanted = asked.patterns.iter().any(|one| matches(one, &wire_name));
            if wanted && (role.is_some() || !asked.roles_only) {
                self.put_name(name, &folder, role);
                if let Some(items) = &asked.status {
                    self.status_line(&wire_name, items)?;
                }
            }
        }
        Ok(Reply::Ok(format!("{name} completed.").into()))
    }

    fn put_name(&mut self, command: &str, folder: &str, role: Option<Role>) {
        let role = role.filter(|_| self.offers("SPECIAL-USE"));
        let role = role.map_or_else(String::new, |role| format!(" {}", role.attribute()));
        self.wire
            .put(format!(r#"* {command} (\HasNoChildren{role}) "/" "#));
        if self.presence.is_set(|levers| levers.unquoted_names) {
            self.wire.put_line(utf7::encode_carelessly(folder));
        } else {
            self.wire.put_line(quoted(utf7::encode(folder).as_bytes()));
        }
    }
}

fn read(scanner: &mut Scanner<'_>) -> Result<Asked, Bad> {
    scanner.space()?;
    let mut asked = Asked {
        patterns: Vec::new(),
        roles_only: false,
        status: None,
        extended: false,
    };
    if scanner.peek() == Some(b'(') {
        asked.extended = true;
        let options = scanner.list()?;
        asked.roles_only = options
            .iter()
            .any(|one| one.eq_ignore_ascii_case("SPECIAL-USE"));
        scanner.space()?;
    }
    let reference = scanner.string()?;
    scanner.space()?;
    let patterns = if scanner.peek() == Some(b'(') {
        asked.extended = true;
        scanner.list()?
    } else {
        vec![scanner.string()?]
    };
    asked.patterns = patterns
        .into_iter()
        .map(|pattern| format!("{reference}{pattern}"))
        .collect();
    if scanner.accept(b' ') {
        asked.extended = true;
        if scanner.word()? != "RETURN" {
            return Err("RETURN is missing");
        }
        scanner.space()?;
        asked.status = returns(scanner)?;
    }
    scanner.end()?;
    Ok(asked)
}

/// `(SPECIAL-USE STATUS (MESSAGES))`: the items of STATUS; the others change nothing here.
fn returns(scanner: &mut Scanner<'_>) -> Result<Option<Vec<String>>, Bad> {
    if !scanner.accept(b'(') {
        return Err("a list is missing");
    }
    let mut status = None;
    let mut is_first = true;
    while !scanner.accept(b')') {
        if !is_first {
            scanner.space()?;
        }
        is_first = false;
        match scanner.word()?.as_str() {
            "STATUS" => {
                scanner.space()?;
                status = Some(scanner.list()?);
            }
            "SPECIAL-USE" | "CHILDREN" | "SUBSCRIBED" => {}
            _ => return Err("a return option is unknown"),
        }
    }
    Ok(status)
}

/// `*` matches anything, `%` all but the delimiter; only at the end, as far as anybody needs it.
fn matches(pattern: &str, name: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix('*') {
        return name.starts_with(prefix);
    }
    if let Some(prefix) = pattern.strip_suffix('%') {
        let rest = name.strip_prefix(prefix);
        return rest.is_some_and(|rest| !rest.contains('/'));
    }
    name == pattern || (pattern.eq_ignore_ascii_case("INBOX") && name == "INBOX")
}
