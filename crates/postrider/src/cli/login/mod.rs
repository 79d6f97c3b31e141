//! `login`: a person signs in for a credential that acts for them. The refresh token goes from the
//! provider into the vault and nowhere else; it is stored only when it is there and covers IMAP,
//! and then proven by one request.

mod browser;
mod device;
mod granted;

use std::{cell::Cell, path::Path};

use postrider_oauth::{client::TokenClient, error::TokenError, grant::Grant, proof::Proof};
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use self::granted::Granted;
use super::{
    args::Login,
    direct,
    failure::{Exit, Failure},
    output::print,
    render::clean,
    source,
};
use crate::{
    clock,
    config::{Config, Credential, CredentialKind},
    tokens::once::REQUEST_LIMIT,
    vault::Vault,
};

/// How somebody signs in for one credential.
struct SignIn<'a> {
    credential: &'a Credential,
    client: TokenClient,
    http: reqwest::Client,
    /// The client secrets, newest first; one `None` for a public client.
    client_secrets: Vec<Option<SecretString>>,
    /// Which of them is asked with: those before it were refused.
    secret_at: Cell<usize>,
    /// Where a device code is asked for.
    device: Option<Url>,
    /// Where a browser is sent to.
    authorize: Option<Url>,
    /// What the redirect address calls this machine.
    loopback: &'static str,
    json: bool,
}

pub(crate) fn login(file: &Path, args: &Login, json: bool) -> Result<(), Failure> {
    let config = direct::load(file, json)?;
    let credential = direct::credential(&config, &args.credential)?;
    let vault = direct::vault(&config);
    let runtime = direct::runtime()?;
    let _context = runtime.enter();
    let sign_in = SignIn::of(&config, credential, json)?;
    // Before anybody signs in: could it be stored at all?
    vault.ready(&credential.key)?;
    runtime.block_on(sign_in.perform(&config, &vault, args))
}

impl<'a> SignIn<'a> {
    fn of(config: &Config, credential: &'a Credential, json: bool) -> Result<Self, Failure> {
        let (device, authorize, loopback) = match &credential.kind {
            // Entra ignores the port of a redirect address that says `localhost`
            // (https://learn.microsoft.com/entra/identity-platform/reply-url).
            CredentialKind::MicrosoftDelegated(_) => (None, None, "localhost"),
            CredentialKind::GoogleDelegated(google) => (
                Some(google.device_url.clone()),
                Some(google.authorize_url.clone()),
                "127.0.0.1",
            ),
            CredentialKind::OAuth2(oauth2) if credential.kind.uses_vault() => (
                oauth2.device_url.clone(),
                oauth2.authorize_url.clone(),
                "127.0.0.1",
            ),
            CredentialKind::Microsoft(_)
            | CredentialKind::ManagedIdentity(_)
            | CredentialKind::Google(_)
            | CredentialKind::OAuth2(_)
            | CredentialKind::Password { .. }
            | CredentialKind::Token(_) => return Err(nobody(credential)),
        };
        let once = source::once(config, credential, None)?;
        let Some(client) = once.client().cloned() else {
            return Err(nobody(credential));
        };
        Ok(Self {
            device: device.or_else(|| client.device_endpoint()),
            authorize: authorize.or_else(|| client.authorization_endpoint()),
            client_secrets: once.client_secrets().map(Option::<&_>::cloned).collect(),
            secret_at: Cell::new(0),
            http: once.http().clone(),
            client,
            credential,
            loopback,
            json,
        })
    }

    async fn perform(self, config: &Config, vault: &Vault, args: &Login) -> Result<(), Failure> {
        let grant = match args.browser {
            false => device::sign_in(&self).await?,
            true => browser::sign_in(&self, args).await?,
        };
        let granted = Granted::judge(self.credential, &self.client, &grant)?;
        let key = &self.credential.key;
        let turn = vault.turn(key).await?;
        let (account, now) = (granted.account.as_deref(), clock::wall());
        vault.sign_in(key, &granted.refresh, account, now)?;
        let proven = self.prove(vault, &granted.refresh).await;
        drop(turn);
        self.report(config, vault, &granted, proven.as_ref().ok())?;
        match proven {
            Ok(_) => Ok(()),
            Err(failure) => Err(Failure {
                error: format!(
                    "the sign-in is stored, but its refresh token gives no token: {}",
                    failure.error
                ),
                ..failure
            }),
        }
    }

    /// Asks with one client secret after the other, as long as it is the proof that is refused.
    async fn ask<T>(
        &self,
        ask: impl AsyncFn(Option<SecretString>) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let mut refused = None;
        let first = self.secret_at.get();
        for (at, secret) in self.client_secrets.iter().enumerate().skip(first) {
            match ask(secret.clone()).await {
                // The newest one's refusal is the one to tell.
                Err(error) if error.is_about_the_secret() => {
                    refused.get_or_insert(error);
                }
                other => {
                    self.secret_at.set(at);
                    return other;
                }
            }
        }
        Err(refused.unwrap_or(TokenError::Unsent {
            what: "no client secret can be read",
        }))
    }

    /// The same for a request for a token.
    async fn request(&self, proof: &Proof) -> Result<Grant, TokenError> {
        self.ask(async |secret| {
            let proof = proof.clone().with_client_secret(secret);
            self.client
                .request(&self.http, &proof, REQUEST_LIMIT, clock::wall())
                .await
        })
        .await
    }

    /// One token with what was just stored.
    async fn prove(&self, vault: &Vault, refresh: &SecretString) -> Result<Grant, Failure> {
        let proof = Proof::RefreshToken {
            token: refresh.clone(),
            client_secret: None,
        };
        let grant = self.request(&proof).await?;
        source::keep(vault, self.credential, &proof, &grant)?;
        Ok(grant)
    }

    fn report(
        &self,
        config: &Config,
        vault: &Vault,
        granted: &Granted,
        proven: Option<&Grant>,
    ) -> Result<(), Failure> {
        let key = &self.credential.key;
        let users: Vec<_> = direct::users_of(config, key).collect();
        if self.json {
            return line(&json!({
                "step": "signed_in",
                "credential": key.as_str(),
                "account": granted.account,
                "scopes": granted.scopes,
                "vault": vault.path(),
                "proven": proven.is_some(),
                "token_expires_in_s": proven.map(|grant| grant.expires_in.as_secs()),
                "mailboxes": users.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
            }));
        }
        let unnamed = "somebody: the provider does not say who";
        let mut text = format!(
            "signed in   {}\ngranted     {}\nstored      {}, encrypted\n",
            clean(granted.account.as_deref().unwrap_or(unnamed)),
            clean(&granted.scopes.join(" ")),
            vault.path().display(),
        );
        if let Some(grant) = proven {
            let minutes = grant.expires_in.as_secs().div_ceil(60);
            text += &format!("proven      its token is good for {minutes} min\n");
        }
        for (mailbox, username) in users {
            text += &format!("mailbox     {mailbox}{}\n", shared(granted, username));
        }
        print(&(text + "\na running daemon takes it up by itself\n"))
    }
}

/// A mailbox of its own has nothing to add; another one's needs a right.
fn shared(granted: &Granted, username: &str) -> String {
    match &granted.account {
        Some(account) if !account.eq_ignore_ascii_case(username) => format!(
            " (logs in as {}: {} needs full access to it)",
            clean(username),
            clean(account)
        ),
        Some(_) | None => String::new(),
    }
}

fn nobody(credential: &Credential) -> Failure {
    let error = format!(
        "nobody signs in for credential `{}`: its type is \"{}\"",
        credential.key,
        credential.kind.as_str()
    );
    Failure::new(Exit::Failed, error).hint(
        "login is for type = \"microsoft-delegated\", \"google-delegated\", or \"oauth2\" with \
         grant = \"refresh_token\" and no refresh_token of its own",
    )
}

/// One step, for programs: one JSON object on one line.
fn line(step: &Value) -> Result<(), Failure> {
    print(&format!("{step}\n"))
}
