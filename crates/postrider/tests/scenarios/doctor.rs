//! `postrider doctor` and the daily proof: each wrong set-up is named, one is told from the other,
//! and three hundred mailboxes are summed up by cause.

use postrider_sandbox::{
    imap::{Profile, Scope, Ungranted},
    mailboxes::Access,
    token_endpoint::{TokenConfig, TokenTrouble},
};
use serde_json::Value;

use crate::{
    tenant::Tenant,
    world::{Settings, World},
};

const FAST: &str = "[limits]\nlogins_per_second = 500\nlogin_burst = 500\n";

fn settings(mailboxes: usize) -> Settings {
    Settings {
        mailboxes,
        profile: Profile::exchange(),
        more: FAST.to_owned(),
        ..Settings::default()
    }
}

async fn tenant(mailboxes: usize) -> Tenant {
    let tenant = Tenant::new(settings(mailboxes), TokenConfig::default()).await;
    tenant.world.write_config();
    tenant
}

/// What it says, and its exit code.
fn doctor(world: &World, arguments: &[&str]) -> (Value, i32) {
    let output = world
        .command()
        .arg("doctor")
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let told = serde_json::from_str(&text).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("{error}: {text}{said}")
    });
    (told, output.status.code().unwrap())
}

#[track_caller]
fn assert_cause(world: &World, cause: &str, exit: i32) -> Value {
    let (told, code) = doctor(world, &["box0", "--no-ping"]);
    let diagnosis = &told["mailboxes"][0]["diagnosis"];
    assert_eq!(diagnosis["cause"], cause, "{told:#}");
    assert_eq!(code, exit, "{told:#}");
    assert!(diagnosis["fix"][0].is_string(), "{told:#}");
    diagnosis.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_mailbox_passes_every_step_and_nothing_is_changed() {
    let tenant = tenant(1).await;
    let world = &tenant.world;
    world.deliver(0);
    let (told, code) = doctor(world, &["box0"]);
    assert_eq!(code, 0, "{told:#}");
    let steps: Vec<&str> = told["mailboxes"][0]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    let expected = [
        "config", "dns", "tcp", "tls", "clock", "token", "claims", "login", "probe", "folder",
        "idle", "fetch", "endpoint",
    ];
    assert_eq!(steps, expected, "{told:#}");
    let remark = told["mailboxes"][0]["remarks"][0].as_str().unwrap();
    assert!(
        remark.contains(
            "'box0@example.org' -ImapUseProtocolDefaults $false -ImapSuppressReadReceipt $true"
        ),
        "{remark}"
    );
    let pinged = world.receiver.received();
    assert_eq!(pinged.len(), 1);
    assert_eq!(pinged[0].json()["type"], "ping");
    assert!(world.server.violations().is_empty());
    assert!(
        !world.dir.path().join("postrider.db").exists(),
        "it has no business in the store"
    );
}

/// The table of what a wrong set-up looks like.
#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_set_up_is_named() {
    let mut tenant = tenant(1).await;
    let good = TokenConfig::default();
    tenant.tokens.change(|config| config.roles = Vec::new());
    assert_cause(&tenant.world, "app_consent_missing", 1);
    tenant
        .tokens
        .change(|config| config.roles = vec!["POP.AccessAsApp".to_owned()]);
    assert_cause(&tenant.world, "app_permission_missing", 1);
    tenant.tokens.change(|config| {
        config.roles = good.roles.clone();
        config.audience = "https://graph.microsoft.com".to_owned();
    });
    assert_cause(&tenant.world, "token_for_graph", 1);
    tenant.tokens.change(|config| {
        config.audience = good.audience.clone();
        config.claims.scp = Some("IMAP.AccessAsUser.All".to_owned());
    });
    assert_cause(&tenant.world, "user_token_for_application", 1);
    tenant.tokens.change(|config| config.claims.scp = None);
    let user = tenant.world.users[0].clone();
    let ungranted = Access::tokens(&tenant.authority).ungranted();
    tenant.world.mailboxes.add_account(&user, ungranted);
    for how in [Ungranted::Refused, Ungranted::LogonDenied] {
        tenant
            .world
            .server
            .levers(Scope::Server, |levers| levers.ungranted = how);
        let told = assert_cause(&tenant.world, "service_principal_missing", 1);
        let fix = told["fix"].to_string();
        assert!(
            fix.contains("New-ServicePrincipal -AppId '11111111-2222-3333-4444-555555555555' -ObjectId '99999999-8888-7777-6666-555555555555'"),
            "{told:#}"
        );
        let causes = told["or"].to_string();
        for other in [
            "service_principal_wrong_id",
            "mailbox_permission_missing",
            "mailbox_not_found",
        ] {
            assert!(causes.contains(other), "{told:#}");
        }
    }
    tenant.world.server.levers(Scope::Server, |levers| {
        levers.ungranted = Ungranted::NotConnected
    });
    let told = assert_cause(&tenant.world, "imap_disabled", 1);
    assert!(
        told.to_string()
            .contains("Set-CASMailbox -Identity 'box0@example.org' -ImapEnabled $true"),
        "{told:#}"
    );
    tenant
        .world
        .mailboxes
        .add_account(&user, Access::tokens(&tenant.authority));
    tenant.world.settings.folders = "\"Nowhere\"";
    tenant.world.write_config();
    assert_cause(&tenant.world, "folder_missing", 1);
}

/// One mailbox alone tells nothing of the application: others of the same credential do.
#[tokio::test(flavor = "multi_thread")]
async fn one_mailbox_alone_is_held_against_others_of_its_credential() {
    let tenant = tenant(3).await;
    let ungrant = |user: &str| {
        let ungranted = Access::tokens(&tenant.authority).ungranted();
        tenant.world.mailboxes.add_account(user, ungranted);
    };
    let logins = |user: &str| tenant.world.server.login_attempts(Scope::User(user)).len();
    ungrant(&tenant.world.users[0]);
    let told = assert_cause(&tenant.world, "mailbox_permission_missing", 1);
    assert!(
        told["evidence"]
            .to_string()
            .contains("other mailboxes are let in")
    );
    assert_eq!(logins(&tenant.world.users[1]), 1);
    assert_eq!(logins(&tenant.world.users[2]), 0, "one was enough");
    for user in &tenant.world.users[1..] {
        ungrant(user);
    }
    let told = assert_cause(&tenant.world, "service_principal_missing", 1);
    assert!(told["evidence"].to_string().contains("are refused too"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_by_itself_has_an_exit_code_of_its_own() {
    let tenant = tenant(1).await;
    tenant
        .tokens
        .set_trouble(TokenTrouble::Throttled { retry_after: 60 });
    assert_cause(&tenant.world, "token_endpoint_throttles", 75);
    tenant.tokens.set_trouble(TokenTrouble::Status(503));
    assert_cause(&tenant.world, "token_endpoint_unavailable", 75);
    tenant.tokens.set_trouble(TokenTrouble::None);
    tenant.tokens.down().await;
    assert_cause(&tenant.world, "token_endpoint_unreachable", 75);
    tenant.tokens.up().await.unwrap();
    tenant.world.receiver.down().await;
    let (told, code) = doctor(&tenant.world, &["box0"]);
    assert_eq!(code, 75, "{told:#}");
    assert_eq!(told["causes"][0]["cause"], "endpoint_unreachable");
    std::fs::write(tenant.world.config_path(), "instance = 5\n").unwrap();
    let output = tenant.world.command().arg("doctor").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
}

/// Entra's numbers, each through the real client, and the cause that it has to be.
#[tokio::test(flavor = "multi_thread")]
async fn each_number_of_entra_is_named() {
    let table: &[(&[u32], &str, i32)] = &[
        (&[7_000_215], "client_secret_wrong", 1),
        (&[7_000_222], "client_secret_expired", 1),
        (&[7_000_218], "client_credential_not_sent", 1),
        (&[700_016], "application_not_found", 1),
        (&[700_011, 70_001, 7_000_112], "application_disabled", 1),
        (&[90_002], "tenant_not_found", 1),
        (&[90_038, 900_382, 900_432], "wrong_cloud", 1),
        (&[700_027], "certificate_not_accepted", 1),
        (&[50_027, 50_012, 700_030], "assertion_rejected", 1),
        (&[70_021], "federated_credential_missing", 1),
        (&[70_011, 28_002, 28_003], "scope_invalid", 1),
        (&[1_002_012], "scope_lacks_default", 1),
        (&[700_022, 700_023], "scope_of_several_resources", 1),
        (&[500_011, 650_057, 50_001], "exchange_not_in_tenant", 1),
        (&[65_001, 90_094, 650_056], "consent_missing", 1),
        (&[50_034, 51_004, 50_020], "user_not_in_tenant", 1),
        (&[50_057], "user_disabled", 1),
        (
            &[50_076, 50_079, 50_074, 50_072],
            "interactive_sign_in_required",
            1,
        ),
        (&[50_055], "user_password_expired", 1),
        (&[50_126], "user_password_wrong", 1),
        (&[50_053], "user_locked", 1),
        (
            &[53_003, 53_000, 530_032, 530_035],
            "conditional_access_blocks",
            1,
        ),
        (&[700_082, 70_008, 70_000], "refresh_token_expired", 1),
        (&[50_173], "refresh_token_revoked", 1),
        (&[54_005], "code_already_used", 1),
        (&[50_011], "redirect_not_registered", 1),
        (&[50_194, 9_001_023, 90_130], "tenant_endpoint_needed", 1),
        (&[50_196], "request_loop", 75),
    ];
    let tenant = tenant(1).await;
    for (codes, cause, exit) in table {
        for code in *codes {
            tenant.tokens.set_trouble(TokenTrouble::Aadsts(*code));
            let told = assert_cause(&tenant.world, cause, *exit);
            assert!(
                told["evidence"].to_string().contains(&code.to_string()),
                "AADSTS{code}: {told:#}"
            );
        }
    }
    // What is busy says so and is no refusal; the number shows in what it says.
    for code in [90_055, 90_024, 90_033, 90_006, 90_012, 50_033, 50_000] {
        tenant.tokens.set_trouble(TokenTrouble::Aadsts(code));
        let (told, exit) = doctor(&tenant.world, &["box0", "--no-ping"]);
        assert_eq!(exit, 75, "AADSTS{code}: {told:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_mailboxes_are_summed_up_by_cause() {
    let tenant = tenant(300).await;
    let world = &tenant.world;
    for user in &world.users[..80] {
        let ungranted = Access::tokens(&tenant.authority).ungranted();
        world.mailboxes.add_account(user, ungranted);
    }
    for user in &world.users[80..88] {
        world
            .server
            .levers(Scope::User(user), |levers| levers.not_connected = true);
    }
    let (told, code) = doctor(world, &["--all"]);
    assert_eq!(code, 1);
    let all = told["mailboxes"].as_array().unwrap();
    assert_eq!(all.len(), 300);
    assert_eq!(all.iter().filter(|one| one["ok"] == true).count(), 212);
    let causes = told["causes"].as_array().unwrap();
    let sums: Vec<(&str, usize)> = causes
        .iter()
        .map(|one| {
            let count = one["mailboxes"].as_array().unwrap().len();
            (one["cause"].as_str().unwrap(), count)
        })
        .collect();
    assert_eq!(
        sums,
        [("mailbox_permission_missing", 80), ("imap_disabled", 8)]
    );
    let fix = causes[0]["fix"].as_array().unwrap();
    let once = fix.last().unwrap().as_str().unwrap();
    assert!(
        once.contains("'box79@example.org'")
            && once.ends_with("| ForEach-Object { Add-MailboxPermission -Identity $_ -User '99999999-8888-7777-6666-555555555555' -AccessRights FullAccess }"),
        "{once}"
    );
    assert_eq!(
        tenant.tokens.counters().issued,
        1,
        "one token for all of them"
    );
    assert_eq!(
        world.receiver.received().len(),
        1,
        "one ping for all of them"
    );
    assert!(world.server.violations().is_empty());
    let output = world.command().args(["doctor", "--all"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with("212 ok\n") && text.contains("80: mailbox permission missing (box0, "),
        "{text}"
    );
    assert!(!text.contains("eyJ"), "no token is shown");
}

const CEO: &str = "ceo@example.org";

/// A tenant with one mailbox, whose application must not open another.
async fn guarded() -> Tenant {
    let mut tenant = Tenant::new(settings(1), TokenConfig::default()).await;
    tenant.world.settings.credential += &format!("must_not_open = [\"{CEO}\"]\n");
    let ungranted = Access::tokens(&tenant.authority).ungranted();
    tenant.world.mailboxes.add_account(CEO, ungranted);
    tenant.world.write_config();
    tenant
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_stay_shut_is_proven_and_a_violation_is_told() {
    let tenant = guarded().await;
    let (told, code) = doctor(&tenant.world, &["--no-ping"]);
    assert_eq!(
        (&told["must_not_open"][0]["shown"], code),
        (&Value::from("refused"), 0)
    );
    // A refusal that everybody gets proves nothing.
    let user = tenant.world.users[0].clone();
    let ungranted = Access::tokens(&tenant.authority).ungranted();
    tenant.world.mailboxes.add_account(&user, ungranted);
    let (told, _) = doctor(&tenant.world, &["--no-ping"]);
    assert_eq!(told["must_not_open"][0]["shown"], "nothing", "{told:#}");
    let granted = || Access::tokens(&tenant.authority);
    tenant.world.mailboxes.add_account(&user, granted());
    tenant.world.mailboxes.add_account(CEO, granted());
    let (told, code) = doctor(&tenant.world, &["--no-ping"]);
    assert_eq!(
        (&told["must_not_open"][0]["shown"], code),
        (&Value::from("opened"), 1)
    );
    assert_eq!(
        told["must_not_open"][0]["fix"][2],
        format!(
            "Remove-MailboxPermission -Identity '{CEO}' -User '99999999-8888-7777-6666-555555555555' -AccessRights FullAccess"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_proves_it_by_itself() {
    let mut tenant = guarded().await;
    tenant.world.start();
    tenant.world.expect_watching(1).await;
    tenant
        .world
        .expect("the dated line", |world| {
            world.log().contains("refused as it must be")
        })
        .await;
    let metric = "postrider_must_not_open_last_proof_timestamp_seconds";
    assert!(tenant.world.metric(metric).await > 1e9);
    tenant
        .world
        .expect_metric("postrider_must_not_open_violations", 0.0)
        .await;
    assert!(
        !tenant.world.log().contains(CEO),
        "addresses are no matter of the log"
    );
    // The next process finds it open.
    tenant
        .world
        .mailboxes
        .add_account(CEO, Access::tokens(&tenant.authority));
    tenant.world.stop().await;
    tenant.world.start();
    tenant
        .world
        .expect("the violation told", |world| {
            let list = world.ask(&["events", "list", "--type", "credential.violation"]);
            list.is_ok_and(|list| list["events"][0]["subject"] == "lab")
        })
        .await;
    tenant
        .world
        .expect_metric("postrider_must_not_open_violations", 1.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_mailbox_is_diagnosed_at_run_time_as_well() {
    let mut tenant = Tenant::new(settings(2), TokenConfig::default()).await;
    let user = tenant.world.users[1].clone();
    let ungranted = Access::tokens(&tenant.authority).ungranted();
    tenant.world.mailboxes.add_account(&user, ungranted);
    tenant.world.server.levers(Scope::User(&user), |levers| {
        levers.login_delay = std::time::Duration::from_millis(800);
    });
    tenant.world.start();
    tenant.world.expect_state("box0", "watching").await;
    tenant.world.expect_state("box1", "auth_failed").await;
    let shown = tenant.world.mailbox("box1");
    let diagnosis = &shown["last_error"]["diagnosis"];
    assert_eq!(
        diagnosis["cause"], "mailbox_permission_missing",
        "{shown:#}"
    );
    let log = tenant.world.log();
    assert!(
        log.contains("mailbox_permission_missing") && !log.contains(&user),
        "{log}"
    );
    let list = tenant
        .world
        .ask(&["events", "list", "--type", "mailbox.auth_failed"])
        .unwrap();
    let id = list["events"][0]["id"].as_str().unwrap().to_owned();
    let event = tenant.world.ask(&["events", "show", &id]).unwrap();
    assert_eq!(
        event["data"]["cause"], "mailbox_permission_missing",
        "{event:#}"
    );
    let fix = event["data"]["fix"].as_str().unwrap();
    assert!(fix.contains("box1@example.org"), "{fix}");
    tenant
        .world
        .mailboxes
        .add_account(&user, Access::tokens(&tenant.authority));
    tenant.world.ask(&["mailboxes", "resync", "box1"]).unwrap();
}
