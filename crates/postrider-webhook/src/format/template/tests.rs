//! What templates make, what they refuse, and that nothing of a mail leaves its place.

use postrider_core::{event::EventType, time::Wall};
use serde_json::{Value as Json, json};

use super::*;
use crate::payload::RenderInput;

fn event(data: &[u8]) -> RenderInput<'_> {
    RenderInput {
        id: uuid::Uuid::from_u128(7),
        event_type: EventType::MessageReceived,
        instance: "test",
        mailbox: Some("support"),
        subject: "INBOX/1/1",
        time: Wall(0),
        stored_at: Wall(0),
        data,
        sequence: 1,
        attempt: 1,
        first_attempt_at: None,
        replay: None,
        stepped_aside: false,
        when_failed: false,
        test: false,
    }
}

fn step(name: &str) -> Step {
    Step {
        name: name.to_owned(),
        when: None,
        times: Times::Once,
        method: Method::POST,
        url: String::new(),
        headers: Vec::new(),
        body: StepBody::Nothing,
    }
}

fn compile(steps: &[Step]) -> Template {
    let base = Url::parse("https://desk.example/api").unwrap();
    Template::compile(&base, steps, 1 << 20).unwrap()
}

fn request(
    steps: &[Step],
    data: &Json,
    answers: &[Answer],
) -> Result<Option<Rendered>, RenderError> {
    let data = data.to_string();
    let source = Source {
        event: event(data.as_bytes()),
        raw: None,
        contents: None,
        now: Wall(0),
    };
    compile(steps).request(&source, answers)
}

fn answer(body: &str) -> Answer {
    Answer {
        status: 200,
        body: body.to_owned().into(),
        whole: true,
    }
}

fn text(body: &crate::body::Body) -> String {
    body.pieces
        .iter()
        .map(|piece| match piece {
            crate::body::Piece::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn values_are_escaped_for_the_place_where_they_stand() {
    let odd = "a/b?c=d&e #%\"<ü>\\\n";
    let data = json!({ "s": odd, "none": null, "list": ["x\"", 1] });
    let one = Step {
        url: "find/{{ data.s }}?q={{ data.s|urlencode }}&x={{ 'a' ~ ' b' }}".to_owned(),
        body: StepBody::Json("{\"s\": {{ data.s }}, \"n\": {{ data.none }}, \"l\": {{ data.list }}, \"h\": {{ data.s|html }}}".to_owned()),
        ..step("one")
    };
    let made = request(&[one], &data, &[]).unwrap().unwrap();
    assert_eq!(
        made.url.as_str(),
        "https://desk.example/api/find/a%2Fb%3Fc%3Dd%26e%20%23%25%22%3C%C3%BC%3E%5C%0A\
         ?q=a%2Fb%3Fc%3Dd%26e%20%23%25%22%3C%C3%BC%3E%5C%0A&x=a%20b"
    );
    let json: Json = serde_json::from_str(&text(&made.body)).unwrap();
    assert_eq!(
        (&json["s"], &json["n"], &json["l"]),
        (&json!(odd), &Json::Null, &data["list"])
    );
    assert_eq!(json["h"], "a/b?c=d&amp;e #%&quot;&lt;ü&gt;\\<br>\n");
    let form = Step {
        body: StepBody::Form(vec![("a b".to_owned(), "{{ data.s }}".to_owned())]),
        ..step("form")
    };
    let made = request(&[form], &data, &[]).unwrap().unwrap();
    assert_eq!(
        text(&made.body),
        "a+b=a%2Fb%3Fc%3Dd%26e+%23%25%22%3C%C3%BC%3E%5C%0A"
    );
}

#[test]
fn json_in_a_url_is_one_value_like_any_other() {
    let one = Step {
        url: "find?criteria={{ {'a': data.s}|tojson }}&x=1".to_owned(),
        ..step("one")
    };
    let made = request(&[one], &json!({ "s": "b#c?d+%41" }), &[]);
    let url = made.unwrap().unwrap().url;
    let pairs: Vec<_> = url.query_pairs().collect();
    let value: Json = serde_json::from_str(&pairs[0].1).unwrap();
    assert_eq!(value, json!({ "a": "b#c?d+%41" }));
    assert_eq!(pairs[1].1, "1");
}

fn refused(one: Step, data: &Json) -> String {
    match request(&[one], data, &[]) {
        Err(RenderError::Other(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_mail_says_never_leads_elsewhere() {
    let url = |template: &str| Step {
        url: template.to_owned(),
        ..step("one")
    };
    for (template, value) in [
        ("tickets/{{ data.s }}/notes", ".."),
        ("tickets/{{ data.s }}", "."),
        ("{{ data.s|safe }}", "https://evil.example/"),
        ("{{ data.s|safe }}", "//evil.example/"),
        ("{{ data.s|safe }}", "\\\\evil.example/"),
        ("{{ data.s|safe }}", "http://desk.example/api/x"),
        ("{{ data.s|safe }}", "https://user@desk.example/"),
        ("{{ data.s|safe }}", "a/%2E%2e/%2e./b"),
        // Some servers take what is encoded for what it stands for.
        ("tickets/{{ data.s }}/notes", "../../admin"),
        ("tickets/{{ data.s }}/notes", "x\\..\\..\\admin"),
    ] {
        let why = refused(url(template), &json!({ "s": value }));
        assert!(why.contains("step 1 (`one`), `url`: "), "{why}");
        assert!(!why.contains("evil"), "{why}");
    }
    let name = HeaderName::from_static("x-subject");
    for value in ["a\r\nX-Evil: 1", "a\nb", "\u{0}", "ü"] {
        let one = Step {
            headers: vec![(name.clone(), "{{ data.s }}".to_owned())],
            ..step("one")
        };
        let why = refused(one, &json!({ "s": value }));
        assert!(
            why.contains("`headers.x-subject`: a header is one line"),
            "{why}"
        );
    }
}

#[test]
fn what_is_not_there_and_what_is_no_json_is_an_error_that_does_not_quote_the_mail() {
    for template in [
        "{\"a\": {{ data.missing }}}",
        "{\"a\": \"{{ data.s }}\"}",
        "{\"a\": {{ data.s|int }}}",
        "{\"a\": {{ data.s }}",
        "{\"a\": {{ answers.find.json }}}",
    ] {
        let one = Step {
            body: StepBody::Json(template.to_owned()),
            ..step("one")
        };
        let why = refused(one, &json!({ "s": "secret" }));
        assert!(
            why.contains("`json`: ") && !why.contains("secret"),
            "{template}: {why}"
        );
    }
}

#[test]
fn templates_are_bounded_in_time_and_size() {
    for template in [
        "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 100000000 }}",
        "{% set ns = namespace(x='x') %}{% for a in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    ] {
        let one = Step {
            body: StepBody::Form(vec![("a".to_owned(), template.to_owned())]),
            ..step("one")
        };
        let started = std::time::Instant::now();
        refused(one, &json!({}));
        assert!(started.elapsed().as_secs() < 5, "{template}");
    }
    let base = Url::parse("https://desk.example/").unwrap();
    let long = Step {
        url: "x".repeat(70_000),
        ..step("one")
    };
    let errors = Template::compile(&base, &[long], 0).unwrap_err();
    assert_eq!((errors[0].step, errors[0].key.as_str()), (0, "url"));
}

#[test]
fn a_step_is_left_out_where_its_condition_is_not_true() {
    let steps = [
        Step {
            method: Method::GET,
            ..step("find")
        },
        Step {
            when: Some("not answers.find.json".to_owned()),
            url: "create".to_owned(),
            ..step("create")
        },
        Step {
            when: Some("answers.find.json".to_owned()),
            url: "tickets/{{ answers.find.json[0].id }}".to_owned(),
            ..step("append")
        },
    ];
    let data = json!({});
    let path = |answers: &[Answer]| {
        let made = request(&steps, &data, answers).unwrap();
        made.map(|made| made.url.path().to_owned())
    };
    assert_eq!(path(&[]).as_deref(), Some("/api"));
    assert_eq!(path(&[answer("[]")]).as_deref(), Some("/api/create"));
    assert_eq!(path(&[answer("[]"), answer("{}")]), None);
    assert_eq!(
        path(&[answer("[{\"id\": 7}]")]).as_deref(),
        Some("/api/tickets/7")
    );
    assert_eq!(path(&[answer("[{\"id\": 7}]"), answer("")]), None);
    // An answer that is cut, or no JSON, must not look like one that found nothing.
    for odd in ["", "<html>", "[{\"id\": 7}, {\"id"] {
        assert!(request(&steps, &data, &[answer(odd)]).is_err(), "{odd}");
    }
}

#[test]
fn an_answer_that_is_not_all_there_is_not_searched() {
    let steps = [
        step("find"),
        Step {
            when: Some("id not in answers.find.text".to_owned()),
            ..step("create")
        },
    ];
    let cut = Answer {
        whole: false,
        ..answer("[1, 2]")
    };
    assert!(request(&steps, &json!({}), std::slice::from_ref(&cut)).is_err());
    let steps = [
        step("find"),
        Step {
            when: Some("not answers.find.json".to_owned()),
            ..step("create")
        },
    ];
    assert!(request(&steps, &json!({}), &[cut]).is_err());
}

#[test]
fn each_request_of_an_event_has_an_idempotency_key_of_its_own_the_same_at_each_attempt() {
    let key = |steps: &[Step], answers: &[Answer]| {
        let made = request(steps, &json!({}), answers).unwrap().unwrap();
        made.headers["idempotency-key"].to_str().unwrap().to_owned()
    };
    let id = "00000000-0000-0000-0000-000000000007";
    assert_eq!(key(&[step("one")], &[]), id);
    let two = [step("one"), step("two")];
    assert_eq!(key(&two, &[]), format!("{id}-one"));
    assert_eq!(key(&two, &[answer("{}")]), format!("{id}-two"));
}

#[test]
fn without_the_message_there_are_no_attachments() {
    let steps = [Step {
        body: StepBody::Json("{{ attachments }}".to_owned()),
        ..step("one")
    }];
    assert!(compile(&steps).needs_raw());
    assert_eq!(
        request(&steps, &json!({}), &[]).unwrap_err(),
        RenderError::NoMessage
    );
    let names = [Step {
        body: StepBody::Json("{{ data.attachments|map(attribute='filename')|list }}".to_owned()),
        ..step("one")
    }];
    assert!(!compile(&names).needs_raw(), "names are in the event");
}

#[test]
fn every_step_is_foreseen_with_what_is_known_before_any_answer() {
    let steps = [
        Step {
            url: "find/{{ data.id }}".to_owned(),
            ..step("find")
        },
        Step {
            when: Some("data.id == 'other'".to_owned()),
            ..step("never")
        },
        Step {
            when: Some("not answers.find.json".to_owned()),
            url: "tickets/{{ answers.find.json[0].id }}".to_owned(),
            body: StepBody::Json(
                r#"{"title": {{ data.title }}, "at": {{ answers.find.json[0].id }}}"#.to_owned(),
            ),
            ..step("create")
        },
        Step {
            body: StepBody::Json("{{ answers.find.json|map(attribute='id')|list }}".to_owned()),
            ..step("note")
        },
        Step {
            body: StepBody::Json("{{ data.nothing }}".to_owned()),
            ..step("wrong")
        },
    ];
    let data = json!({"id": "a b", "title": "Paper \"jam\""}).to_string();
    let source = Source {
        event: event(data.as_bytes()),
        raw: None,
        contents: None,
        now: Wall(0),
    };
    let template = compile(&steps);
    let all = template.foresee(&source).unwrap();
    let names: Vec<_> = all.iter().filter_map(|one| one.step.as_deref()).collect();
    assert_eq!(names, ["find", "create", "note", "wrong"]);
    let made = |shape: &Shape| match shape {
        Shape::Request(request) => (request.url.path().to_owned(), text(&request.body)),
        other => panic!("{other:?}"),
    };
    assert_eq!(made(&all[0].shape).0, "/api/find/a%20b");
    let first = template.request(&source, &[]).unwrap().unwrap();
    assert_eq!(made(&all[0].shape).0, first.url.path());
    assert_eq!(all[1].only_if.as_deref(), Some("not answers.find.json"));
    let (path, body) = made(&all[1].shape);
    assert_eq!(path, "/api/tickets/%5Banswers.find.json%5B0%5D.id%5D");
    let body: Json = serde_json::from_str(&body).unwrap();
    let expected = json!({"title": "Paper \"jam\"", "at": "[answers.find.json[0].id]"});
    assert_eq!(body, expected);
    assert!(
        matches!(&all[2].shape, Shape::Written { templates, .. } if templates[1].1.contains("map(")),
        "{:?}",
        all[2]
    );
    assert!(matches!(&all[3].shape, Shape::Fails(why) if why.contains("`wrong`")));
}

#[tokio::test]
async fn many_files_in_requests_of_their_own_cost_little() {
    let mut raw = "Content-Type: multipart/mixed; boundary=o\r\n\r\n".to_owned();
    for number in 0..200 {
        raw += &format!(
            "--o\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename={number}.png\r\n\r\nx\r\n"
        );
    }
    raw += "--o--\r\n";
    let raw = crate::body::RawMessage::Bytes(raw.into());
    let contents = crate::format::contents::Contents::of(&raw).await.unwrap();
    assert_eq!(contents.attachments.len(), 200);
    let each = |name: &str| Step {
        times: Times::EachAttachment,
        url: "files?name={{ attachment.filename }}".to_owned(),
        ..step(name)
    };
    let template = compile(&[each("seen"), each("upload")]);
    let source = Source {
        event: event(b"{}"),
        raw: Some(&raw),
        contents: Some(&contents),
        now: Wall(0),
    };
    let told =
        "{\"result\": [{\"id\": 1, \"name\": \"a\", \"size\": 1, \"more\": {\"a\": [1, 2, 3]}}]}";
    let started = std::time::Instant::now();
    let mut answers = Vec::new();
    while template.request(&source, &answers).unwrap().is_some() {
        answers.push(answer(told));
    }
    assert_eq!(answers.len(), 400);
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}
