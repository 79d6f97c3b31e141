//! End to end, on real servers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod support;

mod e2e {
    mod dovecot_itself;
    mod raw_client;

    mod figures;
    mod world;

    mod continuity;
    mod crash;
    mod logins;
    mod server;
    mod thousand;
}
