//! Begins and ends each fault of the list in a world with mail on its way.

use std::time::Duration;

use postrider_sandbox::{
    authority::TokenAuthority,
    imap::{Goodbye, Levers, Refusal, Scope, ThrottleStyle},
    mail::{self, Odd},
    mailboxes::{Renumber, Times, Trouble},
    proxy::Mode,
    receiver::{Answer, Behaviour},
    token_endpoint::{TokenConfig, TokenEndpoint, TokenTrouble},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::{
    disk::Disk,
    faults::Fault,
    post::message_id,
    tenant::Tenant,
    world::{Settings, World},
};

pub(crate) const MAILBOXES: usize = 5;

/// What a server may ask for in the long run, so that the recovery is the daemon's own time.
const BACKOFF: Duration = Duration::from_secs(2);

/// A world with everything that can break.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) rng: StdRng,
    tokens: TokenEndpoint,
    pub(crate) authority: TokenAuthority,
    disk: Option<Disk>,
    /// Messages that cannot be read: mailbox and UID.
    unreadable: Vec<(usize, u32)>,
    /// How many there were in each mailbox.
    quarantined: [u64; MAILBOXES],
    /// Message-IDs of messages that were removed as soon as they were there.
    pub(crate) removed: Vec<String>,
}

impl Scene {
    /// A daemon that watches `MAILBOXES` mailboxes with the tokens of one application.
    pub(crate) async fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let settings = Settings {
            mailboxes: MAILBOXES,
            group: "idle_cycle = \"5s\"\nexamine_every = \"10s\"\n".to_owned(),
            ..Settings::default()
        };
        let tenant = Tenant::new(settings, TokenConfig::default()).await;
        let (mut world, tokens) = (tenant.world, tenant.tokens);
        let authority = tenant.authority;
        // Odd seeds on a disk that can be filled, the others on the machine's own.
        let disk = (seed % 2 == 1).then(|| Disk::new(world.dir.path().join("disk"), "128m"));
        world.settings.store = disk.as_ref().map(|disk| disk.0.clone());
        world.start();
        world.expect_watching(MAILBOXES).await;
        Self {
            world,
            rng,
            tokens,
            authority,
            disk,
            unreadable: Vec::new(),
            quarantined: [0; MAILBOXES],
            removed: Vec::new(),
        }
    }

    /// Whether the fault can be had in this world.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        fault != Fault::DiskFull || self.disk.is_some()
    }

    pub(crate) fn levers(&self, change: impl FnOnce(&mut Levers)) {
        self.world.server.levers(Scope::Server, change);
    }

    fn refuse(&self, status: u16, headers: Vec<(String, String)>) {
        self.world.receiver.set(Behaviour::Answer(Answer {
            status,
            headers,
            body: String::new(),
        }));
    }

    pub(crate) fn drop_sessions(&self, scope: Scope<'_>) {
        self.world.server.drop_sessions(scope, &Goodbye::Eof);
    }

    pub(crate) fn any_mailbox(&mut self) -> usize {
        self.rng.random_range(0..MAILBOXES)
    }

    /// Lets the fault happen, or begin.
    #[expect(clippy::too_many_lines, reason = "a table of faults")]
    pub(crate) async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Answers500 => self.refuse(500, Vec::new()),
            Fault::Answers401 => self.refuse(401, Vec::new()),
            Fault::Answers404 => self.refuse(404, Vec::new()),
            Fault::Answers429 => {
                self.refuse(429, vec![("retry-after".to_owned(), "2".to_owned())]);
            }
            Fault::ReceiverDown => self.world.receiver.down().await,
            Fault::ReceiverSlow => {
                self.world
                    .receiver
                    .set(Behaviour::Slow(Duration::from_secs(1)));
            }
            Fault::ClosesUnanswered => self.world.receiver.set(Behaviour::CloseUnanswered),
            Fault::RefusesOne => self.refuse_one(),
            Fault::Frozen => self.world.proxy.set(Mode::Freeze),
            Fault::Swallowed => self.world.proxy.set(Mode::Blackhole),
            Fault::Cut => self.again_and_again(|world| world.proxy.cut_all()).await,
            Fault::Reset => self.again_and_again(|world| world.proxy.reset_all()).await,
            Fault::Unreachable => {
                self.world.proxy.refuse().await;
                self.world.proxy.cut_all();
            }
            Fault::Trickle => self.world.proxy.set(Mode::Trickle(8_000)),
            Fault::ServerKilled => self.world.server.stop().await,
            Fault::SessionsEnded => self.end_sessions().await,
            Fault::Throttled => {
                self.levers(|levers| levers.throttle_next(4, BACKOFF, ThrottleStyle::BadThenBye));
            }
            Fault::LoginUnavailable => {
                self.levers(|levers| levers.refuse_login = Some(Refusal::Unavailable));
                self.drop_sessions(Scope::Server);
            }
            Fault::OneLoginRefused => {
                let user = &self.world.users[1];
                self.world.server.levers(Scope::User(user), |levers| {
                    levers.refuse_login = Some(Refusal::Credentials);
                });
                self.drop_sessions(Scope::User(user));
            }
            Fault::SilentIdle => self.levers(|levers| levers.silent_idle = true),
            Fault::IgnoresDone => self.levers(|levers| levers.ignore_done = true),
            Fault::RefusesCommands => self.levers(|levers| {
                for command in ["EXAMINE", "UID SEARCH", "UID FETCH"] {
                    levers.refuse_next(command, 2);
                }
            }),
            Fault::NotConnected => {
                self.levers(|levers| levers.not_connected = true);
                self.drop_sessions(Scope::Server);
            }
            Fault::Quirk(quirk) => self.begin_quirk(quirk).await,
            Fault::TokensExpired => self.authority.expire_all(),
            Fault::TokensDown => {
                self.tokens.down().await;
                self.authority.expire_all();
            }
            Fault::Tokens500 => self.break_tokens(TokenTrouble::Status(503)),
            Fault::Tokens429 => self.break_tokens(TokenTrouble::Throttled { retry_after: 2 }),
            Fault::Unreadable => self.deliver_unreadable(),
            Fault::Odd => self.deliver_odd(),
            Fault::NewUidvalidity => self.renumber(),
            Fault::NewUidvalidityWhileDown => {
                self.stop().await;
                self.renumber();
            }
            Fault::UidsReused => {
                self.stop().await;
                self.reuse_uids();
            }
            Fault::Removed => self.deliver_and_remove().await,
            Fault::Killed => self.world.kill(),
            Fault::KilledAgain => {
                for _ in 0..4 {
                    self.world.kill();
                    self.world.start();
                    let at = self.rng.random_range(5..700);
                    sleep(Duration::from_millis(at)).await;
                }
            }
            Fault::Terminated => self.stop().await,
            Fault::Suspended => self.world.signal("-STOP"),
            Fault::Reloaded => {
                self.world.settings.group.push('\n');
                self.world.write_config();
                self.world.signal("-HUP");
            }
            Fault::DiskFull => self.fill_the_disk().await,
        }
    }

    /// Ends what `begin` began. What heals by itself, or must hold until all mail is there, has
    /// nothing to do here.
    pub(crate) async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Answers500
            | Fault::Answers401
            | Fault::Answers404
            | Fault::Answers429
            | Fault::ReceiverSlow
            | Fault::ClosesUnanswered => self.world.receiver.set(Behaviour::Accept),
            Fault::RefusesOne => self.world.receiver.forget_rules(),
            Fault::ReceiverDown => self.world.receiver.up().await.unwrap(),
            Fault::Frozen => {
                self.world.proxy.reset_all();
                self.world.proxy.set(Mode::Pass);
            }
            Fault::Swallowed | Fault::Trickle => self.world.proxy.set(Mode::Pass),
            Fault::Unreachable => self.world.proxy.accept_again().await.unwrap(),
            Fault::ServerKilled => {
                self.world.server.start_again().await.unwrap();
                self.world.proxy.set_upstream(self.world.server.address());
            }
            Fault::LoginUnavailable => self.levers(|levers| levers.refuse_login = None),
            Fault::OneLoginRefused => {
                let user = Scope::User(&self.world.users[1]);
                self.world
                    .server
                    .levers(user, |levers| levers.refuse_login = None);
            }
            Fault::IgnoresDone => self.levers(|levers| levers.ignore_done = false),
            Fault::NotConnected => self.levers(|levers| levers.not_connected = false),
            Fault::Quirk(quirk) => self.end_quirk(quirk),
            Fault::TokensDown => self.tokens.up().await.unwrap(),
            Fault::Tokens500 | Fault::Tokens429 => self.tokens.set_trouble(TokenTrouble::None),
            Fault::NewUidvalidityWhileDown
            | Fault::UidsReused
            | Fault::Killed
            | Fault::Terminated => self.world.start(),
            Fault::Suspended => self.world.signal("-CONT"),
            Fault::DiskFull => self.disk.as_ref().unwrap().make_room(),
            Fault::Cut
            | Fault::Reset
            | Fault::SessionsEnded
            | Fault::Throttled
            | Fault::SilentIdle
            | Fault::RefusesCommands
            | Fault::TokensExpired
            | Fault::Unreadable
            | Fault::Odd
            | Fault::NewUidvalidity
            | Fault::Removed
            | Fault::KilledAgain
            | Fault::Reloaded => {}
        }
    }

    /// After the last mail has arrived: every lever at rest again, and what cannot be read in
    /// quarantine.
    pub(crate) async fn rest(&mut self) {
        self.levers(|levers| *levers = Levers::default());
        for (mailbox, uid) in std::mem::take(&mut self.unreadable) {
            let key = format!("box{mailbox}");
            let expected = self.quarantined[mailbox];
            self.world
                .expect("the unreadable message quarantined", |world| {
                    let quarantined = world.mailbox(&key)["sums"]["quarantined"].as_u64();
                    quarantined == Some(expected)
                })
                .await;
            let user = &self.world.users[mailbox];
            let mailboxes = &self.world.mailboxes;
            mailboxes.end_trouble(user, "INBOX", uid).unwrap();
            mailboxes.expunge(user, "INBOX", &[uid]).unwrap();
        }
    }

    async fn stop(&mut self) {
        let code = self.world.stop().await;
        assert_eq!(code, Some(0), "{}", self.world.log());
    }

    async fn again_and_again(&mut self, fault: impl Fn(&World)) {
        for _ in 0..4 {
            fault(&self.world);
            let pause = self.rng.random_range(20..600);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn end_sessions(&mut self) {
        for goodbye in [
            Goodbye::Eof,
            Goodbye::Bye("Server shutting down.".to_owned()),
        ] {
            self.world.server.drop_sessions(Scope::Server, &goodbye);
            let pause = self.rng.random_range(20..600);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    fn break_tokens(&self, trouble: TokenTrouble) {
        self.tokens.set_trouble(trouble);
        self.authority.expire_all();
    }

    fn refuse_one(&mut self) {
        let (mailbox, number) = (self.any_mailbox(), self.world.next_number());
        let poison = message_id(number);
        self.world.receiver.when(
            move |request| request.json()["data"]["message"]["message_id"] == poison.as_str(),
            Behaviour::status(413),
        );
        self.world
            .deliver_raw(mailbox, number, mail::plain(number, 500));
    }

    /// One message of each kind of trouble, which is there before the message is announced.
    fn deliver_unreadable(&mut self) {
        for trouble in [Trouble::NilBody, Trouble::Garbage, Trouble::Cut] {
            let (mailbox, number) = (self.any_mailbox(), self.world.next_number());
            let (user, mailboxes) = (&self.world.users[mailbox], &self.world.mailboxes);
            let next = mailboxes.uids(user, "INBOX").unwrap().last().unwrap_or(&0) + 1;
            // The next UID may be higher, where the last message was removed.
            for uid in next..next + 20 {
                mailboxes
                    .trouble(user, "INBOX", uid, trouble, Times::Always)
                    .unwrap();
            }
            let now = OffsetDateTime::now_utc();
            let raw = mail::plain(number, 500);
            let taken = mailboxes.deliver(user, "INBOX", raw, now).unwrap();
            for uid in (next..next + 20).filter(|uid| *uid != taken) {
                mailboxes.end_trouble(user, "INBOX", uid).unwrap();
            }
            self.unreadable.push((mailbox, taken));
            self.quarantined[mailbox] += 1;
        }
    }

    fn deliver_odd(&mut self) {
        let kinds = [
            Odd::EightBitHeaders,
            Odd::BrokenMime,
            Odd::ManyParts,
            Odd::DeepNesting,
            Odd::NulBytes,
        ];
        for odd in kinds {
            let (mailbox, number) = (self.any_mailbox(), self.world.next_number());
            self.world.deliver_raw(mailbox, number, odd.make(number));
        }
    }

    /// Takes the room, and delivers until what the store had set aside for itself is full too.
    async fn fill_the_disk(&mut self) {
        self.disk.as_ref().unwrap().fill_up();
        let mailbox = self.any_mailbox();
        for _ in 0..30 {
            let number = self.world.next_number();
            self.world
                .deliver_raw(mailbox, number, mail::large(number, 200_000));
            self.world.burst(mailbox, 20);
        }
        self.world
            .expect("reading paused for want of room", |world| {
                world.ask(&["mailboxes", "list"]).is_ok_and(|list| {
                    let all = list["mailboxes"].as_array();
                    all.is_some_and(|all| all.iter().any(|one| one["state"] == "store_full"))
                })
            })
            .await;
    }

    /// A new UIDVALIDITY for two folders.
    fn renumber(&mut self) {
        for _ in 0..2 {
            let mailbox = self.any_mailbox();
            let first = self.rng.random_range(1..1_000);
            let user = &self.world.users[mailbox];
            let old = self.world.mailboxes.uidvalidity(user, "INBOX").unwrap();
            self.world
                .mailboxes
                .set_uidvalidity(user, "INBOX", old + 1, Renumber::From(first))
                .unwrap();
        }
    }

    /// The last messages, all of which have arrived, are gone, and new ones get their UIDs.
    fn reuse_uids(&mut self) {
        let mailbox = self.any_mailbox();
        let user = &self.world.users[mailbox];
        let uids = self.world.mailboxes.uids(user, "INBOX").unwrap();
        let gone = self.rng.random_range(1..8).min(uids.len());
        if gone > 0 {
            self.world
                .mailboxes
                .uids_go_back(user, "INBOX", uids[uids.len() - gone])
                .unwrap();
        }
        self.world.burst(mailbox, self.rng.random_range(1..12));
    }

    async fn deliver_and_remove(&mut self) {
        for _ in 0..20 {
            let (mailbox, number) = (self.any_mailbox(), self.world.next_number());
            let (user, mailboxes) = (&self.world.users[mailbox], &self.world.mailboxes);
            let now = OffsetDateTime::now_utc();
            let raw = mail::plain(number, 500);
            let uid = mailboxes.deliver(user, "INBOX", raw, now).unwrap();
            let moment = self.rng.random_range(0..6_000);
            sleep(Duration::from_micros(moment)).await;
            mailboxes.expunge(user, "INBOX", &[uid]).unwrap();
            self.removed.push(message_id(number));
        }
    }
}
