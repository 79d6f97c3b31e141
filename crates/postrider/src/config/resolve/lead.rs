//! How early sessions are replaced before their tokens end, where many share one server's ramp. All
//! sessions of a token end at one moment: a lead that is shorter than all of their logins take would
//! leave the last ones without a session, each time, for as long as the line is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use postrider_core::{ids::MailboxKey, watch::Policy};

use crate::config::{Limits, Mailbox};

/// The lead grows in steps, so that one mailbox more changes the settings of no other.
const STEP: Duration = Duration::from_secs(5 * 60);

/// The longest that may be configured.
const MOST: Duration = Duration::from_secs(30 * 60);

/// A line of logins begins when half of the lead is over at the latest, and is to end before it is.
pub(super) fn widen(mailboxes: &mut BTreeMap<MailboxKey, Arc<Mailbox>>, limits: &Limits) {
    let mut sessions: BTreeMap<String, usize> = BTreeMap::new();
    for mailbox in mailboxes.values() {
        *sessions.entry(mailbox.server.host.clone()).or_default() += mailbox.folders.len();
    }
    // What mailboxes share stays one allocation.
    let mut widened: Vec<(Arc<Policy>, Arc<Policy>)> = Vec::new();
    for mailbox in mailboxes.values_mut() {
        let count = sessions.get(&mailbox.server.host).copied().unwrap_or(0);
        let wanted = lead(count, limits.logins_per_second);
        if wanted <= STEP || wanted <= mailbox.policy.standby_lead_max {
            continue;
        }
        let known = widened
            .iter()
            .find(|(old, new)| Arc::ptr_eq(old, &mailbox.policy) && new.standby_lead_max == wanted);
        let policy = match known {
            Some((_, new)) => new.clone(),
            None => {
                let new = Arc::new(Policy {
                    standby_lead_max: wanted,
                    ..Policy::clone(&mailbox.policy)
                });
                widened.push((mailbox.policy.clone(), new.clone()));
                new
            }
        };
        Arc::make_mut(mailbox).policy = policy;
    }
}

/// What so many logins take, and a quarter more, in whole steps.
fn lead(sessions: usize, logins_per_second: u32) -> Duration {
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    let seconds = f64::from(sessions) * 1.25 / f64::from(logins_per_second.max(1));
    let steps = (seconds / STEP.as_secs_f64()).ceil();
    STEP.mul_f64(steps.clamp(1.0, MOST.as_secs_f64() / STEP.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sessions_of_a_token_are_replaced_within_the_lead() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let table = [
            (0, 20, minutes(5)),
            (200, 20, minutes(5)),
            (4_800, 20, minutes(5)),
            (4_801, 20, minutes(10)),
            (10_000, 20, minutes(15)),
            (10_000, 100, minutes(5)),
            (1_000, 0, minutes(25)),
            (usize::MAX, 1, minutes(30)),
        ];
        for (sessions, rate, expected) in table {
            assert_eq!(lead(sessions, rate), expected, "{sessions} at {rate}/s");
        }
    }
}
