//! A day with Exchange Online in a minute: a mailbox that was not granted, a secret that is rotated,
//! a throttle, an IDLE that has gone silent, the token's hour, sessions that the server ends.
//! Pauses are part of the play; everything else waits for what it says.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postrider_sandbox::{
    imap::{Goodbye, Scope, ThrottleStyle},
    mailboxes::Access,
};

use super::{
    play::everything_arrives,
    stage::{Stage, shown},
    world::{Scenery, World, address},
};
use crate::telemetry::mail::State;

const LEGAL: &str = "legal";
const RETURNS: &str = "returns";

pub(super) const SCENERY: Scenery = Scenery {
    mailboxes: &["support", "billing", "sales", RETURNS, LEGAL],
    ungranted: Some(LEGAL),
    // An hour in earnest.
    token_life: Duration::from_secs(20),
    // What waited in a mailbox before it could be opened first is sent as well. IDLE is ended after
    // five minutes in earnest.
    group: "start = \"all\"\nidle_cycle = \"5s\"\n",
    person: Some("ann"),
    shut: Some("ceo"),
    // The whole demo, with its end in order, takes about a minute.
    play_max: Duration::from_secs(63),
};

/// For whoever reads along.
const A_MOMENT: Duration = Duration::from_secs(1);
/// Between two mails.
const TRICKLE: Duration = Duration::from_millis(200);
/// What the throttle asks for; Exchange has been seen to ask for up to five minutes.
const BACKOFF: Duration = Duration::from_secs(3);
/// A session that its server ends sooner backs off for a moment first: such a token has not
/// merely run out.
const SESSION_AGE: Duration = Duration::from_secs(10);

pub(super) async fn all(stage: &Stage, world: &mut World) -> anyhow::Result<()> {
    let others = SCENERY.mailboxes.len() - 1;
    stage.tell("08:00  One application, five mailboxes")?;
    watched(stage, world, others).await?;
    let tokens = world.tokens.counters().issued;
    stage.say(&format!(
        "watching {others}: XOAUTH2, a probe, EXAMINE, IDLE; tokens asked for: {tokens}"
    ))?;
    the_grant_is_missing(stage, world).await?;
    let fresh = a_secret_is_added(stage, world)?;
    let throttled = a_mailbox_is_throttled(stage, world).await?;
    idle_goes_silent(stage, world).await?;
    the_hour_is_over(stage, world).await?;
    the_throttle_is_over(stage, world, throttled).await?;
    the_old_secret_is_removed(stage, world, fresh).await?;
    the_server_ends_the_sessions(stage, world).await?;
    stage.tell("\n18:00  The account")
}

async fn the_grant_is_missing(stage: &Stage, world: &mut World) -> anyhow::Result<()> {
    stage.tell("\n08:30  A mailbox that was not granted to the application")?;
    let watch = world.watch(LEGAL)?;
    stage
        .until("the refusal is told", async || {
            Ok(watch.with_status(|status| status.state == State::AuthFailed))
        })
        .await?;
    for _ in 0..2 {
        world.deliver_to(LEGAL)?;
    }
    stage.say(&format!(
        "{LEGAL} is refused; the others do not notice. `postrider mailboxes show {LEGAL}`:"
    ))?;
    let trouble = watch.with_status(|status| status.trouble.clone());
    if let Some(trouble) = trouble {
        stage.quote(trouble.cause, &trouble.detail)?;
        match trouble.diagnosis {
            Some(told) => {
                stage.quote(told.cause.as_str(), &told.what)?;
                stage.quote("fix", &told.fix)?;
            }
            None => stage.quote("hint", trouble.hint)?,
        }
    }
    world.deliver()?;
    tokio::time::sleep(A_MOMENT).await;
    stage.say("an administrator runs Add-MailboxPermission; `postrider mailboxes resync legal`")?;
    world.mailboxes.set_access(&address(LEGAL), Access::grant)?;
    let granted = Instant::now();
    world.resync(LEGAL)?;
    everything_arrives(stage, world).await?;
    stage.say(&format!(
        "watched after {}, and the 2 mails that had waited in it are sent",
        shown(granted.elapsed())
    ))
}

/// Both secrets are good for now, as they have to be in a rotation without a gap.
fn a_secret_is_added(stage: &Stage, world: &World) -> anyhow::Result<String> {
    stage.tell("\n09:00  A new client secret is added, and written into the file")?;
    let fresh = STANDARD.encode(rand::random::<[u8; 24]>());
    world
        .tokens
        .change(|config| config.secrets.insert(0, fresh.clone()));
    world.write_secret(&fresh)?;
    stage.say("nothing to restart, nothing to reload: the day goes on")?;
    Ok(fresh)
}

async fn idle_goes_silent(stage: &Stage, world: &mut World) -> anyhow::Result<()> {
    stage.tell("\n10:00  An IDLE goes silent: connected, and nothing is announced any more")?;
    let user = address("sales");
    world
        .imap
        .levers(Scope::User(&user), |levers| levers.silent_idle = true);
    let sent = Instant::now();
    world.deliver_to("sales")?;
    the_others_arrive(stage, world).await?;
    stage.say(&format!(
        "found {} later by the cycle, which looks for itself every 5 s (5 minutes in earnest)",
        shown(sent.elapsed())
    ))?;
    world
        .imap
        .levers(Scope::User(&user), |levers| levers.silent_idle = false);
    Ok(())
}

async fn the_hour_is_over(stage: &Stage, world: &mut World) -> anyhow::Result<()> {
    stage.tell(&format!(
        "\n12:00  The token's hour is over ({} s here)",
        SCENERY.token_life.as_secs()
    ))?;
    let began = Instant::now();
    let before = world.sent();
    // The throttled one has none.
    let all = SCENERY.mailboxes.len() - 1;
    let wanted = u64::try_from(SCENERY.mailboxes.len() + all)?;
    while world.imap.counters(Scope::Server).logins < wanted {
        a_mail_more(stage, world, "the sessions are replaced").await?;
    }
    the_others_arrive(stage, world).await?;
    watched(stage, world, all).await?;
    let slowest = world.latencies(began).last().copied().unwrap_or_default();
    stage.say(&format!(
        "{all} sessions replaced before their token's end: the new one reads before the old one goes"
    ))?;
    stage.say(&format!(
        "{} mails meanwhile, the slowest took {}; {} tokens asked for all day",
        world.sent() - before,
        shown(slowest),
        world.tokens.counters().requests
    ))
}

async fn the_server_ends_the_sessions(stage: &Stage, world: &mut World) -> anyhow::Result<()> {
    stage.tell("\n16:00  Exchange ends the sessions before anybody expected it")?;
    let since = Instant::now();
    while since.elapsed() < SESSION_AGE / 2 && world.youngest_session() < SESSION_AGE {
        a_mail_more(stage, world, "the sessions are older").await?;
    }
    let all = SCENERY.mailboxes.len();
    let logins = world.imap.counters(Scope::Server).logins;
    let dropped = world.imap.drop_sessions(Scope::Server, &Goodbye::Expired);
    let dropped_at = Instant::now();
    for _ in SCENERY.mailboxes {
        world.deliver()?;
    }
    let wanted = logins + u64::try_from(all)?;
    let again = world
        .imap
        .wait_until(Scope::Server, stage.left(), |seen| {
            seen.logins >= wanted && seen.idle >= all
        })
        .await;
    anyhow::ensure!(again, "not so in time: all mailboxes watched again");
    stage.say(&format!(
        "{dropped} sessions get `BYE Session invalidated - AccessTokenExpired`; all watched again after {}",
        shown(dropped_at.elapsed())
    ))?;
    everything_arrives(stage, world).await
}

/// Since when.
async fn a_mailbox_is_throttled(stage: &Stage, world: &mut World) -> anyhow::Result<Instant> {
    stage.tell("\n09:30  A mailbox is throttled")?;
    let user = address(RETURNS);
    let scope = Scope::User(&user);
    world.imap.levers(scope, |levers| {
        levers.throttle_for(BACKOFF, ThrottleStyle::BadThenBye);
    });
    let begun = Instant::now();
    world.deliver_to(RETURNS)?;
    let told = world
        .imap
        .wait_until(scope, stage.left(), |seen| seen.throttled > 0)
        .await;
    anyhow::ensure!(told, "not so in time: the throttle is told");
    stage.say(&format!(
        "{RETURNS} gets `BAD Request is throttled. Suggested Backoff Time: {} milliseconds` and a BYE",
        BACKOFF.as_millis()
    ))?;
    stage.say("it is left alone for as long, and some seconds more; its mail waits there")?;
    Ok(begun)
}

async fn the_throttle_is_over(
    stage: &Stage,
    world: &mut World,
    begun: Instant,
) -> anyhow::Result<()> {
    stage.tell("\n13:00  The throttle is over")?;
    everything_arrives(stage, world).await?;
    watched(stage, world, SCENERY.mailboxes.len()).await?;
    let refused = world
        .imap
        .counters(Scope::User(&address(RETURNS)))
        .throttled;
    stage.say(&format!(
        "{RETURNS} is watched again, and the mail that had waited is sent, {} after it began; it was \
         asked {refused} time(s) meanwhile",
        shown(begun.elapsed())
    ))
}

/// All but the mail that waits in the throttled mailbox.
async fn the_others_arrive(stage: &Stage, world: &World) -> anyhow::Result<()> {
    let sent = world.sent() - 1;
    let there = world.receiver.wait_for(sent, stage.left()).await;
    anyhow::ensure!(there, "not so in time: {sent} events accepted");
    Ok(())
}

async fn the_old_secret_is_removed(
    stage: &Stage,
    world: &mut World,
    fresh: String,
) -> anyhow::Result<()> {
    stage.tell("\n14:00  The old client secret is removed")?;
    let before = world.sent();
    // Secret files are looked at every few seconds.
    while !world.is_secret_replaced() {
        a_mail_more(stage, world, "the new secret is read").await?;
    }
    stage.say("the file was read again, and the new secret proven by a token request")?;
    world.tokens.change(|config| config.secrets = vec![fresh]);
    let seen = world.tokens.counters();
    while world.tokens.counters().issued == seen.issued {
        a_mail_more(stage, world, "a token for the new secret").await?;
    }
    anyhow::ensure!(
        world.tokens.counters().refused == seen.refused,
        "the new secret was refused"
    );
    everything_arrives(stage, world).await?;
    stage.say(&format!(
        "the new secret brought the next token; no session noticed, {} mails meanwhile",
        world.sent() - before
    ))
}

async fn a_mail_more(stage: &Stage, world: &mut World, awaited: &str) -> anyhow::Result<()> {
    anyhow::ensure!(!stage.left().is_zero(), "not so in time: {awaited}");
    let open = SCENERY.mailboxes.iter().filter(|name| **name != RETURNS);
    if let Some(name) = open.cycle().nth(world.sent() % SCENERY.mailboxes.len()) {
        world.deliver_to(name)?;
    }
    tokio::time::sleep(TRICKLE).await;
    Ok(())
}

async fn watched(stage: &Stage, world: &World, mailboxes: usize) -> anyhow::Result<()> {
    let idle = world
        .imap
        .wait_for_idle(Scope::Server, mailboxes, stage.left())
        .await;
    anyhow::ensure!(idle, "not so in time: {mailboxes} mailboxes in IDLE");
    Ok(())
}
