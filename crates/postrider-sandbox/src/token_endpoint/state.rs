//! What the endpoint remembers: the identities, the sign-ins of people, and the book of requests.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    ask::{Ask, Route},
    config::{Provider, TokenConfig},
    desk::{SignIn, SignIns},
    imds,
    tally::Book,
    trouble::TokenTrouble,
};

#[derive(Default)]
pub(super) struct State {
    /// They are added and never taken away, so a place stays right.
    pub(super) apps: Vec<App>,
    pub(super) trouble: TokenTrouble,
    pub(super) book: Book,
    pub(super) sign_ins: SignIns,
    pub(super) used_assertions: HashSet<String>,
    pub(super) last_token: Option<String>,
}

pub(super) struct App {
    pub(super) config: TokenConfig,
    pub(super) trouble: TokenTrouble,
    pub(super) last_token: Option<String>,
    pub(super) last_refresh_token: Option<String>,
}

impl App {
    pub(super) fn new(config: TokenConfig) -> Self {
        Self {
            config,
            trouble: TokenTrouble::None,
            last_token: None,
            last_refresh_token: None,
        }
    }
}

/// What a request that is not refused gets.
pub(super) enum Answer {
    Json(Value),
    Redirect(String),
}

impl State {
    pub(super) fn find(
        &self,
        provider: impl Fn(&Provider) -> bool,
        tenant: Option<&str>,
        client_id: &str,
    ) -> Option<usize> {
        self.apps.iter().position(|app| {
            let config = &app.config;
            provider(&config.provider)
                && config.client_id == client_id
                && tenant.is_none_or(|tenant| config.tenant.eq_ignore_ascii_case(tenant))
        })
    }

    pub(super) fn named(&self, client_id: &str) -> Option<usize> {
        self.find(|_| true, None, client_id)
    }

    pub(super) fn has_tenant(&self, tenant: &str) -> bool {
        self.apps
            .iter()
            .any(|app| app.config.tenant.eq_ignore_ascii_case(tenant))
    }

    /// Who asks, as far as a request says.
    pub(super) fn asking(&self, ask: &Ask) -> (Option<usize>, String) {
        if ask.route == Route::Imds {
            let app = imds::identity(self, ask).ok();
            let name = app.map(|app| self.apps[app].config.client_id.clone());
            return (app, name.unwrap_or_default());
        }
        let assertion = ask.bearer_assertion();
        let issuer = assertion.as_ref().and_then(|jwt| jwt.claim("iss"));
        let name = ask.client_id().or(issuer).unwrap_or_default();
        let app = match &ask.route {
            Route::Entra { tenant, .. } => self.find(|_| true, Some(tenant), name),
            Route::Imds | Route::Google(_) | Route::Generic(_) | Route::Nowhere => None,
        };
        (app.or_else(|| self.named(name)), name.to_owned())
    }

    /// The trouble that the next request of this identity meets.
    pub(super) fn take_trouble(&mut self, app: Option<usize>) -> TokenTrouble {
        match self.trouble.take() {
            TokenTrouble::None => {
                let app = app.and_then(|app| self.apps.get_mut(app));
                app.map(|app| app.trouble.take()).unwrap_or_default()
            }
            trouble => trouble,
        }
    }

    pub(super) fn issued(&mut self, app: usize, token: String) {
        self.book.counters.issued += 1;
        self.apps[app].last_token = Some(token.clone());
        self.last_token = Some(token);
    }

    pub(super) fn new_refresh(&mut self, app: usize, sign_in: SignIn) -> String {
        let token = self.sign_ins.new_refresh(app, sign_in);
        self.apps[app].last_refresh_token = Some(token.clone());
        token
    }
}
