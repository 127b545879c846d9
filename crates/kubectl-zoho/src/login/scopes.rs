//! Scopes that fit a product, from the table of products. A scope cannot be added to a refresh token later.

use zoho_api::Product;
use zoho_core::spec::is_scope;

/// What is to be asked for: the caller's own scopes, each once, else the product's where they are known.
///
/// # Errors
///
/// Something that is no scope, named.
pub(crate) fn wanted(own: &[String], product: Option<Product>) -> Result<Vec<String>, String> {
    let own: Vec<&str> = own.iter().map(|scope| scope.trim()).filter(|scope| !scope.is_empty()).collect();
    if let Some(wrong) = own.iter().find(|scope| !is_scope(scope)) {
        return Err(format!(
            "{wrong} is not a scope: want Service.module.OPERATION, such as SDPOnDemand.requests.READ"
        ));
    }
    let scopes = if own.is_empty() { product.map_or(&[][..], |product| product.facts().scopes) } else { &own };
    let mut each_once = Vec::new();
    for scope in scopes.iter().map(|scope| (*scope).to_owned()) {
        if !each_once.contains(&scope) {
            each_once.push(scope);
        }
    }
    Ok(each_once)
}

/// What to say where `granted`, the server's list, lacks some of `asked`. Scopes are separated by commas or spaces.
pub(crate) fn not_granted(asked: &str, granted: &str) -> Option<String> {
    let missing = missing(asked, granted);
    (!missing.is_empty()).then(|| format!("Zoho did not grant {}: calls that need it will fail.", missing.join(", ")))
}

fn missing<'a>(asked: &'a str, granted: &str) -> Vec<&'a str> {
    asked.split(',').filter(|scope| !is_granted(scope, granted)).collect()
}

/// Is this scope in `granted`, the server's list?
pub(crate) fn is_granted(scope: &str, granted: &str) -> bool {
    granted.split([',', ' ']).any(|one| one.eq_ignore_ascii_case(scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_scopes_win_over_the_products() {
        let own = ["ZohoCRM.modules.ALL", " SDPOnDemand.requests.READ ", "ZohoCRM.modules.ALL"].map(str::to_owned);
        let both = Ok(vec!["ZohoCRM.modules.ALL".to_owned(), "SDPOnDemand.requests.READ".to_owned()]);
        assert_eq!(wanted(&own, Some(Product::EndpointCentral)), both);
        assert_eq!(wanted(&[], Some(Product::ServiceDeskPlus)), Ok(vec!["SDPOnDemand.requests.READ".to_owned()]));
        assert_eq!(wanted(&[], None), Ok(vec![]));
        assert_eq!(wanted(&[], Some(Product::ZohoMeeting)), Ok(vec![]), "nobody names them");
        for wrong in ["READ", "A b.c", "A..c", "A.b.c.d.e", "A.b.c&prompt=x"] {
            assert!(wanted(&[wrong.to_owned()], None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_preset_is_well_formed() {
        for product in Product::ALL {
            assert!(product.facts().scopes.iter().all(|scope| is_scope(scope)), "{product}");
        }
    }

    #[test]
    fn scopes_that_were_not_granted_are_found() {
        assert_eq!(missing("A.b.READ,A.c.READ", "a.b.read A.c.READ"), Vec::<&str>::new());
        assert_eq!(missing("A.b.READ,A.c.READ", "A.b.READ"), ["A.c.READ"]);
    }
}
