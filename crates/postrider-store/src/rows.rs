//! Rows on their way into the database: one statement per table and group, however many rows.
//!
//! A statement's text depends on its number of rows, so rows are padded to a few sizes (a row of
//! NULLs is filtered out by the statement itself): few texts, all of them prepared once.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{
    Arguments as _, AssertSqlSafe, Executor as _, SqliteConnection, sqlite::SqliteArguments,
};

/// Rows per statement. 256 rows of the widest table stay far under SQLite's 32,766 parameters.
const SIZES: [usize; 5] = [1, 4, 16, 64, 256];
/// Up to this many rows per table the whole group goes as one text: one hop to SQLite's thread.
const SINGLE_HOP: usize = 4;

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_vec())
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A statement around a list of rows. `head` ends where `VALUES` begins, `tail` follows it; the
/// first column is never NULL in a real row.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) head: &'static str,
    pub(crate) width: usize,
    pub(crate) tail: &'static str,
}

impl Shape {
    pub(crate) fn sql(&self, rows: usize) -> String {
        let mut sql = String::with_capacity(
            self.head.len() + self.tail.len() + 16 + rows * (2 * self.width + 3),
        );
        sql.push_str(self.head);
        sql.push_str("VALUES ");
        let row = format!("({})", vec!["?"; self.width].join(","));
        for at in 0..rows {
            if at > 0 {
                sql.push(',');
            }
            sql.push_str(&row);
        }
        sql.push_str(self.tail);
        sql
    }
}

#[derive(Debug)]
struct Table {
    shape: &'static Shape,
    values: Vec<Value>,
}

/// All that one transaction writes, table by table in the order of `shapes::ORDER`.
#[derive(Debug)]
pub(crate) struct Batch {
    tables: Vec<Table>,
}

struct Piece {
    sql: Arc<str>,
    args: SqliteArguments,
}

impl Batch {
    pub(crate) fn new(order: &[&'static Shape]) -> Self {
        Self {
            tables: order
                .iter()
                .map(|shape| Table {
                    shape,
                    values: Vec::new(),
                })
                .collect(),
        }
    }

    pub(crate) fn push<const N: usize>(&mut self, shape: &'static Shape, row: [Value; N]) {
        debug_assert_eq!(N, shape.width);
        if let Some(table) = self
            .tables
            .iter_mut()
            .find(|table| std::ptr::eq(table.shape, shape))
        {
            table.values.extend(row);
        }
    }

    fn rows_max(&self) -> usize {
        self.tables
            .iter()
            .map(|table| table.values.len() / table.shape.width)
            .max()
            .unwrap_or(0)
    }

    /// Writes everything in one durable transaction and says how long that took. After an error
    /// the transaction may still be open: the caller rolls it back.
    pub(crate) async fn run(
        self,
        conn: &mut SqliteConnection,
        texts: &mut Texts,
    ) -> Result<Duration, sqlx::Error> {
        let rows = self.rows_max();
        if rows == 0 {
            return Ok(Duration::ZERO);
        }
        let started = Instant::now();
        let done = if rows <= SINGLE_HOP {
            self.run_at_once(conn).await
        } else {
            self.run_in_turn(conn, texts).await
        };
        done.map(|()| started.elapsed())
    }

    async fn run_at_once(self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let mut sql = String::from("BEGIN IMMEDIATE;");
        let mut args = SqliteArguments::default();
        for table in self.tables {
            let Some(rows) = table.size() else { continue };
            // Writing to a String cannot fail.
            let _ = write!(sql, "{};", table.shape.sql(rows));
            let missing = rows * table.shape.width - table.values.len();
            bind(&mut args, table.values, missing)?;
        }
        sql.push_str("COMMIT");
        conn.execute(sqlx::query_with(AssertSqlSafe(sql), args))
            .await
            .map(drop)
    }

    async fn run_in_turn(
        self,
        conn: &mut SqliteConnection,
        texts: &mut Texts,
    ) -> Result<(), sqlx::Error> {
        conn.execute("BEGIN IMMEDIATE").await?;
        for table in self.tables {
            let width = table.shape.width;
            let mut values = table.values.into_iter();
            while values.len() > 0 {
                let rows = size(values.len() / width);
                let mut args = SqliteArguments::default();
                let chunk: Vec<Value> = values.by_ref().take(rows * width).collect();
                let missing = rows * width - chunk.len();
                bind(&mut args, chunk, missing)?;
                let piece = Piece {
                    sql: texts.get(table.shape, rows),
                    args,
                };
                conn.execute(sqlx::query_with(AssertSqlSafe(piece.sql), piece.args))
                    .await?;
            }
        }
        conn.execute("COMMIT").await.map(drop)
    }
}

impl Table {
    fn size(&self) -> Option<usize> {
        let rows = self.values.len() / self.shape.width;
        (rows > 0).then(|| size(rows))
    }
}

/// The statement size for so many rows; more than the largest goes in several statements.
fn size(rows: usize) -> usize {
    let [.., largest] = SIZES;
    SIZES
        .into_iter()
        .find(|size| *size >= rows)
        .unwrap_or(largest)
}

fn bind(args: &mut SqliteArguments, values: Vec<Value>, missing: usize) -> Result<(), sqlx::Error> {
    args.reserve(values.len() + missing, 0);
    for value in values
        .into_iter()
        .chain(std::iter::repeat_n(Value::Null, missing))
    {
        let added = match value {
            Value::Null => args.add(None::<i64>),
            Value::Int(value) => args.add(value),
            Value::Text(value) => args.add(value),
            Value::Blob(value) => args.add(value),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(())
}

/// After SQLITE_FULL and the like SQLite has rolled back by itself; then this has nothing to do,
/// and its error says only that.
pub(crate) async fn rollback(conn: &mut SqliteConnection) {
    if let Err(error) = conn.execute("ROLLBACK").await {
        tracing::debug!("nothing to roll back: {error}");
    }
}

/// Statement texts, built once.
#[derive(Debug, Default)]
pub(crate) struct Texts(HashMap<(&'static str, usize), Arc<str>>);

impl Texts {
    fn get(&mut self, shape: &'static Shape, rows: usize) -> Arc<str> {
        self.0
            .entry((shape.head, rows))
            .or_insert_with(|| shape.sql(rows).into())
            .clone()
    }
}
