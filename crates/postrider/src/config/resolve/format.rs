//! What an endpoint gets: the keys of its format, those that belong to another one, and those that
//! are missing.

use std::time::Duration;

use postrider_core::event::EventType;
use postrider_webhook::format::{
    event::{Attachments, Texts},
    raw::Profile,
};
use url::Url;

use super::{Findings, secrets::one, template};
use crate::config::{model::EndpointFormat, raw};

pub(super) fn format(
    path: &str,
    url: Option<&Url>,
    written: &raw::Endpoint,
    findings: &mut Findings<'_>,
) -> Option<EndpointFormat> {
    misplaced(path, written, findings);
    let attachments_max = written
        .attachments_max
        .map_or(ATTACHMENTS_MAX, |size| size.0);
    match written.format {
        raw::Format::Event => Some(EndpointFormat::Event {
            texts: match written.body {
                Some(raw::BodyMode::None) => Texts::None,
                Some(raw::BodyMode::Full) => Texts::Full,
                Some(raw::BodyMode::Text) | None => Texts::Text,
            },
            attachments: match written.attachments {
                Some(raw::AttachmentMode::Inline) => Attachments::Inline {
                    bytes_max: attachments_max,
                },
                Some(raw::AttachmentMode::Link) => Attachments::Link,
                Some(raw::AttachmentMode::Metadata) | None => Attachments::Metadata,
            },
        }),
        raw::Format::Postmark => Some(EndpointFormat::Postmark { attachments_max }),
        raw::Format::Raw => product(&format!("{path}.raw"), &written.raw, findings),
        raw::Format::Template => {
            template::template(path, url, &written.template, attachments_max, findings)
                .map(EndpointFormat::Template)
        }
    }
}

/// A receiver that answers first and works later is quick. A product answers when it is done, and Request Tracker's own
/// client waits as long.
pub(super) fn timeout(written: &raw::Endpoint) -> Duration {
    let default = match written.format {
        raw::Format::Raw => Duration::from_secs(180),
        raw::Format::Event | raw::Format::Postmark | raw::Format::Template => {
            Duration::from_secs(15)
        }
    };
    written.timeout.map_or(default, |span| span.0)
}

/// Base64 of it is what common receivers still take.
const ATTACHMENTS_MAX: u64 = 10 << 20;

/// Keys of another format than the one that is written.
fn misplaced(path: &str, written: &raw::Endpoint, findings: &mut Findings<'_>) {
    let inline = written.attachments == Some(raw::AttachmentMode::Inline);
    let (event, max) = match written.format {
        raw::Format::Event => (true, inline),
        raw::Format::Postmark | raw::Format::Template => (false, true),
        raw::Format::Raw => (false, false),
    };
    let product = match written.format {
        raw::Format::Raw => None,
        raw::Format::Event | raw::Format::Postmark | raw::Format::Template => {
            written_keys(&written.raw).next()
        }
    };
    let templated = written.format == raw::Format::Template;
    let odd = [
        product.map(|key| (format!("raw.{key}"), "format = \"raw\"")),
        (!templated && !written.template.steps.is_empty())
            .then(|| ("template.steps".to_owned(), "format = \"template\"")),
        (!event && written.body.is_some()).then(|| ("body".to_owned(), "format = \"event\"")),
        (!event && written.attachments.is_some())
            .then(|| ("attachments".to_owned(), "format = \"event\"")),
        (!max && written.attachments_max.is_some())
            .then(|| ("attachments_max".to_owned(), "attachments = \"inline\"")),
    ];
    for (key, wanted) in odd.into_iter().flatten() {
        let path = format!("{path}.{key}");
        let what = format!("`{path}` has no effect without `{wanted}`");
        findings.error(&path, what, "write that, or remove the key");
    }
}

/// A format that carries messages gets no other events.
pub(super) fn types(
    path: &str,
    format: raw::Format,
    types: Vec<EventType>,
    findings: &mut Findings<'_>,
) -> Vec<EventType> {
    let others = types.iter().any(|kind| *kind != EventType::MessageReceived);
    let name = match format {
        // A template says with `when` what it makes of which event.
        raw::Format::Event | raw::Format::Template => return types,
        raw::Format::Raw => "raw",
        raw::Format::Postmark => "postmark",
    };
    if !others {
        return types;
    }
    let path = format!("{path}.types");
    let what =
        format!("`{path}`: format \"{name}\" carries messages alone; other types are not sent");
    let hint = "leave `types` out, and send the others to an endpoint with format \"event\"";
    findings.warn(&path, what, hint);
    types
        .into_iter()
        .filter(|kind| *kind == EventType::MessageReceived)
        .collect()
}

fn product(
    path: &str,
    written: &raw::Product,
    findings: &mut Findings<'_>,
) -> Option<EndpointFormat> {
    let Some(name) = written.profile else {
        let hint =
            "write the product: osticket, rt, redmine, action_mailbox, gitlab, discourse or odoo";
        findings.missing(&format!("{path}.profile"), hint);
        return None;
    };
    let known = keys_of(name);
    for key in written_keys(written) {
        if key != "profile" && !known.contains(&key) {
            let path = format!("{path}.{key}");
            let what = format!("`{path}` means nothing to this product");
            let hint = match known {
                [] => "it takes no further keys".to_owned(),
                known => format!("it takes: {}", known.join(", ")),
            };
            findings.error(&path, what, &hint);
        }
    }
    plain(path, written, findings);
    let profile = profile(path, name, written, findings)?;
    let key = match &written.key {
        Some(key) => one(&format!("{path}.key"), key, findings),
        None if profile.needs_key() => {
            let hint = "write { file = \"/run/secrets/NAME\" }, { env = \"NAME\" } or { credential = \"NAME\" }";
            findings.missing(&format!("{path}.key"), hint);
            return None;
        }
        None => None,
    };
    Some(EndpointFormat::Raw { profile, key })
}

fn profile(
    path: &str,
    name: raw::Profile,
    written: &raw::Product,
    findings: &mut Findings<'_>,
) -> Option<Profile> {
    let or = |value: &Option<String>, otherwise: &str| {
        value.clone().unwrap_or_else(|| otherwise.to_owned())
    };
    Some(match name {
        raw::Profile::Osticket => Profile::Osticket,
        raw::Profile::Rt => Profile::Rt {
            queue: written.queue.clone(),
            action: or(&written.action, "correspond"),
        },
        raw::Profile::Redmine => Profile::Redmine {
            project: written.project.clone(),
            fields: written.fields.clone(),
        },
        raw::Profile::ActionMailbox => Profile::ActionMailbox {
            user: or(&written.user, "actionmailbox"),
        },
        raw::Profile::Gitlab => Profile::Gitlab {
            mailbox_type: match written.mailbox_type {
                None | Some(raw::MailboxType::IncomingEmail) => "incoming_email",
                Some(raw::MailboxType::ServiceDeskEmail) => "service_desk_email",
            }
            .to_owned(),
        },
        raw::Profile::Discourse => Profile::Discourse {
            user: or(&written.user, "system"),
        },
        raw::Profile::Odoo => return odoo(path, written, findings),
    })
}

fn odoo(path: &str, written: &raw::Product, findings: &mut Findings<'_>) -> Option<Profile> {
    if written.database.is_none() {
        findings.missing(&format!("{path}.database"), "write the database's name");
    }
    let path = format!("{path}.user");
    let hint = "the number of the user, as Odoo's own gateway script takes it (`-u`)";
    let user = match written.user.as_deref().map(str::parse) {
        Some(Ok(user)) => Some(user),
        Some(Err(_)) => {
            findings.error(&path, format!("`{path}` is no number"), hint);
            None
        }
        None => {
            findings.missing(&path, hint);
            None
        }
    };
    Some(Profile::Odoo {
        database: written.database.clone()?,
        user: user?,
        model: written.model.clone(),
    })
}

/// None of these texts may end a line or a field of the request that it stands in.
fn plain(path: &str, written: &raw::Product, findings: &mut Findings<'_>) {
    let single = [
        ("queue", &written.queue),
        ("action", &written.action),
        ("project", &written.project),
        ("user", &written.user),
        ("database", &written.database),
        ("model", &written.model),
    ];
    let single = single
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value.as_ref()?)));
    let fields = written.fields.iter().flat_map(|(name, value)| {
        [
            (format!("fields.{name}"), name),
            (format!("fields.{name}"), value),
        ]
    });
    let odd: Vec<String> = single
        .chain(fields)
        .filter(|(_, value)| value.chars().any(char::is_control))
        .map(|(key, _)| format!("{path}.{key}"))
        .collect();
    for path in odd {
        let what = format!("`{path}` has a control character in it");
        findings.error(&path, what, "write it in one line");
    }
}

fn keys_of(profile: raw::Profile) -> &'static [&'static str] {
    match profile {
        raw::Profile::Osticket => &["key"],
        raw::Profile::Rt => &["queue", "action"],
        raw::Profile::Redmine => &["key", "project", "fields"],
        raw::Profile::ActionMailbox | raw::Profile::Discourse => &["key", "user"],
        raw::Profile::Gitlab => &["key", "mailbox_type"],
        raw::Profile::Odoo => &["key", "user", "database", "model"],
    }
}

fn written_keys(written: &raw::Product) -> impl Iterator<Item = &'static str> {
    [
        ("profile", written.profile.is_some()),
        ("key", written.key.is_some()),
        ("queue", written.queue.is_some()),
        ("action", written.action.is_some()),
        ("project", written.project.is_some()),
        ("fields", !written.fields.is_empty()),
        ("user", written.user.is_some()),
        ("mailbox_type", written.mailbox_type.is_some()),
        ("database", written.database.is_some()),
        ("model", written.model.is_some()),
    ]
    .into_iter()
    .filter_map(|(key, is_written)| is_written.then_some(key))
}
