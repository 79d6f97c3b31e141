//! A tenant with an application: a token endpoint, and mailboxes that its tokens open.

use std::fs;

use postrider_sandbox::{
    authority::TokenAuthority,
    mailboxes::Access,
    token_endpoint::{TokenConfig, TokenEndpoint},
};

use crate::world::{Settings, World};

pub(crate) struct Tenant {
    pub(crate) world: World,
    pub(crate) tokens: TokenEndpoint,
    pub(crate) authority: TokenAuthority,
    secret: String,
    tenant: String,
    client_id: String,
}

impl Tenant {
    /// All mailboxes of the settings, with the application's credential; not started yet.
    pub(crate) async fn new(settings: Settings, config: TokenConfig) -> Self {
        let authority = TokenAuthority::new();
        let (tenant, client_id) = (config.tenant.clone(), config.client_id.clone());
        let secret = config.secrets[0].clone();
        let tokens = TokenEndpoint::start(config, authority.clone())
            .await
            .unwrap();
        let world = World::new(settings).await;
        fs::write(world.dir.path().join("secret"), &secret).unwrap();
        for user in &world.users {
            world
                .mailboxes
                .add_account(user, Access::tokens(&authority));
        }
        let mut tenant = Self {
            tokens,
            authority,
            secret,
            tenant,
            client_id,
            world,
        };
        tenant.world.settings.credential = tenant.credential_at(&tenant.tokens);
        tenant
    }

    /// What stands below `[credentials.…]`. The same application at another token endpoint is another
    /// credential: what one is refused says nothing of the other.
    pub(crate) fn credential_at(&self, tokens: &TokenEndpoint) -> String {
        format!(
            "type = \"microsoft\"\ntenant = \"{}\"\nclient_id = \"{}\"\nauthority = \"{}\"\nclient_secret = {{ file = \"{}\" }}\n",
            self.tenant,
            self.client_id,
            tokens.authority_url(),
            self.world.dir.path().join("secret").display()
        )
    }

    /// A token endpoint more, whose tokens open the same mailboxes.
    pub(crate) async fn another_endpoint(&self) -> TokenEndpoint {
        let config = TokenConfig {
            tenant: self.tenant.clone(),
            client_id: self.client_id.clone(),
            secrets: vec![self.secret.clone()],
            ..TokenConfig::default()
        };
        TokenEndpoint::start(config, self.authority.clone())
            .await
            .unwrap()
    }
}
