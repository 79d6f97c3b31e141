//! Who gets an event: the endpoints that asked for its type, as far as their conditions let it
//! through. A condition that cannot be evaluated lets everything through: nothing is lost over it.

mod known;
mod when;

use minijinja::value::Serde;
use postrider_core::{event::EventType, ids::EndpointKey, time::Wall};
use serde_json::{Value, json};

pub(crate) use known::unknown_in_template;
pub use when::{Verdict, When, WhenError};

use crate::config::Endpoint;

/// What conditions may look at: what is known of an event before it is stored.
pub struct Facts<'a> {
    pub event_type: EventType,
    pub subject: &'a str,
    pub time: Wall,
    /// The stored object.
    pub data: &'a [u8],
}

impl Facts<'_> {
    /// As conditions see it; made once for all endpoints.
    fn context(&self) -> minijinja::Value {
        let data: Value = serde_json::from_slice(self.data).unwrap_or(Value::Null);
        minijinja::Value::from(Serde(json!({
            "type": self.event_type.as_str(),
            "subject": self.subject,
            "time": self.time.rfc3339(),
            "data": data,
        })))
    }
}

/// An endpoint that gets an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub endpoint: EndpointKey,
    /// Its condition failed, with this message.
    pub when_failed: Option<String>,
    /// It wants no message twice: since when it may have had it.
    pub twins_since: Option<Wall>,
}

/// One event on its way to the endpoints that asked for its type.
pub struct Router<'a> {
    facts: Facts<'a>,
    context: Option<minijinja::Value>,
    now: Wall,
}

impl<'a> Router<'a> {
    pub fn new(facts: Facts<'a>, now: Wall) -> Self {
        Self {
            facts,
            context: None,
            now,
        }
    }

    /// `None`: its condition says no. `endpoint` is `None` for one that is configured no more: it
    /// has no condition either.
    pub fn route(&mut self, key: &EndpointKey, endpoint: Option<&Endpoint>) -> Option<Route> {
        let mut route = Route {
            endpoint: key.clone(),
            when_failed: None,
            twins_since: None,
        };
        let Some(endpoint) = endpoint else {
            return Some(route);
        };
        if let Some(when) = &endpoint.when {
            let facts = &self.facts;
            let context = self.context.get_or_insert_with(|| facts.context());
            match when.holds(context) {
                Verdict::Yes => {}
                Verdict::No => return None,
                Verdict::Failed(why) => route.when_failed = Some(why),
            }
        }
        route.twins_since = endpoint
            .suppress_duplicates
            .filter(|_| self.facts.event_type == EventType::MessageReceived)
            .map(|window| self.now - window);
        Some(route)
    }
}
