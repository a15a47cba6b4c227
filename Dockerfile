# Two stages: the Go toolchain builds one static binary, the image holds that,
# the certificates and nothing else. It is built on the machine's own
# architecture for any other:
#   docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/causeway:1.0 .
# Its default user is root, who alone may read the logs of containers; the target
# nonroot is for metrics alone, and for agents of the role cluster.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS=linux
ARG TARGETARCH=amd64
WORKDIR /src
COPY go.mod go.sum ./
COPY agent/store/flux/go.mod agent/store/flux/
RUN go mod download
COPY . .
ARG VERSION=dev
ARG COMMIT=
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -tags grpcnotrace \
    -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /causeway ./agent/cmd/causeway
RUN mkdir /data

FROM gcr.io/distroless/static-debian12 AS image
ARG VERSION=dev
ARG COMMIT=
LABEL org.opencontainers.image.title="Causeway" \
      org.opencontainers.image.description="Node agent: metrics, logs and events, safe on disk, to every destination" \
      org.opencontainers.image.source="https://github.com/causeway-agent/causeway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="gcr.io/distroless/static-debian12" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
COPY --from=build /causeway /causeway
COPY agent.yaml /etc/causeway/agent.yaml
COPY LICENSE /LICENSE
# Autopilot's allow-lists compare it to the letter: it is not to change.
ENTRYPOINT ["/causeway"]
CMD ["run", "-c", "/etc/causeway/agent.yaml"]

FROM image AS nonroot
COPY --from=build --chown=65532:65532 /data /var/lib/causeway
USER 65532:65532

FROM image
USER 0:0
