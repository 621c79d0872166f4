//! Who has what: provider records in the DHT.

use super::Net;

/// What something is looked for by. Whoever is near it in the DHT learns it, so what gives access must not follow from it:
/// not a hash, but something derived from the hash.
pub type ProviderKey = [u8; 32];

impl Net {
    /// Says in the DHT that this node has something, and renews that until [`Self::stop_providing`] or the end: many keys
    /// take their turn, the newest first. Returns at once. Of more than [`MAX_PROVIDED`] keys, the others are not told.
    pub async fn provide(&self, key: ProviderKey) {
        todo!()
    }

    /// What others have been told is forgotten when it expires, after a day.
    pub async fn stop_providing(&self, key: ProviderKey) {
        todo!()
    }

    /// Peers that say they have it, at most [`MAX_FOUND`], this node not among them. They need not be connected, and need
    /// not have it. Ends shortly after the first were found, and within [`FIND_WITHIN`]; empty when nobody was, or too
    /// many searches go on.
    pub async fn find_providers(&self, key: ProviderKey) -> Vec<super::PeerId> {
        todo!()
    }
}
