//! A set of credentials, the endpoint that they ask, and a folder for their secrets.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use postrider_core::token::{Generation, TokenPolicy};
use tokio::sync::mpsc;

use super::{by_key, endpoint::Endpoint, microsoft, vault, wanted};
use crate::{
    clock,
    config::{Credential, Environment, SecretRef},
    secrets::{Pace, Secrets},
    telemetry::Telemetry,
    tokens::{
        Access, ConfigureError, CredentialFailure, CredentialStatus, Credentials, Next, Tokens,
        Transition,
    },
};

const DEADLINE: Duration = Duration::from_secs(10);

pub(super) struct World {
    pub(super) endpoint: Endpoint,
    pub(super) folder: tempfile::TempDir,
    pub(super) tokens: Arc<Tokens>,
    transitions: mpsc::Receiver<Transition>,
}

impl World {
    /// One credential, `contoso`, whose only secret, in a file, is the one that the endpoint accepts.
    pub(super) async fn new() -> Self {
        let endpoint = Endpoint::start(&["right"]).await;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "right\n").unwrap();
        let secrets = [SecretRef::File(folder.path().join("secret"))];
        let credentials = [microsoft("contoso", &endpoint, "client", &secrets)];
        Self::with(endpoint, folder, credentials)
    }

    pub(super) fn with(
        endpoint: Endpoint,
        folder: tempfile::TempDir,
        credentials: impl IntoIterator<Item = Credential>,
    ) -> Self {
        let telemetry = Arc::new(Telemetry::new().unwrap());
        let pace = Pace {
            tick: Duration::from_millis(50),
            settle: Duration::from_millis(10),
        };
        let secrets = Secrets::new(Environment::default(), Arc::clone(&telemetry), pace);
        let (sender, transitions) = mpsc::channel(64);
        let credentials = by_key(credentials);
        let vault = vault(&folder);
        let tokens = Tokens::with(
            &wanted(&credentials, &vault),
            telemetry,
            sender,
            secrets,
            TokenPolicy::default(),
        )
        .unwrap();
        Self {
            endpoint,
            folder,
            tokens: Arc::new(tokens),
            transitions,
        }
    }

    pub(super) fn put(&self, credentials: &Credentials) -> Result<(), ConfigureError> {
        let vault = vault(&self.folder);
        self.tokens.put(&wanted(credentials, &vault))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) async fn login(&self, mailbox: &str) -> Result<Access, CredentialFailure> {
        self.tokens.login(&mailbox.into(), &"contoso".into()).await
    }

    pub(super) fn accepted(&self, mailbox: &str, generation: Generation) {
        self.tokens
            .accepted(&mailbox.into(), &"contoso".into(), generation);
    }

    pub(super) fn refused(&self, mailbox: &str, generation: Generation) -> Next {
        self.tokens
            .refused(&mailbox.into(), &"contoso".into(), generation)
    }

    pub(super) async fn login_succeeds_again(&self) -> Access {
        let deadline = clock::monotonic() + DEADLINE;
        loop {
            match self.login("support").await {
                Ok(access) => return access,
                Err(failure) => assert!(clock::monotonic() < deadline, "still {failure}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn requests_reach(&self, count: usize) {
        let deadline = clock::monotonic() + DEADLINE;
        while self.endpoint.requests().len() < count {
            assert!(
                clock::monotonic() < deadline,
                "{} requests",
                self.endpoint.requests().len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn transition(&mut self) -> Transition {
        tokio::time::timeout(DEADLINE, self.transitions.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// The generation that a login gets at once.
    pub(super) fn login_now(&self, mailbox: &str) -> Option<Generation> {
        let login = self.login(mailbox);
        let mut login = std::pin::pin!(login);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::future::Future::poll(login.as_mut(), &mut context) {
            std::task::Poll::Ready(access) => access.ok().map(|access| access.generation),
            std::task::Poll::Pending => None,
        }
    }

    pub(super) fn no_transition(&mut self) -> bool {
        self.transitions.try_recv().is_err()
    }

    pub(super) fn status(&self) -> CredentialStatus {
        self.tokens
            .snapshot()
            .into_iter()
            .find(|status| status.key.as_str() == "contoso")
            .unwrap()
    }
}
