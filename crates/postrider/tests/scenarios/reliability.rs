//! `docs/RELIABILITY.md`: written by `make prove` from the figures of its last run, and held against
//! the list of faults by every test run.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    faults::{FAULTS, Layer, TWO_AT_ONCE},
    listed::{ON_DOVECOT, SIMULATED, TESTED},
    prove,
};

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

/// Every fault that has to have a row, in the order of the page.
fn expected() -> Vec<String> {
    let live = FAULTS.iter().map(|row| row.2).chain([TWO_AT_ONCE]);
    let dovecot = ON_DOVECOT.iter().map(|row| row.0);
    let simulated = SIMULATED.iter().map(|row| row.1);
    let tested = TESTED.iter().map(|row| row.1);
    let all = live.chain(dovecot).chain(simulated).chain(tested);
    all.map(str::to_owned).collect()
}

/// The first cells of the tables whose first column is `fault`.
fn rows(page: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells[..] {
            ["", "fault", ..] => is_inside = true,
            ["", first, ..] if is_inside && !first.starts_with("---") => {
                rows.push(first.to_owned());
            }
            ["", _, ..] => {}
            _ => is_inside = false,
        }
    }
    rows
}

#[test]
fn the_reliability_page_has_a_row_for_every_fault_and_no_other() {
    let path = root().join("docs/RELIABILITY.md");
    if std::env::var_os("POSTRIDER_PROVE_WRITE").is_some() {
        fs::write(&path, page(&Run::read())).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(rows(&page), expected(), "`make prove` writes the page anew");
}

#[test]
fn every_test_that_the_list_of_faults_names_is_there() {
    let mut missing = Vec::new();
    let dovecot = ON_DOVECOT
        .iter()
        .map(|row| ("postrider/tests/e2e", std::slice::from_ref(&row.1)));
    let tested = TESTED.iter().map(|row| (row.0, row.2));
    for (place, tests) in dovecot.chain(tested) {
        let sources = sources(&root().join("crates").join(place));
        for test in tests {
            if !sources.contains(&format!("fn {test}()")) {
                missing.push(format!("{place}: {test}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// All files of a folder and the folders in it, as one text.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap();
    let texts = entries.map(|entry| match entry.unwrap().path() {
        path if path.is_dir() => sources(&path),
        path => fs::read_to_string(path).unwrap(),
    });
    texts.collect()
}

/// What `make prove` left behind.
struct Run {
    live: Value,
    /// Lines of `name value unit`.
    dovecot: Vec<String>,
    seeds: String,
    tally: BTreeMap<String, u64>,
    expiry: Value,
    lag: Value,
    places: Value,
}

impl Run {
    fn read() -> Self {
        let folder = prove::folder();
        let text = |path: &Path| {
            let read = fs::read_to_string(path);
            read.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let json = |name: &str| serde_json::from_str(&text(&folder.join(name))).unwrap();
        let simulation = text(&folder.join("simulation.txt"));
        let tally = simulation.lines().filter_map(|line| {
            let (name, count) = line.trim().trim_end_matches(',').split_once("\": ")?;
            Some((name.strip_prefix('"')?.to_owned(), count.parse().ok()?))
        });
        let dovecot = text(&folder.with_file_name("e2e-figures.txt"));
        Self {
            live: json("faults.json"),
            dovecot: dovecot.lines().map(str::to_owned).collect(),
            seeds: text(&folder.join("simulation-seeds.txt")).trim().to_owned(),
            tally: tally.collect(),
            expiry: json("expiry.json"),
            lag: json("lag.json"),
            places: json("places.json"),
        }
    }
}

fn page(run: &Run) -> String {
    let mut page = format!(
        "{HEAD}\n## In the running daemon\n\n{LIVE}\n\n{}\n\n",
        extent(run)
    );
    live_table(&mut page, run);
    write!(
        page,
        "\n{}\n\n## On a real Dovecot\n\n{DOVECOT}\n\n",
        removed(run)
    )
    .unwrap();
    dovecot_table(&mut page, run);
    write!(page, "\n## Tokens that end\n\n{}\n", expiry(run)).unwrap();
    write!(page, "\n## Endpoints beside one another\n\n{}\n", lag(run)).unwrap();
    write!(
        page,
        "\n## Deaths between claim and settlement\n\n{}\n",
        deaths(run)
    )
    .unwrap();
    write!(page, "\n## In the simulation\n\n{SIMULATION}\n\n").unwrap();
    writeln!(page, "{} seeds, no rule broken.\n", run.seeds).unwrap();
    page.push_str("| fault | injected | lost |\n|---|---|---|\n");
    for (key, name) in SIMULATED {
        let times = run.tally.get(*key).unwrap_or_else(|| panic!("no {key}"));
        writeln!(page, "| {name} | {times} times | 0 |").unwrap();
    }
    write!(page, "\n## In tests of their own\n\n{OWN}\n\n").unwrap();
    page.push_str("| fault | where | test |\n|---|---|---|\n");
    for (place, name, tests) in TESTED {
        let tests = tests.join("`, `");
        writeln!(page, "| {name} | `crates/{place}` | `{tests}` |").unwrap();
    }
    page.push_str(TAIL);
    page
}

fn extent(run: &Run) -> String {
    let rows = run.live["rows"].as_object().unwrap();
    let sum = |what: &str| -> u64 { rows.values().filter_map(|row| row[what].as_u64()).sum() };
    format!(
        "Last run: {} seed(s), {:.0} minutes, {} rounds, {} messages that had to arrive, 0 lost, {} requests that the receiver had already, all with the id that it knew.",
        run.live["seeds"].as_array().unwrap().len(),
        run.live["minutes"].as_f64().unwrap(),
        sum("times"),
        sum("messages"),
        sum("repeats"),
    )
}

fn live_table(page: &mut String, run: &Run) {
    page.push_str("| fault | layer | times | messages | lost | repeated | recovery p50 | slowest | memory |\n|---|---|---|---|---|---|---|---|---|\n");
    let paired = (Layer::Process, TWO_AT_ONCE);
    let rows = FAULTS.iter().map(|row| (row.1, row.2)).chain([paired]);
    for (layer, name) in rows {
        let row = &run.live["rows"][name];
        assert!(row.is_object(), "no figures of: {name}; run more seeds");
        let layer = if name == TWO_AT_ONCE {
            "two of them".to_owned()
        } else {
            format!("{layer:?}").to_lowercase()
        };
        writeln!(
            page,
            "| {name} | {layer} | {} | {} | {} | {} | {:.1} s | {:.1} s | {:.0} MiB |",
            row["times"],
            row["messages"],
            row["lost"],
            row["repeats"],
            row["recovery_p50_s"].as_f64().unwrap(),
            row["recovery_max_s"].as_f64().unwrap(),
            row["memory_mib"].as_f64().unwrap(),
        )
        .unwrap();
    }
}

/// What the run through many expiries came to.
fn expiry(run: &Run) -> String {
    let figures = &run.expiry;
    let seconds = |what: &str| figures[what].as_f64().unwrap();
    format!(
        "{} mailboxes share the tokens of one application, which live {} s in place of an hour; after {:.0} minutes each session had been\n\
         replaced again and again ({} logins). {} messages, {} lost, {} repeated. One mail of each two went to a mailbox with a password: the event\n\
         of the other came at most {:.2} s later than its neighbour's (p99 {:.2} s; the aim is 2 s). {} token requests in {} refresh periods.",
        figures["mailboxes"],
        figures["lifetime_s"],
        seconds("minutes"),
        figures["logins"],
        figures["messages"],
        figures["lost"],
        figures["repeats"],
        seconds("later_max_s"),
        seconds("later_p99_s"),
        figures["token_requests"],
        figures["refresh_periods"],
    )
}

/// What a dead and a slow endpoint did to a healthy one.
fn lag(run: &Run) -> String {
    let figures = &run.lag;
    let milliseconds = |what: &str| figures[what].as_f64().unwrap();
    let (well, beside) = (milliseconds("p95_well_ms"), milliseconds("p95_beside_ms"));
    format!(
        "{} events at {} per second to three endpoints each: the first half with all three well, in the second half one refuses connections and one\n\
         takes a second for each answer. p95 from the message's arrival at the server to its event at the third: {well:.1} ms with all well, {beside:.1} ms\n\
         beside the two ({:.2} times; the aim is at most 2). At the end {} deliveries were pending at the other two.",
        figures["events"],
        figures["per_second"],
        beside / well,
        figures["pending"],
    )
}

/// What dying at every named place came to.
fn deaths(run: &Run) -> String {
    let figures = &run.places;
    format!(
        "The process ended itself {} times, in turn at {} named places from the claim of a delivery to its settlement, at the first to fifth time that\n\
         it came there: {} messages, {} lost, {} requests that the receiver had before (at most what was in flight: 4 at each death).",
        figures["deaths"],
        figures["places"],
        figures["messages"],
        figures["lost"],
        figures["repeats"],
    )
}

/// What the accepted loss came to.
fn removed(run: &Run) -> String {
    let name = FAULTS
        .iter()
        .find(|row| row.0 == crate::faults::Fault::Removed);
    let row = &run.live["rows"][name.unwrap().2];
    format!(
        "Messages that were removed from the server at most 6 ms after their arrival: {}, of which {} were read in time and became events. The others are no part of \"messages\" above, because nobody can read them any more.",
        row["removed"], row["removed_but_read"]
    )
}

fn dovecot_table(page: &mut String, run: &Run) {
    page.push_str("| fault | test | figures of the last run |\n|---|---|---|\n");
    for (name, test, prefix) in ON_DOVECOT {
        let figures: Vec<String> = run
            .dovecot
            .iter()
            .filter_map(|line| Some(line.strip_prefix(prefix)?.replace('_', " ")))
            .collect();
        let figures = if figures.is_empty() {
            "passed".to_owned()
        } else {
            figures.join("; ")
        };
        writeln!(page, "| {name} | `{test}` | {figures} |").unwrap();
    }
}

const HEAD: &str = "# Reliability

Written by `make prove`, which ends at the first loss and then writes nothing; `cargo test` holds the rows against the lists of faults
in `crates/postrider/tests/scenarios` (`faults.rs`, `listed.rs`). The figures are from the last run, on 2 cores with Debian 12, with the
development build, whose arithmetic and assertions are checked. More: `POSTRIDER_PROVE_SEEDS=20 POSTRIDER_SIM_SEEDS=1000000 make prove`.

What \"lost\" means: a message that was put into a watched folder and, once the fault was over, did not arrive at the receiver. After each
fault the account is added up as well: the sums of ledger and deliveries, nothing pending, no request with a wrong signature, no two
ids for one message over the whole run, and nothing changed in the mailbox. \"Repeated\" counts requests that the receiver had read
in full before, without having refused them; each carries the id of the first.
";

const LIVE: &str = "A real daemon process watches 5 mailboxes of the sandbox's server (TLS, XOAUTH2 with one application's token) through a proxy that
breaks, while mail of 0.3 to 200 KB arrives at random gaps. A seed has every fault alone and 8 pairs, in random order, for random
times. Recovery counts from the end of the cause (for what ends by itself: from its beginning) until all mail has arrived and all
mailboxes are watched. Memory is the most that the process held in the round (VmHWM). `make test` runs a sample of six.";

const DOVECOT: &str = "The daemon on a Dovecot that the tests start, mail by LMTP, events verified by the `standardwebhooks` crate; five times the messages
that `make test` sends. Every one of these tests ends by finding nothing lost and the account adding up.";

const SIMULATION: &str = "The watch against a model server and a model store, in random transitions from seeds, with the invariants held after every step.";

const OWN: &str = "These pass or fail at every `make test`, and count nothing.";

const TAIL: &str = "
## What is accepted

- **A message that is removed from the server before it is read** is gone: by another client, by a rule, or while postrider is down or held
  up by a full disk. The ledger has it as `vanished` where a survey had seen it; where not, nobody knows of it.
- **A message that the server does not hand out** (no body, garbage, a connection that ends in its middle, three times) is quarantined and
  counted, not sent. It is not lost silently, and it is not an event.
- **Repeats.** A receiver that closes before it answers, or a process that is killed between request and commit, makes a repeat. At a
  kill that is at most `max_in_flight` per endpoint.
- **Slow by intention.** A login that worked before and is refused is tried again within seconds; one that never worked after a minute,
  later after half an hour, because servers lock accounts that are tried too often (`postrider mailboxes resync KEY` tries at once). A
  connection that a firewall swallowed is found out by a deadline: 15 s after the end of the `idle_cycle`, 60 s where a command was under
  way.

## What this does not show

- No Exchange Online was at hand: its behaviour is that of the sandbox, after its documentation. Dovecot is the only real server here.
- Throttling, \"authenticated but not connected\", token endpoints in trouble, freezing lines, full disks and reused UIDs are tested on the
  sandbox only.
- Power failure: processes are killed, machines are not. The store commits with `synchronous=FULL`; what the disk does with that is the
  disk's.
- Recovery times are with an `idle_cycle` of 5 s and `examine_every` of 10 s, shorter than the defaults, where mail is only found at
  the end of a cycle.
";
