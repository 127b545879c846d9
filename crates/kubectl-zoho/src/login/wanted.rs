//! What a login is for: from the command line and, where there is one, the `ZohoCredential`. Pure.

use serde_json::{Value, json};

use super::super::args::LoginArgs;
use super::super::usage;
use zoho_api::{DataCenter, Product, SecretRef, ZohoCredential};

/// What the caller wants to be there.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Name of the `ZohoCredential`.
    pub name: String,
    /// Its data center.
    pub data_center: DataCenter,
    /// Its accounts host, if it is not the usual one.
    pub accounts_host: Option<String>,
    /// Its product.
    pub product: Option<Product>,
    /// What is to be asked for; empty: what the product needs.
    pub scopes: Vec<String>,
    /// Where the secrets go, and under which keys.
    pub reference: SecretRef,
    /// There is such a credential already; it stays as it is.
    pub is_there: bool,
}

impl Wanted {
    /// Takes what the credential says, else what the command line says.
    ///
    /// # Errors
    ///
    /// The command line contradicts the credential, or leaves out what a new one needs.
    pub(crate) fn of(args: &LoginArgs, existing: Option<&ZohoCredential>) -> anyhow::Result<Self> {
        match existing {
            Some(credential) => Self::of_credential(args, credential),
            None => Self::of_flags(args),
        }
    }

    fn of_flags(args: &LoginArgs) -> anyhow::Result<Self> {
        let Some(data_center) = args.data_center else {
            return Err(usage(format!(
                "there is no ZohoCredential {} to take it from, so name the account's data center with --data-center",
                args.name
            )));
        };
        let name = args.secret.clone().unwrap_or_else(|| format!("{}-oauth", args.name));
        Ok(Self {
            name: args.name.clone(),
            data_center,
            accounts_host: args.accounts_host.clone(),
            product: args.product,
            scopes: args.scope.clone(),
            reference: SecretRef { name, ..SecretRef::default() },
            is_there: false,
        })
    }

    fn of_credential(args: &LoginArgs, credential: &ZohoCredential) -> anyhow::Result<Self> {
        let (name, spec) = (&args.name, &credential.spec);
        let Some(data_center) = spec.data_center else {
            anyhow::bail!("ZohoCredential {name} is there and logs in at a server by itself: choose another name");
        };
        let host = spec.accounts_host.as_deref();
        let has_other_host = args.accounts_host.is_some() && args.accounts_host.as_deref() != host;
        if args.data_center.is_some_and(|asked| asked != data_center) || has_other_host {
            let at = |data_center: DataCenter, host: Option<&str>| {
                format!("data center {data_center}{}", host.map(|host| format!(" ({host})")).unwrap_or_default())
            };
            anyhow::bail!(
                "ZohoCredential {name} is there and logs in at {}, not at {}. Correct its spec first, or choose another name",
                at(data_center, host),
                at(args.data_center.unwrap_or(data_center), args.accounts_host.as_deref())
            );
        }
        if let (Some(asked), Some(product)) = (args.product, spec.product)
            && asked != product
        {
            anyhow::bail!(
                "ZohoCredential {name} is there and is for {product}, not {asked}. Correct its spec first, or choose another name"
            );
        }
        if let Some(secret) = args.secret.as_ref().filter(|secret| **secret != spec.secret_ref.name) {
            anyhow::bail!("ZohoCredential {name} is there and reads Secret {}, not {secret}", spec.secret_ref.name);
        }
        Ok(Self {
            name: name.clone(),
            data_center,
            accounts_host: spec.accounts_host.clone(),
            product: spec.product.or(args.product),
            scopes: args.scope.clone(),
            reference: spec.secret_ref.clone(),
            is_there: true,
        })
    }

    /// The `ZohoCredential` as it is applied.
    pub(crate) fn manifest(&self, namespace: Option<&str>) -> Value {
        let mut metadata = json!({ "name": self.name });
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        let mut spec = json!({ "dataCenter": self.data_center, "secretRef": { "name": self.reference.name } });
        if let Some(host) = &self.accounts_host {
            spec["accountsHost"] = json!(host);
        }
        if let Some(product) = self.product {
            spec["product"] = json!(product);
        }
        json!({ "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential", "metadata": metadata, "spec": spec })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn wanted(flags: &[&str], spec: Option<&Value>) -> Result<Wanted, String> {
        let cli = Cli::try_parse_from([&["z", "login", "patch"], flags].concat()).unwrap();
        let Command::Login(args) = cli.command else { panic!("login") };
        let credential = spec.map(|spec| {
            serde_json::from_value(json!({ "metadata": { "name": "patch" }, "spec": spec })).expect("a credential")
        });
        Wanted::of(&args, credential.as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn credential_that_is_there_says_everything() {
        let spec = json!({
            "dataCenter": "CA", "accountsHost": "accounts.zohoone.ca", "product": "ServiceDeskPlus",
            "secretRef": { "name": "zoho", "refreshTokenKey": "rt" },
        });
        // What is said again is no contradiction.
        for flags in [&[][..], &["--data-center", "ca", "--product", "servicedeskplus", "--secret", "zoho"]] {
            let wanted = wanted(flags, Some(&spec)).unwrap();
            assert_eq!((wanted.data_center, wanted.product), (DataCenter::CA, Some(Product::ServiceDeskPlus)));
            assert_eq!(wanted.accounts_host.as_deref(), Some("accounts.zohoone.ca"));
            assert_eq!((wanted.reference.name.as_str(), wanted.reference.refresh_token_key()), ("zoho", "rt"));
            assert!(wanted.is_there);
        }
    }

    #[test]
    fn command_line_that_contradicts_the_credential_is_refused() {
        let spec = json!({ "dataCenter": "EU", "product": "ServiceDeskPlus", "secretRef": { "name": "zoho" } });
        let table: [(&[&str], &str); 4] = [
            (&["--data-center", "US"], "logs in at data center EU, not at data center US. Correct its spec first"),
            (&["--accounts-host", "x.example"], "logs in at data center EU, not at data center EU (x.example)."),
            (&["--product", "EndpointCentral"], "is for ServiceDeskPlus, not EndpointCentral. Correct its spec"),
            (&["--secret", "else"], "reads Secret zoho, not else"),
        ];
        for (flags, says) in table {
            let refused = wanted(flags, Some(&spec)).unwrap_err();
            assert!(refused.starts_with("ZohoCredential patch is there and ") && refused.contains(says), "{refused}");
        }
        let server = json!({ "endpointCentralServer": { "url": "https://ec.example" }, "secretRef": { "name": "s" } });
        assert!(wanted(&[], Some(&server)).unwrap_err().contains("logs in at a server by itself"));
    }

    #[test]
    fn new_credential_is_what_was_asked_for() {
        assert!(wanted(&[], None).unwrap_err().contains("--data-center"));
        let flags = ["--data-center", "EU", "--product", "PatchManagerPlus"];
        let manifest = wanted(&flags, None).unwrap().manifest(Some("ns"));
        let spec = json!({ "dataCenter": "EU", "product": "PatchManagerPlus", "secretRef": { "name": "patch-oauth" } });
        assert_eq!(manifest["spec"], spec);
        assert_eq!(manifest["metadata"], json!({ "name": "patch", "namespace": "ns" }));
        let named = wanted(&[&flags[..], &["--secret", "own"]].concat(), None).unwrap();
        assert_eq!((named.reference.name.as_str(), named.is_there), ("own", false));
    }
}
