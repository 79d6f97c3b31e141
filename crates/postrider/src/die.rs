//! Named places at which a test lets the process die, as if by SIGKILL: `POSTRIDER_DIE_AT=PLACE:N`
//! at the Nth time. Only in builds with debug assertions; in a release there is nothing of it.

/// Every place, in the order in which a delivery passes them.
pub const PLACES: &[&str] = &[
    "commit-stored",
    "claim-leased",
    "attempt-rendered",
    "attempt-answered",
    "outcome-judged",
    "settle-begun",
    "settle-stored",
];

#[cfg(debug_assertions)]
pub(crate) fn at(place: &'static str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    static WANTED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    debug_assert!(PLACES.contains(&place));
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("POSTRIDER_DIE_AT").ok()?;
        let (place, times) = text.split_once(':')?;
        Some((place.to_owned(), AtomicU32::new(times.parse().ok()?)))
    });
    if let Some((wanted, left)) = wanted
        && wanted == place
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        let killed =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        panic!("still alive after SIGKILL: {killed:?}");
    }
}

#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn at(_: &'static str) {}
