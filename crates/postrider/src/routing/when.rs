//! Conditions of endpoints: expressions over an event, compiled when the configuration is loaded,
//! and bounded in what they may cost.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior, Value, value::Serde};

use super::known;

/// What one evaluation may cost: a pass over a thousand headers fits ten times.
const FUEL: u64 = 100_000;

/// A longer text is no condition.
const SOURCE_BYTES_MAX: usize = 4 << 10;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
});

/// Whether an event is for an endpoint.
#[derive(Clone)]
pub struct When {
    source: Arc<str>,
    compiled: Arc<Expression<'static, 'static>>,
}

/// Why an expression cannot be a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    #[error("it is longer than 4 KiB")]
    TooLong,
    #[error("{0}")]
    Syntax(String),
    #[error("no event has `{name}`")]
    Unknown {
        name: String,
        /// The nearest that there is.
        near: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Yes,
    No,
    /// It cannot be said; the message holds nothing of the event.
    Failed(String),
}

impl When {
    pub fn compile(source: &str) -> Result<Self, WhenError> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(WhenError::TooLong);
        }
        let compiled = ENVIRONMENT
            .compile_expression_owned(source.to_owned())
            .map_err(|error| WhenError::Syntax(told(&error)))?;
        let mut names: Vec<String> = compiled.undeclared_variables(true).into_iter().collect();
        names.sort();
        for name in names {
            if let Some(near) = known::unknown(&name) {
                return Err(WhenError::Unknown { name, near });
            }
        }
        // The names of filters and tests are looked up when it runs.
        if let Err(error) = compiled.eval(Value::from(Serde(&*known::EVENT)))
            && let ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod = error.kind()
        {
            let detail = error.detail().unwrap_or_default();
            return Err(WhenError::Syntax(format!("{}: {detail}", error.kind())));
        }
        Ok(Self {
            source: source.into(),
            compiled: Arc::new(compiled),
        })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn holds(&self, event: &Value) -> Verdict {
        match self.compiled.eval(event.clone()) {
            Ok(value) if value.is_true() => Verdict::Yes,
            Ok(value) if value.is_undefined() => Verdict::Failed("it gives no value".to_owned()),
            Ok(_) => Verdict::No,
            Err(error) => Verdict::Failed(told(&error)),
        }
    }
}

/// The kind of error alone at evaluation: its details may quote the mail. Of a syntax error all is
/// the operator's own.
fn told(error: &minijinja::Error) -> String {
    match error.kind() {
        ErrorKind::SyntaxError => error.detail().unwrap_or("a syntax error").to_owned(),
        kind => kind.to_string(),
    }
}

impl PartialEq for When {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("When").field(&self.source).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(source: &str, event: &serde_json::Value) -> Verdict {
        let when = When::compile(source).unwrap();
        when.holds(&Value::from(Serde(event)))
    }

    #[test]
    fn conditions_look_at_what_an_event_says() {
        let event = json!({"type": "message.received", "data": {
            "mailbox": {"id": "support", "labels": {"team": "blue"}},
            "auto": {"is_bounce": false, "bounce": null}, "folder": "INBOX",
            "message": {"subject": "URGENT: paper jam"},
            "from": [{"name": null, "address": "kim@example.org"}],
            "headers": [["X-Spam-Flag", "YES"]],
        }});
        for (source, expected) in [
            (
                "data.auto.is_bounce == false and \"urgent\" in data.message.subject|lower",
                Verdict::Yes,
            ),
            ("data.auto.is_bounce", Verdict::No),
            (
                "type == 'message.received' and data.mailbox.labels.team == 'red'",
                Verdict::No,
            ),
            ("data.mailbox.id in ['support', 'sales']", Verdict::Yes),
            (
                "(data.from|first).address is endingwith('@example.org')",
                Verdict::Yes,
            ),
            ("['X-Spam-Flag', 'YES'] in data.headers", Verdict::Yes),
            ("data.auto.bounce", Verdict::No),
        ] {
            assert_eq!(verdict(source, &event), expected, "{source}");
        }
    }

    #[test]
    fn what_cannot_be_evaluated_is_told_without_the_mails_words() {
        let event = json!({"data": {"message": {"subject": "secret"}, "from": []}});
        for source in [
            "data.message.subject + 1 > 2",
            "data.auto.is_bounce",
            "data.from[0].address == 'a'",
            "range(100000)|map('upper')|list|length > data.from|length",
        ] {
            match verdict(source, &event) {
                Verdict::Failed(why) => assert!(!why.contains("secret"), "{why}"),
                other => panic!("{source}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_condition_that_can_never_be_evaluated_is_none() {
        for source in ["data.", "data.auto.is_bounce ==", "a b", "data|nofilter"] {
            let error = When::compile(source).unwrap_err();
            assert!(matches!(error, WhenError::Syntax(_)), "{source}: {error:?}");
        }
        let unknown = |source| match When::compile(source) {
            Err(WhenError::Unknown { name, near }) => (name, near),
            other => panic!("{source}: {other:?}"),
        };
        let near = |text: &str| Some(text.to_owned());
        assert_eq!(
            unknown("data.auto.is_bouce"),
            ("data.auto.is_bouce".to_owned(), near("data.auto.is_bounce"))
        );
        assert_eq!(
            unknown("date.folder == 'x'"),
            ("date.folder".to_owned(), near("data.folder"))
        );
        assert_eq!(
            When::compile(&"x".repeat(5000)).unwrap_err(),
            WhenError::TooLong
        );
    }
}
