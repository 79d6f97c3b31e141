//! What is wrong with the endpoint, and what it answers then, whoever asks.

use std::time::Duration;

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{ask::Ask, refusal::Refusal};
use crate::http::{Reply, response};

/// What is wrong with the endpoint, for all who ask it or for one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenTrouble {
    #[default]
    None,
    /// This status and no JSON.
    Status(u16),
    /// 429 with a plain-text body, and `Retry-After` in seconds.
    Throttled { retry_after: u32 },
    /// The same, with a date this far ahead.
    ThrottledUntil(Duration),
    /// The same, with whatever stands here, or without the header.
    ThrottledOddly(Option<String>),
    /// The right answer, after this time.
    Slow(Duration),
    /// The connection is closed without an answer.
    CloseUnanswered,
    /// The request is carried out, and the connection is closed without an answer.
    AnswerLost,
    /// Whatever the secret is, it is the wrong one (AADSTS7000215).
    InvalidClient,
    /// Refused with this number, as Entra says it.
    Aadsts(u32),
    /// Refused, and the description repeats what was sent, secret and all.
    EchoSecret,
    /// This status with a web page.
    Html(u16),
    /// 200 with a login page, as a captive portal or a proxy answers.
    LoginPage,
    /// 200 with the first half of the right answer.
    Truncated,
    /// 302 to another place, where nobody must send a secret.
    Redirect(String),
    /// Whatever the test wants.
    Answer {
        status: u16,
        content_type: String,
        body: String,
    },
    /// The next requests meet this, those after them nothing.
    Times(u32, Box<TokenTrouble>),
}

/// What becomes of a request.
pub(super) enum Meeting {
    /// Nobody looks at it.
    Unheard(Reply),
    Refused(Refusal),
    /// It is carried out, and so much of the answer is sent.
    Carried(Sent),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Whole,
    Half,
    Nothing,
}

impl TokenTrouble {
    pub fn times(self, count: u32) -> Self {
        Self::Times(count, Box::new(self))
    }

    /// What the next request meets.
    pub(super) fn take(&mut self) -> Self {
        let Self::Times(count, inner) = self else {
            return self.clone();
        };
        let met = if *count == 0 {
            Self::None
        } else {
            (**inner).clone()
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            *self = Self::None;
        }
        met
    }

    /// What becomes of a request.
    pub(super) fn meets(&self, ask: &Ask) -> Meeting {
        match self {
            Self::None | Self::Slow(_) | Self::Times(..) => Meeting::Carried(Sent::Whole),
            Self::Truncated => Meeting::Carried(Sent::Half),
            Self::AnswerLost => Meeting::Carried(Sent::Nothing),
            Self::InvalidClient => Meeting::Refused(Refusal::aadsts(7_000_215)),
            Self::Aadsts(code) => Meeting::Refused(Refusal::aadsts(*code)),
            Self::EchoSecret => Meeting::Refused(Refusal::says(
                7_000_215,
                &format!(
                    "Invalid client secret {} provided, in {}",
                    ask.client_secret().unwrap_or_default(),
                    ask.body
                ),
            )),
            Self::Status(_)
            | Self::Throttled { .. }
            | Self::ThrottledUntil(_)
            | Self::ThrottledOddly(_)
            | Self::CloseUnanswered
            | Self::Html(_)
            | Self::LoginPage
            | Self::Redirect(_)
            | Self::Answer { .. } => Meeting::Unheard(self.reply()),
        }
    }

    /// What is answered whatever was asked.
    fn reply(&self) -> Reply {
        let text = |status, headers: &[(&str, &str)], body: &str| {
            let headers: Vec<(String, String)> = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            Reply::Answer(response(status, &headers, body.to_owned()))
        };
        let throttled = |retry_after: Option<&str>| {
            let mut headers = vec![("content-type", "text/plain")];
            headers.extend(retry_after.map(|value| ("retry-after", value)));
            text(429, &headers, "Too Many Requests")
        };
        match self {
            Self::Status(status) => text(*status, &[], "Service Unavailable"),
            Self::Throttled { retry_after } => throttled(Some(&retry_after.to_string())),
            Self::ThrottledUntil(ahead) => throttled(Some(&http_date(*ahead))),
            Self::ThrottledOddly(value) => throttled(value.as_deref()),

            Self::Html(status) => text(*status, &[HTML], SORRY),
            Self::LoginPage => text(200, &[HTML], LOGIN),
            Self::Redirect(to) => text(302, &[("location", to)], ""),
            Self::Answer {
                status,
                content_type,
                body,
            } => text(*status, &[("content-type", content_type)], body),
            Self::CloseUnanswered
            | Self::None
            | Self::Slow(_)
            | Self::AnswerLost
            | Self::InvalidClient
            | Self::Aadsts(_)
            | Self::EchoSecret
            | Self::Truncated
            | Self::Times(..) => Reply::HangUp,
        }
    }
}

const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");

const SORRY: &str = "<!DOCTYPE html><html><head><title>Service Unavailable</title></head>\
    <body><h2>Our services aren't available right now</h2></body></html>";

const LOGIN: &str = "<!DOCTYPE html><html><head><title>Sign in</title></head>\
    <body><form method=post><input name=user><input name=password type=password></form></body></html>";

const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

fn http_date(ahead: Duration) -> String {
    let at = OffsetDateTime::now_utc() + ahead;
    at.format(HTTP_DATE).unwrap_or_default()
}
