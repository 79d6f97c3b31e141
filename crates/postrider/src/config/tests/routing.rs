//! Conditions, duplicates and templates of endpoints: what is wrong is told with its line.

use super::*;
use crate::config::EndpointFormat;

fn endpoint(lines: &str) -> World {
    spoiled(
        "secret = { env = \"TICKETS_SECRET\" }",
        &format!("secret = {{ env = \"TICKETS_SECRET\" }}\n{lines}"),
    )
}

#[test]
fn a_condition_is_compiled_and_a_slip_in_it_is_told() {
    let config = endpoint("when = \"not data.auto.is_bounce\"").load().config;
    let endpoint_ = config.endpoints.values().next().unwrap();
    assert_eq!(
        endpoint_.when.as_ref().unwrap().source(),
        "not data.auto.is_bounce"
    );
    let told = endpoint("when = \"not data.auto.is_bouce\"").errors();
    assert!(
        told.contains("no event has `data.auto.is_bouce`")
            && told.contains("did you mean `data.auto.is_bounce`?"),
        "{told}"
    );
    let told = endpoint("when = \"data.auto.is_bounce ==\"").errors();
    assert!(told.contains(".when`: "), "{told}");
    let told = endpoint("when = \"data.folder|uper == 'A'\"").errors();
    assert!(told.contains("uper"), "{told}");
}

#[test]
fn duplicates_are_suppressed_within_a_window_that_can_be_kept() {
    let loaded = endpoint("suppress_duplicates = {}").load();
    let window = loaded
        .config
        .endpoints
        .values()
        .next()
        .unwrap()
        .suppress_duplicates;
    assert_eq!(window, Some(std::time::Duration::from_secs(86_400)));
    let loaded = endpoint("suppress_duplicates = { window = \"30d\", by = \"message_id\" }").load();
    let warned: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warned
            .iter()
            .any(|one| one.contains("store.keep_delivered")),
        "{warned:?}"
    );
    let told = endpoint("suppress_duplicates = { by = \"subject\" }").errors();
    assert!(told.contains("message_id"), "{told}");
}

const TEMPLATE: &str = "format = \"template\"\n\
    [[endpoints.tickets.template.steps]]\nname = \"find\"\nmethod = \"GET\"\nurl = \"search?q={{ data.message.subject }}\"\n\
    [[endpoints.tickets.template.steps]]\nwhen = \"not answers.find.json\"\njson = '{\"title\": {{ data.message.subject }}}'\n";

#[test]
fn templates_are_compiled_with_the_configuration() {
    let config = endpoint(TEMPLATE).load().config;
    let endpoint_ = config.endpoints.values().next().unwrap();
    let EndpointFormat::Template(template) = &endpoint_.format else {
        panic!("{:?}", endpoint_.format)
    };
    let names: Vec<_> = template
        .steps()
        .iter()
        .map(|step| step.name.as_str())
        .collect();
    assert_eq!(names, ["find", "step2"]);
    assert!(!endpoint_.needs_raw());
    let raw = TEMPLATE.replace("data.message.subject }}}", "raw.base64 }}}");
    assert!(
        endpoint(&raw)
            .load()
            .config
            .endpoints
            .values()
            .next()
            .unwrap()
            .needs_raw()
    );
}

#[test]
fn what_is_wrong_with_a_template_is_told_with_its_step_and_line() {
    for (good, bad, expected) in [
        (
            "data.message.subject }}\"",
            "data.message.subjct }}\"",
            "steps[0].url`: there is no `data.message.subjct`",
        ),
        (
            "data.message.subject }}}",
            "data.message.subject }",
            "steps[1].json`: ",
        ),
        (
            "answers.find.json",
            "answers.fnd.json",
            "steps[1].when`: there is no `answers.fnd.json`",
        ),
        (
            "{{ data.message.subject }}}",
            "{{ attachment.filename }}}",
            "there is no `attachment.filename`",
        ),
        (
            "name = \"find\"",
            "name = \"Find it\"",
            "is no name of a step",
        ),
        ("method = \"GET\"", "method = \"LOOK\"", "method"),
        (
            "when = \"not",
            "content = \"attachment\"\nwhen = \"not",
            "more than one body",
        ),
        (
            "json = '{\"title\": {{ data.message.subject }}}'",
            "content = \"attachment\"",
            "add each = \"attachment\"",
        ),
        (
            "method = \"GET\"",
            "headers = { Host = \"x\" }",
            "postrider writes itself",
        ),
    ] {
        let told = endpoint(&TEMPLATE.replace(good, bad)).errors();
        assert!(told.contains(expected), "{bad}: {told}");
        assert!(told.starts_with("c.toml:"), "{told}");
    }
    let second = TEMPLATE.replace("answers.find.json", "answers.fnd.json");
    assert!(
        endpoint(&second).errors().starts_with("c.toml:14: "),
        "{}",
        endpoint(&second).errors()
    );
    let quoted = TEMPLATE.replace(
        "{{ data.message.subject }}}",
        "\"{{ data.message.subject }}\"}",
    );
    let told = endpoint(&quoted).warnings();
    assert!(told.contains("fails with a sample of an event"), "{told}");
    assert_eq!(endpoint(TEMPLATE).warnings(), "");
    let told = endpoint(&TEMPLATE.replace("format = \"template\"\n", "")).errors();
    assert!(told.contains("format = \"template\""), "{told}");
}

#[test]
fn whose_authentication_results_count_is_said_by_the_mailbox_else_by_its_server() {
    let trusted = |server: &str, mailbox: &str| {
        let server = format!("server = {{ host = \"imap.example.org\"{server} }}{mailbox}");
        let config = spoiled("server = { host = \"imap.example.org\" }", &server)
            .load()
            .config;
        let mailbox = config.mailboxes.values().next().unwrap();
        mailbox.trusted_authserv_id.as_deref().map(str::to_owned)
    };
    let id = |text: &str| Some(text.to_owned());
    assert_eq!(trusted("", ""), None);
    assert_eq!(trusted(", trusted_authserv_id = \"mx.a\"", ""), id("mx.a"));
    let own = "\ntrusted_authserv_id = \"\"";
    assert_eq!(trusted(", trusted_authserv_id = \"mx.a\"", own), id(""));
}
