//! The admin socket: a small HTTP API on a unix socket of mode 0660. Whoever may open the socket
//! may do all of it; there is no other check.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    sync::Arc,
};

use axum::{
    Json,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
};
use tokio::{net::UnixListener, sync::mpsc};

use super::{
    api,
    caller::{self, Peer},
    routes,
};
use crate::{directory::Directory, shared::Shared, supervisor::Command};
use postrider_core::time::Wall;
use postrider_store::StoreError;

/// What the handlers lean on.
#[derive(Clone)]
pub struct Admin {
    pub(super) shared: Arc<Shared>,
    pub(super) directory: Arc<Directory>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) started_at: Wall,
}

impl Admin {
    pub fn new(
        shared: Arc<Shared>,
        directory: Arc<Directory>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        Self {
            shared,
            directory,
            commands,
            started_at: crate::clock::wall(),
        }
    }
}

/// Binds the socket. A socket file that nobody answers on is left over from a process that was
/// killed, and is replaced.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another postrider answers on this socket",
            ));
        }
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

pub async fn serve(listener: UnixListener, admin: Admin) -> io::Result<()> {
    let app = routes::router()
        .layer(middleware::from_fn(caller::of_socket))
        .with_state(admin);
    axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    failure: api::Failure,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: &str) -> Self {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Self {
            status,
            failure: api::Failure {
                error: error.into(),
                hint,
                details: Vec::new(),
            },
        }
    }

    pub(super) fn not_found(what: &str, id: &str, list: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no {what} `{id}`"),
            list,
        )
    }

    pub(super) fn bad_request(error: impl Into<String>, hint: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }

    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "postrider is stopping", "")
    }

    pub(super) fn with_details(mut self, details: Vec<String>) -> Self {
        self.failure.details = details;
        self
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::Full(_) | StoreError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            StoreError::Fatal(_) | StoreError::Other(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string(), "")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.failure)).into_response()
    }
}

/// A time as an operator writes it: a date, or RFC 3339.
pub(super) fn time(text: &str) -> Result<Wall, Refusal> {
    crate::config::parse_date(text).ok_or_else(|| {
        Refusal::bad_request(
            format!("`{text}` is no time"),
            "write 2026-11-20 or 2026-11-20T08:00:00Z",
        )
    })
}
