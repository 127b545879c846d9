//! What a login is for: from the command line and, where there is one, the `ZohoCredential`. Pure.

use serde_json::{Value, json};

use super::super::args::LoginArgs;
use super::super::usage;
use super::scopes;
use zoho_api::{DataCenter, Grant, Product, SecretRef, ZohoCredential, ZohoCredentialSpec};
use zoho_core::issuer::client_credentials::Asked;

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
    /// How the operator asks for tokens.
    pub grant: Grant,
    /// What is to be asked for: the scopes of the credential, of the command line, or of the product. Empty: nobody says.
    pub scopes: Vec<String>,
    /// The organisation, where a client asks in its own name and the account has several.
    pub soid: Option<String>,
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
            grant: if args.client_credentials { Grant::ClientCredentials } else { Grant::RefreshToken },
            scopes: scopes::wanted(&args.scope, args.product).map_err(usage)?,
            soid: args.soid.clone(),
            reference: SecretRef { name, ..SecretRef::default() },
            is_there: false,
        })
    }

    fn of_credential(args: &LoginArgs, credential: &ZohoCredential) -> anyhow::Result<Self> {
        let (name, spec) = (&args.name, &credential.spec);
        let Some(data_center) = spec.data_center else {
            anyhow::bail!("ZohoCredential {name} exists and logs in at a server by itself: choose another name");
        };
        let host = spec.accounts_host.as_deref();
        let has_other_host = args.accounts_host.is_some() && args.accounts_host.as_deref() != host;
        if args.data_center.is_some_and(|asked| asked != data_center) || has_other_host {
            let at = |data_center: DataCenter, host: Option<&str>| {
                format!("data center {data_center}{}", host.map(|host| format!(" ({host})")).unwrap_or_default())
            };
            anyhow::bail!(
                "ZohoCredential {name} exists and logs in at {}, not at {}. Correct its spec first, or choose another name",
                at(data_center, host),
                at(args.data_center.unwrap_or(data_center), args.accounts_host.as_deref())
            );
        }
        if let (Some(asked), Some(product)) = (args.product, spec.product)
            && asked != product
        {
            anyhow::bail!(
                "ZohoCredential {name} exists and is for {product}, not {asked}. Correct its spec first, or choose another name"
            );
        }
        if let Some(secret) = args.secret.as_ref().filter(|secret| **secret != spec.secret_ref.name) {
            anyhow::bail!("ZohoCredential {name} exists and reads Secret {}, not {secret}", spec.secret_ref.name);
        }
        Ok(Self {
            name: name.clone(),
            data_center,
            accounts_host: spec.accounts_host.clone(),
            product: spec.product.or(args.product),
            grant: fitting_grant(args, spec)?,
            scopes: fitting_scopes(args, spec)?,
            soid: spec.soid.clone(),
            reference: spec.secret_ref.clone(),
            is_there: true,
        })
    }

    /// What a client asks for in its own name; `None` where a refresh token is wanted.
    pub(crate) fn of_client(&self) -> Option<Asked> {
        let is_client = self.grant == Grant::ClientCredentials;
        is_client.then(|| Asked::new(self.scopes.clone(), self.soid.clone()))
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
        if self.grant == Grant::ClientCredentials {
            spec["grant"] = json!(self.grant);
        }
        if !self.scopes.is_empty() {
            spec["scopes"] = json!(self.scopes);
        }
        if let Some(soid) = &self.soid {
            spec["soid"] = json!(soid);
        }
        json!({ "apiVersion": "zoho-operator.dev/v1alpha1", "kind": "ZohoCredential", "metadata": metadata, "spec": spec })
    }
}

/// The credential's grant, if the command line does not ask for another one.
fn fitting_grant(args: &LoginArgs, spec: &ZohoCredentialSpec) -> anyhow::Result<Grant> {
    let name = &args.name;
    let asks_for_code = args.browser || args.device || args.grant_code || args.redirect_uri.is_some();
    match spec.grant() {
        Grant::ClientCredentials if asks_for_code => anyhow::bail!(
            "ZohoCredential {name} exists and uses no refresh token, so there is no consent to ask for: leave out --browser, --device, --grant-code and --redirect-uri"
        ),
        Grant::RefreshToken if args.client_credentials => anyhow::bail!(
            "ZohoCredential {name} exists and uses a refresh token: log in without --client-credentials, or choose another name"
        ),
        grant @ (Grant::RefreshToken | Grant::ClientCredentials) => Ok(grant),
    }
}

/// The scopes that the credential names, if the command line does not leave out any; else those of the command line or of the
/// product.
fn fitting_scopes(args: &LoginArgs, spec: &ZohoCredentialSpec) -> anyhow::Result<Vec<String>> {
    let name = &args.name;
    let asked = scopes::wanted(&args.scope, spec.product.or(args.product)).map_err(usage)?;
    let says_scopes = !args.scope.is_empty();
    // A refresh token may be for more than the credential says; a client asks for what the credential says, and no more.
    let leaves_out = spec.scopes.iter().any(|scope| !asked.contains(scope));
    let adds = spec.grant() == Grant::ClientCredentials && asked.iter().any(|scope| !spec.scopes.contains(scope));
    let has_other_soid = args.soid.is_some() && args.soid != spec.soid;
    if has_other_soid || (says_scopes && (leaves_out || adds)) {
        let soid = spec.soid.as_ref().map(|soid| format!(" --soid {soid}")).unwrap_or_default();
        anyhow::bail!(
            "ZohoCredential {name} exists and is for something else: --scope {}{soid}. Leave these options out, or correct its spec first",
            spec.scopes.join(",")
        );
    }
    Ok(if says_scopes || spec.scopes.is_empty() { asked } else { spec.scopes.clone() })
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
    fn scopes_and_grant_of_the_credential_are_asked_for_again() {
        let grant = |spec: &Value, flags: &[&str]| {
            let wanted = wanted(flags, Some(spec)).unwrap();
            (wanted.scopes.join(","), wanted.of_client().map(|asked| asked.soid))
        };
        let desk = json!({ "dataCenter": "EU", "secretRef": { "name": "zoho" }, "scopes": ["A.b.READ"] });
        assert_eq!(grant(&desk, &[]), ("A.b.READ".into(), None));
        assert_eq!(
            grant(&desk, &["--scope", "A.c.READ,A.b.READ"]),
            ("A.c.READ,A.b.READ".into(), None),
            "it may be more"
        );
        let mut crm = desk;
        crm["grant"] = json!("ClientCredentials");
        crm["soid"] = json!("A.7");
        for flags in [&[][..], &["--client-credentials"], &["--scope", "A.b.READ"]] {
            assert_eq!(grant(&crm, flags), ("A.b.READ".into(), Some(Some("A.7".into()))), "{flags:?}");
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
            assert!(refused.starts_with("ZohoCredential patch exists and ") && refused.contains(says), "{refused}");
        }
        let crm = json!({
            "dataCenter": "EU", "secretRef": { "name": "zoho" }, "grant": "ClientCredentials",
            "scopes": ["A.b.READ", "A.c.READ"], "soid": "A.7",
        });
        let desk = json!({ "dataCenter": "EU", "secretRef": { "name": "zoho" }, "scopes": ["A.b.READ", "A.c.READ"] });
        let table: [(&Value, &[&str], &str); 7] = [
            (&crm, &["--browser"], "uses no refresh token"),
            (&crm, &["--scope", "A.b.READ"], "something else: --scope A.b.READ,A.c.READ --soid A.7"),
            (&crm, &["--scope", "A.b.READ,A.c.READ,A.d.READ"], "something else: --scope A.b.READ,A.c.READ --soid A.7"),
            (&crm, &["--client-credentials", "--soid", "A.8"], "something else: --scope A.b.READ,A.c.READ --soid A.7"),
            (&desk, &["--client-credentials"], "uses a refresh token: log in without --client-credentials"),
            (&desk, &["--scope", "A.b.READ"], "something else: --scope A.b.READ,A.c.READ."),
            (&spec, &["--client-credentials"], "uses a refresh token: log in without --client-credentials"),
        ];
        for (spec, flags, says) in table {
            let refused = wanted(flags, Some(spec)).unwrap_err();
            assert!(refused.starts_with("ZohoCredential patch exists and ") && refused.contains(says), "{refused}");
        }
        let server = json!({ "endpointCentralServer": { "url": "https://ec.example" }, "secretRef": { "name": "s" } });
        assert!(wanted(&[], Some(&server)).unwrap_err().contains("logs in at a server by itself"));
    }

    #[test]
    fn new_credential_is_what_was_asked_for() {
        assert!(wanted(&[], None).unwrap_err().contains("--data-center"));
        let flags = ["--data-center", "EU", "--product", "PatchManagerPlus"];
        let manifest = wanted(&flags, None).unwrap().manifest(Some("ns"));
        let spec = json!({
            "dataCenter": "EU", "product": "PatchManagerPlus", "secretRef": { "name": "patch-oauth" },
            "scopes": Product::PatchManagerPlus.facts().scopes,
        });
        assert_eq!(manifest["spec"], spec);
        assert_eq!(manifest["metadata"], json!({ "name": "patch", "namespace": "ns" }));
        let client = ["--data-center", "EU", "--client-credentials", "--scope", "A.c.READ,A.b.READ", "--soid", "A.7"];
        let client = wanted(&client, None).unwrap();
        let spec = json!({
            "dataCenter": "EU", "secretRef": { "name": "patch-oauth" },
            "grant": "ClientCredentials", "scopes": ["A.c.READ", "A.b.READ"], "soid": "A.7",
        });
        assert_eq!(client.manifest(None)["spec"], spec);
        let asked = client.of_client().expect("a client that asks in its own name");
        assert_eq!((asked.scope().as_str(), asked.soid.as_deref()), ("A.b.READ,A.c.READ", Some("A.7")));
        let named = wanted(&[&flags[..], &["--secret", "own"]].concat(), None).unwrap();
        assert_eq!((named.reference.name.as_str(), named.is_there), ("own", false));
    }
}
