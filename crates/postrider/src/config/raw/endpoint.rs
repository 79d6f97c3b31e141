//! Endpoints as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OneSecretRef, SecretRefs, Size, Span, Template};

/// A webhook destination.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Endpoint {
    /// Where events are posted. https, or http to this machine. No credentials in it.
    pub(crate) url: Option<String>,
    /// What is posted: `event` (the event as JSON), `raw` (the message itself, as the product in `raw` takes it), or `postmark` (the JSON that Postmark sends for inbound mail, with the message in `RawEmail`).
    pub(crate) format: Format,
    /// event: how much of the message's body is in it: `none`, `text` (the default: plain text and html, as far as `limits.event` allows), or `full` (beside them the whole message, in base64).
    pub(crate) body: Option<BodyMode>,
    /// event: `metadata` (the default: what attachments there are) `inline` (their bytes as well, in base64) or `link` (signed links to them and to the message, see `links`).
    pub(crate) attachments: Option<AttachmentMode>,
    /// event with `attachments = "inline"`, postmark: the most that attachments may have together. What does not fit is left out and marked. Default: `10MiB`.
    pub(crate) attachments_max: Option<Size>,
    /// raw: which product the endpoint is, and what it is told beside the message.
    pub(crate) raw: Product,
    /// template: requests to the product's own API.
    pub(crate) template: Template,
    /// The signing secret (`whsec_…`), by reference. With a list, bodies are signed with all of them. With `format = "raw"` or `"template"` it may be left out.
    pub(crate) secret: Option<SecretRefs>,
    /// The event types to send, or `["*"]` for all.
    pub(crate) types: Vec<String>,
    /// A condition on each event, such as `data.auto.is_bounce == false and "urgent" in data.message.subject|lower`: a MiniJinja expression over `type`, `subject`, `time` and `data`. An event for which it is not true does not go here. One for which it cannot be evaluated does, and says so (`data.delivery.when_failed`). Default: every event.
    pub(crate) when: Option<String>,
    /// Send a message once though it lies in several mailboxes or folders. Of those with the same Message-ID the first is sent; the others are stored as discarded, and counted. Whoever knows a Message-ID can keep a message with the same one from this endpoint. Default: each is sent.
    pub(crate) suppress_duplicates: Option<SuppressDuplicates>,
    /// Requests that may run at a time.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) max_in_flight: u32,
    /// How long one request may take, from connecting to the answer's end. Default: `15s`; with `format = "raw"` `3m`, because products answer when the ticket is made, and some make a second one of a repeat.
    #[schemars(extend("x-min" = "1s", "x-max" = "5m"))]
    pub(crate) timeout: Option<Span>,
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
    /// Headers that each request carries, by name, their values by reference: `headers = { "X-Api-Key" = { env = "KEY" } }`. Not `webhook-…`, `Host`, `Content-Type` and the like, which postrider writes itself.
    pub(crate) headers: BTreeMap<String, OneSecretRef>,
    /// A certificate to show to a receiver that asks for one (mutual TLS): `{ file = "client.pem" }` (PEM with certificate and key), or `{ file = "cert.pem", key = {reference} }`.
    pub(crate) client_certificate: Option<ClientCertificate>,
    /// Requests per second at most, spread evenly; what comes in a burst of up to a second's number goes at once. Attempts count, not successes. Default: no limit.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) rate: Option<u32>,
    /// Connect to public addresses alone: not to loopback, private networks (RFC 1918, RFC 6598, RFC 4193) and others that are not reachable from everywhere. Link-local, metadata, unspecified and multicast addresses are never connected to.
    pub(crate) strict_addresses: bool,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            url: None,
            format: Format::Event,
            body: None,
            attachments: None,
            attachments_max: None,
            raw: Product::default(),
            template: Template::default(),
            secret: None,
            types: vec!["message.received".to_owned()],
            when: None,
            suppress_duplicates: None,
            max_in_flight: 4,
            timeout: None,
            retry: Retry::default(),
            classify: Vec::new(),
            order: Order::None,
            order_block_max: Span::minutes(60),
            allow_plaintext: false,
            ca_file: None,
            proxy: None,
            headers: BTreeMap::new(),
            client_certificate: None,
            rate: None,
            strict_addresses: false,
        }
    }
}

/// Which messages are the same.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct SuppressDuplicates {
    /// For how long after one was stored others are left out. At most `store.keep_delivered`: events are not remembered longer.
    #[schemars(extend("x-min" = "1m", "x-max" = "365d"))]
    pub(crate) window: Span,
    /// What they are known by.
    pub(crate) by: DuplicatesBy,
}

impl Default for SuppressDuplicates {
    fn default() -> Self {
        Self {
            window: Span::days(1),
            by: DuplicatesBy::MessageId,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DuplicatesBy {
    MessageId,
}

/// A client certificate and its key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ClientCertificate {
    /// PEM: the certificate first, then those that it was signed by; the key too, unless `key` is given.
    pub(crate) file: Option<String>,
    /// The private key (PEM, PKCS#8), by reference.
    pub(crate) key: Option<OneSecretRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Event,
    Raw,
    Template,
    Postmark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BodyMode {
    None,
    Text,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AttachmentMode {
    Metadata,
    Inline,
    Link,
}

/// A product that takes messages (RFC 5322) over HTTP. `url` is its base URL; its path is added.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Product {
    /// `osticket`, `rt` (Request Tracker), `redmine`, `action_mailbox` (Rails, Chatwoot), `gitlab`, `discourse` or `odoo`.
    pub(crate) profile: Option<Profile>,
    /// The product's own secret, by reference: osticket, redmine, discourse: the API key. action_mailbox: the ingress password. gitlab: the webhook secret (base64). odoo: the password or API key. rt has none.
    pub(crate) key: Option<OneSecretRef>,
    /// rt: the queue for new tickets. Default: RT's first.
    pub(crate) queue: Option<String>,
    /// rt: `correspond` (the default) or `comment`.
    pub(crate) action: Option<String>,
    /// redmine: the identifier of the project for new issues.
    pub(crate) project: Option<String>,
    /// redmine: further fields, such as `unknown_user = "create"`, `no_permission_check = "1"` or `"issue[tracker]" = "Support"`.
    pub(crate) fields: BTreeMap<String, String>,
    /// action_mailbox: default `actionmailbox`. discourse: the user that the key belongs to, default `system`. odoo: the user's number.
    pub(crate) user: Option<String>,
    /// gitlab: `incoming_email` (the default) or `service_desk_email`.
    pub(crate) mailbox_type: Option<MailboxType>,
    /// odoo: the database.
    pub(crate) database: Option<String>,
    /// odoo: the model of records for mail that no alias fits, such as `helpdesk.ticket`. Default: such mail is refused.
    pub(crate) model: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Profile {
    Osticket,
    Rt,
    Redmine,
    ActionMailbox,
    Gitlab,
    Discourse,
    Odoo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MailboxType {
    IncomingEmail,
    ServiceDeskEmail,
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
