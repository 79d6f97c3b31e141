//! The reference page and the JSON Schema, both from the table of known keys. A test compares
//! them with the files in the repository.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::shape;

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the keys' own descriptions. Write it anew with `UPDATE=1 cargo test -p postrider`. -->

One TOML file: `--config FILE`, else `POSTRIDER_CONFIG`, else `./postrider.toml`, else
`/etc/postrider/postrider.toml`. `config/postrider.example.toml` shows every key,
`config/minimal.toml` the fewest that will do, `config/postrider.schema.json` is for editors
(`#:schema ./postrider.schema.json` in the first line), and `postrider check-config` tells all
errors at once, with file, line and the nearest known key. `postrider check-config --effective
MAILBOX` shows what holds for a mailbox and where each setting comes from.

**Durations** have units: `250ms`, `30s`, `5m`, `12h`, `5d`, also `1h30m`. **Sizes** too: `512B`,
`64KiB`, `50MiB`, `2GiB`; a plain number is bytes. **Names** are 1 to 63 of `a-z`, `0-9` and `-`.
**Relative paths** start from the main file's folder.

**Several files.** `include = [\"mailboxes.d/*.toml\"]` in the main file. A key may be set in one
file only, and a mailbox, an endpoint, a credential or a server stands in one file as a whole; a
group's mailboxes may be spread over many.

**The environment** sets every key but secrets, and wins over the files:
`POSTRIDER__LIMITS__GRACE=40s`, `POSTRIDER__ENDPOINTS__TICKETS__URL=https://…`. Names are written in
upper case with `_` for `-`, lists with commas (or as TOML: `[\"a\", \"b\"]`).

**Secrets** are references: `{ file = \"/run/secrets/x\" }`, `{ env = \"X\" }` or `{ credential = \"x\" }`
(systemd's `LoadCredential=`); a list of them, the newest first, while one is being replaced.
A line end at the end of a file is no part of the secret.

**Reload** (SIGHUP or `postrider reload`) takes up credentials, endpoints, mailboxes and
`network`; `instance`, `store`, `http`, `admin`, `links.listen`, `log` and `limits` need a restart.
`postrider reload --dry-run` says what differs.
";

const PRESETS: &str = "
### Presets

| preset | server | what it sets |
|---|---|---|
| `exchange-online` | `outlook.office365.com:993`, implicit TLS | XOAUTH2; IDLE for 5 min; 8 connections per mailbox; messages are rebuilt at each read, so never read in parts |
| `exchange-gcc-high` | `outlook.office365.us:993`, implicit TLS | as `exchange-online` |
| `exchange-dod` | `outlook-dod.office365.us:993`, implicit TLS | as `exchange-online`; never tried |
| `exchange-china` | `partner.outlook.cn:993`, implicit TLS | as `exchange-online`; never tried |
| `gmail` | `imap.gmail.com:993`, implicit TLS | XOAUTH2; IDLE for 9 min; 10 connections per mailbox, where `limits.connections_per_mailbox` allows them; Gmail's ids of message and thread in the event |
| `yahoo`, `aol` | `imap.mail.yahoo.com:993`, `imap.aol.com:993`, implicit TLS | XOAUTH2; IDLE for 4 min, since they end sessions after 5 min of silence; polled where there is no IDLE; 5 connections per mailbox |
| `fastmail` | `imap.fastmail.com:993`, implicit TLS | 8 connections per mailbox |
| `icloud` | `imap.mail.me.com:993`, implicit TLS | 5 connections per mailbox; folders by role go by their names |
| `dovecot` | `host` is yours | 8 connections per mailbox (its own limit is 10 per user and address); the same bytes at each read |
";

/// The JSON Schema (draft-07) of a configuration file.
pub fn json_schema() -> String {
    let mut text = serde_json::to_string_pretty(&shape::schema()).unwrap_or_default();
    text.push('\n');
    text
}

/// `docs/CONFIGURATION.md`.
pub fn page() -> String {
    let schema = shape::schema();
    let mut page = INTRODUCTION.to_owned();
    let Some(Value::Object(root)) = schema.get("properties") else {
        return page;
    };
    let is_plain = |(_, schema): &(&String, &Value)| table_of(schema).is_none();
    section(&mut page, "At the top", "", root.iter().filter(is_plain));
    for name in ["store", "http", "admin", "log", "limits", "network"] {
        keys(&mut page, root, name, &format!("`[{name}]`"));
    }
    let admin = root.get("admin").and_then(table_of);
    if let Some(admin) = admin {
        keys(&mut page, admin, "tcp", "`[admin.tcp]`");
    }
    keys(&mut page, root, "servers", "`[servers.NAME]`");
    page.push_str(PRESETS);
    keys(&mut page, root, "credentials", "`[credentials.NAME]`");
    keys(&mut page, root, "vault", "`[vault]`");
    keys(&mut page, root, "endpoints", "`[endpoints.NAME]`");
    keys(&mut page, root, "mailboxes", "`[mailboxes.NAME]`");
    page.push_str(
        "\nThe account behind a name (server and user name) is kept in the store: a changed one \
         holds the mailbox until `postrider mailboxes adopt` or `release` says what it means.\n",
    );
    let group = root.get("groups").and_then(table_of);
    if let Some(member) = group.and_then(|keys| keys.get_key_value("mailboxes")) {
        let about =
            "Takes every key of `[mailboxes.NAME]` but `address`, for all its mailboxes, and:";
        section(&mut page, "`[groups.NAME]`", about, std::iter::once(member));
    }
    page
}

fn keys(page: &mut String, root: &Map<String, Value>, name: &str, title: &str) {
    let Some(schema) = root.get(name) else { return };
    if let Some(properties) = table_of(schema) {
        section(page, title, text(schema, "description"), properties.iter());
    }
}

/// The keys of a section, or of each thing in a section of named things.
fn table_of(schema: &Value) -> Option<&Map<String, Value>> {
    let table = match schema.get("additionalProperties") {
        Some(inner @ Value::Object(_)) => inner,
        Some(_) | None => schema,
    };
    table.get("properties").and_then(Value::as_object)
}

fn section<'a>(
    page: &mut String,
    title: &str,
    about: &str,
    keys: impl Iterator<Item = (&'a String, &'a Value)>,
) {
    let about = match about {
        "" => String::new(),
        about => format!("{about}\n\n"),
    };
    let _ = write!(
        page,
        "\n## {title}\n\n{about}| key | value | default | meaning |\n|---|---|---|---|\n"
    );
    for (key, schema) in keys {
        row(page, key, schema);
        // A table of fixed keys inside a table, such as `backoff`.
        if let (Some(Value::Object(inner)), None) = (schema.get("properties"), schema.get("anyOf"))
        {
            for (name, schema) in inner {
                row(page, &format!("{key}.{name}"), schema);
            }
        }
    }
}

fn row(page: &mut String, key: &str, schema: &Value) {
    let default = match schema.get("default") {
        Some(default) => format!("`{default}`"),
        None => String::new(),
    };
    let _ = writeln!(
        page,
        "| `{key}` | {} | {default} | {} |",
        value_of(schema),
        text(schema, "description")
            .replace('\n', " ")
            .replace('|', "\\|")
    );
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn value_of(schema: &Value) -> String {
    if schema.get("x-secret").is_some() {
        return match schema.get("anyOf") {
            Some(_) => "secret reference, or a list".to_owned(),
            None => "secret reference".to_owned(),
        };
    }
    if let Some(Value::Array(options)) = schema.get("anyOf") {
        let words: Vec<_> = options.iter().map(value_of).collect();
        return words.join(" or ");
    }
    if let Some(Value::Array(choices)) = schema.get("enum") {
        let words: Vec<_> = choices.iter().map(|choice| format!("`{choice}`")).collect();
        return words.join(", ");
    }
    let range = range_of(schema);
    match (text(schema, "format"), text(schema, "type")) {
        ("duration", _) => format!("duration{range}"),
        ("size", _) => format!("size{range}"),
        ("date", _) => "date".to_owned(),
        ("start", _) => "`\"new\"`, `\"all\"` or a date".to_owned(),
        (_, "integer") => format!("number{range}"),
        (_, "boolean") => "`true`, `false`".to_owned(),
        (_, "array") => match schema.get("items") {
            Some(items) => format!("list of {}", value_of(items)),
            None => "list".to_owned(),
        },
        (_, "object") => match schema.get("additionalProperties") {
            Some(inner @ Value::Object(_)) => format!("table of {}", value_of(inner)),
            Some(_) | None => "table".to_owned(),
        },
        _ => "text".to_owned(),
    }
}

/// `, 1s to 5m`; empty where there is nothing worth saying.
fn range_of(schema: &Value) -> String {
    let bound = |names: [&str; 2]| {
        let value = names.iter().find_map(|name| schema.get(name))?;
        Some(
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    };
    let low = bound(["x-min", "minimum"]).filter(|low| low != "0");
    let high = bound(["x-max", "maximum"]);
    match (low, high) {
        (Some(low), Some(high)) => format!(", {low} to {high}"),
        (Some(low), None) => format!(", at least {low}"),
        (None, Some(high)) => format!(", at most {high}"),
        (None, None) => String::new(),
    }
}
