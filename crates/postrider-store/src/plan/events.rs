//! Rows for events and for what is owed of them.

use postrider_core::{ids::EndpointKey, time::Wall};
use uuid::Uuid;

use super::Plan;
use crate::{
    codec,
    model::{Claimed, EventIdentity, EventRow, NewDelivery, NewEvent, Receipt, StoreError},
    shapes,
    state::EndpointState,
};

/// An id that meets itself this often under other fingerprints is not chance.
pub(crate) const GENERATIONS_MAX: u32 = 16;

/// An event's row.
#[derive(Clone, Copy)]
struct Stored {
    id: i64,
    uuid: Uuid,
    mailbox: Option<i64>,
}

impl Plan<'_> {
    pub(super) fn system_event(
        &mut self,
        event: &NewEvent,
        now: Wall,
    ) -> Result<Receipt, StoreError> {
        self.check(event)?;
        let mut receipt = Receipt::default();
        let deliveries = self.event(event, now, &mut receipt)?;
        if let Some(mailbox) = &event.mailbox {
            *self
                .mailbox_deliveries
                .entry(self.mailbox(mailbox)?)
                .or_default() += deliveries;
        }
        Ok(receipt)
    }

    /// Everything that `event` may refuse, before the first row.
    pub(super) fn check(&self, event: &NewEvent) -> Result<(), StoreError> {
        if let Some(mailbox) = &event.mailbox {
            self.mailbox(mailbox)?;
        }
        self.resolve(event).map(drop)
    }

    /// The id and generation to store the event under; `None` for one that is there already.
    fn resolve(&self, event: &NewEvent) -> Result<Option<(Uuid, u32)>, StoreError> {
        match &event.identity {
            EventIdentity::System { id } => {
                Ok((!self.seen.events.contains_key(id)).then_some((*id, 0)))
            }
            EventIdentity::Message(identity) => {
                for generation in 0..GENERATIONS_MAX {
                    let id = identity.id(generation);
                    match self.seen.events.get(&id) {
                        None => return Ok(Some((id, generation))),
                        Some(seen) if *seen == Some(identity.fingerprint) => return Ok(None),
                        Some(_) => {}
                    }
                }
                Err(StoreError::Other(format!(
                    "{} generations of event {}",
                    GENERATIONS_MAX,
                    identity.id(0)
                )))
            }
        }
    }

    /// Adds an event with its deliveries; says how many.
    pub(super) fn event(
        &mut self,
        event: &NewEvent,
        now: Wall,
        receipt: &mut Receipt,
    ) -> Result<i64, StoreError> {
        let Some((uuid, generation)) = self.resolve(event)? else {
            receipt.repeated += 1;
            self.read_again(event, now);
            return Ok(0);
        };
        receipt.generations += u32::from(generation > 0);
        let fingerprint = match &event.identity {
            EventIdentity::Message(identity) => Some(identity.fingerprint),
            EventIdentity::System { .. } => None,
        };
        let mailbox = event
            .mailbox
            .as_ref()
            .map(|key| self.mailbox(key))
            .transpose()?;
        self.seen.events.insert(uuid, fingerprint);
        self.ids.event += 1;
        let id = self.ids.event;
        let row = [
            id.into(),
            uuid.as_bytes().as_slice().into(),
            event.event_type.as_str().into(),
            mailbox.into(),
            event.subject.as_str().into(),
            event.time.0.into(),
            now.0.into(),
            event.message_id.as_deref().into(),
            fingerprint
                .as_ref()
                .map(|fingerprint| fingerprint.0.as_slice())
                .into(),
            event.spool.as_ref().map(|key| key.0.as_str()).into(),
            event.data.as_ref().into(),
        ];
        self.batch.push(&shapes::EVENT_NEW, row);
        if let Some(raw) = &event.raw {
            self.batch
                .push(&shapes::RAW_NEW, [id.into(), raw.as_ref().into()]);
        }
        let stored = Stored { id, uuid, mailbox };
        for delivery in &event.deliveries {
            self.owe(stored, event, delivery, now, receipt);
        }
        Ok(i64::try_from(event.deliveries.len()).unwrap_or(i64::MAX))
    }

    /// Adds one delivery. In a line in which somebody waits already it is blocked, and not leased;
    /// one whose message the endpoint has already is discarded, and stands in no line.
    fn owe(
        &mut self,
        stored: Stored,
        event: &NewEvent,
        delivery: &NewDelivery,
        now: Wall,
        receipt: &mut Receipt,
    ) {
        let (endpoint, sequence) = self.next_sequence(&delivery.endpoint);
        self.ids.delivery += 1;
        let twin = self.twins.before(endpoint, event, delivery, stored.uuid);
        let order = delivery.order.filter(|_| twin.is_none());
        let blocked = order.is_some_and(|line| !self.lines.insert((endpoint, line)));
        let leased = delivery.leased && !blocked && twin.is_none();
        let state = match (&twin, leased) {
            (Some(_), _) => codec::delivery::DISCARDED,
            (None, true) => codec::delivery::LEASED,
            (None, false) => codec::delivery::PENDING,
        };
        let reason = twin.map(|first| format!("the same Message-ID was sent as event {first}"));
        let row = [
            self.ids.delivery.into(),
            stored.id.into(),
            endpoint.into(),
            sequence.into(),
            stored.mailbox.into(),
            state.into(),
            now.0.into(),
            self.state.run.into(),
            order.map(|line| line.0).into(),
            i64::from(blocked).into(),
            i64::from(delivery.when_failed).into(),
            twin.map(|_| now.0).into(),
            reason.as_deref().into(),
        ];
        self.batch.push(&shapes::DELIVERY_NEW, row);
        if twin.is_some() {
            receipt.suppressed.push(delivery.endpoint.clone());
        }
        if leased {
            let id = self.ids.delivery;
            let claim = first_claim(id, sequence, delivery, event, stored.uuid, now);
            receipt.claimed.push(claim);
        }
    }

    /// An event that is there already, whose message may have been forgotten meanwhile.
    fn read_again(&mut self, event: &NewEvent, now: Wall) {
        let EventIdentity::Message(identity) = &event.identity else {
            return;
        };
        let is_it = |id: &Uuid| self.seen.events.get(id) == Some(&Some(identity.fingerprint));
        let mut ids = (0..GENERATIONS_MAX).map(|generation| identity.id(generation));
        let Some(id) = ids.find(is_it) else {
            return;
        };
        let id = id.as_bytes().as_slice();
        match (&event.raw, &event.spool) {
            (Some(raw), _) => {
                let row = [id.into(), raw.as_ref().into()];
                self.batch.push(&shapes::RAW_AGAIN, row);
            }
            (None, Some(key)) => {
                let row = [id.into(), key.0.as_str().into()];
                self.batch.push(&shapes::SPOOL_AGAIN, row);
            }
            (None, None) => {}
        }
        let row = [id.into(), now.0.into()];
        self.batch.push(&shapes::DELIVERY_READ, row);
    }

    fn next_sequence(&mut self, key: &EndpointKey) -> (i64, i64) {
        if !self.endpoints.contains_key(key) {
            let known = self.state.endpoints.get(key).copied().unwrap_or_else(|| {
                self.ids.endpoint += 1;
                let id = self.ids.endpoint;
                self.batch
                    .push(&shapes::ENDPOINT_NEW, [id.into(), key.as_str().into()]);
                EndpointState { id, sequence: 0 }
            });
            self.endpoints.insert(key.clone(), known);
        }
        self.endpoints.get_mut(key).map_or((0, 0), |endpoint| {
            endpoint.sequence += 1;
            (endpoint.id, endpoint.sequence)
        })
    }
}

fn first_claim(
    delivery: i64,
    sequence: i64,
    owed: &NewDelivery,
    event: &NewEvent,
    id: Uuid,
    now: Wall,
) -> Claimed {
    Claimed {
        delivery,
        endpoint: owed.endpoint.clone(),
        sequence,
        attempts: 0,
        first_attempt_at: None,
        refusals: 0,
        refused_since: None,
        own_time: std::time::Duration::ZERO,
        replay: None,
        order: owed.order,
        aside: false,
        when_failed: owed.when_failed,
        event: EventRow {
            id,
            event_type: event.event_type,
            mailbox: event.mailbox.clone(),
            subject: event.subject.clone(),
            time: event.time,
            stored_at: now,
            data: event.data.clone(),
        },
    }
}
