//! Where an endpoint stands, for commands and metrics.

use postrider_core::{ids::EndpointKey, time::Wall};

use crate::telemetry::delivery::EndpointState;

#[derive(Clone, Debug)]
pub struct EndpointStatus {
    pub endpoint: EndpointKey,
    pub state: EndpointState,
    pub since: Wall,
    /// When the next probe goes out, while in trouble and something waits.
    pub next_probe: Option<Wall>,
    /// Attempts under way, or whose outcome is being stored.
    pub in_flight: usize,
    /// Deliveries in memory that wait for a slot.
    pub queued: usize,
    pub max_in_flight: u32,
    /// The last attempt that was not accepted, since the start of the process.
    pub last_error: Option<LastError>,
    pub last_delivered: Option<Wall>,
}

#[derive(Clone, Debug)]
pub struct LastError {
    pub at: Wall,
    pub status: Option<u16>,
    pub note: String,
}

impl EndpointStatus {
    pub(crate) fn orphaned(endpoint: EndpointKey, since: Wall) -> Self {
        Self {
            endpoint,
            state: EndpointState::Orphaned,
            since,
            next_probe: None,
            in_flight: 0,
            queued: 0,
            max_in_flight: 0,
            last_error: None,
            last_delivered: None,
        }
    }
}
