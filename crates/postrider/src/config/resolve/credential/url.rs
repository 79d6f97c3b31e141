//! URLs that tokens and secrets travel to: encrypted, without credentials in them.

use url::Url;

use super::Findings;
use crate::config::resolve::endpoint::is_loopback;

/// A URL of a provider; `None` where there is none that could be used, which is told.
pub(super) fn provider(
    path: &str,
    written: Option<&String>,
    default: Option<&str>,
    hint: &str,
    findings: &mut Findings<'_>,
) -> Option<Url> {
    let Some(text) = written.map(String::as_str).or(default) else {
        findings.missing(path, hint);
        return None;
    };
    let url = match Url::parse(text) {
        Ok(url) if url.has_host() => url,
        Ok(_) | Err(_) => {
            findings.error(path, format!("`{path}` is `{text}`, which is no URL"), hint);
            return None;
        }
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        let what = format!("`{path}` is not https: the client secret would travel in clear text");
        findings.error(path, what, hint);
    }
    if url.password().is_some() || !url.username().is_empty() {
        findings.error(path, format!("`{path}` holds credentials"), "remove them");
    }
    Some(url)
}

/// A key that may be left out and has no default.
pub(super) fn optional(
    path: &str,
    written: Option<&String>,
    findings: &mut Findings<'_>,
) -> Option<Url> {
    written?;
    provider(path, written, None, "write \"https://HOST/PATH\"", findings)
}
