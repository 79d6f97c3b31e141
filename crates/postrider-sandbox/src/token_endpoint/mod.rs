//! The token endpoints of all providers on one port: Entra, Azure's instance metadata, Google, and
//! any other. It is as strict as the real ones, words its refusals as they do, tells the shared
//! [`TokenAuthority`] of what it issues, and never prints a secret or a token.

use std::{net::SocketAddr, sync::Mutex};

pub use self::{
    config::{
        Claims, ClaimsVersion, Decision, Delegated, ExpiresIn, FederatedCredential, Provider,
        RefreshEnd, Rotation, ServiceAccount, TokenConfig, TokenShape, User,
    },
    tally::{Asked, GrantKind, Tally, TokenCounters},
    trouble::TokenTrouble,
};
use self::{
    office::Office,
    state::{App, State},
};
use crate::{authority::TokenAuthority, error::Error, http::HttpServer, sync::lock};

mod config;
mod trouble;

mod ask;
mod office;
mod state;

mod entra;
mod generic;
mod google;
mod imds;

mod assertion;
mod browser;
mod desk;
mod issue;

mod aadsts;
mod refusal;
mod tally;

mod form;
mod jwt;

pub mod keys;

/// A running token endpoint. It ends when it is dropped.
#[derive(Debug)]
pub struct TokenEndpoint {
    server: HttpServer<Office>,
}

impl TokenEndpoint {
    /// With one identity; [`add`](Self::add) brings more.
    pub async fn start(config: TokenConfig, authority: TokenAuthority) -> Result<Self, Error> {
        let state = Mutex::new(State {
            apps: vec![App::new(config)],
            ..State::default()
        });
        let server = HttpServer::start(Office { authority, state }).await?;
        Ok(Self { server })
    }

    /// One more identity, of whatever provider and tenant.
    pub fn add(&self, config: TokenConfig) {
        self.state(|state| state.apps.push(App::new(config)));
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What a client's `authority` is set to; a managed identity's `endpoint` too.
    pub fn authority_url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Google's `token_url`. Beside it are `/device/code` and `/o/oauth2/v2/auth`.
    pub fn google_token_url(&self) -> String {
        format!("{}/token", self.authority_url())
    }

    /// Any other provider's `token_url`. Beside it are `/oauth/device` and `/oauth/authorize`.
    pub fn token_url(&self) -> String {
        format!("{}/oauth/token", self.authority_url())
    }

    /// For all who ask, before any trouble of their own.
    pub fn set_trouble(&self, trouble: TokenTrouble) {
        self.state(|state| state.trouble = trouble);
    }

    pub fn set_trouble_of(&self, client_id: &str, trouble: TokenTrouble) -> Result<(), Error> {
        self.app(client_id, |app| app.trouble = trouble)
    }

    /// Changes the settings of the first identity for the requests to come.
    pub fn change(&self, change: impl FnOnce(&mut TokenConfig)) {
        self.state(|state| change(&mut state.apps[0].config));
    }

    pub fn change_of(
        &self,
        client_id: &str,
        change: impl FnOnce(&mut TokenConfig),
    ) -> Result<(), Error> {
        self.app(client_id, |app| change(&mut app.config))
    }

    pub fn counters(&self) -> TokenCounters {
        self.state(|state| state.book.counters)
    }

    /// How often this identity asked in this way.
    pub fn tally(&self, client_id: &str, kind: GrantKind) -> Tally {
        self.state(|state| state.book.tally(client_id, kind))
    }

    /// The last requests of this identity, oldest first.
    pub fn asked(&self, client_id: &str) -> Vec<Asked> {
        self.state(|state| state.book.asked(client_id))
    }

    /// The token issued last, for a test that compares or expires it.
    pub fn last_token(&self) -> Option<String> {
        self.state(|state| state.last_token.clone())
    }

    pub fn last_token_of(&self, client_id: &str) -> Result<Option<String>, Error> {
        self.app(client_id, |app| app.last_token.clone())
    }

    pub fn last_refresh_token_of(&self, client_id: &str) -> Result<Option<String>, Error> {
        self.app(client_id, |app| app.last_refresh_token.clone())
    }

    /// Signs a user in without a browser: the refresh token that a login would have brought.
    pub fn sign_in(&self, client_id: &str, user: &str, scope: &str) -> Result<String, Error> {
        self.place(client_id, |state, app| {
            let sign_in = desk::SignIn {
                user: user.to_owned(),
                scope: scope.to_owned(),
            };
            state.new_refresh(app, sign_in)
        })
    }

    /// Ends every refresh token of this identity.
    pub fn end_refresh_tokens(&self, client_id: &str, end: RefreshEnd) -> Result<(), Error> {
        self.place(client_id, |state, app| state.sign_ins.end_refresh(app, end))
    }

    /// Whether this refresh token could be used now.
    pub fn is_good_refresh_token(&self, token: &str) -> bool {
        self.state(|state| state.sign_ins.is_good(token))
    }

    /// The user codes of this identity that nobody has decided yet.
    pub fn user_codes(&self, client_id: &str) -> Result<Vec<String>, Error> {
        self.place(client_id, |state, app| state.sign_ins.undecided(app))
    }

    /// What the person does who typed in the code.
    pub fn decide(&self, user_code: &str, decision: Decision) -> Result<(), Error> {
        if self.state(|state| state.sign_ins.decide(user_code, decision)) {
            return Ok(());
        }
        let user_code = user_code.to_owned();
        Err(Error::UnknownUserCode { user_code })
    }

    /// Connections are refused from now on.
    pub async fn down(&self) {
        self.server.down().await;
    }

    pub async fn up(&self) -> Result<(), Error> {
        Ok(self.server.up().await?)
    }

    fn state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut lock(&self.server.service.state))
    }

    fn place<T>(
        &self,
        client_id: &str,
        work: impl FnOnce(&mut State, usize) -> T,
    ) -> Result<T, Error> {
        self.state(|state| {
            let client = || client_id.to_owned();
            let app = state.named(client_id);
            let app = app.ok_or_else(|| Error::UnknownClient { client: client() })?;
            Ok(work(state, app))
        })
    }

    fn app<T>(&self, client_id: &str, work: impl FnOnce(&mut App) -> T) -> Result<T, Error> {
        self.place(client_id, |state, app| work(&mut state.apps[app]))
    }
}
