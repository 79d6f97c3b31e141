//! Templates of endpoints: compiled here, so that what is wrong with one is told with its place, and
//! what no event has is found before one comes.

use std::collections::BTreeSet;

use postrider_webhook::format::template::{
    Lookup, Part, PartContent, Step, StepBody, Template, Times,
};
use reqwest::{Method, header::HeaderName};
use url::Url;

use super::Findings;
use crate::{
    config::{model::is_reserved, raw},
    routing::unknown_in_template,
};

pub(super) fn template(
    path: &str,
    url: Option<&Url>,
    written: &raw::Template,
    attachments_max: u64,
    findings: &mut Findings<'_>,
) -> Option<Template> {
    let path = format!("{path}.template");
    if written.steps.is_empty() {
        let hint = "write [[endpoints.NAME.template.steps]]; config/recipes/ has worked ones";
        findings.missing(&format!("{path}.steps"), hint);
        return None;
    }
    let errors = findings.problems.len();
    let steps: Vec<Step> = written
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| resolved(&format!("{path}.steps[{index}]"), index, step, findings))
        .collect();
    names(&path, &steps, findings);
    // Without a URL of its own it is told what its templates lack all the same.
    let base = match url {
        Some(url) => url.clone(),
        None => Url::parse("https://invalid.").ok()?,
    };
    match Template::compile(&base, &steps, attachments_max) {
        Ok(template) => {
            lookups(&path, &template, findings);
            for doubt in template.rehearse() {
                let path = format!("{path}.steps[{}].{}", doubt.step, doubt.key);
                let what = format!(
                    "`{path}` fails with a sample of an event: {}",
                    doubt.problem
                );
                let hint = "values are written as JSON there, text with its quotes: write {{ x }}, not \"{{ x }}\"";
                findings.warn(&path, what, hint);
            }
            (findings.problems.len() == errors).then_some(template)
        }
        Err(problems) => {
            for error in problems {
                let path = format!("{path}.steps[{}].{}", error.step, error.key);
                findings.error(&path, format!("`{path}`: {}", error.problem), "");
            }
            None
        }
    }
}

fn resolved(path: &str, index: usize, written: &raw::Step, findings: &mut Findings<'_>) -> Step {
    let times = match written.each {
        None => Times::Once,
        Some(raw::Each::Attachment) => Times::EachAttachment,
    };
    Step {
        name: written
            .name
            .clone()
            .unwrap_or_else(|| format!("step{}", index + 1)),
        when: written.when.clone(),
        times,
        method: match written.method {
            raw::Method::Get => Method::GET,
            raw::Method::Post => Method::POST,
            raw::Method::Put => Method::PUT,
            raw::Method::Patch => Method::PATCH,
            raw::Method::Delete => Method::DELETE,
        },
        url: written.url.clone().unwrap_or_default(),
        headers: headers(path, written, findings),
        body: body(path, times, written, findings),
    }
}

/// Names are parts of `answers.NAME` and of idempotency keys.
fn names(path: &str, steps: &[Step], findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        let path = format!("{path}.steps[{index}].name");
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if step.name.is_empty() || step.name.len() > 40 || !step.name.bytes().all(fits) {
            let what = format!("`{path}`: `{}` is no name of a step", step.name);
            findings.error(&path, what, "a name is 1 to 40 of a-z, 0-9 and _");
        } else if !seen.insert(step.name.as_str()) {
            let what = format!("`{path}`: two steps are called `{}`", step.name);
            findings.error(&path, what, "give each a name of its own");
        }
    }
}

fn headers(
    path: &str,
    written: &raw::Step,
    findings: &mut Findings<'_>,
) -> Vec<(HeaderName, String)> {
    let mut headers = Vec::new();
    for (name, value) in &written.headers {
        let path = format!("{path}.headers.{name}");
        match HeaderName::try_from(name) {
            // Products that make them from it want a key or a type of their own.
            Ok(header)
                if !is_reserved(&header)
                    || matches!(header.as_str(), "idempotency-key" | "content-type") =>
            {
                headers.push((header, value.clone()));
            }
            Ok(_) => {
                let what = format!("`{path}` is a header that postrider writes itself");
                findings.error(&path, what, "remove it");
            }
            Err(_) => {
                let what = format!("`{path}`: `{name}` is no name of a header");
                findings.error(&path, what, "write it as \"X-Name\"");
            }
        }
    }
    headers
}

fn body(path: &str, times: Times, written: &raw::Step, findings: &mut Findings<'_>) -> StepBody {
    let given = [
        written.json.is_some(),
        !written.form.is_empty(),
        !written.parts.is_empty(),
        written.content.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        let what = format!("`{path}` has more than one body");
        findings.error(
            path,
            what,
            "write one of `json`, `form`, `parts` and `content`",
        );
    }
    let mut needs_each = |key: &str| {
        if times == Times::Once {
            let path = format!("{path}.{key}");
            let what = format!("`{path}` is `attachment`, but there is not one for each request");
            findings.error(&path, what, "add each = \"attachment\"");
        }
    };
    if let Some(json) = &written.json {
        return StepBody::Json(json.clone());
    }
    if !written.form.is_empty() {
        let fields = written.form.iter();
        return StepBody::Form(
            fields
                .map(|(name, text)| (name.clone(), text.clone()))
                .collect(),
        );
    }
    match written.content {
        Some(raw::Content::Attachment) => {
            needs_each("content");
            return StepBody::Attachment;
        }
        Some(raw::Content::Message) => return StepBody::Message,
        None => {}
    }
    if written.parts.is_empty() {
        return StepBody::Nothing;
    }
    if written
        .parts
        .iter()
        .any(|part| part.file == Some(raw::PartFile::Attachment))
    {
        needs_each("parts");
    }
    let parts = written.parts.iter().enumerate();
    StepBody::Parts(
        parts
            .filter_map(|(number, one)| part(&format!("{path}.parts[{number}]"), one, findings))
            .collect(),
    )
}

fn part(path: &str, written: &raw::Part, findings: &mut Findings<'_>) -> Option<Part> {
    let Some(name) = &written.name else {
        findings.missing(&format!("{path}.name"), "write the part's name");
        return None;
    };
    let content = match (&written.text, written.file) {
        (Some(text), None) => PartContent::Text(text.clone()),
        (None, Some(raw::PartFile::Attachments)) => PartContent::Attachments,
        (None, Some(raw::PartFile::Attachment)) => PartContent::Attachment,
        (None, Some(raw::PartFile::Message)) => PartContent::Message,
        (Some(_), Some(_)) | (None, None) => {
            let what = format!("`{path}` is neither a text nor a file");
            findings.error(path, what, "write one of `text` and `file`");
            return None;
        }
    };
    let single = matches!(content, PartContent::Attachment | PartContent::Message);
    if written.filename.is_some() && !single {
        let path = format!("{path}.filename");
        let what = format!("`{path}` has no effect here");
        findings.error(&path, what, "it names an `attachment` or a `message`");
    }
    Some(Part {
        name: name.clone(),
        content,
        filename: written.filename.clone(),
    })
}

/// What no event and no step before has.
fn lookups(path: &str, template: &Template, findings: &mut Findings<'_>) {
    for lookup in template.lookups() {
        let Some(near) = missing(lookup, template.steps()) else {
            continue;
        };
        let path = format!("{path}.steps[{}].{}", lookup.step, lookup.key);
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "docs/WEBHOOKS.md has the keys of an event; there are `answers.STEP` of steps before, `attachments`, `left_out` and `raw` too".to_owned(),
        };
        let what = format!("`{path}`: there is no `{}`", lookup.path);
        findings.error(&path, what, &hint);
    }
}

fn missing(lookup: &Lookup, steps: &[Step]) -> Option<Option<String>> {
    let mut parts = lookup.path.split('.');
    match (parts.next().unwrap_or_default(), parts.next()) {
        ("answers", None) => None,
        ("answers", Some(name)) => {
            let before = steps.iter().take(lookup.step);
            let names: Vec<&str> = before.map(|step| step.name.as_str()).collect();
            let near = crate::config::nearest(name, names.iter().copied());
            (!names.contains(&name)).then(|| near.map(|near| format!("answers.{near}")))
        }
        ("attachments" | "left_out", _) => None,
        ("raw", None | Some("base64")) => None,
        ("attachment", key) => {
            let known = [
                "index",
                "position",
                "filename",
                "content_type",
                "size",
                "disposition",
                "content_id",
                "base64",
            ];
            let each = steps
                .get(lookup.step)
                .is_some_and(|step| step.times == Times::EachAttachment);
            let fits = each && key.is_none_or(|key| known.contains(&key));
            (!fits).then_some(None)
        }
        (_, _) => unknown_in_template(&lookup.path),
    }
}
