//! Links to messages, as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRefs, Span};

/// Links to messages and attachments, for endpoints with `attachments = "link"`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Links {
    /// `ADDRESS:PORT` of a listener that serves links and nothing else, in clear text: put it behind a proxy that speaks TLS.
    pub(crate) listen: Option<String>,
    /// Where that listener is reached from outside: the beginning of every link.
    pub(crate) public_url: Option<String>,
    /// The key that links are signed with: 32 characters at least, by reference. With a list the newest signs, and all are believed.
    pub(crate) key: Option<SecretRefs>,
    /// How long a link is served, counted from the attempt that carried it. Messages are kept as long.
    #[schemars(extend("x-min" = "1m", "x-max" = "365d"))]
    pub(crate) expires: Span,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            listen: None,
            public_url: None,
            key: None,
            expires: Span::days(7),
        }
    }
}
