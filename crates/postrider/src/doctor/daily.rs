//! In the daemon: once a day each access is tried at every mailbox that must stay shut to it. The
//! auditor gets a dated line for each, the metrics a figure, a violation an event.

use std::{collections::HashMap, sync::Arc, time::Duration};

use postrider_core::{
    event::EventType,
    ids::CredentialKey,
    time::{Monotonic, Wall},
};

use super::forbidden::{self, Elsewhere, Proof, Shown};
use crate::{
    clock,
    config::{Config, Mailbox},
    network,
    shared::{RampKey, Shared},
    system_events::{self, Happening},
    watcher::session,
};

/// How often it is looked at what is due.
const TICK: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// An attempt that showed nothing is made again sooner.
const AGAIN: Duration = Duration::from_secs(15 * 60);

type Target = (CredentialKey, String);

struct Known {
    next: Monotonic,
    /// Since when it is open, where it is.
    open_since: Option<Wall>,
}

/// Runs until the daemon stops.
pub async fn run(shared: Arc<Shared>) -> std::io::Result<()> {
    let mut known: HashMap<Target, Known> = HashMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return Ok(()),
            _ = tick.tick() => {}
        }
        let config = shared.config();
        let targets = targets(&config);
        known.retain(|target, _| targets.iter().any(|(wanted, _)| wanted == target));
        for (target, mailbox) in targets {
            let due = known
                .get(&target)
                .is_none_or(|known| clock::monotonic() >= known.next);
            // Before the access opens anything, a refusal would prove nothing.
            if due && shared.let_in.any(&target.0) {
                let before = known.remove(&target).and_then(|known| known.open_since);
                let after = Box::pin(prove(&shared, &target, &mailbox, before)).await;
                known.insert(target, after);
            }
        }
        let open = known.values().filter(|one| one.open_since.is_some());
        shared
            .telemetry
            .tokens
            .must_not_open_violations(open.count());
    }
}

/// Every forbidden address, beside a mailbox of the same credential, whose server it is tried at.
fn targets(config: &Config) -> Vec<(Target, Arc<Mailbox>)> {
    let mut targets = Vec::new();
    for (key, credential) in &config.credentials {
        if credential.must_not_open.is_empty() {
            continue;
        }
        let user = config
            .mailboxes
            .values()
            .find(|mailbox| mailbox.credential == *key);
        let Some(mailbox) = user else { continue };
        for address in &credential.must_not_open {
            targets.push(((key.clone(), address.clone()), mailbox.clone()));
        }
    }
    targets
}

async fn prove(
    shared: &Arc<Shared>,
    (credential, address): &Target,
    mailbox: &Mailbox,
    open_since: Option<Wall>,
) -> Known {
    shared.ramp.turn(&RampKey::of(mailbox)).await;
    let server = server(shared, mailbox);
    let shown =
        forbidden::attempt(&shared.tokens, &server, mailbox, address, Elsewhere::Opens).await;
    let proof = Proof {
        credential: credential.clone(),
        address: address.clone(),
        shown,
        // The event says who tells it: no address leaves this process.
        fix: Vec::new(),
    };
    shared.telemetry.tokens.must_not_open(&proof);
    let now = clock::wall();
    let (wait, open_since) = match &proof.shown {
        Shown::Refused => (EVERY, None),
        Shown::Nothing(_) => (AGAIN, open_since),
        Shown::Opened => {
            let since = open_since.unwrap_or(now);
            tell(shared, credential, since).await;
            (EVERY, Some(since))
        }
    };
    Known {
        next: clock::monotonic() + wait,
        open_since,
    }
}

fn server(shared: &Shared, mailbox: &Mailbox) -> Result<postrider_imap::server::Server, String> {
    let server = &mailbox.server;
    let tls = shared
        .tls
        .get(server.ca_file.as_deref())
        .map_err(|error| error.to_string())?;
    let proxy =
        network::socket_proxy(&server.proxy, &server.host).map_err(|error| error.to_string())?;
    Ok(session::imap_server(server, tls, proxy))
}

/// Told once per violation: its id is made of the time since when it is open.
async fn tell(shared: &Arc<Shared>, credential: &CredentialKey, since: Wall) {
    let happening = Happening {
        event_type: EventType::CredentialViolation,
        mailbox: None,
        scope: credential.as_str(),
        started: since,
        reason: "must_not_open_violated",
        detail: "this access opens a mailbox that must stay shut to it (must_not_open)",
        hint: "take its permission away (Remove-MailboxPermission); `postrider doctor` names the mailbox",
    };
    system_events::emit(shared, happening).await;
}
