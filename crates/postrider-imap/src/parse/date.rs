//! INTERNALDATE and SEARCH dates (RFC 3501 section 9, `date-time` and `date`).

use postrider_core::time::Wall;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

const MONTHS: [(&str, Month); 12] = [
    ("jan", Month::January),
    ("feb", Month::February),
    ("mar", Month::March),
    ("apr", Month::April),
    ("may", Month::May),
    ("jun", Month::June),
    ("jul", Month::July),
    ("aug", Month::August),
    ("sep", Month::September),
    ("oct", Month::October),
    ("nov", Month::November),
    ("dec", Month::December),
];

/// `17-Jul-1996 02:44:25 -0700`; `None` for what is no date.
pub(crate) fn internal_date(text: &str) -> Option<Wall> {
    let mut parts = text.split_ascii_whitespace();
    let (date, clock, zone) = (parts.next()?, parts.next()?, parts.next()?);
    let mut date = date.splitn(3, '-');
    let day = date.next()?.parse().ok()?;
    let name = date.next()?.to_ascii_lowercase();
    let (_, month) = MONTHS.into_iter().find(|(short, _)| *short == name)?;
    let year = date.next()?.parse().ok()?;
    let mut clock = clock.splitn(3, ':');
    let (hour, minute) = (clock.next()?.parse().ok()?, clock.next()?.parse().ok()?);
    // A leap second is the second before it: what is stored only has to be the same each time.
    let second = clock.next()?.parse::<u8>().ok()?.min(59);
    let local = PrimitiveDateTime::new(
        Date::from_calendar_date(year, month, day).ok()?,
        Time::from_hms(hour, minute, second).ok()?,
    );
    let at = local.assume_offset(offset(zone)?);
    Some(Wall::from_seconds(at.unix_timestamp()))
}

fn offset(zone: &str) -> Option<UtcOffset> {
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if digits.len() != 4 {
        return None;
    }
    let (hours, minutes) = digits.split_at_checked(2)?;
    let hours: i8 = hours.parse().ok()?;
    let minutes: i8 = minutes.parse().ok()?;
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()
}

/// `23-Nov-2026`, the day in UTC.
pub(crate) fn search_date(at: Wall) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(at.seconds()).ok()?;
    let (_, date) = (at.time(), at.date());
    let name = match date.month() {
        Month::January => "Jan",
        Month::February => "Feb",
        Month::March => "Mar",
        Month::April => "Apr",
        Month::May => "May",
        Month::June => "Jun",
        Month::July => "Jul",
        Month::August => "Aug",
        Month::September => "Sep",
        Month::October => "Oct",
        Month::November => "Nov",
        Month::December => "Dec",
    };
    Some(format!("{}-{name}-{:04}", date.day(), date.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_with_one_digit_and_two_and_any_zone() {
        let at = Some(Wall::from_seconds(837_596_665));
        assert_eq!(internal_date("17-Jul-1996 02:44:25 -0700"), at);
        assert_eq!(internal_date("17-JUL-1996 09:44:25 +0000"), at);
        assert_eq!(
            internal_date(" 1-Jan-1970 00:00:01 +0000"),
            Some(Wall::from_seconds(1))
        );
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "NIL",
            "17-Jul-1996",
            "32-Jul-1996 02:44:25 -0700",
            "17-Jul-1996 02:44:25 UTC",
        ] {
            assert_eq!(internal_date(text), None, "{text}");
        }
    }

    #[test]
    fn the_day_of_a_search_is_utc() {
        let day = search_date(Wall::from_seconds(837_596_665));
        assert_eq!(day.as_deref(), Some("17-Jul-1996"));
    }
}
