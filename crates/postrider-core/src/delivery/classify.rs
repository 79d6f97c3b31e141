//! What an answer means, where an endpoint's statuses alone do not say it.

use super::Class;

/// What an endpoint's answers mean: its own rules first, then the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classifier {
    pub rules: Vec<Rule>,
}

/// Both parts have to fit; the first rule that fits counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub statuses: Statuses,
    pub body: Text,
    pub class: Class,
}

/// What is looked for in the start of an answer's body, whatever its case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Text {
    #[default]
    Any,
    Holds(String),
    /// White space before it does not count.
    Begins(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statuses {
    Any,
    /// Inclusive ranges.
    Ranges(Vec<(u16, u16)>),
}

impl Classifier {
    pub fn class(&self, status: u16, body: &[u8]) -> Class {
        self.rules
            .iter()
            .find(|rule| rule.fits(status, body))
            .map_or(Class::of_status(status), |rule| rule.class)
    }
}

impl Rule {
    fn fits(&self, status: u16, body: &[u8]) -> bool {
        let status_fits = match &self.statuses {
            Statuses::Any => true,
            Statuses::Ranges(ranges) => ranges
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&status)),
        };
        let body_fits = match &self.body {
            Text::Any => true,
            Text::Holds(text) => holds(body, text.as_bytes()),
            Text::Begins(text) => body
                .trim_ascii_start()
                .get(..text.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes())),
        };
        status_fits && body_fits
    }
}

fn holds(body: &[u8], text: &[u8]) -> bool {
    text.is_empty()
        || body
            .windows(text.len())
            .any(|window| window.eq_ignore_ascii_case(text))
}

impl Class {
    /// What a status means by itself (RFC 9110 section 15).
    pub const fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Delivered,
            400 | 413 | 415 | 422 => Self::Refused,
            300..=399 | 401 | 403 | 404 | 405 | 407 | 410 | 429 => Self::Trouble,
            _ => Self::Failing,
        }
    }
}

/// What the receiver asks for in the answer's `webhook-delivery` header, whatever its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    #[default]
    None,
    /// `disable`: send nothing more until an operator resumes the endpoint.
    Disable,
    /// `abort-message`: never send this event again.
    Abort,
}

impl Control {
    pub fn parse(header: Option<&str>) -> Self {
        match header.map(str::trim) {
            Some(word) if word.eq_ignore_ascii_case("disable") => Self::Disable,
            Some(word) if word.eq_ignore_ascii_case("abort-message") => Self::Abort,
            Some(_) | None => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(statuses: &[(u16, u16)], body: Option<&str>, class: Class) -> Rule {
        Rule {
            statuses: match statuses {
                [] => Statuses::Any,
                ranges => Statuses::Ranges(ranges.to_vec()),
            },
            body: body.map_or(Text::Any, |text| Text::Holds(text.to_owned())),
            class,
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts_else_the_status() {
        let classifier = Classifier {
            rules: vec![
                rule(&[(200, 200)], Some("temporary failure"), Class::Failing),
                rule(&[(200, 200)], Some("Not OK"), Class::Refused),
                rule(&[(409, 409), (500, 599)], None, Class::Delivered),
                rule(&[], Some("maintenance"), Class::Trouble),
            ],
        };
        for (status, body, class) in [
            (200, "ok\nTicket: 7", Class::Delivered),
            (200, "not ok - no such queue", Class::Refused),
            (200, "Temporary Failure: not ok", Class::Failing),
            (409, "", Class::Delivered),
            (503, "maintenance", Class::Delivered),
            (404, "in MAINTENANCE until noon", Class::Trouble),
            (422, "", Class::Refused),
            (418, "", Class::Failing),
            (302, "", Class::Trouble),
        ] {
            assert_eq!(
                classifier.class(status, body.as_bytes()),
                class,
                "{status} {body}"
            );
        }
        assert_eq!(
            Classifier::default().class(200, b"not ok"),
            Class::Delivered
        );
    }

    #[test]
    fn a_body_that_begins_otherwise_does_not_fit() {
        let begins = Rule {
            statuses: Statuses::Any,
            body: Text::Begins("ok".to_owned()),
            class: Class::Delivered,
        };
        for (body, fits) in [
            ("ok", true),
            ("\r\n OK\nTicket: 7", true),
            ("o", false),
            ("not ok", false),
            ("<html>lookup of a token", false),
            ("", false),
        ] {
            assert_eq!(begins.fits(200, body.as_bytes()), fits, "{body:?}");
        }
    }

    #[test]
    fn a_receiver_controls_by_words_that_are_known() {
        for (header, control) in [
            (Some(" Disable "), Control::Disable),
            (Some("abort-message"), Control::Abort),
            (Some("abort"), Control::None),
            (Some(""), Control::None),
            (None, Control::None),
        ] {
            assert_eq!(Control::parse(header), control, "{header:?}");
        }
    }
}
