//! The admin socket: a small HTTP API on a unix socket of mode 0660. Whoever may open the socket
//! may do all of it; there is no other check.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
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
use postrider_store::{RepairError, StoreError};

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
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "this is a file of another kind, and no socket; hint: choose another path",
            ));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            Ok(_) | Err(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another process answers on this socket",
                ));
            }
        },
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

impl From<RepairError> for Refusal {
    fn from(error: RepairError) -> Self {
        let hint = match error {
            RepairError::Store(error) => return error.into(),
            RepairError::TooMany(_) => "narrow it by --since and --until",
            RepairError::TooSlow { .. } => {
                "a higher --rate, or fewer at a time by --since and --until"
            }
        };
        Self::bad_request(error.to_string(), hint)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_is_left_over_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run").join("postrider.sock");
        let first = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        bind(&path).unwrap();
        // A slip of the pen in the configuration must not cost a file.
        let other = dir.path().join("postrider.db");
        fs::write(&other, "precious").unwrap();
        assert_eq!(
            bind(&other).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&other).unwrap(), b"precious");
    }
}
