//! The end of the demo: what was sent and what became of it, seen from the receiver and from the
//! store, and where to go from here. It judges; it changes nothing.

use postrider_store::{EventFilter, Sums};

use super::{stage::Stage, world::World};

/// A configuration to start from.
const NEXT: &str = include_str!("next.toml");
/// The play makes some sixty events.
const EVENTS_MAX: u32 = 1000;

/// What the receiver saw and what the store says.
struct Figures {
    sent: usize,
    accepted: usize,
    retried: u32,
    repeated: usize,
    lost: usize,
    sums: Sums,
}

impl Figures {
    async fn read(world: &World) -> anyhow::Result<Self> {
        let store = &world.daemon.shared.store;
        let filter = EventFilter {
            limit: EVENTS_MAX,
            ..EventFilter::default()
        };
        let events = store.events(&filter).await?;
        let sums = store.sums().await?;
        let attempts = events
            .iter()
            .flat_map(|event| &event.deliveries)
            .map(|delivery| delivery.attempts);
        Ok(Self {
            sent: world.sent(),
            accepted: world.receiver.distinct_ids(),
            retried: attempts.map(|attempts| attempts.saturating_sub(1)).sum(),
            repeated: world.receiver.repeats(),
            lost: world
                .missing()
                .saturating_sub(usize::try_from(sums.pending)?),
            sums,
        })
    }

    /// Every UID has its outcome, every delivery its state, and both say what was really sent.
    /// What still waits is not lost, but the demo does not end well with it.
    fn adds_up(&self) -> bool {
        let sums = &self.sums;
        let sent = u64::try_from(self.sent).unwrap_or(u64::MAX);
        sums.unaccounted_messages() == 0
            && sums.unaccounted_deliveries() == 0
            && [
                sums.uids,
                sums.event,
                sums.deliveries,
                sums.delivered + sums.pending,
            ]
            .iter()
            .all(|sum| *sum == sent)
    }

    fn table(&self) -> String {
        let sums = &self.sums;
        let verdict = if self.adds_up() {
            "adds up"
        } else {
            "DOES NOT ADD UP"
        };
        format!(
            "\n  sent      {:>4}   mails put into the mailboxes\n  \
               delivered {:>4}   events accepted, each signature verified by the receiver\n  \
               retried   {:>4}   attempts beyond an event's first\n  \
               repeated  {:>4}   events accepted a second time, under the same id\n  \
               lost      {:>4}\n\n  \
               the account {verdict}: {} UIDs = {} event + {} known + {} skipped + {} quarantined + {} vanished\n  \
               {} deliveries = {} delivered + {} pending + {} dead + {} discarded\n",
            self.sent,
            self.accepted,
            self.retried,
            self.repeated,
            self.lost,
            sums.uids,
            sums.event,
            sums.known,
            sums.skipped,
            sums.quarantined,
            sums.vanished,
            sums.deliveries,
            sums.delivered,
            sums.pending,
            sums.dead,
            sums.discarded,
        )
    }
}

/// Prints the table; an error unless nothing was lost, the account adds up, no signature was wrong
/// and no mailbox was changed.
pub(super) async fn finish(stage: &Stage, world: &World) -> anyhow::Result<()> {
    // The last outcomes are stored a moment after the receiver has accepted.
    let settled = stage
        .until("every delivery is settled", async || {
            Ok(world.daemon.shared.store.sums().await?.pending == 0)
        })
        .await;
    let figures = Figures::read(world).await?;
    stage.tell(&figures.table())?;
    settled?;
    anyhow::ensure!(figures.lost == 0, "{} mails were lost", figures.lost);
    anyhow::ensure!(figures.adds_up(), "the account does not add up");
    let rejections = world.receiver.rejections();
    anyhow::ensure!(
        rejections.is_empty(),
        "the receiver turned requests away: {rejections:?}"
    );
    let violations = world.imap.violations();
    anyhow::ensure!(
        violations.is_empty(),
        "a mailbox would have been changed: {violations:?}"
    );
    Ok(())
}

/// A configuration to copy, and where to read on.
pub(super) fn next_steps(stage: &Stage) -> anyhow::Result<()> {
    let indented: String = NEXT
        .lines()
        .map(|line| match line {
            "" => "\n".to_owned(),
            line => format!("    {line}\n"),
        })
        .collect();
    stage.tell(&format!(
        "For your own mailboxes, write postrider.toml:\n\n{indented}\n\
         then `postrider check-config`, `postrider run`, and elsewhere `postrider mailboxes list`.\n\n\
         Read on: docs/EXCHANGE.md (from a tenant to the first event), docs/WEBHOOKS.md (verify,\n\
         deduplicate), docs/OPERATIONS.md; config/postrider.example.toml has every key."
    ))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::config::{Config, Environment};

    #[test]
    fn the_configuration_to_copy_is_a_good_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("postrider.toml"), NEXT).unwrap();
        for secret in ["contoso-secret", "tickets-secret"] {
            let path = folder.path().join(secret);
            fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let environment = Environment {
            now: crate::clock::wall(),
            ..Environment::default()
        };
        let loaded = Config::load(&folder.path().join("postrider.toml"), &environment).unwrap();
        let warnings = loaded.warnings.iter().map(|warning| &warning.what);
        // The test's folder is a temporary one.
        let others: Vec<_> = warnings
            .filter(|what| !what.contains("files are cleaned up"))
            .collect();
        assert!(others.is_empty(), "{others:?}");
        assert_eq!(loaded.config.mailboxes.len(), 2);
    }

    #[test]
    fn a_sum_that_misses_something_is_no_success() {
        let sums = Sums {
            uids: 3,
            event: 3,
            deliveries: 3,
            delivered: 3,
            ..Sums::default()
        };
        let mut figures = Figures {
            sent: 3,
            accepted: 3,
            retried: 0,
            repeated: 0,
            lost: 0,
            sums,
        };
        assert!(figures.adds_up());
        figures.sums.event = 2;
        assert!(!figures.adds_up(), "a UID without an outcome");
        figures.sums.known = 1;
        assert!(!figures.adds_up(), "an outcome that hides a mail");
        figures.sums = Sums {
            delivered: 2,
            pending: 1,
            ..sums
        };
        assert!(figures.adds_up(), "what waits is not lost");
        figures.sent = 4;
        assert!(!figures.adds_up(), "a mail that was never seen");
    }
}
