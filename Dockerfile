# The image that `cargo xtask image` writes, for those who build with Docker:
#
#   docker build --tag meshwork:0.1.0 --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" .

FROM rust:1.95-bookworm AS build
WORKDIR /build/meshwork
COPY . .
# The time that all files get.
ARG SOURCE_DATE_EPOCH
RUN cargo xtask image --rootfs /rootfs

FROM scratch
# With the owners and modes that the files have there.
COPY --from=build /rootfs/ /
USER 65532:65532
WORKDIR /data
ENV PATH=/bin MESHWORK_DATA=/data SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
EXPOSE 8080 9090 9091
LABEL org.opencontainers.image.title="meshwork"
LABEL org.opencontainers.image.description="Every service of the Meshwork back end: `meshwork serve SERVICE`"
LABEL org.opencontainers.image.version="0.1.0"
LABEL org.opencontainers.image.licenses="MIT"
ENTRYPOINT ["/meshwork"]
