//! `docs/network.md`: hosts and ports for a firewall, a proxy and a `NetworkPolicy`.

use std::fmt::Write as _;

use super::{Row, TABLE, code, console, products_by_host};

const HEAD: &str = "\
# Network: hosts and ports

<!-- Made from crates/api/src/products, crates/core/src/issuer/data_centers.rs and xtask/src/pages/network.rs by `make docs`. -->

## Connections that the operator opens

| to | port | when |
|---|---|---|
| the Kubernetes API | of your cluster | always; never through the proxy |
| name servers | 53, UDP and TCP | always, unless a proxy resolves names |
| the accounts host of each data center in use | 443 | at each renewal, about twice an hour for each refresh token |
| the API host of a product | 443 | only with `spec.verify` |
| a server in `config.endpointCentralUrls` | as in its URL, usually 8383 | only with `spec.endpointCentralServer` |
| an OpenTelemetry collector | as in `--otlp-endpoint` | only in an image built with feature `otlp` |

It connects to nothing else: no telemetry, no update check, no download. It does not follow redirects, and TLS 1.2 or newer is
required.

## Connections that the operator accepts

| port | value in the chart | path | who connects |
|---|---|---|---|
| 8080 | `config.metricsPort` | `/metrics` | Prometheus |
| 8081 | `config.healthPort` | `/livez`, `/readyz`, `/healthz` | the kubelet of its node |

There is no admission webhook, so the API server opens no connection to the operator.

## Connections of others

- **Your workloads** call the product's API host with the token. The operator does not pass these calls on.
- **`kubectl zoho`** runs on a person's machine. `login`, `revoke` and `doctor` connect to the accounts host; `login` also opens it in
  the browser. `doctor --offline` and all other commands use the Kubernetes API only.
- **A person** opens the API console of the data center.

## Hosts by data center

All on port 443. Allow the accounts host of each data center that you use, and the API hosts of the products that your workloads
call. A data center without a row for your product may still have the product, on a host that is not known here:
[products.md](products.md#which-products).
";

const TAIL: &str = "
## Behind a proxy

```yaml
# values of the chart
proxy:
  httpsProxy: http://proxy.corp.example:3128
  noProxy: .corp.example,10.0.0.0/8
```

The proxy is used for Zoho and for products, never for the Kubernetes API. Add your own servers to `noProxy`. A proxy URL
with a password belongs in a Secret: `proxy.existingSecret`. A proxy that intercepts TLS signs certificates with its own authority,
which the operator must trust. Its certificate must say `CA:TRUE`, as certificates of authorities do; others are trusted as a
server's own only:

```sh
kubectl create configmap proxy-ca -n zoho-operator-system --from-file=ca.crt
helm upgrade zoho-operator charts/zoho-operator -n zoho-operator-system --reset-then-reuse-values \\
  --set caBundle.configMap=proxy-ca
```

An authority in that file is trusted for every host. Such a proxy also reads every refresh token; exempt the accounts host from
inspection where you can.

## NetworkPolicy

By default, the chart limits who may connect to the operator. With `networkPolicy.enabled`, it also limits where the operator may
connect to. A NetworkPolicy supports addresses but not host names, and Zoho's addresses change, so all connections to port 443 stay
allowed:

```yaml
# values of the chart
networkPolicy:
  enabled: true
  apiServerCIDRs:
    - 10.96.0.1/32        # the Service `kubernetes` in namespace default
    - 192.168.10.11/32    # the addresses behind it
  metricsFrom:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: monitoring
  extraEgress:
    - to:
        - ipBlock:
            cidr: 192.168.20.5/32
      ports:
        - port: 8383      # your own server
          protocol: TCP
```

Both kinds of addresses of the API server are needed: some networks check a packet before its address is translated, others
afterwards.

```sh
kubectl get service kubernetes -n default
kubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes
```

If the network supports host names, as Cilium does, allow the hosts themselves:

```yaml
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: zoho-operator-names
  namespace: zoho-operator-system
spec:
  endpointSelector:
    matchLabels:
      app.kubernetes.io/name: zoho-operator
  egress:
    - toEntities:
        - kube-apiserver
    - toEndpoints:
        - matchLabels:
            k8s:io.kubernetes.pod.namespace: kube-system
            k8s-app: kube-dns
      toPorts:
        - ports:
            - port: \"53\"
              protocol: ANY
          rules:
            dns:
              - matchPattern: \"*\"
    - toFQDNs:
        - matchName: accounts.zoho.eu
        - matchName: patch.manageengine.eu   # only with spec.verify
      toPorts:
        - ports:
            - port: \"443\"
              protocol: TCP
```

## Try it

```sh
kubectl exec -n zoho-operator-system deploy/zoho-operator -- /zoho-operator check
```

This command tests DNS, proxy and TLS to the accounts host of each data center in use and to each server in use, from the operator's
pod. It sends no secret. In conditions, the reasons `UpstreamUnavailable`, `UpstreamTimeout`, `UpstreamTLS` and `UpstreamRedirect` are
about the network; their messages name the cause.
";

/// The page as Markdown.
pub(super) fn page() -> String {
    let mut text = HEAD.to_owned();
    for row in TABLE {
        section(&mut text, row);
    }
    text.push_str(TAIL);
    text
}

fn section(text: &mut String, row: &Row) {
    let console = console(row.data_center).expect("every row has a console");
    let console = console.trim_start_matches("https://");
    let _ = write!(text, "\n### {}\n\n| host | for |\n|---|---|\n", row.data_center);
    let (usual, others) = row.accounts.split_first().expect("every row has an accounts host");
    let _ = writeln!(text, "| `{usual}` | tokens: the operator, and `kubectl zoho` |");
    for other in others {
        let _ = writeln!(text, "| `{other}` | the same, where `spec.accountsHost` names it |");
    }
    let _ = writeln!(text, "| `{console}` | the API console, in a browser |");
    for (host, products) in products_by_host(row.data_center) {
        let _ = writeln!(text, "| `{host}` | {} |", code(products));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_a_data_center_stand_in_its_section_and_in_no_other() {
        let page = page();
        let section_of = |data_center: &str| {
            let (_, rest) = page.split_once(&format!("\n### {data_center}\n")).expect("its section");
            rest.split("\n#").next().unwrap_or_default().to_owned()
        };
        let europe = section_of("EU");
        for host in ["accounts.zoho.eu", "api-console.zoho.eu", "patch.manageengine.eu", "desk.zoho.eu"] {
            assert!(europe.contains(&format!("| `{host}` |")), "{host}");
        }
        assert!(!europe.contains(".com`"), "{europe}");
        assert!(section_of("CA").contains("| `accounts.zohoone.ca` | the same, where"));
    }
}
