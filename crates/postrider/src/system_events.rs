//! System events: changes of state that somebody should hear of, stored like any other event and
//! owed to the endpoints that asked for their type.

use std::sync::Arc;

use postrider_core::{
    event::{EventType, system_id},
    ids::{EndpointKey, MailboxKey},
    time::Wall,
};
use postrider_store::{EventIdentity, NewDelivery, NewEvent};
use postrider_webhook::payload::{self, DiagnosisFacts, MailboxRef, SystemFacts};
use uuid::Uuid;

use crate::{
    config::Config,
    diagnosis::Short,
    routing::{Facts, Router},
    shared::Shared,
};

/// One change of state. `scope` and `started` make the id, so telling it twice is one event.
pub struct Happening<'a> {
    pub event_type: EventType,
    pub mailbox: Option<&'a MailboxKey>,
    /// What it is about: a folder, an endpoint, a credential, `store`.
    pub scope: &'a str,
    pub started: Wall,
    pub reason: &'a str,
    pub detail: &'a str,
    pub hint: &'a str,
}

/// Endpoints that get this event: the mailbox's own, or all where no mailbox is concerned, as far
/// as they asked for the type. A mailbox that is configured no more has none: what it holds is not
/// for everybody.
pub fn receivers(
    config: &Config,
    mailbox: Option<&MailboxKey>,
    event_type: EventType,
) -> Vec<EndpointKey> {
    let wants = |key: &EndpointKey| {
        config
            .endpoints
            .get(key)
            .is_some_and(|endpoint| endpoint.types.contains(&event_type))
    };
    match mailbox.map(|key| config.mailboxes.get(key)) {
        Some(mailbox) => mailbox
            .into_iter()
            .flat_map(|mailbox| mailbox.endpoints.iter())
            .filter(|key| wants(key))
            .cloned()
            .collect(),
        None => config
            .endpoints
            .keys()
            .filter(|key| wants(key))
            .cloned()
            .collect(),
    }
}

/// The event as the store takes it; without receivers it is stored all the same, to be listed.
pub fn build(config: &Config, happening: &Happening<'_>) -> NewEvent {
    build_with(config, happening, &Details::default())
}

/// What some happenings have besides.
#[derive(Default)]
struct Details<'a> {
    diagnosis: Option<&'a Short>,
    /// Tells happenings of the same moment and scope apart.
    about: Option<Uuid>,
}

fn build_with(config: &Config, happening: &Happening<'_>, details: &Details<'_>) -> NewEvent {
    let mut scope = match happening.mailbox {
        Some(mailbox) => format!("{mailbox}/{}", happening.scope),
        None => happening.scope.to_owned(),
    };
    if let Some(about) = details.about {
        scope.push_str(&format!("/{about}"));
    }
    let mailbox = happening.mailbox.and_then(|key| config.mailboxes.get(key));
    let data = payload::system_data(&SystemFacts {
        mailbox: mailbox.map(|mailbox| MailboxRef {
            id: mailbox.key.as_str(),
            address: &mailbox.address,
            labels: &mailbox.labels,
        }),
        scope: happening.scope,
        reason: happening.reason,
        detail: happening.detail,
        hint: (!happening.hint.is_empty()).then_some(happening.hint),
        since: happening.started,
        diagnosis: details.diagnosis.map(|short| DiagnosisFacts {
            cause: short.cause.as_str(),
            what: &short.what,
            fix: &short.fix,
        }),
    });
    let now = crate::clock::wall();
    let facts = Facts {
        event_type: happening.event_type,
        subject: happening.scope,
        time: happening.started,
        data: &data,
    };
    let mut router = Router::new(facts, now);
    let deliveries = receivers(config, happening.mailbox, happening.event_type)
        .into_iter()
        .filter_map(|key| router.route(&key, config.endpoints.get(&key).map(Arc::as_ref)))
        .map(|route| NewDelivery {
            order: None,
            endpoint: route.endpoint,
            leased: false,
            when_failed: route.when_failed.is_some(),
            twins_since: None,
        })
        .collect();
    drop(router);
    NewEvent {
        identity: EventIdentity::System {
            id: system_id(
                &config.instance,
                &scope,
                happening.event_type,
                happening.started,
            ),
        },
        event_type: happening.event_type,
        mailbox: happening.mailbox.cloned(),
        subject: happening.scope.to_owned(),
        time: happening.started,
        message_id: None,
        data,
        raw: None,
        spool: None,
        deliveries,
    }
}

/// Stores the event and tells the dispatcher. An error is told and counted; the state that the
/// event speaks of shows in metrics and commands in any case.
pub async fn emit(shared: &Arc<Shared>, happening: Happening<'_>) {
    emit_with(shared, happening, &Details::default()).await;
}

/// The same of one event among several that may come in one moment.
pub async fn emit_about(shared: &Arc<Shared>, happening: Happening<'_>, about: Uuid) {
    let details = Details {
        about: Some(about),
        ..Details::default()
    };
    emit_with(shared, happening, &details).await;
}

/// The same with what it means and what to do.
pub async fn emit_diagnosed(
    shared: &Arc<Shared>,
    happening: Happening<'_>,
    diagnosis: Option<&Short>,
) {
    let details = Details {
        diagnosis,
        ..Details::default()
    };
    emit_with(shared, happening, &details).await;
}

async fn emit_with(shared: &Arc<Shared>, happening: Happening<'_>, details: &Details<'_>) {
    let event = build_with(&shared.config(), &happening, details);
    for delivery in event.deliveries.iter().filter(|one| one.when_failed) {
        let why = "it asks for what such an event does not have";
        shared
            .telemetry
            .delivery
            .when_failed(&delivery.endpoint, why);
    }
    let endpoints: Vec<EndpointKey> = event
        .deliveries
        .iter()
        .map(|delivery| delivery.endpoint.clone())
        .collect();
    match shared.store.add_event(event, crate::clock::wall()).await {
        Ok(_) => {
            shared.telemetry.process.event_created(happening.event_type);
            for endpoint in &endpoints {
                shared.dispatcher.nudge(endpoint);
            }
        }
        Err(error) => shared
            .telemetry
            .process
            .store_failed("storing a system event", &error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Environment;

    const CONFIG: &str = "[endpoints.alerts]\nurl = \"http://127.0.0.1:9/hook\"\n\
        secret = { env = \"HOOK_SECRET\" }\ntypes = [\"endpoint.dead_letter\"]\n";

    fn config() -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, CONFIG).unwrap();
        let environment = Environment {
            variables: BTreeMap::new(),
            host: None,
            now: Wall(0),
        };
        match Config::load(&file, &environment) {
            Ok(loaded) => loaded.config,
            Err(problems) => panic!("{problems:?}"),
        }
    }

    #[test]
    fn dead_letters_of_one_millisecond_are_events_of_their_own_and_one_told_twice_is_one() {
        let config = config();
        let dead = |endpoint: &str, event: u128| {
            let happening = Happening {
                event_type: EventType::EndpointDeadLetter,
                mailbox: None,
                scope: endpoint,
                started: Wall(1_790_000_000_000),
                reason: "dead",
                detail: "refused",
                hint: "",
            };
            let details = Details {
                about: Some(Uuid::from_u128(event)),
                ..Details::default()
            };
            let event = build_with(&config, &happening, &details);
            assert_eq!(event.deliveries.len(), 1);
            match event.identity {
                EventIdentity::System { id } => id,
                EventIdentity::Message(_) => panic!("no message"),
            }
        };
        let all = [dead("a", 1), dead("a", 2), dead("b", 1), dead("b", 2)];
        for (index, one) in all.iter().enumerate() {
            let same = all.iter().filter(|other| *other == one).count();
            assert_eq!(same, 1, "{index}");
        }
        assert_eq!(dead("a", 1), all[0]);
    }
}
