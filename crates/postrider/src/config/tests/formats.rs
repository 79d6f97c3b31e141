//! What an endpoint gets: each format with its keys, and what is said of those that do not belong.

use postrider_core::event::EventType;
use postrider_webhook::format::{
    event::{Attachments, Texts},
    raw::Profile,
};

use super::*;
use crate::config::{Endpoint, EndpointFormat, SecretRef};

const SECRET: &str = "secret = { env = \"TICKETS_SECRET\" }";

fn endpoint(keys: &str) -> Endpoint {
    let loaded = spoiled(SECRET, keys).load();
    assert_eq!(loaded.warnings.len(), 0, "{:?}", loaded.warnings);
    Endpoint::clone(loaded.config.endpoints.values().next().unwrap())
}

/// An endpoint with these keys of its product.
fn product(keys: &str) -> EndpointFormat {
    endpoint(&format!("format = \"raw\"\nraw = {{ {keys} }}")).format
}

const KEY: &str = "key = { env = \"TICKETS_SECRET\" }";

#[test]
fn every_product_takes_its_own_keys_and_has_defaults() {
    let key = Some(SecretRef::Env("TICKETS_SECRET".to_owned()));
    for (keys, profile) in [
        (format!("profile = \"osticket\", {KEY}"), Profile::Osticket),
        (
            format!(
                "profile = \"redmine\", {KEY}, project = \"p\", fields = {{ unknown_user = \"create\" }}"
            ),
            Profile::Redmine {
                project: Some("p".to_owned()),
                fields: BTreeMap::from([("unknown_user".to_owned(), "create".to_owned())]),
            },
        ),
        (
            format!("profile = \"action_mailbox\", {KEY}"),
            Profile::ActionMailbox {
                user: "actionmailbox".to_owned(),
            },
        ),
        (
            format!("profile = \"gitlab\", {KEY}, mailbox_type = \"service_desk_email\""),
            Profile::Gitlab {
                mailbox_type: "service_desk_email".to_owned(),
            },
        ),
        (
            format!("profile = \"discourse\", {KEY}"),
            Profile::Discourse {
                user: "system".to_owned(),
            },
        ),
        (
            format!("profile = \"odoo\", {KEY}, database = \"d\", user = \"2\""),
            Profile::Odoo {
                database: "d".to_owned(),
                user: 2,
                model: None,
            },
        ),
    ] {
        let expected = EndpointFormat::Raw {
            profile,
            key: key.clone(),
        };
        assert_eq!(product(&keys), expected);
    }
    let rt = Profile::Rt {
        queue: Some("q".to_owned()),
        action: "correspond".to_owned(),
    };
    let expected = EndpointFormat::Raw {
        profile: rt,
        key: None,
    };
    assert_eq!(product("profile = \"rt\", queue = \"q\""), expected);
}

#[test]
fn a_product_needs_no_signing_secret_and_gets_one_that_is_written() {
    let raw = format!("format = \"raw\"\nraw = {{ profile = \"osticket\", {KEY} }}");
    let without = endpoint(&raw);
    assert!(without.needs_raw() && without.needs_message());
    assert_eq!(without.timeout.as_secs(), 180, "products answer late");
    let quick = endpoint(&format!("timeout = \"7s\"\n{raw}"));
    assert_eq!(quick.timeout.as_secs(), 7);
    assert_eq!(without.secrets().len(), 1);
    let with = endpoint(&format!("{SECRET}\n{raw}"));
    assert_eq!(with.secrets().len(), 2);
}

#[test]
fn an_event_holds_as_much_of_the_message_as_is_written() {
    let format = |keys: &str| endpoint(&format!("{SECRET}\n{keys}"));
    let event = |texts, attachments| EndpointFormat::Event { texts, attachments };
    let plain = format("");
    assert_eq!(plain.format, event(Texts::Text, Attachments::Metadata));
    assert!(!plain.needs_raw());
    let full = format("body = \"full\"");
    assert_eq!(full.format, event(Texts::Full, Attachments::Metadata));
    assert!(full.needs_raw() && !full.needs_message());
    let none = format("body = \"none\"\nattachments = \"inline\"\nattachments_max = \"1MiB\"");
    let inline = Attachments::Inline { bytes_max: 1 << 20 };
    assert_eq!(none.format, event(Texts::None, inline));
    assert!(none.needs_raw());
    let postmark = format("format = \"postmark\"");
    let attachments_max = 10 << 20;
    assert_eq!(
        postmark.format,
        EndpointFormat::Postmark { attachments_max }
    );
    assert!(postmark.needs_raw());
}

#[test]
fn what_is_missing_or_does_not_belong_is_named() {
    for (keys, said) in [
        (
            "format = \"raw\"".to_owned(),
            "`endpoints.tickets.raw.profile` is missing",
        ),
        (
            "format = \"raw\"\nraw = { profile = \"osticket\" }".to_owned(),
            "`endpoints.tickets.raw.key` is missing",
        ),
        (
            format!("format = \"raw\"\nraw = {{ profile = \"osticket\", {KEY}, queue = \"q\" }}"),
            "`endpoints.tickets.raw.queue` means nothing to this product\n  hint: it takes: key",
        ),
        (
            format!(
                "format = \"raw\"\nraw = {{ profile = \"odoo\", {KEY}, database = \"d\", user = \"admin\" }}"
            ),
            "`endpoints.tickets.raw.user` is no number",
        ),
        (
            format!("format = \"raw\"\nraw = {{ profile = \"odoo\", {KEY}, user = \"2\" }}"),
            "`endpoints.tickets.raw.database` is missing",
        ),
        (
            "format = \"raw\"\nraw = { profile = \"rt\", queue = \"a\\nb\" }".to_owned(),
            "`endpoints.tickets.raw.queue` has a control character in it",
        ),
        (
            format!("{SECRET}\nraw = {{ profile = \"rt\" }}"),
            "`endpoints.tickets.raw.profile` has no effect without `format = \"raw\"`",
        ),
        (
            format!("{SECRET}\nformat = \"postmark\"\nbody = \"full\""),
            "`endpoints.tickets.body` has no effect without `format = \"event\"`",
        ),
        (
            format!("{SECRET}\nattachments_max = \"1MiB\""),
            "`endpoints.tickets.attachments_max` has no effect without `attachments = \"inline\"`",
        ),
        (
            "format = \"postmark\"".to_owned(),
            "`endpoints.tickets.secret` is missing",
        ),
        (
            "format = \"raw\"\nraw = { profile = \"osticket\", key = \"abc\" }".to_owned(),
            "`endpoints.tickets.raw.key`",
        ),
    ] {
        let errors = spoiled(SECRET, &keys).errors();
        assert!(errors.contains(said), "{keys}: {errors}");
        assert!(!errors.contains("abc"), "{errors}");
    }
}

#[test]
fn other_events_than_messages_do_not_go_to_a_product() {
    let keys =
        format!("types = [\"*\"]\nformat = \"raw\"\nraw = {{ profile = \"osticket\", {KEY} }}");
    let loaded = spoiled(SECRET, &keys).load();
    let endpoint = loaded.config.endpoints.values().next().unwrap();
    assert_eq!(endpoint.types, [EventType::MessageReceived]);
    let warnings = spoiled(SECRET, &keys).warnings();
    assert!(warnings.contains("carries messages alone"), "{warnings}");
}
