//! Tokens that somebody else obtains: from a reference, or printed by a program, which has a
//! deadline and whose output is bounded. What a program prints is never logged, but for the first
//! line of its standard error.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use postrider_core::time::Wall;
use postrider_oauth::{claims::Claims, grant::Grant};
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// How long a program may take.
pub(super) const PROGRAM_LIMIT: Duration = Duration::from_secs(30);

/// Longer than any token with its JSON around it.
const OUTPUT_BYTES_MAX: u64 = 128 << 10;
const ERROR_BYTES_MAX: u64 = 4 << 10;
const WORDS_MAX: usize = 200;

/// How often a running program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ForeignError {
    #[error("the program cannot be started: {0}")]
    Start(String),
    #[error("the program took longer than {} s and was killed", .0.as_secs())]
    Deadline(Duration),
    #[error("the program ended with {status}{}", said(.words))]
    Ended { status: String, words: String },
    #[error("the program printed more than 128 KiB")]
    TooLong,
    #[error("{0}")]
    NoToken(&'static str),
    #[error("the token is over since {}", .0.rfc3339())]
    Over(Wall),
}

fn said(words: &str) -> String {
    match words {
        "" => String::new(),
        words => format!(": {words}"),
    }
}

#[derive(Deserialize)]
struct Printed {
    access_token: Option<String>,
    #[serde(alias = "expiresIn")]
    expires_in: Option<serde_json::Value>,
}

/// A token as it was found: bare, or JSON with `access_token` and perhaps `expires_in`. Without a
/// word of its own (or `exp`, where it is a JWT) it is used for `lifetime`.
pub(super) fn read(
    text: &SecretString,
    lifetime: Duration,
    now: Wall,
) -> Result<Grant, ForeignError> {
    let text = text.expose_secret().trim();
    let (token, told) = if text.starts_with('{') {
        let printed: Printed = serde_json::from_str(text)
            .map_err(|_| ForeignError::NoToken("it is neither a token nor JSON with one"))?;
        let token = printed
            .access_token
            .ok_or(ForeignError::NoToken("its JSON has no access_token"))?;
        (token, printed.expires_in.as_ref().and_then(seconds))
    } else {
        (text.to_owned(), None)
    };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ForeignError::NoToken("it is not one token"));
    }
    let token = SecretString::from(token);
    let ends = Claims::decode(&token).and_then(|claims| claims.exp);
    let expires_in = match (told, ends) {
        (Some(told), _) => told,
        (None, Some(ends)) => ends.since(now).max(Duration::ZERO),
        (None, None) => lifetime,
    };
    if expires_in < Duration::from_secs(1) {
        return Err(ForeignError::Over(ends.unwrap_or(now)));
    }
    Ok(Grant {
        access_token: token,
        expires_in,
        refresh_in: None,
        ext_expires_in: None,
        refresh_token: None,
        scope: None,
        id_claims: None,
    })
}

fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(number.floor()).ok()
}

/// Runs a program to its end; blocks. It gets no input, and all of its process group ends with it.
pub(super) fn run(
    program: &Path,
    args: &[String],
    limit: Duration,
) -> Result<SecretString, ForeignError> {
    use std::os::unix::process::CommandExt;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| ForeignError::Start(error.to_string()))?;
    let output = collect(child.stdout.take(), OUTPUT_BYTES_MAX + 1);
    let errors = collect(child.stderr.take(), ERROR_BYTES_MAX);
    let deadline = Instant::now() + limit;
    let ended = wait(&mut child, deadline);
    // Whoever it started and left behind would keep the pipes open.
    end_group(&child);
    let Some(status) = ended else {
        // It was killed: this only collects it.
        let _ = child.wait();
        return Err(ForeignError::Deadline(limit));
    };
    let output = output
        .recv_timeout(Duration::from_secs(1))
        .unwrap_or_default();
    let errors = errors
        .recv_timeout(Duration::from_secs(1))
        .unwrap_or_default();
    if !status.success() {
        return Err(ForeignError::Ended {
            status: status.to_string(),
            words: first_line(&errors),
        });
    }
    if output.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(ForeignError::TooLong);
    }
    String::from_utf8(output)
        .map(SecretString::from)
        .map_err(|_| ForeignError::NoToken("it is not text"))
}

/// Reads beside, so that neither pipe can block the program; what is past the bound is thrown away.
fn collect(pipe: Option<impl Read + Send + 'static>, bytes_max: u64) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks gave what it gave.
            let _ = (&mut pipe).take(bytes_max).read_to_end(&mut kept);
            // Nobody waits for it any more when the deadline is over.
            let _ = sender.send(kept);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
    });
    receiver
}

fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) | Err(_) if Instant::now() >= deadline => return None,
            Ok(None) | Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn end_group(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It fails where nobody of the group is left, which is the rule.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.trim().lines().next().unwrap_or_default();
    let words: Vec<&str> = line
        .split_whitespace()
        .map(|word| {
            if may_be_secret(word) {
                "[secret]"
            } else {
                word
            }
        })
        .collect();
    words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(WORDS_MAX)
        .collect()
}

/// A program that tells what it does may tell the token: a JSON Web Token begins like this, and no
/// plain word, path or number of an error is this long without a slash.
fn may_be_secret(word: &str) -> bool {
    const WORD_MAX: usize = 40;
    word.contains("eyJ") || (word.len() > WORD_MAX && !word.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<String, ForeignError> {
        let args = ["-c".to_owned(), script.to_owned()];
        run(Path::new("/bin/sh"), &args, limit).map(|text| text.expose_secret().to_owned())
    }

    #[test]
    fn a_program_is_heard_out_and_its_failure_told_by_its_first_line() {
        let second = Duration::from_secs(10);
        assert_eq!(sh("echo token", second).as_deref(), Ok("token\n"));
        let error = sh("echo first >&2; echo second >&2; exit 3", second).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the program ended with exit status: 3: first"
        );
        let told = format!(
            "echo 'Authorization: Bearer eyJh.b.c {}' >&2; exit 1",
            "x".repeat(60)
        );
        assert_eq!(
            sh(&told, second).unwrap_err().to_string(),
            "the program ended with exit status: 1: Authorization: Bearer [secret] [secret]"
        );
        assert_eq!(
            sh("head -c 200000 /dev/zero", second).unwrap_err(),
            ForeignError::TooLong
        );
        assert!(matches!(
            run(Path::new("/nonexistent"), &[], second),
            Err(ForeignError::Start(_))
        ));
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_all_that_it_started() {
        let started = Instant::now();
        let limit = Duration::from_millis(300);
        let error = sh("sleep 60 & sleep 60", limit).unwrap_err();
        assert_eq!(error, ForeignError::Deadline(limit));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_token_tells_its_end_in_json_or_as_a_jwt_or_lives_as_configured() {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let lifetime = Duration::from_secs(600);
        let now = Wall::from_seconds(1_795_392_000);
        let life = |text: &str| read(&SecretString::from(text), lifetime, now);
        assert_eq!(life("opaque\n").unwrap().expires_in, lifetime);
        for json in [
            r#"{"access_token":"t","expires_in":30}"#,
            r#"{"access_token":"t","expires_in":"30"}"#,
        ] {
            assert_eq!(life(json).unwrap().expires_in, Duration::from_secs(30));
        }
        let jwt = |exp: i64| {
            let payload = URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}"));
            format!("e30.{payload}.c2ln")
        };
        assert_eq!(
            life(&jwt(1_795_392_090)).unwrap().expires_in,
            Duration::from_secs(90)
        );
        assert!(matches!(
            life(&jwt(1_795_391_000)),
            Err(ForeignError::Over(_))
        ));
        for bad in ["", "two words", "{}", "{\"access_token\":\"\"}"] {
            assert!(matches!(life(bad), Err(ForeignError::NoToken(_))), "{bad}");
        }
    }
}
