//! `token`: one token request for a credential, as the daemon would make it, and what the token
//! says of itself. The token is never printed. Nothing changes but a refresh token that the
//! provider replaced, which goes into the vault.

mod remarks;

use std::path::Path;

use postrider_oauth::{claims::Claims, grant::Grant};
use serde_json::{Value, json};

use self::remarks::{Remark, Stands, Verdict};
use super::{
    args::Token,
    direct,
    failure::{Exit, Failure},
    output::{print, print_json},
    render::{Table, clean, count},
    source::{self, Asked},
};
use crate::{clock, config::Credential};

pub(crate) fn token(file: &Path, args: &Token, json: bool) -> Result<(), Failure> {
    let config = direct::load(file, json)?;
    let credential = direct::credential(&config, &args.credential)?;
    let runtime = direct::runtime()?;
    let _context = runtime.enter();
    let asked = runtime.block_on(source::ask(&config, credential, args.user.as_deref()))?;
    let claims = Claims::decode(&asked.grant.access_token);
    let stands = remarks::stands_for(credential, asked.host.as_deref().unwrap_or_default());
    let remarks = claims
        .as_ref()
        .map(|claims| remarks::remarks(credential, stands, claims, clock::wall()));
    match json {
        true => print_json(&document(credential, &asked, remarks.as_deref()))?,
        false => print(&text(credential, &asked, stands, remarks.as_deref()))?,
    }
    verdict(&remarks.unwrap_or_default())
}

/// A token that opens no mailbox is a failure: scripts look at the exit code.
fn verdict(remarks: &[Remark]) -> Result<(), Failure> {
    let wrong: Vec<_> = remarks
        .iter()
        .filter(|remark| remark.verdict == Verdict::Wrong)
        .collect();
    let Some(first) = wrong.first() else {
        return Ok(());
    };
    let number = count(wrong.len(), "claim", "claims");
    let error = format!("with this token no mailbox opens: {number} wrong");
    Err(Failure::new(Exit::Failed, error).hint(format!("{}: {}", first.claim, first.text)))
}

fn document(credential: &Credential, asked: &Asked, remarks: Option<&[Remark]>) -> Value {
    let Grant {
        expires_in,
        refresh_in,
        scope,
        ..
    } = &asked.grant;
    json!({
        "credential": credential.key.as_str(),
        "type": credential.kind.as_str(),
        "proof": asked.proof,
        "user": asked.user,
        "host": asked.host,
        "took_ms": u64::try_from(asked.took.as_millis()).ok(),
        "expires_in_s": expires_in.as_secs(),
        "refresh_in_s": refresh_in.map(|span| span.as_secs()),
        "scope": scope,
        "refresh_token": asked.rotation.as_str(),
        "readable": remarks.is_some(),
        "claims": remarks.unwrap_or_default().iter().map(|remark| json!({
            "claim": remark.claim,
            "value": (!remark.value.is_empty()).then_some(&remark.value),
            "verdict": remark.verdict.as_str(),
            "remark": (!remark.text.is_empty()).then_some(&remark.text),
        })).collect::<Vec<_>>(),
    })
}

/// Whole minutes where there are some: seconds are the sandbox's and a token's last.
fn span(time: std::time::Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

fn text(
    credential: &Credential,
    asked: &Asked,
    stands: Option<Stands>,
    remarks: Option<&[Remark]>,
) -> String {
    let mut text = format!(
        "credential  {} ({}), by {}\n",
        credential.key,
        credential.kind.as_str(),
        clean(&asked.proof)
    );
    if let Some(user) = &asked.user {
        text += &format!("for         {}\n", clean(user));
    }
    if let Some(host) = &asked.host {
        text += &format!(
            "from        {}, in {} ms\n",
            clean(host),
            asked.took.as_millis()
        );
    }
    text += &format!("good for    {}\n", span(asked.grant.expires_in));
    if let Some(scope) = &asked.grant.scope {
        text += &format!("scope       {}\n", clean(scope));
    }
    text += match asked.rotation {
        source::Rotation::None => "",
        source::Rotation::Stored => "refresh     a new refresh token came and is in the vault\n",
        source::Rotation::Ignored => {
            "refresh     a new refresh token came; the configured one is fixed, so it is not kept\n"
        }
    };
    let Some(remarks) = remarks else {
        let why = match stands {
            Some(_) => "personal accounts' tokens are",
            None => "many providers' are",
        };
        return text
            + &format!(
                "\nthe token is opaque ({why}): only the mail server can tell what it opens\n"
            );
    };
    let mut table = Table::new(&["CLAIM", "VALUE", "", "REMARK"]);
    for remark in remarks {
        let mark = match remark.verdict {
            Verdict::Good => "ok",
            Verdict::Wrong => "WRONG",
            Verdict::Note => "",
        };
        table.row([
            remark.claim.to_owned(),
            remark.value.clone(),
            mark.to_owned(),
            remark.text.clone(),
        ]);
    }
    text + "\n" + &table.text()
}
