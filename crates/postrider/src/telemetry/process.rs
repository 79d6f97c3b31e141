//! Happenings of the process part.

use prometheus::Registry;

pub struct Process {}

impl Process {
    pub(super) fn new(_registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {})
    }
}
