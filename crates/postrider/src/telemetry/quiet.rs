//! At most one log line per cause and scope (a server, an endpoint, a credential) and minute.
//! What is left out is counted, and the next line says how many there were.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use postrider_core::time::Monotonic;

/// Time between two lines of the same cause and scope.
const INTERVAL: Duration = Duration::from_secs(60);

/// Causes times scopes that are remembered: past it the oldest half is forgotten.
const ENTRIES_MAX: usize = 4096;

#[derive(Default)]
pub struct Quiet {
    seen: Mutex<HashMap<(&'static str, Box<str>), Entry>>,
}

struct Entry {
    last: Monotonic,
    left_out: u64,
}

impl Quiet {
    /// Whether to log now: then the number of lines left out since the last one.
    pub fn allow(&self, cause: &'static str, scope: &str, now: Monotonic) -> Option<u64> {
        let mut seen = self
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen.len() >= ENTRIES_MAX {
            seen.retain(|_, entry| now - entry.last < INTERVAL);
        }
        match seen.get_mut(&(cause, Box::from(scope))) {
            Some(entry) if now - entry.last < INTERVAL => {
                entry.left_out += 1;
                None
            }
            Some(entry) => {
                entry.last = now;
                Some(std::mem::take(&mut entry.left_out))
            }
            None => {
                seen.insert(
                    (cause, Box::from(scope)),
                    Entry {
                        last: now,
                        left_out: 0,
                    },
                );
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_cause_scope_and_minute() {
        let quiet = Quiet::default();
        let at = |seconds: u64| Monotonic(seconds * 1000);
        assert_eq!(quiet.allow("connect", "a", at(0)), Some(0));
        assert_eq!(quiet.allow("connect", "a", at(1)), None);
        assert_eq!(quiet.allow("connect", "b", at(1)), Some(0));
        assert_eq!(quiet.allow("login", "a", at(1)), Some(0));
        assert_eq!(quiet.allow("connect", "a", at(59)), None);
        assert_eq!(quiet.allow("connect", "a", at(61)), Some(2));
    }
}
