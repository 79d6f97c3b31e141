# syntax=docker/dockerfile:1
# Builds postrider and puts it alone, with the CA certificates, into an image that runs as an
# ordinary user on a read-only root file system. State, spool and socket are volumes.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock clippy.toml ./
COPY crates crates
COPY config config
COPY docs docs
COPY migrations migrations
RUN cargo build --release --locked --bin postrider

FROM debian:bookworm-slim AS run
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 postrider \
    && useradd --uid 65532 --gid 65532 --no-create-home --shell /usr/sbin/nologin postrider \
    && install -d -o 65532 -g 65532 -m 0700 /var/lib/postrider /run/postrider
COPY --from=build /src/target/release/postrider /usr/bin/postrider
USER 65532:65532
VOLUME ["/var/lib/postrider", "/run/postrider", "/tmp"]
EXPOSE 9420
ENTRYPOINT ["/usr/bin/postrider"]
CMD ["run", "--config", "/etc/postrider/postrider.toml"]
