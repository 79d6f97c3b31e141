//! Requests as an operator describes them: templates for URL, headers and body, one request after
//! the other, each with the answers to those before it. For products that have an API of their own.
//!
//! Every attempt starts with the first step: nothing is remembered of an attempt that failed halfway,
//! so what creates something has to look first whether it is there. Templates have no loader, and
//! what they may cost and write is bounded.

mod context;
mod environment;
mod request;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use minijinja::Environment;
use postrider_core::delivery::classify::Classifier;
use reqwest::{Method, header::HeaderName};
use url::Url;

use super::{Answer, Foreseen, RenderError, Rendered, Shape, Source};
use crate::payload;
use context::Context;

/// A list of tickets, or the comments of one, fit.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// For `answers.NAME` in the steps after it.
    pub name: String,
    /// An expression; where it is not true, there is no such request.
    pub when: Option<String>,
    pub times: Times,
    pub method: Method,
    /// A template, relative to the endpoint's URL; empty: that URL itself.
    pub url: String,
    pub headers: Vec<(HeaderName, String)>,
    pub body: StepBody,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    #[default]
    Once,
    /// For each attachment, as `attachment`.
    EachAttachment,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StepBody {
    #[default]
    Nothing,
    /// A template of JSON, in which values are written as JSON.
    Json(String),
    /// Fields of `application/x-www-form-urlencoded`, with templates for their values.
    Form(Vec<(String, String)>),
    /// Parts of `multipart/form-data`.
    Parts(Vec<Part>),
    /// The attachment's bytes.
    Attachment,
    /// The message itself.
    Message,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub content: PartContent,
    /// A template for a file's name in place of its own.
    pub filename: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartContent {
    /// A template.
    Text(String),
    /// One part for each attachment.
    Attachments,
    /// The attachment of this request.
    Attachment,
    Message,
}

/// What is wrong with a template, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TemplateError {
    pub step: usize,
    /// Such as `url`, `headers.X-Y` or `json`.
    pub key: String,
    pub problem: String,
}

/// A name that a template looks up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup {
    pub step: usize,
    pub key: String,
    /// `data.message.subject`
    pub path: String,
}

/// Steps, compiled.
#[derive(Clone)]
pub struct Template {
    base: Url,
    steps: Arc<[Step]>,
    /// What all attachments together may have.
    attachments_max: u64,
    environment: Arc<Environment<'static>>,
    lookups: Arc<[Lookup]>,
}

impl Template {
    /// All that is wrong with the steps, or the steps compiled.
    pub fn compile(
        base: &Url,
        steps: &[Step],
        attachments_max: u64,
    ) -> Result<Self, Vec<TemplateError>> {
        let mut environment = environment::new();
        let mut errors = Vec::new();
        let mut lookups = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            for (key, kind, source) in step.texts() {
                match environment::add(&mut environment, index, &key, kind, source) {
                    Ok(paths) => lookups.extend(paths.into_iter().map(|path| Lookup {
                        step: index,
                        key: key.clone(),
                        path,
                    })),
                    Err(problem) => errors.push(TemplateError {
                        step: index,
                        key,
                        problem,
                    }),
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        lookups.sort();
        Ok(Self {
            base: base.clone(),
            steps: steps.into(),
            attachments_max,
            environment: Arc::new(environment),
            lookups: lookups.into(),
        })
    }

    /// What its templates look up: what no event has is a slip.
    pub fn lookups(&self) -> &[Lookup] {
        &self.lookups
    }

    /// What goes wrong with a sample of an event in what needs no answer and no file: a template
    /// that makes no JSON, say. Another event may have what the sample lacks, so it is a doubt.
    pub fn rehearse(&self) -> Vec<TemplateError> {
        let sample = payload::sample();
        let Ok(serde_json::Value::Object(event)) = serde_json::from_str(&sample) else {
            return Vec::new();
        };
        let context = minijinja::Value::from(minijinja::value::Serde(event));
        let mut doubts = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            for (key, kind, _) in step.texts() {
                let needs_more = |lookup: &&Lookup| {
                    let first = lookup.path.split('.').next().unwrap_or_default();
                    lookup.step == index
                        && lookup.key == key
                        && matches!(
                            first,
                            "answers" | "attachments" | "attachment" | "left_out" | "raw"
                        )
                };
                if self.lookups.iter().find(needs_more).is_some() {
                    continue;
                }
                if let Err(problem) =
                    environment::rehearse(&self.environment, (index, &key, kind), &context)
                {
                    doubts.push(TemplateError {
                        step: index,
                        key,
                        problem,
                    });
                }
            }
        }
        doubts
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether the message itself has to be kept for it.
    pub fn needs_raw(&self) -> bool {
        let bodies = self.steps.iter().any(|step| match &step.body {
            StepBody::Attachment | StepBody::Message => true,
            StepBody::Parts(parts) => parts.iter().any(|part| match part.content {
                PartContent::Text(_) => false,
                PartContent::Attachments | PartContent::Attachment | PartContent::Message => true,
            }),
            StepBody::Nothing | StepBody::Json(_) | StepBody::Form(_) => false,
        });
        let looks = |lookup: &Lookup| {
            let first = lookup.path.split('.').next().unwrap_or_default();
            matches!(first, "attachments" | "left_out" | "raw")
        };
        let each = |step: &Step| step.times == Times::EachAttachment;
        bodies || self.lookups.iter().any(looks) || self.steps.iter().any(each)
    }

    pub fn classifier(&self) -> Classifier {
        Classifier::default()
    }

    /// The next request after these answers; `None`: all is sent.
    pub(super) fn request(
        &self,
        source: &Source<'_>,
        answers: &[Answer],
    ) -> Result<Option<Rendered>, RenderError> {
        let budget = self.needs_raw().then_some(self.attachments_max);
        let mut context = Context::of(source, budget)?;
        let mut rest = answers;
        for (index, step) in self.steps.iter().enumerate() {
            let items: Vec<Option<usize>> = match step.times {
                Times::Once => vec![None],
                Times::EachAttachment => (0..context.attachments()).map(Some).collect(),
            };
            context.begin(step);
            for item in items {
                context.attach(item);
                if !self.wanted(index, step, &context)? {
                    context.skipped(step);
                    continue;
                }
                let Some((answer, others)) = rest.split_first() else {
                    return request::render(self, index, step, &context, source).map(Some);
                };
                context.answered(step, answer);
                rest = others;
            }
            context.attach(None);
        }
        Ok(None)
    }

    /// All steps, before there is an answer to any of them.
    pub(super) fn foresee(&self, source: &Source<'_>) -> Result<Vec<Foreseen>, RenderError> {
        let budget = self.needs_raw().then_some(self.attachments_max);
        let mut context = Context::of(source, budget)?;
        let mut all = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let items: Vec<Option<usize>> = match step.times {
                Times::Once => vec![None],
                Times::EachAttachment => (0..context.attachments()).map(Some).collect(),
            };
            context.begin(step);
            let mut sent = false;
            for item in items {
                context.attach(item);
                let only_if = step.when.clone().filter(|_| self.asks(index, Some("when")));
                if only_if.is_none() && !self.wanted(index, step, &context)? {
                    context.skipped(step);
                    continue;
                }
                sent = true;
                all.push(Foreseen {
                    step: Some(step.name.clone()),
                    only_if,
                    shape: self.shape(index, step, &context, source),
                });
            }
            context.attach(None);
            if sent {
                context.unknown(step);
            }
        }
        Ok(all)
    }

    fn shape(&self, index: usize, step: &Step, context: &Context, source: &Source<'_>) -> Shape {
        match request::render(self, index, step, context, source) {
            Ok(request) => Shape::Request(request),
            Err(_) if self.asks(index, None) => {
                let texts = step.texts().into_iter();
                Shape::Written {
                    method: step.method.clone(),
                    templates: texts
                        .filter(|(key, ..)| key != "when")
                        .map(|(key, _, text)| (key, text.to_owned()))
                        .collect(),
                }
            }
            Err(error) => Shape::Fails(error.to_string()),
        }
    }

    /// Whether a step, or one key of it, looks at answers.
    fn asks(&self, step: usize, key: Option<&str>) -> bool {
        self.lookups.iter().any(|lookup| {
            lookup.step == step
                && key.is_none_or(|key| lookup.key == key)
                && lookup.path.split('.').next() == Some("answers")
        })
    }

    fn wanted(&self, index: usize, step: &Step, context: &Context) -> Result<bool, RenderError> {
        let Some(when) = &step.when else {
            return Ok(true);
        };
        environment::truth(&self.environment, when, context.value())
            .map_err(|error| failed(index, step, "when", &error))
    }
}

/// A template that cannot be rendered for this event.
fn failed(index: usize, step: &Step, key: &str, problem: &str) -> RenderError {
    RenderError::Other(format!(
        "step {} (`{}`), `{key}`: {problem}",
        index + 1,
        step.name
    ))
}

impl Step {
    /// Its templates, with the keys under which they are written.
    fn texts(&self) -> Vec<(String, environment::Kind, &str)> {
        use environment::Kind;
        let mut texts = vec![("url".to_owned(), Kind::Url, self.url.as_str())];
        let when = self.when.as_deref();
        texts.extend(when.map(|when| ("when".to_owned(), Kind::Expression, when)));
        for (name, value) in &self.headers {
            texts.push((format!("headers.{name}"), Kind::Text, value));
        }
        match &self.body {
            StepBody::Json(json) => texts.push(("json".to_owned(), Kind::Json, json)),
            StepBody::Form(fields) => texts.extend(
                fields
                    .iter()
                    .map(|(name, value)| (format!("form.{name}"), Kind::Text, value.as_str())),
            ),
            StepBody::Parts(parts) => {
                for (number, part) in parts.iter().enumerate() {
                    if let PartContent::Text(text) = &part.content {
                        texts.push((format!("parts[{number}]"), Kind::Text, text));
                    }
                    if let Some(text) = &part.filename {
                        texts.push((format!("parts[{number}].filename"), Kind::Text, text));
                    }
                }
            }
            StepBody::Nothing | StepBody::Attachment | StepBody::Message => {}
        }
        texts
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.base == other.base
            && self.steps == other.steps
            && self.attachments_max == other.attachments_max
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.steps).finish()
    }
}
