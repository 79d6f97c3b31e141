use reqwest::header::{HeaderMap, HeaderValue};

use super::*;

const SECRET: &str = "s3cr3t~value";

fn read_body(status: u16, body: &str) -> Result<Grant, TokenError> {
    read_with(status, None, body)
}

fn read_with(
    status: u16,
    retry_after: Option<&'static str>,
    body: &str,
) -> Result<Grant, TokenError> {
    let mut headers = HeaderMap::new();
    if let Some(value) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
    }
    let status = StatusCode::from_u16(status).unwrap();
    let answer = Answer {
        status,
        headers,
        body: body.as_bytes().to_vec(),
    };
    let mut sent = Sent::default();
    sent.add(SECRET);
    read(
        Provider::Microsoft,
        &answer,
        &sent,
        Wall::from_seconds(784_111_777),
    )
}

#[test]
fn lifetimes_are_numbers_or_strings_and_the_extras_are_optional() {
    let table = [
        (
            r#"{"access_token":"t","token_type":"Bearer","expires_in":3599}"#,
            3599,
            None,
            None,
        ),
        (
            r#"{"access_token":"t","token_type":"bearer","expires_in":"3599"}"#,
            3599,
            None,
            None,
        ),
        (
            r#"{"access_token":"t","expires_in":3599,"ext_expires_in":"7200","refresh_in":1800}"#,
            3599,
            Some(1800),
            Some(7200),
        ),
        (
            r#"{"access_token":"t","expires_in":" 60 ","refresh_in":"soon","ext_expires_in":null}"#,
            60,
            None,
            None,
        ),
        (
            r#"{"access_token":"t","expires_in":3599.9,"refresh_in":-5,"more":{"a":[1]}}"#,
            3599,
            None,
            None,
        ),
    ];
    for (body, expires_in, refresh_in, ext) in table {
        let grant = read_body(200, body).unwrap();
        assert_eq!(grant.expires_in.as_secs(), expires_in, "{body}");
        assert_eq!(
            grant.refresh_in.map(|hint| hint.as_secs()),
            refresh_in,
            "{body}"
        );
        assert_eq!(grant.ext_expires_in.map(|ext| ext.as_secs()), ext, "{body}");
    }
}

#[test]
fn a_success_that_makes_no_sense_is_malformed() {
    let table = [
        "",
        "<html>welcome to the hotel</html>",
        "[]",
        "{}",
        r#"{"access_token":"","expires_in":1}"#,
        r#"{"access_token":"a b","expires_in":1}"#,
        r#"{"access_token":"a\r\nA1 LOGOUT","expires_in":1}"#,
        r#"{"access_token":"a\u0001","expires_in":1}"#,
        r#"{"access_token":"t"}"#,
        r#"{"access_token":"t","expires_in":0}"#,
        r#"{"access_token":"t","expires_in":-1}"#,
        r#"{"access_token":"t","expires_in":"never"}"#,
        r#"{"access_token":"t","expires_in":1e300}"#,
        r#"{"access_token":"t","expires_in":10,"token_type":"mac"}"#,
        r#"{"access_token":7,"expires_in":10}"#,
    ];
    for body in table {
        let error = read_body(200, body).unwrap_err();
        assert!(
            matches!(error, TokenError::Malformed { .. }),
            "{body}: {error:?}"
        );
    }
}

#[test]
fn a_refusal_is_told_from_an_outage() {
    let unavailable = "unavailable";
    let refused = "refused";
    let table = [
        (
            401,
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.","error_codes":[7000215]}"#,
            refused,
        ),
        (400, r#"{"error":"unauthorized_client"}"#, refused),
        (
            400,
            r#"{"error":"invalid_grant","error_codes":null}"#,
            refused,
        ),
        (
            400,
            r#"{"error":"invalid_request","error_codes":["90002"]}"#,
            refused,
        ),
        (403, r#"{"error":"access_denied"}"#, refused),
        (400, r#"{"error":"temporarily_unavailable"}"#, unavailable),
        (400, r#"{"error":"server_error"}"#, unavailable),
        (
            400,
            r#"{"error":"invalid_request","error_codes":[90033]}"#,
            unavailable,
        ),
        (
            400,
            r#"{"error":"invalid_request","error_description":"AADSTS90055: busy"}"#,
            unavailable,
        ),
        (401, "", unavailable),
        (403, "<html>blocked by policy</html>", unavailable),
        (404, "Not Found", unavailable),
        (407, "", unavailable),
        (408, r#"{"error":"invalid_client"}"#, unavailable),
        (302, "", unavailable),
        (500, r#"{"error":"invalid_client"}"#, unavailable),
        (
            503,
            "<html><body>Service Unavailable</body></html>",
            unavailable,
        ),
        (429, "Too Many Requests", "throttled"),
    ];
    for (status, body, outcome) in table {
        let error = read_body(status, body).unwrap_err();
        assert_eq!(error.outcome(), outcome, "{status} {body}: {error:?}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn an_outage_that_has_a_number_tells_it() {
    let busy = "AADSTS90033: A transient error has occurred. Please try again.";
    let table = [
        (400, "temporarily_unavailable", "[90033]", ""),
        (400, "server_error", "null", busy),
        (400, "invalid_request", "[90033]", ""),
        (503, "temporarily_unavailable", "[90033]", busy),
    ];
    for (status, error, codes, description) in table {
        let body = format!(
            r#"{{"error":"{error}","error_codes":{codes},"error_description":"{description}"}}"#
        );
        let told = read_body(status, &body).unwrap_err();
        assert_eq!(told.outcome(), "unavailable", "{told:?}");
        let words = told.to_string();
        assert!(
            words.contains(error) && words.contains("AADSTS90033"),
            "{words}"
        );
        assert_eq!(words.contains("503"), status == 503, "{words}");
    }
}

#[test]
fn retry_after_is_read_from_throttle_and_outage() {
    let minute = Some(Duration::from_secs(60));
    let error = read_with(429, Some("60"), "Too Many Requests").unwrap_err();
    assert_eq!(
        error,
        TokenError::Throttled {
            retry_after: minute
        }
    );
    let error = read_with(503, Some("Sun, 06 Nov 1994 08:50:37 GMT"), "").unwrap_err();
    assert_eq!(
        error,
        TokenError::Unavailable {
            cause: Cause::Status(503),
            retry_after: minute
        }
    );
}

#[test]
fn descriptions_are_one_line_and_never_hold_the_secret() {
    let body = format!(
        r#"{{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret {SECRET} provided. Trace ID: 1-2-3 Correlation ID: 4\r\nTimestamp: now"}}"#
    );
    let error = read_body(401, &body).unwrap_err();
    assert_eq!(
        error,
        TokenError::Refused {
            provider: Provider::Microsoft,
            error: "invalid_client".to_owned(),
            description: "AADSTS7000215: Invalid client secret [secret] provided.".to_owned(),
            codes: vec![7_000_215],
        }
    );
    assert!(error.hint().contains("Secret ID"), "{}", error.hint());
    let long = format!(
        r#"{{"error":"{0}","error_description":"\u001b[31m{0}"}}"#,
        "x".repeat(5000)
    );
    let error = read_body(400, &long).unwrap_err();
    assert!(error.to_string().len() < 800 && !error.to_string().contains('\u{1b}'));
}

#[test]
fn a_grant_does_not_print_its_token() {
    let grant = read_body(200, r#"{"access_token":"t0k3n-value","expires_in":3599}"#).unwrap();
    assert!(!format!("{grant:?} {grant:#?}").contains("t0k3n"));
}
