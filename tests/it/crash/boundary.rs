//! What an operator changes outside of itself, one write after the other. Pure.

use std::collections::HashMap;
use std::fmt;

use zoho_testkit::fault_proxy::{Call, Match, Verb};

/// A kind of write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Write {
    /// To the API server.
    Call {
        verb: Verb,
        resource: String,
        subresource: String,
        /// In the operator's own namespace.
        is_own: bool,
    },
    /// A request for a token.
    Post,
}

impl Write {
    /// `None` where nothing is changed, and for what no flow depends on: Events, and leases, which tests of the election
    /// are about.
    pub(super) fn of(call: &Call, operator_namespace: &str) -> Option<Self> {
        let counts =
            call.verb.is_write() && !call.is_dry_run && !["events", "leases"].contains(&call.resource.as_str());
        counts.then(|| Self::Call {
            verb: call.verb,
            resource: call.resource.clone(),
            subresource: call.subresource.clone(),
            is_own: call.namespace == operator_namespace,
        })
    }

    pub(super) fn is_ledger(&self) -> bool {
        matches!(self, Self::Call { resource, .. } if resource == "zohomintledgers")
    }

    /// What the proxy has to look for; `None` for what does not go through it.
    pub(super) fn on(&self, namespace: &str, operator_namespace: &str) -> Option<Match> {
        let Self::Call { verb, resource, subresource, is_own } = self else { return None };
        let namespace = if *is_own { operator_namespace } else { namespace };
        Some(Match::new(*verb, resource).subresource(subresource).namespace(namespace).dry_run(false))
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Post => f.write_str("post"),
            Self::Call { verb, resource, is_own: true, .. } if resource == "secrets" => write!(f, "{verb}-hash-key"),
            Self::Call { verb, resource, subresource, .. } if subresource.is_empty() => write!(f, "{verb}-{resource}"),
            Self::Call { verb, subresource, .. } => write!(f, "{verb}-{subresource}"),
        }
    }
}

/// The n-th write of its kind in a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boundary {
    pub(super) write: Write,
    /// From 1.
    pub(super) nth: usize,
}

impl Boundary {
    /// A Secret where the users' are: mostly a target.
    pub(super) fn is_target(&self) -> bool {
        matches!(&self.write, Write::Call { verb, resource, is_own: false, .. } if resource == "secrets" && *verb != Verb::Delete)
    }

    /// A Secret where the users' are, also where it is deleted.
    pub(super) fn is_of_target(&self) -> bool {
        matches!(&self.write, Write::Call { resource, is_own: false, .. } if resource == "secrets")
    }

    pub(super) fn is_status(&self) -> bool {
        matches!(&self.write, Write::Call { subresource, .. } if subresource == "status")
    }

    pub(super) fn is_ledger(&self) -> bool {
        self.write.is_ledger()
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.write)?;
        if self.nth > 1 { write!(f, ".{}", self.nth) } else { Ok(()) }
    }
}

/// Tells writes of one kind apart.
pub(super) fn numbered(writes: Vec<Write>) -> Vec<Boundary> {
    let mut seen: HashMap<Write, usize> = HashMap::new();
    let number = |write: Write| {
        let nth = seen.entry(write.clone()).or_default();
        *nth += 1;
        Boundary { write, nth: *nth }
    };
    writes.into_iter().map(number).collect()
}

/// On which side of a write the operator dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The request never arrives.
    Before,
    /// It is carried out, and its reply is lost.
    Applied,
    /// Its reply was read, and nothing came after it.
    Read,
}

impl Mode {
    pub(super) const ALL: [Self; 3] = [Self::Before, Self::Applied, Self::Read];

    fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Applied => "applied",
            Self::Read => "read",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
