//! The doorbell under loom.
