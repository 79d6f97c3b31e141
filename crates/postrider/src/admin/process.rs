//! `/v1/status` and `/v1/reload`.

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{
    api,
    server::{Admin, Refusal},
};
use crate::{
    gauges,
    supervisor::{Command, DryRun},
};

pub(super) async fn status(State(admin): State<Admin>) -> Result<Json<api::Status>, Refusal> {
    let shared = &admin.shared;
    let glance = gauges::glance(&admin.directory, shared.limits.stalled_after);
    let (loaded_at, refused) = shared.telemetry.process.config_state();
    Ok(Json(api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: shared.instance.to_string(),
        started_at: admin.started_at.rfc3339(),
        config_loaded_at: loaded_at.rfc3339(),
        config_refused: refused,
        mailboxes: glance.mailboxes as u64,
        states: glance
            .by_state
            .iter()
            .map(|(state, count)| (state.as_str().to_owned(), *count))
            .collect(),
        oldest_proven: glance.oldest_sync.map(postrider_core::time::Wall::rfc3339),
        sums: shared.store.sums().await?.into(),
        store: shared.store.space().await?.into(),
    }))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct ReloadQuery {
    /// Say what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn reload(
    State(admin): State<Admin>,
    Query(query): Query<ReloadQuery>,
) -> Result<Json<api::Reloaded>, Refusal> {
    let dry_run = if query.dry_run {
        DryRun::Yes
    } else {
        DryRun::No
    };
    let (reply, answer) = oneshot::channel();
    admin
        .commands
        .send(Command::Reload { dry_run, reply })
        .await
        .map_err(|_| Refusal::stopping())?;
    match answer.await.map_err(|_| Refusal::stopping())? {
        Ok(done) => Ok(Json(api::Reloaded {
            dry_run: query.dry_run,
            changes: (&done.changes).into(),
            warnings: done.warnings,
        })),
        Err(problems) => Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the configuration is refused, the old one stays in force",
            "postrider check-config",
        )
        .with_details(problems)),
    }
}
