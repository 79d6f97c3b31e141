//! Templates of endpoints as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requests to a product's own API, one after the other. Every attempt starts with the first, so a step that creates something needs one before it that looks whether it is there.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Template {
    /// The requests, in order. What comes back with a status that is no success ends the attempt.
    pub(crate) steps: Vec<Step>,
}

/// One request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Step {
    /// Names its answer for the steps after it: `answers.NAME.status`, `.json`, `.text`, and `.skipped`. Default: `step1`, `step2`, …
    pub(crate) name: Option<String>,
    /// An expression over the event and the answers so far; where it is not true, this request is left out.
    pub(crate) when: Option<String>,
    /// `attachment`: one request for each attachment, which is then `attachment`; `answers.NAME` is a list.
    pub(crate) each: Option<Each>,
    pub(crate) method: Method,
    /// A template, relative to the endpoint's `url`, whose host it cannot leave. Values are percent-encoded. Default: that URL itself.
    pub(crate) url: Option<String>,
    /// Headers of this request, by name, with templates for their values. Secrets go into the endpoint's `headers`.
    pub(crate) headers: BTreeMap<String, String>,
    /// A body of JSON: a template in which values are written as JSON, so text gets its quotes.
    pub(crate) json: Option<String>,
    /// A body of `application/x-www-form-urlencoded`: templates by the fields' names.
    pub(crate) form: BTreeMap<String, String>,
    /// A body of `multipart/form-data`, part by part.
    pub(crate) parts: Vec<Part>,
    /// A body that is a file: `attachment` (with `each`) or `message` (RFC 5322).
    pub(crate) content: Option<Content>,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            name: None,
            when: None,
            each: None,
            method: Method::Post,
            url: None,
            headers: BTreeMap::new(),
            json: None,
            form: BTreeMap::new(),
            parts: Vec::new(),
            content: None,
        }
    }
}

/// Either a text or a file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Part {
    pub(crate) name: Option<String>,
    /// A template.
    pub(crate) text: Option<String>,
    /// `attachments` (a part for each), `attachment` (with `each`) or `message` (RFC 5322).
    pub(crate) file: Option<PartFile>,
    /// A template for the name of an `attachment` or a `message`. Default: its own, or `message.eml`.
    pub(crate) filename: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Each {
    Attachment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Content {
    Attachment,
    Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PartFile {
    Attachments,
    Attachment,
    Message,
}
