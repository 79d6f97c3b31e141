//! The command line. Commands that concern a running daemon go through its admin socket, never
//! to its database; what a command says is decided here, what the daemon does is not.

mod args;
mod failure;
mod output;

mod admin;
mod check;
mod client;
mod credentials;
mod daemon;
mod direct;
mod doctor;
mod endpoint_key;
mod endpoints;
mod events;
mod explain;
mod fold;
mod listen;
pub mod logging;
mod login;
mod mailbox_text;
mod mailboxes;
mod rekey;
mod reload;
mod render;
mod repair;
mod send_test;
mod setup;
mod source;
mod test_route;
mod token;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use args::{Cli, Command, Schema};
pub use args::{Demo, DemoProfile};
use clap::{CommandFactory, Parser};
use client::Client;
use failure::{Exit, Failure};

use crate::config;

/// The whole program: parses, does, and tells what went wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match perform(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell that standard error is gone.
            let _ = output::complain(&failure.to_string());
            failure.exit.into()
        }
    }
}

fn perform(cli: &Cli) -> Result<(), Failure> {
    let file = config_file(cli.config.as_deref());
    match &cli.command {
        Command::Run => daemon::run(&file),
        Command::Demo(demo) => daemon::demo(*demo),
        Command::CheckConfig(args) => check::check(&file, args, cli.json),
        Command::Schema {
            what: Schema::Config,
        } => output::print(&config::json_schema()),
        Command::Schema {
            what: Schema::Admin,
        } => output::print(&crate::admin::openapi::text()),
        Command::Schema {
            what: Schema::Event,
        } => output::print(&format!(
            "{:#}\n",
            postrider_webhook::payload::schema::document()
        )),
        Command::Completions { shell } => completions(*shell),
        Command::Status => ask(cli, &file, async |client| {
            mailboxes::status(client, cli.json).await
        }),
        Command::Mailboxes { command } => ask(cli, &file, async |client| {
            mailboxes::run(client, command.as_ref(), cli.json).await
        }),
        Command::Events { command } => ask(cli, &file, async |client| {
            events::run(client, command.as_ref(), cli.json).await
        }),
        Command::Endpoints {
            command: Some(args::Endpoints::Key { endpoint }),
        } => endpoint_key::key(&file, endpoint, cli.json),
        Command::Endpoints { command } => ask(cli, &file, async |client| {
            endpoints::run(client, command.as_ref(), cli.json).await
        }),
        Command::Admin { command } => ask(cli, &file, async |client| {
            admin::run(client, command, cli.json).await
        }),
        Command::Doctor(args) => doctor::doctor(&file, cli.socket.as_deref(), args, cli.json),
        Command::Explain(args) => ask(cli, &file, async |client| {
            explain::run(client, args, cli.json).await
        }),
        Command::Setup { what } => match what {
            args::Setup::Exchange(args) => setup::exchange(&file, args, cli.json),
        },
        Command::Credentials { command } => ask(cli, &file, async |client| {
            credentials::run(client, command.as_ref(), cli.json).await
        }),
        Command::Login(args) => login::login(&file, args, cli.json),
        Command::Token(args) => token::token(&file, args, cli.json),
        Command::Rekey { dry_run } => rekey::rekey(&file, *dry_run, cli.json),
        Command::TestRoute(args) => test_route::test_route(&file, args, cli.json),
        Command::SendTest(args) => send_test::send_test(args, cli.json),
        Command::Listen(args) => listen::listen(args, cli.json),
        Command::Reload { dry_run } => ask(cli, &file, async |client| {
            reload::run(client, *dry_run, cli.json).await
        }),
    }
}

/// `--config` or `POSTRIDER_CONFIG`, else the first of the usual places that is there.
fn config_file(given: Option<&Path>) -> PathBuf {
    match given {
        Some(file) => file.to_owned(),
        None => {
            let here = Path::new("postrider.toml");
            match here.exists() {
                true => here.to_owned(),
                false => PathBuf::from("/etc/postrider/postrider.toml"),
            }
        }
    }
}

/// The socket that `--socket` names, else the one that the configuration names, be the rest of it
/// as wrong as it may: a broken file must not keep anybody from asking how the daemon is.
fn ask(
    cli: &Cli,
    file: &Path,
    command: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let socket = match &cli.socket {
        Some(socket) => socket.clone(),
        None => config::admin_socket(file).map_err(|problem| {
            let hint = "name the file with --config, or the socket with --socket";
            Failure::new(Exit::Config, format!("{}: {}", problem.place, problem.what)).hint(hint)
        })?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))?;
    runtime.block_on(command(&Client::at(socket)?))
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = io::Cursor::new(Vec::new());
    clap_complete::generate(shell, &mut Cli::command(), "postrider", &mut script);
    output::print(&String::from_utf8_lossy(script.get_ref()))
}
