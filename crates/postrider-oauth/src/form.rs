//! The form of one request (`application/x-www-form-urlencoded`, RFC 6749 appendix B), and a list of
//! what in it is secret.

use base64::{Engine, engine::general_purpose::STANDARD};
use postrider_core::time::Wall;
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded::{self, Serializer};

use crate::{
    assertion,
    client::{ClientAuth, Kind, TokenClient},
    error::TokenError,
    proof::Proof,
    redact::Sent,
};

/// RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

pub(crate) struct Form {
    body: SecretString,
    basic: Option<(String, SecretString)>,
    sent: Sent,
}

/// A form in the making.
struct Draft {
    pairs: Serializer<'static, String>,
    basic: Option<(String, SecretString)>,
    sent: Sent,
}

impl Form {
    /// A token request. Empty where the machine is the proof.
    pub(crate) fn token(
        client: &TokenClient,
        proof: &Proof,
        now: Wall,
    ) -> Result<Self, TokenError> {
        let mut draft = Draft::new();
        match (client.kind(), proof) {
            (Kind::ManagedIdentity { .. }, Proof::Nothing) => {}
            (Kind::Google { scopes }, Proof::ServiceAccount { key, subject }) => {
                let jwt =
                    assertion::of_service_account(key, subject, scopes, client.endpoint(), now)?;
                draft.plain("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                draft.secret("assertion", &jwt);
            }
            (
                Kind::Microsoft { client_id, .. }
                | Kind::GoogleDelegated { client_id, .. }
                | Kind::OAuth2 { client_id, .. },
                proof,
            ) => draft.of_client(client, client_id, proof, now)?,
            (Kind::ManagedIdentity { .. } | Kind::Google { .. }, _) => return Err(UNFIT),
        }
        Ok(draft.finish())
    }

    /// A request for a device code (RFC 8628 section 3.1).
    pub(crate) fn device(
        client: &TokenClient,
        client_secret: Option<&SecretString>,
    ) -> Result<Self, TokenError> {
        let Some(client_id) = client.client_id() else {
            return Err(UNFIT);
        };
        let mut draft = Draft::new();
        draft.client(client, client_id, client_secret);
        draft.scope(client);
        Ok(draft.finish())
    }

    pub(crate) fn body(&self) -> &SecretString {
        &self.body
    }

    /// User and password of HTTP Basic, already encoded as forms are (RFC 6749 section 2.3.1).
    pub(crate) fn basic(&self) -> Option<&(String, SecretString)> {
        self.basic.as_ref()
    }

    pub(crate) fn sent(&self) -> &Sent {
        &self.sent
    }
}

const UNFIT: TokenError = TokenError::Unsent {
    what: "this kind of credential cannot be shown to this kind of token endpoint",
};

impl Draft {
    fn new() -> Self {
        Self {
            pairs: Serializer::new(String::new()),
            basic: None,
            sent: Sent::default(),
        }
    }

    fn of_client(
        &mut self,
        client: &TokenClient,
        client_id: &str,
        proof: &Proof,
        now: Wall,
    ) -> Result<(), TokenError> {
        match proof {
            Proof::Secret(secret) => {
                self.plain("grant_type", "client_credentials");
                self.scope(client);
                self.client(client, client_id, Some(secret));
            }
            Proof::Certificate {
                certificate,
                algorithm,
            } => {
                let jwt = assertion::of_client(
                    certificate,
                    *algorithm,
                    client_id,
                    client.endpoint(),
                    now,
                )?;
                self.client_assertion(client, client_id, &jwt);
            }
            // It comes from a file, whose last line may end.
            Proof::Assertion(jwt) => {
                let jwt = SecretString::from(jwt.expose_secret().trim());
                self.client_assertion(client, client_id, &jwt);
            }
            Proof::RefreshToken {
                token,
                client_secret,
            } => {
                self.plain("grant_type", "refresh_token");
                self.secret("refresh_token", token);
                self.scope(client);
                self.client(client, client_id, client_secret.as_ref());
            }
            Proof::AuthorizationCode {
                code,
                verifier,
                redirect,
                client_secret,
            } => {
                self.plain("grant_type", "authorization_code");
                self.secret("code", code);
                self.secret("code_verifier", verifier);
                self.plain("redirect_uri", client.redirect_uri(redirect));
                self.client(client, client_id, client_secret.as_ref());
            }
            Proof::DeviceCode {
                device_code,
                client_secret,
            } => {
                self.plain("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
                self.secret("device_code", device_code);
                self.client(client, client_id, client_secret.as_ref());
            }
            Proof::Nothing | Proof::ServiceAccount { .. } => return Err(UNFIT),
        }
        Ok(())
    }

    fn client_assertion(&mut self, client: &TokenClient, client_id: &str, jwt: &SecretString) {
        self.plain("grant_type", "client_credentials");
        self.plain("client_id", client_id);
        self.scope(client);
        self.plain("client_assertion_type", ASSERTION_TYPE);
        self.secret("client_assertion", jwt);
    }

    fn client(&mut self, client: &TokenClient, id: &str, secret: Option<&SecretString>) {
        let auth = match client.kind() {
            Kind::OAuth2 { auth, .. } => *auth,
            Kind::Microsoft { .. }
            | Kind::ManagedIdentity { .. }
            | Kind::Google { .. }
            | Kind::GoogleDelegated { .. } => ClientAuth::Body,
        };
        match (auth, secret) {
            (ClientAuth::Basic, Some(secret)) => {
                let id = encoded(id);
                let encoded = encoded(secret.expose_secret());
                self.sent.add(secret.expose_secret());
                self.sent.add(&STANDARD.encode(format!("{id}:{encoded}")));
                self.basic = Some((id, SecretString::from(encoded)));
            }
            (ClientAuth::Body, Some(secret)) => {
                self.plain("client_id", id);
                self.secret("client_secret", secret);
            }
            (ClientAuth::Body | ClientAuth::Basic, None) => self.plain("client_id", id),
        }
    }

    fn scope(&mut self, client: &TokenClient) {
        if let Some(scope) = client.scope() {
            self.plain("scope", scope);
        }
    }

    fn plain(&mut self, name: &str, value: &str) {
        self.pairs.append_pair(name, value);
    }

    fn secret(&mut self, name: &str, value: &SecretString) {
        self.plain(name, value.expose_secret());
        self.sent.add(value.expose_secret());
    }

    fn finish(mut self) -> Form {
        Form {
            body: SecretString::from(self.pairs.finish()),
            basic: self.basic,
            sent: self.sent,
        }
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn written(client: &TokenClient, secret: &str) -> String {
        let proof = Proof::Secret(SecretString::from(secret));
        let form = Form::token(client, &proof, Wall(0)).unwrap();
        form.body().expose_secret().to_owned()
    }

    #[test]
    fn every_printable_character_of_a_secret_survives_the_form() {
        let printable: String = (' '..='~').chain("äß€😀".chars()).collect();
        let authority = Url::parse("https://login.microsoftonline.com").unwrap();
        let ours = TokenClient::microsoft(
            &authority,
            "t",
            "id&=+",
            "https://outlook.office365.com/.default",
        )
        .unwrap();
        let form = written(&ours, &printable);
        assert!(form.bytes().all(|byte| byte.is_ascii_graphic()));
        let back: Vec<(String, String)> = form_urlencoded::parse(form.as_bytes())
            .into_owned()
            .collect();
        let expected = [
            ("grant_type", "client_credentials"),
            ("scope", "https://outlook.office365.com/.default"),
            ("client_id", "id&=+"),
            ("client_secret", printable.as_str()),
        ];
        let expected: Vec<_> = expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(back, expected);
        let encoded = [
            (" ", "+"),
            ("+", "%2B"),
            ("~", "%7E"),
            ("%", "%25"),
            ("&", "%26"),
            ("=", "%3D"),
            ("/", "%2F"),
        ];
        for (plain, wire) in encoded {
            let form = written(&ours, plain);
            assert!(
                form.ends_with(&format!("client_secret={wire}")),
                "{plain}: {form}"
            );
        }
    }
}
