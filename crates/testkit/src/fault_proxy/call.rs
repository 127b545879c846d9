//! Requests to the API server, told apart as RBAC does. Pure.

use std::fmt;

use http::{Method, Uri};

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// One object.
    Get,
    /// All objects of a kind.
    List,
    /// Their changes.
    Watch,
    /// A new object.
    Create,
    /// An object replaced.
    Update,
    /// An object changed.
    Patch,
    /// An object deleted.
    Delete,
    /// All objects of a kind deleted.
    DeleteCollection,
    /// Something that is no resource, like `/version`.
    Other,
}

impl Verb {
    /// May it change what is stored?
    pub fn is_write(self) -> bool {
        match self {
            Self::Create | Self::Update | Self::Patch | Self::Delete | Self::DeleteCollection => true,
            Self::Get | Self::List | Self::Watch | Self::Other => false,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it wants.
    pub verb: Verb,
    /// Resource in the plural, like `secrets`; empty for what is no resource.
    pub resource: String,
    /// Like `status`; mostly empty.
    pub subresource: String,
    /// Empty for what has none, and for all namespaces.
    pub namespace: String,
    /// Empty for lists, watches and creations.
    pub name: String,
    /// It is only tried.
    pub is_dry_run: bool,
    /// Path and query.
    pub uri: String,
}

impl Call {
    /// Reads method and target of a request.
    pub fn read(method: &Method, uri: &Uri) -> Self {
        let mut call = Self {
            verb: Verb::Other,
            resource: String::new(),
            subresource: String::new(),
            namespace: String::new(),
            name: String::new(),
            is_dry_run: has(uri, "dryRun", &["All"]),
            uri: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        };
        let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let (["api", _, resource @ ..] | ["apis", _, _, resource @ ..]) = parts.as_slice() else { return call };
        let resource = match resource {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => {
                (*namespace).clone_into(&mut call.namespace);
                rest
            }
            other => other,
        };
        let Some(kind) = resource.first() else { return call };
        (*kind).clone_into(&mut call.resource);
        resource.get(1).copied().unwrap_or_default().clone_into(&mut call.name);
        resource.get(2).copied().unwrap_or_default().clone_into(&mut call.subresource);
        call.verb = match (method.as_str(), call.name.is_empty()) {
            ("GET", true) if has(uri, "watch", &["true", "1"]) => Verb::Watch,
            ("GET", true) => Verb::List,
            ("GET", false) => Verb::Get,
            ("POST", _) => Verb::Create,
            ("PUT", _) => Verb::Update,
            ("PATCH", _) => Verb::Patch,
            ("DELETE", true) => Verb::DeleteCollection,
            ("DELETE", false) => Verb::Delete,
            (_, _) => Verb::Other,
        };
        call
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} {}", self.verb, if self.is_dry_run { " (dry run)" } else { "" }, self.uri)
    }
}

fn has(uri: &Uri, key: &str, values: &[&str]) -> bool {
    let mut pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.any(|(this, value)| this == key && values.contains(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let table = [
            ("GET", "/api/v1/namespaces/a/secrets/s", "get secrets//a/s"),
            ("GET", "/api/v1/namespaces/a/secrets?&limit=500", "list secrets//a/"),
            ("GET", "/api/v1/secrets?&watch=true&resourceVersion=1", "watch secrets///"),
            ("POST", "/api/v1/namespaces/a/secrets?&dryRun=All", "create secrets//a/ dry"),
            (
                "PATCH",
                "/apis/zoho-operator.dev/v1alpha1/namespaces/a/zohocredentials/c/status?",
                "patch zohocredentials/status/a/c",
            ),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/l", "update leases//a/l"),
            ("DELETE", "/api/v1/namespaces/a/secrets/s", "delete secrets//a/s"),
            ("DELETE", "/api/v1/namespaces/a/secrets", "deletecollection secrets//a/"),
            ("GET", "/api/v1/namespaces/secrets", "get namespaces///secrets"),
            ("GET", "/api/v1/namespaces", "list namespaces///"),
            ("GET", "/version?watch=true", "other ///"),
        ];
        for (method, uri, expected) in table {
            let call = Call::read(&method.parse().unwrap(), &uri.parse().unwrap());
            let Call { verb, resource, subresource, namespace, name, is_dry_run, .. } = call;
            let dry = if is_dry_run { " dry" } else { "" };
            assert_eq!(format!("{verb} {resource}/{subresource}/{namespace}/{name}{dry}"), expected, "{method} {uri}");
        }
    }
}
