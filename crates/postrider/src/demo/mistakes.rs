//! Mistakes to try `doctor`, `explain` and the others on while the demo stays up: a word in a file
//! makes one, as an administrator would have made it, and mends the one before.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use postrider_sandbox::{
    imap::{Goodbye, Refusal, Scope, ThrottleStyle},
    mailboxes::Access,
    receiver::Behaviour,
    token_endpoint::{TokenConfig, TokenTrouble},
};

use super::world::{World, address};

/// The mailbox of those mistakes that concern one.
const MAILBOX: &str = "support";
const NONE: &str = "none";
const THROTTLED: Duration = Duration::from_secs(60);

/// A word for it, and what is wrong then.
const ALL: &[(&str, &str)] = &[
    (NONE, "all is right again"),
    ("wrong-secret", "the client secret is another one"),
    ("ended-secret", "the client secret has ended"),
    ("wrong-client", "no such application in the tenant"),
    ("wrong-tenant", "no such tenant"),
    ("conditional-access", "a policy blocks the application"),
    ("no-consent", "the permission was not consented to"),
    ("wrong-permission", "POP.AccessAsApp instead of IMAP's"),
    ("graph-scope", "the token is for Microsoft Graph"),
    ("user-token", "the token stands for a user"),
    (
        "not-registered",
        "no service principal in Exchange, or a wrong one",
    ),
    ("no-grant", "no permission on the mailbox support"),
    ("imap-off", "IMAP is switched off for the mailbox support"),
    (
        "too-wide",
        "the application opens ceo, which must stay shut",
    ),
    ("throttled", "the mailbox support is throttled for a minute"),
    ("receiver-refuses", "the receiver answers 401"),
    ("receiver-fails", "the receiver answers 503"),
];

pub(super) struct Mistakes {
    file: PathBuf,
    made: String,
}

impl Mistakes {
    pub(super) fn offer(world: &World) -> anyhow::Result<Self> {
        let file = world.file("mistake");
        fs::write(&file, format!("{NONE}\n")).context("the file for mistakes")?;
        Ok(Self {
            file,
            made: NONE.to_owned(),
        })
    }

    pub(super) fn directions(&self) -> String {
        let mut text = format!(
            "Make a mistake, and see what doctor, mailboxes, explain and the log say of it:\n\n  \
             echo imap-off > {}\n\n",
            self.file.display()
        );
        for (word, what) in ALL {
            text += &format!("  {word:<18}  {what}\n");
        }
        text + "  AADSTS and a number  the token endpoint refuses with it, as in `AADSTS700027`\n\n\
                The daemon notices at its next token (a minute at most) or login; doctor at once.\n"
    }

    /// Does what the file says, if that is new. What was done.
    pub(super) fn look(&mut self, world: &World) -> anyhow::Result<Option<String>> {
        // It may be gone for the moment in which it is written anew.
        let wanted = fs::read_to_string(&self.file).unwrap_or_default();
        let wanted = wanted.trim();
        if wanted.is_empty() || wanted == self.made {
            return Ok(None);
        }
        wanted.clone_into(&mut self.made);
        let what = ALL.iter().find(|(word, _)| *word == wanted);
        let number = wanted
            .strip_prefix("AADSTS")
            .and_then(|code| code.parse().ok());
        mend(world)?;
        Ok(Some(match (what, number) {
            (Some((word, what)), _) => {
                make(world, word)?;
                format!("{word}: {what}")
            }
            (None, Some(code)) => {
                world.tokens.set_trouble(TokenTrouble::Aadsts(code));
                format!("the token endpoint answers {wanted}")
            }
            (None, None) => "no such mistake: all is right".to_owned(),
        }))
    }
}

fn mend(world: &World) -> anyhow::Result<()> {
    let good = TokenConfig::default();
    world.tokens.set_trouble(TokenTrouble::None);
    world.tokens.change(|config| {
        config.roles = good.roles;
        config.audience = good.audience;
        config.claims = good.claims;
    });
    world
        .imap
        .levers(Scope::Server, |levers| levers.refuse_login = None);
    let user = address(MAILBOX);
    world.imap.levers(Scope::User(&user), |levers| {
        levers.throttled_until = None;
    });
    world.mailboxes.set_access(&user, |access| {
        access.grant();
        access.enable_imap();
    })?;
    if let Some(shut) = world.shut() {
        world.mailboxes.set_access(&shut, Access::revoke)?;
    }
    world.receiver.set(Behaviour::Accept);
    Ok(())
}

fn make(world: &World, word: &str) -> anyhow::Result<()> {
    let refuse = |code| world.tokens.set_trouble(TokenTrouble::Aadsts(code));
    let user = address(MAILBOX);
    match word {
        "wrong-secret" => refuse(7_000_215),
        "ended-secret" => refuse(7_000_222),
        "wrong-client" => refuse(700_016),
        "wrong-tenant" => refuse(90_002),
        "conditional-access" => refuse(53_003),
        "no-consent" => world.tokens.change(|config| config.roles = Vec::new()),
        "wrong-permission" => world
            .tokens
            .change(|config| config.roles = vec!["POP.AccessAsApp".to_owned()]),
        "graph-scope" => world
            .tokens
            .change(|config| config.audience = "https://graph.microsoft.com".to_owned()),
        "user-token" => world
            .tokens
            .change(|config| config.claims.scp = Some("IMAP.AccessAsUser.All".to_owned())),
        "not-registered" => world.imap.levers(Scope::Server, |levers| {
            levers.refuse_login = Some(Refusal::Credentials);
        }),
        "no-grant" => world.mailboxes.set_access(&user, Access::revoke)?,
        "imap-off" => world.mailboxes.set_access(&user, Access::disable_imap)?,
        "too-wide" => {
            if let Some(shut) = world.shut() {
                world.mailboxes.set_access(&shut, Access::grant)?;
            }
        }
        "throttled" => world.imap.levers(Scope::User(&user), |levers| {
            levers.throttle_for(THROTTLED, ThrottleStyle::BadThenBye);
        }),
        "receiver-refuses" => world.receiver.set(Behaviour::status(401)),
        "receiver-fails" => world.receiver.set(Behaviour::status(503)),
        _ => {}
    }
    // A login is refused, a session goes on: what is changed shows when the session is a new one.
    if word != NONE {
        world
            .imap
            .drop_sessions(Scope::User(&user), &Goodbye::Expired);
    }
    Ok(())
}
