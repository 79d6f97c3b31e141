//! What the figures were taken on.

use std::{fs, path::Path, process::Command};

/// Lines of `name: what`.
pub(crate) fn describe(store: &Path) -> Vec<(&'static str, String)> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        (
            "CPU",
            format!(
                "{cpus} × {}",
                field("/proc/cpuinfo", "model name").unwrap_or_default()
            ),
        ),
        ("memory", memory()),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        (
            "system",
            field("/etc/os-release", "PRETTY_NAME").unwrap_or_default(),
        ),
        ("store on", file_system(store)),
        (
            "mail server",
            format!("Dovecot {}", output("dovecot", "--version")),
        ),
        ("built by", output("rustc", "--version")),
    ]
}

/// Processes that ran or wanted to, as a mean of the last minute.
pub(crate) fn load() -> f64 {
    let text = read("/proc/loadavg");
    text.split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or_default()
}

fn memory() -> String {
    let text = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kib: f64 = text.trim_end_matches(" kB").parse().unwrap_or_default();
    format!("{:.0} GiB", kib / 1_048_576.0)
}

/// The type of the file system, from the mount whose path is the longest one above.
fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = read("/proc/mounts");
    let fitting = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        folder.starts_with(at).then(|| (at.len(), kind.to_owned()))
    });
    fitting.max().map(|(_, kind)| kind).unwrap_or_default()
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = read(file);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line?.trim_start_matches([' ', '\t', ':', '=']);
    Some(value.trim_matches('"').to_owned())
}

fn read(file: &str) -> String {
    fs::read_to_string(file)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn output(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
