use proptest::{collection::vec, prelude::*};

use super::*;

/// What a stream of bytes yields: frames, the bytes put aside, and how it ended.
#[derive(Debug, Default, PartialEq)]
struct Yield {
    frames: Vec<Frame>,
    aside: Vec<u8>,
    breach: Option<Breach>,
}

fn drive<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Yield {
    let mut framer = Framer::default();
    let mut got = Yield::default();
    for chunk in chunks {
        framer.push(chunk);
        loop {
            match framer.step() {
                Ok(Step::More) => break,
                Ok(Step::Frame(frame)) => got.frames.push(frame),
                Ok(Step::Announced(_)) if framer.has_room() => framer.keep(),
                Ok(Step::Announced(_)) => framer.put_aside(),
                Ok(Step::Aside) => {
                    let bytes = framer.aside_bytes().to_vec();
                    framer.aside_taken(bytes.len());
                    got.aside.extend(bytes);
                }
                Err(breach) => {
                    got.breach = Some(breach);
                    return got;
                }
            }
        }
    }
    got
}

fn one(bytes: &[u8]) -> Frame {
    let mut got = drive([bytes]);
    assert_eq!(got.frames.len(), 1, "{got:?}");
    got.frames.remove(0)
}

#[test]
fn a_literal_stands_beside_its_frame() {
    for announced in ["{5}", "{5+}", "~{5}", "{05}"] {
        let frame = one(format!("* 1 FETCH (X {announced}\r\nhe\r\nl)\r\n").as_bytes());
        assert_eq!(frame.text, b"* 1 FETCH (X {0}\r\n)\r\n");
        let kept = Data::Kept(b"he\r\nl".to_vec());
        let at = frame.text.len() - 3;
        assert_eq!(frame.literals, [Literal { at, data: kept }]);
    }
}

#[test]
fn only_responses_that_can_carry_a_literal_have_one() {
    for text in [
        "* OK x {5}",
        "* no {5}",
        "* BAD {5}",
        "* BYE {5}",
        "* PREAUTH {5}",
        "+ {5}",
        "P1 OK {5}",
        "* [ALERT] {5}",
    ] {
        let frame = one(format!("{text}\r\n").as_bytes());
        assert_eq!(frame.text, format!("{text}\r\n").as_bytes());
    }
}

#[test]
fn what_is_no_announcement_is_text() {
    for text in [
        "* X {}", "* X {a}", "* X 5}", "* X {5} ", "* X {-5}", "* X +}",
    ] {
        let frame = one(format!("{text}\r\n").as_bytes());
        assert_eq!(frame.literals, []);
    }
}

#[test]
fn sizes_beyond_all_bounds_are_refused_at_once() {
    for size in [
        "268435457",
        "4294967296",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        let got = drive([format!("* 1 FETCH (BODY[] {{{size}}}\r\n").as_bytes()]);
        assert!(
            matches!(got.breach, Some(Breach::LiteralTooLarge(_))),
            "{size}"
        );
    }
}

#[test]
fn a_line_may_be_as_long_as_its_kind_allows() {
    let line = |head: &str, length: usize| format!("{head}{}\r\n", " ".repeat(length - head.len()));
    assert_eq!(
        drive([line("* OK", LINE_BYTES_MAX - 1).as_bytes()]).breach,
        None
    );
    let got = drive([line("* OK", LINE_BYTES_MAX).as_bytes()]);
    assert_eq!(got.breach, Some(Breach::LineTooLong(LINE_BYTES_MAX)));
    assert_eq!(
        drive([line("* search", SEARCH_BYTES_MAX - 1).as_bytes()]).breach,
        None
    );
    let got = drive([line("* ESEARCH", SEARCH_BYTES_MAX).as_bytes()]);
    assert_eq!(got.breach, Some(Breach::LineTooLong(SEARCH_BYTES_MAX)));
}

#[test]
fn nothing_is_held_between_responses() {
    let mut framer = Framer::default();
    framer.push(b"* 1 EXISTS\r\n");
    assert!(matches!(framer.step(), Ok(Step::Frame(_))));
    assert_eq!(framer.step(), Ok(Step::More));
    assert!(framer.is_empty());
    let held = framer.inbox.capacity() + framer.text.capacity() + framer.literals.capacity();
    assert_eq!(held, 0);
}

#[test]
fn an_announcement_alone_takes_no_memory() {
    let mut framer = Framer::default();
    framer.push(b"* 1 FETCH (BODY[] {200000000}\r\nx");
    assert_eq!(framer.step(), Ok(Step::Announced(200_000_000)));
    framer.keep();
    assert_eq!(framer.step(), Ok(Step::More));
    let State::Keeping { data, .. } = &framer.state else {
        panic!("it is being kept");
    };
    assert!(data.capacity() <= KEPT_BYTES_MAX as usize);
}

/// Pieces of protocol, so that random streams reach the interesting states.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"* OK [ALERT] x\r\n".to_vec()),
        Just(b"* 1 FETCH (UID 1 BODY[] {5}\r\nhello)\r\n".to_vec()),
        Just(b"* 1 FETCH (UID 1 BODY[] {70000}\r\n".to_vec()),
        Just(b"* LIST () \"/\" {3}\r\na\r\n\r\n".to_vec()),
        Just(b"* OK x {100000}\r\n".to_vec()),
        Just(b"P1 OK done\r\n".to_vec()),
        Just(b"+ \r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"{7}\r\n".to_vec()),
        Just(b"~{2}\n".to_vec()),
        Just(b"* ".to_vec()),
        Just(b"* 7 FETCH (".to_vec()),
        Just(vec![b'x'; 30_000]),
        vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #[test]
    fn chunking_changes_nothing(pieces in vec(piece(), 0..12), cuts in vec(1usize..2000, 1..40)) {
        let bytes = pieces.concat();
        let mut chunks: Vec<&[u8]> = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        prop_assert_eq!(drive([bytes.as_slice()]), drive(chunks));
    }

    #[test]
    fn whatever_comes_is_framed_and_parsed_without_a_panic(bytes in vec(piece(), 0..12)) {
        for frame in drive([bytes.concat().as_slice()]).frames {
            let _ = crate::parse::parse(&frame);
            prop_assert!(!crate::parse::parsing());
        }
    }

    #[test]
    fn random_lines_are_parsed_without_a_panic(line in "\\* (1 FETCH \\()?[ -~]{0,60}") {
        for frame in drive([format!("{line}\r\n").as_bytes()]).frames {
            let _ = crate::parse::parse(&frame);
        }
    }
}
