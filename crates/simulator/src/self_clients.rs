//! Self clients that ask for tokens in their own name: what their owners may do, and in which organisations. Pure.

use std::collections::HashMap;

use super::form::TokenForm;

/// The owner of a self client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// What his client may ask for.
    pub scopes: Vec<String>,
    /// Where he belongs to, as `soid` names it: `ZohoCRM.7000001`. With several of one service a request has to choose.
    pub organisations: Vec<String>,
}

impl Owner {
    /// An owner who may do this, in one organisation that needs no name.
    pub fn of_scopes(scopes: &[&str]) -> Self {
        Self { scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(), organisations: Vec::new() }
    }

    /// The same in these organisations.
    #[must_use]
    pub fn in_organisations(mut self, organisations: &[&str]) -> Self {
        self.organisations = organisations.iter().map(|&one| one.to_owned()).collect();
        self
    }
}

/// The clients whose owners are known.
#[derive(Debug, Default)]
pub struct SelfClients(HashMap<String, Owner>);

/// What a client was granted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// What Zoho counts by, in place of a refresh token.
    pub(super) account: String,
    /// Separated by spaces, whatever it was asked with.
    pub(super) scope: String,
}

impl SelfClients {
    /// Makes the owner of a client known, or what has changed about him.
    pub fn register(&mut self, client_id: &str, owner: Owner) {
        self.0.insert(client_id.to_owned(), owner);
    }

    /// Grants what is asked for, or refuses it with an OAuth error code. The client's secret has been checked by then.
    pub(super) fn grant(&self, form: &TokenForm) -> Result<Granted, &'static str> {
        let client_id = form.client_id.as_deref().unwrap_or_default();
        let owner = self.0.get(client_id).ok_or("invalid_client")?;
        let asked = form.scope.as_deref().unwrap_or_default();
        let mut scopes: Vec<&str> = asked.split(',').collect();
        if !scopes.iter().all(|scope| owner.scopes.iter().any(|known| known == scope)) {
            return Err("invalid_scope");
        }
        let soid = form.soid.as_deref();
        match soid {
            Some(soid) if !owner.organisations.iter().any(|one| one == soid) => return Err("invalid_soid"),
            None if scopes.iter().any(|scope| owner.has_to_choose(scope)) => return Err("missing_org_info"),
            Some(_) | None => {}
        }
        let scope = scopes.join(" ");
        scopes.sort_unstable();
        let account = format!("{client_id} {} {}", soid.unwrap_or_default(), scopes.join(","));
        Ok(Granted { account, scope })
    }
}

impl Owner {
    fn has_to_choose(&self, scope: &str) -> bool {
        let service = |text: &str| text.split('.').next().unwrap_or_default().to_owned();
        self.organisations.iter().filter(|one| service(one) == service(scope)).count() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(scope: &str, soid: Option<&str>) -> Result<Granted, &'static str> {
        let mut clients = SelfClients::default();
        let owner = Owner::of_scopes(&["ZohoCRM.users.READ", "ZohoCRM.org.READ", "ZohoBooks.settings.READ"]);
        clients.register("self", owner.in_organisations(&["ZohoCRM.1", "ZohoCRM.2", "ZohoBooks.3"]));
        let form = TokenForm::of_client("self", "secret", scope, soid);
        assert_eq!(form.violation(), None);
        clients.grant(&form)
    }

    #[test]
    fn scopes_and_organisation_have_to_be_the_owners() {
        let crm = "ZohoCRM.users.READ";
        for (scope, soid, expected) in [
            ("ZohoCRM.modules.ALL", Some("ZohoCRM.1"), "invalid_scope"),
            ("ZohoCRM.users.READ ZohoCRM.org.READ", Some("ZohoCRM.1"), "invalid_scope"),
            ("", Some("ZohoCRM.1"), "invalid_scope"),
            (crm, None, "missing_org_info"),
            (crm, Some("ZohoCRM.9"), "invalid_soid"),
        ] {
            assert_eq!(asks(scope, soid), Err(expected), "{scope} {soid:?}");
        }
        assert!(asks("ZohoBooks.settings.READ", None).is_ok(), "one organisation needs no name");
        let granted = asks("ZohoCRM.users.READ,ZohoCRM.org.READ", Some("ZohoCRM.2")).expect("granted");
        assert_eq!(granted.scope, "ZohoCRM.users.READ ZohoCRM.org.READ");
        let form = TokenForm::of_client("other", "secret", crm, None);
        assert_eq!(SelfClients::default().grant(&form), Err("invalid_client"));
    }
}
