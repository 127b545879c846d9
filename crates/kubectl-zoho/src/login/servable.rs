//! Would an operator serve the credential? Asked before a code is spent, by the operator's own rules. Pure.

use anyhow::Context as _;
use url::Url;

use super::super::args::Global;
use super::wanted::Wanted;
use zoho_api::ZohoCredential;
use zoho_core::policy::Policy;
use zoho_core::spec;

/// Refuses what no operator serves, however it is configured, and a new credential whose product has no known host: only its operator
/// knows whether it has an `--api-url` for that.
///
/// # Errors
///
/// With a sentence: which rule is broken, and what to do.
pub(crate) fn check(
    (global, policy): (&Global, &Policy),
    wanted: &Wanted,
    existing: Option<&ZohoCredential>,
    namespace: &str,
) -> anyhow::Result<()> {
    let mut policy = Policy {
        // Where it is not said, any namespace may be another one than the operator's.
        operator_namespace: global.operator_namespace.clone().unwrap_or_default(),
        ..policy.clone()
    };
    let credential = if let Some(existing) = existing {
        // Its operator may have an --api-url for the product.
        let anywhere = Url::parse("https://api.invalid").expect("a constant URL");
        policy.api_urls.extend(wanted.product.map(|product| (product, wanted.data_center, anywhere)));
        existing.clone()
    } else {
        check_host(wanted).map_err(|error| anyhow::anyhow!("nothing was sent to Zoho: {error}"))?;
        serde_json::from_value(wanted.manifest(Some(namespace))).context("compose the ZohoCredential")?
    };
    spec::check(&credential, &policy).map(drop).map_err(|defect| {
        anyhow::anyhow!(
            "nothing was sent to Zoho, since ZohoCredential {} could not be served. {}",
            wanted.name,
            defect.message
        )
    })
}

/// A new credential names no URL, so its product needs a known host, or an operator that has one.
///
/// # Errors
///
/// With a sentence: there is none in that data center.
pub(crate) fn check_host(wanted: &Wanted) -> anyhow::Result<()> {
    let Wanted { name, data_center, .. } = wanted;
    match wanted.product {
        Some(product) if product.host(*data_center).is_none() => anyhow::bail!(
            "no host of {product} is known in data center {data_center}. Apply ZohoCredential {name} first, with spec.apiUrl (docs/products.md) unless the operator has an --api-url for it, then log in again; or log in with --scope instead of --product"
        ),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::super::super::args::{Cli, Command};
    use super::*;

    fn checked(flags: &[&str], spec: Option<&Value>) -> Result<(), String> {
        let cli = Cli::try_parse_from([&["z", "login", "patch"], flags].concat()).unwrap();
        let Command::Login(args) = &cli.command else { panic!("login") };
        let existing = spec.map(|spec| {
            serde_json::from_value(json!({ "metadata": { "name": "patch", "namespace": "ns" }, "spec": spec })).unwrap()
        });
        let wanted = Wanted::of(args, existing.as_ref()).unwrap();
        check((&cli.global, &Policy::default()), &wanted, existing.as_ref(), "ns").map_err(|error| error.to_string())
    }

    #[test]
    fn new_credential_that_no_operator_serves_is_refused() {
        let many = (0..65).map(|number| format!("A.b{number}.READ")).collect::<Vec<_>>().join(",");
        let table: [(&[&str], &str); 5] = [
            (
                &["--product", "MobileDeviceManagerPlus"],
                "no host of MobileDeviceManagerPlus is known in data center EU",
            ),
            (&["--product", "RemoteAccessPlus"], "Apply ZohoCredential patch first, with spec.apiUrl"),
            (&["--secret", "patch-token"], "is the source itself"),
            (&["--operator-namespace", "ns"], "in the operator's own namespace"),
            (&["--scope", &many], "at most 64 scopes"),
        ];
        for (flags, says) in table {
            let refused = checked(&[&["--data-center", "EU"], flags].concat(), None).unwrap_err();
            assert!(refused.starts_with("nothing was sent to Zoho") && refused.contains(says), "{refused}");
        }
        for flags in [&[][..], &["--product", "PatchManagerPlus"], &["--operator-namespace", "other"]] {
            assert_eq!(checked(&[&["--data-center", "EU"], flags].concat(), None), Ok(()), "{flags:?}");
        }
    }

    #[test]
    fn credential_that_is_there_is_refused_only_where_no_configuration_helps() {
        let of = |more: Value| {
            let mut spec = json!({ "dataCenter": "EU", "product": "RemoteAccessPlus", "secretRef": { "name": "s" } });
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            checked(&[], Some(&spec))
        };
        assert_eq!(of(json!({})), Ok(()), "the operator may have --api-url");
        assert_eq!(of(json!({ "apiUrl": "https://rap.example" })), Ok(()));
        assert!(of(json!({ "target": { "name": "s" } })).unwrap_err().contains("is the source itself"));
    }
}
