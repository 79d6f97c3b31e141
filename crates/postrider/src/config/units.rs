//! How durations, sizes and dates are written: `"5m"`, `"64KiB"`, `"2026-05-01"`. Nothing here
//! guesses: text without a unit is refused, because 30 could be seconds or minutes.

use std::time::Duration;

use postrider_core::time::Wall;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A duration as text: one or more numbers with units, the largest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

/// A number of bytes as text with a unit, or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

const SPANS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

impl Span {
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
    pub(crate) const fn minutes(minutes: u64) -> Self {
        Self::seconds(minutes * 60)
    }
    pub(crate) const fn hours(hours: u64) -> Self {
        Self::minutes(hours * 60)
    }
    pub(crate) const fn days(days: u64) -> Self {
        Self::hours(days * 24)
    }

    /// `None` where the text is no duration, or one beyond any use.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let mut sum: u64 = 0;
        let mut below = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let letters = rest
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(rest.len());
            let unit = &rest[..letters];
            let millis = SPANS.iter().find(|(name, _)| *name == unit)?.1;
            if millis >= below {
                return None;
            }
            below = millis;
            sum = sum.checked_add(number.checked_mul(millis)?)?;
            rest = &rest[letters..];
        }
        (below != u64::MAX).then(|| Self(Duration::from_millis(sum)))
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        // Weeks are understood, but days are what people compare.
        for (unit, millis) in &SPANS[1..] {
            if rest >= *millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl Size {
    pub(crate) const fn kib(number: u64) -> Self {
        Self(number << 10)
    }
    pub(crate) const fn mib(number: u64) -> Self {
        Self(number << 20)
    }

    /// `None` where the text is no size.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = text[..digits].parse().ok()?;
        let unit = text[digits..].trim();
        let bytes = SIZES.iter().find(|(name, _)| *name == unit)?.1;
        number.checked_mul(bytes).map(Self)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let binary = SIZES[..3]
            .iter()
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        match binary {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A date (`2026-05-01`: midnight UTC) or an RFC 3339 time.
pub fn parse_date(text: &str) -> Option<Wall> {
    let text = text.trim();
    let full = if text.len() == 10 {
        format!("{text}T00:00:00Z")
    } else {
        text.replacen(' ', "T", 1)
    };
    let at = OffsetDateTime::parse(&full, &Rfc3339).ok()?;
    Some(Wall::from_seconds(at.unix_timestamp()))
}

macro_rules! text_type {
    ($name:ident, $schema:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

text_type!(
    Span,
    json_schema!({
        "type": "string", "format": "duration",
        "pattern": r"^([0-9]+(ms|s|m|h|d|w))+$",
    })
);
text_type!(
    Size,
    json_schema!({
        "type": ["string", "integer"], "format": "size",
        "pattern": r"^[0-9]+ ?(B|KB|MB|GB|KiB|MiB|GiB)$", "minimum": 0,
    })
);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("`{text}` is no duration")))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => {
                Self::parse(&text).ok_or_else(|| de::Error::custom(format!("`{text}` is no size")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for text in ["30s", "5m", "1d12h", "250ms", "1m30s", "0s"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Span::parse("2w"), Some(Span::days(14)));
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "5x",
            "1s1m",
            "-1s",
            "99999999999999999w",
        ] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_written_alike() {
        for text in ["64KiB", "50MiB", "1GiB", "513B"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Size::parse("10MB"), Some(Size(10_000_000)));
        for text in ["", "64", "KiB", "64 kib", "99999999999GiB"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_days_or_rfc_3339_times() {
        assert_eq!(parse_date("1970-01-02"), Some(Wall(86_400_000)));
        assert_eq!(parse_date("1970-01-01T01:00:00+01:00"), Some(Wall(0)));
        assert_eq!(parse_date("1970-01-01 00:00:01Z"), Some(Wall(1000)));
        for text in ["yesterday", "2026-13-01", "2026-05-01T10:00:00"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
