//! `postrider doctor`: walks the way of every mailbox with connections of its own, from its server's
//! name to a signed ping, and names the cause where the walk ends early. It needs no daemon, changes
//! nothing in a mailbox and writes nothing to the store. Servers, credentials and endpoints that
//! mailboxes share are looked at once.

mod access;
pub mod daily;
mod elsewhere;
mod endpoint;
pub mod forbidden;
pub mod report;
mod server;
pub mod summary;
mod visit;

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use postrider_core::ids::{CredentialKey, EndpointKey, MailboxKey};
use postrider_imap::server as imap_server;
use tokio::{
    sync::{OnceCell, Semaphore, mpsc},
    task::JoinSet,
};

use self::{
    access::Admitted,
    endpoint::Pinged,
    forbidden::{Elsewhere, Proof, Shown},
    report::{MailboxReport, Outcome, Report, Step, StepName},
    server::Reached,
    visit::Failed,
};
use crate::{
    clock,
    config::{Config, Mailbox, Proxy, Server, TlsMode},
    diagnosis::{self, Before, CredentialFacts, Diagnosis, Facts, MailboxFacts, Others, Provider},
    network,
    secrets::Secrets,
    shared::{Ramp, RampKey},
    telemetry::Telemetry,
    tls::TlsConfigs,
    tokens::{Access, ConfigureError, CredentialFailure, Tokens},
    watcher::session,
};

/// Mailboxes that are walked at the same time; logins keep to the ramp besides.
const WALKS_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ping {
    Yes,
    No,
}

/// What all walks lean on.
pub struct Doctor {
    config: Arc<Config>,
    tokens: Tokens,
    tls: TlsConfigs,
    ramp: Ramp,
    ping: Ping,
    servers: Once<ServerKey, Reached>,
    credentials: Once<(CredentialKey, Option<MailboxKey>), Admitted>,
    endpoints: Once<EndpointKey, Pinged>,
}

/// One way to one server.
type ServerKey = (String, u16, Option<PathBuf>, String);

impl Doctor {
    /// Must be called within the runtime: the credentials' tasks run in it.
    pub fn new(config: Arc<Config>, ping: Ping) -> anyhow::Result<Self> {
        let telemetry = Arc::new(Telemetry::new()?);
        let (transitions, mut changes) = mpsc::channel(16);
        // Nobody waits for credentials here; what changes must only find a taker.
        tokio::spawn(async move { while changes.recv().await.is_some() {} });
        let tokens = Self::tokens(&config, telemetry, transitions)?;
        Ok(Self {
            tokens,
            tls: TlsConfigs::default(),
            ramp: Ramp::new(&config.limits),
            ping,
            config,
            servers: Once::default(),
            credentials: Once::default(),
            endpoints: Once::default(),
        })
    }

    fn tokens(
        config: &Config,
        telemetry: Arc<Telemetry>,
        transitions: mpsc::Sender<crate::tokens::Transition>,
    ) -> Result<Tokens, ConfigureError> {
        Tokens::new(config, telemetry, transitions)
    }

    /// Walks them all. `told` hears of each step as it ends.
    pub async fn examine(
        self: &Arc<Self>,
        mailboxes: Vec<Arc<Mailbox>>,
        told: impl Fn(&Mailbox, &Step) + Send + Sync + 'static,
    ) -> Report {
        let told = Arc::new(told);
        let room = Arc::new(Semaphore::new(WALKS_MAX));
        let mut walks = JoinSet::new();
        for mailbox in mailboxes {
            let (doctor, told, room) = (self.clone(), told.clone(), room.clone());
            walks.spawn(async move {
                let _place = room.acquire().await;
                let tell = |step: &Step| told(&mailbox, step);
                Box::pin(doctor.walk(&mailbox, &tell)).await
            });
        }
        // A walk that panicked is missing in the report: the panic itself has been told.
        let mut walked: Vec<Walked> = Vec::new();
        while let Some(ended) = walks.join_next().await {
            walked.extend(ended);
        }
        walked.sort_by(|a, b| a.mailbox.key.cmp(&b.mailbox.key));
        let others = Box::pin(elsewhere::look(self, &walked)).await;
        let proofs = Box::pin(self.prove_shut(&walked, &others)).await;
        let mut reports = Vec::new();
        for one in &walked {
            reports.push(self.report(one, &others).await);
        }
        Report {
            mailboxes: reports,
            proofs,
        }
    }

    async fn walk(&self, mailbox: &Arc<Mailbox>, told: &(dyn Fn(&Step) + Sync)) -> Walked {
        let mut walked = Walked {
            mailbox: mailbox.clone(),
            steps: Vec::new(),
            trouble: None,
        };
        walked.trouble = Box::pin(self.way(mailbox, &mut walked.steps, told)).await;
        walked
    }

    /// Goes as far as it goes; what stopped it, where something did.
    async fn way(
        &self,
        mailbox: &Arc<Mailbox>,
        steps: &mut Vec<Step>,
        told: &(dyn Fn(&Step) + Sync),
    ) -> Option<Trouble> {
        let mut add = |more: &[Step]| {
            more.iter().for_each(told);
            steps.extend_from_slice(more);
        };
        let note = format!("{} at {}", mailbox.key, mailbox.server.host);
        add(&[Step::new(
            StepName::Config,
            Outcome::Ok,
            std::time::Duration::ZERO,
            note,
        )]);
        let reached = self
            .servers
            .get(server_key(&mailbox.server), || {
                server::reach(&mailbox.server, &self.tls)
            })
            .await;
        add(&reached.steps);
        if let Some(error) = &reached.failed {
            let failed = Failed {
                error: error.clone(),
                folder: String::new(),
            };
            return Some(Trouble::Mail(failed));
        }
        let admitted = self.admitted(mailbox).await;
        add(&admitted.steps);
        if admitted.useless.is_some() {
            return Some(Trouble::Useless);
        }
        let Ok(access) = &admitted.access else {
            return Some(Trouble::NoAccess);
        };
        let visited = visit::visit(self, mailbox, access).await;
        add(&visited.steps);
        if let Some(failed) = visited.failed {
            return Some(Trouble::Mail(failed));
        }
        for endpoint in mailbox.endpoints.iter() {
            let pinged = self.pinged(endpoint).await;
            add(std::slice::from_ref(&pinged.step));
            if let Some(diagnosis) = &pinged.diagnosis {
                return Some(Trouble::Endpoint(diagnosis.clone()));
            }
        }
        None
    }

    async fn admitted(&self, mailbox: &Arc<Mailbox>) -> Arc<Admitted> {
        let credential = self.config.credentials.get(&mailbox.credential);
        let per_user = credential.is_some_and(|one| access::is_per_user(&one.kind));
        let key = (
            mailbox.credential.clone(),
            per_user.then(|| mailbox.key.clone()),
        );
        self.credentials
            .get(key, || access::admit(self, credential, mailbox))
            .await
    }

    async fn pinged(&self, endpoint: &EndpointKey) -> Arc<Pinged> {
        let settings = self.config.endpoints.get(endpoint);
        self.endpoints
            .get(endpoint.clone(), || {
                endpoint::ping(self.ping, &self.config.instance, settings, self.secrets())
            })
            .await
    }

    fn secrets(&self) -> &Secrets {
        self.tokens.secrets()
    }

    async fn login(&self, mailbox: &Mailbox) -> Result<Access, CredentialFailure> {
        self.tokens.login(&mailbox.key, &mailbox.credential).await
    }

    async fn turn(&self, mailbox: &Mailbox) {
        self.ramp.turn(&RampKey::of(mailbox)).await;
    }

    fn server(&self, server: &Server) -> Result<imap_server::Server, String> {
        let tls = self
            .tls
            .get(server.ca_file.as_deref())
            .map_err(|error| error.to_string())?;
        let proxy = network::socket_proxy(&server.proxy, &server.host)
            .map_err(|error| error.to_string())?;
        Ok(session::imap_server(server, tls, proxy))
    }

    /// What a walk came to, in the light of the others.
    async fn report(
        &self,
        walked: &Walked,
        others: &HashMap<CredentialKey, Others>,
    ) -> MailboxReport {
        let diagnosis = match &walked.trouble {
            None => None,
            Some(trouble) => self.diagnose(walked, trouble, others).await,
        };
        MailboxReport {
            mailbox: walked.mailbox.clone(),
            steps: walked.steps.clone(),
            remarks: self.remarks(&walked.mailbox),
            diagnosis,
        }
    }

    async fn diagnose(
        &self,
        walked: &Walked,
        trouble: &Trouble,
        others: &HashMap<CredentialKey, Others>,
    ) -> Option<Diagnosis> {
        let mailbox = &walked.mailbox;
        let credential = CredentialFacts::of(self.config.credentials.get(&mailbox.credential)?);
        let folder = match trouble {
            Trouble::Mail(failed) => failed.folder.as_str(),
            Trouble::NoAccess | Trouble::Useless | Trouble::Endpoint(_) => "",
        };
        let about = MailboxFacts::of(mailbox, &credential, folder);
        // Nobody was asked for a token where the way to the server ended before.
        let asked = walked.steps.iter().any(|step| step.name == StepName::Token);
        let admitted = match asked {
            true => Some(self.admitted(mailbox).await),
            false => None,
        };
        let admitted = admitted.as_deref();
        let facts = Facts {
            credential: &credential,
            mailbox: Some(&about),
            claims: admitted.and_then(|one| one.claims.as_ref()),
            others: others
                .get(&mailbox.credential)
                .copied()
                .unwrap_or(Others::Unknown),
            before: Before::Unknown,
            skew_s: admitted.and_then(|one| one.skew_s),
            now: clock::wall(),
        };
        match trouble {
            Trouble::Mail(failed) => Some(diagnosis::mail(&facts, &failed.error)),
            Trouble::Useless => admitted.and_then(|one| one.useless.clone()),
            Trouble::NoAccess => {
                let failure = admitted.and_then(|one| one.access.as_ref().err())?;
                Some(diagnosis::access(&facts, failure))
            }
            Trouble::Endpoint(diagnosis) => Some(diagnosis.clone()),
        }
    }

    /// The read receipts that Exchange may send: no server tells whether it is set to.
    fn remarks(&self, mailbox: &Mailbox) -> Vec<String> {
        let Some(credential) = self.config.credentials.get(&mailbox.credential) else {
            return Vec::new();
        };
        let way = CredentialFacts::of(credential).way;
        match Provider::of(way, &mailbox.server.host) {
            Provider::Exchange => vec![format!(
                "Set-CASMailbox -Identity {} -ImapUseProtocolDefaults $false -ImapSuppressReadReceipt $true",
                diagnosis::quoted(&mailbox.username)
            )],
            Provider::Gmail | Provider::Other => Vec::new(),
        }
    }

    /// Tries to open what must stay shut, with each access that the walked mailboxes use.
    async fn prove_shut(
        &self,
        walked: &[Walked],
        others: &HashMap<CredentialKey, Others>,
    ) -> Vec<Proof> {
        let mut proofs = Vec::new();
        let mut done = HashSet::new();
        for one in walked {
            let mailbox = &one.mailbox;
            let Some(credential) = self.config.credentials.get(&mailbox.credential) else {
                continue;
            };
            if !done.insert(&mailbox.credential) {
                continue;
            }
            let elsewhere = match others.get(&mailbox.credential) {
                Some(Others::LetIn) => Elsewhere::Opens,
                Some(Others::Refused | Others::Unknown) | None => Elsewhere::Unknown,
            };
            for address in &credential.must_not_open {
                self.turn(mailbox).await;
                let shown = forbidden::attempt(
                    &self.tokens,
                    &self.server(&mailbox.server),
                    mailbox,
                    address,
                    elsewhere,
                )
                .await;
                let fix = match shown {
                    Shown::Opened => self.shut(mailbox, address).await,
                    Shown::Refused | Shown::Nothing(_) => Vec::new(),
                };
                proofs.push(Proof {
                    credential: mailbox.credential.clone(),
                    address: address.clone(),
                    shown,
                    fix,
                });
            }
        }
        proofs
    }
}

impl Doctor {
    /// What takes the access of `mailbox` to `address` away.
    async fn shut(&self, mailbox: &Arc<Mailbox>, address: &str) -> Vec<String> {
        let Some(credential) = self.config.credentials.get(&mailbox.credential) else {
            return Vec::new();
        };
        let credential = CredentialFacts::of(credential);
        let about = MailboxFacts {
            address: address.to_owned(),
            username: address.to_owned(),
            ..MailboxFacts::of(mailbox, &credential, "")
        };
        let admitted = self.admitted(mailbox).await;
        diagnosis::shut(&Facts {
            credential: &credential,
            mailbox: Some(&about),
            claims: admitted.claims.as_ref(),
            others: Others::LetIn,
            before: Before::Unknown,
            skew_s: None,
            now: clock::wall(),
        })
    }
}

/// How far a walk got.
struct Walked {
    mailbox: Arc<Mailbox>,
    steps: Vec<Step>,
    trouble: Option<Trouble>,
}

enum Trouble {
    Mail(Failed),
    NoAccess,
    /// There is a token, and it opens nothing.
    Useless,
    Endpoint(Diagnosis),
}

impl Walked {
    fn was_let_in(&self) -> bool {
        self.steps
            .iter()
            .any(|step| step.name == StepName::Probe && step.outcome == Outcome::Ok)
    }

    fn was_refused(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(step.name, StepName::Login | StepName::Probe)
                && step.outcome == Outcome::Failed
        })
    }
}

fn server_key(server: &Server) -> ServerKey {
    let proxy = match &server.proxy {
        Proxy::None => String::new(),
        Proxy::Env => "env".to_owned(),
        Proxy::Url(url) => url.to_string(),
    };
    let tls = match server.tls {
        TlsMode::Implicit => "implicit",
        TlsMode::StartTls => "starttls",
        TlsMode::None => "none",
    };
    (
        server.host.clone(),
        server.port,
        server.ca_file.clone(),
        format!("{tls} {proxy}"),
    )
}

/// What is worked out once, whoever asks first.
struct Once<K, V>(Mutex<HashMap<K, Arc<OnceCell<Arc<V>>>>>);

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Once<K, V> {
    async fn get<F: Future<Output = V>>(&self, key: K, make: impl FnOnce() -> F) -> Arc<V> {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            cells.entry(key).or_default().clone()
        };
        cell.get_or_init(|| async { Arc::new(make().await) })
            .await
            .clone()
    }
}
