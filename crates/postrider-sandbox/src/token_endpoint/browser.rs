//! The authorization endpoint as a browser sees it (RFC 6749 section 4.1, RFC 7636): the person at
//! it decides at once, and the answer goes to the client's own address.

use super::{
    aadsts::guid,
    ask::Ask,
    desk::SignIn,
    form::encode,
    state::{Answer, State},
};

/// A visit whose client and address are right.
pub(super) struct Visit<'a> {
    pub(super) app: usize,
    pub(super) redirect_uri: &'a str,
    pub(super) scope: &'a str,
    /// How the provider says that the person declined.
    pub(super) denied: &'a str,
}

impl Visit<'_> {
    pub(super) fn answer(&self, state: &mut State, ask: &Ask) -> Answer {
        if ask.query.get("response_type") != Some("code") {
            return self.back(ask, &[("error", "unsupported_response_type")]);
        }
        let challenge = ask.query.get("code_challenge");
        let method = ask.query.get("code_challenge_method");
        // SHA-256 in base64url has 43 characters.
        if method != Some("S256") || challenge.is_none_or(|challenge| challenge.len() != 43) {
            let why = "a code_challenge by S256 is required";
            let pairs = [("error", "invalid_request"), ("error_description", why)];
            return self.back(ask, &pairs);
        }
        if self.scope.is_empty() {
            return self.back(ask, &[("error", "invalid_scope")]);
        }
        let Some(user) = state.apps[self.app].config.delegated.browser.clone() else {
            let pairs = [
                ("error", "access_denied"),
                ("error_description", self.denied),
            ];
            return self.back(ask, &pairs);
        };
        let scope = self.scope.to_owned();
        let sign_in = SignIn { user, scope };
        let code = state
            .sign_ins
            .new_code(self.app, sign_in, self.redirect_uri, challenge);
        self.back(ask, &[("code", &code), ("session_state", &guid())])
    }

    /// To the client's address, with its `state` as it came.
    fn back(&self, ask: &Ask, pairs: &[(&str, &str)]) -> Answer {
        let mut query: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        if let Some(state) = ask.query.get("state") {
            query.push(format!("state={}", encode(state)));
        }
        Answer::Redirect(format!("{}?{}", self.redirect_uri, query.join("&")))
    }
}

/// To the letter, but for the port of `http://localhost`, which Entra does not look at.
pub(super) fn is_registered(registered: &[String], uri: &str) -> bool {
    let (origin, path) = split(uri);
    registered.iter().any(|one| {
        let (known, known_path) = split(one);
        one == uri
            || (known == "http://localhost"
                && (origin == known || origin.starts_with("http://localhost:"))
                && path == known_path)
    })
}

/// Any port and path of this machine (RFC 8252 section 7.3).
pub(super) fn is_loopback(uri: &str) -> bool {
    let (origin, _) = split(uri);
    ["http://127.0.0.1", "http://[::1]", "http://localhost"]
        .iter()
        .any(|host| {
            let rest = origin.strip_prefix(host);
            rest.is_some_and(|rest| {
                let port = rest.strip_prefix(':');
                rest.is_empty() || port.is_some_and(|port| port.parse::<u16>().is_ok())
            })
        })
}

/// Scheme, host and port; and the path, which is never empty.
fn split(uri: &str) -> (&str, &str) {
    let start = uri.find("://").map_or(0, |at| at + 3);
    let end = uri[start..].find('/').map(|at| start + at);
    match end {
        Some(end) => uri.split_at(end),
        None => (uri, "/"),
    }
}
