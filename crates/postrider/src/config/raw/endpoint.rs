//! Endpoints as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRefs, Span};

/// A webhook destination.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Endpoint {
    /// Where events are posted. https, or http to this machine. No credentials in it.
    pub(crate) url: Option<String>,
    /// The signing secret (`whsec_…`), by reference. With a list, bodies are signed with all of them.
    pub(crate) secret: Option<SecretRefs>,
    /// The event types to send, or `["*"]` for all.
    pub(crate) types: Vec<String>,
    /// Requests that may run at a time.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) max_in_flight: u32,
    /// How long one request may take, from connecting to the answer's end.
    #[schemars(extend("x-min" = "1s", "x-max" = "5m"))]
    pub(crate) timeout: Span,
    /// When what was not accepted is sent again.
    pub(crate) retry: Retry,
    /// What the endpoint's answers mean, where their statuses alone do not say it. The first rule that fits counts.
    pub(crate) classify: Vec<Classify>,
    /// What is sent one after the other: `none` (each event as soon as it can be), `mailbox`, or `thread` (the messages of a conversation; what belongs to none keeps its mailbox's order). An event that fails holds up those behind it, and no others.
    pub(crate) order: Order,
    /// How long an event that fails may hold up those behind it. Then they overtake it, and it is marked. While the endpoint itself is in trouble this time does not run.
    #[schemars(extend("x-min" = "1s", "x-max" = "30d"))]
    pub(crate) order_block_max: Span,
    /// Send in clear text to another machine all the same. Bodies are signed, not hidden.
    pub(crate) allow_plaintext: bool,
    /// Certificates (PEM) to trust for this endpoint, in place of the system's.
    pub(crate) ca_file: Option<String>,
    /// Overrides `network.proxy`.
    pub(crate) proxy: Option<String>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            url: None,
            secret: None,
            types: vec!["message.received".to_owned()],
            max_in_flight: 4,
            timeout: Span::seconds(15),
            retry: Retry::default(),
            classify: Vec::new(),
            order: Order::None,
            order_block_max: Span::minutes(60),
            allow_plaintext: false,
            ca_file: None,
            proxy: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    None,
    Mailbox,
    Thread,
}


/// When what was not accepted is sent again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Retry {
    /// The waits of an event that fails while others are accepted, one after the other, the last one from then on. Each is drawn between nothing and the step (full jitter), but a second at least.
    #[schemars(extend("x-min" = "1s", "x-max" = "7d"))]
    pub(crate) schedule: Vec<Span>,
    /// How long an event that alone keeps failing is tried. While the endpoint itself is in trouble no event's time runs.
    #[schemars(extend("x-min" = "1m", "x-max" = "365d"))]
    pub(crate) give_up_after: Span,
    /// The longest `Retry-After` that is obeyed.
    #[schemars(extend("x-min" = "1s", "x-max" = "1d"))]
    pub(crate) retry_after_max: Span,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            schedule: vec![
                Span::seconds(5),
                Span::seconds(30),
                Span::minutes(2),
                Span::minutes(10),
                Span::minutes(30),
                Span::minutes(60),
                Span::minutes(120),
            ],
            give_up_after: Span::days(5),
            retry_after_max: Span::minutes(60),
        }
    }
}

/// One rule for answers. Both `status` and `body` have to fit, where they are given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Classify {
    /// Statuses: `"409"`, a range `"400-499"`, or a class `"5xx"`. Default: any.
    pub(crate) status: Vec<String>,
    /// A text in the first 16 KiB of the answer's body, whatever its case. Default: any body.
    pub(crate) body: Option<String>,
    /// What such an answer means: `delivered`; `refused` (this event: three times over an hour, then it is dead); `failing` (the event or the endpoint: tried again); `trouble` (the endpoint: nothing is sent but probes, and no event's time runs).
    pub(crate) class: Option<Class>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    Delivered,
    Refused,
    Failing,
    Trouble,
}
