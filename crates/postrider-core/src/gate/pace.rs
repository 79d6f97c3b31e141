//! How fast many mailboxes of one tenant may log in at one server. One mailbox's throttle is its own
//! gate's business; when several are throttled within a short time the limit is the tenant's, and all
//! of its logins slow down. It never stops them: each quiet period gives back what was taken.

use std::{collections::VecDeque, time::Duration};

use crate::{ids::MailboxKey, time::Monotonic};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacePolicy {
    /// Between two logins where nothing is wrong.
    pub interval: Duration,
    /// So many different mailboxes, throttled within `window`, slow all of them down.
    pub mailboxes: usize,
    pub window: Duration,
    /// After each time as long as this without a throttle, the pace doubles again.
    pub quiet: Duration,
    /// The pace is halved at most this many times.
    pub halvings_max: u32,
}

impl PacePolicy {
    pub fn new(logins_per_second: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / logins_per_second.max(1),
            mailboxes: 3,
            window: Duration::from_secs(60),
            quiet: Duration::from_secs(5 * 60),
            // A 64th: 20 logins per second become one in three seconds.
            halvings_max: 6,
        }
    }
}

/// The pace of one tenant at one server.
#[derive(Clone, Debug)]
pub struct Pace {
    policy: PacePolicy,
    /// At most `PacePolicy::mailboxes` of them, each once.
    throttled: VecDeque<(Monotonic, MailboxKey)>,
    halvings: u32,
    /// The last throttle, or the last time that the pace doubled.
    calm_since: Monotonic,
    /// When the last login began, while the pace is slow.
    last: Monotonic,
}

/// What a throttle means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// It is taken for the mailbox's own.
    Own,
    /// All of the tenant are slowed down, to one login in this time.
    Shared { interval: Duration },
}

impl Pace {
    pub fn new(policy: PacePolicy) -> Self {
        Self {
            policy,
            throttled: VecDeque::new(),
            halvings: 0,
            calm_since: Monotonic(0),
            last: Monotonic(0),
        }
    }

    /// A mailbox was throttled at its login, or right after it.
    pub fn throttled(&mut self, mailbox: &MailboxKey, now: Monotonic) -> Throttle {
        self.recover(now);
        let window = self.policy.window;
        self.throttled
            .retain(|(at, other)| now - *at < window && other != mailbox);
        self.throttled.push_back((now, mailbox.clone()));
        // One mailbox that is throttled for ever must not keep all the others slow.
        if self.halvings > 0 && self.throttled.len() > 1 {
            self.calm_since = now;
        }
        if self.throttled.len() < self.policy.mailboxes.max(1) {
            return Throttle::Own;
        }
        // The next halving needs as many again: what is in flight now was begun at the old pace.
        self.throttled.clear();
        self.halvings = (self.halvings + 1).min(self.policy.halvings_max);
        self.calm_since = now;
        Throttle::Shared {
            interval: self.interval(),
        }
    }

    /// Whether a login may begin now, which then counts as begun; else when to ask again. Nobody
    /// gets a place in advance: a line of thousands moves faster as soon as the pace does.
    pub fn turn(&mut self, now: Monotonic) -> Result<(), Monotonic> {
        self.recover(now);
        let at = self.last + self.interval();
        if self.halvings > 0 && at > now {
            return Err(at);
        }
        self.last = now;
        Ok(())
    }

    /// How many times the pace is halved now.
    pub fn halvings(&mut self, now: Monotonic) -> u32 {
        self.recover(now);
        self.halvings
    }

    fn interval(&self) -> Duration {
        self.policy
            .interval
            .saturating_mul(1 << self.halvings.min(16))
    }

    fn recover(&mut self, now: Monotonic) {
        while self.halvings > 0 && now - self.calm_since >= self.policy.quiet {
            self.halvings -= 1;
            self.calm_since = self.calm_since + self.policy.quiet;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(0) + Duration::from_secs(10_000 + seconds)
    }

    fn pace() -> Pace {
        Pace::new(PacePolicy::new(20))
    }

    fn throttle(pace: &mut Pace, mailboxes: &[&str], now: Monotonic) -> Throttle {
        let mut last = Throttle::Own;
        for mailbox in mailboxes {
            last = pace.throttled(&MailboxKey::new(*mailbox), now);
        }
        last
    }

    #[test]
    fn one_mailbox_throttled_again_and_again_slows_no_other() {
        let mut pace = pace();
        for second in 0..30 {
            assert_eq!(throttle(&mut pace, &["a", "b"], at(second)), Throttle::Own);
        }
        assert_eq!(pace.turn(at(30)), Ok(()));
        assert_eq!(pace.turn(at(30)), Ok(()));
    }

    #[test]
    fn throttles_far_apart_are_their_mailboxes_own() {
        let mut pace = pace();
        for (minute, mailbox) in ["a", "b", "c", "d"].iter().enumerate() {
            let now = at(61 * minute as u64);
            assert_eq!(throttle(&mut pace, &[mailbox], now), Throttle::Own);
        }
    }

    #[test]
    fn three_mailboxes_within_a_minute_halve_the_pace_of_all() {
        let mut pace = pace();
        let shared = |millis| Throttle::Shared {
            interval: Duration::from_millis(millis),
        };
        assert_eq!(throttle(&mut pace, &["a", "b", "c"], at(0)), shared(100));
        let later = |millis| at(1) + Duration::from_millis(millis);
        assert_eq!(pace.turn(at(1)), Ok(()));
        assert_eq!(pace.turn(at(1)), Err(later(100)));
        assert_eq!(pace.turn(later(100)), Ok(()));
        assert_eq!(pace.turn(later(150)), Err(later(200)));
        assert_eq!(throttle(&mut pace, &["a", "b", "c"], at(2)), shared(200));
        for second in 0..30 {
            throttle(&mut pace, &["a", "b", "c"], at(3 + second));
        }
        assert_eq!(pace.halvings(at(40)), 6, "it is never stopped");
    }

    #[test]
    fn each_quiet_period_doubles_the_pace_again() {
        let mut pace = pace();
        throttle(&mut pace, &["a", "b", "c", "d", "e", "f"], at(0));
        assert_eq!(pace.halvings(at(299)), 2);
        assert_eq!(pace.halvings(at(300)), 1);
        throttle(&mut pace, &["a", "b"], at(400));
        assert_eq!(pace.halvings(at(699)), 1, "two mailboxes keep it slow");
        assert_eq!(pace.halvings(at(700)), 0);
        assert_eq!(pace.turn(at(700)), Ok(()));
        assert_eq!(pace.turn(at(700)), Ok(()));
    }

    #[test]
    fn one_mailbox_that_is_throttled_for_ever_does_not_keep_the_others_slow() {
        let mut pace = pace();
        throttle(&mut pace, &["a", "b", "c"], at(0));
        for minute in 1..10 {
            throttle(&mut pace, &["a"], at(60 * minute));
        }
        assert_eq!(pace.halvings(at(600)), 0);
    }

    #[test]
    fn a_long_line_moves_as_the_pace_does_whoever_gave_up_in_it() {
        let mut pace = pace();
        for second in 0..6 {
            throttle(&mut pace, &["a", "b", "c"], at(second));
        }
        assert_eq!(pace.turn(at(10)), Ok(()));
        for _ in 0..10_000 {
            assert!(pace.turn(at(11)).is_err(), "asking takes nobody's place");
        }
        assert_eq!(pace.turn(at(14)), Ok(()));
        let (mut now, end) = (at(14), at(4_000));
        let mut begun = 0;
        while now < end && begun < 10_000 {
            match pace.turn(now) {
                Ok(()) => begun += 1,
                Err(later) => now = later,
            }
        }
        assert_eq!(begun, 10_000);
    }
}
