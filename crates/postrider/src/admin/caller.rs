//! Who asks: the user behind the other end of the socket, or the token of a request over TCP. It is
//! what an audit row tells of an order.

use std::{convert::Infallible, fs};

use axum::{
    body::to_bytes,
    extract::{ConnectInfo, FromRequest, FromRequestParts, Request, connect_info::Connected},
    http::{StatusCode, request::Parts},
    middleware::Next,
    response::Response,
    serve::IncomingStream,
};
use postrider_store::Act;
use tokio::net::UnixListener;

use super::{
    api::{self, Scope},
    server::Refusal,
};

/// Longer reasons are cut.
const WHY_CHARS_MAX: usize = 500;
const REASON_BYTES_MAX: usize = 64 << 10;

/// The process at the other end of the socket, as the kernel says it (SO_PEERCRED).
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let credentials = stream.io().peer_cred().ok();
        Self {
            uid: credentials.as_ref().map(|it| it.uid()),
            gid: credentials.as_ref().map(|it| it.gid()),
        }
    }
}

/// Who asks, by what, and what they may do.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    who: Who,
    pub(super) scope: Scope,
}

#[derive(Clone, Debug)]
enum Who {
    Peer(Peer),
    Token { name: String, from: String },
}

impl Caller {
    pub(super) fn token(name: String, scope: Scope, from: String) -> Self {
        Self {
            who: Who::Token { name, from },
            scope,
        }
    }

    pub(super) fn act(&self, why: Option<&str>) -> Act {
        let (who, through) = match &self.who {
            Who::Peer(Peer {
                uid: Some(uid),
                gid,
            }) => {
                let gid = gid.map(|gid| format!(" gid {gid}")).unwrap_or_default();
                (user_name(*uid), format!("socket uid {uid}{gid}"))
            }
            Who::Peer(Peer { uid: None, .. }) => ("unknown".to_owned(), "socket".to_owned()),
            Who::Token { name, from } => (name.clone(), format!("token from {from}")),
        };
        let clean = |why: &str| {
            let plain = why.chars().map(|c| if c.is_control() { ' ' } else { c });
            plain
                .take(WHY_CHARS_MAX)
                .collect::<String>()
                .trim()
                .to_owned()
        };
        Act {
            at: crate::clock::wall(),
            who,
            through,
            why: why.map(clean).filter(|why| !why.is_empty()),
        }
    }
}

/// As `/etc/passwd` calls them, which in a container may know nobody.
fn user_name(uid: u32) -> String {
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid {uid}"))
}

/// Whoever may open the socket may do all of it.
pub(super) async fn of_socket(
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(Caller {
        who: Who::Peer(peer),
        scope: Scope::Admin,
    });
    Ok(next.run(request).await)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "nobody knows who asks this", ""))
    }
}

/// The reason in a body ([`api::Reason`]) that may be left out.
pub(super) struct Why(pub(super) Option<String>);

impl<S: Sync> FromRequest<S> for Why {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let hint = "leave the body out, or write {\"why\": \"…\"}";
        let body = to_bytes(request.into_body(), REASON_BYTES_MAX)
            .await
            .map_err(|error| Refusal::bad_request(format!("the body: {error}"), hint))?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        serde_json::from_slice(&body)
            .map(|reason: api::Reason| Self(reason.why))
            .map_err(|error| Refusal::bad_request(format!("the body: {error}"), hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_row_names_the_user_and_keeps_a_reason_on_one_line() {
        let caller = Caller {
            who: Who::Peer(Peer {
                uid: Some(0),
                gid: Some(0),
            }),
            scope: Scope::Admin,
        };
        let act = caller.act(Some("first\nsecond\u{1b}[2J"));
        assert_eq!(act.who, "root");
        assert_eq!(act.through, "socket uid 0 gid 0");
        assert_eq!(act.why.as_deref(), Some("first second [2J"));
        assert_eq!(caller.act(Some(" ")).why, None);
        assert_eq!(user_name(4_294_967_000), "uid 4294967000");
    }
}
