//! The only place that writes to standard output and standard error. Who closes the pipe early
//! (`| head`) has seen enough: that is no failure. Whatever is written drives no terminal.

use std::io::{self, Write};

use serde_json::Value;

use super::failure::{Exit, Failure};
use crate::telemetry::plain::plain;

pub(crate) fn print(text: &str) -> Result<(), Failure> {
    written(
        io::stdout()
            .lock()
            .write_all(plain(text).as_bytes())
            .and_then(|()| io::stdout().flush()),
    )
}

pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

pub(crate) fn complain(text: &str) -> Result<(), Failure> {
    written(io::stderr().lock().write_all(plain(text).as_bytes()))
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot write: {error}"))),
    }
}
