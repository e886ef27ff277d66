//! Opens a store from its address.

use super::address::RemoteAddress;
use super::environment::StoreEnvironment;
use super::error::RemoteError;
use super::store::Store;

/// Opens a store, without sending a request yet.
///
/// # Errors
/// If this chsnap was built without object stores, or the address is insufficient.
pub fn open_store(address: &RemoteAddress, environment: &StoreEnvironment) -> Result<Box<dyn Store>, RemoteError> {
    #[cfg(feature = "remote")]
    {
        Ok(Box::new(super::opendal::OpendalStore::open(address, environment)?))
    }
    #[cfg(not(feature = "remote"))]
    {
        let _ = (address, environment);
        Err(RemoteError::NotBuilt)
    }
}
