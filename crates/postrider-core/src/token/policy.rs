//! The figures of the token cache, and what follows from them alone: a token's life, the wait after
//! a failure, the order of secrets, and what `Retry-After` says.

use std::time::Duration;

use crate::{
    backoff::{Backoff, Chance},
    time::{Monotonic, Wall},
};

/// The figures behind the decisions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenPolicy {
    /// A token is replaced when this part of its life is over.
    pub refresh_after: f64,
    /// It is replaced at least this long before its end, where its life allows: the lead never
    /// takes more than half of a life.
    pub lead_min: Duration,
    /// Refreshes of one moment are spread by up to this part of the wait.
    pub spread: f64,
    /// A token is not handed out for its last moments (at most a tenth of its life): a login
    /// takes time, and clocks differ.
    pub margin: Duration,
    /// Nobody's token is believed to live longer.
    pub life_max: Duration,
    /// Between requests while the token endpoint has an outage. The longest wait is what an
    /// outage's end may go unnoticed.
    pub outage: Backoff,
    /// Between requests while the credential is refused.
    pub refused: Backoff,
    /// Between requests while what was set up a moment ago is not known everywhere yet.
    pub unsettled: Backoff,
    /// An endpoint that throttles and does not say for how long.
    pub throttle_default: Duration,
    pub throttle_min: Duration,
    /// An endpoint cannot park a credential for longer than this.
    pub throttle_max: Duration,
    /// A token with which no mailbox has logged in yet is dropped at most this often.
    pub drop_unproven_every: Duration,
    /// An operator may order a new token at most this often.
    pub renew_every: Duration,
}

impl Default for TokenPolicy {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            refresh_after: 0.8,
            lead_min: 5 * MINUTE,
            spread: 0.05,
            margin: MINUTE,
            life_max: 48 * 60 * MINUTE,
            outage: Backoff {
                first: Duration::from_secs(1),
                max: Duration::from_secs(15),
                stable: Duration::ZERO,
            },
            refused: Backoff {
                first: 2 * MINUTE,
                max: 15 * MINUTE,
                stable: Duration::ZERO,
            },
            unsettled: Backoff {
                first: Duration::from_secs(10),
                max: 2 * MINUTE,
                stable: Duration::ZERO,
            },
            throttle_default: MINUTE,
            throttle_min: Duration::from_secs(1),
            throttle_max: 60 * MINUTE,
            drop_unproven_every: 5 * MINUTE,
            renew_every: Duration::from_secs(10),
        }
    }
}

/// When a token is replaced, when it is no longer handed out, and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub refresh_at: Monotonic,
    pub usable_until: Monotonic,
    pub ends: Monotonic,
}

impl TokenPolicy {
    /// A token's life counts from before its request: the answer's way is not part of it.
    pub fn life(
        &self,
        requested_at: Monotonic,
        expires_in: Duration,
        refresh_in: Option<Duration>,
        chance: Chance,
    ) -> Life {
        let life = expires_in.min(self.life_max);
        let lead = self.lead_min.min(life / 2);
        let latest = life
            .mul_f64(self.refresh_after)
            .min(life.saturating_sub(lead));
        // A hint of zero would ask for one token after the other.
        let hinted = refresh_in.map_or(latest, |hint| hint.max(life / 10).min(latest));
        let refresh = hinted.mul_f64(1.0 - self.spread * chance.0.clamp(0.0, 1.0));
        let margin = self.margin.min(life / 10);
        Life {
            refresh_at: requested_at + refresh,
            usable_until: requested_at + life.saturating_sub(margin),
            ends: requested_at + life,
        }
    }

    /// How long to wait after the request number `failures` in a row that did not give a token.
    pub fn wait(&self, failure: Failure, failures: u32, chance: Chance) -> Duration {
        match failure {
            // Half of the first step, one minute, is the shortest wait.
            Failure::Refused => self.refused.wait(failures, chance),
            Failure::Unsettled => self.unsettled.wait(failures, chance),
            Failure::Outage { retry_after } => {
                let told = retry_after.map(|wait| wait.clamp(self.throttle_min, self.throttle_max));
                let own = self.outage.wait(failures, chance);
                told.map_or(own, |told| told.max(own))
            }
            Failure::Throttled { retry_after } => retry_after
                .unwrap_or(self.throttle_default)
                .clamp(self.throttle_min, self.throttle_max)
                .max(self.outage.wait(failures, chance)),
        }
    }
}

/// Why a request gave no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The endpoint says that client, secret, tenant or scope is wrong (`invalid_client`,
    /// `unauthorized_client`, `invalid_grant`, …), or there is no secret to send.
    Refused,
    /// It says no, and for what was set up a moment ago that may pass within minutes.
    Unsettled,
    /// 5xx, the network, a deadline, an answer that is none: it says nothing about the secret.
    Outage { retry_after: Option<Duration> },
    /// 429.
    Throttled { retry_after: Option<Duration> },
}

/// The order in which to try the secrets of a list: as listed (newest first), but those that were
/// refused within `again_after` last. So the one that works is used, and a newer one that was not
/// known to the provider yet gets its chance later.
pub fn secret_order(
    refused_at: &[Option<Monotonic>],
    now: Monotonic,
    again_after: Duration,
) -> Vec<usize> {
    let (fresh, refused): (Vec<usize>, Vec<usize>) = (0..refused_at.len())
        .partition(|index| refused_at[*index].is_none_or(|at| now - at >= again_after));
    fresh.into_iter().chain(refused).collect()
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date, which is taken as a distance from
/// `now`. `None` where it is neither; unbounded, the policy clamps it.
pub fn retry_after(value: &str, now: Wall) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(
            value.parse().unwrap_or(u64::MAX / 1000),
        ));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    let date = Wall(i64::try_from(since.as_millis()).ok()?);
    Some(date.since(now))
}
