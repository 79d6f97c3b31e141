//! What SQLite's result codes mean for a caller. Codes are told apart by number, never by text
//! (<https://www.sqlite.org/rescode.html>).

use crate::model::StoreError;

const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const INTERRUPT: i32 = 9;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const CONSTRAINT: i32 = 19;
const NOTADB: i32 = 26;
/// The WAL's index could not grow: on a full disk that is all that is wrong.
const IOERR_SHMSIZE: i32 = IOERR | (19 << 8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Full,
    /// The file or the disk under it fails; this process must not go on with it.
    Fatal,
    Damaged,
    ReadOnly,
    /// A file cannot be opened: its directory is not writable, or the process has too many open.
    CannotOpen,
    Busy,
    Constraint,
    Other,
}

pub(crate) fn kind(error: &sqlx::Error) -> Kind {
    let code = match error {
        sqlx::Error::Database(database) => {
            database.code().and_then(|code| code.parse::<i32>().ok())
        }
        sqlx::Error::WorkerCrashed => return Kind::Fatal,
        _ => None,
    };
    match code {
        Some(IOERR_SHMSIZE) => Kind::Full,
        Some(code) => match code & 0xff {
            FULL => Kind::Full,
            IOERR => Kind::Fatal,
            CORRUPT | NOTADB => Kind::Damaged,
            READONLY => Kind::ReadOnly,
            CANTOPEN => Kind::CannotOpen,
            BUSY | LOCKED | INTERRUPT => Kind::Busy,
            CONSTRAINT => Kind::Constraint,
            _ => Kind::Other,
        },
        None => Kind::Other,
    }
}

/// The error as a caller of the store gets it.
pub(crate) fn store_error(doing: &str, error: &sqlx::Error) -> StoreError {
    let text = format!("{doing}: {error}");
    match kind(error) {
        Kind::Full => StoreError::Full(text),
        Kind::Fatal | Kind::Damaged | Kind::ReadOnly => StoreError::Fatal(text),
        Kind::Busy | Kind::CannotOpen => StoreError::Busy(text),
        Kind::Constraint | Kind::Other => StoreError::Other(text),
    }
}

/// For `map_err`: the error, with what was being done.
pub(crate) fn doing(what: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| store_error(what, &error)
}
