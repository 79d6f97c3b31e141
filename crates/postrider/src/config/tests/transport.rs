//! Headers, client certificates, addresses, rates, links, and what follows delivery.

use postrider_core::ids::{EndpointKey, MailboxKey};
use postrider_webhook::address::Policy;

use super::*;
use crate::config::AfterAction;

const SECRET: &str = "secret = { env = \"TICKETS_SECRET\" }";
const LAST: &str = "endpoints = [\"tickets\"]\n";

#[test]
fn what_requests_carry_is_taken_by_reference() {
    let keys = format!(
        "{SECRET}\nheaders = {{ \"X-Api-Key\" = {{ env = \"KEY\" }} }}\nrate = 7\nstrict_addresses = true"
    );
    let loaded = spoiled(SECRET, &keys).load();
    let endpoint = &loaded.config.endpoints[&EndpointKey::from("tickets")];
    let transport = &endpoint.transport;
    assert_eq!(transport.headers[0].0.as_str(), "x-api-key");
    assert_eq!(transport.rate.map(std::num::NonZeroU32::get), Some(7));
    assert_eq!(transport.addresses, Policy::Public);
    assert_eq!(endpoint.secrets().len(), 2);
}

#[test]
fn headers_of_our_own_and_impossible_ones_are_refused() {
    for (name, what) in [
        ("Webhook-Id", "postrider alone writes this header"),
        ("HOST", "postrider alone writes this header"),
        ("content-length", "postrider alone writes this header"),
        ("x y", "is no name of a header"),
        ("x\\r\\ny", "is no name of a header"),
    ] {
        let keys = format!("{SECRET}\nheaders = {{ \"{name}\" = {{ env = \"KEY\" }} }}");
        let errors = spoiled(SECRET, &keys).errors();
        assert!(errors.contains(what), "{name}: {errors}");
    }
    let twice =
        format!("{SECRET}\nheaders = {{ x-a = {{ env = \"K\" }}, X-A = {{ env = \"K\" }} }}");
    assert!(
        spoiled(SECRET, &twice)
            .errors()
            .contains("case does not count")
    );
}

#[test]
fn a_literal_private_address_is_no_strict_endpoints_own() {
    let url = "url = \"https://tickets.example.org/hooks/mail\"";
    for address in ["10.0.0.1", "127.0.0.1", "[::ffff:10.0.0.1]", "[fd00::1]"] {
        let private = format!("url = \"https://{address}/hook\"");
        spoiled(url, &private).load();
        let strict = format!("{private}\nstrict_addresses = true");
        let errors = spoiled(url, &strict).errors();
        assert!(errors.contains("strict_addresses"), "{errors}");
    }
}

#[test]
fn what_follows_delivery_names_an_endpoint_of_the_mailbox_and_one_thing() {
    let after = |written: &str| format!("{LAST}after = {{ {written} }}\n");
    let loaded = spoiled(LAST, &after("endpoint = \"tickets\", move_to = \"Done\"")).load();
    let mailbox = &loaded.config.mailboxes[&MailboxKey::from("lab")];
    let done = AfterAction::MoveTo("Done".into());
    assert_eq!(mailbox.after.as_ref().unwrap().action, done);
    let endpoint = &loaded.config.endpoints[&EndpointKey::from("tickets")];
    assert!(endpoint.after.contains(&mailbox.key));
    for (written, what) in [
        ("endpoint = \"tickets\"", "exactly one of"),
        (
            "move_to = \"Done\"",
            "`mailboxes.lab.after.endpoint` is missing",
        ),
        (
            "endpoint = \"ticket\", move_to = \"Done\"",
            "none of the mailbox's endpoints",
        ),
        (
            "endpoint = \"tickets\", move_to = \"A\", keyword = \"B\"",
            "exactly one of",
        ),
        (
            "endpoint = \"tickets\", add_flag = \"\\\\Deleted\"",
            "no flag that is set here",
        ),
        ("endpoint = \"tickets\", keyword = \"a b\"", "is no keyword"),
        (
            "endpoint = \"tickets\", move_to = \"\\\\Trash\"",
            "no name of a folder",
        ),
        (
            "endpoint = \"tickets\", move_to = \"inbox\"",
            "a folder that is watched",
        ),
    ] {
        let errors = spoiled(LAST, &after(written)).errors();
        assert!(errors.contains(what), "{written}: {errors}");
    }
}

#[test]
fn what_follows_delivery_needs_a_connection_beside_the_folders() {
    let written = format!(
        "{LAST}after = {{ endpoint = \"tickets\", move_to = \"Done\" }}\n[limits]\nconnections_per_mailbox = 1\n"
    );
    assert!(
        spoiled(LAST, &written)
            .warnings()
            .contains("a connection beside")
    );
}

#[test]
fn links_need_a_listener_a_url_and_a_key() {
    let section = "[links]\nlisten = \"127.0.0.1:9421\"\npublic_url = \"https://l.example.org/m\"\nkey = { env = \"LINKS\" }\n";
    let keys = format!("{SECRET}\nattachments = \"link\"");
    let config = GOOD.replacen(SECRET, &keys, 1);
    let load = |text: &str| World::new(text).set("LAB_PASSWORD", "x").set("LINKS", "x");
    let loaded = load(&format!("{config}{section}")).load();
    let endpoint = &loaded.config.endpoints[&EndpointKey::from("tickets")];
    assert_eq!(endpoint.links, loaded.config.links);
    assert!(endpoint.needs_raw());
    assert_eq!(endpoint.secrets().len(), 2);
    assert!(load(&config).errors().contains("there is no [links]"));
    let no_key = section.replace("key = { env = \"LINKS\" }\n", "");
    let errors = load(&format!("{config}{no_key}")).errors();
    assert!(errors.contains("`links.key` is missing"), "{errors}");
    let bad = section.replace("https://l.example.org/m", "https://u:p@l.example.org/?q");
    let errors = load(&format!("{config}{bad}")).errors();
    assert!(errors.contains("links.public_url"), "{errors}");
    assert!(!errors.contains("u:p"), "{errors}");
}
