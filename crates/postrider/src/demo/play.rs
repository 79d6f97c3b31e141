//! The three acts: mail arrives, the receiver breaks, the server ends the sessions. Pauses are
//! part of the play; everything else waits for what it says.

use std::time::{Duration, Instant};

use postrider_sandbox::{imap::Scope, receiver::Behaviour};

use super::{
    stage::{Stage, shown},
    world::{Scenery, World},
};
use crate::telemetry::delivery::EndpointState;

pub(super) const SCENERY: Scenery = Scenery {
    mailboxes: &["support", "billing", "sales"],
    ungranted: None,
    // An hour in earnest. Here it is replaced half-way, after ten seconds, so that its end can be
    // shown; the sessions that were opened with it are older than ten seconds then, too.
    token_life: Duration::from_secs(20),
    group: "",
    person: None,
    shut: None,
    // The whole demo, with its end in order, takes less than 30 seconds.
    play_max: Duration::from_secs(24),
};

/// Rounds of one mail per mailbox in the first act.
const ROUNDS: usize = 5;
/// Between two mails while something is broken.
const TRICKLE: Duration = Duration::from_millis(200);
/// How long the receiver is gone.
const DOWN: Duration = Duration::from_secs(3);
/// A session that its server ends sooner backs off for a moment first: such a token has not
/// merely run out.
const SESSION_AGE: Duration = Duration::from_secs(10);

pub(super) async fn all(stage: &Stage, world: &mut World) -> anyhow::Result<()> {
    let idle = world
        .imap
        .wait_for_idle(Scope::Server, SCENERY.mailboxes.len(), stage.left())
        .await;
    anyhow::ensure!(idle, "not so in time: all mailboxes in IDLE");
    let watching_since = Instant::now();
    let tokens = world.tokens.counters().issued;
    stage.say(&format!(
        "watching {} mailboxes: TLS, XOAUTH2, IDLE; {tokens} token for all of them",
        SCENERY.mailboxes.len()
    ))?;
    mail_arrives(stage, world).await?;
    the_receiver_breaks(stage, world).await?;
    the_token_ends(stage, world, watching_since).await
}

async fn mail_arrives(stage: &Stage, world: &mut World) -> anyhow::Result<()> {
    stage.tell("\n1. Mail arrives")?;
    let since = Instant::now();
    for _ in 0..ROUNDS {
        for _ in SCENERY.mailboxes {
            world.deliver()?;
        }
        everything_arrives(stage, world).await?;
    }
    let latencies = world.latencies(since);
    let middle = latencies
        .get(latencies.len() / 2)
        .copied()
        .unwrap_or_default();
    let slowest = latencies.last().copied().unwrap_or_default();
    stage.say(&format!(
        "{} mails, {} signed events accepted; from mailbox to receiver {} (median), {} (slowest)",
        world.sent(),
        world.receiver.distinct_ids(),
        shown(middle),
        shown(slowest)
    ))
}

async fn the_receiver_breaks(stage: &Stage, world: &mut World) -> anyhow::Result<()> {
    stage.tell("\n2. The receiver breaks")?;
    let before = world.sent();
    world.receiver.set(Behaviour::status(500));
    stage.say("it answers 500, and mail goes on arriving")?;
    while world.endpoint_state() != Some(EndpointState::Open) {
        anyhow::ensure!(!stage.left().is_zero(), "not so in time: the breaker opens");
        world.deliver()?;
        tokio::time::sleep(TRICKLE).await;
    }
    stage.say(&format!(
        "breaker open after {} mails: one probe now and then, events wait and do not age",
        world.sent() - before
    ))?;
    world.receiver.down().await;
    stage.say("it is down altogether")?;
    let up_at = Instant::now() + DOWN;
    while Instant::now() < up_at {
        world.deliver()?;
        tokio::time::sleep(TRICKLE).await;
    }
    let missed = world.sent() - before;
    stage
        .until("all of it is stored", async || {
            Ok(world.daemon.shared.store.sums().await?.pending == u64::try_from(missed)?)
        })
        .await?;
    stage.say(&format!(
        "it comes back; {missed} events are waiting in the store"
    ))?;
    world.receiver.set(Behaviour::Accept);
    world.receiver.up().await?;
    let back = Instant::now();
    everything_arrives(stage, world).await?;
    stage.say(&format!(
        "all {missed} delivered {} after that",
        shown(back.elapsed())
    ))?;
    stage
        .until("the breaker closes", async || {
            Ok(world.endpoint_state() == Some(EndpointState::Closed))
        })
        .await
}

async fn the_token_ends(
    stage: &Stage,
    world: &mut World,
    watching_since: Instant,
) -> anyhow::Result<()> {
    stage.tell("\n3. The token ends, and the server drops the sessions")?;
    stage.say(&format!(
        "mail goes on arriving; tokens live {} seconds here instead of an hour",
        SCENERY.token_life.as_secs()
    ))?;
    let first = world.tokens.last_token();
    let before = world.sent();
    while watching_since.elapsed() < SESSION_AGE || world.tokens.counters().issued < 2 {
        anyhow::ensure!(
            !stage.left().is_zero(),
            "not so in time: the token is refreshed ahead"
        );
        world.deliver()?;
        tokio::time::sleep(TRICKLE).await;
    }
    stage.say(
        "a new token is there already: it was asked for half-way through the old one's life",
    )?;
    let logins = world.imap.counters(Scope::Server).logins;
    if let Some(first) = &first {
        world.authority.expire(first);
    }
    let dropped = Instant::now();
    for _ in SCENERY.mailboxes {
        world.deliver()?;
    }
    let wanted = u64::try_from(SCENERY.mailboxes.len())? * 2;
    let again = world
        .imap
        .wait_until(Scope::Server, stage.left(), |seen| {
            seen.logins >= wanted && seen.idle >= SCENERY.mailboxes.len()
        })
        .await;
    anyhow::ensure!(again, "not so in time: all mailboxes watched again");
    let dropped_after = dropped.elapsed();
    match world.imap.counters(Scope::Server).logins - logins {
        // On a very slow machine postrider had replaced them before.
        0 => stage.say("every session had been replaced before its token's end: nothing to drop")?,
        sessions => stage.say(&format!(
            "{sessions} sessions dropped with `BYE … AccessTokenExpired`; all watched again after {}",
            shown(dropped_after)
        ))?,
    }
    everything_arrives(stage, world).await?;
    stage.say(&format!(
        "{} mails came meanwhile, all delivered",
        world.sent() - before
    ))
}

pub(super) async fn everything_arrives(stage: &Stage, world: &World) -> anyhow::Result<()> {
    let sent = world.sent();
    let all = world.receiver.wait_for(sent, stage.left()).await;
    anyhow::ensure!(
        all,
        "not so in time: {sent} events accepted, there are {}",
        world.receiver.distinct_ids()
    );
    Ok(())
}
