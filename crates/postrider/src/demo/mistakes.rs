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

/// A word for it, what is wrong then, and how it is made.
type Mistake = (&'static str, &'static str, fn(&World) -> anyhow::Result<()>);

const ALL: &[Mistake] = &[
    (NONE, "all is right again", |_| Ok(())),
    (
        "wrong-secret",
        "the client secret is another one",
        |world| refused(world, 7_000_215),
    ),
    ("ended-secret", "the client secret has ended", |world| {
        refused(world, 7_000_222)
    }),
    (
        "wrong-client",
        "no such application in the tenant",
        |world| refused(world, 700_016),
    ),
    ("wrong-tenant", "no such tenant", |world| {
        refused(world, 90_002)
    }),
    (
        "conditional-access",
        "a policy blocks the application",
        |world| refused(world, 53_003),
    ),
    (
        "no-consent",
        "the permission was not consented to",
        |world| token(world, |config| config.roles = Vec::new()),
    ),
    (
        "wrong-permission",
        "POP.AccessAsApp instead of IMAP's",
        |world| {
            token(world, |config| {
                config.roles = vec!["POP.AccessAsApp".to_owned()]
            })
        },
    ),
    ("graph-scope", "the token is for Microsoft Graph", |world| {
        token(world, |config| {
            config.audience = "https://graph.microsoft.com".to_owned()
        })
    }),
    ("user-token", "the token stands for a user", |world| {
        token(world, |config| {
            config.claims.scp = Some("IMAP.AccessAsUser.All".to_owned())
        })
    }),
    (
        "not-registered",
        "no service principal in Exchange, or a wrong one",
        |world| {
            world.imap.levers(Scope::Server, |levers| {
                levers.refuse_login = Some(Refusal::Credentials);
            });
            Ok(())
        },
    ),
    (
        "no-grant",
        "no permission on the mailbox support",
        |world| {
            Ok(world
                .mailboxes
                .set_access(&address(MAILBOX), Access::revoke)?)
        },
    ),
    (
        "imap-off",
        "IMAP is switched off for the mailbox support",
        |world| {
            Ok(world
                .mailboxes
                .set_access(&address(MAILBOX), Access::disable_imap)?)
        },
    ),
    (
        "throttled",
        "the mailbox support is throttled for a minute",
        |world| {
            world.imap.levers(Scope::User(&address(MAILBOX)), |levers| {
                levers.throttle_for(THROTTLED, ThrottleStyle::BadThenBye);
            });
            Ok(())
        },
    ),
    ("receiver-refuses", "the receiver answers 401", |world| {
        world.receiver.set(Behaviour::status(401));
        Ok(())
    }),
    ("receiver-fails", "the receiver answers 503", |world| {
        world.receiver.set(Behaviour::status(503));
        Ok(())
    }),
    (
        "too-wide",
        "the application opens a mailbox that must stay shut",
        |world| match world.shut() {
            Some(shut) => Ok(world.mailboxes.set_access(&shut, Access::grant)?),
            None => anyhow::bail!("nothing must stay shut in this play"),
        },
    ),
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

    pub(super) fn directions(&self, world: &World) -> String {
        let mut text = format!(
            "Make a mistake, and see what doctor, mailboxes, explain and the log say of it:\n\n  \
             echo imap-off > {}\n\n",
            self.file.display()
        );
        for (word, what, _) in offered(world) {
            text += &format!("  {word:<18}  {what}\n");
        }
        text + "  AADSTSnnnnn         the token endpoint refuses with this number, as in AADSTS700027\n\n\
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
        let known = offered(world).find(|(word, _, _)| *word == wanted);
        let number = wanted
            .strip_prefix("AADSTS")
            .and_then(|code| code.parse().ok());
        mend(world)?;
        let done = match (known, number) {
            (Some((word, what, make)), _) => {
                make(world)?;
                format!("{word}: {what}")
            }
            (None, Some(code)) => {
                refused(world, code)?;
                format!("the token endpoint answers {wanted}")
            }
            (None, None) => return Ok(Some("no such mistake: all is right".to_owned())),
        };
        if wanted != NONE {
            end_session(world);
        }
        Ok(Some(done))
    }
}

/// Not every play has a mailbox that must stay shut.
fn offered(world: &World) -> impl Iterator<Item = &'static Mistake> {
    let guarded = world.shut().is_some();
    ALL.iter()
        .filter(move |(word, _, _)| guarded || *word != "too-wide")
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

/// The token endpoint refuses with this number of Entra's.
fn refused(world: &World, code: u32) -> anyhow::Result<()> {
    world.tokens.set_trouble(TokenTrouble::Aadsts(code));
    Ok(())
}

/// Tokens come, and are other ones.
fn token(world: &World, change: impl FnOnce(&mut TokenConfig)) -> anyhow::Result<()> {
    world.tokens.change(change);
    Ok(())
}

/// A login is refused, a session goes on: what is changed shows when the session is a new one.
fn end_session(world: &World) {
    let user = address(MAILBOX);
    world
        .imap
        .drop_sessions(Scope::User(&user), &Goodbye::Expired);
}
