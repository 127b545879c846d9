//! Who may talk to the API server, and the files that say so: tokens, kubeconfigs, the service accounts' key.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::Kubeconfig;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

/// Namespace and name of the `ServiceAccount` that the operator runs under, as its chart installs it by default.
pub const OPERATOR_NAMESPACE: &str = "zoho-operator-system";
/// See [`OPERATOR_NAMESPACE`].
pub const OPERATOR_SERVICE_ACCOUNT: &str = "zoho-operator";

/// The DER of an X.509 public key on curve P-256, up to the point itself.
const P256_PUBLIC_KEY_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Somebody the API server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// `admin`, who may do anything. Sets the scene.
    Admin,
    /// `observer`, who may do anything too. Looks at the outcome, so that a test's own reads can be told apart.
    Observer,
    /// The operator's `ServiceAccount`, which may do what RBAC rules grant it: nothing until a chart is installed.
    Operator,
    /// kube-controller-manager.
    ControllerManager,
}

impl Identity {
    const ALL: [Self; 4] = [Self::Admin, Self::Observer, Self::Operator, Self::ControllerManager];

    /// The user name that RBAC rules and audit entries have.
    pub fn user(self) -> String {
        match self {
            Self::Admin => "admin".into(),
            Self::Observer => "observer".into(),
            Self::Operator => {
                format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_SERVICE_ACCOUNT}")
            }
            Self::ControllerManager => "system:kube-controller-manager".into(),
        }
    }

    fn groups(self) -> Vec<String> {
        match self {
            Self::Admin | Self::Observer => vec!["system:masters".into()],
            Self::Operator => vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{OPERATOR_NAMESPACE}"),
                "system:authenticated".into(),
            ],
            Self::ControllerManager => vec![],
        }
    }

    /// Where the identity's kubeconfig is in the control plane's folder.
    pub(super) fn kubeconfig(self, folder: &Path) -> PathBuf {
        let name = match self {
            Self::Admin => "admin",
            Self::Observer => "observer",
            Self::Operator => "operator",
            Self::ControllerManager => "controller-manager",
        };
        folder.join(format!("{name}.kubeconfig"))
    }
}

/// Writes `tokens.csv` and a kubeconfig for everybody. `authority` need not exist yet.
pub(super) fn write_identities(folder: &Path, server: &str, authority: &Path) -> Result<()> {
    let mut tokens = String::new();
    for identity in Identity::ALL {
        let token = random_token()?;
        let (user, groups) = (identity.user(), identity.groups().join(","));
        tokens.extend([&token, ",", &user, ",", &user, ",\"", &groups, "\"\n"]);
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": authority}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        });
        fs::write(identity.kubeconfig(folder), kubeconfig.to_string()).context("write a kubeconfig")?;
    }
    fs::write(folder.join("tokens.csv"), tokens).context("write the token file")
}

/// Writes kubeconfigs for a cluster that runs already: everybody is the given user, the operator by impersonation.
pub(super) fn write_impersonations(folder: &Path, existing: &Kubeconfig) -> Result<()> {
    for identity in [Identity::Admin, Identity::Observer, Identity::Operator] {
        let mut kubeconfig = existing.clone();
        if identity == Identity::Operator {
            for auth_info in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
                auth_info.impersonate = Some(identity.user());
                auth_info.impersonate_groups = Some(identity.groups());
            }
        }
        // JSON is YAML.
        let text = serde_json::to_string(&kubeconfig).context("render a kubeconfig")?;
        fs::write(identity.kubeconfig(folder), text).context("write a kubeconfig")?;
    }
    Ok(())
}

/// Writes the key pair by which `ServiceAccount` tokens are signed and checked.
pub(super) fn write_service_account_keys(private: &Path, public: &Path) -> Result<()> {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .map_err(|error| anyhow!("generate a key: {error}"))?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
        .map_err(|error| anyhow!("read the generated key: {error}"))?;
    let public_der = [&P256_PUBLIC_KEY_PREFIX, pair.public_key().as_ref()].concat();
    fs::write(private, pem("PRIVATE KEY", document.as_ref())).context("write the private key")?;
    fs::write(public, pem("PUBLIC KEY", &public_der)).context("write the public key")
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("get random bytes: {error}"))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
