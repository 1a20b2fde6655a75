//! Asks a server that runs for its configuration.

use crate::ask::{self, AdminPlace};
use crate::config::listing::Listing;

/// What the server with this admin port says at `GET /config`.
///
/// # Errors
/// Why there is no answer, or none that is understood, in one line.
pub(crate) fn ask(admin: &AdminPlace, token: Option<&str>) -> Result<Listing, String> {
    let body = ask::get(admin, "/config", token)?;
    serde_json::from_str(&body)
        .map_err(|error| format!("{admin} does not say how it is configured: {error}"))
}
