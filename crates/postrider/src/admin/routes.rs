//! All that may be asked, in one table: the router, what a token needs to ask it, and the OpenAPI
//! document are made from it, so none of them can know less or more than the others.

use axum::{
    Router,
    http::Method,
    middleware,
    routing::{MethodRouter, get, post},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{
    api::{self, Scope},
    audit, credentials, endpoints, events, explain, mailboxes, openapi, orderly, process, repair,
    reread,
    server::Admin,
};

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) scope: Scope,
    pub(super) what: &'static str,
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<SchemaOf>,
    pub(super) body_required: bool,
    pub(super) answer: Option<SchemaOf>,
    handler: MethodRouter<Admin>,
}

impl Route {
    fn new(
        (method, path): (Method, &'static str),
        scope: Scope,
        what: &'static str,
        handler: MethodRouter<Admin>,
    ) -> Self {
        Self {
            method,
            path,
            scope,
            what,
            query: None,
            body: None,
            body_required: true,
            answer: None,
            handler,
        }
    }

    fn query<T: JsonSchema>(self) -> Self {
        Self {
            query: Some(|generator| T::json_schema(generator)),
            ..self
        }
    }

    fn body<T: JsonSchema>(self) -> Self {
        Self {
            body: Some(|generator| generator.subschema_for::<T>()),
            ..self
        }
    }

    /// A body that may be left out.
    fn may<T: JsonSchema>(self) -> Self {
        Self {
            body_required: false,
            ..self.body::<T>()
        }
    }

    fn answer<T: JsonSchema>(self) -> Self {
        Self {
            answer: Some(|generator| generator.subschema_for::<T>()),
            ..self
        }
    }
}

pub(super) fn all() -> Vec<Route> {
    let mut routes = looks();
    routes.extend(mailbox_orders());
    routes.extend(event_orders());
    routes.extend(other_orders());
    routes
}

pub(super) fn router() -> Router<Admin> {
    let routes = all().into_iter().fold(Router::new(), |router, route| {
        router.route(route.path, route.handler)
    });
    routes
        .layer(middleware::from_fn(orderly::to_its_end))
        .layer(middleware::from_fn(orderly::told_alike))
}

/// What a token needs for this request; `None`: there is no such thing to ask.
pub(super) fn needed(method: &Method, path: &str) -> Option<Scope> {
    // HEAD is answered by what answers GET.
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    all()
        .iter()
        .find(|route| route.path == path && route.method == *method)
        .map(|route| route.scope)
}

fn look(path: &'static str, what: &'static str, handler: MethodRouter<Admin>) -> Route {
    Route::new((Method::GET, path), Scope::Read, what, handler)
}

fn order(
    path: &'static str,
    scope: Scope,
    what: &'static str,
    handler: MethodRouter<Admin>,
) -> Route {
    Route::new((Method::POST, path), scope, what, handler)
}

fn looks() -> Vec<Route> {
    vec![
        look("/v1/openapi.json", "This document", get(openapi::serve)),
        look("/v1/status", "The daemon at a glance", get(process::status)).answer::<api::Status>(),
        look("/v1/mailboxes", "All mailboxes", get(mailboxes::list))
            .query::<mailboxes::ListQuery>()
            .answer::<api::Mailboxes>(),
        look("/v1/mailboxes/{id}", "One mailbox", get(mailboxes::show)).answer::<api::Mailbox>(),
        look(
            "/v1/mailboxes/{id}/explain",
            "Why a mailbox is silent, or where a mail went",
            get(explain::explain),
        )
        .query::<api::ExplainQuery>()
        .answer::<api::Explanation>(),
        look("/v1/events", "Events, the newest first", get(events::list))
            .query::<api::EventQuery>()
            .answer::<api::Events>(),
        look(
            "/v1/events/{id}",
            "One event with its whole story",
            get(events::show),
        )
        .answer::<api::EventDetail>(),
        look("/v1/endpoints", "All endpoints", get(endpoints::list)).answer::<api::Endpoints>(),
        look(
            "/v1/credentials",
            "All credentials; never a secret",
            get(credentials::list),
        )
        .answer::<api::Credentials>(),
        look("/v1/audit", "What operators did", get(audit::list))
            .query::<api::AuditQuery>()
            .answer::<api::Audit>(),
    ]
}

fn mailbox_orders() -> Vec<Route> {
    let admin = Scope::Admin;
    vec![
        order(
            "/v1/mailboxes/{id}/pause",
            admin,
            "Stop watching",
            post(mailboxes::pause),
        )
        .may::<api::Reason>()
        .answer::<api::Done>(),
        order(
            "/v1/mailboxes/{id}/resume",
            admin,
            "Watch again",
            post(mailboxes::resume),
        )
        .may::<api::Reason>()
        .answer::<api::Done>(),
        order(
            "/v1/mailboxes/{id}/resync",
            admin,
            "Survey again now",
            post(mailboxes::resync),
        )
        .answer::<api::Done>(),
        order(
            "/v1/mailboxes/{id}/adopt",
            admin,
            "The account behind this name is the same mail",
            post(mailboxes::adopt),
        )
        .may::<api::Reason>()
        .answer::<api::Done>(),
        order(
            "/v1/mailboxes/{id}/release",
            admin,
            "End a hold",
            post(mailboxes::release),
        )
        .body::<api::ReleaseRequest>()
        .answer::<api::Done>(),
        order(
            "/v1/mailboxes/{id}/reread",
            Scope::Replay,
            "Read a range of messages again from the server, and send them",
            post(reread::reread),
        )
        .body::<api::RereadRequest>()
        .answer::<api::Reread>(),
    ]
}

fn event_orders() -> Vec<Route> {
    vec![
        order(
            "/v1/events/replay",
            Scope::Replay,
            "Send again",
            post(repair::replay),
        )
        .body::<api::ReplayRequest>()
        .answer::<api::Replayed>(),
        order(
            "/v1/replays/{id}/cancel",
            Scope::Replay,
            "Take back what a replay has not sent yet",
            post(repair::cancel),
        )
        .body::<api::CancelRequest>()
        .answer::<api::Cancelled>(),
        order(
            "/v1/events/discard",
            Scope::Admin,
            "Give up",
            post(repair::discard),
        )
        .body::<api::DiscardRequest>()
        .answer::<api::Discarded>(),
    ]
}

fn other_orders() -> Vec<Route> {
    let admin = Scope::Admin;
    vec![
        order(
            "/v1/endpoints/{id}/pause",
            admin,
            "Send nothing to it",
            post(endpoints::pause),
        )
        .may::<api::Reason>()
        .answer::<api::Done>(),
        order(
            "/v1/endpoints/{id}/resume",
            admin,
            "Send again, with what waits",
            post(endpoints::resume),
        )
        .may::<api::Reason>()
        .answer::<api::Done>(),
        order(
            "/v1/endpoints/{id}/ping",
            admin,
            "Send a signed ping event now",
            post(endpoints::ping),
        )
        .answer::<api::Pinged>(),
        order(
            "/v1/credentials/{id}/renew",
            admin,
            "Ask for a new token now",
            post(credentials::renew),
        )
        .answer::<api::Done>(),
        order(
            "/v1/reload",
            admin,
            "Read the configuration again",
            post(process::reload),
        )
        .query::<process::ReloadQuery>()
        .answer::<api::Reloaded>(),
        Route::new(
            (Method::GET, "/v1/tokens"),
            admin,
            "Tokens for this API; never the tokens themselves",
            get(audit::tokens),
        )
        .answer::<api::Tokens>(),
        order(
            "/v1/tokens/create",
            admin,
            "A new token, told once",
            post(audit::create_token),
        )
        .body::<api::CreateToken>()
        .answer::<api::CreatedToken>(),
        order(
            "/v1/tokens/{id}/revoke",
            admin,
            "End a token",
            post(audit::revoke_token),
        )
        .answer::<api::Done>(),
    ]
}
