//! `run` and `demo`: from the command line to the daemon's own entry, and back to an exit code.

use std::path::Path;

use super::{
    args::Demo,
    check::{refused, tell},
    failure::{Exit, Failure},
    logging,
};
use crate::{config, run};

/// Reads the configuration, starts logging, and runs until the daemon ends.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(problems) => return Err(refused(file, &problems, false)?),
    };
    tell(&loaded.warnings, "warning")?;
    logging::start(&loaded.config.log)
        .map_err(|error| Failure::new(Exit::Config, format!("log.level: {error}")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))?;
    match runtime.block_on(run::run(file.to_owned(), loaded.config)) {
        Ok(run::Ended::Stopped) => Ok(()),
        Ok(run::Ended::Failed) => Err(Failure::new(Exit::Failed, "the database file failed")
            .hint("the process ends so that it is started anew; look at the disk")),
        Err(error) => Err(start_failure(&error)),
    }
}

pub(crate) fn demo(demo: Demo) -> Result<(), Failure> {
    crate::demo::run(demo).map_err(|error| Failure::new(Exit::Failed, format!("{error:#}")))
}

fn start_failure(error: &run::StartError) -> Failure {
    match error {
        run::StartError::Store(
            postrider_store::OpenError::TooNew { .. }
            | postrider_store::OpenError::OtherBuild { .. },
        ) => Failure::new(Exit::Config, error.to_string()),
        run::StartError::Store(_) | run::StartError::Other(_) => {
            Failure::new(Exit::Failed, error.to_string())
        }
    }
}
