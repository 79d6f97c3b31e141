//! Figures for the documents: printed, and kept in `target/e2e-figures.txt` as `name value unit`.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

/// Notes a figure in place of an older one of the same name. Tests run at the same time, in
/// processes of their own, so the file is locked meanwhile.
#[expect(clippy::print_stdout, reason = "a figure is for whoever runs the test")]
pub(super) fn figure(name: &str, value: f64, unit: &str) {
    println!("figure: {name} {value:.1} {unit}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join("e2e-figures.txt"))
        .unwrap();
    file.lock().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    let mut lines: BTreeMap<&str, String> = text
        .lines()
        .filter_map(|line| Some((line.split_once(' ')?.0, line.to_owned())))
        .collect();
    lines.insert(name, format!("{name} {value:.1} {unit}"));
    let new: String = lines.values().map(|line| format!("{line}\n")).collect();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.set_len(0).unwrap();
    file.write_all(new.as_bytes()).unwrap();
}
