//! What is delivered one after the other, where an endpoint asks for it.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::ids::MailboxKey;

/// What an endpoint gets in the order in which it was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Each event as soon as there is a slot.
    #[default]
    None,
    /// The events of a mailbox.
    Mailbox,
    /// The messages of a thread, over all mailboxes. An event that belongs to no thread keeps its
    /// mailbox's order.
    Thread,
}

/// How long an event that fails may hold up those behind it, by default.
pub const BLOCK_MAX: Duration = Duration::from_secs(3600);

/// Names a line of deliveries: a hash, so two lines may share one, which only costs time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(pub i64);

impl Order {
    /// The line that an event stands in. `thread` is the message's thread key.
    pub fn key(self, mailbox: Option<&MailboxKey>, thread: Option<&str>) -> Option<OrderKey> {
        match (self, thread) {
            (Self::None, _) => None,
            (Self::Thread, Some(thread)) => Some(hashed("thread", thread)),
            (Self::Thread, None) | (Self::Mailbox, _) => {
                mailbox.map(|mailbox| hashed("mailbox", mailbox.as_str()))
            }
        }
    }
}

fn hashed(kind: &str, name: &str) -> OrderKey {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(kind)
        .chain_update([0])
        .chain_update(name)
        .finalize()
        .into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    OrderKey(i64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_the_endpoint_asked_for() {
        let (support, sales) = (MailboxKey::new("support"), MailboxKey::new("sales"));
        let key = |order: Order, mailbox, thread| order.key(Some(mailbox), thread);
        assert_eq!(key(Order::None, &support, Some("t")), None);
        assert_eq!(
            key(Order::Mailbox, &support, Some("t")),
            key(Order::Mailbox, &support, Some("u"))
        );
        assert_ne!(
            key(Order::Mailbox, &support, None),
            key(Order::Mailbox, &sales, None)
        );
        assert_eq!(
            key(Order::Thread, &support, Some("t")),
            key(Order::Thread, &sales, Some("t"))
        );
        assert_ne!(
            key(Order::Thread, &support, Some("t")),
            key(Order::Thread, &support, Some("u"))
        );
        assert_eq!(
            key(Order::Thread, &support, None),
            key(Order::Mailbox, &support, None)
        );
        // A thread that is called like a mailbox is another line.
        assert_ne!(
            key(Order::Thread, &support, Some("support")),
            key(Order::Mailbox, &support, None)
        );
        assert_eq!(Order::Mailbox.key(None, Some("t")), None);
    }
}
