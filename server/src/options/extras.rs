//! What only the command line of `tidegate serve` can say: no file and no variable has it.

use std::path::PathBuf;

use clap::Args;

/// As it is written, and as it is meant.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeExtras {
    /// Write the secrets of all TLS connections to this file (SSLKEYLOGFILE), so that whoever has it
    /// can read them: to look into captured packets, never in production
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key_log: Option<PathBuf>,
}
