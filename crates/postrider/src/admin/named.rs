//! Whether what an operator names is there. A name that is mistyped must not look like an answer:
//! "nothing to send again" is what nobody doubts at night.

use axum::http::StatusCode;
use postrider_core::ids::{EndpointKey, MailboxKey};

use super::{
    api,
    server::{Admin, Refusal},
};

const ENDPOINTS: &str = "postrider endpoints list";
const MAILBOXES: &str = "postrider mailboxes list";

/// An endpoint that is configured, or that the store still knows from before.
pub(super) async fn endpoint(
    admin: &Admin,
    name: Option<&str>,
) -> Result<Option<EndpointKey>, Refusal> {
    let Some(name) = name else {
        return Ok(None);
    };
    let key = EndpointKey::from(name);
    if admin.shared.config().endpoints.contains_key(&key)
        || admin.shared.store.knows_endpoint(&key).await?
    {
        return Ok(Some(key));
    }
    Err(Refusal::not_found("endpoint", name, ENDPOINTS))
}

/// The endpoints that something can be sent to now: the one that is named, or all of them.
pub(super) async fn to_send_to(
    admin: &Admin,
    name: Option<&str>,
) -> Result<Vec<EndpointKey>, Refusal> {
    let configured = &admin.shared.config().endpoints;
    let Some(key) = endpoint(admin, name).await? else {
        return Ok(configured.keys().cloned().collect());
    };
    if configured.contains_key(&key) {
        return Ok(vec![key]);
    }
    Err(Refusal::new(
        StatusCode::CONFLICT,
        format!("endpoint `{key}` is not in the configuration any more: nothing can be sent to it"),
        &format!(
            "put it back and `postrider reload`; or give up what it is owed: postrider events discard --dead --endpoint {key} --reason TEXT"
        ),
    ))
}

/// A mailbox that is configured, or that the store still knows from before.
pub(super) async fn mailbox(
    admin: &Admin,
    name: Option<&str>,
) -> Result<Option<MailboxKey>, Refusal> {
    let Some(name) = name else {
        return Ok(None);
    };
    let key = MailboxKey::from(name);
    if admin.directory.get(&key).is_some() {
        return Ok(Some(key));
    }
    let stored = admin.shared.store.mailboxes().await?;
    match stored.iter().any(|row| row.mailbox == key) {
        true => Ok(Some(key)),
        false => Err(Refusal::not_found("mailbox", name, MAILBOXES)),
    }
}

/// Both names of a selection.
pub(super) async fn both(admin: &Admin, narrow: &api::Narrow) -> Result<(), Refusal> {
    endpoint(admin, narrow.endpoint.as_deref()).await?;
    mailbox(admin, narrow.mailbox.as_deref()).await.map(drop)
}
