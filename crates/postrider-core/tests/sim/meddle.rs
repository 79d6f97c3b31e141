//! What happens to the folder, the clock and the store while the watch is busy with others.

use postrider_core::{ids::Uid, time::Wall, watch::*};

use crate::{
    server::{Mail, Nature, days},
    world::{BEGIN, World},
};

impl World {
    /// What may happen between any two effects.
    pub(crate) fn meddle(&mut self) {
        if self.rng.chance(self.dials.arrive * 0.3) {
            self.arrive();
        }
        if self.rng.chance(self.dials.expunge) {
            self.expunge();
        }
        if self.rng.chance(self.dials.breaks) {
            self.break_continuity();
        }
        if self.rng.chance(self.dials.disk) {
            self.fill_disk();
        }
        if self.rng.chance(self.dials.outage) {
            self.bodies_down_until = self.mono + self.rng.range(1, 60) * 60_000;
        }
        if self.rng.chance(self.dials.jumps.max(0.005)) {
            let most: i64 = if self.dials.jumps > 0.0 {
                30 * 86_400_000
            } else {
                300_000
            };
            let offset = self.rng.range(0, 2 * most.unsigned_abs());
            self.wall_offset = offset.cast_signed() - most;
            self.tally.add("wall clock jumped");
        }
    }

    pub(crate) fn nature(&mut self) -> Nature {
        if !self.rng.chance(self.dials.odd) {
            return Nature::Good;
        }
        let nature = match self.rng.range(0, 4) {
            0 => Nature::Poison,
            1 => Nature::Killer,
            2 => Nature::Empty,
            3 => Nature::Unreadable,
            _ => Nature::Refused,
        };
        // Under the anchor's UID the one would hide that UIDs went back, for half an hour; the
        // other would kill every process that looks whether they did.
        let hides = matches!(nature, Nature::Refused | Nature::Killer);
        if self.seen.rolled_back && hides {
            return Nature::Good;
        }
        nature
    }

    pub(crate) fn arrive(&mut self) {
        let many = self.rng.chance(0.05);
        let count = if many {
            self.rng.range(5, 15)
        } else {
            self.rng.range(1, 3)
        };
        for _ in 0..count {
            let nature = self.nature();
            let mut mail = self.server.mail(Wall(self.time), nature);
            if self.rng.chance(0.05) {
                let copied = self.server.folder().mails.values().last().cloned();
                if let Some(other) = copied.filter(|other| !other.before_start) {
                    mail = self.server.copy(&other);
                    self.tally.add("a copy arrived");
                }
            }
            let uid = self.server.folder().next;
            self.append(mail);
            self.say(|| format!("     . UID {uid} arrives ({nature:?})"));
        }
    }

    fn expunge(&mut self) {
        let uids: Vec<u32> = self.server.folder().mails.keys().copied().collect();
        // The newest ones are most interesting, because their loss lowers the highest UID.
        let uid = if self.rng.chance(0.5) {
            uids.last().copied()
        } else {
            self.rng.pick(&uids).copied()
        };
        let Some(uid) = uid else {
            return;
        };
        // UIDs that were given out again are told by the anchor alone, so it stays until seen.
        if self.seen.rolled_back {
            return;
        }
        self.server.expunge(uid);
        self.say(|| format!("     . UID {uid} is expunged"));
    }

    fn fill_disk(&mut self) {
        let length = self.rng.range(1_000, 120_000);
        self.full_until(length);
    }

    fn break_continuity(&mut self) {
        match self.rng.range(0, 2) {
            0 | 1 => {
                let archive = self.archive();
                let now = self.server.folder().validity;
                let validity = match self.rng.range(0, 3) {
                    0 => self.server.folders[0].validity,
                    _ => now + 1,
                };
                // Two numberings under one UIDVALIDITY are the other case, below.
                let seen = self
                    .store
                    .cursor
                    .as_ref()
                    .map(|cursor| cursor.uid_validity.0);
                if validity == now || Some(validity) == seen {
                    return;
                }
                let mut rng = self.rng.clone();
                self.server.recreate(&mut rng, validity, archive);
                self.rng = rng;
                self.seen.rolled_back = false;
                self.tally.add("UIDVALIDITY changed");
                self.say(|| format!("     . UIDVALIDITY is {validity} now"));
                if self.rng.chance(0.5) {
                    self.session = None;
                }
            }
            _ => self.roll_back(),
        }
    }

    /// Old mail that turns up with a break.
    fn archive(&mut self) -> Vec<Mail> {
        if self.rng.chance(0.5) {
            return Vec::new();
        }
        let count = self.rng.range(1, 12);
        (0..count)
            .map(|_| {
                let date = Wall(self.time) - days(self.rng.range(3, 40));
                let mut mail = self.server.mail(date, Nature::Good);
                mail.before_start = date < Wall(BEGIN) - days(1);
                self.seen.allowed.insert(mail.facts.fingerprint, 1);
                mail
            })
            .collect()
    }

    /// The server loses its newest mail and gives their UIDs out again. It is told by UIDNEXT, or
    /// by the anchor where it has come past the cursor already.
    fn roll_back(&mut self) {
        let known = self.store.cursor.as_ref().and_then(|cursor| {
            Some((
                cursor.anchor?.0.get(),
                cursor.last?.get(),
                cursor.uid_validity.0,
            ))
        });
        let Some((anchor, last, validity)) = known else {
            return;
        };
        let folder = self.server.folder();
        if folder.validity != validity || folder.next <= last || self.seen.rolled_back {
            return;
        }
        let next = u32::try_from(self.rng.range(1, u64::from(anchor))).unwrap();
        self.server.roll_back(next);
        self.session = None;
        self.seen.rolled_back = true;
        self.tally.add("UIDs went back");
        self.say(|| format!("     . the next UID is {next} again"));
        for _ in 0..self.rng.range(0, 12) {
            let mail = self.server.mail(Wall(self.time), Nature::Good);
            self.append(mail);
        }
    }

    /// What an operator may do to the store while the process is down.
    pub(crate) fn meddle_with_store(&mut self) {
        if self.store.cursor.is_none() || !self.rng.chance(self.dials.breaks * 10.0) {
            return;
        }
        if self.rng.chance(0.3) {
            self.store.cursor = None;
            self.store.suspects.clear();
            self.store.hold = None;
            self.store.state_lost = true;
            self.seen.marked.clear();
            self.tally.add("state lost");
            self.say(|| "     . the cursor is lost".to_owned());
            return;
        }
        self.store.account_changed = true;
        self.tally.add("account changed");
        self.say(|| "     . another account stands under the key".to_owned());
        if self.rng.chance(0.5) {
            let before = self.server.folder().validity.max(self.store_validity());
            let validity = before + u32::try_from(self.rng.range(1, 2)).unwrap();
            let mut rng = self.rng.clone();
            self.server.recreate(&mut rng, validity, Vec::new());
            self.rng = rng;
            self.seen.rolled_back = false;
        }
    }

    /// The audit: a ledger row is taken away, and the UID is ordered to be read again.
    pub(crate) fn audit(&mut self) -> Order {
        let epoch = self.epoch();
        let folder = self.server.current();
        let viewed = epoch.and_then(|epoch| self.seen.epochs.get(&epoch)) == Some(&folder);
        let rows: Vec<Uid> = self
            .store
            .ledger
            .iter()
            .filter(|((row_epoch, _), row)| {
                Some(*row_epoch) == epoch && row.outcome == Outcome::Event
            })
            .map(|((_, uid), _)| *uid)
            .collect();
        let Some((uid, epoch)) = self.rng.pick(&rows).copied().zip(epoch).filter(|_| viewed) else {
            return Order::Resync;
        };
        let Some(row) = self.store.ledger.remove(&(epoch, uid)) else {
            return Order::Resync;
        };
        if let Some(fingerprint) = row.fingerprint {
            *self.seen.allowed.entry(fingerprint).or_default() += 1;
        }
        self.seen.missing_rows.insert((epoch, uid));
        self.tally.add("audited");
        self.say(|| format!("     . the row of UID {uid} is taken out of the ledger"));
        Order::Reread(vec![uid])
    }

    fn store_validity(&self) -> u32 {
        self.store
            .cursor
            .as_ref()
            .map_or(0, |cursor| cursor.uid_validity.0)
    }
}
