//! Proxies are used where an endpoint says so, whatever the environment holds; and what a request
//! tells of others: nothing.

use super::{QUICK, expect_at};
use crate::{
    endpoint_faults::desk::{Desk, Fault},
    world::{Settings, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_used_where_an_endpoint_says_so_and_nowhere_else() {
    let (direct, by_environment, by_endpoint) = (Desk::default(), Desk::default(), Desk::default());
    let straight = direct.listen(0, None).await;
    let environment = by_environment.listen(0, None).await;
    let own = by_endpoint.listen(0, None).await;
    let mut world = World::new(Settings::default()).await;
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ] {
        let value = format!("http://127.0.0.1:{environment}");
        world.environment.push((name.to_owned(), value));
    }
    let common = "secret = { env = \"HOOK_SECRET\" }\nallow_plaintext = true\n";
    world.settings.more = format!(
        "[endpoints.none]\nurl = \"http://localhost:{straight}/none\"\n{common}{QUICK}\
         [endpoints.env]\nurl = \"http://hooks.invalid/env\"\nproxy = \"env\"\n{common}{QUICK}\
         [endpoints.own]\nurl = \"http://hooks.invalid/own\"\nproxy = \"http://localhost:{own}\"\nstrict_addresses = true\n{common}{QUICK}"
    );
    world.settings.endpoints = "\"tickets\", \"none\", \"env\", \"own\"";
    world.start();
    world.expect_watching(1).await;
    world.burst(0, 2);
    expect_at(&world, &direct, "/none", 2).await;
    expect_at(&world, &by_environment, "http://hooks.invalid/env", 2).await;
    expect_at(&world, &by_endpoint, "http://hooks.invalid/own", 2).await;
    world.expect_account().await;
    assert_eq!(by_environment.paths(), ["http://hooks.invalid/env"]);
    assert_eq!(by_endpoint.paths(), ["http://hooks.invalid/own"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_carries_nothing_from_the_one_before_it() {
    let desk = Desk::default();
    desk.set(
        "/cookies",
        Fault::Answer(
            200,
            "set-cookie: session=of-the-receiver; Path=/\r\nlocation: /else",
        ),
    );
    let port = desk.listen(0, None).await;
    let mut world = World::new(Settings::default()).await;
    world.settings.more = format!(
        "[endpoints.cookies]\nurl = \"http://127.0.0.1:{port}/cookies\"\nsecret = {{ env = \"HOOK_SECRET\" }}\n{QUICK}"
    );
    world.settings.endpoints = "\"tickets\", \"cookies\"";
    world.start();
    world.expect_watching(1).await;
    world.burst(0, 3);
    expect_at(&world, &desk, "/cookies", 3).await;
    for seen in desk.seen("/cookies") {
        let head = seen.head.to_lowercase();
        for name in ["cookie:", "referer:", "accept-encoding:", "forwarded"] {
            assert!(!head.contains(name), "{head}");
        }
        assert!(head.contains("user-agent: postrider/"), "{head}");
    }
    assert_eq!(desk.paths(), ["/cookies"]);
}
