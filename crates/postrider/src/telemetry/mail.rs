//! Happenings of the mail part.

use prometheus::Registry;

pub struct Mail {}

impl Mail {
    pub(super) fn new(_registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {})
    }
}
