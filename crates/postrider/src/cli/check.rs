//! `check-config`: what is wrong with the configuration, or what holds for a mailbox. Offline.

use std::path::Path;

use postrider_core::ids::MailboxKey;
use serde_json::{Value, json};

use super::{
    args::CheckConfig,
    failure::{Exit, Failure},
    output::{complain, print, print_json},
    render::count,
};
use crate::config::{self, Loaded, Place, Problem, nearest};

pub(crate) fn check(file: &Path, args: &CheckConfig, json: bool) -> Result<(), Failure> {
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(problems) => return Err(refused(file, &problems, json)?),
    };
    if let Some(mailbox) = &args.effective {
        return effective(&loaded, mailbox, json);
    }
    if json {
        print_json(&report(&[], &loaded.warnings))?;
    } else {
        tell(&loaded.warnings, "warning")?;
        print(&summary(file, &loaded))?;
    }
    if args.deny_warnings && !loaded.warnings.is_empty() {
        let warnings = count(loaded.warnings.len(), "warning", "warnings");
        return Err(Failure::new(
            Exit::Config,
            format!("{}: {warnings}", file.display()),
        ));
    }
    Ok(())
}

/// Tells every error; the failure that remains is their number.
pub(crate) fn refused(file: &Path, problems: &[Problem], json: bool) -> Result<Failure, Failure> {
    if json {
        print_json(&report(problems, &[]))?;
    } else {
        tell(problems, "error")?;
    }
    let errors = count(problems.len(), "error", "errors");
    Ok(Failure::new(
        Exit::Config,
        format!("{}: {errors}", file.display()),
    ))
}

/// `FILE:LINE: error: what`, as compilers write it and editors read it.
pub(crate) fn tell(problems: &[Problem], severity: &str) -> Result<(), Failure> {
    for problem in problems {
        let hint = problem
            .hint
            .as_ref()
            .map(|hint| format!("  hint: {hint}\n"));
        complain(&format!(
            "{}: {severity}: {}\n{}",
            problem.place,
            problem.what,
            hint.unwrap_or_default()
        ))?;
    }
    Ok(())
}

fn summary(file: &Path, loaded: &Loaded) -> String {
    let config = &loaded.config;
    let included = match loaded.files.len() {
        0 | 1 => String::new(),
        files => format!(
            " with {}",
            count(files - 1, "included file", "included files")
        ),
    };
    format!(
        "{}{included}: good: {}, {}, {}{}\n",
        file.display(),
        count(config.mailboxes.len(), "mailbox", "mailboxes"),
        count(config.endpoints.len(), "endpoint", "endpoints"),
        count(config.credentials.len(), "credential", "credentials"),
        match loaded.warnings.len() {
            0 => String::new(),
            warnings => format!(", {}", count(warnings, "warning", "warnings")),
        }
    )
}

fn effective(loaded: &Loaded, mailbox: &str, json: bool) -> Result<(), Failure> {
    let Some(effective) = loaded.effective(mailbox) else {
        let names = loaded.config.mailboxes.keys().map(MailboxKey::as_str);
        let failure = Failure::new(Exit::Failed, format!("there is no mailbox `{mailbox}`"));
        return Err(match nearest(mailbox, names) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure,
        });
    };
    match json {
        true => print_json(&json!(effective)),
        false => print(&effective.to_string()),
    }
}

fn report(errors: &[Problem], warnings: &[Problem]) -> Value {
    let list = |problems: &[Problem]| problems.iter().map(problem).collect::<Vec<_>>();
    json!({ "ok": errors.is_empty(), "errors": list(errors), "warnings": list(warnings) })
}

fn problem(problem: &Problem) -> Value {
    let (file, line, variable) = match &problem.place {
        Place::File { file, line } => (Some(file.display().to_string()), Some(*line), None),
        Place::Variable(name) => (None, None, Some(name)),
    };
    json!({
        "file": file,
        "line": line.filter(|line| *line > 0),
        "variable": variable,
        "what": problem.what,
        "hint": problem.hint,
    })
}
