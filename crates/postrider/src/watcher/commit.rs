//! Commit: outcomes, events, deliveries and cursor go into one transaction.

use std::sync::Arc;

use postrider_core::{
    event::EventType,
    ids::{EndpointKey, Uid},
    watch::{Entry, Failure, ItemKey, Notice, Outcome},
};
use postrider_store::{
    Commit, EventIdentity, FoundBy, LedgerFacts, NewDelivery, NewEvent, Ordered, SpoolFile,
};

use super::{Watcher, prepare::Prepared};
use crate::{
    clock,
    config::Config,
    dispatcher,
    routing::{Facts, Router},
    system_events,
    telemetry::mail::{hold_reason, quarantine_reason},
};

impl Watcher {
    pub(super) async fn commit(&mut self, entry: Entry) -> Result<(), Failure> {
        let now = clock::wall();
        let config = self.shared.config();
        let endpoints = self.receivers(&config);
        let keep_raw = endpoints.iter().any(|key| takes_raw(&config, key));
        if !self.is_at_hand(&entry, keep_raw) {
            self.batch.clear();
            return Err(Failure::Store);
        }
        let mut commit = Commit {
            watch: self.key().clone(),
            found_by: self.found_by(&entry),
            now,
            facts: Vec::with_capacity(entry.outcomes.len()),
            events: Vec::new(),
            quarantined: Vec::new(),
            ordered: self.release_ordered(&entry),
            entry,
        };
        let owed = commit
            .entry
            .outcomes
            .iter()
            .filter(|(_, outcome)| *outcome == Outcome::Event)
            .count();
        let mut slots: Vec<(EndpointKey, dispatcher::Slots)> = endpoints
            .into_iter()
            .map(|endpoint| {
                let slots = self.shared.dispatcher.slots(&endpoint, owed);
                (endpoint, slots)
            })
            .collect();
        self.fill(&config, &mut commit, &mut slots, keep_raw)?;
        commit.events.extend(
            commit
                .entry
                .notices
                .iter()
                .filter_map(|notice| self.notice_event(&config, notice, now)),
        );
        let line = self.line.clone();
        let ours = line.our_wait();
        let ordered = commit.ordered.clone();
        let result = self.store_commit(commit, slots).await;
        drop(ours);
        if let (Some(ordered), true) = (ordered, result.is_err()) {
            // The next try carries it out.
            line.release_by(ordered);
        }
        self.batch.clear();
        self.idle_wakes = 0;
        result
    }

    /// Who ordered the release that this entry carries out.
    fn release_ordered(&self, entry: &Entry) -> Option<Ordered> {
        let released = |notice: &Notice| matches!(notice, Notice::Released(_));
        let is_release = entry.notices.iter().any(released);
        is_release.then(|| self.line.take_release()).flatten()
    }

    /// Whom a message is owed to. A mailbox that was taken out of the configuration and still has
    /// a batch in hand owes it to its own endpoints, and to no others.
    fn receivers(&self, config: &Config) -> Vec<EndpointKey> {
        let kind = EventType::MessageReceived;
        if config.mailboxes.contains_key(&self.mailbox.key) {
            return system_events::receivers(config, Some(&self.mailbox.key), kind);
        }
        let wants = |key: &&EndpointKey| {
            let endpoint = config.endpoints.get(*key);
            endpoint.is_none_or(|endpoint| endpoint.types.contains(&kind))
        };
        self.mailbox
            .endpoints
            .iter()
            .filter(wants)
            .cloned()
            .collect()
    }

    /// Whether an endpoint of the mailbox takes the message itself.
    pub(super) fn needs_raw(&self) -> bool {
        let config = self.shared.config();
        self.receivers(&config)
            .iter()
            .any(|key| takes_raw(&config, key))
    }

    /// Whether all is there that the events of an entry are made of. What is not is read again.
    fn is_at_hand(&self, entry: &Entry, keep_raw: bool) -> bool {
        let mut events = entry.outcomes.iter().filter_map(|(key, outcome)| {
            let ItemKey::Uid(uid) = *key;
            (*outcome == Outcome::Event).then_some(uid)
        });
        events.all(|uid| match self.batch.messages.get(&uid) {
            // Else an endpoint that takes messages was configured since this one was read.
            Some(prepared) => !keep_raw || prepared.raw.is_some() || prepared.spool.is_some(),
            None => {
                // The core asked for an event of a message that was not read: an error of ours, told
                // as such.
                tracing::error!(mailbox = %self.mailbox.key, folder = %self.folder, %uid, "no body at hand for an event; it is read again");
                false
            }
        })
    }

    /// Puts what was read into the commit: facts, events, files of what is quarantined. Files that
    /// no row will name are gone then; from here on the commit answers for the others.
    fn fill(
        &mut self,
        config: &Config,
        commit: &mut Commit,
        slots: &mut [(EndpointKey, dispatcher::Slots)],
        keep_raw: bool,
    ) -> Result<(), Failure> {
        for (key, outcome) in &commit.entry.outcomes {
            let ItemKey::Uid(uid) = *key;
            if let Some(facts) = self.facts.remove(&uid) {
                commit.facts.push(LedgerFacts {
                    key: *key,
                    fingerprint: facts.fingerprint,
                    internal_date: facts.internal_date,
                });
            }
            match (outcome, self.batch.messages.remove(&uid)) {
                (Outcome::Event, Some(mut prepared)) => {
                    if !keep_raw {
                        prepared.raw = None;
                        prepared.spool = None;
                    }
                    let event = self.message_event(config, prepared, slots);
                    commit.events.push(event);
                }
                (Outcome::Event, None) => return Err(Failure::Store),
                (
                    Outcome::Quarantined(_),
                    Some(Prepared {
                        spool: Some(spool), ..
                    }),
                ) => {
                    commit.quarantined.push((*key, spool.keep()));
                }
                (
                    Outcome::Known
                    | Outcome::Skipped(_)
                    | Outcome::Quarantined(_)
                    | Outcome::Vanished
                    | Outcome::Suspect { .. },
                    prepared,
                ) => drop(prepared),
            }
        }
        Ok(())
    }

    /// Who is to be thanked for what this entry holds.
    fn found_by(&self, entry: &Entry) -> FoundBy {
        let missed = |(ItemKey::Uid(uid), _): &(ItemKey, Outcome)| self.missing.contains(uid);
        if !entry.outcomes.is_empty() && entry.outcomes.iter().all(missed) {
            FoundBy::Audit
        } else {
            self.found_by
        }
    }

    /// Runs in its own task, so that neither a panic nor an aborted watch separates a durable
    /// commit from the sending of the deliveries that it leased.
    async fn store_commit(
        &mut self,
        commit: Commit,
        slots: Vec<(EndpointKey, dispatcher::Slots)>,
    ) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let entry = commit.entry.clone();
        let kinds: Vec<EventType> = commit.events.iter().map(|event| event.event_type).collect();
        let nudged: Vec<EndpointKey> = commit
            .events
            .iter()
            .flat_map(|event| &event.deliveries)
            .filter(|delivery| !delivery.leased)
            .map(|delivery| delivery.endpoint.clone())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let owed: Vec<EndpointKey> = slots.iter().map(|(endpoint, _)| endpoint.clone()).collect();
        let started = clock::monotonic();
        let stored = tokio::spawn(async move {
            let mut receipt = shared.store.commit(commit).await?;
            // What was read again may be what a replay waits for.
            if receipt.repeated > 0 {
                for endpoint in &owed {
                    shared.dispatcher.nudge(endpoint);
                }
            }
            if !receipt.claimed.is_empty() {
                crate::die::at("commit-stored");
            }
            shared
                .dispatcher
                .send_claimed(std::mem::take(&mut receipt.claimed), slots);
            for endpoint in &nudged {
                shared.dispatcher.nudge(endpoint);
            }
            Ok(receipt)
        })
        .await
        .unwrap_or_else(|ended| {
            Err(postrider_store::StoreError::Other(format!(
                "the commit ended early: {ended}"
            )))
        });
        match stored {
            Ok(receipt) => {
                self.shared
                    .telemetry
                    .process
                    .committed(clock::monotonic() - started);
                for kind in kinds {
                    self.shared.telemetry.process.event_created(kind);
                }
                for endpoint in &receipt.suppressed {
                    self.shared.telemetry.delivery.suppressed(endpoint);
                }
                if receipt.generations > 0 {
                    self.shared
                        .telemetry
                        .mail
                        .next_generation(self.key(), receipt.generations);
                }
                self.committed(&entry);
                Ok(())
            }
            Err(error) => Err(self.store_failed("storing messages", &error)),
        }
    }

    fn message_event(
        &self,
        config: &Config,
        prepared: Prepared,
        slots: &mut [(EndpointKey, dispatcher::Slots)],
    ) -> NewEvent {
        let identity = prepared.identity;
        let subject = format!(
            "{}/{}/{}",
            identity.folder, identity.uid_validity, identity.uid
        );
        let now = clock::wall();
        let time = identity.internal_date.unwrap_or(now);
        let facts = Facts {
            event_type: EventType::MessageReceived,
            subject: &subject,
            time,
            data: &prepared.data,
        };
        let mut router = Router::new(facts, now);
        let deliveries = slots
            .iter_mut()
            .filter_map(|(key, slots)| {
                let endpoint = config.endpoints.get(key);
                let route = router.route(key, endpoint.map(Arc::as_ref))?;
                if let Some(why) = &route.when_failed {
                    self.shared.telemetry.delivery.when_failed(key, why);
                }
                Some(NewDelivery {
                    endpoint: route.endpoint,
                    order: slots
                        .order()
                        .key(Some(&self.mailbox.key), prepared.thread.as_deref()),
                    leased: slots.take(),
                    when_failed: route.when_failed.is_some(),
                    twins_since: route.twins_since,
                })
            })
            .collect();
        drop(router);
        NewEvent {
            subject,
            time,
            identity: EventIdentity::Message(Box::new(identity)),
            event_type: EventType::MessageReceived,
            mailbox: Some(self.mailbox.key.clone()),
            message_id: prepared.message_id,
            data: prepared.data,
            raw: prepared.raw,
            spool: prepared.spool.map(SpoolFile::keep),
            deliveries,
        }
    }

    /// What a durable entry means for status and telemetry.
    fn committed(&mut self, entry: &Entry) {
        self.tell(entry);
        // A suspect is only about to be read.
        let answered = |uid: &Uid| {
            let of_it = |(key, outcome): &(ItemKey, Outcome)| {
                *key == ItemKey::Uid(*uid) && !matches!(outcome, Outcome::Suspect { .. })
            };
            entry.outcomes.iter().any(of_it)
        };
        self.missing.retain(|uid| !answered(uid));
    }

    fn tell(&self, entry: &Entry) {
        let mail = &self.shared.telemetry.mail;
        mail.taken(&entry.outcomes, self.found_by(entry));
        for notice in &entry.notices {
            match notice {
                Notice::FirstSight { highest } => {
                    mail.first_sight(self.key(), highest.map(|uid| uid.get()))
                }
                Notice::UidValidityChanged { from, to } => {
                    mail.uidvalidity_changed(self.key(), from.0, to.0)
                }
                Notice::UidsWentBack { last, highest } => {
                    mail.uids_went_back(self.key(), last.get(), highest.map(|uid| uid.get()));
                }
                Notice::Held(hold) => mail.held(self.key(), hold),
                Notice::Released(how) => mail.released(self.key(), *how),
                Notice::Quarantined { uid, why } => mail.quarantined(self.key(), uid.get(), *why),
                Notice::GapClosed { uid } => mail.gap_closed(self.key(), uid.get()),
                Notice::StateLost => mail.state_lost(self.key()),
                Notice::GapsFull { gaps } => mail.gaps_full(self.key(), *gaps),
            }
        }
        let now = clock::wall();
        self.line.update(|status| {
            status.hold = entry.hold.clone().map(Box::new);
            if entry.proven {
                mail.synced(status.synced_at.map(|before| now.since(before)));
                status.synced_at = Some(now);
            }
        });
    }

    fn notice_event(
        &self,
        config: &Config,
        notice: &Notice,
        now: postrider_core::time::Wall,
    ) -> Option<NewEvent> {
        let (event_type, scope, reason, detail, hint) = match notice {
            Notice::UidValidityChanged { from, to } => (
                EventType::MailboxUidValidityChanged,
                self.folder.to_string(),
                "uidvalidity_changed",
                format!("UIDVALIDITY went from {from} to {to}"),
                "nothing to do: messages are matched by fingerprint and only unknown ones are sent",
            ),
            Notice::Held(hold) => (
                EventType::MailboxHeld,
                self.folder.to_string(),
                hold_reason(hold.why),
                format!(
                    "{} messages would be sent, {} of them old",
                    hold.messages, hold.old
                ),
                "postrider mailboxes release MAILBOX --send | --skip | --since DATE",
            ),
            Notice::Quarantined { uid, why } => (
                EventType::MessageQuarantined,
                format!("{}/{uid}", self.folder),
                quarantine_reason(*why),
                format!("UID {uid} cannot be read"),
                "look at the message in the mailbox",
            ),
            Notice::FirstSight { .. }
            | Notice::UidsWentBack { .. }
            | Notice::Released(_)
            | Notice::StateLost
            | Notice::GapsFull { .. }
            | Notice::GapClosed { .. } => return None,
        };
        Some(system_events::build(
            config,
            &system_events::Happening {
                event_type,
                mailbox: Some(&self.mailbox.key),
                scope: &scope,
                started: now,
                reason,
                detail: &detail,
                hint,
            },
        ))
    }
}

/// An endpoint that is configured no more may come back: nothing is kept for it.
fn takes_raw(config: &Config, endpoint: &EndpointKey) -> bool {
    let endpoint = config.endpoints.get(endpoint);
    endpoint.is_some_and(|endpoint| endpoint.needs_raw())
}
