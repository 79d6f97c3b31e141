//! The figures as text: for the terminal, and for its place in docs/PERFORMANCE.md.

use std::{fmt::Write as _, fs};

use crate::{
    backlog::Backlog,
    catchup::{self, CatchUp},
    daemon::Memory,
    latency::Latency,
    memory::Row,
};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PERFORMANCE.md");
const BEGIN: &str = "<!-- bench: from here on `make bench` writes -->\n";
const END: &str = "<!-- bench: to here -->\n";

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        assert!(!samples.is_empty(), "nothing was measured");
        samples.sort_by(f64::total_cmp);
        let at = |part: usize| samples[(samples.len() * part / 100).min(samples.len() - 1)];
        Self {
            p50: at(50),
            p95: at(95),
            p99: at(99),
            max: at(100),
        }
    }

    fn cells(&self) -> String {
        format!(
            "{:.2} | {:.2} | {:.2} | {:.1}",
            self.p50, self.p95, self.p99, self.max
        )
    }
}

pub(crate) struct Report {
    machine: Vec<(&'static str, String)>,
    load: f64,
    pub(crate) load_after: f64,
    pub(crate) disk: Spread,
    pub(crate) latency: Option<Latency>,
    pub(crate) catchup: Option<CatchUp>,
    pub(crate) memory: Vec<Row>,
    pub(crate) backlog: Option<Backlog>,
}

impl Report {
    pub(crate) fn new(machine: Vec<(&'static str, String)>, load: f64) -> Self {
        Self {
            machine,
            load,
            load_after: load,
            disk: Spread::default(),
            latency: None,
            catchup: None,
            memory: Vec::new(),
            backlog: None,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::from("Command: `make bench`\n\n| | |\n|---|---|\n");
        for (name, what) in &self.machine {
            line(&mut text, &format!("| {name} | {what} |"));
        }
        line(
            &mut text,
            &format!(
                "| load before and after | {:.1}, {:.1} |",
                self.load, self.load_after
            ),
        );
        self.latency_text(&mut text);
        self.catchup_text(&mut text);
        self.memory_text(&mut text);
        self.backlog_text(&mut text);
        text
    }

    fn backlog_text(&self, text: &mut String) {
        let Some(backlog) = &self.backlog else { return };
        line(text, "\n### A claim and a settlement, in ms\n");
        line(text, "| | p50 | p95 | p99 | max |\n|---|---|---|---|---|");
        line(
            text,
            &format!("| nothing else waits | {} |", backlog.alone.cells()),
        );
        line(
            text,
            &format!(
                "| {} deliveries wait at a dead endpoint | {} |",
                backlog.pending,
                backlog.beside.cells()
            ),
        );
        line(
            text,
            "\nOn the store itself, one delivery after the other; both are commits of their own.",
        );
    }

    fn latency_text(&self, text: &mut String) {
        let commit = self.disk.p50;
        line(text, "\n### Latency, in ms\n");
        line(text, "| | p50 | p95 | p99 | max |\n|---|---|---|---|---|");
        line(
            text,
            &format!(
                "| the disk's own commit (4 KiB written, fdatasync) | {} |",
                self.disk.cells()
            ),
        );
        let Some(latency) = &self.latency else { return };
        line(
            text,
            &format!(
                "| **added: a bare client's EXISTS to the event received** | {} |",
                latency.added.cells()
            ),
        );
        line(
            text,
            &format!(
                "| two bare clients of one mailbox see its EXISTS apart by | {} |",
                latency.apart.cells()
            ),
        );
        line(
            text,
            &format!(
                "| message accepted by Dovecot to the event received | {} |",
                latency.whole.cells()
            ),
        );
        let aim = 2.0 + 1.5 * commit;
        line(
            text,
            &format!(
                "\n{} messages at random gaps over {} watched mailboxes, each with a bare IDLE client beside. \
                 Aims: p50 at most 2 ms + 1.5 × the disk's p50 = {aim:.2} ms: {}; p99 below 9 ms: {}.",
                latency.messages,
                latency.mailboxes,
                judged(latency.added.p50 <= aim),
                judged(latency.added.p99 < 9.0)
            ),
        );
        let steps: Vec<String> = latency
            .steps
            .iter()
            .map(|(name, ms)| format!("{name} {ms:.2}"))
            .collect();
        line(
            text,
            &format!(
                "By the daemon's own metrics, mean ms: {}. CPU per message: {:.2} ms. \
                 inotify instances allowed to the server: {}.",
                steps.join(", "),
                latency.cpu_ms,
                latency.inotify_instances
            ),
        );
    }

    fn catchup_text(&self, text: &mut String) {
        let Some(catchup) = &self.catchup else { return };
        line(
            text,
            &format!(
                "\n### Catch-up: {} messages of {} bytes, to the last 2xx\n",
                catchup.messages, catchup.bytes
            ),
        );
        line(
            text,
            "| | events per second | CPU per event |\n|---|---|---|",
        );
        for run in &catchup.runs {
            line(
                text,
                &format!(
                    "| `max_in_flight = {}`, from the start of the process | {:.0} | {:.3} ms |",
                    run.max_in_flight,
                    run.rate(catchup.messages),
                    run.cpu_ms
                ),
            );
        }
        line(
            text,
            &format!(
                "| one bare pipelined `UID FETCH` of the same, thrown away | {:.0} | |",
                catchup.bare
            ),
        );
        let mut rates: Vec<f64> = catchup
            .runs
            .iter()
            .filter(|run| run.max_in_flight == catchup::MAX_IN_FLIGHT)
            .map(|run| run.rate(catchup.messages))
            .collect();
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        line(
            text,
            &format!(
                "\nAim: at least 3,000 events per second with {} in flight: {} (median {median:.0}).",
                catchup::MAX_IN_FLIGHT,
                judged(median >= 3000.0)
            ),
        );
    }

    fn memory_text(&self, text: &mut String) {
        let Some(first) = self.memory.first() else {
            return;
        };
        line(
            text,
            &format!(
                "\n### Memory per idle TLS mailbox (certificate chain of {} bytes)\n",
                first.chain_bytes
            ),
        );
        line(
            text,
            "| mailboxes | after the start | sessions replaced twice | ten mails each | at most | slope | slope | slope |",
        );
        line(text, "|---|---|---|---|---|---|---|---|");
        let mib = |bytes: f64| format!("{:.1}", bytes / 1_048_576.0);
        let cell = |memory: &Memory| format!("{} ({})", mib(memory.pss), mib(memory.pss_anon));
        let mut before: Option<&Row> = None;
        let mut worst: Option<f64> = None;
        for row in &self.memory {
            let slopes: Vec<String> = before.map_or(vec![String::new(); 3], |before| {
                let more = (row.mailboxes - before.mailboxes) as f64 * 1024.0;
                let slope = |at: fn(&Row) -> &Memory| (at(row).pss - at(before).pss) / more;
                let all: [fn(&Row) -> &Memory; 3] =
                    [|row| &row.fresh, |row| &row.replaced, |row| &row.worn];
                let all = all.map(slope);
                worst = all.into_iter().chain(worst).reduce(f64::max);
                all.map(|kib| format!("{kib:.1} KiB")).to_vec()
            });
            line(
                text,
                &format!(
                    "| {} | {} | {} | {} | {} | {} |",
                    row.mailboxes,
                    cell(&row.fresh),
                    cell(&row.replaced),
                    cell(&row.worn),
                    mib(row.worn.peak),
                    slopes.join(" | ")
                ),
            );
            before = Some(row);
        }
        line(
            text,
            &format!(
                "\nPSS in MiB, in parentheses what of it is anonymous, in one daemon: after its start; after every session was \
                 replaced twice, before its token ended; and after ten mails of 5 KiB passed each mailbox, each time to \
                 all of them at once; \"at most\" is the most that was ever resident. The slopes are PSS per mailbox from \
                 one row to the next, in the same order. Aim: at most 25 KiB: {}.",
                worst.map_or("one row has no slope", |worst| judged(worst <= 25.0))
            ),
        );
    }

    /// Puts the figures into their place in the document.
    pub(crate) fn write(&self) {
        let document = fs::read_to_string(DOCUMENT).unwrap();
        let (head, rest) = document
            .split_once(BEGIN)
            .expect("the marker that begins the figures");
        let (_, tail) = rest
            .split_once(END)
            .expect("the marker that ends the figures");
        fs::write(
            DOCUMENT,
            format!("{head}{BEGIN}\n{}\n{END}{tail}", self.text()),
        )
        .unwrap();
    }
}

fn judged(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

fn line(text: &mut String, words: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{words}");
}
