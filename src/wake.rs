//! How the controller hears of objects that a pass is due for.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zoho_api::names::ObjectName;

/// Objects that something new concerns.
///
/// What is taken into the index is known from then on: whatever tells of it later, as the watch does of what was read
/// before, tells nothing new and wakes nobody. So these are woken by whoever took it in, or never.
#[must_use = "nothing else will wake these"]
#[derive(Debug, Default)]
pub(crate) struct Concerned(Vec<ObjectName>);

impl FromIterator<ObjectName> for Concerned {
    fn from_iter<I: IntoIterator<Item = ObjectName>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl IntoIterator for Concerned {
    type Item = ObjectName;
    type IntoIter = std::vec::IntoIter<ObjectName>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Makes passes due.
#[derive(Clone)]
pub(crate) struct Wake(UnboundedSender<ObjectName>);

impl Wake {
    /// The two ends.
    pub(crate) fn channel() -> (Self, UnboundedReceiver<ObjectName>) {
        let (sender, woken) = unbounded_channel();
        (Self(sender), woken)
    }

    /// A pass over this object.
    pub(crate) fn one(&self, key: ObjectName) {
        // Without a receiver the process is shutting down.
        let _ = self.0.send(key);
    }

    /// Over each of them.
    pub(crate) fn all(&self, concerned: Concerned) {
        concerned.into_iter().for_each(|key| self.one(key));
    }

    /// Over each of them but the one whose own pass is running, and goes on from what it took in.
    pub(crate) fn others(&self, own: &ObjectName, concerned: Concerned) {
        concerned.into_iter().filter(|key| key != own).for_each(|key| self.one(key));
    }
}
