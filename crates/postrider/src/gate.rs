//! The mailbox gate, shared by the watches of one mailbox: the pure gate of the core behind a lock
//! that is held for moments. What it counts is given back when it is dropped, also by a panic.

use std::sync::{Arc, Mutex, PoisonError};

use postrider_core::{
    gate::{Admission, Cause, Gate, Permit},
    time::Monotonic,
    watch::Failure,
};

use crate::clock;

pub struct MailboxGate(Mutex<Gate>);

/// The right to one login.
pub struct Login {
    gate: Arc<MailboxGate>,
    permit: Option<Permit>,
}

/// One open session, as the gate counts it.
pub struct OpenSession(Arc<MailboxGate>);

impl MailboxGate {
    pub fn new(gate: Gate) -> Self {
        Self(Mutex::new(gate))
    }

    pub fn with<T>(&self, act: impl FnOnce(&mut Gate) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The right to log in now, or when to ask again.
    pub fn admit(self: &Arc<Self>) -> Result<Login, Monotonic> {
        match self.with(|gate| gate.may_open(clock::monotonic())) {
            Admission::Permit(permit) => Ok(Login {
                gate: self.clone(),
                permit: Some(permit),
            }),
            Admission::Until(until) => Err(until),
        }
    }

    /// Why the gate is shut, where it is.
    pub fn shut(&self) -> Option<(Monotonic, Cause)> {
        self.with(|gate| gate.shut_until(clock::monotonic()))
    }

    /// An open session heard something that concerns the whole mailbox.
    pub fn heard(&self, failure: &Failure) {
        self.tell(None, failure);
    }

    fn tell(&self, permit: Option<Permit>, failure: &Failure) {
        let (now, chance) = (clock::monotonic(), clock::chance());
        self.with(|gate| match (failure, permit) {
            (Failure::LoginRefused | Failure::CredentialRefused, Some(permit)) => {
                gate.refused(permit, now, chance)
            }
            (Failure::Throttled { retry_after }, permit) => {
                gate.throttled(permit, *retry_after, now, chance)
            }
            (Failure::ConnectionLimit, permit) => gate.limited(permit, now, chance),
            (
                Failure::LoginRefused
                | Failure::CredentialRefused
                | Failure::Connection
                | Failure::TokenExpired
                | Failure::CredentialUnavailable { .. }
                | Failure::FolderMissing
                | Failure::Refused
                | Failure::StoreFull
                | Failure::Store,
                permit,
            ) => {
                if let Some(permit) = permit {
                    gate.failed(permit);
                }
            }
        });
    }
}

impl Login {
    pub fn opened(mut self) -> OpenSession {
        if let Some(permit) = self.permit.take() {
            self.gate
                .with(|gate| gate.opened(permit, clock::monotonic()));
        }
        OpenSession(self.gate.clone())
    }

    pub fn failed(mut self, failure: &Failure) {
        let permit = self.permit.take();
        self.gate.tell(permit, failure);
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.gate.with(|gate| gate.failed(permit));
        }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.with(|gate| gate.closed(clock::monotonic()));
    }
}
