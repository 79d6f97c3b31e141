//! `postrider demo`: the real daemon on a mail server, a token endpoint and a receiver in this
//! process, with real trouble. It needs no account and no network, leaves nothing behind, and
//! succeeds only if nothing was lost and the account adds up. It must never touch anything
//! outside its temporary folder and loopback ports.

mod exchange;
mod mistakes;
mod play;
mod report;
mod stage;
mod world;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::Context as _;
use stage::Stage;
use tokio::signal::unix::{SignalKind, signal};
use world::{Scenery, World};

use crate::cli::{Demo, DemoProfile};

/// Between two mails while it stays up.
const SERVED_EVERY: Duration = Duration::from_secs(2);
/// Mail stops after some five hours, because the receiver keeps all that it accepted in memory.
const SERVED_MAX: u32 = 10_000;
/// How often it is looked at what mistake is wanted.
const MISTAKES_EVERY: Duration = Duration::from_millis(250);
/// Token life while it stays up: long enough not to be in the way, short enough to see sessions
/// replaced before it ends.
const SERVED_TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Lines of the log that are shown when something went wrong.
const LAST_WORDS: usize = 20;

/// Ctrl-C or SIGTERM before the end of the play.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

/// Plays, prints, cleans up.
pub fn run(demo: Demo) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let outcome = runtime.block_on(in_a_folder(demo));
    // Nothing that is left is worth waiting for: the daemon has been stopped in order.
    runtime.shutdown_background();
    outcome
}

async fn in_a_folder(demo: Demo) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut term = signal(SignalKind::terminate()).context("signals")?;
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = term.recv() => {}
        }
    };
    let folder = tempfile::Builder::new()
        .prefix("postrider-demo-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .context("no temporary folder")?;
    let scenery = match demo.profile {
        DemoProfile::Basic => &play::SCENERY,
        DemoProfile::Exchange => &exchange::SCENERY,
    };
    let stage = Stage::new(scenery.play_max);
    let outcome = performance(&stage, scenery, folder.path(), demo, stop).await;
    if outcome
        .as_ref()
        .is_err_and(|error| !error.is::<Interrupted>())
    {
        last_words(&stage, folder.path())?;
    }
    folder.close().context("the temporary folder stays")?;
    outcome
}

async fn performance(
    stage: &Stage,
    scenery: &'static Scenery,
    folder: &Path,
    demo: Demo,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    log_to(&folder.join("log"))?;
    stage.tell(
        "postrider demo: the real daemon, and around it a mail server, a token endpoint and a\n\
         receiver in this process. No account, no network.\n",
    )?;
    let mut world = World::start(scenery, folder).await?;
    tokio::pin!(stop);
    let play = async {
        match demo.profile {
            DemoProfile::Basic => play::all(stage, &mut world).await,
            DemoProfile::Exchange => exchange::all(stage, &mut world).await,
        }
    };
    let outcome = tokio::select! {
        played = play => match played {
            Ok(()) => report::finish(stage, &world).await,
            // The account is shown in any case: it says what is missing.
            Err(error) => report::finish(stage, &world).await.and(Err(error)),
        },
        () = &mut stop => Err(Interrupted.into()),
    };
    if outcome.is_ok() {
        report::next_steps(stage)?;
        if demo.serve {
            serve(stage, &mut world, &mut stop).await?;
        }
    }
    world.end().await;
    outcome
}

/// Stays up with a little mail, to be looked at with the other commands.
async fn serve(
    stage: &Stage,
    world: &mut World,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> anyhow::Result<()> {
    world
        .tokens
        .change(|config| config.lifetime = SERVED_TOKEN_LIFE);
    stage.tell(&world.directions())?;
    let mut mistakes = mistakes::Mistakes::offer(world)?;
    stage.tell(&mistakes.directions(world))?;
    let mut look = tokio::time::interval(MISTAKES_EVERY);
    let mut due = tokio::time::interval(SERVED_EVERY);
    let mut served = 0;
    loop {
        tokio::select! {
            () = &mut *stop => break,
            _ = due.tick(), if served < SERVED_MAX => {
                world.deliver()?;
                served += 1;
            }
            _ = look.tick() => {
                if let Some(done) = mistakes.look(world)? {
                    stage.say(&done)?;
                }
            }
        }
    }
    stage.tell(&format!("stopping after {served} more mails"))
}

/// The daemon's log goes into the folder: what is printed is the play.
fn log_to(path: &Path) -> anyhow::Result<()> {
    let file = fs::File::create(path).with_context(|| path.display().to_string())?;
    let started = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new("warn,postrider=info"))
        .with_ansi(false)
        .with_writer(std::sync::Mutex::new(file))
        .try_init();
    started.map_err(|error| anyhow::anyhow!("no log: {error}"))
}

/// What the log said last, because its folder goes with the demo.
fn last_words(stage: &Stage, folder: &Path) -> anyhow::Result<()> {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    stage.tell("\nIt went wrong. The end of the daemon's log:")?;
    for line in &lines[lines.len().saturating_sub(LAST_WORDS)..] {
        stage.tell(&format!("  {line}"))?;
    }
    Ok(())
}
