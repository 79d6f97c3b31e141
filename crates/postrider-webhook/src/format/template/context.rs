//! What templates see: the event's body, the attachments, and the answers so far.

use std::{collections::BTreeMap, fmt, sync::Arc};

use minijinja::{
    Value,
    value::{Object, ObjectRepr, Serde},
};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{Step, Times};
use crate::{
    format::{
        Answer, RenderError, Source,
        contents::{Budget, Contents, File},
    },
    payload,
};

pub(super) struct Context {
    event: BTreeMap<String, Value>,
    files: Vec<FileFacts>,
    attachments: Vec<Value>,
    /// By the names of the steps. Values are made once: a step for each attachment looks at all those before.
    answers: BTreeMap<String, Answered>,
    attachment: Option<usize>,
    /// Stands for the bytes of attachments until the request is put together. Chosen anew each time,
    /// so that nobody who writes a mail knows it.
    pub(super) mark: String,
    whole: Value,
}

/// An attachment with a name: products refuse files without.
pub(super) struct FileFacts {
    pub(super) file: File,
    pub(super) filename: String,
    pub(super) content_type: String,
}

impl FileFacts {
    fn told(&self, at: usize, mark: &str) -> Json {
        let located = &self.file.located;
        json!({
            "index": located.index,
            // Its place in the list, and in the answers of steps with `each`.
            "position": at,
            "filename": self.filename,
            "content_type": self.content_type,
            "size": self.file.size,
            "disposition": located.disposition,
            "content_id": located.content_id,
            "base64": format!("{mark}{at}-"),
        })
    }
}

/// Those that fit, and those that do not.
fn chosen(contents: &Contents, budget: u64) -> (Vec<FileFacts>, Vec<FileFacts>) {
    let mut budget = Budget::new(budget);
    contents
        .attachments
        .iter()
        .map(|file| FileFacts {
            filename: file.name().into_owned(),
            content_type: file.located.content_type.clone(),
            file: file.clone(),
        })
        .partition(|facts| budget.takes(facts.file.size))
}

enum Answered {
    One(Value),
    Each(Vec<Value>),
    /// For a look at requests before anything is sent.
    Unknown,
}

/// What stands for a part of an answer that is not there yet: its own path.
#[derive(Debug)]
struct Unknown(String);

impl Object for Unknown {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let path = match key.as_str() {
            Some(name) => format!("{}.{name}", self.0),
            None => format!("{}[{key}]", self.0),
        };
        Some(Value::from_object(Self(path)))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0)
    }
}

impl Context {
    /// `budget`: the message is needed, and what its attachments may have together.
    pub(super) fn of(source: &Source<'_>, budget: Option<u64>) -> Result<Self, RenderError> {
        let body = payload::render(&source.event);
        let body: Json = serde_json::from_slice(&body)
            .map_err(|error| RenderError::Other(format!("the event is no JSON: {error}")))?;
        let mark = format!("postrider-{}-", Uuid::new_v4().simple());
        let (files, left_out) = match (budget, source.raw, source.contents) {
            (None, _, _) => (Vec::new(), Vec::new()),
            (Some(budget), Some(_), Some(contents)) => chosen(contents, budget),
            (Some(_), _, _) => return Err(source.no_message()),
        };
        let mut event = BTreeMap::new();
        if let Json::Object(keys) = body {
            event = keys
                .into_iter()
                .map(|(key, value)| (key, Value::from(Serde(value))))
                .collect();
        }
        let told = |files: &[FileFacts]| -> Vec<Value> {
            files
                .iter()
                .enumerate()
                .map(|(at, file)| Value::from(Serde(file.told(at, &mark))))
                .collect()
        };
        let attachments = told(&files);
        let mut insert = |name: &str, value: Value| event.insert(name.to_owned(), value);
        insert("attachments", Value::from(attachments.clone()));
        insert("left_out", Value::from(told(&left_out)));
        insert(
            "raw",
            Value::from(Serde(json!({ "base64": format!("{mark}message-") }))),
        );
        let mut context = Self {
            event,
            files,
            attachments,
            answers: BTreeMap::new(),
            attachment: None,
            mark,
            whole: Value::UNDEFINED,
        };
        context.refresh();
        Ok(context)
    }

    pub(super) fn value(&self) -> &Value {
        &self.whole
    }

    pub(super) fn attachments(&self) -> usize {
        self.attachments.len()
    }

    /// The attachment of this request.
    pub(super) fn attachment(&self) -> Option<usize> {
        self.attachment
    }

    pub(super) fn file(&self, at: usize) -> Option<&FileFacts> {
        self.files.get(at)
    }

    pub(super) fn begin(&mut self, step: &Step) {
        let none = match step.times {
            Times::Once => Answered::One(nothing()),
            Times::EachAttachment => Answered::Each(Vec::new()),
        };
        self.answers.insert(step.name.clone(), none);
        self.refresh();
    }

    pub(super) fn attach(&mut self, index: Option<usize>) {
        if self.attachment != index {
            self.attachment = index;
            self.refresh();
        }
    }

    /// Its answers are not known.
    pub(super) fn unknown(&mut self, step: &Step) {
        self.answers.insert(step.name.clone(), Answered::Unknown);
        self.refresh();
    }

    pub(super) fn skipped(&mut self, step: &Step) {
        self.push(step, nothing());
    }

    pub(super) fn answered(&mut self, step: &Step, answer: &Answer) {
        let mut told = serde_json::Map::new();
        told.insert("skipped".to_owned(), false.into());
        told.insert("status".to_owned(), answer.status.into());
        // Of an answer that is not all there is neither `text` nor `json`, and of what is no JSON no
        // `json`: asking for them fails, and nothing is created because a search seems to have found nothing.
        if answer.whole {
            let text = String::from_utf8_lossy(&answer.body);
            told.insert("text".to_owned(), text.into());
            if let Ok(json) = serde_json::from_slice(&answer.body) {
                told.insert("json".to_owned(), json);
            }
        }
        self.push(step, Value::from(Serde(Json::Object(told))));
    }

    fn push(&mut self, step: &Step, answer: Value) {
        match self.answers.get_mut(&step.name) {
            Some(Answered::Each(list)) => list.push(answer),
            Some(Answered::One(one)) => *one = answer,
            Some(Answered::Unknown) | None => {}
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        let answers = self.answers.iter().map(|(name, answered)| {
            let value = match answered {
                Answered::One(one) => Value::from(Serde(one)),
                Answered::Each(list) => Value::from(Serde(list)),
                Answered::Unknown => Value::from_object(Unknown(format!("answers.{name}"))),
            };
            (name.clone(), value)
        });
        let answers = Value::from_pairs(answers);
        let mut whole = self.event.clone();
        whole.insert("answers".to_owned(), answers);
        if let Some(attachment) = self.attachment.and_then(|at| self.attachments.get(at)) {
            whole.insert("attachment".to_owned(), attachment.clone());
        }
        self.whole = Value::from_pairs(whole);
    }
}

/// The answer of a request that was not made.
fn nothing() -> Value {
    Value::from(Serde(
        json!({ "skipped": true, "status": null, "json": null, "text": "" }),
    ))
}
