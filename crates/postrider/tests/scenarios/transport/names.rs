//! DNS rebinding: a name that leads to the receiver now and to something inside later. The daemon is
//! the real one with its own resolver and connector; only libc's answers are the test's (`names.c`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{QUICK, expect_at, expect_trouble};
use crate::{
    endpoint_faults::desk::{Desk, Fault},
    world::{Settings, World},
};

/// The one public address that is somewhere: see `names.c`.
const RECEIVER: &str = "93.184.215.14";

struct Names {
    folder: PathBuf,
}

impl Names {
    fn of(world: &mut World) -> Self {
        let folder = world.dir.path().to_owned();
        let library = folder.join("names.so");
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/transport/names.c");
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status();
        assert!(
            made.unwrap().success(),
            "cc is needed to build, and here too"
        );
        for (name, path) in [
            ("LD_PRELOAD", library),
            ("TEST_NAMES", folder.join("names")),
            ("TEST_CONNECTS", folder.join("connects")),
        ] {
            let value = path.display().to_string();
            world.environment.push((name.to_owned(), value));
        }
        Self { folder }
    }

    fn answer(&self, rebound: &[&str], inside: &[&str]) {
        let rebound = rebound.iter().map(|one| format!("rebound.test {one}\n"));
        let inside = inside.iter().map(|one| format!("inside.test {one}\n"));
        let beside = self.folder.join("names.new");
        fs::write(&beside, rebound.chain(inside).collect::<String>()).unwrap();
        fs::rename(beside, self.folder.join("names")).unwrap();
    }

    /// Addresses that something connected to at this port.
    fn reached(&self, port: u16) -> BTreeSet<String> {
        let text = fs::read_to_string(self.folder.join("connects")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let there = lines.filter(|(_, at)| *at == port.to_string());
        there.map(|(address, _)| address.to_owned()).collect()
    }
}

fn ping(world: &World, endpoint: &str) -> String {
    let told = world.ask(&["endpoints", "ping", endpoint]);
    told.map_or_else(|error| error, |json| json.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_bound_anew_is_not_followed_inside_by_the_daemon() {
    let desk = Desk::default();
    // Each request has a connection of its own, and so an answer of the resolver.
    for path in ["/rebound", "/inside"] {
        desk.set(path, Fault::Answer(200, "connection: close"));
    }
    let (strict, lenient) = (desk.listen(0, None).await, desk.listen(0, None).await);
    let mut world = World::new(Settings::default()).await;
    let names = Names::of(&mut world);
    names.answer(&[RECEIVER], &["127.0.0.1"]);
    let common = "secret = { env = \"HOOK_SECRET\" }\nallow_plaintext = true\n";
    world.settings.more = format!(
        "[endpoints.rebound]\nurl = \"http://rebound.test:{strict}/rebound\"\nstrict_addresses = true\n{common}{QUICK}\
         [endpoints.inside]\nurl = \"http://inside.test:{lenient}/inside\"\n{common}{QUICK}"
    );
    world.settings.endpoints = "\"tickets\", \"rebound\", \"inside\"";
    world.start();
    world.expect_watching(1).await;
    world.deliver(0);
    expect_at(&world, &desk, "/rebound", 1).await;
    expect_at(&world, &desk, "/inside", 1).await;
    names.answer(&["127.0.0.1"], &["169.254.169.254"]);
    world.deliver(0);
    expect_trouble(&world, "rebound", "rebound.test resolves to 127.0.0.1").await;
    expect_trouble(&world, "inside", "a cloud metadata service").await;
    for address in [
        "169.254.169.254",
        "168.63.129.16",
        "0.0.0.0",
        "::",
        "fe80::1",
        "ff02::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
    ] {
        names.answer(&[address], &[address]);
        for endpoint in ["rebound", "inside"] {
            let told = ping(&world, endpoint);
            assert!(told.contains("resolves to"), "{endpoint} {address}: {told}");
        }
    }
    for address in [
        "10.0.0.1",
        "100.64.0.1",
        "fc00::1",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
    ] {
        names.answer(&[address], &["169.254.169.254"]);
        let told = ping(&world, "rebound");
        assert!(told.contains("strict_addresses"), "{address}: {told}");
    }
    assert_eq!(desk.seen("/rebound").len(), 1);
    // Of several answers those that are allowed are taken.
    names.answer(
        &["127.0.0.1", RECEIVER, "::1", "169.254.169.254"],
        &["169.254.169.254", "127.0.0.1", "fe80::1"],
    );
    expect_at(&world, &desk, "/rebound", 2).await;
    expect_at(&world, &desk, "/inside", 2).await;
    world.expect_account().await;
    assert_eq!(names.reached(strict), BTreeSet::from([RECEIVER.to_owned()]));
    let here = BTreeSet::from(["127.0.0.1".to_owned()]);
    assert_eq!(names.reached(lenient), here);
}
