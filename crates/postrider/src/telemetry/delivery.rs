//! Happenings of the delivery part.

use super::catalogue::Catalogue;

pub struct Delivery {}

impl Delivery {
    pub(super) fn new(_catalogue: &Catalogue) -> prometheus::Result<Self> {
        Ok(Self {})
    }
}
