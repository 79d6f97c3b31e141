//! Happenings of the delivery part.

use prometheus::Registry;

pub struct Delivery {}

impl Delivery {
    pub(super) fn new(_registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {})
    }
}
