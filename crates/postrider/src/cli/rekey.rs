//! `rekey`: the vault's records under the newest master key, so that older ones can be thrown away.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    direct,
    failure::{Exit, Failure},
    output::{print, print_json},
    render::{clean, count},
};
use crate::vault::{Rewrap, Rewrapped, Run};

pub(crate) fn rekey(file: &Path, dry_run: bool, json: bool) -> Result<(), Failure> {
    let config = direct::load(file, json)?;
    let vault = direct::vault(&config);
    let run = match dry_run {
        true => Run::Dry,
        false => Run::Real,
    };
    let records = vault.rewrap(run)?;
    if json {
        print_json(&json!({
            "dry_run": dry_run,
            "vault": vault.path(),
            "records": records.iter().map(record).collect::<Vec<_>>(),
        }))?;
    } else {
        print(&text(&records, run, config.vault.key.len()))?;
    }
    let failed = records.iter().filter(|one| one.outcome.is_err()).count();
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(
            Exit::Failed,
            format!(
                "{} could not be opened and stayed as it was",
                count(failed, "record", "records")
            ),
        )
        .hint("keep the older keys in vault.key until every record is under the newest")),
    }
}

fn record(record: &Rewrapped) -> Value {
    let (outcome, error, hint) = match &record.outcome {
        Ok(Rewrap::Done) => ("rewrapped", None, None),
        Ok(Rewrap::Newest) => ("newest", None, None),
        Err(error) => ("failed", Some(error.to_string()), Some(error.hint())),
    };
    json!({
        "credential": record.credential.as_str(),
        "outcome": outcome,
        "error": error,
        "hint": hint,
    })
}

fn text(records: &[Rewrapped], run: Run, keys: usize) -> String {
    if records.is_empty() {
        return "the vault is empty: nobody has signed in\n".to_owned();
    }
    let mut text = String::new();
    for record in records {
        let outcome = match (&record.outcome, run) {
            (Ok(Rewrap::Done), Run::Real) => "now under the newest key".to_owned(),
            (Ok(Rewrap::Done), Run::Dry) => "would be put under the newest key".to_owned(),
            (Ok(Rewrap::Newest), _) => "is under the newest key".to_owned(),
            (Err(error), _) => {
                format!(
                    "failed: {}\n  hint: {}",
                    clean(&error.to_string()),
                    clean(&error.hint())
                )
            }
        };
        text += &format!("{}: {outcome}\n", record.credential);
    }
    let all_good = records.iter().all(|record| record.outcome.is_ok());
    text += match (run, all_good, keys) {
        (Run::Dry, _, _) => "dry run: nothing was changed\n",
        (Run::Real, true, 2..) => {
            "the older keys are no longer needed: take them out of vault.key\n"
        }
        (Run::Real, _, _) => "",
    };
    text
}
