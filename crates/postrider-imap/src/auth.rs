//! Logging in: LOGIN, and SASL PLAIN (RFC 4616), XOAUTH2 and OAUTHBEARER (RFC 7628), with and without
//! an initial response (RFC 4959); then a probe, because Exchange accepts logins to mailboxes that it
//! will not open. A secret leaves this module only on the wire.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, zeroize::Zeroizing};

use crate::{
    connect::ask_capabilities,
    conversation::{Conversation, Part, argument, ignore, within},
    error::{Breach, Error, ServerText},
    parse::{Response, status::Status},
    server::{Login, Mechanism, Server},
};

/// A server may refuse an empty initial response, tell an error, and ask once more.
const CHALLENGES_MAX: usize = 3;

/// Logs in and proves that the mailbox is open.
pub(crate) async fn login(
    conversation: &mut Conversation,
    server: &Server,
    login: &Login,
) -> Result<(), Error> {
    let before = std::mem::take(&mut conversation.capabilities);
    // What was offered before the login does not count after it; what the login tells, does.
    conversation.capabilities = crate::conversation::Capabilities {
        told: false,
        ..before
    };
    let done = match login {
        Login::Password { username, password } if before.plain => {
            let password = password.expose_secret();
            let reply = plain(username, password)?;
            let done = sasl(conversation, server, Sasl::Plain, &reply).await;
            done.map_err(|error| error.without(&[reply.as_str(), password]))
        }
        Login::Password { username, password } => {
            if before.login_disabled {
                return Err(Error::LoginRefused {
                    text: ServerText::new(b"the server takes no passwords (LOGINDISABLED)"),
                });
            }
            let password = password.expose_secret();
            let quoted = Zeroizing::new(password.replace('\\', "\\\\").replace('"', "\\\""));
            let done = by_login(conversation, server, username, password).await;
            done.map_err(|error| error.without(&[quoted.as_str(), password]))
        }
        Login::Token { username, token } => {
            let bearer = match server.oauth {
                Mechanism::OAuthBearer => Sasl::OAuthBearer,
                Mechanism::Auto if before.oauthbearer && !before.xoauth2 => Sasl::OAuthBearer,
                Mechanism::Auto | Mechanism::XOAuth2 => Sasl::XOAuth2,
            };
            let token = token.expose_secret();
            let reply = bearer_reply(bearer, server, username, token)?;
            let done = sasl(conversation, server, bearer, &reply).await;
            done.map_err(|error| error.without(&[reply.as_str(), token]))
        }
    };
    done?;
    ask_capabilities(conversation).await?;
    probe(conversation).await
}

/// Exchange answers every command after such a login with BAD; any other refusal proves an open
/// mailbox as well as an OK does.
async fn probe(conversation: &mut Conversation) -> Result<(), Error> {
    let probe = if conversation.capabilities.namespace {
        conversation.command("NAMESPACE", "NAMESPACE", ignore).await
    } else {
        conversation.command("NOOP", "NOOP", ignore).await
    };
    match probe {
        Ok(_) | Err(Error::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sasl {
    Plain,
    XOAuth2,
    OAuthBearer,
}

impl Sasl {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::XOAuth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// What ends the exchange after the server has told an error: XOAUTH2 wants an empty line,
    /// OAUTHBEARER a single 0x01, PLAIN has no such challenge and is cancelled.
    fn ending(self) -> &'static [u8] {
        match self {
            Self::Plain => b"*\r\n",
            Self::XOAuth2 => b"\r\n",
            Self::OAuthBearer => b"AQ==\r\n",
        }
    }
}

async fn by_login(
    conversation: &mut Conversation,
    server: &Server,
    username: &str,
    password: &str,
) -> Result<(), Error> {
    let username = argument(username, "the user name")?;
    let password = argument(password, "the password")?;
    let parts = [
        Part::Text(b"LOGIN "),
        username.part(),
        Part::Text(b" "),
        password.part(),
    ];
    let deadline = server.deadlines.login;
    conversation
        .command_of("LOGIN", &parts, deadline, ignore)
        .await
        .map(drop)
        .map_err(|error| refused(error, None))
}

async fn sasl(
    conversation: &mut Conversation,
    server: &Server,
    mechanism: Sasl,
    reply: &Zeroizing<String>,
) -> Result<(), Error> {
    let mut challenge = None;
    within(server.deadlines.login, "logging in", async {
        exchange(conversation, mechanism, reply, &mut challenge).await
    })
    .await
    .map(drop)
    .map_err(|error| refused(error, challenge))
}

async fn exchange(
    conversation: &mut Conversation,
    mechanism: Sasl,
    reply: &Zeroizing<String>,
    told: &mut Option<Vec<u8>>,
) -> Result<Status, Error> {
    let initial = conversation.capabilities.sasl_ir;
    let mut line = Zeroizing::new(format!("AUTHENTICATE {}", mechanism.name()));
    if initial {
        line.push(' ');
        line.push_str(reply);
    }
    conversation.begin_text(&line).await?;
    let mut replied = initial;
    let mut challenges = 0;
    loop {
        match conversation.response().await? {
            Response::Tagged { status, .. } => return conversation.end("AUTHENTICATE", status),
            Response::Continue(text) => {
                challenges += 1;
                if challenges > CHALLENGES_MAX {
                    return Err(Breach::EndlessChallenge.into());
                }
                if replied {
                    *told = Some(STANDARD.decode(&text).unwrap_or(text));
                    conversation.send(mechanism.ending()).await?;
                } else {
                    replied = true;
                    let line = Zeroizing::new(format!("{}\r\n", reply.as_str()));
                    conversation.send(line.as_bytes()).await?;
                }
            }
            Response::Untagged(_) | Response::Skipped(_) => {}
            Response::Bare(line) => return Err(Response::stray(&line).into()),
        }
    }
}

/// A NO or BAD to a login that says no more is a refused login; the challenge may say why.
fn refused(error: Error, challenge: Option<Vec<u8>>) -> Error {
    let Error::Refused { text, .. } = error else {
        return error;
    };
    let text = match challenge {
        None => text,
        Some(told) => {
            let told = ServerText::new(&told);
            ServerText::new(format!("{text} {told}").as_bytes())
        }
    };
    Error::LoginRefused { text }
}

fn plain(username: &str, password: &str) -> Result<Zeroizing<String>, Error> {
    check(username, "the user name")?;
    check(password, "the password")?;
    let raw = Zeroizing::new(format!("\0{username}\0{password}"));
    Ok(Zeroizing::new(STANDARD.encode(raw.as_bytes())))
}

fn bearer_reply(
    mechanism: Sasl,
    server: &Server,
    username: &str,
    token: &str,
) -> Result<Zeroizing<String>, Error> {
    check(username, "the user name")?;
    check(token, "the token")?;
    let raw = Zeroizing::new(if mechanism == Sasl::OAuthBearer {
        // A server may check host and port against its own.
        let (host, port) = (&server.host, server.port);
        // RFC 5801 section 4: `,` and `=` are escaped in the name.
        let name = username.replace('=', "=3D").replace(',', "=2C");
        format!("n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01")
    } else {
        format!("user={username}\x01auth=Bearer {token}\x01\x01")
    });
    Ok(Zeroizing::new(STANDARD.encode(raw.as_bytes())))
}

/// No control characters: 0x01 and NUL separate the fields of these mechanisms.
fn check(value: &str, what: &'static str) -> Result<(), Error> {
    if value.chars().any(char::is_control) {
        return Err(Error::Argument { what });
    }
    Ok(())
}
