//! Who did what: rows that are written in the transaction of the effect that they tell of, and read
//! by operators. Nothing here is ever changed but the count of an order that takes several steps.

use postrider_core::time::Wall;
use sqlx::SqliteConnection;

use crate::{
    error::doing,
    model::{Account, StoreError},
    rare::Rare,
    readers::Readers,
    store::Store,
};

/// More than an operator reads; a program pages by `since`.
const ROWS_MAX: u32 = 1000;

/// Who gives an order, by what, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    pub at: Wall,
    /// A user's name, or a token's.
    pub who: String,
    /// How they came: the socket with user and group, or a token and its address.
    pub through: String,
    pub why: Option<String>,
}

/// What an audit row says was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Replay,
    CancelReplay,
    Reread,
    Discard,
    Release,
    PauseMailbox,
    ResumeMailbox,
    Adopt,
    PauseEndpoint,
    ResumeEndpoint,
    CreateToken,
    RevokeToken,
    RenewCredential,
}

impl Deed {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::CancelReplay => "cancel replay",
            Self::Reread => "reread",
            Self::Discard => "discard",
            Self::Release => "release",
            Self::PauseMailbox => "pause mailbox",
            Self::ResumeMailbox => "resume mailbox",
            Self::Adopt => "adopt",
            Self::PauseEndpoint => "pause endpoint",
            Self::ResumeEndpoint => "resume endpoint",
            Self::CreateToken => "create token",
            Self::RevokeToken => "revoke token",
            Self::RenewCredential => "renew credential",
        }
    }
}

/// One thing that an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub id: i64,
    pub at: Wall,
    pub who: String,
    pub through: String,
    pub what: String,
    pub selector: String,
    /// Deliveries, folders, or whatever it was done to.
    pub affected: u64,
    pub why: Option<String>,
}

/// An order's audit row: to be written with the first step, or there already.
#[derive(Clone, Debug)]
pub(crate) enum Audit {
    New {
        act: Act,
        deed: Deed,
        selector: String,
    },
    Written(i64),
}

impl Audit {
    pub(crate) fn new(act: &Act, deed: Deed, selector: impl Into<String>) -> Self {
        Self::New {
            act: act.clone(),
            deed,
            selector: selector.into(),
        }
    }

    /// Writes the row, or adds to its count; answers its id. Within the caller's transaction.
    pub(crate) async fn write(
        &self,
        conn: &mut SqliteConnection,
        affected: u64,
    ) -> Result<i64, sqlx::Error> {
        let affected = i64::try_from(affected).unwrap_or(i64::MAX);
        match self {
            Self::New {
                act,
                deed,
                selector,
            } => {
                let query = sqlx::query(
                    "INSERT INTO audit (at, who, through, what, selector, affected, why) VALUES (?, ?, ?, ?, ?, ?, ?)",
                );
                let query = query.bind(act.at.0).bind(&act.who).bind(&act.through);
                let query = query.bind(deed.as_str()).bind(selector).bind(affected);
                let done = query.bind(&act.why).execute(conn).await?;
                Ok(done.last_insert_rowid())
            }
            Self::Written(id) => {
                sqlx::query("UPDATE audit SET affected = affected + ? WHERE id = ?")
                    .bind(affected)
                    .bind(id)
                    .execute(conn)
                    .await?;
                Ok(*id)
            }
        }
    }
}

/// Newest first.
async fn rows(
    readers: &Readers,
    since: Option<Wall>,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    type Columns = (
        i64,
        i64,
        String,
        String,
        String,
        String,
        i64,
        Option<String>,
    );
    let mut reader = readers.get().await?;
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT id, at, who, through, what, selector, affected, why FROM audit WHERE at >= ? ORDER BY at DESC, id DESC LIMIT ?",
    )
    .bind(since.map_or(i64::MIN, |since| since.0))
    .bind(i64::from(limit.clamp(1, ROWS_MAX)))
    .fetch_all(reader.conn())
    .await
    .map_err(doing("reading the audit"))?;
    let row = |(id, at, who, through, what, selector, affected, why): Columns| AuditRow {
        id,
        at: Wall(at),
        who,
        through,
        what,
        selector,
        affected: u64::try_from(affected).unwrap_or(0),
        why,
    };
    Ok(rows.into_iter().map(row).collect())
}

impl Store {
    /// What operators did since a time, newest first; at most 1,000.
    pub async fn audit(
        &self,
        since: Option<Wall>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        rows(self.readers(), since, limit).await
    }

    /// Notes what is carried out elsewhere, such as by a watch, before the order is given.
    pub async fn note(
        &self,
        act: &Act,
        deed: Deed,
        selector: &str,
        affected: u64,
    ) -> Result<i64, StoreError> {
        let audit = Audit::new(act, deed, selector);
        let did = self.rare(Rare::Note { audit, affected }).await?;
        Ok(did.audit.unwrap_or_default())
    }

    pub async fn pause_mailbox(
        &self,
        mailbox: &postrider_core::ids::MailboxKey,
        act: &Act,
    ) -> Result<(), StoreError> {
        let audit = Audit::new(act, Deed::PauseMailbox, mailbox.as_str());
        self.rare(Rare::PauseMailbox(mailbox.clone(), audit))
            .await
            .map(drop)
    }

    pub async fn resume_mailbox(
        &self,
        mailbox: &postrider_core::ids::MailboxKey,
        act: &Act,
    ) -> Result<(), StoreError> {
        let audit = Audit::new(act, Deed::ResumeMailbox, mailbox.as_str());
        self.rare(Rare::ResumeMailbox(mailbox.clone(), audit))
            .await
            .map(drop)
    }

    /// The account behind this key is this one from now on.
    pub async fn adopt(
        &self,
        mailbox: &postrider_core::ids::MailboxKey,
        account: &Account,
        act: &Act,
    ) -> Result<(), StoreError> {
        let selector = format!("{mailbox}: {} at {}", account.username, account.server);
        let audit = Audit::new(act, Deed::Adopt, selector);
        self.rare(Rare::Adopt(mailbox.clone(), account.clone(), audit))
            .await
            .map(drop)
    }

    /// An operator's pause, kept over restarts. It is the dispatcher's to obey.
    pub async fn pause_endpoint(
        &self,
        endpoint: &postrider_core::ids::EndpointKey,
        act: &Act,
    ) -> Result<(), StoreError> {
        let audit = Audit::new(act, Deed::PauseEndpoint, endpoint.as_str());
        self.rare(Rare::PauseEndpoint(endpoint.clone(), audit))
            .await
            .map(drop)
    }

    pub async fn resume_endpoint(
        &self,
        endpoint: &postrider_core::ids::EndpointKey,
        act: &Act,
    ) -> Result<(), StoreError> {
        let audit = Audit::new(act, Deed::ResumeEndpoint, endpoint.as_str());
        self.rare(Rare::ResumeEndpoint(endpoint.clone(), audit))
            .await
            .map(drop)
    }
}
