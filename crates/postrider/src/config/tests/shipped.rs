//! What the repository ships: examples load, and say everything; generated pages are current.

use std::{fs, path::PathBuf};

use super::*;
use crate::config::{json_schema, reference_page};

fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

fn shipped(name: &str) -> World {
    World::new(&fs::read_to_string(repository("config").join(name)).unwrap())
}

/// Compares, or with `UPDATE=1` writes.
fn is_current(path: &str, wanted: &str) {
    let path = repository(path);
    if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
        fs::write(&path, wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is out of date; write it anew with: UPDATE=1 cargo test -p postrider",
        path.display()
    );
}

#[test]
fn the_reference_page_is_current() {
    is_current("docs/CONFIGURATION.md", &reference_page());
}

#[test]
fn the_schema_is_current() {
    is_current("config/postrider.schema.json", &json_schema());
}

#[test]
fn the_examples_load() {
    let example = shipped("postrider.example.toml").load();
    assert_eq!(example.config.mailboxes.len(), 3);
    assert_eq!(&*example.config.instance, "prod");
    let minimal = shipped("minimal.toml").load();
    assert_eq!(minimal.config.mailboxes.len(), 1);
    assert!(minimal.warnings.is_empty(), "{:?}", minimal.warnings);
}

#[test]
fn the_configurations_in_documents_and_manifests_load() {
    let mut loaded = 0;
    for name in [
        "README.md",
        "docs/EXCHANGE.md",
        "docs/OPERATIONS.md",
        "docs/SECURITY.md",
    ] {
        let text = fs::read_to_string(repository(name)).unwrap();
        for block in blocks(&text).filter(|block| block.contains('[')) {
            // What AKS puts into the environment of a pod.
            World::new(&completed(&block))
                .set(
                    "AZURE_FEDERATED_TOKEN_FILE",
                    "/var/run/secrets/azure/tokens/azure-identity-token",
                )
                .set("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555")
                .set("AZURE_TENANT_ID", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
                .set("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/")
                .load();
            loaded += 1;
        }
    }
    assert!(loaded >= 2, "{loaded}");
    let manifest = fs::read_to_string(repository("deploy/kubernetes/base/configmap.yaml")).unwrap();
    let (_, text) = manifest.split_once("postrider.toml: |\n").unwrap();
    let text: String = text
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim_start()))
        .collect();
    World::new(&text).load();
}

/// Pages show the part that they speak of; what else a configuration needs is added here.
fn completed(block: &str) -> String {
    let mut text = block.to_owned();
    if !block.contains("[endpoints.") {
        text += "[endpoints.tickets]\nurl = \"https://tickets.example.org/hook\"\nsecret = { env = \"SECRET\" }\n";
    }
    if !block.contains("[mailboxes") && !block.contains("[groups") {
        let heads = block.lines().filter_map(|line| {
            let name = line.strip_prefix("[credentials.")?;
            name.strip_suffix(']')
        });
        for name in heads {
            text += &format!(
                "[mailboxes.{name}]\naddress = \"{name}@example.org\"\nserver = {{ host = \"imap.example.org\" }}\n\
                 credential = \"{name}\"\nfolders = [\"INBOX\"]\nendpoints = [\"tickets\"]\n"
            );
        }
    }
    text
}

/// The fenced TOML blocks of a page.
fn blocks(page: &str) -> impl Iterator<Item = String> {
    page.split("```toml\n").skip(1).filter_map(|rest| {
        let block = rest.split("```").next()?;
        Some(
            block
                .lines()
                .map(|line| format!("{}\n", line.trim_start()))
                .collect(),
        )
    })
}

#[test]
fn the_example_names_every_key_and_what_is_commented_out_is_valid() {
    let text = fs::read_to_string(repository("config/postrider.example.toml")).unwrap();
    let all: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            // A commented line that assigns is a key; prose is not.
            Some(rest) if rest.split(" = ").next().is_some_and(is_bare_key) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let all = all.replacen("\nclient_secret = [", "\n# client_secret = [", 1);
    let loaded = World::new(&all).load();
    for path in known_keys() {
        let set = loaded.places.find(|set| {
            let set: Vec<_> = set.split('.').collect();
            let path: Vec<_> = path.split('.').collect();
            set.len() == path.len()
                && set
                    .iter()
                    .zip(&path)
                    .all(|(set, known)| *known == "NAME" || set == known)
        });
        assert!(set.is_some(), "{path} is not in the example");
    }
}

fn is_bare_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// Every key that a section knows; a mailbox takes the keys that the group shows.
fn known_keys() -> Vec<String> {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    let mut keys = Vec::new();
    for (name, section) in schema["properties"].as_object().unwrap() {
        let inner = &section["additionalProperties"];
        let (prefix, table) = match inner["properties"].as_object() {
            Some(table) => (format!("{name}.NAME"), table),
            None => match section["properties"].as_object() {
                Some(table) => (name.clone(), table),
                None => {
                    keys.push(name.clone());
                    continue;
                }
            },
        };
        let inherited = ["start", "labels", "backoff", "username"];
        for key in table.keys() {
            let elsewhere = match name.as_str() {
                "mailboxes" => key != "address" && !["server", "username"].contains(&key.as_str()),
                "groups" => key == "username",
                _ => false,
            };
            if !elsewhere || (name == "groups" && inherited[..3].contains(&key.as_str())) {
                keys.push(format!("{prefix}.{key}"));
            }
        }
    }
    keys
}

#[test]
fn the_documented_defaults_are_the_ones_that_hold() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    let loaded = good().load();
    let effective = loaded.effective("lab").unwrap();
    let documented = &schema["properties"]["mailboxes"]["additionalProperties"]["properties"];
    for setting in effective
        .settings
        .iter()
        .filter(|one| one.from == "default")
    {
        let default = &documented[setting.key]["default"];
        if !default.is_null() {
            assert_eq!(*default, setting.value, "{}", setting.key);
        }
    }
    assert_eq!(documented["idle_cycle"]["default"], "5m");
    assert_eq!(documented["backoff"]["properties"]["max"]["default"], "15s");
}
