//! Tokens for the admin API: names, hashes and scopes. The tokens themselves are never seen here.

use postrider_core::time::Wall;
use sqlx::{Executor as _, SqliteConnection};

use crate::{
    audit::{Act, Audit, Deed},
    error::doing,
    model::StoreError,
    rare::{Did, Rare},
    store::Store,
};

/// Tokens that are listed: each is somebody's decision, so there are few.
const TOKENS_MAX: i64 = 1000;

#[derive(Clone, Debug)]
pub struct NewToken {
    pub name: String,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    pub scope: String,
    pub expires: Option<Wall>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    pub name: String,
    pub hash: Vec<u8>,
    pub scope: String,
    pub created_at: Wall,
    pub created_by: String,
    pub expires: Option<Wall>,
    pub revoked: Option<Wall>,
}

pub(crate) async fn create(
    conn: &mut SqliteConnection,
    token: &NewToken,
    act: &Act,
) -> Result<Did, sqlx::Error> {
    conn.execute("BEGIN IMMEDIATE").await?;
    let query = sqlx::query(
        "INSERT INTO admin_token (name, hash, scope, created_at, created_by, expires_at) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS \
         (SELECT 1 FROM admin_token WHERE name = ?1 AND revoked_at IS NULL)",
    );
    let query = query.bind(&token.name).bind(token.hash.as_slice());
    let query = query.bind(&token.scope).bind(act.at.0).bind(&act.who);
    let query = query.bind(token.expires.map(|at| at.0));
    let count = query.execute(&mut *conn).await?.rows_affected();
    let selector = format!("{}, scope {}", token.name, token.scope);
    ended(conn, count, &Audit::new(act, Deed::CreateToken, selector)).await
}

pub(crate) async fn revoke(
    conn: &mut SqliteConnection,
    name: &str,
    act: &Act,
) -> Result<Did, sqlx::Error> {
    conn.execute("BEGIN IMMEDIATE").await?;
    let query =
        sqlx::query("UPDATE admin_token SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL");
    let done = query.bind(act.at.0).bind(name).execute(&mut *conn).await?;
    let audit = Audit::new(act, Deed::RevokeToken, name);
    ended(conn, done.rows_affected(), &audit).await
}

/// What changed nothing leaves no audit row.
async fn ended(conn: &mut SqliteConnection, count: u64, audit: &Audit) -> Result<Did, sqlx::Error> {
    let audit = match count {
        0 => None,
        count => Some(audit.write(&mut *conn, count).await?),
    };
    conn.execute("COMMIT").await?;
    Ok(Did {
        count,
        audit,
        ..Did::default()
    })
}

impl Store {
    /// Whether it was stored: a name is given once at a time.
    pub async fn create_token(&self, token: NewToken, act: &Act) -> Result<bool, StoreError> {
        let did = self.rare(Rare::CreateToken(token, act.clone())).await?;
        Ok(did.count > 0)
    }

    /// Whether there was one to revoke.
    pub async fn revoke_token(&self, name: &str, act: &Act) -> Result<bool, StoreError> {
        let did = self
            .rare(Rare::RevokeToken(name.to_owned(), act.clone()))
            .await?;
        Ok(did.count > 0)
    }

    /// All that there ever were, by name; the live one of a name comes first.
    pub async fn admin_tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        type Columns = (
            String,
            Vec<u8>,
            String,
            i64,
            String,
            Option<i64>,
            Option<i64>,
        );
        let mut reader = self.readers().get().await?;
        let rows: Vec<Columns> = sqlx::query_as(
            "SELECT name, hash, scope, created_at, created_by, expires_at, revoked_at FROM admin_token \
             ORDER BY revoked_at IS NOT NULL, name, id DESC LIMIT ?",
        )
        .bind(TOKENS_MAX)
        .fetch_all(reader.conn())
        .await
        .map_err(doing("reading admin tokens"))?;
        let row =
            |(name, hash, scope, created_at, created_by, expires, revoked): Columns| TokenRow {
                name,
                hash,
                scope,
                created_at: Wall(created_at),
                created_by,
                expires: expires.map(Wall),
                revoked: revoked.map(Wall),
            };
        Ok(rows.into_iter().map(row).collect())
    }
}
