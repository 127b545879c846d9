# The image of zoho-operator: one static binary and the roots it trusts, for a user without a name.
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/zoho-operator:0.1.0 --push .
#
# Where nothing can be pulled, the last stage is built from a folder with what the first one would have made (zoho-operator
# and ca-certificates.crt), without a daemon:
#
#   buildah --storage-driver vfs bud --isolation chroot --build-context builder=DIR --target runtime -t zoho-operator:0.1.0 .
#
# with DIR/out/zoho-operator and DIR/out/ca-certificates.crt.

# Runs on the machine that builds and compiles for the one that is asked for: nothing is emulated.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95-bookworm AS builder
ARG TARGETARCH
# The toolchain of the image, without the components that rust-toolchain.toml has for developers.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src

# musl-tools compiles ring's C for this architecture, the cross compiler for the other one; rust-lld links both.
RUN case "$TARGETARCH" in \
      amd64) target=x86_64-unknown-linux-musl cross=x86_64-linux-gnu ;; \
      arm64) target=aarch64-unknown-linux-musl cross=aarch64-linux-gnu ;; \
      *) echo "no build for architecture $TARGETARCH" >&2; exit 1 ;; \
    esac \
    && echo "$target" > /target \
    && if [ "$(uname -m)" = "${target%%-*}" ]; then compiler=musl-gcc package=musl-tools; \
       else compiler=$cross-gcc package=gcc-$(echo "$cross" | tr _ -); fi \
    && echo "$compiler" > /compiler \
    && apt-get update && apt-get install -y --no-install-recommends ca-certificates "$package" \
    && rm -rf /var/lib/apt/lists/* \
    && rustup target add "$target"

# Cargo features, such as otlp.
ARG FEATURES=
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=target-$TARGETARCH \
    target=$(cat /target) variable=$(tr - _ < /target) \
    && export "CC_$variable=$(cat /compiler)" \
    && export "CARGO_TARGET_$(echo "$variable" | tr a-z A-Z)_LINKER=rust-lld" \
    && cargo build --release --locked --target "$target" --features "$FEATURES" -p zoho-operator \
    && mkdir /out \
    && cp "target/$target/release/zoho-operator" /etc/ssl/certs/ca-certificates.crt /out/

FROM scratch AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="zoho-operator" \
      org.opencontainers.image.description="Keeps a valid Zoho or ManageEngine OAuth access token in a Kubernetes Secret" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=builder /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /out/zoho-operator /zoho-operator
# A number, so that Kubernetes can check runAsNonRoot; there is no passwd here to look a name up in.
USER 65532:65532
# Nothing is written: the root file system may be read-only.
ENTRYPOINT ["/zoho-operator"]
