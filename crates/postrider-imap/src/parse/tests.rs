use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::*;

fn frame(text: &str) -> Frame {
    Frame {
        text: format!("{text}\r\n").into_bytes(),
        literals: Vec::new(),
    }
}

fn parsed(text: &str) -> Response {
    parse(&frame(text)).unwrap()
}

fn fetched(text: &str) -> Fetch {
    match parsed(text) {
        Response::Untagged(Untagged::Fetch(fetch)) => *fetch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_of_the_parser_is_caught_and_known_to_the_hook() {
    static SEEN: AtomicBool = AtomicBool::new(false);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| SEEN.store(parsing(), Ordering::SeqCst)));
    let text = Text {
        bytes: b"* 1 FETCH (INTERNALDATE NIL)\r\n".to_vec(),
        places: Vec::new(),
    };
    let outcome = isolated(&text);
    std::panic::set_hook(before);
    assert_eq!(outcome, None);
    assert!(SEEN.load(Ordering::SeqCst), "the hook can tell");
    assert!(!parsing());
}

#[test]
fn a_frame_is_consumed_whole_or_skipped() {
    let two = "* 1 EXISTS\r\n* 2 EXISTS";
    assert_eq!(parsed(two), Response::Skipped(Skipped::Other));
}

#[test]
fn what_is_skipped_is_known_for_what_it_may_have_been() {
    let cases = [
        ("* 1 FETCH (UID", Skipped::Fetch),
        ("* 1 fetch ()", Skipped::Fetch),
        ("* SEARCH 1 x", Skipped::Search),
        ("* ESEARCH (TAG", Skipped::Search),
        ("* XYZZY", Skipped::Other),
        ("*", Skipped::Other),
        ("", Skipped::Other),
    ];
    for (text, expected) in cases {
        assert_eq!(parsed(text), Response::Skipped(expected), "{text}");
    }
}

#[test]
fn lines_that_are_no_responses_are_told_apart() {
    assert_eq!(
        parsed("Server Unavailable. 15"),
        Response::Bare(b"Server Unavailable. 15".to_vec())
    );
    assert!(matches!(parsed("P1 OK"), Response::Tagged { .. }));
    assert!(matches!(parsed("P1 BYE"), Response::Bare(_)));
    assert_eq!(parsed("+"), Response::Continue(Vec::new()));
}

#[test]
fn fetch_items_come_in_any_order_and_case() {
    let fetch = fetched("* 3 FETCH (body[] \"x\" uid 7 rfc822.size 1 flags (\\Seen))");
    assert_eq!(fetch.uid, Uid::new(7));
    assert_eq!(fetch.size, Some(1));
    assert_eq!(fetch.whole, Section::Quoted(b"x".to_vec()));
    assert_eq!(fetch.header, Section::Absent);
    assert_eq!(fetch.flags, ["\\Seen"]);
}

#[test]
fn other_sections_are_not_the_body() {
    let fetch = fetched("* 3 FETCH (BODY[TEXT] \"x\" BODY[1] \"y\" BODY[]<100> \"z\")");
    assert_eq!(
        (fetch.whole, fetch.header),
        (Section::Absent, Section::Absent)
    );
}

#[test]
fn quoted_text_is_not_mended() {
    let fetch = fetched(r#"* 3 FETCH (BODY[] "a  \" INTERNALDATE NIL" INTERNALDATE NIL)"#);
    let body = br#"a  " INTERNALDATE NIL"#.to_vec();
    assert_eq!(fetch.whole, Section::Quoted(body));
    assert_eq!(fetch.internal_date, None);
}

/// The parser is fed what it recurses into, up to what it is allowed, on a stack of the usual size.
#[test]
fn the_deepest_allowed_nesting_takes_little_time_and_stack() {
    let mut shapes = vec![
        format!("{}{}", "(".repeat(62), ")".repeat(62)),
        "(".repeat(63),
        format!(
            "(\"a\" \"b\" NIL NIL NIL \"7bit\" 1 NIL NIL NIL NIL {}1{}",
            "(".repeat(61),
            ")".repeat(61)
        ),
    ];
    let text = "(\"text\" \"plain\" NIL NIL NIL \"7bit\" 1 1)";
    let mut mixed = text.to_owned();
    let mut message = text.to_owned();
    for _ in 0..30 {
        mixed = format!("({mixed}{text} \"mixed\")");
        message = format!(
            "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 1 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) {message} 1)"
        );
    }
    shapes.extend([mixed, message.clone(), message.replace("1 1)", "1 x)")]);
    let work = move || {
        let began = Instant::now();
        for shape in shapes {
            let _ = parsed(&format!("* 1 FETCH (BODYSTRUCTURE {shape})"));
        }
        began.elapsed()
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(work);
    let took = thread.unwrap().join().unwrap();
    assert!(took < Duration::from_secs(2), "{took:?}");
}
