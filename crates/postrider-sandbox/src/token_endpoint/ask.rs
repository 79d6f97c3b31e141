//! One request, read: at which desk of which provider it is, who asks, and by what proof.

use hyper::{HeaderMap, Method};

use super::{
    form::{Form, basic},
    jwt::Jwt,
    tally::GrantKind,
};
use crate::http::Request;

pub(super) const CERTIFICATE_OR_FEDERATED: &str =
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(super) struct Ask {
    pub(super) route: Route,
    pub(super) method: Method,
    pub(super) query: Form,
    pub(super) form: Form,
    /// The body calls itself a form.
    pub(super) is_form: bool,
    pub(super) basic: Option<(String, String)>,
    pub(super) headers: HeaderMap,
    /// As the client knows it.
    pub(super) url: String,
    /// There is a proxy on the way.
    pub(super) proxied: bool,
    /// The body as it came, for an endpoint that repeats it.
    pub(super) body: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Entra { tenant: String, desk: Desk },
    Imds,
    Google(Desk),
    Generic(Desk),
    Nowhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Desk {
    Token,
    /// Entra's older form.
    TokenV1,
    Device,
    Authorize,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/metadata/identity/oauth2/token" => return Self::Imds,
            "/token" => return Self::Google(Desk::Token),
            "/device/code" => return Self::Google(Desk::Device),
            "/o/oauth2/v2/auth" => return Self::Google(Desk::Authorize),
            "/oauth/token" => return Self::Generic(Desk::Token),
            "/oauth/device" => return Self::Generic(Desk::Device),
            "/oauth/authorize" => return Self::Generic(Desk::Authorize),
            _ => {}
        }
        let Some((tenant, rest)) = path.strip_prefix('/').and_then(|path| path.split_once('/'))
        else {
            return Self::Nowhere;
        };
        let desk = match rest {
            "oauth2/v2.0/token" => Desk::Token,
            "oauth2/token" => Desk::TokenV1,
            "oauth2/v2.0/devicecode" => Desk::Device,
            "oauth2/v2.0/authorize" => Desk::Authorize,
            _ => return Self::Nowhere,
        };
        Self::Entra {
            tenant: tenant.to_owned(),
            desk,
        }
    }
}

impl Ask {
    pub(super) fn read(request: Request) -> Self {
        let header = |name: &str| request.headers.get(name)?.to_str().ok();
        let host = header("host").unwrap_or_default();
        let is_form = header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let via = ["x-forwarded-for", "via", "forwarded"];
        let proxied = request.absolute || via.iter().any(|name| header(name).is_some());
        let body = String::from_utf8_lossy(&request.body).into_owned();
        Self {
            route: Route::of(&request.path),
            url: format!("http://{host}{}", request.path),
            query: Form::read(&request.query),
            form: Form::read(&body),
            is_form,
            basic: basic(&request.headers),
            proxied,
            body,
            method: request.method,
            headers: request.headers,
        }
    }

    pub(super) fn is_post(&self) -> bool {
        self.method == Method::POST
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The client's id, wherever it stands.
    pub(super) fn client_id(&self) -> Option<&str> {
        let basic = self.basic.as_ref().map(|(client, _)| client.as_str());
        basic
            .or_else(|| self.form.get("client_id"))
            .or_else(|| self.query.get("client_id"))
    }

    pub(super) fn client_secret(&self) -> Option<&str> {
        let basic = self.basic.as_ref().map(|(_, secret)| secret.as_str());
        basic.or_else(|| self.form.get("client_secret"))
    }

    /// A service account's assertion.
    pub(super) fn bearer_assertion(&self) -> Option<Jwt> {
        Jwt::read(self.form.get("assertion")?)
    }

    pub(super) fn kind(&self) -> GrantKind {
        let desk = match &self.route {
            Route::Imds => return GrantKind::ManagedIdentity,
            Route::Nowhere => return GrantKind::Unknown,
            Route::Entra { desk, .. } | Route::Google(desk) | Route::Generic(desk) => *desk,
        };
        match desk {
            Desk::Device => return GrantKind::DeviceStart,
            Desk::Authorize => return GrantKind::Authorize,
            Desk::Token | Desk::TokenV1 => {}
        }
        match self.form.get("grant_type") {
            Some("client_credentials") => self.proof(),
            Some("refresh_token") => GrantKind::RefreshToken,
            Some("authorization_code") => GrantKind::AuthorizationCode,
            Some(DEVICE_CODE) => GrantKind::DeviceCode,
            Some(JWT_BEARER) => GrantKind::ServiceAccount,
            Some(_) | None => GrantKind::Unknown,
        }
    }

    fn proof(&self) -> GrantKind {
        let Some(assertion) = self.form.get("client_assertion") else {
            return GrantKind::ClientSecret;
        };
        match Jwt::read(assertion) {
            Some(jwt) if jwt.claim("iss") != self.form.get("client_id") => GrantKind::Federated,
            Some(_) | None => GrantKind::Certificate,
        }
    }
}
