//! Happenings of the tokens part.

use super::catalogue::Catalogue;

pub struct Tokens {}

impl Tokens {
    pub(super) fn new(_catalogue: &Catalogue) -> prometheus::Result<Self> {
        Ok(Self {})
    }
}
