//! Command lines that pages show are command lines that the program takes.

use std::{fs, path::PathBuf};

use clap::Parser;

use crate::cli::args::Cli;

fn page(name: &str) -> String {
    let repository = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    fs::read_to_string(repository.join(name)).unwrap()
}

/// Lines of the fenced shell blocks that call the program, without comment and redirection.
fn fenced(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    blocks
        .flat_map(str::lines)
        .map(str::trim)
        .filter(|line| line.starts_with("postrider "))
        .map(|line| line.split(" #").next().unwrap_or_default())
        .map(|line| line.split(" > ").next().unwrap_or_default().to_owned())
        .collect()
}

/// Calls between backticks in the text, which may go over the end of a line.
fn inline(page: &str) -> Vec<String> {
    let text: String = page.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.starts_with("postrider ") && !code.contains('…'))
        .map(str::to_owned)
        .collect()
}

/// As a shell splits it, as far as the pages go.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn all_parse(lines: &[String]) {
    let wrong: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            let error = Cli::try_parse_from(words(line)).err()?;
            Some(format!("{line}\n{error}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_line_of_the_exchange_page_is_one() {
    let page = page("docs/EXCHANGE.md");
    let lines = [fenced(&page), inline(&page)].concat();
    assert!(lines.len() > 20, "{lines:?}");
    all_parse(&lines);
}

#[test]
fn the_command_lines_of_other_pages_are_some_too() {
    for name in ["README.md", "docs/OPERATIONS.md"] {
        let lines = fenced(&page(name));
        assert!(!lines.is_empty(), "{name}");
        all_parse(&lines);
    }
}

#[test]
fn a_line_is_split_as_a_shell_would() {
    assert_eq!(
        words("postrider explain support --message-id \"<a b@c>\""),
        ["postrider", "explain", "support", "--message-id", "<a b@c>"]
    );
}
